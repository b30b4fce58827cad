//! A schema asked for by hand, where the provider does not hold its model to it: what is sent instead, how the answer comes back,
//! and what becomes of one that does not keep to the schema.

use serde_json::{Value, json};

use crate::harness::provider::{stream, whole};
use crate::harness::{Call, Gateway, Provider, Site, Whole, chat, messages};

const FORMAT: &str = r#""response_format":{"type":"json_schema","json_schema":{"name":"place","schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}}"#;

fn backend(answer: &Whole) -> &str {
    answer.header("x-tokenbroker-backend")
}

async fn one(way: &str) -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).schema_by(way)]);
    (east, gateway)
}

/// The cheaper one, which is asked first, and another.
async fn two(way: &str) -> (Provider, Provider, Gateway) {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).schema_by(way), Site::of(&west).price("3", "6").schema_by(way)]);
    (east, west, gateway)
}

/// A whole answer that calls a tool.
fn calls(name: &str, arguments: &str) -> String {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]});
    json!({"id": "c-1", "object": "chat.completion", "created": 1, "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}})
    .to_string()
}

fn chunk(delta: &Value, finish: &Value) -> String {
    let chunk = json!({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "served",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    chat::frame(&chunk.to_string())
}

/// A stream in which the tool is called with these pieces.
fn calls_in_pieces(pieces: &[&str]) -> Vec<String> {
    let call = json!({"role": "assistant", "tool_calls": [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "place", "arguments": ""}}]});
    let piece = |piece: &&str| chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), &Value::Null);
    let mut frames = vec![chunk(&call, &Value::Null)];
    frames.extend(pieces.iter().map(piece));
    frames.extend([chunk(&json!({}), &json!("tool_calls")), chat::usage(9, 40), chat::DONE.to_owned()]);
    frames
}

#[tokio::test]
async fn a_forced_tools_arguments_come_back_as_the_text_that_was_asked_for() {
    let (east, gateway) = one("tool").await;
    east.next(whole(&calls("place", r#"{"city":"Oslo"}"#)));

    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;

    let told = answer.json();
    let choice = &told["choices"][0];
    assert_eq!((answer.status, &choice["message"]["content"]), (200, &json!(r#"{"city":"Oslo"}"#)), "{told}");
    assert_eq!((&choice["finish_reason"], choice["message"].get("tool_calls")), (&json!("stop"), None));
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!(sent["tool_choice"], json!({"type": "function", "function": {"name": "place"}}), "{sent}");
    assert_eq!(sent["tools"][0]["function"]["parameters"]["required"], json!(["city"]));
    assert_eq!(sent.get("response_format"), None);
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.outcome.as_str(), row.cost.to_exact().as_str()), ("answered", "0.000017"));
}

#[tokio::test]
async fn a_stream_of_a_tools_arguments_is_one_of_text() {
    let (east, gateway) = one("tool").await;
    east.next(stream(&calls_in_pieces(&["{\"city\":", "\"Oslo\"}"])));
    let answer = gateway.chat(&chat::ask_with("auto", &format!(r#"{FORMAT},"stream":true"#))).await;
    assert!(answer.text().ends_with(chat::DONE), "{}", answer.text());
    let frames = answer
        .text()
        .split_terminator("\n\n")
        .filter_map(|frame| serde_json::from_str::<Value>(frame.strip_prefix("data: ")?).ok());
    let said: String = frames.filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(said, r#"{"city":"Oslo"}"#);
    assert!(!answer.text().contains("tool_calls"), "{}", answer.text());
}

#[tokio::test]
async fn the_mode_for_json_is_asked_with_the_schema_in_words() {
    let (east, gateway) = one("json_object").await;
    east.next(whole(&chat::answer(r#"{\"city\":\"Oslo\"}"#, 9, 4)));
    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], r#"{"city":"Oslo"}"#, "{}", answer.text());
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!(sent["response_format"], json!({"type": "json_object"}));
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains(r#""required":["city"]"#), "{sent}");
}

#[tokio::test]
async fn an_answer_off_its_schema_is_the_backends_failure_and_the_next_one_is_asked() {
    let (east, west, gateway) = two("tool").await;
    east.next(whole(&calls("place", r#"{"town":"Oslo"}"#)));
    west.next(whole(&calls("place", r#"{"city":"Oslo"}"#)));

    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;

    assert_eq!((answer.status, backend(&answer)), (200, "west/jade-v3"), "{}", answer.text());
    let row = gateway.row_of(&answer).await;
    let failed = &row.attempts[0];
    assert_eq!((failed.ending.as_str(), failed.provenance.as_str()), ("failed", "reported"));
    assert_eq!(failed.cost.to_exact(), "0.000017", "it is booked as it is billed");
    assert!(
        failed.cause.as_deref().unwrap().eq("schema_mismatch: the answer does not keep to its schema"),
        "no text of it: {row:?}"
    );
    // A model that errs is no site that fails: it is asked again.
    east.always(whole(&calls("place", r#"{"city":"Oslo"}"#)));
    assert_eq!(backend(&gateway.chat(&chat::ask_with("auto", FORMAT)).await), "east/jade-v3");
}

/// Found by a reader: they were booked at what was expected, or at zero where zeros were reported.
#[tokio::test]
async fn an_answer_off_its_schema_whose_usage_is_not_told_is_booked_by_our_count() {
    let said = "The city that you ask for is the capital of Norway, and it lies at the end of a fjord.";
    let without = |answer: String, usage: &str| answer.replace(&format!(r#","usage":{}"#, chat::usage_object(9, 4)), usage);
    let zeros = format!(r#","usage":{}"#, chat::usage_object(0, 0));
    let chunks = |usage: &[String]| {
        let frames = [chat::role(), chat::text(said)].into_iter().chain([chat::finish()]).chain(usage.iter().cloned());
        frames.chain([chat::DONE.to_owned()]).collect::<Vec<_>>().concat()
    };
    let whole_of = |usage: &str| whole(&without(chat::answer(said, 9, 4), usage));
    // In one piece, so that the end is there before the client is told anything.
    let streamed = |usage: &[String]| stream(&[chunks(usage)]);
    for (members, script) in [
        ("", whole_of("")),
        ("", whole_of(&zeros)),
        (r#","stream":true"#, streamed(&[])),
        (r#","stream":true"#, streamed(&[chat::usage(0, 0)])),
    ] {
        let (east, west, gateway) = two("json_object").await;
        east.next(script);
        west.always(whole(&chat::answer(r#"{\"city\":\"Oslo\"}"#, 9, 4)));
        let answer = gateway.chat(&chat::ask_with("auto", &format!("{FORMAT}{members}"))).await;

        let row = gateway.row_of(&answer).await;
        let failed = &row.attempts[0];
        assert_eq!((failed.backend.as_str(), failed.provenance.as_str()), ("east/jade-v3", "estimated"), "{row:?}");
        let (input, output) = (failed.usage.input().get(), failed.usage.output.get());
        // Twenty words; what was expected of the answer is far more.
        assert!(input > 0 && (15..=30).contains(&output), "{members}: {failed:?}");
    }
}

#[tokio::test]
async fn where_nobody_keeps_to_the_schema_the_client_is_told_what_is_wrong() {
    let (east, gateway) = one("json_object").await;
    east.next(whole(&chat::answer("Oslo, of course.", 9, 4)));
    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["error"]["code"]), (502, &json!("upstream_error")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("does not keep to its schema: it is no JSON"), "{error}");
    assert_eq!(error["error"]["tokenbroker"]["attempts"][0]["cause"], "schema_mismatch");
}

#[tokio::test]
async fn a_stream_off_its_schema_ends_with_an_error_in_the_place_of_its_finish() {
    let (east, gateway) = one("tool").await;
    // The first piece is taken before the rest is sent, so that the client has seen it.
    let frames = calls_in_pieces(&["{\"town\":", "\"Oslo\"}"]);
    let gate = crate::harness::Gate::shut();
    let begun = crate::harness::provider::begun(&frames[..2]);
    let rest = stream(&frames[2..]).into_iter().skip(1);
    east.next(crate::harness::provider::then(begun, [crate::harness::Step::Wait(gate.clone())].into_iter().chain(rest)));
    let mut open = gateway.call(&Call::chat(chat::ask_with("auto", &format!(r#"{FORMAT},"stream":true"#)))).await;
    open.read_past("town").await;
    gate.open();

    let answer = open.whole().await;

    let text = answer.text();
    assert!(text.contains(r#""code":"schema_mismatch""#) && text.contains("`city` is missing"), "{text}");
    assert!(!text.contains(chat::DONE) && !text.contains(r#""finish_reason":"stop""#), "{text}");
    let row = gateway.row_of(&answer).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.ending.as_str(), attempt.provenance.as_str()), ("cut", "cut", "reported"));
    assert_eq!(row.cost.to_exact(), "0.000089");
}

#[tokio::test]
async fn a_client_of_messages_gets_the_same_in_its_own_words() {
    let (east, gateway) = one("tool").await;
    let format = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","required":["city"]}}}"#;
    east.next(whole(&calls("answer", r#"{"city":"Oslo"}"#)));
    let answer = gateway.ask(&Call::messages(messages::ask_with("auto", format))).await;
    let told = answer.json();
    assert_eq!(told["content"], json!([{"type": "text", "text": r#"{"city":"Oslo"}"#}]), "{told}");
    assert_eq!(told["stop_reason"], "end_turn");
}

#[tokio::test]
async fn where_the_provider_holds_its_model_to_the_schema_nothing_is_done() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let told = chat::answer("Oslo, of course.", 9, 4);
    east.next(whole(&told));
    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;
    assert_eq!((answer.status, answer.text()), (200, told.as_str()), "its bytes come back as they are");
    assert!(east.call(0).await.text().contains("json_schema"));
}

#[tokio::test]
async fn a_request_without_a_schema_is_sent_as_it_is() {
    let (east, gateway) = one("tool").await;
    let told = chat::answer("Hello.", 9, 4);
    east.next(whole(&told));
    let answer = gateway.chat(&chat::ask_with("auto", r#""seed":7,"verbosity":"low""#)).await;
    assert_eq!((answer.text(), answer.header("x-tokenbroker-dropped")), (told.as_str(), ""));
    assert!(east.call(0).await.text().contains(r#""verbosity":"low""#));
}

/// Who is asked by hand, and how, is told before anything is sent.
#[tokio::test]
async fn a_dry_run_tells_who_is_asked_for_a_schema_by_hand() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).schema_by("json_object"), Site::of(&west).price("3", "6")]);
    let dry = |members: String| chat::ask_with("auto", &format!(r#"{members}"tokenbroker":{{"dry_run":true}}"#));
    for (members, expected) in [(format!("{FORMAT},"), json!("json_object")), (String::new(), Value::Null)] {
        let told = gateway.chat(&dry(members)).await.json();
        let ways = [0, 1].map(|at| told["candidates"][at]["schema_by"].clone());
        assert_eq!((&told["chosen"]["backend"], ways), (&json!("east/jade-v3"), [expected, Value::Null]), "{told}");
    }
}

/// Found by an audit: bounds in a schema are refused by Messages, which was sent them; here they are said, and checked.
#[tokio::test]
async fn bounds_of_a_schema_are_said_to_messages_and_checked_here() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).only_messages(), Site::of(&west).price("3", "6").only_messages()]);
    let format = |schema: &str| {
        let format = format!(r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#);
        chat::ask_with("auto", &format)
    };
    let bounded = r#"{"type":"object","properties":{"n":{"type":"integer","minimum":3}},"required":["n"]}"#;
    let text = |text: &str| whole(&messages::answer(text, 9, 4));
    east.next(text(r#"{\"n\":2}"#));
    west.next(text(r#"{\"n\":3}"#));
    let answer = gateway.chat(&format(bounded)).await;
    assert_eq!((answer.status, backend(&answer)), (200, "west/jade-v3"), "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], r#"{"n":3}"#);
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let told = json!({"type": "object", "properties": {"n": {"type": "integer", "description": r#"{"minimum":3}"#}},
        "required": ["n"], "additionalProperties": false});
    assert_eq!(sent["output_config"]["format"]["schema"], told, "{sent}");
    // A map cannot be told, and is asked for by a tool.
    east.next(whole(&messages::answer_with(
        r#"[{"type":"tool_use","id":"toolu_1","name":"n","input":{"a":1}}]"#,
        r#"{"input_tokens":9,"output_tokens":4}"#,
    )));
    let answer = gateway.chat(&format(r#"{"type":"object","additionalProperties":{"type":"integer"}}"#)).await;
    assert_eq!((answer.status, backend(&answer)), (200, "east/jade-v3"), "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], r#"{"a":1}"#);
    let sent: Value = serde_json::from_str(east.calls().last().unwrap().text()).unwrap();
    assert_eq!((&sent["tool_choice"]["name"], sent.get("output_config")), (&json!("n"), None), "{sent}");
}

/// A known defect: rows that do schemas by hand were asked in vain with more than one choice, probabilities, or another schema.
#[tokio::test]
async fn who_cannot_do_a_schema_by_hand_is_not_planned_and_the_rule_is_told() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).schema_by("tool"), Site::of(&west).price("3", "6")]);
    let array = r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array"}}}"#;
    for members in [format!(r#"{FORMAT},"n":2"#), format!(r#"{FORMAT},"logprobs":true"#), array.to_owned()] {
        let dry = gateway.chat(&chat::ask_with("auto", &format!(r#"{members},"tokenbroker":{{"dry_run":true}}"#))).await.json();
        assert_eq!(dry["chosen"]["backend"], "west/jade-v3", "{dry}");
        assert!(dry.to_string().contains("schema_by_hand"), "{dry}");
        let answer = gateway.chat(&chat::ask_with("auto", &members)).await;
        assert_eq!((answer.status, backend(&answer)), (200, "west/jade-v3"), "{}", answer.text());
        assert!(gateway.row_of(&answer).await.attempts.len() == 1, "{members}");
        let alone = gateway.chat(&chat::ask_with("east/jade-v3", &members)).await;
        assert_eq!((alone.status, &alone.json()["error"]["code"]), (400, &json!("no_adequate_backend")), "{}", alone.text());
    }
}

/// A known defect: their arguments were joined, and no JSON came of it.
#[tokio::test]
async fn two_calls_of_the_tool_are_no_answer_and_the_next_one_is_asked() {
    let (east, west, gateway) = two("tool").await;
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "place", "arguments": r#"{"city":"Oslo"}"#}});
    let twice = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]}).to_string();
    east.next(whole(&chat::answer_with(&twice, "tool_calls", &chat::usage_object(9, 4))));
    west.next(whole(&calls("place", r#"{"city":"Oslo"}"#)));
    let answer = gateway.chat(&chat::ask_with("auto", FORMAT)).await;
    assert_eq!((answer.status, backend(&answer)), (200, "west/jade-v3"), "{}", answer.text());
    let failed = &gateway.row_of(&answer).await.attempts[0];
    assert_eq!((failed.backend.as_str(), failed.ending.as_str()), ("east/jade-v3", "failed"));
}

/// A known defect: such a request was moved to chat, although a tool can be said in Messages as well.
#[tokio::test]
async fn a_schema_by_a_tool_is_asked_for_in_the_clients_own_shape() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_messages().quirk("messages_formats = false").schema_by("tool")]);
    let call = json!([{"type": "tool_use", "id": "toolu_1", "name": "answer", "input": {"city": "Oslo"}}]);
    east.next(whole(&messages::answer_with(&call.to_string(), r#"{"input_tokens":9,"output_tokens":4}"#)));
    let format = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","required":["city"]}}}"#;
    let answer = gateway.ask(&Call::messages(messages::ask_with("auto", format))).await;
    assert_eq!(answer.json()["content"], json!([{"type": "text", "text": r#"{"city":"Oslo"}"#}]), "{}", answer.text());
    assert_eq!(east.call(0).await.path, "/anthropic/v1/messages");
}
