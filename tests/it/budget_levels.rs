//! Promise 2 above a key: budgets of teams, projects and the gateway, several windows at once. One hold is taken of all of
//! them or of none, and a refusal names the one that is empty.

use std::fs;

use serde_json::{Value, json};
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;
use tokenbroker::units::Usd;

use crate::harness::rows;
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Whole, chat, crowd_of, provider};

const ANN: &str = "tb-ann";
const BEN: &str = "tb-ben";

/// A gateway with the keys `ann` and `ben`. Its provider asks for one dollar per million tokens in, two out.
fn two_keys(east: &Provider) -> Setup {
    Setup::of([Site::of(east)]).key("ann", ANN).key("ben", BEN)
}

/// The same, and both are of the team `web`.
fn team_of_two(east: &Provider) -> Setup {
    let setup = two_keys(east);
    setup.set("keys.ann.team", "web").set("keys.ben.team", "web")
}

fn up_to(key: &str, tokens: u64) -> Call {
    Call::chat(chat::ask_with("auto", &format!(r#""max_tokens":{tokens}"#))).key(key)
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// Whose budget a refusal names, in which window, and what it says is left.
#[track_caller]
fn refused(answer: &Whole, status: u16) -> (String, String, Usd) {
    assert_eq!((answer.status, answer.error("code").as_str()), (status, Some("insufficient_quota")), "{}", answer.text());
    let told = answer.error("tokenbroker");
    let whose = [&told["budget_of"], &told["budget_name"]].map(|part| part.as_str().unwrap_or_default()).join(" ");
    (whose, told["window"].as_str().unwrap().to_owned(), usd(told["left_usd"].as_str().unwrap()))
}

fn spent(gateway: &Gateway) -> Usd {
    rows::attempts(&gateway.setup.data()).iter().map(|row| Usd::from_pico(row.cost.into())).sum()
}

#[tokio::test]
async fn two_keys_that_race_for_their_teams_budget_stay_within_it_together() {
    let east = Provider::start("east").await;
    let gateway = team_of_two(&east)
        .set("keys.ann.budget_usd", "0.5")
        .set("teams.web.budget_usd", "0.01618")
        .set("teams.web.budget_window", "total")
        .start();
    // 9 tokens in and 400 out: the budget bears 20 such answers, of whichever key.
    let longest = provider::whole(&chat::answer("Hello.", 9, 400));
    let (ann, ben) = (up_to(ANN, 400), up_to(BEN, 400));
    let Crowd { answered, refused: told } = crowd_of(&gateway, &east, &[&ann, &ben].repeat(30), longest).await;

    assert!((18..=20).contains(&answered.len()) && answered.len() + told.len() == 60, "{} served", answered.len());
    assert!(spent(&gateway) <= usd("0.01618"), "{}", spent(&gateway));
    for answer in &told {
        let (whose, window, _) = refused(answer, 402);
        assert_eq!((whose.as_str(), window.as_str()), ("team web", "total"));
    }
    let keys: std::collections::BTreeSet<String> = rows::requests(&gateway.setup.data()).into_iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), 2, "both were served");
}

#[tokio::test]
async fn a_refusal_names_the_budget_that_refills_last_and_holds_nothing() {
    let east = Provider::start("east").await;
    let gateway = two_keys(&east)
        .set("keys.ann.project", "search")
        .set("keys.ann.budgets", "{ hour = 0.009, week = 0.02 }")
        .set("keys.ann.budget_zone", "Asia/Kolkata")
        .set("projects.search.budget_usd", "0.012")
        .set("gateway.budget_usd", "0.018")
        .set("gateway.budget_window", "total")
        .start();
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    // 0.005 each: the second is too much for the hour, for nobody else.
    assert_eq!(gateway.ask(&up_to(ANN, 2_000)).await.status, 200);
    let hour = gateway.ask(&up_to(ANN, 2_000)).await;
    assert_eq!(refused(&hour, 402), ("key ann".to_owned(), "hour".to_owned(), usd("0.004")));
    assert!(hour.error("tokenbroker")["refills_at"].as_str().unwrap().ends_with(":30:00Z"), "{}", hour.text());
    // Too much for hour, project and gateway.
    let all = gateway.ask(&up_to(ANN, 7_000)).await;
    assert_eq!(refused(&all, 402), ("gateway ".to_owned(), "total".to_owned(), usd("0.013")));
    assert!(all.text().contains("the budget of the gateway, $0.018000 in total, has $0.013000 left"), "{}", all.text());
    // Ben pays from the gateway's only, and all that was refused holds nothing of it.
    assert_eq!(gateway.ask(&up_to(BEN, 6_000)).await.status, 200);
    let left = gateway.ask(&up_to(BEN, 6_000)).await;
    assert_eq!(refused(&left, 402), ("gateway ".to_owned(), "total".to_owned(), usd("0.008")));

    let standing = gateway.ask(&Call::get("/v1/usage").key(ANN)).await.json();
    let told: Vec<Value> = standing["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| json!([b["of"], b["name"], b["window"], b["spent_usd"], b["held_usd"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["key", "ann", "hour", "0.005", "0"]),
            json!(["key", "ann", "week", "0.005", "0"]),
            json!(["project", "search", "month", "0.005", "0"]),
            json!(["gateway", null, "total", "0.01", "0"]),
        ]
    );
}

#[tokio::test]
async fn after_a_kill_a_team_has_spent_what_its_keys_have() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let gateway = team_of_two(&east).set("teams.web.budgets", "{ week = 0.012, total = 0.02 }").start();
    for key in [ANN, BEN] {
        assert_eq!(gateway.ask(&up_to(key, 2_000)).await.status, 200);
    }
    let before = refused(&gateway.ask(&up_to(ANN, 2_000)).await, 402);
    assert_eq!(before, ("team web".to_owned(), "week".to_owned(), usd("0.002")));

    let again = gateway.kill().start();

    assert_eq!(refused(&again.ask(&up_to(BEN, 2_000)).await, 402), before);
    let total = refused(&again.ask(&up_to(BEN, 8_000)).await, 402);
    assert_eq!(total, ("team web".to_owned(), "total".to_owned(), usd("0.01")));
}

#[tokio::test]
async fn a_teams_spend_is_not_forgotten_when_its_key_is_removed_and_the_gateway_restarts() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let setup = Setup::of([Site::of(&east)]).key("ann", ANN).set("keys.ann.team", "web").set("keys.ann.project", "search");
    let path = setup.path("tokenbroker.toml");
    let groups = "[teams.web]\nbudget_usd = 0.012\nbudget_window = \"week\"\n\
                  [projects.search]\nbudget_usd = 0.008\nbudget_window = \"total\"\n";
    let ben = format!("[keys.ben]\nsha256 = \"{}\"\nteam = \"web\"\nproject = \"search\"\n", to_hex(&hash(BEN.as_bytes())));
    fs::write(&path, format!("{groups}{ben}")).unwrap();
    let gateway = setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start();
    assert_eq!(gateway.ask(&up_to(BEN, 2_000)).await.status, 200);

    let killed = gateway.kill();
    fs::write(&path, groups).unwrap();
    let again = killed.start();

    assert_eq!(again.ask(&up_to(BEN, 2_000)).await.status, 401);
    let project = refused(&again.ask(&up_to(ANN, 2_000)).await, 402);
    assert_eq!(project, ("project search".to_owned(), "total".to_owned(), usd("0.003")));
    let team = refused(&again.kill().set("projects.search.budget_usd", "9").start().ask(&up_to(ANN, 6_000)).await, 402);
    assert_eq!(team, ("team web".to_owned(), "week".to_owned(), usd("0.007")));
}

#[tokio::test]
async fn a_key_that_joins_a_team_brings_what_it_spent_and_a_new_team_counts_what_is_open() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let setup = two_keys(&east).set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    fs::write(&path, "").unwrap();
    let gateway = setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start();
    for key in [ANN, BEN] {
        assert_eq!(gateway.ask(&up_to(key, 2_000)).await.status, 200);
    }
    let team = "[teams.web]\nbudget_usd = 0.012\nbudget_window = \"total\"\n";
    let reload = async |members: &str| {
        fs::write(&path, format!("{team}{members}")).unwrap();
        let report = gateway.operator(&Call::post("/reload", "")).await;
        assert_eq!((report.status, &report.json()["result"]), (200, &"applied".into()), "{}", report.text());
    };
    reload("[keys.ann]\nteam = \"web\"\n").await;
    assert_eq!(refused(&gateway.ask(&up_to(ANN, 4_000)).await, 402).2, usd("0.007"));
    reload("[keys.ann]\nteam = \"web\"\n[keys.ben]\nteam = \"web\"\n").await;
    assert_eq!(refused(&gateway.ask(&up_to(BEN, 4_000)).await, 402).2, usd("0.002"));
    reload("[keys.ben]\nteam = \"web\"\n").await;
    assert_eq!(refused(&gateway.ask(&up_to(BEN, 4_000)).await, 402).2, usd("0.002"), "who leaves does not refill it");
    assert_eq!(gateway.ask(&up_to(ANN, 4_000)).await.status, 200);
}

#[tokio::test]
async fn a_gateway_without_keys_has_a_budget_and_an_operator_may_want_a_429() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let gateway = Setup::of([Site::of(&east)])
        .set("gateway.budget_usd", "0.006")
        .set("gateway.budget_window", "day")
        .set("limits.over_budget_status", "429")
        .start();
    let body = chat::ask_with("auto", r#""max_tokens":2000"#);
    assert_eq!(gateway.chat(&body).await.status, 200);
    let over = gateway.chat(&body).await;
    assert_eq!(refused(&over, 429), ("gateway ".to_owned(), "day".to_owned(), usd("0.001")));
    let wait: u64 = over.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(over.header("x-should-retry"), if wait <= 60 { "true" } else { "false" });
    assert_eq!(gateway.sample("rejections_total{reason=\"over_budget\"}").await, Some(1.0));
}
