//! What routing is told of a request and of a key: figures of the meter and rules of the policy in routing's own words.
//! Served requests and `tokenbroker route` go through here, so that both decide alike.

use jiff::Timestamp;

use crate::canonical::Request;
use crate::meter::{Estimate, Forecast};
use crate::policy::{Allowances, BalanceReport, KeyLimits};
use crate::route::{self, InputEstimate, InputTokens, Limits, OutputForecast};

/// How many tokens a request is expected to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    pub input: InputEstimate,
    pub output: OutputForecast,
}

impl Appraisal {
    /// Estimates a request's input in every tokenizer family, and forecasts its output.
    pub fn of(request: &Request) -> Self {
        let (estimate, forecast) = (Estimate::of(request), Forecast::of(request));
        Self {
            input: InputEstimate::by_family(|family| InputTokens::new(estimate.expected(family), estimate.upper(family))),
            output: OutputForecast { plain: forecast.plain, thinking: forecast.thinking },
        }
    }
}

/// What a key allows; the request's own wishes are merged with it when needs are made.
pub fn limits_of(key: &KeyLimits) -> Limits {
    let KeyLimits { providers, excluded_providers, regions, quality, max_cost, max_output: _, no_training } = key.clone();
    Limits { providers, excluded_providers, regions, quality, max_cost, may_train: !no_training, ..Limits::default() }
}

/// What is free and what is paid already, at an instant.
pub fn allowances_at(allowances: &Allowances, now: Timestamp) -> route::Allowances {
    let plain = |BalanceReport { left, outlasts }| route::Prepaid { left, outlasts };
    let prepaid = allowances.balances(now).into_iter().map(|balance| balance.map(plain)).collect();
    route::Allowances { free: allowances.left(now), prepaid }
}
