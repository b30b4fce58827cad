//! What the backends of the table would answer, and what each answer costs: the truth that a policy may only guess at.
//!
//! Real are the backends, their dated prices with hours and cells, the exchange rates and the arithmetic: the same
//! [`PriceSchedule::pricing`](crate::catalog::PriceSchedule::pricing) and [`Pricing::cost`] that settle an attempt. Drawn
//! are:
//! - the length of an answer: by kind of task, from the lengths of published answers (the project's routing data, 2026-11-22:
//!   characters, at 4.2 to a token), times how wordy the model is (the spread of 40 models there), times chance;
//! - reasoning: judgement, as nobody published its lengths; three of four switchable models think unless told otherwise;
//! - caches: a backend that has read a session's turn within its provider's lifetime bills that prefix at its cache price,
//!   mostly nearly all of it, in one of ten cases none. Lifetimes and least lengths are the table's. Nothing is billed for
//!   writing: that is asked of requests that mark what to cache, and none here does;
//! - failures: each provider fails some requests, and has bad hours. A failure costs time and no money.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::draw::{ONE, Quantiles, Seed};
use super::texts::ByFamily;
use super::workload::{Task, Turn};
use crate::canonical::ReasoningWish;
use crate::catalog::{Backend, BackendIndex, PriceRow, Provider, Purchase, Reasoning, Snapshot};
use crate::route::{Availability, BoardInForce, Settings, Usable};
use crate::units::{Cell, Course, ExchangeRate, Pricing, Thinking, Tokens, Usage, Usd};

/// Seconds that a failed attempt takes.
pub const FAILURE_SECONDS: u64 = 3;
/// Milliseconds to the first token, and tokens in a second after it.
const FIRST_TOKEN_MS: u64 = 800;
const TOKENS_PER_SECOND: u64 = 60;

/// Visible tokens of chat answers and summaries (`alpaca_v1`, `alpaca_v2`: 12,908 answers).
const CHAT: Quantiles =
    Quantiles(&[(0, 15), (5, 24), (10, 50), (25, 128), (50, 285), (75, 445), (90, 645), (95, 770), (99, 1050), (100, 1600)]);
/// Of answers in JSON (`gsm8k`, `cruxeval`: 64,225 answers with their steps).
const STRUCTURED: Quantiles =
    Quantiles(&[(0, 40), (5, 64), (10, 76), (25, 98), (50, 128), (75, 168), (90, 218), (95, 262), (99, 395), (100, 900)]);
/// Of worked answers (`math_l5`: 18,953 answers).
const WORKED: Quantiles =
    Quantiles(&[(0, 70), (5, 108), (10, 130), (25, 174), (50, 244), (75, 360), (90, 540), (95, 810), (99, 2550), (100, 4000)]);
/// Of an agent's turns, mostly calls of tools: judgement.
const CALLS: Quantiles = Quantiles(&[(0, 15), (10, 25), (25, 45), (50, 85), (75, 160), (90, 350), (99, 1200), (100, 2000)]);
/// Reasoning: judgement.
const REASONING: Quantiles =
    Quantiles(&[(0, 40), (10, 120), (25, 300), (50, 750), (75, 1700), (90, 3400), (99, 9000), (100, 16_000)]);
/// How wordy a model is, in thousandths (the medians of 40 models over the median of all).
const WORDINESS: Quantiles = Quantiles(&[(0, 540), (10, 740), (25, 830), (50, 990), (75, 1180), (90, 1520), (100, 1850)]);

/// A table, its truth, and who can be asked.
#[derive(Debug)]
pub struct World {
    /// The table, with what costs nothing switched off.
    pub snapshot: Snapshot,
    pub usable: Usable,
    pub board: BoardInForce,
    pub settings: Settings,
    seed: Seed,
    /// Failures by provider, in millionths.
    failing: Vec<u64>,
}

/// What a backend would answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub backend: BackendIndex,
    pub input: u64,
    pub output: u64,
    pub reasoning: u64,
    pub thinking: Thinking,
    /// How much of a warm prefix the provider gives back, in millionths.
    hit: u64,
    /// Shorter prefixes are not cached.
    least_cached: u64,
    pub course: Course,
    pub pricing: Pricing,
    pub rate: ExchangeRate,
}

impl Answer {
    /// What it uses with a prefix of so many tokens warm.
    pub fn usage(&self, warm: u64) -> Usage {
        let cached = if warm < self.least_cached { 0 } else { warm.min(self.input) * self.hit / ONE };
        Usage {
            cache_read: Tokens::new(cached),
            reasoning: Tokens::new(self.reasoning),
            ..Usage::fresh(Tokens::new(self.input - cached), Tokens::new(self.output))
        }
    }

    /// What it is billed at, in dollars at the rate of its day.
    pub fn cost(&self, warm: u64) -> Usd {
        self.cost_of(&self.usage(warm), self.thinking, self.course)
    }

    /// What another usage would have been billed at, on another course.
    pub fn cost_of(&self, usage: &Usage, thinking: Thinking, course: Course) -> Usd {
        let billed = self.pricing.cost(usage, thinking, course);
        self.rate.convert(billed.amount).unwrap_or(Usd::MAX)
    }
}

impl World {
    /// The world of a seed. Every provider has its key, but for the operator's own machines; and no backend is asked that
    /// costs nothing at some time: what vendors give away is bounded by quotas that no table tells.
    pub fn new(table: &Snapshot, settings: Settings, seed: Seed) -> Self {
        let snapshot = without_free(table);
        let sells = |provider: &Provider| provider.jurisdiction != "local";
        let availability = |provider| if sells(provider) { Availability::Ready } else { Availability::NoKey };
        let usable = Usable::of(&snapshot, snapshot.providers().iter().map(availability).collect());
        let rate = |provider: &Provider| seed.named("failing").named(&provider.id).draws().between(1_000, 25_000);
        let failing = snapshot.providers().iter().map(rate).collect();
        Self { snapshot, usable, board: BoardInForce::default(), settings, seed, failing }
    }

    /// Whether what a backend has read at one instant is still cached at another.
    pub fn is_warm(&self, backend: BackendIndex, read: Timestamp, at: Timestamp) -> bool {
        let rules = self.snapshot.provider_of(self.snapshot.backend(backend)).cache;
        at.duration_since(read) <= SignedDuration::from_secs(i64::from(rules.lifetime_seconds))
    }

    /// Whether the provider of a backend fails a request.
    pub fn fails(&self, turn: &Turn, backend: BackendIndex) -> bool {
        let provider = self.snapshot.provider_of(self.snapshot.backend(backend));
        let rate = self.failing.get(provider.index.0 as usize).copied().unwrap_or(0);
        let hour = u64::try_from(turn.at.as_second() / 3600).unwrap_or(0);
        let seed = self.seed.named("fails").named(&provider.id);
        // One hour of three hundred is a bad one, in which most requests fail.
        let bad = seed.named("hour").numbered(hour).share() < ONE / 300;
        seed.numbered(turn.number).share() < if bad { 9 * ONE / 10 } else { rate }
    }

    /// What a backend would answer. `None` where it has no price or no exchange rate then.
    pub fn answer(&self, turn: &Turn, index: BackendIndex) -> Option<Answer> {
        let backend = self.snapshot.backend(index);
        let longest = SignedDuration::try_from(self.settings.longest).unwrap_or(SignedDuration::MAX);
        let pricing = backend.prices.pricing(Purchase::default(), turn.at, turn.at.saturating_add(longest).ok()?)?;
        let rate = self.snapshot.fx.at(pricing.currency(), turn.at)?;
        let (output, reasoning, thinking) = self.output(turn, backend);
        let took = FIRST_TOKEN_MS + output * 1000 / TOKENS_PER_SECOND;
        let completed = turn.at.saturating_add(SignedDuration::from_millis(i64::try_from(took).ok()?)).ok()?;
        Some(Answer {
            backend: index,
            input: turn.input[backend.tokenizer as usize],
            output,
            reasoning,
            thinking,
            hit: self.hit(turn, backend),
            least_cached: self.snapshot.provider_of(backend).cache.minimum.get(),
            course: Course { arrived: turn.at, completed: Some(completed) },
            pricing,
            rate,
        })
    }

    /// All output, how much of it is reasoning, and whether it thought.
    fn output(&self, turn: &Turn, backend: &Backend) -> (u64, u64, Thinking) {
        let of_turn = self.seed.named("length").numbered(turn.number);
        let of_model = self.seed.named("model").named(&backend.model);
        let chance = |word: &str| 850 + of_turn.named(word).named(&backend.model).draws().below(300);
        let yardstick = lengths(turn.task).at(of_turn.share()) * WORDINESS.at(of_model.named("words").share()) / 1000;
        let counted = |tokens: u64| tokens * turn.words[backend.tokenizer as usize] / 1000;
        let visible = counted(yardstick * chance("said") / 1000).max(1);
        let thinks = self.thinks(turn, backend);
        let wordy = WORDINESS.at(of_model.named("thoughts").share());
        let thought = REASONING.at(of_turn.named("thoughts").share()) * wordy / 1000 * effort(turn.task) / 100;
        let reasoning = if thinks { counted(thought * chance("thought") / 1000) } else { 0 };
        let bound = turn.request.output_bound.map_or(u64::MAX, Tokens::get).min(backend.limits.max_output.get());
        let output = (visible + reasoning).min(bound.max(1));
        (output, reasoning.min(output), if thinks { Thinking::On } else { Thinking::Off })
    }

    fn thinks(&self, turn: &Turn, backend: &Backend) -> bool {
        match (backend.reasoning, turn.request.reasoning) {
            (Reasoning::Never, _) | (Reasoning::Switchable, ReasoningWish::Off) => false,
            (Reasoning::Always, _) | (Reasoning::Switchable, ReasoningWish::On) => true,
            (Reasoning::Switchable, ReasoningWish::Unsaid) => {
                self.seed.named("thinks").named(&backend.model).share() < 3 * ONE / 4
            }
        }
    }

    fn hit(&self, turn: &Turn, backend: &Backend) -> u64 {
        let mut draws = self.seed.named("hit").numbered(turn.number).named(backend.id.as_str()).draws();
        if draws.percent(10) { 0 } else { draws.between(850_000, ONE) }
    }
}

/// The table with every backend switched off that costs nothing at some time. All keep their places.
fn without_free(table: &Snapshot) -> Snapshot {
    let free = |row: &PriceRow| {
        let price = |cell: &Cell| cell.tariff.dearest_input().pico() + cell.tariff.dearest_output().pico();
        row.list().cells().iter().all(|cell| price(cell) == 0)
    };
    let mut backends = table.backends().to_vec();
    for backend in backends.iter_mut().filter(|backend| backend.prices.rows().iter().any(free)) {
        backend.disabled = Some("free of charge".to_owned());
    }
    let mut all = Snapshot::new(table.version.clone(), table.providers().to_vec(), backends, table.fx.clone());
    all.calendars.clone_from(&table.calendars);
    all
}

/// Visible tokens of an answer by the yardstick.
const fn lengths(task: Task) -> Quantiles {
    match task {
        Task::Chat | Task::Document => CHAT,
        Task::Extraction => STRUCTURED,
        Task::Code => WORKED,
        Task::Agent => CALLS,
    }
}

/// How much is thought about a task, in per cent.
const fn effort(task: Task) -> u64 {
    match task {
        Task::Extraction | Task::Agent => 40,
        Task::Chat => 70,
        Task::Document => 100,
        Task::Code => 160,
    }
}

/// What each backend has read of one session: the prompt's tokens by family, and when.
#[derive(Debug, Clone, Default)]
pub struct Caches(BTreeMap<BackendIndex, (Timestamp, ByFamily)>);

impl Caches {
    /// How many tokens of a session's prompt a backend has still cached at an instant.
    pub fn warm(&self, world: &World, backend: BackendIndex, at: Timestamp) -> u64 {
        let read = self.0.get(&backend).filter(|(read, _)| world.is_warm(backend, *read, at));
        read.map_or(0, |(_, tokens)| tokens[world.snapshot.backend(backend).tokenizer as usize])
    }

    pub fn read(&mut self, backend: BackendIndex, turn: &Turn) {
        self.0.insert(backend, (turn.at, turn.input));
    }
}
