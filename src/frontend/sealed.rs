//! Whether a conversation holds what only the provider that wrote it can read: signatures of thoughts, encrypted thoughts.

use memchr::memmem;

use super::{extra_content, reasoning_details, seals};
use crate::canonical::{Request, Shape};

/// Whether any is there that says something. Keys are looked for, not read: inside a text their quotes would be escaped, and a tool
/// that has such an argument only makes a conversation stay where it is.
pub fn is_sealed(request: &Request) -> bool {
    let none = |value: &[u8]| {
        value
            .strip_prefix(b"\"")
            .is_some_and(|text| text.starts_with(seals::NONE.as_bytes()) && text.get(seals::NONE.len()) == Some(&b'"'))
    };
    values(request)
        .any(|value| !matches!(value, [b'"', b'"', ..] | [b'[', b']', ..] | [b'n', b'u', b'l', b'l', ..]) && !none(value))
}

/// Whether thoughts stand in it, also without a seal: whoever did not make them may refuse them.
pub fn holds_thoughts(request: &Request) -> bool {
    values(request).next().is_some() || summaries(request) > 0
}

/// Whether thoughts stand in it that were told in words of ours, from an API that has others for them.
pub fn holds_told_thoughts(request: &Request) -> bool {
    if !request.may_hold_thoughts {
        return false;
    }
    let messages = messages_of(request);
    let begins = |text: &str| memmem::find(messages, text.as_bytes()).is_some();
    match request.shape {
        Shape::OpenAiChat => {
            behind(messages, reasoning_details::ORIGIN_KEY).any(|value| value.starts_with(reasoning_details::OURS))
        }
        // Of whatever member it is the value; a text that begins so makes a conversation be rewritten, and nothing is lost.
        Shape::AnthropicMessages => seals::FOREIGN_IN_BLOCK.iter().any(|text| begins(text)),
        Shape::OpenAiResponses => seals::FOREIGN_IN_ITEM.iter().any(|text| begins(text)),
        // No client asks in it, and what is no conversation has no thoughts.
        Shape::GeminiGenerate
        | Shape::BedrockConverse
        | Shape::OpenAiEmbeddings
        | Shape::OpenAiCompletions
        | Shape::Rerank
        | Shape::OpenAiImages
        | Shape::OpenAiSpeech
        | Shape::OpenAiTranscriptions => false,
    }
}

/// Whether seals stand in it where Google's endpoint for chat tells them, and we do, who are not to be told apart by that.
pub fn holds_google_seals(request: &Request) -> bool {
    request.shape == Shape::OpenAiChat
        && request.may_hold_thoughts
        && behind(messages_of(request), extra_content::SIGNATURE_KEY).next().is_some()
}

/// Whether thoughts stand in it without a signature.
pub fn holds_unsigned_thoughts(request: &Request) -> bool {
    let signed = || values(request).filter(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\"")).count();
    let unsigned = || values(request).any(|value| value.starts_with(b"\"\""));
    // An item of Responses may leave the member out.
    if request.shape == Shape::OpenAiResponses { summaries(request) > signed() } else { unsigned() }
}

/// How many thoughts are told as items of Responses, each of which has a summary, if an empty one.
fn summaries(request: &Request) -> usize {
    if request.shape == Shape::OpenAiResponses && request.may_hold_thoughts {
        behind(messages_of(request), "\"summary\"").count()
    } else {
        0
    }
}

/// What follows each key that a seal has in the request's shape.
fn values(request: &Request) -> impl Iterator<Item = &[u8]> {
    let keys: &[&str] = match request.shape {
        _ if !request.may_hold_thoughts => &[],
        Shape::OpenAiChat => &["\"reasoning_details\"", extra_content::SIGNATURE_KEY],
        Shape::OpenAiResponses => &["\"encrypted_content\""],
        Shape::AnthropicMessages => &["\"signature\"", "\"redacted_thinking\""],
        Shape::GeminiGenerate => &["\"thoughtSignature\""],
        Shape::BedrockConverse => &["\"reasoningContent\""],
        Shape::OpenAiEmbeddings
        | Shape::OpenAiCompletions
        | Shape::Rerank
        | Shape::OpenAiImages
        | Shape::OpenAiSpeech
        | Shape::OpenAiTranscriptions => &[],
    };
    let messages = messages_of(request);
    keys.iter().flat_map(move |key| behind(messages, key))
}

fn messages_of(request: &Request) -> &[u8] {
    request.body.get(request.members.messages.clone()).unwrap_or_default()
}

/// What follows each place of a key, without the colon between.
fn behind<'m>(messages: &'m [u8], key: &str) -> impl Iterator<Item = &'m [u8]> {
    let length = key.len();
    let places: Vec<usize> = memmem::find_iter(messages, key.as_bytes()).collect();
    places.into_iter().map(move |at| {
        let value = messages.get(at + length..).unwrap_or_default().trim_ascii_start();
        value.strip_prefix(b":").map_or(value, <[u8]>::trim_ascii_start)
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
    fn what_googles_chat_tells_is_a_seal_wherever_it_stands() {
        let extra = |value: &str| format!(r#""extra_content":{{"google":{{"thought_signature":"{value}"}}}}"#);
        let message = |value: &str| format!(r#"{{"role":"assistant","content":"x",{}}}"#, extra(value));
        let call = |value: &str| {
            format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"c","function":{{"name":"f","arguments":"{{}}"}},{}}}]}}"#,
                extra(value)
            )
        };
        for told in [&message as &dyn Fn(&str) -> String, &call] {
            check(&OpenAiChat, &told("c2ln"), true);
            check(&OpenAiChat, &told(""), false);
        }
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, call("c2ln"));
        assert!(holds_google_seals(&OpenAiChat.parse(Bytes::from(body), &HeaderMap::new()).unwrap()));
        let said = r#"{"model":"m","messages":[{"role":"user","content":"the \"thought_signature\""}]}"#;
        assert!(!holds_google_seals(&OpenAiChat.parse(Bytes::from(said), &HeaderMap::new()).unwrap()));
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
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": "google-gemini-v1:"}"#), false);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": "google-gemini-v1:s"}"#), true);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_details":[]}"#, false);
    }

    /// Found by a reader: after a restart words of ours went to providers as if they were their own.
    #[test]
    fn what_was_told_in_our_words_is_known_without_a_memory() {
        let check = |frontend: &dyn Frontend, message: &str, expected: bool| {
            let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{message}]}}"#);
            let request = frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
            assert_eq!(holds_told_thoughts(&request), expected, "{message}");
        };
        let said = |block: &str| format!(r#"{{"role":"assistant","content":[{block}]}}"#);
        check(&AnthropicMessages, &said(r#"{"type":"redacted_thinking","data": "google-gemini-v1:c2ln"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"openai-responses-v1:s"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"c2ln"}"#), false);
        let details = |entry: &str| format!(r#"{{"role":"assistant","content":"x","reasoning_details":[{entry}]}}"#);
        check(&OpenAiChat, &details(r#"{"type":"reasoning.encrypted","data":"s","origin": "tokenbroker"}"#), true);
        check(&OpenAiChat, &details(r#"{"type":"reasoning.encrypted","data":"s"}"#), false);
    }
}
