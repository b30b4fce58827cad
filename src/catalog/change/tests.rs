//! Layers over a small table: who wins by figure, from when until when, and that the text says it all again.

use super::*;
use crate::catalog::Snapshot;

const TABLE: &str = include_str!("../../../tests/fixtures/feeds/table.toml");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn change(layer: Layer, by: &str, from: &str, until: Option<&str>, figures: &[(Kind, &str)]) -> PriceChange {
    let figure = |(kind, price): &(Kind, &str)| {
        (FigurePlace { cell: 0, batch: false, kind: *kind }, TokenPrice::per_million(price).unwrap())
    };
    PriceChange {
        backend: "east/plain".into(),
        layer,
        by: by.into(),
        source: "a \"quoted\" \\ source".into(),
        taken: at(from),
        from: at(from),
        until: until.map(at),
        figures: figures.iter().map(figure).collect(),
    }
}

fn table(changes: &[PriceChange]) -> Snapshot {
    let text = format!("{TABLE}{}", to_toml(changes));
    Snapshot::parse("table.toml", &text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// Input, cache read and output of the plain backend at an instant.
fn prices(table: &Snapshot, instant: &str) -> String {
    let row = table.backend_named("east/plain").unwrap().prices.at(at(instant)).unwrap();
    let tariff = row.list().cells()[0].tariff;
    [tariff.input, tariff.cache_read, tariff.output].map(TokenPrice::to_per_million).join(" ")
}

#[test]
fn the_strongest_layer_that_says_a_figure_wins_it() {
    let changes = [
        change(Layer::Feed, "b", "2026-12-01T00:00:00Z", None, &[(Kind::Input, "1.5"), (Kind::Output, "7")]),
        change(Layer::Feed, "a", "2026-12-02T00:00:00Z", None, &[(Kind::Input, "1.6")]),
        change(Layer::Admin, "ann", "2026-12-03T00:00:00Z", Some("2026-12-05T00:00:00Z"), &[(Kind::Output, "9")]),
        change(Layer::Feed, "a", "2026-12-04T00:00:00Z", None, &[(Kind::Input, "1.7"), (Kind::Output, "6")]),
    ];
    let table = table(&changes);
    for (instant, expected) in [
        ("2026-11-30T23:59:59Z", "2 0.2 8"),
        ("2026-12-01T00:00:00Z", "1.5 0.2 7"),
        ("2026-12-02T00:00:00Z", "1.6 0.2 7"),
        ("2026-12-03T00:00:00Z", "1.6 0.2 9"),
        ("2026-12-04T00:00:00Z", "1.7 0.2 9"),
        ("2026-12-05T00:00:00Z", "1.7 0.2 6"),
    ] {
        assert_eq!(prices(&table, instant), expected, "at {instant}");
    }
    assert_eq!(table.changes, changes);
    let said = said(&table.changes, at("2026-12-04T12:00:00Z"));
    let by: Vec<(Kind, &str)> = said.iter().map(|(place, (_, change))| (place.kind, change.by.as_str())).collect();
    assert_eq!(by, [(Kind::Input, "a"), (Kind::Output, "ann")]);
}

#[test]
fn what_ends_gives_way_to_the_table_and_rows_of_the_table_go_on_beginning() {
    let until = Some("2026-12-02T00:00:00Z");
    let changed = table(&[change(Layer::Feed, "a", "2026-12-01T00:00:00Z", until, &[(Kind::Input, "1")])]);
    assert_eq!(prices(&changed, "2026-12-01T12:00:00Z"), "1 0.2 8");
    assert_eq!(prices(&changed, "2026-12-02T00:00:00Z"), "2 0.2 8");
    let rises = TABLE.replace(
        "prices = [{ input = 2, cache_read = 0.2, output = 8, source = \"invented\" }]",
        "prices = [{ input = 2, output = 8, source = \"x\" }, { from = 2026-12-03T00:00:00Z, input = 3, output = 9, source = \"x\" }]",
    );
    assert_ne!(rises, TABLE);
    let change = change(Layer::Feed, "a", "2026-12-01T00:00:00Z", None, &[(Kind::Output, "7")]);
    let rises = Snapshot::parse("t", &format!("{rises}{}", to_toml([&change]))).unwrap();
    // The unsaid price of cached input goes with the input.
    assert_eq!(prices(&rises, "2026-12-02T00:00:00Z"), "2 2 7");
    assert_eq!(prices(&rises, "2026-12-03T00:00:00Z"), "3 3 7");
    let ids: Vec<&str> = rises.backend_named("east/plain").unwrap().prices.rows().iter().map(|row| &*row.id).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

#[test]
fn a_change_that_cannot_be_is_a_problem_of_the_table() {
    let good = to_toml([&change(Layer::Admin, "ann", "2026-12-01T00:00:00Z", None, &[(Kind::Input, "1")])]);
    for (old, new, expected) in [
        ("east/plain", "east/plan", "there is no backend"),
        ("\"admin\"", "\"god\"", "changes[0].layer"),
        ("price = 1", "price = 0", "no price per million tokens"),
        ("\"input\"", "\"inputs\"", "did you mean \"input\""),
        ("from = 2026-12-01T00:00:00Z", "from = 2026-12-01", "is no instant"),
    ] {
        let bad = good.replace(old, new);
        assert_ne!(bad, good);
        let problems = Snapshot::parse("t", &format!("{TABLE}{bad}")).unwrap_err();
        assert!(problems.iter().any(|problem| problem.to_string().contains(expected)), "{expected}: {problems:#?}");
    }
}

#[test]
fn an_offer_made_of_a_row_makes_the_row_again() {
    let table = table(&[]);
    for backend in table.backends() {
        let row = &backend.prices.rows()[0];
        assert_eq!(with_figures::<()>(row, &BTreeMap::new()), None, "{}", backend.id);
    }
}
