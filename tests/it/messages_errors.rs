//! Refusals in Anthropic's shape: whatever goes wrong, before or after the body is read, clients of Messages are told in
//! their own words.

use serde_json::{Value, json};

use crate::harness::provider::status;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, chat, messages};

const VERSION: &str = "2023-06-01";

/// What every error has: their two types, a message, our code, the id of the request in both places.
fn check(answer: &Whole, expected: u16, kind: &str, code: &str) {
    let body = answer.json();
    let told = || format!("expected {expected} {kind} {code}: {} {}", answer.status, answer.text());
    assert_eq!((answer.status, &body["type"]), (expected, &json!("error")), "{}", told());
    assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&json!(kind), &json!(code)), "{}", told());
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{}", told());
    assert_eq!(answer.header("content-type"), "application/json", "{}", told());
    let id = answer.header("request-id");
    assert!(id.len() == 36 && body["request_id"] == id && answer.header("x-tokenbroker-request-id") == id, "{}", told());
}

async fn gateway() -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_messages()]);
    (east, gateway)
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_what_is_wrong() {
    let (east, gateway) = gateway().await;
    let user = r#""messages":[{"role":"user","content":"Hi"}]"#;
    let cases = [
        ("invalid_json", "{\"model\":\"auto\",\n \"messages\": [}".to_owned(), Value::Null),
        ("missing_required_parameter", format!(r#"{{"max_tokens":9,{user}}}"#), json!("model")),
        ("missing_required_parameter", format!(r#"{{"model":"auto",{user}}}"#), json!("max_tokens")),
        ("missing_required_parameter", r#"{"model":"auto","max_tokens":9}"#.to_owned(), json!("messages")),
        ("invalid_type", format!(r#"{{"model":"auto","max_tokens":"9",{user}}}"#), json!("max_tokens")),
        ("unknown_parameter", messages::ask_with("auto", r#""tokenbroker":{"qualty":"x"}"#), json!("tokenbroker.qualty")),
    ];
    for (code, body, param) in cases {
        let answer = gateway.ask(&Call::messages(body)).await;
        check(&answer, 400, "invalid_request_error", code);
        assert_eq!(answer.error("param"), param, "{}", answer.text());
    }
    let placed = gateway.ask(&Call::messages("{\"model\":\"auto\",\n x")).await;
    assert_eq!(placed.error("tokenbroker")["position"]["line"], 2, "{}", placed.text());
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn errors_before_a_body_is_read_are_in_the_askers_words() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east).and_messages()]).key("team", "tb-team").set("server.max_body_bytes", "2000").start();
    let stranger = |call: Call| call.header("x-api-key", "tb-other").header("anthropic-version", VERSION);
    for call in [
        Call::messages(messages::ask("auto")),
        Call::post("/v1/messages/count_tokens", messages::ask("auto")),
        Call::get("/v1/models"),
        Call::get("/v1/models/auto"),
        Call::get("/v1/usage"),
        Call::post("/v1/route", messages::ask("auto")),
    ] {
        check(&gateway.ask(&stranger(call.clone())).await, 401, "authentication_error", "invalid_api_key");
        let known = gateway.ask(&call.header("x-api-key", "tb-team").header("anthropic-version", VERSION)).await;
        assert_eq!(known.status, 200, "{}", known.text());
    }
    check(&gateway.ask(&Call::messages(messages::ask("auto"))).await, 401, "authentication_error", "invalid_api_key");
    let keyed = |call: Call| call.header("x-api-key", "tb-team");
    let large = messages::ask_with("auto", &format!(r#""x":"{}""#, "a".repeat(3000)));
    check(&gateway.ask(&keyed(Call::messages(large))).await, 413, "request_too_large", "request_too_large");
    let plain = Call::new("POST", "/v1/messages", messages::ask("auto")).header("content-type", "text/plain");
    check(&gateway.ask(&keyed(plain)).await, 415, "invalid_request_error", "unsupported_media_type");
    check(&gateway.ask(&keyed(Call::get("/v1/messages"))).await, 405, "invalid_request_error", "method_not_allowed");
    check(&gateway.ask(&keyed(Call::get("/v1/nothing"))).await, 404, "not_found_error", "path_not_found");
    check(&gateway.ask(&keyed(Call::post("/v1/messages/batches", "{}"))).await, 501, "api_error", "not_implemented");
    check(&gateway.ask(&keyed(Call::get("/v1/models/jadw"))).await, 404, "not_found_error", "model_not_found");
    // Clients of chat completions are told in theirs, whatever headers they send.
    let chat = gateway.ask(&stranger(Call::chat(chat::ask("auto")))).await;
    assert_eq!((chat.status, chat.json().get("type"), chat.error("type")), (401, None, json!("authentication_error")));
}

#[tokio::test]
async fn models_are_listed_in_the_askers_shape() {
    let (_east, gateway) = gateway().await;
    let theirs = gateway.ask(&Call::get("/v1/models").header("anthropic-version", VERSION)).await.json();
    let ids = |list: &Value| list["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (&theirs["has_more"], &theirs["first_id"], &theirs["data"][0]["type"]),
        (&json!(false), &json!("auto"), &json!("model"))
    );
    let ours = gateway.ask(&Call::get("/v1/models")).await.json();
    assert_eq!((&ours["object"], ids(&ours)), (&json!("list"), ids(&theirs)));
    let one = gateway.ask(&Call::get("/v1/models/east/jade-v3").header("x-api-key", "any")).await.json();
    assert_eq!(
        (&one["type"], &one["id"], &one["display_name"]),
        (&json!("model"), &json!("east/jade-v3"), &json!("east/jade-v3"))
    );
}

#[tokio::test]
async fn a_request_that_the_provider_refuses_is_answered_with_its_own_body() {
    let (east, gateway) = gateway().await;
    let said = messages::error("invalid_request_error", "messages.1: tool_use ids were found without tool_result blocks");
    east.next(status(400, &[], &said));
    let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert_eq!((answer.status, answer.text(), answer.header("x-should-retry")), (400, said.as_str(), "false"));
    assert_eq!(east.calls().len(), 1);
}

#[tokio::test]
async fn when_nobody_answers_the_causes_are_told() {
    let (east, gateway) = gateway().await;
    for (answer, expected, kind, code) in [
        (status(529, &[], &messages::error("overloaded_error", "Overloaded")), 503, "overloaded_error", "upstream_unavailable"),
        (status(401, &[], &messages::error("authentication_error", "invalid x-api-key")), 502, "api_error", "upstream_error"),
    ] {
        east.next(answer);
        let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
        check(&answer, expected, kind, code);
        assert_eq!(answer.error("tokenbroker")["attempts"][0]["backend"], "east/jade-v3", "{}", answer.text());
    }
}

#[tokio::test]
async fn a_budget_that_is_spent_is_a_billing_error() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).and_messages()]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.000001").set("keys.team.budget_window", "day").start();
    let answer = gateway.ask(&Call::messages(messages::ask("auto")).header("x-api-key", "tb-team")).await;
    check(&answer, 402, "billing_error", "insufficient_quota");
}
