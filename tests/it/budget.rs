//! Promise 2: a budget is a bound. Settled plus held never exceeds it, under any concurrency and across a kill, and the
//! output bound that the hold counts with is what the provider is told.

use serde_json::{Value, json};
use tokenbroker::units::Usd;

use crate::harness::rows;
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Step, Whole, chat, crowd, provider, until};

const KEY: &str = "tb-budget";

/// A gateway with one key, of which these settings are set. Its provider asks for one dollar per million tokens in, two out.
fn with_key(east: &Provider, settings: &[(&str, &str)]) -> Setup {
    let setup = Setup::of([Site::of(east)]).key("team", KEY);
    settings.iter().fold(setup, |setup, (name, value)| setup.set(&format!("keys.team.{name}"), value))
}

fn call(body: String) -> Call {
    Call::chat(body).key(KEY)
}

fn up_to(tokens: u64) -> Call {
    call(chat::ask_with("auto", &format!(r#""max_tokens":{tokens}"#)))
}

fn usd(amount: &Value) -> Usd {
    Usd::parse(amount.as_str().expect("an amount")).unwrap()
}

fn cost(pico: i64) -> Usd {
    Usd::from_pico(pico.into())
}

/// What the gateway adds to an error of OpenAI's shape.
fn added(answer: &Whole, member: &str) -> Value {
    answer.error("tokenbroker")[member].clone()
}

fn check_refused(answer: &Whole, limit: &str) -> Usd {
    assert_eq!((answer.status, answer.error("code").as_str()), (402, Some("insufficient_quota")), "{}", answer.text());
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(added(answer, "limit_usd"), limit);
    let left = usd(&added(answer, "left_usd"));
    assert!(usd(&added(answer, "wanted_usd")) > left, "{}", answer.text());
    left
}

#[tokio::test]
async fn requests_at_the_same_time_hold_no_more_than_the_budget_together() {
    const CLIENTS: usize = 12;
    let east = Provider::start("east").await;
    let gateway = with_key(&east, &[("budget_usd", "0.001"), ("budget_window", "\"day\"")]).start();

    let hello = provider::whole(&chat::answer("Hello.", 9, 4));
    let Crowd { answered, refused } = crowd(&gateway, &east, (&up_to(100), CLIENTS), hello).await;

    for answer in &refused {
        check_refused(answer, "0.001");
        assert!(added(answer, "refills_at").as_str().unwrap().ends_with("T00:00:00Z"), "{}", answer.text());
    }
    let held: Vec<i64> = rows::attempts(&gateway.setup.data()).iter().map(|row| row.held).collect();
    let (budget, together) = (1_000_000_000, held.iter().sum::<i64>());
    assert_eq!(held.len(), answered.len());
    assert!(together <= budget && together + held[0] > budget, "{held:?} of {budget}: as many as fit, and no more");
}

/// Issue 6: holds are tight. All hundred ask before the first is answered, and answers are as long as they may be.
#[tokio::test]
async fn a_hundred_at_once_on_a_budget_for_twenty_overspend_nothing_and_eighteen_are_served() {
    let east = Provider::start("east").await;
    // 9 tokens in at one millionth of a dollar each, 400 out at two.
    let (one, budget) = (cost(809_000_000), usd(&json!("0.01618")));
    let gateway = with_key(&east, &[("budget_usd", "0.01618"), ("budget_window", "\"total\"")]).start();
    let longest = provider::whole(&chat::answer("Hello.", 9, 400));
    let Crowd { answered, refused } = crowd(&gateway, &east, (&up_to(400), 100), longest).await;
    assert!((18..=20).contains(&answered.len()) && answered.len() + refused.len() == 100, "{} served", answered.len());
    let spent: i64 = rows::attempts(&gateway.setup.data()).iter().map(|row| row.cost).sum();
    assert_eq!(cost(spent).pico(), one.pico() * i128::try_from(answered.len()).unwrap());
    assert!(cost(spent) <= budget, "{spent}");
}

#[tokio::test]
async fn what_is_spent_never_exceeds_the_budget_and_holds_shrink_to_what_was_used() {
    let east = Provider::start("east").await;
    let gateway = with_key(&east, &[("budget_usd", "0.0004"), ("budget_window", "\"total\"")]).start();

    let mut answered = Vec::new();
    let left = loop {
        let answer = gateway.ask(&up_to(100)).await;
        if answer.status != 200 {
            assert_eq!(added(&answer, "refills_at"), Value::Null, "a total never refills");
            break check_refused(&answer, "0.0004");
        }
        answered.push(answer);
    };

    for answer in &answered {
        gateway.row_of(answer).await;
    }
    let spent: Usd = rows::requests(&gateway.setup.data()).iter().map(|row| cost(row.cost)).sum();
    assert_eq!(spent + left, Usd::parse("0.0004").unwrap());
    assert!(answered.len() > 5, "a hold that did not shrink would bear one request only: {}", answered.len());
}

#[tokio::test]
async fn the_bound_that_the_hold_counts_with_is_sent_to_the_provider() {
    let east = Provider::start("east").await;
    let gateway = with_key(&east, &[("budget_usd", "5")]).start();
    assert_eq!(gateway.ask(&call(chat::ask("auto"))).await.status, 200);
    assert_eq!(gateway.ask(&up_to(50)).await.status, 200);
    let short = with_key(&east, &[("budget_usd", "5"), ("max_output_tokens", "64")]).start();
    assert_eq!(short.ask(&up_to(500)).await.status, 200);

    let bounds: Vec<u64> = east.calls().iter().map(|arrived| bound_of(arrived.text())).collect();
    assert_eq!(bounds, [8_192, 50, 64]);
    let rows = |gateway: &Gateway| rows::attempts(&gateway.setup.data()).into_iter().map(|row| row.output_bound);
    until("the rows", async || (rows(&gateway).count() + rows(&short).count() == 3).then_some(())).await;
    assert_eq!(rows(&gateway).chain(rows(&short)).collect::<Vec<_>>(), [8_192, 50, 64]);
}

fn bound_of(body: &str) -> u64 {
    let body: Value = serde_json::from_str(body).unwrap();
    let bounds: Vec<u64> = ["max_tokens", "max_completion_tokens"].iter().filter_map(|name| body[name].as_u64()).collect();
    assert_eq!(bounds.len(), 1, "{body}");
    bounds[0]
}

#[tokio::test]
async fn a_start_after_a_kill_reads_back_what_was_spent() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 100, 4_000)));
    let gateway = with_key(&east, &[("budget_usd", "0.02"), ("budget_window", "\"month\"")]).start();
    for _ in 0..2 {
        assert_eq!(gateway.ask(&up_to(4_000)).await.status, 200);
    }
    let left = check_refused(&gateway.ask(&up_to(4_000)).await, "0.02");
    assert_eq!(left.to_exact(), "0.0038");

    let again = gateway.kill().start();

    assert_eq!(check_refused(&again.ask(&up_to(4_000)).await, "0.02"), left);
}

#[tokio::test]
async fn what_a_kill_cut_off_counts_as_spent() {
    let east = Provider::start("east").await;
    let gateway = with_key(&east, &[("budget_usd", "0.017"), ("budget_window", "\"total\"")]).start();
    east.next(provider::then(provider::begun(&[chat::role(), chat::text("Hel")]), [Step::Stall]));
    let mut open = gateway.call(&call(chat::ask_with("auto", r#""max_tokens":4000,"stream":true"#))).await;
    open.read_past("Hel").await;

    let again = gateway.kill().start();

    let lost = rows::attempts(&again.setup.data());
    assert_eq!((lost.len(), lost[0].ending.as_str()), (1, "lost"));
    assert!(lost[0].cost <= lost[0].held, "{lost:?}");
    let left = check_refused(&again.ask(&up_to(8_192)).await, "0.017");
    assert_eq!(left + cost(lost[0].cost), Usd::parse("0.017").unwrap());
}

#[tokio::test]
async fn a_client_that_leaves_has_spent_what_is_booked() {
    let east = Provider::start("east").await;
    let gateway = with_key(&east, &[("budget_usd", "0.0164"), ("budget_window", "\"total\"")]).start();
    east.next(provider::then(provider::begun(&[chat::role(), chat::text("Hel")]), [Step::Stall]));
    let mut open = gateway.call(&call(chat::ask_with("auto", r#""max_tokens":4000,"stream":true"#))).await;
    open.read_past("Hel").await;
    drop(open);

    let row = gateway.all_booked(1).await.remove(0);

    assert_eq!((row.outcome.as_str(), row.usage.output.get()), ("abandoned", 1));
    let left = check_refused(&gateway.ask(&up_to(8_192)).await, "0.0164");
    assert_eq!(left + row.cost, Usd::parse("0.0164").unwrap());
}

#[tokio::test]
async fn a_provider_that_reports_more_than_was_possible_is_booked_in_full_and_raises_an_alarm() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 5_000)));
    let gateway = with_key(&east, &[("budget_usd", "0.005"), ("budget_window", "\"total\"")]).start();

    let answer = gateway.ask(&up_to(10)).await;

    assert_eq!(gateway.row_of(&answer).await.cost.to_exact(), "0.010009");
    assert_eq!(check_refused(&gateway.ask(&up_to(10)).await, "0.005"), Usd::ZERO);
    let metrics = gateway.metrics().await;
    let alarm = metrics.lines().find(|line| line.starts_with("tokenbroker_overage_usd_total{backend=\"east/jade-v3\"}"));
    let over: f64 = alarm.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).expect("an alarm");
    assert!(over > 0.009 && over < 0.010_009, "{over}");
}
