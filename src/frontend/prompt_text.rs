//! The text of a prompt, for the rare exact count: everything a model reads of a request's messages and tools, in whichever
//! shape it came.
//!
//! Not on the way of an ordinary request, so it may build whole values; the request was checked when it came in.

use serde_json::Value;

/// The text of the messages and of the tools' schemas, one piece a line. Empty for what is no request.
pub fn prompt_text(body: &[u8]) -> String {
    let mut text = String::new();
    let Ok(Value::Object(request)) = serde_json::from_slice(body) else { return text };
    add_content(&mut text, request.get("system"));
    for message in request.get("messages").and_then(Value::as_array).into_iter().flatten() {
        add_content(&mut text, message.get("content"));
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            add(&mut text, call.pointer("/function/name"));
            add(&mut text, call.pointer("/function/arguments"));
        }
    }
    add_content(&mut text, request.get("instructions"));
    for member in ["input", "prompt", "suffix", "query", "documents"] {
        match request.get(member) {
            Some(Value::Array(items)) => items.iter().for_each(|item| add_item(&mut text, item)),
            input => add(&mut text, input),
        }
    }
    let schema = |member: &str, inner: &str| request.get(member).and_then(|value| value.get(inner));
    let schemas = [request.get("tools"), request.get("functions"), request.get("response_format")];
    let formats = [schema("output_config", "format"), request.get("output_format"), schema("text", "format")];
    for schema in schemas.into_iter().chain(formats).flatten() {
        text.push_str(&schema.to_string());
        text.push('\n');
    }
    text
}

/// A message's content: a text, or parts of which only texts count (images and files have estimates of their own). A part may
/// hold the call of a tool, or content of its own: the result of one.
fn add_content(text: &mut String, content: Option<&Value>) {
    let Some(Value::Array(parts)) = content else { return add(text, content) };
    for part in parts {
        // What names, marks or signs is not read; a part's other texts are.
        let names = |member: &str| matches!(member, "type" | "id" | "tool_use_id" | "signature" | "content");
        for (_, said) in part.as_object().into_iter().flatten().filter(|(member, _)| !names(member)) {
            add(text, Some(said));
        }
        if let Some(input) = part.get("input") {
            text.push_str(&input.to_string());
            text.push('\n');
        }
        add_content(text, part.get("content"));
    }
}

/// An item of Responses: a message, a thought, a call or what was answered to one; or a text to be embedded.
fn add_item(text: &mut String, item: &Value) {
    add(text, Some(item));
    for member in ["content", "summary", "output"] {
        add_content(text, item.get(member));
    }
    add(text, item.get("name"));
    add(text, item.get("arguments"));
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

    #[test]
    fn items_are_read_whatever_they_are() {
        let body = r#"{"instructions":"Be brief.","input":[{"role":"user","content":"hi"},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"AAAA"},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}"},
            {"type":"function_call_output","call_id":"c","output":"4"},
            {"role":"user","content":[{"type":"input_text","text":"go on"}]}],"text":{"format":{"type":"text"}}}"#;
        assert_eq!(prompt_text(body.as_bytes()), "Be brief.\nhi\nhm\nf\n{\"a\":1}\n4\ngo on\n{\"type\":\"text\"}\n");
        assert_eq!(prompt_text(br#"{"input":"hi"}"#), "hi\n");
        assert_eq!(prompt_text(br#"{"input":["hi","you"]}"#), "hi\nyou\n");
        assert_eq!(prompt_text(br#"{"prompt":["hi","you"],"suffix":"end"}"#), "hi\nyou\nend\n");
    }

    #[test]
    fn blocks_are_read_as_deep_as_they_lie() {
        let body = r#"{"system":[{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"4"},{"type":"image","source":{"data":"AA"}}]}]}],
            "output_config":{"effort":"low","format":{"type":"json_schema"}}}"#;
        assert_eq!(prompt_text(body.as_bytes()), "Be brief.\nhi\nhm\nf\n{\"a\":1}\n4\n{\"type\":\"json_schema\"}\n");
    }
}
