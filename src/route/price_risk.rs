//! What a price may yet become while a session stays, as a premium in money on today's cost.
//!
//! A single request is billed at the price of its minute: what comes later costs it nothing, so it carries no premium. A
//! session is expected to send more of the same over a [`SESSION`] of a day, and a backend that turns dearer in it costs
//! either the higher price or a move that leaves the warm prefix behind. The premium spreads that over its requests:
//!
//! - **known steps** (an announced rise, the end of a promotion, of a free tier, of all prices): what the same request costs
//!   more after the step, times the part of the day that lies behind it. A rise announced for tomorrow at this hour counts
//!   nothing yet, one in six hours three quarters of itself. Where no price follows, twice today's cost is taken, or what
//!   any answer costs at least ([`FLOOR`]) where it is free today.
//! - **volatility**: the rise that the past makes likely within the day, half of it, since it may come at any hour:
//!   `cost × daily rise × ½`. The daily rise of a provider is the share of its models whose price rose, times the largest of
//!   these rises, over the [`HISTORY_DAYS`] that the history counts; that of a backend what its own dated rows rose by in the
//!   last year, over that year. The larger of both counts.
//!
//! The operator's weight scales the sum (100 per cent is as computed). A known step never counts for more than itself, so
//! that a dearer price today never makes a backend win. Whole numbers; the instant comes in.

use jiff::{SignedDuration, Timestamp};

use super::facts::Facts;
use super::quote::Quote;
use crate::catalog::{Backend, PriceChanges, PriceRow};
use crate::units::{Amount, Thinking, Tokens, Usd};

/// How long a session is expected to send requests, in seconds.
pub const SESSION: i64 = 86_400;
/// What the counts of price changes in the table are over: from June 2025 to November 2026.
pub const HISTORY_DAYS: u64 = 540;
/// What a token costs at least, wherever it is made, in 10⁻¹² dollars: ten cents a million. For what cannot be told by the
/// price of a backend that is free.
pub const FLOOR: u64 = 100_000;

/// Millionths in one.
const ONE: u64 = 1_000_000;
/// No volatility counts for more than the price doubling every day.
const MOST_DAILY: u64 = ONE;

/// By how much a provider's prices are expected to rise in a day, in millionths of them.
pub fn daily_rise(changes: PriceChanges) -> u64 {
    let risen = u64::from(changes.rises).saturating_mul(u64::from(changes.largest_rise_percent)).saturating_mul(ONE / 100);
    (risen / u64::from(changes.models.max(1)) / HISTORY_DAYS).min(MOST_DAILY)
}

/// A change of price that is known to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub at: Timestamp,
    /// What the request costs after it; `None` where no price is known.
    pub then: Option<Usd>,
}

/// What the price of one request may yet become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    pub at: Timestamp,
    /// What the request costs now.
    pub now: Usd,
    /// All its tokens.
    pub tokens: Tokens,
    /// The expected daily rise, in millionths.
    pub daily_rise: u64,
}

impl Exposure {
    /// The premium of one request of a session that stays for a day. `weight_percent` is the operator's.
    pub fn premium(&self, steps: impl IntoIterator<Item = Step>, weight_percent: u32) -> Usd {
        let weight = u64::from(weight_percent) * (ONE / 100);
        let likely = self.now.scaled(self.daily_rise.min(MOST_DAILY) / 2).scaled(weight);
        let known = steps.into_iter().map(|step| self.known(step, weight)).max().unwrap_or(Usd::ZERO);
        likely + known
    }

    /// What a step adds.
    fn known(&self, step: Step, weight: u64) -> Usd {
        let wait = step.at.as_second().saturating_sub(self.at.as_second()).clamp(0, SESSION);
        let behind = u64::try_from((SESSION - wait) * 1_000_000 / SESSION).unwrap_or(0);
        let more = step.then.unwrap_or_else(|| self.unknown()) - self.now;
        more.max(Usd::ZERO).scaled((behind.saturating_mul(weight) / ONE).min(ONE))
    }

    fn unknown(&self) -> Usd {
        (self.now + self.now).max(floor(self.tokens))
    }
}

/// The premium of a quote. List prices are compared, so that the hours of a calendar, which come and go, are no steps.
pub fn premium(quote: &Quote, backend: &Backend, facts: &Facts<'_>) -> Usd {
    let weight = facts.settings.price_risk_weight_percent;
    if weight == 0 || !facts.ask.session {
        return Usd::ZERO;
    }
    let usd = |amount: Amount| facts.snapshot.fx.at(amount.currency(), facts.at).and_then(|rate| rate.convert(amount));
    let list = |row: &PriceRow| usd(row.list().cost(&quote.usage, quote.thinking != Thinking::Off).amount);
    let free = quote.free.and_then(|free| facts.allowances.free_of(free.quota).bears(&quote.usage));
    // What a free quota bears now it would bear after a step too: else a dearer price today could lower the sum of both.
    let charged = |row: &PriceRow| {
        let (sheet, priced) = (row.list(), row.list().cost(&quote.usage, quote.thinking != Thinking::Off));
        let spared = free.map_or(0, |part| sheet.spared(priced.tariff, &quote.usage, part));
        usd(Amount::from_pico(priced.amount.pico() - spared, sheet.currency()))
    };
    let Some(now) = backend.prices.at(facts.at).and_then(charged) else { return Usd::ZERO };
    let until = facts.at.saturating_add(SignedDuration::from_secs(SESSION)).unwrap_or(Timestamp::MAX);
    let after = |from| backend.prices.next_step(from, until);
    let steps = std::iter::successors(after(facts.at), |last| after(*last));
    let step = |at| Step { at, then: backend.prices.at(at).and_then(charged).map(|then| quote.expected + (then - now)) };
    let told = facts.snapshot.provider_of(backend).price_changes.map_or(0, daily_rise);
    let exposure = Exposure {
        at: facts.at,
        now: quote.expected,
        tokens: quote.usage.input() + quote.usage.output,
        daily_rise: told.max(own_daily_rise(backend.prices.rows(), facts.at, list)),
    };
    exposure.premium(steps.map(step), weight)
}

/// What a backend's own rows rose by in the year before an instant, a day of it, in millionths.
fn own_daily_rise(rows: &[PriceRow], at: Timestamp, cost: impl Fn(&PriceRow) -> Option<Usd>) -> u64 {
    let year = SignedDuration::from_hours(365 * 24);
    let recent = |row: &PriceRow| row.from.is_some_and(|from| from <= at && at.duration_since(from) <= year);
    let rise = |pair: &[PriceRow]| {
        let (before, after) = (cost(&pair[0])?.pico(), cost(&pair[1])?.pico());
        // One that was free before rose by all of itself.
        let share = (after - before).max(0).saturating_mul(1_000_000).checked_div(before).unwrap_or(1_000_000);
        u64::try_from(share).ok()
    };
    let rises = rows.windows(2).filter(|pair| recent(&pair[1])).filter_map(rise);
    (rises.fold(0, u64::saturating_add) / 365).min(MOST_DAILY)
}

/// What so many tokens cost at least.
pub fn floor(tokens: Tokens) -> Usd {
    Usd::from_pico(i128::from(tokens.get()) * i128::from(FLOOR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::catalog::QuotaIndex;
    use crate::units::{Counted, Grant};

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn after(hours: i64, then: Option<i128>) -> Step {
        Step { at: now() + SignedDuration::from_hours(hours), then: then.map(Usd::from_pico) }
    }

    fn exposure(pico: i128, daily_rise: u64) -> Exposure {
        Exposure { at: now(), now: Usd::from_pico(pico), tokens: Tokens::new(1_000), daily_rise }
    }

    fn check(pico: i128, steps: &[Step], weight: u32, expected: i128) {
        assert_eq!(exposure(pico, 0).premium(steps.iter().copied(), weight).pico(), expected, "{steps:?}");
    }

    #[test]
    fn a_known_rise_counts_for_the_part_of_the_day_behind_it() {
        check(1000, &[], 100, 0);
        check(1000, &[after(24, Some(3000))], 100, 0);
        check(1000, &[after(6, Some(3000))], 100, 1500);
        check(1000, &[after(0, Some(3000))], 100, 2000);
        check(1000, &[after(6, Some(3000))], 50, 750);
        check(1000, &[after(6, Some(3000))], 0, 0);
        check(1000, &[after(6, Some(3000))], 1000, 2000);
        check(1000, &[after(6, Some(500))], 100, 0);
        check(1000, &[after(1, Some(500)), after(12, Some(3000))], 100, 1000);
        check(1000, &[after(48, Some(9000))], 100, 0);
    }

    #[test]
    fn an_end_without_a_price_after_it_is_a_rise_too() {
        check(1_000_000_000, &[after(12, None)], 100, 500_000_000);
        check(0, &[after(12, None)], 100, 50_000_000);
        check(0, &[after(12, Some(800))], 100, 400);
    }

    #[test]
    fn volatility_is_what_the_history_makes_of_a_day() {
        let check = |models, rises, largest_rise_percent, expected| {
            assert_eq!(daily_rise(PriceChanges { models, rises, cuts: 0, largest_rise_percent }), expected);
        };
        // Five rises among seven models, the largest of 135 %: 0.714 × 1.35 ÷ 540 days.
        check(7, 5, 135, 1785);
        check(110, 4, 230, 154);
        check(16, 0, 0, 0);
        check(0, 0, 0, 0);
        check(1, u32::MAX, u32::MAX, 1_000_000);
        assert_eq!(exposure(1_000_000, 1785).premium([], 100).pico(), 892);
        assert_eq!(exposure(1_000_000, 1785).premium([], 1000).pico(), 8920);
    }

    /// A session at a price of a dollar a million, on 1,200 tokens, with further rows from these hours on.
    fn session(change: impl FnOnce(&mut Case), expected: &str) {
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        case.request.wishes.session = Some("s".into());
        change(&mut case);
        let decision = case.decision();
        assert_eq!(decision.chosen.unwrap().premiums.price_usd, expected);
    }

    fn later(hours: i64, dollars: &'static str) -> impl Fn(&mut Case) {
        move |case| case.specs[0].later.push((hours, dollars))
    }

    #[test]
    fn what_a_free_quota_bears_now_it_bears_after_a_step_too() {
        let free = |tokens: u64, step: &'static str| {
            move |case: &mut Case| {
                later(6, step)(case);
                case.specs[0].quotas = vec![QuotaIndex(0)];
                case.allowances.free = vec![Grant::by(|counted| (counted == Counted::Tokens).then_some(tokens))];
            }
        };
        session(free(0, "3"), "0.0018");
        session(free(600, "3"), "0.0009");
        session(free(1_200, "3"), "0");
    }

    #[test]
    fn a_session_carries_what_is_announced_and_a_single_request_does_not() {
        session(|_| {}, "0");
        session(later(6, "3"), "0.0018");
        session(later(25, "3"), "0");
        session(later(6, "0.5"), "0");
        let single = |case: &mut Case| {
            later(6, "3")(case);
            case.request.wishes.session = None;
        };
        session(single, "0");
        let unweighed = |case: &mut Case| {
            later(6, "3")(case);
            case.settings.price_risk_weight_percent = 0;
        };
        session(unweighed, "0");
    }

    #[test]
    fn a_free_offer_that_ends_is_no_longer_free_for_a_session() {
        let ending = |case: &mut Case| {
            case.specs[0].free = true;
            later(12, "2")(case);
        };
        session(ending, "0.0012");
    }

    #[test]
    fn the_past_counts_by_the_provider_or_by_the_rows() {
        let volatile = |case: &mut Case| {
            case.provider("north").price_changes = Some(PriceChanges { models: 7, rises: 5, cuts: 8, largest_rise_percent: 135 });
        };
        session(volatile, "0.0000010704");
        // It doubled thirty days ago: a 365th of all of it, half of that.
        session(later(-720, "2"), "0.0000032856");
        session(later(-9000, "2"), "0");
    }

    proptest! {
        /// A price that is dearer today, with everything else as it is, never makes the whole cheaper.
        #[test]
        fn cost_and_premium_together_rise_with_the_price(
            a in 0_i128..1 << 60, b in 0_i128..1 << 60, then in prop::option::of(0_i128..1 << 60), hours in 0_i64..30,
            daily in 0_u64..2_000_000, weight in 0_u32..1001,
        ) {
            let whole = |pico| exposure(pico, daily).premium([after(hours, then)], weight).pico() + pico;
            // One unit of rounding for each of three roundings.
            prop_assert!(whole(a.min(b)) <= whole(a.max(b)) + 3);
        }

        #[test]
        fn a_dearer_step_never_costs_less(now in 0_i128..1 << 60, a in 0_i128..1 << 60, b in 0_i128..1 << 60, hours in 0_i64..30) {
            let premium = |then| exposure(now, 0).premium([after(hours, Some(then))], 100);
            prop_assert!(premium(a.min(b)) <= premium(a.max(b)));
        }
    }
}
