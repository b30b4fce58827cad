//! How the bytes of a stream are cut into frames: by the blank lines of server-sent events, or by the lengths of Amazon's event
//! stream.

use bytes::Bytes;

use super::eventstream::{Decoder, EventStreamError};
use super::sse::{DEFAULT_FRAME_LIMIT, FrameTooLarge, Framer};

/// What a dialect's streams are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Events,
    /// Messages with checksums, for machines.
    EventStream,
}

/// Why a stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error(transparent)]
    Events(#[from] FrameTooLarge),
    #[error(transparent)]
    EventStream(#[from] EventStreamError),
}

impl Framing {
    /// What the content type of such a stream begins with, in small letters.
    pub const fn media_type(self) -> &'static str {
        match self {
            Framing::Events => "text/event-stream",
            Framing::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    /// A cutter for one stream.
    pub fn cutter(self) -> Cutter {
        match self {
            Framing::Events => Cutter::Events(Framer::default()),
            Framing::EventStream => Cutter::EventStream(Decoder::with_limit(DEFAULT_FRAME_LIMIT)),
        }
    }
}

/// Cuts one stream.
#[derive(Debug)]
pub enum Cutter {
    Events(Framer),
    EventStream(Decoder),
}

impl Cutter {
    /// Takes the next bytes and appends the frames that they complete to `frames`.
    ///
    /// # Errors
    /// When a frame is too large or damaged. What was appended before is good; nothing more can be read.
    pub fn push(&mut self, chunk: &Bytes, frames: &mut Vec<Bytes>) -> Result<(), FramingError> {
        match self {
            Cutter::Events(events) => Ok(events.push(chunk, frames)?),
            Cutter::EventStream(messages) => Ok(messages.push(chunk, frames)?),
        }
    }

    /// The stream has ended: a last frame that lacks only its blank line. Of a message that was cut nothing is left.
    pub fn finish(&mut self) -> Option<Bytes> {
        match self {
            Cutter::Events(events) => events.finish(),
            Cutter::EventStream(_) => None,
        }
    }
}
