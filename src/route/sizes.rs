//! How long a request and its answer are expected to be, in numbers so small that a decision can take the whole table through
//! them without a check of each product. A request that is longer than any of two thousand million tokens has none, and is
//! judged and quoted row by row.

use super::facts::{Facts, InputTokens};
use super::needs::Needs;
use super::screen::Screen;
use crate::canonical::ReasoningWish;
use crate::catalog::{BackendIndex, Reasoning, TokenizerFamily};

/// No count is above this: what it is multiplied with has 32 bits, and the sum of a few products must fit into 64.
pub(super) const MOST: u32 = (1 << 31) - 1;

/// What one request needs, by what tells backends apart.
#[derive(Debug)]
pub(super) struct Sizes<'a> {
    facts: &'a Facts<'a>,
    /// By the tokenizer family's discriminant.
    inputs: [Input; TokenizerFamily::WORDS.len()],
    /// Some backends have figures of their own.
    own: bool,
    /// What one choice is expected to have where nothing was learned, by how a model thinks.
    means: [u32; 3],
    /// The client's bound on each choice.
    bound: Option<u32>,
    choices: u64,
    learned: bool,
}

/// Tokens of the prompt by one tokenizer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Input {
    pub(super) expected: u32,
    pub(super) upper: u32,
}

impl Input {
    /// `None` of what is too long for any of this.
    fn of(tokens: InputTokens) -> Option<Self> {
        let upper = u32::try_from(tokens.upper().get()).ok().filter(|upper| *upper <= MOST)?;
        Some(Self { expected: u32::try_from(tokens.expected().get()).ok()?, upper })
    }
}

impl<'a> Sizes<'a> {
    pub(super) fn of(facts: &'a Facts<'a>, needs: &Needs) -> Option<Self> {
        let mut inputs = [Input::default(); TokenizerFamily::WORDS.len()];
        for (family, _) in TokenizerFamily::WORDS {
            inputs[family as usize] = Input::of(facts.input.of(family))?;
        }
        let own = facts.input.all_own();
        for (_, input) in own {
            Input::of(*input)?;
        }
        let own = !own.is_empty();
        let refused = facts.ask.reasoning == ReasoningWish::Off;
        let mean = |reasoning| small(facts.expected_output.of(reasoning, refused).get().div_ceil(needs.choices));
        let means = [Reasoning::Never, Reasoning::Switchable, Reasoning::Always].map(mean);
        let bound = needs.output_bound.map(|bound| small(bound.get()));
        Some(Self { facts, inputs, own, means, bound, choices: needs.choices, learned: !facts.learned.is_empty() })
    }

    /// Of the prompt at a backend.
    #[inline]
    pub(super) fn input(&self, screen: &Screen, index: BackendIndex) -> Input {
        let own = || Input::of(self.facts.input.own(index)?);
        if self.own
            && let Some(own) = own()
        {
            own
        } else {
            self.inputs[screen.tokenizer as usize]
        }
    }

    /// Of the answer at a backend, all choices together, as its quote expects them ([`output_range`](super::quote::output_range)).
    #[inline]
    pub(super) fn output(&self, screen: &Screen, index: BackendIndex) -> u64 {
        let room = self.bound.unwrap_or_else(|| screen.context.saturating_sub(self.input(screen, index).upper));
        let mean = if self.learned { self.learned(index, screen.reasoning) } else { self.means[screen.reasoning as usize] };
        u64::from(mean.min(room).min(screen.max_output)).saturating_mul(self.choices)
    }

    /// What one choice is expected to have, as far as it was learned.
    fn learned(&self, index: BackendIndex, reasoning: Reasoning) -> u32 {
        small(self.facts.output_of(index, reasoning).mean.get().div_ceil(self.choices))
    }
}

/// Cuts what does not fit; no answer is that long.
pub(super) fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
