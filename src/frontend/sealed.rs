//! Whether a conversation holds what only the provider that wrote it can read: signatures of thoughts, encrypted thoughts.

use memchr::memmem;

use crate::canonical::{Request, Shape};

/// Whether any is there that says something. Keys are looked for, not read: inside a text their quotes would be escaped, and a tool
/// that has such an argument only makes a conversation stay where it is.
pub fn is_sealed(request: &Request) -> bool {
    values(request).any(|value| !matches!(value, [b'"', b'"', ..] | [b'[', b']', ..] | [b'n', b'u', b'l', b'l', ..]))
}

/// Whether thoughts stand in it, also without a seal: whoever did not make them may refuse them.
pub fn holds_thoughts(request: &Request) -> bool {
    values(request).next().is_some()
}

/// Whether thoughts stand in it that were told in words of ours: without a signature, or with one that was made in another shape.
pub fn holds_told_thoughts(request: &Request) -> bool {
    let ours: [&[u8]; 3] = [b"\"\"", b"\"google-gemini-v1:", b"\"openai-responses-v1:"];
    values(request).any(|value| ours.iter().any(|begins| value.starts_with(begins)))
}

/// What follows each key that a seal has in the request's shape.
fn values(request: &Request) -> impl Iterator<Item = &[u8]> {
    let keys: &[&str] = match request.shape {
        Shape::OpenAiChat => &["\"reasoning_details\""],
        Shape::OpenAiResponses => &["\"encrypted_content\""],
        Shape::AnthropicMessages => &["\"signature\"", "\"redacted_thinking\""],
        Shape::GeminiGenerate => &["\"thoughtSignature\""],
    };
    let messages = request.body.get(request.members.messages.clone()).unwrap_or_default();
    keys.iter().flat_map(move |key| {
        memmem::find_iter(messages, key.as_bytes()).map(move |at| {
            let behind = messages.get(at + key.len()..).unwrap_or_default().trim_ascii_start();
            behind.strip_prefix(b":").map_or(behind, <[u8]>::trim_ascii_start)
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::{AnthropicMessages, Frontend, OpenAiChat};
    use super::*;

    fn check(frontend: &dyn Frontend, message: &str, expected: bool) {
        let body = format!(r#"{{"model":"m","max_tokens":9,"tools":[{{"name":"signature"}}],"messages":[{message}]}}"#);
        let request = frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
        assert_eq!(is_sealed(&request), expected, "{message}");
    }

    #[test]
    fn signatures_and_encrypted_thoughts_are_seals() {
        let said = |block: &str| format!(r#"{{"role":"assistant","content":[{block}]}}"#);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"redacted_thinking","data":"AAAA"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"text","text":"the \"signature\" is"}"#), false);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_details":[{"type":"reasoning.encrypted"}]}"#, true);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_content":"hm"}"#, false);
        // Found by a reader: a key without a value kept conversations at home.
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": ""}"#), false);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_details":[]}"#, false);
    }
}
