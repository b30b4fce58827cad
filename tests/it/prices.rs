//! `tokenbroker prices` on the table that is shipped: every backend has its row, JSON and CSV say the same, and what was
//! converted is the vendor's price at the rate that stands beside it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// All that is asked for is of one instant, so that a test of next year finds what one of today does.
const AT: &str = "--at 2026-11-22";

fn prices(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.arg("prices").args(arguments.split_whitespace()).current_dir(ROOT).stdin(Stdio::null()).env_clear();
    command.output().unwrap()
}

fn printed(arguments: &str) -> String {
    let Output { status, stdout, stderr } = prices(arguments);
    assert!(status.success(), "{arguments}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn report(arguments: &str) -> Value {
    serde_json::from_str(&printed(arguments)).unwrap()
}

fn rows(report: &Value) -> &[Value] {
    report["prices"].as_array().unwrap()
}

/// A decimal in units of 10⁻¹²; what is no plain decimal in quotes fails.
fn pico(value: &Value) -> i128 {
    let text = value.as_str().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 12 && !fraction.ends_with('0'), "{text}");
    format!("{whole}{fraction:0<12}").parse().unwrap()
}

#[test]
fn every_backend_of_the_table_has_its_row_and_no_amount_is_a_float() {
    let table = std::fs::read_to_string(Path::new(ROOT).join("providers.toml")).unwrap();
    let report = report(&format!("{AT} --all --json"));
    let direct = self::report(&format!("{AT} --all --serves embeddings --json"));
    let rows: Vec<&Value> = rows(&report).iter().chain(rows(&direct)).collect();
    assert_eq!(rows.len(), table.lines().filter(|line| *line == "[[backends]]").count());
    let mut priced = 0;
    for row in rows.iter().filter(|row| !row["price"].is_null()) {
        let vendor = &row["price"];
        let rate = report["rates"].as_array().unwrap().iter().find(|rate| rate["currency"] == vendor["currency"]);
        let per_usd = rate.map_or(1_000_000_000_000, |rate| pico(&rate["per_usd"]));
        for figure in ["input", "cache_read", "cache_write", "output", "blended"] {
            // Off by half a unit of the dollar's last digit at most, times the rate.
            let off = pico(&row["converted"][figure]) * per_usd - pico(&vendor[figure]) * 1_000_000_000_000;
            assert!(off.abs() * 2 <= per_usd, "{row} {figure}");
        }
        // The blended figure is itself rounded at the last digit.
        let off = pico(&vendor["blended"]) * 4 - pico(&vendor["input"]) * 3 - pico(&vendor["output"]);
        assert!(off.abs() <= 2, "{row}");
        assert_ne!(row["source"], "", "{row}");
        priced += 1;
    }
    assert!(priced > 30, "{priced} of {} have a price", rows.len());
}

#[test]
fn csv_says_what_json_says() {
    let report = report(&format!("{AT} --all --json"));
    let csv = printed(&format!("{AT} --all --format csv"));
    let mut lines = csv.split_terminator("\r\n").map(cells);
    let heading = lines.next().unwrap();
    let lines: Vec<Vec<String>> = lines.collect();
    assert_eq!(lines.len(), rows(&report).len());
    for (line, row) in lines.iter().zip(rows(&report)) {
        assert_eq!(line.len(), heading.len(), "{line:?}");
        for (name, cell) in heading.iter().zip(line).filter(|(name, _)| *name != "rates") {
            let value = match (&row[name.as_str()], name.strip_prefix("converted_")) {
                (Value::Null, Some(figure)) => &row["converted"][figure],
                (Value::Null, None) if !row["price"].is_null() => &row["price"][name.as_str()],
                (value, _) => value,
            };
            let expected = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(*cell, expected, "{name} of {row}");
        }
    }
}

/// The cells of a line of CSV, out of their quotes.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut within) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if within && chars.next_if_eq(&'"').is_some() => cells.last_mut().unwrap().push('"'),
            '"' => within = !within,
            ',' if !within => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn the_shipped_table_fits_a_page_of_a_hundred_columns() {
    let shown = printed(&format!("{AT} --all"));
    let long: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(shown.lines().count() > 50 && shown.contains("Not used, and why:"), "{shown}");
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let code = |arguments: &str| prices(arguments).status.code();
    assert_eq!(code("list --limit 3"), Some(0));
    assert_eq!(code("--config config/tokenbroker.toml --limit 3"), Some(0));
    assert_eq!(code("--provider depseek"), Some(1));
    assert_eq!(code("--sort price"), Some(2));
    assert_eq!(code("--providers Cargo.toml"), Some(3));
    let told = String::from_utf8(prices("--provider depseek").stderr).unwrap();
    assert!(told.contains("did you mean \"deepseek\"?"), "{told}");
}

#[test]
fn a_key_in_the_environment_puts_its_provider_on() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.args(["prices", "--on", "--json"]).current_dir(ROOT).stdin(Stdio::null());
    command.env_clear().env("DEEPSEEK_API_KEY", "k");
    let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert!(!rows(&report).is_empty());
    assert!(rows(&report).iter().all(|row| row["provider"] == "deepseek" && row["key"] == "set"), "{report}");
}
