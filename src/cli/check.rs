//! `tokenbroker check`: every problem of the configuration, the table and the variables at once, or a summary of what a
//! gateway would run with. Nothing is started, sent or written.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::setup::{self, Setup, Standing, counted};
use super::table::{Align, Table};
use crate::clock::SystemClock;
use crate::document::{Place, Problem};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Print one JSON object: `problems` (an array of file or variable, line, column, path, wrong, accepted) and
    /// `summary` (null while there are problems).
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

/// A problem as a script reads it: either `file`, `line` and `column` or `variable` is set.
#[derive(Debug, Serialize)]
struct Finding<'p> {
    file: Option<&'p str>,
    line: Option<usize>,
    column: Option<usize>,
    variable: Option<&'p str>,
    path: &'p str,
    wrong: &'p str,
    accepted: &'p str,
}

impl<'p> From<&'p Problem> for Finding<'p> {
    fn from(problem: &'p Problem) -> Self {
        let (file, line, column, variable) = match &problem.place {
            Place::File { file, line, column } => (Some(file.as_str()), Some(*line), Some(*column), None),
            Place::Environment { variable } => (None, None, None, Some(variable.as_str())),
        };
        Self { file, line, column, variable, path: &problem.path, wrong: &problem.wrong, accepted: &problem.accepted }
    }
}

/// What a gateway would run with.
#[derive(Debug, Serialize)]
struct Summary<'s> {
    table: String,
    book_version: &'s str,
    backends: usize,
    /// Backends that have a price now, or are free; the others are never used.
    priced: usize,
    /// The day from which the oldest price in force applies, of those that have one.
    oldest_price: Option<String>,
    providers_keyed: Vec<&'s str>,
    providers_keyless: Vec<&'s str>,
    /// Provider and the variable that is not set.
    providers_without_key: Vec<(&'s str, &'s str)>,
    /// Provider and why it is off.
    providers_disabled: Vec<(&'s str, &'s str)>,
    /// Names of gateway keys; empty for an open gateway.
    keys: Vec<&'s str>,
    listen: String,
    operations_listen: String,
    data_directory: String,
}

impl<'s> Summary<'s> {
    fn of(setup: &'s Setup, now: Timestamp) -> Self {
        let (config, snapshot) = (&setup.config, &setup.snapshot);
        let in_force = || snapshot.backends().iter().filter_map(|backend| backend.prices.at(now));
        let oldest = in_force().filter_map(|row| row.from).min();
        let mut summary = Self {
            table: config.providers_file.display().to_string(),
            book_version: &snapshot.version,
            backends: snapshot.backends().len(),
            priced: snapshot.backends().iter().filter(|backend| backend.free || backend.prices.at(now).is_some()).count(),
            oldest_price: oldest.map(|from| from.strftime("%Y-%m-%d").to_string()),
            providers_keyed: Vec::new(),
            providers_keyless: Vec::new(),
            providers_without_key: Vec::new(),
            providers_disabled: Vec::new(),
            keys: config.keys.iter().map(|key| key.name.as_str()).collect(),
            listen: config.server.listen.to_string(),
            operations_listen: config.server.operations_listen.to_string(),
            data_directory: config.books.directory.display().to_string(),
        };
        for provider in snapshot.providers() {
            match setup.standing(provider) {
                Standing::Keyed => summary.providers_keyed.push(&provider.id),
                Standing::Keyless => summary.providers_keyless.push(&provider.id),
                Standing::KeyMissing(variable) => summary.providers_without_key.push((&provider.id, variable)),
                Standing::Disabled(reason) => summary.providers_disabled.push((&provider.id, reason)),
            }
        }
        summary
    }

    fn access(&self) -> String {
        match self.keys.as_slice() {
            [] => format!("none: everybody who reaches {} is answered", self.listen),
            names => names.join(", "),
        }
    }
}

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut row = |name: &str, value: String| table.row([format!("  {name}"), value]);
        row("table", format!("{}, version {}", self.table, self.book_version));
        row("backends", format!("{}, {} priced or free", self.backends, self.priced));
        row("oldest price", self.oldest_price.clone().map_or("undated".into(), |day| format!("in force since {day}")));
        row("providers on", listed(self.providers_keyed.iter().map(ToString::to_string)));
        row("need no key", listed(self.providers_keyless.iter().map(ToString::to_string)));
        row("without key", listed(self.providers_without_key.iter().map(|(id, variable)| format!("{id} ({variable})"))));
        row("switched off", listed(self.providers_disabled.iter().map(|(id, reason)| format!("{id} ({reason})"))));
        row("gateway keys", self.access());
        row("API", self.listen.clone());
        row("operations", self.operations_listen.clone());
        row("books", self.data_directory.clone());
        write!(f, "No problem found.\n{table}")
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
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
            "version 2026-11-22+",
            "2, 2 priced or free",
            "since 2026-01-02",
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
}
