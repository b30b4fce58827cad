//! Errors within an answer that began with the status of a good one.

use serde_json::json;

use crate::harness::provider::{begun, stream, then};
use crate::harness::{Call, Gateway, Provider, Site, Step, chat, chats, messages, responses, speaks};

/// How a provider is reached.
type Speaks = fn(Site) -> Site;

#[tokio::test]
async fn corner_07_an_error_before_anything_was_said_moves_on() {
    let queue_full = chat::frame(r#"{"error":{"message":"The request queue is full.","type":"service_unavailable","code":503}}"#);
    let overloaded = messages::event("error", &messages::error("overloaded_error", "Overloaded"));
    let no_quota = responses::event("error", json!({"code": "insufficient_quota", "message": "No.", "sequence_number": 1}));
    let cases: [(Speaks, Vec<String>, &str); 4] = [
        (|site| site, vec![queue_full.clone(), chat::DONE.to_owned()], "overloaded"),
        (|site| site, vec![chat::KEEP_ALIVE.to_owned(), chat::role(), queue_full], "overloaded"),
        (Site::only_messages, vec![messages::opened()[0].clone(), messages::PING.to_owned(), overloaded], "overloaded"),
        (Site::only_responses, vec![responses::created(), no_quota], "billing"),
    ];
    for (speaks, frames, cause) in cases {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([speaks(Site::of(&east)), Site::of(&west).price("3", "6")]);
        east.next(stream(&frames));
        let answer = gateway.chat(&chat::ask_stream("auto")).await;
        let got = (answer.status, answer.header("x-tokenbroker-backend"));
        assert_eq!(got, (200, "west/jade-v3"), "{frames:?}: {}", answer.text());
        let failed = &gateway.row_of(&answer).await.attempts[0];
        assert!(failed.cause.as_deref().unwrap().starts_with(cause), "{failed:?}");
    }
}

#[tokio::test]
async fn corner_08_a_chunk_without_choices_that_holds_an_error_is_no_usage() {
    let error = chat::frame(r#"{"id":"c-1","choices":[],"error":{"message":"The model fell over.","code":500},"usage":null}"#);
    let (east, gateway) = chats().await;
    east.next(stream(&[chat::text("Well,"), error.clone(), chat::DONE.to_owned()]));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert!(answer.text().contains("The model fell over."), "a usage that nobody asked for would be left out: {}", answer.text());
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");

    east.next(stream(&[chat::text("Well,"), error, chat::DONE.to_owned()]));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert!(answer.text().contains("event: error") && !answer.text().contains("message_stop"), "{}", answer.text());
}

#[tokio::test]
async fn corner_09_after_the_first_content_nobody_else_is_asked_and_the_error_is_told_in_the_clients_words() {
    let calls = [
        (Call::chat(chat::ask_stream("auto")), "data: {\"error\":", "[DONE]"),
        (Call::messages(messages::ask_stream("auto")), "event: error\ndata: {\"type\":\"error\"", "message_stop"),
        (responses::ask(r#""stream":true"#), "event: response.failed\n", "response.completed"),
    ];
    for (call, told, end) in calls {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(then(begun(&[chat::role(), chat::text("Well,")]), [Step::Close]));
        let answer = gateway.ask(&call).await;
        let text = answer.text();
        assert!(text.contains("Well,") && text.contains(told) && !text.contains(end), "{told}: {text}");
        assert!(text.split_terminator("\n\n").last().unwrap().contains("upstream_broken"), "{text}");
        assert_eq!((west.calls().len(), gateway.row_of(&answer).await.outcome.as_str()), (0, "cut"));
    }
}

#[tokio::test]
async fn corner_10_an_error_of_anthropics_is_an_error_and_no_reason_to_stop() {
    let (east, gateway) = speaks().await;
    let mut events = messages::opened();
    events.extend([messages::text("Well,"), messages::event("error", &messages::error("overloaded_error", "Overloaded"))]);
    east.next(stream(&events));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    let frames = answer.text().split_terminator("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    let chunks: Vec<serde_json::Value> = frames.map(|json| serde_json::from_str(json).unwrap()).collect();
    let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
    let last = chunks.last().unwrap();
    assert!(finishes == 0 && last["error"]["message"].as_str().unwrap().contains("Overloaded"), "{}", answer.text());
}
