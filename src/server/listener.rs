//! Accepting connections, and letting go of them: bind, serve with limits, drain. The drain lets what is under way
//! finish within its grace period; new connections are refused from its first moment.
//!
//! A connection speaks HTTP/1.1, or HTTP/2 where it begins with that (prior knowledge). Neither has TLS: that is the work of
//! what stands in front.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::begun::{Begun, Protocol};
use super::http2;
use crate::tasks::Tasks;

/// The least that hyper reads a head into.
const LEAST_BUFFER: usize = 8_192;
/// How long a client may take nothing of what is sent to it; a reload may change it for the connections that come.
#[derive(Debug, Clone)]
pub struct Stalled(Arc<AtomicU32>);

impl Stalled {
    pub fn after(wait: Duration) -> Self {
        let stalled = Self(Arc::default());
        stalled.set(wait);
        stalled
    }

    pub fn set(&self, wait: Duration) {
        self.0.store(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The same as a duration.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.millis().into())
    }

    fn millis(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Limits on connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// How many at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// Until a request's head is there.
    pub head_wait: Duration,
    /// How long a client may take nothing of what is sent to it. Longer, and the connection is cut: a reader that stalls
    /// holds a place, money and a provider's connection.
    pub stalled: Stalled,
}

impl ConnectionLimits {
    /// What is read of a head: twice what it may have, so that one that is too large is told so in words. Of more than
    /// this, hyper reads nothing and answers a bare 431.
    pub(super) fn read_bytes(&self) -> usize {
        (2 * self.head_bytes).max(LEAST_BUFFER)
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting}): {reason}; choose another address, or stop what uses it")]
pub struct BindError {
    /// The path of the setting that names the address.
    pub setting: &'static str,
    pub address: SocketAddr,
    pub reason: std::io::Error,
}

/// How a listener's connections are told to end: asked first, cut when the grace period is over.
struct Ending {
    graceful: GracefulShutdown,
    cut: CancellationToken,
}

/// A bound listener that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    limits: ConnectionLimits,
}

impl Listener {
    /// Takes the address, which the setting of this path names.
    pub async fn bind(setting: &'static str, address: SocketAddr, limits: ConnectionLimits) -> Result<Self, BindError> {
        let socket = TcpListener::bind(address).await.map_err(|reason| BindError { setting, address, reason })?;
        Ok(Self { socket, limits })
    }

    /// The address with the port that was really given.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until the tasks are told to stop, then drains within `grace`.
    pub fn serve<S>(self, name: &'static str, service: S, tasks: &Tasks, grace: Duration)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let tasks_inside = tasks.clone();
        tasks.spawn(name, async move { self.accept(name, service, tasks_inside, grace).await });
    }

    async fn accept<S>(self, name: &'static str, service: S, tasks: Tasks, grace: Duration)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let ending = Ending { graceful: GracefulShutdown::new(), cut: CancellationToken::new() };
        loop {
            let (stream, place) = tokio::select! {
                () = tasks.stopping().cancelled() => break,
                accepted = next_connection(&self.socket, &places) => match accepted {
                    Some(accepted) => accepted,
                    None => continue,
                },
            };
            self.serve_one(name, stream, place, &service, &ending, &tasks);
        }
        drop(self.socket);
        if tokio::time::timeout(grace, ending.graceful.shutdown()).await.is_err() {
            tracing::warn!(listener = name, "grace period over: open connections are cut");
            ending.cut.cancel();
        }
    }

    fn serve_one<S>(
        &self,
        name: &'static str,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        service: &S,
        ending: &Ending,
        tasks: &Tasks,
    ) where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        // Small frames of a stream must not wait for each other.
        let _ = stream.set_nodelay(true);
        // The kernel sees a window that stays shut; here it would take a timer for every write. Where it cannot be set, a
        // stalled reader is only cut by the drain.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, self.limits.stalled.millis());
        let (watcher, cut) = (ending.graceful.watcher(), ending.cut.clone());
        let (service, limits, tasks_inside) = (service.clone(), self.limits.clone(), tasks.clone());
        tasks.spawn("connection", async move {
            // What a cut connection was answering is dropped with it, and settles itself.
            if let Some(Err(error)) = cut.run_until_cancelled(converse(stream, service, limits, watcher, &tasks_inside)).await {
                tracing::debug!(listener = name, %error, "connection ended");
            }
            drop(place);
        });
    }
}

/// One connection from its first byte to its end, in the version of HTTP that it begins with.
async fn converse<S>(
    stream: TcpStream,
    service: S,
    limits: ConnectionLimits,
    watcher: Watcher,
    tasks: &Tasks,
) -> Result<(), BoxError>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let begun = tokio::select! {
        biased;
        begun = tokio::time::timeout(limits.head_wait, Begun::on(stream)) => begun,
        // Nobody waits for a client that has said nothing yet.
        () = tasks.stopping().cancelled() => return Ok(()),
    };
    match begun?? {
        None => Ok(()),
        Some((io, Protocol::Http1)) => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits.head_wait).max_buf_size(limits.read_bytes());
            Ok(watcher.watch(builder.serve_connection(io, service)).await?)
        }
        Some((io, Protocol::Http2)) => {
            let served = http2::serve(io, service, limits, tasks).await;
            // The drain waits until every watcher is gone.
            drop(watcher);
            Ok(served?)
        }
    }
}

/// `None` when accepting failed for this one connection (it was reset, or we are out of file handles for a moment).
async fn next_connection(socket: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of file handles is the usual reason, and it does not pass by asking again at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
