//! How a pretend provider says no, in OpenAI's shape.

use serde_json::json;

/// A refusal before anything was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    kind: String,
    code: Option<String>,
    message: String,
    /// Seconds of a `retry-after` header.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: u16, kind: &str, code: &str, message: &str) -> Self {
        let message = format!("[sandbox] {message}");
        Self { status, kind: kind.into(), code: (!code.is_empty()).then(|| code.into()), message, retry_after: None }
    }

    #[must_use]
    pub(super) fn retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    pub(super) fn malformed(message: &str) -> Self {
        Self::new(400, "invalid_request_error", "", message)
    }

    pub(super) fn unsupported(what: &str, model: &str) -> Self {
        Self::new(400, "invalid_request_error", "unsupported_parameter", &format!("{what} is not supported by {model}"))
    }

    pub(super) fn no_key() -> Self {
        Self::new(401, "authentication_error", "invalid_api_key", "no API key was sent; any text will do")
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        Self::new(404, "invalid_request_error", "model_not_found", &format!("the model {model:?} does not exist here"))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(
            404,
            "invalid_request_error",
            "",
            "no such path; this pretend provider serves POST chat/completions and GET models",
        )
    }

    pub(super) fn too_long(window: u64, wanted: u64) -> Self {
        let message = format!("this model's maximum context length is {window} tokens, but {wanted} were asked for");
        Self::new(400, "invalid_request_error", "context_length_exceeded", &message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(413, "invalid_request_error", "", "the request body could not be read or is too large")
    }

    pub(super) fn overloaded() -> Self {
        Self::new(
            503,
            "server_error",
            "overloaded",
            "the pretend provider is overloaded; the table says that it fails this often",
        )
    }

    pub(super) fn too_many_requests() -> Self {
        let message = "too many requests; the table says that this pretend provider fails this often";
        Self::new(429, "rate_limit_error", "rate_limit_exceeded", message).retry_after(Some(1))
    }

    /// The body `{"error": {...}}`.
    pub(super) fn body(&self) -> String {
        json!({"error": {"message": self.message, "type": self.kind, "param": null, "code": self.code}}).to_string()
    }
}
