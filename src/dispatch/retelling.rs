//! A stream told in other words than the provider's: each frame keeps what it means to the gateway, and gets the bytes that the
//! client is to see of it, which may be none.

use bytes::BytesMut;

use super::opening::Frame;
use crate::canonical::event::{FrameFacts, FrameKind};
use crate::canonical::{Delta, StreamWriter};
use crate::dialect::DeltaReader;

/// What keeps a connection open.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Tells one stream.
pub struct Retelling {
    reader: Box<dyn DeltaReader>,
    writer: Box<dyn StreamWriter>,
    /// Empty between two frames.
    deltas: Vec<Delta>,
    /// The provider said why the model stopped.
    finished: bool,
    /// Whatever ends the client's stream was written, or must not be.
    ended: bool,
}

impl Retelling {
    pub fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn StreamWriter>) -> Self {
        Self { reader, writer, deltas: Vec::new(), finished: false, ended: false }
    }

    /// Tells a frame. An error gets no bytes: how it is told is not the writer's to know.
    pub fn tell(&mut self, frame: Frame) -> Frame {
        let Frame { bytes, facts } = frame;
        self.finished |= facts.finished;
        let mut out = BytesMut::new();
        if !self.ended {
            match facts.kind {
                FrameKind::Error(_) => self.ended = true,
                FrameKind::Done => {
                    self.read(&bytes, &facts, &mut out);
                    self.end(&mut out);
                }
                FrameKind::KeepAlive | FrameKind::Preamble | FrameKind::Content | FrameKind::UsageOnly => {
                    self.read(&bytes, &facts, &mut out);
                }
            }
        }
        // Silence is cut by whoever stands between: a comment says nothing, in every shape.
        if facts.kind == FrameKind::KeepAlive && out.is_empty() && !self.ended {
            out.extend_from_slice(KEEP_ALIVE);
        }
        // Whether the client sees of usage what it asked for is the writer's to know.
        let kind = if facts.kind == FrameKind::UsageOnly { FrameKind::Content } else { facts.kind };
        Frame { bytes: out.freeze(), facts: FrameFacts { kind, ..facts } }
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
        self.end(&mut out);
        Some(Frame { bytes: out.freeze(), facts: FrameFacts::only(FrameKind::Done) })
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.ended = true;
        self.reader.end(&mut self.deltas);
        self.write(0, out);
        self.writer.end(out);
    }

    /// Writes what was read; of usage only what stands among the first so many, which are ours.
    fn write(&mut self, ours: usize, out: &mut BytesMut) {
        for (place, delta) in self.deltas.drain(..).enumerate() {
            if place < ours || !matches!(delta, Delta::Usage(_)) {
                self.writer.write(delta, out);
            }
        }
    }
}
