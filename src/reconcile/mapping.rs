//! What the columns of a vendor's bill are: read from a small file, so that a vendor that changes its export is no change of this
//! program. A vendor may have several exports (tokens in one, money in another); each is a *file* of the mapping, known by its
//! columns.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::document::{Document, Problem, Section};
use crate::units::Currency;

/// What a count of a bill is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Every input token, cached or not.
    Input,
    /// Input that was neither read from a cache nor written to one.
    FreshInput,
    CacheRead,
    CacheWrite,
    Output,
    Requests,
    /// Known, and not counted.
    Ignored,
}

impl Kind {
    const WORDS: [(Kind, &'static str); 7] = [
        (Kind::Input, "input"),
        (Kind::FreshInput, "fresh_input"),
        (Kind::CacheRead, "cache_read"),
        (Kind::CacheWrite, "cache_write"),
        (Kind::Output, "output"),
        (Kind::Requests, "requests"),
        (Kind::Ignored, "ignored"),
    ];
}

/// How a day is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayForm {
    /// A date at the beginning of the cell (`2026-11-01`, `2026/11/1`, `20261101`), whatever follows.
    Date,
    /// Seconds since 1970.
    Unix,
    /// An instant with its offset, or in the bill's zone.
    Instant,
}

/// Which instant of an attempt the vendor's day goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsWhen {
    Begun,
    Ended,
}

/// A text in a cell, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Names that the column has, in the languages of the export.
    pub columns: Vec<String>,
    /// What stands between parts; the whole cell where empty.
    pub between: String,
    /// Which part, from 0.
    pub part: usize,
}

/// One export of a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileShape {
    pub name: String,
    pub day: Vec<String>,
    pub day_form: DayForm,
    pub model: Part,
    /// What a row's quantity is of, by words.
    pub kind: Part,
    pub kinds: BTreeMap<String, Kind>,
    pub quantity: Vec<String>,
    /// The column that says in what a quantity is counted, and how many tokens each word is.
    pub unit: Vec<String>,
    pub units: BTreeMap<String, u64>,
    /// Columns that each hold a count.
    pub counts: BTreeMap<Kind, Vec<Vec<String>>>,
    pub amount: Vec<String>,
    pub currency: Vec<String>,
    /// Only rows in which this column has one of these words.
    pub only: Vec<String>,
    pub only_words: Vec<String>,
}

/// A vendor's exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub name: String,
    /// The table's ids of who is billed by it.
    pub providers: Vec<String>,
    pub zone: TimeZone,
    /// Of amounts that name none.
    pub currency: Currency,
    pub counts_when: CountsWhen,
    /// Names of models on the bill, by what the table or the vendor's answers call them.
    pub models: BTreeMap<String, String>,
    /// What nobody has checked against a real export; empty where all of it was.
    pub unverified: String,
    pub files: Vec<FileShape>,
}

macro_rules! bills {
    ($($vendor:literal),+ $(,)?) => {
        /// Vendors and their mappings.
        const SHIPPED: &[(&str, &str)] = &[$(($vendor, include_str!(concat!("../../config/bills/", $vendor, ".toml")))),+];
    };
}

bills!["alibaba", "anthropic", "deepseek", "openai", "volcengine"];

/// The vendors whose mappings are shipped.
pub fn vendors() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(vendor, _)| *vendor)
}

/// The text of a shipped mapping.
pub fn shipped(vendor: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == vendor).map(|(_, text)| *text)
}

impl Mapping {
    /// Reads a mapping; every problem at once where it has any.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text);
        let root = document.root();
        let mapping = mapping(&root);
        root.finish();
        let problems = document.into_problems();
        match mapping {
            Some(mapping) if problems.is_empty() => Ok(mapping),
            _ => Err(problems),
        }
    }
}

fn mapping(root: &Section<'_, '_>) -> Option<Mapping> {
    let name = root.required_text("name", "the vendor's name");
    let providers = root.texts("providers");
    if providers.is_empty() {
        root.problem("providers", "none are named", "the table's ids of the providers that this vendor bills");
    }
    let zone_name = root.text("zone").unwrap_or_else(|| "UTC".to_owned());
    let zone = TimeZone::get(&zone_name).ok();
    if zone.is_none() {
        root.problem("zone", format!("{zone_name:?} is no time zone"), "a name such as Asia/Shanghai");
    }
    let currencies = Currency::ALL.map(|currency| (currency, currency.code()));
    let currency = root.word("currency", &currencies);
    if currency.is_none() && !root.has("currency") {
        root.problem("currency", "is missing", "USD, CNY or EUR");
    }
    let whens = [(CountsWhen::Begun, "begun"), (CountsWhen::Ended, "ended")];
    let counts_when = root.word("counts_when", &whens).unwrap_or(CountsWhen::Ended);
    let models = root.section("models").map(|section| words(&section, |_, text| Some(text))).unwrap_or_default();
    let unverified = root.text("unverified").unwrap_or_default();
    let _ = root.text("source");
    let files: Vec<FileShape> = root.sections("files").into_iter().filter_map(file).collect();
    if files.is_empty() {
        root.problem("files", "none are described", "a [[files]] for each export");
    }
    Some(Mapping { name: name?, providers, zone: zone?, currency: currency?, counts_when, models, unverified, files })
}

fn file(section: Section<'_, '_>) -> Option<FileShape> {
    let name = section.required_text("name", "what the export is called");
    let forms = [(DayForm::Date, "date"), (DayForm::Unix, "unix"), (DayForm::Instant, "instant")];
    let day = section.texts("day");
    if day.is_empty() {
        section.problem("day", "is missing", "the names that the column of the day may have");
    }
    let kinds = section.section("kinds").map(|kinds| words(&kinds, |kinds, word| kind(kinds, &word))).unwrap_or_default();
    let units = section.section("units").map(|units| words(&units, |units, text| whole(units, &text))).unwrap_or_default();
    let mut counts = BTreeMap::new();
    if let Some(columns) = section.section("counts") {
        for (kind, word) in Kind::WORDS {
            let names = columns.texts(word);
            if !names.is_empty() {
                // Several columns of one kind add up (a cache written for minutes and for an hour); `|` is between names of one.
                counts.insert(kind, names.iter().map(|name| name.split('|').map(str::to_owned).collect()).collect());
            }
        }
        columns.finish();
    }
    let shape = FileShape {
        name: name.unwrap_or_default(),
        day,
        day_form: section.word("day_form", &forms).unwrap_or(DayForm::Date),
        model: part(&section, "model"),
        kind: part(&section, "kind"),
        kinds,
        quantity: section.texts("quantity"),
        unit: section.texts("unit"),
        units,
        counts,
        amount: section.texts("amount"),
        currency: section.texts("currency"),
        only: section.texts("only"),
        only_words: section.texts("only_words"),
    };
    if shape.model.columns.is_empty() {
        section.problem("model", "is missing", "the names that the column of the model may have");
    }
    if shape.amount.is_empty() && shape.quantity.is_empty() && shape.counts.is_empty() {
        section.problem("amount", "neither money nor tokens are told", "amount, quantity or [files.counts]");
    }
    if !shape.quantity.is_empty() && shape.kind.columns.is_empty() {
        section.problem("kind", "is missing", "the column that says what a quantity is of");
    }
    section.finish();
    Some(shape)
}

/// `NAME`, `NAME_between` and `NAME_part`.
fn part(section: &Section<'_, '_>, name: &'static str) -> Part {
    let (between, number) = match name {
        "model" => ("model_between", "model_part"),
        _ => ("kind_between", "kind_part"),
    };
    let part = section.whole(number, 0..=31).and_then(|part| usize::try_from(part).ok()).unwrap_or(0);
    Part { columns: section.texts(name), between: section.text(between).unwrap_or_default(), part }
}

/// The members of a section, each a text, in small letters.
fn words<T>(section: &Section<'_, '_>, read: impl Fn(&Section<'_, '_>, String) -> Option<T>) -> BTreeMap<String, T> {
    let names: Vec<&str> = section.names().collect();
    let mut words = BTreeMap::new();
    for name in names {
        let Some(text) = section.named_text(name) else { continue };
        if let Some(value) = read(section, text) {
            words.insert(name.to_lowercase(), value);
        }
    }
    words
}

fn kind(section: &Section<'_, '_>, word: &str) -> Option<Kind> {
    let found = Kind::WORDS.into_iter().find(|(_, known)| *known == word).map(|(kind, _)| kind);
    if found.is_none() {
        let known: Vec<&str> = Kind::WORDS.iter().map(|(_, word)| *word).collect();
        section.problem(word, "is no kind of count", known.join(", "));
    }
    found
}

fn whole(section: &Section<'_, '_>, text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| (1..=1_000_000_000).contains(number));
    if number.is_none() {
        section.problem(text, "is no number of tokens", "a whole number of tokens, as a text");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_mapping_reads_and_says_what_nobody_has_checked() {
        for (vendor, text) in SHIPPED {
            let mapping = Mapping::read(vendor, text).unwrap_or_else(|problems| panic!("{vendor}: {problems:?}"));
            assert!(!mapping.files.is_empty() && !mapping.providers.is_empty(), "{vendor}");
            assert!(text.contains("source = "), "{vendor}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let text = "name = \"X\"\nzone = \"Mars\"\ncurency = \"USD\"\n[[files]]\nname = \"a\"\nday = [\"d\"]\nquantity = [\"q\"]\n\
            [files.kinds]\nx = \"tokens\"\n";
        let told: Vec<String> = Mapping::read("m.toml", text).unwrap_err().iter().map(ToString::to_string).collect();
        for part in ["providers", "no time zone", "curency", "currency", "model", "no kind of count", "kind: is missing"] {
            assert!(told.iter().any(|problem| problem.contains(part)), "{part}: {told:#?}");
        }
    }
}
