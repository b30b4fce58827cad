//! One attempt: ask one backend, and wait until its answer may begin to reach the client or has failed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::failure::{AttemptFailure, Cause};
use super::opening::{Frame, FrameSource, OpenStream, Opening, SourceError};
use super::retelling::{Reading, Retelling};
use super::structured::Unfolding;
use super::wording::Letter;
use crate::canonical::event::{AnswerFacts, FrameFacts, FrameKind, ProviderError};
use crate::canonical::{Answer, CallIds, Delta, Feature, Mismatch, Request, Translation};
use crate::dialect::{BodyProblem, Dialect, Framing, limits};
use crate::market::Offer;
use crate::meter::OwnCount;
use crate::meter::usage::Metered;
use crate::units::Usage;
use crate::upstream::{Upstream, UpstreamAnswer, UpstreamError};

/// An error body larger than this is not read on: its beginning says what is wrong.
const ERROR_BODY_CAP: usize = 64 * 1024;
/// A whole answer larger than this is refused (base64 audio and long choices stay far below). In bytes.
pub const ANSWER_CAP: usize = 64 * 1024 * 1024;
/// Frames that say nothing are held back until one says something, but not without end.
const PREAMBLE_CAP: usize = 1024 * 1024;
/// Why an answer that says our key back is none: it must not reach a client.
const QUOTES_KEY: &str = "the answer quotes our key";
/// How long an error's body may take once its status line is there.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the first meaningful frame of a stream.
    pub first_frame: Duration,
    /// Between two frames of a stream.
    pub idle: Duration,
    /// Until a whole, unstreamed answer is there.
    pub whole: Duration,
}

/// Everything one attempt needs.
pub struct Errand<'a> {
    pub upstream: &'a Upstream,
    pub offer: Offer<'a>,
    pub request: &'a Request,
    /// Of the request and its answer, where the backend is asked in another shape.
    pub translation: &'a dyn Translation,
    /// Headers that pass through.
    pub passing: &'a HeaderMap,
    /// Those of them that any provider is sent, whatever shape it is asked in.
    pub common: &'a HeaderMap,
    pub patience: Patience,
    /// Counts an answer that is told in other words.
    pub count: OwnCount,
    /// When it is sent, for a provider whose requests are signed.
    pub at: Timestamp,
}

/// An answer that has begun, and how it was asked for.
pub struct Begun {
    pub opening: Opening,
    /// Parameters that could not be said, by the client's names.
    pub dropped: Vec<String>,
}

impl Errand<'_> {
    /// Sends a letter, and waits for the answer to begin. `leaves` is told just before anything is sent, and `text` is given every
    /// piece of a stream's text that arrives meanwhile.
    pub(super) async fn run(
        &self,
        letter: Letter,
        leaves: impl FnOnce() + Send,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Begun, AttemptFailure> {
        let Letter { body, dropped, unfolding, names, own_tools } = letter;
        let reading = Reading { unfolding, names, own_tools };
        let limit = self.limit();
        let end = Instant::now() + limit;
        // Whoever waits for a provider's first token has sent nothing that could be billed.
        match tokio::time::timeout_at(end, self.offer.endpoint.ready()).await {
            Ok(ready) => ready.map_err(|error| self.broke(&error))?,
            Err(_) => return Err(self.failed(Cause::Connect, &format!("no token was had within {} ms", limit.as_millis()))),
        }
        leaves();
        match tokio::time::timeout_at(end, self.exchange(body, reading, text)).await {
            Ok(opening) => Ok(Begun { opening: opening?, dropped }),
            Err(_) => Err(self.failed(Cause::Timeout, &format!("no answer began within {} ms", limit.as_millis()))),
        }
    }

    /// How long an answer may take to begin.
    pub(super) fn limit(&self) -> Duration {
        if self.request.stream { self.patience.first_frame } else { self.patience.whole }
    }

    async fn exchange(
        &self,
        body: Bytes,
        reading: Reading,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Opening, AttemptFailure> {
        let uri = self.offer.uri(self.request.stream).map_err(|e| self.failed(Cause::Connect, &e.to_string()))?;
        let passing = if self.speaks_alike() { self.passing } else { self.common };
        let sent = self.upstream.send(self.offer.endpoint, uri, passing, body, self.at);
        let answer = sent.await.map_err(|e| self.broke(&e))?;
        self.offer.health.told(&limits::in_headers(answer.headers()));
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        let media_type = media_type(answer.headers());
        if let Some(framing) = self.dialect().arrives(&media_type, self.request.stream) {
            return self.open_stream(answer, framing, reading, text).await.map(Opening::Stream);
        }
        self.read_whole(answer, &media_type, reading, text).await
    }

    async fn read_whole(
        &self,
        mut answer: UpstreamAnswer,
        media_type: &str,
        reading: Reading,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Opening, AttemptFailure> {
        let (status, headers) = (answer.status(), answer.take_headers());
        let body = answer.whole(ANSWER_CAP).await.map_err(|e| self.broke(&e))?;
        let facts = match self.dialect().read_typed(&body, media_type, self.offer.provider.quirks) {
            Ok(facts) => facts,
            Err(BodyProblem::Provider { error, usage }) => {
                return Err(AttemptFailure {
                    used: usage.map(|usage| Metered::reported(*usage)),
                    ..self.said_no(&error, status, &headers, None)
                });
            }
            Err(BodyProblem::Malformed(what)) => return Err(self.failed(Cause::Malformed, &what)),
        };
        let framing = self.dialect().framing();
        // Some sites answer a stream with a whole body now and then; it is paid for, and can be told as a stream. Choices side by side
        // cannot, nor what only the client's own API has words for.
        let as_stream = self.request.stream && !self.dialect().may_come_whole();
        let has_own = self.request.members.own_tools || self.request.features.contains(Feature::Logprobs);
        let own = has_own && self.speaks_alike() && reading.is_plain();
        if as_stream && (self.request.choices > 1 || own) {
            let failure = self.failed(Cause::Malformed, "answered a stream request with a whole body");
            return Err(AttemptFailure { used: facts.usage.map(Metered::reported), ..failure });
        }
        if self.offer.endpoint.quotes_key(&body) {
            return Err(self.failed(Cause::Malformed, QUOTES_KEY));
        }
        if self.speaks_alike() && reading.is_plain() && !as_stream {
            let media_type = self.own_type(&headers);
            return Ok(Opening::Whole { body, facts, media_type });
        }
        let mut deltas = self.dialect().read_deltas(&body).map_err(|e| self.failed(Cause::Malformed, &e.to_string()))?;
        let mut count = self.count.clone();
        count.add(&facts.text);
        let Reading { unfolding, names, own_tools: _ } = reading;
        deltas = deltas.into_iter().map(|delta| names.told(delta)).collect();
        if let Some(unfolding) = unfolding {
            deltas = unfolded(*unfolding, deltas).map_err(|off| self.off_schema(&off, count.metered(facts.usage)))?;
        }
        if as_stream {
            text(&facts.text);
            let reader = framing.reader(self.dialect(), self.offer.provider.quirks, 1);
            let source = FrameSource::exhausted(framing.cutter(), reader);
            return Ok(Opening::Stream(OpenStream { held: self.streamed(deltas, facts, &count), source, media_type: None }));
        }
        let told = Answer::of(deltas);
        // Usage as it is booked, or by our count.
        let told = Answer { usage: Some(count.or_ours(facts.usage.or(told.usage))), ..told };
        let body = self.translation.whole(&told, &self.offer.backend.upstream_model);
        Ok(Opening::Whole { body, facts, media_type: None })
    }

    /// A whole answer as the frames of a stream.
    fn streamed(&self, deltas: Vec<Delta>, facts: AnswerFacts, count: &OwnCount) -> Vec<Frame> {
        let told = deltas.iter().rev().find_map(|delta| if let Delta::Usage(usage) = delta { Some(*usage) } else { None });
        let mut writer = self.translation.stream(&self.offer.backend.upstream_model);
        let (mut said, mut end, mut ids) = (BytesMut::new(), BytesMut::new(), CallIds::default());
        // First, since what a stream begins with may tell it; as it is booked, or by our count.
        writer.write(Delta::Usage(count.or_ours(facts.usage.or(told))), &mut said);
        for delta in deltas.into_iter().filter(|delta| !matches!(delta, Delta::Usage(_))) {
            writer.write(ids.apart(delta), &mut said);
        }
        writer.end(&mut end);
        let content = FrameFacts {
            kind: FrameKind::Content,
            usage: facts.usage,
            lifetimes_told: facts.lifetimes_told,
            reasoning_bytes: facts.reasoning_bytes,
            finished: true,
            too_long: facts.too_long,
            served_model: facts.served_model.map(Box::from),
        };
        let frame = |bytes: BytesMut, facts| Frame { bytes: bytes.freeze(), facts };
        vec![frame(said, content), frame(end, FrameFacts::only(FrameKind::Done))]
    }

    async fn open_stream(
        &self,
        mut answer: UpstreamAnswer,
        framing: Framing,
        reading: Reading,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<OpenStream, AttemptFailure> {
        let (status, headers) = (answer.status(), answer.take_headers());
        let reader = framing.reader(self.dialect(), self.offer.provider.quirks, self.request.choices);
        let media_type = if framing == Framing::Bytes { headers.get(CONTENT_TYPE).cloned() } else { None };
        let retelling = (!self.speaks_alike() || !reading.is_plain()).then(|| {
            let writer = self.translation.stream(&self.offer.backend.upstream_model);
            Box::new(Retelling::new(
                self.dialect().delta_reader_at(self.offer.provider.quirks),
                writer,
                self.count.clone(),
                reading,
            ))
        });
        let mut source = FrameSource::new(answer, framing.cutter(), reader, retelling, self.patience.idle);
        let (mut held, mut held_bytes) = (Vec::new(), 0);
        let mut count = self.count.clone();
        let mut text = |piece: &str| {
            count.add(piece);
            text(piece);
        };
        loop {
            let Some(frames) = source.next(&mut text).await.map_err(|e| self.stopped(&e))? else {
                return Err(self.failed(Cause::Broken, "the stream ended before it said anything"));
            };
            let meaningful = frames.iter().any(|f| !matches!(f.facts.kind, FrameKind::KeepAlive | FrameKind::Preamble));
            if let Some(error) = frames.iter().find_map(|f| first_error(&f.facts.kind)) {
                let used = reported(&held, &frames).map(Metered::reported);
                return Err(AttemptFailure { used, ..self.said_no(error, status, &headers, None) });
            }
            if let Some(off) = frames.iter().find_map(|f| off_schema(&f.facts.kind)) {
                return Err(self.off_schema(off, count.metered(reported(&held, &frames))));
            }
            if frames.iter().any(|f| self.offer.endpoint.quotes_key(&f.bytes)) {
                return Err(self.failed(Cause::Malformed, QUOTES_KEY));
            }
            held_bytes += frames.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            held.extend(frames);
            if meaningful {
                source.begin();
                return Ok(OpenStream { held, source, media_type });
            }
            // What begins a stream of Responses says the request again, in each of its events.
            if held_bytes > PREAMBLE_CAP + 4 * self.request.body.len() {
                return Err(self.failed(Cause::Malformed, "the stream goes on and on without saying anything"));
            }
        }
    }

    async fn refused(&self, mut answer: UpstreamAnswer) -> AttemptFailure {
        let (status, headers) = (answer.status(), answer.take_headers());
        let read = tokio::time::timeout(ERROR_BODY_WAIT, answer.whole(ERROR_BODY_CAP)).await;
        let body = read.ok().and_then(Result::ok).unwrap_or_default();
        let error = self.dialect().classify(status.as_u16(), &headers, &body);
        self.said_no(&error, status, &headers, Some(body))
    }

    fn said_no(&self, error: &ProviderError, status: StatusCode, headers: &HeaderMap, body: Option<Bytes>) -> AttemptFailure {
        let json = headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
        // In other words than the client's it would tell it nothing.
        let fit = |body: &Bytes| self.speaks_alike() && json && !body.is_empty() && !self.offer.endpoint.quotes_key(body);
        AttemptFailure {
            backend: self.offer.backend.id.clone(),
            cause: Cause::Provider(error.class),
            status: Some(status.as_u16()),
            message: self.offer.endpoint.scrub(&error.message),
            retry_after: error.retry_after,
            used: None,
            body: body.filter(fit),
        }
    }

    fn broke(&self, error: &UpstreamError) -> AttemptFailure {
        let cause = match error {
            UpstreamError::Connect(_) | UpstreamError::Setup(_) | UpstreamError::NoToken(_) => Cause::Connect,
            UpstreamError::Broken(_) => Cause::Broken,
            UpstreamError::TooLarge(_) | UpstreamError::Undecodable(_) => Cause::Malformed,
        };
        self.failed(cause, &error.to_string())
    }

    fn stopped(&self, error: &SourceError) -> AttemptFailure {
        self.failed(error.cause(), &error.to_string())
    }

    fn failed(&self, cause: Cause, message: &str) -> AttemptFailure {
        let message = self.offer.endpoint.scrub(message);
        let backend = self.offer.backend.id.clone();
        AttemptFailure { backend, cause, status: None, message, retry_after: None, used: None, body: None }
    }

    /// It came as a whole, so it is billed, whatever the provider says of that.
    fn off_schema(&self, off: &Mismatch, used: Metered) -> AttemptFailure {
        let failure = self.failed(Cause::OffSchema, &format!("the answer does not keep to its schema: {off}"));
        AttemptFailure { used: Some(used), ..failure }
    }

    /// The type of an answer that is not of the one type that answers of its shape have.
    fn own_type(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(CONTENT_TYPE).filter(|_| self.dialect().may_come_whole()).cloned()
    }

    /// Whether the endpoint's shape is the client's.
    fn speaks_alike(&self) -> bool {
        self.offer.shape == self.request.shape
    }

    fn dialect(&self) -> &dyn Dialect {
        self.offer.dialect
    }
}

/// An error that comes before anything else in a stream: still time to ask another.
fn first_error(kind: &FrameKind) -> Option<&ProviderError> {
    match kind {
        FrameKind::Error(error) => Some(error),
        _ => None,
    }
}

/// What a client is told of a whole answer that is structured by hand.
fn unfolded(mut unfolding: Unfolding, deltas: Vec<Delta>) -> Result<Vec<Delta>, Mismatch> {
    let mut told = Vec::with_capacity(deltas.len());
    for delta in deltas {
        unfolding.take(delta, &mut told)?;
    }
    unfolding.end(&mut told)?;
    Ok(told)
}

/// The last report among frames.
fn reported(held: &[Frame], frames: &[Frame]) -> Option<Usage> {
    held.iter().chain(frames).filter_map(|frame| frame.facts.usage).next_back()
}

fn off_schema(kind: &FrameKind) -> Option<&Mismatch> {
    match kind {
        FrameKind::OffSchema(off) => Some(off),
        _ => None,
    }
}

/// What an answer says it is, in small letters; nothing where it says nothing that could be read.
fn media_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase()
}
