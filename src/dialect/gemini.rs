//! The dialect of Gemini's `generateContent`. No client asks in it: its requests are written from a conversation, and its answers
//! are read as deltas. What the gateway acts on (usage, ends, errors) is read beside that, as in every dialect.

mod answer;
mod deltas;
mod frames;
mod parts;
mod request;
mod usage;

pub(super) use self::request::sees_from_afar;

use bytes::Bytes;
use http::HeaderMap;

use self::answer::{Message, Reading};
use super::{BodyProblem, DeltaReader, Dialect, FrameReader, Outgoing, Path, errors, left_out};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Conversation, Delta, Parameters, ProviderError, Request, Untranslatable};
use crate::catalog::capability::Quirks;

/// Gemini's `generateContent` and `streamGenerateContent`.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeminiGenerate;

impl Dialect for GeminiGenerate {
    fn path(&self) -> Path {
        Path::OfModel(path_of)
    }

    /// Never asked: no request is in this shape ([`Shape::CLIENTS`](crate::canonical::Shape::CLIENTS)), so there are no bytes of a
    /// client's that could pass.
    fn encode(&self, request: &Request, _: &Outgoing<'_>) -> Bytes {
        request.body.clone()
    }

    fn write(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
        request::body(conversation, out)
    }

    fn leaves_out(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
        left_out::by_gemini(conversation, out)
    }

    fn read_answer(&self, body: &[u8], _: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let (body, mut text) = (body.trim_ascii(), String::new());
        let message = message(body)?;
        let reading = Reading::of(&message, &mut |piece| text.push_str(piece));
        let usage = message.usage_metadata.and_then(|told| told.usage());
        if let Some(error) = frames::error_in(body, &reading) {
            return Err(BodyProblem::Provider { error, usage: usage.map(Box::new) });
        }
        if reading.candidates == 0 {
            return Err(BodyProblem::Malformed("it has no `candidates`".to_owned()));
        }
        let (reasoning_bytes, too_long) = (reading.reasoning_bytes, reading.too_long());
        let served_model = message.model_version.map(Into::into);
        Ok(AnswerFacts { usage, lifetimes_told: false, reasoning_bytes, served_model, too_long, text })
    }

    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let mut out = Vec::new();
        deltas::Deltas::default().message(message(body.trim_ascii())?, &mut out);
        Ok(out)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, _: Quirks, _: u32) -> Box<dyn FrameReader> {
        Box::new(frames::Frames::default())
    }

    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(deltas::Deltas::default())
    }
}

/// A whole body, if it is none of an error that has a shape of its own.
fn message(body: &[u8]) -> Result<Message<'_>, BodyProblem> {
    serde_json::from_slice(body).map_err(|unreadable| match errors::in_good_status(body) {
        Some(error) => BodyProblem::Provider { error, usage: None },
        None => BodyProblem::Malformed(unreadable.to_string()),
    })
}

/// The model stands in the path, and whether a stream is wanted; without `alt=sse` a stream is one long JSON array
/// (providers.md 5.3). An id with a slash says itself what it is an id of (`tunedModels/x`).
fn path_of(model: &str, stream: bool) -> String {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let hex = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    let mut path = String::from(if model.contains('/') { "/" } else { "/models/" });
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => path.push(char::from(byte)),
            _ => path.extend(['%', hex(byte >> 4), hex(byte & 0xf)]),
        }
    }
    path + if stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" }
}
