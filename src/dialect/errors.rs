//! What a provider's error means: its words are taken from whichever shape they come in and looked up in
//! [`super::markers`]. The code speaks first, then the type, then the message, then the status: a 429 can be a full
//! minute, an empty purse or a busy server, and only the first of these passes by waiting.
//!
//! Errors are rare, so here, unlike in the readers of answers, the JSON is built.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::markers::{BASE_RESP, ERROR_CODE, PHRASES, PREFIXES, STRANGE, WORDS, of_status};
use super::retry_after;
use crate::canonical::ProviderError;
use crate::canonical::event::ErrorClass;

const MAX_MESSAGE_CHARS: usize = 300;
const MAX_CODE_CHARS: usize = 80;

/// Classifies an answer with a bad status.
pub(super) fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let value = serde_json::from_slice::<Value>(body).ok();
    let words = value.as_ref().and_then(Words::of).unwrap_or_else(|| Words::plain(body, value.is_some()));
    let mut error = words.into_error(status, status);
    error.retry_after = retry_after::in_headers(headers).or(error.retry_after);
    error
}

/// The error in a body or frame that came with a good status, where there is one.
pub(super) fn in_good_status(body: &[u8]) -> Option<ProviderError> {
    let value = serde_json::from_slice::<Value>(body).ok()?;
    let words = Words::of(&value).filter(|words| words.shape != Shape::Bare || names_an_error(&value))?;
    // Gateways before us put the HTTP status they could no longer send into the code.
    let meant = words.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..=599).contains(code));
    Some(words.into_error(200, meant.unwrap_or(200)))
}

/// The error of a shape that names it beside the body: its name, its message, the status it came with and the one that the name
/// stands for.
pub(super) fn named(name: Option<&str>, message: Option<&str>, status: u16, meant: u16) -> ProviderError {
    let message = message.map(str::to_owned);
    let used_up = message.as_deref().is_some_and(|message| message.contains(" per day"));
    Words { code: name.map(str::to_owned), message, used_up, ..Words::default() }.into_error(status, meant)
}

/// What an error body says, whatever its shape.
#[derive(Debug, Default)]
struct Words {
    code: Option<String>,
    kind: Option<String>,
    /// A word beside a numeric code (`RESOURCE_EXHAUSTED`), or the reason in the details.
    status_word: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    retry_after: Option<Duration>,
    /// The body names what moderation objected to.
    flagged: bool,
    /// What is exhausted is a quota by the day, so waiting a minute does not help.
    used_up: bool,
    shape: Shape,
}

/// Which table its numbers are looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    #[default]
    ErrorObject,
    /// No object of its own: code and message on the top level.
    Bare,
    BaseResp,
    ErrorCode,
}

impl Words {
    /// The words of a JSON body; `None` when it is no error.
    fn of(body: &Value) -> Option<Self> {
        let body = body.as_array().map_or(Some(body), |items| items.first())?;
        if let Some(error) = body.get("error").filter(|error| !is_nothing(error)) {
            return Some(match error {
                Value::Object(_) => Self::object(error),
                other => Self { message: text(Some(other)), ..Self::object(body) },
            });
        }
        if let Some(state) = body.get("base_resp") {
            let code = text(state.get("status_code")).filter(|code| code != "0")?;
            return Some(Self {
                code: Some(code),
                message: text(state.get("status_msg")),
                shape: Shape::BaseResp,
                ..Self::default()
            });
        }
        if let Some(code) = text(body.get("error_code")).filter(|code| code != "0") {
            return Some(Self {
                code: Some(code),
                message: text(body.get("error_msg")),
                shape: Shape::ErrorCode,
                ..Self::default()
            });
        }
        if let Some(error) = body.pointer("/Response/Error") {
            return Some(Self { code: text(error.get("Code")), message: text(error.get("Message")), ..Self::default() });
        }
        let bare = ["code", "message", "detail"].iter().any(|name| body.get(name).is_some_and(|v| !is_nothing(v)));
        let has_choices = body.get("choices").is_some_and(Value::is_array);
        (bare && !has_choices).then(|| Self { shape: Shape::Bare, ..Self::object(body) })
    }

    fn object(error: &Value) -> Self {
        let member = |name: &str| text(error.get(name));
        let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let detail = |name: &str| details.iter().find_map(|d| text(d.get(name)));
        let metadata = error.get("metadata");
        let violations = details.iter().filter_map(|d| d.get("violations")?.as_array()).flatten();
        Self {
            used_up: violations.filter_map(|quota| quota.get("quotaId")?.as_str()).any(|id| id.contains("PerDay")),
            code: member("code"),
            kind: member("type"),
            status_word: member("status"),
            reason: detail("reason").or_else(|| text(error.pointer("/innererror/code"))),
            message: member("message").or_else(|| member("detail")).or_else(|| {
                // Pydantic's list of what is wrong, bare or as the message.
                ["/detail/0/msg", "/message/detail/0/msg", "/message/0/msg"].iter().find_map(|at| text(error.pointer(at)))
            }),
            retry_after: detail("retryDelay").and_then(|delay| retry_after::in_words(&delay)),
            flagged: metadata.is_some_and(|m| m.get("reasons").is_some() || m.get("flagged_input").is_some()),
            shape: Shape::ErrorObject,
        }
    }

    /// A body that is no error object: a page of a proxy in between, a bare JSON string, nothing.
    fn plain(body: &[u8], is_json: bool) -> Self {
        let start = body.get(..body.len().min(4096)).unwrap_or_default();
        let page = start.trim_ascii().starts_with(b"<") || is_json && !start.trim_ascii().starts_with(b"\"");
        let message = (!page).then(|| String::from_utf8_lossy(start).trim_matches(['"', ' ', '\n']).to_owned());
        Self { message: message.filter(|m| !m.is_empty()), ..Self::default() }
    }

    /// `status` is what it came with, `meant` what it would have come with.
    fn into_error(self, status: u16, meant: u16) -> ProviderError {
        let class = self.class(meant);
        let message = self.message.as_deref().map_or(String::new(), |m| clean(m, MAX_MESSAGE_CHARS, class));
        let message = if message.is_empty() { format!("the provider gave no message (status {meant})") } else { message };
        let numeric = |code: &String| code.parse::<u16>().is_ok_and(|n| n == meant);
        let named = self.code.filter(|code| !numeric(code)).or(self.reason).or(self.status_word).or(self.kind);
        let code = named.map(|code| clean(&code, MAX_CODE_CHARS, class)).filter(|code| !code.is_empty());
        ProviderError { class, status, message, code, retry_after: self.retry_after }
    }

    fn class(&self, status: u16) -> ErrorClass {
        let said = [&self.code, &self.reason, &self.kind, &self.status_word].into_iter().flatten();
        let marked = said.into_iter().find_map(|word| self.class_of_word(word));
        let class = self
            .used_up
            .then_some(ErrorClass::Billing)
            .or(marked)
            .or(self.flagged.then_some(ErrorClass::Moderation))
            .or_else(|| self.class_of_message(status))
            // Where no status says whose fault it is, the type does.
            .or_else(|| (status < 400 && self.kind.as_deref() == Some("invalid_request_error")).then_some(ErrorClass::BadRequest))
            .unwrap_or_else(|| of_status(status));
        if class == ErrorClass::BadRequest && self.is_strange() { ErrorClass::Unsupported } else { class }
    }

    /// Whether the message says that something is not known here.
    fn is_strange(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        STRANGE.iter().any(|phrase| message.contains(phrase))
    }

    fn class_of_word(&self, word: &str) -> Option<ErrorClass> {
        let word = word.to_lowercase();
        let find = |table: &[(&str, ErrorClass)]| table.iter().find(|(marker, _)| *marker == word).map(|(_, class)| *class);
        match self.shape {
            Shape::BaseResp => find(BASE_RESP),
            Shape::ErrorCode => find(ERROR_CODE),
            Shape::ErrorObject | Shape::Bare => {
                find(WORDS).or_else(|| PREFIXES.iter().find(|(prefix, _)| word.starts_with(prefix)).map(|(_, class)| *class))
            }
        }
    }

    fn class_of_message(&self, status: u16) -> Option<ErrorClass> {
        let message = self.message.as_deref()?.to_lowercase();
        let fits = |(phrase, _, statuses): &&(&str, ErrorClass, &[u16])| statuses.contains(&status) && message.contains(phrase);
        PHRASES.iter().find(fits).map(|(_, class, _)| *class)
    }
}

/// Whether a body that has only a code or a message, and a good status, speaks of an error: a greeting has a message too.
fn names_an_error(body: &Value) -> bool {
    let code =
        text(body.get("code")).is_some_and(|code| !matches!(code.to_lowercase().as_str(), "" | "0" | "200" | "ok" | "success"));
    let is_error = |name: &str| body.get(name).is_some_and(|word| word == "error");
    code || is_error("object") || is_error("type") || body.get("detail").is_some()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// A string, or a number's digits.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A provider's text, made fit for a client, a log line and a row: one line, short, without what looks like a key.
fn clean(text: &str, most_chars: usize, class: ErrorClass) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = line.split_whitespace().map(|word| if is_secret(word, class) { "[hidden]" } else { word });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most_chars) {
        None => line,
        Some(_) => line.chars().take(most_chars - 1).chain(['…']).collect(),
    }
}

/// Providers quote the key they refuse, some of them in full. A long word with digits in such a message is one.
fn is_secret(word: &str, class: ErrorClass) -> bool {
    let key_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.');
    let longest = word.split(|c| !key_like(c)).max_by_key(|run| run.len()).unwrap_or_default();
    let has_digit = longest.contains(|c: char| c.is_ascii_digit() || c == '*');
    longest.starts_with("sk-") || class == ErrorClass::Auth && longest.len() >= 12 && has_digit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::event::ErrorClass::*;
    use proptest::prelude::*;

    fn check(status: u16, body: &str, class: ErrorClass) {
        let error = classify(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((error.class, error.status), (class, status), "{status} {body}");
    }

    fn check_good(body: &str, class: ErrorClass) {
        let error = in_good_status(body.as_bytes()).unwrap_or_else(|| panic!("no error seen in {body}"));
        assert_eq!((error.class, error.status), (class, 200), "{body}");
    }

    /// Of Responses: no status says whose fault it is.
    #[test]
    fn an_answer_that_failed_says_whose_fault_it_is() {
        let failed = |code: &str| format!(r#"{{"status":"failed","output":[],"error":{{"code":"{code}","message":"No."}}}}"#);
        for (code, class) in [
            ("server_error", Overloaded),
            ("rate_limit_exceeded", RateLimited),
            ("invalid_prompt", Moderation),
            ("invalid_image_url", BadRequest),
            ("image_too_large", BadRequest),
            ("failed_to_download_image", BadRequest),
            ("image_content_policy_violation", Moderation),
            ("bio_policy", Moderation),
        ] {
            check_good(&failed(code), class);
        }
        check_good(r#"{"type":"error","code":"insufficient_quota","message":"Pay.","param":null}"#, Billing);
    }

    #[test]
    fn a_429_is_three_different_things() {
        check(429, r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#, RateLimited);
        check(
            429,
            r#"{"error":{"message":"Pay","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Billing,
        );
        check(429, r#"{"error":{"code":"1113","message":"arrears"}}"#, Billing);
        check(429, r#"{"error":{"code":"1302","message":"concurrency"}}"#, RateLimited);
        check(429, r#"{"error":{"type":"exceeded_current_quota_error","message":"x"}}"#, Billing);
        check(429, r#"{"error":{"type":"engine_overloaded_error","message":"x"}}"#, Overloaded);
        check(429, r#"{"error":{"code":"ServerOverloaded","message":"x","type":"TooManyRequests"}}"#, Overloaded);
        check(429, r#"{"error":{"code":"RateLimitExceeded.EndpointTPMExceeded","message":"x"}}"#, RateLimited);
        check(
            429,
            r#"{"error":{"code":429,"message":"exceeded your current quota, check billing","status":"RESOURCE_EXHAUSTED"}}"#,
            RateLimited,
        );
        let quota = |id: &str| {
            format!(
                r#"{{"error":{{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{{"violations":[{{"quotaMetric":"x"}},{{"quotaId":"{id}"}}]}},{{"retryDelay":"9s"}}]}}}}"#
            )
        };
        check(429, &quota("GenerateRequestsPerMinutePerProjectPerModel"), RateLimited);
        check(429, &quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), Billing);
        check(429, "", RateLimited);
    }

    #[test]
    fn an_empty_purse_comes_with_many_statuses() {
        check(402, "{}", Billing);
        check(400, r#"{"error":{"code":"Arrearage","message":"x","type":"Arrearage"}}"#, Billing);
        check(403, r#"{"error":{"code":"AccountOverdueError","message":"x"}}"#, Billing);
        check(403, r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#, Billing);
        check(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            Billing,
        );
    }

    #[test]
    fn a_prompt_that_is_too_long() {
        check(400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, Context);
        check(400, r#"{"object":"error","message":"This model's maximum context length is 8192 tokens","code":400}"#, Context);
        check(400, r#"{"error":{"code":"InvalidParameter","message":"Range of input length should be [1, 129024]"}}"#, Context);
        check(400, r#"{"error":{"code":400,"type":"exceed_context_size_error","message":"x","n_ctx":512}}"#, Context);
        check(
            400,
            r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 196778 + 21333 > 200000"}}"#,
            Context,
        );
        check(413, "<html>too large</html>", Context);
        check(429, r#"{"error":{"message":"too many tokens per minute"}}"#, RateLimited);
    }

    #[test]
    fn moderation_is_no_failure_of_the_provider() {
        check(400, r#"{"error":{"code":"data_inspection_failed","message":"x"}}"#, Moderation);
        check(400, r#"{"error":{"code":"1301","message":"x"},"contentFilter":[{"role":"user","level":1}]}"#, Moderation);
        check(400, r#"{"error":{"code":"InputTextSensitiveContentDetected.Violence","message":"x"}}"#, Moderation);
        check(
            400,
            r#"{"error":{"type":"content_filter","message":"The request was rejected because it was considered high risk"}}"#,
            Moderation,
        );
        check(451, "{}", Moderation);
        check(403, r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#, Moderation);
        check(400, r#"{"error":{"code":null,"message":"x","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#, Moderation);
    }

    #[test]
    fn what_a_site_does_not_know_is_not_wrong_everywhere() {
        for message in [
            "Unknown parameter: 'prediction'.",
            "Unsupported value: 'messages[0].role' does not support 'developer' with this model.",
            "property 'prediction' is unsupported",
            "'tools.0.type' : value must be 'function'",
            "logit_bias: Extra inputs are not permitted",
        ] {
            let body = serde_json::json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string();
            check(400, &body, Unsupported);
            check_good(&body, Unsupported);
            // Whose fault it is says all else first.
            check(500, &body, Overloaded);
            check(401, &body, Auth);
        }
        check(422, r#"{"detail":[{"loc":["body","tools"],"msg":"Input should be 'function'"}]}"#, Unsupported);
        let listed =
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted","input":1}]}"#;
        check(
            422,
            &format!(r#"{{"object":"error","message":{listed},"type":"invalid_request_error","code":null}}"#),
            Unsupported,
        );
        check(400, r#"{"error":{"message":"is not supported","code":"model_not_found"}}"#, NotFound);
        check(400, r#"{"error":{"message":"'messages' must contain the word 'json'"}}"#, BadRequest);
    }

    #[test]
    fn the_rest_by_its_word_or_its_status() {
        check(401, r#""Invalid token""#, Auth);
        check(400, r#"[{"error":{"code":400,"message":"API key not valid","details":[{"reason":"API_KEY_INVALID"}]}}]"#, Auth);
        check(400, r#"{"error":{"code":400,"message":"not in your country","status":"FAILED_PRECONDITION"}}"#, Auth);
        check(404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#, NotFound);
        check(400, r#"{"code":20012,"message":"Model does not exist"}"#, NotFound);
        check(500, r#"{"message":"x","id":"y"}"#, Overloaded);
        check(422, r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, BadRequest);
        check(400, r#"{"error":{"message":"temperature","type":"invalid_request_error"}}"#, BadRequest);
        for status in [408, 500, 502, 503, 504, 529] {
            check(status, "<html>oops</html>", Overloaded);
        }
        check(500, r#"{"error":"the context window crashed"}"#, Overloaded);
    }

    #[test]
    fn a_good_status_may_carry_an_error() {
        check_good(r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#, Billing);
        check_good(r#"{"base_resp":{"status_code":1002,"status_msg":"rate"}}"#, RateLimited);
        check_good(r#"{"error_code":336501,"error_msg":"rpm"}"#, RateLimited);
        check_good(r#"{"Response":{"Error":{"Code":"AuthFailure.SecretIdNotFound","Message":"x"},"RequestId":"y"}}"#, Auth);
        check_good(r#"{"error":{"code":502,"message":"upstream gone"}}"#, Overloaded);
        check_good(r#"{"error":{"code":400,"message":"bad"}}"#, BadRequest);
        check_good(r#"{"error":"out of slots"}"#, Overloaded);
        check_good(r#"{"object":"error","message":"no","choices":null}"#, Overloaded);
        check_good(r#"{"code":"50505","message":"busy"}"#, Overloaded);
        check_good(r#"[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]"#, Overloaded);
        for fine in [
            r#"{"choices":[]}"#,
            r#"{"base_resp":{"status_code":0}}"#,
            r#"{"error":null}"#,
            "[]",
            "7",
            r#"{"type":"ping"}"#,
            r#"{"message":"hello"}"#,
            r#"{"code":0,"message":"ok"}"#,
        ] {
            assert_eq!(in_good_status(fine.as_bytes()), None, "{fine}");
        }
    }

    #[test]
    fn the_wait_is_taken_from_header_or_details() {
        let body = br#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"x","details":[{"@type":"t"},{"retryDelay":"37s"}]}}"#;
        let mut headers = HeaderMap::new();
        assert_eq!(classify(429, &headers, body).retry_after, Some(Duration::from_secs(37)));
        headers.insert("retry-after", "2".parse().unwrap());
        assert_eq!(classify(429, &headers, body).retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn messages_are_short_single_lines() {
        let long = format!(r#"{{"error":{{"message":"a\n\u0000b {}","code":"x"}}}}"#, "字 ".repeat(400));
        let error = classify(400, &HeaderMap::new(), long.as_bytes());
        assert!(error.message.starts_with("a b 字 字") && error.message.ends_with('…'), "{}", error.message);
        assert_eq!(error.message.chars().count(), MAX_MESSAGE_CHARS);
        assert_eq!(error.code.as_deref(), Some("x"));
        assert_eq!(classify(503, &HeaderMap::new(), b"").message, "the provider gave no message (status 503)");
    }

    #[test]
    fn keys_are_not_repeated() {
        for (status, key) in [(401, "abcdef0123456789abcdef.XYZ"), (401, "sk-abc***f3"), (400, "sk-live-key")] {
            let body = format!(r#"{{"error":{{"message":"wrong key: '{key}', see the docs"}}}}"#);
            let error = classify(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.message, "wrong key: [hidden] see the docs");
        }
    }

    #[test]
    fn markers_are_written_as_they_are_looked_up() {
        let words = WORDS.iter().chain(PREFIXES).chain(BASE_RESP).chain(ERROR_CODE).map(|(word, _)| *word);
        for word in words.chain(PHRASES.iter().map(|(phrase, _, _)| *phrase)).chain(STRANGE.iter().copied()) {
            assert_eq!(word, word.to_lowercase());
        }
        for table in [WORDS, PREFIXES, BASE_RESP, ERROR_CODE] {
            let mut seen: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), table.len(), "a word stands twice");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_classified(status in 400_u16..600, body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..120),
            "[\\[{]?\"(error|code|message|base_resp|details)\":[\\[{]?\"?\\PC{0,40}\"?[\\]}]{0,3}".prop_map(String::into_bytes),
        ]) {
            let error = classify(status, &HeaderMap::new(), &body);
            prop_assert!(!error.message.is_empty() && error.message.chars().count() <= MAX_MESSAGE_CHARS);
            prop_assert!(!error.message.contains(char::is_control));
            let _ = in_good_status(&body);
        }
    }
}
