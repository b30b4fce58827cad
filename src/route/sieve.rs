//! Who of a table may be among the first, and their quotes in exact money.
//!
//! One pass over the [`Board`](super::board::Board) parts the adequate from the others and bounds what each costs from
//! below. Then they are quoted in the order of these bounds, until the best that are asked for are sure: a score is no less
//! than its expected cost ([`score`](super::score)), so whoever is not quoted yet scores no better than its bound. Of two
//! hundred adequate backends ten are quoted. Where a bound says nothing (a warm prompt, a free quota, a balance, a maximum
//! cost, a preference for speed), the backend is quoted in any case; and where all of them are to be explained, all are.
//! What is found is the same either way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::adequate::{Unfit, adequate, anybody, available, barred, permitted};
use super::board::{Price, PriceBounds, Rates, Row};
use super::caps::Ruling;
use super::facts::{Facts, OutputForecast};
use super::needs::Needs;
use super::plan::Candidate;
use super::price_risk;
use super::quote::{Quote, Quoter, output_range};
use super::risk::Odds;
use super::score::{Score, Standing, Weighing};
use super::target::Target;
use super::usable::Rejected;
use crate::canonical::Preference;
use crate::catalog::{Backend, BackendIndex, Provider, TokenizerFamily};
use crate::units::{Tokens, Usd};

/// How far a plan looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Until so many of the best are sure, and so many providers among them.
    First { candidates: usize, providers: usize },
    /// At everybody.
    All,
}

/// An adequate backend that was not quoted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ahead {
    /// It stands no better than this.
    bound: Standing,
    /// It is expected to cost no more than this.
    most: u64,
    backend: BackendIndex,
}

/// Parts the adequate from the others, and knows the best of them.
pub(super) struct Sieve<'a> {
    facts: &'a Facts<'a>,
    needs: &'a Needs,
    pub(super) quoter: Quoter<'a>,
    /// The best bound first.
    ahead: BinaryHeap<Reverse<Ahead>>,
    /// In the order in which they were quoted.
    quoted: Vec<Candidate>,
    pub(super) rejected: Rejected,
    /// Present where there are caps.
    pub(super) uncapped: Option<Uncapped>,
    /// What the request's tokens cost anywhere at least.
    pub(super) floor: Usd,
}

/// The best one as if there were no caps.
pub(super) struct Uncapped {
    /// Scored without caps.
    pub(super) candidate: Candidate,
    /// What the caps say about it.
    pub(super) ruling: Ruling,
}

/// The best of a sieve.
pub(super) struct Best {
    /// Everyone that was quoted, the best first.
    pub(super) quoted: Vec<Candidate>,
    /// So many of them are sure to be first, in this order.
    pub(super) sure: usize,
}

impl<'a> Sieve<'a> {
    /// Goes through every backend that the target may mean, and no other: those that serve another model than the one
    /// named were never considered, so they are not rejected either. Those that no request can have were refused once.
    pub(super) fn over(facts: &'a Facts<'a>, needs: &'a Needs, look: Look) -> Self {
        let (considered, refused_before) = match facts.target {
            Target::Auto(_) => (facts.usable.ready(), Some(facts.usable.barred())),
            Target::Model(name) => (facts.snapshot.serving(name), None),
            Target::Backend(index) => (std::slice::from_ref(index), None),
        };
        let asked = Asked::by(facts, needs, refused_before.is_none());
        let mut sieve = Self {
            facts,
            needs,
            quoter: Quoter::new(facts, needs),
            ahead: BinaryHeap::new(),
            quoted: Vec::new(),
            rejected: Rejected::beside(refused_before, considered.len()),
            uncapped: None,
            floor: price_risk::floor(any_tokens(facts)),
        };
        sieve.part(considered, &asked, look);
        sieve
    }

    /// Refuses whom a rule excludes, and bounds the others.
    fn part(&mut self, considered: &[BackendIndex], asked: &Asked<'_>, look: Look) {
        let (facts, needs) = (self.facts, self.needs);
        let unbounded = look == Look::All || says_nothing(needs);
        let mut ahead = Vec::with_capacity(considered.len());
        for index in considered {
            let row = facts.board.row(*index);
            let fit = asked.permits(row).and_then(|()| adequate(row, needs, facts.input.of(row.tokenizer).upper()));
            match (fit, bounds(row, facts)) {
                (Err(unfit), _) => self.rejected.push(*index, unfit),
                (Ok(()), Some(bounds)) if !unbounded => match self.healthy(*index) {
                    Ok(()) => ahead.push(Reverse(self.ahead(row, bounds))),
                    Err(unfit) => self.rejected.push(*index, unfit),
                },
                (Ok(()), _) => self.quote(*index),
            }
        }
        self.ahead = BinaryHeap::from(ahead);
    }

    fn healthy(&self, BackendIndex(n): BackendIndex) -> Result<(), Unfit> {
        self.facts.health.get(n as usize).map_or(Ok(()), |health| available(*health))
    }

    fn ahead(&self, row: &Row, bounds: &PriceBounds) -> Ahead {
        let (input, output) = self.tokens(row);
        let least = Usd::from_pico(bounds.least.cold(input, output).into());
        let bound = Standing::at_best(least, row.quality, row.by_id);
        Ahead { bound, most: bounds.most.cold(input, output), backend: row.index }
    }

    /// The tokens that are expected at a backend.
    fn tokens(&self, row: &Row) -> (Tokens, Tokens) {
        let input = self.facts.input.of(row.tokenizer);
        let mean = self.facts.output_of(row.index, row.reasoning).mean;
        let range = output_range(&row.limits, self.needs, mean, input.upper());
        (input.expected(), self.needs.all_choices(range.expected))
    }

    /// The best, as far as one looks.
    pub(super) fn best(&mut self, look: Look) -> Best {
        while let Some(Reverse(next)) = self.ahead.peek() {
            if self.is_sure(&next.bound, look) {
                break;
            }
            let backend = next.backend;
            self.ahead.pop();
            self.quote(backend);
        }
        let mut quoted = std::mem::take(&mut self.quoted);
        quoted.sort_by_cached_key(|candidate| self.standing(candidate));
        let sure = match self.ahead.peek() {
            Some(Reverse(next)) => quoted.partition_point(|candidate| self.standing(candidate) < next.bound),
            None => quoted.len(),
        };
        Best { quoted, sure }
    }

    /// Whether nobody who stands no better than `bound` can still be among the first.
    fn is_sure(&self, bound: &Standing, look: Look) -> bool {
        let Look::First { candidates, providers } = look else { return false };
        let better = |candidate: &Candidate| self.standing(candidate) < *bound;
        if self.quoted.len() < candidates || self.uncapped.as_ref().is_some_and(|best| !better(&best.candidate)) {
            return false;
        }
        let (mut count, mut known) = (0, Vec::with_capacity(providers));
        for candidate in self.quoted.iter().filter(|candidate| better(candidate)) {
            count += 1;
            if known.len() < providers && !known.contains(&candidate.provider) {
                known.push(candidate.provider);
            }
        }
        count >= candidates && known.len() >= providers
    }

    /// Quotes whoever else may be cheaper than `least` says over something that no single score tells.
    pub(super) fn quote_all(&mut self, best: &mut Best, may_be_better: impl Fn(&Rates, (Tokens, Tokens)) -> bool) {
        let ahead = std::mem::take(&mut self.ahead).into_vec();
        let (now, later): (Vec<_>, Vec<_>) = ahead.into_iter().partition(|Reverse(ahead)| {
            let row = self.facts.board.row(ahead.backend);
            bounds(row, self.facts).is_none_or(|bounds| may_be_better(&bounds.least, self.tokens(row)))
        });
        self.ahead = later.into();
        now.into_iter().for_each(|Reverse(ahead)| self.quote(ahead.backend));
        best.quoted.append(&mut self.quoted);
    }

    /// What is told beside the choice: quotes whoever is needed for it.
    pub(super) fn ends(mut self, mut best: Best) -> (Best, Ends, Rejected) {
        let chosen = best.quoted.first().map_or(Usd::ZERO, |chosen| chosen.quote.expected);
        self.quote_all(&mut best, |least, (input, output)| Usd::from_pico(least.cold(input, output).into()) < chosen);
        let adequate = best.quoted.len() + self.ahead.len();
        let expected = |candidates: &[Candidate]| candidates.iter().map(|candidate| candidate.quote.expected).collect::<Vec<_>>();
        let cheapest = expected(&best.quoted).into_iter().min().unwrap_or(Usd::ZERO);
        let mut highest = expected(&best.quoted).into_iter().max().unwrap_or(Usd::ZERO);
        let mut rest: Vec<Ahead> = self.ahead.drain().map(|Reverse(ahead)| ahead).collect();
        while let Some(place) = (0..rest.len()).max_by_key(|place| rest[*place].most) {
            let dearest = rest.swap_remove(place);
            if Usd::from_pico(dearest.most.into()) < highest {
                break;
            }
            self.quote(dearest.backend);
            highest = self.quoted.last().map_or(highest, |candidate| highest.max(candidate.quote.expected));
        }
        let all = best.quoted.iter().chain(&self.quoted).filter(|candidate| candidate.quote.expected == highest);
        let dearest = all.min_by_key(|candidate| self.standing(candidate)).copied();
        best.quoted.truncate(best.sure);
        (best, Ends { adequate, cheapest, dearest }, self.rejected)
    }

    fn quote(&mut self, index: BackendIndex) {
        match self.candidate(self.facts.snapshot.backend(index)) {
            Ok(candidate) => self.quoted.push(candidate),
            Err(unfit) => self.rejected.push(index, unfit),
        }
    }

    fn candidate(&mut self, backend: &Backend) -> Result<Candidate, Unfit> {
        let quote = self.quoter.quote(backend)?;
        affordable(&quote, self.needs.max_price)?;
        let health = self.facts.health_of(backend);
        available(health)?;
        let tokens = quote.usage.input() + quote.usage.output;
        let ruling = self.facts.caps.on(backend.provider);
        let weighing = Weighing {
            expected: quote.expected,
            floor: self.floor,
            odds: Odds::of(&health, tokens, self.facts.ask.deadline_ms),
            wait: health.wait,
            price: price_risk::premium(&quote, backend, self.facts),
            penalty: ruling.penalty,
            prepaid: quote.prepaid,
        };
        let candidate = Candidate { backend: backend.index, provider: backend.provider, quote, score: self.score(&weighing) };
        if !self.facts.caps.all().is_empty() {
            self.compare_uncapped(&weighing, ruling, &candidate);
        }
        self.open(&ruling).map(|()| candidate)
    }

    /// Refuses who is inside a closed cap.
    fn open(&self, ruling: &Ruling) -> Result<(), Unfit> {
        let Some(place) = ruling.closed else { return Ok(()) };
        let cap = &self.facts.caps.all()[usize::from(place)];
        Err(Unfit::OverShare { by: cap.by, share: cap.share(), percent: cap.percent })
    }

    fn score(&self, weighing: &Weighing) -> Score {
        Score::of(weighing, self.needs.prefer, self.facts.settings.risk_weight_percent)
    }

    /// Remembers the best one as if there were no caps.
    fn compare_uncapped(&mut self, weighing: &Weighing, ruling: Ruling, candidate: &Candidate) {
        let score = self.score(&Weighing { penalty: 0, ..*weighing });
        let candidate = Candidate { score, ..*candidate };
        let better = |best: &Uncapped| self.standing(&candidate) < self.standing(&best.candidate);
        if self.uncapped.as_ref().is_none_or(better) {
            self.uncapped = Some(Uncapped { candidate, ruling });
        }
    }

    pub(super) fn standing(&self, candidate: &Candidate) -> Standing {
        let row = self.facts.board.row(candidate.backend);
        Standing::of(&candidate.score, row.quality, row.by_id)
    }
}

/// What a decision tells beside its choice.
pub(super) struct Ends {
    pub(super) adequate: usize,
    pub(super) cheapest: Usd,
    pub(super) dearest: Option<Candidate>,
}

/// Which of the backends may be asked at all.
struct Asked<'a> {
    facts: &'a Facts<'a>,
    /// A model or a backend was named: nobody looked whether it can be asked.
    named: bool,
    /// By the provider's index; absent where everybody is permitted.
    verdicts: Option<Vec<Result<(), Unfit>>>,
}

impl<'a> Asked<'a> {
    fn by(facts: &'a Facts<'a>, needs: &Needs, named: bool) -> Self {
        let verdict = |provider: &Provider| permitted(provider, needs, facts);
        let verdicts = (!anybody(needs, facts)).then(|| facts.snapshot.providers().iter().map(verdict).collect());
        Self { facts, named, verdicts }
    }

    fn permits(&self, row: &Row) -> Result<(), Unfit> {
        if self.named {
            let provider = self.facts.snapshot.provider(row.provider);
            barred(self.facts.snapshot.backend(row.index), provider, self.facts.usable.availability_of(provider))?;
        }
        self.verdicts.as_ref().map_or(Ok(()), |verdicts| verdicts[row.provider.0 as usize])
    }
}

/// Whether no bound says who may be first: a maximum excludes whom only a quote tells, and waits are no cost.
fn says_nothing(needs: &Needs) -> bool {
    needs.max_cost.is_some() || needs.max_price.is_some() || needs.prefer == Preference::Fastest
}

/// The bounds on a backend's cost, where there are any: none where something else than its price may bear the request, nor
/// where a closed cap wants it compared with who is chosen.
fn bounds<'b>(row: &'b Row, facts: &Facts<'_>) -> Option<&'b PriceBounds> {
    let Price::Bounded(bounds) = &row.price else { return None };
    let free = row.has_quotas && !facts.allowances.free.is_empty();
    let borne = || free || facts.allowances.to_be_used(row.provider).is_some() || facts.affinity.warm_at(row.index).is_some();
    let closed = || !facts.caps.all().is_empty() && facts.caps.on(row.provider).closed.is_some();
    (!bounds.loose && !borne() && !closed()).then_some(bounds)
}

/// All tokens of the request, whoever answers it: by the commonest tokenizer, without thinking.
fn any_tokens(facts: &Facts<'_>) -> Tokens {
    let OutputForecast { plain, thinking: _ } = facts.expected_output;
    facts.input.of(TokenizerFamily::O200k).expected() + facts.ask.output_bound.map_or(plain, |bound| plain.min(bound))
}

/// Whether a million tokens in the request's own mix cost no more than they may.
fn affordable(quote: &Quote, max: Option<Usd>) -> Result<(), Unfit> {
    let Some(max) = max else { return Ok(()) };
    let tokens = (quote.usage.input() + quote.usage.output).get().max(1);
    let price = Usd::from_pico(quote.expected.pico().saturating_mul(1_000_000) / i128::from(tokens));
    if price > max { Err(Unfit::PriceAboveMax { price, max }) } else { Ok(()) }
}
