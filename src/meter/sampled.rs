//! Tokens of a text within a few microseconds, from a sample of it.
//!
//! The estimate by byte classes is a few per cent off for most texts and a third for some: it knows how many letters a text
//! has, not which words. A vocabulary knows, but takes its time. So some short blocks, spread over the text and cut at borders,
//! are counted exactly, and the estimate of the whole is corrected by how far the estimate of the blocks was off. Some 500 bytes
//! are counted, of a long text 320, whose profile takes its time too; a text not much longer than that is counted whole. Many
//! short blocks tell more than a few long ones of the same bytes: what stands side by side is alike.

use super::exact::{Vocabularies, border_after};
use super::{calibrated, estimate};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;

/// What is looked at of a text.
struct Sample {
    blocks: usize,
    /// How long each of them is at least.
    bytes: usize,
}

const SHORT: Sample = Sample { blocks: 7, bytes: 64 };
/// From so many bytes on a text is a long one.
const LONG_BYTES: usize = 12 * 1024;
const LONG: Sample = Sample { blocks: 10, bytes: 24 };
/// A text up to this long is looked at whole.
const WHOLE_BYTES: usize = SHORT.blocks * SHORT.bytes * 5 / 4;

/// The tokens to expect of a text in a family's vocabulary. What loading a vocabulary takes comes on top, once.
pub fn estimate(vocabularies: &Vocabularies, text: &str, family: TokenizerFamily) -> Tokens {
    let whole = TextProfile::of(text);
    let vocabulary = vocabularies.counter(family);
    let count = |parts: &[&str], profile: &TextProfile| match &vocabulary {
        Some(vocabulary) => parts.iter().map(|part| vocabulary.count(part)).sum(),
        None => calibrated::count_parts(vocabularies, parts, profile, family),
    };
    if text.len() <= WHOLE_BYTES {
        return Tokens::new(count(&[text], &whole));
    }
    let (blocks, mut sample) = (blocks(text), TextProfile::default());
    for block in &blocks {
        sample.merge(&TextProfile::of(block));
    }
    let (counted, told) = (count(&blocks, &sample), estimate::expected(&sample, family).get());
    let expected = estimate::expected(&whole, family).get();
    // The sample tells of itself only: it may move the whole by so much and no more.
    let corrected = u128::from(expected) * u128::from(counted.clamp(told / 3, told * 3)) / u128::from(told.max(1));
    Tokens::new(u64::try_from(corrected).unwrap_or(u64::MAX).clamp(1, whole.bytes()))
}

/// Blocks at equal distances, the first at the text's beginning.
fn blocks(text: &str) -> Vec<&str> {
    let Sample { blocks, bytes } = if text.len() > LONG_BYTES { LONG } else { SHORT };
    let stride = text.len().saturating_sub(bytes) / (blocks - 1);
    let mut done = 0;
    let block = |block: usize| {
        let from = (block * stride).max(done);
        let start = if from == 0 { 0 } else { border_after(text, from) };
        let end = if start + bytes >= text.len() { text.len() } else { border_after(text, start + bytes) };
        done = end;
        &text[start.min(end)..end]
    };
    (0..blocks).map(block).collect()
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

    #[test]
    fn hostile_texts_take_time_in_proportion() {
        let vocabularies = Vocabularies::default();
        for family in [TokenizerFamily::Cl100k, TokenizerFamily::Claude47Recon, TokenizerFamily::Unknown] {
            estimate(&vocabularies, "loaded", family);
            for (at, (name, _)) in testing::hostile(1 << 10, 0).into_iter().enumerate() {
                let estimated = |text: &str| estimate(&vocabularies, text, family).get();
                assert!(testing::takes_time_in_proportion(at, estimated), "{}: {name}", family.word());
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
