//! What must hold of a sketch whatever it has seen.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 3600;

fn prior(mean: u64) -> Prior {
    Prior { mean: Tokens::new(mean), reasoning: Tokens::ZERO }
}

fn seen(answers: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::default();
    answers.into_iter().for_each(|tokens| sketch.add(Tokens::new(tokens), Tokens::ZERO, DAY));
    sketch
}

fn check(sketch: &Sketch, bound: Option<u64>, expected: (u64, u64, u64)) {
    let told = sketch.expected(prior(400), bound.map(Tokens::new), DAY);
    assert_eq!((told.mean.get(), told.p50.get(), told.p90.get()), expected, "{bound:?}");
}

#[test]
fn before_anything_was_seen_the_prior_speaks() {
    check(&Sketch::default(), None, (400, 199, 927));
    check(&Sketch::default(), Some(300), (225, 199, 300));
    check(&Sketch::default(), Some(10), (10, 10, 10));
    check(&Sketch::default(), Some(1), (1, 1, 1));
}

#[test]
fn a_hundred_answers_replace_the_prior_and_one_moves_it_a_little() {
    check(&seen([100]), None, (367, 199, 927));
    check(&seen([100; 100]), None, (122, 99, 99));
    check(&seen((0..100).map(|n| 10 * n)), Some(100), (95, 100, 100));
}

#[test]
fn every_count_has_a_bucket_that_stands_near_it() {
    for tokens in (0..5_000).chain((13..21).map(|power| (1 << power) - 1)) {
        let stands_for = middle(bucket(tokens));
        assert!(stands_for.abs_diff(tokens) * 16 <= tokens, "{tokens} is counted as {stands_for}");
        assert!(bucket(tokens) <= bucket(tokens + 1));
    }
    assert_eq!((bucket(u64::MAX), bucket(1 << 40)), (BUCKETS - 1, BUCKETS - 1));
}

#[test]
fn answers_cut_at_a_bound_do_not_teach_that_answers_are_short() {
    let (mut cut, mut taken) = (seen([800; 50]), seen([800; 50]));
    for _ in 0..200 {
        cut.add_cut(Tokens::new(64), prior(400), DAY);
        taken.add(Tokens::new(64), Tokens::ZERO, DAY);
    }
    let mean = |sketch: &Sketch| sketch.expected(prior(400), None, DAY).mean.get();
    assert!((700..900).contains(&mean(&cut)), "{}", mean(&cut));
    assert!(mean(&taken) < 250, "what it would be were they taken for whole: {}", mean(&taken));
    // Nothing known beyond the bound: the guess is above it.
    let mut only_cut = Sketch::default();
    (0..100).for_each(|_| only_cut.add_cut(Tokens::new(50_000), prior(400), DAY));
    assert!(mean(&only_cut) > 50_000);
    assert_eq!(only_cut.answers(), 100);
}

#[test]
fn what_is_old_fades_to_the_prior() {
    let sketch = seen([4_000; 100]);
    let mean = |days: u64| sketch.expected(prior(400), None, DAY + days * DAY).mean.get();
    assert!(mean(0) > 3_600 && mean(6) == mean(0) && mean(7) < mean(0) && mean(28) < mean(14));
    assert_eq!(mean(365), 400);
    let mut newer = seen([4_000; 2_000]);
    assert!(newer.total <= MOST_WEIGHT, "bounded");
    (0..1_000).for_each(|_| newer.add(Tokens::new(40), Tokens::ZERO, DAY));
    assert!(newer.expected(prior(400), None, DAY).mean.get() < 700, "the newest count most");
}

#[test]
fn reasoning_is_told_apart() {
    let mut sketch = Sketch::default();
    (0..400).for_each(|_| sketch.add(Tokens::new(1_000), Tokens::new(750), DAY));
    let supposed = Prior { mean: Tokens::new(1_600), reasoning: Tokens::new(1_200) };
    let told = sketch.expected(supposed, None, DAY);
    assert_eq!(told.reasoning.get(), told.mean.get() * 3 / 4);
    assert_eq!(Sketch::default().expected(supposed, None, DAY).reasoning.get(), 1_200);
}

proptest! {
    #[test]
    fn figures_are_within_the_bound_and_in_order(
        answers in prop::collection::vec((0_u64..3_000_000, any::<bool>()), 0..80), mean in 0_u64..10_000,
        bound in prop::option::of(1_u64..100_000), later in 0_u64..400,
    ) {
        let mut sketch = Sketch::default();
        for (n, (tokens, cut)) in answers.iter().enumerate() {
            let at = n as u64 * DAY;
            if *cut { sketch.add_cut(Tokens::new(*tokens), prior(mean), at) } else { sketch.add(Tokens::new(*tokens), Tokens::new(tokens / 2), at) }
        }
        let told = sketch.expected(prior(mean), bound.map(Tokens::new), later * DAY);
        prop_assert!(told.p50 <= told.p90 && told.reasoning <= told.mean);
        prop_assert!(bound.is_none_or(|bound| told.mean.get() <= bound && told.p90.get() <= bound));
        let wider = sketch.expected(prior(mean), bound.map(|bound| Tokens::new(2 * bound)), later * DAY);
        prop_assert!(wider.mean >= told.mean);
        let (faded, output, reasoning, filled) = sketch.parts();
        prop_assert_eq!(Sketch::from_parts(faded, output, reasoning, &filled.collect::<Vec<_>>()), Some(sketch.clone()));
    }

    #[test]
    fn a_cut_answer_never_lowers_what_is_expected(answers in prop::collection::vec(1_u64..20_000, 0..60), bound in 1_u64..20_000) {
        let sketch = seen(answers);
        let mut more = sketch.clone();
        // One that is cut far below the mean says next to nothing, which rounding to buckets may turn into a little less.
        more.add_cut(Tokens::new(bound), prior(400), DAY);
        let mean = |sketch: &Sketch| sketch.expected(prior(400), None, DAY).mean.get();
        prop_assert!(mean(&more) * 100 >= mean(&sketch) * 97, "{} after {}", mean(&more), mean(&sketch));
    }
}
