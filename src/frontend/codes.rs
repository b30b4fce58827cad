//! The list of error codes: every word that may stand in `error.code`. Documents and clients count on it being closed, so a
//! word that is not here fails the first test that meets it, and `docs/api.md` and `/openapi.json` are held to it.
//!
//! One more source there is: when a provider refuses a request for good, its own body passes where it is in the client's shape, code
//! and all.

/// Where a code occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub code: &'static str,
    /// The statuses it comes with; none for one that only ends a stream.
    pub statuses: &'static [u16],
}

const fn known(code: &'static str, statuses: &'static [u16]) -> Known {
    Known { code, statuses }
}

/// Every code, by its first status.
pub const CODES: &[Known] = &[
    known("invalid_json", &[400]),
    known("invalid_multipart", &[400]),
    known("nesting_too_deep", &[400]),
    known("missing_required_parameter", &[400]),
    known("unknown_parameter", &[400]),
    known("unsupported_parameter", &[400]),
    known("duplicate_parameter", &[400]),
    known("invalid_type", &[400]),
    known("invalid_value", &[400]),
    known("invalid_parameter", &[400]),
    known("unpriced_parameter", &[400]),
    known("untranslatable", &[400]),
    known("previous_response_not_found", &[400]),
    known("invalid_request_id", &[400]),
    known("body_incomplete", &[400]),
    known("invalid_content_encoding", &[400]),
    known("no_adequate_backend", &[400]),
    known("context_length_exceeded", &[400]),
    known("bad_request", &[400]),
    known("moderation", &[400]),
    known("invalid_api_key", &[401]),
    known("insufficient_quota", &[402, 429]),
    known("browser_refused", &[403]),
    known("model_not_allowed", &[403]),
    known("model_not_found", &[404]),
    known("path_not_found", &[404]),
    known("response_not_found", &[404]),
    known("decision_not_found", &[404]),
    known("admin_off", &[404]),
    known("method_not_allowed", &[405]),
    known("body_timeout", &[408]),
    known("decision_forgotten", &[410]),
    known("request_too_large", &[413]),
    known("unsupported_media_type", &[415]),
    known("unsupported_content_encoding", &[415]),
    known("price_not_changed", &[422]),
    known("key_not_changed", &[422]),
    known("budget_not_changed", &[422]),
    known("reports_not_changed", &[422]),
    known("rate_limit_exceeded", &[429]),
    known("headers_too_large", &[431]),
    known("decision_unreadable", &[500]),
    known("price_book_failed", &[500]),
    known("key_book_failed", &[500]),
    known("not_implemented", &[501]),
    known("upstream_error", &[502]),
    known("upstream_unavailable", &[503]),
    known("no_backend_available", &[503]),
    known("overloaded", &[503]),
    known("books_unwritable", &[503]),
    known("books_unavailable", &[503]),
    known("fleet_unavailable", &[503]),
    known("no_reload", &[503]),
    known("upstream_timeout", &[504]),
    known("upstream_truncated", &[]),
    known("upstream_broken", &[]),
    known("timeout", &[]),
    known("schema_mismatch", &[]),
];

/// Whether a code is on the list.
pub fn is_known(code: &str) -> bool {
    CODES.iter().any(|known| known.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_stands_twice() {
        for (index, known) in CODES.iter().enumerate() {
            assert!(!CODES[..index].iter().any(|other| other.code == known.code), "{}", known.code);
        }
    }

    #[test]
    #[should_panic(expected = "frontend/codes.rs")]
    fn a_code_that_is_not_on_the_list_is_told_where_it_is_made() {
        let _ =
            crate::frontend::errors::ClientError::new(400, crate::frontend::errors::ErrorKind::InvalidRequest, "made_up", "x");
    }
}
