//! Any bytes as a request: refused, or sent on as one JSON object.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tokenbroker::canonical::Request;
use tokenbroker::catalog::capability::{OutputBoundField, Quirks, StreamUsage};
use tokenbroker::dialect::{Dialect, OpenAiChat, OpenAiDirect as Direct, Outgoing};
use tokenbroker::frontend::{self, Frontend, OpenAiDirect};
use tokenbroker::units::Tokens;

const FIELDS: [OutputBoundField; 3] =
    [OutputBoundField::MaxTokens, OutputBoundField::MaxCompletionTokens, OutputBoundField::Either];
const USAGES: [StreamUsage; 3] = [StreamUsage::OnRequest, StreamUsage::Always, StreamUsage::Never];

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    direct(body);
    let Ok(request) = frontend::parse(Bytes::copy_from_slice(body), &HeaderMap::new()) else {
        return;
    };
    let choice = usize::from(choice);
    let quirks = Quirks {
        output_bound: FIELDS[choice % 3],
        stream_usage: USAGES[choice / 3 % 3],
        developer_role: choice & 0x40 != 0,
        ..Quirks::default()
    };
    let out = Outgoing { output_bound: (choice & 0x80 != 0).then(|| Tokens::new(7)), ..Outgoing::to("up", quirks) };
    let sent = OpenAiChat.encode(&request, &out);
    assert!(serde_json::from_slice::<&RawValue>(&sent).is_ok(), "what goes out is JSON");
    // What went out is a request again, and needs no second splice.
    let again = frontend::parse(sent.clone(), &HeaderMap::new()).expect("what goes out is a request");
    assert_eq!(OpenAiChat.encode(&again, &out), sent);
});

/// The same as each kind of request that is no conversation.
fn direct(body: &[u8]) {
    for (frontend, dialect) in OpenAiDirect::ALL.iter().zip(Direct::ALL) {
        let read = |body| frontend.parse(body, &HeaderMap::new());
        let Ok(request) = read(Bytes::copy_from_slice(body)) else { continue };
        let out = Outgoing::to("up", Quirks::default());
        let sent = dialect.encode(&request, &out);
        let again = read(sent.clone()).expect("what goes out is a request");
        let billed = |request: &Request| (request.token_input, request.messages, request.choices, request.pieces);
        assert_eq!(billed(&again), billed(&request));
        assert_eq!(dialect.encode(&again, &out), sent);
    }
}
