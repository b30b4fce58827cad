//! Budgets on a real gateway that is not restarted for them: listed, and their limits set, lifted, topped up and given back by an
//! administrator's key, in force when the answer comes, also after a kill.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider};

const ADMIN: &str = "tb-an-administrators-key";
const ANN: &str = "tb-ann";

/// A gateway whose team may spend three answers of half a cent a day.
fn setup(east: &Provider) -> Setup {
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let setup = Setup::of([Site::of(east)]).key("ann", ANN).set("keys.ann.team", "web").set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    let admin = format!("[admins.ann]\nsha256 = \"{}\"\n", to_hex(&hash(ADMIN.as_bytes())));
    fs::write(&path, format!("{admin}[teams.web]\nbudget_usd = 0.0151\nbudget_window = \"day\"\n")).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap())
}

async fn status(gateway: &Gateway) -> u16 {
    gateway.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":2000"#)).key(ANN)).await.status
}

async fn wish(gateway: &Gateway, step: &str, usd: Value) -> (u16, Value) {
    let body = json!({"of": "team", "name": "web", "window": "day", "usd": usd, "why": "as asked"});
    let answer = gateway.operator(&Call::post(&format!("/admin/budgets/{step}"), body.to_string()).key(ADMIN)).await;
    (answer.status, answer.json())
}

async fn done(gateway: &Gateway, step: &str, usd: Value) {
    let (status, told) = wish(gateway, step, usd).await;
    assert_eq!((status, &told["in_force"]), (200, &json!(true)), "{step}: {told}");
}

/// Limit, settled, left and who set it, of the team's day.
async fn told(gateway: &Gateway) -> [Value; 4] {
    let list = gateway.operator(&Call::get("/admin/budgets").key(ADMIN)).await.json();
    let budgets = list["budgets"].as_array().unwrap();
    let team = budgets.iter().find(|budget| budget["of"] == "team").unwrap_or_else(|| panic!("{list}"));
    assert_eq!((&team["name"], &team["held_usd"], &team["window"]), (&json!("web"), &json!("0"), &json!("day")));
    ["limit_usd", "settled_usd", "left_usd", "set_by"].map(|member| team[member].clone())
}

#[tokio::test]
async fn a_limit_that_is_set_binds_at_once_through_a_kill_and_until_it_is_given_back() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).start();
    assert_eq!(status(&gateway).await, 200);
    assert_eq!(told(&gateway).await, [json!("0.0151"), json!("0.005"), json!("0.0101"), json!(null)]);

    done(&gateway, "set", json!(0.006)).await;
    assert_eq!(status(&gateway).await, 402, "a lowered limit binds the next request");
    assert_eq!(told(&gateway).await, [json!("0.006"), json!("0.005"), json!("0.001"), json!("ann")]);
    let again = gateway.kill().start();
    assert_eq!(status(&again).await, 402, "a restart does not give it back");

    done(&again, "top-up", json!("0.005")).await;
    assert_eq!([status(&again).await, status(&again).await], [200, 402], "once");
    done(&again, "lift", json!(null)).await;
    assert_eq!(status(&again).await, 200);
    done(&again, "clear", json!(null)).await;
    assert_eq!(status(&again).await, 402, "three are spent, as the configuration says");
    let rows = again.operator(&Call::get("/admin/budgets/history").key(ADMIN)).await.json();
    let steps: Vec<&str> = rows["rows"].as_array().unwrap().iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["set", "topped_up", "lifted", "cleared"]);
}

#[tokio::test]
async fn a_wish_on_budgets_wants_an_administrator_and_sense() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).start();
    assert_eq!(gateway.operator(&Call::get("/admin/budgets").key(ANN)).await.status, 401);
    assert_eq!(wish(&gateway, "set", json!("much")).await.0, 400);
    assert_eq!(wish(&gateway, "set", json!(-1)).await.0, 400);
    let (status, told) = wish(&gateway, "clear", json!(null)).await;
    assert_eq!((status, &told["error"]["code"]), (422, &json!("budget_not_changed")));
    let reasonless = Call::post("/admin/budgets/set", r#"{"of":"gateway","window":"day","usd":1,"why":" "}"#).key(ADMIN);
    assert_eq!(gateway.operator(&reasonless).await.status, 400);
}

#[tokio::test]
async fn the_command_line_shows_and_sets_budgets() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).start();
    assert_eq!(status(&gateway).await, 200);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
        command.arg("budgets").args(arguments).env_clear().env("TOKENBROKER_ADMIN_KEY", ADMIN);
        let output = command.arg("--url").arg(format!("http://{}", gateway.operations)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let set = ["set", "team:web", "day", "0.006", "--why", "a demo"];
    assert_eq!(run(&set), (Some(0), "team:web day: set, in force\n".to_owned()));
    let (_, listed) = run(&["list"]);
    assert!(listed.contains("team:web") && listed.contains("0.006") && listed.contains("0.005"), "{listed}");
    assert_eq!(status(&gateway).await, 402);
    let (code, history) = run(&["list", "--history"]);
    assert!(code == Some(0) && history.contains("ann  set team:web day: a demo; 0.006 USD"), "{history}");
    assert_eq!(run(&["set", "web", "day", "1"]).0, Some(1));
}
