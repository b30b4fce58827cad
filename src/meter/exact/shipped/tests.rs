//! Every vocabulary against the public counts, against itself in pieces, against hostile texts and against another crate.

use super::super::Stream;
use super::*;
use crate::meter::testing::{self, LOWER, hostile, random};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const FAMILIES: [TokenizerFamily; 9] = [
    TokenizerFamily::O200k,
    TokenizerFamily::Cl100k,
    TokenizerFamily::DeepseekV3,
    TokenizerFamily::Qwen23,
    TokenizerFamily::Glm47Glm5,
    TokenizerFamily::KimiK2,
    TokenizerFamily::MinimaxM3,
    TokenizerFamily::Llama3,
    TokenizerFamily::MistralTekken,
];

/// Every vocabulary that this build carries, loaded once for all tests.
static LOADED: LazyLock<Vec<(&'static str, Arc<Shipped>)>> = LazyLock::new(|| {
    FAMILIES.into_iter().filter_map(|family| load(family).map(|shipped| (family.word(), Arc::new(shipped)))).collect()
});

#[test]
fn the_families_with_a_public_vocabulary_are_shipped() {
    for (family, word) in TokenizerFamily::WORDS {
        let openai = matches!(family, TokenizerFamily::O200k | TokenizerFamily::Cl100k);
        assert_eq!(ships(family), openai || (cfg!(feature = "vocabularies") && FAMILIES.contains(&family)), "{word}");
    }
}

#[test]
fn special_tokens_in_a_text_are_ordinary_text() {
    for (word, shipped) in LOADED.iter() {
        for special in ["<|endoftext|>", "<|im_start|>", "<｜begin▁of▁sentence｜>", "[gMASK]<sop>", "<|eot_id|>", "]~b]"] {
            let (alone, doubled) = (shipped.count(special), shipped.count(&special.repeat(2)));
            assert!(alone > 1 && doubled > 2, "{word}: {special} {alone} {doubled}");
        }
    }
}

/// The first figure: equal counts on every text, whole and however it is cut.
#[test]
fn the_public_metering_set_is_counted_exactly() {
    let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
    for (word, shipped) in LOADED.iter() {
        for most in [PIECE_BYTES, 1024, 100] {
            let differs = |line: &&serde_json::Value| {
                shipped.count_in(line["text"].as_str().unwrap(), most) != line["tokens"][*word].as_u64().unwrap()
            };
            let names: Vec<_> = texts.iter().filter(differs).map(|line| line["id"].to_string()).collect();
            assert!(names.is_empty(), "{word}, pieces of {most}: {names:?}");
        }
    }
}

/// The vocabularies that two crates carry, written independently of each other, are counted alike.
#[test]
fn openais_vocabularies_count_as_in_another_crate() {
    for (text, o200k, cl100k) in testing::OWN_TEXTS {
        assert_eq!(LOADED[0].1.count(text), o200k, "{text}");
        assert_eq!(LOADED[1].1.count(text), cl100k, "{text}");
    }
}

/// A mebibyte of anything takes at most forty times what 64 KiB take, and what is cut within a word is counted as the word.
#[test]
fn hostile_texts_take_time_in_proportion_and_are_counted_exactly() {
    for (word, shipped) in LOADED.iter() {
        for (at, (name, short)) in hostile(1 << 16, 0).into_iter().enumerate() {
            let in_time = testing::takes_time_in_proportion(at, |text| shipped.count(text));
            assert!(in_time, "{word}, {name}");
            assert_eq!(shipped.count(&short), shipped.count_in(&short, usize::MAX), "{word}, {name}");
        }
    }
}

fn streamed(shipped: &Arc<Shipped>, text: &str, cuts: &[usize]) -> u64 {
    let mut stream = Stream::new(Arc::clone(shipped) as Arc<dyn TokenCounter>);
    let mut rest = text;
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(*cut));
        stream.add(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    stream.tokens()
}

#[test]
fn streams_of_the_public_metering_set_count_as_the_whole() {
    let Some(texts) = testing::shared_lines("data/metering/texts.jsonl") else { return };
    for (word, shipped) in LOADED.iter() {
        for line in texts.iter().step_by(3) {
            let (text, truth) = (line["text"].as_str().unwrap(), line["tokens"][*word].as_u64().unwrap());
            assert_eq!(streamed(shipped, text, &[3, 7, 1, 40]), truth, "{word}: {}", line["id"]);
        }
    }
}

/// Texts of all that has an edge: words, contractions, digits, marks, spaces, line ends, slashes, Han, emoji, long runs.
fn edgy() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z]{1,8}",
        "[ \t\n\r]{1,4}",
        "['’](s|S|ll|re|x)",
        "[0-9]{1,5}",
        "[!-/:-@]{1,4}",
        "[一-鿿，。、！？]{1,5}",
        "[ぁ-ゖァ-ヺ가-힣]{1,4}",
        "[éüñ\u{301}\u{308}\u{327}]{1,3}",
        "[а-яА-Я]{1,6}",
        "[😀🚀👍\u{200d}\u{fe0f}]{1,3}",
        "\\PC{1,4}",
        (prop::sample::select(vec!["a", "Z", " ", "\n", "!", "好", "😀", "=", "xy"]), 20..200_usize)
            .prop_map(|(unit, times)| unit.repeat(times)),
        (any::<u64>(), 100..400_usize).prop_map(|(seed, bytes)| random(seed, bytes, LOWER)),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The sum over pieces is the count of the whole, whatever the text and the pieces; streamed too.
    #[test]
    fn cutting_changes_no_count(text in edgy(), most in 60..300_usize, cuts in prop::collection::vec(1..90_usize, 1..6)) {
        for (word, shipped) in LOADED.iter() {
            let whole = shipped.count_in(&text, usize::MAX);
            prop_assert_eq!(shipped.count_in(&text, most), whole, "{} in pieces of {}", word, most);
            prop_assert_eq!(streamed(shipped, &text, &cuts), whole, "{} streamed", word);
        }
    }

    #[test]
    fn openais_vocabularies_count_as_in_another_crate_whatever_the_text(text in edgy()) {
        let o200k = tiktoken_rs::o200k_base_singleton().count_ordinary(&text) as u64;
        prop_assert_eq!(LOADED[0].1.count(&text), o200k);
        let cl100k = tiktoken_rs::cl100k_base_singleton().count_ordinary(&text) as u64;
        prop_assert_eq!(LOADED[1].1.count(&text), cl100k);
    }
}
