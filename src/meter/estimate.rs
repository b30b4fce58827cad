//! Tokens of a text, from what it is made of.
//!
//! Three figures of rising caution, for three uses. [`expected`] is the fit itself: what quotes use (median error 3 to
//! 5 %, worse for short texts and rare scripts). [`upper`] is the bound for context checks and holds: above the truth for
//! at least 99.5 % of the measured texts, at 1.25 to 1.6 times the expectation. [`ceiling`] cannot be exceeded, whoever
//! writes the text: no tokenizer here makes more than one token of a byte. It is about four times the expectation, so it
//! is for a budget that bears it; one near its end takes an exact count instead.
//!
//! Not done here: the framing of messages and tools, which is `prompt`'s; learning from what providers report.

use super::coefficients::{self, Coefficients, LONG_RUN, LONG_RUN_PERMILLE, ONE, UPPER_SLACK};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;

/// The tokens to expect of a text in a family's tokenizer: at least one for a text that is not empty, at most one a byte.
pub fn expected(profile: &TextProfile, family: TokenizerFamily) -> Tokens {
    let bytes = profile.bytes();
    if bytes == 0 {
        return Tokens::ZERO;
    }
    let rounded = (fit(profile, coefficients::of(family)) + ONE / 2) / ONE;
    Tokens::new(u64::try_from(rounded).unwrap_or(0).clamp(1, bytes))
}

/// A bound on the tokens of a text: what [`expected`] says, widened by the family's measured margin. For a vendor whose
/// tokenizer is not public it is the largest bound of all families.
pub fn upper(profile: &TextProfile, family: TokenizerFamily) -> Tokens {
    if family != TokenizerFamily::Unknown {
        return widened(profile, family, expected(profile, family));
    }
    let bounds = TokenizerFamily::WORDS.into_iter().filter(|(known, _)| *known != TokenizerFamily::Unknown);
    bounds.map(|(known, _)| widened(profile, known, expected(profile, known))).max().unwrap_or_default()
}

/// As many tokens as a text can have at all: one a byte, and one that some tokenizers put before the first word.
pub fn ceiling(profile: &TextProfile) -> Tokens {
    let bytes = profile.bytes();
    Tokens::new(bytes + u64::from(bytes > 0))
}

/// A count of a part of a text, of which so much was estimated, scaled to another part: to the nearest token. A part without
/// tokens says nothing of another one, which is then as it was estimated.
pub(super) fn scaled(counted: Tokens, estimated: Tokens, of: Tokens) -> Tokens {
    if of == Tokens::ZERO {
        return estimated;
    }
    let (of, product) = (u128::from(of.get()), u128::from(counted.get()) * u128::from(estimated.get()));
    Tokens::new(u64::try_from((product + of / 2) / of).unwrap_or(u64::MAX))
}

/// [`upper`] where the expectation is already known.
pub(super) fn widened(profile: &TextProfile, family: TokenizerFamily, expected: Tokens) -> Tokens {
    let margin = (expected.get() * coefficients::of(family).upper_permille).div_ceil(1000);
    let in_words = LONG_RUN * u64::from(profile.letter_runs);
    let long_runs = u64::from(profile.letters).saturating_sub(in_words) * LONG_RUN_PERMILLE / 1000;
    Tokens::new(margin + long_runs + UPPER_SLACK).min(ceiling(profile))
}

/// The weighted sum of the features, in millionths of a token. Cannot overflow: features are below 2³², weights below 2²³.
fn fit(p: &TextProfile, c: &Coefficients) -> i64 {
    let term = |count: u32, weight: i64| i64::from(count) * weight;
    c.bias
        + term(p.letters, c.letters)
        + term(p.letter_runs, c.letter_runs)
        + term(p.camel_breaks, c.camel_breaks)
        + term(p.upper, c.upper)
        + term(p.digits, c.digits)
        + term(p.digit_runs, c.digit_runs)
        + term(p.punct, c.punct)
        + term(p.punct_runs, c.punct_runs)
        + term(p.spaces, c.spaces)
        + term(p.space_runs, c.space_runs)
        + term(p.newlines, c.newlines)
        + term(p.lead2, c.lead2)
        + term(p.lead3_han, c.lead3_han)
        + term(p.lead3, c.lead3)
        + term(p.lead4, c.lead4)
        + term(p.lead_e3_ef, c.lead_e3_ef)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Errors};
    use super::*;
    use proptest::prelude::*;

    /// Our own texts, with the counts of the vocabularies that this crate carries (see `tokenizer`, which checks them).
    fn check(text: &str, o200k: u64, off_percent: u64) {
        let told = expected(&TextProfile::of(text), TokenizerFamily::O200k).get();
        assert!(told.abs_diff(o200k) * 100 <= o200k * off_percent, "{told} for {o200k}: {text}");
    }

    #[test]
    fn our_own_texts_are_estimated_well() {
        for (text, o200k, _) in testing::OWN_TEXTS {
            check(text, o200k, 25);
            assert!(upper(&TextProfile::of(text), TokenizerFamily::O200k).get() >= o200k, "{text}");
        }
    }

    #[test]
    fn an_empty_text_has_no_tokens_and_a_letter_has_one() {
        assert_eq!(expected(&TextProfile::default(), TokenizerFamily::Qwen23), Tokens::ZERO);
        assert_eq!(upper(&TextProfile::default(), TokenizerFamily::Unknown), Tokens::ZERO);
        assert_eq!(expected(&TextProfile::of("a"), TokenizerFamily::Qwen23), Tokens::new(1));
    }

    #[test]
    fn random_letters_without_words_stay_under_the_upper_bound() {
        let text: String = (0..4000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        let truth = tiktoken_rs::o200k_base_singleton().count_ordinary(&text) as u64;
        assert!(upper(&TextProfile::of(&text), TokenizerFamily::O200k).get() >= truth);
    }

    /// On the public metering set: median and 99th percentile of the relative error per family in thousandths, and how
    /// many texts of a thousand exceed the upper bound. The limits are what was measured on 2026-11-22 with slack.
    #[test]
    fn the_public_metering_set_is_estimated_as_measured() {
        let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
        for (family, word) in TokenizerFamily::WORDS.into_iter().filter(|(f, _)| *f != TokenizerFamily::Unknown) {
            let mut errors = Errors::default();
            for text in &texts {
                let profile = TextProfile::of(text["text"].as_str().unwrap());
                let truth = text["tokens"][word].as_u64().unwrap();
                errors.add(truth, expected(&profile, family).get(), upper(&profile, family).get());
                assert!(ceiling(&profile).get() >= truth, "{word}: {}", text["id"]);
            }
            let (median, p99, exceeded) = errors.permille();
            println!("{word}: median {median}, p99 {p99}, above the upper bound {exceeded} of 1000");
            assert!(median <= 50 && p99 <= 360 && exceeded <= 5, "{word}: {median} {p99} {exceeded}");
        }
    }

    proptest! {
        #[test]
        fn the_three_figures_stand_in_order(text in "\\PC{0,300}") {
            let profile = TextProfile::of(&text);
            for (family, _) in TokenizerFamily::WORDS {
                let (low, high) = (expected(&profile, family), upper(&profile, family));
                prop_assert!(low <= high && high <= ceiling(&profile));
            }
        }
    }
}
