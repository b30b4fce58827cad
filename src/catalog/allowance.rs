//! What a vendor gives beside its prices: free quotas that begin anew with the minute, the day or the month, and balances
//! that were paid in advance. Here are their terms, and which window an instant lies in; what is used of them is the policy's.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::units::{Amount, Grant};

/// A quota's place in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaIndex(pub u32);

/// When a free quota begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Minute,
    Day,
    Month,
    /// Never: it is given once.
    Ever,
}

impl Period {
    pub const WORDS: [(Period, &'static str); 4] =
        [(Period::Minute, "minute"), (Period::Day, "day"), (Period::Month, "month"), (Period::Ever, "ever")];

    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(period, _)| *period == self).map_or("ever", |(_, word)| word)
    }
}

/// A time in which a quota is used up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    /// Until just before here; `None` for one that does not end.
    pub until: Option<Timestamp>,
}

impl Window {
    pub fn holds(&self, instant: Timestamp) -> bool {
        self.from <= instant && self.until.is_none_or(|until| instant < until)
    }
}

/// What a vendor gives for nothing, to one backend or to several together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    pub index: QuotaIndex,
    /// Names it in the books and metrics: `provider/model` of its backend, or `provider:shared`, and the period.
    pub name: Arc<str>,
    pub period: Period,
    /// Whose midnight a day and a month begin at.
    pub zone: TimeZone,
    /// What is free in each window.
    pub grant: Grant,
    /// Given from here on; `None` for as far back as the books go.
    pub from: Option<Timestamp>,
    /// Given until just before here.
    pub until: Option<Timestamp>,
    /// Document and date the quota was taken from.
    pub source: String,
}

impl Quota {
    /// The window that an instant lies in; `None` where the quota is not given then.
    pub fn window(&self, at: Timestamp) -> Option<Window> {
        let given = Window { from: self.from.unwrap_or(Timestamp::UNIX_EPOCH), until: self.until };
        if !given.holds(at) {
            return None;
        }
        let (from, until) = self.turn(at)?;
        let until = [until, self.until].into_iter().flatten().min();
        Some(Window { from: from.max(given.from), until })
    }

    /// When the period began that holds the instant, and when the next one begins.
    fn turn(&self, at: Timestamp) -> Option<(Timestamp, Option<Timestamp>)> {
        let local = || at.to_zoned(self.zone.clone());
        let (from, until) = match self.period {
            Period::Minute => {
                let from = Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(60)).ok()?;
                (from, from.checked_add(1.minute()).ok())
            }
            Period::Day => {
                let begin = |day: jiff::Zoned| day.start_of_day().ok().map(|begin| begin.timestamp());
                (begin(local())?, local().tomorrow().ok().and_then(begin))
            }
            Period::Month => {
                let first = local().first_of_month().ok()?;
                let begin = |day: &jiff::Zoned| day.start_of_day().ok().map(|begin| begin.timestamp());
                (begin(&first)?, first.checked_add(1.month()).ok().as_ref().and_then(begin))
            }
            Period::Ever => (Timestamp::UNIX_EPOCH, None),
        };
        Some((from, until))
    }

    /// Whether what was counted for the other holds for this one too: they begin anew together.
    pub fn counts_as(&self, other: &Quota) -> bool {
        (self.period, &self.zone, self.from) == (other.period, &other.zone, other.from)
    }
}

/// Money that a vendor has already, to be charged against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepaid {
    /// In the provider's currency.
    pub amount: Amount,
    /// What is charged from here on goes against it.
    pub from: Timestamp,
    /// What is left then is lost; `None` where it does not expire.
    pub until: Option<Timestamp>,
    /// Document and date, or the operator's own word.
    pub source: String,
}

impl Prepaid {
    /// Whether a part of it would be lost, or kept for good, if as much were spent until its end as since its beginning:
    /// such money is the cheapest there is. A balance that is used faster than that is worth what money is worth.
    pub fn outlasts(&self, spent_pico: i128, at: Timestamp) -> bool {
        let Some(until) = self.until else { return true };
        let whole = i128::from(until.as_second() - self.from.as_second());
        let passed = i128::from(at.as_second() - self.from.as_second());
        spent_pico.saturating_mul(whole) < self.amount.pico().saturating_mul(passed) || spent_pico == 0
    }

    /// Whether it can be charged against at an instant.
    pub fn holds(&self, at: Timestamp) -> bool {
        Window { from: self.from, until: self.until }.holds(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Currency;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn quota(period: Period, zone: &str) -> Quota {
        Quota {
            index: QuotaIndex(0),
            name: "east/a".into(),
            period,
            zone: TimeZone::get(zone).unwrap(),
            grant: Grant::NOTHING,
            from: None,
            until: Some(at("2027-01-01T00:00:00Z")),
            source: String::new(),
        }
    }

    fn check(quota: &Quota, instant: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(from, until)| Window { from: at(from), until: Some(at(until)) });
        assert_eq!(quota.window(at(instant)), expected, "{instant}");
    }

    #[test]
    fn a_window_begins_at_the_midnight_of_its_zone() {
        let day = quota(Period::Day, "Asia/Shanghai");
        check(&day, "2026-11-22T15:59:59Z", Some(("2026-11-21T16:00:00Z", "2026-11-22T16:00:00Z")));
        check(&day, "2026-11-22T16:00:00Z", Some(("2026-11-22T16:00:00Z", "2026-11-23T16:00:00Z")));
        let month = quota(Period::Month, "Asia/Shanghai");
        check(&month, "2026-10-31T16:00:00Z", Some(("2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z")));
        check(&quota(Period::Minute, "UTC"), "2026-11-22T10:11:12.5Z", Some(("2026-11-22T10:11:00Z", "2026-11-22T10:12:00Z")));
        check(&quota(Period::Ever, "UTC"), "2026-11-22T10:11:12Z", Some(("1970-01-01T00:00:00Z", "2027-01-01T00:00:00Z")));
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_make_it() {
        let day = quota(Period::Day, "America/Los_Angeles");
        check(&day, "2026-11-01T12:00:00Z", Some(("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z")));
        check(&day, "2026-03-08T12:00:00Z", Some(("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z")));
    }

    #[test]
    fn a_quota_begins_and_ends_when_it_is_given() {
        let quota = Quota { from: Some(at("2026-12-31T06:00:00Z")), ..quota(Period::Day, "UTC") };
        check(&quota, "2026-12-31T05:59:59Z", None);
        check(&quota, "2026-12-31T06:00:00Z", Some(("2026-12-31T06:00:00Z", "2027-01-01T00:00:00Z")));
        check(&quota, "2027-01-01T00:00:00Z", None);
    }

    #[test]
    fn a_balance_outlasts_its_time_where_it_is_spent_slower_than_that_passes() {
        let amount = Amount::from_pico(1000, Currency::Cny);
        let (from, until) = (at("2026-11-01T00:00:00Z"), at("2026-11-11T00:00:00Z"));
        let balance = Prepaid { amount, from, until: Some(until), source: String::new() };
        let on = |day: &str, spent| balance.outlasts(spent, at(&format!("2026-11-{day}T00:00:00Z")));
        assert_eq!([on("01", 0), on("01", 1), on("06", 499), on("06", 500), on("10", 899)], [true, false, true, false, true]);
        assert!(Prepaid { until: None, ..balance }.outlasts(999, at("2026-11-02T00:00:00Z")));
    }
}
