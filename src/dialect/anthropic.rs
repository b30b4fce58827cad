//! The dialect of Anthropic's `POST /v1/messages`, which Anthropic speaks and many others offer beside their own.

use bytes::Bytes;
use http::HeaderMap;

use super::blocks::Reading;
use super::usage::Reported;
use super::{BodyProblem, Dialect, FrameReader, Outgoing, errors, splice, sse};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{FrameFacts, FrameKind, ProviderError, Request};
use crate::catalog::capability::Quirks;
use crate::units::Usage;

/// Anthropic Messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicMessages;

impl Dialect for AnthropicMessages {
    fn path(&self) -> &'static str {
        "/messages"
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        // The one version there is (dialects.md section 3, 2026-11-22); a request without any is refused.
        &[("anthropic-version", "2023-06-01")]
    }

    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes {
        splice::messages(request, out)
    }

    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let mut text = String::new();
        let mut collect = |piece: &str| text.push_str(piece);
        let body = body.trim_ascii();
        let (reading, outcome) = Reading::of(body, true, &mut collect);
        outcome.map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        let usage = usage_of(&reading.usage, quirks);
        if let Some(error) = reading.suspect.then(|| errors::in_good_status(body)).flatten() {
            return Err(BodyProblem::Provider { error, usage: usage.map(Box::new) });
        }
        if !reading.has_content {
            return Err(BodyProblem::Malformed("it has no `content`".to_owned()));
        }
        let (served_model, too_long) = (reading.model, reading.too_long);
        Ok(AnswerFacts { usage, served_model, too_long, text })
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, quirks: Quirks) -> Box<dyn FrameReader> {
        Box::new(Frames { quirks, reported: Reported::default() })
    }
}

fn usage_of(reported: &Reported, quirks: Quirks) -> Option<Usage> {
    if quirks.messages_input_includes_cache { reported.usage(quirks) } else { reported.usage_beside_cache() }
}

/// Reads the frames of one stream. The input is told at its beginning and the output at its end, so what was told so far is
/// remembered.
struct Frames {
    quirks: Quirks,
    reported: Reported,
}

impl Frames {
    fn facts(&mut self, data: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let (reading, outcome) = Reading::of(data, false, text);
        if outcome.is_err() {
            return only(if reading.said { FrameKind::Content } else { FrameKind::KeepAlive });
        }
        let usage = if reading.usage == Reported::default() {
            None
        } else {
            self.reported.update(&reading.usage);
            usage_of(&self.reported, self.quirks)
        };
        if let Some(error) = reading.suspect.then(|| errors::in_good_status(data)).flatten() {
            return FrameFacts { usage, ..only(FrameKind::Error(error)) };
        }
        let kind = match reading.kind {
            Kind::Stop => FrameKind::Done,
            _ if reading.said || reading.ended => FrameKind::Content,
            Kind::Part => FrameKind::Preamble,
            Kind::Other => FrameKind::KeepAlive,
        };
        let finished = reading.ended || kind == FrameKind::Done;
        FrameFacts { kind, usage, finished, too_long: reading.too_long }
    }
}

impl FrameReader for Frames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = sse::data_of(frame);
        match data.trim_ascii() {
            b"" => only(FrameKind::KeepAlive),
            // Not of this dialect, but sent by sites that made theirs of another.
            b"[DONE]" => only(FrameKind::Done),
            json => self.facts(json, text),
        }
    }
}

fn only(kind: FrameKind) -> FrameFacts {
    FrameFacts { kind, usage: None, finished: false, too_long: false }
}

/// What a frame is by its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// A part of the answer, or what frames its parts.
    Part,
    /// The end.
    Stop,
    /// A ping, or something that nobody knows.
    #[default]
    Other,
}

impl Kind {
    /// By the raw value of `type`, quotes included.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "\"message_stop\"" => Self::Stop,
            "\"message_start\""
            | "\"content_block_start\""
            | "\"content_block_delta\""
            | "\"content_block_stop\""
            | "\"message_delta\"" => Self::Part,
            _ => Self::Other,
        }
    }
}
