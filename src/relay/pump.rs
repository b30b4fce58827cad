//! Carries a stream from the provider to the client, frame by whole frame, bytes unchanged.
//!
//! The pump is pulled by the client's connection, so a slow client slows the provider down and nothing piles up here.
//! Before the frame that ends the answer goes out, the answer is settled. A stream that breaks ends with an error event
//! in the client's dialect and without the mark that says "done": a cut stream never looks like a finished one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout, timeout_at};

use super::settlement::Settlement;
use crate::canonical::Mismatch;
use crate::canonical::event::{FrameKind, ProviderError, Understood};
use crate::dispatch::Failure;
use crate::dispatch::opening::{Frame, FrameSource, OpenStream, SourceError};
use crate::ledger::{Ending, LedgerError};
use crate::units::Usd;

/// How long the provider may take to close its side after the mark that says "done", so that the connection can be
/// used again. It is nearly always there already.
const CLOSING_WAIT: Duration = Duration::from_millis(5);

/// Why a stream broke off, for the client's error event.
#[derive(Debug)]
pub enum StreamEnd<'a> {
    /// The provider closed before the answer was whole.
    Truncated,
    /// The connection to the provider broke, or it fell silent.
    Broken(&'a SourceError),
    /// The request has taken as long as one may.
    OutOfTime,
    /// The books cannot be written.
    Books(&'a LedgerError),
    /// What the provider sent next cannot be passed on, since it quotes our key.
    Withheld,
    /// The provider told an error, in other words than the client's.
    Told(&'a ProviderError),
    /// The answer ended and does not keep to the schema that it was asked by.
    OffSchema(&'a Mismatch),
}

impl StreamEnd<'_> {
    /// What the backend's health learns from it: nothing where it was we who broke off.
    fn lesson(&self) -> Option<Failure> {
        match self {
            StreamEnd::Truncated => Some(Failure::Cut),
            StreamEnd::Broken(error) => error.cause().lesson(),
            StreamEnd::Told(error) => Some(Failure::Told(error.class)),
            StreamEnd::OutOfTime | StreamEnd::Books(_) | StreamEnd::Withheld | StreamEnd::OffSchema(_) => None,
        }
    }
}

/// Ends a stream that breaks off, in the client's dialect.
pub trait Closing: Send {
    /// These bytes go out: the event at the end may go on from them.
    fn passes(&mut self, bytes: &Bytes);

    /// What the client makes of the frame by which its provider tells an error.
    fn understood(&self, frame: &[u8]) -> Understood;

    /// The error event.
    fn event(&self, end: &StreamEnd<'_>) -> Bytes;
}

/// Whether our key stands in these bytes.
pub type QuotesKey = Box<dyn Fn(&[u8]) -> bool + Send>;

/// Keeps an answer that comes whole. It sees what the client gets, and answers what is told instead, if anything is.
pub trait Keep: Send {
    /// Takes bytes before the end.
    fn passes(&mut self, told: &Bytes) -> Option<Bytes>;

    /// Takes the bytes that end it.
    fn ends(self: Box<Self>, told: &Bytes) -> Option<Bytes>;
}

/// Hears each piece of an answer as the client gets it.
pub type Hear = Box<dyn FnMut(&[u8]) + Send>;

/// A stream on its way to the client.
pub struct Pump {
    held: Option<Vec<Frame>>,
    /// Taken when the stream is cut.
    source: Option<FrameSource>,
    settlement: Option<Settlement>,
    wants_usage_frame: bool,
    finished: bool,
    /// When the whole request must be over.
    ends: Instant,
    closing: Box<dyn Closing>,
    quotes_key: QuotesKey,
    cost: Option<Usd>,
    cut: bool,
    keep: Option<Box<dyn Keep>>,
    hear: Option<Hear>,
    /// For how long the rest is heard once the client has left.
    heard_out: Duration,
}

impl Pump {
    /// `left` is how much longer the stream may take.
    pub fn new(
        stream: OpenStream,
        settlement: Settlement,
        wants_usage_frame: bool,
        left: Duration,
        closing: Box<dyn Closing>,
        quotes_key: QuotesKey,
    ) -> Self {
        let OpenStream { held, source, .. } = stream;
        Self {
            held: Some(held),
            source: Some(source),
            settlement: Some(settlement),
            wants_usage_frame,
            finished: false,
            ends: Instant::now() + left,
            closing,
            quotes_key,
            cost: None,
            cut: false,
            keep: None,
            hear: None,
            heard_out: Duration::ZERO,
        }
    }

    /// It is kept where it is whole and settled, before the client has its end.
    #[must_use]
    pub fn keeping(self, keep: Option<Box<dyn Keep>>) -> Self {
        Self { keep, ..self }
    }

    /// Somebody hears what the client gets.
    #[must_use]
    pub fn heard_by(self, hear: Option<Hear>) -> Self {
        Self { hear, ..self }
    }

    /// The rest of it is heard for so long once its client has left.
    #[must_use]
    pub fn heard_out_for(self, heard_out: Duration) -> Self {
        Self { heard_out, ..self }
    }

    /// The client has left, or has all of it. What is still to come is heard in a task, so that the answer is booked at what its provider
    /// reports; what is not told in time is booked as it was counted.
    pub fn left(mut self: Box<Self>) {
        let (most, is_open) = (self.heard_out, self.source.is_some());
        let settlement = self.settlement.as_mut().filter(|_| is_open && !most.is_zero());
        let Some(tasks) = settlement.and_then(Settlement::client_left) else { return };
        let stopping = tasks.stopping().clone();
        tracing::debug!("the client has left: the gateway hears an answer out");
        tasks.spawn("hear an answer out", async move {
            let heard = async { while self.next().await.is_some() {} };
            // A drain of the gateway does not wait for whom nobody listens to.
            let _ = timeout(most, stopping.run_until_cancelled(heard)).await;
        });
    }

    /// Whether the client has less than the whole answer, now that nothing more comes. Where no event can say so, its connection has
    /// to be cut too.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// What the answer cost, once it has ended and is settled.
    pub fn cost(&self) -> Option<Usd> {
        self.cost
    }

    /// The next bytes for the client; `None` when the stream has ended and is settled.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (settlement, source) = (self.settlement.as_mut()?, self.source.as_mut()?);
            let arrived = match self.held.take() {
                Some(frames) => Ok(Ok(Some(frames))),
                None => timeout_at(self.ends, source.next(&mut |piece| settlement.add_text(piece))).await,
            };
            let bytes = match arrived {
                Ok(Ok(Some(frames))) => self.pass(frames).await,
                Ok(Ok(None)) if self.finished => self.settle(Ending::Complete).await.err().unwrap_or_default(),
                Ok(Ok(None)) => self.cut(&StreamEnd::Truncated).await,
                Ok(Err(error)) => self.cut(&StreamEnd::Broken(&error)).await,
                Err(_) => self.cut(&StreamEnd::OutOfTime).await,
            };
            if !bytes.is_empty() {
                self.closing.passes(&bytes);
                return Some(bytes);
            }
        }
    }

    /// Takes what arrived together, and answers what of it the client gets.
    async fn pass(&mut self, mut frames: Vec<Frame>) -> Bytes {
        if let Some(hear) = &mut self.hear {
            for frame in &frames {
                hear(&frame.bytes);
            }
        }
        if let Some(settlement) = &mut self.settlement {
            for frame in &mut frames {
                settlement.reported(frame.facts.usage, frame.facts.lifetimes_told);
                settlement.heard_reasoning(frame.facts.reasoning_bytes);
                self.finished |= frame.facts.finished;
                settlement.too_long(frame.facts.too_long);
                settlement.served_model(frame.facts.served_model.take().map(String::from));
            }
        }
        let ends = |f: &Frame| {
            matches!(f.facts.kind, FrameKind::Done | FrameKind::Error(_) | FrameKind::OffSchema(_)) || (self.quotes_key)(&f.bytes)
        };
        let end = frames.iter().position(ends);
        let Some(end) = end else {
            let booked = match &mut self.settlement {
                Some(settlement) => settlement.checkpoint().await,
                None => Ok(()),
            };
            return match booked {
                Ok(()) => self.join(&mut frames),
                Err(error) => self.cut(&StreamEnd::Books(&error)).await,
            };
        };
        let (before, last) = frames.split_at_mut(end);
        let (before, last) = (self.join(before), &last[0]);
        let withheld = self.must_not_pass(last);
        let ending = match &last.facts.kind {
            _ if withheld => self.ours_to_cut(),
            FrameKind::Error(error) => {
                self.teaches(Some(Failure::Told(error.class)));
                Ending::Cut
            }
            FrameKind::OffSchema(_) => self.ours_to_cut(),
            _ => Ending::Complete,
        };
        if let Err(event) = self.settle(ending).await {
            // What came with the end is not in the books either: nothing of it may go out.
            return event;
        }
        self.closing.passes(&before);
        let last = match &last.facts.kind {
            _ if withheld => self.closing.event(&StreamEnd::Withheld),
            FrameKind::Error(error) => self.told(&last.bytes, error),
            FrameKind::OffSchema(off) => self.closing.event(&StreamEnd::OffSchema(off)),
            _ => last.bytes.clone(),
        };
        let keep = self.keep.take().filter(|_| !self.cut);
        let last = keep.and_then(|keep| keep.ends(&last)).unwrap_or(last);
        concat(&[before, last])
    }

    /// How an error of the provider's goes out: as it came where the client reads it so, else as an event, behind the part of the
    /// answer that it is. What is neither would look like a part without anything in it.
    fn told(&mut self, frame: &Bytes, error: &ProviderError) -> Bytes {
        let understood = if frame.is_empty() { Understood::Nothing } else { self.closing.understood(frame) };
        match understood {
            Understood::Error => frame.clone(),
            Understood::Part => {
                self.closing.passes(frame);
                concat(&[frame.clone(), self.closing.event(&StreamEnd::Told(error))])
            }
            Understood::Nothing => self.closing.event(&StreamEnd::Told(error)),
        }
    }

    /// It is we who break off: the provider is to stop before the books are waited for.
    fn ours_to_cut(&mut self) -> Ending {
        self.teaches(None);
        drop(self.source.take());
        Ending::Cut
    }

    /// Whether our key stands in a frame, or in the error that it tells.
    fn must_not_pass(&self, frame: &Frame) -> bool {
        let told = match &frame.facts.kind {
            FrameKind::Error(error) => error.message.as_bytes(),
            FrameKind::OffSchema(off) => off.what.as_bytes(),
            _ => &[],
        };
        (self.quotes_key)(&frame.bytes) || (self.quotes_key)(told)
    }

    /// Settles; fails with the error event to send instead of everything else when the books cannot be written.
    async fn settle(&mut self, ending: Ending) -> Result<(), Bytes> {
        self.cut = ending != Ending::Complete;
        let Some(settlement) = self.settlement.take() else { return Ok(()) };
        let source = &mut self.source;
        let drained = async {
            if let Some(source) = source {
                source.drain().await;
            }
        };
        let (settled, _) = tokio::join!(settlement.end(ending), timeout(CLOSING_WAIT, drained));
        self.cut |= settled.is_err();
        self.cost = Some(settled.map_err(|error| self.closing.event(&StreamEnd::Books(&error)))?);
        Ok(())
    }

    async fn cut(&mut self, end: &StreamEnd<'_>) -> Bytes {
        self.cut = true;
        let event = self.closing.event(end);
        self.teaches(end.lesson());
        // First of all the provider is to stop: what it makes while the books are waited for would be in no row.
        drop(self.source.take());
        let Some(settlement) = self.settlement.take() else { return event };
        match settlement.end(Ending::Cut).await {
            Ok(cost) => {
                self.cost = Some(cost);
                event
            }
            Err(error) => self.closing.event(&StreamEnd::Books(&error)),
        }
    }

    fn teaches(&mut self, lesson: Option<Failure>) {
        if let Some(settlement) = &mut self.settlement {
            settlement.cut_teaches(lesson);
        }
    }

    fn join(&mut self, frames: &mut [Frame]) -> Bytes {
        if let Some(keep) = &mut self.keep {
            for frame in &mut *frames {
                if let Some(told) = keep.passes(&frame.bytes) {
                    frame.bytes = told;
                }
            }
        }
        let wanted = |frame: &&Frame| self.wants_usage_frame || frame.facts.kind != FrameKind::UsageOnly;
        if let [only] = &*frames {
            return if wanted(&only) { only.bytes.clone() } else { Bytes::new() };
        }
        let pieces: Vec<Bytes> = frames.iter().filter(wanted).map(|f| f.bytes.clone()).collect();
        concat(&pieces)
    }
}

fn concat(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [only] => only.clone(),
        [only, empty] if empty.is_empty() => only.clone(),
        [empty, only] if empty.is_empty() => only.clone(),
        several => {
            let mut joined = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            for piece in several {
                joined.extend_from_slice(piece);
            }
            joined.freeze()
        }
    }
}
