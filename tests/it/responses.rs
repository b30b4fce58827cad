//! Clients of Responses over providers of chat and of Messages: what they say reaches the provider in its words, and what it answers
//! comes back as items and events, booked as any other answer.

use serde_json::{Value, json};

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::responses::{ask, events};
use crate::harness::{Call, Step, chat, chats, messages, speaks};

const AGENT: &str = r#""instructions":"Answer in one line.","tools":[{"type":"function","name":"weather","description":"by city","parameters":{"type":"object","properties":{"city":{"type":"string"}}},"strict":false}],"tool_choice":"required","max_output_tokens":64"#;

#[tokio::test]
async fn a_client_is_answered_by_a_provider_of_chat() {
    let (east, gateway) = chats().await;
    east.next(whole(&chat::answer("Hello.", 9, 4)));

    let answer = gateway.ask(&ask(AGENT)).await;

    let told = answer.json();
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"), "{told}");
    assert_eq!((&told["object"], &told["status"], &told["model"]), (&json!("response"), &json!("completed"), &json!("served")));
    assert_eq!(told["id"], json!(format!("resp_{}", answer.header("x-tokenbroker-request-id"))));
    assert_eq!(told["output"][0]["content"][0]["text"], "Hello.");
    assert_eq!((&told["instructions"], &told["tools"][0]["name"]), (&json!("Answer in one line."), &json!("weather")));
    assert_eq!((&told["usage"]["input_tokens"], &told["usage"]["total_tokens"]), (&json!(9), &json!(13)));
    let sent = east.call(0).await;
    let body: Value = serde_json::from_str(sent.text()).unwrap();
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!((&body["model"], &body["tool_choice"]), (&json!("jade-v3"), &json!("required")));
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Answer in one line."}));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Say hello."}));
    assert_eq!(body["tools"][0]["function"]["name"], "weather");
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.frontend.as_str(), row.attempts[0].provenance.as_str()), ("openai_responses", "reported"));
    assert_eq!(row.cost.to_exact(), "0.000017");
}

#[tokio::test]
async fn streams_of_both_shapes_are_told_as_events() {
    for speaks_chat in [false, true] {
        let (east, gateway) = if speaks_chat { chats().await } else { speaks().await };
        east.next(stream(&if speaks_chat { chat::hello() } else { messages::hello() }));

        let answer = gateway.ask(&ask(r#""stream":true"#)).await;

        let events = events(answer.text());
        let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let expected = [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ];
        assert_eq!((answer.status, names.as_slice()), (200, &expected[..]), "{}", answer.text());
        let last = &events[9]["response"];
        assert_eq!((&last["output"][0]["content"][0]["text"], &last["usage"]["total_tokens"]), (&json!("Hello."), &json!(13)));
        assert_eq!(events[0]["response"]["id"], last["id"]);
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.cost.to_exact().as_str(), row.stream), ("answered", "0.000017", true));
    }
}

#[tokio::test]
async fn a_client_is_answered_by_a_provider_of_messages_and_goes_on_with_its_thoughts() {
    let (east, gateway) = speaks().await;
    let blocks = r#"[{"type":"thinking","thinking":"Use it.","signature":"sig"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}}]"#;
    east.next(whole(&messages::answer_with(blocks, r#"{"input_tokens":9,"cache_read_input_tokens":900,"output_tokens":4}"#)));
    let asked = json!({"role": "user", "content": "Weather in Oslo?"});
    let turn = |input: Value| {
        let mut body: Value = serde_json::from_str(&format!("{{{AGENT}}}")).unwrap();
        (body["model"], body["input"], body["tool_choice"]) = (json!("auto"), input, json!("auto"));
        Call::responses(body.to_string())
    };

    let answer = gateway.ask(&turn(json!([asked]))).await;

    let told = answer.json();
    assert_eq!(answer.status, 200, "{told}");
    let (thought, call) = (&told["output"][0], &told["output"][1]);
    assert_eq!(thought["summary"], json!([{"type": "summary_text", "text": "Use it."}]));
    assert_eq!((&call["type"], &call["call_id"]), (&json!("function_call"), &json!("toolu_1")));
    assert_eq!((&call["name"], &call["arguments"]), (&json!("weather"), &json!(r#"{"city":"Oslo"}"#)));
    assert_eq!(told["usage"]["input_tokens_details"]["cached_tokens"], 900);

    east.next(whole(&messages::answer("4 degrees.", 9, 4)));
    let result = json!({"type": "function_call_output", "call_id": "toolu_1", "output": "4"});
    let answer = gateway.ask(&turn(json!([asked, thought, call, result]))).await;

    assert_eq!(answer.json()["output"][0]["content"][0]["text"], "4 degrees.");
    let body: Value = serde_json::from_str(east.call(1).await.text()).unwrap();
    let said = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(said[0], json!({"type": "thinking", "thinking": "Use it.", "signature": "sig"}), "{body}");
    let called = json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}});
    assert_eq!(said.last(), Some(&called), "{body}");
    let answered = &body["messages"][2]["content"][0];
    assert_eq!((&answered["type"], &answered["tool_use_id"]), (&json!("tool_result"), &json!("toolu_1")));
}

#[tokio::test]
async fn calls_of_a_chat_stream_are_items() {
    let (east, gateway) = chats().await;
    let calls = |calls: &str| chat::delta(&format!(r#"{{"tool_calls":[{calls}]}}"#), "null");
    let frames = [
        calls(r#"{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}"#),
        calls(r#"{"index":1,"id":"call_b","type":"function","function":{"name":"weather","arguments":"{\"a\""}}"#),
        calls(r#"{"index":0,"function":{"arguments":"{}"}},{"index":1,"function":{"arguments":":1}"}}"#),
        chat::finish(),
        chat::usage(9, 4),
        chat::DONE.to_owned(),
    ];
    east.next(stream(&frames));

    let answer = gateway.ask(&ask(&format!(r#"{AGENT},"stream":true"#))).await;

    let events = events(answer.text());
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.completed"), &json!("completed")),
        "{}",
        answer.text()
    );
    let told: Vec<_> =
        last["response"]["output"].as_array().unwrap().iter().map(|item| (&item["call_id"], &item["arguments"])).collect();
    assert_eq!(told, [(&json!("call_a"), &json!("{}")), (&json!("call_b"), &json!("{\"a\":1}"))]);
}

#[tokio::test]
async fn an_error_is_told_in_the_shape_of_chat() {
    let (east, gateway) = speaks().await;
    east.next(status(400, &[], &messages::error("invalid_request_error", "the seventh block is odd")));
    let answer = gateway.ask(&ask("")).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["error"]["code"], error.get("type")), (400, &json!("bad_request"), None), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("the seventh block is odd"), "{error}");

    let refused = gateway.ask(&ask(r#""tools":[{"type":"web_search"}]"#)).await;
    let error = refused.json();
    assert_eq!((refused.status, &error["error"]["code"]), (400, &json!("untranslatable")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("web_search"), "{error}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_as_a_response_that_failed() {
    let mut frames = chat::hello();
    frames.truncate(3);
    let mut of_messages = messages::hello();
    of_messages.truncate(4);
    let told = [frames.concat(), chat::error_frame("Overloaded.")];
    for (code, speaks_chat, script) in [
        ("upstream_truncated", false, stream(&of_messages)),
        ("upstream_broken", true, then(begun(&frames), [Step::Close])),
        ("upstream_truncated", true, stream(&frames)),
        ("upstream_unavailable", true, stream(&told)),
    ] {
        let (east, gateway) = if speaks_chat { chats().await } else { speaks().await };
        east.next(script);
        let answer = gateway.ask(&ask(r#""stream":true"#)).await;
        let events = events(answer.text());
        let (first, last) = (&events[0], events.last().unwrap());
        assert_eq!(
            (&last["type"], &last["response"]["status"]),
            (&json!("response.failed"), &json!("failed")),
            "{}",
            answer.text()
        );
        let error = &last["response"]["error"];
        assert_eq!((&error["code"], &error["tokenbroker"]["code"]), (&json!("server_error"), &json!(code)));
        assert_eq!(last["response"]["id"], first["response"]["id"]);
        assert!(!answer.text().contains("response.completed"));
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"), "{code}");
    }
}

#[tokio::test]
async fn answers_are_not_stored_and_it_is_said_so() {
    let (east, gateway) = chats().await;
    let refused = gateway.ask(&ask(r#""previous_response_id":"resp_1""#)).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!("unsupported_parameter")), "{error}");
    assert_eq!((&error["param"], east.calls().len()), (&json!("previous_response_id"), 0));
    assert!(error["message"].as_str().unwrap().contains("whole conversation"), "{error}");

    let sought = gateway.ask(&Call::get("/v1/responses/resp_1")).await;
    let error = &sought.json()["error"];
    assert_eq!((sought.status, &error["code"]), (404, &json!("response_not_found")), "{error}");
    assert_eq!(gateway.ask(&Call::get("/v1/responses")).await.status, 405);
    assert_eq!(gateway.ask(&Call::post("/v1/responses/resp_1/cancel", "{}")).await.status, 501);
}
