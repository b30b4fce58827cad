//! tokenbroker's own policy in the war: the plan that [`route::plan`](crate::route::plan()) makes, from the facts that a
//! gateway would have at that moment and no others. What it learns of an answer (its length, what the cache gave back, that
//! the conversation went on) it learns after it, by the same code as in service; it begins with nothing learned.
//!
//! In service the pipeline joins these parts (`pipeline/appraise.rs`, `pipeline/affinity.rs`); here they are joined once
//! more without its clock, metrics and books. Health is not played: failures are not foreseen; nor are
//! free quotas and prepaid balances.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::workload::{Plan as Time, Turn};
use super::world::{Answer, World};
use crate::canonical::prefix::absorb;
use crate::canonical::{Chain, Link, ReasoningWish, Request};
use crate::catalog::{Backend, BackendIndex, Snapshot};
use crate::meter::{self, Asking, Class, Estimate, Expected, Lengths, Stretch};
use crate::policy::prefixes::SUPPOSED_HIT;
use crate::policy::{Known, Prefixes, Read, Turns};
use crate::route::{
    Affinity, Allowances, Ask, Caps, Facts, InputEstimate, InputTokens, LearnedOutput, Limits, OutputFigures, OutputForecast,
    OutputStretch, Plan, PlanError, Session, Target, Warm, explained,
};
use crate::units::{KeyName, Tokens};

/// A gateway's memory.
#[derive(Debug)]
pub struct Broker {
    /// By the class's place.
    lengths: Vec<Lengths>,
    prefixes: Prefixes,
    turns: Turns,
    key: KeyName,
    begun: Timestamp,
}

impl Broker {
    /// A gateway that has just been started, with nothing learned.
    pub fn new(time: Time) -> Self {
        let seed = time.seed.named("prefixes").share();
        Self {
            lengths: Lengths::all().collect(),
            prefixes: Prefixes::new(seed),
            turns: Turns::default(),
            key: KeyName::new("war"),
            begun: time.from,
        }
    }

    /// The plan of a gateway that remembers.
    pub fn plan(&mut self, world: &World, turn: &Turn) -> Result<Arc<Plan>, PlanError> {
        let class = &mut self.lengths[Class::of(&turn.request).place()];
        let (forecast, learned) = expected(class, &turn.request, &world.snapshot, turn.at);
        let input = input(&turn.request);
        let affinity = self.affinity(world, turn, &input);
        decide(world, turn, &Guess { input, forecast, learned, affinity })
    }

    /// Learns from an answer; so much of the prompt was warm.
    pub fn answered(&mut self, world: &World, turn: &Turn, answer: &Answer, warm: u64) {
        let backend = world.snapshot.backend(answer.backend);
        let number = u16::try_from(turn.place + 1).unwrap_or(u16::MAX);
        let usage = answer.usage(warm);
        if let Some(share) = self.surely_read(world, turn, answer) {
            let known = u128::from(answer.input) * u128::from(share);
            let back = u128::from(usage.cache_read.get()) * 1_000_000_000_000 / known.max(1);
            self.prefixes.hit(&backend.id, u32::try_from(back).unwrap_or(1_000_000).min(1_000_000));
        }
        self.prefixes.remember(&self.chain(turn), &backend.id, number, self.elapsed(turn.at));
        self.turns.answered(number.into());
        let answer = meter::Answer {
            model: &backend.model,
            thinks: thinks_on(backend, &turn.request),
            output: usage.output,
            reasoning: usage.reasoning,
            choices: 1,
            cut_at: turn.request.output_bound.filter(|bound| usage.output >= *bound),
        };
        self.lengths[Class::of(&turn.request).place()].learn(&answer, second(turn.at));
    }

    /// How much of the prompt, in millionths, the backend has read so lately that its cache cannot have been emptied.
    fn surely_read(&self, world: &World, turn: &Turn, answer: &Answer) -> Option<u32> {
        let backend = world.snapshot.backend(answer.backend);
        let rules = world.snapshot.provider_of(backend).cache;
        let known = self.prefixes.look(&self.chain(turn), self.elapsed(turn.at)).read;
        let Read { share, age, .. } = known.into_iter().find(|read| read.backend == backend.id)?;
        let all = Warm::of(backend.index, Tokens::new(answer.input), share, age, rules, 1_000_000)?;
        (all.likely == all.known).then_some(share)
    }

    /// Where the prompt is warm, and the conversation that it goes on with.
    fn affinity(&self, world: &World, turn: &Turn, input: &InputEstimate) -> Affinity {
        let Known { read, last, .. } = self.prefixes.look(&self.chain(turn), self.elapsed(turn.at));
        let number = last.as_ref().map_or(1, |last| last.turn.saturating_add(1));
        let warm = |Read { backend, share, age, .. }: &Read| {
            let backend = world.snapshot.backend_named(backend.as_str())?;
            let rules = world.snapshot.provider_of(backend).cache;
            let expected = input.of(backend.tokenizer).expected();
            Warm::of(backend.index, expected, *share, *age, rules, self.prefixes.hit_rate(&backend.id))
        };
        let warm: Vec<Warm> = read.iter().filter_map(warm).collect();
        let home = last.and_then(|last| Some(world.snapshot.backend_named(last.backend.as_str())?.index));
        let home = home.filter(|home| warm.iter().any(|warm| warm.backend == *home));
        let session = home.map(|home| Session {
            sealed: false,
            home,
            turn: number.into(),
            remaining: self.turns.remaining(number.into()),
            rates: self.rates(&world.snapshot),
            rate: SUPPOSED_HIT.share,
        });
        Affinity { warm, marked: 0, session }
    }

    fn rates(&self, snapshot: &Snapshot) -> Vec<(BackendIndex, u32)> {
        let rates = self.prefixes.hit_rates().into_iter();
        let mut rates: Vec<_> = rates.filter_map(|(id, rate)| Some((snapshot.backend_named(id.as_str())?.index, rate))).collect();
        rates.sort_unstable();
        rates
    }

    /// The prompt's beginnings: there is no text to hash, but which session's they are is known.
    fn chain(&self, turn: &Turn) -> Chain {
        let session = absorb(self.prefixes.seed(&self.key), &turn.session.to_le_bytes());
        let whole = turn.bytes.last().copied().unwrap_or(1).max(1);
        let link = |(place, bytes): (u64, &u64)| Link {
            hash: absorb(session, &place.to_le_bytes()),
            share: u32::try_from(bytes * 1_000_000 / whole).unwrap_or(1_000_000),
        };
        Chain { links: (0..).zip(&turn.bytes).map(link).collect(), session: Some(session), ..Chain::default() }
    }

    fn elapsed(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.begun)).unwrap_or_default()
    }
}

/// The plan of a gateway that knows nothing but table and request: its candidates are the backends that every policy may
/// choose among.
pub fn neutral(world: &World, turn: &Turn) -> Result<Arc<Plan>, PlanError> {
    let mut nothing = Lengths::new(Class::of(&turn.request));
    let (forecast, learned) = expected(&mut nothing, &turn.request, &world.snapshot, turn.at);
    decide(world, turn, &Guess { input: input(&turn.request), forecast, learned, affinity: Affinity::default() })
}

/// What a gateway guesses of a request.
struct Guess {
    input: InputEstimate,
    forecast: OutputForecast,
    learned: LearnedOutput,
    affinity: Affinity,
}

/// The one place where facts are put together.
fn decide(world: &World, turn: &Turn, guess: &Guess) -> Result<Arc<Plan>, PlanError> {
    let whole = explained(&Facts {
        ask: &Ask::of(&turn.request),
        snapshot: &world.snapshot,
        board: &world.board.at(&world.snapshot, turn.at),
        target: &Target::Auto(None),
        input: &guess.input,
        expected_output: guess.forecast,
        learned: &guess.learned,
        limits: &Limits::default(),
        usable: &world.usable,
        health: &[],
        affinity: &guess.affinity,
        caps: &Caps::NONE,
        explore: None,
        allowances: &Allowances::default(),
        at: turn.at,
        settings: &world.settings,
    });
    whole.map(|whole| whole.plan)
}

fn input(request: &Request) -> InputEstimate {
    let estimate = Estimate::of(request);
    InputEstimate::by_family(|family| InputTokens::new(estimate.expected(family), estimate.upper(family)))
}

/// How long answers are expected to be, where nothing was learned and where something was.
fn expected(lengths: &mut Lengths, request: &Request, snapshot: &Snapshot, at: Timestamp) -> (OutputForecast, LearnedOutput) {
    let asking = Asking { bound: request.output_bound, choices: request.choices, at: second(at) };
    let [plain, thinking] = lengths.forecast(&asking).map(|expected| expected.mean);
    let mut learned = LearnedOutput::default();
    lengths.each(
        &asking,
        |_| true,
        |model, known| {
            for thinks in [false, true] {
                let its_own = |index: &&BackendIndex| {
                    let backend = snapshot.backend(**index);
                    // An alias may mean others.
                    thinks_on(backend, request) == thinks && backend.model == model
                };
                let backends = snapshot.serving(model).iter().filter(its_own).copied();
                if backends.clone().next().is_some() {
                    let Expected { mean, reasoning, p50, p90 } = known.expected(thinks);
                    let borders = snapshot.output_borders(backends.clone());
                    let spread = if borders.is_empty() { Vec::new() } else { known.spread(thinks, &borders) };
                    let stretch = |Stretch { share, mean }| OutputStretch { share, mean };
                    learned.set(backends, OutputFigures { mean, reasoning, p50, p90 }, spread.into_iter().map(stretch));
                }
            }
        },
    );
    (OutputForecast { plain, thinking }, learned)
}

/// Whether a backend is taken to think on a request.
fn thinks_on(backend: &Backend, request: &Request) -> bool {
    backend.reasoning.thinks(request.reasoning == ReasoningWish::Off)
}

fn second(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}
