//! `tokenbroker keys`: making gateway keys. The key is shown once; the configuration gets its hash.

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::output::{Exit, Output};
use crate::config::keys::{is_key_name, to_hex};
use crate::policy::keys::hash;

/// What every gateway key begins with, so that a leaked one is recognised by scanners and people.
const KEY_PREFIX: &str = "tb-";

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: print it once, and the lines that let it in.
    #[command(
        after_help = "Example:\n  tokenbroker keys new team\n\nThe key is not kept anywhere: only its SHA-256 goes into the configuration."
    )]
    New {
        /// What the key is called in the configuration, in metrics and in the books.
        name: String,
        /// Print one JSON object: name, key, sha256.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    key: &'a str,
    sha256: &'a str,
}

/// Runs `tokenbroker keys ...`.
pub fn run(command: &KeysCommand, output: &mut Output) -> anyhow::Result<Exit> {
    let KeysCommand::New { name, json } = command;
    if !is_key_name(name) {
        bail!("{name:?} cannot name a key: use 1 to 64 letters, digits, `-`, `_` and `.` (`anonymous` is taken)");
    }
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).context("the system gives no random bytes")?;
    let key = format!("{KEY_PREFIX}{}", to_hex(&random));
    let sha256 = to_hex(&hash(key.as_bytes()));
    if *json {
        output.json(&NewKey { name, key: &key, sha256: &sha256 })?;
    } else {
        output.line(format!("{key}\n"))?;
        output.line("This is the key: it is shown once and kept nowhere. Clients send it as their API key.")?;
        output.line("These lines let it in, in the configuration that `tokenbroker serve --config FILE` reads:\n")?;
        output.line(format!("[keys.{}]\nsha256 = \"{sha256}\"", toml_key(name)))?;
    }
    Ok(Exit::Success)
}

/// A name with a dot would be two tables.
fn toml_key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn new_key(name: &str, json: bool) -> (Exit, String, String) {
        captured(|output| run(&KeysCommand::New { name: name.to_owned(), json }, output))
    }

    #[test]
    fn the_printed_lines_let_the_printed_key_in() {
        for name in ["team", "a.b-c_9"] {
            let (exit, out, _) = new_key(name, false);
            assert_eq!(exit, Exit::Success);
            let (key, rest) = out.split_once('\n').unwrap();
            let config = Config::load(Some(("t.toml", &rest[rest.find("[keys").unwrap()..])), &BTreeMap::new()).unwrap();
            assert_eq!(config.keys[0].sha256, hash(key.as_bytes()));
            assert_eq!(config.keys[0].name.as_str(), name);
            assert_eq!(key.len(), KEY_PREFIX.len() + 64, "256 bits");
        }
    }

    #[test]
    fn keys_differ_and_a_script_can_read_them() {
        let read = || serde_json::from_str::<serde_json::Value>(&new_key("team", true).1).unwrap();
        let (one, two) = (read(), read());
        assert_eq!(one["sha256"].as_str().unwrap(), to_hex(&hash(one["key"].as_str().unwrap().as_bytes())));
        assert_ne!(one["key"], two["key"]);
    }

    #[test]
    fn a_name_that_cannot_stand_in_metrics_is_refused() {
        for name in ["", "anonymous", "a b", "a]", "ü"] {
            assert_eq!(new_key(name, false).0, Exit::Failure, "{name:?}");
        }
    }
}
