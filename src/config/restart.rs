//! What a running gateway does not change: settings of its sockets, its books and what was built around them at the start;
//! and that it asks for keys, unless it is told so in words. A reload with such a change is refused whole, and the problem
//! names it.

use std::collections::BTreeMap;

use super::load::document;
use super::reference::{Fixed, fixed};
use super::{Access, Config};
use crate::document::{Problem, Section};

const ACCEPTED: &str = "restart the gateway, or put it back";
/// An empty file is a whole configuration: one that was cut, or is about to be written, must not let everybody in.
const LAST_KEY_GONE: &str = "no key is left, and everybody who can connect would be let in";

/// Every setting that counts on restart only and differs, with its place; and that no key is left where there were some. The
/// first two arguments are those of [`Config::load`].
pub fn needing_restart(
    file: Option<(&str, &str)>,
    environment: &BTreeMap<String, String>,
    running: &Config,
    wanted: &Config,
) -> Vec<Problem> {
    let document = document(file, environment);
    let root = document.root();
    for (running, wanted) in fixed(running).iter().zip(&fixed(wanted)).filter(|(running, wanted)| running != wanted) {
        tell(&root, running, wanted);
    }
    if running.access() == Access::Keys && wanted.access() == Access::Open && !wanted.server.open {
        root.problem("keys", LAST_KEY_GONE, "a [keys.NAME], or open = true in [server] where that is meant");
    }
    tell_upstream(&root, running, wanted);
    tell_market(&root, running, wanted);
    document.into_problems()
}

fn tell(root: &Section<'_, '_>, running: &Fixed, wanted: &Fixed) {
    let Fixed { section, name, .. } = running;
    let shown = |fixed: &Fixed| fixed.written.clone().unwrap_or_else(|| "nothing".to_owned());
    let (running, wanted) = (shown(running), shown(wanted));
    let wrong = format!("{wanted} needs a restart: {running} is in force, and nothing of this reload is applied");
    match root.named_section(section) {
        Some(section) => section.problem(name, wrong, ACCEPTED),
        None => root.problem(section, format!("{section}.{name}: {wrong}"), ACCEPTED),
    }
}

/// A proxy's address may hold a password, so neither value is shown.
fn tell_upstream(root: &Section<'_, '_>, running: &Config, wanted: &Config) {
    let differs = [
        ("proxy", running.upstream.proxy != wanted.upstream.proxy, "another proxy, or others to be reached without it,"),
        ("ca_file", running.upstream.trust != wanted.upstream.trust, "to trust other authorities"),
    ];
    for (name, _, what) in differs.into_iter().filter(|(_, differs, _)| *differs) {
        let wrong = format!("{what} needs a restart, and nothing of this reload is applied");
        match root.named_section("upstream") {
            Some(section) => section.problem(name, wrong, ACCEPTED),
            None => root.problem("upstream", format!("upstream.{name}: {wrong}"), ACCEPTED),
        }
    }
}

fn tell_market(root: &Section<'_, '_>, running: &Config, wanted: &Config) {
    let differs = [("feeds", running.feeds != wanted.feeds), ("admins", running.admins != wanted.admins)];
    let tokenizers = ("tokenizers", running.tokenizers != wanted.tokenizers);
    for (name, _) in differs.into_iter().chain([tokenizers]).filter(|(_, differs)| *differs) {
        root.problem(name, "another one needs a restart, and nothing of this reload is applied", ACCEPTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let wanted = Config::load(Some(("t.toml", text)), &BTreeMap::new()).unwrap();
        let found = needing_restart(Some(("t.toml", text)), &BTreeMap::new(), &Config::default(), &wanted);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected) && found.ends_with("accepted: restart the gateway, or put it back"), "{found}");
        }
    }

    #[test]
    fn another_way_out_is_told_without_its_password() {
        check(
            "[upstream]\nproxy = \"http://ann:s3cret@proxy:3128\"\n",
            &["t.toml:2:9: upstream.proxy: another proxy, or others to be reached without it, needs a restart"],
        );
    }

    #[test]
    fn what_is_fixed_is_told_with_its_place_and_both_values() {
        check(
            "[server]\nlisten = \"127.0.0.1:1\"\n",
            &["t.toml:2:10: server.listen: \"127.0.0.1:1\" needs a restart: \"127.0.0.1:8080\""],
        );
        check(
            "[log]\nformat = \"json\"\n[books]\nsync = \"always\"\n",
            &[
                "t.toml:2:10: log.format: \"json\" needs a restart: \"text\" is in force",
                "t.toml:4:8: books.sync: \"always\" needs",
            ],
        );
    }

    #[test]
    fn everything_else_may_change() {
        check(
            "[server]\nmax_body_bytes = 2048\nbody_timeout_ms = 1\n[timeouts]\nfirst_byte_ms = 1\n[routing]\nmax_attempts = 1\n",
            &[],
        );
        check(
            "[limits]\nmax_waiting_per_backend = 1\n[retries]\nshare_percent = 1\n[log]\nlevel = \"debug\"\n[providers_file]\npath = \"x\"\n",
            &[],
        );
    }

    #[test]
    fn the_last_key_goes_only_where_the_gateway_is_to_be_open() {
        let key = "[keys.web]\nsha256 = \"".to_owned() + &"a".repeat(64) + "\"\n";
        let load = |text: &str| Config::load(Some(("t.toml", text)), &BTreeMap::new()).unwrap();
        let check = |running: &str, wanted: &str, refused: bool| {
            let found = needing_restart(Some(("t.toml", wanted)), &BTreeMap::new(), &load(running), &load(wanted));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), usize::from(refused), "{wanted:?} after {running:?}: {found:?}");
            assert!(found.iter().all(|problem| problem.contains("keys: no key is left")), "{found:?}");
        };
        check(&key, "", true);
        check(&key, "[keys]\n", true);
        check(&key, "[server]\nopen = true\n", false);
        check(&key, &key.replace("web", "other"), false);
        check("", "", false);
        check("", &key, false);
    }

    #[test]
    fn a_setting_that_is_gone_from_the_file_is_told_too() {
        let mut running = Config::default();
        running.books.directory = "elsewhere".into();
        let found = needing_restart(Some(("t.toml", "")), &BTreeMap::new(), &running, &Config::default());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains("books.directory: \"tokenbroker-data\" needs a restart"), "{found:?}");
    }
}
