//! Exact money. An amount is a whole number of 10⁻¹² units of one currency, so that a list price of 0.14 per million
//! tokens is exactly 140,000 per token: no list price rounds, and a sum does not depend on its order. Conversion to
//! the ledger's currency happens once per row, at a dated rate, rounding half to even. Nothing here is floating point.

use std::fmt;
use std::iter::Sum;
use std::num::NonZeroU32;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::str::FromStr;

use super::tokens::Tokens;

/// How many of our smallest units make one unit of a currency.
pub const PICO: i128 = 1_000_000_000_000;

/// A currency that a vendor bills in (ISO 4217).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Currency {
    Usd,
    Cny,
    Eur,
}

impl Currency {
    /// Every currency a price may stand in.
    pub const ALL: [Currency; 3] = [Currency::Usd, Currency::Cny, Currency::Eur];

    /// The ISO 4217 code.
    pub const fn code(self) -> &'static str {
        match self {
            Currency::Usd => "USD",
            Currency::Cny => "CNY",
            Currency::Eur => "EUR",
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = ();

    fn from_str(code: &str) -> Result<Self, ()> {
        Currency::ALL.into_iter().find(|c| c.code() == code).ok_or(())
    }
}

/// The price of one token in 10⁻¹² units of the currency of the price row it belongs to. A type of its own, so that
/// adding a price to a cost does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TokenPrice(u64);

impl TokenPrice {
    pub const FREE: TokenPrice = TokenPrice(0);

    /// A price from 10⁻¹² units per token.
    pub const fn from_pico(pico_per_token: u64) -> Self {
        Self(pico_per_token)
    }

    /// 10⁻¹² units per token.
    pub const fn pico(self) -> u64 {
        self.0
    }

    /// Reads a list price "per million tokens" written as a plain decimal (`0.14`, `12`, `1_000.5`).
    ///
    /// Fails with what would be accepted when it is no decimal, is negative, or is finer than six places (10⁻¹² per token).
    pub fn per_million(text: &str) -> Result<Self, &'static str> {
        let pico = parse_decimal(text, 6)?;
        u64::try_from(pico).map(Self).map_err(|_| "a price of zero or more that fits 64 bits")
    }

    /// What a million tokens cost.
    pub fn million(self, currency: Currency) -> Amount {
        Amount { pico: i128::from(self.0) * 1_000_000, currency }
    }

    /// The list price "per million tokens" as a decimal without needless zeros.
    pub fn to_per_million(self) -> String {
        exact(i128::from(self.0), 6)
    }
}

/// Money in the currency a vendor bills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    pico: i128,
    currency: Currency,
}

impl Amount {
    /// An amount of 10⁻¹² units of `currency`.
    pub const fn from_pico(pico: i128, currency: Currency) -> Self {
        Self { pico, currency }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self { pico: 0, currency }
    }

    /// 10⁻¹² units of the currency.
    pub const fn pico(self) -> i128 {
        self.pico
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Every digit that counts, without the currency: what a machine reads.
    pub fn to_exact(self) -> String {
        exact(self.pico, 12)
    }

    /// With this many decimals (at most twelve), rounded half to even, without the currency: what a person reads.
    pub fn to_rounded(self, places: u32) -> String {
        let places = places.min(12);
        decimal(div_half_even(self.pico, 10_i128.pow(12 - places)), places)
    }

    /// A part of the amount, rounded half to even at 10⁻¹².
    #[must_use]
    pub fn divided(self, by: NonZeroU32) -> Self {
        Self { pico: div_half_even(self.pico, i128::from(by.get())), ..self }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_exact(), self.currency)
    }
}

impl Mul<TokenPrice> for Tokens {
    /// 10⁻¹² units of the currency of the price row.
    type Output = i128;

    fn mul(self, price: TokenPrice) -> i128 {
        i128::from(self.get()) * i128::from(price.0)
    }
}

/// Money in the ledger's currency, US dollars, in 10⁻¹² dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Usd(i128);

impl Usd {
    pub const ZERO: Usd = Usd(0);
    pub const MAX: Usd = Usd(i128::MAX);

    pub const fn from_pico(pico: i128) -> Self {
        Self(pico)
    }

    /// 10⁻¹² dollars.
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// Reads dollars written as a decimal (`0.02`), exact to 10⁻¹² dollars.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        parse_decimal(text, 12).map(Self)
    }

    /// For metrics only, where a float is the format: dollars, rounded to the nearest double.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus samples are doubles; the books never read this")]
    pub fn to_metric(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// Dollars rounded up to whole micro-dollars, with six decimals: what a person reads. Rounding is half to even.
    pub fn to_micros(self) -> String {
        decimal(div_half_even(self.0, 1_000_000), 6)
    }

    /// Every digit that counts, without needless zeros: what a machine reads.
    pub fn to_exact(self) -> String {
        exact(self.0, 12)
    }

    /// `self × millionths ÷ 10⁶`, rounded half to even. Used to weigh a cost by a risk.
    #[must_use]
    pub fn scaled(self, millionths: u64) -> Self {
        Self(div_half_even(self.0.saturating_mul(i128::from(millionths)), 1_000_000))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.to_micros())
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Usd;
    fn sub(self, other: Usd) -> Usd {
        Usd(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

/// How many units of a currency one US dollar buys, exact to 10⁻⁶.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeRate {
    currency: Currency,
    micro_per_usd: u64,
}

impl ExchangeRate {
    /// One dollar is one dollar.
    pub const USD: ExchangeRate = ExchangeRate { currency: Currency::Usd, micro_per_usd: 1_000_000 };

    /// Reads the units of `currency` per US dollar (`6.6529`), at most six decimals, above zero.
    pub fn parse(currency: Currency, per_usd: &str) -> Result<Self, &'static str> {
        let micro = parse_decimal(per_usd, 6)?;
        match u64::try_from(micro) {
            Ok(micro_per_usd) if micro_per_usd > 0 => Ok(Self { currency, micro_per_usd }),
            _ => Err("a rate above zero, in units of the currency per US dollar"),
        }
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The rate as it was read, without needless zeros.
    pub fn per_usd(self) -> String {
        exact(i128::from(self.micro_per_usd), 6)
    }

    /// Converts an amount in this rate's currency to dollars, rounding half to even at 10⁻¹² dollars.
    ///
    /// `None` when the amount is in another currency.
    pub fn convert(self, amount: Amount) -> Option<Usd> {
        if amount.currency != self.currency {
            return None;
        }
        if self.micro_per_usd == 1_000_000 {
            return Some(Usd(amount.pico));
        }
        Some(Usd(div_half_even(amount.pico * 1_000_000, i128::from(self.micro_per_usd))))
    }

    /// Converts dollars to this rate's currency, rounding half to even at 10⁻¹² of it.
    pub fn from_dollars(self, dollars: Usd) -> Amount {
        let pico = div_half_even(dollars.0.saturating_mul(i128::from(self.micro_per_usd)), 1_000_000);
        Amount { pico, currency: self.currency }
    }
}

/// Integer division that rounds half to even; the divisor is above zero.
fn div_half_even(dividend: i128, divisor: i128) -> i128 {
    let quotient = dividend.div_euclid(divisor);
    let twice = dividend.rem_euclid(divisor) * 2;
    let up = twice > divisor || (twice == divisor && quotient % 2 != 0);
    quotient + i128::from(up)
}

/// Reads a plain decimal into units of 10^-places.
fn parse_decimal(text: &str, places: u32) -> Result<i128, &'static str> {
    const SHAPE: &str = "a plain decimal number such as 0.14";
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(SHAPE);
    }
    if fraction.len() > places as usize {
        return Err("a decimal with fewer places (a price per million tokens takes six, dollars twelve)");
    }
    let scale = 10_i128.pow(places);
    let whole = whole.parse::<i128>().ok().and_then(|w| w.checked_mul(scale)).ok_or("a smaller number")?;
    let fraction = format!("{fraction:0<width$}", width = places as usize);
    Ok(whole + fraction.parse::<i128>().unwrap_or(0))
}

/// Writes units of 10^-places as a decimal with all its places.
fn decimal(units: i128, places: u32) -> String {
    let scale = 10_u128.pow(places);
    let sign = if units < 0 { "-" } else { "" };
    let units = units.unsigned_abs();
    format!("{sign}{}.{:0width$}", units / scale, units % scale, width = places as usize)
}

/// The same without needless zeros.
fn exact(units: i128, places: u32) -> String {
    let scale = 10_i128.pow(places);
    if units % scale == 0 {
        return (units / scale).to_string();
    }
    let mut text = decimal(units, places);
    text.truncate(text.trim_end_matches('0').len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_price_is_exact_per_token() {
        assert_eq!(TokenPrice::per_million("0.14").unwrap().pico(), 140_000);
        assert_eq!(TokenPrice::per_million("12").unwrap().pico(), 12_000_000);
        assert_eq!(TokenPrice::per_million("0.000001").unwrap().pico(), 1);
        assert_eq!(TokenPrice::per_million("1.50").unwrap().to_per_million(), "1.5");
    }

    #[test]
    fn a_price_that_would_round_is_refused() {
        for bad in ["0.0000001", "-1", "1e3", "", ".5", "1.2.3", "NaN"] {
            assert!(TokenPrice::per_million(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conversion_rounds_half_to_even_once() {
        let rate = ExchangeRate::parse(Currency::Cny, "2").unwrap();
        let usd = |pico| rate.convert(Amount::from_pico(pico, Currency::Cny)).unwrap().pico();
        assert_eq!((usd(1), usd(3), usd(5), usd(4)), (0, 2, 2, 2));
        assert_eq!(rate.convert(Amount::zero(Currency::Usd)), None);
        assert!(ExchangeRate::parse(Currency::Cny, "0").is_err());
    }

    #[test]
    fn dollars_become_another_currency_and_back() {
        let rate = ExchangeRate::parse(Currency::Cny, "6.6529").unwrap();
        let yuan = rate.from_dollars(Usd::parse("2").unwrap());
        assert_eq!((yuan.to_exact().as_str(), yuan.currency()), ("13.3058", Currency::Cny));
        assert_eq!(rate.convert(yuan), Some(Usd::parse("2").unwrap()));
    }

    #[test]
    fn an_amount_is_written_exactly_or_rounded_half_to_even() {
        let amount = TokenPrice::per_million("0.12345").unwrap().million(Currency::Eur);
        assert_eq!(
            (amount.to_exact(), amount.to_rounded(4), amount.to_rounded(2)),
            ("0.12345".into(), "0.1234".into(), "0.12".into())
        );
        let third = Amount::from_pico(10, Currency::Usd).divided(NonZeroU32::new(4).unwrap());
        assert_eq!(third.pico(), 2);
    }

    #[test]
    fn people_read_micro_dollars_and_machines_every_digit() {
        let cost = Usd::parse("0.0000125").unwrap();
        assert_eq!(cost.to_string(), "$0.000012");
        assert_eq!(cost.to_exact(), "0.0000125");
        assert_eq!(Usd::parse("3").unwrap().to_exact(), "3");
    }

    proptest! {
        #[test]
        fn decimals_survive_a_round_trip(pico in 0_i128..1_000_000_000_000_000_000) {
            prop_assert_eq!(Usd::parse(&Usd::from_pico(pico).to_exact()).unwrap().pico(), pico);
        }

        #[test]
        fn a_conversion_is_never_off_by_more_than_half_a_unit(pico in 0_i128..1_000_000_000_000, micro in 1_u64..20_000_000) {
            let rate = ExchangeRate { currency: Currency::Cny, micro_per_usd: micro };
            let usd = rate.convert(Amount::from_pico(pico, Currency::Cny)).unwrap().pico();
            let error = (usd * i128::from(micro) - pico * 1_000_000).abs() * 2;
            prop_assert!(error <= i128::from(micro) || micro == 1_000_000);
        }
    }
}
