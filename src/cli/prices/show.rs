//! A list on paper: a table for people, JSON and CSV for programs. Programs get every digit as an exact decimal; people get
//! four decimals, and with them the rates that a conversion went through.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Money;
use super::listing::{Figures, Listing, Price, Row, Unused};
use crate::catalog::DatedRate;
use crate::cli::setup::{Standing, counted};
use crate::cli::table::{Align, Table};
use crate::units::Amount;
use crate::units::money::PICO;

/// From here a table has further columns.
const WIDE: usize = 140;
/// Names of backends are cut to no less than this.
const NARROWEST_NAME: usize = 20;

// === for people ===

/// Rows within `columns`, what was left out and why, and where the figures come from.
pub(super) fn table(listing: &Listing<'_>, currency: Option<Money>, columns: usize) -> String {
    let mut parts = Vec::new();
    if !listing.rows.is_empty() {
        parts.push(rows(listing, currency, columns).to_string());
    }
    let unused: Vec<&Row<'_>> = listing.rows.iter().filter(|row| row.unused.is_some()).collect();
    if !unused.is_empty() {
        parts.push(format!("Not used, and why:\n{}", reasons(&unused, columns)));
    }
    let told = provenance(listing).into_iter().flat_map(|line| wrapped(&line, columns)).collect::<Vec<_>>();
    parts.push(told.join("\n"));
    parts.join("\n\n")
}

fn rows(listing: &Listing<'_>, currency: Option<Money>, columns: usize) -> Table {
    let cells: Vec<Vec<String>> =
        std::iter::once(heading(currency, columns)).chain(listing.rows.iter().map(|row| cells(row, currency, columns))).collect();
    let others: usize = (1..cells[0].len()).map(|n| cells.iter().map(|row| row[n].chars().count() + 2).max().unwrap_or(0)).sum();
    let room = columns.saturating_sub(others).max(NARROWEST_NAME);
    let left = ["backend", "cur", "region", "law", "since", "key"];
    let align = |name: &String| if left.contains(&name.as_str()) { Align::Left } else { Align::Right };
    let mut table = Table::new(cells[0].iter().map(align));
    for mut row in cells {
        row[0] = shortened(&row[0], room);
        table.row(row);
    }
    table
}

/// Both currencies stand beside each other unless one was asked for.
fn heading(currency: Option<Money>, columns: usize) -> Vec<String> {
    let mut names = vec!["backend"];
    if matches!(currency, None | Some(Money::Vendor)) {
        names.extend(["input", "cached", "output", "cur"]);
    }
    match currency {
        None => names.extend(["$ in", "$ out", "$ blend"]),
        Some(Money::Vendor) => names.push("blend"),
        Some(_) => names.extend(["input", "cached", "output", "blend", "cur"]),
    }
    names.push("q");
    if columns >= WIDE {
        names.extend(["region", "law", "since", "key"]);
    }
    names.into_iter().map(str::to_owned).collect()
}

fn cells(row: &Row<'_>, currency: Option<Money>, columns: usize) -> Vec<String> {
    let exact = |pick: fn(&Figures) -> Amount| row.price.as_ref().map_or_else(dash, |price| pick(&price.vendor).to_exact());
    let converted = row.price.as_ref().and_then(|price| price.converted.as_ref());
    let rounded = |pick: fn(&Figures) -> Amount| converted.map_or_else(dash, |figures| people_read(pick(figures)));
    let code = |figures: Option<&Figures>| figures.map_or_else(dash, |figures| figures.currency().to_string());
    let vendor =
        || vec![exact(|f| f.input), exact(|f| f.cache_read), exact(|f| f.output), code(row.price.as_ref().map(|p| &p.vendor))];
    let mut cells = vec![row.backend.id.to_string()];
    match currency {
        None => {
            cells.extend(vendor());
            cells.extend([rounded(|f| f.input), rounded(|f| f.output), rounded(|f| f.blended)]);
        }
        Some(Money::Vendor) => {
            cells.extend(vendor());
            cells.push(row.price.as_ref().map_or_else(dash, |price| people_read(price.vendor.blended)));
        }
        Some(_) => {
            cells.extend([rounded(|f| f.input), rounded(|f| f.cache_read), rounded(|f| f.output), rounded(|f| f.blended)]);
            cells.push(code(converted));
        }
    }
    cells.push(row.backend.quality.score.map_or_else(|| "?".to_owned(), |score| score.to_string()));
    if columns >= WIDE {
        let since = row.price.as_ref().and_then(|price| price.row.from).map(|from| from.strftime("%Y-%m-%d").to_string());
        cells.extend([row.provider.region.clone(), row.provider.jurisdiction.clone(), since.unwrap_or_else(dash)]);
        cells.push(standing(row.standing).to_owned());
    }
    cells
}

/// Four decimals; what they cannot show is not shown as nothing.
fn people_read(amount: Amount) -> String {
    const LEAST: i128 = PICO / 10_000;
    if (1..LEAST).contains(&amount.pico()) { "<0.0001".to_owned() } else { amount.to_rounded(4) }
}

fn dash() -> String {
    "-".to_owned()
}

fn reasons(unused: &[&Row<'_>], columns: usize) -> Table {
    let room = columns / 2;
    let names: Vec<String> = unused.iter().map(|row| shortened(row.backend.id.as_str(), room)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut table = Table::new([Align::Left, Align::Left]);
    for (row, name) in unused.iter().zip(names) {
        let why = row.unused.as_ref().map_or("", Unused::why);
        for (n, line) in wrapped(why, columns.saturating_sub(widest + 4)).into_iter().enumerate() {
            table.row([if n == 0 { format!("  {name}") } else { String::new() }, line]);
        }
    }
    table
}

/// What the figures are, what they were converted with, and how many rows are not there.
pub(super) fn provenance(listing: &Listing<'_>) -> Vec<String> {
    let mut lines =
        vec![format!("Per million tokens; blend: input and output as {}; q: quality, 0 to 100, ? is not known.", listing.blend)];
    lines.extend(listing.rows.iter().filter_map(by_piece));
    lines.extend(rates(listing).map(|found| {
        let (currency, per_usd) = (found.rate.currency(), found.rate.per_usd());
        format!("1 USD = {per_usd} {currency} ({}, {})", found.source, found.date)
    }));
    let at = listing.at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let listed = listing.rows.len();
    let cut = listing.fitting - listing.off - listing.unpriced - listed;
    lines.push(format!("{}, prices of {at}, table {}.", counted(listed, "backend"), listing.snapshot.version));
    if cut > 0 {
        lines.push(format!("{cut} more were cut off by --limit."));
    }
    if listing.off + listing.unpriced > 0 {
        let (off, unpriced) = (listing.off, listing.unpriced);
        lines.push(format!("Not listed: {off} switched off, {unpriced} without a price (--all lists them and says why)."));
    }
    lines
}

/// What a backend is billed for by the piece, as it is listed.
fn by_piece(row: &Row<'_>) -> Option<String> {
    let figures = &row.price.as_ref()?.vendor;
    let ((price, per), piece) = (figures.pieces?, row.backend.serves?.piece?);
    let kinds = &row.price.as_ref()?.row.images.all;
    let dearest = if kinds.len() > 1 { "at most, by size and quality, " } else { "" };
    Some(format!("{}: {} {} {dearest}for {per} {}.", row.backend.id, price.to_exact(), figures.currency(), piece.word()))
}

/// Each rate that a row's conversion went through, once.
fn rates<'l>(listing: &'l Listing<'_>) -> impl Iterator<Item = &'l DatedRate> {
    let of_rows = listing.rows.iter().filter_map(|row| row.price.as_ref()).flat_map(|price| &price.rates);
    let once: BTreeMap<_, &DatedRate> = of_rows.map(|rate| ((rate.rate.currency(), rate.date), *rate)).collect();
    once.into_values()
}

/// A name in at most `room` characters: its beginning tells the provider, its end the version.
fn shortened(name: &str, room: usize) -> String {
    let count = name.chars().count();
    if count <= room {
        return name.to_owned();
    }
    let kept = room.saturating_sub(1);
    let head: String = name.chars().take(kept / 2).collect();
    let tail: String = name.chars().skip(count - (kept - kept / 2)).collect();
    format!("{head}…{tail}")
}

/// Words on lines of at most `room` characters, a longer word on a line of its own.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn standing(standing: Standing<'_>) -> &'static str {
    match standing {
        Standing::Keyed => "set",
        Standing::Keyless => "none needed",
        Standing::KeyMissing(_) | Standing::PlaceMissing(_) => "not set",
        Standing::Disabled(_) => "off",
    }
}

// === for programs ===

/// The list as JSON. Amounts are exact decimals in quotes, per million tokens; what was converted is rounded half to even at
/// twelve decimals.
#[derive(Debug, Serialize)]
pub(super) struct Report<'l> {
    table: &'l str,
    at: String,
    per: &'static str,
    /// Input to output.
    blend: String,
    rates: Vec<RateLine<'l>>,
    prices: Vec<Line<'l>>,
    /// How many fit and are not here.
    left_out: LeftOut,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    switched_off: usize,
    unpriced: usize,
    over_limit: usize,
}

#[derive(Debug, Serialize)]
struct RateLine<'l> {
    currency: &'static str,
    per_usd: String,
    date: String,
    source: &'l str,
}

#[derive(Debug, Serialize)]
struct Line<'l> {
    backend: &'l str,
    provider: &'l str,
    model: &'l str,
    upstream_model: &'l str,
    jurisdiction: &'l str,
    region: &'l str,
    quality: Option<u8>,
    context_tokens: u64,
    max_output_tokens: u64,
    /// Longer input has no price here.
    priced_input_tokens: Option<u64>,
    free: bool,
    /// As the vendor bills it; null where no price is in force.
    price: Option<Sums>,
    converted: Option<Sums>,
    from: Option<String>,
    until: Option<String>,
    source: Option<&'l str>,
    key: &'static str,
    /// Why it is not used; null where it is.
    why: Option<&'l str>,
}

#[derive(Debug, Serialize)]
struct Sums {
    currency: &'static str,
    input: String,
    cache_read: String,
    cache_write: String,
    output: String,
    blended: String,
    /// What is billed by the piece, in the same currency; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces: Option<ByPiece>,
}

#[derive(Debug, Serialize)]
struct ByPiece {
    price: String,
    per: u32,
}

impl From<&Figures> for Sums {
    fn from(figures: &Figures) -> Self {
        Self {
            currency: figures.currency().code(),
            input: figures.input.to_exact(),
            cache_read: figures.cache_read.to_exact(),
            cache_write: figures.cache_write.to_exact(),
            output: figures.output.to_exact(),
            blended: figures.blended.to_exact(),
            pieces: figures.pieces.map(|(price, per)| ByPiece { price: price.to_exact(), per }),
        }
    }
}

impl<'l> Line<'l> {
    fn of(row: &'l Row<'_>) -> Self {
        let (backend, provider, price) = (row.backend, row.provider, row.price.as_ref());
        Self {
            backend: backend.id.as_str(),
            provider: &provider.id,
            model: &backend.model,
            upstream_model: &backend.upstream_model,
            jurisdiction: &provider.jurisdiction,
            region: &provider.region,
            quality: backend.quality.score,
            context_tokens: backend.limits.context.get(),
            max_output_tokens: backend.limits.max_output.get(),
            priced_input_tokens: backend.limits.priced_input.map(crate::units::Tokens::get),
            free: backend.free,
            price: price.map(|price| Sums::from(&price.vendor)),
            converted: price.and_then(|price| price.converted.as_ref()).map(Sums::from),
            from: price.and_then(|price| price.row.from).map(|from| from.to_string()),
            until: price.and_then(|price| price.row.until).map(|until| until.to_string()),
            source: price.map(|price| price.row.source.as_str()),
            key: standing(row.standing),
            why: row.unused.as_ref().map(Unused::why),
        }
    }
}

/// The list for `--format json`.
pub(super) fn report<'l>(listing: &'l Listing<'_>) -> Report<'l> {
    let rate = |found: &'l DatedRate| RateLine {
        currency: found.rate.currency().code(),
        per_usd: found.rate.per_usd(),
        date: found.date.to_string(),
        source: &found.source,
    };
    let over_limit = listing.fitting - listing.off - listing.unpriced - listing.rows.len();
    Report {
        table: &listing.snapshot.version,
        at: listing.at.to_string(),
        per: "million tokens",
        blend: listing.blend.to_string(),
        rates: rates(listing).map(rate).collect(),
        prices: listing.rows.iter().map(Line::of).collect(),
        left_out: LeftOut { switched_off: listing.off, unpriced: listing.unpriced, over_limit },
    }
}

const CSV_HEADING: &str = "backend,provider,model,upstream_model,jurisdiction,region,quality,context_tokens,max_output_tokens,\
priced_input_tokens,free,currency,input,cache_read,cache_write,output,blended,converted_currency,converted_input,\
converted_cache_read,converted_cache_write,converted_output,converted_blended,rates,from,until,source,key,why,piece_price,pieces_per";

/// The list for `--format csv`: RFC 4180, a line per backend under a heading.
pub(super) fn csv(listing: &Listing<'_>) -> String {
    let lines = listing.rows.iter().map(csv_line);
    std::iter::once(CSV_HEADING.to_owned()).chain(lines).map(|line| line + "\r\n").collect()
}

fn csv_line(row: &Row<'_>) -> String {
    let line = Line::of(row);
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let optional = |text: Option<&str>| text.map(quoted).unwrap_or_default();
    let mut cells: Vec<String> =
        [line.backend, line.provider, line.model, line.upstream_model, line.jurisdiction, line.region].map(quoted).into();
    cells.extend([number(line.quality.map(u64::from)), line.context_tokens.to_string(), line.max_output_tokens.to_string()]);
    cells.extend([number(line.priced_input_tokens), line.free.to_string()]);
    for sums in [&line.price, &line.converted] {
        cells.extend(sums.as_ref().map(csv_sums).unwrap_or_default());
    }
    cells.push(optional(row.price.as_ref().map(rates_of).filter(|rates| !rates.is_empty()).as_deref()));
    cells.extend([optional(line.from.as_deref()), optional(line.until.as_deref()), optional(line.source), quoted(line.key)]);
    cells.push(optional(line.why));
    let pieces = line.price.as_ref().and_then(|sums| sums.pieces.as_ref());
    cells.extend([pieces.map(|p| p.price.clone()).unwrap_or_default(), pieces.map(|p| p.per.to_string()).unwrap_or_default()]);
    cells.join(",")
}

fn csv_sums(sums: &Sums) -> [String; 6] {
    let Sums { currency, input, cache_read, cache_write, output, blended, .. } = sums;
    [quoted(currency), input.clone(), cache_read.clone(), cache_write.clone(), output.clone(), blended.clone()]
}

fn rates_of(price: &Price<'_>) -> String {
    let rate = |found: &&DatedRate| format!("{} {} per USD, {}", found.rate.per_usd(), found.rate.currency(), found.date);
    price.rates.iter().map(rate).collect::<Vec<_>>().join("; ")
}

/// A text as a cell: in quotes, its own quotes doubled.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
