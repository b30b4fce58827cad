//! Prices per token by kind: the smallest part of a price list. Which of them applies to a request, by its length, its
//! hour or its thinking, is for [`Sheet`](super::Sheet) and [`Pricing`](super::Pricing) to say.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::money::{Amount, Currency, TokenPrice};
use super::pieces::PiecePrice;
use super::tokens::Usage;

/// Prices per token by kind, in one currency. A kind that a vendor does not name costs what the kind it belongs to costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    pub currency: Currency,
    pub input: TokenPrice,
    /// Input read from the vendor's cache; the input price where the vendor names none.
    pub cache_read: TokenPrice,
    /// Input written to the vendor's cache for minutes; the input price where the vendor names none.
    pub cache_write: TokenPrice,
    /// Input written to the vendor's cache for an hour or more; the price of the short write where the vendor names none.
    pub cache_write_long: TokenPrice,
    pub output: TokenPrice,
    /// Output that was reasoning, where it is billed apart; else the output price.
    pub reasoning: TokenPrice,
    /// Fresh input that was images, where it is billed apart; else the input price.
    pub image_input: TokenPrice,
    /// Fresh input that was sound, where it is billed apart; else the input price.
    pub audio_input: TokenPrice,
    /// Output that was sound, where it is billed apart; else the output price.
    pub audio_output: TokenPrice,
    /// What is billed by the piece.
    pub pieces: PiecePrice,
}

impl Tariff {
    /// Costs nothing: for what the operator or the vendor marks free.
    pub const fn free(currency: Currency) -> Self {
        Self::flat(currency, TokenPrice::FREE, TokenPrice::FREE)
    }

    /// One price for whatever goes in and one for whatever comes out.
    pub const fn flat(currency: Currency, input: TokenPrice, output: TokenPrice) -> Self {
        Self {
            currency,
            input,
            cache_read: input,
            cache_write: input,
            cache_write_long: input,
            output,
            reasoning: output,
            image_input: input,
            audio_input: input,
            audio_output: output,
            pieces: PiecePrice::FREE,
        }
    }

    /// What this usage costs, exactly, in the vendor's currency.
    pub fn cost(&self, usage: &Usage) -> Amount {
        Amount::from_pico(self.input_pico(usage) + self.output_pico(usage) + self.pieces.cost(usage.pieces), self.currency)
    }

    /// What the input costs, in 10⁻¹² units of the currency.
    pub(super) fn input_pico(&self, usage: &Usage) -> i128 {
        let (image, audio) = usage.fresh_media();
        let text = usage.fresh_input.saturating_sub(image + audio);
        let (short, long) = usage.writes();
        text * self.input
            + image * self.image_input
            + audio * self.audio_input
            + usage.cache_read * self.cache_read
            + short * self.cache_write
            + long * self.cache_write_long
    }

    /// What the output costs, in 10⁻¹² units of the currency. Sound that was reasoning too would count as sound.
    pub(super) fn output_pico(&self, usage: &Usage) -> i128 {
        let audio = usage.audio_output.min(usage.output);
        let reasoning = usage.reasoning.min(usage.output.saturating_sub(audio));
        let said = usage.output.saturating_sub(audio + reasoning);
        said * self.output + reasoning * self.reasoning + audio * self.audio_output
    }

    /// Every price times a factor; `None` where one of them would not be exact or would not fit.
    pub fn times(&self, factor: Factor) -> Option<Self> {
        let times = |price: TokenPrice| factor.of(price);
        Some(Self {
            currency: self.currency,
            input: times(self.input)?,
            cache_read: times(self.cache_read)?,
            cache_write: times(self.cache_write)?,
            cache_write_long: times(self.cache_write_long)?,
            output: times(self.output)?,
            reasoning: times(self.reasoning)?,
            image_input: times(self.image_input)?,
            audio_input: times(self.audio_input)?,
            audio_output: times(self.audio_output)?,
            pieces: factor.of_pieces(self.pieces)?,
        })
    }

    /// What a million tokens cost that come in this mix, none of them from a cache.
    pub fn blended(&self, mix: Mix) -> Amount {
        let parts = i128::from(mix.input) * self.input.million(self.currency).pico()
            + i128::from(mix.output) * self.output.million(self.currency).pico();
        Amount::from_pico(parts, self.currency).divided(mix.parts())
    }

    /// The dearest price that an input token may have, however it turns out to be cached and whatever it holds.
    pub fn dearest_input(&self) -> TokenPrice {
        let cached = self.cache_read.max(self.cache_write).max(self.cache_write_long);
        self.input.max(cached).max(self.image_input).max(self.audio_input)
    }

    /// The dearest price that an output token may have.
    pub fn dearest_output(&self) -> TokenPrice {
        self.output.max(self.reasoning).max(self.audio_output)
    }
}

/// By how much a list price is multiplied in some hours, exact to 10⁻⁶.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Factor(u32);

impl Factor {
    /// The price as it is listed.
    pub const ONE: Factor = Factor(1_000_000);

    /// Reads a decimal above zero and at most 100 (`2`, `0.5`).
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "a factor above 0 and at most 100, with at most six decimals, such as 2 or 0.5";
        let millionths = TokenPrice::per_million(text).map_err(|_| SHAPE)?.pico();
        match u32::try_from(millionths) {
            Ok(millionths @ 1..=100_000_000) => Ok(Self(millionths)),
            _ => Err(SHAPE),
        }
    }

    /// A price times the factor; `None` where that is not exact or does not fit.
    pub fn of(self, price: TokenPrice) -> Option<TokenPrice> {
        let product = u128::from(price.pico()) * u128::from(self.0);
        if !product.is_multiple_of(1_000_000) {
            return None;
        }
        u64::try_from(product / 1_000_000).ok().map(TokenPrice::from_pico)
    }

    /// The same of a price by the piece.
    pub fn of_pieces(self, price: PiecePrice) -> Option<PiecePrice> {
        PiecePrice::new(self.of(TokenPrice::from_pico(price.pico()))?.pico(), price.per())
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&TokenPrice::from_pico(u64::from(self.0)).to_per_million())
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

    fn price(per_million: &str) -> TokenPrice {
        TokenPrice::per_million(per_million).unwrap()
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let tariff = Tariff {
            cache_read: price("0.1"),
            cache_write: price("1.25"),
            cache_write_long: price("2"),
            reasoning: price("3"),
            image_input: price("5"),
            audio_input: price("7"),
            audio_output: price("9"),
            pieces: PiecePrice::new(8_000_000, 2).unwrap(),
            ..Tariff::flat(Currency::Cny, price("1"), price("4"))
        };
        let t = Tokens::new;
        let usage = Usage {
            fresh_input: t(10),
            cache_read: t(20),
            cache_write: t(6),
            output: t(6),
            reasoning: t(2),
            cache_write_long: t(2),
            image_input: t(3),
            audio_input: t(1),
            audio_output: t(1),
            pieces: 3,
        };
        let micros = 6 + 15 + 7 + 2 + 5 + 4 + (3 * 4 + 2 * 3 + 9) + 12;
        assert_eq!(tariff.cost(&usage), Amount::from_pico(micros * 1_000_000, Currency::Cny));
        assert_eq!((tariff.dearest_input(), tariff.dearest_output()), (price("7"), price("9")));
    }

    #[test]
    fn a_part_is_never_more_than_its_whole() {
        let tariff =
            Tariff { image_input: price("5"), reasoning: price("9"), ..Tariff::flat(Currency::Usd, price("1"), price("4")) };
        let t = Tokens::new;
        let odd = Usage { fresh_input: t(2), image_input: t(50), output: t(3), reasoning: t(70), ..Usage::default() };
        assert_eq!(tariff.cost(&odd).pico(), (2 * 5 + 3 * 9) * 1_000_000);
    }

    #[test]
    fn a_factor_is_exact_or_nothing() {
        let times = |factor: &str, of: &str| Factor::parse(factor).unwrap().of(price(of)).map(TokenPrice::to_per_million);
        assert_eq!(times("2", "0.15").as_deref(), Some("0.3"));
        assert_eq!(times("0.25", "0.55").as_deref(), Some("0.1375"));
        assert_eq!(times("0.5", "0.000001"), None);
        assert_eq!(Factor::parse("0.5").unwrap().to_string(), "0.5");
        assert!(["0", "-1", "101", "x", "0.0000001"].iter().all(|bad| Factor::parse(bad).is_err()));
    }

    #[test]
    fn a_mix_weighs_input_and_output() {
        let tariff = Tariff::flat(Currency::Usd, price("1"), price("4"));
        let blended = |mix: &str| tariff.blended(mix.parse().unwrap()).to_exact();
        assert_eq!(
            (blended("3:1"), blended("0:1"), blended("1:0"), blended("2:1")),
            ("1.75".into(), "4".into(), "1".into(), "2".into())
        );
        assert_eq!(Mix::USUAL.to_string().parse(), Ok(Mix::USUAL));
        assert!(["3", "0:0", "-1:1", "1:1:1", ""].iter().all(|bad| bad.parse::<Mix>().is_err()));
    }
}
