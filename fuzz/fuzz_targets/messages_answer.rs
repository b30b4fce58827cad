//! Any bytes as a whole answer of Messages: read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{AnthropicMessages, Dialect};

fuzz_target!(|body: &[u8]| {
    if let Ok(facts) = AnthropicMessages.read_answer(body, Quirks::default()) {
        assert!(facts.text.len() <= body.len());
        assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
    }
});
