//! A text that is written on: what passes both ways, its bound, what is booked of every choice, and that no model stands for
//! another.

use serde_json::{Value, json};
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Step, Whole, chat, crowd, rows};

const LINES: &str = "max_output_tokens = 4_096";

/// A whole answer of one choice, which reports so many tokens.
fn answer(input: u64, output: u64) -> String {
    let usage = format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#, input + output);
    format!(
        r#"{{ "id":"cmpl-1","object":"text_completion","created":1,"model":"base-v1","choices":[{{"text":" upon a time","index":0,"logprobs":null,"finish_reason":"length"}}],"usage":{usage} }}"#
    )
}

fn frame(text: &str, finish: &str) -> String {
    chat::frame(&format!(
        r#"{{"id":"cmpl-1","object":"text_completion","created":1,"model":"base-v1","choices":[{{"text":"{text}","index":0,"logprobs":null,"finish_reason":{finish}}}]}}"#
    ))
}

/// The frame that tells nothing but the usage.
fn report(input: u64, output: u64) -> String {
    let usage = format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output}}}"#);
    chat::frame(&format!(
        r#"{{"id":"cmpl-1","object":"text_completion","created":1,"model":"base-v1","choices":[],"usage":{usage}}}"#
    ))
}

/// Two dollars a million in, four out.
fn site(provider: &Provider, input: &str, output: &str) -> Site {
    Site::of(provider).serves("completions", "base", LINES, &format!("input = {input}\noutput = {output}"))
}

fn ask(model: &str, more: &Value) -> Call {
    let mut body = json!({"model": model, "prompt": "Once", "max_tokens": 8});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Call::completions(body.to_string())
}

fn backend(answered: &Whole) -> &str {
    answered.header("x-tokenbroker-backend")
}

#[tokio::test]
async fn bytes_pass_both_ways_and_input_and_output_are_booked_at_their_prices() {
    let east = Provider::start("east").await;
    east.always(whole(&answer(3, 8)));
    let gateway = Gateway::of([site(&east, "2", "4")]);
    let body = r#"{"prompt" : "Once", "model":"base","max_tokens":8,"logprobs":5,"echo":false,"stop":["\n"],"odd":[1, {}]}"#;

    let answered = gateway.ask(&Call::completions(body)).await;

    assert_eq!((answered.status, answered.text()), (200, answer(3, 8).as_str()));
    let asked = east.call(0).await;
    assert_eq!((asked.path.as_str(), asked.text()), ("/v1/completions", body.replace(r#""base""#, r#""base-v1""#).as_str()));
    assert_eq!((backend(&answered), answered.header("x-tokenbroker-cost-usd")), ("east/base-v1", "0.000038"));
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str()), ("answered", "reported"));
    assert_eq!((attempt.usage.fresh_input, attempt.usage.output), (Tokens::new(3), Tokens::new(8)));
    let counted = gateway.sample(r#"requests_total{backend="east/base-v1",outcome="answered",route="/v1/completions"}"#).await;
    assert_eq!(counted, Some(1.0));
}

#[tokio::test]
async fn a_stream_is_asked_for_its_usage_and_booked_by_it() {
    let east = Provider::start("east").await;
    let frames = [frame("", "null"), frame(" upon", "null"), frame(" a time", "\"stop\"")];
    let sent: Vec<String> = frames.iter().cloned().chain([report(3, 5), chat::DONE.to_owned()]).collect();
    east.always(stream(&sent));
    let gateway = Gateway::of([site(&east, "2", "4")]);

    let answered = gateway.ask(&ask("base", &json!({"stream": true}))).await;
    let without_report = [&frames[0], &frames[1], &frames[2], chat::DONE].map(str::to_owned).concat();
    assert_eq!((answered.status, answered.text(), answered.complete), (200, without_report.as_str(), true));
    let asked: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!(asked["stream_options"], json!({"include_usage": true}));
    assert_eq!(gateway.row_of(&answered).await.cost.to_exact(), "0.000026");

    let told = gateway.ask(&ask("base", &json!({"stream": true, "stream_options": {"include_usage": true}}))).await;
    assert_eq!(told.text(), sent.concat());

    // A stream that breaks off never looks like a whole one, and what came of it is counted.
    east.next(then(begun(&[frame(" upon a time there was", "null")]), [Step::Close]));
    let cut = gateway.ask(&ask("base", &json!({"stream": true}))).await;
    assert!(cut.text().contains("\"code\":\"upstream_") && !cut.text().contains("[DONE]"), "{}", cut.text());
    let attempt = &gateway.row_of(&cut).await.attempts[0];
    assert_eq!((attempt.ending.as_str(), attempt.provenance.as_str(), attempt.usage.output.get()), ("cut", "counted", 5));

    // Found by a reader: nor does one that its provider ends with a word for failure.
    east.next(stream(&[frame(" upon", "null"), frame("", "\"network_error\""), chat::DONE.to_owned()]));
    let failed = gateway.ask(&ask("base", &json!({"stream": true}))).await;
    assert!(failed.text().contains("\"code\":\"upstream_error\"") && !failed.text().contains("[DONE]"), "{}", failed.text());
}

#[tokio::test]
async fn a_stream_of_several_prompts_is_whole_only_with_all_their_choices() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([site(&east, "2", "4")]);
    let choice = |index: usize| {
        let choice = format!(r#"{{"text":" upon","index":{index},"logprobs":null,"finish_reason":"stop"}}"#);
        chat::frame(&format!(
            r#"{{"id":"cmpl-1","object":"text_completion","created":1,"model":"base-v1","choices":[{choice}]}}"#
        ))
    };
    // From the 128th choice on they are counted and no longer told apart.
    for (prompts, ended, ending) in [(2, 1, "cut"), (2, 2, "complete"), (200, 150, "cut"), (200, 200, "complete")] {
        let frames: Vec<String> = (0..ended).map(choice).collect();
        east.next(stream(&frames));
        let prompts = vec!["Once"; prompts];
        let answered = gateway.ask(&ask("base", &json!({"stream": true, "prompt": prompts}))).await;
        assert_eq!(answered.text().contains("\"code\":\"upstream_"), ending == "cut", "{ended} of {}", prompts.len());
        assert_eq!(gateway.row_of(&answered).await.attempts[0].ending.as_str(), ending, "{ended} of {}", prompts.len());
    }
}

#[tokio::test]
async fn without_a_bound_the_apis_own_goes_out_and_a_key_bounds_it_further() {
    let east = Provider::start("east").await;
    east.always(whole(&answer(3, 8)));
    let setup = Setup::of([site(&east, "2", "4")]).key("team", "tb-team").set("keys.team.max_output_tokens", "10");
    let gateway = setup.start();
    for (members, sent) in [(json!({}), 10), (json!({"max_tokens": 4}), 4), (json!({"max_tokens": 4_000}), 10)] {
        let mut body = json!({"model": "base", "prompt": "Once"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answered = gateway.ask(&Call::completions(body.to_string()).key("tb-team")).await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        let asked: Value = serde_json::from_str(east.calls().last().unwrap().text()).unwrap();
        assert_eq!(asked["max_tokens"], json!(sent), "{members}");
    }
}

#[tokio::test]
async fn another_host_of_the_model_stands_in_and_no_other_model_and_none_is_chosen() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    for host in [&east, &west] {
        host.always(whole(&answer(3, 8)));
    }
    let other = Site::of(&south).serves("completions", "other", LINES, "input = 0.01\noutput = 0.01");
    let gateway = Gateway::of([site(&east, "2", "4"), site(&west, "3", "6"), other]);
    assert_eq!(backend(&gateway.ask(&ask("base", &json!({}))).await), "east/base-v1", "the cheapest host");
    for odd in [status(503, &[], &chat::error("no")), whole(r#"{"data":[]}"#), whole("<html>")] {
        east.next(odd);
        let answered = gateway.ask(&ask("base", &json!({}))).await;
        assert_eq!((answered.status, backend(&answered)), (200, "west/base-v1"), "{}", answered.text());
    }
    let said = r#"{"error":{"message":"no logprobs here","type":"invalid_request_error","param":"logprobs","code":null}}"#;
    east.next(status(400, &[], said));
    let refused = gateway.ask(&ask("base", &json!({"logprobs": 9}))).await;
    assert_eq!((refused.status, refused.text()), (400, said));
    let open = gateway.ask(&ask("auto", &json!({}))).await;
    assert_eq!((open.status, open.error("param")), (400, json!("model")), "{}", open.text());
    for (call, code) in [(ask("jade", &json!({})), "no_adequate_backend"), (Call::chat(chat::ask("base")), "no_adequate_backend")]
    {
        let answered = gateway.ask(&call).await;
        assert_eq!((answered.status, answered.error("code")), (400, json!(code)), "{}", answered.text());
    }
    assert!(south.calls().is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([site(&east, "2", "4")]);
    for (body, code, param) in [
        (r#"{"model":"base"}"#, "missing_required_parameter", "prompt"),
        (r#"{"model":"base","prompt":[]}"#, "invalid_value", "prompt"),
        (r#"{"model":"base","prompt":["a",1]}"#, "invalid_type", "prompt[1]"),
        (r#"{"model":"base","prompt":"a","max_tokens":"9"}"#, "invalid_type", "max_tokens"),
        (r#"{"model":"base","prompt":"a","n":0}"#, "invalid_type", "n"),
    ] {
        let refused = gateway.ask(&Call::completions(body)).await;
        assert_eq!((refused.status, refused.error("code"), refused.error("param")), (400, json!(code), json!(param)), "{body}");
    }
    assert!(east.calls().is_empty());
}

/// Each asks for two prompts and three choices of eight tokens: six times eight at four dollars a million, and its input's
/// upper estimate of ten tokens and two marks a prompt at two.
#[tokio::test]
async fn requests_at_the_same_time_hold_every_choice_and_never_overrun_the_budget() {
    const CLIENTS: usize = 12;
    let east = Provider::start("east").await;
    let setup = Setup::of([site(&east, "2", "4")]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.001").set("keys.team.budget_window", "total").start();
    let tokens: Vec<u32> = (0..10).collect();
    let call = ask("base", &json!({"prompt": [tokens, tokens], "n": 2, "best_of": 3})).key("tb-team");

    // The most that was held is what the provider bills.
    let Crowd { answered, .. } = crowd(&gateway, &east, (&call, CLIENTS), whole(&answer(20, 48))).await;

    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!(answered.len(), 4, "240 millionths each: as many as fit, and no more");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (240_000_000, 232_000_000)), "{booked:?}");
    assert!(booked.iter().all(|row| (row.input_upper, row.output_bound) == (24, 48)), "{booked:?}");
}

#[tokio::test]
async fn what_is_not_reported_is_counted_and_a_decision_is_explained() {
    let east = Provider::start("east").await;
    east.always(whole(r#"{"choices":[{"text":" there, general","index":0,"finish_reason":"stop"}]}"#));
    let gateway = Gateway::of([site(&east, "2", "4")]);
    let answered = gateway.ask(&ask("base", &json!({"prompt": "hello"}))).await;
    let attempt = &gateway.row_of(&answered).await.attempts[0];
    assert_eq!((attempt.provenance.as_str(), attempt.usage.fresh_input.get(), attempt.usage.output.get()), ("counted", 2, 3));
    assert_eq!(attempt.cost, Usd::from_pico(16_000_000));
    let mut dry = gateway.ask(&ask("base", &json!({"prompt": "hello", "tokenbroker": {"dry_run": true}}))).await.json();
    let path = format!("/v1/decisions/{}", answered.header("x-tokenbroker-request-id"));
    let mut told = gateway.ask(&Call::get(&path)).await.json();
    for decision in [&mut dry, &mut told["decision"]] {
        decision.as_object_mut().unwrap().remove("at");
    }
    assert_eq!((&told["decision"], &dry["chosen"]["backend"]), (&dry, &json!("east/base-v1")));
}
