//! How the bytes of a stream are cut into frames: by the blank lines of server-sent events, or by the lengths of Amazon's event
//! stream; sound is not cut at all.

use bytes::Bytes;

use super::eventstream::{Decoder, EventStreamError};
use super::media::SoundFrames;
use super::sse::{DEFAULT_FRAME_LIMIT, FrameTooLarge, Framer};
use super::{Dialect, FrameReader};
use crate::catalog::capability::Quirks;

/// What a dialect's streams are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Events,
    /// Messages with checksums, for machines.
    EventStream,
    /// Bytes as they come: sound.
    Bytes,
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
            Framing::Bytes => "audio/",
        }
    }

    /// A reader of one stream of a dialect.
    pub fn reader(self, dialect: &dyn Dialect, quirks: Quirks, choices: u32) -> Box<dyn FrameReader> {
        match self {
            Framing::Bytes => Box::new(SoundFrames::default()),
            Framing::Events | Framing::EventStream => dialect.frame_reader(quirks, choices),
        }
    }

    /// A cutter for one stream.
    pub fn cutter(self) -> Cutter {
        match self {
            Framing::Events => Cutter::Events(Framer::default()),
            Framing::EventStream => Cutter::EventStream(Decoder::with_limit(DEFAULT_FRAME_LIMIT)),
            Framing::Bytes => Cutter::Bytes(Bytes::new()),
        }
    }
}

/// Cuts one stream.
#[derive(Debug)]
pub enum Cutter {
    Events(Framer),
    EventStream(Decoder),
    /// What came last, which waits for what comes next: only so is the last piece known as such, before which an answer is settled.
    Bytes(Bytes),
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
            Cutter::Bytes(last) => {
                if !chunk.is_empty() {
                    frames.extend(Some(std::mem::replace(last, chunk.clone())).filter(|before| !before.is_empty()));
                }
                Ok(())
            }
        }
    }

    /// The stream has ended: a last frame that lacks only its blank line. Of a message that was cut nothing is left.
    pub fn finish(&mut self) -> Option<Bytes> {
        match self {
            Cutter::Events(events) => events.finish(),
            Cutter::EventStream(_) => None,
            Cutter::Bytes(last) => Some(std::mem::take(last)).filter(|last| !last.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_pass_as_they_are_and_the_last_ones_at_the_end(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)) {
            let (mut cutter, mut passed) = (Framing::Bytes.cutter(), Vec::new());
            for chunk in &chunks {
                cutter.push(&Bytes::copy_from_slice(chunk), &mut passed).unwrap();
            }
            let last = chunks.iter().rfind(|chunk| !chunk.is_empty());
            let end = cutter.finish();
            prop_assert_eq!(end.as_deref(), last.map(Vec::as_slice));
            passed.extend(end);
            prop_assert_eq!(passed.concat(), chunks.concat());
            prop_assert!(cutter.finish().is_none());
        }
    }
}
