//! A stream told in other words than the provider's: each frame keeps what it means to the gateway, and gets the bytes that the
//! client is to see of it, which may be none.

use bytes::BytesMut;

use super::names::Names;
use super::opening::Frame;
use super::structured::Unfolding;
use crate::canonical::event::{FrameFacts, FrameKind};
use crate::canonical::{CallIds, Delta, Mismatch, StreamWriter};
use crate::dialect::DeltaReader;
use crate::meter::OwnCount;
use crate::units::Usage;

/// So many bytes of one answer may be held back, or kept to be told again at its end. The longest answers sold are some two
/// megabytes of text (384,000 tokens, providers.md 5.11), and most are told as they come.
const MOST_HELD: usize = 16 * 1024 * 1024;

/// A stream that can be told no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} MiB of the answer would have to be kept to tell it in other words", MOST_HELD / (1024 * 1024))]
pub struct HeldTooMuch;

/// What is known of an answer before it comes, from the letter that asked for it.
#[derive(Debug, Default)]
pub struct Reading {
    /// Present where the answer is structured by hand.
    pub unfolding: Option<Box<Unfolding>>,
    /// What tools are called in it that the client calls otherwise.
    pub names: Names,
    /// Some of its tools are told as functions that the client declared as something else.
    pub own_tools: bool,
}

impl Reading {
    /// Whether the answer is read as it comes.
    pub fn is_plain(&self) -> bool {
        self.unfolding.is_none() && self.names.is_empty() && !self.own_tools
    }
}

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
    reading: Reading,
    /// The answer does not keep to its schema: nothing more of it is told, and its end is none.
    failed: Option<Mismatch>,
    /// Empty between two frames.
    deltas: Vec<Delta>,
    /// The provider said why the model stopped.
    finished: bool,
    /// Whatever ends the client's stream was written, or must not be.
    ended: bool,
}

impl Retelling {
    pub fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn StreamWriter>, count: OwnCount, reading: Reading) -> Self {
        Self {
            reader,
            writer,
            ids: CallIds::default(),
            reported: None,
            count,
            most_held: MOST_HELD,
            reading,
            failed: None,
            deltas: Vec::new(),
            finished: false,
            ended: false,
        }
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
        let mut off = None;
        if !self.ended {
            match facts.kind {
                FrameKind::Error(_) | FrameKind::OffSchema(_) => self.ended = true,
                FrameKind::Done => {
                    self.read(&bytes, &facts, &mut out);
                    off = self.end(&mut out);
                }
                FrameKind::KeepAlive | FrameKind::Preamble | FrameKind::Content | FrameKind::UsageOnly => {
                    self.read(&bytes, &facts, &mut out);
                }
            }
        }
        let unfolding = self.reading.unfolding.as_ref().map_or(0, |unfolding| unfolding.held());
        if self.reader.held() + self.writer.held() + unfolding > self.most_held {
            return Err(HeldTooMuch);
        }
        // Silence is cut by whoever stands between.
        if facts.kind == FrameKind::KeepAlive && out.is_empty() && !self.ended {
            self.writer.keep_alive(&mut out);
        }
        // Whether the client sees of usage what it asked for is the writer's to know.
        let kind = if facts.kind == FrameKind::UsageOnly { FrameKind::Content } else { facts.kind };
        let kind = off.map_or(kind, FrameKind::OffSchema);
        Ok(Frame { bytes: out.freeze(), facts: FrameFacts { kind, ..facts } })
    }

    /// A frame of ours that says that the answer goes on; without bytes where the client's stream has ended.
    pub fn ping(&self) -> Frame {
        let mut out = BytesMut::new();
        if !self.ended {
            self.writer.keep_alive(&mut out);
        }
        Frame { bytes: out.freeze(), facts: FrameFacts::only(FrameKind::KeepAlive) }
    }

    fn read(&mut self, frame: &[u8], facts: &FrameFacts, out: &mut BytesMut) {
        // As it is booked, and first: what a stream begins with may tell it.
        self.deltas.extend(facts.usage.map(Delta::Usage));
        let told = self.deltas.len();
        self.reader.read(frame, &mut self.deltas);
        self.write(told, out);
    }

    /// The provider has closed: ends the client's stream where no frame did although the model had stopped.
    pub fn close(&mut self) -> Option<Frame> {
        if self.ended || !self.finished {
            return None;
        }
        let mut out = BytesMut::new();
        let kind = self.end(&mut out).map_or(FrameKind::Done, FrameKind::OffSchema);
        Some(Frame { bytes: out.freeze(), facts: FrameFacts::only(kind) })
    }

    /// Ends the client's stream, if the answer is one: answers what is wrong with it otherwise, and writes nothing.
    fn end(&mut self, out: &mut BytesMut) -> Option<Mismatch> {
        self.ended = true;
        self.reader.end(&mut self.deltas);
        self.write(0, out);
        if let (Some(unfolding), None) = (&mut self.reading.unfolding, &self.failed) {
            let mut rest = Vec::new();
            self.failed = unfolding.end(&mut rest).err();
            self.tell_all(&mut rest, out);
        }
        if self.failed.is_some() {
            out.clear();
            return self.failed.take();
        }
        let usage = self.count.or_ours(self.reported);
        if self.reported != Some(usage) {
            self.writer.write(Delta::Usage(usage), out);
        }
        self.writer.end(out);
        None
    }

    /// Writes what was read; of usage only what stands among the first so many, which are ours.
    fn write(&mut self, ours: usize, out: &mut BytesMut) {
        let (mut deltas, mut told) = (std::mem::take(&mut self.deltas), Vec::new());
        for (place, delta) in deltas.drain(..).enumerate() {
            if self.failed.is_some() || (place >= ours && matches!(delta, Delta::Usage(_))) {
                continue;
            }
            let delta = self.reading.names.told(delta);
            match &mut self.reading.unfolding {
                None => told.push(delta),
                Some(unfolding) => self.failed = unfolding.take(delta, &mut told).err(),
            }
            self.tell_all(&mut told, out);
        }
        self.deltas = deltas;
    }

    fn tell_all(&mut self, deltas: &mut Vec<Delta>, out: &mut BytesMut) {
        for delta in deltas.drain(..) {
            self.count.hear(&delta);
            self.writer.write(self.ids.apart(delta), out);
        }
    }
}

#[cfg(test)]
mod tests;
