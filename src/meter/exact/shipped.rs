//! The vocabularies that the program carries, in the crate `tiktoken`.
//!
//! OpenAI's two are always there; the rest with the feature `vocabularies`. The crate splits by an automaton instead of by
//! backtracking, so no text makes it fail; what its words cost is bounded by `pieces`. Its constructors are used rather than its
//! registry, which keeps what it loaded for good. Where each vocabulary comes from and under which licence stands in
//! `docs/vocabularies.md`.

use std::borrow::Cow;
use std::sync::OnceLock;

use tiktoken::CoreBpe;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::kinds::{KINDS, Kinds, kind_of};
use super::pieces::{Encoding, PIECE_BYTES, Tally, tally};
use super::{TokenCounter, borders};
use crate::catalog::TokenizerFamily;

/// How a family's vocabulary is made, and whether it takes a text as it is or in Unicode's composed form (NFC).
#[derive(Clone, Copy)]
struct Source {
    load: fn() -> CoreBpe,
    composes: bool,
}

const fn plain(load: fn() -> CoreBpe) -> Source {
    Source { load, composes: false }
}

fn source(family: TokenizerFamily) -> Option<Source> {
    use tiktoken::encoding;
    Some(match family {
        TokenizerFamily::O200k => plain(encoding::o200k_base),
        TokenizerFamily::Cl100k => plain(encoding::cl100k_base),
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::DeepseekV3 => plain(encoding::deepseek_v3),
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::Qwen23 => Source { load: encoding::qwen2, composes: true },
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::Glm47Glm5 => plain(encoding::glm5),
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::KimiK2 => plain(encoding::kimi_k2),
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::MinimaxM3 => Source { load: encoding::minimax_m2, composes: true },
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::Llama3 => plain(encoding::llama3),
        #[cfg(feature = "vocabularies")]
        TokenizerFamily::MistralTekken => plain(encoding::mistral_v3),
        _ => return None,
    })
}

/// Whether this program carries the family's vocabulary.
pub fn ships(family: TokenizerFamily) -> bool {
    source(family).is_some()
}

/// Loads the family's vocabulary, if there is one: a tenth of a second.
pub(super) fn load(family: TokenizerFamily) -> Option<Shipped> {
    source(family).map(|source| Shipped { bpe: (source.load)(), composes: source.composes, kinds: OnceLock::new() })
}

/// A vocabulary in memory.
pub(super) struct Shipped {
    bpe: CoreBpe,
    composes: bool,
    /// Each token's kind by its number, found out when first asked for: a byte a token. To look at a token's bytes each time
    /// takes longer than to find the token.
    kinds: OnceLock<Box<[u8]>>,
}

impl Shipped {
    /// The same with pieces of another length, for tests that cut often.
    fn count_in(&self, text: &str, most: usize) -> u64 {
        let mut counted = Counted { bpe: &self.bpe, tokens: 0 };
        tally(&self.bpe, &self.taken(text), most, &mut counted);
        counted.tokens
    }

    /// The text as the vocabulary takes it.
    fn taken<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.composes { composed(text) } else { Cow::Borrowed(text) }
    }
}

impl TokenCounter for Shipped {
    fn count(&self, text: &str) -> u64 {
        self.count_in(text, PIECE_BYTES)
    }

    fn last_border(&self, text: &str, from: usize) -> Option<usize> {
        borders::last(text, from)
    }

    fn kinds(&self, texts: &[&str]) -> Option<Kinds> {
        let known = self.kinds.get_or_init(|| kinds_of_all(&self.bpe));
        let mut sorted = Sorted { bpe: &self.bpe, known, kinds: [0; KINDS] };
        for text in texts {
            tally(&self.bpe, &self.taken(text), PIECE_BYTES, &mut sorted);
        }
        Some(sorted.kinds)
    }
}

struct Counted<'b> {
    bpe: &'b CoreBpe,
    tokens: u64,
}

impl Tally for Counted<'_> {
    fn piece(&mut self, piece: &str) {
        self.tokens += self.bpe.count(piece) as u64;
    }

    fn tokens(&mut self, tokens: &[u32]) {
        self.tokens += tokens.len() as u64;
    }
}

/// The kinds of a vocabulary's tokens, special ones left out.
fn kinds_of_all(bpe: &CoreBpe) -> Box<[u8]> {
    let tokens = u32::try_from(bpe.vocab_size()).unwrap_or(u32::MAX);
    (0..tokens).map(|token| u8::try_from(kind_of(token, &bpe.decode(&[token]))).unwrap_or(u8::MAX)).collect()
}

struct Sorted<'b> {
    bpe: &'b CoreBpe,
    known: &'b [u8],
    kinds: Kinds,
}

impl Tally for Sorted<'_> {
    fn piece(&mut self, piece: &str) {
        self.tokens(&self.bpe.encode(piece));
    }

    fn tokens(&mut self, tokens: &[u32]) {
        for token in tokens {
            // Numbers may have gaps, so that some lie beyond how many there are.
            let known = self.known.get(*token as usize).map(|kind| usize::from(*kind));
            self.kinds[known.unwrap_or_else(|| kind_of(*token, &self.bpe.decode(std::slice::from_ref(token))))] += 1;
        }
    }
}

impl Encoding for CoreBpe {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.encode(text)
    }

    fn bytes(&self, tokens: &[u32]) -> usize {
        self.decode(tokens).len()
    }
}

fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfc().collect())
}

#[cfg(test)]
mod tests;
