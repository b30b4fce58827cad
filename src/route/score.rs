//! What a quote is worth once the risk of failing is counted, and the order that follows from it.
//!
//! `score = expected cost × (1 + risk)`. A backend that fails a share *p* of its attempts takes 1 ÷ (1 − p) of them
//! per answer, so its risk is p ÷ (1 − p): what its failures add, were each of them paid. Most vendors do not bill a
//! failure, but it costs the wait and the dearer fallback; the operator's weight says how much of it counts.
//!
//! A cost that goes against a prepaid balance which is to be used first counts a hundredth ([`PREPAID_MILLIONTHS`]): that money
//! is spent already. Not nothing, so that the provider's own backends are still told apart by what they cost.
//!
//! The volatility of prices, ends of promotions and shares per vendor are no part of it yet. Equal scores go to the
//! lower risk, then the higher quality, then the id: the order never depends on the table's.

use std::cmp::{Ordering, Reverse};

use crate::units::Usd;

/// Millionths in one.
const ONE: u64 = 1_000_000;
/// A backend that fails always is counted as failing this share, so that its risk is a number (9).
const MOST_FAILING: u64 = 900_000;

/// What counts of a cost that is paid already, in millionths.
pub const PREPAID_MILLIONTHS: u64 = 10_000;

/// What a backend is ranked by; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// The expected cost weighed by the risk.
    pub weighed: Usd,
    /// In millionths of the expected cost.
    pub risk: u64,
}

impl Score {
    /// Weighs a cost. `failure_share` is in millionths, `weight_percent` says how much of the risk counts.
    pub fn of(expected: Usd, failure_share: u32, weight_percent: u32) -> Self {
        let failing = u64::from(failure_share).min(MOST_FAILING);
        let risk = failing * ONE / (ONE - failing) * u64::from(weight_percent) / 100;
        let surcharge = if risk == 0 { Usd::ZERO } else { expected.scaled(risk) };
        Self { weighed: expected + surcharge, risk }
    }
}

/// What decides between two backends, most important first.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub score: Score,
    pub quality: Option<u8>,
    pub id: &'a str,
}

impl Standing<'_> {
    /// The better one is less.
    pub fn compare(&self, other: &Standing<'_>) -> Ordering {
        (self.score, Reverse(self.quality), self.id).cmp(&(other.score, Reverse(other.quality), other.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(failure_share: u32, weight_percent: u32, expected: i128) {
        assert_eq!(Score::of(Usd::from_pico(1000), failure_share, weight_percent).weighed.pico(), expected);
    }

    #[test]
    fn failures_make_a_backend_dearer() {
        check(0, 100, 1000);
        check(200_000, 100, 1250);
        check(200_000, 200, 1500);
        check(200_000, 0, 1000);
        check(1_000_000, 100, 10_000);
        check(u32::MAX, 100, 10_000);
    }

    #[test]
    fn ties_go_to_the_safer_then_the_better_then_the_first_by_name() {
        let standing = |pico, failing, quality, id| {
            let score = Score::of(Usd::from_pico(pico), failing, 100);
            Standing { score, quality, id }
        };
        let in_order = [
            standing(0, 0, Some(50), "b"),
            standing(0, 10, Some(70), "a"),
            standing(0, 10, Some(60), "a"),
            standing(0, 10, Some(60), "b"),
            standing(0, 10, None, "a"),
            standing(1, 0, Some(90), "a"),
        ];
        for pair in in_order.windows(2) {
            assert_eq!(pair[0].compare(&pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn at_equal_risk_the_cheaper_never_scores_worse(a in 0_i128..1 << 80, b in 0_i128..1 << 80, failing: u32, weight in 0_u32..1000) {
            let score = |pico| Score::of(Usd::from_pico(pico), failing, weight).weighed;
            prop_assert_eq!(score(a.min(b)), score(a).min(score(b)));
        }

        #[test]
        fn at_equal_cost_the_safer_never_scores_worse(pico in 0_i128..1 << 80, a: u32, b: u32) {
            let score = |failing| Score::of(Usd::from_pico(pico), failing, 100);
            prop_assert!(score(a.min(b)) <= score(a.max(b)));
        }
    }
}
