//! Clients of one shape over providers of another: what a client says reaches the provider in its words, and what the provider
//! answers comes back in the client's, booked as any other answer.

use serde_json::{Value, json};
use tokenbroker::units::Tokens;

use crate::harness::chat::{chunks, content};
use crate::harness::messages::events;
use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat, chats, messages, speaks};

const AGENT: &str = r#""system":"Answer in one line.","tools":[{"name":"weather","description":"by city","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}],"tool_choice":{"type":"any"}"#;

#[tokio::test]
async fn a_client_of_messages_is_answered_by_a_provider_of_chat() {
    let (east, gateway) = chats().await;
    east.next(whole(&chat::answer("Hello.", 9, 4)));

    let answer = gateway.ask(&Call::messages(messages::ask_with("auto", AGENT))).await;

    let told = answer.json();
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"), "{told}");
    assert_eq!((&told["type"], &told["role"], &told["model"]), (&json!("message"), &json!("assistant"), &json!("served")));
    assert_eq!(told["content"], json!([{"type": "text", "text": "Hello."}]));
    assert_eq!((&told["stop_reason"], &told["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert_eq!((&told["usage"]["input_tokens"], &told["usage"]["output_tokens"]), (&json!(9), &json!(4)));
    let sent = east.call(0).await;
    let body: Value = serde_json::from_str(sent.text()).unwrap();
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!((&body["model"], &body["max_tokens"], &body["tool_choice"]), (&json!("jade-v3"), &json!(64), &json!("required")));
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Answer in one line."}));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Say hello."}));
    assert_eq!(body["tools"][0]["function"]["name"], "weather");
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.frontend.as_str(), row.attempts[0].provenance.as_str()), ("anthropic_messages", "reported"));
    assert_eq!(row.cost.to_exact(), "0.000017");
}

#[tokio::test]
async fn a_stream_of_chat_is_told_as_one_of_messages() {
    let (east, gateway) = chats().await;
    east.next(stream(&chat::hello()));

    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;

    let events = events(answer.text());
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let delta = "content_block_delta";
    let expected = ["message_start", "content_block_start", delta, delta, "content_block_stop", "message_delta", "message_stop"];
    assert_eq!((answer.status, names.as_slice()), (200, &expected[..]), "{}", answer.text());
    let said: String = events.iter().filter_map(|(_, event)| event["delta"]["text"].as_str()).collect();
    assert_eq!(said, "Hello.");
    let (_, end) = &events[5];
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("end_turn"), &json!(4)));
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.outcome.as_str(), row.cost.to_exact().as_str(), row.stream), ("answered", "0.000017", true));
}

#[tokio::test]
async fn a_client_of_chat_is_answered_by_a_provider_of_messages() {
    let (east, gateway) = speaks().await;
    let blocks = r#"[{"type":"thinking","thinking":"Use it.","signature":"sig"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}}]"#;
    east.next(whole(&messages::answer_with(blocks, r#"{"input_tokens":9,"cache_read_input_tokens":900,"output_tokens":4}"#)));

    let answer = gateway.chat(&chat::ask_with("auto", r#""max_tokens":64"#)).await;

    let told = answer.json();
    let choice = &told["choices"][0];
    assert_eq!((answer.status, &told["object"], &told["model"]), (200, &json!("chat.completion"), &json!("served")), "{told}");
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    assert_eq!(choice["message"]["reasoning_content"], "Use it.");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["name"]), (&json!("toolu_1"), &json!("weather")));
    assert_eq!(call["function"]["arguments"], r#"{"city":"Oslo"}"#);
    assert_eq!((&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]), (&json!(909), &json!(4)));
    assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 900);
    let sent = east.call(0).await;
    let body: Value = serde_json::from_str(sent.text()).unwrap();
    assert_eq!((sent.path.as_str(), &body["max_tokens"], &body["model"]), ("/v1/messages", &json!(64), &json!("jade-v3")));
    assert_eq!((sent.header("anthropic-version"), &body["messages"][0]["role"]), ("2023-06-01", &json!("user")));
}

#[tokio::test]
async fn a_stream_of_messages_is_told_as_one_of_chat() {
    for (members, usage_wanted) in
        [(r#""stream":true"#, false), (r#""stream":true,"stream_options":{"include_usage":true}"#, true)]
    {
        let (east, gateway) = speaks().await;
        east.next(stream(&messages::hello()));

        let answer = gateway.chat(&chat::ask_with("auto", members)).await;

        let chunks = chunks(answer.text());
        assert_eq!((answer.status, content(&chunks).as_str()), (200, "Hello."), "{}", answer.text());
        let finishes: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).filter(|f| f.is_string()).collect();
        assert_eq!(finishes, ["stop"]);
        let told = chunks.iter().find(|chunk| chunk["usage"].is_object());
        assert_eq!(told.map(|chunk| chunk["usage"]["total_tokens"].clone()), usage_wanted.then(|| json!(13)));
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.cost.to_exact().as_str()), ("answered", "0.000017"));
    }
}

#[tokio::test]
async fn what_tools_answered_reaches_a_provider_in_its_own_words() {
    let (east, gateway) = chats().await;
    let turns = r#"[{"role":"user","content":"Weather?"},
        {"role":"assistant","content":[{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}},{"type":"tool_use","id":"toolu_2","name":"weather","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"4"},{"type":"tool_result","tool_use_id":"toolu_2","content":[{"type":"text","text":"5"}]},{"type":"text","text":"Go on."}]}]"#;
    let body = format!(r#"{{"model":"auto","max_tokens":64,"messages":{turns},{AGENT}}}"#);
    let body = body.replace(r#","tool_choice":{"type":"any"}"#, "");
    assert_eq!(gateway.ask(&Call::messages(body)).await.status, 200);

    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let roles: Vec<&str> = sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user"]);
    let called = &sent["messages"][2];
    assert_eq!(
        (&called["content"], &called["tool_calls"][0]["function"]["arguments"]),
        (&json!("Let me see."), &json!(r#"{"city":"Oslo"}"#))
    );
    assert_eq!(sent["messages"][3], json!({"role": "tool", "tool_call_id": "toolu_1", "content": "4"}));
    assert_eq!((&sent["messages"][4]["content"], &sent["messages"][5]["content"]), (&json!("5"), &json!("Go on.")));
}

#[tokio::test]
async fn an_error_is_told_in_the_clients_words() {
    let (east, gateway) = chats().await;
    east.next(status(400, &[], &chat::error("the seventh message is odd")));
    let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["type"], &error["error"]["type"]), (400, &json!("error"), &json!("invalid_request_error")));
    assert!(error["error"]["message"].as_str().unwrap().contains("the seventh message is odd"), "{error}");

    let (east, gateway) = speaks().await;
    east.next(status(400, &[], &messages::error("invalid_request_error", "the seventh block is odd")));
    let answer = gateway.chat(&chat::ask("auto")).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["error"]["code"], error.get("type")), (400, &json!("bad_request"), None), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("the seventh block is odd"), "{error}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_finished_in_other_words() {
    let mut of_chat = chat::hello();
    of_chat.truncate(3);
    let mut of_messages = messages::hello();
    of_messages.truncate(4);
    let told = [of_chat.concat(), chat::error_frame("Overloaded.")];
    for (code, script) in [
        ("upstream_broken", then(begun(&of_chat), [Step::Close])),
        ("upstream_truncated", stream(&of_chat)),
        ("upstream_unavailable", stream(&told)),
    ] {
        let (east, gateway) = chats().await;
        east.next(script);
        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        let events = events(answer.text());
        let (name, last) = events.last().unwrap();
        assert_eq!((name.as_str(), &last["error"]["code"]), ("error", &json!(code)), "{}", answer.text());
        assert!(!answer.text().contains("message_stop"));
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"), "{code}");
    }
    let (east, gateway) = speaks().await;
    east.next(stream(&of_messages));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert!(answer.text().contains("upstream_truncated") && answer.text().contains(r#""content":"Hel""#), "{}", answer.text());
    let row = gateway.row_of(&answer).await;
    assert_eq!([row.attempts[0].usage.fresh_input].map(Tokens::get), [9]);
}

#[tokio::test]
async fn a_failure_moves_on_to_a_provider_of_another_shape() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).only_messages(), Site::of(&west).price("3", "6")]);
    east.next(status(529, &[], &messages::error("overloaded_error", "Overloaded")));
    west.next(stream(&chat::hello()));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
    assert_eq!(events(answer.text()).last().map(|(name, _)| name.clone()).as_deref(), Some("message_stop"));
    let row = gateway.row_of(&answer).await;
    assert_eq!(row.attempts.len(), 2);
}

#[tokio::test]
async fn what_only_its_own_shape_can_say_stays_with_those_who_speak_it() {
    let (speaks, chats) = (Provider::start("speaks").await, Provider::start("chats").await);
    let gateway = Gateway::of([Site::of(&speaks).price("0.1", "0.1").only_messages(), Site::of(&chats)]);
    let backend = |answer: &crate::harness::Whole| answer.header("x-tokenbroker-backend").to_owned();
    assert_eq!(backend(&gateway.chat(&chat::ask("auto")).await), "speaks/jade-v3");
    let predicted = r#""prediction":{"type":"content","content":"Hello."}"#;
    assert_eq!(backend(&gateway.chat(&chat::ask_with("auto", predicted)).await), "chats/jade-v3");

    let refused = gateway.chat(&chat::ask_with("speaks/jade-v3", predicted)).await;
    let error = refused.json();
    assert_eq!((refused.status, &error["error"]["code"]), (400, &json!("untranslatable")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("prediction"), "{error}");
    let dry = gateway.chat(&chat::ask_with("auto", &format!(r#"{predicted},"tokenbroker":{{"dry_run":true}}"#))).await.json();
    assert_eq!(
        (&dry["chosen"]["backend"], &dry["rejected"][0]["rule"]),
        (&json!("chats/jade-v3"), &json!("dialect_unsupported"))
    );
}

/// An answer that is begun already: chat has no words for it.
fn begun_answer(model: &str) -> Call {
    let turns = r#"[{"role":"user","content":"Count."},{"role":"assistant","content":"One, two,"}]"#;
    Call::messages(format!(r#"{{"model":"{model}","max_tokens":50,"messages":{turns}}}"#))
}

/// Found by a reviewer: what a writer refuses was found only when the attempt was under way, so that it had a page in the books and
/// the next one took a retry.
#[tokio::test]
async fn what_cannot_be_said_to_one_backend_costs_no_retry_and_no_row() {
    let (chats, speaks) = (Provider::start("chats").await, Provider::start("speaks").await);
    let sites = [Site::of(&chats).price("0.1", "0.1"), Site::of(&speaks).only_messages()];
    let gateway = Setup::of(sites).set("retries.share_percent", "0").set("retries.floor_per_second", "0").start();
    speaks.next(whole(&messages::answer("three.", 5, 2)));
    let answer = gateway.ask(&begun_answer("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "speaks/jade-v3"), "{}", answer.text());
    let row = gateway.row_of(&answer).await;
    let asked: Vec<&str> = row.attempts.iter().map(|attempt| attempt.backend.as_str()).collect();
    assert_eq!((asked, chats.calls().len()), (vec!["speaks/jade-v3"], 0));
}

/// Found by a reviewer: a plan has a few attempts, and where none of them could be told the request the client was told that nobody
/// could, although another backend spoke its shape.
#[tokio::test]
async fn a_request_that_no_attempt_of_the_plan_can_be_told_goes_to_who_speaks_its_shape() {
    let mut cheap = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        cheap.push(Provider::start(name).await);
    }
    let speaks = Provider::start("speaks").await;
    let sites = cheap.iter().map(|provider| Site::of(provider).price("0.1", "0.1"));
    let gateway = Gateway::of(sites.chain([Site::of(&speaks).price("5", "5").only_messages()]));
    speaks.next(whole(&messages::answer("three.", 5, 2)));
    let answer = gateway.ask(&begun_answer("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "speaks/jade-v3"), "{}", answer.text());

    let refused = gateway.ask(&begun_answer("a/jade-v3")).await;
    let error = refused.json();
    assert_eq!((refused.status, &error["error"]["code"]), (400, &json!("untranslatable")), "{error}");
    assert_eq!(refused.header("x-should-retry"), "false");
    assert!(error["error"]["message"].as_str().unwrap().contains("an answer that is begun already"), "{error}");
    assert!(cheap.iter().all(|provider| provider.calls().is_empty()));
}

/// Found by a reviewer: a hostile provider could make the gateway keep as much of a stream as it liked.
#[tokio::test]
async fn a_stream_that_would_have_to_be_kept_without_end_is_given_up_in_the_clients_words() {
    let (east, gateway) = chats().await;
    let call = |index: u64, id: &str, arguments: &str| {
        let function = format!(r#"{{"name":"{id}","arguments":"{arguments}"}}"#);
        let delta = format!(r#"{{"tool_calls":[{{"index":{index},"id":"{id}","function":{function}}}]}}"#);
        chat::frame(&format!(r#"{{"id":"c1","choices":[{{"index":0,"delta":{delta}}}]}}"#))
    };
    let mut frames = vec![call(0, "a", "{"), call(1, "b", "{")];
    frames.extend((0..40).map(|_| call(1, "b", &"a".repeat(512 * 1024))));
    east.next(stream(&frames));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    let events = events(answer.text());
    let (name, last) = events.last().unwrap();
    assert_eq!((name.as_str(), &last["error"]["code"]), ("error", &json!("upstream_broken")), "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("more than 16 MiB"), "{last}");
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
}

/// Found by a reviewer: a client was told zeros where its provider reported nothing, while the books had an estimate.
#[tokio::test]
async fn a_whole_answer_without_usage_is_told_with_our_count() {
    let (east, gateway) = chats().await;
    let answered = r#"{"id":"c1","model":"jade-v3","choices":[{"index":0,"message":{"role":"assistant","content":"Four words of text."},"finish_reason":"stop"}]}"#;
    east.next(whole(answered));
    let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    let usage = answer.json()["usage"].clone();
    assert!(usage["input_tokens"].as_u64().unwrap() > 0 && usage["output_tokens"].as_u64().unwrap() >= 4, "{usage}");
}

/// Found by a reviewer: a Chinese site's endpoint for Messages knows no forms of answers, and sent text where JSON was asked for,
/// although its chat knows them.
#[tokio::test]
async fn who_wants_a_form_is_asked_in_chat_where_messages_knows_none() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_messages().quirk("messages_formats = false")]);
    let format = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#;
    east.next(whole(&chat::answer("{}", 5, 2)));
    let formed = gateway.ask(&Call::messages(messages::ask_with("auto", format))).await;
    assert_eq!((formed.status, &formed.json()["content"][0]["text"]), (200, &json!("{}")), "{}", formed.text());
    east.next(whole(&messages::answer("Hello.", 5, 2)));
    let plain = gateway.ask(&Call::messages(messages::ask("auto"))).await;
    assert_eq!((plain.status, &plain.json()["content"][0]["text"]), (200, &json!("Hello.")), "{}", plain.text());
    // What chat has no words for is better asked without its form than not at all.
    east.next(whole(&messages::answer("Hello.", 5, 2)));
    let container = format!(r#"{format},"container":"c""#);
    assert_eq!(gateway.ask(&Call::messages(messages::ask_with("auto", &container))).await.status, 200);
    let calls = east.calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/anthropic/v1/messages", "/anthropic/v1/messages"]);
    let told: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!(told["response_format"]["type"], "json_schema", "{told}");
}

/// A known defect: only what cannot be read was asked without its form, and what cannot be written was refused.
#[tokio::test]
async fn what_chat_cannot_be_told_is_asked_in_messages_without_its_form() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_messages().quirk("messages_formats = false")]);
    east.next(whole(&messages::answer("Hello.", 5, 2)));
    let body = r#"{"model":"auto","max_tokens":64,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},"messages":[{"role":"user","content":"What does it say?"},{"role":"assistant","content":"It says:"}]}"#;
    let answer = gateway.ask(&Call::messages(body.to_owned())).await;
    assert_eq!((answer.status, &answer.json()["content"][0]["text"]), (200, &json!("Hello.")), "{}", answer.text());
    let sent = east.call(0).await;
    assert_eq!(sent.path, "/anthropic/v1/messages");
    assert!(sent.text().contains("It says:"), "{}", sent.text());
    // It is booked as what it was: read by the endpoint that was asked.
    let attempt = &gateway.row_of(&answer).await.attempts[0];
    assert_eq!((attempt.provenance.as_str(), attempt.usage.output.get()), ("reported", 2));
}

/// A known defect: a seal's maker was down for a moment, and the client was told 400.
#[tokio::test]
async fn where_only_the_maker_of_a_seal_could_be_told_and_is_down_the_client_is_to_come_again() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway =
        Gateway::of([Site::of(&east).only_messages().thinks(), Site::of(&west).only_messages().thinks().price("3", "6")]);
    let blocks = r#"[{"type":"thinking","thinking":"Use it.","signature":"c2ln"},{"type":"text","text":"Four."}]"#;
    let first = r#"{"model":"auto","max_tokens":64,"messages":[{"role":"user","content":"Say hello."}]}"#;
    east.next(whole(&messages::answer_with(blocks, r#"{"input_tokens":9,"output_tokens":4}"#)));
    assert_eq!(gateway.ask(&Call::messages(first.to_owned())).await.header("x-tokenbroker-backend"), "east/jade-v3");
    east.next(crate::harness::provider::status(429, &[("retry-after", "30")], &messages::error("rate_limit_error", "later")));
    gateway.ask(&Call::messages(first.replace("auto", "east/jade-v3"))).await;
    // The container is the maker's own, so that nothing but its bytes can be sent, which hold its seal.
    let turns = format!(
        r#"{{"role":"user","content":"Say hello."}},{{"role":"assistant","content":{blocks}}},{{"role":"user","content":"Go on."}}"#
    );
    let body = format!(r#"{{"model":"auto","max_tokens":64,"container":"c","messages":[{turns}]}}"#);
    let answer = gateway.ask(&Call::messages(body)).await;
    let wait: u64 = answer.header("retry-after").parse().unwrap_or(0);
    assert_eq!((answer.status, (1..=30).contains(&wait)), (503, true), "{wait}: {}", answer.text());
    assert!(west.calls().is_empty());
}

/// Found by a reviewer: the long names of a server of tools were refused by every API but Anthropic's.
#[tokio::test]
async fn a_long_name_of_a_tool_is_told_in_a_short_one_and_comes_back() {
    let (east, gateway) = chats().await;
    let long = format!("mcp__{}", "weather_".repeat(10));
    let tools = format!(r#""tools":[{{"name":"{long}","input_schema":{{"type":"object"}}}}]"#);
    let ask = |beside: &str| Call::messages(messages::ask_with("auto", &format!("{tools}{beside}")));
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    assert_eq!(gateway.ask(&ask("")).await.status, 200);
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let short = sent["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
    assert!(short.len() <= 64 && short.starts_with("mcp__weather"), "{short}");

    let call = json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": short, "arguments": "{}"}}]);
    let choice =
        |member: &str| json!([{"index": 0, member: {"role": "assistant", "tool_calls": call}, "finish_reason": "tool_calls"}]);
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13});
    east.next(whole(&json!({"id": "c1", "model": "served", "choices": choice("message"), "usage": usage}).to_string()));
    let told = gateway.ask(&ask("")).await.json();
    assert_eq!((&told["content"][0]["name"], &told["stop_reason"]), (&json!(long), &json!("tool_use")), "{told}");

    let chunk = json!({"id": "c1", "model": "served", "choices": choice("delta")});
    east.next(stream(&[format!("data: {chunk}\n\n"), chat::DONE.to_owned()]));
    let answer = gateway.ask(&ask(r#","stream":true"#)).await;
    let begins = events(answer.text()).into_iter().find(|(name, _)| name == "content_block_start").unwrap().1;
    assert_eq!(begins["content_block"]["name"], long);
}

/// Found by a reviewer: each reminder between the turns changed the first message, and with it all that is cached.
#[tokio::test]
async fn instructions_between_the_turns_stand_where_the_site_takes_them() {
    let body = r#"{"model":"auto","max_tokens":64,"system":"One.","messages":[{"role":"user","content":"Hi."},{"role":"assistant","content":"Ho."},
        {"role":"user","content":"?"},{"role":"system","content":"Two."}]}"#;
    for (quirk, expected) in [
        ("instructions_anywhere = true", "system user assistant user system"),
        ("instructions_anywhere = false", "system user assistant user"),
    ] {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east).quirk(quirk)]);

        assert_eq!(gateway.ask(&Call::messages(body.to_owned())).await.status, 200);

        let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
        let roles: Vec<&str> =
            sent["messages"].as_array().unwrap().iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles.join(" "), expected, "{sent}");
    }
}

/// Found by a reviewer: what a local server thought was told as its answer, where its template opens the thought.
#[tokio::test]
async fn a_thought_that_a_template_opens_is_no_part_of_the_answer() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).quirk("unopened_thoughts = true")]);
    let frames = [
        chat::role(),
        chat::text("Greet. </thi"),
        chat::text("nk>\\n\\nHel"),
        chat::text("lo."),
        chat::finish(),
        chat::DONE.into(),
    ];
    east.next(stream(&frames));

    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;

    let told = |member: &str| {
        events(answer.text())
            .iter()
            .filter_map(|(_, event)| event["delta"][member].as_str().map(str::to_owned))
            .collect::<String>()
    };
    assert_eq!((told("thinking"), told("text")), ("Greet. ".to_owned(), "Hello.".to_owned()), "{}", answer.text());
}

/// A known defect: what keeps a stream open came as a comment, which is no event, where Anthropic's clients know `ping`.
#[tokio::test]
async fn a_silent_stream_of_messages_is_kept_open_by_pings() {
    let (east, gateway) = chats().await;
    let (silence, said) =
        (chat::KEEP_ALIVE.to_owned(), [chat::text("Hel"), chat::text("lo."), chat::finish(), chat::DONE.to_owned()]);
    let [first, rest @ ..] = said;
    let pieces: Vec<String> = [silence.clone(), chat::role(), first, silence].into_iter().chain(rest).collect();

    east.next(stream(&pieces));
    let told = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await.text().to_owned();
    // Nothing is an event before the message has begun.
    assert!(told.starts_with(": keep-alive\n\nevent: message_start\n"), "{told}");
    assert_eq!(told.matches("event: ping\ndata: {\"type\": \"ping\"}\n\n").count(), 1, "{told}");
    let names: Vec<String> = events(&told).into_iter().map(|(name, _)| name).collect();
    let delta = "content_block_delta";
    let expected =
        ["message_start", "content_block_start", delta, "ping", delta, "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(names, expected);

    east.next(stream(&pieces));
    let told = gateway.ask(&Call::responses(r#"{"model":"auto","input":"Say hello.","stream":true}"#)).await.text().to_owned();
    assert_eq!(told.matches(": keep-alive\n\n").count(), 2, "{told}");
}

/// A known defect: an agent that was stopped while its tools ran could not go on at a provider of another API, which wants every call
/// answered.
#[tokio::test]
async fn a_call_that_nobody_answered_is_answered_for_those_who_want_that() {
    let (east, gateway) = speaks().await;
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let asked = json!({"model": "auto", "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call("call_1"), call("call_2")]},
        {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
        {"role": "user", "content": "Never mind."},
    ]});

    let answer = gateway.chat(&asked.to_string()).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let results: Vec<&Value> = sent["messages"][2]["content"].as_array().unwrap().iter().collect();
    let told = |block: &Value| (block["tool_use_id"].clone(), block["content"][0]["text"].clone(), block["is_error"] == true);
    assert_eq!(told(results[0]), (json!("call_2"), json!("rain"), false), "{sent}");
    assert_eq!(told(results[1]), (json!("call_1"), json!("(no result)"), true), "{sent}");
    assert_eq!(results[2]["text"], "Never mind.", "{sent}");
}
