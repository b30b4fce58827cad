//! What a vendor gives for nothing: so many requests or tokens in some time, and which part of an attempt that bears. When
//! it begins anew is the catalog's to say, how much of it is used is the policy's.
//!
//! Vendors do not say which tokens of a request lie within a quota that ends amid it. The cheapest are taken to, so that the
//! rest is never booked below what is billed.

use std::sync::Arc;

use super::money::TokenPrice;
use super::sheet::{Extent, Sheet};
use super::tariff::Tariff;
use super::tokens::{Tokens, Usage};

/// What a quota may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    Requests,
    /// Input and output together.
    Tokens,
    InputTokens,
    OutputTokens,
}

impl Counted {
    pub const ALL: [Counted; 4] = [Counted::Requests, Counted::Tokens, Counted::InputTokens, Counted::OutputTokens];

    /// The word in tables, metrics and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Counted::Requests => "requests",
            Counted::Tokens => "tokens",
            Counted::InputTokens => "input_tokens",
            Counted::OutputTokens => "output_tokens",
        }
    }
}

/// How many of each thing that a quota may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw([u64; Counted::ALL.len()]);

impl Draw {
    /// What so many requests with these tokens count for.
    pub fn new(requests: u64, input: Tokens, output: Tokens) -> Self {
        Self([requests, (input + output).get(), input.get(), output.get()])
    }

    /// What one attempt counts for; one that used nothing was not served.
    pub fn of(usage: &Usage) -> Self {
        Self::new(u64::from(*usage != Usage::default()), usage.input(), usage.output)
    }

    pub const fn get(self, counted: Counted) -> u64 {
        self.0[counted as usize]
    }

    #[must_use]
    pub fn plus(self, other: Draw) -> Self {
        self.with(other, u64::saturating_add)
    }

    #[must_use]
    pub fn minus(self, other: Draw) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(self, other: Draw, join: impl Fn(u64, u64) -> u64) -> Self {
        Self(Counted::ALL.map(|counted| join(self.get(counted), other.get(counted))))
    }
}

/// How much is free. What is not counted does not bound; where no tokens are counted, all tokens of a request are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant([Option<u64>; Counted::ALL.len()]);

impl Grant {
    /// Nothing is free.
    pub const NOTHING: Grant = Grant([Some(0); Counted::ALL.len()]);

    /// Asks for the grant of each thing that may be counted.
    pub fn by(grant: impl FnMut(Counted) -> Option<u64>) -> Self {
        Self(Counted::ALL.map(grant))
    }

    pub const fn of(self, counted: Counted) -> Option<u64> {
        self.0[counted as usize]
    }

    /// What is left once so much is drawn.
    #[must_use]
    pub fn without(self, drawn: Draw) -> Self {
        Self::by(|counted| self.of(counted).map(|grant| grant.saturating_sub(drawn.get(counted))))
    }

    /// Of what it counts, so much and no more.
    #[must_use]
    pub fn only(self, drawn: Draw) -> Self {
        Self::by(|counted| self.of(counted).map(|_| drawn.get(counted)))
    }

    /// The part of an attempt that it bears; `None` where that is nothing.
    pub fn bears(self, usage: &Usage) -> Option<FreePart> {
        let requests = self.of(Counted::Requests);
        if *usage == Usage::default() || requests == Some(0) {
            return None;
        }
        let (input, output) = (usage.input(), usage.output);
        let of = |counted: Counted, used: Tokens| Tokens::new(self.of(counted).unwrap_or(0)).min(used);
        let part = FreeTokens {
            any: of(Counted::Tokens, input + output),
            input: of(Counted::InputTokens, input),
            output: of(Counted::OutputTokens, output),
        };
        let counts_tokens = Counted::ALL[1..].iter().any(|counted| self.of(*counted).is_some());
        let all = part.any + part.input + part.output >= input + output;
        match requests {
            Some(_) if all || !counts_tokens => Some(FreePart::Whole),
            _ if part == FreeTokens::default() => None,
            _ => Some(FreePart::Tokens(part)),
        }
    }

    /// What an attempt of so many tokens is to set aside of it; nothing where it bears nothing.
    pub fn set_aside(self, usage: &Usage) -> Draw {
        let draw = Draw::of(usage);
        let bounded = |counted| self.of(counted).map_or(draw.get(counted), |left| draw.get(counted).min(left));
        self.bears(usage).map(|_| Draw(Counted::ALL.map(bounded))).unwrap_or_default()
    }
}

/// Tokens that cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FreeTokens {
    /// Of either side.
    pub any: Tokens,
    pub input: Tokens,
    pub output: Tokens,
}

/// The part of an attempt that costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FreePart {
    /// All of it, the fee for a request included: of a quota that counts requests.
    Whole,
    /// Some or all of its tokens. A fee for the request stays, and a minimum where anything is left to be charged.
    Tokens(FreeTokens),
}

/// What bore a part of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free {
    /// The quota's name.
    pub quota: Arc<str>,
    pub part: FreePart,
}

/// Tokens of one kind and what each costs.
struct Kind {
    count: Tokens,
    price: TokenPrice,
    input: bool,
}

impl Sheet {
    /// What a free part spares of an attempt that is charged by one of the sheet's tariffs, in 10⁻¹² units of the currency.
    pub fn spared(&self, tariff: &Tariff, usage: &Usage, part: FreePart) -> i128 {
        let whole = self.charge(tariff, usage);
        match part {
            FreePart::Whole => whole,
            FreePart::Tokens(free) => whole - self.charge_beyond(tariff, usage, free).min(whole),
        }
    }

    fn charge_beyond(&self, tariff: &Tariff, usage: &Usage, free: FreeTokens) -> i128 {
        let mut kinds = self.kinds(tariff, usage);
        kinds.sort_by_key(|kind| kind.price);
        let spared = take(&mut kinds, free.input, |kind| kind.input)
            + take(&mut kinds, free.output, |kind| !kind.input)
            + take(&mut kinds, free.any, |_| true);
        let left = |input: bool| kinds.iter().any(|kind| kind.input == input && kind.count > Tokens::ZERO);
        let tokens = match (left(true), left(false)) {
            (false, false) => 0,
            // Parts of the input may be priced above what was taken off for them: without input there is none to charge.
            (false, true) => kinds.iter().map(|kind| kind.count * kind.price).sum(),
            (true, _) => self.tokens_pico(tariff, usage) - spared,
        };
        let charged = (tokens + i128::from(self.per_request())).saturating_add(tariff.pieces.cost(usage.pieces));
        if left(true) || left(false) || charged > 0 { charged.max(i128::from(self.minimum())) } else { 0 }
    }

    fn kinds(&self, tariff: &Tariff, usage: &Usage) -> Vec<Kind> {
        let (image, audio) = usage.fresh_media();
        let (short, long) = usage.writes();
        let text = usage.fresh_input.saturating_sub(image + audio);
        let sound = usage.audio_output.min(usage.output);
        let reasoning = usage.reasoning.min(usage.output.saturating_sub(sound));
        let said = usage.output.saturating_sub(sound + reasoning);
        let input = |count: Tokens, price: fn(&Tariff) -> TokenPrice| {
            let cheapest = || self.cells().iter().map(|cell| price(&cell.tariff)).min().unwrap_or_default();
            let price = if self.extent() == Extent::Part { cheapest() } else { price(tariff) };
            Kind { count, price, input: true }
        };
        let output = |count, price| Kind { count, price, input: false };
        vec![
            input(text, |tariff| tariff.input),
            input(image, |tariff| tariff.image_input),
            input(audio, |tariff| tariff.audio_input),
            input(usage.cache_read, |tariff| tariff.cache_read),
            input(short, |tariff| tariff.cache_write),
            input(long, |tariff| tariff.cache_write_long),
            output(said, tariff.output),
            output(reasoning, tariff.reasoning),
            output(sound, tariff.audio_output),
        ]
    }
}

/// Takes tokens off those that fit, in their order; answers what they would have cost.
fn take(kinds: &mut [Kind], mut tokens: Tokens, fits: impl Fn(&Kind) -> bool) -> i128 {
    let mut spared = 0;
    for kind in kinds.iter_mut().filter(|kind| fits(kind)) {
        let taken = kind.count.min(tokens);
        (kind.count, tokens) = (kind.count.saturating_sub(taken), tokens.saturating_sub(taken));
        spared += taken * kind.price;
    }
    spared
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Bounds, Cell, Currency, Factor};

    fn tokens(n: u64) -> Tokens {
        Tokens::new(n)
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage::fresh(tokens(input), tokens(output))
    }

    fn grant(words: &[(Counted, u64)]) -> Grant {
        Grant::by(|counted| words.iter().find(|(word, _)| *word == counted).map(|(_, n)| *n))
    }

    /// 1 in, 8 out, cached input a tenth.
    fn tariff() -> Tariff {
        let price = |text| TokenPrice::per_million(text).unwrap();
        Tariff { cache_read: price("0.1"), ..Tariff::flat(Currency::Cny, price("1"), price("8")) }
    }

    fn check(granted: &[(Counted, u64)], input: u64, output: u64, expected: Option<FreePart>) {
        assert_eq!(grant(granted).bears(&usage(input, output)), expected, "{granted:?} {input} {output}");
    }

    #[test]
    fn a_quota_bears_what_is_left_of_it() {
        use Counted::{InputTokens, OutputTokens, Requests, Tokens as Both};
        let part = |any, input, output| {
            Some(FreePart::Tokens(FreeTokens { any: tokens(any), input: tokens(input), output: tokens(output) }))
        };
        check(&[(Requests, 1)], 500, 500, Some(FreePart::Whole));
        check(&[(Requests, 0)], 500, 500, None);
        check(&[(Requests, 1)], 0, 0, None);
        check(&[(Both, 10)], 8, 2, part(10, 0, 0));
        check(&[(Both, 7)], 8, 2, part(7, 0, 0));
        check(&[(Both, 0)], 8, 2, None);
        check(&[(Both, 10), (Requests, 3)], 8, 2, Some(FreePart::Whole));
        check(&[(Both, 9), (Requests, 3)], 8, 2, part(9, 0, 0));
        check(&[(Both, 9), (Requests, 0)], 8, 2, None);
        check(&[(InputTokens, 5)], 8, 2, part(0, 5, 0));
        check(&[(InputTokens, 9), (OutputTokens, 1)], 8, 2, part(0, 8, 1));
        check(&[(InputTokens, 8), (OutputTokens, 2), (Requests, 1)], 8, 2, Some(FreePart::Whole));
        assert_eq!(Grant::NOTHING.bears(&usage(1, 1)), None);
    }

    #[test]
    fn the_cheapest_tokens_are_the_free_ones_and_the_rest_is_charged_at_the_list_price() {
        let sheet = Sheet::flat(tariff());
        let usage = Usage { cache_read: tokens(10), ..usage(20, 5) };
        let charged = |any: u64| {
            let part = FreePart::Tokens(FreeTokens { any: tokens(any), ..FreeTokens::default() });
            (sheet.charge(&tariff(), &usage) - sheet.spared(&tariff(), &usage, part)) / 100_000
        };
        assert_eq!([0, 10, 15, 30, 34, 35, 99].map(charged), [610, 600, 550, 400, 80, 0, 0]);
    }

    #[test]
    fn a_fee_is_borne_by_a_quota_of_requests_only_and_nothing_left_has_no_minimum() {
        let sheet = |fee, minimum| Sheet::new(vec![Cell::any(tariff())], Extent::Whole, fee, minimum).unwrap();
        let all = FreePart::Tokens(FreeTokens { any: tokens(9), ..FreeTokens::default() });
        let some = FreePart::Tokens(FreeTokens { any: tokens(1), ..FreeTokens::default() });
        let charged = |sheet: &Sheet, part| {
            let usage = usage(4, 1);
            sheet.charge(&tariff(), &usage) - sheet.spared(&tariff(), &usage, part)
        };
        let (fee, minimum) = (sheet(5_000_000, 0), sheet(0, 50_000_000));
        assert_eq!([FreePart::Whole, all, some].map(|part| charged(&fee, part)), [0, 5_000_000, 16_000_000]);
        assert_eq!([FreePart::Whole, all, some].map(|part| charged(&minimum, part)), [0, 0, 50_000_000]);
    }

    proptest! {
        #[test]
        fn the_more_is_free_the_less_is_charged_and_nothing_is_charged_twice(
            input in 0_u64..300, read in 0_u64..50, output in 0_u64..300, reasoning in 0_u64..300,
            any in 0_u64..700, more in 0_u64..100, sides: (u8, u8), by_parts: bool, fee in 0_u64..2,
        ) {
            let dear = tariff().times(Factor::parse("3").unwrap()).unwrap();
            let low = Cell { input: Bounds { above: 0, to: 100 }, ..Cell::any(tariff()) };
            let high = Cell { input: Bounds { above: 100, to: u64::MAX }, ..Cell::any(dear) };
            let extent = if by_parts { Extent::Part } else { Extent::Whole };
            let sheet = Sheet::new(vec![low, high], extent, fee * 1_000_000, fee * 7_000_000).unwrap();
            let usage = Usage { cache_read: tokens(read), reasoning: tokens(reasoning), ..usage(input, output) };
            let priced = sheet.cost(&usage, false);
            let spared = |any: u64| {
                let (input, output) = (tokens(sides.0.into()), tokens(sides.1.into()));
                sheet.spared(priced.tariff, &usage, FreePart::Tokens(FreeTokens { any: tokens(any), input, output }))
            };
            prop_assert!(spared(any) >= 0 && spared(any) <= spared(any + more));
            prop_assert!(spared(any + more) <= priced.amount.pico());
            prop_assert_eq!(sheet.spared(priced.tariff, &usage, FreePart::Whole), priced.amount.pico());
            if fee == 0 {
                prop_assert_eq!(spared(usage.input().get() + output), priced.amount.pico());
            }
        }
    }
}
