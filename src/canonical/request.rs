//! The canonical request: what the path reads of a request, beside the original bytes.

use std::ops::Range;

use bytes::Bytes;

use super::conversation::ThinkingWish;
use super::parameter::{Parameter, Parameters};
use super::shape::{Direct, Manner, Shape, Takes, Writes};
use super::text::TextProfile;
use super::wishes::Wishes;
use crate::units::{ImageWish, Pieces, Tokens};

/// Something a request needs of a backend. One bit each, so that adequacy is a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Feature {
    /// Function tools are offered.
    Tools,
    /// The model must call a tool (`tool_choice` required, or a named function).
    ForcedTool,
    /// The answer must satisfy a JSON Schema (`response_format` `json_schema`).
    JsonSchema,
    /// The answer must be a JSON object (`response_format` `json_object`).
    JsonObject,
    /// Token log probabilities are wanted.
    Logprobs,
    /// More than one choice is wanted (`n` above 1).
    ManyChoices,
    /// Images stand in the messages.
    ImageInput,
    /// Audio stands in the messages.
    AudioInput,
    /// Files (documents) stand in the messages.
    FileInput,
    /// The answer should be audio as well.
    AudioOutput,
}

impl Feature {
    pub const ALL: [Feature; 10] = [
        Feature::Tools,
        Feature::ForcedTool,
        Feature::JsonSchema,
        Feature::JsonObject,
        Feature::Logprobs,
        Feature::ManyChoices,
        Feature::ImageInput,
        Feature::AudioInput,
        Feature::FileInput,
        Feature::AudioOutput,
    ];

    /// The word in the table (`features = [...]`) and in reasons.
    pub const fn word(self) -> &'static str {
        match self {
            Feature::Tools => "tools",
            Feature::ForcedTool => "forced_tool",
            Feature::JsonSchema => "json_schema",
            Feature::JsonObject => "json_object",
            Feature::Logprobs => "logprobs",
            Feature::ManyChoices => "many_choices",
            Feature::ImageInput => "image_input",
            Feature::AudioInput => "audio_input",
            Feature::FileInput => "file_input",
            Feature::AudioOutput => "audio_output",
        }
    }
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u16);

impl Features {
    pub const NONE: Features = Features(0);

    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | (1 << feature as u8))
    }

    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub const fn missing_from(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as a number: bit `n` for the `n`th of [`Feature::ALL`].
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of a number; `None` where it has a bit of no feature.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits >> Feature::ALL.len() == 0 { Some(Self(bits)) } else { None }
    }

    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Features::NONE, Features::with)
    }
}

/// What the client says about thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReasoningWish {
    /// Nothing: the backend's default.
    #[default]
    Unsaid,
    /// Thinking must be off.
    Off,
    /// Thinking is asked for, with any effort.
    On,
}

/// A text that begins with a thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Where it stands in the body, quotes included.
    pub text: Range<usize>,
    /// The same without the thought, in quotes.
    pub said: String,
}

/// Where the members stand in the original bytes that may have to differ on the way out. Byte ranges of the body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// The value of `model`, quotes included.
    pub model: Range<usize>,
    /// The whole member `tokenbroker` (key and value) where it is present.
    pub wishes: Option<Member>,
    /// `stream_options`, where present.
    pub stream_options: Option<Member>,
    /// `max_tokens`, where present.
    pub max_tokens: Option<Member>,
    /// `max_completion_tokens`, where present.
    pub max_completion_tokens: Option<Member>,
    /// `max_output_tokens`, where present.
    pub max_output_tokens: Option<Member>,
    /// `store` of Responses, where present.
    pub store: Option<Member>,
    /// `include` of Responses, where present.
    pub include: Option<Member>,
    /// Each value `"developer"` of a message's `role`, quotes included.
    pub developer_roles: Vec<Range<usize>>,
    /// Behind a member of each message of the assistant without `reasoning_content`, where the conversation has calls; otherwise none.
    pub thoughtless: Vec<usize>,
    /// Members of chat's messages that thoughts stand in, in their order.
    pub thoughts: Vec<(ThoughtMember, Member)>,
    /// `annotations` of chat's messages of the assistant, which a client says again as they were told.
    pub annotations: Vec<Member>,
    /// Texts of the assistant in chat's messages that begin with a thought between tags.
    pub folded: Vec<Folded>,
    /// The array `messages`.
    pub messages: Range<usize>,
    /// Every message's content is one text, and no member of it is unknown: nothing in it is marked to be cached. `false` where
    /// nobody looked.
    pub plain: bool,
    /// `seed` of chat, where present.
    pub seed: Option<Member>,
    /// The last message is the assistant's: the answer is begun. Seen of chat and Messages.
    pub begun: bool,
    /// What says how to draw (`temperature` and its like), where it says anything.
    pub drawn: Vec<(Parameter, Member)>,
    /// The value of `tool_choice` of chat where it is the word by which some tool must be called, quotes included; empty elsewhere.
    pub forced_word: Range<usize>,
    /// How ids of calls are written in the conversation.
    pub call_ids: IdForms,
    /// How the request says how to think, where it does.
    pub thinking: Option<Box<ThinkingSaid>>,
    /// Tools of chat, or a choice among them, that only `OpenAI`'s sites are known to take: custom ones, `allowed_tools`.
    pub own_tools: bool,
    /// Members of chat without which the answer would be another, and that not every site takes.
    pub rare: RareMembers,
    /// Where each message begins; empty where that was not seen as they were read.
    pub begins: Vec<usize>,
    /// The system prompt where it stands outside of `messages`; empty without one.
    pub system: Range<usize>,
    /// The array `tools`, or that of its forerunner `functions`; empty without any.
    pub tools: Range<usize>,
}

/// What the ids are made of that results name their calls by. Who made them does not matter to most, but some sites take none of
/// another form than their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdForms {
    /// One has another character than a letter, a digit, `_` or `-`, or more than [`IdForms::MOST_CHARS`] of them.
    pub odd: bool,
    /// One is not nine letters and digits.
    pub long: bool,
    /// How long the longest is, in bytes: characters where it is plain.
    pub longest: usize,
}

impl IdForms {
    /// Messages and Responses take no longer ones (`string_above_max_length`, decolua/9router#393, 2026-03-23).
    pub const MOST_CHARS: usize = 64;
    /// How many a site wants that wants short ones (dialects.md 5.2, 2026-11-22).
    pub const SHORT_CHARS: usize = 9;

    /// Takes one more, as it stands between its quotes.
    pub fn note(&mut self, id: &str) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        self.odd |= id.is_empty() || id.len() > Self::MOST_CHARS || !id.bytes().all(plain);
        self.longest = self.longest.max(id.len());
        self.long |= id.len() != Self::SHORT_CHARS || !id.bytes().all(|b| b.is_ascii_alphanumeric());
    }
}

/// A member of chat's messages that tells what a model thought. `OpenAI` has none, so sites made their own, and some refuse what they do
/// not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThoughtMember {
    ReasoningContent,
    Reasoning,
    ReasoningDetails,
}

/// A member of a request of chat that not every site takes, and without which the answer would be of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RareMember {
    LogitBias,
    Prediction,
    WebSearchOptions,
}

/// A set of such members: of a request those that stand in it, of a site those that it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RareMembers(u8);

impl RareMembers {
    pub const NONE: Self = Self(0);

    /// The members' own names, which are the words in the table.
    pub const WORDS: [(RareMember, &'static str); 3] = [
        (RareMember::LogitBias, "logit_bias"),
        (RareMember::Prediction, "prediction"),
        (RareMember::WebSearchOptions, "web_search_options"),
    ];

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The name of the first that is in both.
    pub fn first_in(self, other: Self) -> Option<&'static str> {
        let both = self.0 & other.0;
        Self::WORDS.into_iter().find(|(member, _)| both & 1 << *member as u8 != 0).map(|(_, word)| word)
    }
}

impl FromIterator<RareMember> for RareMembers {
    fn from_iter<I: IntoIterator<Item = RareMember>>(members: I) -> Self {
        Self(members.into_iter().fold(0, |set, member| set | 1 << member as u8))
    }
}

/// How a request says how to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingSaid {
    /// What all of it comes to.
    pub wish: ThinkingWish,
    /// Where it stands, in which words.
    pub members: Vec<(ThinkingWord, Member)>,
    /// What is told to the template of the model, where anything is.
    pub template: Option<TemplateSaid>,
}

/// `chat_template_kwargs` of chat: arguments for the template that the model's prompt is written by, as servers take them that run a
/// model themselves (vLLM, `SGLang`, llama.cpp). Whether to think is one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSaid {
    pub member: Member,
    /// Whether to think is said in it.
    pub switch: bool,
    /// Others stand in it, which nobody else has words for.
    pub more: bool,
}

/// A word in which a request says how to think: every site of chat knows one or two of them, and many refuse the others. Messages and
/// Responses have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingWord {
    /// `reasoning_effort`.
    ReasoningEffort,
    /// `thinking`.
    Thinking,
    /// `enable_thinking` and `thinking_budget`.
    EnableThinking,
    /// `reasoning`.
    Reasoning,
}

/// One member of an object: its key (quotes included) and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// One request in canonical form.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Request {
    /// The shape that it is in, and that its answer has to have.
    pub shape: Shape,
    /// The client's bytes, unchanged.
    pub body: Bytes,
    /// Where in `body` the members stand that may have to differ.
    pub members: Members,
    /// The model name as the client sent it.
    pub model: String,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The client asked for a usage frame at the end of its stream.
    pub wants_usage_frame: bool,
    /// The client's bound on the output (`max_completion_tokens`, else `max_tokens`), per choice.
    pub output_bound: Option<Tokens>,
    /// How many choices the client wants (`n`).
    pub choices: u32,
    /// What the request needs of a backend.
    pub features: Features,
    /// Its answer is to keep to a schema that no object can keep to, or that is none.
    pub no_object: bool,
    /// What the client says about thinking.
    pub reasoning: ReasoningWish,
    /// How much it may think at most, where the client says so; within the bound on the output.
    pub thinking_budget: Option<Tokens>,
    /// Thoughts of a model may stand in its messages. False only where its reader saw that there are none.
    pub may_hold_thoughts: bool,
    /// A member that changes what the request costs in a way that no price list here tells.
    pub unpriced: Option<&'static str>,
    /// What the text of the prompt is made of: messages, tool schemas, tool results.
    pub text: TextProfile,
    /// Input that came as tokens, in numbers of the model's own vocabulary.
    pub token_input: Tokens,
    /// How long the vectors of the answer are to be.
    pub dimensions: Option<u32>,
    /// What is billed by the piece where a price goes by it.
    pub pieces: Pieces,
    /// Which images are wished, where any are.
    pub image: ImageWish,
    /// Number of messages; of what is no conversation, of its inputs.
    pub messages: u32,
    /// Number of tools offered.
    pub tools: u32,
    /// Number of images in the messages.
    pub images: u32,
    /// Finer wishes, from the `tokenbroker` object and the `x-tokenbroker-*` headers.
    pub wishes: Wishes,
}

impl Request {
    /// What decides to which endpoint of a provider it is sent.
    pub fn manner(&self) -> Manner {
        Manner::of(self.shape, self.features, self.reasoning)
    }

    /// What it says of how to draw beyond what counts without a word.
    pub fn draws(&self) -> Parameters {
        let said = |member: &Member| self.body.get(member.value.clone()).and_then(|text| std::str::from_utf8(text).ok());
        let unusual = |(parameter, member): &&(Parameter, Member)| !said(member).is_some_and(|text| parameter.is_usual(text));
        self.members.drawn.iter().filter(unusual).map(|(parameter, _)| *parameter).collect()
    }

    /// Whether its input is the text that stands in it, each piece once. It is not where it came as tokens, nor where something
    /// is read anew with each of its inputs: a query with every document, a suffix behind every prompt.
    pub fn reads_as_it_stands(&self) -> bool {
        let once = match self.shape.direct() {
            Some(Direct { takes: Takes::Documents, .. }) => false,
            Some(direct) if direct.writes == Writes::Text => self.messages == 1,
            _ => true,
        };
        once && self.token_input == Tokens::ZERO
    }
}

#[cfg(test)]
impl Request {
    /// A request with one message of this text that says nothing else, for the tests of whoever reads requests.
    pub(crate) fn saying(text: &str) -> Self {
        Self {
            shape: Shape::OpenAiChat,
            body: Bytes::copy_from_slice(text.as_bytes()),
            members: Members::default(),
            model: "auto".to_owned(),
            stream: false,
            wants_usage_frame: false,
            output_bound: None,
            choices: 1,
            features: Features::NONE,
            no_object: false,
            reasoning: ReasoningWish::Unsaid,
            thinking_budget: None,
            may_hold_thoughts: false,
            unpriced: None,
            text: TextProfile::of(text),
            token_input: Tokens::ZERO,
            dimensions: None,
            pieces: Pieces::default(),
            image: ImageWish::default(),
            messages: 1,
            tools: 0,
            images: 0,
            wishes: Wishes::default(),
        }
    }
}
