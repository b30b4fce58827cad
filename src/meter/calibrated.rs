//! Tokens in a vocabulary that nobody gave away, from `o200k`'s tokens of the text and what they are made of.
//!
//! Vocabularies differ by script, by the length of words and by how rare a word is much more than by topic. So a text's tokens in
//! `o200k` are sorted by [kind](super::exact::Kinds), and the family's tokens are a weighted sum of those and of the text's
//! profile. Where a text is not at hand, `estimate` has to do.

mod weights;

#[cfg(test)]
mod folds;

use super::exact::Vocabularies;
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use weights::{ONE, Weights};

/// The tokens of a text in a family without a vocabulary here. An unknown one is taken for `o200k`.
pub fn count(vocabularies: &Vocabularies, text: &str, profile: &TextProfile, family: TokenizerFamily) -> u64 {
    count_parts(vocabularies, &[text], profile, family)
}

/// The same of several parts of a text together, whose profile this is.
pub(super) fn count_parts(vocabularies: &Vocabularies, parts: &[&str], profile: &TextProfile, family: TokenizerFamily) -> u64 {
    if profile.bytes() == 0 {
        return 0;
    }
    let Some(counter) = vocabularies.counter(TokenizerFamily::O200k) else { return 0 };
    let fitted = weights::of(family).and_then(|weights| Some(sum(weights, &counter.kinds(parts)?, profile)));
    fitted.unwrap_or_else(|| parts.iter().map(|part| counter.count(part)).sum()).clamp(1, profile.bytes())
}

fn sum(weights: &Weights, kinds: &[u64], profile: &TextProfile) -> u64 {
    let term = |count: u64, weight: i64| i128::from(count) * i128::from(weight);
    let tokens: i128 = kinds.iter().zip(&weights.tokens).map(|(count, weight)| term(*count, *weight)).sum();
    let features: i128 =
        profile.counts().into_iter().zip(&weights.features).map(|(count, weight)| term(u64::from(count), *weight)).sum();
    let millionths = i128::from(weights.bias) + tokens + features;
    u64::try_from((millionths + i128::from(ONE / 2)) / i128::from(ONE)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Errors};
    use super::*;

    const FITTED: [TokenizerFamily; 5] = [
        TokenizerFamily::Qwen35,
        TokenizerFamily::MistralSpmV7,
        TokenizerFamily::Gemma3Gemini,
        TokenizerFamily::Claude3Recon,
        TokenizerFamily::Claude47Recon,
    ];

    #[test]
    fn an_unknown_vocabulary_is_taken_for_o200k_and_others_stay_possible() {
        let vocabularies = Vocabularies::default();
        for (text, o200k, _) in testing::OWN_TEXTS {
            let profile = TextProfile::of(text);
            assert_eq!(count(&vocabularies, text, &profile, TokenizerFamily::Unknown), o200k);
            for family in FITTED {
                let tokens = count(&vocabularies, text, &profile, family);
                assert!(tokens > o200k / 2 && tokens < 3 * o200k, "{}: {tokens} for {o200k}", family.word());
            }
        }
        assert_eq!(count(&vocabularies, "", &TextProfile::default(), TokenizerFamily::Claude47Recon), 0);
        assert_eq!(count(&vocabularies, "a", &TextProfile::of("a"), TokenizerFamily::Claude47Recon), 1);
    }

    #[test]
    fn hostile_texts_take_time_in_proportion() {
        let vocabularies = Vocabularies::default();
        count(&vocabularies, "loaded", &TextProfile::of("loaded"), TokenizerFamily::Claude47Recon);
        for (at, (name, _)) in testing::hostile(1 << 10, 0).into_iter().enumerate() {
            let counted = |text: &str| count(&vocabularies, text, &TextProfile::of(text), TokenizerFamily::Claude47Recon);
            assert!(testing::takes_time_in_proportion(at, counted), "{name}");
        }
    }

    /// On the public set, which the weights were fitted on; `folds` has the figures for texts that they were not.
    #[test]
    fn the_public_metering_set_is_counted_as_measured() {
        let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
        let vocabularies = Vocabularies::default();
        for family in FITTED {
            let (mut errors, mut off, mut sums) = (Errors::default(), Vec::new(), (0, 0));
            for (at, line) in texts.iter().enumerate() {
                let text = line["text"].as_str().unwrap();
                let truth = line["tokens"][family.word()].as_u64().unwrap();
                let told = count(&vocabularies, text, &TextProfile::of(text), family);
                if text.len() >= 1024 {
                    errors.add(truth, told, u64::MAX);
                }
                sums = (sums.0 + truth, sums.1 + told);
                if at % 100 == 99 {
                    off.push(sums.0.abs_diff(sums.1) * 1000 / sums.0);
                    sums = (0, 0);
                }
            }
            let (median, p99, _) = errors.permille();
            println!("{}: median {median}, p99 {p99}, sums of 100 off by {off:?} of 1000", family.word());
            assert!(median <= 20 && p99 <= 90 && off.iter().all(|off| *off <= 35), "{} {median} {p99} {off:?}", family.word());
        }
    }
}
