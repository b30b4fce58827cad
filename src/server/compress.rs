//! Bodies in a coding: requests decoded, whole answers encoded, large ones of both off the reactor.
//!
//! Streams go out as they are. What would be saved is little (a hundred tokens a second are some 18 KB), what it costs is
//! not: 400 KB of memory for each open stream with gzip and 700 KB with brotli (measured), and clients and proxies that hold a
//! compressed stream back until they have enough of it.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::Semaphore;

use crate::coding::{Coding, Undecodable};

/// A smaller answer fits into one packet as it is.
const SMALLEST: u64 = 1_024;
/// What is coded on the reactor: measured 0.1 ms with gzip, 0.23 ms with brotli.
const AT_ONCE: usize = 16 * 1024;
/// How many large bodies are coded at the same time.
const PLACES: usize = 2;

/// Codes bodies. Clones share their places.
#[derive(Debug, Clone)]
pub struct Coder {
    places: Arc<Semaphore>,
}

impl Default for Coder {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)) }
    }
}

impl Coder {
    /// Decodes a request's body into at most so many bytes. However small it is, it can hold as much as is allowed, so
    /// this never happens on the reactor. `None`: the runtime is going down.
    pub async fn decode(&self, coding: Coding, coded: Bytes, most: usize) -> Option<Result<Bytes, Undecodable>> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let decoding = tokio::task::spawn_blocking(move || {
            let _held_until_decoded = place;
            coding.decode(&coded, most)
        });
        decoding.await.ok()
    }

    /// Encodes an answer's body; `None` where it should stay as it is: it does not shrink, or it is large and everybody
    /// who could encode it is busy.
    async fn encode(&self, coding: Coding, plain: Bytes) -> Option<Vec<u8>> {
        if plain.len() <= AT_ONCE {
            return coding.encode(&plain);
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let encoding = tokio::task::spawn_blocking(move || {
            let _held_until_encoded = place;
            coding.encode(&plain)
        });
        encoding.await.ok().flatten()
    }

    /// Puts a whole answer into the coding that its client wants.
    pub async fn fit(&self, mut response: Response, wanted: Option<Coding>) -> Response {
        let present = response.body().size_hint().exact();
        // An answer to HEAD has lost its body by now and still says how long it was.
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let whole = |length: Option<u64>| length.is_some_and(|length| length >= SMALLEST);
        let bodiless = present == Some(0) && whole(announced);
        if !(bodiless || whole(present)) || response.headers().contains_key(CONTENT_ENCODING) {
            return response;
        }
        response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        let Some(coding) = wanted else { return response };
        if bodiless {
            // The length of what GET would get is not known, and another must not be said (RFC 9110, 8.6).
            response.headers_mut().remove(CONTENT_LENGTH);
            return response;
        }
        let (mut parts, body) = response.into_parts();
        // The body is in memory: there is nothing to wait for and nothing that fails.
        let plain = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match self.encode(coding, plain.clone()).await {
            Some(coded) => {
                parts.headers.insert(CONTENT_ENCODING, coding.header());
                parts.headers.remove(CONTENT_LENGTH);
                Response::from_parts(parts, Body::from(coded))
            }
            None => Response::from_parts(parts, Body::from(plain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(body: impl Into<Body>, wanted: Option<Coding>, vary: bool, expected: Option<&str>) {
        let response = Coder::default().fit(Response::new(body.into()), wanted).await;
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!((header(VARY).is_some(), header(CONTENT_ENCODING)), (vary, expected), "{wanted:?}");
    }

    #[tokio::test]
    async fn only_whole_answers_of_some_size_are_encoded_and_only_where_it_helps() {
        let long = || "all work and no play ".repeat(100);
        check(long(), None, true, None).await;
        check(long(), Some(Coding::Gzip), true, Some("gzip")).await;
        check(long(), Some(Coding::Brotli), true, Some("br")).await;
        check(long().repeat(100), Some(Coding::Brotli), true, Some("br")).await;
        check("short", Some(Coding::Gzip), false, None).await;
        let noise = std::iter::successors(Some(7_u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)));
        let noise: Vec<u8> = noise.take(2_000).map(|n| n.to_be_bytes()[0]).collect();
        check(noise, Some(Coding::Gzip), true, None).await;
        let frames = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(long()))]);
        check(Body::from_stream(frames), Some(Coding::Gzip), false, None).await;
    }

    #[tokio::test]
    async fn an_answer_to_head_says_no_length_that_get_would_not_have() {
        for (length, wanted, vary, said) in [
            ("5000", None, true, Some("5000")),
            ("5000", Some(Coding::Gzip), true, None),
            ("900", Some(Coding::Gzip), false, Some("900")),
        ] {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            let response = Coder::default().fit(response, wanted).await;
            let told = response.headers().get(CONTENT_LENGTH).map(|length| length.to_str().unwrap());
            assert_eq!((response.headers().contains_key(VARY), told), (vary, said), "{length} {wanted:?}");
        }
    }

    #[tokio::test]
    async fn what_is_encoded_already_stays() {
        let mut response = Response::new(Body::from("x".repeat(5_000)));
        response.headers_mut().insert(CONTENT_ENCODING, Coding::Brotli.header());
        let response = Coder::default().fit(response, Some(Coding::Gzip)).await;
        assert_eq!(response.headers()[CONTENT_ENCODING], "br");
        assert_eq!(response.body().size_hint().exact(), Some(5_000));
    }
}
