//! Any bytes as what goes out of a stream of Responses: what a client has seen of it is the same in whichever pieces it goes out, and
//! the event that ends the stream goes on from there.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use memchr::memmem::find;
use serde_json::Value;
use tokenbroker::frontend::{About, ClientError, ErrorKind, Frontend, OpenAiResponses, Seen};

/// The number of an event that ends a stream whose others had none.
const LAST: u64 = u32::MAX as u64;

/// The id and the number of the event that ends a stream of which these pieces have gone out.
fn ended<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> (String, u64) {
    let mut seen = Seen::default();
    for piece in pieces {
        OpenAiResponses.sees(&mut seen, &Bytes::copy_from_slice(piece));
    }
    let (id, model) = ("1".to_owned(), "up".to_owned());
    let about = About { id, model, created: 1, wants_usage: false, asked: Bytes::from_static(b"{}"), own_tools: Vec::new() };
    let error = ClientError::new(502, ErrorKind::Server, "upstream_error", "the stream broke off");
    let event = OpenAiResponses.error_event(&error, &about, &seen);
    let data = event.strip_suffix(b"\n\n").and_then(|event| Some(&event[find(event, b"\ndata: ")? + 7..])).expect("one frame");
    let told: Value = serde_json::from_slice(data).expect("its data is JSON on one line");
    assert_eq!((&told["type"], &told["response"]["status"]), (&"response.failed".into(), &"failed".into()), "{told}");
    (told["response"]["id"].as_str().expect("a response has an id").to_owned(), told["sequence_number"].as_u64().expect("every event has a number"))
}

fuzz_target!(|sent: &[u8]| {
    let whole = ended([sent].into_iter());
    let lines = ended(sent.split_inclusive(|byte| *byte == b'\n'));
    assert_eq!(lines.0, whole.0, "an event's data is one line, so lines are the smallest pieces that go out");
    // The number is looked for where its key stands as it is written everywhere.
    let as_written = find(sent, b"\\u").is_none();
    assert!(!as_written || lines.1 == LAST || lines.1 == whole.1, "{} and {}", lines.1, whole.1);
    // What a client has not been told cannot be known of it.
    let told = |number: u64| find(sent, number.to_string().as_bytes()).is_some();
    assert!(whole.1 == LAST || whole.1.checked_sub(1).is_some_and(told), "{whole:?}");
});
