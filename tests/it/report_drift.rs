//! A provider whose reports leave their usual band: told in the log, in metrics and to administrators, with the money at stake;
//! nothing is learned of it until its reports are back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::provider::whole;
use crate::harness::{Call, Gateway, Provider, Sandbox, Setup, Site, chat, until};

const BACKEND: &str = "sandbox-lotus/lotus-lite";
const ADMIN: &str = "ta-admin-5d2e8f";
const LEFT: &str = "a provider's reports have left their usual band";
const BACK: &str = "a provider's reports are back in their usual band";

/// A gateway in front of it, with an administrator.
fn start(sandbox: &Sandbox) -> Gateway {
    sandbox.gateway().set("admins.ann.sha256", &to_hex(&hash(ADMIN.as_bytes()))).start()
}

/// Asks in prompts of many lengths and two scripts, every other one for a stream.
async fn ask(gateway: &Gateway, requests: u32) {
    for n in 0..requests {
        let sentence = if n % 3 == 0 {
            "渡轮票价会议的纪要，请总结。"
        } else {
            "Summarise the minutes of the meeting on ferry prices. "
        };
        let text = sentence.repeat(usize::try_from(1 + n * 7 % 23).unwrap());
        let body = json!({"model": BACKEND, "stream": n % 2 == 0, "messages": [{"role": "user", "content": text}]});
        assert_eq!(gateway.ask(&Call::chat(body.to_string())).await.status, 200);
    }
}

async fn told(gateway: &Gateway) -> Value {
    let list = gateway.operator(&Call::get("/admin/reports").key(ADMIN)).await.json();
    list["backends"].as_array().unwrap().iter().find(|backend| backend["backend"] == BACKEND).unwrap().clone()
}

/// What is known of its reports, by metric: ratios without those that were not learned yet.
async fn ratios(gateway: &Gateway) -> BTreeMap<String, String> {
    let text = gateway.metrics().await;
    let mine = text.lines().filter(|line| line.starts_with("tokenbroker_report_ratio{") && line.contains(BACKEND));
    mine.filter_map(|line| line.rsplit_once(' ')).map(|(series, value)| (series.to_owned(), value.to_owned())).collect()
}

fn logged(gateway: &Gateway, line: &str) -> usize {
    gateway.setup.log().lines().filter(|logged| logged.contains(line)).count()
}

#[tokio::test]
async fn a_provider_that_begins_to_report_more_is_flagged_until_it_stops() {
    let sandbox = Sandbox::start(&["--fast", "--steady"]);
    let gateway = start(&sandbox);
    let flag = format!(r#"reports_drifted{{backend="{BACKEND}",side="input"}}"#);
    let stake = format!(r#"reports_at_stake_usd{{backend="{BACKEND}"}}"#);
    ask(&gateway, 60).await;
    assert_eq!((logged(&gateway, LEFT), gateway.sample(&flag).await, gateway.sample(&stake).await), (0, None, None));
    let usual = ratios(&gateway).await;
    assert!(usual.len() >= 14, "{usual:?}");

    // From some moment on it reports half as much again.
    sandbox.order(&json!({"provider": "sandbox-lotus", "fault": "scale_usage", "percent": 150})).await;
    ask(&gateway, 20).await;
    assert!(logged(&gateway, LEFT) >= 1, "{}", gateway.setup.log());
    assert_eq!(gateway.sample(&flag).await, Some(1.0));
    let at_stake = gateway.sample(&stake).await.unwrap();
    let flagged = told(&gateway).await;
    assert!(at_stake > 0.0 && flagged["at_stake_usd"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{flagged}");
    let drift = &flagged["drifts"][0];
    assert_eq!((&drift["side"], &drift["way"]), (&json!("input"), &json!("above")));
    let ratio = drift["ratio"].as_f64().unwrap();
    assert!((1.3..1.7).contains(&ratio), "{flagged}");

    let then = ratios(&gateway).await;
    ask(&gateway, 20).await;
    assert_eq!(ratios(&gateway).await, then, "flagged reports teach nothing");
    assert!(gateway.sample(&stake).await.unwrap() > at_stake);

    // The flag outlives the process.
    let (_, setup) = gateway.drain().await;
    let gateway = setup.start();
    assert_eq!(gateway.sample(&flag).await, Some(1.0));
    assert_eq!(ratios(&gateway).await.len(), then.len());

    sandbox.lift_faults().await;
    ask(&gateway, 30).await;
    assert!(logged(&gateway, BACK) >= 1, "{}", gateway.setup.log());
    assert_eq!((gateway.sample(&flag).await, gateway.sample(&stake).await), (None, None));
    assert_eq!(told(&gateway).await["drifts"], json!([]));
}

#[tokio::test]
async fn an_administrator_takes_a_change_for_usual() {
    let sandbox = Sandbox::start(&["--fast", "--steady"]);
    let gateway = start(&sandbox);
    ask(&gateway, 50).await;
    sandbox.order(&json!({"provider": "sandbox-lotus", "fault": "scale_usage", "percent": 200})).await;
    ask(&gateway, 15).await;
    assert_ne!(told(&gateway).await["drifts"], json!([]));

    let wish = |backend: &str| Call::post("/admin/reports/accept", json!({"backend": backend, "why": "new prices"}).to_string());
    assert_eq!(gateway.operator(&wish(BACKEND)).await.status, 401, "strangers do not");
    assert_eq!(gateway.operator(&wish("sandbox-lotus/none").key(ADMIN)).await.status, 422);
    let done = gateway.operator(&wish(BACKEND).key(ADMIN)).await;
    assert_eq!((done.status, &done.json()["result"]), (200, &json!("accepted")));
    ask(&gateway, 50).await;
    let after = told(&gateway).await;
    assert_eq!((&after["drifts"], &after["sides"][0]["reports"]), (&json!([]), &json!(50)), "{after}");
}

#[tokio::test]
async fn some_answers_are_counted_beside_their_reports() {
    let east = Provider::start("east").await;
    east.always(whole(&chat::answer("Hello there.", 30, 6)));
    let gateway = Setup::of([Site::of(&east)]).set("books.counted_per_minute", "600").start();
    let ratio = |side: &str| format!(r#"report_ratio{{backend="east/jade-v3",class="counted",side="{side}"}}"#);
    until("an answer to be counted", async || {
        assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
        gateway.sample(&ratio("output")).await.filter(|told| *told > 1.0)
    })
    .await;
    assert!(gateway.sample(&ratio("input")).await.unwrap() > 1.0);
    let (status, _) = gateway.drain().await;
    assert!(status.success());
}
