//! Where a provider is reached and how it is asked: its URL and the headers that carry our key.
//!
//! The key lives in headers marked sensitive and in nothing else. A provider may quote it back in an error message,
//! so whatever a provider says goes through [`Endpoint::scrub`] before anybody reads it.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// A provider's address and the headers of every call to it.
#[derive(Clone)]
pub struct Endpoint {
    uri: Uri,
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
        let uri = Uri::try_from(&joined).ok().filter(is_site).ok_or(EndpointError::Url(joined))?;
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
        Ok(Self { uri, headers, secret: key.map(str::to_owned) })
    }

    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// Takes our key out of something the provider said.
    pub fn scrub(&self, said: &str) -> String {
        match self.secret.as_deref() {
            Some(secret) if said.contains(secret) => said.replace(secret, "[key removed]"),
            _ => said.to_owned(),
        }
    }

    /// Whether our key stands in these bytes.
    pub fn quotes_key(&self, bytes: &[u8]) -> bool {
        self.secret.as_deref().is_some_and(|secret| memchr::memmem::find(bytes, secret.as_bytes()).is_some())
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// A web address of a host. One with a user in it is none: what stands there would not be sent, and the key has its own
/// place.
fn is_site(uri: &Uri) -> bool {
    let user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    matches!(uri.scheme_str(), Some("http" | "https")) && !user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_no_debug_output_and_is_scrubbed_from_messages() {
        let endpoint = Endpoint::new("https://api.example.com/v1/", "/chat/completions", &[], Some("sk-secret")).unwrap();
        assert_eq!(endpoint.uri, "https://api.example.com/v1/chat/completions");
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("secret"));
        assert_eq!(endpoint.scrub("bad key sk-secret!"), "bad key [key removed]!");
        assert!(endpoint.quotes_key(b"..sk-secret.."));
    }

    #[test]
    fn only_a_web_address_is_an_endpoint() {
        let check = |base: &str, accepted: bool| {
            let made = Endpoint::new(base, "/x", &[], None);
            assert_eq!(made.is_ok(), accepted, "{base}");
            assert!(accepted || made.err() == Some(EndpointError::Url(format!("{base}/x"))), "{base}");
        };
        check("http://127.0.0.1:8080/v1", true);
        check("https://[::1]/v1", true);
        check("api.example.com/v1", false);
        check("ftp://api.example.com", false);
        check("https://user:word@api.example.com", false);
        check("https://api example.com", false);
    }

    #[test]
    fn a_key_with_a_line_end_is_refused() {
        let made = Endpoint::new("https://api.example.com", "/x", &[], Some("a\nb"));
        assert_eq!(made.err(), Some(EndpointError::Key));
    }
}
