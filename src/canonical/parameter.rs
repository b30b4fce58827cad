//! Parameters of a request that some shape has no word for, so that what is left out can be told to whoever asked.
//!
//! Here are those that a [`Conversation`] has a place for: a dialect says which of them it leaves out. What no other shape has
//! a word for is told by its name when the request is read ([`Conversation::unsaid`]).

use super::conversation::{Conversation, Json, Part};
use super::request::ReasoningWish;
use super::shape::Shape;

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Parameter {
    Temperature,
    TopP,
    TopK,
    Seed,
    PresencePenalty,
    FrequencyPenalty,
    Stop,
    /// Whether to think, how hard, how long.
    Thinking,
    /// That the arguments of a tool must keep to its schema.
    StrictTools,
    /// Sooner and dearer, or later and cheaper.
    ServiceTier,
    Verbosity,
    /// That an image may be looked at from afar, which costs less.
    ImageDetail,
    /// What is told to the template of the model.
    TemplateArguments,
}

impl Parameter {
    pub const ALL: [Parameter; 13] = [
        Parameter::Temperature,
        Parameter::TopP,
        Parameter::TopK,
        Parameter::Seed,
        Parameter::PresencePenalty,
        Parameter::FrequencyPenalty,
        Parameter::Stop,
        Parameter::Thinking,
        Parameter::StrictTools,
        Parameter::ServiceTier,
        Parameter::Verbosity,
        Parameter::ImageDetail,
        Parameter::TemplateArguments,
    ];

    /// What a client of a shape calls it; of several names that which its documents use.
    pub const fn word(self, client: Shape) -> &'static str {
        match self {
            Parameter::Temperature => "temperature",
            Parameter::TopP => "top_p",
            Parameter::TopK => "top_k",
            Parameter::Seed => "seed",
            Parameter::PresencePenalty => "presence_penalty",
            Parameter::FrequencyPenalty => "frequency_penalty",
            Parameter::Stop if matches!(client, Shape::AnthropicMessages) => "stop_sequences",
            Parameter::Stop => "stop",
            Parameter::Thinking => match client {
                Shape::OpenAiResponses => "reasoning",
                Shape::AnthropicMessages | Shape::GeminiGenerate | Shape::BedrockConverse => "thinking",
                Shape::OpenAiChat
                | Shape::OpenAiEmbeddings
                | Shape::OpenAiCompletions
                | Shape::Rerank
                | Shape::OpenAiImages
                | Shape::OpenAiSpeech
                | Shape::OpenAiTranscriptions => "reasoning_effort",
            },
            Parameter::StrictTools => "tools.strict",
            Parameter::ServiceTier => "service_tier",
            Parameter::Verbosity if matches!(client, Shape::OpenAiResponses) => "text.verbosity",
            Parameter::Verbosity => "verbosity",
            Parameter::ImageDetail if matches!(client, Shape::OpenAiResponses) => "input_image.detail",
            Parameter::ImageDetail => "image_url.detail",
            Parameter::TemplateArguments => "chat_template_kwargs",
        }
    }

    /// Whether a value, as its text, says no more than its absence.
    pub fn is_usual(self, text: &str) -> bool {
        let usual: Option<f64> = match self {
            Parameter::Temperature | Parameter::TopP => Some(1.0),
            Parameter::PresencePenalty | Parameter::FrequencyPenalty => Some(0.0),
            _ => None,
        };
        text == "null" || usual.is_some_and(|usual| text.parse::<f64>().is_ok_and(|told| told.to_bits() == usual.to_bits()))
    }
}

/// A set of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Parameters(u16);

impl Parameters {
    pub const NONE: Parameters = Parameters(0);

    /// With one more, where it is so.
    #[must_use]
    pub const fn with_if(self, is: bool, parameter: Parameter) -> Self {
        if is { Self(self.0 | 1 << parameter as u8) } else { self }
    }

    pub const fn contains(self, parameter: Parameter) -> bool {
        self.0 & 1 << parameter as u8 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as a number: bit `n` for the `n`th of [`Parameter::ALL`].
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of a number; `None` where it has a bit of no parameter.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits >> Parameter::ALL.len() == 0 { Some(Self(bits)) } else { None }
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Parameters) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Parameters) -> Self {
        Self(self.0 | other.0)
    }

    /// Each in it, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = Parameter> {
        Parameter::ALL.into_iter().filter(move |parameter| self.contains(*parameter))
    }
}

impl FromIterator<Parameter> for Parameters {
    fn from_iter<I: IntoIterator<Item = Parameter>>(all: I) -> Self {
        all.into_iter().fold(Self::NONE, |set, parameter| set.with_if(true, parameter))
    }
}

impl Conversation {
    /// The parameters that it has, but for those whose value is what counts without them.
    pub fn parameters(&self) -> Parameters {
        let sampling = &self.sampling;
        let says = |json: &Option<Json>, parameter: Parameter| json.as_ref().is_some_and(|json| !parameter.is_usual(json.get()));
        let thinking = self.thinking;
        Parameters::NONE
            .with_if(says(&sampling.temperature, Parameter::Temperature), Parameter::Temperature)
            .with_if(says(&sampling.top_p, Parameter::TopP), Parameter::TopP)
            .with_if(says(&sampling.top_k, Parameter::TopK), Parameter::TopK)
            .with_if(says(&sampling.seed, Parameter::Seed), Parameter::Seed)
            .with_if(says(&sampling.presence_penalty, Parameter::PresencePenalty), Parameter::PresencePenalty)
            .with_if(says(&sampling.frequency_penalty, Parameter::FrequencyPenalty), Parameter::FrequencyPenalty)
            .with_if(!sampling.stop.is_empty(), Parameter::Stop)
            .with_if(
                thinking.wish != ReasoningWish::Unsaid || thinking.effort.is_some() || thinking.budget.is_some(),
                Parameter::Thinking,
            )
            .with_if(self.tools.iter().any(|tool| tool.strict == Some(true)), Parameter::StrictTools)
            .with_if(self.hints.tier.is_some(), Parameter::ServiceTier)
            .with_if(self.hints.verbosity.as_ref().is_some_and(|word| word != "medium"), Parameter::Verbosity)
            .with_if(self.turns.iter().any(|turn| turn.parts.iter().any(seen_from_afar)), Parameter::ImageDetail)
    }
}

/// Images with `detail: low`; all other words say no more than that they are looked at.
fn seen_from_afar(part: &Part) -> bool {
    match part {
        Part::Image(medium) => medium.detail.as_deref() == Some("low"),
        Part::Result(result) => result.parts.iter().any(seen_from_afar),
        Part::Text(_) | Part::Document(_) | Part::Audio(_) | Part::Call(_) | Part::Thought(_) | Part::Refusal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conversation::{Hints, Medium, Role, Sampling, Source, ThinkingWish, Tool, ToolResult, Turn};
    use super::Parameter::{
        ImageDetail, PresencePenalty, Seed, ServiceTier, Stop, StrictTools, Temperature, Thinking, TopK, Verbosity,
    };
    use super::*;
    use crate::units::Tokens;

    fn check(change: impl FnOnce(&mut Conversation), expected: &[Parameter]) {
        let mut conversation = Conversation::default();
        change(&mut conversation);
        let told: Vec<Parameter> = conversation.parameters().iter().collect();
        assert_eq!(told, expected, "{conversation:?}");
        assert_eq!(conversation.parameters().is_empty(), expected.is_empty());
    }

    fn number(text: &str) -> Option<Json> {
        Json::parse(text.to_owned())
    }

    #[test]
    fn what_says_no_more_than_its_absence_is_no_parameter() {
        check(|_| {}, &[]);
        let usual = Sampling {
            temperature: number("1.0"),
            top_p: number("1"),
            presence_penalty: number("0"),
            frequency_penalty: number("null"),
            seed: number("null"),
            ..Sampling::default()
        };
        check(|said| said.sampling = usual, &[]);
        let drawn = Sampling {
            temperature: number("0.2"),
            seed: number("0"),
            top_k: number("5"),
            presence_penalty: number("0.1"),
            stop: vec!["END".into()],
            ..Sampling::default()
        };
        check(|said| said.sampling = drawn, &[Temperature, TopK, Seed, PresencePenalty, Stop]);
        let budget = ThinkingWish { budget: Some(Tokens::new(9)), ..ThinkingWish::default() };
        check(|said| said.thinking = budget, &[Thinking]);
        check(|said| said.thinking.wish = ReasoningWish::Off, &[Thinking]);
        let tool = |strict| Tool { name: "f".into(), description: None, parameters: None, strict, cached: None };
        check(|said| said.tools = vec![tool(None), tool(Some(false))], &[]);
        check(|said| said.tools = vec![tool(None), tool(Some(true))], &[StrictTools]);
        let hints = |tier: Option<&str>, verbosity: &str| Hints {
            cache_key: Some("k".into()),
            tier: tier.map(str::to_owned),
            verbosity: Some(verbosity.to_owned()),
        };
        check(|said| said.hints = hints(None, "medium"), &[]);
        check(|said| said.hints = hints(Some("flex"), "low"), &[ServiceTier, Verbosity]);
        let source = || Source::Url("https://a/b.png".into());
        let image =
            |detail: &str| Medium { source: source(), media_type: None, name: None, detail: Some(detail.into()), cached: None };
        let answered = |part| Part::Result(ToolResult { id: "a".into(), parts: vec![part], is_error: false, cached: None });
        let turns = |part| vec![Turn { role: Role::User, parts: vec![part] }].into();
        check(|said| said.turns = turns(Part::Image(image("high"))), &[]);
        check(|said| said.turns = turns(answered(Part::Image(image("low")))), &[ImageDetail]);
    }

    #[test]
    fn sets_hold_what_was_put_in_and_names_differ_within_a_shape() {
        let some: Parameters = [Parameter::Seed, Parameter::TopP].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [Parameter::TopP, Parameter::Seed]);
        assert!(some.and(Parameters::NONE).is_empty() && some.or(Parameters::NONE) == some);
        for shape in Shape::CLIENTS {
            let mut words: Vec<&str> = Parameter::ALL.iter().map(|parameter| parameter.word(shape)).collect();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), Parameter::ALL.len());
        }
    }
}
