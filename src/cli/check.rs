//! `tokenbroker check`: every problem of the configuration, the table and the variables at once, or a summary of what a
//! gateway would run with. Nothing is started, sent or written.

use std::collections::BTreeMap;
use std::fmt;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::setup::{self, Setup, Standing, counted};
use super::table::{Align, Table, flowed};
use crate::catalog::Backend;
use crate::clock::SystemClock;
use crate::document::{Place, Problem};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print one JSON object: `problems` (an array of file with line and column, variable or option, then path, wrong,
    /// accepted) and `summary` (null while there are problems).
    #[arg(long)]
    pub json: bool,
}

/// Runs `tokenbroker check`.
pub fn run(args: &CheckArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let found = setup::load(&args.gateway, environment);
    let exit = if found.is_ok() { Exit::Success } else { Exit::Problems };
    let (problems, summary) = match &found {
        Ok(setup) => (Vec::new(), Some(Summary::of(setup, SystemClock::shared().wall()))),
        Err(problems) => (problems.iter().map(Finding::from).collect(), None),
    };
    if args.json {
        output.json(&Report { problems, summary })?;
        return Ok(exit);
    }
    match summary {
        Some(summary) => output.line(summary.to_string())?,
        None => tell(&found.err().unwrap_or_default(), output)?,
    }
    Ok(exit)
}

fn tell(problems: &[Problem], output: &mut Output) -> anyhow::Result<()> {
    for problem in problems {
        output.line(problem.to_string())?;
    }
    output.note(format!("{}.", counted(problems.len(), "problem")))?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct Report<'s> {
    problems: Vec<Finding<'s>>,
    summary: Option<Summary<'s>>,
}

/// A problem as a script reads it: `file`, `line` and `column` are set, or `variable`, or `option`.
#[derive(Debug, Serialize)]
struct Finding<'p> {
    file: Option<&'p str>,
    line: Option<usize>,
    column: Option<usize>,
    variable: Option<&'p str>,
    option: Option<&'p str>,
    path: &'p str,
    wrong: &'p str,
    accepted: &'p str,
}

impl<'p> From<&'p Problem> for Finding<'p> {
    fn from(problem: &'p Problem) -> Self {
        let (path, wrong, accepted) = (problem.path.as_str(), problem.wrong.as_str(), problem.accepted.as_str());
        let mut finding = Self { file: None, line: None, column: None, variable: None, option: None, path, wrong, accepted };
        match &problem.place {
            Place::File { file, line, column } => {
                (finding.file, finding.line, finding.column) = (Some(file.as_str()), Some(*line), Some(*column));
            }
            Place::Unread { file } => finding.file = Some(file),
            Place::Environment { variable } => finding.variable = Some(variable),
            Place::Option { option } => finding.option = Some(option),
        }
        finding
    }
}

/// What a gateway would run with.
#[derive(Debug, Serialize)]
struct Summary<'s> {
    /// The configuration's file; null where there is none.
    config: Option<String>,
    table: String,
    book_version: &'s str,
    backends: usize,
    /// Backends that are not switched off and have a price now, or are free: what can be used, given the keys.
    usable: usize,
    /// The oldest day that the sources of the prices in force name: how old the table may be.
    oldest_price_source: Option<String>,
    providers_keyed: Vec<&'s str>,
    providers_keyless: Vec<&'s str>,
    /// The variable that is not set, by provider.
    providers_without_key: BTreeMap<&'s str, &'s str>,
    /// The variable that is not set and holds a part of the address, by provider; each has its key.
    providers_without_address: BTreeMap<&'s str, &'s str>,
    /// Why it is off, by provider.
    providers_disabled: BTreeMap<&'s str, &'s str>,
    /// Names of gateway keys; empty for an open gateway.
    keys: Vec<&'s str>,
    listen: String,
    operations_listen: String,
    data_directory: String,
    /// What is worth knowing of the table, though nothing is wrong in it.
    warnings: Vec<String>,
    /// Why `serve` would not start on this, though nothing is wrong in the files.
    refusal: Option<String>,
}

impl<'s> Summary<'s> {
    fn of(setup: &'s Setup, now: Timestamp) -> Self {
        let (config, snapshot) = (&setup.config, &setup.snapshot);
        let is_off = |backend: &Backend| backend.disabled.is_some() || snapshot.provider_of(backend).disabled.is_some();
        let on = || snapshot.backends().iter().filter(|backend| !is_off(backend));
        let oldest = on().filter_map(|backend| day_in(&backend.prices.at(now)?.source)).min();
        let mut summary = Self {
            config: setup.config_file.as_ref().map(|path| path.display().to_string()),
            table: config.providers_file.display().to_string(),
            book_version: &snapshot.version,
            backends: snapshot.backends().len(),
            usable: on().filter(|backend| backend.free || backend.prices.at(now).is_some()).count(),
            oldest_price_source: oldest.map(|day| day.to_string()),
            providers_keyed: Vec::new(),
            providers_keyless: Vec::new(),
            providers_without_key: BTreeMap::new(),
            providers_without_address: BTreeMap::new(),
            providers_disabled: BTreeMap::new(),
            keys: config.keys.iter().map(|key| key.name.as_str()).collect(),
            listen: config.server.listen.to_string(),
            operations_listen: config.server.operations_listen.to_string(),
            data_directory: config.books.directory.display().to_string(),
            warnings: setup.warnings(now),
            refusal: setup.idle().map(|idle| format!("{idle}.\n{}", setup::REMEDY)),
        };
        for provider in snapshot.providers() {
            match setup.standing(provider) {
                Standing::Keyed => summary.providers_keyed.push(&provider.id),
                Standing::Keyless => summary.providers_keyless.push(&provider.id),
                Standing::KeyMissing(variable) => {
                    summary.providers_without_key.insert(&provider.id, variable);
                }
                Standing::PlaceMissing(variable) => {
                    summary.providers_without_address.insert(&provider.id, variable);
                }
                Standing::Disabled(reason) => {
                    summary.providers_disabled.insert(&provider.id, reason);
                }
            }
        }
        summary
    }

    fn access(&self) -> Vec<String> {
        match self.keys.as_slice() {
            [] => vec![format!("none: everybody who reaches {} is answered", self.listen)],
            names => names.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What a terminal of 80 columns leaves beside the names of the rows.
        const WIDTH: usize = 62;
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut row = |name: &str, items: Vec<String>| {
            let lines = if items.is_empty() { vec!["none".into()] } else { flowed(items, WIDTH) };
            for (n, line) in lines.into_iter().enumerate() {
                table.row([if n == 0 { format!("  {name}") } else { String::new() }, line]);
            }
        };
        let told = |all: &BTreeMap<&str, &str>| all.iter().map(|(id, what)| format!("{id} ({what})")).collect();
        let listed = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let age = self.oldest_price_source.as_ref().map_or_else(|| "undated".to_owned(), |day| format!("from a source of {day}"));
        row("configuration", vec![setup::shown_config(self.config.as_deref())]);
        row("table", vec![format!("{}, version {}", self.table, self.book_version)]);
        row("backends", vec![format!("{}, of which {} can be used, given the keys", self.backends, self.usable)]);
        row("oldest price", vec![age]);
        row("providers on", listed(&self.providers_keyed));
        row("need no key", listed(&self.providers_keyless));
        row("without key", told(&self.providers_without_key));
        if !self.providers_without_address.is_empty() {
            row("without address", told(&self.providers_without_address));
        }
        row("switched off", told(&self.providers_disabled));
        row("gateway keys", self.access());
        row("API", vec![self.listen.clone()]);
        row("operations", vec![self.operations_listen.clone()]);
        row("books", vec![self.data_directory.clone()]);
        write!(f, "No problem found.\n{table}")?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\n\nMind: {warning}"))?;
        self.refusal.iter().try_for_each(|refusal| write!(f, "\n\nA gateway would not start on this: {refusal}"))
    }
}

/// The first day (2026-11-22) that a text names. Sources of prices name first the day they were taken.
fn day_in(text: &str) -> Option<Date> {
    let mut starts = text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at);
    starts.find_map(|at| text.get(at..at + 10)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;
    use crate::cli::setup::testing::{TABLE, args, environment};

    fn check(config: &str, table: &str, json: bool) -> (Exit, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let args = CheckArgs { gateway: args(directory.path(), config, table), json };
        captured(|output| run(&args, &environment(&[("FAR_KEY", "s3cret")]), output))
    }

    #[test]
    fn a_good_set_up_is_summed_up_without_any_secret() {
        let (exit, out, _) = check("", TABLE, false);
        assert_eq!(exit, Exit::Success);
        for part in [
            "c.toml",
            "version 2026-11-22+",
            "2, of which 2 can be used",
            "a source of 2026-01-02",
            "near (NEAR_KEY)",
            "gone (closed)",
            "127.0.0.1:8080",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
        assert!(!out.contains("s3cret"));
        let (_, out, _) = check("", TABLE, true);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["problems"], serde_json::json!([]));
        assert_eq!(report["summary"]["providers_keyed"], serde_json::json!(["far"]));
        assert_eq!(report["summary"]["providers_without_key"]["near"], "NEAR_KEY");
        assert_eq!(report["summary"]["refusal"], serde_json::Value::Null);
    }

    #[test]
    fn a_site_whose_address_lacks_a_part_is_told_with_the_variable() {
        let table = TABLE
            .replace("https://far.example/v1\"", "https://{place}.far.example/v1\"\nplaceholders = { place = \"FAR_PLACE\" }");
        let (exit, out, _) = check("", &table, false);
        assert!(exit == Exit::Success && out.contains("without address") && out.contains("far (FAR_PLACE)"), "{out}");
        assert!(out.contains("no provider is on: looked for FAR_PLACE, NEAR_KEY"), "{out}");
        let (_, out, _) = check("", &table, true);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["summary"]["providers_without_address"], serde_json::json!({ "far": "FAR_PLACE" }));
    }

    #[test]
    fn problems_are_told_to_people_and_to_scripts() {
        let config = "[server]\nlisten = 1\n[log]\nformat = \"xml\"\n";
        let (exit, out, err) = check(config, TABLE, false);
        assert_eq!((exit, out.lines().count(), err.as_str()), (Exit::Problems, 2, "2 problems.\n"));
        let (exit, out, _) = check(config, TABLE, true);
        assert_eq!(exit, Exit::Problems);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let problem = &report["problems"][1];
        assert!(problem["file"].as_str().unwrap().ends_with("c.toml"));
        assert_eq!((problem["line"].as_u64(), problem["path"].as_str()), (Some(4), Some("log.format")));
        assert_eq!((&report["summary"], &problem["variable"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    }

    #[test]
    fn a_set_up_that_could_not_start_says_so() {
        let (exit, out, _) = check("", &TABLE.replace("FAR_KEY", "ABSENT_KEY"), false);
        assert!(exit == Exit::Success && out.contains("would not start on this: no provider is on"), "{out}");
    }

    #[test]
    fn a_source_names_the_day_it_was_taken() {
        let day = |text| day_in(text).map(|day| day.to_string());
        assert_eq!(day("pages 1.0.20260927202305, 2026-09-27; in force since 2026-09-22").as_deref(), Some("2026-09-27"));
        assert_eq!(day("providers.md 2026-11-22").as_deref(), Some("2026-11-22"));
        assert_eq!((day("2026-13-40"), day("一2026"), day("")), (None, None, None));
    }
}
