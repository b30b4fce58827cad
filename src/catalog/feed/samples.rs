//! The decoders over real lists, whole: every figure against what `scripts/feed-samples` read from the same packages, in
//! another language and by other code. `scripts/test` fetches them; without them these tests say so.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::proposal::{Cell, Kind, Proposal};
use super::testing::TABLE;
use super::{Format, Guards, Mapping, Reading, Verdict, decode, judge};

const NONE: &str = "-";

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(target).join("feeds")
}

/// A list and what should be read from it; `None`, and a line that says so, where it was not fetched.
pub(super) fn sample(name: &str) -> Option<(Vec<u8>, BTreeSet<String>)> {
    let file = |end: &str| fs::read(folder().join(format!("{name}.{end}"))).ok();
    let (Some(list), Some(expected)) = (file("json"), file("tsv")) else {
        println!("skipped: not present ({}, made by scripts/feed-samples)", folder().join(name).display());
        return None;
    };
    let expected = String::from_utf8(expected).unwrap().lines().map(str::to_owned).collect();
    Some((list, expected))
}

fn lines(proposal: &Proposal, cells: &[Cell], batch: &str) -> Vec<String> {
    let from = proposal.from.map_or_else(|| NONE.to_owned(), |from| from.to_string()[..10].to_owned());
    let tokens = |bound: Option<u64>| bound.map_or_else(|| NONE.to_owned(), |bound| bound.to_string());
    let (provider, model) = (&proposal.provider, &proposal.model);
    let figures = |cell: &Cell| {
        let (above, to) = (tokens(cell.bounds.input_above), tokens(cell.bounds.input_to));
        let figure = |kind: Kind| Some((kind, cell.figures.get(kind)?));
        let said = Kind::ALL.into_iter().filter_map(figure);
        let line = |(kind, price): (Kind, crate::units::TokenPrice)| {
            let (kind, price) = (kind.word(), price.to_per_million());
            format!("{provider}\t{model}\t{from}\t{above}\t{to}\t{batch}\t{kind}\t{price}")
        };
        said.map(line).collect::<Vec<_>>()
    };
    cells.iter().flat_map(figures).collect()
}

/// Every figure of the list is read, and nothing else. Gives the reading for what is particular to it.
fn check(format: Format, name: &str, at_least: usize) -> Option<Reading> {
    let (list, expected) = sample(name)?;
    let reading = decode(format, &list).unwrap();
    let both = |p: &Proposal| [lines(p, &p.offer.cells, "one"), lines(p, &p.offer.batch, "batch")].concat();
    let found: BTreeSet<String> = reading.proposals.iter().flat_map(both).collect();
    let differ: Vec<&String> = found.symmetric_difference(&expected).take(20).collect();
    assert!(differ.is_empty(), "{name}: read or expected only: {differ:#?}");
    assert!(found.len() >= at_least, "{name}: only {} figures", found.len());
    // Foreign names meet nothing in a small table, and no guard is stepped over.
    for proposal in reading.current("2026-11-22T00:00:00Z".parse().unwrap()) {
        assert!(Mapping::default().find(&TABLE, &proposal).is_err());
        assert!(!matches!(judge(&proposal.offer, None, Guards::default()), Verdict::Accepted(_)));
    }
    Some(reading)
}

/// What a list has that our unit does not hold is refused with the words for it, and nothing else is.
fn refuses_only_the_finer(reading: &Reading, count: usize) {
    let other: Vec<_> = reading.refused.iter().filter(|r| !r.reason.to_string().contains("finer than 10^-12")).collect();
    assert!(other.is_empty() && reading.refused.len() == count, "{} refused, among them {other:?}", reading.refused.len());
}

#[test]
fn litellms_list_is_read_whole() {
    let Some(reading) = check(Format::LiteLlm, "litellm", 2_500) else { return };
    assert_eq!((reading.proposals.len(), reading.unpriced), (1_062, 184));
    refuses_only_the_finer(&reading, 2);
}

#[test]
fn models_devs_list_is_read_whole() {
    let Some(reading) = check(Format::ModelsDev, "models_dev", 15_000) else { return };
    assert_eq!((reading.proposals.len(), reading.unpriced), (6_254, 421));
    refuses_only_the_finer(&reading, 56);
}

#[test]
fn genai_prices_list_is_read_whole() {
    let Some(reading) = check(Format::GenaiPrices, "genai_prices", 6_000) else { return };
    assert_eq!((reading.proposals.len(), reading.unpriced), (2_397, 209));
    refuses_only_the_finer(&reading, 26);
}
