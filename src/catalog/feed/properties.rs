//! Properties of every decoder and of decoder, map and guards together: any bytes are read or refused; no feed, damaged or
//! hostile, moves a figure further than the guards allow, makes anything free, or changes currency or shape.

use proptest::prelude::*;

use super::testing::{TABLE, cells, fixture, flat};
use super::*;
use crate::units::TokenPrice;

const FIXTURES: [(Format, &str); 6] = [
    (Format::LiteLlm, "litellm.json"),
    (Format::ModelsDev, "models_dev.json"),
    (Format::RouterModels, "openrouter.json"),
    (Format::GenaiPrices, "genai_prices.json"),
    (Format::Toml, "own.toml"),
    (Format::Json, "own.json"),
];

/// Prices that stand, in the shapes that a table may have.
fn standing() -> Vec<Offer> {
    let plain = flat(&[(Kind::Input, "2"), (Kind::CacheRead, "0.2"), (Kind::Output, "8")]);
    let tiered = cells(&[(None, Some(200_000), "2", "8"), (Some(200_000), None, "4", "12")]);
    let timed = Offer { hours: Hours::Calendar("peak".into()), ..plain.clone() };
    vec![plain, tiered, timed]
}

/// What a verdict may do to a price, whatever was proposed.
fn stays_within_the_guards(offer: &Offer, stands: &Offer) {
    let Verdict::Accepted(change) = judge(offer, Some(stands), Guards::default()) else { return };
    let unlike =
        |a: &Offer, b: &Offer| (a.currency, &a.hours, a.free, a.per_request) != (b.currency, &b.hours, b.free, b.per_request);
    assert!(!unlike(&change.offer, stands) && change.offer.cells.len() == stands.cells.len());
    for (new, old) in change.offer.cells.iter().zip(&stands.cells) {
        assert_eq!(new.bounds, old.bounds);
        for kind in Kind::ALL {
            let (Some(new), Some(old)) = (new.figures.effective(kind), old.figures.effective(kind)) else { continue };
            let lowest = if kind == Kind::CacheRead { 100 } else { 16 };
            assert!(new > TokenPrice::FREE && new.pico() <= old.pico() * 4 && new.pico() >= old.pico() / lowest, "{kind:?}");
        }
        assert!(new.figures.get(Kind::CacheRead) <= new.figures.get(Kind::Input));
    }
}

fn take(format: Format, bytes: &[u8]) {
    let Ok(reading) = decode(format, bytes) else { return };
    for proposal in reading.current("2026-11-22T00:00:00Z".parse().unwrap()) {
        let _ = Mapping::default().find(&TABLE, &proposal);
        for stands in standing() {
            stays_within_the_guards(&proposal.offer, &stands);
        }
    }
}

/// A fixture with bytes changed, left out or put in.
fn damaged() -> impl Strategy<Value = (Format, Vec<u8>)> {
    let blow = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    (0..FIXTURES.len(), proptest::collection::vec(blow, 1..6)).prop_map(|(which, blows)| {
        let (format, name) = FIXTURES[which];
        let mut bytes = fixture(name).into_bytes();
        for (at, byte, how) in blows {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        (format, bytes)
    })
}

/// A number that a hostile list may write.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,12})?",
        (0_u64..100_000_000, -14_i32..3).prop_map(|(digits, power)| format!("{digits}e{power}")),
        Just("null".to_owned()),
        Just("\"NaN\"".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (format, _) in FIXTURES {
            take(format, &bytes);
        }
    }

    #[test]
    fn a_damaged_feed_stays_within_the_guards((format, bytes) in damaged()) {
        take(format, &bytes);
    }

    #[test]
    fn a_cut_feed_is_refused_whole(which in 0..FIXTURES.len(), at in any::<prop::sample::Index>()) {
        let (format, name) = FIXTURES[which];
        let whole = fixture(name).trim_end().to_owned();
        let cut = whole.get(..at.index(whole.len())).unwrap_or_default();
        // A TOML list has no end that could be missed: what stands is what was said.
        prop_assert!(format == Format::Toml || decode(format, cut.as_bytes()).is_err());
    }

    #[test]
    fn a_hostile_feed_stays_within_the_guards(figures in proptest::collection::vec(number(), 3), above in number()) {
        let [input, output, cache] = figures.as_slice() else { unreachable!() };
        let cost = format!("{{\"input\": {input}, \"output\": {output}, \"cache_read\": {cache}");
        let tier = format!("\"tiers\": [{cost}, \"tier\": {{\"type\": \"context\", \"size\": {above}}}}}]");
        for text in [format!("{cost}}}"), format!("{cost}, {tier}}}")] {
            take(Format::ModelsDev, format!("{{\"east\": {{\"models\": {{\"plain\": {{\"cost\": {text}}}}}}}}}").as_bytes());
        }
        let per_token = format!("\"input_cost_per_token\": {input}, \"output_cost_per_token\": {output}");
        take(Format::LiteLlm, format!("{{\"plain\": {{\"litellm_provider\": \"east\", {per_token}}}}}").as_bytes());
    }
}

#[test]
fn depth_cannot_exhaust_the_stack() {
    for open in ["[", "{\"a\":", "[[a", "a.", "a = [", "{a = "] {
        let deep = open.repeat(100_000);
        for (format, _) in FIXTURES {
            take(format, deep.as_bytes());
        }
    }
}
