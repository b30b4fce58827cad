//! Any bytes as a whole answer of Bedrock's: read or refused, and what was read can be read as deltas.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{BedrockConverse, Dialect};

fuzz_target!(|body: &[u8]| {
    if let Ok(facts) = BedrockConverse.read_answer(body, Quirks::default()) {
        assert!(facts.text.len() <= body.len());
        assert!(facts.usage.is_none_or(|usage| usage.cache_write_long <= usage.cache_write));
        assert!(BedrockConverse.read_deltas(body).is_ok());
    }
});
