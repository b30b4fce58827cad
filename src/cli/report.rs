//! `tokenbroker report`: what was spent, and what it would have cost at the baseline, from the books of a data directory: as a
//! table, as CSV or JSON for programs, and as a picture.
//!
//! It reads the store beside a running gateway, read-only. What a gateway has not folded into it yet (seconds, and after a kill
//! what the next start takes over) is not there; the gateway's own `/usage` waits for that.

mod picture;
mod told;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use self::picture::picture;
use super::args::{Environment, GatewayArgs};
use super::days::DayArgs;
use super::output::{Exit, Output};
use crate::config::stores::POSTGRES_PASSWORD;
use crate::config::{Config, ProviderKeys, Purpose, provider_keys};
use crate::fleet::{self, UsageTold};
use crate::ledger::{Books, UsageBy, UsageQuery};
use crate::server;
use crate::units::KeyName;

/// No report has more lines.
const MOST_LINES: usize = 100_000;

pub const EXAMPLES: &str = "\
Examples:
  tokenbroker report
  tokenbroker report --days 7 --by provider,model
  tokenbroker report --from 2026-11-01 --to 2026-11-30 --key web --format csv > november.csv
  tokenbroker report --by tag,model
  tokenbroker report --svg spend.svg

A request counts at each of its tags; what has none is in the sums of all only. saved is told where every request was compared with the baseline (routing.baseline).";

/// What `report` takes.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub days: DayArgs,
    /// What is told apart: a line for each combination.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = told_apart, default_value = "day,provider")]
    pub by: Vec<UsageBy>,
    /// Only of this gateway key.
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub format: Form,
    /// Draw the spend by day and provider into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// How a report is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// Comma-separated, with a heading; amounts are exact.
    Csv,
    /// As `GET /usage` tells it.
    Json,
}

fn told_apart(word: &str) -> Result<UsageBy, String> {
    let found = UsageBy::WORDS.into_iter().find(|(_, known)| *known == word);
    found.map(|(by, _)| by).ok_or_else(|| {
        let known: Vec<&str> = UsageBy::WORDS.iter().map(|(_, known)| *known).collect();
        format!("one or more of {}, with commas between them", known.join(", "))
    })
}

/// Runs `tokenbroker report`.
pub fn run(args: &ReportArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let books = Told::by(args, environment)?;
    let query = query(args)?;
    let (lines, total) = books.usage(&query)?;
    if lines.len() >= MOST_LINES {
        bail!("more than {MOST_LINES} lines: ask for fewer days, or tell less apart");
    }
    match args.format {
        Form::Table => told::table(&query, &lines, &total, output)?,
        Form::Csv => output.text(&told::csv(&query, &lines))?,
        Form::Json => output.line(String::from_utf8_lossy(&server::usage_body(&query, &lines, &total)))?,
    }
    if let Some(path) = &args.svg {
        let (days, _) = books.usage(&UsageQuery { group_by: vec![UsageBy::Day, UsageBy::Provider], ..query.clone() })?;
        std::fs::write(path, picture(&query, &days)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Exit::Success)
}

/// Whose books tell.
enum Told {
    /// This gateway's own.
    Own(Box<Books>),
    /// Those of all gateways.
    Shared(Box<Config>, ProviderKeys),
}

impl Told {
    /// A data directory that is named is asked; else the store that gateways share, where there is one.
    fn by(args: &ReportArgs, environment: &Environment) -> anyhow::Result<Self> {
        let config = args.gateway.configuration(environment)?;
        if config.fleet.postgres.is_some() && args.gateway.data_dir.is_none() {
            let (password, problems) = provider_keys([(POSTGRES_PASSWORD, Purpose::Key)], &args.gateway.over(environment));
            if let Some(problem) = problems.first() {
                bail!("{problem}");
            }
            return Ok(Self::Shared(Box::new(config), password));
        }
        Ok(Self::Own(Box::new(super::ledger::open(&args.gateway, environment)?)))
    }

    fn usage(&self, query: &UsageQuery) -> anyhow::Result<UsageTold> {
        match self {
            Self::Own(books) => {
                let lines = books.usage(query)?;
                let total = books.usage_total(query, &lines)?;
                Ok((lines, total))
            }
            Self::Shared(config, password) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(runtime.block_on(fleet::read_usage(config, password, query))??)
            }
        }
    }
}

fn query(args: &ReportArgs) -> anyhow::Result<UsageQuery> {
    let (from, until) = args.days.range()?;
    let mut group_by = Vec::new();
    for by in &args.by {
        if !group_by.contains(by) {
            group_by.push(*by);
        }
    }
    if !UsageQuery::is_answerable(&group_by) {
        bail!("--by takes one of team, project and tag at a time");
    }
    Ok(UsageQuery { key: args.key.as_deref().map(KeyName::new), from, until, group_by, most_lines: MOST_LINES })
}
