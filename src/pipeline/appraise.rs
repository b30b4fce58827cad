//! What routing is told of a request and of a key: figures of the meter and rules of the policy in routing's own words.
//! Served requests and `tokenbroker route` go through here, so that both decide alike.

use crate::canonical::{ReasoningWish, Request};
use crate::catalog::{Backend, BackendIndex, Snapshot};
use crate::meter::{Asking, Class, Estimate, Expected, Lengths};
use crate::policy::KeyLimits;
use crate::route::{InputEstimate, InputTokens, LearnedOutput, Limits, OutputFigures, OutputForecast};
use crate::units::Tokens;

/// How many tokens a request is expected to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    pub input: InputEstimate,
    pub output: OutputForecast,
    /// The output of single backends, where something was learned.
    pub learned: LearnedOutput,
}

impl Appraisal {
    /// Estimates a request's input in every tokenizer family, and forecasts its output where nothing was learned.
    pub fn of(request: &Request) -> Self {
        let asking = Asking { bound: request.output_bound, choices: request.choices, at: 0 };
        Self::with(request, Lengths::new(Class::of(request)).forecast(&asking).map(mean), LearnedOutput::default())
    }

    /// The same with what was learned of answers of the request's class.
    pub fn by(request: &Request, lengths: &mut Lengths, snapshot: &Snapshot, at: u64) -> Self {
        let asking = Asking { bound: request.output_bound, choices: request.choices, at };
        let mut learned = LearnedOutput::default();
        lengths.each(&asking, |model, expected| {
            for (thinks, expected) in [false, true].into_iter().zip(expected) {
                let backends = || serving(snapshot, model).filter(|backend| thinks_on(backend, request) == thinks);
                if backends().next().is_some() {
                    learned.set(backends().map(|backend| backend.index), figures(expected));
                }
            }
        });
        Self::with(request, lengths.forecast(&asking).map(mean), learned)
    }

    fn with(request: &Request, [plain, thinking]: [Tokens; 2], learned: LearnedOutput) -> Self {
        let estimate = Estimate::of(request);
        let input = InputEstimate::by_family(|family| InputTokens::new(estimate.expected(family), estimate.upper(family)));
        Self { input, output: OutputForecast { plain, thinking }, learned }
    }
}

fn mean(expected: Expected) -> Tokens {
    expected.mean
}

/// Whether a backend is taken to think on a request.
pub(super) fn thinks_on(backend: &Backend, request: &Request) -> bool {
    backend.reasoning.thinks(request.reasoning == ReasoningWish::Off)
}

/// The backends of a model by its own name; an alias may mean others.
fn serving<'s>(snapshot: &'s Snapshot, model: &'s str) -> impl Iterator<Item = &'s Backend> {
    let backend = |index: &BackendIndex| snapshot.backend(*index);
    snapshot.serving(model).iter().map(backend).filter(move |backend| backend.model == model)
}

fn figures(expected: Expected) -> OutputFigures {
    let Expected { mean, reasoning, p50, p90 } = expected;
    OutputFigures { mean, reasoning, p50, p90 }
}

/// What a key allows; the request's own wishes are merged with it when needs are made.
pub fn limits_of(key: &KeyLimits) -> Limits {
    let KeyLimits { providers, excluded_providers, regions, quality, max_cost, max_output: _, no_training } = key.clone();
    Limits { providers, excluded_providers, regions, quality, max_cost, may_train: !no_training, ..Limits::default() }
}
