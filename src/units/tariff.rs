//! What the tokens of one attempt cost: the prices that were in force, as the books keep them. A tariff is taken from
//! the price book once, when the attempt begins, and settles the attempt whatever the price book says by then.

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
}
