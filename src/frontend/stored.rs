//! Going on from an answer before (`previous_response_id`): what a request of Responses says of it, the same request with the whole
//! conversation in it, and what of an answer the next request needs.
//!
//! Everything else of the gateway sees the joined request only, so a conversation that is continued by an id is routed, counted and
//! translated as one that was sent in full.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::errors::{BadRequest, Position};
use super::json::span_in;

/// What a request says of answers that are kept.
#[derive(Debug)]
pub struct Link<'b> {
    body: &'b str,
    /// The id that it goes on from, and where that stands.
    previous: Option<(Cow<'b, str>, &'b str)>,
    input: &'b str,
    /// It does not forbid that its own answer is kept.
    pub keeps: bool,
}

impl<'b> Link<'b> {
    /// Of a request's body; nothing where that cannot be read, which its own reader then tells.
    pub fn of(body: &'b [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Members<'b> {
            #[serde(borrow)]
            previous_response_id: Option<&'b RawValue>,
            #[serde(borrow)]
            input: Option<&'b RawValue>,
            store: Option<bool>,
        }
        let body = std::str::from_utf8(body).ok()?;
        let members: Members<'_> = serde_json::from_str(body).ok()?;
        let input = members.input?.get();
        let previous = match members.previous_response_id {
            // Of another type it stays where it is, and is refused with it.
            Some(raw) => Some((serde_json::from_str::<Text<'_>>(raw.get()).ok()?.0, raw.get())),
            None => None,
        };
        (input.starts_with('"') || input.starts_with('[')).then(|| Self {
            body,
            previous,
            input,
            keeps: members.store != Some(false),
        })
    }

    /// The id of the answer that it goes on from.
    pub fn previous(&self) -> Option<&str> {
        self.previous.as_ref().map(|(id, _)| &**id)
    }

    /// The items of its own input, as they stand between the brackets of a list.
    pub fn items(&self) -> Bytes {
        match inside(self.input) {
            Some(items) => Bytes::copy_from_slice(items.as_bytes()),
            None => Bytes::from(format!(r#"{{"role":"user","content":{}}}"#, self.input)),
        }
    }

    /// The request with the items before its own, without the id.
    pub fn joined<'p>(&self, before: impl Iterator<Item = &'p [u8]>) -> Bytes {
        let mut input = b"[".to_vec();
        let mut add = |items: &[u8]| {
            if !items.is_empty() && input.len() > 1 {
                input.push(b',');
            }
            input.extend_from_slice(items);
        };
        before.for_each(&mut add);
        add(&self.items());
        input.push(b']');
        let mut changes = vec![(span_in(self.body, self.input), input)];
        if let Some((_, raw)) = &self.previous {
            changes.push((span_in(self.body, raw), b"null".to_vec()));
        }
        changed(self.body, changes)
    }

    /// A complaint about the id that it goes on from.
    pub fn wrong(&self, code: &'static str, message: String) -> BadRequest {
        let bad = BadRequest::new(code, "previous_response_id", message);
        match &self.previous {
            Some((_, raw)) => bad.at(Position::at(self.body.as_bytes(), span_in(self.body, raw).start)),
            None => bad,
        }
    }
}

/// A text with others in the place of some of its spans.
fn changed(text: &str, mut changes: Vec<(Range<usize>, Vec<u8>)>) -> Bytes {
    changes.sort_by_key(|(span, _)| span.start);
    let mut written = Vec::with_capacity(text.len() + changes.iter().map(|(_, new)| new.len()).sum::<usize>());
    let mut at = 0;
    for (span, new) in changes {
        written.extend_from_slice(&text.as_bytes()[at..span.start]);
        written.extend_from_slice(&new);
        at = span.end;
    }
    written.extend_from_slice(&text.as_bytes()[at..]);
    written.into()
}

/// The body of a whole answer, or frames of a stream, in which each response that did not fail says that it is kept; `None` where
/// there is none.
pub fn said_kept(told: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Response<'b> {
        #[serde(borrow, rename = "id")]
        _id: &'b RawValue,
        #[serde(borrow, default, deserialize_with = "present")]
        store: Option<&'b RawValue>,
    }
    let told = std::str::from_utf8(told).ok()?;
    let is_whole = told.trim_ascii_start().starts_with('{');
    let whole = is_whole.then_some(told).into_iter();
    let in_events = told.lines().filter(|_| !is_whole).filter_map(response);
    let responses = whole.chain(in_events.filter(|(kind, _)| !kind.ends_with(".failed")).map(|(_, response)| response));
    let says = |response: &str| {
        if let Some(store) = serde_json::from_str::<Response<'_>>(response).ok()?.store {
            return Some((span_in(told, store.get()), b"true".to_vec()));
        }
        // It has an id, so it has a member that this one goes before.
        let begin = span_in(told, response.trim_ascii_start()).start + 1;
        Some((begin..begin, br#""store":true,"#.to_vec()))
    };
    let changes: Vec<(Range<usize>, Vec<u8>)> = responses.filter_map(says).collect();
    (!changes.is_empty()).then(|| changed(told, changes))
}

/// Also what is null.
fn present<'b, D: Deserializer<'b>>(value: D) -> Result<Option<&'b RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// The event in a line of a stream that tells a response: its type and that.
fn response(line: &str) -> Option<(Cow<'_, str>, &str)> {
    #[derive(Deserialize)]
    struct Event<'b> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'b, str>,
        #[serde(borrow)]
        response: &'b RawValue,
    }
    let event: Event<'_> = serde_json::from_str(line.strip_prefix("data:")?).ok()?;
    Some((event.kind, event.response.get()))
}

/// An answer that has ended, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub id: String,
    /// The whole of it, as it is told to who asks for it.
    pub body: Bytes,
    /// Its items, as they stand between the brackets of a list: a part of `body`.
    pub items: Bytes,
}

impl Ended {
    /// Of the body of a whole answer, or of the bytes that end a stream. One that failed is none.
    pub fn of(told: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer<'b> {
            #[serde(borrow)]
            id: Cow<'b, str>,
            #[serde(borrow)]
            output: &'b RawValue,
            #[serde(borrow)]
            status: Option<Cow<'b, str>>,
        }
        let told = std::str::from_utf8(told).ok()?;
        let ends = |kind: &str| matches!(kind, "response.completed" | "response.incomplete");
        let in_event = told.lines().rev().filter_map(response).find(|(kind, _)| ends(kind));
        let body = in_event.map_or(told, |(_, response)| response);
        let answer: Answer<'_> = serde_json::from_str(body).ok()?;
        if answer.status.is_some_and(|status| !matches!(&*status, "completed" | "incomplete")) {
            return None;
        }
        let items = span_in(body, inside(answer.output.get())?);
        let body = Bytes::copy_from_slice(body.as_bytes());
        Some(Self { id: answer.id.into_owned(), items: body.slice(items), body })
    }
}

/// A text that may have escapes.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// What stands between the brackets of a list.
fn inside(list: &str) -> Option<&str> {
    Some(list.strip_prefix('[')?.strip_suffix(']')?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The request as it is with these items before it.
    fn check(body: &str, before: &[&str], expected: &Value) {
        let link = Link::of(body.as_bytes()).unwrap();
        let joined = link.joined(before.iter().map(|items| items.as_bytes()));
        assert_eq!(serde_json::from_slice::<Value>(&joined).unwrap(), *expected, "{body}");
    }

    #[test]
    fn a_request_has_the_items_before_it_in_their_order_and_keeps_its_other_bytes() {
        let user = |text: &str| json!({"role": "user", "content": text});
        check(
            r#"{"model":"m","input":"and \"now\"?","previous_response_id":"resp_1","temperature":0.10}"#,
            &[r#"{"role":"user","content":"a"} , {"role":"user","content":"b"}"#, "", r#"{"role":"user","content":"c"}"#],
            &json!({"model": "m", "input": [user("a"), user("b"), user("c"), user("and \"now\"?")], "previous_response_id": null, "temperature": 0.10}),
        );
        check(r#"{"previous_response_id":"r","input":[ ]}"#, &[], &json!({"previous_response_id": null, "input": []}));
        let body = r#"{"a" : 1.50, "previous_response_id":"r" , "input" :[{"role":"user","content":"x"}]}"#;
        let joined = Link::of(body.as_bytes()).unwrap().joined([&b"1"[..]].into_iter());
        assert_eq!(joined, r#"{"a" : 1.50, "previous_response_id":null , "input" :[1,{"role":"user","content":"x"}]}"#);
    }

    #[test]
    fn what_cannot_be_read_is_left_to_who_reads_requests() {
        for body in [
            r#"{"input":7}"#,
            r#"{"model":"m"}"#,
            r#"{"input":"a","previous_response_id":7}"#,
            "{",
            "\u{1}",
            r#"{"input":"a","input":"b"}"#,
        ] {
            assert!(Link::of(body.as_bytes()).is_none(), "{body}");
        }
        assert!(Link::of(b"{\"input\":\"\xff\"}").is_none());
        let link = Link::of(br#"{"input":"a","previous_response_id":null,"store":false}"#).unwrap();
        assert_eq!((link.previous(), link.keeps), (None, false));
        assert_eq!(Link::of(br#"{"input":"a","previous_response_id":"r\u0065sp"}"#).unwrap().previous(), Some("resp"));
    }

    #[test]
    fn answers_are_kept_whole_and_as_streams_end_and_none_that_failed_is() {
        let whole =
            r#"{"id":"resp_1","object":"response","status":"completed","output":[ {"type":"message"},{"type":"reasoning"} ]}"#;
        let kept = Ended::of(whole.as_bytes()).unwrap();
        assert_eq!((&*kept.id, &kept.items[..]), ("resp_1", &br#"{"type":"message"},{"type":"reasoning"}"#[..]));
        assert_eq!(kept.body, whole);
        let stream = |kind: &str| {
            format!(
                "event: response.output_item.done\ndata: {{\"type\":\"response.output_item.done\",\"item\":{{}}}}\n\nevent: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":9,\"response\":{whole}}}\n\n"
            )
        };
        assert_eq!(Ended::of(stream("response.completed").as_bytes()), Some(kept.clone()));
        assert_eq!(Ended::of(stream("response.incomplete").as_bytes()), Some(kept));
        assert_eq!(Ended::of(stream("response.failed").as_bytes()), None);
        assert_eq!(Ended::of(whole.replace("completed", "failed").as_bytes()), None);
        assert_eq!(Ended::of(b"data: [DONE]\n\n"), None);
        assert_eq!(Ended::of(br#"{"error":{}}"#), None);
    }

    #[test]
    fn every_response_that_did_not_fail_says_that_it_is_kept() {
        let check = |told: &str, expected: Option<&str>| {
            assert_eq!(said_kept(told.as_bytes()).as_deref(), expected.map(str::as_bytes), "{told}");
        };
        check(r#"{"id":"r","store": false,"output":[]}"#, Some(r#"{"id":"r","store": true,"output":[]}"#));
        check(r#" {"store":null,"id":"r"}"#, Some(r#" {"store":true,"id":"r"}"#));
        check(r#"{ "id":"r"}"#, Some(r#"{"store":true, "id":"r"}"#));
        let frames = |store: &str| {
            let event = |kind: &str, said: &str| {
                format!(
                    "event: {kind}\r\ndata: {{\"type\":\"{kind}\",\"response\":{{\"id\":\"r\",\"metadata\":{{\"store\":false}},\"store\":{said}}}}}\r\n\r\n"
                )
            };
            let text = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"\\\"store\\\":false\"}\n\n";
            [
                ": ping\n\n",
                &event("response.created", store),
                &event("response.in_progress", store),
                text,
                &event("response.completed", store),
                &event("response.failed", "false"),
            ]
            .concat()
        };
        check(&frames("false"), Some(&frames("true")));
        for nothing in [
            "data: [DONE]\n\n",
            ": ping\n\n",
            r#"{"error":{}}"#,
            "data: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\"}}",
            "",
        ] {
            check(nothing, None);
        }
    }
}
