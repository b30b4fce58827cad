//! Calls of tools: whose the pieces are, what is said once, and what tools answered.

use serde_json::{Value, json};

use super::{frames, retold};
use crate::harness::provider::{status, stream};
use crate::harness::{Call, Gateway, Provider, Site, chat, chats, messages, speaks};

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

/// A history in chat, with calls of `weather`.
mod history {
    use serde_json::{Value, json};

    pub(super) fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    pub(super) fn calls(ids: &[&str]) -> Value {
        let call = |id| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
    }

    pub(super) fn result(id: &str, text: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": text})
    }

    pub(super) fn ask(turns: &[Value]) -> String {
        json!({"model": "auto", "max_tokens": 64, "messages": turns}).to_string()
    }
}

/// What a provider of Messages was sent behind the first call: of each block of that turn its type, whose result it is and its text.
fn behind_the_call(sent: &Value) -> Vec<(String, String, String)> {
    let turns = sent["messages"].as_array().unwrap();
    let roles: Vec<&str> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert!(roles.chunks(2).all(|pair| pair[0] == "user" && pair.get(1).is_none_or(|next| *next == "assistant")), "{sent}");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = |block: &Value| {
        let said = if block["type"] == "text" { &block["text"] } else { &block["content"][0]["text"] };
        (word(&block["type"]), word(&block["tool_use_id"]), word(said))
    };
    turns[2]["content"].as_array().unwrap().iter().map(told).collect()
}

#[tokio::test]
async fn corner_22_what_tools_answered_stands_in_one_turn_before_any_text_and_is_complete() {
    use history::{ask, calls, result, user};

    let (east, gateway) = speaks().await;
    let block = |kind: &str, id: &str, text: &str| (kind.to_owned(), id.to_owned(), text.to_owned());
    let (answered, said) = (|id, text| block("tool_result", id, text), block("text", "", "Go on."));
    let whole = [user("Weather?"), calls(&["a", "b"]), result("b", "5"), result("a", "4"), user("Go on.")];
    // Of an agent that was stopped while its tools ran.
    let one_missing = [user("Weather?"), calls(&["a", "b"]), result("b", "5"), user("Go on.")];
    let all_missing = [user("Weather?"), calls(&["a", "b"]), user("Go on.")];
    let histories: [(&[Value], Vec<_>); 3] = [
        (&whole, vec![answered("b", "5"), answered("a", "4"), said.clone()]),
        (&one_missing, vec![answered("b", "5"), answered("a", "(no result)"), said.clone()]),
        (&all_missing, vec![answered("a", "(no result)"), answered("b", "(no result)"), said]),
    ];
    for (nth, (turns, expected)) in histories.iter().enumerate() {
        assert_eq!(gateway.chat(&ask(turns)).await.status, 200);
        let sent: Value = serde_json::from_str(east.call(nth).await.text()).unwrap();
        assert_eq!(behind_the_call(&sent), *expected, "{sent}");
        // A model that is told of an error does not take it for what the tool said.
        let blocks = sent["messages"][2]["content"].as_array().unwrap();
        let failed = |block: &&Value| block["is_error"] == true;
        let missing = expected.iter().filter(|(_, _, text)| text == "(no result)").count();
        assert_eq!(blocks.iter().filter(failed).count(), missing, "{sent}");
    }
}

#[tokio::test]
async fn corner_22_in_chat_each_tool_answers_right_behind_the_call_and_none_is_missing() {
    let (east, gateway) = chats().await;
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "weather", "input": {}});
    let answered = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "4"});
    let go_on = json!({"type": "text", "text": "Go on."});
    for (nth, (results, missing)) in [(vec![answered("b"), answered("a")], 0), (vec![answered("b")], 1)].into_iter().enumerate() {
        let said = [results, vec![go_on.clone()]].concat();
        let turns = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [call("a"), call("b")]},
            {"role": "user", "content": said},
        ]);
        let body = json!({"model": "auto", "max_tokens": 64, "messages": turns}).to_string();
        assert_eq!(gateway.ask(&Call::messages(body)).await.status, 200);
        let sent: Value = serde_json::from_str(east.call(nth).await.text()).unwrap();
        let said = sent["messages"].as_array().unwrap().iter();
        let said: Vec<(&str, &str)> =
            said.map(|turn| (turn["role"].as_str().unwrap(), turn["tool_call_id"].as_str().unwrap_or_default())).collect();
        assert_eq!(said, [("user", ""), ("assistant", ""), ("tool", "b"), ("tool", "a"), ("user", "")], "{sent}");
        assert_eq!(sent.to_string().matches("(no result)").count(), missing, "{sent}");
    }
}

#[tokio::test]
async fn corner_22_an_answer_to_no_call_is_refused_alike_and_nothing_is_made_up_for_it() {
    use history::{ask, result, user};

    let orphan = ask(&[user("Weather?"), result("x", "4"), user("Go on.")]);
    let anthropic = messages::error("invalid_request_error", "messages.1: `tool_use_id` x has no corresponding `tool_use` block");
    let openai = chat::error("messages with role 'tool' must be a response to a preceding message with 'tool_calls'");
    let openai = openai.replace("some_error", "invalid_request_error");
    for (refusal, word, translated) in [(anthropic, "tool_use_id", true), (openai, "must be a response", false)] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let site = |provider| if translated { Site::of(provider).only_messages() } else { Site::of(provider) };
        let gateway = Gateway::of([site(&east), site(&west).price("3", "6")]);
        for provider in [&east, &west] {
            provider.next(status(400, &[], &refusal));
        }
        let refused = gateway.chat(&orphan).await;
        // In the client's own words, whoever refused it.
        assert_eq!((refused.status, refused.error("type")), (400, json!("invalid_request_error")), "{}", refused.text());
        assert!(refused.text().contains(word), "{}", refused.text());
        let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
        assert!(!sent.to_string().contains("tool_calls") && !sent.to_string().contains("tool_use\""), "{sent}");
        // What was refused in our words another may take; of the client's own nobody else is asked.
        assert_eq!((east.calls().len(), west.calls().len()), (1, usize::from(translated)));
        // The request is at fault and not who refused it.
        let next = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((next.status, next.header("x-tokenbroker-backend")), (200, "east/jade-v3"));
    }
}
