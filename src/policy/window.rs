//! The windows that budgets last for: clock hours, days, weeks and months of a time zone, or all time.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// How long a budget lasts before it refills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetWindow {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
    /// Never refills.
    Total,
}

impl BudgetWindow {
    pub const WORDS: [(BudgetWindow, &'static str); 5] = [
        (BudgetWindow::Hour, "hour"),
        (BudgetWindow::Day, "day"),
        (BudgetWindow::Week, "week"),
        (BudgetWindow::Month, "month"),
        (BudgetWindow::Total, "total"),
    ];

    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(window, _)| *window == self).map_or("", |(_, word)| word)
    }

    /// As it stands behind an amount: `5 USD a day`.
    fn phrase(self) -> &'static str {
        match self {
            BudgetWindow::Hour => "an hour",
            BudgetWindow::Day => "a day",
            BudgetWindow::Week => "a week",
            BudgetWindow::Month => "a month",
            BudgetWindow::Total => "in total",
        }
    }

    /// The window by the clocks of a zone.
    pub fn in_zone(self, zone: TimeZone) -> Window {
        Window { every: self, zone }
    }

    /// The window by Greenwich.
    pub fn utc(self) -> Window {
        self.in_zone(TimeZone::UTC)
    }
}

/// A window by the clocks of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub every: BudgetWindow,
    pub zone: TimeZone,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.every.phrase())
    }
}

impl Window {
    /// When the window that contains `now` began; `None` for one that never began. Never later for an earlier `now`.
    pub fn start(&self, now: Timestamp) -> Option<Timestamp> {
        match self.every {
            BudgetWindow::Hour => Some(self.hour(now)),
            BudgetWindow::Total => None,
            BudgetWindow::Day | BudgetWindow::Week | BudgetWindow::Month => self.midnight(self.first_day(now)?),
        }
    }

    /// When the window that contains `now` ends and the budget refills: always after `now`.
    pub fn refills_at(&self, now: Timestamp) -> Option<Timestamp> {
        let next = match self.every {
            BudgetWindow::Hour => return self.hour(now).checked_add(1.hour()).ok(),
            BudgetWindow::Total => return None,
            BudgetWindow::Day => self.first_day(now)?.checked_add(1.day()),
            BudgetWindow::Week => self.first_day(now)?.checked_add(1.week()),
            BudgetWindow::Month => self.first_day(now)?.checked_add(1.month()),
        };
        self.midnight(next.ok()?)
    }

    fn first_day(&self, now: Timestamp) -> Option<Date> {
        let today = now.to_zoned(self.zone.clone()).date();
        match self.every {
            BudgetWindow::Week => today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).ok(),
            BudgetWindow::Month => Some(today.first_of_month()),
            BudgetWindow::Hour | BudgetWindow::Day | BudgetWindow::Total => Some(today),
        }
    }

    /// The first instant of a day; where clocks skip midnight, the first one after it.
    fn midnight(&self, day: Date) -> Option<Timestamp> {
        day.to_zoned(self.zone.clone()).ok().map(|begin| begin.timestamp())
    }

    /// By the offset in force, so that every instant is in an hour of sixty minutes, also where clocks turn by half of one.
    fn hour(&self, now: Timestamp) -> Timestamp {
        let offset = i64::from(self.zone.to_offset(now).seconds());
        let into = SignedDuration::from_secs((now.as_second() + offset).rem_euclid(3_600));
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        whole.checked_sub(into).unwrap_or(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(every: BudgetWindow, zone: &str, now: &str, start: &str, end: &str) {
        let window = every.in_zone(TimeZone::get(zone).unwrap());
        let now = now.parse().unwrap();
        let told = [window.start(now), window.refills_at(now)].map(|at| at.map(|at| at.to_string()));
        assert_eq!(told, [start, end].map(|at| Some(at.to_owned()).filter(|at| !at.is_empty())), "{every:?} {zone} {now}");
    }

    #[test]
    fn windows_turn_by_the_clocks_of_their_zone() {
        use BudgetWindow::{Day, Hour, Month, Total, Week};
        let sunday = "2026-11-29T22:59:59.5Z";
        check(Hour, "UTC", sunday, "2026-11-29T22:00:00Z", "2026-11-29T23:00:00Z");
        check(Hour, "Asia/Kolkata", sunday, "2026-11-29T22:30:00Z", "2026-11-29T23:30:00Z");
        check(Day, "Europe/Berlin", sunday, "2026-11-28T23:00:00Z", "2026-11-29T23:00:00Z");
        check(Week, "Europe/Berlin", sunday, "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z");
        check(Week, "Asia/Shanghai", sunday, "2026-11-29T16:00:00Z", "2026-12-06T16:00:00Z");
        check(Month, "UTC", sunday, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check(Total, "UTC", sunday, "", "");
        // 25 hours and 23, and a midnight that the clocks of Beirut skip.
        check(Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check(Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Day, "Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z");
    }

    proptest! {
        /// Also where clocks turn, by half an hour too.
        #[test]
        fn every_instant_is_in_its_window_and_windows_begin_in_order(
            second in 1_700_000_000_i64..2_000_000_000,
            later in 0_i64..200_000,
            which in 0_usize..5,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut", "America/Caracas"]),
        ) {
            let window = BudgetWindow::WORDS[which].0.in_zone(TimeZone::get(zone).unwrap());
            let [now, then] = [second, second + later].map(|at| Timestamp::from_second(at).unwrap());
            prop_assert!(window.start(now) <= Some(now) && window.refills_at(now).is_none_or(|end| end > now));
            prop_assert!(window.start(now) <= window.start(then));
        }
    }
}
