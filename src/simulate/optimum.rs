//! The cheapest way through one session, with everything known: tokens, hours, hits of caches, failures.
//!
//! What a turn costs at a backend depends on the last turn that this backend has read. So a state is what each backend
//! has read last, as far as that is still warm; states are followed turn by turn, each kept with the least that it cost to
//! reach it. A state is given up that cannot beat the best way known even if every backend were warm from then on, or
//! that costs more than another by all that what is warm in it can save. A backend is forgotten from the turn on at which the
//! cheapest cold one is never dearer than it is warm: whoever asked it could ask that one instead. After a pause that is
//! longer than the caches live, all states are one again. So there are few.
//!
//! The result is exact. Should a session ever have more than [`MOST_STATES`] at once, the cheapest are followed on and
//! the result says that it is a bound from above only.

use std::collections::BTreeMap;

use crate::units::Usd;

/// States of one turn that are followed.
pub const MOST_STATES: usize = 20_000;
/// Cheaper states that one is compared with.
const MOST_COMPARED: usize = 200;

/// What the turns of a session cost.
pub trait Session {
    fn turns(&self) -> usize;
    /// Backends that may answer one of the turns; numbered from zero.
    fn backends(&self) -> usize;
    /// What a turn costs at a backend that has last read that earlier turn. `None`: it cannot answer it. Never more for a
    /// later turn read.
    fn cost(&self, turn: usize, backend: usize, read: Option<usize>) -> Option<Usd>;
    /// Whether what a backend has read at one turn is still cached at another.
    fn is_warm(&self, backend: usize, read: usize, at: usize) -> bool;
}

/// Who answers each turn, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub backends: Vec<usize>,
    pub costs: Vec<Usd>,
    /// No cheaper way exists.
    pub exact: bool,
}

impl Way {
    pub fn cost(&self) -> Usd {
        self.costs.iter().copied().sum()
    }
}

/// What was read last, by backend: only what is still warm.
type Read = Vec<(usize, usize)>;

/// A state's cheapest way.
#[derive(Debug, Clone)]
struct Reached {
    cost: Usd,
    way: Vec<(usize, Usd)>,
}

/// The cheapest way; `None` where nobody can answer some turn.
pub fn cheapest(session: &impl Session) -> Option<Way> {
    let left = at_least(session)?;
    let useful = useful_until(session)?;
    let mut best = greedy(session)?;
    let bound = best.cost();
    let mut exact = true;
    let mut states: BTreeMap<Read, Reached> = [(Vec::new(), Reached { cost: Usd::ZERO, way: Vec::new() })].into();
    for turn in 0..session.turns() {
        let mut next: BTreeMap<Read, Reached> = BTreeMap::new();
        for (read, reached) in &states {
            for backend in (0..session.backends()).filter(|backend| useful[*backend] > turn) {
                let last = read.iter().find(|(known, _)| *known == backend).map(|(_, turn)| *turn);
                let Some(cost) = session.cost(turn, backend, last) else { continue };
                let total = reached.cost + cost;
                if total + left[turn + 1] < bound {
                    keep(&mut next, after(session, &useful, read, turn, backend), total, reached, (backend, cost));
                }
            }
        }
        states = undominated(session, next, turn + 1);
        exact &= narrow(&mut states);
    }
    if let Some(reached) = states.into_values().min_by_key(|reached| reached.cost) {
        let (backends, costs) = reached.way.into_iter().unzip();
        best = Way { backends, costs, exact };
    }
    Some(Way { exact, ..best })
}

/// For each backend the turn from which on it need not be asked.
fn useful_until(session: &impl Session) -> Option<Vec<usize>> {
    let mut until = vec![0; session.backends()];
    for turn in 0..session.turns() {
        let cold = (0..session.backends()).filter_map(|backend| Some((session.cost(turn, backend, None)?, backend)));
        let (least, cheapest) = cold.min()?;
        for (backend, until) in until.iter_mut().enumerate() {
            let warm = session.cost(turn, backend, turn.checked_sub(1));
            if backend == cheapest || warm.is_some_and(|warm| warm < least) {
                *until = turn + 1;
            }
        }
    }
    Some(until)
}

/// The states that no other beats: another that is cheaper by as much as what is warm here and not there can ever save.
fn undominated(session: &impl Session, states: BTreeMap<Read, Reached>, next: usize) -> BTreeMap<Read, Reached> {
    let mut all: Vec<(Read, Reached)> = states.into_iter().collect();
    all.sort_by_key(|(_, reached)| reached.cost);
    let mut known: BTreeMap<(usize, usize), Usd> = BTreeMap::new();
    let mut kept: Vec<(Read, Reached)> = Vec::new();
    for (read, reached) in all {
        let saves: Vec<Usd> = read
            .iter()
            .map(|(backend, turn)| *known.entry((*backend, *turn)).or_insert_with(|| saves(session, *backend, *turn, next)))
            .collect();
        let lacks = |other: &Read| -> Usd {
            let lacking = read
                .iter()
                .zip(&saves)
                .filter(|((backend, turn), _)| !other.iter().any(|(same, later)| same == backend && later >= turn));
            lacking.map(|(_, saves)| *saves).sum()
        };
        let beaten = kept.iter().take(MOST_COMPARED).any(|(other, than)| than.cost + lacks(other) <= reached.cost);
        if !beaten {
            kept.push((read, reached));
        }
    }
    kept.into_iter().collect()
}

/// The most that a backend's having read a turn can save: it is asked next at some turn, and has read that one then.
fn saves(session: &impl Session, backend: usize, read: usize, next: usize) -> Usd {
    let at = |turn| Some(session.cost(turn, backend, None)? - session.cost(turn, backend, Some(read))?);
    (next..session.turns()).filter_map(at).max().unwrap_or(Usd::ZERO)
}

fn keep(states: &mut BTreeMap<Read, Reached>, read: Read, cost: Usd, before: &Reached, step: (usize, Usd)) {
    let better = states.get(&read).is_none_or(|known| cost < known.cost);
    if better {
        let way = before.way.iter().copied().chain([step]).collect();
        states.insert(read, Reached { cost, way });
    }
}

/// What is warm at the turn after this one, which this backend has read.
fn after(session: &impl Session, useful: &[usize], read: &Read, turn: usize, backend: usize) -> Read {
    let others = read.iter().copied().filter(|(other, _)| *other != backend);
    let mut all: Read = others.chain([(backend, turn)]).collect();
    let next = turn + 1;
    all.retain(|(backend, read)| next < session.turns() && useful[*backend] > next && session.is_warm(*backend, *read, next));
    all.sort_unstable();
    all
}

/// Keeps the cheapest states; whether those were all.
fn narrow(states: &mut BTreeMap<Read, Reached>) -> bool {
    if states.len() <= MOST_STATES {
        return true;
    }
    let mut costs: Vec<Usd> = states.values().map(|reached| reached.cost).collect();
    costs.sort_unstable();
    let most = costs[MOST_STATES];
    states.retain(|_, reached| reached.cost < most);
    false
}

/// What the turns from each one on cost at the very least: everybody warm from the turn before.
fn at_least(session: &impl Session) -> Option<Vec<Usd>> {
    let mut left = vec![Usd::ZERO; session.turns() + 1];
    for turn in (0..session.turns()).rev() {
        let costs = (0..session.backends()).filter_map(|backend| session.cost(turn, backend, turn.checked_sub(1)));
        left[turn] = left[turn + 1] + costs.min()?;
    }
    Some(left)
}

/// A good way to begin with: stay with one backend as long as it can answer, whichever is cheapest over all; or take the
/// cheapest at each turn.
fn greedy(session: &impl Session) -> Option<Way> {
    let ways = (0..session.backends()).map(Some).chain([None]).filter_map(|home| follow(session, home));
    ways.min_by_key(Way::cost)
}

fn follow(session: &impl Session, home: Option<usize>) -> Option<Way> {
    let mut read = vec![None; session.backends()];
    let mut way = Way { backends: Vec::new(), costs: Vec::new(), exact: false };
    for turn in 0..session.turns() {
        let cost = |backend: usize| Some((session.cost(turn, backend, read[backend])?, backend));
        let (cost, backend) = home.and_then(cost).or_else(|| (0..session.backends()).filter_map(cost).min())?;
        read[backend] = Some(turn);
        way.backends.push(backend);
        way.costs.push(cost);
    }
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Turns with growing prompts at backends with a price for fresh and a price for cached tokens.
    struct Priced {
        lengths: Vec<i128>,
        /// When each turn comes; caches live for ten.
        times: Vec<u64>,
        /// Fresh and cached, per token.
        prices: Vec<(i128, i128)>,
        /// Who cannot answer which turn.
        out: Vec<(usize, usize)>,
    }

    impl Session for Priced {
        fn turns(&self) -> usize {
            self.lengths.len()
        }

        fn backends(&self) -> usize {
            self.prices.len()
        }

        fn cost(&self, turn: usize, backend: usize, read: Option<usize>) -> Option<Usd> {
            if self.out.contains(&(turn, backend)) {
                return None;
            }
            let warm = read.filter(|read| self.is_warm(backend, *read, turn)).map_or(0, |read| self.lengths[read]);
            let (fresh, cached) = self.prices[backend];
            Some(Usd::from_pico((self.lengths[turn] - warm) * fresh + warm * cached))
        }

        fn is_warm(&self, _: usize, read: usize, at: usize) -> bool {
            self.times[at] - self.times[read] <= 10
        }
    }

    fn check(session: &Priced, backends: &[usize], cost: i128) {
        let way = cheapest(session).unwrap();
        assert_eq!((way.backends.as_slice(), way.cost().pico(), way.exact), (backends, cost, true));
    }

    #[test]
    fn it_stays_where_staying_pays_although_another_is_cheaper_now() {
        let prices = vec![(10, 1), (9, 9)];
        // Once: the second is cheaper. Three times: 100 × 10 + (10 × 10 + 100) + (10 × 10 + 110) at the first.
        let session = |n: usize, times: [u64; 3]| Priced {
            lengths: vec![100, 110, 120][..n].to_vec(),
            times: times[..n].to_vec(),
            prices: prices.clone(),
            out: Vec::new(),
        };
        check(&session(1, [0, 1, 2]), &[1], 900);
        check(&session(3, [0, 1, 2]), &[0, 0, 0], 1000 + 200 + 210);
        // Too long a pause: nothing is warm, and each turn stands alone.
        check(&session(3, [0, 20, 40]), &[1, 1, 1], 900 + 990 + 1080);
    }

    #[test]
    fn a_backend_that_cannot_answer_is_passed_and_found_warm_again() {
        let session =
            Priced { lengths: vec![100, 110, 120], times: vec![0, 1, 2], prices: vec![(10, 1), (30, 30)], out: vec![(1, 0)] };
        check(&session, &[0, 1, 0], 1000 + 3300 + (100 + 20 * 10));
        let out = (0..2).map(|backend| (1, backend)).collect();
        assert_eq!(cheapest(&Priced { out, ..session }), None);
    }

    fn brute(session: &Priced) -> Option<Usd> {
        fn go(session: &Priced, turn: usize, read: &[Option<usize>]) -> Option<Usd> {
            if turn == session.turns() {
                return Some(Usd::ZERO);
            }
            let each = (0..session.backends()).filter_map(|backend| {
                let cost = session.cost(turn, backend, read[backend])?;
                let mut then = read.to_vec();
                then[backend] = Some(turn);
                Some(cost + go(session, turn + 1, &then)?)
            });
            each.min()
        }
        go(session, 0, &vec![None; session.backends()])
    }

    proptest! {
        #[test]
        fn no_way_of_all_is_cheaper(
            steps in prop::collection::vec((1_i128..50, 0_u64..8), 1..6),
            prices in prop::collection::vec((1_i128..20, 1_i128..20), 1..4),
            out in prop::collection::vec((0_usize..6, 0_usize..4), 0..3),
        ) {
            let sum = |n: usize| steps[..=n].iter().fold((0, 0), |(l, t), (length, time)| (l + length, t + time));
            let (lengths, times) = (0..steps.len()).map(sum).unzip();
            let prices = prices.into_iter().map(|(fresh, cached)| (fresh, cached.min(fresh))).collect();
            let session = Priced { lengths, times, prices, out };
            let way = cheapest(&session);
            prop_assert_eq!(way.as_ref().map(Way::cost), brute(&session));
            prop_assert!(way.is_none_or(|way| way.exact));
        }
    }
}
