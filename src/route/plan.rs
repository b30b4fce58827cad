//! The plan: which backends to ask, in which order or at once, and why no others.
//!
//! A plan is a small tree, so that failover and races (and later verification and escalation) are one shape to
//! dispatch, to hold money for and to explain. Its root is a sequence: the best first, then the best of each other
//! provider, then further backends of providers already named, since what fails one backend of a provider (a key, an
//! account, an outage) mostly fails the others too.
//!
//! The plan decides; it sends nothing, and does not know what became of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::adequate::{Unfit, tally};
use super::affinity::{Session, Stay, Warm, over_all, settle, times};
use super::caps::{Cap, CapCost};
use super::explore::{self, Explored, explore, may_explore};
use super::facts::Facts;
use super::learned::LearnedOutput;
use super::needs::Needs;
use super::quote::{Quote, Quoter};
use super::score::Score;
use super::sieve::{Best, Ends, Look, Sieve, Uncapped};
use super::usable::Rejected;
use crate::canonical::Preference;
use crate::catalog::{BackendIndex, ProviderIndex};
use crate::units::Usd;

/// What to do with one request. Its indexes belong to the snapshot of the facts it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A sequence of at least one attempt.
    pub root: Node,
    /// The best first (behind one that is explored), as many as were surely found: those of the tree and the next best. The
    /// first one stands first in the tree.
    pub candidates: Vec<Candidate>,
    /// How many backends are adequate.
    pub adequate: usize,
    /// The least that any of them is expected to cost.
    pub cheapest: Usd,
    /// The one that is expected to cost most.
    pub dearest: Candidate,
    /// Every other backend that was considered, by the rule that excluded it.
    pub rejected: Rejected,
    /// What was required.
    pub needs: Needs,
    /// Whether the conversation stays where it is warm; absent where it is warm nowhere.
    pub stay: Option<Stay>,
    /// What the caps on shares cost, where another one would have been chosen without them.
    pub cap_cost: Option<CapCost>,
    /// Present where the first candidate stands before the best, to look at it.
    pub explored: Option<Explored>,
    /// What the request's tokens cost anywhere at least: what risks are a share of where a backend costs less.
    pub floor: Usd,
    /// The instant whose prices apply.
    pub at: Timestamp,
}

/// A plan with all that it was chosen from, to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// With every adequate backend among its candidates.
    pub plan: Arc<Plan>,
    /// What is known to be warm, and what was learned of answers.
    pub warm: Vec<Warm>,
    pub learned: LearnedOutput,
    /// The caps on shares as they stood.
    pub caps: Vec<Cap>,
}

impl Plan {
    /// The best candidate: the first attempt.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.first()
    }

    /// The most that the plan holds money for at once, see [`Node::worst_case`].
    pub fn worst_case(&self) -> Usd {
        self.root.worst_case()
    }

    /// The most that what is asked first costs: one attempt, or all of a race.
    pub fn first_case(&self) -> Usd {
        match &self.root {
            Node::Sequence(nodes) => nodes.first().map_or(Usd::ZERO, Node::worst_case),
            Node::Attempt(_) | Node::Race(_) => self.root.worst_case(),
        }
    }
}

/// An adequate backend with its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub backend: BackendIndex,
    pub provider: ProviderIndex,
    pub quote: Quote,
    pub score: Score,
}

/// A part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every plan is a few attempts: a box for each would cost more")]
pub enum Node {
    /// Ask one backend.
    Attempt(PlannedAttempt),
    /// One after the other, until one answers.
    Sequence(Vec<Node>),
    /// All at once; the first answer is kept, and each is paid.
    Race(Vec<Node>),
}

impl Node {
    /// What must be held before the node begins. Attempts of a race run together, so theirs add up. In a sequence one
    /// begins only after the one before it failed, and a failed attempt is mostly not billed, so the dearest covers
    /// them all. Whoever moves on from an attempt that may be billed after all (a time-out once the request was sent)
    /// must keep that attempt's own worst case in addition.
    pub fn worst_case(&self) -> Usd {
        match self {
            Node::Attempt(attempt) => attempt.quote.worst,
            Node::Sequence(nodes) => nodes.iter().map(Node::worst_case).max().unwrap_or(Usd::ZERO),
            Node::Race(nodes) => nodes.iter().map(Node::worst_case).sum(),
        }
    }

    /// Every attempt in the order of the plan.
    pub fn attempts(&self) -> Attempts<'_> {
        Attempts { ahead: vec![self] }
    }
}

/// Walks the attempts of a node, depth first.
#[derive(Debug)]
pub struct Attempts<'p> {
    /// The next one last.
    ahead: Vec<&'p Node>,
}

impl<'p> Iterator for Attempts<'p> {
    type Item = &'p PlannedAttempt;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ahead.pop()? {
                Node::Attempt(attempt) => return Some(attempt),
                Node::Sequence(nodes) | Node::Race(nodes) => self.ahead.extend(nodes.iter().rev()),
            }
        }
    }
}

/// One request to one backend, at the prices it will be settled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedAttempt {
    pub backend: BackendIndex,
    pub quote: Quote,
}

impl From<&Candidate> for Node {
    fn from(candidate: &Candidate) -> Self {
        Node::Attempt(PlannedAttempt { backend: candidate.backend, quote: candidate.quote })
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Every backend that was considered broke a rule.
    #[error("no backend can serve this request: {} considered, none adequate{}", .rejected.len(), reasons(.rejected))]
    NoneAdequate { rejected: Vec<(BackendIndex, Unfit)> },
}

impl PlanError {
    /// The backends that were considered, with the rule that excluded each.
    pub fn rejected(&self) -> &[(BackendIndex, Unfit)] {
        let PlanError::NoneAdequate { rejected } = self;
        rejected
    }

    /// Whether the same request may be served later without anybody changing anything: some backend was left out for
    /// its health alone.
    pub fn is_passing(&self) -> bool {
        self.rejected().iter().any(|(_, unfit)| unfit.is_passing())
    }

    /// When the first backend that is left out for its health alone may be asked again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.rejected().iter().filter_map(|(_, unfit)| unfit.remaining()).min()
    }
}

/// `: no_key=4, context_too_small=2`, the most frequent first.
fn reasons(rejected: &[(BackendIndex, Unfit)]) -> String {
    let counts: Vec<String> = tally(rejected).iter().map(|(word, n)| format!("{word}={n}")).collect();
    if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) }
}

/// Decides. The same facts give the same plan. It looks no further than the choice needs; what the whole table was worth is
/// [`explained`].
pub fn plan(facts: &Facts<'_>) -> Result<Arc<Plan>, PlanError> {
    let attempts = facts.settings.max_attempts.max(1);
    let candidates = if may_explore(facts) { explore::AMONG } else { NEXT_BEST };
    decide(facts, Look::First { candidates, attempts })
}

/// The best and the next best, which a decision is told by.
const NEXT_BEST: usize = 2;

/// The same plan with everyone else who was considered.
pub fn explained(facts: &Facts<'_>) -> Result<Whole, PlanError> {
    let plan = decide(facts, Look::All)?;
    Ok(Whole { plan, warm: facts.affinity.warm.clone(), learned: facts.learned.clone(), caps: facts.caps.all().to_vec() })
}

fn decide(facts: &Facts<'_>, look: Look) -> Result<Arc<Plan>, PlanError> {
    debug_assert!(facts.board.is_of(facts.snapshot, facts.at), "the board must be that of the table at the instant");
    let needs = Needs::of(facts);
    match decide_by(facts, needs, look) {
        // Where none that thinks is left, one that does not answers all the same, and its client is told.
        Err(_) if needs.thinks => decide_by(facts, Needs { thinks: false, ..needs }, look),
        decided => decided,
    }
}

fn decide_by(facts: &Facts<'_>, needs: Needs, look: Look) -> Result<Arc<Plan>, PlanError> {
    let mut sieve = Sieve::over(facts, &needs, look);
    let mut best = sieve.best(look);
    if best.quoted.is_empty() {
        // Only who looks at everybody keeps the reasons.
        let whole = || PlanError::NoneAdequate { rejected: sieve.rejected.all() };
        return if look == Look::All { Err(whole()) } else { decide_by(facts, needs, Look::All) };
    }
    let cap_cost = sieve.uncapped.as_ref().and_then(|uncapped| cap_cost(uncapped, &best.quoted[0], facts));
    // Whoever prefers speed is not held back by a cache.
    let staying = facts.affinity.staying().filter(|session| session.sealed || needs.prefer == Preference::Cheapest);
    let stay = staying.map(|session| stay(&mut sieve, &mut best, session, facts));
    // A conversation is not moved to look around.
    let explored = if stay.is_some() { None } else { explore(&mut best.quoted[..best.sure], &needs, facts) };
    let floor = sieve.floor;
    let (best, Ends { adequate, cheapest, dearest }, rejected) = sieve.ends(best);
    let candidates = best.quoted;
    let dearest = dearest.unwrap_or(candidates[0]);
    let root = tree(&candidates, &needs, facts.settings.max_attempts);
    let at = facts.at;
    // It is handed on from here to whoever asks, books and shows.
    Ok(Arc::new(Plan { root, candidates, adequate, cheapest, dearest, rejected, needs, stay, cap_cost, explored, floor, at }))
}

/// Where a conversation goes on. Looks at whoever may be the cheapest over all of it.
fn stay(sieve: &mut Sieve<'_>, best: &mut Best, session: &Session, facts: &Facts<'_>) -> Stay {
    let later = |quoter: &Quoter<'_>, candidate: &Candidate| {
        let (backend, rules) = (facts.snapshot.backend(candidate.backend), facts.snapshot.provider(candidate.provider).cache);
        quoter.cost_of(backend, &candidate.quote, &session.later(backend.index, &candidate.quote.usage, rules))
    };
    let sums = best.quoted.iter().map(|candidate| over_all(candidate, session, later(&sieve.quoter, candidate)));
    let elsewhere = |(candidate, _): &(&Candidate, Usd)| candidate.backend != session.home;
    let least = best.quoted.iter().zip(sums).filter(elsewhere).map(|(_, sum)| sum).min().unwrap_or(Usd::MAX);
    sieve.quote_all(best, |rates, (input, output)| {
        let usd = |pico: u64| Usd::from_pico(pico.into());
        usd(rates.cold(input, output)) + times(usd(rates.warm(input, output)), session.remaining) <= least
    });
    best.quoted[best.sure..].sort_by_cached_key(|candidate| sieve.standing(candidate));
    let (stay, first) = settle(&best.quoted, session, |candidate| later(&sieve.quoter, candidate));
    if let Some(first) = first {
        // The others keep their order.
        best.quoted[..=first].rotate_right(1);
        best.sure += usize::from(first >= best.sure);
    }
    stay
}

/// What the caps cost; nothing where the choice is the same without them.
fn cap_cost(uncapped: &Uncapped, chosen: &Candidate, facts: &Facts<'_>) -> Option<CapCost> {
    let Uncapped { candidate: Candidate { backend, quote, .. }, ruling } = uncapped;
    let place = ruling.closed.or(ruling.dearest).filter(|_| *backend != chosen.backend)?;
    let cap = facts.caps.all()[usize::from(place)].clone();
    Some(CapCost { cap, instead_of: *backend, expected: quote.expected, more: chosen.quote.expected - quote.expected })
}

/// Arranges the best candidates, at most `max_attempts` and at least one.
fn tree(candidates: &[Candidate], needs: &Needs, max_attempts: usize) -> Node {
    let room = max_attempts.max(1);
    let (firsts, others) = by_provider(candidates, room);
    let (racing, behind) = racing(firsts, needs);
    let start = match racing.as_slice() {
        [only] => Node::from(*only),
        several => Node::Race(several.iter().copied().map(Node::from).collect()),
    };
    let room_behind = room - racing.len();
    let fallbacks = behind.into_iter().chain(others).take(room_behind).map(Node::from);
    Node::Sequence(std::iter::once(start).chain(fallbacks).collect())
}

/// The best of each provider, then the others; both in order and none longer than `room`.
fn by_provider(candidates: &[Candidate], room: usize) -> (Vec<&Candidate>, Vec<&Candidate>) {
    let (mut firsts, mut others) = (Vec::with_capacity(room), Vec::with_capacity(room));
    for candidate in candidates {
        if firsts.len() == room {
            break;
        }
        let known = firsts.iter().any(|first: &&Candidate| first.provider == candidate.provider);
        if !known {
            firsts.push(candidate);
        } else if others.len() < room {
            others.push(candidate);
        }
    }
    (firsts, others)
}

/// Parts those that are asked at once from those that are asked after them. Each of a race is paid, so together they
/// must keep to what the request may cost.
fn racing<'c>(firsts: Vec<&'c Candidate>, needs: &Needs) -> (Vec<&'c Candidate>, Vec<&'c Candidate>) {
    let max = needs.max_cost.unwrap_or(Usd::MAX);
    let (mut racing, mut behind, mut held) = (Vec::with_capacity(needs.race.min(firsts.len())), Vec::new(), Usd::ZERO);
    for candidate in firsts {
        let together = held + candidate.quote.worst;
        if racing.len() < needs.race && together <= max {
            racing.push(candidate);
            held = together;
        } else {
            behind.push(candidate);
        }
    }
    (racing, behind)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Prepaid;
    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::catalog::QuotaIndex;
    use crate::units::{Amount, Counted, Currency, Grant};

    /// Costs rise in this order; `north` and `south` have two models each.
    fn case() -> Case {
        let ids = ["north/a", "north/b", "south/a", "south/c", "east/d", "west/a"];
        let priced = ids.iter().zip(1..).map(|(id, price)| Spec::named(id).costing(&price.to_string(), "1"));
        Case::of(priced.collect())
    }

    /// The shape of the plan: `[a b]` is a race, the rest a sequence.
    fn check(change: impl FnOnce(&mut Case), expected: &str) {
        let mut case = case();
        change(&mut case);
        assert_eq!(case.shape().unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn fallbacks_go_to_other_providers_first() {
        check(|_| {}, "north/a south/a east/d west/a");
        check(|c| c.settings.max_attempts = 9, "north/a south/a east/d west/a north/b south/c");
        check(|c| c.settings.max_attempts = 0, "north/a");
        check(|c| c.request.wishes.providers = vec!["north".into()], "north/a north/b");
    }

    #[test]
    fn a_model_goes_to_all_who_serve_it_and_a_backend_to_itself() {
        check(|c| c.target = "a".into(), "north/a south/a west/a");
        check(|c| c.target = "south/c".into(), "south/c");
    }

    #[test]
    fn a_race_asks_different_providers_at_once() {
        check(|c| c.request.wishes.race = Some(2), "[north/a south/a] east/d west/a");
        check(|c| (c.request.wishes.race, c.settings.max_attempts) = (Some(4), 3), "[north/a south/a east/d]");
        check(|c| (c.request.wishes.race, c.target) = (Some(3), "south/c".into()), "south/c");
    }

    #[test]
    fn a_race_keeps_to_what_the_request_may_cost() {
        // One token in and one out at most: 2, 4, 6 and 7 millionths of a dollar for the firsts.
        let tight = |micros: &'static str| {
            move |c: &mut Case| {
                c.input = (1, 1);
                c.request.output_bound = Some(crate::units::Tokens::new(1));
                c.request.wishes.race = Some(3);
                c.request.wishes.max_cost = Some(Usd::parse(micros).unwrap());
            }
        };
        check(tight("0.000012"), "[north/a south/a east/d] west/a");
        check(tight("0.000007"), "[north/a south/a] east/d west/a");
        check(tight("0.000005"), "north/a south/a north/b south/c");
    }

    #[test]
    fn a_failing_backend_falls_behind_until_its_price_makes_up_for_it() {
        check(|c| c.specs[0].health.failure_share = 100_000, "north/a south/a east/d west/a");
        check(|c| c.specs[0].health.failure_share = 800_000, "north/b south/a east/d west/a");
    }

    #[test]
    fn what_is_free_or_paid_already_comes_first() {
        let free = |c: &mut Case| {
            c.specs[4].quotas = vec![QuotaIndex(0)];
            c.allowances.free = vec![Grant::by(|counted| (counted == Counted::Requests).then_some(1))];
        };
        check(free, "east/d north/a south/a west/a");
        let prepaid = |dollars: i128, outlasts| {
            move |c: &mut Case| {
                let left = Amount::from_pico(dollars * 1_000_000_000_000, Currency::Usd);
                c.allowances.prepaid = vec![None, Some(Prepaid { left, outlasts })];
            }
        };
        // The provider's own backends are still told apart by what they cost.
        check(prepaid(1, true), "south/a north/a east/d west/a");
        check(prepaid(1, false), "north/a south/a east/d west/a");
        check(prepaid(0, true), "north/a south/a east/d west/a");
    }

    #[test]
    fn none_adequate_says_why_and_whether_waiting_helps() {
        let none = "no backend can serve this request: 6 considered, none adequate";
        check(|c| c.keyless = c.provider_names(), &format!("{none}: no_key=6"));
        let mixed = |c: &mut Case| {
            c.keyless = vec!["north".into()];
            c.specs.iter_mut().skip(2).for_each(|spec| spec.max_output = 10);
            c.request.output_bound = Some(crate::units::Tokens::new(11));
        };
        check(mixed, &format!("{none}: output_too_small=4, no_key=2"));
        let mut cooling = case();
        for (spec, seconds) in cooling.specs.iter_mut().zip(3..) {
            spec.health.cooling = Some(Duration::from_secs(seconds));
        }
        let error = cooling.plan().1.unwrap_err();
        assert!(error.is_passing());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn an_empty_table_has_no_plan() {
        let mut case = case();
        case.specs.clear();
        let error = case.plan().1.unwrap_err();
        assert_eq!(error.to_string(), "no backend can serve this request: 0 considered, none adequate");
        assert!(!error.is_passing());
    }
}
