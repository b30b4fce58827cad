//! Reading a request's body: within its size (decoded, if it came in a coding), within its time, with little copying.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::compress::Coder;
use super::status::Refusal;
use crate::coding::{self, Coding, Undecodable, UnknownCoding};
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::telemetry::Rejection;

/// What a body has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    Json,
    /// A form with a file in it.
    Form,
}

impl Accepts {
    /// What is wrong with the type that the headers tell.
    fn unlike(self, headers: &HeaderMap) -> Option<&'static str> {
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match self {
            Accepts::Json if kind == "application/json" || kind.ends_with("+json") => None,
            Accepts::Form if kind == "multipart/form-data" => None,
            Accepts::Json => Some("the body must be JSON: send `content-type: application/json`"),
            Accepts::Form => Some("the body must be a form with a file: send `content-type: multipart/form-data; boundary=...`"),
        }
    }

    /// The setting that bounds such a body.
    const fn setting(self) -> &'static str {
        match self {
            Accepts::Json => "server.max_body_bytes",
            Accepts::Form => "server.max_upload_bytes",
        }
    }
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub accepts: Accepts,
    /// Bytes, on the wire and decoded.
    pub most: usize,
    /// From the head to its last byte.
    pub wait: Duration,
}

/// Reads a body, or says why not.
pub async fn read(headers: &HeaderMap, body: &mut Body, limits: BodyLimits, coder: &Coder) -> Result<Bytes, Refusal> {
    if let Some(wanted) = limits.accepts.unlike(headers) {
        return Err(wrong(415, "unsupported_media_type", wanted).because(Rejection::MediaType));
    }
    let coding = Coding::of_content(headers).map_err(|unknown| unknown_coding(&unknown))?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.most) {
        return Err(too_large(limits));
    }
    let arriving = async {
        let sent = whole(body, announced.unwrap_or(0), limits.most).await?;
        match coding {
            None => Ok(sent),
            Some(coding) => coder.decode(coding, sent, limits.most).await.ok_or(Unread::Broken)?.map_err(Unread::Undecodable),
        }
    };
    let Ok(read) = tokio::time::timeout(limits.wait, arriving).await else {
        let message = format!("the body did not arrive within {} ms (server.body_timeout_ms)", limits.wait.as_millis());
        return Err(wrong(408, "body_timeout", message).because(Rejection::TooSlow));
    };
    read.map_err(|unread| unread.refusal(limits))
}

/// Why a body was not read to its end.
enum Unread {
    TooLarge,
    Broken,
    Undecodable(Undecodable),
}

impl Unread {
    fn refusal(&self, limits: BodyLimits) -> Refusal {
        match self {
            Unread::TooLarge | Unread::Undecodable(Undecodable::TooLarge) => too_large(limits),
            Unread::Broken => {
                wrong(400, "body_incomplete", "the body ended before it was complete").because(Rejection::BadRequest)
            }
            Unread::Undecodable(why) => wrong(400, "invalid_content_encoding", format!("the body cannot be decoded: {why}"))
                .because(Rejection::BadRequest),
        }
    }
}

/// A body in one piece. Each part is copied as it comes, so that the connection reads the next one into the same memory;
/// a body that comes in one part is not copied.
async fn whole(body: &mut Body, announced: usize, most: usize) -> Result<Bytes, Unread> {
    let Some(first) = part(body).await? else { return Ok(Bytes::new()) };
    let within = |length: usize| if length > most { Err(Unread::TooLarge) } else { Ok(()) };
    within(first.len())?;
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(announced.max(first.len()));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(next) = part(body).await? {
        within(whole.len() + next.len())?;
        whole.extend_from_slice(&next);
    }
    Ok(whole.freeze())
}

async fn part(body: &mut Body) -> Result<Option<Bytes>, Unread> {
    while let Some(frame) = body.frame().await {
        // What is no data is a trailer, which says nothing of the body.
        if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn wrong(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::of(ClientError::new(status, ErrorKind::InvalidRequest, code, message))
}

fn too_large(BodyLimits { accepts, most, .. }: BodyLimits) -> Refusal {
    let message = format!("the body is larger than {most} bytes ({})", accepts.setting());
    wrong(413, "request_too_large", message).because(Rejection::TooLarge)
}

fn unknown_coding(unknown: &UnknownCoding) -> Refusal {
    let refusal = wrong(415, "unsupported_content_encoding", unknown.to_string()).because(Rejection::MediaType);
    Refusal { accepts: Some(HeaderValue::from_static(coding::ACCEPTED)), ..refusal }
}
