//! The rows of a list: which backends, with which price at the instant, converted how, in which order.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use super::filter::{mentions, wanted};
use super::{ListArgs, Money, Sort};
use crate::catalog::{Backend, DatedRate, FxTable, PriceRow, Provider, Snapshot};
use crate::cli::setup::{Setup, Standing};
use crate::units::{Amount, Currency, Mix, Sheet, Tariff, Tokens};

/// What was asked for, and what was left out of it.
pub(super) struct Listing<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) at: Timestamp,
    pub(super) blend: Mix,
    pub(super) rows: Vec<Row<'s>>,
    /// Backends that fit the options, those that a limit cut off included.
    pub(super) fitting: usize,
    /// Fitting ones that are not listed because they are switched off.
    pub(super) off: usize,
    /// Fitting ones that are not listed because no price is in force.
    pub(super) unpriced: usize,
}

/// One backend at the instant.
pub(super) struct Row<'s> {
    pub(super) backend: &'s Backend,
    pub(super) provider: &'s Provider,
    pub(super) standing: Standing<'s>,
    /// Its price, where one is in force.
    pub(super) price: Option<Price<'s>>,
    /// Why it is not used, where it is not.
    pub(super) unused: Option<Unused>,
}

/// A price in force, in the vendor's currency and in others.
pub(super) struct Price<'s> {
    pub(super) row: PriceRow,
    pub(super) vendor: Figures,
    /// In the currency that was asked for; none was, or there is no rate for it.
    pub(super) converted: Option<Figures>,
    /// What the conversion went through.
    pub(super) rates: Vec<&'s DatedRate>,
    /// In dollars, which is what prices are compared in.
    dollars: Option<Figures>,
}

/// What a million tokens cost, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) input: Amount,
    pub(super) cache_read: Amount,
    pub(super) cache_write: Amount,
    pub(super) output: Amount,
    pub(super) blended: Amount,
    /// What is billed by the piece: the price, and for how many.
    pub(super) pieces: Option<(Amount, u32)>,
}

/// Why a backend is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unused {
    /// The table switches it or its provider off, for this reason.
    Off(String),
    /// No price is in force; when, if ever, that changes.
    Unpriced(String),
}

impl Unused {
    pub(super) fn why(&self) -> &str {
        match self {
            Unused::Off(why) | Unused::Unpriced(why) => why,
        }
    }
}

impl Figures {
    fn of(tariff: &Tariff, blend: Mix) -> Self {
        let million = |price: crate::units::TokenPrice| price.million(tariff.currency);
        Self {
            input: million(tariff.input),
            cache_read: million(tariff.cache_read),
            cache_write: million(tariff.cache_write),
            output: million(tariff.output),
            blended: tariff.blended(blend),
            pieces: (!tariff.pieces.is_free())
                .then(|| (Amount::from_pico(tariff.pieces.pico().into(), tariff.currency), tariff.pieces.per())),
        }
    }

    pub(super) fn currency(&self) -> Currency {
        self.input.currency()
    }

    fn exchanged(&self, into: Currency, fx: &FxTable, at: Timestamp) -> Option<Self> {
        let exchange = |amount| fx.exchange(amount, into, at);
        Some(Self {
            input: exchange(self.input)?,
            cache_read: exchange(self.cache_read)?,
            cache_write: exchange(self.cache_write)?,
            output: exchange(self.output)?,
            blended: exchange(self.blended)?,
            pieces: match self.pieces {
                Some((price, per)) => Some((exchange(price)?, per)),
                None => None,
            },
        })
    }
}

impl<'s> Price<'s> {
    fn of(row: PriceRow, args: &ListArgs, fx: &'s FxTable, at: Timestamp) -> Self {
        let vendor = Figures::of(usual(row.sheet_at(at)), args.blend);
        let into = Money::converted(args.currency);
        let through = into.filter(|into| *into != vendor.currency()).map(|into| [vendor.currency(), into]);
        Self {
            vendor,
            converted: into.and_then(|into| vendor.exchanged(into, fx, at)),
            rates: through.into_iter().flatten().filter_map(|currency| fx.published(currency, at)).collect(),
            dollars: vendor.exchanged(Currency::Usd, fx, at),
            row,
        }
    }
}

impl<'s> Row<'s> {
    fn of(backend: &'s Backend, args: &ListArgs, setup: &'s Setup, at: Timestamp) -> Self {
        let provider = setup.snapshot.provider_of(backend);
        let price = backend.prices.at(at).map(|row| Price::of(row.clone(), args, &setup.snapshot.fx, at));
        let unused = match (&backend.disabled, &provider.disabled, &price) {
            (Some(reason), _, _) => Some(Unused::Off(format!("switched off: {reason}"))),
            (None, Some(reason), _) => Some(Unused::Off(format!("{} is switched off: {reason}", provider.id))),
            (None, None, None) => Some(Unused::Unpriced(unpriced(backend, at))),
            (None, None, Some(_)) => None,
        };
        Self { backend, provider, standing: setup.standing(provider), price, unused }
    }

    fn is_on(&self) -> bool {
        self.unused.is_none() && self.standing.is_on()
    }

    /// What the words of a search are looked for in.
    fn text(&self) -> String {
        let (backend, provider) = (self.backend, self.provider);
        let source = self.price.as_ref().map_or("", |price| &price.row.source);
        let why = self.unused.as_ref().map_or("", Unused::why);
        let (region, law) = (&provider.region, &provider.jurisdiction);
        let currency = self.price.as_ref().map_or(provider.currency, |price| price.vendor.currency());
        let names = format!("{} {} {}", backend.id, backend.model, backend.aliases.join(" "));
        format!("{names} {} {} {currency} {region} {law} {source} {why}", provider.name, provider.owner)
    }
}

/// The prices of an ordinary request: not long, its answer not very short, without thinking where that is sold apart.
fn usual(sheet: &Sheet) -> &Tariff {
    let (input, output) = (Tokens::new(4_000), Tokens::new(1_000));
    let cell = [false, true].into_iter().find_map(|thinking| sheet.cell(input, output, thinking));
    &cell.unwrap_or(&sheet.cells()[0]).tariff
}

fn unpriced(backend: &Backend, at: Timestamp) -> String {
    let rows = backend.prices.rows();
    let next = rows.iter().filter_map(|row| row.from).filter(|from| *from > at).min();
    let last = rows.iter().filter_map(|row| row.until).filter(|until| *until <= at).max();
    match (next, last) {
        (Some(next), _) => format!("no price yet: the next one begins at {next}"),
        (None, Some(last)) => format!("no price any more: the last one ended at {last}"),
        (None, None) => "the table has no price for it".to_owned(),
    }
}

impl<'s> Listing<'s> {
    /// Picks, converts and sorts.
    pub(super) fn of(args: &ListArgs, setup: &'s Setup, at: Timestamp) -> Self {
        let snapshot = &setup.snapshot;
        let fitting = snapshot.backends().iter().filter(|backend| wanted(&args.filter, backend, snapshot.provider_of(backend)));
        let mut rows: Vec<Row<'s>> = fitting.map(|backend| Row::of(backend, args, setup, at)).collect();
        rows.retain(|row| !args.filter.on || row.is_on());
        rows.retain(|row| args.filter.search.as_ref().is_none_or(|words| mentions(words, &row.text())));
        let mut listing = Self { snapshot, at, blend: args.blend, fitting: rows.len(), off: 0, unpriced: 0, rows };
        if !args.filter.all {
            let count =
                |is: fn(&Unused) -> bool| listing.rows.iter().filter_map(|row| row.unused.as_ref()).filter(|u| is(u)).count();
            let (off, unpriced) = (count(|u| matches!(u, Unused::Off(_))), count(|u| matches!(u, Unused::Unpriced(_))));
            (listing.off, listing.unpriced) = (off, unpriced);
            listing.rows.retain(|row| row.unused.is_none());
        }
        listing.rows.sort_by(|a, b| in_order(args, a, b));
        listing.rows.truncate(args.limit.unwrap_or(usize::MAX));
        listing
    }
}

/// The order that was asked for; what lacks the figure comes last in either direction, and equals by their names.
fn in_order(args: &ListArgs, a: &Row<'_>, b: &Row<'_>) -> Ordering {
    let direct = |ordering: Ordering| if args.reverse { ordering.reverse() } else { ordering };
    let price = |pick: fn(&Figures) -> Amount| {
        let of = |row: &Row<'_>| row.price.as_ref().and_then(|price| price.dollars.as_ref()).map(|dollars| pick(dollars).pico());
        present_first(of(a), of(b), direct)
    };
    let ordering = match args.sort {
        Sort::Input => price(|figures| figures.input),
        Sort::Output => price(|figures| figures.output),
        Sort::Cache => price(|figures| figures.cache_read),
        Sort::Blend => price(|figures| figures.blended),
        Sort::Quality => present_first(a.backend.quality.score.map(Reverse), b.backend.quality.score.map(Reverse), direct),
        Sort::Provider => direct(a.provider.id.cmp(&b.provider.id)),
        Sort::Model => direct(a.backend.model.cmp(&b.backend.model)),
    };
    ordering.then_with(|| a.backend.id.as_str().cmp(b.backend.id.as_str()))
}

fn present_first<T: Ord>(a: Option<T>, b: Option<T>, direct: impl Fn(Ordering) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => direct(a.cmp(&b)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}
