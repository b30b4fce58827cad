//! Hours and days at which a vendor's price is another: windows by hour and weekday in the vendor's time zone, with the
//! holidays on which they do not count.
//!
//! Holidays are published year by year. On a day outside the published range nobody knows whether it is one, so the
//! dearer of both is charged there, and whoever asks is told that it was assumed. Which instant of a request is looked
//! at, arrival or completion, is the price row's to say.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::units::Factor;

const DAY: i32 = 86_400;
/// So many days before its holidays end, a calendar is worth a warning: next year's are published in November.
const SOON_DAYS: i32 = 14;

/// Days off and days worked instead, as an authority published them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holidays {
    pub name: String,
    /// The first and the last day for which they are known.
    first: Date,
    last: Date,
    /// The same two in days since 1970, and all special days so, sorted.
    known: std::ops::RangeInclusive<i32>,
    days_off: Vec<i32>,
    make_up_days: Vec<i32>,
    pub source: String,
}

impl Holidays {
    /// Holidays that are known from the first to the last day.
    pub fn new(name: String, known: (Date, Date), days_off: &[Date], make_up_days: &[Date], source: String) -> Self {
        let sorted = |days: &[Date]| {
            let mut days: Vec<i32> = days.iter().map(|day| day_number(*day)).collect();
            days.sort_unstable();
            days
        };
        let (first, last) = known;
        Self {
            name,
            first,
            last,
            known: day_number(first)..=day_number(last),
            days_off: sorted(days_off),
            make_up_days: sorted(make_up_days),
            source,
        }
    }

    /// The first and the last day for which they are known.
    pub const fn known(&self) -> (Date, Date) {
        (self.first, self.last)
    }
}

/// Some hours of some weekdays, and by how much prices are multiplied then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// By the weekday's number from Monday; the day on which the window begins.
    pub days: [bool; 7],
    /// Seconds after midnight.
    pub from: i32,
    /// Seconds after midnight, exclusive; not after `from` for a window over midnight.
    pub to: i32,
    /// The factor's place in the calendar's list.
    factor: u8,
}

/// How a calendar treats the days of its holidays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HolidayRule {
    /// Windows apply on days off as well.
    pub windows_on_days_off: bool,
    /// A make-up day counts as a day from Monday to Friday, instead of as the weekend day that it is.
    pub make_up_days_are_workdays: bool,
}

/// Windows of one vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub name: String,
    /// Its place in the snapshot.
    pub index: usize,
    zone: TimeZone,
    windows: Vec<Window>,
    holidays: Option<(Arc<Holidays>, HolidayRule)>,
    /// Each factor once; the first is one, that of all other hours.
    factors: Vec<Factor>,
    pub source: String,
}

/// A factor's place in its calendar's list.
pub type FactorIndex = u8;

/// What a calendar says of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hour {
    pub factor: FactorIndex,
    /// The day is outside the published holidays, and the dearer side was taken.
    pub assumed: bool,
}

/// What a calendar says of an instant and a while after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outlook {
    pub now: Hour,
    /// What it says later, with the instant from which it does; empty where nothing changes.
    pub changes: Vec<(Timestamp, Hour)>,
}

/// What kind of day a window may begin on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DayKind {
    weekday: usize,
    off: bool,
}

impl Calendar {
    /// A calendar of windows, the first that matches before the others. `windows` has each one's days, hours and factor.
    pub fn new(
        name: String,
        zone: TimeZone,
        windows: Vec<([bool; 7], i32, i32, Factor)>,
        holidays: Option<(Arc<Holidays>, HolidayRule)>,
        source: String,
    ) -> Self {
        let mut factors = vec![Factor::ONE];
        let mut place = |factor: Factor| {
            let found = factors.iter().position(|known| *known == factor).unwrap_or_else(|| {
                factors.push(factor);
                factors.len() - 1
            });
            u8::try_from(found).unwrap_or(u8::MAX)
        };
        let windows =
            windows.into_iter().map(|(days, from, to, factor)| Window { days, from, to, factor: place(factor) }).collect();
        Self { name, index: 0, zone, windows, holidays, factors, source }
    }

    /// Each factor once; the first is one.
    pub fn factors(&self) -> &[Factor] {
        &self.factors
    }

    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The zone's IANA name.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The end of the last day for which its holidays are known; `None` where it needs none.
    pub fn known_until(&self) -> Option<Timestamp> {
        let (holidays, _) = self.holidays.as_ref()?;
        let next_day = holidays.last.checked_add(1.day()).ok()?;
        next_day.to_zoned(self.zone.clone()).ok().map(|midnight| midnight.timestamp())
    }

    /// What an operator should know of it at an instant: that its holidays are not known any more, or soon will not be.
    pub fn warning(&self, at: Timestamp) -> Option<String> {
        let (holidays, _) = self.holidays.as_ref()?;
        let known_until = self.known_until()?;
        let soon = at.checked_add(SOON_DAYS * SignedDuration::from_hours(24)).ok()?;
        if known_until > soon {
            return None;
        }
        let (_, last) = holidays.known();
        let name = &self.name;
        let what = if known_until <= at { "since then" } else { "after that" };
        Some(format!(
            "calendar {name}: the days off of {} are known until {last}; {what} the dearer hours are charged on days that may be off",
            holidays.name
        ))
    }

    /// What holds at an instant.
    pub fn at(&self, instant: Timestamp) -> Hour {
        let (day, second) = self.local(instant);
        self.factor_on(day, second)
    }

    /// What holds from an instant until a later one (inclusive), with every change between.
    pub fn outlook(&self, from: Timestamp, until: Timestamp) -> Outlook {
        let now = self.at(from);
        let (mut changes, mut last, mut instant) = (Vec::new(), now, from);
        while let Some(next) = self.next_boundary(instant).filter(|next| *next <= until) {
            let hour = self.at(next);
            if hour != last {
                changes.push((next, hour));
            }
            (last, instant) = (hour, next);
        }
        Outlook { now, changes }
    }

    /// The local day and the second of it.
    fn local(&self, instant: Timestamp) -> (i32, i32) {
        let offset = i64::from(self.zone.to_offset(instant).seconds());
        let local = instant.as_second() + offset;
        let second = local.rem_euclid(i64::from(DAY));
        let day = (local - second) / i64::from(DAY);
        (i32::try_from(day).unwrap_or_default(), i32::try_from(second).unwrap_or_default())
    }

    /// The next instant at which anything may change: where a window begins or ends, at midnight, where the zone's clocks
    /// are put forward or back.
    fn next_boundary(&self, instant: Timestamp) -> Option<Timestamp> {
        let (_, second) = self.local(instant);
        let edges = self.windows.iter().flat_map(|window| [window.from, window.to]).chain([DAY]);
        let wait = edges.filter(|edge| *edge > second).min().unwrap_or(DAY) - second;
        // Whole seconds: a boundary lies on one.
        let whole = Timestamp::from_second(instant.as_second()).ok()?;
        let next = whole.checked_add(i64::from(wait).seconds()).ok()?;
        let shift = self.zone.following(instant).next().map(|transition| transition.timestamp());
        Some(shift.filter(|shift| *shift < next).unwrap_or(next))
    }

    /// The factor of a second of a day; of several kinds that it, or the day before, may be, the dearest.
    fn factor_on(&self, day: i32, second: i32) -> Hour {
        let (before, today) = (self.kinds(day - 1), self.kinds(day));
        let mut hour = Hour { factor: self.matching(before[0], today[0], second), assumed: false };
        for (before, today) in before.iter().flat_map(|before| today.iter().map(move |today| (*before, *today))) {
            let factor = self.matching(before, today, second);
            if factor != hour.factor {
                let dearer = self.factors[usize::from(factor)] > self.factors[usize::from(hour.factor)];
                hour = Hour { factor: if dearer { factor } else { hour.factor }, assumed: true };
            }
        }
        hour
    }

    /// The factor of a second of a day that follows another.
    fn matching(&self, before: DayKind, today: DayKind, second: i32) -> FactorIndex {
        let within = |window: &&Window| {
            let over_midnight = window.to <= window.from;
            let begun_today = self.applies(window, today) && second >= window.from && (over_midnight || second < window.to);
            begun_today || (over_midnight && self.applies(window, before) && second < window.to)
        };
        self.windows.iter().find(within).map_or(0, |window| window.factor)
    }

    fn applies(&self, window: &Window, day: DayKind) -> bool {
        let on_days_off = self.holidays.as_ref().is_none_or(|(_, rule)| rule.windows_on_days_off);
        window.days[day.weekday] && (!day.off || on_days_off)
    }

    /// What a day is, or may be: a single kind three times over where it is known.
    fn kinds(&self, day: i32) -> [DayKind; 3] {
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or_default();
        let plain = DayKind { weekday, off: false };
        let Some((holidays, rule)) = &self.holidays else { return [plain; 3] };
        let worked = DayKind { weekday: if rule.make_up_days_are_workdays { weekday.min(4) } else { weekday }, off: false };
        if !holidays.known.contains(&day) {
            return [plain, DayKind { off: true, ..plain }, worked];
        }
        if holidays.make_up_days.binary_search(&day).is_ok() {
            return [worked; 3];
        }
        [DayKind { off: holidays.days_off.binary_search(&day).is_ok(), ..plain }; 3]
    }
}

/// Days since 1970.
fn day_number(date: Date) -> i32 {
    let since = date.since(Date::constant(1970, 1, 1)).map(|span| span.get_days());
    since.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn workdays() -> [bool; 7] {
        [true, true, true, true, true, false, false]
    }

    /// DeepSeek's peak hours: weekdays without public holidays, 09:00 to 12:00 and 14:00 to 18:00 in Beijing, twice the
    /// list (`prices.json`, 2026-11-22).
    fn peak() -> Calendar {
        let off: Vec<Date> = (1..=7).map(|day| Date::constant(2026, 10, day)).collect();
        let make_up = [date("2026-09-20"), date("2026-10-10")];
        let known = (date("2026-01-01"), date("2026-12-31"));
        let holidays = Holidays::new("cn".into(), known, &off, &make_up, "test".into());
        let twice = Factor::parse("2").unwrap();
        let windows = vec![(workdays(), 9 * 3600, 12 * 3600, twice), (workdays(), 14 * 3600, 18 * 3600, twice)];
        let rule = Some((Arc::new(holidays), HolidayRule::default()));
        Calendar::new("peak".into(), TimeZone::get("Asia/Shanghai").unwrap(), windows, rule, "test".into())
    }

    /// The factor at an instant, `?` behind it where the day was assumed.
    fn check(calendar: &Calendar, instant: &str, expected: &str) {
        let hour = calendar.at(instant.parse().unwrap());
        let told = calendar.factors()[usize::from(hour.factor)];
        assert_eq!(format!("{told}{}", if hour.assumed { "?" } else { "" }), expected, "{instant}");
    }

    #[test]
    fn peak_hours_begin_and_end_on_their_seconds() {
        let peak = peak();
        // Monday, 2026-09-14.
        check(&peak, "2026-09-14T08:59:59.999+08:00", "1");
        check(&peak, "2026-09-14T09:00:00+08:00", "2");
        check(&peak, "2026-09-14T11:59:59+08:00", "2");
        check(&peak, "2026-09-14T12:00:00+08:00", "1");
        check(&peak, "2026-09-14T13:59:59+08:00", "1");
        check(&peak, "2026-09-14T14:00:00+08:00", "2");
        check(&peak, "2026-09-14T18:00:00+08:00", "1");
    }

    #[test]
    fn weekends_holidays_and_make_up_days_are_not_peak() {
        let peak = peak();
        check(&peak, "2026-09-19T10:00:00+08:00", "1");
        check(&peak, "2026-10-01T10:00:00+08:00", "1");
        check(&peak, "2026-10-08T10:00:00+08:00", "2");
        check(&peak, "2026-10-10T10:00:00+08:00", "1");
        let (holidays, _) = peak.holidays.clone().unwrap();
        let rule = HolidayRule { make_up_days_are_workdays: true, ..HolidayRule::default() };
        let worked = Calendar { holidays: Some((holidays, rule)), ..peak };
        check(&worked, "2026-10-10T10:00:00+08:00", "2");
    }

    #[test]
    fn beyond_the_published_holidays_the_dearer_side_is_taken_and_told() {
        let peak = peak();
        check(&peak, "2026-12-31T10:00:00+08:00", "2");
        check(&peak, "2027-01-01T10:00:00+08:00", "2?");
        check(&peak, "2027-01-01T13:00:00+08:00", "1");
        check(&peak, "2027-01-02T10:00:00+08:00", "1");
        check(&peak, "2025-12-31T10:00:00+08:00", "2?");
    }

    #[test]
    fn the_end_of_the_published_holidays_is_told_ahead() {
        let peak = peak();
        let told = |text: &str| peak.warning(text.parse().unwrap());
        assert_eq!(peak.known_until(), Some("2027-01-01T00:00:00+08:00".parse().unwrap()));
        assert_eq!(told("2026-12-17T23:59:59+08:00"), None);
        assert!(told("2026-12-18T00:00:00+08:00").unwrap().contains("known until 2026-12-31; after that the dearer hours"));
        assert!(told("2027-01-01T00:00:00+08:00").unwrap().contains("since then"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let half = Factor::parse("0.5").unwrap();
        let night = |days| {
            let zone = TimeZone::get("Asia/Shanghai").unwrap();
            Calendar::new("night".into(), zone, vec![(days, 22 * 3600, 8 * 3600, half)], None, "test".into())
        };
        let every = night([true; 7]);
        check(&every, "2026-09-14T21:59:59+08:00", "1");
        check(&every, "2026-09-14T22:00:00+08:00", "0.5");
        check(&every, "2026-09-15T00:00:00+08:00", "0.5");
        check(&every, "2026-09-15T07:59:59+08:00", "0.5");
        check(&every, "2026-09-15T08:00:00+08:00", "1");
        let weekdays = night(workdays());
        check(&weekdays, "2026-09-19T07:00:00+08:00", "0.5");
        check(&weekdays, "2026-09-20T07:00:00+08:00", "1");
        check(&weekdays, "2026-09-21T07:00:00+08:00", "1");
        let until_midnight =
            Calendar::new("m".into(), TimeZone::UTC, vec![([true; 7], 14 * 3600, DAY, half)], None, "test".into());
        check(&until_midnight, "2026-09-19T23:59:59Z", "0.5");
        check(&until_midnight, "2026-09-20T00:00:00Z", "1");
    }

    #[test]
    fn local_hours_follow_the_clocks_of_their_zone() {
        let twice = Factor::parse("2").unwrap();
        let zone = TimeZone::get("America/New_York").unwrap();
        let day = Calendar::new("day".into(), zone, vec![([true; 7], 9 * 3600, 17 * 3600, twice)], None, "test".into());
        // Clocks go forward on 2026-03-08 and back on 2026-11-01.
        check(&day, "2026-03-07T13:59:59Z", "1");
        check(&day, "2026-03-07T14:00:00Z", "2");
        check(&day, "2026-03-08T12:59:59Z", "1");
        check(&day, "2026-03-08T13:00:00Z", "2");
        check(&day, "2026-11-01T13:59:59Z", "1");
        check(&day, "2026-11-01T14:00:00Z", "2");
    }

    #[test]
    fn an_outlook_names_every_change_on_the_way() {
        let peak = peak();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let seen = |from: &str, until: &str| {
            let outlook = peak.outlook(at(from), at(until));
            let changes = outlook.changes.iter().map(|(at, hour)| format!("{at} {}", hour.factor));
            std::iter::once(outlook.now.factor.to_string()).chain(changes).collect::<Vec<_>>()
        };
        assert_eq!(seen("2026-09-14T08:50:00+08:00", "2026-09-14T08:59:59+08:00"), ["0"]);
        assert_eq!(seen("2026-09-14T08:50:00+08:00", "2026-09-14T09:00:00+08:00"), ["0", "2026-09-14T01:00:00Z 1"]);
        assert_eq!(
            seen("2026-09-18T11:00:00+08:00", "2026-09-21T10:00:00+08:00"),
            ["1", "2026-09-18T04:00:00Z 0", "2026-09-18T06:00:00Z 1", "2026-09-18T10:00:00Z 0", "2026-09-21T01:00:00Z 1"]
        );
    }
}
