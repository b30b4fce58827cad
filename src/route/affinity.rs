//! Prompts that are still warm. A provider that has just read a conversation keeps its prefix cached for a while and
//! bills it at its cache price. That is treated as what it is, a lower price at one backend, and not as a rule: a
//! session stays where it is cheapest to stay, and moves when moving is cheaper even with a cold cache.
//!
//! What is likely warm is said by whoever keeps the sessions; nothing is remembered here.

use crate::catalog::Backend;
use crate::units::{BackendId, Tokens};

/// Where a session's prompt was read last, and how much of it is likely still cached there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    /// By id, since sessions outlive tables.
    pub backend: BackendId,
    pub tokens: Tokens,
}

/// How many of a prompt's `input` tokens a backend will likely bill as read from its cache.
pub fn warm_tokens(warm: Option<&Warm>, backend: &Backend, input: Tokens) -> Tokens {
    match warm {
        Some(warm) if warm.backend == backend.id => warm.tokens.min(input),
        Some(_) | None => Tokens::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Spec, table};
    use super::*;

    fn check(warm: Option<(&str, u64)>, input: u64, expected: u64) {
        let warm = warm.map(|(model, tokens)| Warm { backend: BackendId::new("north", model), tokens: Tokens::new(tokens) });
        let table = table(&[Spec::named("north/mist")]);
        assert_eq!(warm_tokens(warm.as_ref(), &table.backends()[0], Tokens::new(input)), Tokens::new(expected));
    }

    #[test]
    fn only_the_backend_that_read_the_prompt_is_warm_and_only_for_that_prompt() {
        check(Some(("mist", 80)), 100, 80);
        check(Some(("mist", 800)), 100, 100);
        check(Some(("fog", 80)), 100, 0);
        check(None, 100, 0);
    }
}
