//! Where a provider is reached and how it is asked: its URL and the headers that carry our key.
//!
//! The key lives in headers marked sensitive and in nothing else. A provider may quote it back in an error message,
//! so whatever a provider says goes through [`Endpoint::scrub`] before anybody reads it.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

/// What stands where a key stood.
const REMOVED: &str = "[key removed]";
/// So many first characters of a key are more than its customary prefix.
const TELLING_PART: usize = 6;

/// A provider's address and the headers of every call to it.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    headers: HeaderMap,
    secret: Option<String>,
}

/// Why an endpoint cannot be built from the table and the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("{0:?} is not a URL")]
    Url(String),
    #[error("{0:?} cannot be a header")]
    Header(String),
    #[error("the key has characters that a header cannot carry")]
    Key,
}

impl Endpoint {
    /// Joins base URL and path, and sets the key as a bearer token.
    pub fn new(base_url: &str, path: &str, extra_headers: &[(String, String)], key: Option<&str>) -> Result<Self, EndpointError> {
        let joined = format!("{}{path}", base_url.trim_end_matches('/'));
        let url = Url::parse(&joined).map_err(|_| EndpointError::Url(joined))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // The answer's bytes are metered as they pass: ask for them as they are.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in extra_headers {
            let header = HeaderName::try_from(name).map_err(|_| EndpointError::Header(name.clone()))?;
            headers.insert(header, HeaderValue::try_from(value).map_err(|_| EndpointError::Header(name.clone()))?);
        }
        if let Some(key) = key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| EndpointError::Key)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(Self { url, headers, secret: key.map(str::to_owned) })
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// Takes our key out of something the provider said, its beginning too where the text was cut within it.
    pub fn scrub(&self, said: &str) -> String {
        let Some(secret) = self.secret.as_deref() else { return said.to_owned() };
        let whole = if said.contains(secret) { said.replace(secret, REMOVED) } else { said.to_owned() };
        let kept = whole.trim_end_matches('…');
        let cut = (TELLING_PART..secret.len()).rev().find(|n| secret.get(..*n).is_some_and(|part| kept.ends_with(part)));
        match cut {
            Some(length) => format!("{}{REMOVED}", &kept[..kept.len() - length]),
            None => whole,
        }
    }

    /// Whether our key stands in these bytes.
    pub fn quotes_key(&self, bytes: &[u8]) -> bool {
        self.secret.as_deref().is_some_and(|secret| memchr::memmem::find(bytes, secret.as_bytes()).is_some())
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_no_debug_output_and_is_scrubbed_from_messages() {
        let endpoint = Endpoint::new("https://api.example.com/v1/", "/chat/completions", &[], Some("sk-secret")).unwrap();
        assert_eq!(endpoint.url.as_str(), "https://api.example.com/v1/chat/completions");
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("secret"));
        assert_eq!(endpoint.scrub("bad key sk-secret!"), "bad key [key removed]!");
        assert!(endpoint.quotes_key(b"..sk-secret.."));
    }

    #[test]
    fn a_key_cut_by_the_end_of_a_message_is_scrubbed_too() {
        let endpoint = Endpoint::new("https://api.example.com/v1", "/x", &[], Some("k3y-91c05be24d68")).unwrap();
        assert_eq!(endpoint.scrub("no: k3y-91c05b…"), "no: [key removed]");
        assert_eq!(endpoint.scrub("no: k3y-91c05be24d6"), "no: [key removed]");
        assert_eq!(endpoint.scrub("k3y-91c05be24d68 and k3y-9…"), "[key removed] and k3y-9…");
        assert_eq!(Endpoint::new("https://api.example.com/v1", "/x", &[], Some("k")).unwrap().scrub("no"), "no");
    }

    #[test]
    fn a_key_with_a_line_end_is_refused() {
        let made = Endpoint::new("https://api.example.com", "/x", &[], Some("a\nb"));
        assert_eq!(made.err(), Some(EndpointError::Key));
    }
}
