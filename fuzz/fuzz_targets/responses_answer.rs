//! Any bytes as a whole answer of Responses: read or refused, and what was read can be read as deltas.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{Dialect, OpenAiResponses};

fuzz_target!(|body: &[u8]| {
    if let Ok(facts) = OpenAiResponses.read_answer(body, Quirks::default()) {
        assert!(facts.text.len() <= body.len());
        assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
        assert!(OpenAiResponses.read_deltas(body).is_ok());
    }
});
