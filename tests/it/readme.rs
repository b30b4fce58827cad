//! The README, followed by the letter: what it tells people to type is run as it stands there, so that it cannot rot.
//!
//! Not here: its Python (`tests/sdk/python/test_readme.py`) and `scripts/test`, which is what runs this.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::harness::{Call, Gateway, Provider, Site, chat};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");
const CARGO_RUN: &str = "cargo run --release -- ";
const REQUEST: &str = r#"{"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}"#;

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// The commands of the shell blocks, continued lines joined and comments left out.
fn commands() -> Vec<String> {
    let joined = blocks("sh").join("\n").replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// The words of a command line with single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// What stands in backticks in the text and begins like this.
fn quoted(beginning: &str) -> Vec<&'static str> {
    README.split('`').skip(1).step_by(2).filter(|text| text.starts_with(beginning)).collect()
}

/// The cells of the table below the heading that has this text.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let below = README.split_once(heading).unwrap().1;
    let lines = below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    lines.skip(2).map(cells).collect()
}

/// The code in one cell.
fn code(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// A folder that looks like the repository's root to somebody who runs the binary there, with no port taken.
struct Desk {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("config")).unwrap();
        for file in ["providers.toml", "config/tokenbroker.toml"] {
            fs::copy(Path::new(ROOT).join(file), folder.path().join(file)).unwrap();
        }
        fs::write(folder.path().join("request.json"), REQUEST).unwrap();
        let port = ["LISTEN", "OPERATIONS_LISTEN"].map(|name| (format!("TOKENBROKER__SERVER__{name}"), "127.0.0.1:0".to_owned()));
        Self { folder, variables: port.into() }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
        command.args(words(arguments)).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_clear().env("TMPDIR", self.folder.path()).envs(&self.variables);
        command
    }

    /// Runs a command that ends by itself, and well.
    fn run(&self, arguments: &str) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert!(status.success(), "tokenbroker {arguments}: {status}\n{out}{err}");
        out
    }

    /// Starts a command that serves, waits for the line that says so, and lets it end as Ctrl-C does.
    fn run_until(&self, arguments: &str, ready: &str) {
        let mut child = Ended(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.trim_start().starts_with(ready)), "tokenbroker {arguments}: no {ready:?}");
        kill_process(Pid::from_child(&child.0), Signal::INT).unwrap();
        assert!(child.0.wait().unwrap().success(), "tokenbroker {arguments}");
    }

    /// What becomes of a request, with every provider's key.
    fn route(&self, request: &Value) -> Output {
        fs::write(self.folder.path().join("asked.json"), request.to_string()).unwrap();
        self.command("route --all-providers --json asked.json").output().unwrap()
    }
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// A command of the form that curl takes, as far as the README uses it.
fn call(words: &[String]) -> Call {
    let (mut path, mut headers, mut body) = (None, Vec::new(), None);
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-i" => {}
            "-H" => headers.push(rest.next().unwrap().split_once(": ").unwrap()),
            "-d" => body = Some(rest.next().unwrap().clone()),
            url => path = url.split_once("127.0.0.1:8080").map(|(_, path)| path.to_owned()),
        }
    }
    let (path, body) = (path.expect("an URL of the gateway"), body.expect("a body"));
    headers.into_iter().fold(Call::new("POST", &path, body), |call, (name, value)| call.header(name, value))
}

#[tokio::test]
async fn every_command_of_the_blocks_does_what_it_should() {
    let mut desk = Desk::new();
    let mut seen = Vec::new();
    for line in commands() {
        let words = words(&line);
        match (words[0].as_str(), line.strip_prefix(CARGO_RUN)) {
            ("export", _) => {
                let (name, value) = words[1].split_once('=').unwrap();
                desk.variables.insert(name.to_owned(), value.to_owned());
            }
            (_, Some("demo")) => desk.run_until("demo", "Serving until Ctrl-C."),
            (_, Some("serve")) => desk.run_until("serve", "operations"),
            (_, Some(arguments)) => drop(desk.run(arguments)),
            ("curl", _) => {
                let east = Provider::start("east").await;
                east.always(crate::harness::provider::whole(&chat::answer("Hello.", 9, 2)));
                let answer = Gateway::of([Site::of(&east).quality(70)]).ask(&call(&words)).await;
                assert_eq!(answer.status, 200, "{line}: {}", answer.text());
                for header in quoted("x-tokenbroker-").into_iter().take(4) {
                    assert_ne!(answer.header(header), "", "{header}");
                }
                // With the one key that the README has exported by now, the real table can serve it as well.
                let body = words.iter().skip_while(|word| *word != "-d").nth(1).unwrap();
                fs::write(desk.folder.path().join("asked.json"), body).unwrap();
                assert!(desk.run("route asked.json").contains("->"));
            }
            ("scripts/test", _) => assert!(Path::new(ROOT).join("scripts/test").is_file()),
            _ => panic!("this test does not know how to follow: {line}"),
        }
        seen.push(words[0].clone());
    }
    assert!(["export", "cargo", "curl"].iter().all(|word| seen.iter().any(|seen| seen == word)), "{seen:?}");
}

#[test]
fn every_command_within_the_text_works() {
    let mut desk = Desk::new();
    desk.variables.insert("DEEPSEEK_API_KEY".to_owned(), "k".to_owned());
    let commands = quoted("tokenbroker ");
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let arguments = command.strip_prefix("tokenbroker ").unwrap();
        if arguments.starts_with("serve") {
            desk.run_until(arguments, "operations");
        } else {
            assert_ne!(desk.run(arguments), "", "{command}");
        }
    }
}

#[test]
fn every_model_name_means_something_in_the_table() {
    let desk = Desk::new();
    let names: Vec<&str> = rows("### What a client may send as `model`")
        .iter()
        .filter(|row| !row[0].contains("[aliases]"))
        .flat_map(|row| code(row[0]).into_iter().filter(|name| *name != "provider/model"))
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let routed = desk.route(&json!({"model": name, "messages": [{"role": "user", "content": "hi"}]}));
        assert!(routed.status.success(), "{name}: {}", String::from_utf8_lossy(&routed.stdout));
    }
}

#[tokio::test]
async fn every_wish_is_understood_in_the_body_and_as_a_header() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let desk = Desk::new();
    let wishes = rows("Finer wishes go into");
    assert!(wishes.len() >= 8, "{wishes:?}");
    for row in wishes {
        let (wish, header) = (code(row[0])[0], code(row[1])[0]);
        let wish: Map<String, Value> = serde_json::from_str(&format!("{{{wish}}}")).unwrap();
        let mut request = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
        let plain = request.to_string();
        request["tokenbroker"] = Value::Object(wish.clone());
        let routed = desk.route(&request);
        assert!(routed.status.success(), "{}{}", row[0], String::from_utf8_lossy(&routed.stderr));

        let value = match wish.values().next().unwrap() {
            Value::String(text) => text.clone(),
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        // What this one scripted provider can fulfil is not the question; that the header is read is.
        let answer = gateway.ask(&Call::post("/v1/route", plain).header(header, &value)).await;
        assert!(matches!(answer.status, 200) || answer.error("code") == "no_adequate_backend", "{header}: {}", answer.text());
    }
}

#[test]
fn the_example_configuration_with_everything_switched_on_fits_the_table() {
    let desk = Desk::new();
    let example = fs::read_to_string(Path::new(ROOT).join("config/tokenbroker.toml")).unwrap();
    let switched_on = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|text| {
            let name = text.split_once(" = ").map_or("", |(name, _)| name);
            text.starts_with('[')
                || !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        });
        setting.unwrap_or(line).to_owned() + "\n"
    };
    fs::write(desk.folder.path().join("all.toml"), example.lines().map(switched_on).collect::<String>()).unwrap();
    let told = desk.run("check --config all.toml --json");
    let summary = &serde_json::from_str::<Value>(&told).unwrap()["summary"];
    assert_eq!((&summary["config"], &summary["keys"]), (&json!("all.toml"), &json!(["team"])));
}
