//! Moving on: which failures another backend may mend, in which order they are asked, and what a client is told when none
//! could.

use serde_json::{Value, json};

use crate::harness::provider::{Script, begun, raw, status, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, Whole, chat, messages};

/// Every way not to answer that another backend may mend: the cause in the books, and what the provider does.
fn failures() -> Vec<(&'static str, Script)> {
    let error = chat::error("no");
    let said = |code| status(code, &[], &error);
    vec![
        ("timeout", vec![Step::Stall]),
        ("timeout", then(begun::<&str>(&[]), [Step::Stall])),
        (
            "timeout",
            then(raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"ch"), [Step::Stall]),
        ),
        ("broken", vec![Step::Reset]),
        ("broken", vec![Step::Close]),
        (
            "broken",
            then(raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"ch"), [Step::Close]),
        ),
        ("malformed", whole("{\"choices\":[")),
        ("malformed", whole("")),
        ("malformed", raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>")),
        ("overloaded", said(408)),
        ("rate_limited", said(429)),
        ("overloaded", said(500)),
        ("overloaded", said(502)),
        ("overloaded", said(503)),
        ("overloaded", said(529)),
        ("overloaded", whole(&chat::error("the engine is overloaded"))),
        ("auth", said(401)),
        ("billing", said(402)),
        ("auth", said(403)),
        ("not_found", said(404)),
        ("context_too_long", status(400, &[], r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#)),
    ]
}

#[tokio::test]
async fn whatever_another_backend_may_mend_moves_on_to_it() {
    for (number, (cause, script)) in failures().into_iter().enumerate() {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
        let gateway = Setup::of(sites).set("timeouts.total_ms", "400").set("timeouts.first_byte_ms", "400").start();
        east.next(script);

        let answer = gateway.chat(&chat::ask("auto")).await;

        let told = format!("failure {number}, {cause}: {}", answer.text());
        assert_eq!((answer.status, answer.text()), (200, chat::answer("Hello from west.", 9, 4).as_str()), "{told}");
        check_attempts(&gateway, &answer, &[("east/jade-v3", cause), ("west/jade-v3", "")]).await;
    }
}

#[tokio::test]
async fn a_provider_that_refuses_connections_costs_nothing_and_the_next_one_answers() {
    let (east, west) = (Provider::refusing("east"), Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
    assert_eq!(answer.header("x-tokenbroker-cost-usd"), "0.000051");
    let row = check_attempts(&gateway, &answer, &[("east/jade-v3", "connect"), ("west/jade-v3", "")]).await;
    assert_eq!(row.to_exact(), "0.000051");
}

/// The attempts in the books: the backend of each, and the word its cause begins with. Answers the request's cost.
async fn check_attempts(gateway: &Gateway, answer: &Whole, expected: &[(&str, &str)]) -> tokenbroker::units::Usd {
    let row = gateway.row_of(answer).await;
    let booked: Vec<(&str, &str)> = row
        .attempts
        .iter()
        .map(|attempt| (attempt.backend.as_str(), attempt.cause.as_deref().unwrap_or("").split(':').next().unwrap_or("")))
        .collect();
    assert_eq!(booked, expected);
    row.cost
}

#[tokio::test]
async fn other_providers_are_asked_before_other_backends_of_the_same_one() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    let second = r#"
[[backends]]
provider = "east"
model = "jade"
upstream_model = "jade-v2"
context_tokens = 131_072
max_output_tokens = 8_192
reasoning = "never"
languages = ["*"]
tokenizer = "o200k"
[[backends.prices]]
input = 1.1
output = 2.1
source = "invented for tests"
"#;
    let sites = [Site::of(&south).price("4", "8"), Site::of(&east).more(second), Site::of(&west).price("3", "6")];
    let gateway = Gateway::of(sites);
    east.next(status(500, &[], &chat::error("first"))).next(status(500, &[], &chat::error("second")));
    west.next(status(429, &[], &chat::error("later")));
    south.next(status(503, &[], &chat::error("down")));

    let answer = gateway.chat(&chat::ask("jade")).await;

    let order = [
        ("east/jade-v3", "overloaded"),
        ("west/jade-v3", "rate_limited"),
        ("south/jade-v3", "overloaded"),
        ("east/jade-v2", "overloaded"),
    ];
    check_attempts(&gateway, &answer, &order).await;
    let told: Vec<Value> = order.iter().map(|(backend, cause)| json!([backend, cause])).collect();
    assert_eq!(attempts_told(&answer), told);
}

/// Backend and cause of every attempt that an error names.
fn attempts_told(answer: &Whole) -> Vec<Value> {
    let attempts = answer.error("tokenbroker")["attempts"].clone();
    let attempts = attempts.as_array().unwrap_or_else(|| panic!("no attempts: {}", answer.text())).clone();
    attempts.iter().map(|attempt| json!([attempt["backend"], attempt["cause"]])).collect()
}

#[tokio::test]
async fn when_nobody_answers_the_status_says_why_and_names_each_attempt() {
    let down = || status(500, &[], &chat::error("it is down"));
    let later = || status(429, &[("retry-after", "7")], &chat::error("later"));
    let stall = || vec![Step::Stall];
    let cases = [
        (502, "upstream_error", [whole("{"), down()], ["malformed", "overloaded"], ""),
        (503, "upstream_unavailable", [later(), down()], ["rate_limited", "overloaded"], "7"),
        (504, "upstream_timeout", [stall(), stall()], ["timeout", "timeout"], ""),
        (502, "upstream_error", [stall(), vec![Step::Reset]], ["timeout", "broken"], ""),
    ];
    for (code, word, scripts, causes, retry_after) in cases {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
        let gateway = Setup::of(sites).set("timeouts.total_ms", "400").start();
        for (provider, script) in [&east, &west].into_iter().zip(scripts) {
            provider.next(script);
        }

        let answer = gateway.chat(&chat::ask("auto")).await;

        assert_eq!((answer.status, answer.error("code"), answer.error("type")), (code, word.into(), "server_error".into()));
        assert_eq!(attempts_told(&answer), [json!(["east/jade-v3", causes[0]]), json!(["west/jade-v3", causes[1]])]);
        // We have tried elsewhere already: an SDK that repeats it all by itself would only multiply the load.
        assert_eq!((answer.header("x-should-retry"), answer.header("retry-after")), ("false", retry_after), "{code}");
        assert_eq!(gateway.row_of(&answer).await.outcome, "failed");
    }
}

/// Found by a reader: it was a 502, on which agents give up; on the 400 that they know they make the conversation shorter.
#[tokio::test]
async fn a_conversation_that_is_too_long_for_everybody_is_the_clients_to_shorten() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6").and_messages()]);
    let words = "input length and `max_tokens` exceed context limit: 196778 + 21333 > 200000";
    let (too_long, known) = (chat::error("This model's maximum context length is 8192 tokens"), chat::error(words));
    for provider in [&east, &west] {
        provider.always(status(400, &[], if provider.key() == west.key() { &known } else { &too_long }));
    }

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, answer.error("code")), (400, "context_length_exceeded".into()));
    assert_eq!((answer.error("type"), answer.error("message")), ("invalid_request_error".into(), words.into()));
    let told = [json!(["east/jade-v3", "context_too_long"]), json!(["west/jade-v3", "context_too_long"])];
    assert_eq!(attempts_told(&answer), told);
    // Those of Messages know it by its first words.
    for provider in [&east, &west] {
        provider.always(status(400, &[], &too_long));
    }
    let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert_eq!((answer.status, answer.error("type")), (400, "invalid_request_error".into()), "{}", answer.text());
    let said = answer.error("message").as_str().unwrap().to_owned();
    assert!(said.starts_with("prompt is too long: "), "{said}");
}

#[tokio::test]
async fn a_request_that_is_wrong_goes_back_in_the_providers_own_words() {
    let bodies = [
        (400, r#"{"error": {"message":"9 is too much","type":"invalid_request_error","param":"t","code":"x","novel":[1]}}"#),
        (422, r#"{"error":{"message":"extra fields","type":"t","param":null,"code":null},"detail":[{"msg":"extra fields"}]}"#),
        (400, r#"{"error":{"message":"refused","type":"t","param":null,"code":"content_filter"}}"#),
        (451, r#"{"error":{"message":"unavailable for legal reasons","type":"t","param":null,"code":null}}"#),
    ];
    for (code, body) in bodies {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
            east.next(status(code, &[("x-secret-of-theirs", "1")], body));

            let answer = gateway.chat(&ask).await;

            assert_eq!((answer.status, answer.text()), (code, body));
            assert_eq!(answer.header("x-should-retry"), "false");
            assert_eq!(answer.header("x-secret-of-theirs"), "");
            assert_eq!(gateway.row_of(&answer).await.cost, tokenbroker::units::Usd::ZERO);
        }
        assert!(west.calls().is_empty(), "{code}: it would be refused elsewhere too");
    }
}

#[tokio::test]
async fn no_more_attempts_are_made_than_allowed() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6"), Site::of(&south).price("4", "8")];
    let gateway = Setup::of(sites).set("routing.max_attempts", "2").start();
    for provider in [&east, &west] {
        provider.always(status(500, &[], &chat::error("down")));
    }

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, attempts_told(&answer).len(), south.calls().len()), (503, 2, 0));
}
