//! Streams that come slowly, on a clock of their own.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody};

use super::*;
use crate::catalog::TokenizerFamily;
use crate::catalog::capability::Quirks;
use crate::dialect::{Dialect, Framing, OpenAiChat};
use crate::dispatch::retelling::Reading;
use crate::frontend::{About, AnthropicMessages, FrontendRef, OpenAiChat as ChatClient};
use crate::meter::OwnCount;
use crate::units::Tokens;
use crate::upstream::{Scripted, ScriptedBody, Upstream};

/// Pieces of a body, and how many seconds each keeps the one who waits for it.
#[derive(Debug)]
struct Slow(Mutex<Option<ScriptedBody>>);

impl Slow {
    fn sends(pieces: Vec<(u64, &'static str)>) -> Arc<Self> {
        let body = stream::unfold(pieces.into_iter(), |mut pieces| async move {
            let (seconds, piece) = pieces.next()?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Some((Ok(http_body::Frame::data(Bytes::from(piece))), pieces))
        });
        Arc::new(Self(Mutex::new(Some(StreamBody::new(body).boxed()))))
    }
}

impl Scripted for Slow {
    fn answer(&self, _: Request<Full<Bytes>>) -> BoxFuture<'static, Result<Response<ScriptedBody>, UpstreamError>> {
        let body = self.0.lock().unwrap().take().unwrap();
        Box::pin(async move { Ok(Response::new(body)) })
    }
}

/// A stream of chat for a client: in its own words, or in another's.
async fn source(pieces: Vec<(u64, &'static str)>, client: FrontendRef, told: bool) -> FrameSource {
    let upstream = Upstream::scripted(Slow::sends(pieces));
    let answer = upstream.fetch(&Uri::from_static("http://provider.test/"), HeaderMap::new()).await.unwrap();
    let count = OwnCount::new(Tokens::new(9), TokenizerFamily::O200k);
    let retelling = told.then(|| {
        Box::new(Retelling::new(OpenAiChat.delta_reader(), client.stream_writer(About::of_nobody()), count, Reading::default()))
    });
    let reader = OpenAiChat.frame_reader(Quirks::default(), 1);
    FrameSource::new(answer, Framing::Events.cutter(), reader, retelling, Duration::from_secs(50))
}

const HELLO: &str = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n";

/// What comes and when, in whole seconds, until it ends.
async fn heard(mut source: FrameSource) -> (Vec<(u64, String)>, Option<SourceError>) {
    let (began, mut heard) = (Instant::now(), Vec::new());
    loop {
        match source.next(&mut |_| {}).await {
            Ok(Some(frames)) => {
                let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
                heard.push((began.elapsed().as_secs(), String::from_utf8(bytes).unwrap()));
            }
            Ok(None) => return (heard, None),
            Err(error) => return (heard, Some(error)),
        }
    }
}

/// Found by an audit: a client of Messages heard nothing for as long as a provider of chat thought.
#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_told_as_silent_until_it_is_given_up() {
    let mut slow = source(vec![(0, HELLO), (40, HELLO), (100, HELLO)], &AnthropicMessages, true).await;
    slow.begin();
    let (heard, error) = heard(slow).await;
    let pings: Vec<u64> = heard.iter().filter(|(_, said)| said.contains("event: ping")).map(|(at, _)| *at).collect();
    // Each silence is one: 40 s are no 50 s, and what was told meanwhile is no word of the provider's.
    assert_eq!(pings, [15, 30, 55, 70, 85], "{heard:?}");
    assert!(heard.iter().any(|(at, said)| *at == 40 && said.contains("Hello")), "{heard:?}");
    assert!(matches!(error, Some(SourceError::Idle(limit)) if limit == Duration::from_secs(50)));
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_to_nobody_before_the_answer_has_begun_and_not_in_bytes_that_pass() {
    let unbegun = source(vec![(0, HELLO), (40, HELLO)], &AnthropicMessages, true).await;
    let mut passing = source(vec![(0, HELLO), (40, HELLO)], &ChatClient, false).await;
    passing.begin();
    for slow in [unbegun, passing] {
        let (heard, error) = heard(slow).await;
        assert_eq!(heard.iter().map(|(at, _)| *at).filter(|at| ![0, 40].contains(at)).count(), 0, "{heard:?}");
        assert!(error.is_none());
    }
}
