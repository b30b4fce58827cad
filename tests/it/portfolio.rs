//! What is weighed beside prices: caps on shares (under concurrency, across a restart, told in decisions and metrics), rate
//! limits that providers tell, rules about data, preferences, and looking at others than the best within its money.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::provider::{status, then, whole};
use crate::harness::talk::{Api, Talk};
use crate::harness::thinker::{Thinker, Thought};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, messages, until};

/// `east` costs a dollar and two per million tokens, `west` slightly more.
async fn two() -> (Provider, Provider, [Site; 2]) {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("1.1", "2.2")];
    (east, west, sites)
}

/// Half of at least so many requests may go to east.
fn half_of(least: u32) -> String {
    format!(r#"[{{ by = "provider", name = "east", share_percent = 50, of = "requests", least = {least} }}]"#)
}

async fn route(gateway: &Gateway, body: String) -> Value {
    gateway.ask(&Call::post("/v1/route", body)).await.json()
}

fn who(answer: &Whole) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tokenbroker-backend").split_once('/').unwrap().0
}

#[tokio::test]
async fn a_hard_cap_sends_what_is_too_much_elsewhere_and_tells_what_it_cost() {
    let (_east, _west, sites) = two().await;
    let gateway = Setup::of(sites).set("portfolio", &half_of(6)).start();
    let mut answered = Vec::new();
    for _ in 0..6 {
        answered.push(who(&gateway.chat(&chat::ask("auto")).await).to_owned());
    }
    assert_eq!(answered, ["east", "east", "east", "west", "west", "west"]);

    let told = route(&gateway, chat::ask("auto")).await;

    let cap = json!({
        "by": "provider", "name": "east", "of": "requests", "kind": "hard", "percent": 50, "share_millionths": 500_000,
        "closed": true
    });
    assert_eq!(told["caps"], json!([cap]));
    assert_eq!((&told["cap_cost"]["name"], &told["cap_cost"]["instead_of"]), (&json!("east"), &json!("east/jade-v3")));
    let rejected = &told["rejected"][0];
    assert_eq!(rejected["rule"], "over_share");
    assert_eq!(rejected["why"], "the share of its provider is 50.0 %, at the cap of 50 %: east");
    assert!(told["reason"].as_str().unwrap().contains("cap on provider east +0.0000"), "{}", told["reason"]);
    gateway.all_booked(6).await;
    let series = r#"tokenbroker_portfolio_cap_cost_usd_total{by="provider",name="east"} "#;
    let metrics = gateway.metrics().await;
    let cost = metrics.lines().find_map(|line| line.strip_prefix(series)).expect("the cost of the cap");
    assert!(cost.parse::<f64>().unwrap() > 0.0, "{cost}");

    // Nobody but east: the cap is a wall, and waiting may help.
    let refused = gateway.chat(&chat::ask_with("auto", r#""tokenbroker":{"providers":["east"]}"#)).await;
    assert_eq!(refused.status, 503, "{}", refused.text());

    // The books tell the next process what went where.
    let (_, setup) = gateway.drain().await;
    let again = setup.start();
    assert_eq!(route(&again, chat::ask("auto")).await["caps"], json!([cap]));
    assert_eq!(who(&again.chat(&chat::ask("auto")).await), "west");
}

#[tokio::test]
async fn requests_at_the_same_time_cannot_overrun_a_cap() {
    const CLIENTS: usize = 12;
    let (east, west, sites) = two().await;
    let gate = Gate::shut();
    for provider in [&east, &west] {
        provider.always(then(vec![Step::Wait(gate.clone())], whole(&chat::answer("Hello.", 9, 4))));
    }
    let gateway = Setup::of(sites).set("portfolio", &half_of(8)).start();

    let clients = join_all((0..CLIENTS).map(|_| async { gateway.chat(&chat::ask("auto")).await }));
    let director = async {
        let all = async || (east.calls().len() + west.calls().len() == CLIENTS).then_some(());
        until("every request to be asked", all).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(clients, director);

    assert!(answers.iter().all(|answer| answer.status == 200));
    // Half of eight, while nothing at west has ended yet.
    assert_eq!(east.calls().len(), 4);
}

/// Fixed once: where a backend was asked once more, without the seals that it had refused, what the first attempt had cost
/// was counted for the second too.
#[tokio::test]
async fn what_a_backend_costs_that_is_asked_once_more_counts_for_its_share() {
    let thought = Thought { of: "east", tools: ["weather", "tide"] };
    let east = Provider::start("east").await;
    // Of a dollar, so that its millionths are those of the share.
    let cap = r#"[{ by = "provider", name = "east", share_percent = 90, of = "spend", least = 1.00 }]"#;
    let gateway = Setup::of([Thinker::Messages.site(&east)]).set("portfolio", cap).start();
    east.next(Thinker::Messages.calls(false, &thought));
    east.next(status(400, &[], &messages::error("invalid_request_error", "Invalid `signature` in `thinking` block")));
    east.next(Thinker::Messages.says(false, "Go now."));
    let share = async || route(&gateway, chat::ask("auto")).await["caps"][0]["share_millionths"].clone();
    let mut talk = Talk::begin(Api::Messages, false, &thought.tools, "May I sail?");

    let called = talk.ask(&gateway).await;
    assert_eq!(share().await, 17);
    talk.answer(called.calls.iter().map(|call| (call, "calm")));
    assert_eq!((talk.ask(&gateway).await.text.as_str(), east.calls().len()), ("Go now.", 3));

    assert_eq!(share().await, 34);
}

#[tokio::test]
async fn a_provider_near_its_rate_limit_is_left_before_it_refuses() {
    let (east, _west, sites) = two().await;
    let headers = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "5")];
    east.next(status(200, &headers, &chat::answer("Hello.", 9, 4)));
    let gateway = Gateway::of(sites);
    assert_eq!(who(&gateway.chat(&chat::ask("auto")).await), "east");
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(who(&answer), "west");
    let told = route(&gateway, chat::ask("auto")).await;
    let east = &told["candidates"][1];
    assert_eq!(east["backend"], "east/jade-v3");
    assert_ne!(east["premiums"]["limit_usd"], "0");
    assert_eq!(told["chosen"]["premiums"]["limit_usd"], "0");
    let sum = |candidate: &Value| {
        let premiums = candidate["premiums"].as_object().unwrap().values();
        premiums.chain([&candidate["expected_usd"]]).map(pico).sum::<i128>()
    };
    for candidate in told["candidates"].as_array().unwrap() {
        assert_eq!(sum(candidate), pico(&candidate["score_usd"]), "{candidate}");
        assert_eq!(candidate["cost"].as_object().unwrap().values().map(pico).sum::<i128>(), pico(&candidate["expected_usd"]));
    }
}

/// An amount of the wire in 10⁻¹² dollars.
fn pico(amount: &Value) -> i128 {
    tokenbroker::units::Usd::parse(amount.as_str().unwrap()).unwrap().pico()
}

#[tokio::test]
async fn data_goes_only_where_it_is_known_what_becomes_of_it() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let west_keeps_nothing = Site::of(&west).price("3", "6").fact("retention = \"none\"\nregistered = true");
    let gateway = Setup::of([Site::of(&east), west_keeps_nothing])
        .key("strict", "tb-strict")
        .key("plain", "tb-plain")
        .set("keys.strict.max_retention_days", "0")
        .start();
    let ask = async |key: &str, header: &str, value: &str| {
        let call = Call::chat(chat::ask("auto")).key(key);
        gateway.ask(&if header.is_empty() { call } else { call.header(header, value) }).await
    };
    assert_eq!(who(&ask("tb-plain", "", "").await), "east");
    assert_eq!(who(&ask("tb-plain", "x-tokenbroker-may-train", "false").await), "east");
    assert_eq!(who(&ask("tb-plain", "x-tokenbroker-max-retention-days", "30").await), "west");
    assert_eq!(who(&ask("tb-plain", "x-tokenbroker-registered", "true").await), "west");
    assert_eq!(who(&ask("tb-strict", "x-tokenbroker-max-retention-days", "365").await), "west", "a wish does not widen");
    let refused = ask("tb-plain", "x-tokenbroker-jurisdictions", "DE").await;
    let told = refused.error("message");
    assert!(told.as_str().unwrap().contains("outside_jurisdictions=2"), "{told}");
    let refused = ask("tb-plain", "x-tokenbroker-max-price-per-million-usd", "0.5").await;
    assert!(refused.error("message").as_str().unwrap().contains("price_above_max=2"), "{}", refused.text());
}

#[tokio::test]
async fn a_preference_is_the_requests_then_the_aliass_then_the_keys() {
    let (_east, _west, sites) = two().await;
    let gateway = Setup::of(sites)
        .key("team", "tb-team")
        .set("keys.team.prefer", "balanced")
        .set("aliases.quick", "auto")
        .set("alias_wishes.quick.prefer", "fastest")
        .start();
    let prefers = async |body: String| gateway.ask(&Call::post("/v1/route", body).key("tb-team")).await.json()["prefer"].clone();
    assert_eq!(prefers(chat::ask("auto")).await, "balanced");
    assert_eq!(prefers(chat::ask("quick")).await, "fastest");
    assert_eq!(prefers(chat::ask_with("quick", r#""tokenbroker":{"prefer":"cheapest"}"#)).await, "cheapest");
}

#[tokio::test]
async fn exploring_ends_with_its_money() {
    let (east, west, sites) = two().await;
    let gateway = Setup::of(sites.clone()).start();
    // Bounded and reported as estimated, so that no quote moves with what is learned of answers.
    let asked = chat::ask_with("auto", r#""max_tokens":1"#);
    let told = route(&gateway, asked.clone()).await;
    let input = told["chosen"]["tokens"]["input"].as_u64().unwrap();
    for provider in [&east, &west] {
        provider.always(whole(&chat::answer("Hello.", input, 1)));
    }
    let more = pico(&told["runner_up"]["expected_usd"]) - pico(&told["chosen"]["expected_usd"]);
    // Three requests and a half may look at west; one in five would, if there were money.
    let money = tokenbroker::units::Usd::from_pico(more * 7 / 2).to_exact();
    let gateway = Setup::of(sites).set("routing.explore_permille", "200").set("routing.explore_usd_per_day", &money).start();
    let mut explored = 0;
    for _ in 0..300 {
        let answer = gateway.chat(&asked).await;
        explored += usize::from(answer.header("x-tokenbroker-decision").contains("explored, +"));
    }
    assert_eq!((explored, west.calls().len(), east.calls().len()), (3, 3, 297));
}
