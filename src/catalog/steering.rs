//! How a model lets itself be steered: how deep it can be told to think, and whether it takes `temperature` and its like. Facts of a
//! row, for requests that are written in a provider's words; of the client's own bytes only `temperature` and its like are taken out where
//! they would be refused, and an answer that is begun goes to a model that goes on with one.

use super::capability::ThinkingSwitch;
use crate::canonical::conversation::{Effort, Efforts};
use crate::units::Tokens;

/// What a model takes. As far as nothing is known, what its site usually takes is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Steering {
    /// The words for how hard it is to think; empty where it takes none, or where that is not known.
    pub efforts: Efforts,
    /// How many tokens it can be told to think; `None` where it takes no number, or where that is not known.
    pub budget: Option<BudgetBounds>,
    /// How chat is told about thinking of it, where that is not as at the rest of its site.
    pub switch: Option<ThinkingSwitch>,
    /// It takes `temperature`, `top_p` and the penalties.
    pub sampling: bool,
    /// It takes them where it is told not to think, though not otherwise (providers.md 5.1).
    pub sampling_without_thinking: bool,
    /// It goes on with an answer that is begun already. Claude from 4.6 on refuses a conversation that its own turn ends
    /// (github.com/vercel/ai/issues/12296).
    pub prefill: bool,
    /// Whose words it takes beyond those that Bedrock's Converse has for every model.
    pub converse: ConverseFields,
    /// Chat and Responses take marks of a cache for it (`prompt_cache_breakpoint`): models before `OpenAI`'s 5.6 know none
    /// (developers.openai.com, "Prompt caching", 2026-11).
    pub cache_marks: bool,
    /// It answers in a form also where it is offered tools: Gemini's models before 3 refuse both together
    /// (github.com/googleapis/python-genai/issues/867).
    pub form_beside_tools: bool,
    /// Its chat takes tools while it thinks. That of `OpenAI`'s models from 5.4 on refuses them unless thinking is off, and names Responses
    /// (openai/openai-openapi#541, pipecat-ai/pipecat#4043; charmbracelet/crush#2913 of 5.5; of 5.6, where nothing said of thinking is
    /// refused too, GEMISIS/leviath#333 and BerriAI/litellm#34569).
    pub chat_tools: bool,
}

/// What Converse passes to a model as it is (`additionalModelRequestFields`), and whether marks of a cache are taken: each maker's
/// models have their own words there, and one that is told another's refuses the request (AWS, "Inference parameters for foundation
/// models" and "Prompt caching", Bedrock's user guide, 2026-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConverseFields {
    /// It takes none, or nobody knows which.
    #[default]
    None,
    /// Those of Messages: `thinking`, `top_k`.
    Messages,
    /// Those of Nova: `reasoningConfig`, `inferenceConfig.topK`.
    Nova,
}

impl ConverseFields {
    /// The words in the table.
    pub const WORDS: [(ConverseFields, &'static str); 3] =
        [(ConverseFields::None, "none"), (ConverseFields::Messages, "messages"), (ConverseFields::Nova, "nova")];
}

impl Steering {
    /// Nothing is known of it.
    pub const UNKNOWN: Self = Self {
        efforts: Efforts::NONE,
        budget: None,
        switch: None,
        sampling: true,
        sampling_without_thinking: false,
        prefill: true,
        converse: ConverseFields::None,
        cache_marks: false,
        form_beside_tools: true,
        chat_tools: true,
    };

    /// Whether it is told in words alone how hard to think.
    pub const fn by_words(&self) -> bool {
        self.budget.is_none() && !self.efforts.is_empty()
    }

    /// The word that it takes for an effort; `None` where it is not known to take any.
    pub fn word(&self, effort: Effort) -> Option<Effort> {
        self.efforts.fitting(effort)
    }

    /// The number that it takes for a number of tokens: the same where no bounds are known.
    pub fn tokens(&self, wanted: Tokens) -> Tokens {
        self.budget.map_or(wanted, |BudgetBounds { least, most }| wanted.clamp(least, most))
    }
}

/// The least and the most that can be told, both included; the least is not above the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetBounds {
    pub least: Tokens,
    pub most: Tokens,
}
