//! Virtual keys and limits of budgets that administrators set, the same at every gateway of a fleet within a second, whichever is asked;
//! and whatever is away, what is known goes on and what was shut is shut.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::stores::Postgres;
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider, until};

const ADMIN: &str = "tb-an-administrators-key";
/// In which what one gateway does holds at every other one.
const SECOND: Duration = Duration::from_secs(1);

struct Fleet {
    postgres: Postgres,
    east: Provider,
}

impl Fleet {
    async fn start() -> Option<Self> {
        let (postgres, east) = (Postgres::start().await?, Provider::start("east").await);
        east.always(provider::whole(&chat::answer("Hello.", 1_000, 2_000)));
        Some(Self { postgres, east })
    }

    /// A gateway by itself, with an administrator, a key and a team.
    fn alone(&self) -> Setup {
        let setup =
            Setup::of([Site::of(&self.east)]).key("ann", "tb-ann").set("keys.ann.team", "web").set("reload.watch", "false");
        let path = setup.path("tokenbroker.toml");
        let admin = format!("[admins.ann]\nsha256 = \"{}\"\n", to_hex(&hash(ADMIN.as_bytes())));
        fs::write(&path, format!("{admin}[teams.web]\n")).unwrap();
        setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap())
    }

    fn gateway(&self) -> Gateway {
        self.postgres.for_gateway(self.alone()).start()
    }
}

async fn wish(gateway: &Gateway, step: &str, mut wish: Value) -> (u16, Value) {
    wish["why"] = json!("as asked");
    let answer = gateway.operator(&Call::post(&format!("/admin/{step}"), wish.to_string()).key(ADMIN)).await;
    (answer.status, answer.json())
}

/// A wish that is done; its key, where it made one.
async fn done(gateway: &Gateway, step: &str, wished: Value) -> String {
    let (status, told) = wish(gateway, step, wished).await;
    assert_eq!((status, &told["in_force"]), (200, &json!(true)), "{step}: {told}");
    told["key"].as_str().unwrap_or_default().to_owned()
}

async fn made(gateway: &Gateway, name: &str) -> String {
    done(gateway, "keys/new", json!({"name": name, "settings": {"team": "web"}})).await
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":2000"#)).key(key)).await.status
}

/// Waits until a key is answered so.
async fn answered(gateway: &Gateway, key: &str, expected: u16) {
    until("what another gateway did to a key", async || (status(gateway, key).await == expected).then_some(())).await;
}

/// The same, of what was done just now.
async fn heard(gateway: &Gateway, key: &str, expected: u16) {
    let done = tokio::time::Instant::now();
    answered(gateway, key, expected).await;
    assert!(done.elapsed() <= SECOND, "{:?}", done.elapsed());
}

async fn told(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.operator(&Call::get(path).key(ADMIN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What was done to keys, as a gateway tells it.
async fn steps(gateway: &Gateway) -> Vec<String> {
    let rows = told(gateway, "/admin/keys/history").await;
    let step = |row: &Value| format!("{} {}", row["step"].as_str().unwrap(), row["key"].as_str().unwrap());
    rows["rows"].as_array().unwrap().iter().map(step).collect()
}

/// Every key is the same at both.
async fn agreed(one: &Gateway, two: &Gateway) {
    let same = async || (told(one, "/admin/keys").await == told(two, "/admin/keys").await).then_some(());
    until("both to have the same keys", same).await;
    let same = async || (steps(one).await == steps(two).await).then_some(());
    until("both to tell the same history", same).await;
}

/// Waits until a gateway says whether keys are shared.
async fn shares(gateway: &Gateway, well: bool) {
    let told = async || (gateway.readiness().await.contains("are not shared") != well).then_some(());
    until("the readiness to tell it", told).await;
}

#[tokio::test]
async fn what_is_done_to_a_key_at_one_gateway_holds_at_the_other_within_a_second() {
    let Some(fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let first = made(&one, "bot").await;
    assert_eq!(status(&one, &first).await, 200, "at once");
    heard(&two, &first, 200).await;
    let second = done(&two, "keys/rotate", json!({"name": "bot", "grace_seconds": 0})).await;
    assert_eq!([status(&two, &first).await, status(&two, &second).await], [401, 200]);
    heard(&one, &second, 200).await;
    assert_eq!(status(&one, &first).await, 401);
    done(&two, "keys/revoke", json!({"name": "bot"})).await;
    heard(&one, &second, 401).await;
    let other = made(&one, "other").await;
    heard(&two, &other, 200).await;
    done(&one, "keys/expire", json!({"name": "other"})).await;
    heard(&two, &other, 401).await;

    agreed(&one, &two).await;
    assert_eq!(steps(&two).await, ["created bot", "rotated bot", "revoked bot", "created other", "expires other"]);
    let (code, refused) = wish(&two, "keys/new", json!({"name": "other"})).await;
    assert_eq!((code, &refused["error"]["code"]), (422, &json!("key_not_changed")), "{refused}");
    // One that joins has it all, and a start without the store too.
    let three = fleet.gateway();
    agreed(&one, &three).await;
    let texts = "SELECT coalesce(string_agg(entry, ''), '') || coalesce((SELECT string_agg(line, '') FROM tokenbroker.shelf_lines), '') \
        FROM tokenbroker.shelf";
    let there: String = fleet.postgres.ask(texts).await[0].get(0);
    assert!(there.contains("\"bot\"") && [&first, &second, &other].iter().all(|key| !there.contains(*key)), "{there}");
}

#[tokio::test]
async fn without_the_store_known_keys_are_served_a_revocation_holds_and_nothing_else_is_changed() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let kept = made(&one, "kept").await;
    let shut = made(&two, "shut").await;
    answered(&two, &kept, 200).await;
    answered(&one, &shut, 200).await;

    fleet.postgres.stop();
    assert_eq!([status(&one, &kept).await, status(&two, &kept).await], [200, 200]);
    for (step, wished) in [
        ("keys/new", json!({"name": "new"})),
        ("keys/rotate", json!({"name": "kept"})),
        ("budgets/set", json!({"of": "team", "name": "web", "window": "day", "usd": 1})),
    ] {
        let (code, refused) = wish(&one, step, wished).await;
        assert_eq!((code, &refused["error"]["code"]), (503, &json!("fleet_unavailable")), "{step}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("nothing was changed"), "{refused}");
    }
    let (code, revoked) = wish(&one, "keys/revoke", json!({"name": "shut"})).await;
    assert_eq!((code, &revoked["in_force"], &revoked["shared"]), (200, &json!(true), &json!(false)), "{revoked}");
    assert_eq!([status(&one, &shut).await, status(&two, &shut).await], [401, 200], "the other has not heard of it");
    shares(&one, false).await;
    // It is not forgotten by a start, nor are the keys.
    let one = one.kill().start();
    let two = two.kill().start();
    assert_eq!([status(&one, &shut).await, status(&one, &kept).await, status(&two, &kept).await], [401, 200, 200]);

    fleet.postgres.resume().await;
    answered(&two, &shut, 401).await;
    agreed(&one, &two).await;
    shares(&one, true).await;
    assert_eq!(steps(&one).await, ["created kept", "created shut", "revoked shut"]);
    let new = made(&one, "new").await;
    heard(&two, &new, 200).await;
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_takes_up_what_was_revoked_meanwhile() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let key = made(&one, "bot").await;
    heard(&two, &key, 200).await;
    // Down, as the store sees it.
    let down = two.kill();
    done(&one, "keys/revoke", json!({"name": "bot"})).await;
    fleet.postgres.stop();
    let two = down.start();
    assert_eq!(status(&two, &key).await, 200, "it has not heard of it");
    fleet.postgres.resume().await;
    answered(&two, &key, 401).await;
    // Its connections stand and nothing answers: whoever asks is told in time.
    let other = made(&two, "other").await;
    fleet.postgres.cut_off();
    let (code, refused) = wish(&one, "keys/new", json!({"name": "late"})).await;
    assert_eq!((code, &refused["error"]["code"]), (503, &json!("fleet_unavailable")), "{refused}");
    assert_eq!(wish(&two, "keys/revoke", json!({"name": "other"})).await.0, 200);
    assert_eq!(status(&two, &other).await, 401);
    fleet.postgres.go_on();
    answered(&one, &other, 401).await;
    agreed(&one, &two).await;
}

#[tokio::test]
async fn a_gateway_that_was_down_asks_who_was_revoked_meanwhile_before_it_serves() {
    let Some(fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let key = made(&one, "bot").await;
    heard(&two, &key, 200).await;
    let down = two.kill();
    done(&one, "keys/revoke", json!({"name": "bot"})).await;
    let began = tokio::time::Instant::now();
    let two = down.start();
    // On a machine that is too busy it goes on without an answer, for a moment.
    let had_to_wait_no_longer = began.elapsed() < SECOND / 2;
    let first = status(&two, &key).await;
    assert!(first == 401 || !had_to_wait_no_longer, "the first that it is asked: {first}");
    answered(&two, &key, 401).await;
}

#[tokio::test]
async fn what_two_gateways_do_to_one_key_at_once_ends_in_one_state() {
    let Some(fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let (first, second) =
        tokio::join!(wish(&one, "keys/new", json!({"name": "same"})), wish(&two, "keys/new", json!({"name": "same"})));
    let mut codes = [first.0, second.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 422], "a name is given once: {first:?} {second:?}");
    let rotate = async |gateway| wish(gateway, "keys/rotate", json!({"name": "same", "grace_seconds": 0})).await;
    let rotated = futures_util::future::join_all((0..8).map(|number| rotate(if number % 2 == 0 { &one } else { &two }))).await;
    assert!(rotated.iter().all(|(code, _)| *code == 200), "{rotated:?}");
    agreed(&one, &two).await;
    // Its book has it a moment before it is in force.
    let one_lets_in = async || {
        let mut let_in = Vec::new();
        for (_, told) in &rotated {
            let key = told["key"].as_str().unwrap();
            let_in.push((status(&one, key).await, status(&two, key).await));
        }
        let_in.sort_unstable();
        (let_in[0] == (200, 200) && let_in[1..].iter().all(|codes| *codes == (401, 401))).then_some(())
    };
    until("the last text alone to let in, at both", one_lets_in).await;
    let steps = steps(&one).await;
    assert_eq!((steps.len(), steps.iter().filter(|step| *step == "rotated same").count()), (9, 8), "{steps:?}");

    let top_up = async |gateway| {
        let wished = json!({"of": "team", "name": "web", "window": "day", "usd": "0.5"});
        done(gateway, "budgets/top-up", wished).await
    };
    done(&one, "budgets/set", json!({"of": "team", "name": "web", "window": "day", "usd": 1})).await;
    futures_util::future::join_all((0..4).map(|number| top_up(if number % 2 == 0 { &one } else { &two }))).await;
    for gateway in [&one, &two] {
        until("every top-up", async || (limit(gateway).await == json!("3")).then_some(())).await;
    }
}

/// What the team may spend a day, by a gateway's word.
async fn limit(gateway: &Gateway) -> Value {
    let list = told(gateway, "/admin/budgets").await;
    let team = list["budgets"].as_array().unwrap().iter().find(|budget| budget["of"] == "team").cloned();
    team.map_or(Value::Null, |team| team["limit_usd"].clone())
}

#[tokio::test]
async fn a_limit_that_is_set_at_one_gateway_binds_at_the_other_until_it_is_given_back() {
    let Some(fleet) = Fleet::start().await else { return };
    let (one, two) = (fleet.gateway(), fleet.gateway());
    let of = |usd: Value| json!({"of": "team", "name": "web", "window": "day", "usd": usd});
    done(&one, "budgets/set", of(json!(0.001))).await;
    heard(&two, "tb-ann", 402).await;
    done(&two, "budgets/lift", of(json!(null))).await;
    heard(&one, "tb-ann", 200).await;
    done(&two, "budgets/set", of(json!(0.002))).await;
    heard(&one, "tb-ann", 402).await;
    let two = two.kill().start();
    assert_eq!(status(&two, "tb-ann").await, 402);
    done(&one, "budgets/clear", of(json!(null))).await;
    heard(&two, "tb-ann", 200).await;
    let (code, refused) = wish(&two, "budgets/clear", of(json!(null))).await;
    assert_eq!((code, &refused["error"]["code"]), (422, &json!("budget_not_changed")), "{refused}");
    let rows = told(&two, "/admin/budgets/history").await;
    let steps: Vec<&str> = rows["rows"].as_array().unwrap().iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["set", "lifted", "set", "cleared"]);
}

#[tokio::test]
async fn a_gateway_that_joins_brings_its_keys_and_overwrites_nothing() {
    let Some(fleet) = Fleet::start().await else { return };
    let alone = fleet.alone().start();
    let (own, same) = (made(&alone, "own").await, made(&alone, "same").await);
    let one = fleet.gateway();
    let theirs = made(&one, "same").await;
    let two = fleet.postgres.for_gateway(alone.kill()).start();
    answered(&one, &own, 200).await;
    answered(&two, &theirs, 200).await;
    answered(&two, &same, 401).await;
    assert_eq!([status(&two, &own).await, status(&one, &same).await], [200, 401]);
    agreed(&one, &two).await;

    // A store that lost everything gets it again, from whoever has it.
    // Gateways that ask it meanwhile may be in the way.
    let emptied = async || fleet.postgres.try_ask("DROP SCHEMA IF EXISTS tokenbroker CASCADE").await;
    until("the store to be emptied", emptied).await;
    let three = fleet.gateway();
    answered(&three, &own, 200).await;
    answered(&three, &theirs, 200).await;
    agreed(&one, &three).await;
    done(&three, "keys/revoke", json!({"name": "own"})).await;
    answered(&two, &own, 401).await;
    // Put back to a state of before the revocation: that stays.
    fleet
        .postgres
        .ask("UPDATE tokenbroker.shelf SET entry = regexp_replace(entry, '\"revoked\":\"[^\"]*\"', '\"revoked\":null')")
        .await;
    let three = three.kill().start();
    agreed(&one, &three).await;
    for gateway in [&one, &two, &three] {
        answered(gateway, &own, 401).await;
    }
}
