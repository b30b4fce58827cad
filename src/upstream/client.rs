//! The one HTTP client. It follows no redirect (a key is never sent to another host), reads no proxy from the
//! environment, keeps connections warm per host, and says of every failure whether the request may have arrived.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::endpoint::Endpoint;

/// Limits of the way out.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamSettings {
    /// Until a connection stands.
    pub connect: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
}

/// What went wrong on the way out.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the HTTP client cannot be built: {0}")]
    Setup(String),
    /// No connection: the request cannot have arrived.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke after the request may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// The client.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: reqwest::Client,
}

impl Upstream {
    /// Builds the client; fails when the machine's certificates cannot be read.
    pub fn new(settings: UpstreamSettings) -> Result<Self, UpstreamError> {
        // Another part of the process may have installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.connect)
            .pool_idle_timeout(settings.pool_idle)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| UpstreamError::Setup(chain(&error)))?;
        Ok(Self { client })
    }

    /// Sends a request and waits for the status line. `trace` are headers that pass through (`traceparent`).
    pub async fn send(&self, endpoint: &Endpoint, trace: &HeaderMap, body: Bytes) -> Result<UpstreamAnswer, UpstreamError> {
        let mut headers = endpoint.headers();
        headers.extend(trace.iter().map(|(name, value)| (name.clone(), value.clone())));
        let call = self.client.post(endpoint.url()).headers(headers).body(body);
        let response = call.send().await.map_err(failure)?;
        Ok(UpstreamAnswer { response })
    }
}

/// An answer whose status line has arrived.
#[derive(Debug)]
pub struct UpstreamAnswer {
    response: reqwest::Response,
}

impl UpstreamAnswer {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body as it arrived; `None` at its end. Dropping the answer closes the exchange.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        self.response.chunk().await.map_err(failure)
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

/// The URL is left out: it may carry what an operator put there.
fn failure(error: reqwest::Error) -> UpstreamError {
    let connect = error.is_connect();
    let said = chain(&error.without_url());
    if connect { UpstreamError::Connect(said) } else { UpstreamError::Broken(said) }
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
