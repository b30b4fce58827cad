//! Reading the messages of one stream for what the gateway acts on. Usage comes behind the end that the model came to, and then
//! nothing.

use super::answer::{End, end_of};
use super::event::{Event, Piece};
use super::usage::GUARDRAIL;
use crate::canonical::{Finish, FrameFacts, FrameKind};
use crate::dialect::FrameReader;
use crate::dialect::frame::broken;

/// Reads the messages of one stream.
#[derive(Default)]
pub(super) struct Frames {
    /// A reason was told why the answer ended.
    ended: bool,
    /// By a guardrail.
    blocked: bool,
}

impl FrameReader for Frames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        match Event::of(frame) {
            Event::Unknown => FrameFacts::only(FrameKind::KeepAlive),
            Event::Failed(error) => FrameFacts::only(FrameKind::Error(error)),
            Event::MessageStart | Event::BlockStop => FrameFacts::only(FrameKind::Preamble),
            Event::BlockStart(part) => match part.call() {
                Some(call) => {
                    call.name.iter().for_each(|name| text(name));
                    FrameFacts::only(FrameKind::Content)
                }
                None => FrameFacts::only(FrameKind::Preamble),
            },
            Event::BlockDelta(part) => part.delta.map_or(FrameFacts::only(FrameKind::Preamble), |piece| said(&piece, text)),
            Event::MessageStop(part) => self.stopped(part.stop_reason.as_deref().unwrap_or_default()),
            Event::Metadata(part) => {
                let counts = part.usage.unwrap_or_default();
                let kind = if self.ended { FrameKind::Done } else { FrameKind::UsageOnly };
                let (usage, lifetimes_told) =
                    (counts.usage_after(if self.blocked { GUARDRAIL } else { "" }), counts.tells_lifetimes());
                FrameFacts { usage, lifetimes_told, ..FrameFacts::only(kind) }
            }
        }
    }
}

impl Frames {
    fn stopped(&mut self, reason: &str) -> FrameFacts {
        match end_of(reason) {
            Some(End::Broke) => FrameFacts::only(FrameKind::Error(broken(reason))),
            Some(End::Ended(finish)) => {
                self.ended = true;
                self.blocked = reason == GUARDRAIL;
                let too_long = finish == Finish::Length;
                FrameFacts { finished: true, too_long, ..FrameFacts::only(FrameKind::Content) }
            }
            None => FrameFacts::only(FrameKind::Preamble),
        }
    }
}

/// What a piece of a block says.
fn said(piece: &Piece<'_>, text: &mut dyn FnMut(&str)) -> FrameFacts {
    let thought = piece.reasoning_content.as_ref();
    let thinks = thought.and_then(|thought| thought.text.as_deref()).unwrap_or_default();
    let sealed = thought.is_some_and(|thought| {
        [&thought.signature, &thought.redacted_content].into_iter().flatten().any(|seal| !seal.is_empty())
    });
    let texts = [piece.text.as_deref().unwrap_or_default(), piece.arguments().unwrap_or_default(), thinks];
    let says = texts.iter().any(|said| !said.is_empty());
    texts.into_iter().filter(|said| !said.is_empty()).for_each(text);
    let reasoning_bytes = (thinks.len() as u64).max(u64::from(sealed));
    let kind = if says || sealed || piece.is_opaque() { FrameKind::Content } else { FrameKind::Preamble };
    FrameFacts { reasoning_bytes, ..FrameFacts::only(kind) }
}
