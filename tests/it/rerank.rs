//! Documents in the order in which they fit a query: billed by the token or by the search, held for what either may come to.
//!
//! Prices are of the tests' own table.

use serde_json::{Value, json};
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{status, whole};
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Step, Whole, chat, crowd, rows};

/// An answer with these members beside its results.
fn answer(members: &str) -> String {
    format!(
        r#"{{ "id":"r-1","results":[{{"index":1,"relevance_score":0.98}}, {{"index":0,"relevance_score":1e-3}}],{members} }}"#
    )
}

/// As Cohere tells it.
fn searched(searches: u64) -> String {
    answer(&format!(r#""meta":{{"api_version":{{"version":"2"}},"billed_units":{{"search_units":{searches}}}}}"#))
}

fn ask(model: &str, documents: &Value) -> Call {
    Call::post("/v1/rerank", json!({"model": model, "query": "which?", "documents": documents}).to_string())
}

fn few() -> Value {
    json!(["one", "other"])
}

/// Two dollars for a thousand searches.
fn by_search(provider: &Provider) -> Site {
    Site::of(provider).serves("rerank", "rank", "", "per_thousand_searches = 2")
}

fn backend(answered: &Whole) -> &str {
    answered.header("x-tokenbroker-backend")
}

#[tokio::test]
async fn bytes_pass_both_ways_and_searches_are_booked_at_their_price() {
    let east = Provider::start("east").await;
    east.always(whole(&searched(2)));
    let gateway = Gateway::of([by_search(&east)]);
    let body = r#"{"documents" : ["a", {"text":"b\u006f","id":7}],"top_n":1, "model":"rank","query":"q","return_documents":false,"odd":[1, {}]}"#;

    let answered = gateway.ask(&Call::post("/v1/rerank", body)).await;

    assert_eq!((answered.status, answered.text()), (200, searched(2).as_str()));
    let asked = east.call(0).await;
    assert_eq!((asked.path.as_str(), asked.text()), ("/v1/rerank", body.replace(r#""rank""#, r#""rank-v1""#).as_str()));
    assert_eq!((backend(&answered), answered.header("x-tokenbroker-cost-usd")), ("east/rank-v1", "0.004"));
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str(), attempt.usage.pieces), ("answered", "reported", 2));
    assert_eq!((attempt.cost, attempt.quoted), (Usd::from_pico(4_000_000_000), Usd::from_pico(2_000_000_000)));
    let counted = gateway.sample(r#"requests_total{backend="east/rank-v1",outcome="answered",route="/v1/rerank"}"#).await;
    assert_eq!(counted, Some(1.0));
    let path = format!("/v1/decisions/{}", answered.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path)).await.json();
    let tried = &told["outcome"]["attempts"][0];
    assert_eq!(tried["prices"]["pieces"], json!({"price": "2", "per": 1000}), "{told:#}");
    assert_eq!(tried["pieces"], 2, "{told:#}");
    let priced = &told["decision"]["chosen"]["prices"]["pieces"];
    assert_eq!(*priced, json!({"price": "2", "per": 1000, "expected": 1, "most": 1}), "{told:#}");
}

#[tokio::test]
async fn tokens_are_booked_wherever_they_are_told_and_what_is_not_told_is_counted() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).serves("rerank", "rank", "", "input = 1")]);
    for (members, tokens, provenance) in [
        (r#""usage":{"total_tokens":815}"#, 815, "reported"),
        (r#""usage":{"prompt_tokens":815,"completion_tokens":0,"total_tokens":815}"#, 815, "reported"),
        (r#""meta":{"tokens":{"input_tokens":9,"output_tokens":3}}"#, 9, "reported"),
        (r#""meta":{"billed_units":{"input_tokens":7,"search_units":0},"tokens":{"input_tokens":9}}"#, 7, "reported"),
        (r#""meta":null"#, 6, "estimated"),
        // Searches say nothing of tokens, by which this one bills, nor do zeros.
        (r#""meta":{"billed_units":{"search_units":1}}"#, 6, "estimated"),
        (r#""meta":{"tokens":{"input_tokens":0}}"#, 6, "estimated"),
    ] {
        east.next(whole(&answer(members)));
        let answered = gateway.ask(&ask("rank", &few())).await;
        let attempt = &gateway.row_of(&answered).await.attempts[0];
        assert_eq!((attempt.usage.fresh_input.get(), attempt.provenance.as_str()), (tokens, provenance), "{members}");
        assert_eq!((attempt.usage.output, attempt.cost), (Tokens::ZERO, Usd::from_pico(i128::from(tokens) * 1_000_000)));
    }
}

#[tokio::test]
async fn searches_that_nobody_tells_are_those_that_were_expected() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_search(&east)]);
    east.always(whole(&answer(r#""usage":{"total_tokens":815}"#)));
    // Short ones come to two searches by any tokenizer, long ones to three by the likely one.
    for (documents, searches, provenance) in
        [(vec!["short".to_owned(); 150], 2, "counted"), (vec!["x".repeat(3_000); 101], 3, "estimated")]
    {
        let answered = gateway.ask(&ask("rank", &json!(documents))).await;
        let attempt = &gateway.row_of(&answered).await.attempts[0];
        assert_eq!(
            (attempt.usage.pieces, attempt.usage.fresh_input.get(), attempt.provenance.as_str()),
            (searches, 815, provenance)
        );
        assert_eq!(attempt.cost, Usd::from_pico(i128::from(searches) * 2_000_000_000));
    }
}

#[tokio::test]
async fn the_cheapest_host_answers_whatever_it_bills_by_and_no_other_model_stands_in() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    for host in [&east, &west] {
        host.always(whole(&searched(1)));
    }
    let by_token = Site::of(&west).serves("rerank", "rank", "", "input = 1");
    let other = Site::of(&south).serves("rerank", "other", "", "input = 0.01");
    let gateway = Gateway::of([by_search(&east), by_token, other]);
    assert_eq!(backend(&gateway.ask(&ask("rank", &few())).await), "west/rank-v1", "a few tokens cost less than a search");
    let long = json!(vec!["word ".repeat(300); 60]);
    assert_eq!(backend(&gateway.ask(&ask("rank", &long)).await), "east/rank-v1", "many cost more");
    for odd in [status(503, &[], &chat::error("no")), whole(r#"{"data":[]}"#), whole(r#"{"results":7}"#), whole("<html>")] {
        west.next(odd);
        let answered = gateway.ask(&ask("rank", &few())).await;
        assert_eq!((answered.status, backend(&answered)), (200, "east/rank-v1"), "{}", answered.text());
    }
    // In each vendor's shape, and in that of all errors here.
    for (said, message) in [
        (r#"{"message":"too many documents"}"#, "too many documents"),
        (r#"{"detail":"too many documents"}"#, "too many documents"),
        (r#"{"code":20015,"message":"too many documents","data":null}"#, "too many documents"),
        (r#"{"error":{"message":"too many","code":7}}"#, "too many"),
        (r#"["too many documents"]"#, "the provider gave no message (status 400)"),
    ] {
        west.next(status(400, &[], said));
        let refused = gateway.ask(&ask("rank", &few())).await;
        let errors = ["message", "type"].map(|member| refused.error(member));
        assert_eq!((refused.status, errors), (400, [json!(message), json!("invalid_request_error")]), "{}", refused.text());
        if let serde_json::Value::Object(theirs) = serde_json::from_str(said).unwrap() {
            let told = refused.json();
            assert!(theirs.iter().all(|(name, value)| name == "error" || told[name] == *value), "{told}");
        }
    }
    let open = gateway.ask(&ask("auto", &few())).await;
    assert_eq!((open.status, open.error("param")), (400, json!("model")), "{}", open.text());
    let talks = gateway.ask(&ask("jade", &few())).await;
    assert_eq!((talks.status, talks.error("code")), (400, json!("no_adequate_backend")), "{}", talks.text());
    assert!(south.calls().is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_search(&east)]);
    for (body, code, param) in [
        (r#"{"model":"rank","documents":["a"]}"#, "missing_required_parameter", "query"),
        (r#"{"model":"rank","query":"q"}"#, "missing_required_parameter", "documents"),
        (r#"{"model":"rank","query":"q","documents":[]}"#, "invalid_value", "documents"),
        (r#"{"model":"rank","query":"q","documents":["a",1]}"#, "invalid_type", "documents[1]"),
        (r#"{"model":"rank","query":["q"],"documents":["a"]}"#, "invalid_type", "query"),
    ] {
        let refused = gateway.ask(&Call::post("/v1/rerank", body)).await;
        assert_eq!((refused.status, refused.error("code"), refused.error("param")), (400, json!(code), json!(param)), "{body}");
    }
    assert!(east.calls().is_empty());
}

/// A hundred documents of a thousand bytes each are one search by what is expected and three by what no tokenizer exceeds, and
/// as many are billed here.
#[tokio::test]
async fn requests_at_the_same_time_hold_the_most_searches_and_never_overrun_the_budget() {
    const CLIENTS: usize = 10;
    let east = Provider::start("east").await;
    let setup = Setup::of([by_search(&east)]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.025").set("keys.team.budget_window", "total").start();
    let call = ask("rank", &json!(vec!["x".repeat(1_000); 100])).key("tb-team");

    let Crowd { answered, .. } = crowd(&gateway, &east, (&call, CLIENTS), whole(&searched(3))).await;

    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!(answered.len(), 4, "six thousandths each");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (6_000_000_000, 6_000_000_000)), "{booked:?}");
    // What is left bears no more of them, but a single search.
    let few = gateway.ask(&ask("rank", &few()).key("tb-team")).await;
    assert_eq!(few.status, 402, "one thousandth is left: {}", few.text());
}

#[tokio::test]
async fn a_client_that_leaves_is_booked_for_the_searches_that_were_expected() {
    let east = Provider::start("east").await;
    east.next(vec![Step::Stall]);
    let gateway = Gateway::of([by_search(&east)]);
    let client = gateway.sent(&ask("rank", &few())).await;
    let arrived = east.call(0).await;
    drop(client);
    arrived.hung_up().await;
    let row = gateway.all_booked(1).await.remove(0);
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str(), attempt.usage.pieces), ("abandoned", "estimated", 1));
    assert_eq!(row.cost, Usd::from_pico(2_000_000_000));
}

/// Promise 1: what a kill interrupts is booked at the next start, with what is billed by the piece.
#[tokio::test]
async fn a_killed_gateways_searches_are_in_the_books_of_the_next() {
    let east = Provider::start("east").await;
    east.next(vec![Step::Stall]);
    let gateway = Gateway::of([by_search(&east)]);
    let client = gateway.sent(&ask("rank", &json!(vec!["short"; 101]))).await;
    east.call(0).await;
    gateway.journaled("east/rank-v1").await;
    let again = gateway.kill().start();
    drop(client);
    let row = again.all_booked(1).await.remove(0);
    assert_eq!((row.outcome.as_str(), row.attempts[0].usage.pieces), ("lost", 2));
    assert_eq!(row.cost, Usd::from_pico(4_000_000_000));
}
