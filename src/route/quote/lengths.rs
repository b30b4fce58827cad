//! What is expected where the price goes by the answer's length.

use proptest::prelude::*;

use super::super::learned::OutputFigures;
use super::super::testing::{Case, Spec};
use super::*;
use crate::catalog::BackendIndex;
use crate::units::{Bounds, Cell, Counted, Currency, Grant, Tariff, TokenPrice};

/// Ten-thousandths of a dollar per million tokens: of the input, of answers up to 200 tokens, and of longer ones.
type Prices = [u64; 3];

/// 1,000 tokens in, at most 1,200, at a price that is another for answers of more than 200 tokens; answers of at most 500.
fn case([input, short, long]: Prices) -> Case {
    let price = |ten_thousandths: u64| TokenPrice::from_pico(ten_thousandths * 100);
    let cell = |output, answer| Cell { output, ..Cell::any(Tariff::flat(Currency::Usd, price(input), price(answer))) };
    let cells = vec![cell(Bounds { above: 0, to: 200 }, short), cell(Bounds { above: 200, to: u64::MAX }, long)];
    let mut case = Case::of(vec![Spec { max_output: 500, cells, ..Spec::named("north/mist") }]);
    case.input = (1000, 1200);
    case.forecast.plain = Tokens::new(200);
    case
}

/// Teaches how long its answers are: these of a million are at most 200 long, and so long in the mean; the others, longer.
fn learned(mut case: Case, short: (u32, u64), long: u64) -> Case {
    let share = OutputStretch::WHOLE - short.0;
    let mean = (u64::from(short.0) * short.1 + u64::from(share) * long) / u64::from(OutputStretch::WHOLE);
    let spread = [(short.0, short.1), (share, long)];
    let spread = spread.map(|(share, mean)| OutputStretch { share, mean: Tokens::new(mean) });
    let figures = OutputFigures { mean: Tokens::new(mean), ..OutputFigures::default() };
    case.learned.set([BackendIndex(0)], figures, spread);
    case
}

/// Two dollars a million in; four for short answers and ten for longer ones. Three of four answers have a hundred tokens, the
/// others five hundred: two hundred in the mean.
fn mixed() -> Case {
    learned(case([20_000, 40_000, 100_000]), (750_000, 100), 500)
}

/// Expected and worst in micro-dollars.
fn check(case: &Case, expected: &str, worst: &str) {
    let quote = case.quote("north/mist").unwrap();
    assert_eq!((&*quote.expected.to_micros(), &*quote.worst.to_micros()), (expected, worst));
}

#[test]
fn each_cell_counts_as_often_as_answers_fall_into_it() {
    // 0.002 in; three quarters 100 × 4, one quarter 500 × 10.
    check(&mixed(), "0.003550", "0.007400");
    check(&learned(case([20_000, 40_000, 100_000]), (1_000_000, 200), 500), "0.002800", "0.007400");
}

#[test]
fn before_anything_was_learned_the_mean_decides() {
    check(&case([20_000, 40_000, 100_000]), "0.002800", "0.007400");
    let mut longer = case([20_000, 40_000, 100_000]);
    longer.forecast.plain = Tokens::new(201);
    check(&longer, "0.004010", "0.007400");
}

#[test]
fn a_bound_cuts_the_long_answers_and_is_not_cheaper_than_what_is_told() {
    let mut case = mixed();
    case.request.output_bound = Some(Tokens::new(150));
    // Of 150 expected tokens at the cheap price; the worst case has 1,200 in.
    check(&case, "0.002600", "0.003000");
    case.request.output_bound = Some(Tokens::new(300));
    // A quarter is cut at 300: 0.75 × 0.0024 + 0.25 × 0.005.
    check(&case, "0.003050", "0.005400");
}

#[test]
fn a_free_quota_bears_its_part_of_every_length() {
    let mut case = mixed();
    case.specs[0].quotas = vec![QuotaIndex(0)];
    let grant = |counted, amount| Grant::by(move |own| (own == counted).then_some(amount));
    let mut check = |grant: Grant, expected: &str, spared: &str| {
        case.allowances.free = vec![grant];
        let quote = case.quote("north/mist").unwrap();
        let free = quote.free.map_or(Usd::ZERO, |free| free.spared);
        assert_eq!((&*quote.expected.to_micros(), &*free.to_micros()), (expected, spared));
    };
    check(grant(Counted::Requests, 1), "0.000000", "0.003550");
    check(grant(Counted::OutputTokens, 300), "0.002500", "0.001050");
    check(grant(Counted::Requests, 0), "0.003550", "0.000000");
}

#[test]
fn a_later_turn_costs_what_its_lengths_do() {
    let case = mixed();
    case.with_facts(|facts| {
        let (backend, needs) = (&facts.snapshot.backends()[0], Needs::of(facts));
        let quoter = Quoter::new(facts, &needs);
        let quote = quoter.quote(backend).unwrap();
        let twice = Usage { fresh_input: Tokens::new(2000), ..quote.usage };
        assert_eq!(quoter.cost_of(backend, &quote, &twice).to_micros(), "0.005550");
    });
}

proptest! {
    #[test]
    fn it_lies_between_the_cells_and_under_the_worst_case_and_rises_with_every_price(
        prices in (1_u64..90_000, 1_u64..90_000, 1_u64..90_000), raised in 0_usize..3, by in 1_u64..90_000, share in 1_u32..1_000_000,
        lengths in (1_u64..=200, 201_u64..=900), bound in proptest::option::of(1_u64..600), choices in 1_u32..4,
    ) {
        let quote = |prices: Prices| {
            let mut case = learned(case(prices), (share, lengths.0), lengths.1);
            (case.request.output_bound, case.request.choices) = (bound.map(Tokens::new), choices);
            case.quote("north/mist").unwrap()
        };
        let prices = [prices.0, prices.1, prices.2];
        let mut dearer = prices;
        dearer[raised] += by;
        let (now, then) = (quote(prices), quote(dearer));
        prop_assert!(now.expected <= now.worst && then.expected <= then.worst);
        prop_assert!(now.expected <= then.expected, "{:?} {:?}", now.expected, then.expected);
        let at = |output: u64| i128::from(1000 * prices[0] + now.usage.output.get() * output) * 100;
        let (least, most) = (at(prices[1].min(prices[2])), at(prices[1].max(prices[2])));
        prop_assert!((least..=most).contains(&now.expected.pico()), "{least} {:?} {most}", now.expected);
    }
}
