//! What each dialect leaves out of a conversation that it writes: parameters that its shape has no word for, or not beside what
//! else was asked. Kept beside the writers' rules, and held to them by the page of compatibility and the tests here.

use super::chat_request::loses_depth;
use super::hints::Told;
use super::messages_request::thinks;
use super::{Outgoing, bedrock, gemini};
use crate::canonical::conversation::{Conversation, Json};
use crate::canonical::parameter::{Parameter, Parameters};
use crate::canonical::request::ReasoningWish;
use crate::catalog::capability::ThinkingSwitch;
use crate::catalog::{ConverseFields, Reasoning};

/// Of chat completions.
pub(super) fn by_chat(conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let silent = out.reasoning == Reasoning::Never || out.quirks.thinking_switch == ThinkingSwitch::None;
    let shallow = loses_depth(conversation.thinking, out);
    let lost = Parameters::NONE
        .with_if(true, Parameter::TopK)
        .with_if(shallow || silent && wants_thoughts(conversation), Parameter::Thinking);
    conversation.parameters().and(unhinted(undrawn(lost, conversation, out), conversation, out))
}

/// Of Responses.
pub(super) fn by_responses(conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let silent = out.reasoning == Reasoning::Never && wants_thoughts(conversation);
    let lost = Parameters::NONE
        .with_if(true, Parameter::TopK)
        .with_if(true, Parameter::Seed)
        .with_if(true, Parameter::PresencePenalty)
        .with_if(true, Parameter::FrequencyPenalty)
        .with_if(silent, Parameter::Thinking);
    conversation.parameters().and(unhinted(undrawn(lost, conversation, out), conversation, out))
}

/// With the hints that the site, or the model, does not know.
fn unhinted(lost: Parameters, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let Told { service_tier, verbosity, .. } = Told::of(&conversation.hints, out);
    lost.with_if(service_tier.is_none(), Parameter::ServiceTier).with_if(verbosity.is_none(), Parameter::Verbosity)
}

/// With what only chat and Responses have words for.
fn of_openai(lost: Parameters) -> Parameters {
    lost.with_if(true, Parameter::ServiceTier).with_if(true, Parameter::Verbosity)
}

/// With what says how to draw, where a model is asked without.
fn undrawn(lost: Parameters, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let refused = !out.draws(conversation.thinking.wish);
    [Parameter::Temperature, Parameter::TopP, Parameter::PresencePenalty, Parameter::FrequencyPenalty]
        .into_iter()
        .fold(lost, |lost, parameter| lost.with_if(refused, parameter))
}

/// Of Messages. Thinking leaves no room for drawing, and two ways to draw are not taken together; temperatures end at 1.
pub(super) fn by_messages(conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let (sampling, said) = (&conversation.sampling, conversation.parameters());
    let thinks = thinks(conversation, out);
    let hot = sampling.temperature.as_ref().and_then(degrees).is_some_and(|degrees| degrees > 1.0);
    let blank = sampling.stop.iter().any(|text| text.trim().is_empty());
    let kept_on = out.reasoning == Reasoning::Always && conversation.thinking.wish == ReasoningWish::Off;
    let lost = Parameters::NONE
        .with_if(thinks || hot, Parameter::Temperature)
        .with_if(thinks || sampling.temperature.is_some(), Parameter::TopP)
        .with_if(thinks || !out.draws(conversation.thinking.wish), Parameter::TopK)
        .with_if(true, Parameter::Seed)
        .with_if(true, Parameter::PresencePenalty)
        .with_if(true, Parameter::FrequencyPenalty)
        .with_if(blank, Parameter::Stop)
        .with_if(kept_on || (wants_thoughts(conversation) && !thinks), Parameter::Thinking)
        .with_if(true, Parameter::StrictTools)
        .with_if(true, Parameter::ImageDetail);
    said.and(of_openai(undrawn(lost, conversation, out)))
}

/// Of Gemini's. A seed beyond 32 bits is refused there.
pub(super) fn by_gemini(conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let large = conversation.sampling.seed.as_ref().is_some_and(|seed| seed.get().parse::<i32>().is_err());
    let silent = out.reasoning == Reasoning::Never && wants_thoughts(conversation);
    let lost = Parameters::NONE
        .with_if(large, Parameter::Seed)
        .with_if(silent, Parameter::Thinking)
        .with_if(true, Parameter::StrictTools)
        .with_if(!gemini::sees_from_afar(conversation), Parameter::ImageDetail);
    conversation.parameters().and(of_openai(lost))
}

/// Of Converse. What it has no word for is told in those of the model's maker, where it is known who that is.
pub(super) fn by_converse(conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
    let (sampling, fields) = (&conversation.sampling, out.steering.converse);
    let thinks = bedrock::thinks(conversation, out);
    let of_messages = fields == ConverseFields::Messages;
    let (undrawable, hot) = (of_messages && thinks, sampling.temperature.as_ref().and_then(degrees).is_some_and(|d| d > 1.0));
    let blank = sampling.stop.iter().any(|text| text.trim().is_empty());
    let off = conversation.thinking.wish == ReasoningWish::Off;
    let kept_on = off && out.reasoning != Reasoning::Never && !bedrock::tells_off(out);
    let lost = Parameters::NONE
        .with_if(undrawable || hot, Parameter::Temperature)
        .with_if(undrawable || (of_messages && sampling.temperature.is_some()), Parameter::TopP)
        .with_if(undrawable || fields == ConverseFields::None || !out.draws(conversation.thinking.wish), Parameter::TopK)
        .with_if(true, Parameter::Seed)
        .with_if(true, Parameter::PresencePenalty)
        .with_if(true, Parameter::FrequencyPenalty)
        .with_if(blank, Parameter::Stop)
        .with_if(kept_on || (wants_thoughts(conversation) && !thinks), Parameter::Thinking)
        .with_if(true, Parameter::StrictTools)
        .with_if(true, Parameter::ImageDetail);
    conversation.parameters().and(of_openai(undrawn(lost, conversation, out)))
}

/// A model that never thinks need not be told not to.
fn wants_thoughts(conversation: &Conversation) -> bool {
    conversation.thinking.wish != ReasoningWish::Off
}

fn degrees(temperature: &Json) -> Option<f64> {
    temperature.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Shape;
    use crate::canonical::conversation::{Effort, Part, Role, Sampling, ThinkingWish, Tool, ToolChoice, Turn};
    use crate::catalog::capability::Quirks;
    use crate::dialect;
    use crate::units::Tokens;

    fn json(text: &str) -> Option<Json> {
        Json::parse(text.to_owned())
    }

    fn asked() -> Conversation {
        Conversation { turns: vec![Turn { role: Role::User, parts: vec![Part::text("Hi.")] }].into(), ..Conversation::default() }
    }

    fn everything_drawn() -> Sampling {
        Sampling {
            temperature: json("0.5"),
            top_p: json("0.5"),
            top_k: json("5"),
            seed: json("7"),
            presence_penalty: json("1"),
            frequency_penalty: json("1"),
            stop: vec!["END".into()],
        }
    }

    fn check(shape: Shape, reasoning: Reasoning, change: impl Fn(&mut Conversation), expected: &[&str]) {
        let mut conversation = asked();
        change(&mut conversation);
        let out = Outgoing { reasoning, max_output: Tokens::new(64_000), ..Outgoing::to("up", Quirks::default()) };
        let told = dialect::of(shape).leaves_out(&conversation, &out);
        let words: Vec<&str> = told.iter().map(|parameter| parameter.word(Shape::OpenAiChat)).collect();
        assert_eq!(words, expected, "{shape:?} {reasoning:?} {conversation:?}");
    }

    #[test]
    fn each_shape_has_its_own_words_for_drawing() {
        let drawn = |said: &mut Conversation| said.sampling = everything_drawn();
        let never = Reasoning::Never;
        check(Shape::OpenAiChat, never, drawn, &["top_k"]);
        check(Shape::AnthropicMessages, never, drawn, &["top_p", "seed", "presence_penalty", "frequency_penalty"]);
        check(Shape::OpenAiResponses, never, drawn, &["top_k", "seed", "presence_penalty", "frequency_penalty"]);
        check(Shape::GeminiGenerate, never, drawn, &[]);
        check(Shape::GeminiGenerate, never, |said| said.sampling.seed = json("5000000000"), &["seed"]);
        check(Shape::AnthropicMessages, never, |said| said.sampling.temperature = json("1.5"), &["temperature"]);
        check(Shape::AnthropicMessages, never, |said| said.sampling.top_p = json("0.5"), &[]);
        check(Shape::AnthropicMessages, never, |said| said.sampling.stop = vec!["a".into(), "\n".into()], &["stop"]);
    }

    #[test]
    fn thinking_that_is_not_to_be_had_is_told_and_drawing_that_thinking_forbids() {
        let hard = |said: &mut Conversation| {
            said.thinking = ThinkingWish { effort: Some(Effort::High), ..ThinkingWish::default() };
            said.sampling.temperature = json("0.5");
        };
        for shape in Shape::ENDPOINTS {
            check(shape, Reasoning::Never, hard, &["reasoning_effort"]);
            check(shape, Reasoning::Never, |said| said.thinking.wish = ReasoningWish::Off, &[]);
        }
        check(Shape::OpenAiChat, Reasoning::Switchable, hard, &[]);
        check(Shape::OpenAiResponses, Reasoning::Switchable, hard, &[]);
        check(Shape::GeminiGenerate, Reasoning::Switchable, hard, &[]);
        check(Shape::AnthropicMessages, Reasoning::Switchable, hard, &["temperature"]);
        let forced = |said: &mut Conversation| {
            hard(said);
            said.tool_choice = ToolChoice::Required;
        };
        check(Shape::AnthropicMessages, Reasoning::Switchable, forced, &["reasoning_effort"]);
        check(Shape::AnthropicMessages, Reasoning::Always, |said| said.thinking.wish = ReasoningWish::Off, &["reasoning_effort"]);
    }

    #[test]
    fn only_chat_promises_that_arguments_keep_to_their_schema() {
        let strict = |said: &mut Conversation| {
            let tool = Tool { name: "f".into(), description: None, parameters: None, strict: Some(true), cached: None };
            said.tools = vec![tool];
        };
        check(Shape::OpenAiChat, Reasoning::Never, strict, &[]);
        check(Shape::AnthropicMessages, Reasoning::Never, strict, &["tools.strict"]);
        check(Shape::GeminiGenerate, Reasoning::Never, strict, &["tools.strict"]);
    }
}
