//! The words of the wire: requests as a client writes them, answers and frames as a provider does.

use bytes::Bytes;
use serde_json::Value;

/// The mark that ends a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";
/// A comment that only keeps the connection open.
pub(crate) const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// A request for a whole answer.
pub(crate) fn ask(model: &str) -> String {
    ask_with(model, "")
}

/// A request for a stream.
pub(crate) fn ask_stream(model: &str) -> String {
    ask_with(model, r#""stream":true"#)
}

/// A request with further members: `"temperature":0,"n":1`.
pub(crate) fn ask_with(model: &str, members: &str) -> String {
    asking(model, "", members)
}

/// A request of any shape, with members before its messages and behind them.
pub(crate) fn asking(model: &str, before: &str, behind: &str) -> String {
    let comma = if behind.is_empty() { "" } else { "," };
    format!(r#"{{"model":"{model}",{before}"messages":[{{"role":"user","content":"Say hello."}}]{comma}{behind}}}"#)
}

/// A whole answer with a reported usage.
pub(crate) fn answer(text: &str, input: u64, output: u64) -> String {
    answer_with(&format!(r#"{{"role":"assistant","content":"{text}"}}"#), "stop", &usage_object(input, output))
}

/// A whole answer of this message that ended for this reason.
pub(crate) fn answer_with(message: &str, finish: &str, usage: &str) -> String {
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"{finish}"}}"#);
    format!(r#"{{"id":"c-1","object":"chat.completion","created":1,"model":"served","choices":[{choice}],"usage":{usage}}}"#)
}

/// An error body in the shape of most providers.
pub(crate) fn error(message: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"some_error","param":null,"code":null}}}}"#)
}

/// A frame that says who speaks and nothing else.
pub(crate) fn role() -> String {
    delta(r#"{"role":"assistant","content":""}"#, "null")
}

/// A frame with text.
pub(crate) fn text(piece: &str) -> String {
    delta(&format!(r#"{{"content":"{piece}"}}"#), "null")
}

/// The frame that says why the answer ended.
pub(crate) fn finish() -> String {
    delta("{}", r#""stop""#)
}

/// The frame that carries nothing but the usage.
pub(crate) fn usage(input: u64, output: u64) -> String {
    let usage = usage_object(input, output);
    frame(&format!(
        r#"{{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"served","choices":[],"usage":{usage}}}"#
    ))
}

/// An error as a frame.
pub(crate) fn error_frame(message: &str) -> String {
    frame(&error(message))
}

/// Any frame.
pub(crate) fn frame(json: &str) -> String {
    format!("data: {json}\n\n")
}

/// A frame with any delta; the reason to stop as JSON.
pub(crate) fn delta(delta: &str, finish: &str) -> String {
    let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":{finish}}}"#);
    frame(&format!(r#"{{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"served","choices":[{choice}]}}"#))
}

/// The counts of an answer.
pub(crate) fn usage_object(input: u64, output: u64) -> String {
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#, input + output)
}

/// Frames as one text.
pub(crate) fn joined(frames: &[String]) -> Bytes {
    frames.concat().into()
}

/// A stream's frames with two pieces of text and a usage frame of 9 tokens in, 4 out.
pub(crate) fn hello() -> Vec<String> {
    vec![role(), text("Hel"), text("lo."), finish(), usage(9, 4), DONE.to_owned()]
}

/// The chunks of a stream, which has the mark that ends it.
pub(crate) fn chunks(text: &str) -> Vec<Value> {
    let chunks = text.strip_suffix(DONE).unwrap_or_else(|| panic!("not ended: {text}"));
    let chunk = |block: &str| serde_json::from_str(block.strip_prefix("data: ").expect("data")).expect("JSON");
    chunks.split_terminator("\n\n").filter(|block| !block.starts_with(':')).map(chunk).collect()
}

/// What the text deltas of chunks add up to.
pub(crate) fn content(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}
