//! Providers of Responses: a client of it is answered with its own bytes passed, clients of chat and of Messages are told in its
//! words, and whatever comes back is booked as any other answer.

use std::sync::Arc;

use serde_json::{Value, json};
use tokenbroker::units::Tokens;

use crate::harness::provider::{Arrived, begun, status, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Site, Step, Whole, chat, messages, responses};

/// A provider that speaks Responses alone, whose model thinks and tells it encrypted.
async fn speaks() -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).only_responses().thinks()]);
    (east, gateway)
}

fn ask(members: &str) -> Call {
    let comma = if members.is_empty() { "" } else { "," };
    Call::responses(format!(r#"{{"model":"auto","input":"Say hello."{comma}{members}}}"#))
}

fn sent(call: &Arc<Arrived>) -> Value {
    serde_json::from_str(call.text()).unwrap()
}

/// How the request and its first attempt ended, and what it cost.
async fn booked(gateway: &Gateway, answer: &Whole) -> (String, String, String) {
    let row = gateway.row_of(answer).await;
    (row.outcome.clone(), row.attempts[0].provenance.clone(), row.cost.to_exact())
}

fn whole_and_reported(cost: &str) -> (String, String, String) {
    ("answered".to_owned(), "reported".to_owned(), cost.to_owned())
}

const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]"#;

#[tokio::test]
async fn a_client_of_responses_passes_with_its_own_bytes() {
    let (east, gateway) = speaks().await;
    let told = responses::answer(&[responses::thought("c2VhbA=="), responses::message("Hello.")], &responses::usage(9, 0, 4, 2));
    east.next(whole(&told));

    let members = r#""text": {"verbosity":"low"},"metadata":{"a":"b"},"max_output_tokens":64,"store":true"#;
    let answer = gateway.ask(&ask(members)).await;

    assert_eq!((answer.status, answer.text()), (200, told.as_str()));
    let call = east.call(0).await;
    let spliced = r#"{"model":"jade-v3","include":["reasoning.encrypted_content"],"input":"Say hello.","text": {"verbosity":"low"},"metadata":{"a":"b"},"max_output_tokens":64,"store":false}"#;
    assert_eq!((call.path.as_str(), call.text()), ("/v1/responses", spliced));
    assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000017"));
}

#[tokio::test]
async fn a_stream_of_responses_passes_as_it_is() {
    let (east, gateway) = speaks().await;
    east.next(stream(&responses::hello()));

    let answer = gateway.ask(&ask(r#""stream":true,"include":[],"store":false"#)).await;

    assert_eq!((answer.status, answer.text()), (200, responses::hello().concat().as_str()));
    let asked = sent(&east.call(0).await);
    assert_eq!((&asked["include"], &asked["store"]), (&json!(["reasoning.encrypted_content"]), &json!(false)));
    assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000017"));
}

#[tokio::test]
async fn a_bound_on_money_is_one_on_the_response() {
    let (east, gateway) = speaks().await;
    let told = responses::answer(&[responses::message("Hello.")], &responses::usage(9, 0, 4, 0));
    for (members, bound) in [("", None), (r#","max_output_tokens":17"#, Some(17))] {
        east.next(whole(&told));
        let answer = gateway.ask(&ask(&format!(r#""tokenbroker":{{"max_cost_usd":0.004}}{members}"#))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let asked = sent(east.calls().last().unwrap());
        let sent = asked["max_output_tokens"].as_u64().expect("a bound");
        // The money is enough for fewer than 2,000 tokens.
        assert!(bound.map_or(sent < 2_000, |bound| sent == bound), "{asked}");
        assert_eq!(asked.get("tokenbroker"), None);
    }
}

#[tokio::test]
async fn a_client_of_chat_calls_tools_and_goes_on_with_its_sealed_thoughts() {
    let (east, gateway) = speaks().await;
    let output = [responses::thought("c2VhbA=="), responses::call("call_1", r#"{"city":"Oslo"}"#)];
    east.next(whole(&responses::answer(&output, &responses::usage(909, 900, 4, 2))));
    let turn = |more: &str| {
        let asked = r#"{"role":"user","content":"Weather in Oslo?"}"#;
        format!(r#"{{"model":"auto","max_tokens":64,"reasoning_effort":"high",{TOOLS},"messages":[{asked}{more}]}}"#)
    };

    let answer = gateway.chat(&turn("")).await;

    let told = answer.json();
    let said = &told["choices"][0];
    assert_eq!((answer.status, &said["finish_reason"], &told["model"]), (200, &json!("tool_calls"), &json!("served")), "{told}");
    let call = &said["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("call_1"), &json!(r#"{"city":"Oslo"}"#)));
    assert_eq!(
        (&told["usage"]["prompt_tokens_details"]["cached_tokens"], &told["usage"]["total_tokens"]),
        (&json!(900), &json!(913))
    );
    let asked = sent(&east.call(0).await);
    assert_eq!(asked["input"], json!([{"type": "message", "role": "user", "content": "Weather in Oslo?"}]));
    assert_eq!((&asked["store"], &asked["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    assert_eq!((&asked["max_output_tokens"], &asked["reasoning"]), (&json!(64), &json!({"effort": "high"})));
    assert_eq!((&asked["tools"][0]["name"], &asked["tools"][0]["strict"]), (&json!("weather"), &json!(false)));
    assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000917"));

    east.next(whole(&responses::answer(&[responses::message("4 degrees.")], &responses::usage(9, 0, 4, 0))));
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "4"});
    let answer = gateway.chat(&turn(&format!(",{},{result}", said["message"]))).await;

    assert_eq!(answer.json()["choices"][0]["message"]["content"], "4 degrees.", "{}", answer.text());
    let asked = sent(&east.call(1).await);
    let items = asked["input"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "reasoning", "function_call", "function_call_output"], "{asked}");
    assert_eq!((&items[1]["encrypted_content"], &items[1]["summary"]), (&json!("c2VhbA=="), &json!([])));
    assert_eq!((&items[3]["call_id"], &items[3]["output"]), (&json!("call_1"), &json!("4")));
}

#[tokio::test]
async fn a_stream_of_responses_is_told_as_one_of_chat() {
    let (east, gateway) = speaks().await;
    east.next(stream(&responses::hello()));

    let answer = gateway.chat(&chat::ask_with("auto", r#""stream":true,"stream_options":{"include_usage":true}"#)).await;

    let chunks = answer.text().strip_suffix(chat::DONE).unwrap_or_else(|| panic!("not ended: {}", answer.text()));
    let chunks: Vec<Value> = chunks
        .split_terminator("\n\n")
        .map(|block| serde_json::from_str(block.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    let ends: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!((answer.status, said.as_str(), ends.as_slice()), (200, "Hello.", &["stop"][..]), "{}", answer.text());
    assert_eq!(chunks.iter().find_map(|chunk| chunk["usage"]["total_tokens"].as_u64()), Some(13));
    assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000017"));
}

#[tokio::test]
async fn a_stream_of_responses_is_told_as_one_of_messages() {
    let (east, gateway) = speaks().await;
    let (thought, call) = (responses::thought("c2VhbA=="), responses::call("call_1", r#"{"city":"Oslo"}"#));
    let mut frames = vec![
        responses::created(),
        responses::added(0, &responses::thought("early")),
        responses::event(
            "response.reasoning_summary_text.delta",
            json!({"output_index": 0, "summary_index": 0, "delta": "Use it."}),
        ),
        responses::done(0, &thought),
        responses::added(1, &responses::call("call_1", "")),
        responses::arguments(1, r#"{"city":"#),
        responses::arguments(1, r#""Oslo"}"#),
        responses::done(1, &call),
    ];
    frames.push(responses::completed(&[thought, call], &responses::usage(9, 0, 4, 2)));
    east.next(stream(&frames));

    let agent = r#""stream":true,"system":"Be brief.","tools":[{"name":"weather","input_schema":{"type":"object"}}]"#;
    let answer = gateway.ask(&Call::messages(messages::ask_with("auto", agent))).await;

    let events: Vec<Value> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let of = |member: &str| events.iter().filter_map(|event| event["delta"][member].as_str()).collect::<String>();
    assert_eq!(
        (answer.status, of("thinking"), of("partial_json")),
        (200, "Use it.".to_owned(), r#"{"city":"Oslo"}"#.to_owned()),
        "{}",
        answer.text()
    );
    assert_eq!((of("signature").as_str(), of("stop_reason").as_str()), ("openai-responses-v1:c2VhbA==", "tool_use"));
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    assert_eq!(sent(&east.call(0).await)["instructions"], "Be brief.");
    assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000017"));
}

#[tokio::test]
async fn an_error_is_told_to_every_client_in_its_words() {
    let (east, gateway) = speaks().await;
    let refusal = chat::error("the seventh item is odd");
    east.always(status(400, &[], &refusal));
    let own = gateway.ask(&ask("")).await;
    assert_eq!((own.status, own.text()), (400, refusal.as_str()));
    let of_chat = gateway.chat(&chat::ask("auto")).await;
    let of_messages = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert_eq!((of_chat.status, &of_chat.json()["error"]["code"]), (400, &json!("bad_request")), "{}", of_chat.text());
    assert_eq!((of_messages.status, &of_messages.json()["type"]), (400, &json!("error")), "{}", of_messages.text());
    for answer in [of_chat, of_messages] {
        assert!(answer.text().contains("the seventh item is odd"), "{}", answer.text());
    }
}

/// An error may come in a stream that has begun without a word: then another can still be asked.
#[tokio::test]
async fn a_stream_that_fails_before_it_said_anything_moves_on() {
    let failed = json!({"response": {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "Down."}, "output": []}});
    for frame in [
        responses::event("response.failed", failed),
        responses::event("error", json!({"code": "rate_limit_exceeded", "message": "Slow down."})),
    ] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east).only_responses(), Site::of(&west).price("3", "6")]);
        east.next(stream(&[responses::created(), frame]));
        west.next(stream(&chat::hello()));
        let answer = gateway.ask(&ask(r#""stream":true"#)).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
        assert!(answer.text().contains("response.completed"), "{}", answer.text());
        assert_eq!(gateway.row_of(&answer).await.attempts.len(), 2);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_finished() {
    let mut frames = responses::hello();
    frames.truncate(4);
    let error = responses::event("error", json!({"code": "server_error", "message": "Down."}));
    let told = [frames.concat(), error];
    for (code, script) in [
        ("upstream_broken", then(begun(&frames), [Step::Close])),
        ("upstream_truncated", stream(&frames)),
        ("upstream_unavailable", stream(&told)),
    ] {
        let calls = [ask(r#""stream":true"#), Call::chat(chat::ask_stream("auto")), Call::messages(messages::ask_stream("auto"))];
        for (call, end) in calls.iter().zip(["response.completed", r#""finish_reason":"stop""#, "message_stop"]) {
            let (east, gateway) = speaks().await;
            east.next(script.clone());
            let answer = gateway.ask(call).await;
            // What the provider says itself passes to who speaks alike.
            let passed = code == "upstream_unavailable" && end == "response.completed";
            let told = if passed { "server_error" } else { code };
            assert!(answer.text().contains(told) && !answer.text().contains(end), "{}", answer.text());
            let row = gateway.row_of(&answer).await;
            assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"), "{code}");
        }
    }
}

/// Usage stands in whichever event ends the stream: read of `response.completed` alone, what was cut would be booked as nothing.
#[tokio::test]
async fn what_was_cut_for_its_length_is_booked_in_full() {
    let (east, gateway) = speaks().await;
    let mut end = responses::response("incomplete", &[], &responses::usage(9, 0, 64, 60));
    end["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let frames =
        [responses::created(), responses::text(0, "Once"), responses::event("response.incomplete", json!({"response": end}))];
    east.always(stream(&frames));
    let of_chat = gateway.chat(&chat::ask_stream("auto")).await;
    assert!(of_chat.text().contains(r#""finish_reason":"length""#), "{}", of_chat.text());
    let own = gateway.ask(&ask(r#""stream":true"#)).await;
    assert_eq!(own.text(), frames.concat());
    for answer in [of_chat, own] {
        assert_eq!(booked(&gateway, &answer).await, whole_and_reported("0.000137"));
        let usage = gateway.row_of(&answer).await.attempts[0].usage;
        assert_eq!([usage.fresh_input, usage.output, usage.reasoning].map(Tokens::get), [9, 64, 60]);
    }
}

/// A thought that a provider of another shape told goes to nobody who would refuse it.
#[tokio::test]
async fn a_client_of_responses_moves_between_shapes_with_its_thoughts() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway =
        Gateway::of([Site::of(&east).only_responses().thinks(), Site::of(&west).only_messages().thinks().price("3", "6")]);
    let asked = json!({"role": "user", "content": "Say hello."});
    let turn = |model: &str, input: Value| Call::responses(json!({"model": model, "input": input}).to_string());
    let blocks = r#"[{"type":"thinking","thinking":"Hm.","signature":"sig"},{"type":"text","text":"Hello."}]"#;
    west.next(whole(&messages::answer_with(blocks, r#"{"input_tokens":9,"output_tokens":4}"#)));
    let told = gateway.ask(&turn("west/jade-v3", json!([asked]))).await.json();
    let (thought, said) = (&told["output"][0], &told["output"][1]);
    assert_eq!(thought["encrypted_content"], "anthropic-claude-v1:sig", "{told}");

    east.next(whole(&responses::answer(
        &[responses::thought("own"), responses::message("Again.")],
        &responses::usage(9, 0, 4, 2),
    )));
    let told = gateway.ask(&turn("east/jade-v3", json!([asked, thought, said, asked]))).await.json();
    let input = &sent(&east.call(0).await)["input"];
    let kinds: Vec<&str> = input.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message"; 3], "{input}");

    // Its own it is sent back, and no other's.
    let own = &told["output"];
    east.next(whole(&responses::answer(&[responses::message("Bye.")], &responses::usage(9, 0, 4, 0))));
    gateway.ask(&turn("east/jade-v3", json!([asked, thought, said, asked, own[0], own[1], asked]))).await;
    let input = sent(&east.call(1).await)["input"].take();
    let sealed: Vec<&Value> = input.as_array().unwrap().iter().filter(|item| item["type"] == "reasoning").collect();
    assert_eq!(sealed, [&json!({"type": "reasoning", "summary": [], "encrypted_content": "own"})], "{input}");
}

#[tokio::test]
async fn a_conversation_of_one_provider_passes_with_its_thoughts_as_they_are() {
    let (east, gateway) = speaks().await;
    let asked = json!({"role": "user", "content": "Say hello."});
    let turn = |input: Value| Call::responses(json!({"model": "auto", "input": input}).to_string());
    let output = [responses::thought("own"), responses::message("Hello.")];
    east.next(whole(&responses::answer(&output, &responses::usage(9, 0, 4, 2))));
    gateway.ask(&turn(json!([asked]))).await;
    east.next(whole(&responses::answer(&[responses::message("Bye.")], &responses::usage(9, 0, 4, 0))));
    let input = json!([asked, output[0], output[1], asked]);
    assert_eq!(gateway.ask(&turn(input.clone())).await.status, 200);
    assert_eq!(sent(&east.call(1).await)["input"], input);
}

#[tokio::test]
async fn a_provider_of_several_shapes_is_asked_in_the_clients() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_responses()]);
    let told = whole(&responses::answer(&[responses::message("Hello.")], &responses::usage(9, 0, 4, 0)));
    gateway.chat(&chat::ask("auto")).await;
    east.next(told);
    assert_eq!(gateway.ask(&ask("")).await.status, 200);
    // Told in chat, which has a word for stop sequences.
    assert_eq!(gateway.ask(&Call::messages(messages::ask("auto"))).await.status, 200);
    let paths: Vec<String> = east.calls().iter().map(|call| call.path.clone()).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/other/v1/responses", "/v1/chat/completions"]);
}

#[tokio::test]
async fn what_would_have_to_be_stored_is_refused_before_anybody_is_asked() {
    let (east, gateway) = speaks().await;
    for (member, value) in [("background", "true"), ("conversation", r#""conv_1""#), ("previous_response_id", r#""resp_1""#)] {
        let refused = gateway.ask(&ask(&format!(r#""{member}":{value}"#))).await;
        let error = &refused.json()["error"];
        assert_eq!(
            (refused.status, &error["code"], &error["param"]),
            (400, &json!("unsupported_parameter"), &json!(member)),
            "{error}"
        );
    }
    assert_eq!(east.calls().len(), 0);
}
