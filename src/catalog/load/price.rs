//! The `[[backends.prices]]` rows. A price is money, so whatever looks like a slip (a zero, a price per thousand, two
//! rows from one instant) is a problem: a cheap wrong price would draw all traffic.

use std::sync::Arc;

use jiff::Timestamp;

use super::{CURRENCIES, images, required};
use crate::canonical::Writes;
use crate::catalog::calendar::Calendar;
use crate::catalog::price::{PriceRow, PriceSchedule};
use crate::document::{Section, nearest};
use crate::units::{BilledAt, Bounds, Cell, Currency, Extent, Piece, PiecePrice, Sheet, Tariff, TokenPrice, Tokens, Usd};

/// The dearest price per million tokens that is believed, in any currency. The dearest list price known (2026-11-22) is
/// below a hundredth of it.
pub(super) const DEAREST_PER_MILLION: u64 = 10_000;
/// The highest fee or minimum for one request that is believed, in whole units of any currency.
const DEAREST_REQUEST: u64 = 100;
/// The highest price by the piece that is believed, in whole units of any currency, for as many as it is listed for.
const DEAREST_PIECES: u64 = 10_000;

const INSTANT: &str = "an instant with its offset, such as 2026-09-10T16:10:00Z";
const PRICE: &str = "a price per million tokens";

const BILLED_AT: [(BilledAt, &str); 2] = [(BilledAt::Arrival, "arrival"), (BilledAt::Completion, "completion")];
const EXTENTS: [(Extent, &str); 2] = [(Extent::Whole, "whole"), (Extent::Part, "marginal")];

/// Figures of a tariff, by their members.
const FIGURES: [&str; 9] = [
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_long",
    "reasoning",
    "image_input",
    "audio_input",
    "audio_output",
];

/// What a price row takes from its backend and its table.
pub(super) struct Setting<'a> {
    /// `provider/model`, which the identities of the rows begin with.
    pub(super) id: &'a str,
    /// The provider's currency.
    pub(super) currency: Currency,
    /// The operator says that the backend costs nothing.
    pub(super) free: bool,
    /// Its answers have tokens, which have a price.
    pub(super) writes: Writes,
    /// What of it may be billed by the piece.
    pub(super) piece: Option<Piece>,
    pub(super) calendars: &'a [Arc<Calendar>],
}

/// All rows of a backend. A free backend without rows gets one that costs nothing, so that it quotes like any other.
pub(super) fn schedule(backend: &Section<'_, '_>, setting: &Setting<'_>) -> PriceSchedule {
    let mut rows: Vec<PriceRow> = Vec::new();
    for section in backend.sections("prices") {
        let from = instant(&section, "from");
        let readable = from.is_some() || !section.has("from");
        if readable && rows.iter().any(|earlier| earlier.from == from) {
            section.problem("from", "another row begins at the same instant", "one row for each beginning");
        }
        rows.extend(row(&section, from, setting));
        section.finish();
    }
    if rows.is_empty() && setting.free {
        rows.push(PriceRow::free(setting.id.into()));
    }
    PriceSchedule::new(rows)
}

/// `None` only after a problem was noted.
fn row(section: &Section<'_, '_>, from: Option<Timestamp>, setting: &Setting<'_>) -> Option<PriceRow> {
    let until = instant(section, "until");
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        section.problem("until", "the row ends before it begins", format!("an instant after {from}"));
    }
    let source = section.required_text("source", "the document the prices are from, and its date").unwrap_or_default();
    let billed_at = section.word("billed_at", &BILLED_AT).unwrap_or_default();
    let calendar = calendar(section, setting.calendars);
    let free = section.truth("free").unwrap_or(false) || setting.free;
    let currency = section.word("currency", &CURRENCIES).unwrap_or(setting.currency);
    let list = List { currency, free, writes: setting.writes, piece: setting.piece, dearest: None, fees: fees(section) };
    let images = images::read(section, setting.piece, free);
    let list = List { dearest: images.dearest(), ..list };
    let sheet = list.sheet(section)?;
    let batch = section.section("batch").map(|section| {
        let sheet = list.sheet(&section);
        let sheets = sheet.and_then(|sheet| by_hours(&section, sheet, calendar.as_deref()));
        section.finish();
        sheets.unwrap_or_default()
    });
    Some(PriceRow {
        id: identity(setting.id, from),
        from,
        until,
        source,
        billed_at,
        images: images.prices(&sheet, |sheet| by_hours(section, sheet, calendar.as_deref()))?,
        sheets: by_hours(section, sheet, calendar.as_deref())?,
        batch: batch.unwrap_or_default(),
        calendar,
    })
}

/// The identity of a row: no two of a backend begin at one instant.
fn identity(id: &str, from: Option<Timestamp>) -> Arc<str> {
    from.map_or_else(|| id.into(), |from| format!("{id}@{from}").into())
}

fn calendar(section: &Section<'_, '_>, calendars: &[Arc<Calendar>]) -> Option<Arc<Calendar>> {
    let name = section.text("calendar")?;
    let found = calendars.iter().find(|calendar| calendar.name == name).cloned();
    if found.is_none() {
        let near = nearest(&name, calendars.iter().map(|calendar| calendar.name.as_str()));
        let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
        section.problem("calendar", format!("there is no calendar {name:?}{hint}"), "the name of a table [calendars.NAME]");
    }
    found
}

/// A sheet for each factor of the calendar.
fn by_hours(section: &Section<'_, '_>, sheet: Sheet, calendar: Option<&Calendar>) -> Option<Vec<Arc<Sheet>>> {
    let Some(calendar) = calendar else { return Some(vec![Arc::new(sheet)]) };
    let times = |factor| {
        let product = sheet.times(factor);
        if product.is_none() {
            let wrong = format!("a price times {factor} is finer than six places per million tokens, or too large");
            section.problem("calendar", wrong, "prices that are exact at every factor of the calendar");
        }
        product.map(Arc::new)
    };
    calendar.factors().iter().map(|factor| times(*factor)).collect()
}

/// What is charged for a request besides its tokens, in 10⁻¹² units of the currency.
#[derive(Debug, Clone, Copy, Default)]
struct Fees {
    per_request: u64,
    minimum: u64,
}

fn fees(section: &Section<'_, '_>) -> Fees {
    let fee = |name| {
        let text = section.decimal(name)?;
        let most = u128::from(DEAREST_REQUEST) * 1_000_000_000_000;
        let pico = Usd::parse(&text).ok().and_then(|amount| u64::try_from(amount.pico()).ok());
        let fit = pico.filter(|pico| u128::from(*pico) <= most);
        if fit.is_none() {
            let accepted = format!("whole units of the currency per request, from 0 to {DEAREST_REQUEST}");
            section.problem(name, format!("{text} is no charge per request"), accepted);
        }
        fit
    };
    Fees { per_request: fee("per_request").unwrap_or_default(), minimum: fee("minimum").unwrap_or_default() }
}

/// How the figures of one row are to be read.
struct List {
    currency: Currency,
    free: bool,
    writes: Writes,
    piece: Option<Piece>,
    /// What the dearest piece costs, where prices of them go by what they are.
    dearest: Option<PiecePrice>,
    fees: Fees,
}

impl List {
    /// Flat figures, or cells. `None` only after a problem was noted.
    fn sheet(&self, section: &Section<'_, '_>) -> Option<Sheet> {
        let extent = section.word("tiers", &EXTENTS).unwrap_or_default();
        let pieces = self.pieces(section);
        if !section.has("cells") {
            if self.free && pieces.is_none() && !FIGURES.iter().any(|figure| section.has(figure)) {
                return Some(Sheet::flat(Tariff::free(self.currency)));
            }
            let cell = Cell::any(self.tariff(section, pieces));
            return Sheet::new(vec![cell], extent, self.fees.per_request, self.fees.minimum);
        }
        for figure in FIGURES.into_iter().filter(|figure| section.decimal(figure).is_some()) {
            section.problem(figure, "a price stands beside cells", "either prices in the row, or cells");
        }
        let sections = section.sections("cells");
        let cells: Vec<Cell> = sections.iter().map(|cell| self.cell(cell, extent, pieces)).collect();
        if extent == Extent::Part {
            follow_each_other(&sections, &cells);
        }
        sections.into_iter().for_each(Section::finish);
        let sheet = Sheet::new(cells, extent, self.fees.per_request, self.fees.minimum);
        if sheet.is_none() {
            section.problem("cells", "there is no cell", "at least one");
        }
        sheet
    }

    fn cell(&self, section: &Section<'_, '_>, extent: Extent, pieces: Option<PiecePrice>) -> Cell {
        let cell = Cell {
            input: bounds(section, "input_above", "input_to"),
            output: bounds(section, "output_above", "output_to"),
            thinking: section.truth("thinking"),
            tariff: self.tariff(section, pieces),
        };
        if extent == Extent::Part && (cell.output != Bounds::ALL || cell.thinking.is_some()) {
            let member = if cell.thinking.is_some() { "thinking" } else { "output_to" };
            section.problem(member, "a cell of marginal tiers has bounds beside the input's", "input_above and input_to only");
        }
        cell
    }

    /// What is billed by the piece, where anything is.
    fn pieces(&self, section: &Section<'_, '_>) -> Option<PiecePrice> {
        let members = self.piece?.prices().iter().filter(|(name, _)| section.has(name));
        let mut prices = members.map(|(name, per)| (name, piece_price(section, name, *per, self.free)));
        let Some((name, price)) = prices.next() else { return self.dearest };
        if self.dearest.is_some() {
            section.problem(name, "a price stands beside those in `images`", "either one price, or prices by size and quality");
        }
        for (name, _) in prices {
            section.problem(name, "what is billed by the piece has two prices", "one of them");
        }
        Some(price.unwrap_or_default())
    }

    fn tariff(&self, section: &Section<'_, '_>, pieces: Option<PiecePrice>) -> Tariff {
        let figure = |name| figure(section, name, self.free);
        // What is billed otherwise need not have a price of its tokens.
        let otherwise = pieces.is_some() || self.piece.is_some() && self.fees.per_request > 0;
        let tokens = |name| if otherwise { figure(name) } else { required(section, name, PRICE, |_, name| figure(name)) };
        let input = tokens("input").unwrap_or_default();
        let output = if self.writes == Writes::Nothing { None } else { tokens("output") };
        let output = output.unwrap_or_default();
        let cache_write = figure("cache_write").unwrap_or(input);
        Tariff {
            currency: self.currency,
            input,
            cache_read: figure("cache_read").unwrap_or(input),
            cache_write,
            cache_write_long: figure("cache_write_long").unwrap_or(cache_write),
            output,
            reasoning: figure("reasoning").unwrap_or(output),
            image_input: figure("image_input").unwrap_or(input),
            audio_input: figure("audio_input").unwrap_or(input),
            audio_output: figure("audio_output").unwrap_or(output),
            pieces: pieces.unwrap_or_default(),
        }
    }
}

/// Cells of marginal tiers must price each part of the input once, in whatever order they stand: what lies in a gap would cost
/// nothing, and of two cells that overlap nobody could say which one is meant. Silent where another bound is wrong already.
fn follow_each_other(sections: &[Section<'_, '_>], cells: &[Cell]) {
    let sound = |cell: &Cell| cell.input.to > cell.input.above && cell.output == Bounds::ALL && cell.thinking.is_none();
    if !cells.iter().all(sound) {
        return;
    }
    let mut rising: Vec<(&Section<'_, '_>, Bounds)> = sections.iter().zip(cells.iter().map(|cell| cell.input)).collect();
    rising.sort_by_key(|(_, input)| input.above);
    // How far the cells before price the input; nothing is priced before the first one.
    let mut priced: Option<u64> = None;
    for (section, input) in rising {
        let wanted = match priced {
            None => "no input_above, since the first cell begins at the first token".to_owned(),
            Some(u64::MAX) => "an input_to in the cell before, at which this one begins".to_owned(),
            Some(to) => format!("input_above = {to}, where the cell before ends"),
        };
        let above = input.above;
        match priced.unwrap_or(0) {
            to if above > to => {
                let gap = format!("no cell of the marginal tiers prices the tokens from {} to {above}", to.saturating_add(1));
                section.problem("input_above", gap, wanted);
            }
            to if above < to => {
                let twice =
                    format!("another cell of the marginal tiers prices the tokens from {} on too", above.saturating_add(1));
                section.problem("input_above", twice, wanted);
            }
            _ => {}
        }
        priced = Some(priced.unwrap_or(0).max(input.to));
    }
}

fn bounds(section: &Section<'_, '_>, above: &'static str, to: &'static str) -> Bounds {
    let edge = |name| section.whole(name, 1..=super::backend::MOST_TOKENS);
    let bounds = Bounds { above: edge(above).unwrap_or(0), to: edge(to).unwrap_or(u64::MAX) };
    if bounds.to <= bounds.above {
        let accepted = format!("more than {}", Tokens::new(bounds.above));
        section.problem(to, format!("the cell ends at {} before it begins", bounds.to), accepted);
    }
    bounds
}

fn figure(section: &Section<'_, '_>, name: &'static str, free: bool) -> Option<TokenPrice> {
    let text = section.decimal(name)?;
    let price = match TokenPrice::per_million(&text) {
        Ok(price) => price,
        Err(accepted) => {
            section.problem(name, format!("{text} is no price per million tokens"), accepted);
            return None;
        }
    };
    if price == TokenPrice::FREE && !free {
        section.problem(name, "this costs nothing", "a price above zero; or free = true, if it is free");
    }
    if price != TokenPrice::FREE && free {
        section.problem(name, "the backend or the row is marked free", "no price, or no free = true");
    }
    if price > TokenPrice::from_pico(DEAREST_PER_MILLION * 1_000_000) {
        let accepted = format!("at most {DEAREST_PER_MILLION}, in whole units of the currency per million tokens");
        section.problem(name, format!("{text} is beyond belief: is it for another unit?"), accepted);
    }
    Some(price)
}

/// So much for so many pieces, in whole units of the currency.
pub(super) fn piece_price(section: &Section<'_, '_>, name: &'static str, per: u32, free: bool) -> Option<PiecePrice> {
    let text = section.decimal(name)?;
    let most = u128::from(DEAREST_PIECES) * 1_000_000_000_000;
    let pico = Usd::parse(&text).ok().and_then(|amount| u64::try_from(amount.pico()).ok());
    let Some(pico) = pico.filter(|pico| u128::from(*pico) <= most) else {
        let accepted = format!("whole units of the currency for {per}, from 0 to {DEAREST_PIECES}");
        section.problem(name, format!("{text} is no such price"), accepted);
        return None;
    };
    if pico == 0 && !free {
        section.problem(name, "this costs nothing", "a price above zero; or free = true, if it is free");
    }
    if pico > 0 && free {
        section.problem(name, "the backend or the row is marked free", "no price, or no free = true");
    }
    PiecePrice::new(pico, per)
}

pub(super) fn instant(section: &Section<'_, '_>, name: &'static str) -> Option<Timestamp> {
    let text = section.date_text(name)?;
    let instant = text.parse().ok();
    // A bare date is refused on purpose: vendors' days begin at their own midnight, which the table has to say.
    if instant.is_none() {
        section.problem(name, format!("{text} is no instant"), INSTANT);
    }
    instant
}
