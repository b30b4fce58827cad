//! Reading the frames of one stream for what the gateway acts on. Nothing marks the end: it is where the connection closes after
//! a finish reason.

use std::borrow::Cow;

use super::answer::{Message, Reading};
use super::usage::Counts;
use crate::canonical::event::ErrorClass;
use crate::canonical::{FrameFacts, FrameKind, ProviderError};
use crate::dialect::frame::{broken, named};
use crate::dialect::{FrameReader, errors, sse};

/// Reads the frames of one stream. Counts are of all so far, and a frame may leave some out: what was told is remembered.
#[derive(Default)]
pub(super) struct Frames {
    counts: Counts,
    /// A reason was told why the answer ended.
    ended: bool,
    /// The model was named.
    named: bool,
}

impl Frames {
    fn facts(&mut self, data: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(data) else {
            let error = errors::in_good_status(data);
            return FrameFacts::only(error.map_or(FrameKind::KeepAlive, FrameKind::Error));
        };
        let reading = Reading::of(&message, text);
        let usage = message.usage_metadata.and_then(|told| {
            self.counts.update(&told);
            self.counts.usage()
        });
        if let Some(error) = error_in(data, &reading) {
            return FrameFacts { usage, ..FrameFacts::only(FrameKind::Error(error)) };
        }
        let finished = reading.end.is_some();
        self.ended |= finished;
        let kind = match reading {
            Reading { said: true, .. } | Reading { end: Some(_), .. } => FrameKind::Content,
            Reading { known: true, .. } => FrameKind::Preamble,
            _ => FrameKind::KeepAlive,
        };
        let (reasoning_bytes, too_long) = (reading.reasoning_bytes, reading.too_long());
        let served_model = named(&mut self.named, message.model_version.as_deref());
        FrameFacts { kind, usage, lifetimes_told: false, reasoning_bytes, finished, too_long, served_model }
    }
}

impl FrameReader for Frames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = data_of(frame);
        match data.trim_ascii() {
            b"" => FrameFacts::only(FrameKind::KeepAlive),
            // Not of this dialect, but a site in between may send it. It ends only what has ended.
            b"[DONE]" => FrameFacts::only(if self.ended { FrameKind::Done } else { FrameKind::KeepAlive }),
            json => self.facts(json, text),
        }
    }
}

/// The data of a frame. An error in the middle of a stream comes as bare JSON, which is no event (Google's own SDKs look for it
/// in every chunk before they look for events).
pub(super) fn data_of(frame: &[u8]) -> Cow<'_, [u8]> {
    let data = sse::data_of(frame);
    let bare = frame.trim_ascii();
    if data.is_empty() && matches!(bare.first(), Some(b'{' | b'[')) { Cow::Borrowed(bare) } else { data }
}

/// The error that a message is: one in so many words, a prompt that was not answered, or an ending that is a failure.
pub(super) fn error_in(data: &[u8], reading: &Reading) -> Option<ProviderError> {
    let told = (reading.failed || !reading.known).then(|| errors::in_good_status(data)).flatten();
    let unanswered = || reading.blocked.as_deref().filter(|_| reading.candidates == 0).map(blocked);
    told.or_else(unanswered).or_else(|| reading.broke.as_deref().map(broken))
}

/// The error that a blocked prompt is.
fn blocked(reason: &str) -> ProviderError {
    ProviderError {
        class: ErrorClass::Moderation,
        status: 200,
        message: format!("the provider blocked the prompt (`{reason}`)"),
        code: Some(reason.to_owned()),
        retry_after: None,
    }
}
