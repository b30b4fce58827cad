//! `tokenbroker keys`: making gateway keys. A key is shown once. Without a running gateway the configuration gets its hash; one
//! that runs keeps it as a virtual key, and rotates, expires and revokes it (`remote`).

mod remote;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::administered::Where;
use super::args::Environment;
use super::output::{Exit, Output};
use crate::config::keys::{is_key_name, to_hex};
use crate::policy::keys::{hash, new_key};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: print it once, and the lines that let it in.
    ///
    /// With --virtual a running gateway makes it and keeps its hash: it is let in at once, and nothing has to be written into the
    /// configuration. The variable `TOKENBROKER_ADMIN_KEY` holds an administrator's key.
    #[command(
        after_help = "Examples:\n  tokenbroker keys new team\n  tokenbroker keys new bot --virtual --set team=research --set budget_usd=5\n\nThe key is not kept anywhere: only its SHA-256 goes into the configuration."
    )]
    New {
        /// What the key is called in the configuration, in metrics and in the books.
        name: String,
        /// Make it at the gateway that runs.
        #[arg(long = "virtual")]
        at_gateway: bool,
        /// A setting of a virtual key, as in [keys.NAME]; may be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE", requires = "at_gateway")]
        settings: Vec<String>,
        /// When a virtual key ends, such as 2026-12-31T23:00:00Z.
        #[arg(long, value_name = "INSTANT", requires = "at_gateway")]
        expires: Option<jiff::Timestamp>,
        #[command(flatten)]
        at: Where,
    },
    /// List the virtual keys of a running gateway, or with --history who did what to them.
    List {
        /// Every step that was taken.
        #[arg(long)]
        history: bool,
        #[command(flatten)]
        at: Where,
    },
    /// Make another text for a virtual key; the one before goes on letting in for a while.
    Rotate {
        name: String,
        /// For how many seconds the text before goes on letting in [default: a day].
        #[arg(long, value_name = "SECONDS")]
        grace: Option<u64>,
        #[command(flatten)]
        at: Where,
    },
    /// Let a virtual key end at an instant.
    Expire {
        name: String,
        /// When, such as 2026-12-31T23:00:00Z [default: now].
        #[arg(long, value_name = "INSTANT")]
        when: Option<jiff::Timestamp>,
        #[command(flatten)]
        at: Where,
    },
    /// Let a virtual key in no more, from this moment on.
    Revoke {
        name: String,
        #[command(flatten)]
        at: Where,
    },
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    key: &'a str,
    sha256: &'a str,
}

/// Runs `tokenbroker keys ...`.
pub fn run(command: &KeysCommand, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        KeysCommand::New { name, at_gateway: false, at, .. } => for_configuration(name, at.json, output),
        KeysCommand::New { name, settings, expires, at, .. } => {
            let wish = json!({"name": name, "settings": remote::settings(settings)?, "expires": expires});
            remote::wish("new", wish, at, environment, output)
        }
        KeysCommand::List { history, at } => remote::list(*history, at, environment, output),
        KeysCommand::Rotate { name, grace, at } => {
            remote::wish("rotate", json!({"name": name, "grace_seconds": grace}), at, environment, output)
        }
        KeysCommand::Expire { name, when, at } => {
            remote::wish("expire", json!({"name": name, "at": when}), at, environment, output)
        }
        KeysCommand::Revoke { name, at } => remote::wish("revoke", json!({"name": name}), at, environment, output),
    }
}

fn for_configuration(name: &str, json: bool, output: &mut Output) -> anyhow::Result<Exit> {
    if !is_key_name(name) {
        bail!("{name:?} cannot name a key: use 1 to 64 letters, digits, `-`, `_` and `.` (`anonymous` is taken)");
    }
    let key = new_key().context("the system gives no random bytes")?;
    let sha256 = to_hex(&hash(key.as_bytes()));
    if json {
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
        captured(|output| for_configuration(name, json, output))
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
            assert_eq!(key.len(), crate::policy::keys::PREFIX.len() + 64, "256 bits");
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
