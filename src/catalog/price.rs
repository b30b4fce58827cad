//! Dated prices. A schedule is a list of rows, each in force from an instant (and perhaps until one); the price of any
//! backend at any instant follows from it. Rows are flat today; windows and cells will be further members of a row,
//! read by the same two questions: which row is in force, and what does a usage cost by its tariff.

use jiff::Timestamp;

use crate::units::{Currency, Tariff};

/// A tariff, when it is in force and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub tariff: Tariff,
    /// In force from here; `None` for "as far back as we know".
    pub from: Option<Timestamp>,
    /// In force until just before here.
    pub until: Option<Timestamp>,
    /// Document and date the prices were taken from.
    pub source: String,
}

impl PriceRow {
    fn in_force(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// A row that costs nothing, for a backend that the operator marks free.
    pub fn free(currency: Currency) -> Self {
        Self { tariff: Tariff::free(currency), from: None, until: None, source: "marked free by the operator".into() }
    }
}

/// All price rows of one backend, past, present and announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceSchedule {
    rows: Vec<PriceRow>,
}

impl PriceSchedule {
    pub fn new(mut rows: Vec<PriceRow>) -> Self {
        rows.sort_by_key(|row| row.from);
        Self { rows }
    }

    /// The row in force at an instant: of several, the one that began last. `None`: no price, so not to be used.
    pub fn at(&self, instant: Timestamp) -> Option<&PriceRow> {
        self.rows.iter().rev().find(|row| row.in_force(instant))
    }

    pub fn rows(&self) -> &[PriceRow] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TokenPrice;

    fn row(from: Option<i64>, until: Option<i64>, input: &str) -> PriceRow {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let price = TokenPrice::per_million(input).unwrap();
        let tariff = Tariff { input: price, ..Tariff::free(Currency::Usd) };
        PriceRow { tariff, from: from.map(at), until: until.map(at), source: "test".into() }
    }

    fn check(rows: Vec<PriceRow>, at: i64, expected: Option<&str>) {
        let schedule = PriceSchedule::new(rows);
        let found = schedule.at(Timestamp::from_second(at).unwrap()).map(|r| r.tariff.input.to_per_million());
        assert_eq!(found.as_deref(), expected, "at {at}");
    }

    #[test]
    fn the_row_in_force_is_the_one_that_began_last() {
        let rows = || vec![row(Some(100), None, "2"), row(None, None, "1"), row(Some(200), Some(300), "3")];
        check(rows(), 99, Some("1"));
        check(rows(), 100, Some("2"));
        check(rows(), 299, Some("3"));
        check(rows(), 300, Some("2"));
        check(vec![row(Some(100), None, "2")], 99, None);
    }
}
