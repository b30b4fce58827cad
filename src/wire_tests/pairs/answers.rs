//! Answers: the streams and whole answers of `tests/fixtures/PROVIDER` as each client is told them, with what stands in the place
//! of those that break off or are none.

use bytes::Bytes;

use super::errors::{failed, said_no, told};
use super::{Golden, about, files, fixtures, hold, laid_out, pairs};
use crate::canonical::event::Understood;
use crate::canonical::{Answer, FrameKind, ProviderError, Shape};
use crate::catalog::TokenizerFamily;
use crate::catalog::capability::Quirks;
use crate::dialect::{self, BodyProblem, Framing};
use crate::dispatch::Cause;
use crate::dispatch::opening::Frame;
use crate::dispatch::retelling::{Reading, Retelling};
use crate::frontend::{FrontendRef, Seen};
use crate::meter::OwnCount;
use crate::relay::StreamEnd;
use crate::server::status::stream_error;
use crate::units::Tokens;
use crate::wire_tests::eventstream;
use crate::wire_tests::fixtures::quirks_of;

/// What stands for bytes that pass.
const PASSES: &str = "(as it came)";

/// Of a prompt of 90 tokens, where the provider counts nothing.
fn count() -> OwnCount {
    OwnCount::new(Tokens::new(90), TokenizerFamily::O200k)
}

/// One stream on its way, as `dispatch/attempt.rs` opens and `relay/pump.rs` passes it.
struct Passing {
    client: FrontendRef,
    provider: Shape,
    retelling: Option<Retelling>,
    seen: Seen,
    out: Vec<u8>,
    /// Something was said: from here on nobody else can be asked.
    begun: bool,
    finished: bool,
}

impl Passing {
    fn new(client: FrontendRef, provider: Shape) -> Self {
        let reader = || dialect::of(provider).delta_reader();
        let retelling = (client.shape() != provider)
            .then(|| Retelling::new(reader(), client.stream_writer(about()), count(), Reading::default()));
        Self { client, provider, retelling, seen: Seen::default(), out: Vec::new(), begun: false, finished: false }
    }

    /// Passes a frame on. Answers what the client is told of the whole stream, once it has ended.
    fn frame(&mut self, frame: Frame) -> Option<String> {
        let Frame { bytes, facts } = match &mut self.retelling {
            Some(retelling) => retelling.tell(frame).unwrap(),
            None => frame,
        };
        self.finished |= facts.finished;
        let ended = matches!(facts.kind, FrameKind::Error(_) | FrameKind::Done);
        match facts.kind {
            FrameKind::Error(error) if !self.begun => {
                return Some(told(self.client, &said_no(self.client, self.provider, &error, None)));
            }
            FrameKind::Error(error) => self.told(&bytes, &error),
            FrameKind::KeepAlive | FrameKind::Preamble => self.pass(&bytes),
            _ => {
                self.begun = true;
                self.pass(&bytes);
            }
        }
        ended.then(|| self.text())
    }

    fn pass(&mut self, bytes: &Bytes) {
        self.client.sees(&mut self.seen, bytes);
        self.out.extend_from_slice(bytes);
    }

    fn told(&mut self, bytes: &Bytes, error: &ProviderError) {
        let understood = if bytes.is_empty() { Understood::Nothing } else { self.client.understands(bytes) };
        if understood != Understood::Nothing {
            self.pass(bytes);
        }
        if understood != Understood::Error {
            self.end(&StreamEnd::Told(error));
        }
    }

    fn end(&mut self, end: &StreamEnd<'_>) {
        self.out.extend_from_slice(&self.client.error_event(&stream_error(end), &about(), &self.seen));
    }

    fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// The provider has closed.
    fn closed(&mut self) -> String {
        if !self.begun {
            return told(self.client, &failed(Cause::Broken, "the stream ended before it said anything"));
        }
        match self.retelling.as_mut().and_then(Retelling::close) {
            Some(frame) => self.pass(&frame.bytes),
            None if self.finished => {}
            None => self.end(&StreamEnd::Truncated),
        }
        self.text()
    }
}

fn stream(client: FrontendRef, provider: Shape, quirks: Quirks, stream: &Bytes) -> String {
    let dialect = dialect::of(provider);
    let (mut cutter, mut frames) = (dialect.framing().cutter(), Vec::new());
    cutter.push(stream, &mut frames).unwrap();
    let mut reader = dialect.frame_reader(quirks, 1);
    let mut read = |bytes: Bytes| Frame { facts: reader.read(&bytes, &mut |_| {}), bytes };
    let mut frames: Vec<Frame> = frames.into_iter().map(&mut read).collect();
    frames.extend(cutter.finish().and_then(|last| read(last).at_the_end()));
    let mut passing = Passing::new(client, provider);
    frames.into_iter().find_map(|frame| passing.frame(frame)).unwrap_or_else(|| passing.closed())
}

/// A whole answer, as `dispatch/attempt.rs` reads it.
fn whole(client: FrontendRef, provider: Shape, quirks: Quirks, body: &[u8]) -> String {
    let dialect = dialect::of(provider);
    let facts = match dialect.read_answer(body, quirks) {
        Ok(facts) => facts,
        Err(BodyProblem::Provider { error, .. }) => return told(client, &said_no(client, provider, &error, None)),
        Err(BodyProblem::Malformed(what)) => return told(client, &failed(Cause::Malformed, &what)),
    };
    if client.shape() == provider {
        return PASSES.to_owned();
    }
    let mut count = count();
    count.add(&facts.text);
    let answer = Answer::of(dialect.read_deltas(body).unwrap());
    let answer = Answer { usage: Some(count.or_ours(facts.usage.or(answer.usage))), ..answer };
    laid_out(std::str::from_utf8(&client.answer_body(&answer, &about())).unwrap())
}

/// Every stream of a shape, in the bytes of its framing.
fn streams(provider: Shape) -> impl Iterator<Item = (String, Bytes)> {
    let framing = dialect::of(provider).framing();
    let extension = if framing == Framing::Events { "sse" } else { "events" };
    files(&fixtures().join(provider.word()), extension).into_iter().map(move |(name, text)| {
        let framed = |text: &[u8]| eventstream::written(std::str::from_utf8(text).unwrap()).concat();
        (name, Bytes::from(if framing == Framing::Events { text } else { framed(&text) }))
    })
}

#[test]
fn streams_are_told_as_they_were_reviewed() {
    hold(pairs().map(|(client, provider)| {
        let mut golden = Golden::of(client, &format!("{}.streams", provider.word()));
        for (name, came) in streams(provider) {
            let told = stream(client, provider, quirks_of(&name), &came);
            golden.add(&name, if told.as_bytes() == came { PASSES.to_owned() } else { told });
        }
        golden
    }));
}

#[test]
fn whole_answers_are_told_as_they_were_reviewed() {
    hold(pairs().map(|(client, provider)| {
        let mut golden = Golden::of(client, &format!("{}.answers", provider.word()));
        for (name, body) in files(&fixtures().join(provider.word()), "json") {
            golden.add(&name, whole(client, provider, quirks_of(&name), &body));
        }
        golden
    }));
}
