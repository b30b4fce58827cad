//! Any bytes as an error: always a class and one short line.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tokenbroker::dialect::{Dialect, OpenAiChat};

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let error = OpenAiChat.classify(status, &HeaderMap::new(), body);
    assert!(!error.message.is_empty() && error.message.chars().count() <= 300);
    assert!(!error.message.contains(char::is_control));
});
