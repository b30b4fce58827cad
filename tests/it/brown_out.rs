//! What a budget does to requests that it does not bear as they were asked: an answer bounded shorter, something cheaper, or a refusal;
//! and that an agent is not starved by worst cases. Whatever is done, no budget is exceeded.

use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokenbroker::units::Usd;

use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, chat, provider};

const KEY: &str = "tb-brown";

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// By the books, which wait for what has ended.
async fn spent(gateway: &Gateway) -> Usd {
    let list = gateway.operator(&Call::get("/usage")).await.json();
    usd(list["total"]["cost_usd"].as_str().unwrap())
}

/// `east` is premium and dear, `west` cheap. The key `brown` may spend so much in total.
async fn two(budget: &str) -> (Provider, Provider, Setup) {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    for site in [&east, &west] {
        site.always(provider::whole(&chat::answer("Hello.", 9, 2_000)));
    }
    let sites = [Site::of(&east).quality(80).price("10", "20"), Site::of(&west).model("opal").quality(10).price("0.1", "0.2")];
    let setup = Setup::of(sites).key("brown", KEY).set("keys.brown.budget_usd", budget).set("keys.brown.budget_window", "total");
    (east, west, setup)
}

async fn ask(gateway: &Gateway, model: &str) -> Whole {
    gateway.ask(&Call::chat(chat::ask_with(model, r#""max_tokens":2000"#)).key(KEY)).await
}

#[tokio::test]
async fn an_empty_budget_degrades_to_something_cheaper_and_says_so() {
    let (east, west, setup) = two("0.045").await;
    let gateway = setup.set("keys.brown.when_empty", "degrade").start();
    let first = ask(&gateway, "auto:premium").await;
    assert_eq!(
        (first.status, first.header("x-tokenbroker-backend"), first.header("x-tokenbroker-budget")),
        (200, "east/jade-v3", "")
    );
    // 0.04 are spent: the rest bears twelve answers of the cheaper one.
    for _ in 0..10 {
        let lesser = ask(&gateway, "auto:premium").await;
        assert_eq!((lesser.status, lesser.header("x-tokenbroker-backend")), (200, "west/opal-v3"), "{}", lesser.text());
        assert_eq!(lesser.header("x-tokenbroker-budget"), "degraded=auto:economy");
        assert!(lesser.header("x-tokenbroker-decision").ends_with("budget: degraded=auto:economy"));
    }
    assert_eq!((east.calls().len(), west.calls().len()), (1, 10));
    let mut served = 11;
    let last = loop {
        let answer = ask(&gateway, "auto:premium").await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 40);
    };
    assert_eq!((last.status, last.error("code")), (402, json!("insufficient_quota")));
    let spent = spent(&gateway).await;
    assert!(spent > usd("0.044") && spent <= usd("0.045"), "{spent}");
}

#[tokio::test]
async fn many_at_once_that_degrade_exceed_no_budget() {
    let (_east, _west, setup) = two("0.092").await;
    let gateway = setup.set("keys.brown.when_empty", "degrade").start();
    let answers = join_all((0..80).map(|_| ask(&gateway, "auto:premium"))).await;
    let served = |by: &str| answers.iter().filter(|answer| answer.header("x-tokenbroker-backend") == by).count();
    let (premium, cheap) = (served("east/jade-v3"), served("west/opal-v3"));
    assert!(premium >= 1 && cheap >= 20, "{premium} and {cheap}");
    assert!(answers.iter().all(|answer| [200, 402].contains(&answer.status)));
    // The last ones are shortened, as nothing is known of the answers yet, and this provider writes on beyond the bound that it is told.
    let shortened = answers.iter().filter_map(|answer| answer.header("x-tokenbroker-budget").split_once("output_bound="));
    let bounds: Vec<i128> = shortened.map(|(_, bound)| bound.parse().unwrap()).collect();
    let beyond = Usd::from_pico(bounds.iter().map(|bound| (2_000 - bound) * 200_000).sum());
    let spent = spent(&gateway).await;
    assert!(spent <= usd("0.092") + beyond, "{spent}, of which {beyond} beyond {bounds:?}");
}

/// The dearer one stood behind the cheaper in each plan, and was held for.
#[tokio::test]
async fn a_crowd_that_degrades_is_not_refused_for_the_sake_of_its_fallbacks() {
    let (east, _west, setup) = two("0.1").await;
    let setup = setup.set("keys.brown.when_empty", "degrade").set("keys.brown.degrade_below_percent", "70");
    let gateway = setup.start();
    assert_eq!(ask(&gateway, "auto:premium").await.header("x-tokenbroker-backend"), "east/jade-v3");
    // 0.06 are left: a fallback to the dearer one for each would be 3.2.
    let answers = join_all((0..80).map(|_| ask(&gateway, "auto:premium"))).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/opal-v3"), "{}", answer.text());
        assert_eq!(answer.header("x-tokenbroker-budget"), "degraded=auto:economy");
    }
    assert_eq!(east.calls().len(), 1);
    assert!(spent(&gateway).await <= usd("0.1"));
}

#[tokio::test]
async fn a_fallback_that_is_not_held_for_is_asked_where_the_budget_bears_it_then() {
    for (budget, status, asked, total) in [("0.1", 200, 2, "0.08018"), ("0.07", 503, 1, "0.04009")] {
        let (east, west, setup) = two(budget).await;
        let setup = setup.set("keys.brown.when_empty", "degrade").set("keys.brown.degrade_below_percent", "70");
        let gateway = setup.start();
        assert_eq!(ask(&gateway, "auto:premium").await.header("x-tokenbroker-backend"), "east/jade-v3");
        west.always(provider::status(500, &[], "{}"));
        let answer = ask(&gateway, "auto:premium").await;
        assert_eq!((answer.status, west.calls().len(), east.calls().len()), (status, 1, asked), "{budget}: {}", answer.text());
        assert_eq!(spent(&gateway).await, usd(total), "{budget}");
    }
}

#[tokio::test]
async fn a_team_that_is_nearly_empty_degrades_early_and_its_key_may_refuse_that() {
    let (_east, _west, setup) = two("100").await;
    let gateway = setup
        .set("keys.brown.team", "red")
        .set("teams.red.budget_usd", "0.2")
        .set("teams.red.when_empty", "degrade")
        .set("teams.red.degrade_to", "opal")
        .set("teams.red.degrade_below_percent", "85")
        .start();
    assert_eq!(ask(&gateway, "auto:premium").await.header("x-tokenbroker-backend"), "east/jade-v3");
    let near = ask(&gateway, "auto:premium").await;
    assert_eq!((near.header("x-tokenbroker-backend"), near.header("x-tokenbroker-budget")), ("west/opal-v3", "degraded=opal"));
    let again = gateway.kill().set("keys.brown.when_empty", "refuse").start();
    assert_eq!(ask(&again, "auto:premium").await.header("x-tokenbroker-backend"), "east/jade-v3", "the narrower word counts");
}

#[tokio::test]
async fn a_backend_that_costs_nothing_serves_an_empty_budget() {
    let (east, here) = (Provider::start("east").await, Provider::start("here").await);
    for site in [&east, &here] {
        site.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    }
    let sites = [Site::of(&east), Site::of(&here).model("opal").free()];
    let gateway = Setup::of(sites)
        .key("brown", KEY)
        .set("keys.brown.budget_usd", "0.0051")
        .set("keys.brown.when_empty", "degrade")
        .set("keys.brown.degrade_to", "opal")
        .start();
    assert_eq!(ask(&gateway, "jade").await.header("x-tokenbroker-backend"), "east/jade-v3");
    for _ in 0..3 {
        let free = ask(&gateway, "jade").await;
        assert_eq!((free.status, free.header("x-tokenbroker-backend")), (200, "here/opal-v3"), "{}", free.text());
    }
    assert_eq!(spent(&gateway).await, usd("0.005"));
}

#[tokio::test]
async fn an_answer_without_a_bound_gets_the_one_that_the_budget_bears() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 10, 20)));
    let gateway = Setup::of([Site::of(&east)]).key("brown", KEY).set("keys.brown.budget_usd", "0.01").start();
    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key(KEY)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.header("x-tokenbroker-budget").strip_prefix("output_bound=").unwrap().parse::<u64>().unwrap();
    let sent: Value = serde_json::from_slice(&east.calls()[0].body).unwrap();
    let bound = ["max_tokens", "max_completion_tokens"].iter().find_map(|member| sent[member].as_u64());
    assert_eq!(bound, Some(told));
    // Two dollars per million tokens out, and a few in.
    assert!((4_900..5_000).contains(&told), "{told}");
    let asked = gateway.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":8000"#)).key(KEY)).await;
    assert_eq!(asked.status, 402, "a client's own bound is not changed unasked");
    let again = gateway.kill().set("keys.brown.when_empty", "shorten").start();
    let asked = again.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":8000"#)).key(KEY)).await;
    assert!(asked.status == 200 && asked.header("x-tokenbroker-budget").starts_with("output_bound=4"), "{}", asked.text());
}

/// An agent asks one thing after the other and never bounds its answers. Its day is made of the public requests, and of the
/// answers that stand in them.
#[tokio::test]
async fn an_agents_day_on_a_tight_budget_is_not_starved() {
    let Ok(lines) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/metering/requests.jsonl"))
    else {
        return;
    };
    let day: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // One dollar per million tokens in, two out.
    let turns: Vec<(String, u64, u64)> = day
        .iter()
        .map(|turn| {
            let mut body = json!({"model": "auto", "messages": turn["messages"]});
            if turn["tools"].is_array() {
                body["tools"] = turn["tools"].clone();
            }
            let said = turn["messages"].as_array().unwrap().iter().rev().find(|message| message["role"] == "assistant");
            let output = said.map_or(60, |message| message["content"].as_str().unwrap().chars().count() as u64 / 2 + 20);
            (body.to_string(), turn["prompt_tokens"]["qwen3"].as_u64().unwrap(), output)
        })
        .collect();
    let cost = |input: u64, output: u64| i128::from(input + 2 * output) * 1_000_000;
    let truth: i128 = turns.iter().map(|(_, input, output)| cost(*input, *output)).sum();
    let budget = truth + truth / 20;

    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)])
        .key("brown", KEY)
        .set("keys.brown.budget_usd", &Usd::from_pico(budget).to_exact())
        .set("keys.brown.budget_window", "total")
        .start();
    let mut served = 0;
    for (body, input, output) in &turns {
        east.always(provider::whole(&chat::answer("Done.", *input, *output)));
        served += usize::from(gateway.ask(&Call::chat(body.clone()).key(KEY)).await.status == 200);
    }
    // What the same day comes to where each request holds its bytes as tokens and the whole answer that the model may write.
    let (mut left, mut worst_served) = (budget, 0);
    for (body, input, output) in &turns {
        if cost(body.len() as u64, MOST_OUTPUT) <= left {
            left -= cost(*input, *output);
            worst_served += 1;
        }
    }
    println!(
        "an agent's day of {} requests on {} for {}: {served} served, with worst-case holds {worst_served}",
        turns.len(),
        Usd::from_pico(budget),
        Usd::from_pico(truth)
    );
    assert!(spent(&gateway).await <= Usd::from_pico(budget));
    assert!(served * 100 >= turns.len() * 95, "{served} of {}", turns.len());
    assert!(served > worst_served, "{served} against {worst_served}");
}

/// What the model of [`Site::of`] may write.
const MOST_OUTPUT: u64 = 8_192;
