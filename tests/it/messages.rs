//! Anthropic's Messages, served natively: what clients and providers of that shape say to each other passes as it is, and is
//! booked as any other request.

use serde_json::{Value, json};
use tokenbroker::catalog::TokenizerFamily;
use tokenbroker::meter::How;
use tokenbroker::meter::chat::{Chat, Framed};
use tokenbroker::meter::exact::Vocabularies;
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, alone, chat, messages};

#[tokio::test]
async fn a_request_reaches_the_endpoint_of_its_shape_and_the_answer_comes_back_as_it_was() {
    let (east, gateway) = alone(Site::and_messages).await;
    let said = format!("\n{}", messages::answer("Hello.", 9, 4).replace(',', " , "));
    east.next(whole(&said));
    let body = messages::ask_with("auto", r#""metadata":{"user_id":"u"},"tokenbroker":{"session":"s"}"#);

    let answer = gateway.ask(&Call::messages(body.clone())).await;

    assert_eq!((answer.status, answer.text(), answer.header("content-type")), (200, said.as_str(), "application/json"));
    assert_eq!((answer.header("x-tokenbroker-backend"), answer.header("x-tokenbroker-cost-usd")), ("east/jade-v3", "0.000017"));
    assert_eq!(answer.header("request-id"), answer.header("x-tokenbroker-request-id"));
    let sent = east.call(0).await;
    let expected = body.replace("\"auto\"", "\"jade-v3\"").replace(r#","tokenbroker":{"session":"s"}"#, "");
    assert_eq!((sent.path.as_str(), sent.text()), ("/anthropic/v1/messages", expected.as_str()));
    assert_eq!((sent.header("x-api-key"), sent.header("authorization")), (east.key().as_str(), ""));
    assert_eq!((sent.header("anthropic-version"), sent.header("anthropic-beta")), ("2023-06-01", ""));
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.frontend.as_str(), row.outcome.as_str(), row.stream), ("anthropic_messages", "answered", false));
    assert_eq!((row.cost.to_exact().as_str(), row.attempts[0].provenance.as_str()), ("0.000017", "reported"));
    let counted = gateway.metrics().await;
    assert!(counted.contains("route=\"/v1/messages\""), "{counted}");
}

#[tokio::test]
async fn the_clients_version_and_betas_reach_the_provider_and_its_key_does_not() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east).and_messages()]).key("team", "tb-team").start();
    let call = Call::messages(messages::ask("auto"))
        .header("x-api-key", "tb-team")
        .header("anthropic-version", "2024-01-01")
        .header("anthropic-beta", "one-2026-01-01,two-2026-01-01")
        .header("anthropic-beta", "three-2026-01-01")
        .header("x-stainless-lang", "python");
    assert_eq!(gateway.ask(&call).await.status, 200);
    let sent = east.call(0).await;
    let all = |name: &str| sent.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
    assert_eq!(all("anthropic-version"), ["2024-01-01"]);
    assert_eq!(all("anthropic-beta"), ["one-2026-01-01,two-2026-01-01", "three-2026-01-01"]);
    assert_eq!(all("x-api-key"), [east.key()]);
    assert!(all("x-stainless-lang").is_empty() && !sent.headers.iter().any(|(_, value)| value.contains("tb-team")));
}

#[tokio::test]
async fn a_provider_of_messages_alone_is_asked_with_its_own_header_or_as_a_bearer() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).only_messages()]);
    assert_eq!(gateway.ask(&Call::messages(messages::ask("jade"))).await.status, 200);
    let sent = east.call(0).await;
    assert_eq!((sent.path.as_str(), sent.header("authorization")), ("/v1/messages", format!("Bearer {}", east.key()).as_str()));
}

#[tokio::test]
async fn events_pass_unchanged_however_they_are_cut() {
    let (east, gateway) = alone(Site::and_messages).await;
    let odd = [
        ": a comment\r\n\r\n".to_owned(),
        messages::start(r#"{"input_tokens":3,"cache_read_input_tokens":900,"output_tokens":1}"#).replace('\n', "\r\n"),
        messages::block(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
        messages::delta(0, r#"{ "thinking" : "h\u006dm" , "type":"thinking_delta" }"#),
        messages::delta(0, r#"{"type":"signature_delta","signature":"c2lnbmF0dXJl"}"#),
        messages::end(0),
        messages::PING.to_owned(),
        messages::block(1, r#"{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}"#),
        messages::delta(1, r#"{"type":"input_json_delta","partial_json":"{\"city\":\"奥斯陆\"}"}"#),
        messages::end(1),
        messages::finish("tool_use", r#"{"output_tokens":25}"#).replace('\n', "\r"),
        messages::STOP.to_owned(),
    ];
    let bytes = chat::joined(&odd);
    for cut in (1..bytes.len()).step_by(3) {
        east.next(stream(&[&bytes[..cut], &bytes[cut..]]));
        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        assert!(answer.body == bytes && answer.complete, "cut at {cut}: {:?}", answer.text());
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    east.next(stream(&single));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert_eq!((&answer.body, answer.header("content-type")), (&bytes, "text/event-stream; charset=utf-8"));
    let usage = gateway.row_of(&answer).await.usage;
    assert_eq!([usage.fresh_input, usage.cache_read, usage.output].map(Tokens::get), [3, 900, 25]);
}

#[tokio::test]
async fn a_conversation_with_tools_and_signed_thinking_goes_out_byte_for_byte() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_messages().thinks()]);
    let body = r#"{ "model" : "jade-v3", "max_tokens":400, "thinking":{"type":"enabled","budget_tokens":200},
 "system":[{"type":"text","text":"Answer in one line.","cache_control":{"type":"ephemeral","ttl":"1h"}}],
 "messages":[{"role":"user","content":"Weather in Oslo?"},
  {"role":"assistant","content":[{"type":"thinking","thinking":"Use the tool.","signature":"c2ln\/+=="},
   {"type":"redacted_thinking","data":"AAAA"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}}]},
  {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"{\"deg\":4}"}]}],
 "tools":[{"name":"weather","input_schema":{"type":"object"}}], "tool_choice":{"type":"auto"}}"#;
    let said = messages::answer_with(
        r#"[{"type":"thinking","thinking":"","signature":"c2ln"},{"type":"text","text":"Four degrees."}]"#,
        r#"{"input_tokens":5,"cache_creation_input_tokens":70,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":70},"output_tokens":12,"output_tokens_details":{"thinking_tokens":8}}"#,
    );
    east.next(whole(&said));

    let answer = gateway.ask(&Call::messages(body)).await;

    assert_eq!((answer.status, answer.text()), (200, said.as_str()));
    assert_eq!(east.call(0).await.text(), body);
    let usage = gateway.row_of(&answer).await.usage;
    assert_eq!(
        [usage.fresh_input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning].map(Tokens::get),
        [5, 0, 70, 12, 8]
    );
}

#[tokio::test]
async fn what_a_cache_gave_and_took_is_booked_at_its_own_price() {
    let east = Provider::start("east").await;
    let site = Site::of(&east).and_messages().cached("0.1").price_line("cache_write = 1.25").price_line("cache_write_long = 2");
    let gateway = Gateway::of([site]);
    let usage = r#"{"input_tokens":10,"cache_read_input_tokens":900,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":40},"output_tokens":7}"#;
    east.next(whole(&messages::answer_with("[]", usage)));
    let text = [messages::block(0, r#"{"type":"text","text":"a"}"#), messages::end(0)].concat();
    let events =
        [messages::start(usage), text, messages::finish("end_turn", r#"{"output_tokens":7}"#), messages::STOP.to_owned()];
    east.next(stream(&events));

    for body in [messages::ask("auto"), messages::ask_stream("auto")] {
        let answer = gateway.ask(&Call::messages(body)).await;
        let row = gateway.row_of(&answer).await;
        // 10 at a dollar a million, 900 at 0.1, 60 at 1.25, 40 at 2, and 7 out at 2.
        assert_eq!(row.cost.to_exact(), "0.000269", "{row:?}");
    }
}

#[tokio::test]
async fn a_failure_before_the_first_content_moves_on_to_another_that_speaks_messages() {
    let overloaded = messages::event("error", &messages::error("overloaded_error", "Overloaded"));
    let scripts = [
        ("overloaded", status(529, &[], &messages::error("overloaded_error", "Overloaded"))),
        ("overloaded", stream(&[messages::start(r#"{"input_tokens":9,"output_tokens":1}"#), overloaded])),
        ("rate_limited", status(429, &[], &messages::error("rate_limit_error", "Slow down."))),
        ("auth", status(401, &[], &messages::error("authentication_error", "invalid x-api-key"))),
        ("billing", status(400, &[], &messages::error("invalid_request_error", "Your credit balance is too low"))),
        ("context_too_long", status(400, &[], &messages::error("invalid_request_error", "prompt is too long: 9 > 8"))),
        ("not_found", status(404, &[], &messages::error("not_found_error", "model: jade-v3"))),
        ("broken", then(begun(&messages::opened()), [Step::Close])),
    ];
    for (cause, script) in scripts {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east).and_messages(), Site::of(&west).price("3", "6").and_messages()]);
        east.next(script);

        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;

        assert_eq!((answer.status, answer.text()), (200, messages::hello().concat().as_str()), "{cause}");
        assert_eq!(answer.header("x-tokenbroker-backend"), "west/jade-v3", "{cause}");
        let row = gateway.row_of(&answer).await;
        let told = row.attempts[0].cause.as_deref().unwrap_or_default();
        assert!(row.attempts.len() == 2 && told.starts_with(cause), "expected {cause}: {:?}", row.attempts);
    }
}

#[tokio::test]
async fn a_stream_cut_after_content_ends_with_their_error_event() {
    let mut started = messages::opened();
    started.push(messages::text("The answer to everything is"));
    let overloaded = messages::event("error", &messages::error("overloaded_error", "Overloaded"));
    for (code, script) in [
        ("upstream_broken", then(begun(&started), [Step::Close])),
        ("upstream_broken", then(begun(&started), [Step::Reset])),
        ("upstream_truncated", stream(&started)),
        ("", stream(&[started.concat(), overloaded.clone()])),
    ] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east).and_messages(), Site::of(&west).price("3", "6").and_messages()]);
        east.next(script);

        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;

        let after = answer.text().strip_prefix(&started.concat()).unwrap_or_else(|| panic!("{code}: {}", answer.text()));
        if code.is_empty() {
            assert_eq!(after, overloaded, "the provider's own words");
        } else {
            let event =
                after.strip_prefix("event: error\ndata: ").and_then(|event| event.strip_suffix("\n\n")).expect("one event");
            let event: Value = serde_json::from_str(event).unwrap();
            assert_eq!((&event["type"], &event["error"]["type"]), (&json!("error"), &json!("api_error")));
            assert_eq!(event["error"]["code"], code);
        }
        let row = gateway.row_of(&answer).await;
        let attempt = &row.attempts[0];
        assert_eq!((row.outcome.as_str(), attempt.ending.as_str(), row.attempts.len()), ("cut", "cut", 1), "{code}");
        assert_eq!([attempt.usage.fresh_input, attempt.usage.output].map(Tokens::get), [9, 5], "{code}");
        assert!(west.calls().is_empty(), "no switch after the first byte");
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_stream_is_booked_at_what_was_counted() {
    let (east, gateway) = alone(Site::and_messages).await;
    let mut started = messages::opened();
    started.push(messages::text("The answer to everything is"));
    east.next(then(begun(&started), [Step::Stall]));
    let mut answer = gateway.call(&Call::messages(messages::ask_stream("auto"))).await;
    answer.read_past("everything").await;
    let (arrived, id) = (east.call(0).await, answer.header("x-tokenbroker-request-id").to_owned());

    drop(answer);
    arrived.hung_up().await;

    let row = gateway.booked(&id).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.ending.as_str()), ("abandoned", "abandoned"));
    assert_eq!([attempt.usage.fresh_input, attempt.usage.output].map(Tokens::get), [9, 5]);
}

#[tokio::test]
async fn a_keys_bound_is_sent_and_a_request_is_explained_afterwards_as_it_was_decided() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east).and_messages(), Site::of(&west).price("9", "9")];
    let gateway = Setup::of(sites).key("team", "tb-team").set("keys.team.max_output_tokens", "32").start();
    let answer = gateway.ask(&Call::messages(messages::ask("auto")).header("x-api-key", "tb-team")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(east.call(0).await.text().contains(r#""max_tokens":32,"#));
    gateway.row_of(&answer).await;
    let path = format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path).header("x-api-key", "tb-team")).await.json();
    assert_eq!((&told["as_booked"], &told["decision"]["chosen"]["backend"]), (&json!(true), &json!("east/jade-v3")), "{told:#}");
    assert_eq!(told["decision"]["candidates"][1]["backend"], "west/jade-v3", "{told:#}");
    assert_eq!(told["decision"]["reason"], answer.header("x-tokenbroker-decision"));
    assert!(gateway.row_of(&answer).await.cost > Usd::ZERO);
}

#[tokio::test]
async fn tokens_are_counted_as_the_program_counts_them_and_nobody_is_asked() {
    let (east, gateway) = alone(Site::and_messages).await;
    let body = |model: &str, members: &str| {
        let text = "Count these words, please. ".repeat(40);
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}],"system":"Be brief."{members}}}"#)
    };
    let chat = |members: &str| -> Chat {
        let text = "Count these words, please. ".repeat(40);
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]);
        let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
        let tools = if members.is_empty() { json!([]) } else { json!([tool]) };
        serde_json::from_value(json!({"messages": messages, "tools": tools})).unwrap()
    };
    let tools = r#","tools":[{"name":"weather","input_schema":{"type":"object"}}]"#;
    let (mut counts, vocabularies) = (Vec::new(), Vocabularies::default());
    let (o200k, cl100k) = (TokenizerFamily::O200k, TokenizerFamily::Cl100k);
    for (model, members, family) in [("auto", "", o200k), ("jade", "", cl100k), ("east/jade-v3", tools, cl100k)] {
        let counted = gateway.ask(&Call::post("/v1/messages/count_tokens", body(model, members))).await;
        assert_eq!(counted.status, 200, "{}", counted.text());
        let tokens = counted.json()["input_tokens"].as_u64().unwrap();
        let dry = body(model, &format!(r#"{members},"max_tokens":9,"tokenbroker":{{"dry_run":true}}"#));
        let decision = gateway.ask(&Call::messages(dry)).await.json();
        let quoted = decision["chosen"]["tokens"]["input"].as_u64().unwrap();
        assert!(quoted.abs_diff(tokens) * 10 < tokens, "{decision:#}");
        assert_eq!((tokens, How::Exact), Framed::of(&chat(members), family).count(&vocabularies, family));
        assert_eq!(counted.header("x-tokenbroker-count"), "exact");
        counts.push(tokens);
    }
    assert!(counts[0] > 200 && counts[0] == counts[1] && counts[2] > counts[1], "{counts:?}");
    let unknown = gateway.ask(&Call::post("/v1/messages/count_tokens", body("jadw", ""))).await;
    assert_eq!((unknown.status, unknown.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    assert!(east.calls().is_empty());
}

/// Found by an audit of the table: the newest models refuse an answer that is begun, which was a final 400.
#[tokio::test]
async fn an_answer_that_is_begun_goes_to_a_model_that_goes_on_with_it() {
    let (new, old) = (Provider::start("new").await, Provider::start("old").await);
    let refuses = Site::of(&new).price("0.1", "0.1").only_messages().row("prefill = false");
    let gateway = Gateway::of([refuses, Site::of(&old).only_messages()]);
    for provider in [&new, &old] {
        provider.always(whole(&messages::answer("1}", 9, 4)));
    }
    let turns = |last: &str| json!([{"role": "user", "content": "?"}, {"role": last, "content": "{\"n\":"}]);
    let of_messages =
        |model: &str, last: &str| Call::messages(json!({"model": model, "max_tokens": 9, "messages": turns(last)}).to_string());
    let of_chat = |model: &str, last: &str| Call::chat(json!({"model": model, "messages": turns(last)}).to_string());
    for ask in [&of_messages as &dyn Fn(&str, &str) -> Call, &of_chat] {
        for (last, expected) in [("assistant", "old/jade-v3"), ("user", "new/jade-v3")] {
            let answer = gateway.ask(&ask("auto", last)).await;
            let who = answer.header("x-tokenbroker-backend");
            assert_eq!((answer.status, who), (200, expected), "{}", answer.text());
        }
        let calls = new.calls().len();
        let answer = gateway.ask(&ask("new/jade-v3", "assistant")).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("an answer that is begun already cannot be said in"), "{}", answer.text());
        assert_eq!(new.calls().len(), calls, "nothing is sent");
    }
    let mut body = json!({"model": "auto", "max_tokens": 9, "messages": turns("assistant")});
    body["tokenbroker"] = json!({"dry_run": true});
    let dry = gateway.ask(&Call::messages(body.to_string())).await.json();
    assert_eq!(dry["chosen"]["backend"], "old/jade-v3", "{dry}");
    assert_eq!(
        (&dry["rejected"][0]["backend"], &dry["rejected"][0]["rule"]),
        (&json!("new/jade-v3"), &json!("leaves_out")),
        "{dry}"
    );
}
