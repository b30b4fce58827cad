//! Letting pages of other origins call the API from a browser: off unless the operator names origins.
//!
//! Never with credentials: keys travel in `authorization`, which a page sets itself, so no cookie or client certificate of
//! a visitor has any business here. Origins are compared byte by byte; there are no patterns that could match too much.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

/// What a page may read of an answer's headers.
pub const EXPOSED: &str = "x-tokenbroker-request-id, x-tokenbroker-backend, x-tokenbroker-cost-usd, x-tokenbroker-decision, \
                       x-tokenbroker-dropped, x-tokenbroker-budget, x-request-id, x-should-retry, retry-after, \
                       x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
                       x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/// How long a browser may remember what it was allowed, in seconds: the longest that all of them take.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// Whose pages may call.
#[derive(Debug, Clone)]
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// For these origins, or for all with `*`; `None` without any.
    pub fn of(origins: &[String]) -> Option<Self> {
        let any = origins.iter().any(|origin| origin == "*");
        let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
        (!origins.is_empty()).then_some(Self { any, origins })
    }

    /// What the origin of a request is told it may; `None` when it may not, or when there is no origin.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.contains(origin).then(|| origin.clone())
    }

    /// The answer to a browser that asks before it sends, where it may.
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        if request.method() != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let origin = self.allowed(headers)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let allowed = response.headers_mut();
        allowed.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            // SDKs add headers of their own; which ones is no secret and changes nothing here.
            allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        allowed.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        allowed.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
        Some(response)
    }

    /// What every other answer says: whether its origin may read it.
    pub fn grant(&self, headers: &HeaderMap) -> Grant {
        Grant { origin: self.allowed(headers), varies: !self.any }
    }
}

/// What an origin may read of one answer.
#[derive(Debug)]
pub struct Grant {
    origin: Option<HeaderValue>,
    varies: bool,
}

impl Grant {
    pub fn mark(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preflight(cors: &Cors, origin: &str) -> Option<Response> {
        let request = Request::options("/v1/models")
            .header(ORIGIN, origin)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,x-stainless-os");
        cors.preflight(&request.body(()).unwrap())
    }

    #[test]
    fn only_a_named_origin_is_let_in_to_the_byte() {
        let cors = Cors::of(&["https://app.example.com".to_owned()]).unwrap();
        let allowed = preflight(&cors, "https://app.example.com").unwrap();
        assert_eq!(allowed.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
        assert_eq!(allowed.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "authorization,x-stainless-os");
        for other in ["https://app.example.com.evil.org", "http://app.example.com", "https://App.example.com", "null", "*"] {
            assert!(preflight(&cors, other).is_none(), "{other}");
        }
        assert!(Cors::of(&[]).is_none());
    }

    #[test]
    fn nobodys_credentials_are_ever_asked_for() {
        let cors = Cors::of(&["*".to_owned()]).unwrap();
        let asked = preflight(&cors, "https://anybody.example").unwrap();
        assert_eq!(asked.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!asked.headers().contains_key("access-control-allow-credentials"));
        let mut response = Response::new(Body::empty());
        cors.grant(&[(ORIGIN, HeaderValue::from_static("https://x.example"))].into_iter().collect()).mark(&mut response);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.headers().contains_key(VARY) && response.headers().contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
    }
}
