//! Embeddings: what passes both ways, what is booked, and that no model ever stands for another.
//!
//! Prices and lengths of vectors are of the tests' own table.

use serde_json::{Value, json};
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{status, whole};
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Whole, chat, crowd, rows};

/// An answer with one vector, which reports so many tokens.
fn answer(tokens: u64) -> String {
    format!(
        r#"{{ "object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.25, -1e-3]}}],"model":"vec-v1","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}} }}"#
    )
}

fn ask(model: &str, input: &Value) -> Call {
    Call::embeddings(json!({"model": model, "input": input}).to_string())
}

async fn provider(id: &'static str, tokens: u64) -> Provider {
    let provider = Provider::start(id).await;
    provider.always(whole(&answer(tokens)));
    provider
}

fn refused(answer: &Whole, status: u16, code: &str, param: &Value) {
    assert_eq!((answer.status, answer.error("code"), &answer.error("param")), (status, json!(code), param), "{}", answer.text());
}

#[tokio::test]
async fn bytes_pass_both_ways_and_every_token_is_booked_at_its_price() {
    let east = provider("east", 8).await;
    let gateway = Gateway::of([Site::of(&east).embeds("vec", "0.13", "dimensions = 1_536\ndimensions_from = 1")]);
    let body = r#"{"input" : ["hello","y\u006fu"], "model":"vec","encoding_format":"base64","user":"u-1","odd":[1, {}],"dimensions":256}"#;

    let answered = gateway.ask(&Call::embeddings(body)).await;

    assert_eq!((answered.status, answered.text()), (200, answer(8).as_str()));
    let asked = east.call(0).await;
    assert_eq!((asked.path.as_str(), asked.text()), ("/v1/embeddings", body.replace(r#""vec""#, r#""vec-v1""#).as_str()));
    assert_eq!(answered.header("x-tokenbroker-backend"), "east/vec-v1");
    assert_eq!(answered.header("x-tokenbroker-cost-usd"), "0.00000104");
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str()), ("answered", "reported"));
    assert_eq!((attempt.usage.fresh_input, attempt.usage.output), (Tokens::new(8), Tokens::ZERO));
    assert_eq!((row.cost.to_exact().as_str(), attempt.served_model.as_deref()), ("0.00000104", Some("vec-v1")));
    assert_eq!(
        gateway.sample(r#"requests_total{backend="east/vec-v1",outcome="answered",route="/v1/embeddings"}"#).await,
        Some(1.0)
    );
    let listed = gateway.ask(&Call::get("/v1/models/vec")).await;
    assert_eq!((listed.status, &listed.json()["id"]), (200, &json!("vec")));
}

#[tokio::test]
async fn the_cheapest_host_of_the_model_answers_and_the_next_one_stands_in_for_it() {
    let (east, west, south) = (provider("east", 8).await, provider("west", 8).await, provider("south", 8).await);
    let gateway = Gateway::of([
        Site::of(&east).embeds("vec", "0.5", ""),
        Site::of(&west).embeds("vec", "0.2", ""),
        Site::of(&south).embeds("other", "0.01", ""),
    ]);
    let backend = |answered: &Whole| answered.header("x-tokenbroker-backend").to_owned();
    assert_eq!(backend(&gateway.ask(&ask("vec", &json!("hi"))).await), "west/vec-v1");

    west.next(status(503, &[], &chat::error("no")));
    let answered = gateway.ask(&ask("vec", &json!("hi"))).await;
    assert_eq!((answered.status, backend(&answered).as_str()), (200, "east/vec-v1"));
    let row = gateway.row_of(&answered).await;
    let booked: Vec<_> = row.attempts.iter().map(|attempt| (attempt.backend.as_str(), attempt.ending.as_str())).collect();
    assert_eq!(booked, [("west/vec-v1", "failed"), ("east/vec-v1", "complete")]);

    for down in [&east, &west] {
        down.always(status(500, &[], &chat::error("no")));
    }
    let failed = gateway.ask(&ask("vec", &json!("hi"))).await;
    assert!(failed.status >= 500 && failed.error("type") == json!("server_error"), "{}", failed.text());
    assert!(south.calls().is_empty(), "vectors of another model are none of this one's");
    assert_eq!(backend(&gateway.ask(&ask("other", &json!("hi"))).await), "south/other-v1");
}

#[tokio::test]
async fn a_model_must_be_named_and_be_of_that_kind() {
    let east = provider("east", 8).await;
    let setup = Setup::of([Site::of(&east).embeds("vec", "0.01", "")]);
    let gateway = setup.set("aliases.any", "auto").set("aliases.mine", "vec").start();
    for open in ["auto", "auto:premium", "any"] {
        let answered = gateway.ask(&ask(open, &json!("hi"))).await;
        refused(&answered, 400, "invalid_value", &json!("model"));
        let message = answered.error("message");
        assert!(message.as_str().unwrap().contains("cannot be compared"), "{message}");
    }
    for other in ["jade", "east/jade-v3"] {
        let answered = gateway.ask(&ask(other, &json!("hi"))).await;
        assert_eq!((answered.status, answered.error("code")), (400, json!("no_adequate_backend")), "{}", answered.text());
    }
    refused(&gateway.ask(&ask("vek", &json!("hi"))).await, 404, "model_not_found", &json!("model"));
    let talked = gateway.chat(&chat::ask("vec")).await;
    assert_eq!((talked.status, talked.error("code")), (400, json!("no_adequate_backend")), "{}", talked.text());
    assert!(east.calls().is_empty());
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "east/jade-v3", "cheap as vectors are");
    assert_eq!(gateway.ask(&ask("mine", &json!("hi"))).await.header("x-tokenbroker-backend"), "east/vec-v1");
}

#[tokio::test]
async fn vectors_of_a_length_are_asked_where_they_are_made() {
    let (east, west, south) = (provider("east", 8).await, provider("west", 8).await, provider("south", 8).await);
    let gateway = Gateway::of([
        Site::of(&east).embeds("vec", "0.5", "dimensions = 1_536\ndimensions_from = 256"),
        Site::of(&west).embeds("vec", "0.2", "dimensions = 1_536"),
        Site::of(&south).embeds("vec", "0.3", ""),
    ]);
    let call = |dimensions: u32| Call::embeddings(json!({"model": "vec", "input": "hi", "dimensions": dimensions}).to_string());
    for (dimensions, expected) in [(1_536, "west/vec-v1"), (512, "east/vec-v1"), (256, "east/vec-v1")] {
        assert_eq!(gateway.ask(&call(dimensions)).await.header("x-tokenbroker-backend"), expected, "{dimensions}");
    }
    let before = east.calls().len();
    let answered = gateway.ask(&call(3_072)).await;
    assert_eq!((answered.status, answered.error("code")), (400, json!("no_adequate_backend")));
    assert!(answered.text().contains("dimensions_unsupported"), "{}", answered.text());
    assert_eq!((east.calls().len(), south.calls().len()), (before, 0));
}

/// Found by a reader: the answer was larger than what is read of one, so they were billed and lost.
#[tokio::test]
async fn vectors_that_no_answer_can_hold_are_refused_before_they_are_billed() {
    let (east, west) = (provider("east", 8).await, provider("west", 8).await);
    let gateway = Gateway::of([
        Site::of(&east).embeds("vec", "0.5", "dimensions = 3_072\ndimensions_from = 256"),
        Site::of(&west).embeds("unsaid", "0.5", ""),
    ]);
    let call = |model: &str, inputs: usize, more: &Value| {
        let mut body = json!({"model": model, "input": vec!["a"; inputs]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Call::embeddings(body.to_string())
    };
    let (base64, short) = (json!({"encoding_format": "base64"}), json!({"dimensions": 256, "encoding_format": "float"}));
    for (model, inputs, more) in [
        ("vec", 992, &json!({})),
        ("vec", 4_080, &base64),
        ("vec", 11_000, &short),
        ("east/vec-v1", 992, &json!({})),
        ("unsaid", 9_000, &json!({})),
    ] {
        let answered = gateway.ask(&call(model, inputs, more)).await;
        assert_eq!(answered.status, 200, "{model} {inputs} {more}: {}", answered.text());
    }
    let before = east.calls().len();
    for (model, inputs, more, told) in [
        ("vec", 1_000, &json!({}), "send at most 992 at once, or 4080 with `encoding_format` \"base64\""),
        ("east/vec-v1", 1_000, &json!({}), "1000 inputs, whose vectors of 3072 numbers are about 64 MiB as \"float\""),
        ("vec", 4_200, &base64, "send at most 4080 at once"),
        ("vec", 12_000, &short, "vectors of 256 numbers"),
    ] {
        let answered = gateway.ask(&call(model, inputs, more)).await;
        refused(&answered, 400, "invalid_value", &json!("input"));
        let message = answered.error("message");
        assert!(message.as_str().unwrap().contains(told), "{message}");
    }
    assert_eq!(east.calls().len(), before);
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let east = provider("east", 8).await;
    let gateway = Setup::of([Site::of(&east).embeds("vec", "0.5", "")]).key("team", "tb-team").start();
    for (body, code, param) in [
        (r#"{"model":"vec"}"#, "missing_required_parameter", json!("input")),
        (r#"{"input":"a"}"#, "missing_required_parameter", json!("model")),
        (r#"{"model":"vec","input":[]}"#, "invalid_value", json!("input")),
        (r#"{"model":"vec","input":["a",7]}"#, "invalid_type", json!("input[1]")),
        (r#"{"model":"vec","input":{"text":"a"}}"#, "invalid_type", json!("input")),
        (r#"{"model":"vec","input":"a","dimensions":0}"#, "invalid_type", json!("dimensions")),
        (r#"{"model":"vec","input":"a","encoding_format":"hex"}"#, "invalid_value", json!("encoding_format")),
        (r#"{"model":"vec","input":"a""#, "invalid_json", Value::Null),
    ] {
        refused(&gateway.ask(&Call::embeddings(body).key("tb-team")).await, 400, code, &param);
    }
    let stranger = gateway.ask(&ask("vec", &json!("hi"))).await;
    assert_eq!((stranger.status, stranger.error("code")), (401, json!("invalid_api_key")));
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_in_its_words_and_nobody_else_is_asked() {
    let (east, west) = (provider("east", 8).await, provider("west", 8).await);
    let gateway = Gateway::of([Site::of(&east).embeds("vec", "0.1", ""), Site::of(&west).embeds("vec", "0.2", "")]);
    let said =
        r#"{"error":{"message":"'$.input' is too long","type":"invalid_request_error","param":null,"code":"invalid_input"}}"#;
    east.next(status(400, &[], said));
    let answered = gateway.ask(&ask("vec", &json!("hi"))).await;
    assert_eq!((answered.status, answered.text()), (400, said));
    assert!(west.calls().is_empty());
    assert_eq!(gateway.row_of(&answered).await.cost, Usd::ZERO);
}

/// Each request holds its upper estimate of 1,000 tokens and two marks: of 1,002 millionths of a dollar.
#[tokio::test]
async fn requests_at_the_same_time_hold_no_more_than_the_budget_together() {
    const CLIENTS: usize = 12;
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).embeds("vec", "1", "")]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.00505").set("keys.team.budget_window", "total").start();
    let tokens = json!((0..1_000).collect::<Vec<u32>>());

    let call = ask("vec", &tokens).key("tb-team");
    let Crowd { answered, .. } = crowd(&gateway, &east, (&call, CLIENTS), whole(&answer(1_000))).await;

    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!(answered.len(), 5, "as many as fit, and no more");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (1_002_000_000, 1_000_000_000)), "{booked:?}");
    assert!(booked.iter().all(|row| (row.input_upper, row.output_bound, row.expected_output) == (1_002, 0, 0)), "{booked:?}");
    // Of the 50 millionths that are left nothing more of this size can be held.
    let last = gateway.ask(&ask("vec", &tokens).key("tb-team")).await;
    assert_eq!(
        (last.status, last.error("code"), last.error("tokenbroker")["left_usd"].clone()),
        (402, json!("insufficient_quota"), json!("0.00005"))
    );
}

#[tokio::test]
async fn a_provider_that_is_down_costs_nothing_and_holds_nothing() {
    let east = Provider::refusing("east");
    let setup = Setup::of([Site::of(&east).embeds("vec", "1", "")]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.00003").set("keys.team.budget_window", "total").start();
    for _ in 0..3 {
        let answered = gateway.ask(&ask("vec", &json!("hello there")).key("tb-team")).await;
        assert!((502..=503).contains(&answered.status), "{}", answered.text());
        assert_eq!(answered.error("type"), json!("server_error"));
    }
    let spent: i64 = rows::requests(&gateway.setup.data()).iter().map(|row| row.cost).sum();
    assert_eq!(spent, 0);
}

#[tokio::test]
async fn what_is_not_reported_is_counted() {
    let east = Provider::start("east").await;
    east.always(whole(r#"{"data":[]}"#));
    let gateway = Gateway::of([Site::of(&east).embeds("vec", "1", "")]);
    // Of texts, each with the end of a line.
    for (input, tokens, provenance) in [
        (json!(["hello there", "general"]), 5, "counted"),
        (json!("hello there"), 3, "counted"),
        (json!((0..77).collect::<Vec<u32>>()), 77, "estimated"),
    ] {
        let answered = gateway.ask(&ask("vec", &input)).await;
        let attempt = &gateway.row_of(&answered).await.attempts[0];
        assert_eq!((attempt.usage.fresh_input.get(), attempt.provenance.as_str()), (tokens, provenance), "{input}");
        assert_eq!((attempt.usage.output, attempt.cost), (Tokens::ZERO, Usd::from_pico(i128::from(tokens) * 1_000_000)));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_none_and_the_next_host_is_asked() {
    let (east, west) = (Provider::start("east").await, provider("west", 8).await);
    let gateway = Gateway::of([Site::of(&east).embeds("vec", "0.1", ""), Site::of(&west).embeds("vec", "0.2", "")]);
    for odd in [chat::answer("Hello.", 9, 4), "<html>".to_owned(), r#"{"error":{"message":"overloaded"}}"#.to_owned()] {
        east.next(whole(&odd));
        let answered = gateway.ask(&ask("vec", &json!("hi"))).await;
        assert_eq!((answered.status, answered.text()), (200, answer(8).as_str()), "{odd}");
    }
}

#[tokio::test]
async fn a_decision_is_explained_before_and_after_and_compared_with_its_like() {
    let (east, west) = (provider("east", 8).await, provider("west", 8).await);
    let sites =
        [Site::of(&east).embeds("vec", "0.5", "dimensions = 64"), Site::of(&west).embeds("vec", "0.2", "dimensions = 64")];
    let gateway = Setup::of(sites).set("routing.baseline", "east/vec-v1").start();
    let body = |more: &str| format!(r#"{{"model":"vec","input":"hi","dimensions":64{more}}}"#);
    let mut dry = gateway.ask(&Call::embeddings(body(r#","tokenbroker":{"dry_run":true}"#))).await.json();
    assert_eq!(dry["chosen"]["backend"], "west/vec-v1", "{dry:#}");
    let answered = gateway.ask(&Call::embeddings(body(""))).await;
    assert_eq!(answered.header("x-tokenbroker-backend"), "west/vec-v1");
    gateway.row_of(&answered).await;
    let path = format!("/v1/decisions/{}", answered.header("x-tokenbroker-request-id"));
    let mut told = gateway.ask(&Call::get(&path)).await.json();
    for decision in [&mut dry, &mut told["decision"]] {
        decision.as_object_mut().unwrap().remove("at");
    }
    assert_eq!(told["decision"], dry);
    let totals = gateway.ask(&Call::get("/v1/usage")).await.json();
    assert_eq!(totals["total"]["baseline"]["cost_usd"], "0.000004", "{totals:#}");
    let talking = gateway.kill().set("routing.baseline", "east/jade-v3").start();
    let answered = talking.ask(&Call::embeddings(body(""))).await;
    talking.row_of(&answered).await;
    let totals = talking.ask(&Call::get("/v1/usage")).await.json();
    assert_eq!(totals["total"]["baseline"]["requests"], 1, "no conversation would have made vectors: {totals:#}");
}
