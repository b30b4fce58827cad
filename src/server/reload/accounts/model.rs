//! Books and budgets together against a model of both: requests that begin and end in any order, gateways that are killed and
//! start again on what journal and SQLite have, windows that turn, keys that move between teams, bounds that change.
//!
//! The model knows every request: whose it was, under which team it was let in, when it came and ended, what it cost. What is spent
//! of a window is then no less than what came and ended in it, and no more than what came or ended in it; of all time it is exact,
//! but for keys that moved, whose requests may count for the team that they left as well.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
use crate::ledger::stepped::Stepped;
use crate::ledger::{AttemptOpened, Marks, OpenAttempt, RequestOpened, Settings, Tab};
use crate::policy::{BudgetWindow, Hold};
use crate::units::{Course, Provenance, RequestId, Thinking, Tokens, Usage};

const BEGIN: i64 = 1_795_000_000;
const KEYS: usize = 5;
const TEAMS: [&str; 2] = ["t0", "t1"];
/// The input of every request, at most.
const INPUT: u64 = 150;
const WINDOWS: [BudgetWindow; 4] = [BudgetWindow::Total, BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Week];

#[derive(Debug, Clone)]
enum Step {
    Ask { key: Index, bound: u64 },
    Progress { open: Index, part: u64 },
    End { open: Index, part: u64 },
    Leave { open: Index },
    Write,
    Fold,
    KeepHouse,
    Pass { seconds: u64 },
    Move { key: Index, team: Option<Index> },
    Bind { payer: Index, limits: Vec<Option<u64>> },
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let limits = proptest::collection::vec(proptest::option::weighted(0.6, 20..400_u64), 4..=4);
    prop_oneof![
        300 => (index(), 1_u64..2_000).prop_map(|(key, bound)| Step::Ask { key, bound }),
        200 => (index(), 1_u64..=100).prop_map(|(open, part)| Step::Progress { open, part }),
        200 => (index(), 0_u64..=100).prop_map(|(open, part)| Step::End { open, part }),
        50 => index().prop_map(|open| Step::Leave { open }),
        200 => Just(Step::Write),
        20 => Just(Step::Fold),
        10 => Just(Step::KeepHouse),
        40 => (1_u64..3_000).prop_map(|seconds| Step::Pass { seconds }),
        6 => (index(), proptest::option::of(index())).prop_map(|(key, team)| Step::Move { key, team }),
        4 => (index(), limits).prop_map(|(payer, limits)| Step::Bind { payer, limits }),
        6 => Just(Step::Kill),
    ]
}

/// One request, as it truly was.
#[derive(Debug, Clone)]
struct Truth {
    key: usize,
    /// Under which it was let in, and in which life.
    team: Option<String>,
    life: usize,
    came: Timestamp,
    /// What it can cost at most.
    worst: i128,
    /// When it ended and what it cost.
    ended: Option<(Timestamp, i128)>,
    /// Its beginning is on the disk,
    known: bool,
    /// and its end.
    safe: bool,
}

struct Open {
    number: usize,
    bound: u64,
    made: u64,
    hold: Hold,
    tab: Tab,
    attempt: Box<OpenAttempt>,
}

struct Play {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    config: Config,
    /// Absent between two lives.
    running: Option<Running>,
    truth: Vec<Truth>,
    life: usize,
    /// Who came to which team in this life, and when it did.
    members: Vec<(usize, String, usize)>,
}

struct Running {
    ledger: Ledger,
    stepped: Stepped,
    accounts: Accounts,
    open: Vec<Open>,
}

impl Running {
    /// Waits for something while the workers of the books work.
    async fn working<T>(stepped: &mut Stepped, wanted: impl Future<Output = T>) -> T {
        let work = async {
            loop {
                stepped.write();
                stepped.fold(usize::MAX);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = wanted => done,
            () = work => unreachable!("it works until it is stopped"),
        }
    }
}

/// What so many tokens cost, in 10⁻¹² dollars.
fn cost(input: u64, output: u64) -> i128 {
    let usage = Usage::fresh(Tokens::new(input), Tokens::new(output));
    attempt_opened().terms.cost(&usage, Thinking::Unsaid, Course::at(Timestamp::UNIX_EPOCH)).0.usd.pico()
}

fn limits(limits: &[Option<u64>]) -> Vec<Bound> {
    let bound = |(limit, window): (&Option<u64>, BudgetWindow)| {
        limit.map(|millis| Bound::new(Usd::from_pico(i128::from(millis) * 100_000_000), window.utc()))
    };
    limits.iter().zip(WINDOWS).filter_map(bound).collect()
}

impl Play {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.books.directory = folder.path().to_owned();
        let means = |millis| Means { budgets: limits(&[Some(millis), Some(millis / 2), None, None]), ..Means::default() };
        config.teams = TEAMS.iter().map(|team| ((*team).to_owned(), means(300))).collect();
        config.gateway = means(600);
        let key = |number: usize| GatewayKey {
            name: KeyName::new(&format!("k{number}")),
            sha256: [u8::try_from(number).unwrap(); 32],
            also: None,
            shut: false,
            team: TEAMS.get(number % 3).map(|team| (*team).to_owned()),
            project: None,
            tags: Vec::new(),
            means: means(150),
        };
        let clock = ManualClock::starting_at(Timestamp::from_second(BEGIN).unwrap());
        config.keys = (0..KEYS).map(key).collect();
        let mut play = Self { folder, clock, config, running: None, truth: Vec::new(), life: 0, members: Vec::new() };
        play.start().await;
        play
    }

    async fn start(&mut self) {
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        let settings = Settings { segment_bytes: 16_384, decision_days: 0, ..Settings::new(self.folder.path()) };
        let (ledger, mut stepped, report) = Stepped::on_files(settings, Arc::clone(&clock)).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        let accounts = Running::working(&mut stepped, Accounts::at_start(&self.config, (&ledger, None), clock)).await;
        self.life += 1;
        let came = self.truth.len();
        self.members = self.teamed().map(|(key, team)| (key, team, came)).collect();
        self.running = Some(Running { ledger, stepped, accounts, open: Vec::new() });
    }

    fn teamed(&self) -> impl Iterator<Item = (usize, String)> {
        self.config.keys.iter().enumerate().filter_map(|(number, key)| Some((number, key.team.clone()?)))
    }

    async fn step(&mut self, step: Step) {
        let now = self.clock.wall();
        let Some(running) = &mut self.running else { return };
        let open = running.open.len();
        match step {
            Step::Ask { key, bound } => self.ask(key.index(KEYS), bound, now),
            Step::Progress { open: at, part } if open > 0 => {
                let open = &mut running.open[at.index(open)];
                open.made += (open.bound - open.made) * part / 100;
                let usage = Usage::fresh(Tokens::new(INPUT - 50), Tokens::new(open.made));
                let _ = open.attempt.progress(usage, Provenance::Counted);
            }
            Step::End { open: at, part } if open > 0 => {
                let Open { number, bound, made, hold, tab, attempt } = running.open.swap_remove(at.index(open));
                let output = made + (bound - made) * part / 100;
                let settled = attempt.settle(attempt_end(INPUT - 50, output)).unwrap();
                tab.end(request_end());
                assert_eq!((settled.cost.usd, tab.spent().pico()), (tab.spent(), cost(INPUT - 50, output)));
                hold.settle(tab.spent(), now);
                self.truth[number].ended = Some((now, tab.spent().pico()));
            }
            Step::Leave { open: at } if open > 0 => {
                let Open { number, hold, tab, attempt, .. } = running.open.swap_remove(at.index(open));
                drop(attempt);
                let spent = tab.spent();
                drop(tab);
                hold.settle(spent, now);
                self.truth[number].ended = Some((now, spent.pico()));
            }
            Step::Write => {
                running.stepped.write();
                self.written();
            }
            Step::Fold => running.stepped.fold(64),
            Step::KeepHouse => running.stepped.keep_house(),
            Step::Pass { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Step::Move { key, team } => {
                let key = key.index(KEYS);
                self.config.keys[key].team = team.map(|team| TEAMS[team.index(TEAMS.len())].to_owned());
                self.reload().await;
            }
            Step::Bind { payer, limits: wanted } => {
                let bounds = limits(&wanted);
                match payer.index(KEYS + TEAMS.len() + 1) {
                    key if key < KEYS => self.config.keys[key].means.budgets = bounds,
                    KEYS => self.config.gateway.budgets = bounds,
                    team => self.config.teams.get_mut(TEAMS[team - KEYS - 1]).unwrap().budgets = bounds,
                }
                self.reload().await;
            }
            Step::Kill => self.kill(now).await,
            Step::Progress { .. } | Step::End { .. } | Step::Leave { .. } => {}
        }
    }

    fn ask(&mut self, key: usize, bound: u64, now: Timestamp) {
        let running = self.running.as_mut().unwrap();
        let admission = running.accounts.admission(&self.config.keys[key], &self.config).unwrap();
        let worst = Usd::from_pico(cost(INPUT, bound));
        let Ok(hold) = admission.budgets.hold(worst, now) else { return };
        for report in admission.budgets.report(now) {
            assert!(report.spent + report.held <= report.limit, "{report:?}");
        }
        let number = self.truth.len();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(number as u64).to_be_bytes());
        let id = RequestId::from_parts(u64::try_from(now.as_millisecond()).unwrap(), random);
        let opened = RequestOpened {
            id,
            key: admission.key,
            arrived_at: now,
            facts: Vec::new(),
            marks: Marks { team: self.config.keys[key].team.clone(), ..Marks::default() },
            client_request_id: Some(number.to_string()),
            ..request_opened(number as u64)
        };
        let tab = running.ledger.begin(opened).unwrap();
        let mut attempt = tab.attempt(AttemptOpened {
            held: worst,
            input_upper: Tokens::new(INPUT),
            output_bound: Tokens::new(bound),
            started_at: now,
            ..attempt_opened()
        });
        attempt.sent();
        running.open.push(Open { number, bound, made: 0, hold, tab, attempt });
        let (team, life) = (self.config.keys[key].team.clone(), self.life);
        self.truth.push(Truth { key, team, life, came: now, worst: worst.pico(), ended: None, known: false, safe: false });
    }

    async fn reload(&mut self) {
        let came = self.truth.len();
        let joined: Vec<(usize, String)> = self.teamed().collect();
        for (key, team) in joined {
            if !self.members.iter().any(|(known, of, _)| (*known, of) == (key, &team)) {
                self.members.push((key, team, came));
            }
        }
        let Running { ledger, stepped, accounts, .. } = self.running.as_mut().unwrap();
        stepped.write();
        let bindings = Running::working(stepped, accounts.prepare(&self.config, ledger)).await.unwrap();
        accounts.bind(bindings);
        self.written();
    }

    /// Everything that is not on the disk is gone.
    async fn kill(&mut self, now: Timestamp) {
        let Running { ledger, stepped, accounts, open } = self.running.take().unwrap();
        let before: Vec<_> = self.payers().iter().flat_map(|payer| accounts.budgets([payer.clone()]).report(now)).collect();
        drop((ledger, stepped));
        // Their guards write into a journal that nobody writes to the disk any more.
        drop(open);
        // Money is free again when an answer has ended, a moment before that is on the disk.
        let unwritten = |truth: &&Truth| truth.ended.is_some() && !truth.safe && truth.life == self.life;
        let freed: i128 = self.truth.iter().filter(unwritten).map(|truth| truth.worst).sum();
        let lived = self.life;
        self.start().await;
        let running = self.running.as_ref().unwrap();
        let mut costs = Books::open(self.folder.path()).unwrap().costs_by_client().unwrap();
        for (number, truth) in self.truth.iter_mut().enumerate() {
            let booked = costs.remove(&number.to_string());
            if truth.safe || truth.life < lived {
                let cost = truth.ended.unwrap().1;
                assert_eq!(booked.unwrap_or(0), cost, "{truth:?}");
                truth.ended = Some((truth.came, cost));
                continue;
            }
            assert!(booked.is_some() || !truth.known, "not booked: {truth:?}");
            assert!(booked.is_none_or(|booked| booked <= truth.worst), "{booked:?}: {truth:?}");
            truth.ended = Some((truth.came, booked.unwrap_or(0)));
        }
        assert!(costs.is_empty(), "booked and never asked: {costs:?}");
        for before in before.iter().filter(|before| before.window.every == BudgetWindow::Total) {
            let after = running.accounts.budgets([before.payer.clone()]).report(now);
            let after = after.iter().find(|after| after.window == before.window).unwrap();
            if matches!(before.payer, Payer::Key(_) | Payer::Gateway) {
                assert!(after.spent <= before.spent + before.held + Usd::from_pico(freed), "{before:?} {after:?}");
            }
        }
    }

    /// Whatever was queued is on the disk now.
    fn written(&mut self) {
        for truth in &mut self.truth {
            truth.known = true;
            truth.safe |= truth.ended.is_some();
        }
    }

    fn payers(&self) -> Vec<Payer> {
        let keys = self.config.keys.iter().map(|key| Payer::Key(key.name.clone()));
        keys.chain(TEAMS.map(|team| Payer::Team(team.to_owned()))).chain([Payer::Gateway]).collect()
    }

    /// Whether a request surely counts for a payer, and whether it may.
    fn counts(&self, payer: &Payer, number: usize, truth: &Truth) -> (bool, bool) {
        match payer {
            Payer::Key(name) => [*name == self.config.keys[truth.key].name; 2].into(),
            Payer::Gateway => (true, true),
            Payer::Project(_) => (false, false),
            Payer::Team(team) => {
                let joined = self.members.iter().find(|(key, of, _)| (*key, of) == (truth.key, team)).map(|(.., came)| *came);
                let own = truth.team.as_ref() == Some(team);
                let brought = joined.is_some_and(|came| number < came) && truth.life < self.life;
                (own || brought, own || joined.is_some())
            }
        }
    }

    fn check(&self) {
        let (now, running) = (self.clock.wall(), self.running.as_ref().unwrap());
        for payer in self.payers() {
            for report in running.accounts.budgets([payer.clone()]).report(now) {
                let start = report.window.start(now);
                let (mut least, mut most) = (0, 0);
                for (number, truth) in self.truth.iter().enumerate() {
                    let Some((ended, cost)) = truth.ended else { continue };
                    let (surely, perhaps) = self.counts(&payer, number, truth);
                    let (came, ended) = (Some(truth.came) >= start, Some(ended) >= start);
                    least += if surely && came && ended { cost } else { 0 };
                    most += if perhaps && (came || ended) { cost } else { 0 };
                }
                let spent = report.spent.pico();
                assert!((least..=most).contains(&spent), "{report:?} is not from {least} to {most}");
            }
        }
    }
}

fn run(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn books_and_budgets_agree_through_kills(steps in proptest::collection::vec(step(), 1..300)) {
        run(async {
            let mut play = Play::new().await;
            for step in steps {
                play.step(step).await;
                play.check();
            }
        });
    }
}

/// Steps of [`books_and_budgets_agree_over_many_lives`], unless `TOKENBROKER_STEPS` says how many.
const STEPS: usize = 150_000;
/// Steps on one data directory, and between two looks at everything.
const FOLDER: usize = 4_000;
const LOOK_EVERY: usize = 25;

#[test]
fn books_and_budgets_agree_over_many_lives() {
    let steps = std::env::var("TOKENBROKER_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    run(async {
        let (mut runner, strategy) = (TestRunner::deterministic(), step());
        let mut play = Play::new().await;
        for number in 1..=steps {
            if number % FOLDER == 0 {
                play = Play::new().await;
            }
            play.step(strategy.new_tree(&mut runner).unwrap().current()).await;
            if number % LOOK_EVERY == 0 {
                play.check();
            }
        }
    });
}
