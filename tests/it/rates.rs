//! Limits on what may be asked in a minute and at once: exact to the request, over keys, teams and the gateway, and told in
//! OpenAI's headers. Limits are so small that a test would have to wait for half a minute to be let in again.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Call, Crowd, Gate, Provider, Setup, Site, Step, Whole, chat, crowd, crowd_of, provider, until};

const ANN: &str = "tb-ann";
const BEN: &str = "tb-ben";

fn two_keys(east: &Provider) -> Setup {
    Setup::of([Site::of(east)]).key("ann", ANN).key("ben", BEN)
}

fn hello(key: &str) -> Call {
    Call::chat(chat::ask_with("auto", r#""max_tokens":100"#)).key(key)
}

/// Whose limit a refusal names, of what, and how many; and that it says when to come back.
#[track_caller]
fn refused(answer: &Whole) -> (Value, Value, Value) {
    let (status, code) = (answer.status, answer.error("code"));
    assert_eq!((status, code.as_str()), (429, Some("rate_limit_exceeded")), "{}", answer.text());
    assert_eq!((answer.error("type").as_str(), answer.header("x-should-retry")), (Some("rate_limit_error"), "true"));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let told = answer.error("tokenbroker");
    (told["limit_of"].clone(), told["counted"].clone(), told["limit"].clone())
}

fn rates(answer: &Whole) -> [&str; 3] {
    ["limit", "remaining", "reset"].map(|part| answer.header(&format!("x-ratelimit-{part}-requests")))
}

#[tokio::test]
async fn of_a_crowd_as_many_are_let_in_as_the_limit_says() {
    let east = Provider::start("east").await;
    let gateway = two_keys(&east).set("keys.ann.requests_per_minute", "2").start();
    let answer = provider::whole(&chat::answer("Hello.", 9, 4));

    let Crowd { answered, refused: told } = crowd(&gateway, &east, (&hello(ANN), 12), answer).await;

    assert_eq!((answered.len(), told.len()), (2, 10));
    let mut stood: Vec<[&str; 3]> = answered.iter().map(rates).collect();
    stood.sort_unstable();
    assert_eq!((stood[0][..2].to_vec(), stood[1]), (vec!["2", "0"], ["2", "1", "30s"]));
    for answer in &told {
        assert_eq!(refused(answer), ("key".into(), "requests".into(), 2.into()));
        assert_eq!(rates(answer)[..2], ["2", "0"]);
        assert!(answer.text().contains("rate limit of key ann: 2 requests a minute"), "{}", answer.text());
    }
    assert_eq!(gateway.sample("rejections_total{reason=\"rate_limited\"}").await, Some(10.0));
    let other = gateway.ask(&hello(BEN)).await;
    assert_eq!((other.status, other.header("x-ratelimit-limit-requests")), (200, ""), "nothing limits it");
}

#[tokio::test]
async fn keys_of_a_team_share_its_limit_and_a_refusal_takes_nothing_of_anothers() {
    let east = Provider::start("east").await;
    let gateway = two_keys(&east)
        .set("keys.ann.team", "web")
        .set("keys.ben.team", "web")
        .set("teams.web.requests_per_minute", "3")
        .set("gateway.requests_per_minute", "4")
        .key("other", "tb-other")
        .start();
    let answer = provider::whole(&chat::answer("Hello.", 9, 4));
    let (ann, ben) = (hello(ANN), hello(BEN));

    let Crowd { answered, refused: told } = crowd_of(&gateway, &east, &[&ann, &ben].repeat(5), answer).await;

    assert_eq!((answered.len(), told.len()), (3, 7));
    assert!(told.iter().all(|answer| refused(answer) == ("team".into(), "requests".into(), 3.into())));
    let last = gateway.ask(&hello("tb-other")).await;
    assert_eq!((last.status, rates(&last)[0], rates(&last)[1]), (200, "4", "0"), "seven refused ones took nothing of it");
    assert_eq!(refused(&gateway.ask(&hello("tb-other")).await).0, "gateway");
}

#[tokio::test]
async fn tokens_are_set_right_when_the_answer_is_there() {
    let east = Provider::start("east").await;
    let gateway = two_keys(&east).set("keys.ann.tokens_per_minute", "1000").set("keys.ben.tokens_per_minute", "5").start();
    east.always(provider::whole(&chat::answer("Hello.", 9, 50_000)));
    let first = gateway.ask(&hello(ANN)).await;
    assert_eq!((first.status, first.header("x-ratelimit-limit-tokens")), (200, "1000"));
    let left: u64 = first.header("x-ratelimit-remaining-tokens").parse().unwrap();
    assert!((800..1_000).contains(&left), "as was expected of it: {left}");

    // 49,009 more than a minute has, at 1,000 a minute.
    let second = gateway.ask(&hello(ANN)).await;
    assert_eq!(refused(&second), ("key".into(), "tokens".into(), 1_000.into()));
    let wait: u64 = second.header("retry-after").parse().unwrap();
    assert!((2_900..3_000).contains(&wait), "{wait}");
    assert_eq!(second.header("x-ratelimit-remaining-tokens"), "0");

    let never = gateway.ask(&hello(BEN)).await;
    assert_eq!((never.status, never.header("x-should-retry")), (429, "false"), "{}", never.text());
    assert!(never.header("retry-after").is_empty() && never.text().contains("this request alone takes about"));
}

#[tokio::test]
async fn requests_at_once_are_counted_until_they_end() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let gateway = two_keys(&east).set("keys.ann.max_concurrent_requests", "1").start();
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let stream = Call::chat(chat::ask_with("auto", r#""max_tokens":100,"stream":true"#)).key(ANN);
    let mut open = gateway.call(&stream).await;
    open.read_past("Hel").await;

    assert_eq!(refused(&gateway.ask(&hello(ANN)).await), ("key".into(), "concurrent_requests".into(), 1.into()));
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    assert_eq!(gateway.ask(&hello(BEN)).await.status, 200);
    gate.open();
    assert!(open.whole().await.complete);
    assert_eq!(gateway.ask(&hello(ANN)).await.status, 200);
}

/// A stream whose client has left is under way for as long as it is heard out.
#[tokio::test]
async fn a_stream_that_is_heard_out_counts_until_its_end() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let setup = two_keys(&east).set("keys.ann.max_concurrent_requests", "1");
    let gateway = setup.set("timeouts.heard_out_seconds", "600").start();
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let mut left = gateway.call(&Call::chat(chat::ask_stream("auto")).key(ANN)).await;
    left.read_past("Hel").await;
    let id = left.header("x-tokenbroker-request-id").to_owned();
    drop(left);
    until("the client to be missed", async || gateway.setup.log().contains("hears an answer out").then_some(())).await;

    assert_eq!(refused(&gateway.ask(&hello(ANN)).await), ("key".into(), "concurrent_requests".into(), 1.into()));
    gate.open();
    assert_eq!(gateway.booked(&id).await.outcome, "abandoned");
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let let_in = async || Some(gateway.ask(&hello(ANN)).await.status).filter(|status| *status == 200);
    until("the key to be let in again", let_in).await;
}

#[tokio::test]
async fn a_client_of_messages_is_told_in_its_own_words() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let gateway = Setup::of([Site::of(&east)]).set("gateway.requests_per_minute", "1").start();
    let body = json!({"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello."}]});
    let ask = Call::post("/v1/messages", body.to_string()).header("anthropic-version", "2023-06-01");
    assert_eq!(gateway.ask(&ask).await.status, 200);
    let told = gateway.ask(&ask).await;
    assert_eq!((told.status, told.header("x-should-retry")), (429, "true"), "{}", told.text());
    let error = told.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("rate_limit_error")));
    assert_eq!(gateway.ask(&Call::post("/v1/route", chat::ask("auto"))).await.status, 200, "a dry run takes nothing");
}

#[tokio::test]
async fn a_reload_forgets_nothing_of_what_was_asked() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let setup = two_keys(&east).set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    let limit = |limit: u32| fs::write(&path, format!("[keys.ann]\nrequests_per_minute = {limit}\n")).unwrap();
    limit(1);
    let gateway = setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start();
    assert_eq!(gateway.ask(&hello(ANN)).await.status, 200);
    assert_eq!(refused(&gateway.ask(&hello(ANN)).await).2, 1);
    for (now, status) in [(2, 200), (1, 429)] {
        limit(now);
        let report = gateway.operator(&Call::post("/reload", "")).await;
        assert_eq!((report.status, &report.json()["result"]), (200, &"applied".into()), "{}", report.text());
        assert_eq!(gateway.ask(&hello(ANN)).await.status, status, "{now} a minute");
    }
}

#[tokio::test]
async fn what_a_budget_does_not_bear_takes_nothing_of_the_minute() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let gateway = two_keys(&east)
        .set("keys.ann.requests_per_minute", "2")
        .set("keys.ann.budget_usd", "0.001")
        .set("keys.ann.budget_window", "total")
        .start();
    for _ in 0..4 {
        let dear = Call::chat(chat::ask_with("auto", r#""max_tokens":4000"#)).key(ANN);
        assert_eq!(gateway.ask(&dear).await.status, 402);
    }
    assert_eq!([gateway.ask(&hello(ANN)).await.status, gateway.ask(&hello(ANN)).await.status], [200, 200]);
    assert_eq!(refused(&gateway.ask(&hello(ANN)).await).2, 2);
}
