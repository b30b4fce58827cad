//! The words of Anthropic's Messages: requests as a client writes them, answers and events as a provider does.

use serde_json::Value;

use super::chat::asking;

/// The event that ends a stream.
pub(crate) const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
/// An event that only keeps the connection open.
pub(crate) const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// A request for a whole answer.
pub(crate) fn ask(model: &str) -> String {
    ask_with(model, "")
}

/// A request for a stream.
pub(crate) fn ask_stream(model: &str) -> String {
    ask_with(model, r#""stream":true"#)
}

/// A request with further members: `"temperature":0`.
pub(crate) fn ask_with(model: &str, members: &str) -> String {
    asking(model, r#""max_tokens":64,"#, members)
}

/// A whole answer with a reported usage.
pub(crate) fn answer(text: &str, input: u64, output: u64) -> String {
    answer_with(
        &format!(r#"[{{"type":"text","text":"{text}"}}]"#),
        &format!(r#"{{"input_tokens":{input},"output_tokens":{output}}}"#),
    )
}

/// A whole answer of these blocks.
pub(crate) fn answer_with(blocks: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"served","content":{blocks},"stop_reason":"end_turn","stop_sequence":null,"usage":{usage}}}"#
    )
}

/// An error body.
pub(crate) fn error(kind: &str, message: &str) -> String {
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
}

/// Any event.
pub(crate) fn event(name: &str, json: &str) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}

/// The first event, with the usage of the input.
pub(crate) fn start(usage: &str) -> String {
    let message = format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"served","content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#
    );
    event("message_start", &format!(r#"{{"type":"message_start","message":{message}}}"#))
}

/// A block begins.
pub(crate) fn block(index: u64, block: &str) -> String {
    event("content_block_start", &format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#))
}

/// A piece of a block.
pub(crate) fn delta(index: u64, delta: &str) -> String {
    event("content_block_delta", &format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#))
}

/// A piece of text of the first block.
pub(crate) fn text(piece: &str) -> String {
    delta(0, &format!(r#"{{"type":"text_delta","text":"{piece}"}}"#))
}

/// A block ends.
pub(crate) fn end(index: u64) -> String {
    event("content_block_stop", &format!(r#"{{"type":"content_block_stop","index":{index}}}"#))
}

/// Why the answer ended, with the usage of the output.
pub(crate) fn finish(reason: &str, usage: &str) -> String {
    event(
        "message_delta",
        &format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{usage}}}"#),
    )
}

/// The events up to the first text.
pub(crate) fn opened() -> Vec<String> {
    vec![start(r#"{"input_tokens":9,"output_tokens":1}"#), block(0, r#"{"type":"text","text":""}"#), PING.to_owned()]
}

/// A stream's events with two pieces of text and a usage of 9 tokens in, 4 out.
pub(crate) fn hello() -> Vec<String> {
    let mut events = opened();
    events.extend([text("Hel"), text("lo."), end(0), finish("end_turn", r#"{"output_tokens":4}"#), STOP.to_owned()]);
    events
}

/// The events of a stream, each with its name.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').expect("a name and data");
        let data = data.strip_prefix("data: ").expect("data");
        (name.strip_prefix("event: ").expect("a name").to_owned(), serde_json::from_str(data).expect("JSON"))
    };
    text.split_terminator("\n\n").filter(|block| !block.starts_with(':')).map(event).collect()
}
