//! The war on small tables, against bills worked out by hand.

use super::*;
use crate::simulate::draw::Seed;
use crate::simulate::testing::{Row, settings, table, workload};
use crate::units::TokenPrice;

/// Costs a dollar, then four; the other costs two all the time. Answers cost next to nothing, and nobody has a cache.
const STEP: [Row; 2] = [
    Row(
        "north/mist",
        "USD",
        "[[backends.prices]]\nuntil = 2026-08-01T00:00:00Z\ninput = 1\noutput = 0.000001\nsource = \"test\"\n\
         [[backends.prices]]\nfrom = 2026-08-01T00:00:00Z\ninput = 4\noutput = 0.000001\nsource = \"test\"",
    ),
    Row("south/fog", "USD", "[[backends.prices]]\ninput = 2\noutput = 0.000001\nsource = \"test\""),
];

/// Answers and caches have their prices, and one bills in yuan: eight to the dollar.
const MIXED: [Row; 3] = [
    Row("north/mist", "USD", "[[backends.prices]]\ninput = 1\ncache_read = 0.1\noutput = 4\nsource = \"test\""),
    Row("south/fog", "USD", "[[backends.prices]]\ninput = 0.8\noutput = 3\nsource = \"test\""),
    Row("east/jade", "CNY", "[[backends.prices]]\ninput = 6\ncache_read = 1\noutput = 20\nsource = \"test\""),
];

fn war(rows: &[Row], requests: usize, seed: u64) -> Outcome {
    let (plan, turns) = workload(requests, seed);
    play(&World::new(&table(rows), settings(), plan.seed), plan, &turns)
}

fn totals(outcome: &Outcome) -> Vec<Usd> {
    Policy::ALL.iter().map(|policy| outcome.spends[policy].total).collect()
}

#[test]
fn the_seed_decides() {
    assert_eq!(war(&MIXED, 200, 3), war(&MIXED, 200, 3));
    assert_ne!(totals(&war(&MIXED, 200, 3)), totals(&war(&MIXED, 200, 4)));
}

#[test]
fn nobody_is_below_the_optimum_and_the_losses_are_the_regret() {
    for seed in 0..40 {
        let outcome = war(&MIXED, 25, seed);
        assert_eq!((outcome.served + outcome.unserved, outcome.inexact), (25, 0));
        for policy in Policy::ALL {
            assert!(outcome.spends[&policy].total >= outcome.optimum.total, "{policy:?} of seed {seed}");
        }
        let regret = outcome.spends[&Policy::Broker].total - outcome.optimum.total;
        assert_eq!(outcome.losses.sum(), regret, "seed {seed}");
        assert_eq!(outcome.optimum.course.last(), Some(&outcome.optimum.total));
    }
}

#[test]
fn where_there_is_one_backend_all_spend_the_same_and_it_is_the_bill() {
    let (plan, turns) = workload(60, 1);
    let world = World::new(&table(&STEP[1..]), settings(), plan.seed);
    let outcome = play(&world, plan, &turns);
    let output = |turn: &Turn| world.answer(turn, BackendIndex(0)).unwrap().output;
    let pico: u64 = turns.iter().map(|turn| turn.input[0] * 2_000_000 + output(turn)).sum();
    let bill = Usd::from_pico(i128::from(pico));
    assert_eq!(totals(&outcome), [bill; 5]);
    assert_eq!((outcome.optimum.total, outcome.losses.sum()), (bill, Usd::ZERO));
}

#[test]
fn a_dated_step_is_followed_by_all_who_look_at_prices() {
    let (plan, turns) = workload(300, 2);
    let snapshot = table(&STEP);
    let world = World::new(&snapshot, settings(), plan.seed);
    let outcome = play(&world, plan, &turns);
    let step: Timestamp = "2026-08-01T00:00:00Z".parse().unwrap();
    let price = |turn: &Turn, backend: u32| match backend {
        0 if turn.at < step => 1_000_000,
        0 => 4_000_000,
        _ => 2_000_000,
    };
    let by_hand = |turn: &Turn| {
        let able: Vec<u32> = (0..2).filter(|backend| !world.fails(turn, BackendIndex(*backend))).collect();
        let able = if able.is_empty() { vec![0, 1] } else { able };
        let cost = |backend| {
            let output = world.answer(turn, BackendIndex(backend)).unwrap().output;
            i128::from(turn.input[0] * price(turn, backend) + output)
        };
        Usd::from_pico(able.into_iter().map(cost).min().unwrap())
    };
    let cheapest: Usd = turns.iter().map(by_hand).sum();
    assert_eq!(outcome.optimum.total, cheapest);
    assert_eq!(totals(&outcome)[..3], [cheapest; 3]);
    assert!(outcome.spends[&Policy::RoundRobin].total > cheapest);
    let met: u64 = outcome.spends[&Policy::ListNominal].failures;
    assert!(met > 0 && outcome.spends[&Policy::ListNominal].seconds_lost == met * FAILURE_SECONDS);
    let steps = crate::simulate::steps::steps(&snapshot, plan, &outcome);
    let told: Vec<_> = steps.iter().map(|one| (one.at, one.backend, one.percent)).collect();
    assert_eq!(told, [(step, BackendIndex(0), Some(400))]);
}

#[test]
fn a_peer_that_does_not_convert_takes_the_smaller_number() {
    let rows = [
        Row("north/mist", "USD", "[[backends.prices]]\ninput = 1\noutput = 0.000001\nsource = \"test\""),
        Row("east/jade", "CNY", "[[backends.prices]]\ninput = 4\noutput = 0.000001\nsource = \"test\""),
    ];
    let outcome = war(&rows, 200, 1);
    let most = |policy: Policy| *outcome.spends[&policy].answered.iter().max_by_key(|(_, count)| **count).unwrap().0;
    assert_eq!(most(Policy::ListNominal), BackendIndex(0));
    assert_eq!(most(Policy::ListConverted), BackendIndex(1));
    assert_eq!(most(Policy::Broker), BackendIndex(1));
}

#[test]
fn what_costs_nothing_is_left_out() {
    let free = Row("gift/air", "USD", "[[backends.prices]]\nfree = true\nsource = \"test\"");
    let outcome = war(&[free, STEP[1]], 20, 1);
    assert!(outcome.spends.values().all(|spend| spend.answered.keys().all(|backend| *backend == BackendIndex(1))));
    let none = war(&[free], 20, 1);
    assert_eq!((none.served, none.unserved, none.optimum.total), (0, 20, Usd::ZERO));
}

#[test]
fn a_warm_prefix_is_billed_at_its_price_as_far_as_it_hits() {
    let snapshot = table(&MIXED);
    let world = World::new(&snapshot, settings(), Seed::new(1));
    let (_, turns) = workload(50, 1);
    let turn = turns.iter().find(|turn| turn.input[0] > 4_000).unwrap();
    let answer = world.answer(turn, BackendIndex(0)).unwrap();
    let usage = answer.usage(3_000);
    let price = |text: &str| TokenPrice::per_million(text).unwrap();
    let by_hand = usage.fresh_input * price("1") + usage.cache_read * price("0.1") + usage.output * price("4");
    assert_eq!(answer.cost(3_000).pico(), by_hand);
    assert_eq!(usage.input().get(), turn.input[0]);
    assert!(usage.cache_read.get() <= 3_000 && answer.cost(3_000) <= answer.cost(0));
    assert_eq!(answer.usage(1_000).cache_read.get(), 0, "too short to be cached");
}
