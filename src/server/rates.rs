//! How the limits on requests and tokens per minute stand, in the headers that OpenAI tells it in.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::{Lane, Standing};

/// Limit, what remains and when all is back, of requests and of tokens.
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Says how the tightest limits stand, where there are any.
pub(super) fn mark(headers: &mut HeaderMap, standing: &Standing) {
    for (names, lane) in [(REQUESTS, standing.requests), (TOKENS, standing.tokens)] {
        let Some(Lane { limit, remaining, reset }) = lane else { continue };
        let [for_limit, for_remaining, for_all] = names;
        headers.insert(for_limit, HeaderValue::from(limit));
        headers.insert(for_remaining, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::try_from(shown(reset)) {
            headers.insert(for_all, reset);
        }
    }
}

/// What `retry-after` says: at least a second, and not a moment too early.
pub(super) fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// As OpenAI writes times: `17ms`, `1.5s`, `6m0s`. Rounded up to a millisecond, so that nobody comes too early.
fn shown(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match (rest / 1_000, rest % 1_000) {
        (whole, 0) => format!("{whole}s"),
        (whole, part) => format!("{whole}.{}s", format!("{part:03}").trim_end_matches('0')),
    };
    match minutes {
        0 if rest < 1_000 && rest > 0 => format!("{rest}ms"),
        0 => seconds,
        _ => format!("{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_writes_them() {
        let check = |nanos: u64, expected: &str| assert_eq!(shown(Duration::from_nanos(nanos)), expected, "{nanos}");
        check(0, "0s");
        check(1, "1ms");
        check(17_000_000, "17ms");
        check(1_000_000_000, "1s");
        check(8_571_428_572, "8.572s");
        check(1_500_000_000, "1.5s");
        check(59_999_999_999, "1m0s");
        check(90_010_000_000, "1m30.01s");
        check(3_600_000_000_000, "60m0s");
    }
}
