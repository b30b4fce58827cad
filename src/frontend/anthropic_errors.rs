//! Errors and model lists as Anthropic's clients read them. The error's `type` is one of their words, by the status; our own
//! code, the member it is about and what else there is to say stand beside it, where SDKs that do not look for them pass by.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::errors::ClientError;
use super::models::{ListedModel, Page};

/// When a model is said to have been made where nobody knows.
const SOME_DAY: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
struct Envelope<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Wire<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'e str>,
}

#[derive(Serialize)]
struct Wire<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tokenbroker: &'e Map<String, Value>,
}

/// The member that continues a conversation of which the server keeps the rest.
pub(super) const THREAD: &str = "thread";

/// What tells a client that no thread is kept here. It sends the whole conversation again and goes on without a thread: so do Claude
/// Code and the SDKs (platform.claude.com, "Message threads", beta of 2026-08-12; `@anthropic-ai/sdk` 1.14.0).
#[derive(Serialize)]
struct Details {
    error_code: &'static str,
    unsupported: [&'static str; 1],
}

impl Details {
    fn of(error: &ClientError) -> Option<Self> {
        let of_thread = error.code.as_deref() == Some("unsupported_parameter") && error.param.as_deref() == Some(THREAD);
        of_thread.then_some(Self { error_code: "thread_unsupported_request", unsupported: [THREAD] })
    }
}

/// The body of an error.
pub(super) fn body(error: &ClientError, id: Option<&str>) -> Bytes {
    let wire = Wire {
        kind: kind(error.status),
        message: &message(error),
        code: error.code.as_deref(),
        param: error.param.as_deref(),
        details: Details::of(error),
        tokenbroker: &error.extra,
    };
    // Strings and a map with string keys: nothing in it can fail to become JSON.
    serde_json::to_vec(&Envelope { kind: "error", error: wire, request_id: id }).unwrap_or_default().into()
}

/// A conversation that is too long is told as Anthropic's API begins it ("Prompt is too long", Claude Code's error reference, 2026-11):
/// agents look for it and make their conversation shorter.
fn message(error: &ClientError) -> Cow<'_, str> {
    const TOO_LONG: &str = "prompt is too long";
    // Of an answer that would not fit beside it, Anthropic's API has other words, by which they ask for a shorter answer.
    let known = [TOO_LONG, "exceed context limit"];
    let said = || known.iter().any(|words| error.message.to_lowercase().contains(words));
    let is_told = error.code.as_deref() != Some("context_length_exceeded") || said();
    if is_told { Cow::Borrowed(&error.message) } else { Cow::Owned(format!("{TOO_LONG}: {}", error.message)) }
}

/// Whether a body is an error in these words.
pub(super) fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body<'b> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'b, str>,
        #[serde(borrow)]
        error: BTreeMap<String, &'b RawValue>,
    }
    let is_text = |value: &&RawValue| value.get().starts_with('"');
    let told = |error: &BTreeMap<String, &RawValue>| ["type", "message"].iter().all(|name| error.get(*name).is_some_and(is_text));
    serde_json::from_slice::<Body<'_>>(body).is_ok_and(|body| body.kind == "error" && told(&body.error))
}

/// The same as the event that ends a stream.
pub(super) fn event(error: &ClientError) -> Bytes {
    [b"event: error\ndata: ", &body(error, None)[..], b"\n\n"].concat().into()
}

/// The word for a status.
const fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[derive(Serialize)]
struct List<'m> {
    data: Vec<Item<'m>>,
    has_more: bool,
    first_id: Option<&'m str>,
    last_id: Option<&'m str>,
}

#[derive(Serialize)]
struct Item<'m> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'m str,
    display_name: &'m str,
    created_at: &'static str,
}

impl<'m> Item<'m> {
    fn of(model: &'m ListedModel) -> Self {
        Self { kind: "model", id: &model.id, display_name: &model.id, created_at: SOME_DAY }
    }
}

/// The body of a page of the list of models.
pub(super) fn list_body(page: &Page<'_>) -> Bytes {
    let Page { models, has_more } = *page;
    let page = List {
        data: models.iter().map(Item::of).collect(),
        has_more,
        first_id: models.first().map(|model| model.id.as_str()),
        last_id: models.last().map(|model| model.id.as_str()),
    };
    serde_json::to_vec(&page).unwrap_or_default().into()
}

/// The body of one model.
pub(super) fn item_body(model: &ListedModel) -> Bytes {
    serde_json::to_vec(&Item::of(model)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::super::errors::ErrorKind;
    use super::*;

    #[test]
    fn an_error_has_the_shape_that_sdks_read() {
        let error = ClientError::new(503, ErrorKind::Server, "overloaded", "all \"busy\"\n").with("attempts", 2);
        let expected = r#"{"type":"error","error":{"type":"overloaded_error","message":"all \"busy\"\n","code":"overloaded","tokenbroker":{"attempts":2}},"request_id":"7"}"#;
        assert_eq!(body(&error, Some("7")), expected);
        let frame = event(&error.about("model"));
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(text.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""), "{text}");
        assert!(text.ends_with("}}\n\n") && text.matches('\n').count() == 3 && text.contains("\"param\":\"model\""), "{text}");
    }

    /// Found with the SDK's `toolRunner`: from its second step on a model saw nothing but the last result.
    #[test]
    fn a_refused_thread_is_told_as_clients_know_it() {
        let error = ClientError::new(400, ErrorKind::InvalidRequest, "unsupported_parameter", "no");
        let told: Value = serde_json::from_slice(&body(&error.clone().about("thread"), None)).unwrap();
        let expected = serde_json::json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
        assert_eq!((&told["error"]["type"], &told["error"]["details"]), (&"invalid_request_error".into(), &expected));
        let other: Value = serde_json::from_slice(&body(&error.about("speed"), None)).unwrap();
        assert_eq!(other["error"]["details"], Value::Null);
    }

    #[test]
    fn an_error_in_other_words_is_none_of_theirs() {
        for (body, expected) in [
            (r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#, true),
            (r#"{"type":"error","error":{"type":null,"message":"no"}}"#, false),
            (r#"{"type":"error","error":["invalid_request_error","no"]}"#, false),
            (r#"{"type":"error","error":"no","message":"no"}"#, false),
            (r#"{"error":{"message":"no","code":"1210"}}"#, false),
            (r#"{"code":1210,"msg":"no"}"#, false),
            ("<html>", false),
        ] {
            assert_eq!(is_error(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn every_status_has_a_word_of_theirs() {
        let statuses = [
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (415, "invalid_request_error"),
        ];
        for (status, word) in statuses.into_iter().chain([(500, "api_error"), (502, "api_error"), (504, "timeout_error")]) {
            assert_eq!(kind(status), word);
        }
    }

    #[test]
    fn a_list_of_models_is_told_as_pages() {
        let model = |id: &str| ListedModel { id: id.into(), owned_by: "tokenbroker".into(), created: 0 };
        let item = |id: &str| format!(r#"{{"type":"model","id":"{id}","display_name":"{id}","created_at":"{SOME_DAY}"}}"#);
        let (one, two) = (item("auto"), item("jade"));
        let expected = format!(r#"{{"data":[{one},{two}],"has_more":true,"first_id":"auto","last_id":"jade"}}"#);
        assert_eq!(list_body(&Page { models: &[model("auto"), model("jade")], has_more: true }), expected);
        assert_eq!(list_body(&Page::whole(&[])), r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#);
        assert_eq!(item_body(&model("auto")), one);
    }
}
