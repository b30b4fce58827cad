//! Readings of a prepaid balance: what it fell by between two of them against what the books charged meanwhile. For vendors whose
//! bill cannot be exported, and for a look before it is there.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::bill::BillError;
use super::decimal::Decimal;
use super::table::{TableError, read};

/// No file has more.
const MOST_READINGS: usize = 100_000;

/// What a balance was at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub at: Timestamp,
    /// 10⁻¹² units of its currency.
    pub pico: i128,
    /// A unit of its last place.
    pub step: i128,
}

/// Two readings, and what came between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub from: Reading,
    pub until: Reading,
    /// What the books charged.
    pub booked: i128,
    /// The part of that which rests on estimates.
    pub estimated: i128,
}

impl Interval {
    /// What the balance fell by; below zero where it rose.
    pub const fn fell(&self) -> i128 {
        self.from.pico - self.until.pico
    }

    /// What it fell by beyond what the books have.
    pub const fn off(&self) -> i128 {
        self.fell() - self.booked
    }

    /// In words, what the difference is.
    pub fn cause(&self) -> &'static str {
        let (off, rounding) = (self.off(), self.from.step + self.until.step);
        match off {
            0 => "agrees",
            off if off.abs() <= rounding => "rounding of the readings",
            _ if self.fell() < -rounding => "topped up in between: read the balance before and after",
            off if off < 0 && -off <= self.estimated + rounding => "estimated rows",
            off if off < 0 => "charged later, or topped up in between",
            _ => "missing rows, a dearer price, or a charge for something else",
        }
    }
}

/// Reads a table of `time` and `balance`. An instant without an offset is in this zone.
pub fn readings(from: impl Read, zone: &TimeZone) -> Result<Vec<Reading>, BillError> {
    let names = [vec!["time".to_owned(), "at".to_owned(), "时间".to_owned()], vec!["balance".to_owned(), "余额".to_owned()]];
    let (mut found, mut told, mut count) = (Vec::new(), Vec::new(), 0);
    read::<[usize; 2], BillError>(
        from,
        |heading| {
            let places = [heading.place(&names[0]), heading.place(&names[1])];
            let [Some(time), Some(balance)] = places else {
                return Err(BillError::Unknown { vendor: "a balance".to_owned(), wanted: "time, balance".to_owned() });
            };
            Ok([time, balance])
        },
        |places, row| {
            if row.is_blank() {
                return Ok(());
            }
            if found.len() >= MOST_READINGS {
                return Err(TableError::TooLong.into());
            }
            let [time, balance] = places.map(|place| row.cell(Some(place)));
            match (instant(time, zone), Decimal::read(balance)) {
                (Some(at), Some(read)) => found.push(Reading { at, pico: read.pico, step: 10_i128.pow(12 - read.places) }),
                _ => {
                    count += 1;
                    if told.len() < 10 {
                        told.push(format!("line {}: {time:?} and {balance:?} are no instant and balance", row.line));
                    }
                }
            }
            Ok(())
        },
    )?;
    if count > 0 {
        return Err(BillError::Rows { count, told });
    }
    found.sort_by_key(|reading| reading.at);
    Ok(found)
}

fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(civil)
}

/// Sets readings against charges, each with its instant, its amount and whether it rests on an estimate.
pub fn set_against(readings: &[Reading], charges: impl IntoIterator<Item = (Timestamp, i128, bool)>) -> Vec<Interval> {
    let pair = |pair: &[Reading]| match pair {
        [from, until] => Some(Interval { from: *from, until: *until, booked: 0, estimated: 0 }),
        _ => None,
    };
    let mut intervals: Vec<Interval> = readings.windows(2).filter_map(pair).collect();
    for (at, pico, estimated) in charges {
        // The one that begins at or before it and ends after it.
        let place = intervals.partition_point(|interval| interval.until.at <= at);
        if let Some(interval) = intervals.get_mut(place).filter(|interval| interval.from.at <= at) {
            interval.booked += pico;
            interval.estimated += if estimated { pico } else { 0 };
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: i128 = 10_000_000_000;

    #[test]
    fn what_a_balance_fell_by_is_set_against_what_was_charged_meanwhile() {
        let text = "time,balance\n2026-11-01T12:00:00Z,100.00\n2026-11-01 21:00,99.50\n2026-11-01T14:00:00Z,99.48\n2026-11-02T00:00:00Z,149.00\n";
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let readings = readings(text.as_bytes(), &zone).unwrap();
        assert_eq!(readings.len(), 4);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let charges = [
            (at("2026-11-01T11:59:59Z"), 900 * CENT, false),
            (at("2026-11-01T12:00:00Z"), 30 * CENT, false),
            (at("2026-11-01T12:30:00Z"), 20 * CENT, true),
            (at("2026-11-01T13:00:00Z"), 2 * CENT + 1, false),
            (at("2026-11-01T15:00:00Z"), 50 * CENT, false),
            (at("2026-11-03T00:00:00Z"), 900 * CENT, false),
        ];
        let intervals = set_against(&readings, charges);
        let told: Vec<_> = intervals.iter().map(|i| (i.fell(), i.booked, i.estimated, i.cause())).collect();
        assert_eq!(
            told,
            [
                (50 * CENT, 50 * CENT, 20 * CENT, "agrees"),
                (2 * CENT, 2 * CENT + 1, 0, "rounding of the readings"),
                (-4952 * CENT, 50 * CENT, 0, "topped up in between: read the balance before and after"),
            ]
        );
        let more = Interval { booked: 0, ..intervals[0] };
        assert!(more.cause().starts_with("missing rows"));
        let less = Interval { booked: 70 * CENT, ..intervals[0] };
        assert_eq!(less.cause(), "estimated rows");
        let wrong = super::readings("time,balance\nnow,1\n".as_bytes(), &zone).unwrap_err().to_string();
        assert!(wrong.contains("line 2"), "{wrong}");
    }
}
