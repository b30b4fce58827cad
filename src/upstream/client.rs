//! The one HTTP client. It follows no redirect (a key is never sent to another host), reads no proxy from the
//! environment, keeps connections warm per host, and says of every failure whether the request may have arrived.
//!
//! Answers are asked for as they are (`accept-encoding: identity`): whoever meters an answer would decode it at once, which
//! for 8 KB takes 13 us (gzip), a third of what a whole request costs here, and a stream has little to save. One
//! that comes compressed all the same is decoded, so that nobody after this sees it.
//!
//! hyper's own client, without the comforts of a library around it: redirects, cookies and proxies are what this
//! gateway must not have, and looking for them at every request costs more than sending it.

use std::error::Error as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::endpoint::Endpoint;
use super::proxy::{Proxy, WayOut};
use super::trust::Trust;
use crate::coding::{Coding, Decoder};

/// How long a silent connection is trusted before the kernel asks whether the other side is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one piece of a compressed answer may hold.
const PIECE_CAP: usize = 8 << 20;

/// Limits of the way out, and whom it leads past and trusts.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Until a connection stands.
    pub connect: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
    /// Without one, every site is reached directly.
    pub proxy: Option<Proxy>,
    pub trust: Trust,
}

/// What went wrong on the way out.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the HTTP client cannot be built: {0}")]
    Setup(String),
    /// The provider wants a token and none is had: nothing was sent.
    #[error("no token for the provider: {0}")]
    NoToken(String),
    /// No connection: the request cannot have arrived.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke after the request may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer cannot be decoded: {0}")]
    Undecodable(String),
}

/// The client.
#[derive(Debug, Clone)]
pub struct Upstream {
    way: Way,
}

/// How requests get out.
#[derive(Debug, Clone)]
enum Way {
    Wire(Box<Client<Connector, Full<Bytes>>>),
    #[cfg(test)]
    Scripted(Arc<dyn Scripted>),
}

/// Answers in the place of the network, without a socket.
#[cfg(test)]
pub(crate) trait Scripted: std::fmt::Debug + Send + Sync {
    fn answer(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Result<Response<ScriptedBody>, UpstreamError>>;
}

/// What such an answer holds, in pieces as they arrive.
#[cfg(test)]
pub(crate) type ScriptedBody = http_body_util::combinators::BoxBody<Bytes, UpstreamError>;

/// The body of an answer.
#[derive(Debug)]
enum AnswerBody {
    Wire(Incoming),
    #[cfg(test)]
    Scripted(ScriptedBody),
}

impl AnswerBody {
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, UpstreamError>> {
        match self {
            Self::Wire(body) => body.frame().await.map(|frame| frame.map_err(|error| UpstreamError::Broken(chain(&error)))),
            #[cfg(test)]
            Self::Scripted(body) => body.frame().await,
        }
    }
}

impl Upstream {
    /// Builds the client; fails when the machine's certificates cannot be read.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds the client")]
    pub fn new(settings: UpstreamSettings) -> Result<Self, UpstreamError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(settings.trust.config()?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(WayOut { tcp: http, proxy: settings.proxy.map(Arc::new) });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(settings.pool_idle)
            .pool_timer(TokioTimer::new())
            .build(Connector { https: Arc::new(https), wait: settings.connect });
        Ok(Self { way: Way::Wire(Box::new(client)) })
    }

    /// Sends a request to an address of an endpoint and waits for the status line. `passing` are headers that the client sent and
    /// that pass through; they stand for those that would be sent by themselves. `at` is when, for a provider whose requests are signed.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        uri: Uri,
        passing: &HeaderMap,
        body: Bytes,
        at: Timestamp,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = endpoint.headers().await?;
        let headers = request.headers_mut();
        for name in passing.keys() {
            headers.remove(name);
            for value in passing.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        endpoint.sign(&mut request, &body, at)?;
        self.ask(request).await
    }

    /// Fetches a document that is no provider's answer, without any key.
    pub async fn fetch(&self, url: &Uri, headers: HeaderMap) -> Result<UpstreamAnswer, UpstreamError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        self.ask(request).await
    }

    /// Sends a form to where tokens are had, without any key but what stands in the form.
    pub(super) async fn post_form(&self, url: &Uri, form: Bytes) -> Result<UpstreamAnswer, UpstreamError> {
        let mut request = Request::new(Full::new(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        self.ask(request).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<UpstreamAnswer, UpstreamError> {
        let response = match &self.way {
            Way::Wire(client) => client.request(request).await.map_err(|error| unanswered(&error))?.map(AnswerBody::Wire),
            #[cfg(test)]
            Way::Scripted(script) => script.answer(request).await?.map(AnswerBody::Scripted),
        };
        let decoder = match Coding::of_content(response.headers()) {
            Ok(coding) => coding.map(Decoder::new).map(Box::new),
            // The status of such an answer still says something; its body does not.
            Err(unknown) => return Ok(UpstreamAnswer { response, decoder: None, unreadable: Some(unknown.to_string()) }),
        };
        Ok(UpstreamAnswer { response, decoder, unreadable: None })
    }
}

fn unanswered(error: &hyper_util::client::legacy::Error) -> UpstreamError {
    // The client's own words for it ("client error (Connect)") say nothing that "no connection" does not.
    match error.source().filter(|_| error.is_connect()) {
        Some(cause) => UpstreamError::Connect(chain(cause)),
        None if error.is_connect() => UpstreamError::Connect(chain(error)),
        None => UpstreamError::Broken(chain(error)),
    }
}

#[cfg(test)]
impl Upstream {
    /// One whose requests are answered by a script.
    pub(crate) fn scripted(script: Arc<dyn Scripted>) -> Self {
        Self { way: Way::Scripted(script) }
    }

    /// One that reaches whom it can, for tests in which nobody is asked.
    pub(super) fn for_tests() -> Self {
        let (connect, pool_idle) = (Duration::from_secs(1), Duration::from_secs(1));
        Self::new(UpstreamSettings { connect, pool_idle, proxy: None, trust: Trust::Machine }).unwrap()
    }
}

/// Opens connections and gives up after a while, the TLS handshake included.
#[derive(Debug, Clone)]
struct Connector {
    /// Shared, as the client clones its connector for every request.
    https: Arc<HttpsConnector<WayOut>>,
    wait: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (mut https, wait) = (HttpsConnector::clone(&self.https), self.wait);
        Box::pin(async move {
            match tokio::time::timeout(wait, https.call(to)).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("none within {} ms", wait.as_millis()).into()),
            }
        })
    }
}

/// An answer whose status line has arrived.
#[derive(Debug)]
pub struct UpstreamAnswer {
    response: Response<AnswerBody>,
    /// Of an answer that came compressed, until its end.
    decoder: Option<Box<Decoder>>,
    /// It is in a coding that nobody asked for and nobody here reads.
    unreadable: Option<String>,
}

impl UpstreamAnswer {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Takes the headers out, for whoever needs them longer than the answer.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// The next piece of the body as it arrived; `None` at its end. Dropping the answer closes the exchange.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let arrived = self.arrived().await?;
            let Some(decoder) = &mut self.decoder else { return Ok(arrived) };
            let plain = match &arrived {
                Some(coded) => decoder.push(coded, PIECE_CAP),
                None => decoder.finish(PIECE_CAP),
            };
            let plain = plain.map_err(|error| UpstreamError::Undecodable(error.to_string()))?;
            if arrived.is_none() {
                self.decoder = None;
            }
            if !plain.is_empty() {
                return Ok(Some(plain));
            }
        }
    }

    async fn arrived(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        if let Some(unreadable) = self.unreadable.take() {
            return Err(UpstreamError::Undecodable(unreadable));
        }
        while let Some(frame) = self.response.body_mut().frame().await {
            // What is no data is a trailer, which nobody reads.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body, up to `cap` bytes.
    pub async fn whole(mut self, cap: usize) -> Result<Bytes, UpstreamError> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return within(first, cap) };
        let mut body = BytesMut::with_capacity(first.len() + second.len());
        body.extend_from_slice(&first);
        body.extend_from_slice(&second);
        while body.len() <= cap {
            match self.chunk().await? {
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return within(body.freeze(), cap),
            }
        }
        Err(UpstreamError::TooLarge(cap))
    }
}

fn within(body: Bytes, cap: usize) -> Result<Bytes, UpstreamError> {
    if body.len() > cap { Err(UpstreamError::TooLarge(cap)) } else { Ok(body) }
}

/// The innermost reasons of an error, which say what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        inner = cause.source();
    }
    said
}
