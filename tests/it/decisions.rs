//! `GET /v1/decisions/{id}`: what was decided is explained afterwards as it was then, whatever has changed since, with what
//! became of it, and to nobody but the key that asked.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider, until};

async fn explained(gateway: &Gateway, answer: &Whole, key: &str) -> Value {
    let path = format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path).key(key)).await;
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()
}

/// What an answer's own headers say of the decision is what is explained.
fn check(answer: &Whole, told: &Value) {
    let decision = &told["decision"];
    assert_eq!(told["id"], answer.header("x-tokenbroker-request-id"));
    assert_eq!((&told["object"], &told["as_booked"]), (&json!("tokenbroker.decision"), &json!(true)), "{told:#}");
    assert_eq!(decision["reason"], answer.header("x-tokenbroker-decision"), "{told:#}");
    assert_eq!(told["outcome"]["quoted_usd"], decision["chosen"]["expected_usd"]);
    if !answer.header("x-tokenbroker-cost-usd").is_empty() {
        assert_eq!(told["outcome"]["cost_usd"], answer.header("x-tokenbroker-cost-usd"));
    }
    let answered = told["outcome"]["attempts"].as_array().unwrap().iter().find(|attempt| attempt["ending"] == "complete");
    assert_eq!(answered.unwrap()["backend"], answer.header("x-tokenbroker-backend"));
}

/// The same but for the instant, which a dry run has of its own.
fn without_instant(mut decision: Value) -> Value {
    decision.as_object_mut().unwrap().remove("at").expect("an instant");
    decision
}

/// `west` is the cheaper one, in the EU; `east` caches; `south` has no key. Keys are `web`, and `batch` with limits.
async fn three() -> (Provider, Provider, Setup) {
    let (west, east, south) = (Provider::start("west").await, Provider::start("east").await, Provider::start("south").await);
    let sites = [
        Site::of(&west).price("0.5", "1").region("EU"),
        Site::of(&east).cached("0.1").caches_from(5).quality(80),
        Site::of(&south).price("0.1", "0.1").without_key(),
    ];
    let setup = Setup::of(sites).key("web", "tb-web").key("batch", "tb-batch");
    (west, east, setup.set("keys.batch.exclude_providers", "[\"west\"]").set("keys.batch.max_cost_usd", "0.01"))
}

#[tokio::test]
async fn a_decision_is_explained_as_its_dry_run_was() {
    let (_west, _east, setup) = three().await;
    let gateway = setup.set("routing.baseline", "east/jade-v3").start();
    for (key, body) in [
        ("tb-web", chat::ask("auto")),
        ("tb-web", chat::ask_stream("jade")),
        ("tb-web", chat::ask_with("auto", r#""max_tokens":77,"n":2,"tokenbroker":{"quality":"premium","max_cost_usd":0.5}"#)),
        (
            "tb-web",
            chat::ask_with("auto:standard", r#""tokenbroker":{"providers":["east","west"],"race":2,"regions":["EU","US"]}"#),
        ),
        ("tb-web", chat::ask_with("east/jade-v3", r#""response_format":{"type":"json_object"}"#)),
        ("tb-batch", chat::ask("auto")),
    ] {
        let dry = gateway.ask(&Call::post("/v1/route", body.clone()).key(key)).await;
        let answer = gateway.ask(&Call::chat(body.clone()).key(key)).await;
        assert_eq!((dry.status, answer.status), (200, 200), "{body}: {} {}", dry.text(), answer.text());
        let told = explained(&gateway, &answer, key).await;
        check(&answer, &told);
        assert_eq!(without_instant(told["decision"].clone()), without_instant(dry.json()), "{body}");
    }
}

#[tokio::test]
async fn health_and_warm_caches_of_then_are_part_of_it() {
    let (west, east, setup) = three().await;
    let gateway = setup.start();
    let in_session = |body: String| Call::chat(body).key("tb-web").header("x-tokenbroker-session", "s1");
    // The first is answered by the dearer one after a failure; then its cache is warm and the cheaper one cools down.
    west.always(provider::status(500, &[], &chat::error("down")));
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(gateway.ask(&in_session(chat::ask("auto"))).await);
    }
    west.always(provider::whole(&chat::answer("Back.", 9, 4)));
    assert!(west.calls().len() < 7 && east.calls().len() == 7, "its breaker opened");
    let mut told = Vec::new();
    for answer in &answers {
        let one = explained(&gateway, answer, "tb-web").await;
        check(answer, &one);
        told.push(one);
    }
    let failed = &told[0]["outcome"]["attempts"];
    assert_eq!(
        (&failed[0]["ending"], &failed[0]["http_status"], &failed[0]["cost"]["usd"]),
        (&json!("failed"), &json!(500), &json!("0"))
    );
    assert_eq!((&failed[1]["ending"], &failed[1]["provenance"]), (&json!("complete"), &json!("reported")));
    assert_eq!(failed[1]["cost"]["currency"], "USD");
    let last = &told[6]["decision"];
    assert_eq!(last["rejected"][0]["rule"], "cooling_down", "{last:#}");
    assert!(last["chosen"]["tokens"]["cached_input"].as_u64() > Some(0), "{last:#}");
    assert_eq!(told[0]["decision"]["chosen"]["backend"], "west/jade-v3");
    assert_eq!(told[0]["request"]["session"], "s1");
}

#[tokio::test]
async fn a_request_under_way_can_be_looked_at() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let gate = Gate::shut();
    let rest = vec![Step::Wait(gate.clone())].into_iter().chain(provider::stream(&chat::hello()[2..]).into_iter().skip(1));
    east.next(provider::then(provider::begun(&chat::hello()[..2]), rest));
    let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    answer.read_past("Hel").await;
    let id = answer.header("x-tokenbroker-request-id").to_owned();
    let path = format!("/v1/decisions/{id}");

    let told = gateway.ask(&Call::get(&path)).await.json();
    assert_eq!((&told["outcome"]["state"], &told["outcome"]["open_attempts"]), (&json!("under_way"), &json!(1)), "{told:#}");
    assert_eq!((&told["decision"]["chosen"]["backend"], &told["as_booked"]), (&json!("east/jade-v3"), &json!(true)));

    gate.open();
    let ended = answer.whole().await;
    assert!(!ended.text().is_empty());
    let told = gateway.ask(&Call::get(&path)).await.json();
    assert_eq!((&told["outcome"]["state"], &told["outcome"]["open_attempts"]), (&json!("answered"), &json!(0)), "{told:#}");
}

#[tokio::test]
async fn a_key_cannot_tell_anothers_request_from_none() {
    let (_west, _east, setup) = three().await;
    let gateway = setup.start();
    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await;
    let id = answer.header("x-tokenbroker-request-id");
    let mut none = id.to_owned();
    none.replace_range(30.., "000000");

    let anothers = gateway.ask(&Call::get(&format!("/v1/decisions/{id}")).key("tb-batch")).await;
    let nobodys = gateway.ask(&Call::get(&format!("/v1/decisions/{none}")).key("tb-batch")).await;
    assert_eq!((anothers.status, nobodys.status), (404, 404));
    assert_eq!(anothers.error("code"), "decision_not_found");
    assert_eq!(anothers.text().replace(id, &none), nobodys.text());
    assert_eq!(gateway.ask(&Call::get(&format!("/v1/decisions/{id}"))).await.status, 401);

    assert_eq!(gateway.operator(&Call::get(&format!("/decisions/{id}"))).await.json()["request"]["key"], "web");
    let malformed = gateway.ask(&Call::get("/v1/decisions/chatcmpl-1").key("tb-web")).await;
    assert_eq!((malformed.status, malformed.error("code")), (400, json!("invalid_request_id")));
    assert!(malformed.error("message").as_str().is_some_and(|told| told.contains("x-tokenbroker-request-id")));
}

#[tokio::test]
async fn after_a_kill_and_with_another_table_in_force_it_is_explained_as_it_was() {
    let (west, east) = (Provider::start("west").await, Provider::start("east").await);
    let gateway = Gateway::of([Site::of(&west).price("0.5", "1"), Site::of(&east)]);
    let dry = gateway.ask(&Call::post("/v1/route", chat::ask("auto"))).await.json();
    let answer = gateway.chat(&chat::ask("auto")).await;
    let killed = gateway.kill();

    // West has become the dearer one, and a third one is the cheapest of all.
    let north = Provider::start("north").await;
    let sites = [Site::of(&north).price("0.1", "0.1"), Site::of(&west).price("5", "10"), Site::of(&east)];
    let again = Setup::of(sites).set("books.directory", &killed.data().to_string_lossy()).start();

    let told = explained(&again, &answer, "").await;
    check(&answer, &told);
    assert_eq!(without_instant(told["decision"].clone()), without_instant(dry));
    assert_ne!(told["decision"]["price_book"], again.ask(&Call::post("/v1/route", chat::ask("auto"))).await.json()["price_book"]);
    assert_eq!(tables(&again.setup.data()).len(), 2);
}

#[tokio::test]
async fn a_table_that_was_reloaded_away_still_explains_what_it_decided() {
    let (west, east) = (Provider::start("west").await, Provider::start("east").await);
    let gateway = Gateway::of([Site::of(&west).price("0.5", "1"), Site::of(&east)]);
    let before = gateway.chat(&chat::ask("auto")).await;
    let path = gateway.setup.path("providers.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("input = 0.5", "input = 50")).unwrap();
    assert_eq!(gateway.operator(&Call::post("/reload", "")).await.status, 200);
    let after = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(before.header("x-tokenbroker-backend"), "west/jade-v3");
    assert_eq!(after.header("x-tokenbroker-backend"), "east/jade-v3");
    assert_eq!(tables(&gateway.setup.data()).len(), 2, "{:?}", tables(&gateway.setup.data()));
    for answer in [before, after] {
        check(&answer, &explained(&gateway, &answer, "").await);
    }
}

fn tables(data: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(data.join("tables")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn facts_kept(data: &Path) -> i64 {
    let books = Connection::open(data.join("ledger.sqlite3")).unwrap();
    books.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_and_what_it_cost_is_not() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let (old, young) = (gateway.chat(&chat::ask("auto")).await, gateway.chat(&chat::ask("auto")).await);
    let (_, setup) = gateway.drain().await;
    // The first request as if it had been made in 2020, by a table that nobody uses any more.
    let books = Connection::open(setup.data().join("ledger.sqlite3")).unwrap();
    let (id, aged) = (old.header("x-tokenbroker-request-id").replace('-', ""), "016f5e66e80070008000000000000001");
    for (table, column) in [("decisions", "request"), ("requests", "id"), ("attempts", "request")] {
        let sql = format!("UPDATE {table} SET {column} = unhex('{aged}') WHERE {column} = unhex('{id}')");
        assert_eq!(books.execute(&sql, []).unwrap(), 1, "{table}");
    }
    drop(books);
    // Everything is folded; from the journal the request would be booked again under its own id.
    for entry in fs::read_dir(setup.data()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("journal-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::write(setup.data().join("tables").join("old_000000000000.toml"), "schema = 1").unwrap();

    let again = setup.start();
    let data = again.setup.data();
    until("the old decision to be forgotten", async || (facts_kept(&data) == 1).then_some(())).await;
    until("the old table to be deleted", async || (tables(&data).len() == 1).then_some(())).await;
    let gone = again.operator(&Call::get("/decisions/016f5e66-e800-7000-8000-000000000001")).await;
    assert_eq!((gone.status, gone.error("code")), (410, json!("decision_forgotten")));
    assert!(gone.error("message").as_str().is_some_and(|told| told.contains("books.decision_days = 30")), "{}", gone.text());
    check(&young, &explained(&again, &young, "").await);
    let (_, setup) = again.drain().await;

    let none = setup.set("books.decision_days", "0").start();
    until("every decision to be forgotten", async || (facts_kept(&data) == 0 && tables(&data).is_empty()).then_some(())).await;
    let unkept = none.chat(&chat::ask("auto")).await;
    check(&unkept, &explained(&none, &unkept, "").await);
    assert_eq!((facts_kept(&data), tables(&data).len()), (0, 0));
    let (_, setup) = none.drain().await;
    let none = setup.start();
    let gone = none.ask(&Call::get(&format!("/v1/decisions/{}", unkept.header("x-tokenbroker-request-id")))).await;
    assert_eq!(gone.status, 410, "{}", gone.text());
    assert_eq!(none.ask(&Call::get("/v1/usage")).await.json()["total"]["requests"], 3, "what they cost is kept");
}

#[tokio::test]
async fn a_share_of_the_decisions_is_kept_and_the_others_are_told_from_memory() {
    let (_west, _east, setup) = three().await;
    // Without the page, too: the memory is there for what is not kept.
    let gateway = setup.set("books.decision_sample_percent", "50").set("server.dashboard", "false").start();
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await);
    }
    for answer in &answers {
        check(answer, &explained(&gateway, answer, "tb-web").await);
        let path = format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id"));
        assert_eq!(gateway.ask(&Call::get(&path).key("tb-batch")).await.status, 404, "another key's");
    }
    let (_, setup) = gateway.drain().await;
    let kept = usize::try_from(facts_kept(&setup.data())).unwrap();
    // Ids are random: outside of this once in a hundred thousand runs of so fair a coin.
    assert!((7..=33).contains(&kept), "{kept} of 40");

    let again = setup.start();
    let mut found = 0;
    for answer in &answers {
        let path = format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id"));
        let told = again.ask(&Call::get(&path).key("tb-web")).await;
        if told.status == 200 {
            check(answer, &told.json());
            found += 1;
        } else {
            assert_eq!((told.status, told.error("code")), (410, json!("decision_forgotten")));
            assert!(told.error("message").as_str().is_some_and(|why| why.contains("decision_sample_percent")), "{}", told.text());
        }
    }
    assert_eq!(found, kept, "those that were kept, and no others");
}
