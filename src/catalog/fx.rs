//! Dated exchange rates. The only place where currencies meet: a cost stays in the vendor's currency until it is
//! converted here, once, at the last rate published on or before its day (European Central Bank reference rates).

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::units::{Amount, Currency, ExchangeRate, Usd};

/// One published rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedRate {
    pub date: Date,
    pub rate: ExchangeRate,
    pub source: Arc<str>,
}

/// Rates to the US dollar, by currency and day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FxTable {
    /// By currency, then the oldest first.
    rates: Vec<DatedRate>,
}

impl FxTable {
    pub fn new(mut rates: Vec<DatedRate>) -> Self {
        rates.sort_by_key(|r| (r.rate.currency(), r.date));
        Self { rates }
    }

    /// The rate of a currency at an instant: the last one published on or before that day (UTC), or the oldest known
    /// where the instant lies before all of them. `None`: no rate at all for that currency.
    pub fn at(&self, currency: Currency, instant: Timestamp) -> Option<ExchangeRate> {
        self.dated(currency, instant).map(|(rate, _)| rate)
    }

    /// The same with the day it was published; for the dollar itself the day of the instant.
    pub fn dated(&self, currency: Currency, instant: Timestamp) -> Option<(ExchangeRate, Date)> {
        let day = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
        if currency == Currency::Usd {
            return Some((ExchangeRate::USD, day));
        }
        self.published(currency, instant).map(|found| (found.rate, found.date))
    }

    /// The same with its source. `None` for the dollar too: nobody publishes what it is in dollars.
    pub fn published(&self, currency: Currency, instant: Timestamp) -> Option<&DatedRate> {
        let day = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
        let begin = self.rates.partition_point(|r| r.rate.currency() < currency);
        let of_currency = &self.rates[begin..];
        let of_currency = &of_currency[..of_currency.partition_point(|r| r.rate.currency() == currency)];
        let after = of_currency.partition_point(|r| r.date <= day);
        of_currency.get(after.saturating_sub(1))
    }

    /// An amount in another currency, through the dollar, each rate that of the day; what is in it already stays exact.
    pub fn exchange(&self, amount: Amount, into: Currency, instant: Timestamp) -> Option<Amount> {
        if amount.currency() == into {
            return Some(amount);
        }
        Some(self.at(into, instant)?.from_dollars(self.convert(amount, instant)?))
    }

    /// Converts a vendor's amount at the rate of its day.
    pub fn convert(&self, amount: Amount, instant: Timestamp) -> Option<Usd> {
        self.at(amount.currency(), instant)?.convert(amount)
    }

    /// The first instant after another at which some rate is published.
    pub fn next_step(&self, after: Timestamp) -> Option<Timestamp> {
        let day = after.to_zoned(jiff::tz::TimeZone::UTC).date();
        let next = self.rates.iter().map(|rate| rate.date).filter(|date| *date > day).min()?;
        next.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|midnight| midnight.timestamp())
    }

    pub fn rates(&self) -> &[DatedRate] {
        &self.rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(date: &str, per_usd: &str) -> DatedRate {
        DatedRate {
            date: date.parse().unwrap(),
            rate: ExchangeRate::parse(Currency::Cny, per_usd).unwrap(),
            source: "test".into(),
        }
    }

    #[test]
    fn the_rate_of_a_day_is_the_last_one_published_before_it() {
        let table = FxTable::new(vec![rate("2026-10-30", "6.65"), rate("2026-10-28", "6.66")]);
        let at = |t: &str| table.at(Currency::Cny, t.parse().unwrap()).map(ExchangeRate::per_usd);
        assert_eq!(at("2026-10-29T12:00:00Z").as_deref(), Some("6.66"));
        assert_eq!(at("2026-11-22T00:00:00Z").as_deref(), Some("6.65"));
        assert_eq!(at("2020-01-01T00:00:00Z").as_deref(), Some("6.66"));
        assert_eq!(table.at(Currency::Eur, Timestamp::UNIX_EPOCH), None);
        let step = |after: &str| table.next_step(after.parse().unwrap()).map(|step| step.to_string());
        assert_eq!(step("2026-10-28T23:59:59Z").as_deref(), Some("2026-10-30T00:00:00Z"));
        assert_eq!(step("2026-10-30T00:00:00Z"), None);
        assert_eq!(table.at(Currency::Usd, Timestamp::UNIX_EPOCH), Some(ExchangeRate::USD));
    }

    #[test]
    fn currencies_meet_in_the_dollar() {
        let euro = DatedRate { rate: ExchangeRate::parse(Currency::Eur, "0.5").unwrap(), ..rate("2026-10-30", "1") };
        let table = FxTable::new(vec![rate("2026-10-30", "8"), euro]);
        let at = "2026-11-22T00:00:00Z".parse().unwrap();
        let eight = Amount::from_pico(8_000, Currency::Cny);
        let into = |currency| table.exchange(eight, currency, at).map(Amount::pico);
        assert_eq!((into(Currency::Cny), into(Currency::Usd), into(Currency::Eur)), (Some(8_000), Some(1_000), Some(500)));
        assert_eq!(FxTable::default().exchange(eight, Currency::Eur, at), None);
        assert_eq!(table.published(Currency::Usd, at), None);
    }
}
