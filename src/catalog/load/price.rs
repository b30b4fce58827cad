//! The `[[backends.prices]]` rows. A price is money, so whatever looks like a slip (a zero, a price per thousand, two
//! rows from one instant) is a problem: a cheap wrong price would draw all traffic.

use jiff::Timestamp;

use super::{CURRENCIES, required};
use crate::catalog::price::{PriceRow, PriceSchedule};
use crate::document::Section;
use crate::units::{Currency, Tariff, TokenPrice};

/// The dearest price per million tokens that is believed, in any currency. The dearest list price known (2026-11-22) is
/// below a hundredth of it.
const DEAREST_PER_MILLION: u64 = 10_000;

const INSTANT: &str = "an instant with its offset, such as 2026-09-10T16:10:00Z";

/// What a price row takes from its backend.
pub(super) struct Setting {
    /// The provider's currency.
    pub(super) currency: Currency,
    /// The operator says that the backend costs nothing.
    pub(super) free: bool,
}

/// All rows of a backend. A free backend without rows gets one that costs nothing, so that it quotes like any other.
pub(super) fn schedule(backend: &Section<'_, '_>, setting: &Setting) -> PriceSchedule {
    let mut rows: Vec<PriceRow> = Vec::new();
    for section in backend.sections("prices") {
        let row = row(&section, setting);
        let readable = row.from.is_some() || !section.has("from");
        if readable && rows.iter().any(|earlier| earlier.from == row.from) {
            section.problem("from", "another row begins at the same instant", "one row for each beginning");
        }
        rows.push(row);
        section.finish();
    }
    if rows.is_empty() && setting.free {
        rows.push(PriceRow::free(setting.currency));
    }
    PriceSchedule::new(rows)
}

fn row(section: &Section<'_, '_>, setting: &Setting) -> PriceRow {
    let (from, until) = (instant(section, "from"), instant(section, "until"));
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        section.problem("until", "the row ends before it begins", format!("an instant after {from}"));
    }
    let source = section.required_text("source", "the document the prices are from, and its date");
    PriceRow { tariff: tariff(section, setting), from, until, source: source.unwrap_or_default() }
}

fn tariff(section: &Section<'_, '_>, setting: &Setting) -> Tariff {
    const PRICE: &str = "a price per million tokens";
    let cell = |name| cell(section, name, setting.free);
    let input = required(section, "input", PRICE, |_, name| cell(name)).unwrap_or_default();
    Tariff {
        currency: section.word("currency", &CURRENCIES).unwrap_or(setting.currency),
        input,
        cache_read: cell("cache_read").unwrap_or(input),
        cache_write: cell("cache_write").unwrap_or(input),
        output: required(section, "output", PRICE, |_, name| cell(name)).unwrap_or_default(),
    }
}

fn cell(section: &Section<'_, '_>, name: &'static str, free: bool) -> Option<TokenPrice> {
    let text = section.decimal(name)?;
    let price = match TokenPrice::per_million(&text) {
        Ok(price) => price,
        Err(accepted) => {
            section.problem(name, format!("{text} is no price per million tokens"), accepted);
            return None;
        }
    };
    if price == TokenPrice::FREE && !free {
        section.problem(name, "this costs nothing", "a price above zero; or free = true at the backend, if it is free");
    }
    if price != TokenPrice::FREE && free {
        section.problem(name, "the backend is marked free", "no price, or no free = true");
    }
    if price > TokenPrice::from_pico(DEAREST_PER_MILLION * 1_000_000) {
        let accepted = format!("at most {DEAREST_PER_MILLION}, in whole units of the currency per million tokens");
        section.problem(name, format!("{text} is beyond belief: is it for another unit?"), accepted);
    }
    Some(price)
}

fn instant(section: &Section<'_, '_>, name: &'static str) -> Option<Timestamp> {
    let text = section.date_text(name)?;
    let instant = text.parse().ok();
    // A bare date is refused on purpose: vendors' days begin at their own midnight, which the table has to say.
    if instant.is_none() {
        section.problem(name, format!("{text} is no instant"), INSTANT);
    }
    instant
}
