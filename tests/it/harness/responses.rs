//! The words of OpenAI's Responses: requests as a client writes them, and the events that it is told.

use serde_json::Value;

use super::{Call, messages};

/// A request with further members: `"stream":true`.
pub(crate) fn ask(members: &str) -> Call {
    let comma = if members.is_empty() { "" } else { "," };
    Call::responses(format!(r#"{{"model":"auto","input":"Say hello."{comma}{members}}}"#))
}

/// The events of a stream, which are named and numbered as they must be.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let named = |(name, event): (String, Value)| {
        assert_eq!(event["type"], name);
        event
    };
    let events: Vec<Value> = messages::events(text).into_iter().map(named).collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    events
}
