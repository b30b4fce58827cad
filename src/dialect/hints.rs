//! What a client says beside its question and only chat and Responses have words for: told to sites that know the words, of models
//! that take them.

use serde::Serialize;

use super::Outgoing;
use crate::canonical::conversation::{CacheLifetime, Hints};
use crate::catalog::Reasoning;
use crate::catalog::capability::Hint;

/// The cheaper tier, which only models that think are served in (developers.openai.com, "Flex processing", 2026-11).
const FLEX: &str = "flex";

/// The words that go out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Told<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_cache_key: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbosity: Option<&'c str>,
}

impl<'c> Told<'c> {
    /// Models that never think refuse every verbosity but the usual one.
    pub(super) fn of(hints: &'c Hints, out: &Outgoing<'_>) -> Self {
        let Hints { cache_key, tier, verbosity } = hints;
        let known = |hint| out.quirks.hints.contains(hint);
        let thinks = out.reasoning != Reasoning::Never;
        Self {
            prompt_cache_key: cache_key.as_deref().filter(|_| known(Hint::CacheKey)),
            service_tier: tier.as_deref().filter(|word| known(Hint::ServiceTier) && (thinks || *word != FLEX)),
            verbosity: verbosity.as_deref().filter(|_| known(Hint::Verbosity) && thinks),
        }
    }
}

/// Marks the end of a part of the prompt that is to be kept in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Breakpoint {
    mode: &'static str,
}

impl Breakpoint {
    /// What stands for a mark. There is one lifetime, of half an hour at least.
    pub(super) fn of(cached: Option<CacheLifetime>, out: &Outgoing<'_>) -> Option<Self> {
        cached.filter(|_| out.steering.cache_marks).map(|_| Self { mode: "explicit" })
    }
}
