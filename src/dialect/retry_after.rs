//! How long a provider asks to wait. A date is measured against the answer's own `date`, not against our clock: both
//! come from one machine, so neither its error nor ours matters, and the function stays pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// No wait that a provider asks for is believed beyond this.
const LONGEST: Duration = Duration::from_hours(24);

/// The wait that the headers ask for.
pub(super) fn in_headers(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = HeaderName::from_static("retry-after-ms");
    let exact = text(headers, &milliseconds).and_then(seconds).map(|as_seconds| as_seconds / 1000);
    exact.or_else(|| text(headers, &header::RETRY_AFTER).and_then(|value| seconds(value).or_else(|| until(value, headers))))
}

/// A duration written as decimal seconds with the unit (`37s`, `0.5s`), as error details have it.
pub(super) fn in_words(text: &str) -> Option<Duration> {
    text.trim().strip_suffix('s').and_then(seconds)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn seconds(text: &str) -> Option<Duration> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = text.parse::<f64>().ok().filter(|_| plain)?;
    Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |wait| wait.min(LONGEST)))
}

fn until(date: &str, headers: &HeaderMap) -> Option<Duration> {
    let then = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let now = jiff::fmt::rfc2822::parse(text(headers, &header::DATE)?).ok()?.timestamp();
    let wait = u64::try_from(then.as_second() - now.as_second()).unwrap_or(0);
    Some(Duration::from_secs(wait).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)], expected: Option<u64>) {
        let headers = pairs.iter().map(|(k, v)| (HeaderName::from_static(k), v.parse().unwrap())).collect();
        assert_eq!(in_headers(&headers), expected.map(Duration::from_millis), "{pairs:?}");
    }

    #[test]
    fn every_form_is_read() {
        check(&[("retry-after", "7")], Some(7000));
        check(&[("retry-after", "0.25")], Some(250));
        check(&[("retry-after", "9"), ("retry-after-ms", "1500")], Some(1500));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(10_000));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0));
        assert_eq!(in_words("37s"), Some(Duration::from_secs(37)));
    }

    #[test]
    fn nonsense_is_no_wait_and_ages_are_capped() {
        check(&[], None);
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "inf")], None);
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], None);
        check(&[("retry-after", "99999999999999999999999")], Some(86_400_000));
        assert_eq!(in_words("6m0s"), None);
    }
}
