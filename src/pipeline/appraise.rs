//! What routing is told of a request and of a key: figures of the meter and rules of the policy in routing's own words.
//! Served requests and `tokenbroker route` go through here, so that both decide alike.

use jiff::Timestamp;

use crate::canonical::{ReasoningWish, Request};
use crate::catalog::{Backend, BackendIndex, Snapshot};
use crate::meter::{Asking, Calibration, Class, Estimate, Expected, Lengths, Stretch};
use crate::policy::{Allowances, BalanceReport, KeyLimits};
use crate::route::{
    self, InputEstimate, InputTokens, LearnedOutput, Limits, OutputFigures, OutputForecast, OutputStretch, Target,
};
use crate::units::Tokens;

/// How many tokens a request is expected to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    /// Before anything learned.
    estimate: Estimate,
    pub input: InputEstimate,
    pub output: OutputForecast,
    /// The output of single backends, where something was learned.
    pub learned: LearnedOutput,
}

impl Appraisal {
    /// Estimates a request's input in every tokenizer family, and forecasts its output where nothing was learned.
    pub fn of(request: &Request) -> Self {
        if !request.shape.writes() {
            return Self::without_output(request);
        }
        let asking = Asking { bound: request.output_bound, choices: request.choices, at: 0 };
        Self::with(request, Lengths::new(Class::of(request)).forecast(&asking).map(mean), LearnedOutput::default())
    }

    /// The same with what was learned of answers of the request's class, and of what backends report of prompts: of those that
    /// the target means.
    pub fn by(
        (request, target): (&Request, &Target),
        lengths: &mut Lengths,
        reports: &Calibration,
        snapshot: &Snapshot,
        at: u64,
    ) -> Self {
        // What answers in conversations teach says nothing of others.
        if request.shape.direct().is_some() {
            return Self::of(request);
        }
        let asking = Asking { bound: request.output_bound, choices: request.choices, at };
        let mut learned = LearnedOutput::default();
        let meant = target.backends(snapshot);
        let may_answer =
            |model: &str| meant.is_none_or(|meant| meant.iter().any(|index| snapshot.backend(*index).model == model));
        lengths.each(&asking, may_answer, |model, known| {
            let serving = snapshot.serving(model);
            for thinks in [false, true] {
                let its_own = |index: &&BackendIndex| {
                    let backend = snapshot.backend(**index);
                    // An alias may mean others.
                    thinks_on(backend, request) == thinks && backend.model == model
                };
                let backends = serving.iter().filter(its_own).copied();
                if backends.clone().next().is_some() {
                    let borders = snapshot.output_borders(backends.clone());
                    let spread = if borders.is_empty() { Vec::new() } else { known.spread(thinks, &borders) };
                    learned.set(backends, figures(known.expected(thinks)), spread.into_iter().map(stretch));
                }
            }
        });
        let mut appraisal = Self::with(request, lengths.forecast(&asking).map(mean), learned);
        let own = reports.inputs(&request.text, &appraisal.estimate, snapshot, meant);
        let own = own.into_iter().map(|own| (own.backend, InputTokens::new(own.expected, own.upper)));
        appraisal.input = appraisal.input.with_own(own);
        appraisal
    }

    /// Of what is answered without a token.
    fn without_output(request: &Request) -> Self {
        Self::with(request, [Tokens::ZERO; 2], LearnedOutput::default())
    }

    fn with(request: &Request, [plain, thinking]: [Tokens; 2], learned: LearnedOutput) -> Self {
        let estimate = Estimate::of(request);
        let input = InputEstimate::by_family(|family| InputTokens::new(estimate.expected(family), estimate.upper(family)));
        Self { estimate, input, output: OutputForecast { plain, thinking }, learned }
    }
}

fn mean(expected: Expected) -> Tokens {
    expected.mean
}

/// Whether a backend is taken to think on a request.
pub(super) fn thinks_on(backend: &Backend, request: &Request) -> bool {
    backend.reasoning.thinks(request.reasoning == ReasoningWish::Off)
}

fn figures(expected: Expected) -> OutputFigures {
    let Expected { mean, reasoning, p50, p90 } = expected;
    OutputFigures { mean, reasoning, p50, p90 }
}

fn stretch(Stretch { share, mean }: Stretch) -> OutputStretch {
    OutputStretch { share, mean }
}

/// What a key allows; the request's own wishes are merged with it when needs are made.
pub fn limits_of(key: &KeyLimits) -> Limits {
    let KeyLimits { providers, excluded_providers, models, regions, jurisdictions, quality, max_cost, max_price, .. } =
        key.clone();
    let KeyLimits { max_output: _, no_training, max_retention_days, registered, prefer, .. } = *key;
    Limits {
        providers,
        excluded_providers,
        models,
        regions,
        jurisdictions,
        quality,
        max_cost,
        max_price,
        may_train: !no_training,
        max_retention_days,
        registered,
        prefer,
    }
}

/// What is free and what is paid already, at an instant.
pub fn allowances_at(allowances: &Allowances, now: Timestamp) -> route::Allowances {
    let plain = |BalanceReport { left, outlasts }| route::Prepaid { left, outlasts };
    let prepaid = allowances.balances(now).into_iter().map(|balance| balance.map(plain)).collect();
    route::Allowances { free: allowances.left(now), prepaid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Answer;

    #[test]
    fn answers_spread_over_the_borders_of_a_price_that_has_any() {
        let table = Snapshot::parse("hours.toml", include_str!("../../tests/fixtures/tables/hours.toml")).unwrap();
        let (request, at) = (Request::saying("hello"), 1_790_000_000);
        let mut lengths = Lengths::new(Class::of(&request));
        for model in ["cells", "peak"] {
            let answer = |output| {
                let output = Tokens::new(output);
                Answer { model, thinks: true, output, reasoning: Tokens::ZERO, choices: 1, cut_at: None }
            };
            [40; 60].into_iter().chain([4_000; 20]).for_each(|output| lengths.learn(&answer(output), at));
        }
        let spread = |request: &Request, lengths: &mut Lengths, id: &str| {
            let learned = Appraisal::by((request, &Target::Auto(None)), lengths, &Calibration::default(), &table, at).learned;
            let spread = learned.spread_of(table.backend_named(id).unwrap().index);
            spread.map(|stretch| (stretch.share / 10_000, stretch.mean.get())).collect::<Vec<_>>()
        };
        // East's cells are others above 200 tokens.
        let [(short, short_mean), (long, long_mean)] = spread(&request, &mut lengths, "east/cells")[..] else {
            panic!("two stretches")
        };
        assert!((60..80).contains(&short) && (99..=100).contains(&(short + long)), "{short} {long}");
        assert!(short_mean < 80 && (2_500..4_200).contains(&long_mean), "{short_mean} {long_mean}");
        assert_eq!(spread(&request, &mut lengths, "east/peak"), [], "one price, however long");
        let short = Request { output_bound: Some(Tokens::new(200)), ..request };
        assert_eq!(spread(&short, &mut lengths, "east/cells"), [], "none is longer than the client's bound");
    }
}
