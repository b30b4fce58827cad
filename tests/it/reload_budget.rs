//! Promise 2 across reloads: a bound that comes, changes, moves to another window or goes while requests are open counts
//! what they hold and what was spent before.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;
use tokenbroker::units::Usd;

use crate::harness::{Answer, Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider, rows, until};

const KEY: &str = "tb-team";

/// The configuration with one key of these settings.
fn config(settings: &str) -> String {
    format!("[keys.team]\nsha256 = \"{}\"\n{settings}\n", to_hex(&hash(KEY.as_bytes())))
}

fn start(east: &Provider, settings: &str) -> Gateway {
    let setup = Setup::of([Site::of(east)]).set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    fs::write(&path, config(settings)).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start()
}

async fn reload(gateway: &Gateway, text: &str) {
    fs::write(gateway.setup.path("tokenbroker.toml"), text).unwrap();
    let report = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!((report.status, &report.json()["result"]), (200, &"applied".into()), "{}", report.text());
}

/// Opens a stream that is held open, at two dollars per million tokens of output: 0.008 and its input are set aside.
async fn open(gateway: &Gateway, east: &Provider, gate: &Gate) -> Answer {
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let mut answer = gateway.call(&Call::chat(chat::ask_with("auto", r#""max_tokens":4000,"stream":true"#)).key(KEY)).await;
    assert_eq!(answer.status, 200);
    answer.read_past("Hel").await;
    answer
}

async fn up_to(gateway: &Gateway, tokens: u64) -> Whole {
    gateway.ask(&Call::chat(chat::ask_with("auto", &format!(r#""max_tokens":{tokens}"#))).key(KEY)).await
}

/// What a refusal says is left of which limit.
#[track_caller]
fn left_of(refusal: &Whole, limit: &str) -> Usd {
    assert_eq!(refusal.status, 402, "{}", refusal.text());
    let told = refusal.error("tokenbroker");
    assert_eq!(told["limit_usd"], Value::from(limit));
    Usd::parse(told["left_usd"].as_str().unwrap()).unwrap()
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// What the books say was spent, and what was held for each attempt.
fn booked(gateway: &Gateway) -> (Usd, Vec<Usd>) {
    let rows = rows::attempts(&gateway.setup.data());
    let amount = |pico: i64| Usd::from_pico(pico.into());
    (rows.iter().map(|row| amount(row.cost)).sum(), rows.iter().map(|row| amount(row.held)).collect())
}

#[tokio::test]
async fn a_raised_and_a_lowered_budget_count_the_open_holds() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let gateway = start(&east, "budget_usd = 0.009\nbudget_window = \"total\"");
    let first = open(&gateway, &east, &gate).await;
    let before = left_of(&up_to(&gateway, 4_000).await, "0.009");

    reload(&gateway, &config("budget_usd = 0.017\nbudget_window = \"total\"")).await;
    let second = open(&gateway, &east, &gate).await;
    let raised = left_of(&up_to(&gateway, 4_000).await, "0.017");
    reload(&gateway, &config("budget_usd = 0.001\nbudget_window = \"total\"")).await;
    assert_eq!(left_of(&up_to(&gateway, 1).await, "0.001"), Usd::ZERO, "more is held than may be spent now");

    gate.open();
    for stream in [first, second] {
        let rest = stream.whole().await;
        assert!(rest.complete && rest.text().ends_with(chat::DONE), "a lower budget cuts nobody off: {}", rest.text());
    }
    gateway.all_booked(2).await;
    let (spent, held) = booked(&gateway);
    assert_eq!((before, raised), (usd("0.009") - held[0], usd("0.017") - held[0] - held[1]));
    assert_eq!(spent, usd("0.000034"));
    assert_eq!(left_of(&up_to(&gateway, 4_000).await, "0.001"), usd("0.001") - spent);
    reload(&gateway, &config("budget_usd = 0.00002\nbudget_window = \"total\"")).await;
    assert_eq!(left_of(&up_to(&gateway, 1).await, "0.00002"), Usd::ZERO, "more is spent than may be");
}

#[tokio::test]
async fn a_key_that_gets_a_budget_counts_what_it_spent_and_what_is_open() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let gateway = start(&east, "");
    assert_eq!(up_to(&gateway, 100).await.status, 200);
    let stream = open(&gateway, &east, &gate).await;

    reload(&gateway, &config("budget_usd = 0.01\nbudget_window = \"month\"")).await;
    let left = left_of(&up_to(&gateway, 4_000).await, "0.01");

    gate.open();
    stream.whole().await;
    gateway.all_booked(2).await;
    let (spent, held) = booked(&gateway);
    assert_eq!((left, spent), (usd("0.01") - usd("0.000017") - held[1], usd("0.000034")));
    assert_eq!(left_of(&up_to(&gateway, 8_000).await, "0.01"), usd("0.01") - spent);
    reload(&gateway, &config("")).await;
    assert_eq!(up_to(&gateway, 8_000).await.status, 200, "without a budget nothing is refused");
}

#[tokio::test]
async fn another_window_is_read_back_from_the_books() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let gateway = start(&east, "budget_usd = 0.009\nbudget_window = \"day\"");
    for _ in 0..3 {
        assert_eq!(up_to(&gateway, 100).await.status, 200);
    }
    let stream = open(&gateway, &east, &gate).await;
    for (window, limit) in [("month", "0.0085"), ("total", "0.0084"), ("day", "0.0083")] {
        reload(&gateway, &config(&format!("budget_usd = {limit}\nbudget_window = \"{window}\""))).await;
        let left = left_of(&up_to(&gateway, 4_000).await, limit);
        assert!(left < usd(limit) - usd("0.008") - usd("0.000051"), "{window}: {left:?}");
    }
    gate.open();
    stream.whole().await;
    assert_eq!(left_of(&up_to(&gateway, 4_200).await, "0.0083"), usd("0.0083") - usd("0.000068"));
}

#[tokio::test]
async fn a_key_that_was_gone_for_a_while_comes_back_with_what_it_spent() {
    let (east, gate) = (Provider::start("east").await, Gate::shut());
    let gateway = start(&east, "budget_usd = 0.009\nbudget_window = \"total\"");
    let stream = open(&gateway, &east, &gate).await;
    let other = format!("[keys.other]\nsha256 = \"{}\"\n", to_hex(&hash(b"tb-other")));
    reload(&gateway, &other).await;
    assert_eq!(up_to(&gateway, 1).await.status, 401);
    reload(&gateway, &config("budget_usd = 0.009\nbudget_window = \"total\"")).await;
    let left = left_of(&up_to(&gateway, 4_000).await, "0.009");
    gate.open();
    stream.whole().await;
    gateway.all_booked(1).await;
    let (spent, held) = booked(&gateway);
    assert_eq!(left, usd("0.009") - held[0], "its open stream still holds");
    assert_eq!(left_of(&up_to(&gateway, 8_000).await, "0.009"), usd("0.009") - spent);
}

/// One key, under many clients and many reloads that move, lift, remove and bring back its bound. Each answer costs nearly
/// what was held for it, so that a second budget beside the first, or one that forgot something, would spend too much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_a_bound_however_often_it_is_reloaded() {
    const LIMIT: &str = "0.02";
    const CLIENTS: usize = 16;
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 100)));
    let bound = |window: &str| config(&format!("budget_usd = {LIMIT}\nbudget_window = \"{window}\""));
    let tighter = config("budget_usd = 0.01\nbudget_window = \"total\"");
    let gone = format!("[keys.other]\nsha256 = \"{}\"\n", to_hex(&hash(b"tb-other")));
    let states = [bound("month"), tighter, bound("day"), gone, bound("total")];
    let gateway = start(&east, &format!("budget_usd = {LIMIT}\nbudget_window = \"total\""));

    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = join_all((0..CLIENTS).map(async |_| {
        while !stop.load(Ordering::Relaxed) {
            let answer = up_to(&gateway, 100).await;
            assert!([200, 401, 402].contains(&answer.status), "{}", answer.text());
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let operator = async {
        for number in 0..40 {
            reload(&gateway, &states[number % states.len()]).await;
            let seen = asked.load(Ordering::Relaxed);
            until("clients to ask", async || (asked.load(Ordering::Relaxed) >= seen + 4).then_some(())).await;
        }
        let refused = async || (up_to(&gateway, 100).await.status == 402).then_some(());
        until("the budget to be used up", refused).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(clients, operator);

    gateway.all_booked(east.calls().len()).await;
    let (spent, held) = booked(&gateway);
    assert!(spent <= usd(LIMIT), "{spent} of {LIMIT}");
    assert!(spent + held[0] > usd("0.01"), "it was not even asked for: {spent}");
    // At rest, another window is read from the books to the last digit.
    reload(&gateway, &bound("day")).await;
    assert_eq!(left_of(&up_to(&gateway, 8_192).await, LIMIT), usd(LIMIT) - spent);
}
