//! Thoughts that a provider told at the beginning of its text, between tags (`<think>`), and that a client of chat says again with the
//! text: they would be billed each turn, and read by the next model as something that was said (dialects.md 6, item 24).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::json::span_in;
use crate::canonical::request::Folded;
use crate::canonical::thought;

/// What every such thought ends with, however its brackets are escaped.
static ENDS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("/think"));

#[derive(Deserialize)]
struct Message<'b> {
    #[serde(borrow)]
    role: Option<Cow<'b, str>>,
    #[serde(borrow)]
    content: Option<&'b RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Part<'b> {
    #[serde(borrow)]
    text: Option<&'b RawValue>,
}

/// What was said behind a thought that begins a text.
pub(super) fn said_behind(text: &str) -> Option<&str> {
    let told = text.trim_start();
    let behind = match told.strip_prefix("<think>") {
        Some(thought) => thought.split_once("</think>"),
        None => thought::unopened(told),
    };
    behind.map(|(_, said)| said.trim_start())
}

/// The texts of the assistant in the messages of a body that begin with a thought. The last message is none of them: an answer that the
/// client began was told by nobody. Nor is a text whose thought has no tag before it: it may only speak of the one behind, and these are
/// the client's own bytes.
pub(super) fn texts(body: &str, messages: Range<usize>) -> Vec<Folded> {
    let said = body.get(messages).unwrap_or_default();
    // Nearly no conversation has any.
    if ENDS.find(said.as_bytes()).is_none() {
        return Vec::new();
    }
    let messages = serde_json::from_str::<Vec<Message<'_>>>(said).unwrap_or_default();
    let told = messages.split_last().map_or(&[][..], |(_, before)| before).iter();
    told.filter(|message| message.role.as_deref() == Some("assistant")).filter_map(|told| folded(body, told)).collect()
}

fn folded(body: &str, message: &Message<'_>) -> Option<Folded> {
    let content = message.content?;
    let raw = if content.get().starts_with('[') {
        serde_json::from_str::<Vec<Part<'_>>>(content.get()).ok()?.first()?.text?
    } else {
        content
    };
    let text = serde_json::from_str::<Cow<'_, str>>(raw.get()).ok()?;
    let said = said_behind(&text).filter(|_| text.trim_start().starts_with("<think>"))?;
    // Who says nothing and calls nothing may be refused for that, and so may be a part without a text.
    let may_be_silent = || raw.get() == content.get() && message.tool_calls.is_some_and(calls);
    let said = match said {
        "" if may_be_silent() => "null".to_owned(),
        "" => return None,
        said => serde_json::to_string(said).ok()?,
    };
    Some(Folded { text: span_in(body, raw.get()), said })
}

/// Whether there are any.
fn calls(calls: &RawValue) -> bool {
    serde_json::from_str::<Vec<IgnoredAny>>(calls.get()).is_ok_and(|calls| !calls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the messages are, and a last one of the user's, without what was thought in their texts.
    #[track_caller]
    fn check(messages: &str, expected: &str) {
        let again = r#"{"role":"user","content":"and?"}"#;
        let body = format!(r#"{{"model":"m","messages":[{messages},{again}]}}"#);
        let mut left = body.clone();
        for Folded { text, said } in texts(&body, body.find('[').unwrap()..body.len() - 1).into_iter().rev() {
            left.replace_range(text, &said);
        }
        assert_eq!(left, format!(r#"{{"model":"m","messages":[{expected},{again}]}}"#));
    }

    #[test]
    fn a_thought_that_begins_a_text_of_the_assistants_is_taken_out() {
        let said = |text: &str| format!(r#"{{"role":"assistant","content":{text}}}"#);
        for (text, expected) in [
            (r#""<think>hm</think>\n\nyes""#, r#""yes""#),
            (r#""\n<think>\nhm\n</think>\"yes\"""#, r#""\"yes\"""#),
            // As Go and PHP write them.
            (r#""\u003cthink\u003ehm\u003c/think\u003eyes""#, r#""yes""#),
            (r#""<think>hm<\/think>yes""#, r#""yes""#),
            (
                r#"[{"type":"text","text":"<think>hm</think>yes"},{"type":"text","text":"<think>a</think>b"}]"#,
                r#"[{"type":"text","text":"yes"},{"type":"text","text":"<think>a</think>b"}]"#,
            ),
        ] {
            check(&said(text), &said(expected));
        }
        let called = |text: &str| format!(r#"{{"role":"assistant","content":"{text}","tool_calls":[{{"id":"a"}}]}}"#);
        check(&called("<think>hm</think>"), &called("").replace(r#""""#, "null"));
    }

    #[test]
    fn what_is_no_thought_stays() {
        let user = r#"{"role":"user","content":"<think>hm</think>yes"}"#;
        check(user, user);
        for text in [
            "Tags are <think> and </think>.",
            "<think>It was cut",
            "<think>alone</think>",
            "yes",
            "End it with `</think>`.",
            "It ends with </think>, then it answers.",
        ] {
            let said = format!(r#"{{"role":"assistant","content":"{text}","tool_calls":[]}}"#);
            check(&said, &said);
        }
        let part = r#"{"role":"assistant","content":[{"type":"text","text":"<think>alone</think>"}],"tool_calls":[{"id":"a"}]}"#;
        check(part, part);
        for odd in [r#"{"role":"assistant","content":null,"x":"</think>"}"#, r#"{"role":"assistant","content":[7,"</think>"]}"#] {
            check(odd, odd);
        }
    }

    #[test]
    fn an_answer_that_the_client_begins_stays() {
        let body = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"<think></think>The"}]}"#;
        assert!(texts(body, body.find('[').unwrap()..body.len() - 1).is_empty());
    }
}
