//! What a provider tells of its rate limits in the headers of an answer: how many requests and tokens are left, of how many,
//! and for how long. Names differ and meanings do not, so every known name is read whoever sends it
//! (`providers.md` section 4.1, 2026-11-22):
//!
//! - `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as durations (`6m0s`, `20ms`) or seconds;
//! - `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, resets as instants;
//! - `x-ratelimit-{limit,remaining,reset}`, of requests, resets as seconds or as an instant in seconds or milliseconds;
//! - `ratelimitbysize-{limit,remaining,reset}`, of tokens.
//!
//! Of several limits on tokens the scarcest counts. An instant is measured against the answer's own `date`. A value that
//! cannot be read is as if it were not there: these headers advise, they decide nothing.

use std::time::Duration;

use http::header::DATE;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

/// No reset is believed beyond this.
const LONGEST: Duration = Duration::from_hours(24);

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub left: u64,
    /// Of how many, where it is told.
    pub limit: Option<u64>,
    /// How long until it is whole again, where it is told.
    pub resets: Option<Duration>,
}

impl Left {
    /// The scarcer of two: by share where both tell their limit, else by number.
    fn scarcer(self, other: Left) -> Left {
        let share = |one: Left| one.limit.map(|limit| u128::from(one.left) * 1_000_000 / u128::from(limit.max(1)));
        let less = match (share(self), share(other)) {
            (Some(mine), Some(others)) => mine <= others,
            _ => self.left <= other.left,
        };
        if less { self } else { other }
    }
}

/// What an answer tells of its provider's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    pub requests: Option<Left>,
    pub tokens: Option<Left>,
}

/// The names of one limit: left, limit, reset.
type Names = [HeaderName; 3];

static REQUESTS: [Names; 3] = [
    [
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-limit"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ],
    [
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-reset"),
    ],
];

static TOKENS: [Names; 5] = [
    [
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
    ],
    [
        HeaderName::from_static("ratelimitbysize-remaining"),
        HeaderName::from_static("ratelimitbysize-limit"),
        HeaderName::from_static("ratelimitbysize-reset"),
    ],
];

/// What each of the names begins with or has behind its vendor's.
const RATE_LIMIT: &str = "ratelimit";

/// Reads what the headers tell.
pub fn in_headers(headers: &HeaderMap) -> RateLimits {
    // Most answers tell nothing, and looking for each name in vain takes longer than to look at the few that are there.
    if !headers.keys().any(|name| name.as_str().contains(RATE_LIMIT)) {
        return RateLimits::default();
    }
    let scarcest = |names: &[Names]| names.iter().filter_map(|names| left(headers, names)).reduce(Left::scarcer);
    RateLimits { requests: scarcest(&REQUESTS), tokens: scarcest(&TOKENS) }
}

fn left(headers: &HeaderMap, [left, limit, reset]: &Names) -> Option<Left> {
    let number = |name| text(headers, name)?.parse::<u64>().ok();
    let left = number(left)?;
    let resets = text(headers, reset).and_then(|value| until(value, headers));
    Some(Left { left, limit: number(limit).filter(|limit| *limit > 0), resets })
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A reset in any of its forms.
fn until(value: &str, headers: &HeaderMap) -> Option<Duration> {
    if let Ok(number) = value.parse::<u64>() {
        return Some(match number {
            0..=999_999 => Duration::from_secs(number).min(LONGEST),
            1_000_000..=99_999_999_999 => from_now(i64::try_from(number).ok()?, headers)?,
            _ => from_now(i64::try_from(number / 1000).ok()?, headers)?,
        });
    }
    match value.parse::<Timestamp>() {
        Ok(instant) => from_now(instant.as_second(), headers),
        Err(_) => spelt(value),
    }
}

/// How far an instant is ahead of the answer.
fn from_now(then: i64, headers: &HeaderMap) -> Option<Duration> {
    let now = jiff::fmt::rfc2822::parse(text(headers, &DATE)?).ok()?.timestamp().as_second();
    let wait = u64::try_from(then.saturating_sub(now)).unwrap_or(0);
    Some(Duration::from_secs(wait).min(LONGEST))
}

/// A duration as `6m0s`, `1.5s` or `20ms`; fractions of a second are dropped.
fn spelt(value: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (value, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let whole: u64 = number.split('.').next()?.parse().ok()?;
        let seconds = match unit {
            "ms" => 0,
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let part = if unit == "ms" { Duration::from_millis(whole) } else { Duration::from_secs(whole.checked_mul(seconds)?) };
        sum = sum.saturating_add(part);
        rest = behind;
    }
    (!value.is_empty()).then(|| sum.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> RateLimits {
        in_headers(&pairs.iter().map(|(k, v)| (HeaderName::from_static(k), v.parse().unwrap())).collect())
    }

    fn told(left: u64, limit: Option<u64>, resets_ms: Option<u64>) -> Left {
        Left { left, limit, resets: resets_ms.map(Duration::from_millis) }
    }

    #[test]
    fn every_vendors_names_are_read() {
        let openai = [
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29000"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        let expected = RateLimits {
            requests: Some(told(499, Some(500), Some(120))),
            tokens: Some(told(29_000, Some(30_000), Some(360_000))),
        };
        assert_eq!(read(&openai), expected);
        let anthropic = [
            ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
            ("anthropic-ratelimit-requests-remaining", "4"),
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:07Z"),
            ("anthropic-ratelimit-tokens-remaining", "90000"),
            ("anthropic-ratelimit-tokens-limit", "100000"),
            ("anthropic-ratelimit-output-tokens-remaining", "2000"),
            ("anthropic-ratelimit-output-tokens-limit", "10000"),
        ];
        let expected = RateLimits { requests: Some(told(4, Some(50), Some(7000))), tokens: Some(told(2000, Some(10_000), None)) };
        assert_eq!(read(&anthropic), expected);
        let plain = [("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "30")];
        assert_eq!(read(&plain).requests, Some(told(3, None, Some(30_000))));
        let instant = [
            ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-limit", "20"),
            ("x-ratelimit-reset", "1795341660000"),
        ];
        assert_eq!(read(&instant).requests, Some(told(3, Some(20), Some(60_000))));
        assert_eq!(read(&[("ratelimitbysize-remaining", "7")]).tokens, Some(told(7, None, None)));
    }

    #[test]
    fn nonsense_is_as_if_it_were_not_there() {
        assert_eq!(read(&[]), RateLimits::default());
        assert_eq!(read(&[("x-ratelimit-remaining", "many")]), RateLimits::default());
        assert_eq!(read(&[("x-ratelimit-limit", "9")]), RateLimits::default());
        for reset in ["soon", "1x", "s", "99999999999999999999s", "2026-11-22T10:00:07Z", "1795341660"] {
            let pairs = [("x-ratelimit-remaining", "3"), ("x-ratelimit-limit", "0"), ("x-ratelimit-reset", reset)];
            assert_eq!(read(&pairs).requests, Some(told(3, None, None)), "{reset}");
        }
        let ages = [("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "900d")];
        assert_eq!(read(&ages).requests, Some(told(3, None, Some(86_400_000))));
    }

    proptest! {
        #[test]
        fn no_value_panics(left in "[ -~]{0,24}", reset in "[0-9a-zA-Z:.+-]{0,24}") {
            read(&[("x-ratelimit-remaining", &left), ("x-ratelimit-reset", &reset), ("date", "Sun, 22 Nov 2026 10:00:00 GMT")]);
        }
    }
}
