//! The war itself: every request in the order of time, answered by each policy, and each session that has ended once more
//! by the optimum. All of them meet the same answers, failures and prices; each has its own caches.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::broker::{Broker, neutral};
use super::losses::{Losses, Played, Thought};
use super::optimum::{self, Session, Way};
use super::peers::Policy;
use super::workload::{Plan, Turn};
use super::world::{Answer, Caches, FAILURE_SECONDS, World};
use crate::canonical::QualityTier;
use crate::catalog::BackendIndex;
use crate::route::Candidate;
use crate::units::Usd;

/// Parts of the time that the spend is told by.
pub const PARTS: usize = 120;

/// What one policy spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    pub total: Usd,
    /// Up to the end of each part of the time.
    pub course: Vec<Usd>,
    /// Attempts that failed, and the seconds they took.
    pub failures: u64,
    pub seconds_lost: u64,
    /// Requests by who answered them.
    pub answered: BTreeMap<BackendIndex, u64>,
    /// The total by the floor under the quality.
    pub floors: BTreeMap<QualityTier, Usd>,
}

impl Spend {
    fn none() -> Self {
        let (total, course) = (Usd::ZERO, vec![Usd::ZERO; PARTS]);
        Self { total, course, failures: 0, seconds_lost: 0, answered: BTreeMap::new(), floors: BTreeMap::new() }
    }

    fn add(&mut self, part: usize, turn: &Turn, backend: BackendIndex, cost: Usd) {
        self.total += cost;
        *self.floors.entry(turn.floor()).or_default() += cost;
        self.course[part] += cost;
        *self.answered.entry(backend).or_default() += 1;
    }

    fn summed(mut self) -> Self {
        let mut sum = Usd::ZERO;
        for part in &mut self.course {
            sum += *part;
            *part = sum;
        }
        self
    }
}

/// How the war went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// By policy.
    pub spends: BTreeMap<Policy, Spend>,
    pub optimum: Spend,
    /// Requests that were answered, by every policy.
    pub served: u64,
    /// Requests for which no backend was adequate: left out of every sum.
    pub unserved: u64,
    pub sessions: u64,
    /// Sessions whose optimum is a bound only.
    pub inexact: u64,
    pub losses: Losses,
}

/// A session while it lasts.
#[derive(Default)]
struct Open<'t> {
    caches: BTreeMap<Policy, Caches>,
    played: Vec<PlayedTurn<'t>>,
}

/// A turn that everybody has answered.
struct PlayedTurn<'t> {
    turn: &'t Turn,
    /// Who is adequate and does not fail.
    able: Vec<BackendIndex>,
    broker: Played,
}

/// Plays a workload that is in the order of time.
pub fn play(world: &World, plan: Plan, turns: &[Turn]) -> Outcome {
    let mut war = War::new(world, plan);
    let mut left: BTreeMap<usize, usize> = BTreeMap::new();
    for turn in turns {
        *left.entry(turn.session).or_default() += 1;
    }
    let mut open: BTreeMap<usize, Open<'_>> = BTreeMap::new();
    for turn in turns {
        war.turn(open.entry(turn.session).or_default(), turn);
        let left = left.entry(turn.session).or_default();
        *left = left.saturating_sub(1);
        if *left == 0
            && let Some(ended) = open.remove(&turn.session)
        {
            war.settle(&ended);
        }
    }
    war.outcome()
}

struct War<'a> {
    world: &'a World,
    plan: Plan,
    broker: Broker,
    seen: usize,
    outcome: Outcome,
}

impl<'a> War<'a> {
    fn new(world: &'a World, plan: Plan) -> Self {
        let outcome = Outcome {
            spends: Policy::ALL.into_iter().map(|policy| (policy, Spend::none())).collect(),
            optimum: Spend::none(),
            served: 0,
            unserved: 0,
            sessions: 0,
            inexact: 0,
            losses: Losses::default(),
        };
        Self { world, plan, broker: Broker::new(plan), seen: 0, outcome }
    }

    fn part(&self, at: Timestamp) -> usize {
        let (whole, gone) =
            (self.plan.until.as_second() - self.plan.from.as_second(), at.as_second() - self.plan.from.as_second());
        let parts = i64::try_from(PARTS).unwrap_or(1);
        usize::try_from(gone.max(0) * parts / whole.max(1)).unwrap_or(0).min(PARTS - 1)
    }

    /// Everybody answers one request.
    fn turn<'t>(&mut self, open: &mut Open<'t>, turn: &'t Turn) {
        let adequate = self.adequate(turn);
        if adequate.is_empty() {
            self.outcome.unserved += 1;
            return;
        }
        let standing = |backend: &BackendIndex| !self.world.fails(turn, *backend);
        let standing: Vec<BackendIndex> = adequate.iter().copied().filter(standing).collect();
        // Where everybody would fail, nobody does: someone must answer for the sums to be comparable.
        let able = if standing.is_empty() { adequate.clone() } else { standing };
        self.outcome.served += 1;
        for policy in Policy::ALL {
            let (order, candidates) = self.order(policy, &adequate, turn);
            let answered = self.answer(policy, open, turn, &order, &able);
            if let (Policy::Broker, Some((first, answer, warm))) = (policy, answered) {
                let broker = Played::new(&candidates, first, answer, warm);
                open.played.push(PlayedTurn { turn, able: able.clone(), broker });
            }
        }
        self.seen += 1;
    }

    /// Whom every policy may choose among.
    fn adequate(&self, turn: &Turn) -> Vec<BackendIndex> {
        let Ok(plan) = neutral(self.world, turn) else { return Vec::new() };
        let all = plan.candidates.iter().map(|candidate| candidate.backend);
        all.filter(|backend| self.world.answer(turn, *backend).is_some()).collect()
    }

    fn order(&mut self, policy: Policy, adequate: &[BackendIndex], turn: &Turn) -> (Vec<BackendIndex>, Vec<Candidate>) {
        if policy != Policy::Broker {
            return (policy.order(adequate, &self.world.snapshot, turn.at, self.seen), Vec::new());
        }
        let Ok(plan) = self.broker.plan(self.world, turn) else { return (adequate.to_vec(), Vec::new()) };
        let planned = plan.root.attempts().map(|attempt| attempt.backend);
        let rest = plan.candidates.iter().map(|candidate| candidate.backend);
        let mut order: Vec<BackendIndex> = Vec::new();
        for backend in planned.chain(rest).chain(adequate.iter().copied()).filter(|backend| adequate.contains(backend)) {
            if !order.contains(&backend) {
                order.push(backend);
            }
        }
        (order, plan.candidates.clone())
    }

    /// Walks an order until somebody answers, and books it. Who was asked first, the answer, and what was warm.
    fn answer(
        &mut self,
        policy: Policy,
        open: &mut Open<'_>,
        turn: &Turn,
        order: &[BackendIndex],
        able: &[BackendIndex],
    ) -> Option<(BackendIndex, Answer, u64)> {
        let (failed, backend) = (0..).zip(order.iter().copied()).find(|(_, backend)| able.contains(backend))?;
        let answer = self.world.answer(turn, backend)?;
        let caches = open.caches.entry(policy).or_default();
        let warm = caches.warm(self.world, backend, turn.at);
        caches.read(backend, turn);
        let part = self.part(turn.at);
        let spend = self.outcome.spends.entry(policy).or_insert_with(Spend::none);
        spend.add(part, turn, backend, answer.cost(warm));
        spend.failures += failed;
        spend.seconds_lost += failed * FAILURE_SECONDS;
        if policy == Policy::Broker {
            self.broker.answered(self.world, turn, &answer, warm);
        }
        Some((order[0], answer, warm))
    }

    /// The optimum of a session that has ended, and why the broker did not find it.
    fn settle(&mut self, ended: &Open<'_>) {
        let session = Ended::of(self.world, &ended.played);
        let Some(way) = optimum::cheapest(&session) else { return };
        self.outcome.sessions += 1;
        self.outcome.inexact += u64::from(!way.exact);
        for (place, played) in ended.played.iter().enumerate() {
            let (number, cost) = (way.backends[place], way.costs[place]);
            let part = self.part(played.turn.at);
            self.outcome.optimum.add(part, played.turn, session.backends[number], cost);
            if let Some(answer) = &session.answers[place][number] {
                let warm = session.warm(place, number, last_read(&way, place));
                self.outcome.losses.add(&played.broker, &Thought { answer, warm });
            }
        }
    }

    fn outcome(self) -> Outcome {
        let mut outcome = self.outcome;
        outcome.optimum = outcome.optimum.summed();
        outcome.spends = outcome.spends.into_iter().map(|(policy, spend)| (policy, spend.summed())).collect();
        outcome
    }
}

/// The turn before this one that the same backend has read last on this way.
fn last_read(way: &Way, place: usize) -> Option<usize> {
    way.backends[..place].iter().rposition(|backend| *backend == way.backends[place])
}

/// A session that has ended, with what everybody would have answered to each turn.
struct Ended<'s, 't> {
    world: &'s World,
    played: &'s [PlayedTurn<'t>],
    backends: Vec<BackendIndex>,
    /// By turn and backend.
    answers: Vec<Vec<Option<Answer>>>,
    /// By turn, backend and the turn read before it, none first: each is asked for often.
    costs: Vec<Vec<Vec<OnceCell<Option<Usd>>>>>,
}

impl<'s, 't> Ended<'s, 't> {
    fn of(world: &'s World, played: &'s [PlayedTurn<'t>]) -> Self {
        let mut backends: Vec<BackendIndex> = played.iter().flat_map(|played| played.able.iter().copied()).collect();
        backends.sort_unstable();
        backends.dedup();
        let answer = |played: &PlayedTurn<'_>, backend: &BackendIndex| {
            played.able.contains(backend).then(|| world.answer(played.turn, *backend)).flatten()
        };
        let answers = played.iter().map(|played| backends.iter().map(|backend| answer(played, backend)).collect()).collect();
        let costs = (0..played.len()).map(|turn| vec![vec![OnceCell::new(); turn + 1]; backends.len()]).collect();
        Self { world, played, backends, answers, costs }
    }

    /// The tokens of a turn's prompt that a backend has cached which has last read that earlier turn.
    fn warm(&self, turn: usize, backend: usize, read: Option<usize>) -> u64 {
        let family = self.world.snapshot.backend(self.backends[backend]).tokenizer;
        let read = read.filter(|read| self.is_warm(backend, *read, turn));
        read.map_or(0, |read| self.played[read].turn.input[family as usize])
    }
}

impl Session for Ended<'_, '_> {
    fn turns(&self) -> usize {
        self.played.len()
    }

    fn backends(&self) -> usize {
        self.backends.len()
    }

    fn cost(&self, turn: usize, backend: usize, read: Option<usize>) -> Option<Usd> {
        let answer = self.answers[turn][backend].as_ref();
        let cost = || Some(answer?.cost(self.warm(turn, backend, read)));
        *self.costs[turn][backend][read.map_or(0, |read| read + 1)].get_or_init(cost)
    }

    fn is_warm(&self, backend: usize, read: usize, at: usize) -> bool {
        self.world.is_warm(self.backends[backend], self.played[read].turn.at, self.played[at].turn.at)
    }
}

#[cfg(test)]
mod tests;
