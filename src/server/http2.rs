//! HTTP/2 without TLS: one connection, its limits, and the watch over clients that take nothing.
//!
//! The kernel sees when a whole connection stands still, not when one stream of it does: its client may keep that stream's
//! window shut and go on with the others. So each answer notes whose turn it is, and the connection's own timer drops what
//! a client leaves lying, which settles it. What hyper and h2 guard by themselves is left to them: streams that are reset
//! as soon as they are opened, endless continuations, floods of empty frames.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tower::BoxError;

use super::begun::Begun;
use super::listener::ConnectionLimits;
use crate::tasks::Tasks;

/// Requests at the same time on one connection.
const STREAMS: u32 = 256;
/// What a client may send ahead of our reading, on one stream and on all together.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of one answer may wait in memory for its client.
const SEND_BUFFER: usize = 64 << 10;
/// The largest piece of an answer that is handed on at once: the largest frame that every client takes. hyper asks whether
/// the client's window is open before each piece and not within one, so what is handed on whole waits out of our sight.
const PIECE: usize = 16 << 10;
/// A connection is asked so often whether somebody is still there, and has so long to say yes.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WAIT: Duration = Duration::from_secs(20);
/// How often the watch looks, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Serves one connection until it ends, is idle for too long, or has left after `stopping`.
pub(super) async fn serve<S>(io: Begun, service: S, limits: ConnectionLimits, tasks: &Tasks) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>,
    S::Future: Send + 'static,
{
    let (open, stalled) = (Arc::new(Open::default()), limits.stalled.wait());
    let mut builder = http2::Builder::new(Spawner(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.read_bytes()).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT);
    let mut connection = pin!(builder.serve_connection(io, Watch { service, open: Arc::clone(&open) }));
    let mut looks = interval((stalled.min(limits.head_wait) / 4).clamp(LOOKS.0, LOOKS.1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaves: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = tasks.stopping().cancelled(), if leaves.is_none() => {}
            now = looks.tick() => {
                open.drop_stalled(now, stalled);
                let idle = open.idle(now);
                if leaves.is_some_and(|since| idle.min(now - since) >= stalled) {
                    // It had time enough to take what was left.
                    return Ok(());
                }
                if idle < limits.head_wait || leaves.is_some() {
                    continue;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        leaves = Some(Instant::now());
    }
}

/// Where hyper's tasks of a connection run: a drain waits for them too.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        self.0.spawn("stream", task);
    }
}

/// What is under way on one connection.
#[derive(Default)]
struct Open(Mutex<Requests>);

struct Requests {
    under_way: usize,
    /// When the last one ended.
    quiet_since: Instant,
    next: u64,
    answers: HashMap<u64, Arc<Mutex<Turn>>>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { under_way: 0, quiet_since: Instant::now(), next: 0, answers: HashMap::new() }
    }
}

/// One answer: what is left of it, and since when its client could take more.
struct Turn {
    body: Option<Body>,
    /// What has come out of the body and is not yet handed on.
    rest: Bytes,
    clients_since: Option<Instant>,
}

impl Turn {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Some(Err(Stalled.into()))) };
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(body).poll_frame(cx)?) else { return Poll::Ready(None) };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Open {
    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long there has been no request.
    fn idle(&self, now: Instant) -> Duration {
        let requests = self.requests();
        if requests.under_way > 0 { Duration::ZERO } else { now.saturating_duration_since(requests.quiet_since) }
    }

    /// Lets go of every answer of which nothing was taken for so long.
    fn drop_stalled(&self, now: Instant, longest: Duration) {
        let stalled = |turn: &Arc<Mutex<Turn>>| {
            let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let late =
                turn.body.is_some() && turn.clients_since.is_some_and(|since| now.saturating_duration_since(since) >= longest);
            late.then(|| (turn.body.take(), std::mem::take(&mut turn.rest)))
        };
        let left_lying: Vec<(Option<Body>, Bytes)> = self.requests().answers.values().filter_map(stalled).collect();
        if !left_lying.is_empty() {
            tracing::debug!(answers = left_lying.len(), "clients took nothing of their answers, which are cut");
        }
    }
}

/// A request from its arrival until its answer has gone out or is given up.
struct UnderWay {
    open: Arc<Open>,
    number: u64,
}

impl UnderWay {
    fn begin(open: &Arc<Open>) -> Self {
        let mut requests = open.requests();
        requests.under_way += 1;
        requests.next += 1;
        Self { open: Arc::clone(open), number: requests.next }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut requests = self.open.requests();
        requests.under_way -= 1;
        requests.quiet_since = Instant::now();
        requests.answers.remove(&self.number);
    }
}

/// The service of a connection, each request of it noted.
struct Watch<S> {
    service: S,
    open: Arc<Open>,
}

impl<S> Service<Request<Incoming>> for Watch<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Watched>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (under_way, answering) = (UnderWay::begin(&self.open), self.service.call(request));
        Box::pin(async move { Ok(answering.await?.map(|body| Watched::of(body, under_way))) })
    }
}

/// The body of an answer that its connection watches.
struct Watched {
    turn: Arc<Mutex<Turn>>,
    _under_way: UnderWay,
}

/// The client took nothing of its answer for too long.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of its answer for too long (timeouts.stream_idle_ms)")]
struct Stalled;

impl Watched {
    fn of(body: Body, under_way: UnderWay) -> Self {
        let turn = Arc::new(Mutex::new(Turn { body: Some(body), rest: Bytes::new(), clients_since: Some(Instant::now()) }));
        under_way.open.requests().answers.insert(under_way.number, Arc::clone(&turn));
        Self { turn, _under_way: under_way }
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    /// hyper asks only when the client's window is open: who is not asked waits for the client.
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut turn = self.turn();
        let polled = turn.next(cx);
        turn.clients_since = polled.is_ready().then(Instant::now);
        polled
    }

    fn is_end_stream(&self) -> bool {
        let turn = self.turn();
        turn.rest.is_empty() && turn.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let turn = self.turn();
        let to_come = turn.body.as_ref().map(HttpBody::size_hint).unwrap_or_default();
        let held = u64::try_from(turn.rest.len()).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        hint.set_lower(to_come.lower().saturating_add(held));
        if let Some(upper) = to_come.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_dropped_and_one_that_waits_for_its_provider_is_not() {
        let open = Arc::new(Open::default());
        let waiting =
            Body::new(http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>()));
        let mut left_lying = Watched::of(Body::from("something"), UnderWay::begin(&open));
        let mut patient = Watched::of(waiting, UnderWay::begin(&open));
        assert!(futures_util::poll!(patient.frame()).is_pending());

        tokio::time::advance(Duration::from_mins(1)).await;
        open.drop_stalled(Instant::now(), Duration::from_mins(1));

        assert!(left_lying.frame().await.unwrap().unwrap_err().to_string().contains("timeouts.stream_idle_ms"));
        assert!(futures_util::poll!(patient.frame()).is_pending());
        assert_eq!(open.idle(Instant::now()), Duration::ZERO, "both are still under way");
        drop((left_lying, patient));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(open.idle(Instant::now()), Duration::from_secs(7));
        assert!(open.requests().answers.is_empty());
    }
    #[tokio::test]
    async fn a_large_answer_is_handed_on_in_pieces_so_that_each_waits_for_its_client() {
        let open = Arc::new(Open::default());
        let mut answer = Watched::of(Body::from(vec![b'x'; 2 * PIECE + 7]), UnderWay::begin(&open));
        for (length, left) in [(PIECE, PIECE + 7), (PIECE, 7), (7, 0)] {
            assert!(!answer.is_end_stream());
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), length);
            assert_eq!(answer.size_hint().exact(), Some(left as u64));
        }
        assert!(answer.is_end_stream());
    }
}
