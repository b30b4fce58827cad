//! An answer at the moment it may be shown to the client: the status line waits for the first meaningful frame, so
//! that until then a failure can still move on to another backend.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::{Instant, Sleep};

use super::failure::Cause;
use super::retelling::{HeldTooMuch, Retelling};
use crate::canonical::event::{AnswerFacts, FrameFacts, FrameKind};
use crate::dialect::{Cutter, FrameReader, FramingError, sse};
use crate::upstream::{UpstreamAnswer, UpstreamError};

/// An answer that has begun.
pub enum Opening {
    /// A whole, unstreamed answer: the provider's bytes and what they say.
    Whole {
        body: Bytes,
        facts: AnswerFacts,
        /// What it is, where that is not what all answers of its shape are.
        media_type: Option<HeaderValue>,
    },
    /// A stream, with the frames that were held back while the status line waited.
    Stream(OpenStream),
}

/// A stream whose first meaningful frame has arrived.
pub struct OpenStream {
    /// Frames in the order they came, the meaningful one last.
    pub held: Vec<Frame>,
    /// Where the rest comes from.
    pub source: FrameSource,
    /// What it is, where it is no stream of events.
    pub media_type: Option<HeaderValue>,
}

/// One whole frame of a stream: its bytes, unchanged where the client speaks the provider's dialect, and what they mean.
#[derive(Debug, Clone)]
pub struct Frame {
    pub bytes: Bytes,
    pub facts: FrameFacts,
}

impl Frame {
    /// The last frame of a stream that ends without its blank line. Who reads events takes it only with one, and whatever is told
    /// behind it would run into its line. `None` where nothing can be read of it, as where a stream breaks off in its middle.
    #[must_use]
    pub fn at_the_end(self) -> Option<Self> {
        let readable = self.facts.kind != FrameKind::KeepAlive;
        readable.then(|| Self { bytes: sse::ended(&self.bytes), ..self })
    }
}

/// Why no further frame comes.
#[derive(Debug)]
pub enum SourceError {
    /// Nothing came for this long.
    Idle(Duration),
    Upstream(UpstreamError),
    Framing(FramingError),
    /// It cannot be told in the client's words any further.
    Retelling(HeldTooMuch),
}

impl SourceError {
    pub fn cause(&self) -> Cause {
        match self {
            SourceError::Idle(_) => Cause::Timeout,
            SourceError::Upstream(UpstreamError::Connect(_)) => Cause::Connect,
            SourceError::Upstream(UpstreamError::TooLarge(_) | UpstreamError::Undecodable(_))
            | SourceError::Framing(_)
            | SourceError::Retelling(_) => Cause::Malformed,
            SourceError::Upstream(_) => Cause::Broken,
        }
    }
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourceError::Idle(limit) => write!(f, "nothing arrived for {} ms", limit.as_millis()),
            SourceError::Upstream(error) => error.fmt(f),
            SourceError::Framing(error) => error.fmt(f),
            SourceError::Retelling(error) => error.fmt(f),
        }
    }
}

/// The frames of one upstream answer.
pub struct FrameSource {
    answer: UpstreamAnswer,
    cutter: Cutter,
    reader: Box<dyn FrameReader>,
    /// Present where the client speaks otherwise.
    retelling: Option<Box<Retelling>>,
    idle: Duration,
    /// One timer for the whole stream: setting it off again costs a store, a new one two locks.
    silence: Pin<Box<Sleep>>,
    /// Where the cutter puts its frames; empty between two calls.
    blocks: Vec<Bytes>,
    ended: bool,
}

impl FrameSource {
    pub fn new(
        answer: UpstreamAnswer,
        cutter: Cutter,
        reader: Box<dyn FrameReader>,
        retelling: Option<Box<Retelling>>,
        idle: Duration,
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(idle));
        Self { answer, cutter, reader, retelling, idle, silence, blocks: Vec::new(), ended: false }
    }

    /// The frames that arrived next, at least one; `None` once the upstream has closed. `text` is given every piece of
    /// the answer's text.
    pub async fn next(&mut self, text: &mut (dyn FnMut(&str) + Send)) -> Result<Option<Vec<Frame>>, SourceError> {
        while !self.ended {
            self.silence.as_mut().reset(Instant::now() + self.idle);
            let chunk = tokio::select! {
                biased;
                arrived = self.answer.chunk() => arrived.map_err(SourceError::Upstream)?,
                () = &mut self.silence => return Err(SourceError::Idle(self.idle)),
            };
            if let Some(chunk) = chunk {
                self.cutter.push(&chunk, &mut self.blocks).map_err(SourceError::Framing)?;
            } else {
                self.ended = true;
                self.reader.closes();
                self.blocks.extend(self.cutter.finish());
            }
            let frames = self.frames(text).map_err(SourceError::Retelling)?;
            if !frames.is_empty() {
                return Ok(Some(frames));
            }
        }
        Ok(None)
    }

    /// What the cutter has put aside, read and told.
    fn frames(&mut self, text: &mut (dyn FnMut(&str) + Send)) -> Result<Vec<Frame>, HeldTooMuch> {
        let (reader, ended) = (&mut self.reader, self.ended);
        let read = self.blocks.drain(..).map(|bytes| Frame { facts: reader.read(&bytes, text), bytes });
        // What is left when the upstream has closed lacks its end.
        let read = read.filter_map(|frame| if ended { frame.at_the_end() } else { Some(frame) });
        let Some(retelling) = &mut self.retelling else { return Ok(read.collect()) };
        let mut told = read.map(|frame| retelling.tell(frame)).collect::<Result<Vec<Frame>, _>>()?;
        if self.ended {
            told.extend(retelling.close());
        }
        Ok(told)
    }

    /// Reads the upstream to its end, so that its connection can be used again; gives up on anything unexpected.
    pub async fn drain(&mut self) {
        while !self.ended {
            self.ended = !matches!(self.answer.chunk().await, Ok(Some(_)));
        }
    }
}
