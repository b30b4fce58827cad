//! The vocabularies in memory: loaded when first asked for, the one that was longest unused dropped when there are too many.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "tokenizer-files")]
use super::given;
use super::{TokenCounter, shipped};
use crate::catalog::TokenizerFamily;

/// How many vocabularies are kept unless it is said otherwise.
const MOST: usize = 4;

/// One vocabulary's counter, shared by whoever counts; it lives on while somebody does.
type Counter = Arc<dyn TokenCounter>;

/// Where a vocabulary comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Shipped(TokenizerFamily),
    /// The operator's file in this place.
    Given(usize),
}

/// The vocabularies at hand.
pub struct Vocabularies {
    most: usize,
    /// Files of the operator's by what they are for: a family's word, a model, or provider/model.
    files: Vec<(String, PathBuf)>,
    /// The one that was used last stands last.
    loaded: Mutex<Vec<(Origin, Counter)>>,
}

impl Default for Vocabularies {
    fn default() -> Self {
        Self::keeping(MOST)
    }
}

impl fmt::Debug for Vocabularies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabularies").field("most", &self.most).field("loaded", &self.loaded()).finish_non_exhaustive()
    }
}

impl Vocabularies {
    /// Keeps at most so many vocabularies (at least one) in memory.
    pub fn keeping(most: usize) -> Self {
        Self { most: most.max(1), files: Vec::new(), loaded: Mutex::default() }
    }

    /// The same with files of the operator's own, by what they are for: a family's word, a model, or provider/model. They stand
    /// before what is shipped.
    #[must_use]
    pub fn with_files(mut self, files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        self.files = files.into_iter().collect();
        self
    }

    /// Whether the family can be counted exactly.
    pub fn counts(&self, family: TokenizerFamily) -> bool {
        shipped::ships(family) || self.file(family.word()).is_some()
    }

    /// What counts for a family, loaded if it is not: a tenth of a second then. `None`: nobody gave its vocabulary away.
    pub fn counter(&self, family: TokenizerFamily) -> Option<Counter> {
        let given = self.file(family.word()).and_then(|file| self.loaded_from(file));
        given.or_else(|| self.loaded_from(Origin::Shipped(family)))
    }

    /// The same for a backend (provider/model), whose model may have a vocabulary of its own.
    pub fn counter_of(&self, backend: &str, family: TokenizerFamily) -> Option<Counter> {
        let model = backend.split_once('/').map_or(backend, |(_, model)| model);
        let given = self.file(backend).or_else(|| self.file(model)).and_then(|file| self.loaded_from(file));
        given.or_else(|| self.counter(family))
    }

    fn file(&self, name: &str) -> Option<Origin> {
        self.files.iter().position(|(known, _)| known == name).map(Origin::Given)
    }

    fn loaded_from(&self, origin: Origin) -> Option<Counter> {
        // Held while loading, so that one vocabulary is loaded once however many ask for it.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = loaded.iter().position(|(known, _)| *known == origin) {
            let used = loaded.remove(at);
            let counter = Arc::clone(&used.1);
            loaded.push(used);
            return Some(counter);
        }
        let counter = self.load(origin)?;
        let beyond = (loaded.len() + 1).saturating_sub(self.most);
        loaded.drain(..beyond);
        loaded.push((origin, Arc::clone(&counter)));
        Some(counter)
    }

    /// A file that cannot be read any more is as if it had not been named; it was read once when the gateway started.
    fn load(&self, origin: Origin) -> Option<Counter> {
        match origin {
            Origin::Shipped(family) => Some(Arc::new(shipped::load(family)?)),
            #[cfg(feature = "tokenizer-files")]
            Origin::Given(at) => Some(Arc::new(given::load(&self.files.get(at)?.1).ok()?)),
            #[cfg(not(feature = "tokenizer-files"))]
            Origin::Given(_) => None,
        }
    }

    /// What is in memory, the one that was used last standing last.
    pub fn loaded(&self) -> Vec<Origin> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(origin, _)| *origin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_that_was_longest_unused_is_dropped() {
        let kept = Vocabularies::keeping(1);
        assert!(kept.counter(TokenizerFamily::Cl100k).is_some());
        let held = kept.counter(TokenizerFamily::O200k).unwrap();
        assert_eq!(kept.loaded(), [Origin::Shipped(TokenizerFamily::O200k)]);
        let two = Vocabularies::keeping(2);
        for family in [TokenizerFamily::O200k, TokenizerFamily::Cl100k, TokenizerFamily::O200k] {
            assert_eq!(two.counter(family).unwrap().count("hello there"), 2);
        }
        assert_eq!(two.loaded(), [TokenizerFamily::Cl100k, TokenizerFamily::O200k].map(Origin::Shipped));
        let again = kept.counter(TokenizerFamily::Cl100k).unwrap();
        assert_eq!(held.count("hello there"), again.count("hello there"), "one in use outlives being dropped");
    }

    #[test]
    fn a_family_without_a_vocabulary_has_no_counter() {
        let kept = Vocabularies::default();
        for family in [TokenizerFamily::Unknown, TokenizerFamily::Claude47Recon, TokenizerFamily::Gemma3Gemini] {
            assert!(kept.counter(family).is_none() && !kept.counts(family));
        }
        assert!(kept.loaded().is_empty());
    }
}
