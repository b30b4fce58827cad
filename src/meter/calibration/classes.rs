//! The classes of text that vocabularies differ in, and how many tokens of an estimate each of them has.
//!
//! A text is rarely of one class, so it is not sorted into one: each class has its part of the estimate, and one text teaches
//! the ratios of all classes that it has some of.

use super::super::coefficients::{self, Coefficients, ONE};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;

/// What text is made of, as far as vocabularies treat it alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextClass {
    /// Latin letters, by their number: what long words cost more than short ones.
    Letters,
    /// Latin words, by their number, and the spaces that they stand between: some vocabularies put a space into the word.
    Words,
    Digits,
    /// Punctuation and line ends.
    Marks,
    /// Characters of three bytes: Chinese, Japanese, Korean, the scripts of India and South East Asia.
    Cjk,
    /// Characters of two bytes: accented Latin, Greek, Cyrillic, Hebrew, Arabic.
    Alphabets,
    /// Characters of four bytes: emoji and rare signs.
    Emoji,
}

/// How many there are.
pub(super) const CLASSES: usize = 7;

/// How far vocabularies are from each other in a class: the variance of its factor before anything was seen. Of two-byte
/// alphabets some have whole words and others letters only. Narrow for words, since what moves them moves letters too.
pub(super) const PRIORS: [f64; CLASSES] = [0.3, 0.1, 0.2, 0.1, 0.2, 2.0, 0.5];

impl TextClass {
    pub const ALL: [TextClass; CLASSES] = [
        TextClass::Letters,
        TextClass::Words,
        TextClass::Digits,
        TextClass::Marks,
        TextClass::Cjk,
        TextClass::Alphabets,
        TextClass::Emoji,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            TextClass::Letters => "letters",
            TextClass::Words => "words",
            TextClass::Digits => "digits",
            TextClass::Marks => "marks",
            TextClass::Cjk => "cjk",
            TextClass::Alphabets => "alphabets",
            TextClass::Emoji => "emoji",
        }
    }
}

/// The tokens that a family's estimate of a text has of each class. What it adds to every text is of none.
pub(super) fn parts(p: &TextProfile, family: TokenizerFamily) -> [f64; CLASSES] {
    let c: &Coefficients = coefficients::of(family);
    let sum = |terms: &[(u32, i64)]| -> i64 { terms.iter().map(|(count, weight)| i64::from(*count) * weight).sum() };
    let parts = [
        sum(&[(p.letters, c.letters), (p.camel_breaks, c.camel_breaks), (p.upper, c.upper)]),
        sum(&[(p.letter_runs, c.letter_runs), (p.spaces, c.spaces), (p.space_runs, c.space_runs)]),
        sum(&[(p.digits, c.digits), (p.digit_runs, c.digit_runs)]),
        sum(&[(p.punct, c.punct), (p.punct_runs, c.punct_runs), (p.newlines, c.newlines)]),
        sum(&[(p.lead3_han, c.lead3_han), (p.lead3, c.lead3), (p.lead_e3_ef, c.lead_e3_ef)]),
        sum(&[(p.lead2, c.lead2)]),
        sum(&[(p.lead4, c.lead4)]),
    ];
    parts.map(|millionths| real(millionths) / real(ONE))
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a text, which are far below what a float tells exactly")]
const fn real(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::super::super::{estimate, testing};
    use super::*;

    /// The parts and the family's constant are the whole estimate: no feature is left out or counted twice.
    #[test]
    fn the_parts_sum_up_to_the_estimate() {
        let odd = "Привет, мир! 😀😀 नमस्ते, 12.5 % of fooBarBaz\n\n\tx";
        for text in testing::OWN_TEXTS.iter().map(|(text, ..)| *text).chain([odd]) {
            let profile = TextProfile::of(text);
            for (family, word) in TokenizerFamily::WORDS {
                let sum: f64 = parts(&profile, family).iter().sum::<f64>() + real(coefficients::of(family).bias) / real(ONE);
                let told = estimate::expected(&profile, family).get();
                assert!((sum - f64::from(u32::try_from(told).unwrap())).abs() <= 0.51, "{word}: {sum} {told}");
            }
        }
    }
}
