//! From the text of a table to a [`Snapshot`], whole or not at all.
//!
//! Every problem is found in one run: a value that is wrong is noted and a stand-in takes its place, so that reading goes
//! on; the stand-ins are never seen, because a table with a problem is refused. This module judges a table by itself
//! only. It does not compare it with the one in force, looks up no keys and reads no clock.
//!
//! # How the file can grow
//! Whatever a price comes to depend on becomes an optional member of `[[backends.prices]]` (as `calendar` and `cells` did),
//! so a row without it means what it means today. Since an unknown name is a problem, an older gateway refuses a table that
//! uses a newer member instead of misreading its prices; `schema` rises only when the meaning of an existing member changes.

mod allowance;
mod backend;
mod calendar;
mod change;
mod images;
mod price;
mod provider;
mod signing;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::change::PriceChange;
use super::fx::{DatedRate, FxTable};
use super::history::Annotation;
use super::snapshot::Snapshot;
use crate::document::{Document, Problem, Section, nearest};
use crate::units::{Currency, ExchangeRate};

/// The newest meaning of the file that this gateway knows.
const SCHEMA: u64 = 1;

/// Currencies with their words.
const CURRENCIES: [(Currency, &str); 3] =
    [(Currency::Usd, Currency::Usd.code()), (Currency::Cny, Currency::Cny.code()), (Currency::Eur, Currency::Eur.code())];

impl Snapshot {
    /// Reads a table. `file` names it in problems.
    ///
    /// Fails with every problem found, in the order of the file.
    pub fn parse(file: &str, text: &str) -> Result<Snapshot, Vec<Problem>> {
        let document = Document::parse(file, text);
        let snapshot = read(document.root(), text);
        let problems = document.into_problems();
        match snapshot {
            Some(snapshot) if problems.is_empty() => Ok(snapshot),
            _ => Err(problems),
        }
    }
}

/// What is laid over a table, by itself: changes of prices and further exchange rates.
pub fn laid_over(file: &str, text: &str) -> Result<(Vec<PriceChange>, Vec<DatedRate>), Vec<Problem>> {
    let document = Document::parse(file, text);
    let root = document.root();
    let (changes, rates) = (change::read(&root), exchange_rates(&root));
    root.finish();
    let problems = document.into_problems();
    if problems.is_empty() { Ok((changes, rates.rates().to_vec())) } else { Err(problems) }
}

/// `None` only after a problem was noted.
fn read(root: Section<'_, '_>, text: &str) -> Option<Snapshot> {
    if !schema_is_known(&root) {
        return None;
    }
    let version = root.required_text("version", VERSION_SHAPE).filter(|version| version_is_fit(&root, version));
    let fx = exchange_rates(&root);
    let providers = provider::read_all(&root);
    let calendars = calendar::read_all(&root);
    let mut reader = backend::Reader::new(&providers, &fx, &calendars);
    let (mut backends, past) = (reader.read_all(&root), reader.read_past(&root));
    let changes = change::read_over(&root, &mut backends);
    let (annotations, quotas) = (annotations(&root), reader.into_quotas());
    root.finish();
    let mut snapshot = Snapshot::new(format!("{}+{}", version?, digest(text)), providers, backends, fx);
    (snapshot.text, snapshot.calendars, snapshot.quotas) = (text.into(), calendars, quotas);
    (snapshot.past, snapshot.annotations, snapshot.changes) = (past, annotations, changes);
    Some(snapshot)
}

/// A table for a newer gateway is not judged further: its other problems would only mislead.
fn schema_is_known(root: &Section<'_, '_>) -> bool {
    let accepted = format!("schema = {SCHEMA}");
    if !root.has("schema") {
        root.problem("schema", "missing", &accepted);
    }
    let newer = root.whole("schema", 1..=u64::MAX).filter(|schema| *schema > SCHEMA);
    if let Some(newer) = newer {
        let wrong = format!("the table has schema {newer}, this gateway knows up to {SCHEMA}: it needs a newer tokenbroker");
        root.problem("schema", wrong, accepted);
    }
    newer.is_none()
}

const VERSION_SHAPE: &str = "a short text that names this state of the table, such as \"2026-11-22\"";

/// The version stands in rows, headers and metrics.
fn version_is_fit(root: &Section<'_, '_>, version: &str) -> bool {
    let fit = (1..=64).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_graphic());
    if !fit {
        root.problem("version", "this is empty, longer than 64 bytes or has blanks", VERSION_SHAPE);
    }
    fit
}

/// The first 12 hexadecimal digits of the text's SHA-256: tells two edits of one version apart.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(6).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn annotations(root: &Section<'_, '_>) -> Vec<Annotation> {
    let annotation = |section: Section<'_, '_>| {
        let text = |name, accepted| section.required_text(name, accepted).unwrap_or_default();
        let annotation = Annotation {
            date: text("date", "when it was said, or of which time it speaks"),
            provider: text("provider", "whom it is about"),
            model: text("model", "which models it is about"),
            text: text("text", "what was said"),
            source: text("source", "who said it"),
        };
        section.finish();
        annotation
    };
    root.sections("annotations").into_iter().map(annotation).collect()
}

fn exchange_rates(root: &Section<'_, '_>) -> FxTable {
    let mut rates: Vec<DatedRate> = Vec::new();
    let mut days = HashSet::new();
    for section in root.sections("fx") {
        for rate in dated_rates(&section) {
            if !days.insert((rate.rate.currency(), rate.date)) {
                let wrong = format!("{} has two rates on {}", rate.rate.currency(), rate.date);
                section.problem("date", wrong, "one rate a day");
            }
            rates.push(rate);
        }
        section.finish();
    }
    FxTable::new(rates)
}

/// The rate of one day, or a series of them.
fn dated_rates(section: &Section<'_, '_>) -> Vec<DatedRate> {
    const PER_USD: &str = "units of the currency per US dollar, above zero, at most six decimals";
    let currency = required(section, "currency", "a currency", |s, name| s.word(name, &CURRENCIES[1..]));
    let source: Option<Arc<str>> = section.required_text("source", "where the rates were published").map(Into::into);
    let series = if section.has("rates") {
        section.dated_decimals("rates").into_iter().map(|(day, per_usd)| (parsed_date(section, "rates", &day), per_usd)).collect()
    } else {
        let per_usd = required(section, "per_usd", PER_USD, Section::decimal);
        let day = required(section, "date", DATE_SHAPE, date);
        per_usd.map(|per_usd| (day, per_usd)).into_iter().collect::<Vec<_>>()
    };
    let (Some(currency), Some(source)) = (currency, source) else { return Vec::new() };
    let dated = |(date, per_usd): (Option<Date>, String)| {
        let rate = ExchangeRate::parse(currency, &per_usd);
        if rate.is_err() {
            let name = if section.has("rates") { "rates" } else { "per_usd" };
            section.problem(name, format!("{per_usd} is no exchange rate"), PER_USD);
        }
        Some(DatedRate { date: date?, rate: rate.ok()?, source: Arc::clone(&source) })
    };
    series.into_iter().filter_map(dated).collect()
}

const DATE_SHAPE: &str = "a date such as 2026-11-22";

fn date(section: &Section<'_, '_>, name: &'static str) -> Option<Date> {
    parsed_date(section, name, &section.date_text(name)?)
}

fn parsed_date(section: &Section<'_, '_>, name: &'static str, text: &str) -> Option<Date> {
    let date = text.parse().ok();
    if date.is_none() {
        section.problem(name, format!("{text:?} is no date"), DATE_SHAPE);
    }
    date
}

/// Reads a member that must be there; its absence is a problem.
fn required<'d, 't, T>(
    section: &Section<'d, 't>,
    name: &'static str,
    accepted: &str,
    read: impl FnOnce(&Section<'d, 't>, &'static str) -> Option<T>,
) -> Option<T> {
    if !section.has(name) {
        section.problem(name, "missing", accepted);
    }
    read(section, name)
}

/// A list of words, each from a closed list; empty where absent.
fn words<T: Copy>(section: &Section<'_, '_>, name: &'static str, known: &[(T, &str)]) -> Vec<T> {
    let mut values = Vec::new();
    for text in section.texts(name) {
        if let Some((value, _)) = known.iter().find(|(_, word)| *word == text) {
            values.push(*value);
            continue;
        }
        let near = nearest(&text, known.iter().map(|(_, word)| *word));
        let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
        let list = known.iter().map(|(_, word)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        section.problem(name, format!("{text:?} is not known{hint}"), list);
    }
    values
}

#[cfg(test)]
mod made;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
