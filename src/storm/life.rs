//! One life of the gateway: opened on what the last one left, asked by its clients, ended in peace or not.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::client;
use super::dice::Dice;
use super::provider::Providers;
use super::scene::{Broken, End, Fault};
use super::table;
use super::world::{Alive, Ended, World};
use crate::catalog::Snapshot;
use crate::clock::Clock;
use crate::config::{Config, ProviderKeys, Secret};
use crate::dispatch::{Dispatcher, HealthByShape, HealthSettings, Patience, RetryBudget};
use crate::feed::Feed;
use crate::frontend;
use crate::ledger::stepped::Stepped;
use crate::ledger::{ClosedAttempt, ClosedRequest, Ledger, Settings, SyncPolicy};
use crate::market::Market;
use crate::meter::Tokenizer;
use crate::meter::exact::Vocabularies;
use crate::pipeline::learning::Learning;
use crate::pipeline::{ExploreRule, InForce, Pipeline, PipelineSettings, StoredSettings};
use crate::policy::keys::hash;
use crate::policy::{
    Admission, Allowances, Bound, Budget, BudgetWindow, Budgets, Exploring, KeyRing, Payer, Places, Portfolio, Spent,
};
use crate::relay::{Desk, Sampler};
use crate::server::{routing_settings, status};
use crate::tasks::Tasks;
use crate::units::{KeyName, Tokens, Usd};
use crate::upstream::{self, Upstream};

/// What the dice of this file are for.
const PURPOSE: u64 = 21;

/// Who asks. The last one has no budget but the gateway's.
pub(super) const KEYS: [&str; 3] = ["ann", "bob", "cem"];
/// The first two are in it.
const TEAM: &str = "crew";

static TABLE: LazyLock<Arc<Snapshot>> = LazyLock::new(|| Arc::new(Snapshot::parse("storm", &table::table()).unwrap()));
static VOCABULARIES: LazyLock<Arc<Vocabularies>> = LazyLock::new(Arc::default);

/// A life that nothing ends goes on for no longer, on its own time.
const COMES_TO_REST: Duration = Duration::from_mins(20);

/// What everybody has settled before this life, in all time.
pub(super) type Before = Vec<(Payer, Usd)>;

/// Lives the life of this number.
pub(super) async fn live(world: &Arc<World>, number: usize) {
    let plan = &world.scene.lives[number];
    let mut dice = Dice::of(world.scene.seed, PURPOSE, number as u64);
    let Some((ledger, stepped)) = open(world, number) else { return };
    let budgets = budgets(world);
    let alive = Alive::new(world, number, budgets.iter().map(|(_, budget)| Arc::clone(budget)).collect());
    let before = standings(&budgets);
    let tasks = Tasks::on_this_runtime();
    let pipeline = Arc::new(pipeline(world, &alive, &ledger, &budgets, &tasks));
    let books =
        Books { alive: Arc::clone(&alive), stepped: Mutex::new(stepped), suffers: Mutex::default(), ended: Mutex::default() };
    let clients = join_all(plan.clients.iter().map(|asks| client::ask_all(&alive, &pipeline, asks)));
    let faults = join_all(plan.faults.iter().map(|fault| books.suffer(*fault)));
    let in_peace = async {
        clients.await;
        // What clients that left have left behind.
        let _ended = tasks.finish(Duration::from_mins(1)).await;
        books.heal();
        while ledger.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // What broke only now would not mend by itself.
            books.heal();
        }
    };
    let crashed = tokio::select! {
        biased;
        () = alive.dead.cancelled() => true,
        at_rest = tokio::time::timeout(COMES_TO_REST, in_peace) => {
            if at_rest.is_err() {
                world.breaks("what is open does not end".to_owned());
            }
            false
        }
        () = books.work(dice.clone()) => unreachable!("it works until it is stopped"),
        () = async { faults.await; std::future::pending::<()>().await } => unreachable!("faults do not end a life"),
    };
    if crashed {
        books.die(plan.end, &mut dice);
    } else {
        books.check_peace(&budgets, &before);
    }
    let Books { ended, .. } = books;
    let ended = ended.into_inner().unwrap();
    world.ends.lock().unwrap().push(Ended { crashed, ..ended });
}

fn settings(world: &World) -> Settings {
    Settings { sync: world.scene.sync, segment_bytes: world.scene.segment_bytes, decision_days: 0, ..Settings::new("nowhere") }
}

/// Opens the books, perhaps only at the second try.
fn open(world: &Arc<World>, number: usize) -> Option<(Ledger, Stepped)> {
    let again = || Stepped::open(settings(world), world.shared_clock(), &world.disk, &world.store);
    world.store.set_takes(world.scene.lives[number].stumbles);
    let first = again();
    world.store.set_takes(None);
    let opened = first.or_else(|error| {
        world.say(|| format!("the gateway stumbles: {error:?}"));
        again()
    });
    match opened {
        Ok((ledger, stepped, report)) => {
            world.say(|| format!("life {number} begins: {report:?}"));
            if !report.problems.is_empty() && !world.scene.loses_power() {
                world.breaks(format!("a kill damaged the journal: {:?}", report.problems));
            }
            Some((ledger, stepped))
        }
        Err(error) => {
            world.breaks(format!("the books do not open: {error:?}"));
            None
        }
    }
}

/// The budgets of everybody, filled with what the store says that was spent.
fn budgets(world: &World) -> Vec<(Payer, Arc<Budget>)> {
    let now = world.clock.wall();
    let booked = world.store.requests();
    let [own, team, all] = world.scene.limits;
    let payers = [
        (Payer::Key(KeyName::new(KEYS[0])), Some((own, [BudgetWindow::Total, BudgetWindow::Hour]))),
        (Payer::Key(KeyName::new(KEYS[1])), Some((own, [BudgetWindow::Total, BudgetWindow::Day]))),
        (Payer::Key(KeyName::new(KEYS[2])), None),
        (Payer::Team(TEAM.to_owned()), Some((team, [BudgetWindow::Total, BudgetWindow::Day]))),
        (Payer::Gateway, Some((all, [BudgetWindow::Total, BudgetWindow::Week]))),
    ];
    let made = payers.into_iter().map(|(payer, bounds)| {
        let budget = Budget::of(payer.clone());
        let spent_since = |start: Option<Timestamp>| {
            let ours = booked.iter().filter(|request| counts_for(&payer, &request.opened.key));
            ours.filter(|request| Some(request.opened.arrived_at) >= start).map(ClosedRequest::cost).sum::<Usd>()
        };
        let bound = |limit: u64, every: BudgetWindow| {
            let (limit, window) = (Usd::from_pico(i128::from(limit) * 1_000_000), every.utc());
            let spent = Spent { amount: Some(spent_since(window.start(now))), at: now, mark: Usd::ZERO };
            (Bound::new(limit, window), Some(spent))
        };
        budget.bind(bounds.into_iter().flat_map(|(limit, windows)| windows.map(|every| bound(limit, every))));
        (payer, budget)
    });
    made.collect()
}

fn counts_for(payer: &Payer, key: &KeyName) -> bool {
    match payer {
        Payer::Key(name) => name == key,
        Payer::Team(_) => key.as_str() != KEYS[2],
        Payer::Project(_) => false,
        Payer::Gateway => true,
    }
}

/// What each has settled by the books.
fn standings(budgets: &[(Payer, Arc<Budget>)]) -> Before {
    budgets.iter().map(|(payer, budget)| (payer.clone(), budget.standing().0)).collect()
}

fn ring(budgets: &[(Payer, Arc<Budget>)]) -> KeyRing {
    let admission = |name: &&str| {
        let key = KeyName::new(name);
        let ours = budgets.iter().filter(|(payer, _)| counts_for(payer, &key)).map(|(_, budget)| Arc::clone(budget));
        let admission = Admission { budgets: Budgets::of(ours), budgeted: true, ..Admission::unbounded(key) };
        (hash(format!("tb-{name}").as_bytes()), admission)
    };
    KeyRing::new(KEYS.iter().map(admission))
}

fn pipeline(
    world: &Arc<World>,
    alive: &Arc<Alive>,
    ledger: &Ledger,
    budgets: &[(Payer, Arc<Budget>)],
    tasks: &Tasks,
) -> Pipeline {
    let clock = world.shared_clock();
    let keys: ProviderKeys =
        table::BACKENDS.iter().map(|listed| (listed.variable(), Secret::new("sk-storm-0123456789".into()))).collect();
    let health = HealthByShape::new(&clock, HealthSettings::default());
    let market = Market::open(Arc::clone(&TABLE), &keys, &BTreeMap::new(), &upstream::Tokens::default(), &health).unwrap();
    let learning = Arc::new(Learning::new(world.scene.seed));
    let config = Config::default();
    let longest = Duration::from_secs(20);
    let settings = PipelineSettings {
        aliases: BTreeMap::new(),
        routing: crate::route::Settings { longest, ..routing_settings(&config) },
        alias_wishes: BTreeMap::new(),
        explore: ExploreRule { permille: 50, usd_a_day: Usd::from_pico(1_000_000_000) },
        baseline: None,
        budgeted_output: Tokens::new(900),
        total: longest,
        heard_out: Duration::ZERO,
        patience: Patience { first_frame: Duration::from_secs(4), idle: Duration::from_secs(3), whole: longest },
        most_under_way: 100,
        stored: StoredSettings { most_bytes: 0, age: longest },
        over_budget_status: 402,
        most_body: 1 << 20,
        most_upload: 1 << 20,
        body_wait: longest,
        stream_error: status::stream_error,
        failure_status: status::failure_status,
    };
    let desk = Desk {
        tokenizer: Tokenizer::with(Arc::clone(&VOCABULARIES)).at_once(),
        metrics: Arc::clone(&world.metrics),
        feed: Feed::new(false),
        served: Arc::clone(&learning.served),
        tasks: tasks.clone(),
        clock: Arc::clone(&clock),
        // Samples are counted in tasks of their own and change no row.
        sampler: Sampler::new(0, Duration::ZERO),
        reports: Arc::clone(&learning.reports),
        conversation: frontend::conversation,
        prompt_text: frontend::prompt_text,
        asks_long_cache: frontend::asks_long_cache,
    };
    let upstream = Upstream::scripted(Arc::new(Providers(Arc::clone(alive))));
    let retries = RetryBudget::new(Arc::clone(&clock), 20, 5);
    Pipeline {
        lender: None,
        in_force: ArcSwap::from_pointee(InForce {
            keys: ring(budgets),
            market: Arc::new(market),
            allowances: Arc::new(Allowances::default()),
            settings,
        }),
        places: Places::default(),
        learning,
        portfolio: Arc::new(Portfolio::default()),
        exploring: Exploring::default(),
        dispatcher: Dispatcher::new(upstream, retries, Arc::clone(&clock)),
        stored: Arc::default(),
        ledger: ledger.clone(),
        desk: Arc::new(desk),
        clock,
    }
}

/// The workers of the books, and what happens to their disk.
struct Books {
    alive: Arc<Alive>,
    stepped: Mutex<Stepped>,
    suffers: Mutex<Vec<Broken>>,
    ended: Mutex<Ended>,
}

impl Books {
    /// Works for ever.
    async fn work(&self, dice: Dice) {
        let (mut writes, mut folds, mut rounds) = (dice.clone(), dice.clone(), dice);
        let writing = async {
            loop {
                let _ticked = tokio::time::timeout(Duration::from_millis(250), self.alive.stirred.notified()).await;
                tokio::time::sleep(Duration::from_micros(writes.between(0, 6_000))).await;
                if !self.is_suffering(Broken::Hangs) && !self.alive.hangs.load(Ordering::Relaxed) {
                    self.write();
                }
            }
        };
        let folding = async {
            loop {
                tokio::time::sleep(Duration::from_millis(folds.between(20, 800))).await;
                self.stepped.lock().unwrap().fold(folds.size(1, 8));
            }
        };
        let keeping_house = async {
            loop {
                tokio::time::sleep(Duration::from_millis(rounds.between(100, 1_000))).await;
                self.stepped.lock().unwrap().keep_house();
                if !self.is_suffering(Broken::Syncs) {
                    let mut ended = self.ended.lock().unwrap();
                    ended.synced_at = ended.written_at;
                }
            }
        };
        tokio::join!(writing, folding, keeping_house);
    }

    fn write(&self) {
        let began = self.alive.world.now();
        if self.stepped.lock().unwrap().write() {
            self.alive.world.say(|| "        journal written".to_owned());
            self.ended.lock().unwrap().written_at = began;
        }
    }

    fn is_suffering(&self, what: Broken) -> bool {
        self.suffers.lock().unwrap().contains(&what)
    }

    /// Breaks something for a while.
    async fn suffer(&self, fault: Fault) {
        let Fault { what, from_ms, for_ms } = fault;
        tokio::time::sleep(Duration::from_millis(from_ms)).await;
        self.alive.event(|| format!("      breaks: {what:?}")).await;
        self.set(what, true);
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        self.set(what, false);
        self.alive.event(|| format!("      mended: {what:?}")).await;
    }

    fn set(&self, what: Broken, broken: bool) {
        let World { disk, store, .. } = &*self.alive.world;
        match what {
            Broken::Full => disk.set_full(broken),
            Broken::Writes(part) => disk.set_failing(broken.then_some(part)),
            Broken::Syncs => disk.set_unsyncable(broken),
            Broken::Store => store.set_takes(broken.then_some(0)),
            Broken::Hangs => {}
        }
        let mut suffers = self.suffers.lock().unwrap();
        suffers.retain(|other| *other != what);
        suffers.extend(broken.then_some(what));
    }

    /// Mends everything.
    fn heal(&self) {
        for what in [Broken::Full, Broken::Writes(0), Broken::Hangs, Broken::Syncs, Broken::Store] {
            self.set(what, false);
        }
        self.suffers.lock().unwrap().clear();
        self.alive.hangs.store(false, Ordering::Relaxed);
    }

    /// What the end of a life leaves of what it wrote.
    fn die(&self, end: End, dice: &mut Dice) {
        self.heal();
        let World { disk, store, scene, .. } = &*self.alive.world;
        match end {
            End::Kill { torn: Some(part), .. } => {
                disk.set_failing(Some(part));
                self.stepped.lock().unwrap().write();
                disk.set_failing(None);
            }
            End::PowerLoss { .. } => {
                let mut deleted = dice.clone();
                disk.lose_power(|| if dice.chance(40) { 100 } else { dice.size(0, 100) }, || deleted.chance(30));
                store.lose_power(if dice.chance(50) { 0 } else { dice.size(0, 4) });
                self.ended.lock().unwrap().forgets = scene.sync == SyncPolicy::Second;
            }
            End::Kill { torn: None, .. } | End::Peace => {}
        }
        self.alive.world.provide_in_flight(self.alive.number, dice);
    }

    /// When everybody is through, nothing is held and everybody has spent what the rows say.
    fn check_peace(&self, budgets: &[(Payer, Arc<Budget>)], before: &Before) {
        let world = &self.alive.world;
        let booked = world.store.requests();
        for ((payer, budget), (_, before)) in budgets.iter().zip(before) {
            let (settled, held) = budget.standing();
            if held != Usd::ZERO {
                world.breaks(format!("{held:?} is still held for {payer}"));
            }
            let ours = || booked.iter().filter(|request| counts_for(payer, &request.opened.key));
            let rows = ours().filter(|request| request.opened.arrived_at >= self.alive.began_at);
            let rows = rows.map(ClosedRequest::cost).sum::<Usd>();
            // Of those that are bounded the first window never ends.
            if (settled, budget.settled_ever()) != (*before + rows, rows) {
                world.breaks(format!("{payer} settled {settled:?} on top of {before:?}, and the rows say {rows:?}"));
            }
            let beyond = |attempt: &Arc<ClosedAttempt>| (attempt.cost.usd - attempt.opened.held).max(Usd::ZERO);
            let beyond = ours().flat_map(|request| &request.attempts).map(beyond).sum::<Usd>();
            for report in budget.report(world.clock.wall()) {
                if report.spent > report.limit + beyond {
                    world.breaks(format!("a budget is overspent, and not by reports alone: {report:?}"));
                }
            }
        }
    }
}
