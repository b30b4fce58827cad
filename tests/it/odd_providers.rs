//! Providers that say things which cannot be: the client gets its answer all the same, and the books something sensible.

use serde_json::{Value, json};
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{raw, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Site, Step, chat};

#[tokio::test]
async fn a_usage_that_says_nothing_is_replaced_by_a_count() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let usages = [
        r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
        r#"{"prompt_tokens":-9,"completion_tokens":-4}"#,
        r#"{"prompt_tokens":"many","completion_tokens":null}"#,
        r#"{"prompt_tokens":{"a":1},"completion_tokens":[4]}"#,
        "null",
        "[]",
        "7",
    ];
    let told = r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}"#;
    for usage in usages {
        let body = chat::answer("The answer to everything is", 9, 5).replace(told, usage);
        assert!(body.contains(usage));
        east.next(whole(&body));

        let answer = gateway.chat(&chat::ask("auto")).await;

        assert_eq!((answer.status, answer.text()), (200, body.as_str()));
        let attempt = gateway.row_of(&answer).await.attempts.remove(0);
        assert_eq!((attempt.provenance.as_str(), attempt.usage.output), ("counted", Tokens::new(5)), "{usage}");
        assert!(attempt.usage.fresh_input > Tokens::ZERO, "{usage}");
    }
}

#[tokio::test]
async fn a_usage_beyond_all_bounds_is_booked_and_breaks_nothing() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for (input, output) in [(u64::MAX / 2, u64::MAX / 2), (1_000_000_000_000, 7), (9, 1_000_000_000_000)] {
        east.next(whole(&chat::answer("Hi.", input, output)));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.complete), (200, true));
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.attempts[0].provenance.as_str()), ("answered", "reported"), "{input} {output}");
        assert!(row.cost > Usd::parse("1").unwrap(), "{input} {output}: {:?}", row.cost);
    }
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-cost-usd"), "0.000017");
}

#[tokio::test]
async fn more_cached_tokens_than_tokens_are_not_billed_below_zero() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).cached("0.1")]);
    let usage = r#""prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":9000}"#;
    east.next(whole(&chat::answer("Hi.", 9, 4).replace(r#""prompt_tokens":9"#, usage)));

    let answer = gateway.chat(&chat::ask("auto")).await;

    // Nine tokens at a tenth of a dollar and four at two, per million.
    assert_eq!(answer.header("x-tokenbroker-cost-usd"), "0.0000089");
}

#[tokio::test]
async fn the_last_usage_of_a_stream_counts_wherever_it_stands() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let with_usage = |frame: String, output: u64| {
        let usage = format!(r#"}}],"usage":{{"prompt_tokens":9,"completion_tokens":{output},"total_tokens":0}}}}"#);
        frame.replace("}]}\n\n", &format!("{usage}\n\n"))
    };
    let frames =
        [with_usage(chat::text("Hel"), 1), with_usage(chat::text("lo."), 2), with_usage(chat::finish(), 4), chat::DONE.into()];
    east.next(stream(&frames));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert_eq!(answer.text(), frames.concat(), "a usage that comes with content stays where it is");
    assert_eq!(gateway.row_of(&answer).await.cost.to_exact(), "0.000017");
}

/// A further model of `east`, which may think or not; its reasoning costs eight dollars a million tokens.
const SWITCHABLE: &str = r#"
[[backends]]
provider = "east"
model = "topaz"
context_tokens = 131_072
max_output_tokens = 8_192
features = []
reasoning = "switchable"
languages = ["*"]
tokenizer = "o200k"

[[backends.prices]]
input = 1
output = 2
reasoning = 8
source = "invented for tests"
"#;

#[tokio::test]
async fn reasoning_that_is_streamed_and_not_reported_is_booked_as_reasoning() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).more(SWITCHABLE)]);
    let thought = chat::frame(r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm, well"}}]}"#);
    let frames = [chat::role(), thought, chat::text("yes then"), chat::finish(), chat::usage(9, 4), chat::DONE.into()];
    east.next(stream(&frames));
    let body = chat::answer("yes then", 9, 4).replace(r#""content""#, r#""reasoning_content":"hm, well","content""#);
    east.next(whole(&body));
    for ask in [chat::ask_stream("topaz"), chat::ask("topaz")] {
        let answer = gateway.chat(&ask).await;
        let attempt = gateway.row_of(&answer).await.attempts.remove(0);
        // Half of what was heard: two of four tokens at eight dollars a million, the others at two.
        assert_eq!((attempt.usage.reasoning, attempt.cost.to_exact().as_str()), (Tokens::new(2), "0.000029"), "{ask}");
        assert_eq!(attempt.provenance, "reported");
    }
}

#[tokio::test]
async fn cache_writes_of_no_told_lifetime_cost_what_the_request_asked_for() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).price_line("cache_write = 1.25").price_line("cache_write_long = 2")]);
    let cost = async |lifetime: &str, told: &str| {
        let usage = format!(r#""prompt_tokens":9,"cache_creation_input_tokens":6{told}"#);
        east.next(whole(&chat::answer("Hi.", 9, 4).replace(r#""prompt_tokens":9"#, &usage)));
        let marked = chat::ask("auto").replace(r#""content""#, &format!(r#""cache_control":{lifetime},"content""#));
        assert_ne!(marked, chat::ask("auto"));
        gateway.chat(&marked).await.header("x-tokenbroker-cost-usd").to_owned()
    };
    // Three tokens at a dollar a million, six written, four out at two dollars.
    assert_eq!(cost(r#"{"type":"ephemeral"}"#, "").await, "0.0000185");
    assert_eq!(cost(r#"{"type":"ephemeral","ttl":"1h"}"#, "").await, "0.000023");
    let told = r#","cache_creation":{"ephemeral_5m_input_tokens":6}"#;
    assert_eq!(cost(r#"{"type":"ephemeral","ttl":"1h"}"#, told).await, "0.0000185");
}

#[tokio::test]
async fn heads_and_framings_of_all_sorts_are_read() {
    let body = chat::answer("Hi.", 9, 4);
    let length = body.len();
    let answers = [
        raw(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}"
        )),
        raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}")),
        raw(&format!("HTTP/1.1 201 Created\r\ncontent-length: {length}\r\n\r\n{body}")),
        then(
            raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}")),
            [Step::Close],
        ),
        then(raw(&format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}")), [Step::Close]),
        raw(&format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")),
    ];
    for (number, script) in answers.into_iter().enumerate() {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east)]);
        east.next(script);
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.text()), (200, body.as_str()), "answer {number}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_its_connection_is_whole_when_it_said_so() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\nconnection: close\r\n\r\n";
    east.next(then(raw(&format!("{head}{}", chat::hello().concat())), [Step::Close]));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert!(answer.text().ends_with(chat::DONE) && answer.complete, "{}", answer.text());
    assert_eq!(gateway.row_of(&answer).await.cost.to_exact(), "0.000017");
}

/// Found by an audit of the table: Mistral calls `required` `any`, so no client could make its models call a tool.
#[tokio::test]
async fn a_site_that_says_any_for_required_is_told_so_by_every_client() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).quirk("required_is_any = true")]);
    let of_chat = |choice: Value| {
        let tool = json!({"type": "function", "function": {"name": "weather"}});
        Call::chat(
            json!({"model": "auto", "messages": [{"role": "user", "content": "?"}], "tools": [tool], "tool_choice": choice})
                .to_string(),
        )
    };
    let tool = json!({"name": "weather", "input_schema": {"type": "object"}});
    let of_messages = json!({"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}], "tools": [tool],
        "tool_choice": {"type": "any"}});
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for (call, expected) in [
        (of_chat(json!("required")), json!("any")),
        (of_chat(json!("any")), json!("any")),
        (of_chat(json!("auto")), json!("auto")),
        (of_chat(named.clone()), named),
        (Call::messages(of_messages.to_string()), json!("any")),
    ] {
        let answer = gateway.ask(&call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent: Value = serde_json::from_str(east.calls().last().unwrap().text()).unwrap();
        assert_eq!(sent["tool_choice"], expected, "{sent}");
    }
}
