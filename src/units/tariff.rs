//! What the tokens of one attempt cost: the prices that were in force, as the books keep them. A tariff is taken from
//! the price book once, when the attempt begins, and settles the attempt whatever the price book says by then.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::money::{Amount, Currency, ExchangeRate, TokenPrice, Usd};
use super::tokens::Usage;

/// Prices per token by kind, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    pub currency: Currency,
    pub input: TokenPrice,
    /// Input read from the vendor's cache; the input price where the vendor names none.
    pub cache_read: TokenPrice,
    /// Input written to the vendor's cache; the input price where the vendor names none.
    pub cache_write: TokenPrice,
    pub output: TokenPrice,
}

impl Tariff {
    /// Costs nothing: for a backend that the operator marks free.
    pub const fn free(currency: Currency) -> Self {
        let zero = TokenPrice::FREE;
        Self { currency, input: zero, cache_read: zero, cache_write: zero, output: zero }
    }

    /// What this usage costs, exactly, in the vendor's currency.
    pub fn cost(&self, usage: &Usage) -> Amount {
        let pico = usage.fresh_input * self.input
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
            + usage.output * self.output;
        Amount::from_pico(pico, self.currency)
    }

    /// What a million tokens cost that come in this mix, none of them from a cache.
    pub fn blended(&self, mix: Mix) -> Amount {
        let parts = i128::from(mix.input) * self.input.million(self.currency).pico()
            + i128::from(mix.output) * self.output.million(self.currency).pico();
        Amount::from_pico(parts, self.currency).divided(mix.parts())
    }

    /// What this usage costs at most, however its input turns out to be cached: each input token at the dearest kind.
    pub fn worst_cost(&self, usage: &Usage) -> Amount {
        let dearest = self.input.max(self.cache_read).max(self.cache_write);
        Amount::from_pico(usage.input() * dearest + usage.output * self.output, self.currency)
    }

    /// The same in the ledger's currency. `None` when the rate is for another currency.
    pub fn cost_usd(&self, usage: &Usage, rate: ExchangeRate) -> Option<Usd> {
        rate.convert(self.cost(usage))
    }
}

/// How many parts of input come with how many parts of output, to compare prices by one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    input: u16,
    output: u16,
}

impl Mix {
    /// Three parts of input to one of output, the mix that public comparisons of prices use.
    pub const USUAL: Mix = Mix { input: 3, output: 1 };

    fn parts(self) -> NonZeroU32 {
        NonZeroU32::new(u32::from(self.input) + u32::from(self.output)).unwrap_or(NonZeroU32::MIN)
    }
}

impl FromStr for Mix {
    type Err = &'static str;

    /// Reads `3:1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "two whole numbers of at most 65535, input and output, not both zero, such as 3:1";
        let (input, output) = text.split_once(':').ok_or(SHAPE)?;
        let part = |text: &str| text.parse::<u16>().map_err(|_| SHAPE);
        match (part(input)?, part(output)?) {
            (0, 0) => Err(SHAPE),
            (input, output) => Ok(Self { input, output }),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tokens;

    #[test]
    fn each_kind_of_token_has_its_price() {
        let price = |p| TokenPrice::per_million(p).unwrap();
        let tariff = Tariff {
            currency: Currency::Cny,
            input: price("1"),
            cache_read: price("0.1"),
            cache_write: price("1.25"),
            output: price("4"),
        };
        let t = Tokens::new;
        let usage = Usage { fresh_input: t(10), cache_read: t(20), cache_write: t(4), output: t(3), reasoning: t(2) };
        assert_eq!(tariff.cost(&usage), Amount::from_pico(10_000_000 + 2_000_000 + 5_000_000 + 12_000_000, Currency::Cny));
        assert_eq!(tariff.worst_cost(&usage), Amount::from_pico(34 * 1_250_000 + 12_000_000, Currency::Cny));
    }

    #[test]
    fn a_mix_weighs_input_and_output() {
        let price = |p| TokenPrice::per_million(p).unwrap();
        let tariff = Tariff { input: price("1"), output: price("4"), ..Tariff::free(Currency::Usd) };
        let blended = |mix: &str| tariff.blended(mix.parse().unwrap()).to_exact();
        assert_eq!(
            (blended("3:1"), blended("0:1"), blended("1:0"), blended("2:1")),
            ("1.75".into(), "4".into(), "1".into(), "2".into())
        );
        assert_eq!(Mix::USUAL.to_string().parse(), Ok(Mix::USUAL));
        assert!(["3", "0:0", "-1:1", "1:1:1", ""].iter().all(|bad| bad.parse::<Mix>().is_err()));
    }
}
