//! Wishes: what a request may ask of the router, whether in its body or in headers, and what the router says it would do.

use serde_json::{Value, json};
use tokenbroker::units::Usd;

use crate::harness::provider::whole;
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, chat};

/// `east` is cheap, in the US and good enough for standard work; `west` is dear, in the EU and premium.
async fn two() -> (Provider, Provider, [Site; 2]) {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6").region("EU").quality(80)];
    (east, west, sites)
}

fn with_wishes(model: &str, wishes: &str) -> String {
    chat::ask_with(model, &format!(r#""tokenbroker":{{{wishes}}}"#))
}

#[tokio::test]
async fn a_wish_decides_who_answers_whether_it_stands_in_the_body_or_in_a_header() {
    let (east, west, sites) = two().await;
    let gateway = Gateway::of(sites);
    let wishes = [
        (r#""providers":["west"]"#, "providers", "west"),
        (r#""exclude":["east","nobody"]"#, "exclude", "east,nobody"),
        (r#""regions":["EU"]"#, "regions", "EU"),
        (r#""quality":"premium""#, "quality", "premium"),
    ];
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "east/jade-v3");
    for (body, header, value) in wishes {
        let answer = gateway.chat(&with_wishes("auto", body)).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{body}");
        let call = Call::chat(chat::ask("auto")).header(&format!("x-tokenbroker-{header}"), value);
        let answer = gateway.ask(&call).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{header}");
    }
    for model in ["auto:premium", "west/jade-v3"] {
        assert_eq!(gateway.chat(&chat::ask(model)).await.header("x-tokenbroker-backend"), "west/jade-v3", "{model}");
    }
    assert_eq!((east.calls().len(), west.calls().len()), (1, 10));
    assert!(west.calls().iter().all(|call| !call.text().contains("tokenbroker")), "wishes are ours alone");
}

#[tokio::test]
async fn a_wish_that_nobody_can_grant_is_refused_with_the_reasons() {
    let (east, west, sites) = two().await;
    let gateway = Gateway::of(sites);
    let wishes = [
        (r#""providers":["nobody"]"#, "provider_not_allowed=2"),
        (r#""regions":["EU"],"exclude":["west"]"#, ""),
        (r#""max_cost_usd":0.000000000001"#, ""),
        (r#""max_cost_usd":1e-12"#, ""),
    ];
    for (wish, reason) in wishes {
        let refused = gateway.chat(&with_wishes("auto", wish)).await;
        assert_eq!((refused.status, refused.error("code")), (400, json!("no_adequate_backend")), "{wish}: {}", refused.text());
        assert!(refused.error("message").as_str().is_some_and(|told| told.contains(reason)), "{wish}: {}", refused.text());
    }
    assert_eq!((east.calls().len(), west.calls().len()), (0, 0));
}

#[tokio::test]
async fn a_maximum_cost_is_a_bound_that_the_provider_is_told() {
    let (east, _west, sites) = two().await;
    let gateway = Gateway::of(sites);

    let answer = gateway.chat(&with_wishes("auto", r#""max_cost_usd":"0.002""#)).await;

    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"), "{}", answer.text());
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let bound = sent["max_tokens"].as_u64().expect("an output bound");
    // Two dollars per million tokens out: a thousand tokens cost the whole of it.
    assert!((100..1000).contains(&bound), "{bound}");
}

#[tokio::test]
async fn what_is_foretold_is_what_is_done_and_a_dry_run_sends_nothing() {
    let (east, west, sites) = two().await;
    let gateway = Gateway::of(sites);

    for wishes in [r#""quality":"economy""#, r#""quality":"premium""#, r#""exclude":["east"]"#] {
        let asked = (east.calls().len(), west.calls().len());
        let told = gateway.ask(&Call::post("/v1/route", with_wishes("auto", wishes))).await;
        let dry = gateway.chat(&with_wishes("auto", &format!(r#"{wishes},"dry_run":true"#))).await;
        assert_eq!((told.status, dry.status, (east.calls().len(), west.calls().len())), (200, 200, asked));
        let (told, mut dry) = (told.json(), dry.json());
        dry["at"] = told["at"].clone();
        assert_eq!(dry, told, "{wishes}");

        let done = gateway.chat(&with_wishes("auto", wishes)).await;

        assert_eq!(told["chosen"]["backend"], done.header("x-tokenbroker-backend"), "{wishes}");
        let row = gateway.row_of(&done).await;
        let amount = |value: &Value| value.as_str().map(|text| Usd::parse(text).unwrap());
        assert_eq!(amount(&told["chosen"]["expected_usd"]), Some(row.quoted), "{wishes}");
        assert_eq!(amount(&told["runner_up"]["expected_usd"]), row.runner_up, "{wishes}");
    }
    let nobody = gateway.ask(&Call::post("/v1/route", with_wishes("auto", r#""providers":["nobody"]"#))).await;
    assert_eq!((nobody.status, &nobody.json()["chosen"]), (200, &Value::Null));
    assert_eq!(nobody.json()["rejected"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_deadline_moves_on_from_a_provider_that_keeps_silent() {
    let (east, west, sites) = two().await;
    let gateway = Gateway::of(sites);
    for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
        east.next(vec![Step::Stall]);

        let answer = gateway.ask(&Call::chat(ask).header("x-tokenbroker-deadline-ms", "300")).await;

        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
        assert_eq!(gateway.row_of(&answer).await.attempts[0].ending, "timed_out");
    }
    assert_eq!(west.calls().len(), 2);
}

#[tokio::test]
async fn a_race_asks_two_keeps_the_first_answer_and_books_both() {
    let (east, west, sites) = two().await;
    let gateway = Gateway::of(sites);
    let (never, both) = (Gate::shut(), Gate::shut());
    east.next(vec![Step::Wait(never)]);
    // A loser that was not reached yet when the winner answers would owe nothing.
    west.next([vec![Step::Wait(both.clone())], whole(&chat::answer("Hello.", 9, 2))].concat());

    let body = with_wishes("auto", r#""race":2"#);
    let reached = async {
        east.call(0).await;
        both.open();
    };
    let (answer, ()) = tokio::join!(gateway.chat(&body), reached);

    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
    east.call(0).await.hung_up().await;
    assert_eq!(west.calls().len(), 1);
    let row = gateway.row_of(&answer).await;
    let mut booked: Vec<_> =
        row.attempts.iter().map(|a| (a.backend.as_str(), a.ending.as_str(), a.provenance.as_str())).collect();
    booked.sort_unstable();
    assert_eq!(booked, [("east/jade-v3", "superseded", "estimated"), ("west/jade-v3", "complete", "reported")]);
    assert!(row.attempts.iter().all(|attempt| attempt.cost > Usd::ZERO), "the loser had the request and may bill it");
    assert_eq!(row.cost, row.attempts.iter().map(|attempt| attempt.cost).sum());
}

#[tokio::test]
async fn a_race_survives_a_racer_that_fails_at_once() {
    let (east, _west, sites) = two().await;
    let gateway = Gateway::of(sites);
    east.next(vec![Step::Reset]);

    let answer = gateway.chat(&with_wishes("auto", r#""race":2"#)).await;

    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
}

#[tokio::test]
async fn a_session_stays_where_its_prompt_is_warm_when_that_is_cheaper() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east).cached("0.05"), Site::of(&west).price("1.2", "2").cached("0.01")];
    let gateway = Gateway::of(sites);
    let long = |word: &str, wishes: &str| with_wishes("auto", wishes).replace("hello", &word.repeat(5_000));
    let backend =
        async |word: &str, wishes: &str| gateway.chat(&long(word, wishes)).await.header("x-tokenbroker-backend").to_owned();

    assert_eq!(backend("one ", r#""session":"s-1""#).await, "east/jade-v3");
    assert_eq!(backend("two ", r#""session":"s-2","providers":["west"]"#).await, "west/jade-v3");
    assert_eq!(backend("two ", r#""session":"s-2""#).await, "west/jade-v3");
    assert_eq!(backend("one ", r#""session":"s-1""#).await, "east/jade-v3");
    assert_eq!(backend("three ", r#""session":"s-2""#).await, "east/jade-v3", "another prompt is warm nowhere");
}

#[tokio::test]
async fn a_keys_limits_hold_whatever_a_request_wishes() {
    let (east, west, sites) = two().await;
    let gateway = Setup::of(sites).key("team", "tb-team").set("keys.team.regions", "[\"EU\"]").start();
    let ask = async |body: String| gateway.ask(&Call::chat(body).header("authorization", "Bearer tb-team")).await;

    assert_eq!(ask(chat::ask("auto")).await.header("x-tokenbroker-backend"), "west/jade-v3");
    let refused = ask(with_wishes("auto", r#""providers":["east"]"#)).await;
    assert_eq!((refused.status, refused.error("code")), (400, json!("no_adequate_backend")));
    assert_eq!(ask(with_wishes("auto", r#""regions":["US","EU"]"#)).await.header("x-tokenbroker-backend"), "west/jade-v3");
    assert_eq!((east.calls().len(), west.calls().len()), (0, 2));
}

#[tokio::test]
async fn an_answer_says_what_it_cost_who_gave_it_and_why() {
    let (east, _west, sites) = two().await;
    let gateway = Gateway::of(sites);
    east.next(whole(&chat::answer("Hi.", 1_000_000, 500_001)));

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.header("x-tokenbroker-cost-usd"), "2.000002");
    assert_eq!(answer.header("x-tokenbroker-backend"), "east/jade-v3");
    assert_eq!(answer.header("x-tokenbroker-decision"), "cheapest of 2 adequate; next west/jade-v3 +200%");
    assert_eq!(gateway.row_of(&answer).await.cost.to_exact(), "2.000002");
}
