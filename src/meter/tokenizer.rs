//! Exact counts, for the few that need one: a missing report, a broken stream, a budget near its end.
//!
//! The two vocabularies that `tiktoken-rs` carries are run exactly; for the other families its `o200k` count is scaled by
//! the ratio of the two estimates of the same text, which halves the error of the estimate alone (median 1.3 to 4.3 %
//! against 3.0 to 4.4 % on the public metering set). It has sharp edges, and this module is shaped by them:
//! - Its regular expression panics on long runs (a megabyte of spaces exhausts the backtracking limit), so it only ever
//!   sees pieces of at most 8,064 bytes, cut where the vocabulary itself always begins a new word, so that the sum over
//!   the pieces is the count of the whole. A run without such a place is cut hard: the sum may then differ by a token.
//! - It costs some 60 ns a byte and a vocabulary takes a tenth of a second to load and tens of megabytes to keep: loaded
//!   when first needed, run on the blocking pool, two at a time, and at most [`BUDGET_BYTES`] of one text. What is beyond
//!   is scaled by the estimate, and the count then says *estimated*.
//!
//! Special tokens in a text are ordinary text here: a user who writes `<|endoftext|>` is billed for its letters.

use std::sync::Arc;

use tiktoken_rs::CoreBPE;
use tokio::sync::Semaphore;

use super::estimate;
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::{Provenance, Tokens};

/// The longest piece that the tokenizer sees. A multiple of 3 and of 128, so that hard cuts in a run of digits (tokens of
/// three) or spaces (tokens of up to 128) mostly fall between tokens.
const PIECE_BYTES: usize = 8064;

/// How much of one text is counted exactly: 15 ms of one core.
pub const BUDGET_BYTES: usize = 256 * 1024;

/// How many counts run at once: they must not crowd out the blocking pool's other users or the reactor's cores.
const AT_ONCE: usize = 2;

/// A number of tokens and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub tokens: Tokens,
    pub provenance: Provenance,
}

/// Counts exactly, off the reactor. Clones share their places.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    places: Arc<Semaphore>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Tokenizer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a whole text in the tokenizer of `family`.
    pub async fn count(&self, text: String, family: TokenizerFamily) -> Count {
        let whole = TextProfile::of(&text);
        self.count_beginning(text, whole, family).await
    }

    /// The same for a text that has yet to be made, which happens off the reactor too. `None`: the runtime is going down.
    pub async fn count_made(&self, make: impl FnOnce() -> String + Send + 'static, family: TokenizerFamily) -> Option<Count> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let counting = tokio::task::spawn_blocking(move || {
            let _held_until_counted = place;
            let text = make();
            count_within(&text, &TextProfile::of(&text), family, BUDGET_BYTES)
        });
        counting.await.ok()
    }

    /// Counts a text of which only the beginning is at hand, with the profile of the whole: what
    /// [`RunningCount::into_parts`](super::RunningCount::into_parts) gives.
    ///
    /// Always answers: where counting is impossible (the runtime is going down), with the estimate.
    pub async fn count_beginning(&self, text: String, whole: TextProfile, family: TokenizerFamily) -> Count {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let counting = tokio::task::spawn_blocking(move || {
            let _held_until_counted = place;
            count_within(&text, &whole, family, BUDGET_BYTES)
        });
        counting.await.unwrap_or_else(|_| Count { tokens: estimate::expected(&whole, family), provenance: Provenance::Estimated })
    }
}

/// Counts the beginning of a text, at most `budget` bytes of it, and scales to the whole.
fn count_within(text: &str, whole: &TextProfile, family: TokenizerFamily, budget: usize) -> Count {
    let seen = &text[..text.floor_char_boundary(budget)];
    let (base, vocabulary) = vocabulary(family);
    let counted = pieces(seen, PIECE_BYTES).map(|piece| vocabulary().count_ordinary(piece) as u64).sum::<u64>();
    if family == base && seen.len() as u64 == whole.bytes() {
        return Count { tokens: Tokens::new(counted), provenance: Provenance::Counted };
    }
    let told = estimate::expected(whole, family).get();
    let seen_told = estimate::expected(&TextProfile::of(seen), base).get();
    Count { tokens: Tokens::new(scaled(counted, told, seen_told)), provenance: Provenance::Estimated }
}

/// The vocabulary that counts for a family, and whose it is. Each is loaded once, when first called for.
fn vocabulary(family: TokenizerFamily) -> (TokenizerFamily, fn() -> &'static CoreBPE) {
    match family {
        TokenizerFamily::Cl100k => (TokenizerFamily::Cl100k, tiktoken_rs::cl100k_base_singleton),
        _ => (TokenizerFamily::O200k, tiktoken_rs::o200k_base_singleton),
    }
}

/// `counted × told / seen_told`, rounded to the nearest. What was seen as empty is told by the estimate alone.
fn scaled(counted: u64, told: u64, seen_told: u64) -> u64 {
    if seen_told == 0 {
        return told;
    }
    let exact = (u128::from(counted) * u128::from(told) + u128::from(seen_told / 2)) / u128::from(seen_told);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Cuts a text into pieces of at most `most` bytes (at least 4, so that every character fits).
fn pieces(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(cut(rest, most));
        rest = after;
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

/// Where the first piece of a text ends: at the last place within `most` bytes where a word surely ends, else at the last
/// character boundary.
fn cut(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let hard = text.floor_char_boundary(most);
    // One character beyond the hard cut, so that a word that ends exactly there is seen to end.
    let next = text[hard..].chars().next().map_or(hard, |c| hard + c.len_utf8());
    let mut after = None;
    for (at, c) in text[..next].char_indices().rev() {
        if after.is_some_and(|(_, follows)| ends_a_word(c, follows)) {
            return after.map_or(hard, |(place, _)| place);
        }
        after = Some((at, c));
    }
    hard
}

/// Both vocabularies split a text into words by a regular expression before they look anything up. A run of letters ends
/// at whatever is neither a letter, a combining mark nor an apostrophe (which may begin an English contraction), and
/// nothing later can change that: no alternative looks back, and only white space looks ahead. So the text may be cut
/// there. Judged by short lists of certain letters and certain non-letters; a place in doubt is no place.
fn ends_a_word(c: char, follows: char) -> bool {
    let letter = c.is_ascii_alphabetic()
        || matches!(c, 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿿' | '가'..='힣');
    let other = (follows.is_ascii() && !follows.is_ascii_alphabetic() && follows != '\'')
        || matches!(
            follows,
            '，' | '。' | '、' | '；' | '：' | '！' | '？' | '（' | '）' | '《' | '》' | '“' | '”' | '…' | '\u{3000}'
        );
    letter && other
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::testing;
    use super::*;
    use proptest::prelude::*;

    fn exact(text: &str, most: usize) -> u64 {
        pieces(text, most).map(|piece| tiktoken_rs::o200k_base_singleton().count_ordinary(piece) as u64).sum()
    }

    #[test]
    fn our_own_texts_are_counted_exactly() {
        for (text, o200k, cl100k) in testing::OWN_TEXTS {
            let profile = TextProfile::of(text);
            let check = |family, tokens| {
                let counted = Count { tokens: Tokens::new(tokens), provenance: Provenance::Counted };
                assert_eq!(count_within(text, &profile, family, BUDGET_BYTES), counted, "{text}");
            };
            check(TokenizerFamily::O200k, o200k);
            check(TokenizerFamily::Cl100k, cl100k);
        }
    }

    #[test]
    fn special_tokens_in_a_text_are_ordinary_text() {
        assert!(exact("<|endoftext|>", PIECE_BYTES) > 3);
    }

    /// Each of these has no place to cut at, or exhausts a tokenizer that is given it whole.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "prints how long each takes")]
    fn a_megabyte_of_anything_is_counted_without_a_panic() {
        let megabyte: usize = 1 << 20;
        let digits: String =
            (0..1_u32 << 20).map(|i| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 28) as u8 % 10)).collect();
        for (name, text) in [
            ("spaces", " ".repeat(megabyte)),
            ("newlines", "\n".repeat(megabyte)),
            ("one letter", "a".repeat(megabyte)),
            ("capitals", "A".repeat(megabyte)),
            ("emoji", "😀".repeat(megabyte / 4)),
            ("punctuation", "!".repeat(megabyte)),
            ("combining marks", "\u{301}".repeat(megabyte / 2)),
            ("one Han character", "好".repeat(megabyte / 3)),
            ("spaces and newlines", " \n".repeat(megabyte / 2)),
            ("apostrophes", "'s".repeat(megabyte / 2)),
            ("digits", digits),
        ] {
            let start = Instant::now();
            let tokens = exact(&text, PIECE_BYTES);
            println!("{name}: {tokens} tokens in {:?}", start.elapsed());
            assert!(tokens > 0 && tokens <= text.len() as u64, "{name}");
        }
        assert_eq!(exact(&"7".repeat(megabyte), PIECE_BYTES), (1_u64 << 20).div_ceil(3), "hard cuts fall between tokens");
    }

    #[test]
    fn beyond_the_budget_the_count_is_scaled_and_says_so() {
        let text = "the quick brown fox jumps over the lazy dog, ".repeat(2000);
        let profile = TextProfile::of(&text);
        let whole = count_within(&text, &profile, TokenizerFamily::O200k, usize::MAX);
        let part = count_within(&text, &profile, TokenizerFamily::O200k, text.len() / 4);
        assert_eq!((whole.provenance, part.provenance), (Provenance::Counted, Provenance::Estimated));
        assert!(whole.tokens.get().abs_diff(part.tokens.get()) * 100 < whole.tokens.get(), "{whole:?} {part:?}");
    }

    #[test]
    fn a_family_without_a_vocabulary_is_scaled_from_o200k() {
        let text = "今天天气很好，我们去公园散步吧。";
        let profile = TextProfile::of(text);
        for (family, word) in TokenizerFamily::WORDS {
            let count = count_within(text, &profile, family, BUDGET_BYTES);
            let own = matches!(family, TokenizerFamily::O200k | TokenizerFamily::Cl100k);
            assert_eq!(count.provenance == Provenance::Counted, own, "{word}");
            assert!(count.tokens > Tokens::ZERO, "{word}");
        }
        let empty = count_within("", &TextProfile::default(), TokenizerFamily::Qwen23, BUDGET_BYTES);
        assert_eq!(empty.tokens, Tokens::ZERO);
    }

    #[tokio::test]
    async fn counting_runs_off_the_reactor_and_answers() {
        let tokenizer = Tokenizer::new();
        let (text, o200k, cl100k) = testing::OWN_TEXTS[0];
        let counts = futures_util::future::join_all((0..8).map(|i| {
            let family = if i % 2 == 0 { TokenizerFamily::O200k } else { TokenizerFamily::Cl100k };
            tokenizer.count(text.to_owned(), family)
        }))
        .await;
        for (i, count) in counts.iter().enumerate() {
            assert_eq!(count.tokens.get(), if i % 2 == 0 { o200k } else { cl100k });
        }
        assert_eq!(tokenizer.places.available_permits(), AT_ONCE, "every place is given back");
    }

    /// Cut small, so that every text is cut often, the sum over pieces is the count of the whole on the public set.
    #[test]
    fn cutting_does_not_change_the_count_on_the_public_metering_set() {
        let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
        for most in [PIECE_BYTES, 1024] {
            let differing = texts
                .iter()
                .filter(|line| exact(line["text"].as_str().unwrap(), most) != line["tokens"]["o200k"].as_u64().unwrap());
            let names: Vec<_> = differing.map(|line| line["id"].to_string()).collect();
            println!("pieces of {most}: {} of {} texts differ: {names:?}", names.len(), texts.len());
            assert!(names.len() <= if most == PIECE_BYTES { 0 } else { 9 });
        }
    }

    /// Scaled from o200k, the other families are nearer the truth than by their estimate alone.
    #[test]
    fn scaled_counts_are_as_good_as_measured_on_the_public_metering_set() {
        let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
        for (family, word) in TokenizerFamily::WORDS.into_iter().skip(2).filter(|(f, _)| *f != TokenizerFamily::Unknown) {
            let mut errors = testing::Errors::default();
            for line in &texts {
                let whole = TextProfile::of(line["text"].as_str().unwrap());
                let seen_told = estimate::expected(&whole, TokenizerFamily::O200k).get();
                let counted = line["tokens"]["o200k"].as_u64().unwrap();
                let told = scaled(counted, estimate::expected(&whole, family).get(), seen_told);
                errors.add(line["tokens"][word].as_u64().unwrap(), told, u64::MAX);
            }
            let (median, p99, _) = errors.permille();
            println!("{word} scaled from o200k: median {median}, p99 {p99}");
            assert!(median <= 48 && p99 <= 280, "{word}: {median} {p99}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_text_and_never_too_long(text in "(\\PC|[a-z ]{0,9}|\\s{0,5}){0,80}", most in 4_usize..40) {
            let parts: Vec<&str> = pieces(&text, most).collect();
            prop_assert_eq!(parts.concat(), text.as_str());
            prop_assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= most));
        }

        /// Words short enough that no piece is without a place to cut: the sum is exact.
        #[test]
        fn cutting_between_words_changes_nothing(words in proptest::collection::vec(
            "[a-zA-Z]{1,8}[ ,.;:0-9\n\t!?(){}<>/\"_-]{0,3}|[一-鿿]{1,3}[，。、！？]?|[A-Z][a-z]{1,4}'s |[а-я]{2,6} ", 0..80)) {
            let text = words.concat();
            let whole = tiktoken_rs::o200k_base_singleton().count_ordinary(&text) as u64;
            prop_assert_eq!(exact(&text, 80), whole);
            let whole = tiktoken_rs::cl100k_base_singleton().count_ordinary(&text) as u64;
            let cut: u64 = pieces(&text, 80).map(|p| tiktoken_rs::cl100k_base_singleton().count_ordinary(p) as u64).sum();
            prop_assert_eq!(cut, whole);
        }
    }
}
