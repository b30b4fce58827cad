//! Why the gateway's own policy spent more than the optimum: its regret, parted by what it did not know.
//!
//! For every request, what the chosen backend cost is compared with what the optimum's cost. The difference is built up in
//! steps: first as the quotes had it, then with each guess replaced by the truth, one after the other. The whole difference
//! of a request is booked under the step that added most to it (or took most from it, where the request was cheaper than
//! the optimum's, whose session had paid before). So all parts add up to the regret exactly. The order of the replacements
//! is a convention: where two guesses were wrong together, the later one bears what both did.

use std::collections::BTreeMap;

use super::world::Answer;
use crate::catalog::BackendIndex;
use crate::route::{Candidate, Quote};
use crate::units::{Course, Thinking, Usage, Usd};

/// What was not known, in the order of replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The first choice failed, and another answered. The whole difference of such a request.
    Failed,
    /// Chosen although its own quote was dearer than the other's: what the order looks at beside the price of this request.
    Order,
    /// The prompt has other tokens than estimated.
    Input,
    /// The answer was longer or shorter than forecast, or was reasoning where none was foreseen.
    Output,
    /// The cache gave back less than thought, or the optimum had made another one warm; with what it had paid for that.
    Cache,
    /// The answer was billed in another hour than it was asked in.
    Hour,
}

impl Reason {
    pub const fn words(self) -> &'static str {
        match self {
            Reason::Failed => "the first choice failed",
            Reason::Order => "chosen although quoted dearer",
            Reason::Input => "the prompt's tokens misjudged",
            Reason::Output => "the answer's length or thinking misjudged",
            Reason::Cache => "caches: colder than thought, or the optimum stayed where it pays over the session",
            Reason::Hour => "billed in another hour than asked",
        }
    }
}

/// What is replaced step by step.
const STEPS: [Reason; 5] = [Reason::Order, Reason::Input, Reason::Output, Reason::Cache, Reason::Hour];

/// Regret by reason, and how many requests were dearer for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses(BTreeMap<Reason, (Usd, u64)>);

/// What the broker did with one request, and what it thought of everybody.
#[derive(Debug, Clone)]
pub struct Played {
    failed: bool,
    answer: Answer,
    warm: u64,
    /// What was quoted, by backend.
    quoted: BTreeMap<BackendIndex, Quote>,
}

/// What the optimum did.
#[derive(Debug, Clone, Copy)]
pub struct Thought<'a> {
    pub answer: &'a Answer,
    pub warm: u64,
}

impl Played {
    pub fn new(candidates: &[Candidate], first: BackendIndex, answer: Answer, warm: u64) -> Self {
        let quoted = candidates.iter().map(|candidate| (candidate.backend, candidate.quote)).collect();
        Self { failed: first != answer.backend, answer, warm, quoted }
    }
}

impl Losses {
    /// Adds one request.
    pub fn add(&mut self, broker: &Played, optimum: &Thought<'_>) {
        let difference = broker.answer.cost(broker.warm) - optimum.answer.cost(optimum.warm);
        if broker.answer.backend == optimum.answer.backend {
            return self.put(Reason::Cache, difference);
        }
        let ours = steps(broker, &broker.answer, broker.warm);
        let theirs = steps(broker, optimum.answer, optimum.warm);
        let (Some(ours), Some(theirs), false) = (ours, theirs, broker.failed) else {
            return self.put(Reason::Failed, difference);
        };
        let mut before = Usd::ZERO;
        let mut parts: Vec<(Usd, Reason)> = Vec::new();
        for (reason, (ours, theirs)) in STEPS.into_iter().zip(ours.into_iter().zip(theirs)) {
            let now = ours - theirs;
            parts.push((now - before, reason));
            before = now;
        }
        let most = if difference < Usd::ZERO { parts.into_iter().min() } else { parts.into_iter().max() };
        let most = most.map_or(Reason::Order, |(_, reason)| reason);
        // Cheaper at once, and so quoted: the optimum paid more to have its session warm later.
        let invested = most == Reason::Order && difference < Usd::ZERO;
        self.put(if invested { Reason::Cache } else { most }, difference);
    }

    fn put(&mut self, reason: Reason, part: Usd) {
        let (sum, count) = self.0.entry(reason).or_default();
        *sum += part;
        *count += u64::from(part > Usd::ZERO);
    }

    /// The largest first.
    pub fn largest(&self) -> Vec<(Reason, Usd, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(reason, (sum, count))| (*reason, *sum, *count)).collect();
        all.sort_by_key(|(reason, sum, _)| (std::cmp::Reverse(*sum), *reason));
        all
    }

    /// All parts together: the regret.
    pub fn sum(&self) -> Usd {
        self.0.values().map(|(sum, _)| *sum).sum()
    }
}

/// What a backend costs as it was quoted, then with the prompt's true tokens, the answer's, the cache's, and the true hour.
fn steps(broker: &Played, answer: &Answer, warm: u64) -> Option<[Usd; 5]> {
    let Quote { expected, usage: guess, thinking, .. } = broker.quoted.get(&answer.backend)?;
    // As the quote takes it where nobody decided.
    let guessed = if *thinking == Thinking::Off { Thinking::Off } else { Thinking::On };
    let truth = answer.usage(warm);
    let cached = guess.cache_read.min(truth.input());
    let asked = Course::at(answer.course.arrived);
    let with_input = Usage { fresh_input: truth.input().saturating_sub(cached), cache_read: cached, ..*guess };
    let with_output = Usage { output: truth.output, reasoning: truth.reasoning, ..with_input };
    Some([
        *expected,
        answer.cost_of(&with_input, guessed, asked),
        answer.cost_of(&with_output, answer.thinking, asked),
        answer.cost_of(&truth, answer.thinking, asked),
        answer.cost(warm),
    ])
}
