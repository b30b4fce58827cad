//! The guards, one by one: what is taken, what is held back and in which words.

use super::super::testing::{cells, flat, price};
use super::*;
use crate::units::Currency;

/// What stands in most of these tests.
fn stands() -> Offer {
    flat(&[(Kind::Input, "2"), (Kind::CacheRead, "0.2"), (Kind::Output, "8")])
}

fn said(input: &str, output: &str) -> Offer {
    flat(&[(Kind::Input, input), (Kind::Output, output)])
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unchanged => "unchanged".into(),
        Verdict::Accepted(change) => {
            let figure = |f: &FigureChange| {
                let before = f.before.map_or("none".into(), TokenPrice::to_per_million);
                let batch = if f.batch { "batch " } else { "" };
                format!("{batch}{}[{}] {before} -> {}", f.kind.word(), f.cell, f.after.to_per_million())
            };
            change.figures.iter().map(figure).collect::<Vec<_>>().join(", ")
        }
        Verdict::Quarantined(reasons, _) => {
            let reasons: Vec<String> = reasons.iter().map(|reason| format!("{}: {reason}", reason.word())).collect();
            format!("held back: {}", reasons.join("; "))
        }
    }
}

fn check_against(offer: &Offer, stands: Option<&Offer>, expected: &str) {
    assert_eq!(words(&judge(offer, stands, Guards::default())), expected);
}

fn check(offer: &Offer, expected: &str) {
    check_against(offer, Some(&stands()), expected);
}

#[test]
fn a_believable_change_is_taken_figure_by_figure() {
    check(&stands(), "unchanged");
    check(&said("2", "8"), "unchanged");
    check(&said("1.5", "8"), "input[0] 2 -> 1.5");
    check(&said("2", "32"), "output[0] 8 -> 32");
    check(&said("0.5", "2"), "input[0] 2 -> 0.5, output[0] 8 -> 2");
    let Verdict::Accepted(change) = judge(&said("1.5", "8"), Some(&stands()), Guards::default()) else { panic!("not accepted") };
    let figures = change.offer.cells[0].figures;
    assert_eq!(figures.get(Kind::CacheRead), Some(price("0.2")), "what is not said stays");
}

#[test]
fn absurd_jumps_are_held_back_either_way() {
    check(&said("2", "32.01"), "held back: jump: output from 8 to 32.01 per million: more than 4 times apart");
    check(&said("0.49", "8"), "held back: jump: input from 2 to 0.49 per million: more than 4 times apart");
    let wide = Guards { jump: 5_500_000 };
    let jump = judge(&said("11.1", "8"), Some(&stands()), wide);
    assert_eq!(words(&jump), "held back: jump: input from 2 to 11.1 per million: more than 5.5 times apart");
    assert!(matches!(judge(&said("11", "8"), Some(&stands()), wide), Verdict::Accepted(_)));
}

#[test]
fn unit_mistakes_are_named() {
    let thousand = "about 1,000 times as much, as where a price per million stands for one per thousand";
    check(&said("1900", "8"), &format!("held back: unit: input from 2 to 1900 per million: {thousand}"));
    let thousandth = "about a 1,000th, as where a price per thousand stands for one per million";
    check(
        &said("0.002", "0.008"),
        &format!(
            "held back: unit: input from 2 to 0.002 per million: {thousandth}; unit: output from 8 to 0.008 per million: {thousandth}"
        ),
    );
    let millionth = "about a 1,000,000th, as where a price per token stands for one per million";
    check(&said("0.000002", "8"), &format!("held back: unit: input from 2 to 0.000002 per million: {millionth}"));
    let million = "about 1,000,000 times as much, as where a price per million stands for one per token";
    check(&said("2000000", "8"), &format!("held back: unit: input from 2 to 2000000 per million: {million}"));
}

#[test]
fn nothing_becomes_free() {
    check(&said("0", "8"), "held back: zero: input costs nothing");
    check(&Offer { free: true, ..stands() }, "held back: zero: a feed cannot make a backend free");
    let free = Offer { free: true, ..said("0", "0") };
    check_against(&free, Some(&free), "unchanged");
    check_against(&said("0", "0"), Some(&free), "unchanged");
    check_against(
        &said("1", "2"),
        Some(&said("0", "0")),
        "held back: jump: input from 0 to 1 per million: more than 4 times apart; jump: output from 0 to 2 per million: more than 4 times apart",
    );
}

#[test]
fn what_is_missing_or_in_another_currency_is_held_back() {
    check(&flat(&[(Kind::Input, "2")]), "held back: missing: output has no price");
    check(&flat(&[(Kind::Output, "8")]), "held back: missing: input has no price");
    let yuan = Offer { currency: Currency::Cny, ..stands() };
    check(&yuan, "held back: currency: the feed's price is in CNY, the table's in USD");
    check_against(&stands(), None, "held back: no_price_in_force: the backend has no price in force to compare it with");
}

#[test]
fn cached_input_is_never_dearer_than_input() {
    let dear = flat(&[(Kind::Input, "2"), (Kind::CacheRead, "0.5"), (Kind::Output, "8")]);
    check(&dear, "cache_read[0] 0.2 -> 0.5");
    let tight = flat(&[(Kind::Input, "0.6"), (Kind::CacheRead, "0.7"), (Kind::Output, "8")]);
    check(&tight, "held back: cache_above_input: cached input at 0.7 per million is dearer than input at 0.6");
    // The cached price is not said, and what stands would be above the new input price.
    let cheap = flat(&[(Kind::Input, "2"), (Kind::CacheRead, "1"), (Kind::Output, "8")]);
    check_against(
        &said("0.9", "8"),
        Some(&cheap),
        "held back: cache_above_input: cached input at 1 per million is dearer than input at 0.9",
    );
}

#[test]
fn a_price_that_the_table_lacks_must_be_in_proportion() {
    let plain = said("2", "8");
    let with = |kind, figure| flat(&[(Kind::Input, "2"), (kind, figure), (Kind::Output, "8")]);
    check_against(&with(Kind::CacheRead, "0.04"), Some(&plain), "cache_read[0] none -> 0.04");
    check_against(&with(Kind::CacheRead, "2"), Some(&plain), "unchanged");
    check_against(
        &with(Kind::CacheRead, "0.01"),
        Some(&plain),
        "held back: jump: cache_read at 0.01 per million, where such tokens cost 2 now: out of proportion",
    );
    check_against(&with(Kind::CacheWrite, "2.5"), Some(&plain), "cache_write[0] none -> 2.5");
    check_against(
        &with(Kind::CacheWrite, "9"),
        Some(&plain),
        "held back: jump: cache_write at 9 per million, where such tokens cost 2 now: out of proportion",
    );
}

#[test]
fn the_shape_stays_the_tables() {
    let tiered = cells(&[(None, Some(200_000), "2", "8"), (Some(200_000), None, "4", "12")]);
    check_against(&tiered, Some(&tiered), "unchanged");
    let dearer = cells(&[(None, Some(199_999), "2", "8"), (Some(199_999), None, "5", "12")]);
    check_against(&dearer, Some(&tiered), "input[1] 4 -> 5");
    check_against(
        &said("2", "8"),
        Some(&tiered),
        "held back: shape: flatter than the table: its price has cells by length or thinking",
    );
    check(&tiered, "held back: shape: the table's price is simpler: the feed's has cells by length or thinking");
    let other = cells(&[(None, Some(128_000), "2", "8"), (Some(128_000), None, "4", "12")]);
    check_against(&other, Some(&tiered), "held back: shape: not shaped as the table's price: cells with other bounds");
    let by_hour = |hours| Offer { hours, ..stands() };
    let calendar = |name: &str| by_hour(Hours::Calendar(name.into()));
    check_against(
        &said("2", "8"),
        Some(&calendar("peak")),
        "held back: shape: flatter than the table: its price follows a calendar",
    );
    check_against(&calendar("peak"), Some(&calendar("peak")), "unchanged");
    check_against(
        &calendar("off"),
        Some(&calendar("peak")),
        "held back: shape: not shaped as the table's price: another calendar",
    );
    check(&by_hour(Hours::Windows), "held back: shape: the table's price is simpler: the feed's depends on the hour");
    let marginal = Offer { marginal: Some(true), ..tiered.clone() };
    check_against(&marginal, Some(&tiered), "held back: shape: not shaped as the table's price: how its tiers count");
}

#[test]
fn batch_prices_are_compared_where_the_table_sells_them_and_fees_never_change() {
    let batch = |input| Offer { batch: said(input, "4").cells, ..stands() };
    check(&batch("1"), "unchanged");
    check_against(&batch("0.9"), Some(&batch("1")), "batch input[0] 1 -> 0.9");
    check_against(&batch("5"), Some(&batch("1")), "held back: jump: input from 1 to 5 per million: more than 4 times apart");
    let fee = Offer { per_request: Some(1_000_000_000), ..stands() };
    check(&fee, "held back: fee: a charge of 0.001 USD per request, none in force");
    check_against(&fee, Some(&fee), "unchanged");
    check_against(&stands(), Some(&fee), "unchanged");
}
