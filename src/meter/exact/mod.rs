//! Exact counts: the vocabularies that this program carries or is given, and what they count.
//!
//! A family's vocabulary takes about a tenth of a second to load and some ten megabytes to keep, so it is loaded when first
//! needed and dropped again when others are needed more ([`Vocabularies`]). What counts is a [`TokenCounter`], whoever wrote
//! it: a vocabulary of the crate `tiktoken` ([`shipped`]) or an operator's `tokenizer.json` ([`given`]).
//!
//! Counting is linear in the text whatever it is: a text is counted in [`pieces`], cut only where the vocabulary's own splitter
//! begins a new word, or within a long run of one kind, where the pair of tokens around the cut is proven. So the sum over
//! the pieces is the count of the whole, and a [`Stream`] of pieces counts as the text that they are.
//!
//! Special tokens in a text are ordinary text here: a user who writes `<|endoftext|>` is billed for its letters.

mod borders;
#[cfg(feature = "tokenizer-files")]
mod given;
mod kept;
mod kinds;
mod pieces;
mod runs;
mod shipped;
mod stream;

pub use kept::{Origin, Vocabularies};
pub use kinds::{KINDS, Kinds};
pub use shipped::ships;
pub use stream::Stream;

use std::path::Path;

/// What counts tokens exactly, in one vocabulary.
pub trait TokenCounter: Send + Sync {
    /// The tokens of a whole text, without the marks that a model puts around it.
    fn count(&self, text: &str) -> u64;

    /// Where a text may be cut so that its parts, counted by themselves, sum up to the whole: the last such place after `from`
    /// bytes of it, however it goes on. `None`: nowhere that is sure.
    fn last_border(&self, text: &str, from: usize) -> Option<usize>;

    /// How many tokens of each kind some texts have together, where the vocabulary's tokens are known by their bytes.
    fn kinds(&self, _texts: &[&str]) -> Option<Kinds> {
        None
    }
}

/// What is wrong with a file that is to be a vocabulary; nothing where it can be used.
#[cfg(feature = "tokenizer-files")]
pub fn wrong_with(file: &Path) -> Option<String> {
    given::load(file).err()
}

/// What is wrong with a file that is to be a vocabulary: this program reads none.
#[cfg(not(feature = "tokenizer-files"))]
pub fn wrong_with(_file: &Path) -> Option<String> {
    Some("this program was built without the feature `tokenizer-files`, which reads such files".to_owned())
}

/// A place near `from` bytes, and after them, where a text may be cut in any vocabulary of [`shipped`]; within 200 bytes, or at a
/// character.
pub(super) fn border_after(text: &str, from: usize) -> usize {
    borders::first(text, from)
}
