//! Reading the frames of one stream for what the gateway acts on. The event that ends the response ends the stream: its usage and
//! why the model stopped stand in it.

use super::deltas::{Deltas, Seen};
use super::event::{Event, Response, Status};
use crate::canonical::{Delta, Finish, FrameFacts, FrameKind, ProviderError};
use crate::dialect::frame::{broken, named};
use crate::dialect::{FrameReader, errors, sse};

/// What was said in a piece of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) said: bool,
    /// Bytes of thinking; at least one where there was any, also without a text.
    pub(super) reasoning_bytes: u64,
}

/// Hands on whatever the model generated.
pub(super) fn heard(deltas: &[Delta], aside: &[String], text: &mut dyn FnMut(&str)) -> Heard {
    let mut heard = Heard::default();
    for delta in deltas {
        match delta {
            Delta::Text(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. } => text(piece),
            Delta::Call { name, .. } => text(name),
            Delta::Thought(piece) => {
                heard.reasoning_bytes += piece.len() as u64;
                text(piece);
            }
            Delta::Sealed(_) => heard.reasoning_bytes += 1,
            Delta::Begin { .. } | Delta::Cited(_) | Delta::Finish(_) | Delta::Usage(_) => continue,
        }
        heard.said = true;
    }
    for piece in aside.iter().filter(|piece| !piece.is_empty()) {
        heard.said = true;
        text(piece);
    }
    heard
}

/// Reads the frames of one stream.
#[derive(Default)]
pub(super) struct Frames {
    deltas: Deltas,
    /// Empty between two frames.
    told: Vec<Delta>,
    ended: bool,
    /// Which model serves was told.
    named: bool,
}

impl Frames {
    fn facts(&mut self, data: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else {
            let error = errors::in_good_status(data);
            return FrameFacts::only(error.map_or(FrameKind::KeepAlive, FrameKind::Error));
        };
        let seen = self.deltas.event(&event, &mut self.told);
        let usage = self.told.iter().rev().find_map(|delta| if let Delta::Usage(usage) = delta { Some(*usage) } else { None });
        let model =
            self.told.iter().find_map(|delta| if let Delta::Begin { model, .. } = delta { model.as_deref() } else { None });
        let served_model = named(&mut self.named, model);
        let heard = heard(&self.told, self.deltas.aside(), text);
        self.told.clear();
        let lifetimes_told = usage.is_some() && self.deltas.reported().tells_lifetimes();
        if let Some(error) = error_in(&event, &seen, data) {
            return FrameFacts { usage, lifetimes_told, ..FrameFacts::only(FrameKind::Error(error)) };
        }
        let end = if let Seen::End(Status::Ended(finish)) = &seen { Some(finish) } else { None };
        self.ended |= end.is_some();
        let kind = match seen {
            Seen::End(_) => FrameKind::Done,
            Seen::Opaque => FrameKind::Content,
            _ if heard.said => FrameKind::Content,
            Seen::Part => FrameKind::Preamble,
            Seen::Nothing => FrameKind::KeepAlive,
        };
        let (finished, too_long) = (end.is_some(), end == Some(&Finish::Length));
        FrameFacts { kind, usage, lifetimes_told, reasoning_bytes: heard.reasoning_bytes, finished, too_long, served_model }
    }
}

impl FrameReader for Frames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = sse::data_of(frame);
        match data.trim_ascii() {
            b"" => FrameFacts::only(FrameKind::KeepAlive),
            // Not of this dialect, but some compatible sites send it. It ends only what has ended.
            b"[DONE]" => FrameFacts::only(if self.ended { FrameKind::Done } else { FrameKind::KeepAlive }),
            json => self.facts(json, text),
        }
    }
}

/// The error that an event is: one in so many words, wherever they stand, or a response that broke off without any.
fn error_in(event: &Event<'_>, seen: &Seen, data: &[u8]) -> Option<ProviderError> {
    match seen {
        Seen::End(Status::Broke(word)) => {
            let told = event.response.and_then(|raw| errors::in_good_status(raw.get().as_bytes()));
            Some(told.or_else(|| errors::in_good_status(data)).unwrap_or_else(|| broken(word)))
        }
        Seen::Nothing if event.kind() == "error" => Some(errors::in_good_status(data).unwrap_or_else(|| broken("error"))),
        Seen::Nothing => errors::in_good_status(data),
        Seen::Part | Seen::Opaque | Seen::End(_) => None,
    }
}

/// The error that a whole answer is.
pub(super) fn error_of(response: &Response<'_>, body: &[u8]) -> Option<ProviderError> {
    let told = response.error.is_some().then(|| errors::in_good_status(body)).flatten();
    let broke = || if let Status::Broke(word) = response.status() { Some(broken(word)) } else { None };
    told.or_else(broke)
}
