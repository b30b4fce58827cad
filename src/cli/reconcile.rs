//! `tokenbroker reconcile`: the books against a vendor's bill, or against readings of a prepaid balance: what differs, in tokens and
//! money, by day and model, and what most likely makes the difference.

mod told;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use crate::ledger::{BookedAttempt, BookedRequest, Books, Stretch};
use crate::reconcile::{Bill, Gathered, Mapping, compare, readings, set_against, shipped, vendors};
use crate::units::{Currency, Provenance};

pub const EXAMPLES: &str = "\
Examples:
  tokenbroker reconcile --vendor deepseek --bill amount-2026-11.csv --bill cost-2026-11.csv
  tokenbroker reconcile --vendor openai --bill costs.csv --all --format json
  tokenbroker reconcile --mapping mine.toml --bill export.csv
  tokenbroker reconcile --vendor deepseek --show-mapping > mine.toml
  tokenbroker reconcile --vendor deepseek --balances balances.csv --currency CNY

Exit code 1 when something is off. A mapping says what a bill's columns are; what of it nobody has checked against a real export it \
says itself.";

/// A request's attempts begin at most so long after it arrived.
const SLACK: SignedDuration = SignedDuration::from_hours(25);

/// What `reconcile` takes.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Whose bill it is: alibaba, anthropic, deepseek, openai, volcengine.
    #[arg(long, value_name = "NAME", required_unless_present = "mapping")]
    pub vendor: Option<String>,
    /// A mapping of your own, in the place of the vendor's.
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// The exported bill; several times where tokens and money are in different files.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["balances", "show_mapping"])]
    pub bill: Vec<PathBuf>,
    /// Readings of the prepaid balance instead: a table of time and balance.
    #[arg(long, value_name = "FILE", conflicts_with = "bill")]
    pub balances: Option<PathBuf>,
    /// In which currency the balance is [default: the mapping's].
    #[arg(long, value_name = "CODE", requires = "balances", value_parser = currency)]
    pub currency: Option<Currency>,
    /// Only these providers of the table [default: the mapping's].
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub provider: Vec<String>,
    /// Tell lines that agree too.
    #[arg(long)]
    pub all: bool,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub format: Form,
    /// Print the mapping, to begin one of your own with.
    #[arg(long)]
    pub show_mapping: bool,
}

/// How a comparison is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// One object; amounts are exact.
    Json,
}

fn currency(code: &str) -> Result<Currency, String> {
    let known = Currency::ALL.map(Currency::code).join(", ");
    code.to_uppercase().parse().map_err(|()| format!("one of {known}"))
}

/// Runs `tokenbroker reconcile`.
pub fn run(args: &ReconcileArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (name, text) = mapping_text(args)?;
    if args.show_mapping {
        output.text(&text)?;
        return Ok(Exit::Success);
    }
    let mut mapping = match Mapping::read(&name, &text) {
        Ok(mapping) => mapping,
        Err(problems) => {
            problems.iter().try_for_each(|problem| output.note(problem.to_string()))?;
            return Ok(Exit::Problems);
        }
    };
    if !args.provider.is_empty() {
        mapping.providers.clone_from(&args.provider);
    }
    let books = super::ledger::open(&args.gateway, environment)?;
    if let Some(path) = &args.balances {
        return against_balances(args, path, &mapping, &books, output);
    }
    let mut bill = Bill::default();
    for path in &args.bill {
        bill.add(&mapping, open(path)?).with_context(|| format!("{}", path.display()))?;
    }
    let Some((first, last)) = bill.days() else { bail!("the bill has no rows") };
    // A day of the vendor's zone, and a day at either side for attempts that began or ended across its border.
    let midnight = |day: jiff::civil::Date| day.to_zoned(mapping.zone.clone()).map(|zoned| zoned.timestamp());
    let stretch =
        Stretch { from: midnight(first.saturating_sub(1.day()))?, until: midnight(last.saturating_add(2.days()))?, key: None };
    warn_of_pruned(&books, midnight(first)?, output)?;
    let mut gathered = Gathered::against(&bill);
    each_attempt(&books, &stretch, &mapping, |request, attempt| gathered.add(&mapping, &request.book_version, attempt))?;
    let comparison = compare(&bill, &gathered);
    match args.format {
        Form::Table => told::table(&mapping, &bill, &comparison, args.all, output)?,
        Form::Json => output.json(&told::json(&mapping, &bill, &comparison, args.all))?,
    }
    let settled = comparison.lines.iter().all(|line| line.cause.is_settled());
    Ok(if settled { Exit::Success } else { Exit::Failure })
}

/// The mapping's name and text.
fn mapping_text(args: &ReconcileArgs) -> anyhow::Result<(String, String)> {
    if let Some(path) = &args.mapping {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        return Ok((shown, text));
    }
    let vendor = args.vendor.as_deref().unwrap_or_default();
    let Some(text) = shipped(vendor) else {
        let known = vendors().collect::<Vec<_>>().join(", ");
        bail!("no mapping of {vendor:?} is shipped (those of {known} are): write one and name it with --mapping");
    };
    Ok((vendor.to_owned(), text.to_owned()))
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

fn warn_of_pruned(books: &Books, from: Timestamp, output: &mut Output) -> anyhow::Result<()> {
    if let Some(first) = books.rows_from()?.filter(|first| *first > from) {
        output.note(format!(
            "rows of before {first} were deleted (books.row_days): what is on the bill before then will look missing"
        ))?;
    }
    Ok(())
}

/// Every attempt of the mapping's providers.
fn each_attempt(
    books: &Books,
    stretch: &Stretch,
    mapping: &Mapping,
    mut each: impl FnMut(&BookedRequest, &BookedAttempt),
) -> anyhow::Result<()> {
    books.each_request(stretch, &mut |request| {
        let theirs = request.attempts.iter().filter(|attempt| mapping.providers.contains(&attempt.provider));
        theirs.for_each(|attempt| each(request, attempt));
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn against_balances(
    args: &ReconcileArgs,
    path: &Path,
    mapping: &Mapping,
    books: &Books,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let readings = readings(open(path)?, &mapping.zone).with_context(|| format!("{}", path.display()))?;
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else { bail!("there are no readings") };
    let currency = args.currency.unwrap_or(mapping.currency);
    let stretch = Stretch { from: first.at.saturating_sub(SLACK)?, until: last.at.saturating_add(1.second())?, key: None };
    warn_of_pruned(books, first.at, output)?;
    let mut charges = Vec::new();
    each_attempt(books, &stretch, mapping, |_, attempt| {
        if attempt.currency == currency.code() && attempt.amount_pico != 0 {
            let took = i64::try_from(attempt.duration_ms.unwrap_or(0)).unwrap_or(i64::MAX);
            let ended = attempt.started_at.checked_add(SignedDuration::from_millis(took)).unwrap_or(attempt.started_at);
            charges.push((ended, i128::from(attempt.amount_pico), attempt.provenance == Provenance::Estimated.word()));
        }
    })?;
    let intervals = set_against(&readings, charges);
    match args.format {
        Form::Table => told::balances(&intervals, currency, &mapping.zone, output)?,
        Form::Json => output.json(&told::balances_json(&intervals, currency))?,
    }
    let settled = intervals.iter().all(|interval| interval.off().abs() <= interval.from.step + interval.until.step);
    Ok(if settled { Exit::Success } else { Exit::Failure })
}

/// When a reading was, for people.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
