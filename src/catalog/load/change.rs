//! The `[[changes]]` of a table: figures that somebody laid over it. The gateway writes them itself, behind the operator's
//! text, when it keeps the table in force beside the books.

use std::collections::BTreeMap;

use super::price::instant;
use super::required;
use crate::catalog::capability::Backend;
use crate::catalog::change::{FigurePlace, Layer, PriceChange, layered};
use crate::catalog::feed::Kind;
use crate::document::Section;
use crate::units::TokenPrice;

const KINDS: [(Kind, &str); Kind::ALL.len()] = {
    let mut words = [(Kind::Input, Kind::Input.word()); Kind::ALL.len()];
    let mut n = 0;
    while n < words.len() {
        words[n] = (Kind::ALL[n], Kind::ALL[n].word());
        n += 1;
    }
    words
};

/// Every change, in the order of the file.
pub(super) fn read(root: &Section<'_, '_>) -> Vec<PriceChange> {
    let read = |section: Section<'_, '_>| {
        let change = change(&section);
        section.finish();
        change
    };
    root.sections("changes").into_iter().filter_map(read).collect()
}

/// The same, laid over their backends.
pub(super) fn read_over(root: &Section<'_, '_>, backends: &mut [Backend]) -> Vec<PriceChange> {
    let changes = read(root);
    for change in changes.iter().filter(|change| !backends.iter().any(|backend| backend.id.as_str() == change.backend)) {
        root.problem("changes", format!("there is no backend {:?}", change.backend), "provider/model of this table");
    }
    for backend in backends {
        let own: Vec<&PriceChange> = changes.iter().filter(|change| change.backend == backend.id.as_str()).collect();
        if !own.is_empty() {
            backend.prices = layered(&backend.prices, &own);
        }
    }
    changes
}

/// `None` only after a problem was noted.
fn change(section: &Section<'_, '_>) -> Option<PriceChange> {
    const INSTANT: &str = "an instant with its offset";
    let text = |name, accepted| section.required_text(name, accepted);
    let backend = text("backend", "provider/model");
    let layer = required(section, "layer", "who says it", |s, name| s.word(name, &Layer::WORDS));
    let (by, source) = (text("by", "the feed's or the administrator's name"), text("source", "the document or the reason"));
    let taken = required(section, "taken", INSTANT, |s, name| instant(s, name));
    let from = required(section, "from", INSTANT, |s, name| instant(s, name));
    let until = instant(section, "until");
    let figures: BTreeMap<FigurePlace, TokenPrice> = section.sections("figures").into_iter().filter_map(figure).collect();
    if figures.is_empty() {
        section.problem("figures", "no figure", "at least one { kind, price }");
    }
    Some(PriceChange { backend: backend?, layer: layer?, by: by?, source: source?, taken: taken?, from: from?, until, figures })
}

fn figure(section: Section<'_, '_>) -> Option<(FigurePlace, TokenPrice)> {
    const PRICE: &str = "a price per million tokens";
    let cell = section.whole("cell", 0..=u64::from(u16::MAX)).and_then(|cell| u32::try_from(cell).ok()).unwrap_or(0);
    let batch = section.truth("batch").unwrap_or(false);
    let kind = required(&section, "kind", "a kind of token", |s, name| s.word(name, &KINDS));
    let text = required(&section, "price", PRICE, Section::decimal);
    let price = text.and_then(|text| {
        let price = TokenPrice::per_million(&text).ok().filter(|price| *price > TokenPrice::FREE);
        if price.is_none() {
            section.problem(
                "price",
                format!("{text} is no price per million tokens"),
                "a price above zero, at most six decimals",
            );
        }
        price
    });
    section.finish();
    Some((FigurePlace { cell, batch, kind: kind? }, price?))
}
