//! The words of OpenAI's Responses: requests as a client writes them, the events that it is told, and answers and events as a
//! provider writes them.

use serde_json::{Value, json};

use super::{Call, messages};

/// What was used, of which so much was read from a cache and so much was thought.
pub(crate) fn usage(input: u64, cached: u64, output: u64, thought: u64) -> Value {
    json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": input + output,
    })
}

/// A message of the assistant.
pub(crate) fn message(text: &str) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content})
}

/// A thought that is told encrypted.
pub(crate) fn thought(seal: &str) -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal})
}

/// A call of a tool.
pub(crate) fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": "weather", "arguments": arguments, "status": "completed"})
}

/// A response that has come so far.
pub(crate) fn response(status: &str, output: &[Value], usage: &Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": null, "incomplete_details": null,
        "model": "served", "output": output, "usage": usage,
    })
}

/// A whole answer of these items.
pub(crate) fn answer(output: &[Value], usage: &Value) -> String {
    response("completed", output, usage).to_string()
}

/// An event: its type, and its members beside that.
pub(crate) fn event(kind: &str, members: Value) -> String {
    let mut event = members;
    event["type"] = json!(kind);
    format!("event: {kind}\ndata: {event}\n\n")
}

/// The beginning of every stream.
pub(crate) fn created() -> String {
    event("response.created", json!({"sequence_number": 0, "response": response("in_progress", &[], &Value::Null)}))
}

/// An item begins.
pub(crate) fn added(at: u64, item: &Value) -> String {
    event("response.output_item.added", json!({"output_index": at, "item": item}))
}

/// A piece of a text.
pub(crate) fn text(at: u64, piece: &str) -> String {
    event("response.output_text.delta", json!({"output_index": at, "content_index": 0, "item_id": "msg_1", "delta": piece}))
}

/// A piece of a call's arguments.
pub(crate) fn arguments(at: u64, piece: &str) -> String {
    event("response.function_call_arguments.delta", json!({"output_index": at, "item_id": "fc_1", "delta": piece}))
}

/// An item ends.
pub(crate) fn done(at: u64, item: &Value) -> String {
    event("response.output_item.done", json!({"output_index": at, "item": item}))
}

/// The end of a stream.
pub(crate) fn completed(output: &[Value], usage: &Value) -> String {
    event("response.completed", json!({"response": response("completed", output, usage)}))
}

/// A stream that says hello, of 9 tokens in and 4 out.
pub(crate) fn hello() -> Vec<String> {
    let item = message("Hello.");
    let begun = json!({"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []});
    let end = completed(std::slice::from_ref(&item), &usage(9, 0, 4, 0));
    vec![created(), added(0, &begun), text(0, "Hel"), text(0, "lo."), done(0, &item), end]
}

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
