//! A feed over a small table, reading after reading; and real lists over the table that ships.

use super::super::testing::{TABLE, proposal};
use super::super::{Format, Kind, decode};
use super::*;
use crate::catalog::change::to_toml;

const SHIPPED: &str = include_str!("../../../../providers.toml");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn source(mapping: &Mapping) -> Source<'_> {
    Source { name: "list", document: "test", mapping, guards: Guards::default() }
}

fn reading(input: &str) -> Reading {
    let figures = [(Kind::Input, input), (Kind::CacheRead, "0.2"), (Kind::Output, "8")];
    Reading { proposals: vec![proposal("east", "plain", &figures)], ..Reading::default() }
}

fn step(before: &[PriceChange], input: &str, now: &str) -> Review {
    let mapping = Mapping::default();
    review(source(&mapping), &reading(input), (&TABLE, &OwnFigures::default()), before, at(now))
}

fn told(changes: &[PriceChange]) -> Vec<String> {
    let one = |c: &PriceChange| {
        let figures: Vec<String> = c.figures.iter().map(|(p, f)| format!("{} {}", p.kind.word(), f.to_per_million())).collect();
        let until = c.until.map(|until| until.to_string()[..10].to_owned()).unwrap_or_default();
        format!("{} {}..{until}: {}", c.backend, &c.from.to_string()[..10], figures.join(", "))
    };
    changes.iter().map(one).collect()
}

#[test]
fn a_feed_changes_ends_and_never_walks() {
    let first = step(&[], "1.5", "2026-12-01T00:00:00Z");
    assert_eq!((told(&first.changes), first.begun.len()), (vec!["east/plain 2026-12-01..: input 1.5".to_owned()], 1));
    let again = step(&first.changes, "1.5", "2026-12-02T00:00:00Z");
    assert_eq!((&again.changes, again.begun.len(), again.unchanged), (&first.changes, 0, 1));
    let next = step(&first.changes, "0.6", "2026-12-03T00:00:00Z");
    assert_eq!(told(&next.changes), ["east/plain 2026-12-01..2026-12-03: input 1.5", "east/plain 2026-12-03..: input 0.6"]);
    assert_eq!((next.begun.len(), next.ended.len()), (1, 1));
    // Half of what it said before, but less than a fourth of what people said.
    let walked = step(&next.changes, "0.3", "2026-12-04T00:00:00Z");
    assert_eq!((&walked.changes, walked.begun.len()), (&next.changes, 0));
    assert_eq!(walked.held[0].reasons[0].word(), "jump");
    assert_eq!(walked.held[0].figures.values().map(|f| f.to_per_million()).collect::<Vec<_>>(), ["0.3"]);
    let back = step(&next.changes, "2", "2026-12-05T00:00:00Z");
    assert_eq!(told(&back.changes)[1], "east/plain 2026-12-03..2026-12-05: input 0.6");
}

#[test]
fn a_feed_that_did_not_notice_a_step_of_the_table_does_not_undo_it() {
    let (plain, rises) = (
        "prices = [{ input = 2, cache_read = 0.2, output = 8, source = \"invented\" }]",
        "prices = [{ input = 2, cache_read = 0.2, output = 8, source = \"x\" }, \
         { from = 2026-12-03T00:00:00Z, input = 3, cache_read = 0.2, output = 8, source = \"x\" }]",
    );
    let text = TABLE.text.replacen(plain, rises, 1);
    assert_ne!(text, *TABLE.text);
    let table = Snapshot::parse("t", &text).unwrap();
    let mapping = Mapping::default();
    let look = |before: &[PriceChange], input: &str, now: &str| {
        review(source(&mapping), &reading(input), (&table, &OwnFigures::default()), before, at(now))
    };
    let first = look(&[], "1.9", "2026-12-01T00:00:00Z");
    assert_eq!(first.begun.len(), 1);
    let stale = look(&first.changes, "1.9", "2026-12-03T00:00:00Z");
    assert_eq!((stale.begun.len(), stale.held[0].reasons[0].word()), (0, "outdated"));
    let noticed = look(&first.changes, "2.9", "2026-12-03T00:00:00Z");
    assert_eq!((noticed.begun.len(), noticed.held.len()), (1, 0));
}

#[test]
fn a_feed_that_falls_silent_or_speaks_nonsense_leaves_things_as_they_are() {
    let first = step(&[], "1.5", "2026-12-01T00:00:00Z");
    let mapping = Mapping::default();
    let silent = review(
        source(&mapping),
        &Reading::default(),
        (&TABLE, &OwnFigures::default()),
        &first.changes,
        at("2026-12-02T00:00:00Z"),
    );
    assert_eq!(silent.changes, first.changes);
    for nonsense in ["0.002", "1500", "0.000001"] {
        assert_eq!(step(&first.changes, nonsense, "2026-12-02T00:00:00Z").changes, first.changes, "{nonsense}");
    }
}

#[test]
fn an_announced_price_waits_for_its_instant() {
    let mapping = Mapping::default();
    let mut announced = reading("3");
    announced.proposals[0].from = Some(at("2027-01-01T00:00:00Z"));
    let look = |before: &[PriceChange], reading: &Reading, now| {
        review(source(&mapping), reading, (&TABLE, &OwnFigures::default()), before, at(now))
    };
    let first = look(&[], &announced, "2026-12-01T00:00:00Z");
    assert_eq!(told(&first.changes), ["east/plain 2027-01-01..: input 3"]);
    assert_eq!(look(&first.changes, &announced, "2026-12-02T00:00:00Z").changes, first.changes);
    announced.proposals[0].offer = reading("2.5").proposals[0].offer.clone();
    let other = look(&first.changes, &announced, "2026-12-03T00:00:00Z");
    assert_eq!(told(&other.changes), ["east/plain 2027-01-01..: input 2.5"]);
}

#[test]
fn what_the_operators_table_says_is_never_changed() {
    let text = super::super::testing::fixture("table.toml");
    let own_table =
        Snapshot::parse("own", &text.replace("input = 2, cache_read = 0.2", "input = 2.2, cache_read = 0.2")).unwrap();
    let own = OwnFigures::of(&own_table, &TABLE, at("2026-12-01T00:00:00Z"));
    let place = |kind| FigurePlace { cell: 0, batch: false, kind };
    assert!(own.has("east/plain", place(Kind::Input)) && !own.has("east/plain", place(Kind::Output)));
    assert!(OwnFigures::of(&TABLE, &TABLE, at("2026-12-01T00:00:00Z")).is_empty());
    let mapping = Mapping::default();
    let mut list = reading("1.5");
    list.proposals[0].offer.cells[0].figures.set(Kind::Output, TokenPrice::per_million("7").unwrap());
    let found = review(source(&mapping), &list, (&own_table, &own), &[], at("2026-12-01T00:00:00Z"));
    assert_eq!(told(&found.changes), ["east/plain 2026-12-01..: output 7"]);
}

/// Every real list over the table that ships: whatever is taken makes a table that reads, and moves no figure further than
/// the guards allow.
#[test]
fn real_lists_over_the_shipped_table() {
    let shipped = Snapshot::parse("providers.toml", SHIPPED).unwrap();
    let now = at("2026-11-28T00:00:00Z");
    let map =
        [("dashscope", "alibaba"), ("moonshot", "moonshotai"), ("gemini", "google"), ("x-ai", "xai"), ("together", "togetherai")];
    let mapping = Mapping { providers: map.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect() };
    for (format, name) in [(Format::LiteLlm, "litellm"), (Format::ModelsDev, "models_dev"), (Format::GenaiPrices, "genai_prices")]
    {
        let Some((list, _)) = super::super::samples::sample(name) else { continue };
        let reading = decode(format, &list).unwrap();
        let found = review(source(&mapping), &reading, (&shipped, &OwnFigures::default()), &[], now);
        let known = found.begun.len() + found.unchanged + found.held.iter().filter(|held| held.subject.backend.is_some()).count();
        println!("{name}: {known} known, {} taken, {} unchanged", found.begun.len(), found.unchanged);
        let table = Snapshot::parse("laid over", &format!("{SHIPPED}{}", to_toml(&found.changes))).unwrap();
        assert!(known > 0 && found.begun.iter().all(|change| within(&table, &shipped, change, now)), "{name}");
    }
}

fn within(table: &Snapshot, shipped: &Snapshot, change: &PriceChange, now: Timestamp) -> bool {
    let offer =
        |table: &Snapshot| Offer::of(table.backend_named(&change.backend).unwrap().prices.at(change.from.max(now)).unwrap());
    let (new, old) = (effective(&offer(table)), effective(&offer(shipped)));
    change.figures.iter().all(|(place, price)| {
        let (new, old) = (new[place], old[place]);
        new == *price && new > TokenPrice::FREE && new.pico() <= old.pico() * 4 && new.pico() * 100 >= old.pico()
    })
}
