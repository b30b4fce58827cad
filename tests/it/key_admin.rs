//! Virtual keys on a real gateway that is not restarted for them: made, rotated, expired and revoked by an administrator, in force when
//! the answer comes, with the settings that keys of the configuration have.

use std::fs;
use std::process::Command;

use jiff::ToSpan;
use serde_json::{Value, json};
use tokenbroker::clock::SystemClock;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider, until};

const ADMIN: &str = "tb-an-administrators-key";

fn config(more: &str) -> String {
    format!("[admins.ann]\nsha256 = \"{}\"\n[teams.web]\n{more}", to_hex(&hash(ADMIN.as_bytes())))
}

/// A gateway with an administrator and a team, of which nothing is watched.
fn start(east: &Provider, more: &str) -> Gateway {
    east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
    let setup = Setup::of([Site::of(east)]).set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    fs::write(&path, config(more)).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start()
}

async fn wish(gateway: &Gateway, step: &str, mut wish: Value) -> (u16, Value) {
    wish["why"] = json!("as asked");
    let call = Call::post(&format!("/admin/keys/{step}"), wish.to_string()).key(ADMIN);
    let answer = gateway.operator(&call).await;
    (answer.status, answer.json())
}

/// A wish that is done and in force; its key, where it made one.
async fn done(gateway: &Gateway, step: &str, wished: Value) -> String {
    let (status, told) = wish(gateway, step, wished).await;
    assert_eq!((status, &told["in_force"]), (200, &json!(true)), "{step}: {told}");
    told["key"].as_str().unwrap_or_default().to_owned()
}

async fn told(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.operator(&Call::get(path).key(ADMIN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":2000"#)).key(key)).await.status
}

#[tokio::test]
async fn a_key_lives_from_its_making_to_its_revocation_with_what_it_may() {
    let east = Provider::start("east").await;
    let gateway = start(&east, "budget_usd = 0.011\nbudget_window = \"month\"\n");
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200, "no key is asked for yet");

    let settings = json!({"team": "web", "budgets": {"day": 0.0051}, "models": ["*"], "prefer": "balanced"});
    let first = done(&gateway, "new", json!({"name": "bot", "settings": settings})).await;
    assert!(first.starts_with("tb-") && first.len() == 67, "256 bits");
    assert_eq!((status(&gateway, &first).await, gateway.chat(&chat::ask("auto")).await.status), (200, 401));
    assert_eq!(status(&gateway, &first).await, 402, "its day is used up");

    let second = done(&gateway, "rotate", json!({"name": "bot", "grace_seconds": 600})).await;
    assert_eq!((status(&gateway, &first).await, status(&gateway, &second).await), (402, 402));
    let third = done(&gateway, "rotate", json!({"name": "bot", "grace_seconds": 0})).await;
    assert_eq!(
        [status(&gateway, &first).await, status(&gateway, &second).await, status(&gateway, &third).await],
        [401, 401, 402]
    );

    let again = gateway.kill().start();
    assert_eq!((status(&again, &third).await, again.chat(&chat::ask("auto")).await.status), (402, 401));
    assert_eq!(done(&again, "revoke", json!({"name": "bot"})).await, "");
    assert_eq!(status(&again, &third).await, 401);
    let list = told(&again, "/admin/keys").await;
    assert_eq!((&list["keys"][0]["name"], &list["keys"][0]["state"]), (&json!("bot"), &json!("revoked")));
    let rows = told(&again, "/admin/keys/history").await["rows"].as_array().unwrap().clone();
    let steps: Vec<&str> = rows.iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["created", "rotated", "rotated", "revoked"]);
    assert!(rows.iter().all(|row| row["by"] == "ann" && row["why"] == "as asked"));

    // What it spent counts for its team, now and after a restart: 0.005 of 0.011 are gone.
    let other = done(&again, "new", json!({"name": "other", "settings": "team = \"web\"\n"})).await;
    assert_eq!((status(&again, &other).await, status(&again, &other).await), (200, 402));
    let third_life = again.kill().start();
    assert_eq!(status(&third_life, &other).await, 402, "open to nobody, and the team's money is gone");
    let (data, log) = (third_life.setup.data().join("keys"), third_life.setup.log());
    let kept: String = ["keys.json", "audit.jsonl"].iter().map(|name| fs::read_to_string(data.join(name)).unwrap()).collect();
    assert!([&first, &second, &third, &other].iter().all(|key| !kept.contains(*key) && !log.contains(*key)));
}

#[tokio::test]
async fn what_ends_by_itself_ends_without_anybody_asking() {
    let east = Provider::start("east").await;
    let gateway = start(&east, "");
    let clock = SystemClock::shared();
    let soon = clock.wall().checked_add(1500.milliseconds()).unwrap();
    let brief = done(&gateway, "new", json!({"name": "brief", "expires": soon})).await;
    let rotated = done(&gateway, "new", json!({"name": "rotated"})).await;
    let kept = done(&gateway, "rotate", json!({"name": "rotated", "grace_seconds": 1})).await;
    for key in [&brief, &rotated] {
        until("a key to end", async || (status(&gateway, key).await == 401).then_some(())).await;
    }
    assert_eq!(status(&gateway, &kept).await, 200);
    assert!(clock.wall() >= soon, "not a moment too early");
    done(&gateway, "expire", json!({"name": "rotated"})).await;
    assert_eq!(status(&gateway, &kept).await, 401);
}

#[tokio::test]
async fn a_revocation_does_not_wait_for_a_configuration_that_is_broken() {
    let east = Provider::start("east").await;
    let gateway = start(&east, "");
    let key = done(&gateway, "new", json!({"name": "bot", "settings": {"team": "web"}})).await;
    fs::write(gateway.setup.path("tokenbroker.toml"), config("budget_usd = \"much\"\n")).unwrap();
    assert_eq!(gateway.operator(&Call::post("/reload", "")).await.status, 422);
    assert_eq!(status(&gateway, &key).await, 200);
    done(&gateway, "revoke", json!({"name": "bot"})).await;
    assert_eq!(status(&gateway, &key).await, 401);
    // A key whose team is gone lets nobody in, and is told.
    let orphan = done(&gateway, "new", json!({"name": "orphan", "settings": {"team": "web"}})).await;
    let without = config("").replace("[teams.web]\n", "");
    fs::write(gateway.setup.path("tokenbroker.toml"), without).unwrap();
    assert_eq!(gateway.operator(&Call::post("/reload", "")).await.status, 200);
    assert_eq!(status(&gateway, &orphan).await, 401);
    let list = told(&gateway, "/admin/keys").await;
    assert!(list["keys"][1]["problems"][0].as_str().unwrap().contains("there is no [teams.web]"), "{list}");
}

#[tokio::test]
async fn only_an_administrator_makes_keys_and_only_such_that_a_configuration_would_bear() {
    let east = Provider::start("east").await;
    let fixed = format!("[keys.fixed]\nsha256 = \"{}\"\n", to_hex(&hash(b"tb-fixed")));
    let gateway = start(&east, &fixed);
    let bare = json!({"name": "bot", "why": "x"}).to_string();
    let by = async |key: &str| gateway.operator(&Call::post("/admin/keys/new", bare.clone()).key(key)).await.status;
    assert_eq!((by("tb-fixed").await, by("").await), (401, 401));
    let check = async |wished: Value, code: &str, part: &str| {
        let (status, answer) = wish(&gateway, "new", wished).await;
        assert_eq!(answer["error"]["code"], code, "{status} {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{answer}");
    };
    check(json!({"name": "fixed"}), "key_not_changed", "keys of the configuration are changed there").await;
    check(json!({"name": "a b"}), "key_not_changed", "cannot name a key").await;
    check(json!({"name": "bot", "settings": {"budgt_usd": 1}}), "key_not_changed", "did you mean").await;
    check(json!({"name": "bot", "settings": {"providers": ["nobody"]}}), "key_not_changed", "the table knows no provider").await;
    check(json!({"name": "bot", "settings": 7}), "invalid_value", "settings: an object").await;
    check(json!({"name": "bot", "quality": "best"}), "invalid_value", "unknown field").await;
    assert_eq!(told(&gateway, "/admin/keys").await["keys"], json!([]));
    // One that the configuration gets later wins over the virtual one of its name.
    let bot = done(&gateway, "new", json!({"name": "bot"})).await;
    let both = fixed.replace("fixed]", "bot]");
    fs::write(gateway.setup.path("tokenbroker.toml"), config(&both)).unwrap();
    assert_eq!(gateway.operator(&Call::post("/reload", "")).await.status, 200);
    assert_eq!((status(&gateway, "tb-fixed").await, status(&gateway, &bot).await), (200, 401));
    assert_eq!(told(&gateway, "/admin/keys").await["keys"][0]["state"], "shadowed");
    let plain = Gateway::of([Site::of(&east)]);
    assert_eq!(plain.operator(&Call::get("/admin/keys").key(ADMIN)).await.status, 404, "without an administrator it is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_looks_after_keys() {
    let east = Provider::start("east").await;
    let gateway = start(&east, "");
    let url = format!("http://{}", gateway.operations);
    let keys = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
        command.arg("keys").args(arguments).args(["--url", &url]).env_clear().env("TOKENBROKER_ADMIN_KEY", ADMIN);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (made, out) = keys(&["new", "bot", "--virtual", "--set", "team=web", "--set", "requests_per_minute=5", "--json"]);
    let key = serde_json::from_str::<Value>(&out).unwrap()["key"].as_str().unwrap().to_owned();
    assert!(made && status(&gateway, &key).await == 200, "{out}");
    let (listed, out) = keys(&["list"]);
    assert!(listed && out.contains("bot  valid") && out.contains("requests_per_minute = 5"), "{out}");
    let (rotated, out) = keys(&["rotate", "bot", "--grace", "0", "--why", "it leaked"]);
    let next = out.lines().next().unwrap().to_owned();
    assert!(rotated && out.contains("bot: rotated, in force"), "{out}");
    assert_eq!((status(&gateway, &key).await, status(&gateway, &next).await), (401, 200));
    assert!(keys(&["revoke", "bot"]).0);
    assert_eq!(status(&gateway, &next).await, 401);
    let (told, out) = keys(&["list", "--history"]);
    assert!(told && out.contains("ann  rotated bot: it leaked"), "{out}");
    let (refused, out) = keys(&["revoke", "bot"]);
    assert!(!refused && out.contains("the key \"bot\" is revoked and stays so"), "{out}");
}

/// Whatever `[keys.NAME]` may say, a key that is made while the gateway runs may too, and the levels above bound it.
#[tokio::test]
async fn a_virtual_key_has_limits_and_default_wishes_and_its_team_bounds_it() {
    let east = Provider::start("east").await;
    let gateway = start(&east, "providers = [\"east\"]\n");
    let settings = json!({
        "team": "web", "quality": "economy", "may_train": true, "strict": true, "prefer": "fastest",
        "wishes": {"max_cost_usd": 0.0001},
    });
    let key = done(&gateway, "new", json!({"name": "bot", "settings": settings})).await;
    assert_eq!(status(&gateway, &key).await, 400, "by default nothing is cheap enough");
    let says = chat::ask_with("auto", r#""max_tokens":2000,"tokenbroker":{"max_cost_usd":1}"#);
    assert_eq!(gateway.ask(&Call::chat(says).key(&key)).await.status, 200);
    let (status, told) =
        wish(&gateway, "new", json!({"name": "far", "settings": {"team": "web", "exclude_providers": ["east"]}})).await;
    assert_eq!((status, &told["error"]["code"]), (422, &json!("key_not_changed")));
    assert!(told["error"]["message"].as_str().unwrap().contains("nothing is left"), "{told}");
}
