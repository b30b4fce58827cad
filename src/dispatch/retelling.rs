//! A stream told in other words than the provider's: each frame keeps what it means to the gateway, and gets the bytes that the
//! client is to see of it, which may be none.

use bytes::BytesMut;

use super::opening::Frame;
use crate::canonical::event::{FrameFacts, FrameKind};
use crate::canonical::{CallIds, Delta, StreamWriter};
use crate::dialect::DeltaReader;
use crate::meter::OwnCount;
use crate::units::Usage;

/// What keeps a connection open.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// So many bytes of one answer may be held back, or kept to be told again at its end. The longest answers sold are some two
/// megabytes of text (384,000 tokens, providers.md 5.11), and most are told as they come.
const MOST_HELD: usize = 16 * 1024 * 1024;

/// A stream that can be told no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} MiB of the answer would have to be kept to tell it in other words", MOST_HELD / (1024 * 1024))]
pub struct HeldTooMuch;

/// Tells one stream.
pub struct Retelling {
    reader: Box<dyn DeltaReader>,
    writer: Box<dyn StreamWriter>,
    ids: CallIds,
    /// What the provider reported last.
    reported: Option<Usage>,
    /// What is told instead where it reports nothing.
    count: OwnCount,
    /// Bytes that may be held.
    most_held: usize,
    /// Empty between two frames.
    deltas: Vec<Delta>,
    /// The provider said why the model stopped.
    finished: bool,
    /// Whatever ends the client's stream was written, or must not be.
    ended: bool,
}

impl Retelling {
    pub fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn StreamWriter>, count: OwnCount) -> Self {
        let (ids, reported, deltas) = (CallIds::default(), None, Vec::new());
        Self { reader, writer, ids, reported, count, most_held: MOST_HELD, deltas, finished: false, ended: false }
    }

    /// Tells a frame. An error gets no bytes: how it is told is not the writer's to know.
    ///
    /// # Errors
    /// When too much would have to be kept.
    pub fn tell(&mut self, frame: Frame) -> Result<Frame, HeldTooMuch> {
        let Frame { bytes, facts } = frame;
        self.finished |= facts.finished;
        self.reported = facts.usage.or(self.reported);
        let mut out = BytesMut::new();
        if !self.ended {
            match facts.kind {
                FrameKind::Error(_) => self.ended = true,
                FrameKind::Done => self.end(&mut out),
                FrameKind::KeepAlive | FrameKind::Preamble | FrameKind::Content | FrameKind::UsageOnly => {
                    // As it is booked, and first: what a stream begins with may tell it.
                    self.deltas.extend(facts.usage.map(Delta::Usage));
                    let told = self.deltas.len();
                    self.reader.read(&bytes, &mut self.deltas);
                    self.write(told, &mut out);
                }
            }
        }
        if self.reader.held() + self.writer.held() > self.most_held {
            return Err(HeldTooMuch);
        }
        // Silence is cut by whoever stands between: a comment says nothing, in every shape.
        if facts.kind == FrameKind::KeepAlive && out.is_empty() && !self.ended {
            out.extend_from_slice(KEEP_ALIVE);
        }
        // Whether the client sees of usage what it asked for is the writer's to know.
        let kind = if facts.kind == FrameKind::UsageOnly { FrameKind::Content } else { facts.kind };
        Ok(Frame { bytes: out.freeze(), facts: FrameFacts { kind, ..facts } })
    }

    /// The provider has closed: ends the client's stream where no frame did although the model had stopped.
    pub fn close(&mut self) -> Option<Frame> {
        if self.ended || !self.finished {
            return None;
        }
        let mut out = BytesMut::new();
        self.end(&mut out);
        Some(Frame { bytes: out.freeze(), facts: FrameFacts::only(FrameKind::Done) })
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.ended = true;
        self.reader.end(&mut self.deltas);
        self.write(0, out);
        let usage = self.count.or_ours(self.reported);
        if self.reported != Some(usage) {
            self.writer.write(Delta::Usage(usage), out);
        }
        self.writer.end(out);
    }

    /// Writes what was read; of usage only what stands among the first so many, which are ours.
    fn write(&mut self, ours: usize, out: &mut BytesMut) {
        for (place, delta) in self.deltas.drain(..).enumerate() {
            if place < ours || !matches!(delta, Delta::Usage(_)) {
                self.count.hear(&delta);
                self.writer.write(self.ids.apart(delta), out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
