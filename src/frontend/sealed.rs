//! Whether a conversation holds what only the provider that wrote it can read: signatures of thoughts, encrypted thoughts.

use memchr::memmem;

use crate::canonical::{Request, Shape};

/// Whether any is there. Keys are looked for, not read: inside a text their quotes would be escaped, and a tool that has such an
/// argument only makes a conversation be rewritten for another provider that could have been sent as it is.
pub fn is_sealed(request: &Request) -> bool {
    let keys: &[&str] = match request.shape {
        Shape::OpenAiChat => &["\"reasoning_details\""],
        Shape::OpenAiResponses => &["\"encrypted_content\""],
        Shape::AnthropicMessages => &["\"signature\"", "\"redacted_thinking\""],
        Shape::GeminiGenerate => &["\"thoughtSignature\""],
    };
    let messages = request.body.get(request.members.messages.clone()).unwrap_or_default();
    keys.iter().any(|key| memmem::find(messages, key.as_bytes()).is_some())
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
    }
}
