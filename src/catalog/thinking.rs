//! How a site is told to think, or not to: sites of one API have several words for it, and refuse each other's.

use super::capability::{Quirks, Reasoning};
use super::steering::Steering;
use crate::canonical::{ReasoningWish, ThinkingWord};

/// How the chat of a site is told about thinking (providers.md 3, 2026-11-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingSwitch {
    /// `reasoning_effort`: `none`, `low`, `high` and so on.
    ReasoningEffort,
    /// `thinking: {"type": "enabled"}`, and how deep as [`ThinkingEffort`] says.
    Thinking,
    /// `enable_thinking` and `thinking_budget`.
    EnableThinking,
    /// `reasoning: {"effort": "high"}`, or its `max_tokens`.
    Reasoning,
    /// `chat_template_kwargs: {"enable_thinking": true, "thinking": true}`: templates have either name, and take no notice of the other.
    TemplateArguments,
    /// It cannot be told.
    None,
}

impl Quirks {
    /// Whether chat knows a word for a model of the site. An effort that is told beside the switch takes no thinking off; of a site
    /// that cannot be told nothing is known. To a model that does not think no word says anything, and many refuse it.
    pub fn knows_thinking_word(
        &self,
        word: ThinkingWord,
        (reasoning, steering): (Reasoning, &Steering),
        wish: ReasoningWish,
    ) -> bool {
        let switch = self.thinking_switch;
        let own = match switch {
            ThinkingSwitch::ReasoningEffort => Some(ThinkingWord::ReasoningEffort),
            ThinkingSwitch::Thinking => Some(ThinkingWord::Thinking),
            ThinkingSwitch::EnableThinking => Some(ThinkingWord::EnableThinking),
            ThinkingSwitch::Reasoning => Some(ThinkingWord::Reasoning),
            ThinkingSwitch::TemplateArguments => None,
            ThinkingSwitch::None => return reasoning != Reasoning::Never,
        };
        let beside = match switch {
            ThinkingSwitch::Thinking => self.thinking_effort != ThinkingEffort::Never && !steering.efforts.is_empty(),
            ThinkingSwitch::EnableThinking | ThinkingSwitch::TemplateArguments => steering.by_words(),
            ThinkingSwitch::ReasoningEffort | ThinkingSwitch::Reasoning | ThinkingSwitch::None => false,
        };
        let known = Some(word) == own || beside && word == ThinkingWord::ReasoningEffort && wish != ReasoningWish::Off;
        known && reasoning != Reasoning::Never
    }

    /// Whether chat takes arguments for the template of a model; many sites refuse the member, or take no notice of it.
    pub fn knows_template_arguments(&self) -> bool {
        self.template_arguments || self.thinking_switch == ThinkingSwitch::TemplateArguments
    }
}

impl ThinkingSwitch {
    /// Whether it is known to take thinking off a model that can do without: not every site knows the effort `none`.
    pub const fn switches_off(self) -> bool {
        match self {
            ThinkingSwitch::Thinking
            | ThinkingSwitch::EnableThinking
            | ThinkingSwitch::Reasoning
            | ThinkingSwitch::TemplateArguments => true,
            ThinkingSwitch::ReasoningEffort | ThinkingSwitch::None => false,
        }
    }
}

/// Whether `reasoning_effort` is told where the switch is `thinking` (providers.md 3, 2026-11-22): of models whose words are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingEffort {
    /// The site is not known to take it.
    Never,
    /// Beside the switch.
    Beside,
    /// In its place: both together are refused.
    Instead,
}

/// How Gemini is told how deep to think (dialects.md 5.5, 2026-11-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingDepth {
    /// By a number of tokens, `thinkingBudget`: every model that thinks takes it.
    Tokens,
    /// By a word, `thinkingLevel`: what models from Gemini 3 on prefer, and those before refuse.
    Level,
}
