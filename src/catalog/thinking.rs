//! How a site is told to think, or not to: sites of one API have several words for it, and refuse each other's.

use super::capability::{Quirks, Reasoning};
use super::steering::Steering;
use crate::canonical::{ReasoningWish, ThinkingWords};

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
    /// It cannot be told.
    None,
}

impl Quirks {
    /// The words in which chat tells a model of the site how to think. An effort that is told beside the switch takes no thinking off.
    pub fn thinking_words(&self, reasoning: Reasoning, steering: &Steering, wish: ReasoningWish) -> ThinkingWords {
        let switch = self.thinking_switch;
        if reasoning == Reasoning::Never && switch != ThinkingSwitch::None {
            return ThinkingWords::NONE;
        }
        let beside = match switch {
            ThinkingSwitch::Thinking => self.thinking_effort != ThinkingEffort::Never && !steering.efforts.is_empty(),
            ThinkingSwitch::EnableThinking => steering.by_words(),
            ThinkingSwitch::ReasoningEffort | ThinkingSwitch::Reasoning | ThinkingSwitch::None => false,
        };
        let words = switch.words();
        ThinkingWords { reasoning_effort: words.reasoning_effort || beside && wish != ReasoningWish::Off, ..words }
    }
}

impl ThinkingSwitch {
    /// The word that it is told by; all of them may be known where nothing is known of the site.
    const fn words(self) -> ThinkingWords {
        let none = ThinkingWords::NONE;
        match self {
            ThinkingSwitch::ReasoningEffort => ThinkingWords { reasoning_effort: true, ..none },
            ThinkingSwitch::Thinking => ThinkingWords { thinking: true, ..none },
            ThinkingSwitch::EnableThinking => ThinkingWords { enable_thinking: true, ..none },
            ThinkingSwitch::Reasoning => ThinkingWords { reasoning: true, ..none },
            ThinkingSwitch::None => {
                ThinkingWords { reasoning_effort: true, thinking: true, enable_thinking: true, reasoning: true }
            }
        }
    }

    /// Whether it is known to take thinking off a model that can do without: not every site knows the effort `none`.
    pub const fn switches_off(self) -> bool {
        matches!(self, ThinkingSwitch::Thinking | ThinkingSwitch::EnableThinking | ThinkingSwitch::Reasoning)
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
