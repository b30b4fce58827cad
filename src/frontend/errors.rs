//! Errors in the client's dialect: what is wrong with a request, and the body and the stream frame that say so.
//!
//! The shape is OpenAI's: one object `error` with `message`, `type`, `param` and `code`, all four always present. This
//! module knows nothing of what went wrong inside the gateway; whoever maps an error class to a status builds the value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::codes;
use super::json::span_in;

/// Where in a body something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// In bytes of the line, counted from 1.
    pub column: usize,
    /// In bytes of the body, counted from 0.
    pub offset: usize,
}

impl Position {
    /// The position of a byte offset; an offset behind the end means the end.
    pub fn at(body: &[u8], offset: usize) -> Self {
        let before = body.get(..offset).unwrap_or(body);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |i| i + 1);
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        Self { line, column: before.len() - line_start + 1, offset: before.len() }
    }

    /// The position of a line and a column as a JSON reader reports them.
    pub(crate) fn of_line(body: &[u8], line: usize, column: usize) -> Self {
        let starts = memchr::memchr_iter(b'\n', body).map(|i| i + 1);
        let line_start = std::iter::once(0).chain(starts).nth(line.saturating_sub(1)).unwrap_or(0);
        // Column 0 is the line end before the line: a raw line end inside a string is reported there.
        Self::at(body, (line_start + column).saturating_sub(1))
    }
}

/// Why a request cannot be read. Always the client's to mend, so it is a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// What is wrong and what would be accepted.
    pub message: String,
    /// The path of the member it is about (`messages[2].content`), or the header.
    pub param: Option<String>,
    /// A word for programs (`invalid_json`, `missing_required_parameter`, `invalid_type`, ...).
    pub code: &'static str,
    /// Where in the body, when it is in the body.
    pub position: Option<Position>,
}

impl BadRequest {
    pub(crate) fn new(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.to_owned()), code, position: None }
    }

    /// Says where, unless that is known already.
    pub(crate) fn at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }
}

/// The `type` of an error, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: its body, its model name, its path.
    InvalidRequest,
    /// No key, or an unknown one.
    Authentication,
    /// The key is known and may not do this.
    Permission,
    /// Too many requests or tokens for now.
    RateLimit,
    /// The key's budget is spent.
    InsufficientQuota,
    /// Not the client's fault.
    Server,
}

impl ErrorKind {
    pub const fn word(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request_error",
            ErrorKind::Authentication => "authentication_error",
            ErrorKind::Permission => "permission_error",
            ErrorKind::RateLimit => "rate_limit_error",
            ErrorKind::InsufficientQuota => "insufficient_quota",
            ErrorKind::Server => "server_error",
        }
    }
}

/// An error as a client gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientError {
    /// The HTTP status it goes out with; a frame inside a stream has none.
    pub status: u16,
    pub kind: ErrorKind,
    /// Our own class, for programs.
    pub code: Option<String>,
    pub message: String,
    pub param: Option<String>,
    /// Further members, shown as `error.tokenbroker` (the causes of each attempt, a position). Never a secret.
    pub extra: Map<String, Value>,
}

impl ClientError {
    pub fn new(status: u16, kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        debug_assert!(codes::is_known(code), "{code:?} is not listed in frontend/codes.rs");
        let (code, message) = (Some(code.to_owned()), message.into());
        Self { status, kind, code, message, param: None, extra: Map::new() }
    }

    /// Names the member or header that the error is about.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Adds a member to `error.tokenbroker`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The 404 for a model name nobody serves, with the names that come near.
    pub fn model_not_found(model: &str, near: &[&str]) -> Self {
        let mut message = format!("the model `{model}` does not exist or is not served here");
        if near.is_empty() {
            message.push_str("; GET /v1/models lists what is, and `auto` lets the gateway choose");
        } else {
            message.push_str("; did you mean ");
            message.push_str(&near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "));
            message.push('?');
        }
        Self::new(404, ErrorKind::InvalidRequest, "model_not_found", message).about("model")
    }

    /// The body of the answer.
    pub fn body(&self) -> Bytes {
        // Strings and a map with string keys: nothing in it can fail to become JSON.
        serde_json::to_vec(&Envelope { error: self.wire() }).unwrap_or_default().into()
    }

    /// The same as one event of a stream. What ends the stream after it is the caller's to send.
    pub fn sse_frame(&self) -> Bytes {
        let body = self.body();
        let mut frame = Vec::with_capacity(body.len() + 8);
        frame.extend_from_slice(b"data: ");
        frame.extend_from_slice(&body);
        frame.extend_from_slice(b"\n\n");
        frame.into()
    }

    fn wire(&self) -> Wire<'_> {
        Wire {
            message: &self.message,
            kind: self.kind.word(),
            param: self.param.as_deref(),
            code: self.code.as_deref(),
            tokenbroker: &self.extra,
        }
    }
}

impl From<BadRequest> for ClientError {
    fn from(bad: BadRequest) -> Self {
        let mut error = ClientError::new(400, ErrorKind::InvalidRequest, bad.code, bad.message);
        error.param = bad.param;
        if let Some(p) = bad.position {
            error.message = format!("{} (line {}, column {}, byte {})", error.message, p.line, p.column, p.offset);
            error = error.with("line", p.line).with("column", p.column).with("offset", p.offset);
        }
        error
    }
}

/// A provider's body as SDKs read an error: as it is where its object `error` has all four members, else with those of ours that it
/// lacks, behind its own. `None` where it has no such object, or none with a message.
pub(super) fn completed(body: &Bytes, ours: &ClientError) -> Option<Bytes> {
    type Members<'b> = BTreeMap<String, &'b RawValue>;
    let text = std::str::from_utf8(body).ok()?;
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let object = members.get("error")?.get();
    let theirs: Members<'_> = serde_json::from_str(object).ok()?;
    theirs.get("message").filter(|message| message.get().starts_with('"'))?;
    let members = [("type", Some(ours.kind.word())), ("param", ours.param.as_deref()), ("code", ours.code.as_deref())];
    let mut missing = String::new();
    for (name, value) in members.into_iter().filter(|(name, _)| !theirs.contains_key(*name)) {
        let _ = write!(missing, ",\"{name}\":{}", Value::from(value));
    }
    if missing.is_empty() {
        return Some(body.clone());
    }
    let (before, behind) = text.split_at(span_in(text, object).end - 1);
    Some([before, &missing, behind].concat().into())
}

/// A provider's body with our `error` behind its own members. `None` where it is no object, or has an `error` of its own.
pub(super) fn joined(body: &Bytes, ours: &ClientError) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?.trim_end();
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    if members.is_empty() || members.contains_key("error") {
        return None;
    }
    // Behind a brace of ours comes one: both bodies are objects.
    let (theirs, error) = (text.strip_suffix('}')?.trim_end(), ours.body());
    Some([theirs.as_bytes(), b",", error.strip_prefix(b"{")?].concat().into())
}

#[derive(Serialize)]
struct Envelope<'e> {
    error: Wire<'e>,
}

#[derive(Serialize)]
struct Wire<'e> {
    message: &'e str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'e str>,
    code: Option<&'e str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tokenbroker: &'e Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_members_are_always_there() {
        let error = ClientError::new(503, ErrorKind::Server, "overloaded", "all \"busy\"\n");
        let body: Value = serde_json::from_slice(&error.body()).unwrap();
        let expected = r#"{"error":{"message":"all \"busy\"\n","type":"server_error","param":null,"code":"overloaded"}}"#;
        assert_eq!(body, serde_json::from_str::<Value>(expected).unwrap());
        assert_eq!(body["error"].as_object().unwrap().len(), 4);
    }

    #[test]
    fn a_providers_body_gets_what_it_lacks_of_the_four_members() {
        let ours = ClientError::new(400, ErrorKind::InvalidRequest, "moderation", "no");
        let check = |body: &str, expected: Option<&str>| {
            let told = completed(&Bytes::copy_from_slice(body.as_bytes()), &ours);
            assert_eq!(told.as_deref(), expected.map(str::as_bytes), "{body}");
        };
        let whole = r#"{"x":1,"error":{"code":7,"param":null,"type":"t","message":"no \" }","more":{}} }"#;
        check(whole, Some(whole));
        let expected =
            r#"{"error":{"message":"no","code":"1301" ,"type":"invalid_request_error","param":null},"contentFilter":[{}]}"#;
        check(r#"{"error":{"message":"no","code":"1301" },"contentFilter":[{}]}"#, Some(expected));
        let expected = r#"{"error":{"type":null,"message":"","param":null,"code":"moderation"}}"#;
        check(r#"{"error":{"type":null,"message":""}}"#, Some(expected));
        let joins = |body: &str| joined(&Bytes::copy_from_slice(body.as_bytes()), &ours);
        let expected =
            r#"{ "detail":"no","error":{"message":"no","type":"invalid_request_error","param":null,"code":"moderation"}}"#;
        assert_eq!(joins("{ \"detail\":\"no\" } \n").as_deref(), Some(expected.as_bytes()));
        for other in ["", "[]", "{}", "no", r#"{"detail":"no","error":"no"}"#] {
            assert_eq!(joins(other), None, "{other}");
        }
        for other in [
            "",
            "[]",
            r#""no""#,
            "{}",
            r#"{"error":null}"#,
            r#"{"error":"no","code":"x"}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"message":["no"],"type":"t","param":null,"code":null}}"#,
            r#"{"error":["no","t",null,null]}"#,
            r#"[{"error":{"message":"no","type":"t","param":null,"code":null}}]"#,
        ] {
            check(other, None);
        }
    }

    #[test]
    fn a_frame_is_one_event_on_one_line() {
        let error = ClientError::new(502, ErrorKind::Server, "upstream_error", "line one\nline two").with("attempts", 2);
        let frame = error.sse_frame();
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(text.starts_with("data: {\"error\":{") && text.ends_with("}}\n\n"), "{text}");
        assert_eq!(text.matches('\n').count(), 2, "no raw line end inside the JSON");
        assert!(text.contains(r#""tokenbroker":{"attempts":2}"#), "{text}");
    }

    #[test]
    fn a_bad_request_says_where() {
        let bad = BadRequest::new("invalid_type", "n", "`n` must be a number").at(Position::at(b"{\n \"n\": 1}", 8));
        let error = ClientError::from(bad);
        assert_eq!((error.status, error.param.as_deref()), (400, Some("n")));
        assert_eq!(error.message, "`n` must be a number (line 2, column 7, byte 8)");
    }

    #[test]
    fn lines_and_offsets_name_the_same_place() {
        let body = b"{\n\n  \"a\": x}\n";
        for offset in 0..body.len() {
            let at = Position::at(body, offset);
            assert_eq!(Position::of_line(body, at.line, at.column), at, "offset {offset}");
        }
        assert_eq!(Position::at(body, 99).offset, body.len());
    }

    #[test]
    fn near_names_are_offered() {
        let error = ClientError::model_not_found("gtp", &["gpt", "gemma"]);
        let lost = ClientError::model_not_found("zz", &[]).message;
        assert!(lost.ends_with("GET /v1/models lists what is, and `auto` lets the gateway choose"), "{lost}");
        assert_eq!(error.message, "the model `gtp` does not exist or is not served here; did you mean `gpt`, `gemma`?");
        assert_eq!((error.status, error.code.as_deref()), (404, Some("model_not_found")));
    }
}
