//! What a provider and a backend are: facts of the table, each with its source there.

use std::collections::BTreeSet;
use std::fmt;

use super::allowance::{Prepaid, QuotaIndex};
use super::price::PriceSchedule;
pub use super::refused::RefusedThoughts;
use super::signing::{Signing, key_missing};
use super::snapshot::{BackendIndex, ProviderIndex};
use super::steering::Steering;
pub use super::thinking::{ThinkingDepth, ThinkingEffort, ThinkingSwitch};
use crate::canonical::{Direct, Features, Form, Manner, QualityTier, RareMembers, SchemaBy, Shape, Shapes};
use crate::units::{BackendId, Currency, Tokens};

/// A site that sells tokens. A company with a China site and a world site is two providers: other keys, other
/// currencies, other laws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub index: ProviderIndex,
    /// The id in the table (`deepseek`, `alibaba-cn`).
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// Base URL, perhaps with places to fill ([`address`](super::address)); the dialect appends its path.
    pub base_url: String,
    /// The dialect it speaks there (`openai-chat`); of one that is off, perhaps one that there is no codec for.
    pub dialect: String,
    /// How its key is sent there.
    pub auth: KeyHeader,
    /// Where it speaks another dialect beside that one.
    pub more_endpoints: Vec<MoreEndpoint>,
    /// What belongs at the places of its addresses (`{resource}`): the place's name, and the variable that holds it.
    pub placeholders: Vec<(String, String)>,
    /// What stands in the query of every address (`api-version`).
    pub query: Vec<(String, String)>,
    /// Name of the environment variable that holds its key; `None` for one that needs no key.
    pub api_key_env: Option<String>,
    /// How its requests are signed where its key is not there.
    pub signing: Option<Signing>,
    /// Who controls it.
    pub owner: String,
    /// Whose law its data falls under (country code, or `local`).
    pub jurisdiction: String,
    /// Where the request is served (`CN`, `SG`, `US`, `EU`, `local`, ...).
    pub region: String,
    /// Whether it trains on API data; `None` when unknown.
    pub trains_on_data: Option<bool>,
    /// How long it keeps what it is sent; `None` when unknown.
    pub retention: Option<Retention>,
    /// Whether its models are registered for public service under its law; `None` when unknown.
    pub registered: Option<bool>,
    /// How its prices moved, as far as somebody counted.
    pub price_changes: Option<PriceChanges>,
    /// The currency it bills in.
    pub currency: Currency,
    /// What it was paid in advance.
    pub prepaid: Option<Prepaid>,
    /// How it deviates from its dialect.
    pub quirks: Quirks,
    /// How its prompt cache works.
    pub cache: CacheRules,
    /// Headers that it wants beside the usual ones (never secrets).
    pub extra_headers: Vec<(String, String)>,
    /// Why it is off, when the table itself switches it off.
    pub disabled: Option<String>,
    /// Present for pretend providers only.
    pub sandbox: Option<SandboxTraits>,
}

impl Provider {
    /// Every dialect it speaks that there is a codec for, with the base URL and how the key is sent.
    pub fn endpoints(&self) -> impl Iterator<Item = (Shape, &str, KeyHeader)> {
        let main = Shape::of_endpoint(&self.dialect).map(|shape| (shape, self.base_url.as_str(), self.auth));
        main.into_iter().chain(self.more_endpoints.iter().map(|more| (more.shape, more.base_url.as_str(), more.auth)))
    }

    /// The variables that its addresses are taken from, and its key or what its requests are signed with.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let signing = self.signing.iter().flat_map(Signing::variables);
        let places = self.placeholders.iter().map(|(_, variable)| variable.as_str());
        self.api_key_env.as_deref().into_iter().chain(signing).chain(places)
    }

    /// The variable for lack of which it has no key, nor anything to sign with.
    pub fn key_missing(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        key_missing(self.api_key_env.as_deref(), self.signing.as_ref(), has)
    }

    /// The variable for lack of which one of its addresses is not known.
    pub fn place_missing(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        self.placeholders.iter().map(|(_, variable)| variable.as_str()).find(|variable| !has(variable))
    }

    /// The shape of the endpoint that a request is sent to. Where the endpoint for Messages knows no forms of answers, one that
    /// wants a form goes to the chat beside it: as asked it would come back as text. Tools go past a chat that refuses them, and
    /// thinking that is told in other words to where it comes back with what proves it.
    pub fn serving(&self, manner: Manner) -> Option<Shape> {
        let (shapes, formless) = (self.shapes(), manner.form != Form::Text && self.is_formless());
        let shapes = if formless { shapes.without(Shape::AnthropicMessages) } else { shapes };
        let thinks = manner.thinks && manner.shape != Shape::OpenAiChat && self.quirks.encrypted_reasoning;
        let responds = (manner.tools || thinks) && shapes.contains(Shape::OpenAiResponses);
        (if responds { shapes.without(Shape::OpenAiChat) } else { shapes }).serving(manner.shape)
    }

    /// Whether its endpoint for Messages knows no forms of answers, and there is a chat beside it that does.
    pub fn is_formless(&self) -> bool {
        !self.quirks.messages_formats && self.shapes().contains(Shape::OpenAiChat)
    }

    /// The dialects it speaks in conversations that there is a codec for.
    pub fn shapes(&self) -> Shapes {
        self.endpoints().map(|(shape, _, _)| shape).collect()
    }
}

/// An endpoint beside the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreEndpoint {
    pub shape: Shape,
    /// Base URL; the dialect appends its path.
    pub base_url: String,
    pub auth: KeyHeader,
}

/// The header that carries a provider's key, or a token that is had with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`
    #[default]
    Bearer,
    /// `x-api-key: KEY`
    XApiKey,
    /// `api-key: KEY`
    ApiKey,
    /// `x-goog-api-key: KEY`
    XGoogApiKey,
    /// `authorization: Bearer TOKEN`; the key is `id.secret`, and the token is signed with the secret.
    SignedJwt,
    /// `authorization: Bearer TOKEN`; the key is the key file of a service account, and the token is fetched with it.
    ServiceAccount,
}

impl KeyHeader {
    /// Whether a token is had with the key, which is then sent to nobody.
    pub const fn is_grant(self) -> bool {
        matches!(self, KeyHeader::SignedJwt | KeyHeader::ServiceAccount)
    }

    /// The header's name, and what stands in it before the key.
    pub const fn parts(self) -> (&'static str, &'static str) {
        match self {
            KeyHeader::Bearer | KeyHeader::SignedJwt | KeyHeader::ServiceAccount => ("authorization", "Bearer "),
            KeyHeader::XApiKey => ("x-api-key", ""),
            KeyHeader::ApiKey => ("api-key", ""),
            KeyHeader::XGoogApiKey => ("x-goog-api-key", ""),
        }
    }
}

/// How long a provider keeps prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retention {
    /// Not beyond the request.
    None,
    /// So many days.
    Days(u32),
    /// For good, or until somebody deletes them.
    Kept,
}

impl Retention {
    /// Whether nothing is kept for more than so many days.
    pub const fn within(self, days: u32) -> bool {
        match self {
            Retention::None => true,
            Retention::Days(kept) => kept <= days,
            Retention::Kept => false,
        }
    }
}

/// How often a provider's prices moved, over the time that the facts of the table cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PriceChanges {
    /// Models that were watched.
    pub models: u32,
    pub rises: u32,
    pub cuts: u32,
    /// The largest of the rises.
    pub largest_rise_percent: u32,
}

/// How a site caches prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRules {
    /// How long a prompt that nobody asks for stays cached.
    pub lifetime_seconds: u32,
    /// A beginning with fewer tokens is not cached.
    pub minimum: Tokens,
}

impl Default for CacheRules {
    /// The shortest documented lifetime and the usual minimum (`dialects.md` section 3 and `providers.md` sections 2 and 4,
    /// 2026-11-22).
    fn default() -> Self {
        Self { lifetime_seconds: 300, minimum: Tokens::new(1024) }
    }
}

/// How a site deviates from the plain form of its dialects. All of it data: a new compatible provider is a table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a deviation by itself")]
pub struct Quirks {
    /// Which member carries the output bound.
    pub output_bound: OutputBoundField,
    /// Knows the role `developer`; otherwise it is sent as `system`.
    pub developer_role: bool,
    /// When usage comes in a stream.
    pub stream_usage: StreamUsage,
    /// Reasoning tokens stand beside `completion_tokens` and must be added (xAI, Gemini: providers.md section 2.1).
    pub reasoning_outside_output: bool,
    /// At its endpoint for Messages `input_tokens` includes what was read from a cache or written to one; at Anthropic these
    /// stand beside it. Nobody is known to differ.
    pub messages_input_includes_cache: bool,
    /// How its chat is told about thinking, whatever the words in which the client said so.
    pub thinking_switch: ThinkingSwitch,
    /// Whether its chat takes `reasoning_effort` for how deep to think where the switch is `thinking`.
    pub thinking_effort: ThinkingEffort,
    /// Its chat takes `chat_template_kwargs` (providers.md 3, 2026-11-22): what is not said is so of a server of one's own.
    pub template_arguments: bool,
    /// Its chat refuses a conversation in which a model called tools without what it thought before: it is sent back in
    /// `reasoning_content`.
    pub reasoning_returned: bool,
    /// Members of a message in which its chat refuses what was thought, there or elsewhere. Where there are any, `annotations` of what
    /// the assistant said are taken out as well.
    pub thoughts_refused: RefusedThoughts,
    /// Its chat takes custom tools and `allowed_tools`; elsewhere the first are told as functions, and of the others only those are offered.
    pub custom_tools: bool,
    /// Members without which the answer would be another, and that its chat refuses: a request with one of them goes elsewhere.
    pub refuses: RareMembers,
    /// How its endpoint for Gemini's `generateContent` is told how deep to think, where that is not known of the model.
    pub thinking_depth: ThinkingDepth,
    /// A model that takes no number of tokens is made to think with `thinking: {"type": "adaptive"}`, and refuses `enabled`.
    pub adaptive_thinking: bool,
    /// Its chat refuses ids of calls that are not nine letters and digits.
    pub short_call_ids: bool,
    /// How many characters an id of a call has at most in its chat, where that is known.
    pub call_id_chars: Option<u8>,
    /// Its chat calls the seed `random_seed`, and refuses `seed` (providers.md 5.6).
    pub random_seed: bool,
    /// Its chat calls a `tool_choice` of `required` `any` (providers.md 5.6).
    pub required_is_any: bool,
    /// Its chat leaves out the tag that opens a thought and tells the one that closes it (`</think>`), as servers do whose template
    /// writes the first and that parse neither. A stream is kept back until the second.
    pub unopened_thoughts: bool,
    /// Its endpoint for Messages knows `output_config.format`.
    pub messages_formats: bool,
    /// Its endpoint for Messages takes back thoughts without a signature, as it may tell them (providers.md section 3); Anthropic refuses
    /// them.
    pub unsigned_thoughts: bool,
    /// What it knows of the members that shade an answer or its bill.
    pub hints: KnownHints,
    /// Its chat and its Responses take instructions between the turns; elsewhere they are told before the first. Many sites refuse
    /// them there, or the templates of their models do (`MiniMax`, Qwen, Mistral).
    pub instructions_anywhere: bool,
    /// Its endpoint for Responses tells thoughts encrypted where `include` asks for it, and takes them back. A site that cannot may
    /// refuse the word.
    pub encrypted_reasoning: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            output_bound: OutputBoundField::MaxTokens,
            developer_role: false,
            stream_usage: StreamUsage::OnRequest,
            reasoning_outside_output: false,
            messages_input_includes_cache: false,
            thinking_switch: ThinkingSwitch::ReasoningEffort,
            thinking_effort: ThinkingEffort::Never,
            template_arguments: false,
            reasoning_returned: false,
            thoughts_refused: RefusedThoughts::NONE,
            custom_tools: false,
            refuses: RareMembers::NONE,
            thinking_depth: ThinkingDepth::Tokens,
            adaptive_thinking: false,
            short_call_ids: false,
            call_id_chars: None,
            random_seed: false,
            required_is_any: false,
            unopened_thoughts: false,
            messages_formats: true,
            unsigned_thoughts: false,
            hints: KnownHints::NONE,
            instructions_anywhere: false,
            encrypted_reasoning: false,
        }
    }
}

/// A member that chat and Responses of `OpenAI` share and not every site knows: who is sent an unknown one may refuse the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    CacheKey,
    ServiceTier,
    Verbosity,
}

impl Hint {
    /// The words in the table, which are the members' own.
    pub const WORDS: [(Hint, &'static str); 3] =
        [(Hint::CacheKey, "prompt_cache_key"), (Hint::ServiceTier, "service_tier"), (Hint::Verbosity, "verbosity")];
}

/// A set of hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownHints(u8);

impl KnownHints {
    pub const NONE: Self = Self(0);

    pub const fn contains(self, hint: Hint) -> bool {
        self.0 & 1 << hint as u8 != 0
    }
}

impl FromIterator<Hint> for KnownHints {
    fn from_iter<I: IntoIterator<Item = Hint>>(hints: I) -> Self {
        Self(hints.into_iter().fold(0, |set, hint| set | 1 << hint as u8))
    }
}

/// Which member of the request carries the output bound at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputBoundField {
    MaxTokens,
    MaxCompletionTokens,
    /// Either is understood: whichever the client used passes.
    Either,
}

/// When a site sends usage in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// When `stream_options.include_usage` is set.
    OnRequest,
    /// Unasked, and the site does not know (or refuses) `stream_options`.
    Always,
    /// Never.
    Never,
}

/// What a pretend provider of the sandbox behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxTraits {
    /// Milliseconds to the first token.
    pub latency_ms: u32,
    /// Tokens per second while it answers.
    pub tokens_per_second: u32,
    /// Share of requests that fail, in thousandths.
    pub failures_permille: u32,
}

/// How a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasoning {
    /// It does not.
    Never,
    /// It can be switched.
    Switchable,
    /// It always does: not adequate for a request that demands thinking off.
    Always,
}

impl Reasoning {
    /// Whether it is taken to think on a request. One that can be switched is, unless thinking was refused: most such
    /// models think by default, and too dear a quote misleads less than too cheap a one.
    pub const fn thinks(self, refused: bool) -> bool {
        match self {
            Reasoning::Never => false,
            Reasoning::Switchable => !refused,
            Reasoning::Always => true,
        }
    }
}

/// The tokenizer families whose ratios were measured (`token_ratios.json`, 2026-11-22). Vendors without a public
/// tokenizer are estimated by the nearest family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenizerFamily {
    O200k,
    Cl100k,
    DeepseekV3,
    Qwen23,
    Qwen35,
    Glm47Glm5,
    KimiK2,
    MinimaxM3,
    Llama3,
    MistralTekken,
    MistralSpmV7,
    Gemma3Gemini,
    Claude3Recon,
    Claude47Recon,
    /// No public tokenizer (ERNIE, Hunyuan, Doubao): estimated as `o200k`.
    Unknown,
}

impl TokenizerFamily {
    /// Every family, with its word in the table.
    pub const WORDS: [(TokenizerFamily, &'static str); 15] = [
        (TokenizerFamily::O200k, "o200k"),
        (TokenizerFamily::Cl100k, "cl100k"),
        (TokenizerFamily::DeepseekV3, "deepseek_v3"),
        (TokenizerFamily::Qwen23, "qwen2_3"),
        (TokenizerFamily::Qwen35, "qwen35"),
        (TokenizerFamily::Glm47Glm5, "glm47_glm5"),
        (TokenizerFamily::KimiK2, "kimi_k2"),
        (TokenizerFamily::MinimaxM3, "minimax_m3"),
        (TokenizerFamily::Llama3, "llama3"),
        (TokenizerFamily::MistralTekken, "mistral_tekken"),
        (TokenizerFamily::MistralSpmV7, "mistral_spm_v7"),
        (TokenizerFamily::Gemma3Gemini, "gemma3_gemini"),
        (TokenizerFamily::Claude3Recon, "claude3_recon"),
        (TokenizerFamily::Claude47Recon, "claude47_recon"),
        (TokenizerFamily::Unknown, "unknown"),
    ];

    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, w)| *w == word).map(|(f, _)| f)
    }

    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(f, _)| *f == self).map_or("unknown", |(_, w)| w)
    }
}

/// Bounds of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Input and output together; of what is no conversation, the longest single input.
    pub context: Tokens,
    /// The most it writes in one answer.
    pub max_output: Tokens,
    /// Input above this has no price in the table (a tier that is not shipped yet): not adequate there.
    pub priced_input: Option<Tokens>,
}

/// How long the vectors of a model may be asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// The shortest that it makes of them.
    pub least: u32,
    /// What they are where nobody asks for less.
    pub most: u32,
}

impl Dimensions {
    pub const fn offer(self, wanted: u32) -> bool {
        self.least <= wanted && wanted <= self.most
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least < self.most {
            write!(f, "{} to ", self.least)?;
        }
        write!(f, "{}", self.most)
    }
}

/// One measured or published quality figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualitySignal {
    pub metric: String,
    /// As written by its source; figures of different metrics must not be compared.
    pub value: String,
    pub measured: Option<String>,
    pub source: String,
}

/// How good a model is, on the table's own scale of 0 to 100 and with the signals it was derived from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quality {
    /// 0 to 100; `None` when nothing is known: such a backend meets no floor above economy.
    pub score: Option<u8>,
    pub signals: Vec<QualitySignal>,
}

impl Quality {
    /// The score from which a tier begins (table scale, see `providers.toml`).
    pub const fn floor_of(tier: QualityTier) -> u8 {
        match tier {
            QualityTier::Economy => 0,
            QualityTier::Standard => 40,
            QualityTier::Premium => 65,
        }
    }

    pub fn meets(&self, tier: QualityTier) -> bool {
        self.score.unwrap_or(0) >= Self::floor_of(tier)
    }
}

/// One routable target: provider, model, region and endpoint, with its prices and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub index: BackendIndex,
    /// `provider/upstream_model`: exactly this backend.
    pub id: BackendId,
    pub provider: ProviderIndex,
    /// The model's common name, shared by every provider that serves it.
    pub model: String,
    /// The id this provider knows the model by; what is sent.
    pub upstream_model: String,
    /// Other names clients may use for the model.
    pub aliases: Vec<String>,
    pub limits: Limits,
    /// What it can do.
    pub features: Features,
    /// How it is made to answer by a schema, where it can.
    pub schema_by: SchemaBy,
    pub reasoning: Reasoning,
    pub steering: Steering,
    /// What it is asked for, where that is no conversation: at its provider's endpoint of OpenAI's shape.
    pub serves: Option<&'static Direct>,
    /// Of its vectors; `None` where it makes none, or nobody says.
    pub dimensions: Option<Dimensions>,
    /// Languages it is good at (ISO 639-1); `*` for any.
    pub languages: BTreeSet<String>,
    pub tokenizer: TokenizerFamily,
    pub quality: Quality,
    pub prices: PriceSchedule,
    /// Its free quotas, in the order in which they are used.
    pub quotas: Vec<QuotaIndex>,
    /// The operator says it costs nothing; otherwise a backend without a price is not used.
    pub free: bool,
    /// Why it is off, when the table switches it off.
    pub disabled: Option<String>,
}

impl Backend {
    /// How it is made to answer by a schema, where it is offered tools or where it is not.
    pub const fn schema_by(&self, tools: bool) -> SchemaBy {
        match self.schema_by {
            SchemaBy::Native if tools && !self.steering.form_beside_tools => SchemaBy::Tool,
            by => by,
        }
    }

    /// Whether an answer of this form is asked for by hand, and what goes out is therefore written anew.
    pub fn by_hand(&self, form: Form, tools: bool) -> bool {
        form == Form::Schema && self.schema_by(tools) != SchemaBy::Native
    }

    /// What decides to which endpoint of its provider a request is sent that asks so.
    pub fn asked(&self, manner: Manner) -> Manner {
        Manner {
            form: self.form_asked(manner.form),
            tools: manner.tools && !self.steering.chat_tools,
            thinks: manner.thinks && self.reasoning != Reasoning::Never,
            ..manner
        }
    }

    /// The form that the provider is asked for where the client wants this one.
    const fn form_asked(&self, form: Form) -> Form {
        match (form, self.schema_by) {
            // A tool is no form: it is called in any shape.
            (Form::Schema, SchemaBy::Tool) => Form::Text,
            (Form::Schema, SchemaBy::JsonObject) => Form::Object,
            (form, _) => form,
        }
    }
}
