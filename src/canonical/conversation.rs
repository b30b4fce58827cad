//! A request in nobody's words, for a backend that does not speak the client's: what was said, which tools there are, how the
//! answer is to be made. Where both speak alike none of this is made, and the client's bytes go out.
//!
//! A frontend reads one, a dialect writes it. What a shape has no words for is left out by whoever writes it, who says so
//! ([`parameter`](super::parameter)); without what the answer would be of another kind is refused there instead
//! ([`Untranslatable`]).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::ReasoningWish;
use super::shape::Shape;
use super::shared::Shared;
use crate::units::Tokens;

/// What is to be answered, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// What stands before the first turn: texts.
    pub system: Vec<Part>,
    /// In their order. Neighbours of one role are as the client sent them: some shapes merge them, others must not see them.
    pub turns: Shared<Turn>,
    pub tools: Vec<Tool>,
    /// Those that the client declared as something else, which only its API has.
    pub own_tools: Vec<OwnTool>,
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called at once; `None` where the client did not say.
    pub parallel_calls: Option<bool>,
    pub format: Format,
    pub thinking: ThinkingWish,
    pub sampling: Sampling,
    /// The client's bound on what is written, thinking included.
    pub output_bound: Option<Tokens>,
    pub stream: bool,
    /// Who the client says is asking, for the provider's abuse tracking.
    pub user: Option<String>,
    pub hints: Hints,
    /// Members that no other shape has a word for, by the client's names.
    pub unsaid: Vec<String>,
}

impl Conversation {
    /// Texts for the system, wherever they stand: for shapes that have one place for them.
    pub fn instructions(&self) -> impl Iterator<Item = &Part> {
        let later = self.turns.iter().filter(|turn| turn.role == Role::System);
        self.system.iter().chain(later.flat_map(|turn| &turn.parts))
    }

    /// The same for a provider that did not make all of its seals: with those alone that are `kept`. Thoughts stay as far as they are told
    /// in words.
    #[must_use]
    pub fn with_seals(&self, kept: impl Fn(&Seal) -> bool) -> Self {
        let goes = |seal: &Option<Seal>| seal.as_ref().is_some_and(|seal| !kept(seal));
        let unsealed = |part: &Part| match part {
            Part::Thought(Thought { text, seal }) if text.is_empty() && (seal.is_none() || goes(seal)) => None,
            Part::Thought(Thought { text, seal }) if goes(seal) => {
                Some(Part::Thought(Thought { text: text.clone(), seal: None }))
            }
            Part::Call(call) if goes(&call.seal) => Some(Part::Call(Call { seal: None, ..call.clone() })),
            other => Some(other.clone()),
        };
        let turn = |turn: &Turn| Turn { role: turn.role, parts: turn.parts.iter().filter_map(unsealed).collect() };
        Self { turns: self.turns.iter().map(turn).collect(), ..self.clone() }
    }
}

/// What one side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub role: Role,
    pub parts: Vec<Part>,
}

/// Who speaks. What tools answer is said by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    User,
    Assistant,
    /// Instructions between the turns: texts. Those before the first turn are [`Conversation::system`].
    System,
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(Text),
    Image(Medium),
    Document(Medium),
    Audio(Medium),
    /// The assistant calls a tool.
    Call(Call),
    /// What a tool answered.
    Result(ToolResult),
    /// The assistant thought.
    Thought(Thought),
    /// The assistant declined, in its words.
    Refusal(String),
}

impl Part {
    /// A text without a mark.
    pub fn text(text: impl Into<String>) -> Self {
        Part::Text(Text { text: text.into(), cached: None })
    }

    /// For how long the prompt up to here is to be kept in the provider's cache, where the client says so.
    pub const fn cached(&self) -> Option<CacheLifetime> {
        match self {
            Part::Text(Text { cached, .. })
            | Part::Image(Medium { cached, .. })
            | Part::Document(Medium { cached, .. })
            | Part::Audio(Medium { cached, .. })
            | Part::Call(Call { cached, .. })
            | Part::Result(ToolResult { cached, .. }) => *cached,
            Part::Thought(_) | Part::Refusal(_) => None,
        }
    }
}

impl Part {
    /// The same, to be set; `None` of what no shape marks.
    pub const fn cached_mut(&mut self) -> Option<&mut Option<CacheLifetime>> {
        match self {
            Part::Text(Text { cached, .. })
            | Part::Image(Medium { cached, .. })
            | Part::Document(Medium { cached, .. })
            | Part::Audio(Medium { cached, .. })
            | Part::Call(Call { cached, .. })
            | Part::Result(ToolResult { cached, .. }) => Some(cached),
            Part::Thought(_) | Part::Refusal(_) => None,
        }
    }
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    /// The prompt up to here is to be kept in the provider's cache, for about so long.
    pub cached: Option<CacheLifetime>,
}

/// How long a marked prefix is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheLifetime {
    Minutes,
    Hour,
}

/// An image, a document or a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    pub source: Source,
    /// `image/png`, `application/pdf`, `audio/wav`; `None` where a link does not say.
    pub media_type: Option<String>,
    /// A document's name.
    pub name: Option<String>,
    /// How closely an image is to be looked at (`low`, `high`, `auto`).
    pub detail: Option<String>,
    /// Like a text's.
    pub cached: Option<CacheLifetime>,
}

/// Where a medium's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here, in base64.
    Base64(String),
    /// Behind a link.
    Url(String),
    /// Here, as plain text (a document).
    Text(String),
    /// At the provider, under an id of its own: of no use to another.
    FileId(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// As the provider gave it, or made up where it gave none. Results name it.
    pub id: String,
    pub name: String,
    /// The arguments' text, mostly a JSON object; not checked, and cut where the answer was.
    pub arguments: String,
    /// What a provider wants to see again with the call: Gemini's `thoughtSignature`.
    pub seal: Option<Seal>,
    /// Like a text's.
    pub cached: Option<CacheLifetime>,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's.
    pub id: String,
    /// Texts and media.
    pub parts: Vec<Part>,
    pub is_error: bool,
    /// Like a text's, behind what its parts may have of their own.
    pub cached: Option<CacheLifetime>,
}

/// What the assistant thought before it spoke.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thought {
    /// Empty where only its seal is told.
    pub text: String,
    pub seal: Option<Seal>,
}

/// Proof of a thought that only the provider that made it can read: to others it is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub kind: SealKind,
    pub value: String,
}

/// Whose words a seal is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealKind {
    /// `signature` of an Anthropic `thinking` block.
    AnthropicSignature,
    /// `data` of an Anthropic `redacted_thinking` block: the thought itself, encrypted.
    AnthropicRedacted,
    /// `thoughtSignature` of a Gemini part.
    GeminiSignature,
    /// `encrypted_content` of an `OpenAI` reasoning item.
    OpenAiEncrypted,
    /// `signature` of a `reasoningText` of Bedrock's Converse.
    BedrockSignature,
    /// `redactedContent` of Bedrock's Converse: the thought itself, encrypted.
    BedrockRedacted,
}

impl SealKind {
    /// Whether it is the thought itself, so that no text belongs to it.
    pub const fn is_redacted(self) -> bool {
        matches!(self, SealKind::AnthropicRedacted | SealKind::BedrockRedacted)
    }
}

/// Something that the assistant may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON schema of its arguments; `None` where it takes none.
    pub parameters: Option<Json>,
    /// Whether its arguments must keep to the schema; `None` where the client did not say.
    pub strict: Option<bool>,
    pub cached: Option<CacheLifetime>,
}

/// A tool of a form that only the client's API has, which is told as a function: what its calls are to the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnTool {
    /// What the function is called.
    pub function: String,
    /// What the client calls it, within a namespace where it stands in one.
    pub name: String,
    pub namespace: Option<String>,
    /// It takes a text as it is, which is the function's one argument.
    pub custom: bool,
}

/// Which tools are to be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    None,
    /// Any, but one.
    Required,
    /// This one.
    Named(String),
}

/// What form the answer's text has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema(AnswerSchema),
}

/// The schema of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSchema {
    /// Some shapes want one; may be empty.
    pub name: String,
    pub description: Option<String>,
    pub schema: Json,
    pub strict: Option<bool>,
}

/// What the client says about thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThinkingWish {
    pub wish: ReasoningWish,
    pub effort: Option<Effort>,
    /// Tokens that may be thought.
    pub budget: Option<Tokens>,
    /// Who says nothing in this shape means that there is to be no thinking, as Anthropic's clients do: to be told where a model
    /// would think by default and a switch is known, and no demand.
    pub off_by_default: bool,
}

impl ThinkingWish {
    /// Whether anything was said about thinking.
    pub const fn is_said(&self) -> bool {
        !matches!(self.wish, ReasoningWish::Unsaid) || self.effort.is_some() || self.budget.is_some()
    }
}

/// How hard to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub const ALL: [Effort; 6] = [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];

    /// `OpenAI`'s word (`reasoning_effort`, openapi 2.3.0 of 2026-08-21), which others have taken over.
    pub const fn word(self) -> &'static str {
        match self {
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.word() == word)
    }

    /// Tokens of thinking that stand for it where a provider wants a number: usual with gateways, no standard
    /// (dialects.md 5.5).
    pub const fn budget(self) -> Tokens {
        Tokens::new(match self {
            Effort::Minimal => 1_024,
            Effort::Low => 2_048,
            Effort::Medium => 8_192,
            Effort::High => 16_384,
            Effort::XHigh | Effort::Max => 32_768,
        })
    }

    /// The effort that a budget stands for.
    pub fn of_budget(budget: Tokens) -> Self {
        let [minimal, low, medium, high, ..] = Self::ALL;
        [minimal, low, medium, high].into_iter().find(|effort| budget <= effort.budget()).unwrap_or(Effort::XHigh)
    }
}

/// A set of efforts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Efforts(u8);

impl Efforts {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub const fn with(self, effort: Effort) -> Self {
        Self(self.0 | 1 << effort as u8)
    }

    pub const fn contains(self, effort: Effort) -> bool {
        self.0 & 1 << effort as u8 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The least of them that is at least as hard, else the hardest; `None` of an empty set.
    pub fn fitting(self, wanted: Effort) -> Option<Effort> {
        let mut known = Effort::ALL.into_iter().filter(|effort| self.contains(*effort));
        known.clone().find(|effort| *effort >= wanted).or_else(|| known.next_back())
    }
}

impl FromIterator<Effort> for Efforts {
    fn from_iter<I: IntoIterator<Item = Effort>>(efforts: I) -> Self {
        efforts.into_iter().fold(Self::default(), Self::with)
    }
}

/// What the client says beside its question in words that chat and Responses share, and that other shapes lack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// `prompt_cache_key`: requests with the same one are likely to share a cache.
    pub cache_key: Option<String>,
    /// `service_tier`, where it asks for another than the usual one.
    pub tier: Option<String>,
    /// `verbosity`: how long the answer is to be.
    pub verbosity: Option<String>,
}

/// How the next token is drawn. Numbers are kept as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampling {
    pub temperature: Option<Json>,
    pub top_p: Option<Json>,
    pub top_k: Option<Json>,
    pub seed: Option<Json>,
    pub presence_penalty: Option<Json>,
    pub frequency_penalty: Option<Json>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// A JSON value as its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Keeps a value's text.
    pub fn of(value: &RawValue) -> Self {
        Self(value.to_owned())
    }

    /// Takes a text if it is JSON.
    pub fn parse(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().map(Self)
    }

    pub fn get(&self) -> &str {
        self.0.get()
    }

    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Texts are compared: `1` and `1.0` differ.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Json {}

/// What is refused of a conversation that ends with the assistant's own turn, by who does not go on with one.
pub const BEGUN: &str = "an answer that is begun already";

/// Why a request cannot be said in another shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be said in {shape}")]
pub struct Untranslatable {
    /// The member or part, in the client's words.
    pub what: String,
    /// The word of the shape ([`Shape::word`](super::Shape::word)), or that it is another where it is not known which.
    pub shape: &'static str,
}

impl Untranslatable {
    /// Whose words lack something where client and endpoint speak alike.
    pub const THIS_MODEL: &str = "what this model takes";
    /// The same of a site, whatever its model.
    pub const THIS_SITE: &str = "what this site takes";

    /// What a strict client is told of parameters that would be left out.
    pub fn strictly(dropped: &[String], shape: &'static str, client: Shape) -> Self {
        let names: Vec<String> = dropped.iter().map(|name| format!("`{name}`")).collect();
        let alike = shape == client.word();
        let who = if alike { "a model that takes it".to_owned() } else { format!("a backend that speaks {}", client.word()) };
        let what = format!("{} (this key is strict: leave it out, or ask {who})", names.join(", "));
        Self { what, shape: if alike { Self::THIS_MODEL } else { shape } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_and_budgets_stand_for_each_other() {
        for effort in Effort::ALL {
            assert_eq!(Effort::from_word(effort.word()), Some(effort));
            assert_eq!(Effort::of_budget(effort.budget()), effort.min(Effort::XHigh));
        }
        assert_eq!(Effort::of_budget(Tokens::new(4_000)), Effort::Medium);
        assert_eq!(Effort::from_word("none"), None);
    }

    #[test]
    fn an_effort_becomes_one_that_is_known() {
        let check = |known: &[Effort], wanted, expected| {
            assert_eq!(known.iter().copied().collect::<Efforts>().fitting(wanted), expected, "{known:?} {wanted:?}");
        };
        check(&[], Effort::High, None);
        check(&[Effort::High, Effort::Max], Effort::Low, Some(Effort::High));
        check(&[Effort::High, Effort::Max], Effort::XHigh, Some(Effort::Max));
        check(&[Effort::Low, Effort::Medium], Effort::Max, Some(Effort::Medium));
        for effort in Effort::ALL {
            check(&Effort::ALL, effort, Some(effort));
        }
    }

    #[test]
    fn without_seals_what_was_thought_in_words_stays() {
        let seal = |kind| Some(Seal { kind, value: "s".into() });
        let call = |seal| Part::Call(Call { id: "1".into(), name: "f".into(), arguments: "{}".into(), seal, cached: None });
        let parts = vec![
            Part::Thought(Thought { text: "hm".into(), seal: seal(SealKind::AnthropicSignature) }),
            Part::Thought(Thought { text: String::new(), seal: seal(SealKind::AnthropicRedacted) }),
            Part::text("yes"),
            call(seal(SealKind::GeminiSignature)),
        ];
        let said = Conversation { turns: vec![Turn { role: Role::Assistant, parts }].into(), ..Conversation::default() };
        let left = &said.with_seals(|_| false).turns[0].parts;
        assert_eq!(left, &[Part::Thought(Thought { text: "hm".into(), seal: None }), Part::text("yes"), call(None)]);
        let left = &said.with_seals(|seal| seal.kind != SealKind::AnthropicSignature).turns[0].parts;
        assert_eq!(
            (&left[0], &left[1..]),
            (&Part::Thought(Thought { text: "hm".into(), seal: None }), &said.turns[0].parts[1..])
        );
        assert_eq!(said.with_seals(|_| true), said);
    }

    #[test]
    fn json_is_kept_as_it_was_written() {
        assert_eq!(Json::parse("{\"a\": 1.0}".to_owned()).unwrap().get(), "{\"a\": 1.0}");
        assert_eq!(Json::parse("{".to_owned()), None);
    }
}
