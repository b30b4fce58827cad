//! Anthropic's Messages where money is concerned: what is booked when a report is odd, and what a bound on money refuses.

use serde_json::json;
use tokenbroker::units::Tokens;

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::{Call, Provider, Setup, Site, Step, alone, chat, messages};

#[tokio::test]
async fn every_hop_of_an_answer_is_booked() {
    let (east, gateway) = alone(Site::and_messages).await;
    let usage = r#"{"input_tokens":23,"output_tokens":10,"iterations":[{"type":"compaction","input_tokens":180,"output_tokens":35},{"type":"message","input_tokens":23,"output_tokens":10}]}"#;
    east.next(whole(&messages::answer_with("[]", usage)));
    let text = [messages::block(0, r#"{"type":"text","text":"a"}"#), messages::end(0)].concat();
    let begun = messages::start(r#"{"input_tokens":23,"output_tokens":1}"#);
    east.next(stream(&[begun, text, messages::finish("end_turn", usage), messages::STOP.to_owned()]));
    for body in [messages::ask("auto"), messages::ask_stream("auto")] {
        let answer = gateway.ask(&Call::messages(body)).await;
        let attempt = &gateway.row_of(&answer).await.attempts[0];
        let booked = [attempt.usage.fresh_input, attempt.usage.output].map(Tokens::get);
        assert_eq!((booked, attempt.provenance.as_str()), ([203, 45], "reported"));
    }
}

#[tokio::test]
async fn an_answer_whose_end_tells_no_output_is_counted() {
    let (east, gateway) = alone(Site::and_messages).await;
    let said = "the quick brown fox jumps over the lazy dog and does it once more ".repeat(20);
    for end in ["null", r#"{"output_tokens":0}"#] {
        let mut events = messages::opened();
        events.extend([messages::text(&said), messages::end(0), messages::finish("end_turn", end), messages::STOP.to_owned()]);
        east.next(stream(&events));
        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        let row = gateway.row_of(&answer).await;
        let attempt = &row.attempts[0];
        assert_eq!((row.outcome.as_str(), attempt.usage.fresh_input.get()), ("answered", 9));
        assert!(attempt.usage.output > Tokens::new(200), "{end}: {:?}", attempt.usage);
        assert_ne!(attempt.provenance.as_str(), "reported", "{end}");
    }
}

#[tokio::test]
async fn the_mark_of_another_dialect_makes_no_answer_whole() {
    let (east, gateway) = alone(Site::and_messages).await;
    let mut events = messages::opened();
    events.extend([messages::text("The answer"), chat::DONE.to_owned()]);
    east.next(stream(&events));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert!(answer.text().contains("upstream_truncated"), "{}", answer.text());
    assert_eq!(gateway.row_of(&answer).await.outcome.as_str(), "cut");
}

#[tokio::test]
async fn what_nobody_can_price_is_refused_where_money_is_bounded_and_passes_elsewhere() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).and_messages()]).key("free", "tb-free").key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "5").set("keys.team.budget_window", "day").start();
    let search = r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#;
    let bounded = format!(r#"{search},"tokenbroker":{{"max_cost_usd":1}}"#);
    for (key, members, param) in
        [("tb-team", search, "tools"), ("tb-free", &bounded, "tools"), ("tb-team", r#""speed":"fast""#, "speed")]
    {
        let call = Call::messages(messages::ask_with("auto", members)).header("x-api-key", key);
        let refused = gateway.ask(&call).await;
        let error = &refused.json()["error"];
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!((&error["type"], &error["code"]), (&json!("invalid_request_error"), &json!("unpriced_parameter")));
        assert_eq!(error["param"], param);
    }
    let call = Call::post("/v1/chat/completions", chat::ask_with("auto", r#""service_tier":"priority""#)).key("tb-team");
    let refused = gateway.ask(&call).await;
    assert_eq!(
        (refused.status, refused.error("code"), refused.error("param")),
        (400, json!("unpriced_parameter"), json!("service_tier"))
    );
    assert!(east.calls().is_empty(), "nothing was sent");
    let call = Call::messages(messages::ask_with("auto", search)).header("x-api-key", "tb-free");
    assert_eq!(gateway.ask(&call).await.status, 200);
    assert!(east.call(0).await.text().contains(search));
}

#[tokio::test]
async fn a_bound_of_ours_leaves_room_for_thinking_or_says_why_not() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).thinks().and_messages()]).key("team", "tb-team").key("short", "tb-short");
    let setup = setup.set("keys.team.budget_usd", "5").set("keys.team.budget_window", "day");
    let gateway = setup.set("keys.short.max_output_tokens", "1024").start();
    let body = messages::ask_with("auto", r#""thinking":{"type":"enabled","budget_tokens":1500}"#).replace(":64,", ":8000,");
    let answer = gateway.ask(&Call::messages(body.clone()).header("x-api-key", "tb-team")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: serde_json::Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert!(sent["max_tokens"].as_u64().unwrap() > 1500, "{sent}");
    let refused = gateway.ask(&Call::messages(body).header("x-api-key", "tb-short")).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("thinking.budget_tokens")));
    assert_eq!(east.calls().len(), 1);
}

#[tokio::test]
async fn an_error_in_other_words_is_told_in_theirs() {
    let (east, gateway) = alone(Site::and_messages).await;
    east.next(status(400, &[], r#"{"error":{"message":"the tool's name is taken","code":"1210"}}"#));
    let refused = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    let body = refused.json();
    assert_eq!((refused.status, &body["type"], &body["error"]["type"]), (400, &json!("error"), &json!("invalid_request_error")));
    assert!(body["error"]["message"].as_str().unwrap().contains("the tool's name is taken"), "{body}");
}

#[tokio::test]
async fn a_broken_endpoint_of_messages_leaves_its_providers_chat_alone() {
    let (east, gateway) = alone(Site::and_messages).await;
    east.next(then(begun::<&str>(&[]), [Step::Reset]));
    let refused = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert!(refused.status >= 500, "{}", refused.text());
    east.next(status(401, &[], &messages::error("authentication_error", "invalid x-api-key")));
    let refused = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert!(refused.status >= 500, "{}", refused.text());
    let refused = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert_eq!(refused.status, 503, "it is left alone: {}", refused.text());
    let answer = gateway.ask(&Call::post("/v1/chat/completions", chat::ask("auto"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_decision_is_asked_for_in_the_shape_of_the_body() {
    let (east, gateway) = alone(Site::and_messages).await;
    let chosen = |call: Call| {
        let gateway = &gateway;
        async move { gateway.ask(&call).await.json()["chosen"]["backend"].clone() }
    };
    let route = |body: String| Call::post("/v1/route", body).header("x-api-key", "any");
    assert_eq!(chosen(route(chat::ask("auto"))).await, "east/jade-v3", "a key says nothing of a body");
    assert_eq!(chosen(route(messages::ask("auto")).header("anthropic-version", "2023-06-01")).await, "east/jade-v3");
    assert!(east.calls().is_empty());
}
