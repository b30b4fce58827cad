//! What most backends are told by, in eighty bytes each and one after the other in memory: what they can as one mask, how much
//! fits, how good they are, and between which bounds their price lies. A decision goes over all of them; what it needs beside
//! that it looks up for those alone that are left.

use super::board::{Price, PriceBounds, Rates, Row};
use super::needs::Needs;
use super::rule::Rule;
use super::sizes::{MOST, small};
use crate::canonical::{Features, ReasoningWish, SchemaBy};
use crate::catalog::{Dimensions, ProviderIndex, Quality, Reasoning, TokenizerFamily};

/// One backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    abilities: Abilities,
    /// The longest input that fits any of its rules.
    most_input: u32,
    pub(super) context: u32,
    pub(super) max_output: u32,
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
        most <= u64::from(MOST) && rates.request <= Self::MOST_FEE
    }

    /// Rounds down what does not fit.
    fn of(rates: &Rates) -> Self {
        let small = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
        let (input, cached, output) = (small(rates.input), small(rates.cached), small(rates.output));
        Self { input, cached, output, request: rates.request.min(Self::MOST_FEE) }
    }

    /// What so many tokens cost, each at most [`MOST`]; nothing where there are none, whatever the fee.
    #[inline]
    fn sum(self, each: u32, input: u64, output: u64) -> u64 {
        let request = if input | output == 0 { 0 } else { self.request };
        (input * u64::from(each)).wrapping_add(output * u64::from(self.output)).wrapping_add(request)
    }
}

/// What a backend can, and that it has a price: a bit each, so that all that a request needs is one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Abilities(u64);

impl Abilities {
    const FEATURES: u64 = 0xffff;
    const SHAPES: u64 = 0xffff << 16;
    const ANSWERS_AT_ONCE: u64 = 1 << 32;
    const THINKS: u64 = 1 << 33;
    const CHINESE: u64 = 1 << 34;
    /// A price is in force.
    const LISTED: u64 = 1 << 35;
    /// There is an exchange rate for it.
    const CONVERTED: u64 = 1 << 36;
    /// It has an endpoint for some shape of conversations.
    const CONVERSES: u64 = 1 << 37;
    /// Where it answers by a schema, it does without our help.
    const UNAIDED: u64 = 1 << 38;

    /// What is told by them before anything else is looked at, in the order of [`Rules`](super::adequate::Rules).
    const FIRST: [(u64, Rule); 6] = [
        (Self::SHAPES | Self::CONVERSES, Rule::DialectUnsupported),
        (Self::FEATURES, Rule::MissingFeatures),
        (Self::UNAIDED, Rule::SchemaByHand),
        (Self::ANSWERS_AT_ONCE, Rule::ReasoningAlwaysOn),
        (Self::THINKS, Rule::ReasoningMissing),
        (Self::CHINESE, Rule::LanguageUnsupported),
    ];

    fn of(features: Features, shapes: u16, others: [(bool, u64); 7]) -> Self {
        let others = others.into_iter().filter(|(has, _)| *has).fold(0, |all, (_, bit)| all | bit);
        Self(u64::from(features.bits()) | u64::from(shapes) << 16 | others)
    }

    /// What of `wanted` it has not.
    #[inline]
    const fn lacks(self, wanted: Abilities) -> u64 {
        wanted.0 & !self.0
    }
}

impl Screen {
    /// Between what and what a request costs, in 10⁻¹² dollars, whose prompt is cached nowhere, and written to a cache where
    /// `marked`; `None` where this says nothing of so many tokens.
    #[inline]
    pub(super) fn costs(&self, input: u32, output: u64, marked: bool) -> Option<(u64, u64)> {
        if !self.bounded || output > u64::from(MOST) {
            return None;
        }
        let input = u64::from(input);
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
                (row.price != Price::Unlisted, Abilities::LISTED),
                (priced.is_some(), Abilities::CONVERTED),
                (row.shapes.converses(), Abilities::CONVERSES),
                (row.schema_by == SchemaBy::Native, Abilities::UNAIDED),
            ],
        );
        let most_input = [priced, row.limits.priced_input].into_iter().flatten().min().map_or(u32::MAX, |most| small(most.get()));
        Self {
            abilities,
            most_input,
            context: small(row.limits.context.get()),
            max_output: small(row.limits.max_output.get()),
            dimensions: row.dimensions.map_or((0, 0), |Dimensions { least, most }| (least, most)),
            quality: row.quality.unwrap_or(0),
            provider: row.provider,
            rank: row.quality.map_or(256, |quality| 255 - u64::from(quality)) << 32 | u64::from(row.by_id),
            bounded: !loose && Small::fits(&most) && row.limits.max_output.get() <= u64::from(MOST),
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
    output: u32,
    /// The client's bound, else none.
    bound: u32,
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
                (needs.thinks, Abilities::THINKS),
                (needs.chinese, Abilities::CHINESE),
                (true, Abilities::LISTED),
                (true, Abilities::CONVERTED),
                (needs.translated, Abilities::CONVERSES),
                (needs.by_hand.is_err(), Abilities::UNAIDED),
            ],
        );
        let bound = needs.output_bound.map(|bound| small(bound.get()));
        let (dimensions, apart) = (needs.dimensions.unwrap_or(0), needs.apart);
        let (floor, output, bound) = (Quality::floor_of(needs.quality), bound.unwrap_or(1), bound.unwrap_or(0));
        Self { abilities, dimensions, apart, floor, output, bound }
    }

    /// The first rule of [`Rules`](super::adequate::Rules) that a backend breaks. `input` is the prompt's upper bound: a prompt that
    /// might not fit is not tried.
    #[inline]
    pub(super) fn broken(&self, screen: &Screen, input: u32) -> Option<Rule> {
        let lacks = screen.abilities.lacks(self.abilities);
        let room = self.leaves_room(screen, input) && input <= screen.most_input && self.makes(screen);
        let suits = lacks == 0 && screen.quality >= self.floor && self.bound <= screen.max_output && room;
        if suits { None } else { Some(self.first_broken(screen, lacks, input)) }
    }

    #[inline]
    fn leaves_room(&self, screen: &Screen, input: u32) -> bool {
        input.saturating_add(self.output) <= screen.context || self.apart
    }

    /// Whether its vectors are as long as they are wanted.
    #[inline]
    fn makes(&self, screen: &Screen) -> bool {
        let (least, most) = screen.dimensions;
        self.dimensions == 0 || (least <= self.dimensions && self.dimensions <= most)
    }

    fn first_broken(&self, screen: &Screen, lacks: u64, input: u32) -> Rule {
        let [(shapes, speaks), others @ ..] = Abilities::FIRST;
        if lacks & shapes != 0 {
            return speaks;
        }
        if !self.makes(screen) {
            return Rule::DimensionsUnsupported;
        }
        if let Some((_, rule)) = others.into_iter().find(|(bits, _)| lacks & bits != 0) {
            return rule;
        }
        if screen.quality < self.floor {
            Rule::BelowQuality
        } else if self.bound > screen.max_output {
            Rule::OutputTooSmall
        } else if !self.leaves_room(screen, input) {
            Rule::ContextTooSmall
        } else if input > screen.most_input {
            Rule::InputUnpriced
        } else if lacks & Abilities::LISTED != 0 {
            Rule::Unpriced
        } else {
            Rule::NoExchangeRate
        }
    }
}
