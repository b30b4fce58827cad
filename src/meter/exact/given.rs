//! A vocabulary that an operator gave: a `tokenizer.json` in Hugging Face's format, read by their own crate.
//!
//! Normaliser, splitter and model are used as the file has them; its added tokens are not looked for, so that text that looks
//! like one is ordinary text. Nothing is known of where it may be cut, so a text is counted whole; only where its splitter gives
//! up on a text (a backtracking one does on a long run) is that counted in pieces, and a piece that cannot be counted at all by
//! its bytes, the most it can be.

use std::path::Path;

use tokenizers::{Model, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};
use tokenizers::{OffsetReferential, OffsetType, Tokenizer};

use super::{TokenCounter, borders};

/// How long the pieces are in which a text is counted that cannot be counted whole.
const PIECE_BYTES: usize = 8 * 1024;

/// A tokenizer in memory.
pub(super) struct Given(Tokenizer);

/// Reads a file; what is wrong with it where it cannot be read.
pub(super) fn load(file: &Path) -> Result<Given, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    Given::of(&bytes)
}

impl Given {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        Tokenizer::from_bytes(bytes).map(Self).map_err(|error| format!("no tokenizer.json: {error}"))
    }

    fn try_count(&self, text: &str) -> Result<u64, tokenizers::Error> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.0.get_normalizer() {
            normalizer.normalize(&mut normalized)?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(splitter) = self.0.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words)?;
        }
        let mut tokens = 0;
        for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
            tokens += self.0.get_model().tokenize(word)?.len() as u64;
        }
        Ok(tokens)
    }
}

impl TokenCounter for Given {
    fn count(&self, text: &str) -> u64 {
        if let Ok(tokens) = self.try_count(text) {
            return tokens;
        }
        let mut tokens = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let hard = rest.floor_char_boundary(PIECE_BYTES);
            let border = if hard == rest.len() { None } else { borders::last(&rest[..hard], 0) };
            let (piece, after) = rest.split_at(border.unwrap_or(hard));
            tokens += self.try_count(piece).unwrap_or(piece.len() as u64);
            rest = after;
        }
        tokens
    }

    fn last_border(&self, _text: &str, _from: usize) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Vocabularies;
    use super::*;
    use crate::catalog::TokenizerFamily;

    /// Words of letters and of other bytes; "ab" and "abc" are tokens, each other byte one of its own.
    fn tokenizer() -> String {
        let bytes = ["a", "b", "c", "d", "Ġ", "!", "<", ">", "s", "Ċ"];
        let mut vocabulary: Vec<String> = bytes.iter().map(|byte| (*byte).to_owned()).collect();
        vocabulary.extend(["ab".to_owned(), "abc".to_owned()]);
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            vocabulary.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
        serde_json::json!({
            "version": "1.0",
            "added_tokens": [{"id": 12, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                              "normalized": false, "special": true}],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": " ?[a-z]+|\\s+(?!\\S)|\\s+|[^\\sa-z]+"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
            ]},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"], ["ab", "c"]]}
        })
        .to_string()
    }

    #[test]
    fn a_file_counts_by_its_own_words_and_merges() {
        let given = Given::of(tokenizer().as_bytes()).unwrap();
        let check = |text: &str, tokens| assert_eq!(given.count(text), tokens, "{text:?}");
        check("", 0);
        check("abc", 1);
        check("abcab d!", 5);
        check("<s>abc", 4);
        check(&"abc ".repeat(9), 18);
        check(&" ".repeat(1 << 20), 1 << 20);
    }

    #[test]
    fn a_file_stands_before_the_shipped_vocabulary_for_a_family_a_model_or_a_backend() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenizer.json");
        std::fs::write(&file, tokenizer()).unwrap();
        let named = |name: &str| Vocabularies::default().with_files([(name.to_owned(), file.clone())]);
        let count = |kept: &Vocabularies, backend: &str, family| {
            kept.counter_of(backend, family).map(|counter| counter.count("dddddddd"))
        };
        let (qwen, o200k) = (TokenizerFamily::Qwen35, TokenizerFamily::O200k);
        let shipped = count(&Vocabularies::default(), "x/y", o200k);
        assert!(shipped < Some(8));
        let family = named("qwen35");
        assert!(family.counts(qwen));
        assert_eq!((count(&family, "x/y", qwen), count(&family, "x/y", o200k)), (Some(8), shipped));
        for name in ["y", "x/y"] {
            let kept = named(name);
            assert_eq!((count(&kept, "x/y", o200k), count(&kept, "x/z", o200k)), (Some(8), shipped), "{name}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(count(&named("o200k"), "x/y", o200k), shipped, "a file that went away leaves what is shipped");
        assert!(load(&file).is_err() && Given::of(b"{}").is_err());
    }
}
