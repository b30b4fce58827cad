//! Tokens of a text within a few microseconds, from a sample of it.
//!
//! The estimate by byte classes is a few per cent off for most texts and a third for some: it knows how many letters a text
//! has, not which words. A vocabulary knows, but takes its time. So a few short blocks, spread over the text and cut at borders,
//! are counted exactly, and the estimate of the whole is corrected by how far the estimate of the blocks was off. Some 550 bytes
//! are counted, of a long text 370, whose profile takes its time too; a text not much longer than that is counted whole.

use super::exact::{Vocabularies, border_after};
use super::{calibrated, estimate};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;

/// How many blocks are looked at,
const BLOCKS: usize = 5;
/// and how long each is at least.
const BLOCK_BYTES: usize = 96;
/// A longer text is looked at in blocks of this length.
const LONG_BYTES: usize = 12 * 1024;
const LONG_BLOCK_BYTES: usize = 64;
/// A text up to this long is looked at whole.
const WHOLE_BYTES: usize = BLOCKS * BLOCK_BYTES * 5 / 4;

/// The tokens to expect of a text in a family's vocabulary. What loading a vocabulary takes comes on top, once.
pub fn estimate(vocabularies: &Vocabularies, text: &str, family: TokenizerFamily) -> Tokens {
    let whole = TextProfile::of(text);
    let vocabulary = vocabularies.counter(family);
    let count = |part: &str, profile: &TextProfile| match &vocabulary {
        Some(vocabulary) => vocabulary.count(part),
        None => calibrated::count(vocabularies, part, profile, family),
    };
    if text.len() <= WHOLE_BYTES {
        return Tokens::new(count(text, &whole));
    }
    let (mut counted, mut told) = (0, 0);
    for block in blocks(text) {
        let profile = TextProfile::of(block);
        counted += count(block, &profile);
        told += estimate::expected(&profile, family).get();
    }
    let expected = estimate::expected(&whole, family).get();
    // The sample tells of itself only: it may move the whole by so much and no more.
    let corrected = u128::from(expected) * u128::from(counted.clamp(told / 3, told * 3)) / u128::from(told.max(1));
    Tokens::new(u64::try_from(corrected).unwrap_or(u64::MAX).clamp(1, whole.bytes()))
}

/// Blocks at equal distances, the first at the text's beginning.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let bytes = if text.len() > LONG_BYTES { LONG_BLOCK_BYTES } else { BLOCK_BYTES };
    let stride = text.len().saturating_sub(bytes) / (BLOCKS - 1);
    let mut done = 0;
    (0..BLOCKS).map(move |block| {
        let from = (block * stride).max(done);
        let start = if from == 0 { 0 } else { border_after(text, from) };
        let end = if start + bytes >= text.len() { text.len() } else { border_after(text, start + bytes) };
        done = end;
        &text[start.min(end)..end]
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Errors};
    use super::*;

    #[test]
    fn a_short_text_is_counted_and_a_long_one_is_near() {
        let vocabularies = Vocabularies::default();
        for (text, o200k, cl100k) in testing::OWN_TEXTS {
            assert_eq!(estimate(&vocabularies, text, TokenizerFamily::O200k).get(), o200k);
            let long = text.repeat(40);
            let told = estimate(&vocabularies, &long, TokenizerFamily::Cl100k).get();
            assert!(told.abs_diff(40 * cl100k) * 10 < 40 * cl100k, "{told} for 40 times {cl100k}: {text}");
        }
        assert_eq!(estimate(&vocabularies, "", TokenizerFamily::O200k), Tokens::ZERO);
    }

    #[test]
    fn blocks_stand_apart_and_in_order_in_any_text() {
        for text in ["x".repeat(600), "好".repeat(300), "ab cd, ".repeat(99), "😀".repeat(130)] {
            let mut rest = text.as_str();
            for block in blocks(&text) {
                let at = rest.find(block).unwrap();
                rest = &rest[at + block.len()..];
            }
        }
    }

    /// The acceptance figure: median at most 4 %, 99th percentile at most 15 %, for texts of 1 KiB and more.
    #[test]
    fn the_public_metering_set_is_estimated_within_the_bounds() {
        let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
        let vocabularies = Vocabularies::keeping(1);
        for (family, word) in TokenizerFamily::WORDS.into_iter().filter(|(f, _)| *f != TokenizerFamily::Unknown) {
            let mut errors = Errors::default();
            for line in &texts {
                let text = line["text"].as_str().unwrap();
                if text.len() >= 1024 {
                    let told = estimate(&vocabularies, text, family).get();
                    errors.add(line["tokens"][word].as_u64().unwrap(), told, u64::MAX);
                }
            }
            let (median, p99, _) = errors.permille();
            println!("{word}, sampled: median {median}, p99 {p99}");
            assert!(median <= 40 && p99 <= 150, "{word}: {median} {p99}");
        }
    }
}
