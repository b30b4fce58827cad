//! Which days a command is about: `--from` and `--to`, or `--days` before the last one.

use anyhow::{Context, bail};
use clap::Args;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::SystemClock;

/// The options.
#[derive(Debug, Clone, Args)]
pub struct DayArgs {
    /// The first day (UTC) [default: --days before the last one].
    #[arg(long, value_name = "DAY", conflicts_with = "days")]
    pub from: Option<Date>,
    /// The last day (UTC), which is included [default: today].
    #[arg(long, value_name = "DAY")]
    pub to: Option<Date>,
    /// How many days, the last one included.
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=36_600))]
    pub days: i64,
}

impl DayArgs {
    /// The first of them, and the day after the last.
    pub(super) fn range(&self) -> anyhow::Result<(Date, Date)> {
        self.range_on(SystemClock::shared().wall().to_zoned(TimeZone::UTC).date())
    }

    fn range_on(&self, today: Date) -> anyhow::Result<(Date, Date)> {
        let last = self.to.unwrap_or(today);
        let from = self.from.unwrap_or_else(|| last.saturating_sub((self.days - 1).days()));
        if from > last {
            bail!("--from {from} is after --to {last}; both days are included");
        }
        Ok((from, last.tomorrow().context("--to is the last day that there is")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_is_included_and_the_first_is_so_many_before_it() {
        let check = |from: Option<&str>, to: Option<&str>, days, expected: Result<(&str, &str), &str>| {
            let day = |text: &str| text.parse::<Date>().unwrap();
            let asked = DayArgs { from: from.map(day), to: to.map(day), days };
            let range = asked.range_on(day("2026-11-29")).map_err(|error| error.to_string());
            assert_eq!(range, expected.map(|(from, until)| (day(from), day(until))).map_err(str::to_owned), "{asked:?}");
        };
        check(None, None, 30, Ok(("2026-10-31", "2026-11-30")));
        check(None, Some("2026-03-01"), 1, Ok(("2026-03-01", "2026-03-02")));
        check(Some("2026-11-01"), Some("2026-11-30"), 30, Ok(("2026-11-01", "2026-12-01")));
        let after = "--from 2026-12-01 is after --to 2026-11-29; both days are included";
        check(Some("2026-12-01"), None, 30, Err(after));
        check(None, Some("9999-12-31"), 2, Err("--to is the last day that there is"));
    }
}
