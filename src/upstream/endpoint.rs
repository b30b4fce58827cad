//! Where a provider is reached and how it is asked: its URL and the headers that carry our key.
//!
//! The key, or the token in its place, lives in headers marked sensitive and in nothing else. A provider may quote it back in an error message,
//! so whatever a provider says goes through [`Endpoint::scrub`] before anybody reads it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use memchr::memmem::Finder;

use super::client::UpstreamError;
use super::sigv4::Signer;
use super::token::Token;

/// What stands where a key stood.
const REMOVED: &str = "[key removed]";
/// So many first characters of a key are more than its customary prefix.
const TELLING_PART: usize = 6;

/// A place in an address: a name there is put in by the call.
const NAMED: &str = "{deployment}";

/// A provider's address and the headers of every call to it.
#[derive(Clone)]
pub struct Endpoint {
    /// Without the query.
    uri: Uri,
    /// Of every call, `name=value&...`; empty for none.
    query: String,
    headers: HeaderMap,
    secret: Option<Secret>,
    /// Sent in the place of a key.
    token: Option<Arc<Token>>,
    /// Signs what is sent in the place of a key.
    signer: Option<Arc<Signer>>,
}

/// A provider's key and how it is sent.
#[derive(Clone, Copy)]
pub struct Key<'k> {
    /// The header that carries it.
    pub header: &'k str,
    /// What stands in the header before it.
    pub prefix: &'k str,
    pub text: &'k str,
}

#[cfg(test)]
impl<'k> Key<'k> {
    /// One that is sent as a bearer token.
    fn bearer(text: &'k str) -> Self {
        Self { header: "authorization", prefix: "Bearer ", text }
    }
}

/// A shorter key is no secret but a word that some local server wants to see (`none`, `ollama`), and words stand in
/// answers. Every vendor's key is longer.
const SHORTEST_SECRET: usize = 16;

/// Our key, ready to be looked for.
#[derive(Clone)]
pub(super) struct Secret {
    text: String,
    finder: Finder<'static>,
}

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), finder: Finder::new(text).into_owned() }
    }

    /// The secret itself, for whoever sends it or signs with it.
    pub(super) fn expose(&self) -> &str {
        &self.text
    }

    /// Whether it stands in these bytes, written plainly or in JSON's escapes.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        let found = |bytes: &[u8]| self.finder.find(bytes).is_some();
        found(bytes) || plainly(bytes).is_some_and(|plain| found(&plain))
    }

    /// Takes it out of a text, its beginning too where the text was cut within it.
    fn taken_out_of(&self, said: &str) -> String {
        let secret = self.text.as_str();
        let whole = said.replace(secret, REMOVED);
        let kept = whole.trim_end_matches('…');
        let cut = (TELLING_PART..secret.len()).rev().find(|n| secret.get(..*n).is_some_and(|part| kept.ends_with(part)));
        match cut {
            Some(length) => format!("{}{REMOVED}", &kept[..kept.len() - length]),
            None => whole,
        }
    }
}

/// JSON text with `\/` and `\u00XX` written out; `None` where there are none. A key is ASCII, so no other escape can hide
/// one.
fn plainly(json: &[u8]) -> Option<Vec<u8>> {
    let escape = |rest: &[u8]| match rest {
        [b'\\', b'/', ..] => Some((b'/', 2)),
        [b'\\', b'u', b'0', b'0', high, low, ..] => Some((hex(*high)? << 4 | hex(*low)?, 6)),
        _ => None,
    };
    let mut escaped = memchr::memchr_iter(b'\\', json).filter(|at| escape(&json[*at..]).is_some()).peekable();
    escaped.peek()?;
    let (mut plain, mut copied) = (Vec::with_capacity(json.len()), 0);
    for at in escaped {
        if let Some((byte, length)) = escape(&json[at..]) {
            plain.extend_from_slice(&json[copied..at]);
            plain.push(byte);
            copied = at + length;
        }
    }
    plain.extend_from_slice(&json[copied..]);
    Some(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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
    /// Joins base URL and path, and sets the headers of every call; of two of one name the later one counts.
    pub fn new<'h>(
        base_url: &str,
        path: &str,
        extra_headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        key: Option<Key<'_>>,
    ) -> Result<Self, EndpointError> {
        let joined = format!("{}{path}", base_url.trim_end_matches('/'));
        let uri = Uri::try_from(&joined).ok().filter(is_site).ok_or(EndpointError::Url(joined))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // The answer's bytes are metered as they pass: ask for them as they are.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in extra_headers {
            let header = HeaderName::try_from(name).map_err(|_| EndpointError::Header(name.to_owned()))?;
            headers.insert(header, HeaderValue::try_from(value).map_err(|_| EndpointError::Header(name.to_owned()))?);
        }
        if let Some(key) = key {
            let header = HeaderName::try_from(key.header).map_err(|_| EndpointError::Header(key.header.to_owned()))?;
            let mut value = HeaderValue::try_from(format!("{}{}", key.prefix, key.text)).map_err(|_| EndpointError::Key)?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(Self { uri, query: String::new(), headers, secret: key.map(|key| Secret::new(key.text)), token: None, signer: None })
    }

    /// The same with a token in the place of a key.
    #[must_use]
    pub fn with_token(self, token: Option<Arc<Token>>) -> Self {
        Self { token, ..self }
    }

    /// The same with requests that are signed in the place of a key.
    #[must_use]
    pub fn with_signer(self, signer: Option<Signer>) -> Self {
        Self { signer: signer.map(Arc::new), ..self }
    }

    /// The same with these in the query of every call, behind what a call's own path has there.
    pub fn with_query<'q>(self, members: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, EndpointError> {
        let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let endpoint = Self { query: members.join("&"), ..self };
        endpoint.at("", "x").map(|_| endpoint)
    }

    /// Where a call goes: `path` is its own, behind that of the endpoint, and `named` what the provider calls the model, for
    /// an address with a place for it (`{deployment}`).
    pub fn at(&self, path: &str, named: &str) -> Result<Uri, EndpointError> {
        let has_place = self.uri.path().contains(NAMED);
        if path.is_empty() && self.query.is_empty() && !has_place {
            return Ok(self.uri.clone());
        }
        let mut joined = format!("{}{path}", self.uri.to_string().trim_end_matches('/'));
        if has_place {
            joined = joined.replace(NAMED, named);
        }
        if !self.query.is_empty() {
            joined.push(if path.contains('?') { '&' } else { '?' });
            joined.push_str(&self.query);
        }
        Uri::try_from(&joined).map_err(|_| EndpointError::Url(joined))
    }

    /// Waits until a call has everything that it carries: for a provider's very first token.
    ///
    /// # Errors
    /// Where there is no token. Nothing was sent then.
    pub async fn ready(&self) -> Result<(), UpstreamError> {
        match &self.token {
            Some(token) => token.header().await.map(drop),
            None => Ok(()),
        }
    }

    /// The site refused what it was sent at an instant in the place of a key. Answers whether that is another for the next call,
    /// which may then fare otherwise.
    pub fn refused(&self, sent: Timestamp, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|token| token.refuse(sent, now))
    }

    /// Those of a call from now on; where a token belongs to them and there is none, why.
    pub(super) async fn headers(&self) -> Result<HeaderMap, UpstreamError> {
        let mut headers = self.headers.clone();
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.header().await?);
        }
        Ok(headers)
    }

    /// Signs a request that is sent at an instant, where that belongs to it.
    pub(super) fn sign(&self, request: &mut Request<Full<Bytes>>, body: &[u8], at: Timestamp) -> Result<(), UpstreamError> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let outcome = signer.sign((&method, &uri), request.headers_mut(), body, at);
        outcome.map_err(|_| UpstreamError::NoToken("the credentials have characters that no header can carry".to_owned()))
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secret.iter().chain(self.signer.iter().flat_map(|signer| signer.secrets()))
    }

    /// Takes our key out of something the provider said, its beginning too where the text was cut within it.
    pub fn scrub(&self, said: &str) -> String {
        let of_token = self.token.as_ref().map(|token| token.secrets()).unwrap_or_default();
        let secrets = self.secrets().chain(of_token.iter().flatten());
        secrets.fold(said.to_owned(), |said, secret| secret.taken_out_of(&said))
    }

    /// Whether our key stands in these bytes, written plainly or in JSON's escapes. A key of fewer than 16 bytes is never
    /// found: it is a word, not a secret.
    pub fn quotes_key(&self, bytes: &[u8]) -> bool {
        let quoted = |secret: &Secret| secret.text.len() >= SHORTEST_SECRET && secret.is_in(bytes);
        let of_token = || self.token.as_ref().is_some_and(|token| token.secrets().iter().flatten().any(quoted));
        self.secrets().any(quoted) || of_token()
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
        let endpoint =
            Endpoint::new("https://api.example.com/v1/", "/chat/completions", [], Some(Key::bearer("sk-secret"))).unwrap();
        assert_eq!(endpoint.uri, "https://api.example.com/v1/chat/completions");
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("secret"));
        assert_eq!(endpoint.scrub("bad key sk-secret!"), "bad key [key removed]!");
        assert!(!endpoint.quotes_key(b"..sk-secret.."), "too short to be a secret");
    }

    #[test]
    fn a_key_is_found_however_json_writes_it() {
        let endpoint = Endpoint::new("https://api.example.com", "/x", [], Some(Key::bearer("bce-v3/ALTAK-7c2e"))).unwrap();
        let key = r"bce-v3/ALTAK-7c2e";
        let writings = [key.to_owned(), key.replace('/', r"\/"), key.replace('-', r"\u002d"), key.replace('-', r"\u002D")];
        for said in &writings {
            assert!(endpoint.quotes_key(format!(r#"{{"n":"\n\\{said}\u4f60"}}"#).as_bytes()), "{said}");
        }
        for said in ["", "bce-v3", r"bce-v3\\ALTAK-7c2e", r"bce-v3\u00", r"bce-v3\u00zzALTAK-7c2e", r"bce-v3\u552fALTAK-7c2e"] {
            assert!(!endpoint.quotes_key(said.as_bytes()), "{said}");
        }
    }

    #[test]
    fn only_a_web_address_is_an_endpoint() {
        let check = |base: &str, accepted: bool| {
            let made = Endpoint::new(base, "/x", [], None);
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
    fn a_path_of_its_own_stands_behind_that_of_the_endpoint() {
        for (base, expected) in [
            ("https://api.example.com/v1beta/", "https://api.example.com/v1beta/models/m:stream?alt=sse"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/models/m:stream?alt=sse"),
        ] {
            let endpoint = Endpoint::new(base, "", [], None).unwrap();
            assert_eq!(endpoint.at("/models/m:stream?alt=sse", "m").unwrap(), expected);
            assert!(endpoint.at("/models/a model", "m").is_err());
            let dated = endpoint.with_query([("api-version", "2026-01-01")]).unwrap();
            assert_eq!(dated.at("/models/m:stream?alt=sse", "m").unwrap(), *format!("{expected}&api-version=2026-01-01"));
        }
    }

    #[test]
    fn an_address_may_have_a_place_for_the_model_and_a_query() {
        let made = |base: &str, query: &[(&str, &str)]| {
            Endpoint::new(base, "/chat/completions", [], None).unwrap().with_query(query.iter().copied())
        };
        let endpoint =
            made("https://x.example.com/openai/deployments/{deployment}", &[("api-version", "1"), ("b", "2")]).unwrap();
        let uri = endpoint.at("", "my-chat").unwrap();
        assert_eq!(uri, "https://x.example.com/openai/deployments/my-chat/chat/completions?api-version=1&b=2");
        let plain = made("https://x.example.com/v1", &[]).unwrap();
        assert_eq!(plain.at("", "my-chat").unwrap(), "https://x.example.com/v1/chat/completions");
        assert!(made("https://x.example.com/v1", &[("a", "b c")]).is_err());
    }

    #[test]
    fn a_key_cut_by_the_end_of_a_message_is_scrubbed_too() {
        let endpoint = Endpoint::new("https://api.example.com/v1", "/x", [], Some(Key::bearer("k3y-91c05be24d68"))).unwrap();
        assert_eq!(endpoint.scrub("no: k3y-91c05b…"), "no: [key removed]");
        assert_eq!(endpoint.scrub("no: k3y-91c05be24d6"), "no: [key removed]");
        assert_eq!(endpoint.scrub("k3y-91c05be24d68 and k3y-9…"), "[key removed] and k3y-9…");
        assert_eq!(Endpoint::new("https://api.example.com/v1", "/x", [], Some(Key::bearer("k"))).unwrap().scrub("no"), "no");
    }

    #[test]
    fn a_key_goes_where_the_site_looks_for_it_and_the_later_header_counts() {
        let key = Key { header: "x-api-key", prefix: "", text: "sk-secret" };
        let extra = [("anthropic-version", "2023-06-01"), ("Anthropic-Version", "2099-01-01")];
        let endpoint = Endpoint::new("https://api.example.com/v1", "/messages", extra, Some(key)).unwrap();
        assert_eq!(endpoint.headers["x-api-key"], "sk-secret");
        assert!(!endpoint.headers.contains_key("authorization"));
        assert_eq!(endpoint.headers["anthropic-version"], "2099-01-01");
        assert!(endpoint.headers["x-api-key"].is_sensitive() && !format!("{:?}", endpoint.headers).contains("secret"));
    }

    #[test]
    fn a_key_with_a_line_end_is_refused() {
        let made = Endpoint::new("https://api.example.com", "/x", [], Some(Key::bearer("a\nb")));
        assert_eq!(made.err(), Some(EndpointError::Key));
    }
}
