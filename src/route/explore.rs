//! Now and then another backend than the best, so that what is known of the others (how they fare, how long they take,
//! what their caches hit) does not grow old. Off unless the operator gives it a share of the requests and money for a day.
//!
//! Whether a request explores, and whom it asks, follows from its seed alone, so a replay does the same. Only candidates
//! are asked: no floor, wish or closed cap is passed over. What it costs more than the best is expected to must fit what is
//! left of the day's money, which is counted by whoever hands the facts in. Never a session whose prompt is warm somewhere,
//! since a cold one elsewhere tells little and costs much; never a race, which asks several anyway.

use super::facts::{Explore, Facts};
use super::needs::Needs;
use super::plan::Candidate;
use crate::catalog::BackendIndex;
use crate::units::{Usd, spread};

/// No more candidates than this, the best, are looked at.
pub(super) const AMONG: usize = 16;

/// What exploring did to a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// The best, which was passed over.
    pub instead_of: BackendIndex,
    /// How much more the choice is expected to cost; zero where it costs less.
    pub more: Usd,
}

/// Whether this request explores, should there be anybody to look at.
pub(super) fn may_explore(facts: &Facts<'_>) -> bool {
    facts.explore.is_some_and(is_drawn) && facts.affinity.warm.is_empty()
}

/// Puts the one to be explored before the best, where this request explores.
pub(super) fn explore(candidates: &mut [Candidate], needs: &Needs, facts: &Facts<'_>) -> Option<Explored> {
    let leave = facts.explore.filter(|_| needs.race == 1 && facts.affinity.warm.is_empty())?;
    let best = candidates.first().map(|best| (best.backend, best.quote.expected))?;
    let more = |candidate: &Candidate| (candidate.quote.expected - best.1).max(Usd::ZERO);
    let others = || candidates.iter().enumerate().take(AMONG).skip(1).filter(|(_, other)| more(other) <= leave.left);
    let place = others().nth(pick(leave, others().count())?).map(|(place, _)| place)?;
    let more = more(&candidates[place]);
    candidates[..=place].rotate_right(1);
    Some(Explored { instead_of: best.0, more })
}

/// Which of so many is asked; `None` for most requests.
fn pick(leave: Explore, among: usize) -> Option<usize> {
    let place = usize::try_from(spread(spread(leave.seed))).unwrap_or(usize::MAX).checked_rem(among)?;
    is_drawn(leave).then_some(place)
}

fn is_drawn(leave: Explore) -> bool {
    spread(leave.seed) % 1000 < u64::from(leave.permille)
}

#[cfg(test)]
mod tests {
    use super::super::affinity::Warm;
    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::units::Tokens;

    /// 1,000 tokens in and 200 out: 1.2, 2.4 and 12 thousandths of a dollar.
    fn case(permille: u16, left: &str) -> Case {
        let specs =
            [("north/a", "1"), ("south/b", "2"), ("east/c", "10")].map(|(id, price)| Spec::named(id).costing(price, price));
        let mut case = Case::of(specs.to_vec());
        case.explore = Some(Explore { seed: 0, permille, left: Usd::parse(left).unwrap() });
        case
    }

    /// How many of a thousand requests go to each.
    fn check(change: impl Fn(&mut Case), case: &Case, expected: [usize; 3]) {
        let mut counts = [0; 3];
        for seed in 0..1000 {
            let mut case = case.clone();
            change(&mut case);
            case.explore = case.explore.map(|leave| Explore { seed, ..leave });
            let (_, plan) = case.plan();
            let plan = plan.unwrap();
            counts[plan.candidates[0].backend.0 as usize] += 1;
            let more = plan.candidates[0].quote.expected - Usd::parse("0.0012").unwrap();
            assert_eq!(plan.explored.map(|explored| explored.more), (more > Usd::ZERO).then_some(more));
            assert_eq!(case.plan().1.unwrap(), plan, "the same facts give the same plan");
        }
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_share_of_the_requests_goes_to_others_as_far_as_money_bears_it() {
        check(|_| {}, &case(0, "1"), [1000, 0, 0]);
        check(|_| {}, &case(50, "0"), [1000, 0, 0]);
        check(|_| {}, &case(50, "0.0012"), [943, 57, 0]);
        check(|_| {}, &case(50, "1"), [943, 30, 27]);
    }

    #[test]
    fn who_may_not_be_asked_is_not_explored() {
        check(|c| c.keyless = vec!["south".into(), "east".into()], &case(1000, "1"), [1000, 0, 0]);
        check(|c| c.request.wishes.race = Some(2), &case(1000, "1"), [1000, 0, 0]);
        let warm = Warm { backend: BackendIndex(0), known: Tokens::new(10), likely: Tokens::new(10) };
        check(|c| c.affinity.warm = vec![warm], &case(1000, "1"), [1000, 0, 0]);
    }
}
