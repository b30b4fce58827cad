//! The text of a prompt, for the rare exact count: everything a model reads of a request's messages and tools.
//!
//! Not on the way of an ordinary request, so it may build whole values; the request was checked when it came in.

use serde_json::Value;

/// The text of the messages and of the tools' schemas, one piece a line. Empty for what is no request.
pub fn prompt_text(body: &[u8]) -> String {
    let mut text = String::new();
    let Ok(Value::Object(request)) = serde_json::from_slice(body) else { return text };
    for message in request.get("messages").and_then(Value::as_array).into_iter().flatten() {
        add_content(&mut text, message.get("content"));
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            add(&mut text, call.pointer("/function/name"));
            add(&mut text, call.pointer("/function/arguments"));
        }
    }
    for schema in [request.get("tools"), request.get("functions"), request.get("response_format")].into_iter().flatten() {
        text.push_str(&schema.to_string());
        text.push('\n');
    }
    text
}

/// A message's content: a text, or parts of which only texts count (images and files have estimates of their own).
fn add_content(text: &mut String, content: Option<&Value>) {
    match content {
        Some(Value::Array(parts)) => parts.iter().for_each(|part| add(text, part.get("text"))),
        other => add(text, other),
    }
}

fn add(text: &mut String, value: Option<&Value>) {
    if let Some(Value::String(piece)) = value {
        text.push_str(piece);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_model_reads_is_in_the_text() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"你好"},{"type":"image_url","image_url":{"url":"data:x"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]},
            {"role":"tool","content":"done"}],"tools":[{"type":"function"}]}"#;
        assert_eq!(prompt_text(body.as_bytes()), "你好\nf\n{\"a\":1}\ndone\n[{\"type\":\"function\"}]\n");
        assert_eq!(prompt_text(b"no"), "");
    }
}
