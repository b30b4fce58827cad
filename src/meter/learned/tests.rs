//! What is learned, by whom and how fast.

use super::*;
use crate::canonical::{Feature, Features};

const NOW: u64 = 1_790_000_000;

fn class(features: &[Feature]) -> Class {
    let mut asked = super::super::testing::request("what?", 1);
    asked.features = features.iter().copied().collect::<Features>();
    Class::of(&asked)
}

fn answer(model: &str, output: u64) -> Answer<'_> {
    let output = Tokens::new(output);
    Answer { model, thinks: false, output, reasoning: Tokens::ZERO, choices: 1, cut_at: None }
}

fn asking(bound: Option<u64>, choices: u32) -> Asking {
    Asking { bound: bound.map(Tokens::new), choices, at: NOW }
}

/// The mean that is expected of a model that does not think; of one that is not known, by the class.
fn mean(lengths: &mut Lengths, model: &str, asking: Asking) -> u64 {
    let mut found = lengths.forecast(&asking)[0].mean.get();
    lengths.each(
        &asking,
        |_| true,
        |name, known| {
            if name == model {
                found = known.expected(false).mean.get();
            }
        },
    );
    found
}

#[test]
fn the_prior_speaks_until_somebody_has_answered() {
    let mut lengths = Lengths::new(class(&[]));
    let check = |lengths: &mut Lengths, bound, choices, expected| {
        assert_eq!(mean(lengths, "mist", asking(bound, choices)), expected, "{bound:?} {choices}");
    };
    check(&mut lengths, None, 1, 400);
    check(&mut lengths, None, 3, 1200);
    check(&mut lengths, Some(10), 3, 30);
    check(&mut lengths, Some(0), 1, 1);
    assert_eq!(lengths.forecast(&asking(None, 1))[1].mean.get(), 1600);
}

#[test]
fn a_model_is_known_by_its_own_answers_and_others_by_its_neighbours() {
    let mut lengths = Lengths::new(class(&[Feature::Tools]));
    (0..100).for_each(|_| lengths.learn(&answer("terse", 40), NOW));
    (0..100).for_each(|_| lengths.learn(&answer("wordy", 1_000), NOW));
    let mut told = |model| mean(&mut lengths, model, asking(None, 1));
    let (terse, wordy, unknown) = (told("terse"), told("wordy"), told("other"));
    assert!((40..100).contains(&terse) && (900..1_010).contains(&wordy), "{terse} {wordy}");
    assert!((400..600).contains(&unknown), "{unknown}: between both");
    assert_eq!(mean(&mut lengths, "wordy", asking(Some(64), 1)), 64);
}

#[test]
fn choices_are_learned_one_by_one_and_cut_answers_as_longer() {
    let mut lengths = Lengths::new(class(&[]));
    let four = Answer { choices: 4, ..answer("mist", 400) };
    (0..200).for_each(|_| lengths.learn(&four, NOW));
    let known = mean(&mut lengths, "mist", asking(None, 1));
    assert!((95..125).contains(&known), "{known}");
    let cut = Answer { cut_at: Some(Tokens::new(16)), ..answer("mist", 16) };
    (0..200).for_each(|_| lengths.learn(&cut, NOW));
    let known = mean(&mut lengths, "mist", asking(None, 1));
    assert!((90..160).contains(&known), "{known}: not the sixteen at which it was cut");
}

#[test]
fn thinking_and_plain_models_do_not_teach_each_other() {
    let mut lengths = Lengths::new(class(&[]));
    let thought = Answer { thinks: true, reasoning: Tokens::new(5_000), ..answer("deep", 6_000) };
    (0..300).for_each(|_| lengths.learn(&thought, NOW));
    let [plain, thinking] = lengths.forecast(&asking(None, 1));
    assert_eq!(plain.mean.get(), 400);
    assert!(thinking.mean.get() > 5_500 && thinking.reasoning.get() > 4_500, "{thinking:?}");
}

#[test]
fn memory_is_bounded_whatever_tables_come_and_go() {
    let mut lengths = Lengths::new(class(&[]));
    for n in 0..3 * MOST_MODELS as u64 {
        lengths.learn(&answer(&format!("m{n}"), 10), NOW + n);
    }
    assert_eq!(lengths.models.len(), MOST_MODELS);
    assert!(lengths.models.contains_key(&format!("m{}", 3 * MOST_MODELS - 1)));
}

#[test]
fn what_is_kept_is_made_again_and_nonsense_is_not() {
    let mut lengths = Lengths::new(class(&[Feature::Tools]));
    assert_eq!(lengths.kept(), None);
    lengths.learn(&answer("terse", 40), NOW);
    lengths.learn(&Answer { thinks: true, reasoning: Tokens::new(7), ..answer("deep", 900) }, NOW);
    let kept = lengths.kept().unwrap();
    let text = serde_json::to_string(&kept).unwrap();
    let mut again = Lengths::restored(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.kept(), lengths.kept());
    assert_eq!(mean(&mut again, "terse", asking(None, 1)), mean(&mut lengths, "terse", asking(None, 1)));
    for (from, to) in [("\"class\":", "\"class\":9"), ("\"weights\":[[", "\"weights\":[[99"), (",64]", ",65535]")] {
        let odd = text.replace(from, to);
        assert!(serde_json::from_str(&odd).is_ok_and(|odd| Lengths::restored(&odd).is_none()), "{odd}");
    }
}

#[test]
fn lengths_spread_over_the_borders_of_a_price_and_choices_share_them() {
    let mut lengths = Lengths::new(class(&[]));
    (0..60).for_each(|_| lengths.learn(&answer("mist", 50), NOW));
    (0..60).for_each(|_| lengths.learn(&answer("mist", 900), NOW));
    let mut spread = |bound, choices, border| {
        let mut found = Vec::new();
        let borders = [Tokens::new(border)];
        lengths.each(&asking(bound, choices), |_| true, |_, known| found = known.spread(false, &borders));
        found.iter().map(|stretch| (stretch.share, stretch.mean.get())).collect::<Vec<_>>()
    };
    let one = spread(None, 1, 200);
    assert!((450_000..550_000).contains(&one[0].0) && one[0].1 < 70 && one[1].1 > 800, "{one:?}");
    // Four of at most fifty are as short as one of at most two hundred.
    let four = spread(None, 4, 800);
    assert_eq!(four.iter().map(|(share, mean)| (*share, mean / 4)).collect::<Vec<_>>(), one);
    assert_eq!(spread(Some(100), 1, 200), [], "none is longer than its bound");
}
