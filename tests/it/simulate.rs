//! `tokenbroker simulate price-war` on the table that is shipped: the same seed prints the same, nobody is below the optimum,
//! and tokenbroker is not above those who sort by list price.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn simulate(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.arg("simulate").args(arguments.split_whitespace()).current_dir(ROOT).stdin(Stdio::null()).env_clear();
    command.output().unwrap()
}

fn printed(arguments: &str) -> String {
    let Output { status, stdout, stderr } = simulate(arguments);
    assert!(status.success(), "{arguments}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Millionths of a dollar: enough to compare.
fn micros(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{:0<6}", &fraction[..fraction.len().min(6)]).parse().unwrap()
}

#[test]
fn the_war_is_the_same_again_and_its_order_is_as_promised() {
    let war = "price-war --requests 800 --seed 5 --json";
    let (once, again) = (printed(war), printed(war));
    assert_eq!(once, again);
    let report: Value = serde_json::from_str(&once).unwrap();
    let policies = report["policies"].as_array().unwrap();
    let spend = |name: &str| micros(&policies.iter().find(|policy| policy["policy"] == name).unwrap()["spend_usd"]);
    let optimum = spend("clairvoyant optimum");
    assert!(policies.len() == 6 && optimum > 0);
    for policy in policies {
        assert!(micros(&policy["spend_usd"]) >= optimum, "{}", policy["policy"]);
        assert_eq!(policy["cumulative_usd"].as_array().unwrap().last().unwrap(), &policy["spend_usd"]);
        let answered = policy["answered"].as_array().unwrap().iter().map(|one| one["requests"].as_u64().unwrap());
        assert_eq!(Some(answered.sum::<u64>()), report["requests"].as_u64(), "{}", policy["policy"]);
    }
    // Measured with thousands of requests: 12 to 17 per cent below those who compare bare numbers. This only catches a policy that has lost its way.
    assert!(spend("tokenbroker") * 100 <= spend("list price, nominal") * 103, "{once}");
    assert!(spend("tokenbroker") < spend("round robin"), "{once}");
}

#[test]
fn the_war_is_told_and_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("war.svg");
    let told = printed(&format!("price-war --requests 60 --from 2026-09-01 --until 2026-10-01 --svg {}", svg.display()));
    for word in ["clairvoyant optimum", "list price, nominal", "by quality floor", "regret"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n") && drawn.contains("tokenbroker"), "{drawn}");
}

#[test]
fn own_texts_make_a_workload_without_leaving_the_machine_whole() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let texts =
        write("texts.jsonl", "{\"class\":\"code\",\"text\":\"fn main() {}\"}\n{\"class\":\"json\",\"text\":\"[1, 2]\"}\n");
    let bare = printed(&format!("texts {texts}"));
    assert!(bare.lines().count() == 2 && !bare.contains("main"), "{bare}");
    let bare = write("bare.jsonl", &bare);
    let war = |file: &str| printed(&format!("price-war --requests 20 --workload {file} --json"));
    assert_eq!(war(&texts), war(&bare));
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let code = |arguments: &str| simulate(arguments).status.code();
    assert_eq!(code("price-war --from 2026-09-01 --until 2026-08-01"), Some(1));
    assert_eq!(code("price-war --workload Cargo.toml"), Some(1));
    assert_eq!(code("price-war --requests 0"), Some(2));
    assert_eq!(code("price-war --providers Cargo.toml"), Some(3));
    let told = String::from_utf8(simulate("price-war --workload Cargo.toml").stderr).unwrap();
    assert!(told.contains("Cargo.toml:"), "{told}");
}
