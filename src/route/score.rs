//! What a quote is worth once everything that may yet cost money is counted, and the order that follows from it.
//!
//! `score = expected cost + premiums`, all in dollars, so that a decision can be told as a sum:
//!
//! | premium | what it is |
//! | --- | --- |
//! | failure | attempts that fail: cost × risk of failing ([`risk`](super::risk)) |
//! | limit | the same for a rate limit that is nearly used up |
//! | late | the same for a first token after the client's deadline |
//! | price | what the price may become while a session stays ([`price_risk`](super::price_risk)) |
//! | cap | a soft cap on a share that is nearly used up ([`caps`](super::caps)) |
//! | wait | with `balanced` only: a fifth of the cost for each second to the first token, up to a minute |
//! | prepaid | below zero: all but a hundredth of a cost that a prepaid balance bears which is to be used first |
//!
//! The first three scale by the operator's weight. A failure costs the wait and a dearer fallback, also where the backend is
//! free: risks and waits are shares of the cost or of what the request's tokens cost anywhere at least
//! ([`FLOOR`](super::price_risk::FLOOR)), whichever is more. Each premium is a share of the cost or independent of
//! it, so that a dearer price never makes a backend win.
//!
//! Money that was paid in advance is spent already, so of a cost that goes against it, and of what its price may become, a
//! hundredth counts ([`PREPAID_MILLIONTHS`]): not nothing, so that the provider's own backends are still told apart by what
//! they cost. The other premiums are shares of what counts.
//!
//! `fastest` ranks by the expected wait for the first token times the attempts that risks make of it, and by the score among
//! those whose waits lie within a twelfth of each other. Equal scores go to the lower risk, then the higher quality, then the
//! id: the order never depends on the table's.

use std::cmp::Reverse;

use super::facts::Wait;
use super::risk::{ONE, Odds, UNKNOWN};
use crate::canonical::Preference;
use crate::units::Usd;

/// What a second of waiting counts for with `balanced`, in millionths of the cost.
const SECOND: u64 = 200_000;
/// No wait counts for more than this many milliseconds.
const LONGEST_MS: u64 = 60_000;

/// What counts of a cost that is paid already, in millionths.
const PREPAID_MILLIONTHS: u64 = 10_000;

/// What a backend is ranked by; less is better. Small, since a decision moves hundreds of them about: the premiums are
/// kept as shares and told in money when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Zero but with `fastest`: the class of its wait.
    pub slowness: u32,
    /// The expected cost with all premiums.
    pub weighed: Usd,
    /// Failure, limit, late, cap and wait in millionths of what they are a share of.
    pub risk: u64,
    shares: Shares,
    price: Usd,
    prepaid: bool,
}

/// What is added to a cost, in millionths of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shares {
    failure: u32,
    limit: u32,
    late: u32,
    cap: u32,
    wait: u32,
}

/// What is added to an expected cost, in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Premiums {
    pub failure: Usd,
    pub limit: Usd,
    pub late: Usd,
    pub price: Usd,
    pub cap: Usd,
    pub wait: Usd,
    /// Never above zero.
    pub prepaid: Usd,
}

impl Premiums {
    /// Each with its word, in the order in which they are told.
    pub fn named(&self) -> [(&'static str, Usd); 7] {
        let Self { failure, limit, late, price, cap, wait, prepaid } = *self;
        [
            ("failure", failure),
            ("limit", limit),
            ("late", late),
            ("price", price),
            ("cap", cap),
            ("wait", wait),
            ("prepaid", prepaid),
        ]
    }

    /// All of them.
    pub fn sum(&self) -> Usd {
        self.named().into_iter().map(|(_, premium)| premium).sum()
    }
}

/// What is known of one candidate when it is scored.
#[derive(Debug, Clone, Copy)]
pub struct Weighing {
    /// What the request is expected to cost there.
    pub expected: Usd,
    /// What its tokens cost anywhere at least.
    pub floor: Usd,
    pub odds: Odds,
    /// How long its first token takes; `None` where it was not asked yet.
    pub wait: Option<Wait>,
    /// The premium for what its price may become.
    pub price: Usd,
    /// What soft caps add, in millionths.
    pub penalty: u64,
    /// A prepaid balance bears it that is to be used before other money.
    pub prepaid: bool,
}

impl Score {
    /// Weighs a candidate. `weight_percent` says how much of the risk counts.
    pub fn of(weighing: &Weighing, prefer: Preference, weight_percent: u32) -> Self {
        let Weighing { expected, floor, odds, wait, price, penalty, prepaid } = *weighing;
        let [one, two, all] = odds.risks().map(|risk| risk * u64::from(weight_percent) / 100);
        let wait_ms = || u64::from(wait.unwrap_or(UNKNOWN).mean_ms).min(LONGEST_MS);
        let (waiting, slowness) = match prefer {
            Preference::Cheapest => (0, 0),
            Preference::Balanced => (wait_ms() * SECOND / 1000, 0),
            Preference::Fastest => (0, class(wait_ms(), all)),
        };
        let small = |share: u64| u32::try_from(share).unwrap_or(u32::MAX);
        let [failure, limit, late, cap, wait] = [one, two - one, all - two, penalty, waiting].map(small);
        let risk = [failure, limit, late, cap, wait].map(u64::from).iter().sum();
        let shares = Shares { failure, limit, late, cap, wait };
        // Together, so that rounding never makes a dearer one count less.
        let price = if prepaid { counted(expected + price, prepaid) - counted(expected, prepaid) } else { price };
        let unweighed = Self { slowness, weighed: expected + price, risk, shares, price, prepaid };
        if risk == 0 && !prepaid {
            return unweighed;
        }
        Self { weighed: expected + unweighed.premiums(expected, floor).sum(), ..unweighed }
    }

    /// What `weighed` is more than the expected cost, part by part; of the cost and the floor that it was made from.
    pub fn premiums(&self, expected: Usd, floor: Usd) -> Premiums {
        let counts = counted(expected, self.prepaid);
        let base = counts.max(floor);
        let Shares { failure, limit, late, cap, wait } = self.shares;
        // Each part is what it adds to those before it, so that rounding never makes a greater risk a smaller sum.
        let mut before = (0, Usd::ZERO);
        let mut adds = |millionths: u32| {
            let all = before.0 + u64::from(millionths);
            let sum = if all == 0 { Usd::ZERO } else { base.scaled(all) };
            let added = sum - before.1;
            before = (all, sum);
            added
        };
        let (failure, limit, late, wait) = (adds(failure), adds(limit), adds(late), adds(wait));
        let cap = if cap == 0 { Usd::ZERO } else { counts.scaled(u64::from(cap)) };
        Premiums { failure, limit, late, price: self.price, cap, wait, prepaid: counts - expected }
    }
}

/// What counts of a cost.
fn counted(cost: Usd, prepaid: bool) -> Usd {
    if prepaid { cost.scaled(PREPAID_MILLIONTHS) } else { cost }
}

/// The class of a wait that is as many times longer as the risk makes attempts: eight to each doubling.
fn class(wait_ms: u64, risk: u64) -> u32 {
    let wait = wait_ms.max(1).saturating_mul(ONE + risk) / ONE;
    let doublings = wait.ilog2();
    let eighth = u32::try_from(((wait << 3) >> doublings) & 7).unwrap_or(0);
    doublings * 8 + eighth
}

/// What a backend stands by among others, most important first; the better one is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    slowness: u32,
    weighed: Usd,
    risk: u64,
    quality: Reverse<Option<u8>>,
    /// Its place among all ids, sorted.
    by_id: u32,
}

impl Standing {
    pub fn of(score: &Score, quality: Option<u8>, by_id: u32) -> Self {
        let Score { slowness, weighed, risk, .. } = *score;
        Self { slowness, weighed, risk, quality: Reverse(quality), by_id }
    }

    /// What a backend that costs no less than this stands by at best.
    pub fn at_best(cost: Usd, quality: Option<u8>, by_id: u32) -> Self {
        Self { slowness: 0, weighed: cost, risk: 0, quality: Reverse(quality), by_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failing(expected: i128, failing: u64) -> Weighing {
        let odds = Odds { failing, ..Odds::default() };
        let expected = Usd::from_pico(expected);
        Weighing { expected, floor: Usd::ZERO, odds, wait: None, price: Usd::ZERO, penalty: 0, prepaid: false }
    }

    fn check(failing: u64, weight_percent: u32, expected: i128) {
        let score = Score::of(&self::failing(1000, failing), Preference::Cheapest, weight_percent);
        assert_eq!(score.weighed.pico(), expected);
        assert_eq!(score.premiums(Usd::from_pico(1000), Usd::ZERO).failure.pico(), expected - 1000);
    }

    #[test]
    fn failures_make_a_backend_dearer() {
        check(0, 100, 1000);
        check(200_000, 100, 1250);
        check(200_000, 200, 1500);
        check(200_000, 0, 1000);
        check(900_000, 100, 10_000);
    }

    #[test]
    fn every_premium_is_told_and_they_add_up() {
        let odds = Odds { failing: 200_000, limited: 500_000, late: 100_000 };
        let wait = Some(Wait { mean_ms: 500, spread_ms: 0 });
        let (floor, price) = (Usd::from_pico(2000), Usd::from_pico(7));
        let weighing = Weighing { floor, odds, wait, price, penalty: 30_000, ..failing(1000, 0) };
        let score = Score::of(&weighing, Preference::Balanced, 100);
        let premiums = score.premiums(weighing.expected, floor);
        let told = premiums.named().map(|(word, amount)| (word, amount.pico()));
        let [a, b, c, d] = [("failure", 500), ("limit", 2500), ("late", 556), ("price", 7)];
        assert_eq!(told, [a, b, c, d, ("cap", 30), ("wait", 200), ("prepaid", 0)]);
        assert_eq!(score.weighed, weighing.expected + premiums.sum());
    }

    #[test]
    fn of_what_is_paid_already_a_hundredth_counts() {
        let prepaid = |odds, floor, price, penalty| {
            let (floor, price) = (Usd::from_pico(floor), Usd::from_pico(price));
            let weighing = Weighing { floor, price, penalty, prepaid: true, ..failing(1000, odds) };
            let score = Score::of(&weighing, Preference::Cheapest, 100);
            let premiums = score.premiums(weighing.expected, floor);
            assert_eq!(score.weighed, weighing.expected + premiums.sum());
            (score.weighed.pico(), premiums.failure.pico(), premiums.price.pico(), premiums.cap.pico(), premiums.prepaid.pico())
        };
        assert_eq!(prepaid(0, 0, 0, 0), (10, 0, 0, 0, -990));
        assert_eq!(prepaid(500_000, 0, 0, 0), (20, 10, 0, 0, -990));
        assert_eq!(prepaid(500_000, 50, 0, 0), (60, 50, 0, 0, -990));
        assert_eq!(prepaid(0, 0, 300, 2_000_000), (33, 0, 3, 20, -990));
    }

    #[test]
    fn a_free_backend_that_fails_is_no_longer_free() {
        let free = Weighing { floor: Usd::from_pico(100), ..failing(0, 500_000) };
        assert_eq!(Score::of(&free, Preference::Cheapest, 100).weighed.pico(), 100);
    }

    /// Which of two wins: the first costs 1,000 and begins after so many milliseconds, the second 1,300 after 500.
    #[test]
    fn preferences_weigh_cost_against_waiting() {
        let wins = |prefer, first_ms| {
            let score = |expected, mean_ms| {
                let wait = Some(Wait { mean_ms, spread_ms: 0 });
                let weighing = Weighing { wait, ..failing(expected, 0) };
                Standing::of(&Score::of(&weighing, prefer, 100), None, 0)
            };
            if score(1000, first_ms) <= score(1300, 500) { "cheap" } else { "quick" }
        };
        let all = |first_ms| [Preference::Cheapest, Preference::Balanced, Preference::Fastest].map(|p| wins(p, first_ms));
        assert_eq!(all(510), ["cheap", "cheap", "cheap"], "510 is as quick as 500");
        assert_eq!(all(1_500), ["cheap", "cheap", "quick"]);
        assert_eq!(all(3_000), ["cheap", "quick", "quick"]);
    }

    #[test]
    fn ties_go_to_the_safer_then_the_better_then_the_first_by_name() {
        let standing = |pico, odds, quality, id: &str| {
            let score = Score::of(&failing(pico, odds), Preference::Cheapest, 100);
            Standing::of(&score, quality, u32::from(id == "b"))
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
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    fn any_weighing() -> impl Strategy<Value = Weighing> {
        let odds = (0_u64..900_000, 0_u64..900_000, 0_u64..900_000);
        let money = || (0_i128..1 << 70).prop_map(Usd::from_pico);
        let wait = prop::option::of((0_u32..90_000, 0_u32..9_000).prop_map(|(mean_ms, spread_ms)| Wait { mean_ms, spread_ms }));
        (odds, money(), money(), wait, money(), 0_u64..10_000_000, any::<bool>()).prop_map(
            |((failing, limited, late), expected, floor, wait, price, penalty, prepaid)| Weighing {
                expected,
                floor,
                odds: Odds { failing, limited, late },
                wait,
                price,
                penalty,
                prepaid,
            },
        )
    }

    fn any_preference() -> impl Strategy<Value = Preference> {
        prop::sample::select(Preference::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn with_all_else_equal_the_cheaper_never_scores_worse(
            weighing in any_weighing(), other in 0_i128..1 << 70, prefer in any_preference(), weight in 0_u32..1000,
        ) {
            let score = |expected| Score::of(&Weighing { expected, ..weighing }, prefer, weight);
            let (a, b) = (weighing.expected, Usd::from_pico(other));
            prop_assert!((score(a.min(b)).slowness, score(a.min(b)).weighed) <= (score(a.max(b)).slowness, score(a.max(b)).weighed));
        }

        #[test]
        fn with_all_else_equal_the_safer_and_the_quicker_never_scores_worse(
            a in any_weighing(), b in any_weighing(), prefer in any_preference(),
        ) {
            let wait = |pick: fn(u32, u32) -> u32| {
                let [a, b] = [a, b].map(|one| one.wait.unwrap_or(UNKNOWN).mean_ms);
                Some(Wait { mean_ms: pick(a, b), spread_ms: 0 })
            };
            let of = |pick: fn(u64, u64) -> u64, wait| {
                let odds = Odds {
                    failing: pick(a.odds.failing, b.odds.failing),
                    limited: pick(a.odds.limited, b.odds.limited),
                    late: pick(a.odds.late, b.odds.late),
                };
                let score = Score::of(&Weighing { odds, wait, ..a }, prefer, 100);
                (score.slowness, score.weighed)
            };
            prop_assert!(of(u64::min, wait(u32::min)) <= of(u64::max, wait(u32::max)));
        }
    }
}
