//! The description of the API for programs: one file, part of the binary, served as it is.
//!
//! It is written by hand, since what it has to say (meanings, examples, what a client should do) stands in no type. The
//! tests here hold it to the code: paths and methods to the router, error codes and wishes to their lists. Real answers are held to
//! its schemas in `tests/sdk/python/test_api.py`. It holds nothing of an installation and asks for no key.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// The document, in version 3.1 of `OpenAPI`.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::frontend::codes::CODES;
    use crate::frontend::wishes;
    use crate::route::Rule;
    use crate::telemetry::{Label as _, Route};
    use serde_json::Value;

    const ROUTES: &str = include_str!("routes.rs");
    const DASHBOARD: &str = include_str!("dashboard/mod.rs");
    const PAGE: &str = include_str!("../../docs/api.md");

    fn described() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn words(list: &Value) -> BTreeSet<&str> {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    /// What a listener serves, as `GET /v1/models/{id}`, read from the source of its routers. What the page loads is a part
    /// of it and no interface.
    fn served(listener: &str) -> BTreeSet<String> {
        let mut paths = routes(ROUTES, &format!("pub fn {listener}("));
        if listener == "api" {
            paths.extend(Route::ANSWERED.map(|route| format!("POST {}", route.word())));
        }
        if listener == "operations" {
            paths.extend(routes(DASHBOARD, "fn routes(").into_iter().filter(|path| !path.contains("/assets/")));
        }
        paths
    }

    fn routes(source: &str, function: &str) -> BTreeSet<String> {
        let body = source.split_once(function).unwrap().1.split_once("\n}\n").unwrap().0;
        let route = |line: &str| {
            let (path, handler) = line.split_once("\",")?;
            let method = handler.trim_start().split_once('(')?.0.to_uppercase();
            Some(format!("{method} {}", path.trim_start().trim_start_matches('"').replace("{*", "{")))
        };
        body.split(".route(").skip(1).filter_map(route).collect()
    }

    /// What the document describes of one listener.
    fn documented(document: &Value, listener: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            if item["x-listeners"].as_array().unwrap().iter().any(|name| name == listener) {
                let methods = item.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&key.as_str()));
                found.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
            }
        }
        found
    }

    #[test]
    fn every_path_of_the_router_is_described_and_every_described_one_is_served() {
        let document = described();
        for listener in ["api", "operations"] {
            let served = served(listener);
            assert!(served.len() > 2, "{served:?}");
            assert_eq!(served, documented(&document, listener), "{listener}");
            for path in served {
                assert!(PAGE.contains(&format!("`{path}`")), "docs/api.md lacks `{path}`");
            }
        }
    }

    #[test]
    fn the_document_is_of_this_version() {
        assert_eq!(described()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_error_code_is_described_with_its_statuses() {
        let document = described();
        let schemas = &document["components"]["schemas"];
        let known: BTreeSet<&str> = CODES.iter().map(|known| known.code).collect();
        assert_eq!(words(&schemas["ErrorCode"]["enum"]), known);
        for known in CODES {
            let statuses: Vec<String> = known.statuses.iter().map(u16::to_string).collect();
            let shown = if statuses.is_empty() { "in a stream".to_owned() } else { statuses.join(", ") };
            let row = format!("| {shown} | `{}` |", known.code);
            assert!(PAGE.contains(&row), "docs/api.md lacks {row}");
        }
    }

    #[test]
    fn every_wish_is_described_in_the_body_and_as_a_header() {
        let document = described();
        let body = &document["components"]["schemas"]["Wishes"]["properties"];
        let in_body: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(in_body, wishes::names().map(|(body, _)| body).collect());
        let parameters = document["components"]["parameters"].as_object().unwrap();
        let headers: BTreeSet<&str> =
            parameters.values().map(|p| p["name"].as_str().unwrap()).filter(|n| n.starts_with("x-tokenbroker-")).collect();
        let expected: Vec<String> = wishes::names().map(|(_, header)| format!("x-tokenbroker-{header}")).collect();
        assert_eq!(headers, expected.iter().map(String::as_str).collect());
        for (body, header) in wishes::names() {
            let row = format!("| `{body}` | `x-tokenbroker-{header}` |");
            assert!(PAGE.contains(&row), "docs/api.md lacks {row}");
        }
    }

    #[test]
    fn every_rule_that_leaves_a_backend_out_is_described() {
        let document = described();
        assert_eq!(words(&document["components"]["schemas"]["Refused"]["properties"]["rule"]["enum"]), Rule::WORDS.into());
    }
}
