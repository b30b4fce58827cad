//! Wrong turns that somebody takes on the first day: each must be told what is wrong, by the name they know it by, and
//! what to do instead.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::client::Connection;
use crate::harness::{Call, Gateway, Provider, Site, chat};

/// What `serve` says with these arguments when it does not start.
fn refusal(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.args(["serve", "--operations-listen", "127.0.0.1:0", "--providers"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("providers.toml")).args(arguments);
    command.env_clear().env("DEEPSEEK_API_KEY", "k").current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn an_address_that_is_taken_is_told_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    says(&refusal(&folder, &["--listen", &address]), &["cannot listen on", &address, "(server.listen)", "in use"]);
}

#[test]
fn an_open_gateway_stays_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let told = refusal(&folder, &["--listen", "0.0.0.0:0"]);
    says(&told, &["option --listen: ", "0.0.0.0:0 is not loopback and no key is configured", "tokenbroker keys new"]);
}

#[test]
fn books_that_cannot_lie_there_are_told_as_books() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let told = refusal(&folder, &["--listen", "127.0.0.1:0", "--data-dir", "file"]);
    says(&told, &["the books cannot be opened", "--data-dir", "file cannot be used"]);
}

#[test]
fn a_data_directory_that_is_not_writable_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    // Even the root may not write there.
    let told = refusal(&folder, &["--listen", "127.0.0.1:0", "--data-dir", "/proc/books"]);
    says(&told, &["the books cannot be opened (books.directory, --data-dir): /proc/books cannot be used"]);
    let told = refusal(&folder, &["--listen", "127.0.0.1:0", "--data-dir", "file"]);
    says(&told, &["file cannot be used (name a directory, not a file)"]);
}

#[test]
fn a_table_that_is_not_there_is_told_with_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    let output = command.arg("serve").env_clear().current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("providers.toml: cannot read "), "{told}");
    says(&told, &["No such file", "start where providers.toml lies, or name it by --providers FILE", "nothing was started"]);
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_without_the_words_of_a_library() {
    let east = Provider::start("east").await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::of([Site::of(&east).at(&format!("http://{free}"))]);
    let told = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(told.status, 502);
    says(told.text(), &["no provider answered; east/jade-v3: no connection: ", "Connection refused"]);
    assert!(!told.text().contains("client error"), "{}", told.text());
}

#[tokio::test]
async fn a_path_that_is_not_there_leads_to_one_that_is() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let told = gateway.ask(&Call::post("/chat/completions", chat::ask("auto"))).await;
    assert_eq!(told.status, 404);
    says(told.text(), &["no such path: /chat/completions", "base_url must end in /v1"]);
    says(gateway.ask(&Call::get("/metrics")).await.text(), &["server.operations_listen"]);

    let mut operations = Connection::open(gateway.operations).await;
    operations.send(&Call::get("/nowhere")).await;
    let told = operations.answer().await.whole().await;
    assert_eq!(told.status, 404);
    says(told.text(), &["/metrics, /healthz and /readyz"]);
}

#[tokio::test]
async fn a_key_that_the_provider_refuses_stands_in_the_log_once() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    east.always(crate::harness::provider::status(401, &[], &chat::error("who are you?")));
    for _ in 0..3 {
        assert!(gateway.chat(&chat::ask("auto")).await.status >= 500);
    }
    let log = gateway.setup.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("is left alone")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    says(lines[0], &["WARN", "east/jade-v3", "cause=\"auth\"", "seconds=60", "set its right key"]);
}
