//! Any bytes as a request of Messages: refused, or sent on as one JSON object.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{AnthropicMessages as Messages, Dialect, Outgoing};
use tokenbroker::frontend::{AnthropicMessages, Frontend, prefix, prompt_text};
use tokenbroker::units::Tokens;

fuzz_target!(|input: (bool, &[u8])| {
    let (bounded, body) = input;
    let Ok(request) = AnthropicMessages.parse(Bytes::copy_from_slice(body), &HeaderMap::new()) else {
        return;
    };
    let _ = (prefix::chain(&request, 7), prompt_text(body));
    let quirks = Quirks::default();
    let out = Outgoing { output_bound: bounded.then(|| Tokens::new(7)), ..Outgoing::to("up", quirks) };
    let sent = Messages.encode(&request, &out);
    assert!(serde_json::from_slice::<&RawValue>(&sent).is_ok(), "what goes out is JSON");
    // What went out is a request again, and needs no second splice.
    let again = AnthropicMessages.parse(sent.clone(), &HeaderMap::new()).expect("what goes out is a request");
    assert_eq!(Messages.encode(&again, &out), sent);
});
