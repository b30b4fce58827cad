//! Promise 5: a bad table never replaces a good one. Configuration, table and keys are read again while the gateway runs,
//! whole or not at all, and an operator is told what is wrong.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::site::table;
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, chat, provider, rows, until};

/// A gateway that looks at its files often, with a configuration of this text.
fn setup(site: Site, config: &str) -> Setup {
    let setup = Setup::of([site]).set("reload.interval_ms", "20");
    let path = setup.path("tokenbroker.toml");
    fs::write(&path, config).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap())
}

/// One that only does what it is asked to.
fn asked_only(site: Site, config: &str) -> Setup {
    setup(site, config).set("reload.watch", "false")
}

/// Asks for a reload, as an operator does.
async fn reload(gateway: &Gateway) -> (u16, Value) {
    let report = gateway.operator(&Call::post("/reload", "")).await;
    (report.status, report.json())
}

/// Asks for a reload that has to be refused, and answers its problems.
async fn refused(gateway: &Gateway) -> String {
    let (status, report) = reload(gateway).await;
    assert_eq!((status, &report["result"]), (422, &Value::from("refused")), "{report}");
    let problems: Vec<&str> = report["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect();
    problems.join("\n")
}

async fn reloads(gateway: &Gateway, result: &str) -> Option<f64> {
    gateway.sample(&format!("reloads_total{{result=\"{result}\"}}")).await
}

/// Waits until this many reloads ended so.
async fn until_reloads(gateway: &Gateway, result: &str, count: f64) {
    until(&format!("{count} reloads to be {result}"), async || {
        reloads(gateway, result).await.is_some_and(|found| found >= count).then_some(())
    })
    .await;
}

fn keyed(key: &str) -> Call {
    Call::chat(chat::ask("auto")).key(key)
}

fn key_lines(name: &str, key: &str, more: &str) -> String {
    format!("[keys.{name}]\nsha256 = \"{}\"\n{more}\n", to_hex(&hash(key.as_bytes())))
}

#[tokio::test]
async fn a_changed_table_is_in_force_for_the_next_request() {
    let east = Provider::start("east").await;
    let gateway = setup(Site::of(&east), "").start();
    let before = gateway.chat(&chat::ask("auto")).await;
    let loaded = gateway.sample("config_loaded_timestamp_seconds").await.unwrap();

    let dearer = table(&[Site::of(&east).price("3", "6")]).replace("\"test\"", "\"2026-12-01\"");
    fs::write(gateway.setup.path("providers.toml"), dearer).unwrap();
    until_reloads(&gateway, "applied", 1.0).await;
    let after = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((before.header("x-tokenbroker-cost-usd"), after.header("x-tokenbroker-cost-usd")), ("0.000017", "0.000051"));
    let versions = [gateway.row_of(&before).await.book_version, gateway.row_of(&after).await.book_version];
    assert!(versions[0].starts_with("test+") && versions[1].starts_with("2026-12-01+"), "{versions:?}");
    let info = |version: &str| format!("price_book_info{{version=\"{version}\"}}");
    assert_eq!(gateway.sample(&info(&versions[0])).await, None);
    assert_eq!(gateway.sample(&info(&versions[1])).await, Some(1.0));
    assert_eq!(gateway.sample("price_book_timestamp_seconds").await, Some(1_796_083_200.0));
    assert!(gateway.sample("config_loaded_timestamp_seconds").await.unwrap() >= loaded);
    assert_eq!((gateway.readiness().await.as_str(), reloads(&gateway, "applied").await), ("ready\n", Some(1.0)));
    assert!(gateway.setup.log().contains("prices_changed=1"), "{}", gateway.setup.log());
}

#[tokio::test]
async fn an_editor_that_renames_and_a_touch_are_told_apart() {
    let east = Provider::start("east").await;
    let gateway = setup(Site::of(&east), "").start();
    let path = gateway.setup.path("providers.toml");
    let text = fs::read_to_string(&path).unwrap();
    // The same text in another file: looked at, read, and nothing changes.
    fs::write(path.with_extension("new"), &text).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    until_reloads(&gateway, "unchanged", 1.0).await;
    fs::write(path.with_extension("new"), text.replace("input = 1", "input = 5")).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    until_reloads(&gateway, "applied", 1.0).await;
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-cost-usd"), "0.000053");
}

#[tokio::test]
async fn a_bad_table_leaves_the_good_one_in_force_says_why_and_heals() {
    let east = Provider::start("east").await;
    let gateway = setup(Site::of(&east), "").start();
    let path = gateway.setup.path("providers.toml");
    let good = fs::read_to_string(&path).unwrap();
    let cut = good[..good.find("tokenizer").unwrap() + 4].to_owned();
    let bad: [(&str, Option<String>, &str); 8] = [
        ("a syntax error", Some(good.replace("[[backends]]", "[[backends]")), "valid TOML"),
        ("a wrong value", Some(good.replace("\"never\"", "\"nevr\"")), "did you mean \"never\"?"),
        ("a negative price", Some(good.replace("input = 1", "input = -1")), "backends[0].prices[0].input"),
        ("cut in the middle", Some(cut), "providers.toml:"),
        ("empty", Some(String::new()), "schema: missing"),
        ("of a newer gateway", Some(good.replace("schema = 1", "schema = 9")), "it needs a newer tokenbroker"),
        (
            "without anybody on",
            Some(good.replace("EAST_API_KEY", "OTHER_API_KEY")),
            "no provider is on: looked for OTHER_API_KEY",
        ),
        ("gone", None, "cannot read"),
    ];
    let version = gateway.row_of(&gateway.chat(&chat::ask("auto")).await).await.book_version;
    for ((what, text, problem), number) in bad.into_iter().zip(1_u32..) {
        let written = text.is_some();
        text.map_or_else(|| fs::remove_file(&path).unwrap(), |text| fs::write(&path, text.replace("1_", "1")).unwrap());
        until_reloads(&gateway, "refused", number.into()).await;
        let told = gateway.readiness().await;
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some("ready"), "{what}");
        let second = lines.next().unwrap();
        assert!(second.starts_with("reload refused at 20") && second.ends_with(&format!(", still on {version}:")), "{second}");
        assert!(told.contains(problem), "{what}: {told}");
        let public = gateway.ask(&Call::get("/readyz")).await;
        let outside = "ready\nthe last reload was refused: /readyz of the operations listener says why\n";
        assert_eq!((public.status, public.text()), (200, outside), "strangers are told of no file");
        assert!(gateway.sample("reload_problems").await.unwrap() >= 1.0, "{what}");
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, gateway.row_of(&answer).await.book_version), (200, version.clone()), "{what}");
        assert!(gateway.setup.log().contains("reload refused: what was in force stays"), "{what}, written: {written}");
        fs::write(&path, &good).unwrap();
        until_reloads(&gateway, "unchanged", number.into()).await;
        assert_eq!(
            (gateway.readiness().await.as_str(), gateway.sample("reload_problems").await),
            ("ready\n", Some(0.0)),
            "{what}"
        );
    }
    assert_eq!(reloads(&gateway, "applied").await, Some(0.0));
}

/// A folder as Kubernetes mounts a `ConfigMap`: the files are links through `..data`, which one rename swaps.
fn mount(folder: &Path, state: &str, files: &[(&str, &str)]) {
    let inside = folder.join(state);
    fs::create_dir_all(&inside).unwrap();
    for (name, text) in files {
        fs::write(inside.join(name), text).unwrap();
        if !folder.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    symlink(state, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_config_map_is_swapped_both_files_at_once() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east)]).own_table().set("reload.interval_ms", "20");
    let folder = setup.path("mounted");
    let state = |prices: (&str, &str), alias: &str| {
        (format!("[aliases]\n{alias} = \"jade\"\n"), table(&[Site::of(&east).price(prices.0, prices.1)]))
    };
    let (config, prices) = state(("1", "2"), "old");
    mount(&folder, "..2026_11_22_one", &[("tokenbroker.toml", &config), ("providers.toml", &prices)]);
    let gateway = setup
        .variable("TOKENBROKER_CONFIG", folder.join("tokenbroker.toml").to_str().unwrap())
        .set("providers_file.path", folder.join("providers.toml").to_str().unwrap())
        .start();
    assert_eq!(gateway.chat(&chat::ask("old")).await.header("x-tokenbroker-cost-usd"), "0.000017");

    let (config, prices) = state(("3", "6"), "new");
    mount(&folder, "..2026_11_22_two", &[("tokenbroker.toml", &config), ("providers.toml", &prices)]);
    fs::remove_dir_all(folder.join("..2026_11_22_one")).unwrap();
    until_reloads(&gateway, "applied", 1.0).await;

    assert_eq!(gateway.chat(&chat::ask("new")).await.header("x-tokenbroker-cost-usd"), "0.000051");
    assert_eq!(gateway.chat(&chat::ask("old")).await.status, 404);
    assert_eq!((reloads(&gateway, "applied").await, reloads(&gateway, "refused").await), (Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn sighup_reads_again_whether_something_has_changed_or_not() {
    let east = Provider::start("east").await;
    let gateway = asked_only(Site::of(&east), "").start();
    gateway.signal(Signal::HUP);
    until_reloads(&gateway, "unchanged", 1.0).await;
    fs::write(gateway.setup.path("tokenbroker.toml"), "[aliases]\nfast = \"jade\"\n").unwrap();
    assert_eq!(gateway.chat(&chat::ask("fast")).await.status, 404, "nobody looks, and nobody has asked");
    gateway.signal(Signal::HUP);
    until_reloads(&gateway, "applied", 1.0).await;
    assert_eq!(gateway.chat(&chat::ask("fast")).await.status, 200);
    let (status, _) = gateway.drain().await;
    assert_eq!(status.code(), Some(0));
}

#[test]
fn sighup_does_not_end_the_demo() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    let mut demo = demo.args(["demo", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(demo.stdout.take().unwrap());
    let mut first = String::new();
    told.read_line(&mut first).unwrap();
    assert!(serde_json::from_str::<Value>(&first).unwrap()["request"].is_string(), "{first}");
    let process = Pid::from_child(&demo);
    kill_process(process, Signal::HUP).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_operator_without_signals_asks_and_is_told() {
    let east = Provider::start("east").await;
    let gateway = asked_only(Site::of(&east), "").start();
    let (status, report) = reload(&gateway).await;
    assert_eq!((status, &report["result"], &report["problems"]), (200, &"unchanged".into(), &serde_json::json!([])));
    fs::write(gateway.setup.path("tokenbroker.toml"), key_lines("web", "tb-web", "budget_usd = -1") + "[aliasses]\n").unwrap();
    let problems = refused(&gateway).await;
    assert!(
        problems.contains("keys.web.budget_usd: this is no amount") && problems.contains("did you mean \"aliases\"?"),
        "{problems}"
    );
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200, "it is as open as it was");
    fs::write(gateway.setup.path("tokenbroker.toml"), key_lines("web", "tb-web", "")).unwrap();
    let (status, report) = reload(&gateway).await;
    assert_eq!(
        (status, &report["result"], &report["changes"]["keys_added"]),
        (200, &"applied".into(), &serde_json::json!(["web"]))
    );
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 401);
    let wrong = gateway.operator(&Call::get("/reload")).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    assert_eq!(gateway.ask(&Call::post("/reload", "")).await.status, 404, "clients cannot");
}

#[tokio::test]
async fn a_removed_key_is_refused_while_its_open_stream_ends_and_is_booked() {
    let east = Provider::start("east").await;
    let gate = Gate::shut();
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let both = key_lines("gone", "tb-gone", "budget_usd = 1") + &key_lines("stays", "tb-stays", "");
    let gateway = setup(Site::of(&east), &both).start();
    let mut open = gateway.call(&Call::chat(chat::ask_stream("auto")).key("tb-gone")).await;
    open.read_past("Hel").await;

    let without = key_lines("stays", "tb-stays", "") + &key_lines("fresh", "tb-fresh", "");
    fs::write(gateway.setup.path("tokenbroker.toml"), without).unwrap();
    until_reloads(&gateway, "applied", 1.0).await;

    assert_eq!(gateway.ask(&keyed("tb-gone")).await.status, 401);
    assert_eq!(gateway.ask(&keyed("tb-stays")).await.status, 200);
    assert_eq!(gateway.ask(&keyed("tb-fresh")).await.status, 200);
    gate.open();
    let rest = open.whole().await;
    assert!(rest.complete && rest.text().ends_with(chat::DONE), "{}", rest.text());
    gateway.all_booked(3).await;
    let booked = rows::requests(&gateway.setup.data());
    let ended: Vec<(&str, &str, i64)> = booked.iter().map(|row| (row.key.as_str(), row.outcome.as_str(), row.output)).collect();
    assert_eq!(ended, [("gone", "answered", 4), ("stays", "answered", 4), ("fresh", "answered", 4)]);
    for key in ["gone", "stays", "fresh"] {
        let series = format!("cost_usd_total{{key=\"{key}\",model=\"jade\",provider=\"east\"}}");
        assert!(gateway.sample(&series).await.is_some(), "{series}");
    }
}

#[tokio::test]
async fn keys_that_lie_in_files_are_rotated_there() {
    let east = Provider::start("east").await;
    let hashed = |key: &str| to_hex(&hash(key.as_bytes()));
    let setup = setup(Site::of(&east).without_key(), "[keys.web]\nsha256_file = \"web.hash\"\n");
    let (provider_key, gateway_key) = (setup.path("east.key"), setup.path("web.hash"));
    fs::write(&provider_key, "sk-east-first-91c05be24d68").unwrap();
    fs::write(&gateway_key, hashed("tb-first")).unwrap();
    let gateway = setup.variable("EAST_API_KEY_FILE", provider_key.to_str().unwrap()).start();
    assert_eq!(gateway.ask(&keyed("tb-first")).await.status, 200);

    fs::write(&provider_key, "sk-east-second-91c05be24d68\n").unwrap();
    until_reloads(&gateway, "applied", 1.0).await;
    assert_eq!(gateway.ask(&keyed("tb-first")).await.status, 200);
    fs::write(&gateway_key, hashed("tb-second")).unwrap();
    until_reloads(&gateway, "applied", 2.0).await;

    assert_eq!((gateway.ask(&keyed("tb-first")).await.status, gateway.ask(&keyed("tb-second")).await.status), (401, 200));
    let sent: Vec<String> = east.calls().iter().map(|call| call.header("authorization").to_owned()).collect();
    let bearer = |key: &str| format!("Bearer sk-east-{key}-91c05be24d68");
    assert_eq!(sent, [bearer("first"), bearer("second"), bearer("second")]);
    fs::remove_file(&provider_key).unwrap();
    until_reloads(&gateway, "refused", 1.0).await;
    let told = gateway.readiness().await;
    assert!(told.contains("EAST_API_KEY_FILE: cannot read") && !told.contains("91c05be24d68"), "{told}");
    assert!(!gateway.setup.log().contains("91c05be24d68"));
}

#[tokio::test]
async fn a_setting_that_needs_a_restart_refuses_the_whole_reload() {
    let east = Provider::start("east").await;
    let gateway = asked_only(Site::of(&east), "").start();
    let config = gateway.setup.path("tokenbroker.toml");
    let dearer = table(&[Site::of(&east).price("3", "6")]);
    fs::write(gateway.setup.path("providers.toml"), dearer).unwrap();
    fs::write(&config, "[timeouts]\nconnect_ms = 1\n[server]\nmax_connections = 5\n[aliases]\nfast = \"jade\"\n").unwrap();

    let problems = refused(&gateway).await;

    for part in [
        "tokenbroker.toml:2:14: timeouts.connect_ms: 1 needs a restart: 3000 is in force",
        "tokenbroker.toml:4:19: server.max_connections",
    ] {
        assert!(problems.contains(part), "{part} is not in\n{problems}");
    }
    assert!(problems.lines().all(|problem| problem.ends_with("restart the gateway, or put it back")), "{problems}");
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-cost-usd"), "0.000017", "the table waits too");
    assert_eq!(gateway.chat(&chat::ask("fast")).await.status, 404);
    fs::write(&config, "[aliases]\nfast = \"jade\"\n").unwrap();
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!(gateway.chat(&chat::ask("fast")).await.header("x-tokenbroker-cost-usd"), "0.000051");
}

#[tokio::test]
async fn limits_waits_and_the_log_follow_the_configuration() {
    let east = Provider::start("east").await;
    let gateway = asked_only(Site::of(&east), "[log]\nlevel = \"warn\"\n").variable("TOKENBROKER_LOG", "").start();
    let long = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(3_000));
    assert_eq!(gateway.chat(&long).await.status, 200);

    let tight = "[server]\nmax_body_bytes = 2048\n[limits]\nmax_concurrent_requests = 1\n[timeouts]\nfirst_byte_ms = 50\n\
        [log]\nlevel = \"info\"\n";
    fs::write(gateway.setup.path("tokenbroker.toml"), tight).unwrap();
    assert!(gateway.setup.log().is_empty(), "{}", gateway.setup.log());
    assert_eq!(reload(&gateway).await.0, 200);

    assert!(gateway.setup.log().contains("reloaded"), "{}", gateway.setup.log());
    assert_eq!(gateway.chat(&long).await.status, 413);
    east.next(vec![Step::Stall]);
    let slow = gateway.chat(&chat::ask_stream("auto")).await;
    assert_eq!((slow.status, slow.error("code")), (504, "upstream_timeout".into()), "{}", slow.text());
    let gate = Gate::shut();
    east.next(provider::then(vec![Step::Wait(gate.clone())], provider::whole(&chat::answer("Hello.", 9, 4))));
    let waiting = gateway.sent(&Call::chat(chat::ask("auto"))).await;
    east.call(2).await;
    let crowded = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((crowded.status, crowded.error("code")), (503, "overloaded".into()), "{}", crowded.text());
    fs::write(gateway.setup.path("tokenbroker.toml"), "").unwrap();
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!(gateway.chat(&long).await.status, 200);
    gate.open();
    assert_eq!(waiting.answer().await.whole().await.status, 200);
}
