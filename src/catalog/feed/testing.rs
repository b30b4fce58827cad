//! What the tests of the feeds share: a small table, offers in few words, and a reading as text.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::proposal::{Bounds, Cell, Figures, Hours, Kind, Offer, Proposal, Reading};
use super::{Format, decode};
use crate::catalog::Snapshot;
use crate::units::{Currency, TokenPrice};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/feeds/");

/// A table with what the feeds' fixtures name.
pub(super) static TABLE: LazyLock<Snapshot> =
    LazyLock::new(|| Snapshot::parse("table.toml", &fixture("table.toml")).expect("the feeds' table"));

pub(super) fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}{name}")).unwrap_or_else(|e| panic!("{FIXTURES}{name}: {e}"))
}

pub(super) fn price(per_million: &str) -> TokenPrice {
    TokenPrice::per_million(per_million).unwrap()
}

fn figures(said: &[(Kind, &str)]) -> Figures {
    let mut figures = Figures::default();
    for (kind, text) in said {
        figures.set(*kind, price(text));
    }
    figures
}

/// A flat offer in dollars.
pub(super) fn flat(said: &[(Kind, &str)]) -> Offer {
    Offer::new(Currency::Usd, vec![Cell { bounds: Bounds::ALL, figures: figures(said) }])
}

/// An offer by length of input: above, to, input, output.
pub(super) fn cells(cells: &[(Option<u64>, Option<u64>, &str, &str)]) -> Offer {
    let cell = |(above, to, input, output): &(Option<u64>, Option<u64>, &str, &str)| Cell {
        bounds: Bounds::input(*above, *to),
        figures: figures(&[(Kind::Input, input), (Kind::Output, output)]),
    };
    Offer::new(Currency::Usd, cells.iter().map(cell).collect())
}

pub(super) fn proposal(provider: &str, model: &str, said: &[(Kind, &str)]) -> Proposal {
    let (provider, model, place) = (provider.to_owned(), model.to_owned(), "test".to_owned());
    Proposal { provider, model, from: None, until: None, offer: flat(said), place }
}

/// Reads a fixture and compares it with the text beside it.
pub(super) fn check(format: Format, name: &str) {
    let found = shown(&decode(format, fixture(name).as_bytes()).unwrap());
    let expected = fixture(&format!("{name}.expected"));
    assert!(found == expected, "{name} is read as\n{found}\ninstead of\n{expected}");
}

/// A reading as text: a line for every proposal and every refusal.
pub(super) fn shown(reading: &Reading) -> String {
    let mut text = String::new();
    for p in &reading.proposals {
        let _ = write!(text, "{}/{}", p.provider, p.model);
        for (word, instant) in [("from", p.from), ("until", p.until)] {
            let _ = instant.map(|instant| write!(text, " {word} {instant}"));
        }
        let _ = writeln!(text, " ({}){}", p.place, offer(&p.offer));
    }
    for r in &reading.refused {
        let _ = writeln!(text, "refused {}/{} ({}): {}", r.provider, r.model, r.place, r.reason);
    }
    let _ = writeln!(text, "unpriced {}", reading.unpriced);
    text
}

fn offer(offer: &Offer) -> String {
    let mut text = format!(" {}", offer.currency);
    match &offer.hours {
        Hours::Same => {}
        Hours::Windows => text += ", by hours",
        Hours::Calendar(name) => drop(write!(text, ", by {name}")),
    }
    let _ = offer.marginal.map(|marginal| write!(text, ", {}", if marginal { "marginal" } else { "whole" }));
    text += if offer.free { ", free" } else { "" };
    let _ = offer.per_request.map(|fee| write!(text, ", fee {fee}"));
    let _ = offer.minimum.map(|least| write!(text, ", least {least}"));
    for cell in &offer.cells {
        let _ = write!(text, "\n    {}", self::cell(cell));
    }
    for cell in &offer.batch {
        let from = offer.batch_from.map(|from| format!(" from {from}")).unwrap_or_default();
        let _ = write!(text, "\n    batch{from} {}", self::cell(cell));
    }
    text
}

fn cell(cell: &Cell) -> String {
    let b = &cell.bounds;
    let bounds = [("input>", b.input_above), ("input<=", b.input_to), ("output>", b.output_above), ("output<=", b.output_to)];
    let bounds = bounds.iter().filter_map(|(word, bound)| bound.map(|bound| format!("{word}{bound}")));
    let thinking = b.thinking.map(|thinking| format!("thinking={thinking}"));
    let figure = |kind: Kind| cell.figures.get(kind).map(|p| format!("{}={}", kind.word(), p.to_per_million()));
    bounds.chain(thinking).chain(Kind::ALL.into_iter().filter_map(figure)).collect::<Vec<_>>().join(" ")
}
