//! An answer at the moment it may be shown to the client: the status line waits for the first meaningful frame, so
//! that until then a failure can still move on to another backend.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use serde::de::IgnoredAny;
use tokio::time::{Instant, Sleep};

use super::failure::Cause;
use super::retelling::{HeldTooMuch, Retelling};
use crate::canonical::event::{AnswerFacts, FrameFacts, FrameKind};
use crate::dialect::{Cutter, FrameReader, FramingError, sse};
use crate::upstream::{UpstreamAnswer, UpstreamError};

/// A provider may think for minutes without a word, and what stands between it and the client cuts what is silent (AWS' load
/// balancers after 60 s by default): a client that is told in our words hears this often that its answer goes on.
const PING_EVERY: Duration = Duration::from_secs(15);

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
        let data = sse::data_of(&self.bytes);
        // A text may have been heard in what breaks off behind it; no client could read that all the same.
        let is_error = matches!(self.facts.kind, FrameKind::Error(_));
        let whole = is_error || data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(&data).is_ok();
        let readable = whole && self.facts.kind != FrameKind::KeepAlive;
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
    /// Absent where all of it was read at once.
    answer: Option<UpstreamAnswer>,
    cutter: Cutter,
    reader: Box<dyn FrameReader>,
    /// Present where the client speaks otherwise.
    retelling: Option<Box<Retelling>>,
    idle: Duration,
    /// One timer for the whole stream: setting it off again costs a store, a new one two locks.
    silence: Pin<Box<Sleep>>,
    /// For how long nothing came while it was waited for.
    silent: Duration,
    /// The client has its status line.
    begun: bool,
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
        let (answer, blocks, silent) = (Some(answer), Vec::new(), Duration::ZERO);
        Self { answer, cutter, reader, retelling, idle, silence, silent, begun: false, blocks, ended: false }
    }

    /// One of which nothing more comes.
    pub fn exhausted(cutter: Cutter, reader: Box<dyn FrameReader>) -> Self {
        let (idle, silence) = (Duration::ZERO, Box::pin(tokio::time::sleep(Duration::ZERO)));
        let (answer, blocks, silent) = (None, Vec::new(), Duration::ZERO);
        Self { answer, cutter, reader, retelling: None, idle, silence, silent, begun: true, blocks, ended: true }
    }

    /// From now on the client hears what comes.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// The frames that arrived next, at least one; `None` once the upstream has closed. Where nothing arrives for long, a frame that
    /// only tells a client that has begun to listen so. `text` is given every piece of the answer's text.
    pub async fn next(&mut self, text: &mut (dyn FnMut(&str) + Send)) -> Result<Option<Vec<Frame>>, SourceError> {
        while let (Some(answer), false) = (&mut self.answer, self.ended) {
            let left = self.idle.saturating_sub(self.silent);
            let pings = self.retelling.is_some() && self.begun && left > PING_EVERY;
            let wait = if pings { PING_EVERY } else { left };
            self.silence.as_mut().reset(Instant::now() + wait);
            let chunk = tokio::select! {
                biased;
                arrived = answer.chunk() => arrived.map_err(SourceError::Upstream)?,
                () = &mut self.silence => {
                    self.silent += wait;
                    return match &self.retelling {
                        Some(retelling) if pings => Ok(Some(vec![retelling.ping()])),
                        _ => Err(SourceError::Idle(self.idle)),
                    };
                }
            };
            self.silent = Duration::ZERO;
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
        // What is left of events when the upstream has closed lacks its end.
        let lacks_end = ended && matches!(self.cutter, Cutter::Events(_));
        let read = read.filter_map(|frame| if lacks_end { frame.at_the_end() } else { Some(frame) });
        let Some(retelling) = &mut self.retelling else { return Ok(read.collect()) };
        let mut told = read.map(|frame| retelling.tell(frame)).collect::<Result<Vec<Frame>, _>>()?;
        if self.ended {
            told.extend(retelling.close());
        }
        Ok(told)
    }

    /// Reads the upstream to its end, so that its connection can be used again; gives up on anything unexpected.
    pub async fn drain(&mut self) {
        while let (Some(answer), false) = (&mut self.answer, self.ended) {
            self.ended = !matches!(answer.chunk().await, Ok(Some(_)));
        }
    }
}

#[cfg(test)]
mod tests;
