//! Who of a table may be among the first, and their quotes in exact money.
//!
//! One pass over the [`Board`](super::board::Board) parts the adequate from the others and bounds what each costs from
//! below. Then they are quoted in the order of these bounds, until the best that are asked for are sure: a score is no less
//! than its expected cost ([`score`](super::score)), so whoever is not quoted yet scores no better than its bound. Of two
//! hundred adequate backends ten are quoted. Where a bound says nothing (a warm prompt, a free quota, a balance, a maximum
//! cost, a preference for speed), the backend is quoted in any case; and where all of them are to be explained, all are.
//! What is found is the same either way.

use super::adequate::{Rules, Unfit, available, barred, says_all};
use super::ahead::{Ahead, Queue};
use super::board::{Price, Rates, Row};
use super::caps::Ruling;
use super::facts::{Facts, OutputForecast};
use super::needs::Needs;
use super::permit::{anybody, may_have, permitted};
use super::plan::Candidate;
use super::price_risk;
use super::quote::{Quote, Quoter};
use super::risk::Odds;
use super::score::{Score, Standing, Weighing};
use super::screen::{Screen, Wanted};
use super::sizes::Sizes;
use super::usable::Rejected;
use crate::canonical::Preference;
use crate::catalog::{Backend, BackendIndex, Provider, ProviderIndex, TokenizerFamily};
use crate::units::{Tokens, Usd};

/// How far a plan looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Until so many of the best are sure, and so many providers to attempt; where there are fewer providers, so many backends.
    First { candidates: usize, attempts: usize },
    /// At everybody.
    All,
}

/// So many backends are quoted for most decisions, or fewer.
const FEW: usize = 16;

/// Parts the adequate from the others, and knows the best of them.
pub(super) struct Sieve<'a> {
    facts: &'a Facts<'a>,
    needs: &'a Needs,
    /// Absent where the request is too long for small numbers: then all are quoted.
    sizes: Option<Sizes<'a>>,
    pub(super) quoter: Quoter<'a>,
    ahead: Queue,
    /// In the order in which they were quoted.
    quoted: Vec<Candidate>,
    /// How each of those stands.
    standings: Vec<Standing>,
    /// The best of each provider among them.
    heads: Vec<(ProviderIndex, Standing)>,
    /// Providers that have somebody who is adequate, until there are as many as attempts.
    providers: Vec<ProviderIndex>,
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
        let (considered, refused_before) = match facts.target.backends(facts.snapshot) {
            None => (facts.usable.ready(), Some(facts.usable.barred())),
            Some(meant) => (meant, None),
        };
        let asked = Asked::by(facts, needs, refused_before.is_none());
        let few = FEW.min(considered.len());
        let mut sieve = Self {
            facts,
            needs,
            sizes: Sizes::of(facts, needs),
            quoter: Quoter::new(facts, needs),
            ahead: Queue::default(),
            quoted: Vec::with_capacity(few),
            standings: Vec::with_capacity(few),
            heads: Vec::with_capacity(few),
            providers: Vec::with_capacity(few),
            rejected: Rejected::beside(refused_before, look == Look::All),
            uncapped: None,
            floor: price_risk::floor(any_tokens(facts)),
        };
        sieve.part(considered, &asked, look);
        sieve
    }

    /// Refuses whom a rule excludes, and bounds the others.
    fn part(&mut self, considered: &[BackendIndex], asked: &Asked<'_>, look: Look) {
        let (facts, needs) = (self.facts, self.needs);
        let bounded = look != Look::All && !says_nothing(needs);
        let (wanted, rules, price_alone) = (Wanted::of(needs), Rules::of(needs), nothing_else_bears(facts));
        let anybody = asked.anybody();
        // What is not marked to be cached is not expected to be written.
        let marked = facts.affinity.marked > 0;
        let mut ahead = Vec::with_capacity(considered.len());
        for index in considered {
            if !anybody && let Err(unfit) = asked.permits(facts.board.row(*index)).and_then(|()| asked.says_all(*index, &rules)) {
                self.rejected.push(*index, unfit);
                continue;
            }
            let screen = facts.board.screen(*index);
            let why = || rules.judge(facts.board.row(*index), facts.input.at(*index, screen.tokenizer).upper()).err();
            let broken = match &self.sizes {
                Some(sizes) => wanted.broken(screen, sizes.input(screen, *index).upper),
                None => why().map(Unfit::rule),
            };
            debug_assert_eq!(broken, why().map(Unfit::rule), "{index:?}");
            if let Some(rule) = broken {
                self.rejected.refuse(*index, rule, why);
                continue;
            }
            let says = bounded && (price_alone || is_borne_by_price(*index, screen, facts));
            let sizes = self.sizes.as_ref().filter(|_| says);
            let costs =
                |sizes: &Sizes<'_>| screen.costs(sizes.input(screen, *index).expected, sizes.output(screen, *index), marked);
            let Some((least, most)) = sizes.and_then(costs) else {
                self.quote(*index);
                continue;
            };
            match self.healthy(*index) {
                Ok(()) => {
                    self.has(screen.provider, look);
                    ahead.push(Ahead::new(screen, least, most));
                }
                Err(unfit) => self.rejected.push(*index, unfit),
            }
        }
        self.ahead = Queue::of(ahead);
        for place in 0..self.heads.len() {
            self.has(self.heads[place].0, look);
        }
    }

    /// Remembers that a provider has somebody who is adequate, as far as that is of interest.
    #[inline]
    fn has(&mut self, provider: ProviderIndex, look: Look) {
        if let Look::First { attempts, .. } = look
            && self.providers.len() < attempts
            && !self.providers.contains(&provider)
        {
            self.providers.push(provider);
        }
    }

    fn healthy(&self, BackendIndex(n): BackendIndex) -> Result<(), Unfit> {
        self.facts.health.get(n as usize).map_or(Ok(()), |health| available(*health))
    }

    /// The best, as far as one looks.
    pub(super) fn best(&mut self, look: Look) -> Best {
        while let Some(next) = self.ahead.peek() {
            let row = self.facts.board.by_id(next.by_id());
            if self.is_sure(&next.at_best(row), look) {
                break;
            }
            self.ahead.take();
            self.quote(row.index);
        }
        let mut quoted = std::mem::take(&mut self.quoted);
        quoted.sort_by_cached_key(|candidate| self.standing(candidate));
        let sure = match self.ahead.peek() {
            Some(next) => {
                let bound = next.at_best(self.facts.board.by_id(next.by_id()));
                quoted.partition_point(|candidate| self.standing(candidate) < bound)
            }
            None => quoted.len(),
        };
        Best { quoted, sure }
    }

    /// Whether nobody who stands no better than `bound` can still be among the first.
    fn is_sure(&self, bound: &Standing, look: Look) -> bool {
        let Look::First { candidates, attempts } = look else { return false };
        // Where there are fewer providers than attempts, further backends of theirs are attempted.
        let candidates = if self.providers.len() < attempts { candidates.max(attempts) } else { candidates };
        let better = |standing: &Standing| standing < bound;
        let heads = attempts.min(self.providers.len());
        self.standings.len() >= candidates
            && self.heads.len() >= heads
            && self.uncapped.as_ref().is_none_or(|best| better(&self.standing(&best.candidate)))
            && self.heads.iter().filter(|(_, head)| better(head)).count() >= heads
            && self.standings.iter().filter(|standing| better(standing)).count() >= candidates
    }

    /// Quotes whoever else may be cheaper than `least` says over something that no single score tells.
    pub(super) fn quote_all(&mut self, best: &mut Best, may_be_better: impl Fn(&Rates, (Tokens, Tokens)) -> bool) {
        let (board, Some(sizes)) = (self.facts.board, &self.sizes) else { return best.quoted.append(&mut self.quoted) };
        let taken = self.ahead.take_all(|ahead| {
            let row = board.by_id(ahead.by_id());
            let screen = board.screen(row.index);
            let input = || Tokens::new(sizes.input(screen, row.index).expected.into());
            let tokens = || (input(), Tokens::new(sizes.output(screen, row.index)));
            matches!(&row.price, Price::Bounded(bounds) if may_be_better(&bounds.least, tokens()))
        });
        for ahead in taken {
            self.quote(board.by_id(ahead.by_id()).index);
        }
        best.quoted.append(&mut self.quoted);
    }

    /// What is told beside the choice: quotes whoever is needed for it.
    pub(super) fn ends(mut self, mut best: Best) -> (Best, Ends, Rejected) {
        let chosen = best.quoted.first().map_or(Usd::ZERO, |chosen| chosen.quote.expected);
        while let Some(cheaper) = self.ahead.peek().filter(|next| next.at_least() < chosen) {
            self.ahead.take();
            self.quote(self.facts.board.by_id(cheaper.by_id()).index);
        }
        best.quoted.append(&mut self.quoted);
        let adequate = best.quoted.len() + self.ahead.len();
        let expected = || best.quoted.iter().map(|candidate| candidate.quote.expected);
        let cheapest = expected().min().unwrap_or(Usd::ZERO);
        let mut highest = expected().max().unwrap_or(Usd::ZERO);
        // They were counted: nobody misses the one that is not dearer.
        while let Some(dearest) = self.ahead.take_dearest().filter(|dearest| dearest.at_most() >= highest) {
            self.quote(self.facts.board.by_id(dearest.by_id()).index);
            highest = self.quoted.last().map_or(highest, |candidate| highest.max(candidate.quote.expected));
        }
        let all = best.quoted.iter().chain(&self.quoted).filter(|candidate| candidate.quote.expected == highest);
        let dearest = all.min_by_key(|candidate| self.standing(candidate)).copied();
        best.quoted.truncate(best.sure);
        (best, Ends { adequate, cheapest, dearest }, self.rejected)
    }

    fn quote(&mut self, index: BackendIndex) {
        match self.candidate(self.facts.snapshot.backend(index)) {
            Ok(candidate) => {
                let standing = self.standing(&candidate);
                match self.heads.iter_mut().find(|(provider, _)| *provider == candidate.provider) {
                    Some((_, head)) => *head = standing.min(*head),
                    None => self.heads.push((candidate.provider, standing)),
                }
                self.standings.push(standing);
                self.quoted.push(candidate);
            }
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
    /// By the provider's index; absent where everybody is permitted, with every model.
    verdicts: Option<Vec<Result<(), Unfit>>>,
}

impl<'a> Asked<'a> {
    fn by(facts: &'a Facts<'a>, needs: &Needs, named: bool) -> Self {
        let verdict = |provider: &Provider| permitted(provider, needs, facts);
        let verdicts = (!anybody(needs, facts)).then(|| facts.snapshot.providers().iter().map(verdict).collect());
        Self { facts, named, verdicts }
    }

    /// Whether everybody who is looked at may be asked.
    const fn anybody(&self) -> bool {
        !self.named && self.verdicts.is_none()
    }

    fn permits(&self, row: &Row) -> Result<(), Unfit> {
        if self.named {
            let provider = self.facts.snapshot.provider(row.provider);
            barred(self.facts.snapshot.backend(row.index), provider, self.facts.usable.availability_of(provider))?;
        }
        let Some(verdicts) = &self.verdicts else { return Ok(()) };
        verdicts[row.provider.0 as usize]?;
        may_have(self.facts.snapshot.backend(row.index), self.facts.limits)
    }
}

impl Asked<'_> {
    /// Refuses who leaves out what must not be, unless a rule of the table refuses it anyway.
    fn says_all(&self, index: BackendIndex, rules: &Rules<'_>) -> Result<(), Unfit> {
        let row = self.facts.board.row(index);
        says_all(index, self.facts).or_else(|unfit| {
            let able = rules.judge(row, self.facts.input.at(index, row.tokenizer).upper()).is_ok();
            if able { Err(unfit) } else { Ok(()) }
        })
    }
}

/// Whether no bound says who may be first: a maximum excludes whom only a quote tells, and waits are no cost.
fn says_nothing(needs: &Needs) -> bool {
    needs.max_cost.is_some() || needs.max_price.is_some() || needs.prefer == Preference::Fastest
}

/// Whether each request is borne by its price, by a cold prompt, and no cap is closed to be compared with.
fn nothing_else_bears(facts: &Facts<'_>) -> bool {
    let allowances = facts.allowances;
    let sealed = facts.affinity.session.as_ref().is_some_and(|session| session.sealed);
    let plain = !sealed && allowances.free.is_empty() && allowances.prepaid.is_empty();
    plain && facts.affinity.warm.is_empty() && facts.caps.all().is_empty()
}

/// Whether nothing but its price bears what a backend costs: no quota, no balance, no warm prompt, no seal that it alone can read, nor a
/// closed cap that wants it compared with who is chosen.
fn is_borne_by_price(index: BackendIndex, screen: &Screen, facts: &Facts<'_>) -> bool {
    let free = screen.has_quotas && !facts.allowances.free.is_empty();
    let paid = || facts.allowances.to_be_used(screen.provider).is_some();
    let closed = || facts.caps.on(screen.provider).closed.is_some();
    let home = || facts.affinity.session.as_ref().is_some_and(|session| session.sealed && session.home == index);
    !(free || paid() || facts.affinity.warm_at(index).is_some() || home() || closed())
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
