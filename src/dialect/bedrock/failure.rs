//! What went wrong, by the name that AWS gives it: in the header `x-amzn-errortype` of an answer with a bad status, in the
//! `:exception-type` of a message within a stream.

use http::HeaderMap;
use serde_json::Value;

use crate::canonical::ProviderError;
use crate::dialect::{errors, retry_after};

/// The error of an answer with a bad status.
pub(super) fn of_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let told = serde_json::from_slice::<Value>(body).ok();
    let header = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
    let in_body = || told.as_ref().and_then(|told| told.get("__type").or_else(|| told.get("code"))?.as_str());
    let Some(name) = header.or_else(in_body).map(bare).filter(|name| !name.is_empty()) else {
        // Of whoever stands between.
        return errors::classify(status, headers, body);
    };
    let mut error = errors::named(Some(name), told.as_ref().and_then(message), status, status);
    error.retry_after = retry_after::in_headers(headers);
    error
}

/// The error that a stream ends with.
pub(super) fn of_exception(name: &str, payload: &[u8]) -> ProviderError {
    let told = serde_json::from_slice::<Value>(payload).ok();
    named(name, told.as_ref().and_then(message))
}

/// An error within a stream, by its name and what it says.
pub(super) fn named(name: &str, message: Option<&str>) -> ProviderError {
    let name = bare(name);
    errors::named(Some(name).filter(|name| !name.is_empty()), message, 200, status_of(name))
}

/// What people are told: some of it is written with a capital.
fn message(told: &Value) -> Option<&str> {
    ["message", "Message", "originalMessage"]
        .into_iter()
        .find_map(|name| told.get(name)?.as_str())
        .filter(|text| !text.is_empty())
}

/// A name without the space that it is of (`ns#Name`) and where it is explained (`Name:http://...`).
fn bare(name: &str) -> &str {
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    name.rsplit_once('#').map_or(name, |(_, name)| name).trim()
}

/// The status that a name comes with where it can (botocore 1.44.8, `httpStatusCode` of each).
fn status_of(name: &str) -> u16 {
    const STATUSES: [(&str, u16); 6] = [
        ("accessDeniedException", 403),
        ("modelStreamErrorException", 424),
        ("resourceNotFoundException", 404),
        ("serviceUnavailableException", 503),
        ("throttlingException", 429),
        ("validationException", 400),
    ];
    STATUSES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(500, |(_, status)| status)
}
