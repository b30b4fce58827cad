//! Changes of prices that are laid over the table: what feeds propose and guards believe, and what an administrator sets.
//!
//! A change names single figures of a backend, so several layers can speak about one price: of each figure the strongest
//! layer counts that says it, an administrator before feeds, feeds in the order of their names, and the table where nobody
//! says anything. Changes stand in the text of the table itself (`[[changes]]`), so that the text which is kept beside the
//! books explains a decision with all that was in force.
//!
//! Pure: whether a change should be believed is decided before it gets here ([`super::feed::guard`]).

mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

pub use self::written::{rates_to_toml, to_toml};
use super::calendar::Calendar;
use super::feed::{Bounds, Cell, Figures, Hours, Kind, Offer};
use super::price::{ImagePrice, ImagePrices, PriceRow, PriceSchedule};
use crate::units::{self, Extent, Sheet, Tariff, TokenPrice};

/// Who says a figure, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    Feed,
    Admin,
}

impl Layer {
    pub const WORDS: [(Layer, &'static str); 2] = [(Layer::Feed, "feed"), (Layer::Admin, "admin")];

    pub const fn word(self) -> &'static str {
        match self {
            Layer::Feed => "feed",
            Layer::Admin => "admin",
        }
    }
}

/// Which figure of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FigurePlace {
    /// Which cell, in the order of the table.
    pub cell: u32,
    pub batch: bool,
    pub kind: Kind,
}

impl std::fmt::Display for FigurePlace {
    /// `input`, `input[1]` of the second cell, `batch input`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let batch = if self.batch { "batch " } else { "" };
        let cell = if self.cell > 0 { format!("[{}]", self.cell) } else { String::new() };
        write!(f, "{batch}{}{cell}", self.kind.word())
    }
}

/// Figures of one backend from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceChange {
    /// `provider/upstream_model`.
    pub backend: String,
    pub layer: Layer,
    /// The feed's or the administrator's name.
    pub by: String,
    /// The document it was taken from, or the administrator's reason.
    pub source: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// In force from here.
    pub from: Timestamp,
    /// In force until just before here.
    pub until: Option<Timestamp>,
    pub figures: BTreeMap<FigurePlace, TokenPrice>,
}

impl PriceChange {
    pub fn in_force(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    /// Sorts the weakest first.
    fn strength(&self) -> impl Ord + use<'_> {
        // Feeds by their names, the first the strongest; an administrator's by when they were made.
        let name = (self.layer == Layer::Feed).then_some(std::cmp::Reverse(self.by.as_str()));
        (self.layer, name, self.from, self.taken)
    }
}

/// Who says each figure that anybody says over the table, at an instant.
pub fn said<'c>(
    changes: impl IntoIterator<Item = &'c PriceChange>,
    at: Timestamp,
) -> BTreeMap<FigurePlace, (TokenPrice, &'c PriceChange)> {
    let mut active: Vec<&PriceChange> = changes.into_iter().filter(|change| change.in_force(at)).collect();
    active.sort_by(|a, b| a.strength().cmp(&b.strength()));
    let figures = |change: &'c PriceChange| change.figures.iter().map(move |(place, price)| (*place, (*price, change)));
    active.into_iter().flat_map(figures).collect()
}

/// A schedule with changes laid over it: a row for every time in which the figures are others than the table's.
pub fn layered(schedule: &PriceSchedule, changes: &[&PriceChange]) -> PriceSchedule {
    let Some(first) = changes.iter().map(|change| change.from).min() else {
        return schedule.clone();
    };
    let of_changes = changes.iter().flat_map(|change| [Some(change.from), change.until]);
    let of_rows = schedule.rows().iter().flat_map(|row| [row.from, row.until]);
    let mut edges: Vec<Timestamp> = of_changes.chain(of_rows).flatten().filter(|edge| *edge >= first).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut rows = schedule.rows().to_vec();
    for (n, edge) in edges.iter().enumerate() {
        let Some(row) = schedule.at(*edge) else { continue };
        // What a feed said of one row says nothing of the next: an announced step comes, whatever the feed thought before.
        let of_row = |change: &&&PriceChange| change.layer != Layer::Feed || row.from.is_none_or(|from| from <= change.from);
        let figures = said(changes.iter().filter(of_row).copied(), *edge);
        let Some(laid) = with_figures(row, &figures) else { continue };
        let until = edges.get(n + 1).copied().or(row.until);
        let by = figures.values().map(|(_, change)| change.by.as_str()).collect::<std::collections::BTreeSet<_>>();
        let by = by.into_iter().collect::<Vec<_>>().join("+");
        let table = row.id.split('@').next().unwrap_or_default();
        let id = format!("{table}@{edge}+{by}").into();
        let source = format!("{}, with figures by {by}", row.source);
        rows.push(PriceRow { id, from: Some(*edge), until, source, ..laid });
    }
    PriceSchedule::new(rows)
}

/// A row with some figures in the place of its own. `None` without any that differs, and where one would not be exact at a
/// factor of its calendar.
pub fn with_figures<C>(row: &PriceRow, figures: &BTreeMap<FigurePlace, (TokenPrice, C)>) -> Option<PriceRow> {
    let mut offer = Offer::of(row);
    for (place, (price, _)) in figures {
        let cells = if place.batch { &mut offer.batch } else { &mut offer.cells };
        if let Some(cell) = usize::try_from(place.cell).ok().and_then(|cell| cells.get_mut(cell)) {
            cell.figures.set(place.kind, *price);
        }
    }
    let calendar = row.calendar.as_deref();
    let sheets = sheets(row.list(), &offer.cells, calendar)?;
    let batch = match row.batch.first() {
        Some(list) => self::sheets(list, &offer.batch, calendar)?,
        None => Vec::new(),
    };
    let of_kind = |price: &ImagePrice| {
        Some(ImagePrice { kind: price.kind, sheets: self::sheets(price.sheets.first()?, &offer.cells, calendar)? })
    };
    let all = row.images.all.iter().map(of_kind).collect::<Option<_>>()?;
    let images = ImagePrices { all, ..row.images };
    let differs = sheets != row.sheets || batch != row.batch;
    differs.then(|| PriceRow { sheets, images, batch, ..row.clone() })
}

/// A list of prices with other figures in its cells, by every factor of the calendar.
fn sheets(list: &Sheet, cells: &[Cell], calendar: Option<&Calendar>) -> Option<Vec<Arc<Sheet>>> {
    let pairs = list.cells().iter().zip(cells);
    let changed = pairs.map(|(old, new)| Some(units::Cell { tariff: tariff(&old.tariff, &new.figures)?, ..*old }));
    let sheet = Sheet::new(changed.collect::<Option<_>>()?, list.extent(), list.per_request(), list.minimum())?;
    let Some(calendar) = calendar else { return Some(vec![Arc::new(sheet)]) };
    calendar.factors().iter().map(|factor| sheet.times(*factor).map(Arc::new)).collect()
}

fn tariff(old: &Tariff, figures: &Figures) -> Option<Tariff> {
    Some(Tariff {
        currency: old.currency,
        input: figures.effective(Kind::Input)?,
        cache_read: figures.effective(Kind::CacheRead)?,
        cache_write: figures.effective(Kind::CacheWrite)?,
        cache_write_long: figures.effective(Kind::CacheWriteLong)?,
        output: figures.effective(Kind::Output)?,
        reasoning: figures.effective(Kind::Reasoning)?,
        image_input: figures.effective(Kind::ImageInput)?,
        audio_input: figures.effective(Kind::AudioInput)?,
        audio_output: figures.effective(Kind::AudioOutput)?,
        // No feed and no administrator says what a piece costs.
        pieces: old.pieces,
    })
}

impl Offer {
    /// A row of the table, as a feed's offer is held against it. A figure that is what it would be anyway is not said.
    pub fn of(row: &PriceRow) -> Offer {
        let list = row.list();
        let free = list.cells().iter().all(|cell| cell.tariff == Tariff::free(list.currency()));
        Offer {
            batch: row.batch.first().map(|batch| batch.cells().iter().map(cell).collect()).unwrap_or_default(),
            marginal: Some(list.extent() == Extent::Part),
            hours: row.calendar.as_ref().map_or(Hours::Same, |calendar| Hours::Calendar(calendar.name.clone())),
            free,
            per_request: Some(list.per_request()).filter(|fee| *fee > 0),
            minimum: Some(list.minimum()).filter(|least| *least > 0),
            ..Offer::new(list.currency(), list.cells().iter().map(cell).collect())
        }
    }
}

fn cell(cell: &units::Cell) -> Cell {
    let above = |bounds: units::Bounds| Some(bounds.above).filter(|above| *above > 0);
    let to = |bounds: units::Bounds| Some(bounds.to).filter(|to| *to < u64::MAX);
    let bounds = Bounds {
        input_above: above(cell.input),
        input_to: to(cell.input),
        output_above: above(cell.output),
        output_to: to(cell.output),
        thinking: cell.thinking,
    };
    Cell { bounds, figures: figures(&cell.tariff) }
}

/// What a tariff says beyond what follows from it.
fn figures(tariff: &Tariff) -> Figures {
    let mut figures = Figures::default();
    for (kind, price) in [
        (Kind::Input, tariff.input),
        (Kind::Output, tariff.output),
        (Kind::CacheRead, tariff.cache_read),
        (Kind::CacheWrite, tariff.cache_write),
        (Kind::CacheWriteLong, tariff.cache_write_long),
        (Kind::Reasoning, tariff.reasoning),
        (Kind::ImageInput, tariff.image_input),
        (Kind::AudioInput, tariff.audio_input),
        (Kind::AudioOutput, tariff.audio_output),
    ] {
        if figures.effective(kind) != Some(price) {
            figures.set(kind, price);
        }
    }
    figures
}

#[cfg(test)]
mod tests;
