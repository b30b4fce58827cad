//! What is warm, and who stays.

use proptest::prelude::*;

use super::super::testing::{Case, Price, Spec};
use super::*;
use crate::units::Currency;

const RULES: CacheRules = CacheRules { lifetime_seconds: 300, minimum: Tokens::new(1_000) };
const NOBODY: BackendIndex = BackendIndex(0);

/// What is known and what is likely warm of 10,000 tokens.
fn check(share: u32, seconds: u64, rate: u32, expected: Option<(u64, u64)>) {
    let warm = Warm::of(NOBODY, Tokens::new(10_000), share, Duration::from_secs(seconds), RULES, rate);
    assert_eq!(warm.map(|warm| (warm.known.get(), warm.likely.get())), expected, "{share} {seconds} {rate}");
}

#[test]
fn what_was_read_is_warm_while_it_lives_and_as_far_as_it_is_given_back() {
    check(900_000, 0, 1_000_000, Some((9_000, 9_000)));
    check(900_000, 150, 800_000, Some((9_000, 7_200)));
    check(900_000, 300, 1_000_000, Some((9_000, 4_500)));
    check(900_000, 449, 1_000_000, Some((9_000, 29)));
    check(900_000, 450, 1_000_000, None);
    check(900_000, 0, 0, None);
    check(99_999, 0, 1_000_000, None);
    check(100_000, 0, 1_000_000, Some((1_000, 1_000)));
    check(u32::MAX, 0, u32::MAX, Some((10_000, 10_000)));
}

#[test]
fn writes_are_expected_where_they_are_asked_for_and_cost_something() {
    let usage = |marked, writes_cost| {
        let warm = vec![Warm { backend: NOBODY, known: Tokens::new(600), likely: Tokens::new(500) }];
        let usage = Affinity { warm, marked, session: None }.usage(NOBODY, Tokens::new(1_000), writes_cost);
        [usage.fresh_input.get(), usage.cache_read.get(), usage.cache_write.get()]
    };
    assert_eq!(usage(0, true), [500, 500, 0]);
    assert_eq!(usage(900_000, true), [100, 500, 400]);
    assert_eq!(usage(900_000, false), [500, 500, 0]);
    assert_eq!(usage(300_000, true), [500, 500, 0]);
}

/// `north` answered last and is warm; `south` is not. Prices are input, cached input and output per million.
fn two(north: [u64; 3], south: [u64; 3], remaining: u64) -> Case {
    let priced = |id, [input, cache_read, output]: [u64; 3]| {
        let pico = |tenths| tenths * 100_000;
        let price = Price { input: pico(input), cache_read: pico(cache_read), output: pico(output), currency: Currency::Usd };
        Spec { price: Some(price), context: 1_000_000, ..Spec::named(id) }
    };
    let mut case = Case::of(vec![priced("north/mist", north), priced("south/fog", south)]);
    case.input = (20_000, 22_000);
    let warm = Warm { backend: BackendIndex(0), known: Tokens::new(19_000), likely: Tokens::new(18_000) };
    let session = Session { home: BackendIndex(0), sealed: false, turn: 3, remaining, rates: Vec::new(), rate: 900_000 };
    case.affinity = Affinity { warm: vec![warm], marked: 0, session: Some(session) };
    case
}

/// Who is asked first, and whether the conversation stays.
fn asked(case: &Case, expected: &str, stays: Option<bool>) {
    let (table, plan) = case.plan();
    let plan = plan.unwrap();
    assert_eq!((table.backend(plan.candidates[0].backend).id.as_str(), plan.stay.map(|stay| stay.stays())), (expected, stays));
    assert_eq!(plan.root.attempts().next().map(|attempt| attempt.backend), Some(plan.candidates[0].backend));
}

#[test]
fn a_conversation_stays_unless_leaving_pays_over_the_turns_to_come() {
    let turns = |n: u64| n * 1_000_000;
    // A twentieth cheaper: the cold beginning is never earned back.
    asked(&two([20, 2, 60], [19, 2, 57], turns(40)), "north/mist", Some(true));
    // Ten times cheaper: at once.
    asked(&two([200, 20, 600], [20, 2, 60], turns(0)), "south/fog", Some(false));
    // Half the price: 0.088 against 0.206 dollars now, 0.088 against 0.044 later. Three turns earn it back.
    asked(&two([200, 20, 600], [100, 10, 300], turns(2)), "north/mist", Some(true));
    asked(&two([200, 20, 600], [100, 10, 300], turns(3)), "south/fog", Some(false));
    // Cheaper now (0.0312 against 0.0376) and dearer on every turn to come (0.0312 against 0.0088).
    let mut half_warm = two([20, 2, 60], [15, 15, 60], turns(0));
    half_warm.affinity.warm[0].likely = Tokens::new(2_000);
    asked(&half_warm, "south/fog", Some(false));
    half_warm.affinity.session.as_mut().unwrap().remaining = turns(1);
    asked(&half_warm, "north/mist", Some(true));
}

#[test]
fn there_is_nothing_to_stay_for_where_nothing_is_warm() {
    let mut cold = two([20, 2, 60], [19, 2, 57], 40_000_000);
    cold.affinity.warm.clear();
    asked(&cold, "south/fog", None);
    let mut gone = two([20, 2, 60], [19, 2, 57], 40_000_000);
    gone.specs[0].health.cooling = Some(Duration::from_secs(9));
    asked(&gone, "south/fog", Some(false));
    let mut failing = two([20, 2, 60], [20, 2, 60], 5_000_000);
    failing.specs[0].health.failure_share = 800_000;
    asked(&failing, "south/fog", Some(false));
}

proptest! {
    #[test]
    fn never_more_is_warm_than_was_asked_and_less_as_time_passes(
        input in 0_u64..3_000_000, share: u32, age in 0_u64..2_000, more in 0_u64..2_000, rate: u32, lifetime in 1_u32..100_000, minimum in 0_u64..5_000,
    ) {
        let rules = CacheRules { lifetime_seconds: lifetime, minimum: Tokens::new(minimum) };
        let warm = |age| Warm::of(NOBODY, Tokens::new(input), share, Duration::from_secs(age), rules, rate);
        if let Some(warm) = warm(age) {
            prop_assert!(warm.likely <= warm.known && warm.known.get() <= input && warm.known.get() >= minimum);
        }
        let likely = |age| warm(age).map_or(Tokens::ZERO, |warm| warm.likely);
        prop_assert!(likely(age + more) <= likely(age));
        let usage = Affinity { warm: warm(age).into_iter().collect(), marked: share, session: None }.usage(NOBODY, Tokens::new(input), true);
        prop_assert_eq!(usage.input().get(), input);
    }

    #[test]
    fn the_more_turns_are_expected_the_more_the_later_ones_decide(
        north in (1_u64..300, 1_u64..300, 1_u64..600), south in (1_u64..300, 1_u64..300, 1_u64..600), few in 0_u64..20, more in 0_u64..40,
    ) {
        let (north, south) = ([north.0, north.1.min(north.0), north.2], [south.0, south.1.min(south.0), south.2]);
        let stay = |turns: u64| two(north, south, turns * 1_000_000).plan().1.unwrap().stay.unwrap();
        let (short, long) = (stay(few), stay(few + more));
        // Each turn more adds the same to either side.
        let ahead = |stay: Stay| stay.elsewhere.unwrap().1.pico() - stay.at_home.unwrap().pico();
        let (now, later) = (ahead(stay(0)), ahead(stay(1)) - ahead(stay(0)));
        prop_assert!((ahead(short) - now - later * i128::from(few)).abs() <= 64);
        prop_assert_eq!(long.stays(), ahead(long) >= 0);
    }

    #[test]
    fn settling_loses_no_candidate(remaining in 0_u64..50_000_000) {
        let mut with = two([20, 2, 60], [10, 2, 57], remaining);
        with.specs.extend(["east/dew", "west/rime"].map(Spec::named));
        let mut without = with.clone();
        without.affinity.session = None;
        let ids = |case: &Case| case.plan().1.unwrap().candidates.iter().map(|candidate| candidate.backend).collect::<Vec<_>>();
        let (settled, mut ranked) = (ids(&with), ids(&without));
        let first = ranked.iter().position(|backend| *backend == settled[0]).unwrap();
        ranked[..=first].rotate_right(1);
        prop_assert_eq!(settled, ranked);
    }
}
