//! Any bytes as a whole answer: read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{Dialect, OpenAiChat, OpenAiDirect};

fuzz_target!(|body: &[u8]| {
    if let Ok(facts) = OpenAiDirect::ALL[0].read_answer(body, Quirks::default()) {
        assert!(facts.usage.is_none_or(|usage| usage.output.get() == 0));
    }
    if let Ok(facts) = OpenAiChat.read_answer(body, Quirks::default()) {
        assert!(facts.text.len() <= body.len());
        assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
    }
});
