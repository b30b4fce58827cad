//! How long the answer will be, before anybody has asked for it: a prior by the shape of the request.
//!
//! Output is the dearer half of most bills, so a quote needs a figure; but the length is not in the prompt. What is known
//! is the shape: a forced tool call is short, JSON is shorter than prose, thinking multiplies. The means come from
//! published answers of about twenty general models to open instructions (the project's routing data, 2026-11-22:
//! 1,300 to 2,000 characters a chat answer, some 400 tokens); the figures for tools, JSON and thinking are judgement, not
//! measurement, and stand here as constants so that a learned forecast can replace them in one place. All backends are
//! forecast alike, so an error shifts every quote and seldom the order.
//!
//! Whole numbers throughout. The client's bound cuts every forecast: nothing longer can be billed.

use crate::canonical::{Feature, ReasoningWish, Request};
use crate::units::Tokens;

/// A free answer in prose.
const CHAT: u64 = 400;
/// An answer that may be tool calls instead of prose: agents mostly call.
const WITH_TOOLS: u64 = 150;
/// An answer that must be a tool call.
const FORCED_TOOL: u64 = 80;
/// An answer in JSON.
const JSON: u64 = 250;
/// Hidden reasoning of a backend that thinks unasked.
const THINKING: u64 = 1200;
/// The same where the client asked for thinking: it does so for hard questions.
const THINKING_ASKED: u64 = 2500;

/// The output tokens to expect of one request, all its choices together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// At a backend that does not think.
    pub plain: Tokens,
    /// At a backend that thinks on this request, its reasoning included.
    pub thinking: Tokens,
}

impl Forecast {
    /// Forecasts by the request's shape.
    pub fn of(request: &Request) -> Self {
        let answer = answer(request);
        let reasoning = match request.reasoning {
            ReasoningWish::Off => 0,
            ReasoningWish::Unsaid => THINKING,
            ReasoningWish::On => THINKING_ASKED,
        };
        Self { plain: bounded(answer, request), thinking: bounded(answer + reasoning, request) }
    }
}

/// The visible answer, for one choice. Any tool offered outweighs a format: the format applies to the last turn only.
fn answer(request: &Request) -> u64 {
    let has = |feature| request.features.contains(feature);
    if has(Feature::ForcedTool) {
        FORCED_TOOL
    } else if has(Feature::Tools) {
        WITH_TOOLS
    } else if has(Feature::JsonSchema) || has(Feature::JsonObject) {
        JSON
    } else {
        CHAT
    }
}

/// Cut at the client's bound, then for all choices. A bound below one token still lets one be billed.
fn bounded(tokens: u64, request: &Request) -> Tokens {
    let bound = request.output_bound.map_or(u64::MAX, |bound| bound.get().max(1));
    Tokens::new(tokens.min(bound).saturating_mul(u64::from(request.choices.max(1))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;
    use crate::canonical::Features;

    fn check(features: &[Feature], reasoning: ReasoningWish, bound: Option<u64>, choices: u32, expected: (u64, u64)) {
        let mut asked = request("what?", 1);
        asked.features = features.iter().copied().collect::<Features>();
        asked.reasoning = reasoning;
        asked.output_bound = bound.map(Tokens::new);
        asked.choices = choices;
        let told = Forecast::of(&asked);
        assert_eq!((told.plain.get(), told.thinking.get()), expected, "{features:?} {reasoning:?} {bound:?} {choices}");
    }

    #[test]
    fn the_shape_decides_and_the_bound_cuts() {
        check(&[], ReasoningWish::Unsaid, None, 1, (400, 1600));
        check(&[], ReasoningWish::Off, None, 1, (400, 400));
        check(&[], ReasoningWish::On, None, 1, (400, 2900));
        check(&[Feature::Tools], ReasoningWish::Off, None, 1, (150, 150));
        check(&[Feature::Tools, Feature::ForcedTool], ReasoningWish::Off, None, 1, (80, 80));
        check(&[Feature::JsonSchema], ReasoningWish::Unsaid, None, 1, (250, 1450));
        check(&[], ReasoningWish::Unsaid, Some(500), 1, (400, 500));
        check(&[], ReasoningWish::Unsaid, Some(10), 3, (30, 30));
        check(&[], ReasoningWish::Unsaid, Some(0), 1, (1, 1));
    }
}
