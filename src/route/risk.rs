//! How likely one attempt at a backend comes to nothing, from how it fared lately: in millionths, and for three reasons.
//!
//! - **failing**: the share of its recent attempts that failed, which decays and begins with a prior.
//! - **limited**: it is near its rate limit. Nothing while a quarter of the limit or more is left, then
//!   `½ × ((0.25 - left) / 0.25)²`: one that has a tenth left is avoided where another costs a fifth more, and before it
//!   refuses. Where its limit has fewer tokens left than the request has, it is taken to refuse.
//! - **late**: the first token comes after the client's deadline. With the mean and the spread (mean absolute deviation) of
//!   its recent waits and `x` the distance from the mean to the deadline, `½ × s² / (s² + x²)` where the deadline is later
//!   than the mean and one less that where it is earlier, `s` being five quarters of the spread: Chebyshev's bound, halved
//!   since only one side is late. It asks for no shape of the distribution, and waits have none. Of a backend that nobody
//!   has asked yet a wait of [`UNKNOWN`] is taken.
//!
//! The three are taken to be independent. An attempt that comes to nothing is paid in the wait and in the dearer one after
//! it; with a share *p* of them, 1 ÷ (1 − p) attempts are made per answer, so the risk is p ÷ (1 − p). Whole numbers.

use super::facts::{BackendHealth, Wait};
use crate::units::Tokens;

/// Millionths in one.
pub const ONE: u64 = 1_000_000;
/// More is not told, so that the risk is a number (9).
const MOST: u64 = 900_000;
/// Of a rate limit, the part left below which it counts.
const AMPLE: u64 = 250_000;
/// The wait for the first token, and its spread, of a backend that was not asked yet.
pub const UNKNOWN: Wait = Wait { mean_ms: 1_500, spread_ms: 1_000 };

/// The odds of an attempt that comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    pub failing: u64,
    pub limited: u64,
    pub late: u64,
}

impl Odds {
    /// What its recent past makes of one request with so many tokens and, perhaps, so much time.
    pub fn of(health: &BackendHealth, tokens: Tokens, deadline_ms: Option<u64>) -> Self {
        let short = health.headroom.tokens.is_some_and(|left| left < tokens);
        Self {
            failing: u64::from(health.failure_share).min(MOST),
            limited: if short { MOST } else { limited(u64::from(health.headroom.left)) },
            late: deadline_ms.map_or(0, |deadline| late(health.wait.unwrap_or(UNKNOWN), deadline)),
        }
    }

    /// The risk of the first reason, of the first two, and of all three together.
    pub fn risks(self) -> [u64; 3] {
        if self == Self::default() {
            return [0; 3];
        }
        let either = |p: u64, q: u64| ONE - (ONE - p) * (ONE - q) / ONE;
        let two = either(self.failing, self.limited);
        let all = either(two, self.late);
        [self.failing, two, all].map(|p| risk(p.min(MOST)))
    }
}

/// p ÷ (1 − p).
fn risk(p: u64) -> u64 {
    p * ONE / (ONE - p)
}

fn limited(left: u64) -> u64 {
    let short = AMPLE.saturating_sub(left) * ONE / AMPLE;
    short * short / ONE / 2
}

fn late(wait: Wait, deadline_ms: u64) -> u64 {
    let spread = u128::from(wait.spread_ms.max(1)) * 5 / 4 + 1;
    let distance = u128::from(u64::from(wait.mean_ms).abs_diff(deadline_ms));
    let (spread, distance) = (spread * spread, distance.saturating_mul(distance));
    let tail = u64::try_from(u128::from(ONE) / 2 * spread / (spread.saturating_add(distance))).unwrap_or(ONE / 2);
    if deadline_ms >= u64::from(wait.mean_ms) { tail } else { ONE - tail }.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Headroom;
    use super::*;
    use proptest::prelude::*;

    fn check(health: BackendHealth, deadline: Option<u64>, expected: [u64; 3]) {
        let [one, two, all] = Odds::of(&health, Tokens::new(1000), deadline).risks();
        assert_eq!([one, two - one, all - two], expected, "{health:?} by {deadline:?}");
    }

    fn left(share: u32, tokens: Option<u64>) -> BackendHealth {
        BackendHealth { headroom: Headroom { left: share, tokens: tokens.map(Tokens::new) }, ..BackendHealth::default() }
    }

    fn waits(mean_ms: u32, spread_ms: u32) -> BackendHealth {
        BackendHealth { wait: Some(Wait { mean_ms, spread_ms }), ..BackendHealth::default() }
    }

    #[test]
    fn a_backend_of_which_nothing_is_known_has_no_risk_but_that_of_being_late() {
        check(BackendHealth::default(), None, [0, 0, 0]);
        check(BackendHealth::default(), Some(60_000), [0, 0, 228]);
        check(BackendHealth::default(), Some(1_500), [0, 0, 1_000_000]);
    }

    #[test]
    fn failures_count_as_what_they_add_to_the_attempts() {
        let failing = |failure_share| BackendHealth { failure_share, ..BackendHealth::default() };
        check(failing(200_000), None, [250_000, 0, 0]);
        check(failing(u32::MAX), None, [9_000_000, 0, 0]);
        check(failing(1_000_000), Some(1), [9_000_000, 0, 0]);
    }

    #[test]
    fn one_near_its_limit_counts_as_dearer_before_it_refuses() {
        check(left(1_000_000, None), None, [0, 0, 0]);
        check(left(250_000, Some(1000)), None, [0, 0, 0]);
        check(left(100_000, None), None, [0, 219_512, 0]);
        check(left(0, None), None, [0, 1_000_000, 0]);
        check(left(900_000, Some(999)), None, [0, 9_000_000, 0]);
    }

    #[test]
    fn a_deadline_is_missed_by_those_who_are_slow_or_unsteady() {
        check(waits(500, 40), Some(2_000), [0, 0, 577]);
        check(waits(500, 800), Some(2_000), [0, 0, 182_115]);
        check(waits(2_500, 100), Some(2_000), [0, 0, 9_000_000]);
    }

    #[test]
    fn several_reasons_together_are_less_than_their_sum_of_odds() {
        let health = BackendHealth { failure_share: 500_000, ..left(0, None) };
        check(health, None, [1_000_000, 2_000_000, 0]);
    }

    proptest! {
        #[test]
        fn no_better_past_makes_a_greater_risk(
            shares in (0_u32..1_100_000, 0_u32..1_100_000), left in (0_u32..1_000_001, 0_u32..1_000_001),
            mean in (0_u32..100_000, 0_u32..100_000), spread in 0_u32..50_000, deadline in prop::option::of(1_u64..200_000),
        ) {
            let of = |failure_share, left, mean_ms| {
                let wait = Some(Wait { mean_ms, spread_ms: spread });
                let headroom = Headroom { left, tokens: None };
                let odds = Odds::of(&BackendHealth { failure_share, headroom, wait, ..BackendHealth::default() }, Tokens::ZERO, deadline);
                odds.risks()[2]
            };
            let better = of(shares.0.min(shares.1), left.0.max(left.1), mean.0.min(mean.1));
            let worse = of(shares.0.max(shares.1), left.0.min(left.1), mean.0.max(mean.1));
            prop_assert!(better <= worse && worse <= 9_000_000);
        }
    }
}
