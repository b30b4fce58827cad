//! How long the answer will be, before anybody has asked for it: a prior by the shape of the request.
//!
//! Output is the dearer half of most bills, so a quote needs a figure; but the length is not in the prompt. What is known
//! is the shape: a forced tool call is short, JSON is shorter than prose, thinking multiplies. The means come from
//! published answers of about twenty general models to open instructions (the project's routing data, 2026-11-22:
//! 1,300 to 2,000 characters a chat answer, some 400 tokens); the figures for tools, JSON and thinking are judgement, not
//! measurement. They count as eight answers each and are replaced by what is seen ([`super::learned`]).

use super::shape::{Class, Form};
use super::sketch::Prior;
use crate::canonical::ReasoningWish;
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

/// What is taken for true of a class before any answer was seen, of one choice: at a backend that does not think, and at
/// one that thinks on such requests.
pub fn priors(class: Class) -> [Prior; 2] {
    let answer = match class.form {
        Form::ForcedTool => FORCED_TOOL,
        Form::Tools => WITH_TOOLS,
        Form::Json => JSON,
        Form::Chat => CHAT,
    };
    let reasoning = match class.reasoning {
        ReasoningWish::Off => 0,
        ReasoningWish::Unsaid => THINKING,
        ReasoningWish::On => THINKING_ASKED,
    };
    [0, reasoning].map(|reasoning| Prior { mean: Tokens::new(answer + reasoning), reasoning: Tokens::new(reasoning) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;
    use crate::canonical::{Feature, Features};

    fn check(features: &[Feature], reasoning: ReasoningWish, expected: (u64, u64)) {
        let mut asked = request("what?", 1);
        asked.features = features.iter().copied().collect::<Features>();
        asked.reasoning = reasoning;
        let [plain, thinking] = priors(Class::of(&asked));
        assert_eq!((plain.mean.get(), thinking.mean.get()), expected, "{features:?} {reasoning:?}");
        assert_eq!(thinking.mean, plain.mean + thinking.reasoning);
    }

    #[test]
    fn the_shape_decides() {
        check(&[], ReasoningWish::Unsaid, (400, 1600));
        check(&[], ReasoningWish::Off, (400, 400));
        check(&[], ReasoningWish::On, (400, 2900));
        check(&[Feature::Tools], ReasoningWish::Off, (150, 150));
        check(&[Feature::Tools, Feature::ForcedTool], ReasoningWish::Off, (80, 80));
        check(&[Feature::JsonSchema], ReasoningWish::Unsaid, (250, 1450));
    }
}
