//! What Prometheus scrapes: every family with the values that the traffic gives, and no series that a client made up.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::provider::{begun, status, then};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat};

/// Every sample by its name and labels, as the text has them.
async fn samples(gateway: &Gateway) -> BTreeMap<String, f64> {
    let text = gateway.metrics().await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Compares samples; a value of nothing means that the series is not there.
fn check(samples: &BTreeMap<String, f64>, expected: &[(&str, Option<f64>)]) {
    for (series, value) in expected {
        let found = samples.get(&format!("tokenbroker_{series}")).copied();
        let same = match (found, value) {
            (Some(found), Some(value)) => (found - value).abs() < 1e-12,
            (found, value) => found.is_none() && value.is_none(),
        };
        assert!(same, "{series}: expected {value:?}, found {found:?} among {samples:#?}");
    }
}

#[tokio::test]
async fn every_family_tells_what_the_traffic_was() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
    let gateway = Setup::of(sites)
        .key("team", "tb-team")
        .set("keys.team.quality", "economy")
        .set("routing.baseline", "west/jade-v3")
        .start();
    let ask = async |body: String| gateway.ask(&Call::chat(body).header("authorization", "Bearer tb-team")).await;

    // Two answers of 9 tokens in and 4 out at east, one of them a stream; one that east fails and west answers; one
    // that breaks off; one that is refused by both.
    ask(chat::ask("auto")).await;
    ask(chat::ask_stream("auto")).await;
    east.next(status(500, &[], &chat::error("down")));
    ask(chat::ask("auto")).await;
    east.next(then(begun(&[chat::text("The answer to everything is"), chat::usage(9, 5)]), [Step::Close]));
    ask(chat::ask_stream("auto")).await;
    east.next(status(503, &[], &chat::error("down")));
    west.next(status(503, &[], &chat::error("down")));
    let last = ask(chat::ask("auto")).await;
    assert_eq!(last.status, 503);
    gateway.all_booked(5).await;

    let found = samples(&gateway).await;
    let requests = |backend: &str, outcome: &str| {
        format!(r#"requests_total{{backend="{backend}",outcome="{outcome}",route="/v1/chat/completions"}}"#)
    };
    check(
        &found,
        &[
            (&requests("east/jade-v3", "answered"), Some(2.0)),
            (&requests("west/jade-v3", "answered"), Some(1.0)),
            (&requests("east/jade-v3", "cut"), Some(1.0)),
            (r#"tokens_total{kind="input",model="jade",provider="east"}"#, Some(27.0)),
            (r#"tokens_total{kind="output",model="jade",provider="east"}"#, Some(13.0)),
            (r#"tokens_total{kind="input",model="jade",provider="west"}"#, Some(9.0)),
            (r#"tokens_total{kind="output",model="jade",provider="west"}"#, Some(4.0)),
            (r#"cost_usd_total{key="team",model="jade",provider="east"}"#, Some(0.000_053)),
            (r#"cost_usd_total{key="team",model="jade",provider="west"}"#, Some(0.000_051)),
            (r#"baseline_cost_usd_total{key="team",model="jade"}"#, Some(0.000_153)),
            (r#"attempts_total{backend="east/jade-v3",result="complete"}"#, Some(2.0)),
            (r#"attempts_total{backend="east/jade-v3",result="cut"}"#, Some(1.0)),
            (r#"attempts_total{backend="east/jade-v3",result="overloaded"}"#, Some(2.0)),
            (r#"attempts_total{backend="west/jade-v3",result="complete"}"#, Some(1.0)),
            (r#"attempts_total{backend="west/jade-v3",result="overloaded"}"#, Some(1.0)),
            (r#"failovers_total{cause="overloaded"}"#, Some(2.0)),
            (r#"settlements_total{ending="complete",provenance="reported"}"#, Some(3.0)),
            (r#"settlements_total{ending="cut",provenance="reported"}"#, Some(1.0)),
            (r#"ttft_seconds_count{backend="east/jade-v3"}"#, Some(3.0)),
            (r#"upstream_seconds_count{backend="east/jade-v3"}"#, Some(3.0)),
            (r#"quote_ratio_count{provider="east"}"#, Some(5.0)),
            ("overhead_seconds_count", Some(5.0)),
            ("open_requests", Some(0.0)),
            ("ledger_writable", Some(1.0)),
            ("ledger_queue_records", Some(0.0)),
            (r#"cost_usd_total{key="anonymous",model="jade",provider="east"}"#, None),
        ],
    );
    assert!(found["tokenbroker_ledger_commit_seconds_count"] >= 1.0);
    assert!(found["tokenbroker_overhead_seconds_sum"] > 0.0);
    for family in ["tokenbroker_price_book_info{version=\"test+", "tokenbroker_build_info{version=\""] {
        assert!(found.keys().any(|series| series.starts_with(family)), "{family}");
    }
}

#[tokio::test]
async fn a_request_under_way_is_counted_while_it_lasts() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    east.next(vec![Step::Stall]);
    let client = gateway.sent(&Call::chat(chat::ask("auto"))).await;
    east.call(0).await;
    check(&samples(&gateway).await, &[("open_requests", Some(1.0))]);
    drop(client);
    gateway.all_booked(1).await;
    let abandoned = r#"requests_total{backend="east/jade-v3",outcome="abandoned",route="/v1/chat/completions"}"#;
    crate::harness::until("the client to be missed", async || {
        let found = samples(&gateway).await;
        let gone = found["tokenbroker_open_requests"] == 0.0 && found.contains_key(&format!("tokenbroker_{abandoned}"));
        gone.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_cannot_create_a_series() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).key("team", "tb-team").start();
    let nonsense = async |word: &str| {
        let known = |call: Call| call.header("authorization", "Bearer tb-team");
        let calls = [
            known(Call::chat(chat::ask(word))),
            known(Call::chat(chat::ask("auto"))).header("x-request-id", word),
            known(Call::chat(chat::ask_with("auto", &format!(r#""tokenbroker":{{"session":"{word}"}}"#)))),
            known(Call::chat(chat::ask_with("auto", &format!(r#""tokenbroker":{{"{word}":1}}"#)))),
            known(Call::chat(chat::ask_with("auto", &format!(r#""tokenbroker":{{"providers":["{word}"]}}"#)))),
            known(Call::get(&format!("/v1/models/{word}"))),
            Call::chat(chat::ask("auto")).key(word),
            Call::post(&format!("/v1/{word}"), "{}"),
            Call::new(&word.to_uppercase(), "/v1/models", ""),
            Call::new("POST", "/v1/chat/completions", "{}").header("content-type", word),
        ];
        for call in calls {
            gateway.ask(&call).await;
        }
    };
    nonsense("first-made-up").await;
    gateway.all_booked(2).await;
    let before: BTreeSet<String> = samples(&gateway).await.into_keys().collect();

    for word in ["second-made-up", "third-made-up"] {
        nonsense(word).await;
    }
    gateway.all_booked(6).await;

    let after: BTreeSet<String> = samples(&gateway).await.into_keys().collect();
    assert!(after.iter().all(|series| !series.contains("made-up")), "{after:#?}");
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn what_the_gateway_refuses_is_counted_by_its_reason() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_body_bytes", "1024").start();
    let calls = [
        ("bad_request", Call::chat("{")),
        ("unknown_model", Call::chat(chat::ask("nothing"))),
        ("unknown_path", Call::get("/nowhere")),
        ("unknown_path", Call::new("PUT", "/v1/models", "")),
        ("unknown_path", Call::post("/v1/moderations", "{}")),
        ("too_large", Call::chat("x".repeat(2000))),
        ("media_type", Call::new("POST", "/v1/chat/completions", "{}")),
        ("none_adequate", Call::chat(chat::ask_with("auto", r#""tokenbroker":{"providers":["nobody"]}"#))),
    ];
    let mut expected = BTreeMap::new();
    for (reason, call) in calls {
        gateway.ask(&call).await;
        *expected.entry(format!(r#"tokenbroker_rejections_total{{reason="{reason}"}}"#)).or_insert(0.0) += 1.0;
    }
    let found = samples(&gateway).await;
    let rejections: BTreeMap<String, f64> =
        found.into_iter().filter(|(series, value)| series.starts_with("tokenbroker_rejections_total") && *value > 0.0).collect();
    assert_eq!(rejections, expected);
}
