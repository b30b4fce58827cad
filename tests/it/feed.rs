//! The feed of the operations listener: what it tells agrees with the books, it tells nothing that must not be told, and
//! it holds no drain up. The page in a browser is in `tests/page`.

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::client::Connection;
use crate::harness::provider::status;
use crate::harness::{Answer, Call, Gateway, PATIENCE, Provider, Setup, Site, Step, Whole, chat, until};

async fn look(gateway: &Gateway, path: &str) -> Answer {
    let mut operator = Connection::open(gateway.operations).await;
    operator.send(&Call::get(path)).await;
    operator.answer().await
}

async fn whole(gateway: &Gateway, path: &str) -> Whole {
    look(gateway, path).await.whole().await
}

/// The feed once nothing is under way.
async fn settled(gateway: &Gateway) -> Value {
    until("every request to end", async || {
        let feed = whole(gateway, "/feed?once").await.json();
        (feed["totals"]["open"] == 0).then_some(feed)
    })
    .await
}

#[tokio::test]
async fn what_it_tells_is_what_stands_in_the_books() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
    let gateway = Setup::of(sites).key("team", "tb-team").set("routing.baseline", "west/jade-v3").start();
    let ask = async |body: String| gateway.ask(&Call::chat(body).key("tb-team")).await;
    let answered = ask(chat::ask("auto")).await;
    east.next(status(500, &[], &chat::error("down")));
    let moved = ask(chat::ask_stream("jade")).await;
    let refused = ask(chat::ask("jadde")).await;
    let stranger = gateway.ask(&Call::chat(chat::ask("auto")).key("nobody")).await;
    assert_eq!((refused.status, stranger.status), (404, 401));

    let feed = settled(&gateway).await;
    let entries = feed["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "a stranger is not shown: {feed:#}");
    for (entry, answer) in [(&entries[2], &answered), (&entries[1], &moved)] {
        let row = gateway.row_of(answer).await;
        let cost: tokenbroker::units::Usd = row.attempts.iter().map(|attempt| attempt.cost).sum();
        assert_eq!(entry["request_id"], answer.header("x-tokenbroker-request-id"));
        assert_eq!(entry["answered_by"], answer.header("x-tokenbroker-backend"));
        assert_eq!(entry["cost_usd"], cost.to_exact());
        assert_eq!((&entry["key"], &entry["state"]), (&"team".into(), &"answered".into()));
        assert_eq!((&entry["input_tokens"], &entry["output_tokens"]), (&9.into(), &4.into()));
    }
    assert_eq!(entries[1]["tries"][0]["backend"], "east/jade-v3");
    assert_eq!((&entries[1]["tries"][0]["cause"], &entries[1]["tries"][0]["status"]), (&"overloaded".into(), &500.into()));
    let plan = &entries[2]["plan"];
    assert_eq!((&plan["adequate"], &plan["candidates"][0]["backend"]), (&2.into(), &"east/jade-v3".into()));
    assert_eq!(plan["candidates"][1]["dearest"], true);
    assert_eq!((&entries[0]["refusal"], &entries[0]["model"]), (&"unknown_model".into(), &"jadde".into()));

    // 9 tokens in and 4 out: 17 millionths of a dollar at east, 51 at west, which is the baseline.
    let totals = &feed["totals"];
    assert_eq!((&totals["requests"], &totals["refused"], &totals["failovers"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!((&totals["spent_usd"], &totals["baseline"]["elsewhere_usd"]), (&"0.000068".into(), &"0.000102".into()));
    assert_eq!(totals["baseline"]["saved_usd"], "0.000034");
}

#[tokio::test]
async fn it_tells_no_prompt_no_answer_no_key_and_nothing_a_provider_said() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east).with_key("sk-east-4f7d")]).key("team", "tb-team").start();
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"the-prompt"}],"tokenbroker":{"session":"the-session"}}"#;
    east.next(status(429, &[], &chat::error("the-provider-said")));
    gateway.ask(&Call::chat(body).key("tb-team")).await;
    gateway.ask(&Call::chat(body).key("tb-team")).await;
    gateway.ask(&Call::chat(r#"{"model":"auto","messages":"the-prompt"}"#).key("tb-team")).await;
    settled(&gateway).await;
    for path in ["/", "/feed?once"] {
        let shown = whole(&gateway, path).await;
        let text = shown.text();
        assert!(shown.status == 200 && text.contains("east/jade-v3"), "{text}");
        for secret in ["the-prompt", "the-session", "the-provider-said", "Hello", "4f7d", "tb-team"] {
            assert!(!text.contains(secret), "{path} tells {secret}");
        }
    }
}

#[tokio::test]
async fn it_is_followed_live_and_a_drain_does_not_wait_for_whoever_follows() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.drain_seconds", "600").start();
    let mut json = look(&gateway, "/feed").await;
    let mut html = look(&gateway, "/feed?as=html").await;
    assert_eq!(json.header("content-type"), "text/event-stream; charset=utf-8");
    json.read_past("event: totals").await;
    html.read_past("event: figures").await;
    east.next(vec![Step::Stall]);
    let client = gateway.sent(&Call::chat(chat::ask("auto"))).await;
    let begun = json.read_past("event: totals").await;
    assert!(begun.contains(r#""state":"open""#) && begun.contains(r#""backend":"east/jade-v3""#), "{begun}");
    drop(client);
    json.read_past(r#""state":"abandoned""#).await;
    html.read_past(r#"class=\"card failed\""#).await;

    let told_to_stop = Instant::now();
    gateway.terminate();
    assert!(json.read_past("event: end").await.contains("draining"));
    assert!(json.whole().await.complete);
    let mut gateway = gateway;
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(told_to_stop.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_reader_asks_for_what_is_new_and_readers_are_few() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    gateway.chat(&chat::ask("auto")).await;
    let sequence = settled(&gateway).await["sequence"].as_u64().unwrap();
    gateway.chat(&chat::ask("auto")).await;
    settled(&gateway).await;
    let numbers =
        |feed: Value| feed["entries"].as_array().unwrap().iter().map(|e| e["number"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(whole(&gateway, &format!("/feed?once&since={sequence}")).await.json()), [2]);
    assert_eq!(numbers(whole(&gateway, "/feed?once&last=1").await.json()), [2]);
    assert_eq!(whole(&gateway, "/feed?once&since=x").await.status, 400);

    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(look(&gateway, "/feed").await);
    }
    assert_eq!(look(&gateway, "/feed").await.status, 503);
    drop(readers);
    until("a place to be free again", async || Some(look(&gateway, "/feed").await).filter(|answer| answer.status == 200)).await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.dashboard", "false").start();
    gateway.chat(&chat::ask("auto")).await;
    for path in ["/", "/feed", "/feed?once", "/assets/page.js"] {
        assert_eq!(whole(&gateway, path).await.status, 404, "{path}");
    }
    assert!(gateway.metrics().await.contains("tokenbroker_cost_usd_total"));
}
