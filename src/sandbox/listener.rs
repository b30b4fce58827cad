//! One listener on an ephemeral loopback port, served by hyper directly.
//!
//! axum stays the server's: two fixed paths need no router, and the tests load these listeners hard.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::script::ScriptBody;
use crate::tasks::Tasks;

/// Waited after a failed accept, which mostly means that the process is out of file descriptors.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);

/// Listens on a free loopback port and answers every request by `answer` until the tasks are told to stop.
pub(super) async fn listen<H, F>(tasks: &Tasks, answer: H) -> std::io::Result<SocketAddr>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<ScriptBody>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn("sandbox listener", accept(tasks.clone(), listener, answer));
    Ok(address)
}

async fn accept<H, F>(tasks: Tasks, listener: TcpListener, answer: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<ScriptBody>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => tasks.spawn("sandbox connection", connection(stream, answer.clone(), tasks.stopping().clone())),
            Err(_) => tokio::time::sleep(AFTER_FAILED_ACCEPT).await,
        }
    }
}

async fn connection<H, F>(stream: TcpStream, answer: H, stop: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<ScriptBody>> + Send + 'static,
{
    // A socket that refuses the option still works, only slower.
    stream.set_nodelay(true).unwrap_or_default();
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // A connection that the client broke is its own affair; what was served of it is in the log.
        _ended = serving => {}
    }
}
