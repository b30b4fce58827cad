//! A stream told in other words than the provider's: each frame keeps what it means to the gateway, and gets the bytes that the
//! client is to see of it, which may be none.

use bytes::BytesMut;

use super::opening::Frame;
use super::structured::Unfolding;
use crate::canonical::event::{FrameFacts, FrameKind};
use crate::canonical::{Delta, Mismatch, StreamWriter};
use crate::dialect::DeltaReader;

/// What keeps a connection open.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Tells one stream.
pub struct Retelling {
    reader: Box<dyn DeltaReader>,
    writer: Box<dyn StreamWriter>,
    /// Present where the answer is structured by hand.
    unfolding: Option<Unfolding>,
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
    pub fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn StreamWriter>, unfolding: Option<Unfolding>) -> Self {
        Self { reader, writer, unfolding, failed: None, deltas: Vec::new(), finished: false, ended: false }
    }

    /// Tells a frame. An error gets no bytes: how it is told is not the writer's to know.
    pub fn tell(&mut self, frame: Frame) -> Frame {
        let Frame { bytes, facts } = frame;
        self.finished |= facts.finished;
        let mut out = BytesMut::new();
        let mut off = None;
        if !self.ended {
            match facts.kind {
                FrameKind::Error(_) | FrameKind::OffSchema(_) => self.ended = true,
                FrameKind::Done => off = self.end(&mut out),
                FrameKind::KeepAlive | FrameKind::Preamble | FrameKind::Content | FrameKind::UsageOnly => {
                    // As it is booked, and first: what a stream begins with may tell it.
                    self.deltas.extend(facts.usage.map(Delta::Usage));
                    let told = self.deltas.len();
                    self.reader.read(&bytes, &mut self.deltas);
                    self.write(told, &mut out);
                }
            }
        }
        // Silence is cut by whoever stands between: a comment says nothing, in every shape.
        if facts.kind == FrameKind::KeepAlive && out.is_empty() && !self.ended {
            out.extend_from_slice(KEEP_ALIVE);
        }
        // Whether the client sees of usage what it asked for is the writer's to know.
        let kind = if facts.kind == FrameKind::UsageOnly { FrameKind::Content } else { facts.kind };
        let kind = off.map_or(kind, FrameKind::OffSchema);
        Frame { bytes: out.freeze(), facts: FrameFacts { kind, ..facts } }
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
        if let (Some(unfolding), None) = (&mut self.unfolding, &self.failed) {
            let mut rest = Vec::new();
            self.failed = unfolding.end(&mut rest).err();
            rest.into_iter().for_each(|delta| self.writer.write(delta, out));
        }
        if self.failed.is_some() {
            out.clear();
            return self.failed.take();
        }
        self.writer.end(out);
        None
    }

    /// Writes what was read; of usage only what stands among the first so many, which are ours.
    fn write(&mut self, ours: usize, out: &mut BytesMut) {
        let mut told = Vec::new();
        for (place, delta) in self.deltas.drain(..).enumerate() {
            if self.failed.is_some() || (place >= ours && matches!(delta, Delta::Usage(_))) {
                continue;
            }
            match &mut self.unfolding {
                None => self.writer.write(delta, out),
                Some(unfolding) => {
                    self.failed = unfolding.take(delta, &mut told).err();
                    told.drain(..).for_each(|delta| self.writer.write(delta, out));
                }
            }
        }
    }
}
