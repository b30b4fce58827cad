//! A feed of exchange rates: lines of comma-separated values with a heading, a date per line, as the European Central Bank's
//! reference rates are passed on. A column `cny_per_usd` is taken as it stands; one like `usd_per_eur` is turned round, which
//! rounds half to even at the sixth place, as the table does. Lines that begin with `#` are comments.
//!
//! A rate is believed when it is newer than what is known, not of the future, and near the one before it: the yuan does not
//! move by a fifth in a day.

use jiff::civil::Date;

use super::Unreadable;
use super::decimal::exact;
use super::json::MOST_ENTRIES;
use super::proposal::clip;
use crate::catalog::fx::{DatedRate, FxTable};
use crate::units::{Currency, ExchangeRate};

/// How far a rate may lie from the one before it, in millionths.
const FURTHEST: u64 = 1_200_000;
const PLACES: i32 = 6;
const MILLION: u128 = 1_000_000;

/// Rates as a feed says them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RatesReading {
    /// Oldest first.
    pub rates: Vec<DatedRate>,
    /// Lines that say no rate: number and why.
    pub refused: Vec<(usize, String)>,
}

/// Which currency a column is for, and whether its figure is dollars per unit of it.
#[derive(Clone, Copy)]
struct Column {
    place: usize,
    currency: Currency,
    turned: bool,
}

/// Reads the lines. Fails when there is no heading with a date and a rate to the dollar.
pub fn decode(bytes: &[u8], source: &str) -> Result<RatesReading, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|e| Unreadable(format!("this is not UTF-8 from byte {}", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let (heading, _) = lines.next().ok_or_else(|| Unreadable("no exchange rates: it is empty".into()))?;
    let names: Vec<&str> = heading.split(',').map(str::trim).collect();
    let columns = columns(&names);
    let Some(date) = names.iter().position(|name| *name == "date") else {
        return Err(Unreadable(format!("no exchange rates: the heading {:?} has no column date", clip(heading))));
    };
    if columns.is_empty() {
        return Err(Unreadable("no exchange rates: the heading has no column such as cny_per_usd or usd_per_eur".into()));
    }
    let mut reading = RatesReading::default();
    for (line, number) in lines.take(MOST_ENTRIES) {
        let values: Vec<&str> = line.split(',').map(str::trim).collect();
        match rates(&values, date, &columns, source) {
            Ok(rates) => reading.rates.extend(rates),
            Err(why) => reading.refused.push((number, why)),
        }
    }
    reading.rates.sort_by_key(|rate| rate.date);
    Ok(reading)
}

fn columns(names: &[&str]) -> Vec<Column> {
    let code = |word: &str| Currency::ALL.into_iter().find(|c| c.code().eq_ignore_ascii_case(word) && *c != Currency::Usd);
    let column = |(place, name): (usize, &&str)| {
        let (of, per) = name.split_once("_per_")?;
        match (code(of), code(per)) {
            (Some(currency), None) if per == "usd" => Some(Column { place, currency, turned: false }),
            (None, Some(currency)) if of == "usd" => Some(Column { place, currency, turned: true }),
            _ => None,
        }
    };
    names.iter().enumerate().filter_map(column).collect()
}

fn rates(values: &[&str], date: usize, columns: &[Column], source: &str) -> Result<Vec<DatedRate>, String> {
    let written = values.get(date).copied().unwrap_or_default();
    let date: Date = written.parse().map_err(|_| format!("{:?} is no date", clip(written)))?;
    let said = columns.iter().filter(|column| values.get(column.place).is_some_and(|value| !value.is_empty()));
    said.map(|column| {
        let text = values.get(column.place).copied().unwrap_or_default();
        let wrong = || format!("{:?} is no rate of {}", clip(text), column.currency);
        let micro = exact(text, PLACES).ok().filter(|micro| *micro > 0).ok_or_else(wrong)?;
        let micro = if column.turned { turned(micro) } else { micro };
        let per_usd = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        let rate = ExchangeRate::parse(column.currency, &per_usd).map_err(|_| wrong())?;
        Ok(DatedRate { date, rate, source: source.into() })
    })
    .collect()
}

/// One divided by a rate, both in millionths, half to even.
fn turned(micro: u64) -> u64 {
    let (one, by) = (MILLION * MILLION, u128::from(micro.max(1)));
    let (whole, twice) = (one / by, one % by * 2);
    let up = twice > by || (twice == by && whole % 2 == 1);
    u64::try_from(whole + u128::from(up)).unwrap_or(u64::MAX)
}

/// The rates of a feed that are new and believed, oldest first, and why others are not.
pub fn judge(reading: &RatesReading, known: &FxTable, today: Date) -> (Vec<DatedRate>, Vec<String>) {
    let (mut taken, mut held): (Vec<DatedRate>, Vec<String>) = (Vec::new(), Vec::new());
    for rate in &reading.rates {
        let currency = rate.rate.currency();
        let of_currency = known.rates().iter().chain(&taken).filter(|known| known.rate.currency() == currency);
        let Some(last) = of_currency.max_by_key(|known| known.date).cloned() else {
            held.push(format!("{currency} of {}: no rate of this currency to compare it with", rate.date));
            continue;
        };
        if rate.date <= last.date {
            continue;
        }
        let (before, after) = (last.rate.per_usd(), rate.rate.per_usd());
        if rate.date > today {
            held.push(format!("{currency} of {}: this day has not come", rate.date));
        } else if far(&before, &after) {
            held.push(format!("{currency} of {}: {before} to {after} per dollar is more than a fifth", rate.date));
        } else {
            taken.push(rate.clone());
        }
    }
    (taken, held)
}

fn far(before: &str, after: &str) -> bool {
    let micro = |text: &str| u128::from(exact(text, PLACES).unwrap_or(0));
    let (low, high) = (micro(before).min(micro(after)), micro(before).max(micro(after)));
    high * MILLION > low * u128::from(FURTHEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: &str =
        "# Rates\ndate,usd_per_eur,cny_per_eur,cny_per_usd\n2026-10-29,1.113,7.4144,6.6616\n2026-10-30,1.1172,7.4326,6.6529\n";

    fn told(rates: &[DatedRate]) -> Vec<String> {
        rates.iter().map(|r| format!("{} {} {}", r.date, r.rate.currency(), r.rate.per_usd())).collect()
    }

    fn known(lines: &str) -> FxTable {
        let text = format!("date,usd_per_eur,cny_per_usd\n{lines}");
        FxTable::new(decode(text.as_bytes(), "test").unwrap().rates)
    }

    #[test]
    fn columns_to_the_dollar_are_read_and_turned() {
        let read = decode(SMALL.as_bytes(), "test").unwrap();
        let expected = ["2026-10-29 EUR 0.898473", "2026-10-29 CNY 6.6616", "2026-10-30 EUR 0.895095", "2026-10-30 CNY 6.6529"];
        assert_eq!(told(&read.rates), expected);
    }

    #[test]
    fn a_bad_line_does_not_lose_the_others_and_a_bad_heading_all() {
        let read = decode(format!("{SMALL}soon,1,2,3\n2026-11-02,1,2,-3\n2026-11-03,,,6.7\n").as_bytes(), "test").unwrap();
        assert_eq!(read.rates.len(), 5);
        assert_eq!(read.refused, [(5, "\"soon\" is no date".into()), (6, "\"-3\" is no rate of CNY".into())]);
        for bad in ["", "# only\n", "day,cny_per_usd\n", "date,usd_per_gbp\n"] {
            assert!(decode(bad.as_bytes(), "test").is_err(), "{bad}");
        }
    }

    #[test]
    fn only_new_rates_near_the_last_are_believed() {
        let table = known("2026-10-28,1.1,6.66\n");
        let read = decode(SMALL.as_bytes(), "test").unwrap();
        let today = "2026-10-29".parse().unwrap();
        let (taken, held) = judge(&read, &table, today);
        assert_eq!(told(&taken), ["2026-10-29 EUR 0.898473", "2026-10-29 CNY 6.6616"]);
        assert_eq!(held, ["EUR of 2026-10-30: this day has not come", "CNY of 2026-10-30: this day has not come"]);
        let far = decode(b"date,cny_per_usd\n2026-10-29,9\n2026-10-30,6.7\n", "test").unwrap();
        let (taken, held) = judge(&far, &table, "2026-12-01".parse().unwrap());
        assert_eq!(told(&taken), ["2026-10-30 CNY 6.7"]);
        assert_eq!(held, ["CNY of 2026-10-29: 6.66 to 9 per dollar is more than a fifth"]);
        assert_eq!(judge(&read, &known("2026-10-30,1.1,6.6\n"), today), (vec![], vec![]));
        assert!(judge(&read, &FxTable::default(), today).1[0].contains("no rate of this currency"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, "test");
            let _ = decode(&[b"date,cny_per_usd\n".as_slice(), &bytes].concat(), "test");
        }
    }
}
