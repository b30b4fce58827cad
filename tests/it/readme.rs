//! What the README says beside its commands (`documents.rs` runs those): the commands within its text, the names, the wishes
//! and the headers that it lists.
//!
//! Not here: its Python (`tests/sdk/python/test_readme.py`).

use std::fs;

use serde_json::{Map, Value, json};

use crate::harness::desk::Desk;
use crate::harness::page::Page;
use crate::harness::{Call, Gateway, Provider, Site, chat, provider};

const README: &str = include_str!("../../README.md");

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

#[tokio::test]
async fn every_header_that_the_text_promises_comes_with_an_answer() {
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 2)));
    let answer = Gateway::of([Site::of(&east)]).chat(&chat::ask("auto")).await;
    let page = Page::read("README.md");
    let (_, promised) = page.text.split_once("The answer's headers say what happened").unwrap();
    let promised = Page { text: promised.split("\n\n").next().unwrap().to_owned(), ..page };
    let headers = promised.quoted("x-tokenbroker-");
    assert!(headers.len() >= 4, "{headers:?}");
    for header in headers {
        assert_ne!(answer.header(&header), "", "{header}");
    }
}

#[test]
fn every_command_within_the_text_works() {
    let mut desk = Desk::new();
    desk.export("DEEPSEEK_API_KEY", "k");
    let commands = Page::read("README.md").quoted("tokenbroker ");
    assert!(commands.len() >= 2, "{commands:?}");
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
    assert!(wishes.len() >= 15, "{wishes:?}");
    for row in wishes {
        let (wish, header) = (code(row[0])[0], code(row[1])[0]);
        let wish: Map<String, Value> = serde_json::from_str(&format!("{{{wish}}}")).unwrap();
        let mut request = json!({"model": "auto", "messages": [{"role": "user", "content": "hi"}]});
        let plain = request.to_string();
        request["tokenbroker"] = Value::Object(wish.clone());
        let routed = desk.route(&request);
        // The shipped table knows of nobody who is registered: that wish is understood, and nobody can grant it.
        let nobody = wish.contains_key("registered") && routed.status.code() == Some(4);
        assert!(routed.status.success() || nobody, "{}{}", row[0], String::from_utf8_lossy(&routed.stderr));

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
    let example = fs::read_to_string(desk.path("config/tokenbroker.toml")).unwrap();
    let switched_on = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|text| {
            let name = text.split_once(" = ").map_or("", |(name, _)| name);
            text.starts_with('[')
                || !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        });
        setting.unwrap_or(line).to_owned() + "\n"
    };
    let switched_on: String = example.lines().map(switched_on).collect();
    // The one file that is read, and that no machine has.
    fs::write(desk.path("all.toml"), switched_on.replace("\nca_file", "\n# ca_file")).unwrap();
    let told = desk.run("check --config all.toml --json");
    let summary = &serde_json::from_str::<Value>(&told).unwrap()["summary"];
    assert_eq!((&summary["config"], &summary["keys"]), (&json!("all.toml"), &json!(["team"])));
}
