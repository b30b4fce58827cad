//! Token counts, split the way vendors bill them, and where a count comes from.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// A number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tokens(u64);

impl Tokens {
    pub const ZERO: Tokens = Tokens(0);

    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Tokens) -> Tokens {
        Tokens(self.0.saturating_sub(other.0))
    }

    #[must_use]
    pub fn min(self, other: Tokens) -> Tokens {
        Tokens(self.0.min(other.0))
    }

    #[must_use]
    pub fn max(self, other: Tokens) -> Tokens {
        Tokens(self.0.max(other.0))
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        Tokens(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        *self = *self + other;
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Tokens>>(counts: I) -> Tokens {
        counts.fold(Tokens::ZERO, Add::add)
    }
}

impl std::fmt::Display for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The tokens of one attempt in disjoint parts, each of which may have its own price. Dialects turn what a vendor
/// reports (where cached tokens may stand inside or beside the input) into this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Usage {
    /// Input that was read afresh: neither from a cache nor written to one.
    pub fresh_input: Tokens,
    /// Input that the vendor read from its prompt cache.
    pub cache_read: Tokens,
    /// Input that the vendor wrote to its prompt cache and bills as such.
    pub cache_write: Tokens,
    /// All output that is billed, hidden reasoning included.
    pub output: Tokens,
    /// The part of `output` that was reasoning; not billed again.
    pub reasoning: Tokens,
    /// The part of `cache_write` that is kept for an hour or more; not billed again.
    pub cache_write_long: Tokens,
    /// The part of `fresh_input` that was images; not billed again.
    pub image_input: Tokens,
    /// The part of `fresh_input` that was sound; not billed again.
    pub audio_input: Tokens,
    /// The part of `output` that was sound; not billed again.
    pub audio_output: Tokens,
    /// What is billed by the piece, of the kind that the API has: searches, images, ...
    pub pieces: u64,
}

impl Usage {
    /// Every input token, however it was billed.
    pub fn input(&self) -> Tokens {
        self.fresh_input + self.cache_read + self.cache_write
    }

    /// Both together, part by part.
    #[must_use]
    pub fn plus(&self, other: &Usage) -> Self {
        Self {
            fresh_input: self.fresh_input + other.fresh_input,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
            output: self.output + other.output,
            reasoning: self.reasoning + other.reasoning,
            cache_write_long: self.cache_write_long + other.cache_write_long,
            image_input: self.image_input + other.image_input,
            audio_input: self.audio_input + other.audio_input,
            audio_output: self.audio_output + other.audio_output,
            pieces: self.pieces.saturating_add(other.pieces),
        }
    }

    /// Input and output without a cache: what an estimate knows.
    pub const fn fresh(input: Tokens, output: Tokens) -> Self {
        let none = Tokens::ZERO;
        Self {
            fresh_input: input,
            cache_read: none,
            cache_write: none,
            output,
            reasoning: none,
            cache_write_long: none,
            image_input: none,
            audio_input: none,
            audio_output: none,
            pieces: 0,
        }
    }

    /// What was written to a cache for minutes, and for an hour or more.
    pub fn writes(&self) -> (Tokens, Tokens) {
        let long = self.cache_write_long.min(self.cache_write);
        (self.cache_write.saturating_sub(long), long)
    }

    /// Images and sound among the fresh input, together never more than it.
    pub fn fresh_media(&self) -> (Tokens, Tokens) {
        let image = self.image_input.min(self.fresh_input);
        (image, self.audio_input.min(self.fresh_input.saturating_sub(image)))
    }
}

/// Where a token count comes from. Every row of the books says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provenance {
    /// The provider reported it; this is what it bills.
    Reported,
    /// We ran the model's own tokenizer over the text that passed.
    Counted,
    /// We derived it from the bytes of the text with a fitted ratio.
    Estimated,
}

impl Provenance {
    pub const ALL: [Provenance; 3] = [Provenance::Reported, Provenance::Counted, Provenance::Estimated];

    /// The word that stands in rows, metrics and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Provenance::Reported => "reported",
            Provenance::Counted => "counted",
            Provenance::Estimated => "estimated",
        }
    }
}
