//! `prices show`, `history`, `diff`, `at`, `import` and `export`: the table with what feeds and administrators changed, as
//! the data directory has it. Nothing is changed here: a running gateway owns its price book, and its administrator's paths
//! are the way to it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::super::args::{Environment, GatewayArgs};
use super::super::output::{Exit, Output};
use super::super::setup;
use crate::catalog::change::{self, FigurePlace};
use crate::catalog::feed::{self, Format, Guards, Kind, Mapping, Offer, Source, export};
use crate::catalog::{Backend, Snapshot};
use crate::clock::SystemClock;
use crate::config::PriceFeed;
use crate::price_book::{PriceBook, base_of, own_figures};
use crate::setup::Setup;
use crate::units::TokenPrice;

/// The largest list that is imported.
const MOST_IMPORTED: u64 = 256 << 20;

/// What `prices show` and `prices history` take.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The backend, as `prices` lists it: PROVIDER/MODEL.
    pub backend: String,
    /// The price of this instant, or of the beginning of this day in UTC, instead of now.
    #[arg(long, value_name = "INSTANT", value_parser = super::instant)]
    pub at: Option<Timestamp>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// What `prices diff` takes.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A table's file, an instant, or a day. With one, it is compared with the table as it is now.
    #[arg(required = true, num_args = 1..=2, value_name = "FILE_OR_INSTANT")]
    pub sides: Vec<String>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// What `prices import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Somebody's list of prices.
    pub file: PathBuf,
    /// What it is written in: litellm, models-dev, openrouter-models, genai-prices, toml or json.
    #[arg(long, value_parser = format)]
    pub format: Format,
    /// What the list calls a provider, and what the table calls it; may be repeated.
    #[arg(long = "provider", id = "map", value_name = "THEIRS=OURS", value_parser = pair)]
    pub sites: Vec<(String, String)>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// What `prices export` takes.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// As what it is printed.
    #[arg(long, value_enum, default_value_t = Form::Toml)]
    pub format: Form,
    /// The prices of this instant instead of now.
    #[arg(long, value_name = "INSTANT", value_parser = super::instant)]
    pub at: Option<Timestamp>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// A form of our own lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Toml,
    Json,
}

fn format(text: &str) -> Result<Format, String> {
    let known = Format::WORDS.iter().find(|(_, word)| *word == text).map(|(format, _)| *format);
    known.ok_or_else(|| format!("one of {}", Format::WORDS.map(|(_, word)| word).join(", ")))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (theirs, ours) = text.split_once('=').ok_or("THEIRS=OURS")?;
    Ok((theirs.to_owned(), ours.to_owned()))
}

/// The set-up with its table as the price book makes it; `None` after problems were told.
fn laid(
    gateway: &GatewayArgs,
    environment: &Environment,
    output: &mut Output,
) -> anyhow::Result<Result<(Setup, PriceBook), Exit>> {
    let setup = match setup::load_or_tell(gateway, environment, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(Err(exit)),
    };
    let feeds: &[PriceFeed] = &setup.config.feeds;
    let book = PriceBook::open(&setup.config.books.directory, feeds).context("the price book cannot be read")?;
    let snapshot = book.over(setup.snapshot, now());
    Ok(Ok((Setup { snapshot, ..setup }, book)))
}

fn now() -> Timestamp {
    SystemClock::shared().wall()
}

fn backend<'t>(table: &'t Snapshot, id: &str) -> anyhow::Result<&'t Backend> {
    if let Some(backend) = table.backend_named(id) {
        return Ok(backend);
    }
    let near = table.near_models(id, 3).join(", ");
    bail!("the table has no backend {id:?}{}", if near.is_empty() { String::new() } else { format!("; near: {near}") })
}

/// Runs `prices show`.
pub(super) fn show(args: &OneArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (setup, _) = match laid(&args.gateway, environment, output)? {
        Ok(laid) => laid,
        Err(exit) => return Ok(exit),
    };
    let (table, at) = (&setup.snapshot, args.at.unwrap_or_else(now));
    let backend = backend(table, &args.backend)?;
    let Some(row) = backend.prices.at(at) else {
        bail!("{} has no price at {at}", backend.id);
    };
    output.line(format!("{} at {at}, per million tokens in {}", backend.id, row.currency()))?;
    let base = Snapshot::parse("the table", base_of(&table.text)).unwrap_or_default();
    let own = own_figures(&base, at);
    let of_backend = table.changes.iter().filter(|change| change.backend == backend.id.as_str());
    let said = change::said(of_backend, at);
    for (place, price) in figures(&Offer::of(row)) {
        let origin = match said.get(&place) {
            Some((said, by)) if *said == price => {
                format!("{} {}, taken {}: {}", by.layer.word(), by.by, by.taken, by.source)
            }
            _ if own.has(backend.id.as_str(), place) => format!("own table: {}", row.source),
            _ => format!("table: {}", row.source),
        };
        output.line(format!("  {:<18} {:>12}  {origin}", place.to_string(), price.to_per_million()))?;
    }
    Ok(Exit::Success)
}

/// Figures that are said, each at its place.
fn figures(offer: &Offer) -> Vec<(FigurePlace, TokenPrice)> {
    let mut figures = Vec::new();
    for (batch, cells) in [(false, &offer.cells), (true, &offer.batch)] {
        for (cell, n) in cells.iter().zip(0..) {
            let figure = |kind: Kind| Some((FigurePlace { cell: n, batch, kind }, cell.figures.get(kind)?));
            figures.extend(Kind::ALL.into_iter().filter_map(figure));
        }
    }
    figures
}

/// Runs `prices history`.
pub(super) fn history(args: &OneArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (setup, book) = match laid(&args.gateway, environment, output)? {
        Ok(laid) => laid,
        Err(exit) => return Ok(exit),
    };
    let table = &setup.snapshot;
    let (provider, model) = args.backend.split_once('/').unwrap_or(("", &args.backend));
    let prices = match table.prices_of(provider, model) {
        Some(prices) => prices,
        None => &backend(table, &args.backend)?.prices,
    };
    for row in prices.rows() {
        let instant = |at: Option<Timestamp>| at.map_or_else(|| "…".to_owned(), |at| at.to_string());
        let said: Vec<String> =
            figures(&Offer::of(row)).iter().map(|(place, price)| format!("{place} {}", price.to_per_million())).collect();
        output.line(format!(
            "{} to {}: {} {} ({})",
            instant(row.from),
            instant(row.until),
            said.join(", "),
            row.currency(),
            row.source
        ))?;
    }
    for row in book.audit(Some(&args.backend))? {
        let said: Vec<String> =
            row.figures.iter().map(|f| format!("{} {} to {}", f.kind, f.before.as_deref().unwrap_or("none"), f.after)).collect();
        output.line(format!("{} {} {}: {} ({})", row.at, row.who, row.what, said.join(", "), row.why))?;
    }
    Ok(Exit::Success)
}

/// One side of a comparison: a table, at an instant.
struct Side {
    table: Snapshot,
    at: Timestamp,
}

fn side(text: &str, live: &Snapshot) -> anyhow::Result<Side> {
    if let Ok(at) = super::instant(text) {
        return Ok(Side { table: live.clone(), at });
    }
    let file = std::fs::read_to_string(text).with_context(|| format!("{text} is no instant, and no file that can be read"))?;
    match Snapshot::parse(text, &file) {
        Ok(table) => Ok(Side { table, at: now() }),
        Err(problems) => bail!("{}", problems.first().map(ToString::to_string).unwrap_or_default()),
    }
}

/// Runs `prices diff`.
pub(super) fn diff(args: &DiffArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (setup, _) = match laid(&args.gateway, environment, output)? {
        Ok(laid) => laid,
        Err(exit) => return Ok(exit),
    };
    let live = &setup.snapshot;
    let before = side(&args.sides[0], live)?;
    let after = match args.sides.get(1) {
        Some(text) => side(text, live)?,
        None => Side { table: live.clone(), at: now() },
    };
    let mut ids: Vec<&str> =
        before.table.backends().iter().chain(after.table.backends()).map(|backend| backend.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let offer = |side: &Side| Some(Offer::of(side.table.backend_named(id)?.prices.at(side.at)?));
        for line in differences(offer(&before).as_ref(), offer(&after).as_ref()) {
            output.line(format!("{id} {line}"))?;
        }
    }
    Ok(Exit::Success)
}

fn differences(before: Option<&Offer>, after: Option<&Offer>) -> Vec<String> {
    let (before, after) = match (before, after) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => return vec!["has a price now".to_owned()],
        (Some(_), None) => return vec!["has no price any more".to_owned()],
        (Some(before), Some(after)) => (before, after),
    };
    let mut lines = Vec::new();
    if before.currency != after.currency {
        lines.push(format!("currency {} to {}", before.currency, after.currency));
    }
    let (old, new) = (figures(before), figures(after));
    let find = |of: &[(FigurePlace, TokenPrice)], place| of.iter().find(|(known, _)| *known == place).map(|(_, price)| *price);
    let mut places: Vec<FigurePlace> = old.iter().chain(&new).map(|(place, _)| *place).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let (was, is) = (find(&old, place), find(&new, place));
        let told = |price: Option<TokenPrice>| price.map_or_else(|| "none".to_owned(), TokenPrice::to_per_million);
        if was != is {
            lines.push(format!("{place} {} to {}", told(was), told(is)));
        }
    }
    if lines.is_empty() && before != after {
        lines.push("differs in its shape: cells, calendar, fees or tiers".to_owned());
    }
    lines
}

/// Runs `prices import`: our own list of what somebody's list says of the table's backends, and what of it would be held back.
pub(super) fn import(args: &ImportArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (setup, _) = match laid(&args.gateway, environment, output)? {
        Ok(laid) => laid,
        Err(exit) => return Ok(exit),
    };
    let size = std::fs::metadata(&args.file).with_context(|| args.file.display().to_string())?.len();
    if size > MOST_IMPORTED {
        bail!("{} has {size} bytes; read are at most {MOST_IMPORTED}", args.file.display());
    }
    let reading = feed::decode(args.format, &std::fs::read(&args.file)?)?;
    let mapping = Mapping { providers: args.sites.iter().cloned().collect() };
    let (table, at) = (&setup.snapshot, now());
    let document = args.file.display().to_string();
    let source = Source { name: "import", document: &document, mapping: &mapping, guards: Guards::default() };
    let base = Snapshot::parse("the table", base_of(&table.text)).unwrap_or_default();
    let review = feed::review(source, &reading, (&base, &own_figures(&base, at)), &[], at);
    let current = reading.current(at);
    let known = current.iter().filter_map(|proposal| Some((mapping.find(table, proposal).ok()?, proposal)));
    let known: Vec<_> = known.map(|(backend, proposal)| (table.provider_of(backend).id.as_str(), backend, proposal)).collect();
    let rows: Vec<export::Listed<'_>> = known
        .iter()
        .filter(|(_, _, proposal)| proposal.from.is_none_or(|from| from <= at))
        .map(|(provider, backend, proposal)| export::Listed { provider, model: &backend.upstream_model, offer: &proposal.offer })
        .collect();
    output.text(&export::toml(&rows))?;
    for held in review.held.iter().filter(|held| held.subject.backend.is_some()) {
        let reasons: Vec<String> = held.reasons.iter().map(ToString::to_string).collect();
        output.note(format!("held back: {}/{}: {}", held.subject.provider, held.subject.model, reasons.join("; ")))?;
    }
    let (taken, unchanged, unknown) = (review.begun.len(), review.unchanged, review.unknown);
    output
        .note(format!("{taken} would change, {unchanged} say what the table says, {unknown} are of no backend of the table"))?;
    Ok(Exit::Success)
}

/// Runs `prices export`.
pub(super) fn export(args: &ExportArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (setup, _) = match laid(&args.gateway, environment, output)? {
        Ok(laid) => laid,
        Err(exit) => return Ok(exit),
    };
    let (table, at) = (&setup.snapshot, args.at.unwrap_or_else(now));
    let priced = table.backends().iter().filter_map(|backend| Some((backend, backend.prices.at(at)?)));
    // What is billed by the piece has no words in such a list.
    let (by_piece, by_token): (Vec<_>, Vec<_>) = priced.partition(|(_, row)| row.sheets.iter().any(|sheet| sheet.has_pieces()));
    let offers: Vec<(&Backend, Offer)> = by_token.into_iter().map(|(backend, row)| (backend, Offer::of(row))).collect();
    let row = |(backend, offer): &'_ (&Backend, Offer)| {
        (table.provider_of(backend).id.clone(), backend.upstream_model.clone(), offer.clone())
    };
    let rows: Vec<_> = offers.iter().map(row).collect();
    let listed: Vec<export::Listed<'_>> =
        rows.iter().map(|(provider, model, offer)| export::Listed { provider, model, offer }).collect();
    match args.format {
        Form::Toml => output.text(&export::toml(&listed))?,
        Form::Json => output.json(&export::json(&listed))?,
    }
    if !by_piece.is_empty() {
        let ids: Vec<&str> = by_piece.iter().map(|(backend, _)| backend.id.as_str()).collect();
        output.note(format!("left out, as such a list has no words for a price by the piece: {}", ids.join(", ")))?;
    }
    Ok(Exit::Success)
}
