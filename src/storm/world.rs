//! What outlives a gateway's life: the disk, the store, what the providers served, what the clients saw. And the one place that
//! everything passes that happens: there budgets are looked at, and there the gateway dies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::StormClock;
use super::dice::Dice;
use super::scene::Scene;
use crate::clock::{Clock, SharedClock};
use crate::ledger::IN_FLIGHT_TOKENS;
use crate::ledger::stepped::{MemoryDisk, MemoryStore};
use crate::policy::{Budget, BudgetReport};
use crate::telemetry::Metrics;
use crate::units::{BackendId, RequestId, Usage, Usd};

/// Tokens that a provider makes before it notices that nobody listens; with the largest piece of a stream no more than the margin
/// allows for.
const MOST_IN_FLIGHT: u64 = IN_FLIGHT_TOKENS - 64;

/// Everything that outlives a life.
pub(super) struct World {
    pub(super) scene: Scene,
    pub(super) clock: Arc<StormClock>,
    pub(super) disk: Arc<MemoryDisk>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) served: Mutex<Vec<Served>>,
    pub(super) seen: Mutex<BTreeMap<u64, Seen>>,
    pub(super) ends: Mutex<Vec<Ended>>,
    /// Promises that were broken.
    pub(super) broken: Mutex<Vec<String>>,
    trace: Option<Mutex<Vec<String>>>,
}

/// What a provider did for one call, and what it bills.
#[derive(Debug, Clone)]
pub(super) struct Served {
    /// The request it was for,
    pub(super) number: u64,
    /// in which life of the gateway.
    pub(super) life: usize,
    pub(super) backend: BackendId,
    pub(super) at: Duration,
    pub(super) kind: Kind,
    /// The truth of the input.
    pub(super) input: u64,
    pub(super) cached: u64,
    /// Tokens that it made and sent.
    pub(super) made: u64,
    /// Tokens that it would have made yet.
    pub(super) rest: u64,
    /// The gateway has not gone yet, or died.
    pub(super) open: bool,
    /// The last report that it sent.
    pub(super) told: Option<Usage>,
    /// The most output that it was asked for.
    pub(super) bound: u64,
}

/// What became of a call, as its provider knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It never arrived.
    Unreached,
    /// It was refused, for nothing.
    Refused,
    /// It arrived, and no answer began: nobody can know what is billed.
    Silent,
    /// It came as a whole, and broke or was no answer: the same.
    Spoilt,
    /// An answer began.
    Answered,
}

/// What a client saw of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) life: usize,
    pub(super) id: Option<RequestId>,
    /// Pieces of an answer that it got.
    pub(super) pieces: u64,
    /// The answer came whole.
    pub(super) whole: bool,
    pub(super) cost: Option<Usd>,
    /// Why it got none.
    pub(super) error: Option<String>,
    pub(super) at: Duration,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended {
    pub(super) crashed: bool,
    /// When the last write began that the disk took whole,
    pub(super) written_at: Duration,
    /// and of those the last that was synced too.
    pub(super) synced_at: Duration,
    /// Power was lost, and not every write was synced.
    pub(super) forgets: bool,
}

impl Ended {
    /// What happened before this is on the disk.
    pub(super) fn safe_until(&self) -> Duration {
        if self.forgets { self.synced_at } else { self.written_at }
    }
}

impl World {
    pub(super) fn of(scene: Scene, traced: bool) -> Arc<Self> {
        // Some minutes before midnight, so that windows turn.
        let origin = Timestamp::from_second(1_795_823_000 + i64::try_from(scene.seed % 900).unwrap()).unwrap();
        Arc::new(Self {
            scene,
            clock: Arc::new(StormClock::starting_at(origin)),
            disk: Arc::default(),
            store: Arc::default(),
            // Registering everything takes longer than some lives.
            metrics: Arc::new(Metrics::new([]).unwrap()),
            served: Mutex::default(),
            seen: Mutex::default(),
            ends: Mutex::default(),
            broken: Mutex::default(),
            trace: traced.then(Mutex::default),
        })
    }

    pub(super) fn shared_clock(&self) -> SharedClock {
        Arc::<StormClock>::clone(&self.clock)
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Writes a line of the trace, where one is wanted.
    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.lock().unwrap().push(format!("{:>9.3} ms  {}", self.now().as_secs_f64() * 1e3, line()));
        }
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| trace.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Notes a broken promise.
    pub(super) fn breaks(&self, what: String) {
        self.say(|| format!("BROKEN: {what}"));
        self.broken.lock().unwrap().push(what);
    }

    /// Notes a new call and answers its place.
    pub(super) fn serve(&self, served: Served) -> usize {
        let mut all = self.served.lock().unwrap();
        all.push(served);
        all.len() - 1
    }

    pub(super) fn change(&self, place: usize, change: impl FnOnce(&mut Served)) {
        change(&mut self.served.lock().unwrap()[place]);
    }

    /// What the providers of a life that ended in the middle of answers went on to make until they noticed.
    pub(super) fn provide_in_flight(&self, life: usize, dice: &mut Dice) {
        for served in self.served.lock().unwrap().iter_mut().filter(|served| served.life == life && served.open) {
            let more = dice.between(0, MOST_IN_FLIGHT).min(served.rest);
            (served.made, served.open) = (served.made + more, false);
        }
    }

    pub(super) fn saw(&self, number: u64, change: impl FnOnce(&mut Seen)) {
        let now = self.now();
        let mut seen = self.seen.lock().unwrap();
        let entry = seen.entry(number).or_default();
        entry.at = now;
        change(entry);
    }
}

/// One life of the gateway, as far as the storm looks at it.
pub(super) struct Alive {
    pub(super) world: Arc<World>,
    pub(super) number: usize,
    pub(super) began_at: Timestamp,
    /// Everybody's.
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) dead: CancellationToken,
    /// Something happened: there may be something to write.
    pub(super) stirred: Notify,
    events: AtomicU64,
    /// The disk takes nothing.
    pub(super) hangs: AtomicBool,
    /// How the budgets stood when they were looked at.
    known: Mutex<Vec<Option<(Usd, Usd)>>>,
}

impl Alive {
    pub(super) fn new(world: &Arc<World>, number: usize, budgets: Vec<Arc<Budget>>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            number,
            began_at: world.clock.wall(),
            known: Mutex::new(vec![None; budgets.len()]),
            budgets,
            dead: CancellationToken::new(),
            stirred: Notify::new(),
            events: AtomicU64::new(0),
            hangs: AtomicBool::new(false),
        })
    }

    /// Something happens. Does not return where it is the last thing that happens in this life.
    pub(super) async fn event(&self, line: impl FnOnce() -> String) {
        self.world.say(line);
        self.look();
        self.stirred.notify_one();
        let number = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let planned = &self.world.scene.lives[self.number];
        if planned.hangs_at == Some(number) {
            self.world.say(|| "the disk hangs from here on".to_owned());
            self.hangs.store(true, Ordering::Relaxed);
        }
        if planned.end.fatal() == Some(number) {
            self.world.say(|| "the gateway dies".to_owned());
            self.dead.cancel();
        }
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    /// No budget is exceeded, by what is settled and held together. Where somebody reports more than was held, it may be.
    fn look(&self) {
        if !self.world.scene.honest {
            return;
        }
        let (now, mut known) = (self.world.clock.wall(), self.known.lock().unwrap());
        for (budget, known) in self.budgets.iter().zip(known.iter_mut()) {
            // Windows are slow to compute, and time alone makes none fuller.
            let before = known.replace(budget.standing());
            if before != *known {
                self.look_at(&budget.report(now));
            }
        }
    }

    fn look_at(&self, reports: &[BudgetReport]) {
        for report in reports {
            if report.spent + report.held > report.limit {
                self.world.breaks(format!("a budget is exceeded: {report:?}"));
            }
        }
    }
}
