//! Calls of tools: whose the pieces are, what is said once, and what tools answered.

use serde_json::{Value, json};

use super::{frames, retold};
use crate::harness::provider::{status, stream};
use crate::harness::{Call, chat, chats, messages, speaks};

/// A delta with these elements of `tool_calls`.
fn pieces(elements: &[&str]) -> String {
    format!(r#"{{"tool_calls":[{}]}}"#, elements.join(","))
}

async fn called(deltas: &[&[&str]], finish: &str) -> super::Told {
    let deltas: Vec<String> = deltas.iter().map(|elements| pieces(elements)).collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    retold(&chats().await, &frames(&deltas, finish)).await
}

#[tokio::test]
async fn corner_17_calls_are_told_apart_where_indexes_are_missing_equal_or_growing() {
    const A: &str = r#"{"id":"a","function":{"name":"f","arguments":"{}"}}"#;
    const B: &str = r#"{"id":"b","function":{"name":"f","arguments":"{\"x\":1}"}}"#;
    let both = [("f", "{}"), ("f", r#"{"x":1}"#)];
    assert_eq!(called(&[&[A, B]], "tool_calls").await.called(), both, "missing, as at Gemini's chat endpoint");
    assert_eq!(called(&[&[A], &[B]], "stop").await.called(), both, "missing, one after the other");
    let at_zero = [A, B].map(|call| call.replacen('{', r#"{"index":0,"#, 1));
    assert_eq!(called(&[&[&at_zero[0]], &[&at_zero[1]]], "tool_calls").await.called(), both, "always 0, as at Ollama");
    // Found by an audit: one id for all, or a number.
    let named = [
        r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
        r#"{"index":1,"id":"a","function":{"name":"g","arguments":"{\"x\":1}"}}"#,
    ];
    let told = called(&[&[named[0]], &[named[1]]], "tool_calls").await;
    assert_eq!(told.called(), [("f", "{}"), ("g", r#"{"x":1}"#)], "one id");
    assert_ne!(told.calls[0].0, told.calls[1].0, "clients tell them apart by their ids");
    let number = B.replace("\"b\"", "7");
    assert_eq!(called(&[&[&number]], "tool_calls").await.called(), [both[1]], "a number");
    let growing: [&[&str]; 3] = [
        &[r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}}"#],
        &[r#"{"index":1,"function":{"arguments":"{\"x\":"}}"#],
        &[r#"{"index":2,"function":{"arguments":"1}"}}"#],
    ];
    let told = called(&growing, "tool_calls").await;
    assert_eq!((told.called(), told.stop.as_str()), (vec![both[1]], "tool_use"), "growing with each piece");
}

#[tokio::test]
async fn corner_18_ids_and_names_may_be_missing_repeated_or_in_pieces_and_leave_once() {
    let told = called(
        &[
            &[r#"{"index":0,"id":"a","type":"function","function":{"name":"wea","arguments":""}}"#],
            &[r#"{"index":0,"id":"a","type":"function","function":{"name":"ther","arguments":""}}"#],
            &[r#"{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":"{"}}"#],
            &[r#"{"index":0,"id":"","type":"function","function":{"name":null,"arguments":"}"}}"#],
            &[r#"{"index":1,"function":{"name":"now","arguments":"{}"}}"#],
        ],
        "tool_calls",
    )
    .await;
    assert_eq!(told.called(), [("weather", "{}"), ("now", "{}")]);
    let (first, made_up) = (&told.calls[0].0, &told.calls[1].0);
    assert!(first == "a" && !made_up.is_empty() && made_up != "a", "{told:?}");

    // To a client of chat: its SDKs begin a call anew where its type is repeated.
    let (east, gateway) = speaks().await;
    let start = messages::block(0, r#"{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}"#);
    let piece = |json: &str| messages::delta(0, &json!({"type": "input_json_delta", "partial_json": json}).to_string());
    let events = [
        messages::start(r#"{"input_tokens":9,"output_tokens":1}"#),
        start,
        piece(""),
        piece("{\"city\":"),
        piece("\"Oslo\"}"),
        messages::end(0),
        messages::finish("tool_use", r#"{"output_tokens":4}"#),
        messages::STOP.to_owned(),
    ];
    east.next(stream(&events));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    for once in [r#""id":"toolu_1""#, r#""type":"function""#, r#""name":"weather""#] {
        assert_eq!(answer.text().matches(once).count(), 1, "{once}: {}", answer.text());
    }
}

#[tokio::test]
async fn corner_19_arguments_may_be_empty_whole_or_an_object_and_leave_as_json() {
    let told = called(
        &[
            &[r#"{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1.0}}}"#],
            &[r#"{"index":1,"id":"b","function":{"name":"g","arguments":""}}"#],
            &[r#"{"index":2,"id":"c","function":{"name":"h"}}"#],
        ],
        "tool_calls",
    )
    .await;
    let inputs: Vec<Value> = told
        .calls
        .iter()
        .map(|(_, _, input)| serde_json::from_str(if input.is_empty() { "{}" } else { input }).unwrap())
        .collect();
    assert_eq!(inputs, [json!({"x": 1.0}), json!({}), json!({})], "nothing was made of what is empty: {told:?}");

    // To a client of chat nothing but JSON may leave, and not before the end: Anthropic's first piece is always empty.
    let (east, gateway) = speaks().await;
    let nothing = messages::delta(0, r#"{"type":"input_json_delta","partial_json":""}"#);
    let events = [
        messages::start(r#"{"input_tokens":9,"output_tokens":1}"#),
        messages::block(0, r#"{"type":"tool_use","id":"toolu_1","name":"now","input":{}}"#),
        nothing,
        messages::end(0),
        messages::finish("tool_use", r#"{"output_tokens":4}"#),
        messages::STOP.to_owned(),
    ];
    east.next(stream(&events));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    let chunks = chat::chunks(answer.text());
    let arguments = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]);
    let arguments: String = arguments.filter_map(Value::as_str).collect();
    assert_eq!(arguments, "{}", "{}", answer.text());
}

#[tokio::test]
async fn corner_20_one_block_is_open_at_a_time_however_pieces_interleave() {
    let deltas = [
        r#"{"content":"Let me see."}"#.to_owned(),
        pieces(&[r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}"#]),
        r#"{"content":""}"#.to_owned(),
        pieces(&[r#"{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":"}}"#]),
        r#"{"content":"","tool_calls":[]}"#.to_owned(),
        pieces(&[r#"{"index":0,"function":{"arguments":"1}"}}"#, r#"{"index":1,"function":{"arguments":"2}"}}"#]),
    ];
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let told = retold(&chats().await, &frames(&deltas, "tool_calls")).await;
    assert_eq!((told.called(), told.text.as_str()), (vec![("f", r#"{"x":1}"#), ("g", r#"{"y":2}"#)], "Let me see."));
}

#[tokio::test]
async fn corner_21_arguments_that_were_cut_pass_as_they_are() {
    let told = called(&[&[r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"a"}}"#]], "length").await;
    assert_eq!((told.called(), told.stop.as_str()), (vec![("f", r#"{"x":"a"#)], "max_tokens"));
}

#[tokio::test]
async fn corner_22_what_tools_answered_stands_in_one_turn_before_any_text() {
    let (east, gateway) = speaks().await;
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let result = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let user = |text: &str| json!({"role": "user", "content": text});
    let asking = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
    let history = json!([user("Weather?"), asking, result("b", "5"), result("a", "4"), user("Go on.")]);
    let ask = |history: &Value| json!({"model": "auto", "max_tokens": 64, "messages": history}).to_string();
    assert_eq!(gateway.chat(&ask(&history)).await.status, 200);

    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let turns = sent["messages"].as_array().unwrap();
    let roles: Vec<&str> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"], "{sent}");
    let blocks = turns[2]["content"].as_array().unwrap();
    let answered: Vec<(&str, &str)> =
        blocks.iter().map(|block| (block["type"].as_str().unwrap(), block["tool_use_id"].as_str().unwrap_or_default())).collect();
    assert_eq!(answered, [("tool_result", "b"), ("tool_result", "a"), ("text", "")], "{sent}");

    // An answer to no call is refused everywhere: the client is told so in its own words, and nothing is made up for it.
    let orphan = json!([user("Weather?"), result("x", "4"), user("Go on.")]);
    let said = "messages.1: `tool_use_id` x has no corresponding `tool_use` block";
    east.next(status(400, &[], &messages::error("invalid_request_error", said)));
    let refused = gateway.ask(&Call::chat(ask(&orphan))).await;
    assert_eq!((refused.status, refused.error("type")), (400, json!("invalid_request_error")), "{}", refused.text());
    assert!(refused.text().contains("tool_use_id"), "{}", refused.text());
}
