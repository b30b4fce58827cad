//! The dialect of Converse, the one API that Amazon's Bedrock has for all its models. No client asks in it: its requests are written
//! from a conversation, and its answers are read as deltas. Streams come in Amazon's own framing ([`eventstream`](super::eventstream)).
//!
//! What the API says is from its model in botocore 1.44.8 (`bedrock-runtime`, 2026-11-20). What it has no word for goes to a model as
//! it is (`additionalModelRequestFields`), and there each maker's models have words of their own: the table says whose a model takes
//! ([`ConverseFields`](crate::catalog::ConverseFields)).

mod answer;
mod blocks;
mod deltas;
mod event;
mod failure;
mod frames;
mod request;
mod usage;

use bytes::Bytes;
use http::HeaderMap;

use self::answer::{Reading, Whole};
use super::{BodyProblem, DeltaReader, Dialect, FrameReader, Framing, Outgoing, Path, errors, frame, left_out};
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Conversation, Delta, Parameters, ProviderError, Request, Untranslatable};
use crate::catalog::capability::Quirks;

pub(super) use self::request::{tells_off, thinks};

/// Bedrock's `Converse` and `ConverseStream`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BedrockConverse;

impl Dialect for BedrockConverse {
    fn path(&self) -> Path {
        Path::OfModel(path_of)
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("accept", "application/json, application/vnd.amazon.eventstream")]
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
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
        left_out::by_converse(conversation, out)
    }

    fn read_answer(&self, body: &[u8], _: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let (whole, mut text) = (whole(body)?, String::new());
        let reading = Reading::of(&whole, &mut |piece| text.push_str(piece));
        let reason = whole.stop_reason.as_deref().unwrap_or_default();
        let told = whole.usage.as_ref();
        let (usage, lifetimes_told) = told.map_or((None, false), |told| (told.usage_after(reason), told.tells_lifetimes()));
        if let Some(reason) = reading.broke {
            return Err(BodyProblem::Provider { error: frame::broken(&reason), usage: usage.map(Box::new) });
        }
        let (reasoning_bytes, too_long) = (reading.reasoning_bytes, reading.too_long);
        Ok(AnswerFacts { usage, lifetimes_told, reasoning_bytes, served_model: None, too_long, text })
    }

    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let mut out = Vec::new();
        deltas::Deltas::default().whole(whole(body)?, &mut out);
        Ok(out)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        failure::of_answer(status, headers, body)
    }

    fn frame_reader(&self, _: Quirks, _: u32) -> Box<dyn FrameReader> {
        Box::new(frames::Frames::default())
    }

    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(deltas::Deltas::default())
    }
}

/// A whole body, if it is an answer.
fn whole(body: &[u8]) -> Result<Whole<'_>, BodyProblem> {
    let body = body.trim_ascii();
    let read = serde_json::from_slice::<Whole<'_>>(body);
    if let Ok(whole) = read
        && whole.is_answer()
    {
        return Ok(whole);
    }
    let unreadable = || match serde_json::from_slice::<Whole<'_>>(body) {
        Ok(_) => "it has no `output`".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(match errors::in_good_status(body) {
        Some(error) => BodyProblem::Provider { error, usage: None },
        None => BodyProblem::Malformed(unreadable()),
    })
}

/// Whether a seal is one of Bedrock's.
fn is_own(seal: &Seal) -> bool {
    matches!(seal.kind, SealKind::BedrockSignature | SealKind::BedrockRedacted)
}

/// The model stands in the path, as one segment of it: a name with its version (`a.b-v1:0`), or the name of a resource, with slashes.
fn path_of(model: &str, stream: bool) -> String {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let hex = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    let mut path = String::from("/model/");
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.extend(['%', hex(byte >> 4), hex(byte & 0xf)]),
        }
    }
    path + if stream { "/converse-stream" } else { "/converse" }
}

#[cfg(test)]
mod tests;
