//! The borders between the modules, as a test: who may import whom, where a crate may be named, what no file may hold.
//!
//! The table of imports stands in `docs/ARCHITECTURE.md` and is read from there, so that the document cannot drift
//! from what is enforced. Sources are read as text, with comments and literals blanked, rather than parsed: the rules
//! need words and paths only. What a macro makes is not seen, nor is a `use` that renames the crate.

#![expect(clippy::expect_used, reason = "a tree that cannot be read is a failed test")]

#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use source::{Source, behind, blank, first_names, has_word, is_word, item_end};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCUMENT: &str = "docs/ARCHITECTURE.md";
const IMPORTS: &str = "## Who may import whom";
const INVARIANTS: &str = "## Invariants";
const DEPENDENCIES: &str = "## Dependencies";

/// A crate and the only files or folders of `src` that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli/", "main.rs"]),
    ("axum", &["server/"]),
    ("brotli", &["coding.rs"]),
    ("clap", &["cli/", "main.rs"]),
    ("csv", &["cli/export.rs", "reconcile/table.rs"]),
    ("flate2", &["coding.rs"]),
    ("hyper_rustls", &["upstream/"]),
    // The pooled client; the sandbox's loopback client is hyper's bare connection.
    ("hyper_util::client", &["upstream/"]),
    ("parquet", &["cli/export.rs", "cli/export/parquet.rs"]),
    ("prometheus", &["telemetry/"]),
    (
        "rusqlite",
        &[
            "ledger/backup.rs",
            "ledger/bill.rs",
            "ledger/booked.rs",
            "ledger/check.rs",
            "ledger/check/sums.rs",
            "ledger/outbox.rs",
            "ledger/postings.rs",
            "ledger/pruning.rs",
            "ledger/query.rs",
            "ledger/rollup.rs",
            "ledger/rows.rs",
            "ledger/shares.rs",
            "ledger/sqlite.rs",
            "ledger/usage.rs",
        ],
    ),
    ("rustls", &["upstream/"]),
    ("rustls_platform_verifier", &["upstream/"]),
    ("tiktoken", &["meter/exact/"]),
    ("tokio_postgres", &["fleet/"]),
    ("tokio_rustls", &["upstream/"]),
    ("tokenizers", &["meter/exact/given.rs"]),
    // An option of the command line is laid over the configuration as a value in its syntax.
    ("toml", &["document.rs", "document/", "cli/args.rs"]),
    ("tracing_subscriber", &["telemetry/"]),
];

/// Modules whose values depend on their arguments alone.
const PURE: &[&str] = &["units", "canonical", "frontend", "dialect", "meter", "route"];
const IMPURE_WORDS: &[&str] =
    &["tokio", "tokio_util", "Instant", "SystemTime", "getrandom", "axum", "hyper", "hyper_util", "async", "SharedClock"];
/// Exact counts of long texts run off the reactor, and this is the file that takes them there.
const PURE_EXCEPT: &[&str] = &["meter/tokenizer.rs"];

/// Where an amount may pass through, so that no number is a float.
const EXACT: &[&str] = &["units", "ledger", "policy", "route"];
/// The one way out of exactness: a figure on a dashboard.
const INEXACT_FN: &str = "fn to_metric";

const MOST_LINES: usize = 600;
/// Longer files, with the lines they may have. All of them hold tests only.
const LONG_FILES: &[(&str, usize)] = &[("ledger/scenarios.rs", 700)];

/// Where a provider's own word has another meaning: the file and the word.
const OTHER_MEANINGS: &[(&str, &str)] = &[
    // The Python package in the snippet that the demo prints.
    ("cli/demo/show.rs", "openai"),
    // What the example configuration shows, switched off, for lists of providers and for a baseline.
    ("config/reference/limits.rs", "deepseek"),
    ("config/reference/limits.rs", "openai"),
    ("config/reference.rs", "openai"),
    ("config/reference/limits.rs", "openrouter"),
    // Files of `config/bills`, which are what is known of a vendor's bill, and examples of them.
    ("reconcile/mapping.rs", "alibaba"),
    ("reconcile/mapping.rs", "anthropic"),
    ("reconcile/mapping.rs", "deepseek"),
    ("reconcile/mapping.rs", "openai"),
    ("reconcile/mapping.rs", "volcengine"),
    ("cli/reconcile.rs", "deepseek"),
    ("cli/reconcile.rs", "openai"),
];

/// Written in pieces, or this file would break its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/t", "mp/")];
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];
/// Cargo names its registry in the lock file, whichever mirror it asks.
const NAMES_REGISTRIES: &[&str] = &["Cargo.lock"];

// === rules: each answers what is wrong with one file ===

type Allowed = BTreeMap<String, BTreeSet<String>>;

fn wrong_imports(source: &Source, allowed: &Allowed) -> Vec<String> {
    let module = source.module();
    let mut problems = Vec::new();
    let paths = behind(&source.code, "crate::").chain(behind(&source.code, "tokenbroker::"));
    let imported: BTreeSet<&str> = paths.flat_map(first_names).filter(|name| *name != module).collect();
    for name in imported {
        if !allowed.get(module).is_some_and(|row| row.contains(name)) {
            problems.push(format!("{}: {module} may not import {name}", source.path));
        }
    }
    let to_the_root = "super::".repeat(source.depth().max(1));
    if has_word(&source.code, &to_the_root) {
        problems.push(format!("{}: `{to_the_root}` reaches the crate's root, write `crate::`", source.path));
    }
    problems
}

fn wrong_crates(source: &Source) -> Vec<String> {
    let may = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    let named = |name: &str| behind(&source.code, name).any(|after| after.starts_with("::"));
    let wrong = CRATES.iter().filter(|(name, places)| named(name) && !may(places));
    wrong.map(|(name, places)| format!("{}: only {} may name {name}", source.path, places.join(", "))).collect()
}

fn impure(source: &Source) -> Vec<String> {
    if !PURE.contains(&source.module()) || PURE_EXCEPT.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let words = IMPURE_WORDS.iter().filter(|word| has_word(&source.code, word));
    words.map(|word| format!("{}: {} is pure and may not name {word}", source.path, source.module())).collect()
}

fn prints(source: &Source) -> Vec<String> {
    let words = ["print!", "println!", "eprint!", "eprintln!"].into_iter().filter(|word| has_word(&source.code, word));
    words.filter(|_| source.module() != "cli").map(|word| format!("{}: {word} outside cli", source.path)).collect()
}

fn floats(source: &Source) -> Vec<String> {
    if !EXACT.contains(&source.module()) {
        return Vec::new();
    }
    let mut code = source.code.clone();
    if let Some(start) = code.find(INEXACT_FN).filter(|_| source.module() == "units") {
        let end = item_end(&code, start);
        blank(&mut code, start, end);
    }
    let words = ["f32", "f64"].into_iter().filter(|word| has_word(&code, word));
    words.map(|word| format!("{}: {word} where money passes", source.path)).collect()
}

fn named_providers(source: &Source, providers: &[String]) -> Vec<String> {
    if source.module() == "sandbox" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for literal in &source.literals {
        for word in literal.split(|c: char| !is_word(c) && c != '-') {
            let meant = !OTHER_MEANINGS.contains(&(source.path.as_str(), word));
            if meant && providers.iter().any(|provider| provider == word) {
                problems.push(format!("{}: names the provider {word} in {literal:?}", source.path));
            }
        }
    }
    problems
}

fn misshapen(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    if !source.text.starts_with("//! ") {
        problems.push(format!("{}: does not open with `//!`", source.path));
    }
    let most = LONG_FILES.iter().find(|(path, _)| *path == source.path).map_or(MOST_LINES, |(_, most)| *most);
    let lines = source.text.lines().count();
    if lines > most {
        problems.push(format!("{}: {lines} lines, {most} allowed", source.path));
    }
    let unfinished = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let words = unfinished.into_iter().filter(|word| has_word(&source.whole, word));
    problems.extend(words.map(|word| format!("{}: {word}", source.path)));
    problems
}

fn foreign_places(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let path_starts = |at: usize| !line[..at].ends_with(|c: char| is_word(c) || matches!(c, '.' | '-' | '}' | ')'));
        let machine = MACHINE_PATHS.iter().any(|place| line.match_indices(place).any(|(at, _)| path_starts(at)));
        let registry = !NAMES_REGISTRIES.contains(&path) && REGISTRIES.iter().any(|host| line.contains(host));
        if machine || registry {
            problems.push(format!("{path}:{}: names a place of one machine or a registry: {}", number + 1, line.trim()));
        }
    }
    problems
}

// === the tree ===

fn collect(folder: &Path, below: &str, into: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("src").map(|entry| entry.expect("an entry of src")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), into);
        } else if entry.path().extension().is_some_and(|ending| ending == "rs") {
            into.push(Source::new(&name, &fs::read_to_string(entry.path()).expect("a source")));
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&Path::new(ROOT).join("src"), "", &mut sources);
    let test_files: Vec<String> = sources.iter().flat_map(|source| source.test_files.clone()).collect();
    let only_tests = |source: &Source| {
        test_files
            .iter()
            .any(|test| source.stem().strip_prefix(test).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    sources.into_iter().map(|source| if only_tests(&source) { source.without_code() } else { source }).collect()
}

/// The rows of the document's table: a module, and the names in code marks in the next cell.
fn allowed(document: &str) -> Allowed {
    let names = |cell: &str| quoted(cell).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let mut rows = Allowed::new();
    for line in section(document, IMPORTS).lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|');
        let (modules, may) = (names(cells.next().unwrap_or_default()), names(cells.next().unwrap_or_default()));
        rows.extend(modules.into_iter().map(|module| (module, may.clone())));
    }
    rows
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}

/// What stands below a heading of this level, up to the next one.
fn section<'d>(document: &'d str, heading: &str) -> &'d str {
    let below = document.split_once(heading).map_or("", |(_, below)| below);
    below.split_once("\n## ").map_or(below, |(section, _)| section)
}

/// What stands in code marks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names of a manifest's dependencies, those of its tests included.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let tables =
        manifest.split("\n[").filter(|table| table.starts_with("dependencies]") || table.starts_with("dev-dependencies]"));
    tables.flat_map(|table| table.lines().skip(1)).filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

fn providers(table: &str) -> Vec<String> {
    let head = |line: &str| line.strip_prefix("[providers.")?.strip_suffix(']').map(str::to_owned);
    table.lines().filter_map(head).filter(|id| !id.contains('.')).collect()
}

#[track_caller]
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let problems: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_import_what_the_document_says() {
    let allowed = allowed(&read(DOCUMENT));
    check(|source| wrong_imports(source, &allowed));
    let modules: BTreeSet<String> = sources().iter().map(|s| s.module().to_owned()).filter(|m| m != "lib").collect();
    let described: BTreeSet<String> = allowed.into_keys().filter(|module| modules.contains(module)).collect();
    let only_tests = sources().into_iter().flat_map(|source| source.test_files).collect::<BTreeSet<_>>();
    let missing: Vec<_> = modules.difference(&described).filter(|module| !only_tests.contains(*module)).collect();
    assert!(missing.is_empty(), "no row in {DOCUMENT}: {missing:?}");
}

#[test]
fn the_document_names_the_tests_and_crates_that_there_are() {
    let document = read(DOCUMENT);
    let is_source = |name: &&str| Path::new(name).extension().is_some_and(|ending| ending == "rs");
    let files: Vec<&str> = quoted(section(&document, INVARIANTS)).into_iter().filter(is_source).collect();
    let is_there = |file: &&str| ["src", "tests/it"].iter().any(|folder| Path::new(ROOT).join(folder).join(file).is_file());
    let gone: Vec<&str> = files.iter().copied().filter(|file| !is_there(file)).collect();
    assert!(files.len() > 10 && gone.is_empty(), "{DOCUMENT} names {} files, and these are not there: {gone:?}", files.len());

    let rows = section(&document, DEPENDENCIES)
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect::<String>();
    let manifest = read("Cargo.toml");
    let (told, used) = (quoted(&rows), dependencies(&manifest));
    let apart: Vec<&&str> = used.symmetric_difference(&told).collect();
    assert!(used.len() > 20 && apart.is_empty(), "in {DOCUMENT} or in Cargo.toml alone: {apart:?}");
}

#[test]
fn every_file_is_part_of_the_crate() {
    let sources = sources();
    let declared: BTreeSet<String> = sources.iter().flat_map(Source::declared).collect();
    let alone = |source: &&Source| !matches!(source.path.as_str(), "lib.rs" | "main.rs") && !declared.contains(source.stem());
    let orphans: Vec<&str> = sources.iter().filter(alone).map(|source| source.path.as_str()).collect();
    assert!(orphans.is_empty(), "no module declares {orphans:?}");
}

#[test]
fn a_crate_is_named_where_it_belongs() {
    check(wrong_crates);
}

#[test]
fn pure_modules_ask_for_no_time_and_no_socket() {
    check(impure);
}

#[test]
fn only_the_command_line_prints() {
    check(prints);
}

#[test]
fn money_is_no_float() {
    check(floats);
}

#[test]
fn providers_are_rows_not_code() {
    let providers = providers(&read("providers.toml"));
    assert!(providers.len() > 10, "{providers:?}");
    check(|source| named_providers(source, &providers));
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    check(misshapen);
}

#[test]
fn tracked_files_name_no_machine_and_no_registry() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output().expect("git ls-files");
    let listed = String::from_utf8(listed.stdout).expect("paths in UTF-8");
    let paths: Vec<&str> = listed.split_terminator('\0').collect();
    assert!(paths.contains(&"Cargo.toml"), "git lists {} files", paths.len());
    let text = |path: &&str| fs::read_to_string(Path::new(ROOT).join(path)).ok();
    let problems: Vec<String> =
        paths.iter().filter_map(|path| Some((path, text(path)?))).flat_map(|(path, text)| foreign_places(path, &text)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Every rule finds what it is there for, and lets pass what only looks like it.
#[test]
fn a_breach_of_each_rule_is_found() {
    let table = format!(
        "{IMPORTS}\n| module | may import | why |\n|---|---|---|\n| `route`, `units` | `units` | |\n\n## Next\n| `route` | `cli` |\n"
    );
    let allowed = allowed(&table);
    let rows = |text: &str| wrong_imports(&Source::new("route/plan.rs", text), &allowed).len();
    assert_eq!(rows("use crate::units::Usd;\nuse crate::route::Quote;\nuse super::Quote; // crate::cli"), 0);
    assert_eq!(rows("use crate::{units::Usd, cli::{Exit, Cli}};\nfn f() { crate::server::run() }"), 2);
    assert_eq!(rows("use super::super::server;"), 1);
    assert_eq!(rows("#[cfg(test)]\nmod tests { use crate::cli; fn f() { \"}\"; } }"), 0);
    assert_eq!(rows("#[cfg(test)]\nmod tests { use crate::cli; }\nuse crate::cli;"), 1);

    let declared = Source::new("route/mod.rs", "pub mod plan; // mod no;\nmod inside { }\n#[cfg(test)]\nmod testing;").declared();
    assert_eq!(declared, ["route/plan", "route/testing"]);

    let finds = |rule: fn(&Source) -> Vec<String>, path: &str, text: &str| rule(&Source::new(path, text)).len();
    assert_eq!(finds(wrong_crates, "relay/pump.rs", "use axum::Router; // rusqlite::Connection"), 1);
    assert_eq!(finds(wrong_crates, "server/mod.rs", "use hyper_util::client::legacy::Client;\nuse hyper_util::rt::TokioIo;"), 1);
    assert_eq!(finds(wrong_crates, "server/routes.rs", "use axum::Router;"), 0);
    assert_eq!(finds(impure, "route/plan.rs", "use std::time::{Duration, Instant};\nasync fn f() {}"), 2);
    assert_eq!(finds(impure, "relay/pump.rs", "use tokio::time;"), 0);
    assert_eq!(finds(prints, "relay/pump.rs", "fn f() { println!(\"x\") }"), 1);
    assert_eq!(finds(prints, "cli/demo.rs", "fn f() { println!(\"x\") }"), 0);
    assert_eq!(finds(floats, "units/money.rs", "pub fn to_metric(self) -> f64 { self.0 as f64 }"), 0);
    assert_eq!(finds(floats, "policy/budget.rs", "pub fn to_metric(self) -> f64 { 1.0 }"), 1);
    assert_eq!(finds(misshapen, "cli/demo.rs", "//! Shows.\nfn f<'a>(c: char) { if c == '\"' { todo!() } }"), 1);
    assert_eq!(finds(misshapen, "cli/demo.rs", &format!("// Shows.\n{}", "\n".repeat(MOST_LINES))), 2);

    let known = providers("[providers.acme]\nname = \"Acme\"\n[providers.acme.quirks]\n");
    let named = |text: &str| named_providers(&Source::new("route/plan.rs", text), &known).len();
    assert_eq!(known, ["acme"]);
    assert_eq!(named("const A: &str = \"acme-chat acmes Acme\"; // \"acme\""), 0);
    assert_eq!(named("const A: &str = r#\"ask \"acme\"/fast\"#; const B: char = '\\''; const C: &str = \"acme\";"), 2);

    let machine = format!("see {}here and shared{}there", MACHINE_PATHS[0], MACHINE_PATHS[0]);
    assert_eq!(foreign_places("README.md", &machine).len(), 1);
    assert_eq!(foreign_places("README.md", &format!("shared{}there", MACHINE_PATHS[0])).len(), 0);
    assert_eq!(foreign_places("Cargo.lock", REGISTRIES[0]).len(), 0);
    assert_eq!(foreign_places("README.md", REGISTRIES[0]).len(), 1);
}
