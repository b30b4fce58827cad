//! Errors: `tests/fixtures/PROVIDER/*.http` as each client is told them, where nobody else is left to ask.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Golden, files, fixtures, hold, laid_out, pairs};
use crate::canonical::{ProviderError, Shape};
use crate::dialect;
use crate::dispatch::{AttemptFailure, Cause, RunFailure, Stopped};
use crate::frontend::FrontendRef;
use crate::pipeline::GatewayError;
use crate::server::status::refusal;
use crate::units::BackendId;

/// What a provider answered.
struct Refused {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Refused {
    /// Reads a head and a body as they come over the wire, with bare line ends.
    fn read(text: &[u8]) -> Self {
        let (head, body) = std::str::from_utf8(text).unwrap().split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        Self { status, headers: lines.map(header).collect(), body: Bytes::copy_from_slice(body.trim_end().as_bytes()) }
    }

    /// The body, where a client may see it.
    fn fit(&self) -> Option<Bytes> {
        let json = self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        json.then(|| self.body.clone())
    }
}

/// An attempt that ended without a word of the provider.
pub(super) fn failed(cause: Cause, message: &str) -> AttemptFailure {
    AttemptFailure::idle(&BackendId::new("site", "model"), cause, message.to_owned(), None)
}

/// An attempt that the provider's word ended, as `dispatch/attempt.rs` tells it: its body passes where it speaks the client's shape.
pub(super) fn said_no(client: FrontendRef, provider: Shape, error: &ProviderError, body: Option<Bytes>) -> AttemptFailure {
    AttemptFailure {
        status: Some(error.status),
        retry_after: error.retry_after,
        body: body.filter(|_| client.shape() == provider),
        ..failed(Cause::Provider(error.class), &error.message)
    }
}

/// What a client is told where the only attempt failed so: the cause found, the status, when to ask again, the body.
pub(super) fn told(client: FrontendRef, failure: &AttemptFailure) -> String {
    let stopped = if failure.cause.another_may_help() { Stopped::Exhausted } else { Stopped::Refused };
    let refused = refusal(&GatewayError::Failed(RunFailure { failures: vec![failure.clone()], stopped }));
    let again = refused.retry_after_seconds().map_or(String::new(), |seconds| format!(", retry-after {seconds}"));
    let passing = refused.verbatim.as_ref().and_then(|body| client.passed_on(body, &refused.error));
    let whose = if passing.is_some() { ", the provider's body" } else { "" };
    let body = passing.unwrap_or_else(|| client.error_body(&refused.error, "req_1"));
    let body = laid_out(std::str::from_utf8(&body).unwrap());
    format!("{}: {}{again}{whose}\n{body}", failure.cause.word(), refused.error.status)
}

#[test]
fn errors_are_told_as_they_were_reviewed() {
    hold(pairs().map(|(client, provider)| {
        let mut golden = Golden::of(client, &format!("{}.errors", provider.word()));
        let answers = files(&fixtures().join(provider.word()), "http");
        assert!(answers.len() >= 9, "{} errors of {}", answers.len(), provider.word());
        for (name, text) in answers {
            let answer = Refused::read(&text);
            let error = dialect::of(provider).classify(answer.status, &answer.headers, &answer.body);
            golden.add(&name, told(client, &said_no(client, provider, &error, answer.fit())));
        }
        golden
    }));
}
