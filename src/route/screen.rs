//! What most backends are told by, in a hundred bytes each and one after the other in memory: what they can as one mask, how much
//! fits, how good they are, and between which bounds their price lies. A decision goes over all of them; what it needs beside
//! that it looks up for those alone that are left.

use super::board::{Price, PriceBounds, Rates, Row};
use super::needs::Needs;
use crate::canonical::{Features, ReasoningWish};
use crate::catalog::{Dimensions, ProviderIndex, Quality, Reasoning, TokenizerFamily};
use crate::units::Tokens;

/// One backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    /// The longest input that fits any of its rules.
    most_input: Tokens,
    pub(super) context: Tokens,
    pub(super) max_output: Tokens,
    abilities: Abilities,
    /// Of its vectors, from and to; zero where it makes none.
    dimensions: (u32, u32),
    /// Zero where nobody knows.
    quality: u8,
    pub(super) provider: ProviderIndex,
    /// What it stands by at equal cost: what its quality lacks, then its place among all ids.
    pub(super) rank: u64,
    /// Whether its price says between which bounds a cost lies, wherever nothing but the price bears the request.
    bounded: bool,
    pub(super) has_quotas: bool,
    least: Small,
    most: Small,
    pub(super) tokenizer: TokenizerFamily,
    pub(super) reasoning: Reasoning,
}

/// Counts above this are not multiplied with small rates: sums could run over.
const MOST_TOKENS: Tokens = Tokens::new((1 << 31) - 1);

/// [`Rates`] in half the room, which need no care when they are multiplied and added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Small {
    input: u32,
    /// Wherever the prompt is read from and written to.
    cached: u32,
    output: u32,
    request: u64,
}

impl Small {
    /// A fee above this does not fit.
    const MOST_FEE: u64 = 1 << 62;

    fn fits(rates: &Rates) -> bool {
        let most = rates.input.max(rates.cached).max(rates.output);
        u32::try_from(most).is_ok() && rates.request <= Self::MOST_FEE
    }

    /// Rounds down what does not fit.
    fn of(rates: &Rates) -> Self {
        let small = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
        let (input, cached, output) = (small(rates.input), small(rates.cached), small(rates.output));
        Self { input, cached, output, request: rates.request.min(Self::MOST_FEE) }
    }

    /// What so many tokens cost, each at most [`MOST_TOKENS`]; nothing where there are none, whatever the fee.
    #[inline]
    fn sum(self, each: u32, input: Tokens, output: Tokens) -> u64 {
        let request = if input.get() | output.get() == 0 { 0 } else { self.request };
        (input.get() * u64::from(each)).wrapping_add(output.get() * u64::from(self.output)).wrapping_add(request)
    }
}

/// What a backend can, and that it has a price: a bit each, so that all that a request needs is one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Abilities(u32);

impl Abilities {
    /// Features and shapes have the bits below.
    const ANSWERS_AT_ONCE: u32 = 1 << 24;
    const THINKS: u32 = 1 << 25;
    const CHINESE: u32 = 1 << 26;
    const PRICED: u32 = 1 << 27;
    /// It has an endpoint for some shape of conversations.
    const CONVERSES: u32 = 1 << 28;

    fn of(features: Features, shapes: u8, others: [(bool, u32); 5]) -> Self {
        let others = others.into_iter().filter(|(has, _)| *has).fold(0, |all, (_, bit)| all | bit);
        Self(u32::from(features.bits()) | u32::from(shapes) << 16 | others)
    }

    const fn has(self, wanted: Abilities) -> bool {
        wanted.0 & !self.0 == 0
    }
}

impl Screen {
    /// Between what and what a request costs, in 10⁻¹² dollars, whose prompt is cached nowhere, and written to a cache where
    /// `marked`; `None` where this says nothing of so many tokens.
    #[inline]
    pub(super) fn costs(&self, input: Tokens, output: Tokens, marked: bool) -> Option<(u64, u64)> {
        if !self.bounded || input.max(output) > MOST_TOKENS {
            return None;
        }
        let most = self.most.sum(if marked { self.most.cached } else { self.most.input }, input, output);
        Some((self.least.sum(self.least.input, input, output), most))
    }

    pub(super) fn of(row: &Row) -> Self {
        let bounds = if let Price::Bounded(bounds) = row.price { Some(bounds) } else { None };
        let priced = bounds.map(|bounds| bounds.priced_input);
        let PriceBounds { least, most, loose, .. } = bounds.unwrap_or(PriceBounds::NONE);
        let abilities = Abilities::of(
            row.features,
            row.shapes.bits(),
            [
                (row.reasoning != Reasoning::Always, Abilities::ANSWERS_AT_ONCE),
                (row.reasoning != Reasoning::Never, Abilities::THINKS),
                (row.speaks_chinese, Abilities::CHINESE),
                (priced.is_some(), Abilities::PRICED),
                (row.shapes.converses(), Abilities::CONVERSES),
            ],
        );
        let most_input = [priced, row.limits.priced_input].into_iter().flatten().min().unwrap_or(Tokens::ZERO);
        Self {
            most_input,
            context: row.limits.context,
            max_output: row.limits.max_output,
            abilities,
            dimensions: row.dimensions.map_or((0, 0), |Dimensions { least, most }| (least, most)),
            quality: row.quality.unwrap_or(0),
            provider: row.provider,
            rank: row.quality.map_or(256, |quality| 255 - u64::from(quality)) << 32 | u64::from(row.by_id),
            bounded: !loose && Small::fits(&most) && row.limits.max_output <= MOST_TOKENS,
            has_quotas: row.has_quotas,
            least: Small::of(&least),
            most: Small::of(&most),
            tokenizer: row.tokenizer,
            reasoning: row.reasoning,
        }
    }
}

/// What a request needs, as a screen tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    abilities: Abilities,
    /// How long vectors; zero where none are asked for.
    dimensions: u32,
    /// No window bounds all inputs.
    apart: bool,
    floor: u8,
    /// The least that may be written: the client's bound, else a token.
    output: Tokens,
    /// The client's bound, else none.
    bound: Tokens,
}

impl Wanted {
    pub(super) fn of(needs: &Needs) -> Self {
        // Either its own shape alone will do, or any of conversations.
        let shapes = if needs.translated { 0 } else { 1 << needs.shape as u8 };
        let abilities = Abilities::of(
            needs.features,
            shapes,
            [
                (needs.reasoning == ReasoningWish::Off, Abilities::ANSWERS_AT_ONCE),
                (needs.reasoning == ReasoningWish::On, Abilities::THINKS),
                (needs.chinese, Abilities::CHINESE),
                (true, Abilities::PRICED),
                (needs.translated, Abilities::CONVERSES),
            ],
        );
        let (floor, output) = (Quality::floor_of(needs.quality), needs.output_bound.unwrap_or(Tokens::new(1)));
        let (dimensions, apart) = (needs.dimensions.unwrap_or(0), needs.apart);
        Self { abilities, dimensions, apart, floor, output, bound: needs.output_bound.unwrap_or(Tokens::ZERO) }
    }

    /// Whether a backend breaks no rule of [`Rules`](super::adequate::Rules). `input` is the prompt's upper bound: a prompt
    /// that might not fit is not tried.
    #[inline]
    pub(super) fn suits(&self, screen: &Screen, input: Tokens) -> bool {
        screen.abilities.has(self.abilities)
            && screen.quality >= self.floor
            && self.bound <= screen.max_output
            && (input + self.output <= screen.context || self.apart)
            && (self.dimensions == 0 || (screen.dimensions.0 <= self.dimensions && self.dimensions <= screen.dimensions.1))
            && input <= screen.most_input
    }
}
