//! What a reload meets that nobody wrote on purpose: pipes and devices where files were, files that are cut, pages in a
//! browser that ask, providers that were mended, books that could not be read. Found in a review of live reload.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider, until};

/// A gateway with one key, `tb-web`, and a configuration file.
fn setup(east: &Provider) -> Setup {
    let setup = Setup::of([Site::of(east)]).set("reload.interval_ms", "20");
    let path = setup.path("tokenbroker.toml");
    fs::write(&path, config()).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap())
}

fn config() -> String {
    format!("[keys.web]\nsha256 = \"{}\"\n", to_hex(&hash(b"tb-web")))
}

async fn until_reloads(gateway: &Gateway, result: &str, count: f64) {
    let series = format!("reloads_total{{result=\"{result}\"}}");
    until(&format!("{count} reloads to be {result}"), async || {
        gateway.sample(&series).await.is_some_and(|found| found >= count).then_some(())
    })
    .await;
}

fn asked() -> Call {
    Call::chat(chat::ask("auto")).key("tb-web")
}

#[tokio::test]
async fn a_pipe_or_a_device_in_the_place_of_a_file_is_refused_and_holds_nothing_up() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).start();
    let table = gateway.setup.path("providers.toml");
    let good = fs::read(&table).unwrap();
    fs::remove_file(&table).unwrap();
    symlink("/dev/zero", &table).unwrap();
    let device = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!(device.status, 422, "{}", device.text());
    assert!(device.text().contains("providers.toml: it is larger than 33554432 bytes"), "{}", device.text());

    fs::remove_file(&table).unwrap();
    mkfifoat(CWD, &table, Mode::RUSR | Mode::WUSR).unwrap();
    let pipe = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!(pipe.status, 422, "{}", pipe.text());
    assert!(pipe.text().contains("providers.toml: it is a pipe"), "{}", pipe.text());
    assert_eq!(gateway.ask(&asked()).await.status, 200);
    fs::remove_file(&table).unwrap();
    fs::write(&table, good).unwrap();
    until_reloads(&gateway, "unchanged", 1.0).await;

    fs::remove_file(&table).unwrap();
    mkfifoat(CWD, &table, Mode::RUSR | Mode::WUSR).unwrap();
    gateway.signal(Signal::HUP);
    let (status, _) = gateway.drain().await;
    assert_eq!(status.code(), Some(0), "the pipe does not keep the process");
}

#[tokio::test]
async fn a_configuration_that_was_cut_to_nothing_lets_nobody_in() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).start();
    let path = gateway.setup.path("tokenbroker.toml");
    fs::write(&path, "").unwrap();
    until_reloads(&gateway, "refused", 1.0).await;
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 401, "no key was sent, and one is asked for");
    assert_eq!(gateway.ask(&asked()).await.status, 200);
    let told = gateway.readiness().await;
    assert!(told.contains("keys: no key is left, and everybody who can connect would be let in"), "{told}");
    fs::write(&path, "[server]\nopen = true\n").unwrap();
    until_reloads(&gateway, "applied", 1.0).await;
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200, "it was told in words");
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_ask_for_a_reload() {
    let east = Provider::start("east").await;
    let gateway = setup(&east).set("reload.watch", "false").start();
    fs::write(gateway.setup.path("tokenbroker.toml"), config() + "[aliases]\nfast = \"jade\"\n").unwrap();
    let from_a_page = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        // A name that the page's owner lets resolve to this machine.
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "cross-site"),
    ];
    for (name, value) in from_a_page {
        let refused = gateway.operator(&Call::post("/reload", "").header(name, value)).await;
        assert_eq!((refused.status, refused.error("code")), (403, "browser_refused".into()), "{name}: {value}");
    }
    assert_eq!(gateway.sample("reloads_total{result=\"applied\"}").await, Some(0.0));
    assert_eq!(gateway.operator(&Call::post("/reload", "")).await.json()["result"], "applied");
}

#[tokio::test]
async fn a_backend_whose_key_was_mended_is_asked_at_once() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).without_key()]).set("reload.watch", "false");
    let key = setup.path("east.key");
    fs::write(&key, "sk-east-wrong-91c05be24d68").unwrap();
    let gateway = setup.variable("EAST_API_KEY_FILE", key.to_str().unwrap()).start();
    east.next(provider::status(401, &[], &chat::error("who are you?")));
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 502);
    let alone = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((alone.status, alone.error("code")), (503, "no_backend_available".into()), "{}", alone.text());

    let report = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!(report.json()["result"], "unchanged");
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 503, "nothing was mended");
    fs::write(&key, "sk-east-right-91c05be24d68").unwrap();
    let report = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!(report.json()["result"], "applied");
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
}
