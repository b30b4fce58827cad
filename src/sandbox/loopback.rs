//! A plain HTTP/1.1 client for addresses on this machine: what the demo asks the gateway with, and the tests the sandbox.
//!
//! The one client that talks to providers is `upstream`'s and must show neither trailers nor timing to anybody; this one
//! shows everything: status, headers, each chunk as it comes, and the trailers. One connection per call, no TLS, no
//! redirects, no retries. Dropping an [`Answer`] closes its connection.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::tasks::Tasks;

/// Why a call did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    #[error("{0} is no address on this machine")]
    Address(String),
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    #[error("the call cannot be written")]
    Call(#[from] http::Error),
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
}

/// An answer whose body has yet to come.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// What came after the body; empty until the body was read to its end.
    pub trailers: HeaderMap,
    body: Incoming,
}

/// Sends one request. `url` is `http://127.0.0.1:PORT/path`.
pub async fn call(
    tasks: &Tasks,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, LoopbackError> {
    let uri: Uri = url.parse().map_err(|_| LoopbackError::Address(url.to_owned()))?;
    let authority = uri.authority().ok_or_else(|| LoopbackError::Address(url.to_owned()))?.as_str().to_owned();
    let stream = TcpStream::connect(&authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tasks.spawn("loopback connection", async move {
        // How it ended is told to the caller through the answer.
        connection.await.unwrap_or_default();
    });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path).header("host", authority).header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body.into()))?).await?;
    let (parts, body) = answer.into_parts();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, trailers: HeaderMap::new(), body })
}

impl Answer {
    /// A header or trailer as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, LoopbackError> {
        while let Some(frame) = self.body.frame().await {
            match frame?.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(other) => self.trailers = other.into_trailers().unwrap_or_default(),
            }
        }
        Ok(None)
    }

    /// The rest of the body.
    pub async fn whole(&mut self) -> Result<Vec<u8>, LoopbackError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}
