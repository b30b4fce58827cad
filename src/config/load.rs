//! From a file and the environment to a [`Config`]. A wrong value is noted and its default stands in until the end, so
//! that one run finds every problem; with any problem there is no `Config`.

use std::collections::BTreeMap;

use super::feeds;
use super::keys;
use super::means;
use super::outbound;
use super::portfolio;
use super::reference::{self, Group};
use super::settings::{AliasWishes, Config, Deployments, Routing, Server, Tokenizers};
use super::stores::Fleet;
use crate::catalog::address::is_deployment;
use crate::document::{Document, Problem, Section};

/// What the name of a variable that sets a value begins with: `TOKENBROKER__SERVER__LISTEN` sets `server.listen`.
pub const PREFIX: &str = "TOKENBROKER__";

impl Config {
    /// Reads a configuration from a file (its path as it is shown, and its text), from variables, or from both, where
    /// a variable wins. Fails with every problem at once, in the order of the file.
    pub fn load(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
        let (config, problems) = Self::read(file, environment);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The same with defaults in the place of wrong values, for a command that goes on to find further problems.
    pub fn read(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> (Config, Vec<Problem>) {
        let document = document(file, environment);
        let config = read(document.root());
        (config, document.into_problems())
    }
}

/// The file with the variables laid over it.
pub(super) fn document<'t>(file: Option<(&str, &'t str)>, environment: &'t BTreeMap<String, String>) -> Document<'t> {
    let (path, text) = file.unwrap_or(("no configuration file", ""));
    let mut document = Document::parse(path, text);
    for (variable, value) in environment {
        if let Some(name) = variable.strip_prefix(PREFIX) {
            let path: Vec<String> = name.split("__").map(str::to_lowercase).collect();
            document.set(&path, variable, value);
        }
    }
    document
}

fn read(root: Section<'_, '_>) -> Config {
    let keys = keys::read(&root);
    let (teams, projects) = (means::read_named(&root, "teams", "a team"), means::read_named(&root, "projects", "a project"));
    // A key that could not be read is a problem of its own and must not be told as a missing one too.
    let names = |of: &str| root.named_section(of).is_some_and(|section| section.names().next().is_some());
    let asking = Asking { keys: names("keys"), admins: names("admins") };
    let config = Config {
        server: checked(&root, &reference::server(), |section, server| check_addresses(section, server, asking)),
        books: section(&root, &reference::books()),
        fleet: checked(&root, &reference::fleet(), check_fleet),
        routing: routing(&root),
        deployments: deployments(&root),
        tokenizers: tokenizers(&root),
        portfolio: portfolio::read(&root),
        timeouts: section(&root, &reference::timeouts()),
        retries: section(&root, &reference::retries()),
        limits: section(&root, &reference::limits()),
        log: section(&root, &reference::log()),
        upstream: outbound::read(&root),
        reload: section(&root, &reference::reload()),
        keys,
        teams,
        projects,
        gateway: means::read_gateway(&root),
        feeds: feeds::read(&root),
        admins: feeds::read_admins(&root),
        ..section(&root, &reference::providers_file())
    };
    keys::check_above(&root, &config);
    root.finish();
    config
}

/// A section's values, its settings laid over their defaults.
fn section<S: Default>(root: &Section<'_, '_>, group: &Group<S>) -> S {
    checked(root, group, |_, _| {})
}

/// The same, where `check` judges what depends on several of them.
fn checked<S: Default>(root: &Section<'_, '_>, group: &Group<S>, check: impl FnOnce(&Section<'_, '_>, &S)) -> S {
    let mut values = S::default();
    if let Some(section) = root.section(group.name) {
        group.read(&section, &mut values);
        check(&section, &values);
        section.finish();
    }
    values
}

/// Who a key may come from.
#[derive(Clone, Copy)]
struct Asking {
    keys: bool,
    admins: bool,
}

fn check_addresses(section: &Section<'_, '_>, server: &Server, asking: Asking) {
    let (api, operations) = (server.listen, server.operations_listen);
    let overlap = api.ip() == operations.ip() || api.ip().is_unspecified() || operations.ip().is_unspecified();
    if api.port() == operations.port() && api.port() != 0 && overlap {
        let member = if section.has("operations_listen") { "operations_listen" } else { "listen" };
        section.problem(member, format!("{api} and {operations} need the same port"), "two ports, one for each listener");
    }
    if asking.keys && server.open {
        section.problem("open", "keys are configured, and an open gateway asks for none", "open = false, or no [keys.NAME]");
    }
    if !asking.keys && !asking.admins && !server.open && !api.ip().is_loopback() {
        let wrong = format!("{api} is not loopback and no key is configured: anybody who reaches it could spend your money");
        section.problem(
            "listen",
            wrong,
            "a [keys.NAME] (see `tokenbroker keys new`), an [admins.NAME] who makes one, a loopback address, or open = true",
        );
    }
}

fn check_fleet(section: &Section<'_, '_>, fleet: &Fleet) {
    if fleet.redis.is_some() && fleet.postgres.is_none() && !section.has("postgres") {
        section.problem("redis", "what gateways share there is rebuilt from the books of all of them", "postgres beside it");
    }
}

fn routing(root: &Section<'_, '_>) -> Routing {
    let aliases = aliases(root);
    let alias_wishes = alias_wishes(root, &aliases);
    Routing { aliases, alias_wishes, ..section(root, &reference::routing()) }
}

fn alias_wishes(root: &Section<'_, '_>, aliases: &BTreeMap<String, String>) -> BTreeMap<String, AliasWishes> {
    let Some(section) = root.section("alias_wishes") else {
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for name in section.names() {
        let Some(one) = section.named_section(name) else { continue };
        if !aliases.contains_key(name) {
            section.problem(name, format!("{name:?} is no alias"), "the name of an alias in [aliases]");
        }
        let mut wishes = AliasWishes::default();
        reference::alias_wishes().read(&one, &mut wishes);
        one.finish();
        all.insert(name.to_owned(), wishes);
    }
    all
}

fn aliases(root: &Section<'_, '_>) -> BTreeMap<String, String> {
    let Some(section) = root.section("aliases") else {
        return BTreeMap::new();
    };
    let target = |name: &str| Some((name.to_owned(), section.named_text(name)?));
    let aliases: BTreeMap<String, String> = section.names().filter_map(target).collect();
    for (name, target) in &aliases {
        if name.is_empty() || name == "auto" || name.starts_with("auto:") {
            section.problem(name, format!("{name:?} is taken"), "a name other than `auto` and `auto:...`");
        }
        if target.is_empty() || aliases.contains_key(target) {
            section.problem(name, format!("{target:?} is no target"), reference::ALIAS_TARGET);
        }
    }
    aliases
}

fn deployments(root: &Section<'_, '_>) -> Deployments {
    let Some(section) = root.section("deployments") else {
        return Deployments::new();
    };
    let deployment = |backend: &str| Some((backend.to_owned(), section.named_text(backend)?));
    let deployments: Deployments = section.names().filter_map(deployment).collect();
    for (backend, _) in deployments.iter().filter(|(_, name)| !is_deployment(name)) {
        section.problem(backend, "this cannot be the name of a deployment", reference::DEPLOYMENT_NAME);
    }
    deployments
}

fn tokenizers(root: &Section<'_, '_>) -> Tokenizers {
    let Some(section) = root.section("tokenizers") else {
        return Tokenizers::new();
    };
    section.names().filter_map(|name| Some((name.to_owned(), section.named_text(name)?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::QualityTier;
    use crate::config::{Access, Books, Limits, Log, Reload, Retries, Timeouts};
    use crate::policy::keys::hash;
    use crate::policy::{Bound, BudgetWindow};
    use crate::units::Usd;
    use std::time::Duration;
    use tracing::level_filters::LevelFilter;

    const EXAMPLE: &str = include_str!("../../config/tokenbroker.toml");
    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let shown = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        Config::load(Some(("t.toml", text)), &environment).map_err(shown)
    }

    /// Expects exactly these problems, each told by a part of it.
    fn check(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
        let found = load(text, variables).map_or_else(|problems| problems, |_| Vec::new());
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}\nlacks\n{expected}");
        }
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let config = Config::load(None, &BTreeMap::new()).unwrap();
        assert_eq!(config.server, Server::default());
        assert_eq!(config.access(), Access::Open);
    }

    #[test]
    fn everything_can_be_said_by_variables_alone() {
        let digest = keys::to_hex(&hash(b"tb-x"));
        let config = load(
            "[server]\ndrain_seconds = 1\n",
            &[
                ("TOKENBROKER__SERVER__LISTEN", "0.0.0.0:80"),
                ("TOKENBROKER__KEYS__WEB__SHA256", &digest),
                ("TOKENBROKER__KEYS__WEB__BUDGET_USD", "2.50"),
                ("TOKENBROKER__KEYS__WEB__REGIONS", "[\"EU\", \"local\"]"),
                ("TOKENBROKER__ALIASES__FAST", "auto:economy"),
                ("TOKENBROKER__LOG__LEVEL", "debug"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
        assert_eq!(config.server.drain, Duration::from_secs(1));
        assert_eq!(config.access(), Access::Keys);
        let key = &config.keys[0];
        assert_eq!((key.name.as_str(), key.sha256), ("web", hash(b"tb-x")));
        let bound = Bound::new(Usd::parse("2.5").unwrap(), BudgetWindow::Month.utc());
        assert_eq!(key.means.budgets, [bound]);
        assert_eq!(key.means.limits.regions, ["EU", "local"]);
        assert_eq!(config.routing.aliases["fast"], "auto:economy");
        assert_eq!(config.log.level, LevelFilter::DEBUG);
    }

    #[test]
    fn a_misspelt_variable_is_told_with_the_name_that_was_meant() {
        check(
            "",
            &[("TOKENBROKER__SERVER__LISEN", "x")],
            &["TOKENBROKER__SERVER__LISEN: server.lisen: unknown name (did you mean \"listen\"?)"],
        );
        check(
            "",
            &[("TOKENBROKER__SERVR__LISTEN", "x")],
            &["TOKENBROKER__SERVR__LISTEN: servr: unknown name (did you mean \"server\"?)"],
        );
        check("", &[("TOKENBROKER__KEYS__A__QUALITY", "premium")], &["TOKENBROKER__KEYS__A__QUALITY: keys.a.sha256: missing"]);
        check("", &[("TOKENBROKER__", "x")], &["unknown name"]);
    }

    #[test]
    fn every_problem_is_found_in_one_run() {
        let text = "[server]\nlisten = \"localhost\"\nmax_body_bytes = 0\n[routing]\ndefault_quality = \"premum\"\n\
                    max_attempts = 1.5\n[timeout]\n[retries]\nshare_percent = 200\n";
        check(
            text,
            &[],
            &[
                "t.toml:2:10: server.listen: \"localhost\" is no address",
                "t.toml:3:18: server.max_body_bytes: 0 is out of range",
                "t.toml:5:19: routing.default_quality: \"premum\" is not known (did you mean \"premium\"?)",
                "t.toml:6:16: routing.max_attempts: this is a float",
                "t.toml:7:2: timeout: unknown name (did you mean \"timeouts\"?)",
                "t.toml:9:17: retries.share_percent: 200 is out of range",
            ],
        );
    }

    #[test]
    fn an_open_gateway_stays_on_loopback_unless_it_is_asked_for() {
        let key = format!("[keys.a]\nsha256 = \"{A}\"\n");
        let open = |listen: &str, rest: &str| format!("[server]\nlisten = \"{listen}\"\n{rest}");
        check(&open("127.0.0.1:1", ""), &[], &[]);
        check(&open("[::1]:1", ""), &[], &[]);
        check(&open("0.0.0.0:1", ""), &[], &["no key is configured"]);
        check(&open("0.0.0.0:1", "[keys]\n"), &[], &["no key is configured"]);
        check(&open("0.0.0.0:1", "open = true\n"), &[], &[]);
        check(&open("0.0.0.0:1", &key), &[], &[]);
        let admin = key.replace("keys", "admins");
        check(&open("0.0.0.0:1", &admin), &[], &[]);
        let access = |listen: &str| load(&open(listen, &admin), &[]).unwrap().access();
        assert_eq!((access("0.0.0.0:1"), access("127.0.0.1:1")), (Access::Keys, Access::Open));
        // Found by reading: a new gateway of a fleet let everybody in until it had heard of the keys of the others.
        let fleet = "[fleet]\npostgres = \"postgres://tokenbroker@127.0.0.1/books\"\n";
        assert_eq!(load(&open("127.0.0.1:1", fleet), &[]).unwrap().access(), Access::Keys);
        check(&open("127.0.0.1:1", &format!("open = true\n{key}")), &[], &["an open gateway asks for none"]);
    }

    #[test]
    fn the_listeners_do_not_share_a_port() {
        let both = |api: &str, operations: &str| {
            format!("[server]\nlisten = \"{api}\"\noperations_listen = \"{operations}\"\nopen = true\n")
        };
        check(&both("127.0.0.1:1", "127.0.0.1:1"), &[], &["operations_listen: 127.0.0.1:1 and 127.0.0.1:1 need the same port"]);
        check(&both("0.0.0.0:1", "127.0.0.1:1"), &[], &["need the same port"]);
        check(&both("127.0.0.2:1", "127.0.0.1:1"), &[], &[]);
        check(&both("127.0.0.1:0", "127.0.0.1:0"), &[], &[]);
    }

    #[test]
    fn a_key_is_a_hash_of_its_own() {
        let pair = |a: &str, b: &str| format!("[keys.a]\n{a}\n[keys.b]\n{b}\n");
        let hash = format!("sha256 = \"{A}\"");
        check(&pair(&hash, &hash), &[], &["keys.b: the same key as \"a\""]);
        check("[keys.a]\nsha256 = \"tb-the-key-itself\"\n", &[], &["keys.a.sha256: this is no SHA-256"]);
        check("[keys.a]\n", &[], &["keys.a.sha256: missing"]);
        check(&format!("[keys.a]\n{hash}\nsha256_file = \"x\"\n"), &[], &["`sha256` is given too"]);
        check("[keys.a]\nsha256_file = \"no-such-file\"\n", &[], &["cannot read no-such-file"]);
        check(&format!("[keys.anonymous]\n{hash}\n"), &[], &["cannot name a key"]);
        check(&format!("[keys.a]\n{hash}\nproviders = [\"p\"]\nexclude_providers = [\"p\"]\n"), &[], &["allowed and excluded"]);
        check(&format!("[keys.a]\n{hash}\nmax_cost_usd = 0\n"), &[], &["keys.a.max_cost_usd: this is no amount"]);
        check(&format!("[keys.a]\n{hash}\nbudget_window = \"day\"\n"), &[], &["keys.a.budget_usd: missing"]);
        let shown = format!("{:?}", load("[keys.a]\nsha256 = \"tb-the-key-itself\"\n", &[]));
        assert!(!shown.contains("the-key-itself"), "{shown}");
    }

    #[test]
    fn a_hash_may_lie_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hash");
        std::fs::write(&path, format!("{A}\n")).unwrap();
        let config = load(&format!("[keys.a]\nsha256_file = \"{}\"\n", path.display()), &[]).unwrap();
        assert_eq!(config.keys[0].sha256, [0xaa; 32]);
    }

    #[test]
    fn aliases_name_targets_and_do_not_chain() {
        check("[aliases]\nfast = \"auto:economy\"\nbest = \"p/m\"\n", &[], &[]);
        check("[aliases]\na = \"b\"\nb = \"auto\"\n", &[], &["aliases.a: \"b\" is no target"]);
        check("[aliases]\nauto = \"m\"\n", &[], &["aliases.auto: \"auto\" is taken"]);
        check("[aliases]\na = 1\n", &[], &["aliases.a: this is an integer"]);
        check("[routing]\nbaseline = \"gpt\"\n", &[], &["routing.baseline: this names no backend"]);
    }

    #[test]
    fn tokenizers_are_files_by_whose_they_are() {
        let config = load("[tokenizers]\nqwen35 = \"q.json\"\n\"p/gpt-5.4\" = \"/x/t.json\"\n", &[]).unwrap();
        assert_eq!(config.tokenizers["qwen35"].to_str(), Some("q.json"));
        assert_eq!(config.tokenizers.len(), 2);
        check("[tokenizers]\nqwen35 = 5\n", &[], &["tokenizers.qwen35: this is an integer"]);
    }

    #[test]
    fn deployments_are_named_by_backend() {
        let config = load("[deployments]\n\"p/gpt-5.4\" = \"my-chat\"\n", &[]).unwrap();
        assert_eq!(config.deployments["p/gpt-5.4"], "my-chat");
        let config = load("", &[("TOKENBROKER__DEPLOYMENTS", "{ \"p/m\" = \"ep-2026\" }")]).unwrap();
        assert_eq!(config.deployments["p/m"], "ep-2026");
        check(
            "[deployments]\n\"p/m\" = \"a/b\"\n",
            &[],
            &["t.toml:2:9: deployments.p/m: this cannot be the name of a deployment"],
        );
        check("[deployments]\n\"p/m\" = 1\n", &[], &["deployments.p/m: this is an integer"]);
    }

    /// The example with its settings switched on: lines such as `# name = value` and `# [section]`.
    fn uncommented_example() -> String {
        let setting = |line: &str| {
            let text = line.strip_prefix("# ")?;
            let name = text.split_once(" = ").map_or(text, |(name, _)| name);
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            (is_name && text.contains(" = ") || text.starts_with('[')).then(|| text.to_owned())
        };
        EXAMPLE.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_valid_and_its_commented_values_are_the_defaults() {
        load(EXAMPLE, &[]).unwrap();
        // The one file that is read, and that no machine has.
        let example = uncommented_example().replace("\nca_file", "\n# ca_file");
        let config = load(&example, &[]).unwrap();
        let server = Server { cors_origins: config.server.cors_origins.clone(), ..Server::default() };
        assert_eq!(config.server, server);
        assert_eq!(config.books, Books { row_days: config.books.row_days, ..Books::default() });
        assert_eq!(config.timeouts, Timeouts::default());
        assert_eq!((config.retries, config.limits, config.log), (Retries::default(), Limits::default(), Log::default()));
        assert_eq!((config.reload, config.providers_file), (Reload::default(), Config::default().providers_file));
        let Routing { aliases, alias_wishes, baseline, .. } = config.routing.clone();
        let routing = Routing { aliases, alias_wishes, baseline, ..Routing::default() };
        assert_eq!(config.routing, routing);
        assert_eq!(config.keys[0].means.limits.quality, Some(QualityTier::Standard));
    }

    #[test]
    fn the_example_names_every_setting() {
        let key = format!("sha256 = \"{A}\"\n");
        let sections = [
            "",
            "server",
            "books",
            "routing",
            "timeouts",
            "retries",
            "limits",
            "upstream",
            "log",
            "reload",
            "providers_file",
            "alias_wishes.fast",
            "keys.team",
            "teams.team",
            "projects.team",
            "gateway",
            "feeds.team",
            "admins.team",
        ];
        for section in sections {
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let rest = match section.split('.').next() {
                Some("keys" | "admins") => key.as_str(),
                Some("alias_wishes") => "[aliases]\nfast = \"auto\"\n",
                Some("feeds") => "format = \"toml\"\nfile = \"x\"\n",
                _ => "",
            };
            let problems = load(&format!("{header}zzz = 1\n{rest}"), &[]).unwrap_err();
            let (_, accepted) = problems[0].split_once("accepted: ").unwrap();
            for name in accepted.split(", ") {
                let shown = if section.is_empty() { format!("[{name}") } else { format!("{name} = ") };
                assert!(EXAMPLE.contains(&shown), "the example lacks {section} {name}");
            }
        }
    }
}
