//! `tokenbroker prices`: what the table says that models cost, filtered, sorted and converted. Nothing is asked of any
//! provider; prices are those of the table, at any instant that it covers.
//!
//! `list` is what happens without a word, so that further commands about prices can stand beside it.

mod book;
mod cost;
pub mod filter;
mod listing;
mod show;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use self::filter::FilterArgs;
use self::listing::Listing;
use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::setup;
use crate::clock::SystemClock;
use crate::price_book::PriceBook;
use crate::setup::Setup;
use crate::units::{Currency, Mix};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  tokenbroker prices --sort output --limit 20
  tokenbroker prices --model 'qwen3*' --jurisdiction CN --currency eur
  tokenbroker prices --search flash --at 2026-12-01 --all
  tokenbroker prices --quality premium --format csv > prices.csv

All prices are per million tokens. Conversions go through the dollar, at the last rates of the table on or before the day
(before all of them, at the oldest).";

/// What `prices` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PricesArgs {
    #[command(subcommand)]
    pub command: Option<PricesCommand>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// What can be done with prices.
#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// The same as `prices` alone.
    #[command(after_help = EXAMPLES)]
    List(Box<ListArgs>),
    /// What requests cost that have been answered, by the code that books them: JSON lines in, JSON lines out.
    #[command(after_help = cost::EXAMPLES)]
    Cost(cost::CostArgs),
    /// Every figure of a backend's price, and who says it: the table, your own table, a feed or an administrator.
    Show(book::OneArgs),
    /// Every price that a backend had, has and will have, and who changed it.
    History(book::OneArgs),
    /// What differs between two tables or instants.
    #[command(
        after_help = "Examples:\n  tokenbroker prices diff 2026-09-01\n  tokenbroker prices diff 2026-09-01 2026-12-01\n  tokenbroker prices diff other.toml"
    )]
    Diff(book::DiffArgs),
    /// The list at an instant: the same as `list --at`.
    At(Box<AtArgs>),
    /// Somebody's list of prices as one of our own, for the backends of the table; what of it would be held back is told.
    #[command(
        after_help = "Example:\n  tokenbroker prices import model_prices.json --format litellm --provider theirs=ours > prices.toml"
    )]
    Import(book::ImportArgs),
    /// Prices in force as a list that another gateway can follow as a feed.
    Export(book::ExportArgs),
}

/// What `prices at` takes.
#[derive(Debug, Args)]
pub struct AtArgs {
    /// An instant (2026-12-01T00:00:00Z), or the beginning of a day in UTC (2026-12-01).
    #[arg(value_parser = instant)]
    pub instant: Timestamp,
    #[command(flatten)]
    pub list: ListArgs,
}

/// What `prices list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The order. Prices are compared in dollars, cheapest first; quality best first.
    #[arg(long, value_enum, default_value_t = Sort::Blend)]
    pub sort: Sort,
    /// The other way round.
    #[arg(long)]
    pub reverse: bool,
    /// At most this many rows.
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,
    /// The mix of input and output that the blended price stands for.
    #[arg(long, value_name = "INPUT:OUTPUT", default_value_t = Mix::USUAL, value_parser = str::parse::<Mix>)]
    pub blend: Mix,
    /// In the vendor's currency alone, or converted to this one. Without it: the vendor's, and dollars beside it.
    #[arg(long, value_enum)]
    pub currency: Option<Money>,
    /// Prices of this instant (2026-12-01T00:00:00Z) or of the beginning of this day in UTC (2026-12-01), instead of now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<Timestamp>,
    /// As what it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as `--format json`: one JSON object; amounts are exact decimals in quotes.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// By what the rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    Input,
    Output,
    /// Input that the vendor's cache has.
    Cache,
    /// Input and output in the mix of `--blend`.
    Blend,
    Provider,
    Model,
    Quality,
}

/// In which currency prices are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Money {
    Vendor,
    Usd,
    Cny,
    Eur,
}

impl Money {
    /// The currency to convert to, where one is.
    fn converted(chosen: Option<Money>) -> Option<Currency> {
        match chosen {
            Some(Money::Vendor) => None,
            None | Some(Money::Usd) => Some(Currency::Usd),
            Some(Money::Cny) => Some(Currency::Cny),
            Some(Money::Eur) => Some(Currency::Eur),
        }
    }
}

/// As what the list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    /// RFC 4180: with a heading, texts in quotes, numbers not.
    Csv,
}

/// Runs `tokenbroker prices`.
pub fn run(args: &PricesArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    match &args.command {
        None => list(&args.list, None, environment, output),
        Some(PricesCommand::List(args)) => list(args, None, environment, output),
        Some(PricesCommand::Cost(args)) => cost::run(args, environment, output),
        Some(PricesCommand::Show(args)) => book::show(args, environment, output),
        Some(PricesCommand::History(args)) => book::history(args, environment, output),
        Some(PricesCommand::Diff(args)) => book::diff(args, environment, output),
        Some(PricesCommand::At(args)) => list(&args.list, Some(args.instant), environment, output),
        Some(PricesCommand::Import(args)) => book::import(args, environment, output),
        Some(PricesCommand::Export(args)) => book::export(args, environment, output),
    }
}

fn list(args: &ListArgs, at: Option<Timestamp>, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let setup = match setup::load_or_tell(&args.gateway, environment, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(exit),
    };
    if let Some(unknown) = filter::unknown_name(&args.filter, &setup.snapshot) {
        bail!(unknown);
    }
    let now = SystemClock::shared().wall();
    let book = PriceBook::open(&setup.config.books.directory, &setup.config.feeds).context("the price book cannot be read")?;
    let setup = Setup { snapshot: book.over(setup.snapshot, now), ..setup };
    let at = at.or(args.at).unwrap_or(now);
    let listing = Listing::of(args, &setup, at);
    match if args.json { Format::Json } else { args.format } {
        Format::Table => output.line(show::table(&listing, args.currency, output.columns()))?,
        Format::Json => output.json(&show::report(&listing))?,
        Format::Csv => {
            output.text(&show::csv(&listing))?;
            output.note(show::provenance(&listing).join("\n"))?;
        }
    }
    Ok(Exit::Success)
}

/// Reads an instant, or the beginning of a day in UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let instant = text.parse().ok().or_else(|| Some(day()?.timestamp()));
    instant.ok_or_else(|| "an instant such as 2026-12-01T00:00:00Z, or a day such as 2026-12-01".to_owned())
}
