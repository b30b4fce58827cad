//! What an administrator makes of prices, on a real gateway that is not restarted for it: a feed's absurd jump is held back
//! until it is approved or rejected, an override holds until its date or until it is ended, and each step is in the audit.
//!
//! The table is the one that ships, with one provider's address changed: its figures are nobody's own.

use std::fs;

use serde_json::{Value, json};
use tokenbroker::clock::SystemClock;

use crate::harness::price_list::{admin, followed, says, until_look};
use crate::harness::{Call, Gateway, Provider, Setup, chat, until};

const SHIPPED: &str = include_str!("../../providers.toml");
const BACKEND: &str = "alibaba/qwen-max";
/// 9 tokens in at 1.6 dollars a million and 4 out at 6.4: 14.4 and 25.6 millionths.
const LISTED: &str = "0.00004";

fn list(input: &str) -> String {
    json!({"prices": [{"provider": "alibaba", "model": "qwen-max", "input": input, "output": "6.4"}]}).to_string()
}

/// A gateway over the shipped table that follows the list and can ask one provider.
fn setup(seller: &Provider, prices: &Provider) -> Setup {
    let there = "base_url = \"https://dashscope-intl.aliyuncs.com/compatible-mode/v1\"";
    let here = format!("base_url = \"http://{}\"", seller.address);
    assert_eq!(SHIPPED.matches(there).count(), 1);
    let setup = followed(Setup::of([]), prices, "").own_table();
    fs::write(setup.path("providers.toml"), SHIPPED.replace(there, &here)).unwrap();
    setup.variable("DASHSCOPE_INTL_API_KEY", &seller.key()).key("web", "tb-web")
}

/// One whose feed says 160 dollars instead of 1.6.
async fn with_a_jump() -> (Provider, Provider, Gateway) {
    let (seller, prices) = (Provider::start("alibaba").await, Provider::start("prices").await);
    says(&prices, "\"jump\"", &list("160"));
    let gateway = setup(&seller, &prices).start();
    until("the jump to be held back", async || (held_back(&gateway).await == Some(1.0)).then_some(())).await;
    (seller, prices, gateway)
}

async fn held_back(gateway: &Gateway) -> Option<f64> {
    gateway.sample("price_quarantined{feed=\"list\"}").await
}

/// Since when the oldest is held back.
async fn waits(gateway: &Gateway) -> Option<f64> {
    gateway.sample("price_quarantined_since_timestamp_seconds{feed=\"list\"}").await
}

async fn quarantine(gateway: &Gateway) -> Vec<Value> {
    let (status, told) = admin(gateway, Call::get("/admin/prices/quarantine?feed=list")).await;
    assert_eq!(status, 200, "{told}");
    told["held"].as_array().unwrap().clone()
}

async fn wish(gateway: &Gateway, what: &str, wish: &Value) -> (u16, Value) {
    admin(gateway, Call::post(&format!("/admin/prices/{what}"), wish.to_string())).await
}

/// One that is done.
async fn done(gateway: &Gateway, what: &str, wished: &Value) -> Value {
    let (status, told) = wish(gateway, what, wished).await;
    assert_eq!(status, 200, "{what}: {told}");
    told
}

async fn cost(gateway: &Gateway) -> String {
    let answer = gateway.ask(&Call::chat(chat::ask(BACKEND)).key("tb-web")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, BACKEND), "{}", answer.text());
    answer.header("x-tokenbroker-cost-usd").to_owned()
}

/// What a request is expected to cost.
async fn quote(gateway: &Gateway) -> Value {
    let told = gateway.ask(&Call::post("/v1/route", chat::ask(BACKEND)).key("tb-web")).await.json();
    told["chosen"]["expected_usd"].clone()
}

/// The audit of the backend: who did what, why, and its figures as `input 1.6 to 160`.
async fn audit(gateway: &Gateway) -> Vec<(String, String, String)> {
    let (_, told) = admin(gateway, Call::get(&format!("/admin/prices/history?backend={BACKEND}"))).await;
    let row = |row: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let figures = row["figures"].as_array().unwrap();
        let figure = |f: &Value| format!("{} {} to {}", text(&f["kind"]), text(&f["before"]), text(&f["after"]));
        let figures: Vec<String> = figures.iter().map(figure).collect();
        (format!("{} {}", text(&row["who"]), text(&row["what"])), text(&row["why"]), figures.join(", "))
    };
    told["rows"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn a_jump_is_held_back_until_an_administrator_approves_it() {
    let (_seller, prices, gateway) = with_a_jump().await;
    let quoted = quote(&gateway).await;
    assert_eq!(cost(&gateway).await, LISTED);
    let held = quarantine(&gateway).await;
    let entry = &held[0];
    assert_eq!((held.len(), &entry["backend"], &entry["reasons"][0][0]), (1, &json!(BACKEND), &json!("jump")), "{entry}");
    assert_eq!(entry["figures"], json!([{"cell": 0, "batch": false, "kind": "input", "after": "160"}]), "{entry}");
    assert!(waits(&gateway).await.is_some_and(|since| since > 1.7e9));

    let approval = json!({"id": entry["id"], "why": "seen on their page"});
    let asked = Call::post("/admin/prices/approve", approval.to_string());
    for stranger in [Call::post("/admin/prices/approve", approval.to_string()), asked.key("tb-web")] {
        let refused = gateway.operator(&stranger).await;
        assert_eq!((refused.status, refused.error("code")), (401, json!("invalid_api_key")));
    }
    assert_eq!((cost(&gateway).await.as_str(), quarantine(&gateway).await.len(), audit(&gateway).await), (LISTED, 1, vec![]));

    let told = done(&gateway, "approve", &approval).await;
    assert_eq!(
        (&told["result"], &told["in_force"], &told["change"]["layer"]),
        (&json!("changed"), &json!(true), &json!("admin"))
    );
    // The very next request: 1,440 and 25.6 millionths.
    assert_eq!(cost(&gateway).await, "0.0014656");
    let (before, after) = (quoted.as_str().unwrap().len(), quote(&gateway).await);
    assert!(before > 0 && after != quoted, "the quote too: {quoted} to {after}");
    assert_eq!((quarantine(&gateway).await.len(), held_back(&gateway).await, waits(&gateway).await), (0, Some(0.0), None));
    let rows = audit(&gateway).await;
    assert_eq!((rows.len(), rows[0].0.as_str(), rows[0].2.as_str()), (1, "admin ann approved", "input 1.6 to 160"));
    assert!(rows[0].1.starts_with("seen on their page (held back from list: input from 1.6 to 160 per million"), "{rows:?}");

    // The feed says what people stand behind now.
    says(&prices, "\"again\"", &format!("{} ", list("160")));
    for _ in 0..2 {
        until_look(&gateway, "unchanged").await;
    }
    assert_eq!((quarantine(&gateway).await.len(), audit(&gateway).await.len()), (0, 1));
    assert_eq!(wish(&gateway, "approve", &approval).await.0, 422, "there is nothing by this id any more");
}

#[tokio::test]
async fn what_is_rejected_does_not_come_back_until_the_feed_says_something_else() {
    let (_seller, prices, gateway) = with_a_jump().await;
    let id = quarantine(&gateway).await[0]["id"].clone();
    let rejection = json!({"id": id, "why": "a slip of theirs"});
    for stranger in [None, Some("tb-web"), Some("tb-nobody")] {
        let call = Call::post("/admin/prices/reject", rejection.to_string());
        let call = if let Some(key) = stranger { call.key(key) } else { call };
        assert_eq!(gateway.operator(&call).await.status, 401, "{stranger:?}");
    }
    assert_eq!(held_back(&gateway).await, Some(1.0));
    let told = done(&gateway, "reject", &rejection).await;
    assert_eq!((&told["result"], &told["held"]["id"], &told["in_force"]), (&json!("rejected"), &id, &json!(false)), "{told}");
    assert_eq!((quarantine(&gateway).await.len(), held_back(&gateway).await, waits(&gateway).await), (0, Some(0.0), None));
    assert_eq!(wish(&gateway, "reject", &rejection).await.0, 422);
    assert_eq!(wish(&gateway, "approve", &rejection).await.0, 422);

    // The list is another document that says the same.
    says(&prices, "\"same\"", &format!("{} ", list("160")));
    for _ in 0..2 {
        until_look(&gateway, "unchanged").await;
    }
    assert_eq!(quarantine(&gateway).await.len(), 0);
    let (_, setup) = gateway.drain().await;
    says(&prices, "\"after a restart\"", &format!("{}  ", list("160")));
    let gateway = setup.start();
    until_look(&gateway, "unchanged").await;
    assert_eq!((held_back(&gateway).await, cost(&gateway).await.as_str()), (Some(0.0), LISTED));

    says(&prices, "\"other\"", &list("150"));
    until("the other price to be held back", async || (held_back(&gateway).await == Some(1.0)).then_some(())).await;
    assert_ne!(quarantine(&gateway).await[0]["id"], id);
    says(&prices, "\"and back\"", &list("160"));
    until("the first one to be news again", async || (quarantine(&gateway).await[0]["id"] == id).then_some(())).await;
    assert_eq!(cost(&gateway).await, LISTED);
    let rows = audit(&gateway).await;
    assert_eq!((rows.len(), rows[0].0.as_str(), rows[0].2.as_str()), (1, "admin ann rejected", "input - to 160"));
    assert!(rows[0].1.starts_with("a slip of theirs (held back from list: "), "{rows:?}");
}

#[tokio::test]
async fn an_override_holds_until_its_date() {
    let (_seller, _prices, gateway) = with_a_jump().await;
    let clock = SystemClock::shared();
    let until = clock.wall() + jiff::SignedDuration::from_secs(8);
    let override_ = json!({"backend": BACKEND, "figures": {"output": 64}, "until": until, "why": "a surcharge"});
    assert_eq!(wish(&gateway, "override", &json!({"backend": BACKEND, "figures": {"output": 64}, "why": "x"})).await.0, 400);
    let told = done(&gateway, "override", &override_).await;
    assert_eq!((&told["result"], &told["in_force"]), (&json!("changed"), &json!(true)), "{told}");
    // 14.4 and 256 millionths, and the list's price for whatever arrives later.
    let mut seen = (0, 0);
    while seen.1 == 0 {
        let asked = clock.wall();
        let cost = cost(&gateway).await;
        if clock.wall() < until {
            assert_eq!(cost, "0.0002704");
            seen.0 += 1;
        } else if asked >= until {
            assert_eq!(cost, LISTED);
            seen.1 += 1;
        }
    }
    assert!(seen.0 > 0, "it was in force before its date");
    let rows = audit(&gateway).await;
    assert_eq!((rows.len(), rows[0].0.as_str(), rows[0].1.as_str()), (1, "admin ann overridden", "a surcharge"));
    assert_eq!(rows[0].2, "output 6.4 to 64");
    let (_, told) = admin(&gateway, Call::get("/admin/prices")).await;
    assert_eq!(told["changes"], json!([]), "what has ended is history");
}

#[tokio::test]
async fn an_override_is_ended_before_its_date() {
    let (_seller, _prices, gateway) = with_a_jump().await;
    let end = json!({"backend": BACKEND, "why": "the surcharge is off"});
    assert_eq!(wish(&gateway, "end", &end).await.0, 422, "nothing is set yet");
    let override_ =
        json!({"backend": BACKEND, "figures": {"output": "64"}, "until": "2099-01-01T00:00:00Z", "why": "a surcharge"});
    for what in ["override", "end"] {
        let stranger = Call::post(&format!("/admin/prices/{what}"), override_.to_string()).key("tb-web");
        assert_eq!(gateway.operator(&stranger).await.status, 401, "{what}");
    }
    assert_eq!(cost(&gateway).await, LISTED);
    done(&gateway, "override", &override_).await;
    assert_eq!(cost(&gateway).await, "0.0002704");
    let told = done(&gateway, "end", &end).await;
    assert_eq!((&told["result"], &told["in_force"]), (&json!("ended"), &json!(true)), "{told}");
    assert_eq!(cost(&gateway).await, LISTED);
    let rows = audit(&gateway).await;
    let told: Vec<(&str, &str)> = rows.iter().map(|(what, why, _)| (what.as_str(), why.as_str())).collect();
    assert_eq!(told, [("admin ann overridden", "a surcharge"), ("admin ann ended", "the surcharge is off")]);
    assert_eq!(held_back(&gateway).await, Some(1.0), "what the feed says waits as before");
}
