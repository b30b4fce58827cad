//! What routing is told of a request and of a key: figures of the meter and rules of the policy in routing's own words.
//! Served requests and `tokenbroker route` go through here, so that both decide alike.

use crate::canonical::Request;
use crate::meter::{Estimate, Forecast};
use crate::policy::KeyLimits;
use crate::route::{InputEstimate, InputTokens, Limits, OutputForecast};

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
    let KeyLimits { providers, excluded_providers, regions, jurisdictions, quality, max_cost, max_price, .. } = key.clone();
    let KeyLimits { max_output: _, no_training, max_retention_days, registered, prefer, .. } = *key;
    Limits {
        providers,
        excluded_providers,
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
