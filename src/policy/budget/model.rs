//! Budgets against a model of them: random payers with random bounds, random interleavings of everything that happens to a
//! hold, through windows that end and bounds that change.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

const BEGIN: i64 = 1_795_000_000;
const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "Asia/Kolkata"];
const WINDOWS: [BudgetWindow; 4] = [BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Week, BudgetWindow::Total];

#[derive(Debug, Clone)]
enum Step {
    Hold {
        key: Index,
        wanted: i128,
    },
    Cover {
        hold: Index,
        wanted: i128,
    },
    /// Costs so much, which may be more than was held.
    Settle {
        hold: Index,
        cost: i128,
    },
    Release {
        hold: Index,
    },
    Pass {
        seconds: i64,
    },
    /// A reload.
    Bind {
        payer: Index,
        bounds: Vec<(BudgetWindow, i128)>,
    },
}

fn bounds() -> impl Strategy<Value = Vec<(BudgetWindow, i128)>> {
    let limits = proptest::collection::btree_map(select(WINDOWS.to_vec()), 0_i128..120, 0..3);
    limits.prop_map(|limits| limits.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), 0_i128..40).prop_map(|(key, wanted)| Step::Hold { key, wanted }),
        2 => (index(), 0_i128..60).prop_map(|(hold, wanted)| Step::Cover { hold, wanted }),
        4 => (index(), 0_i128..45).prop_map(|(hold, cost)| Step::Settle { hold, cost }),
        1 => index().prop_map(|hold| Step::Release { hold }),
        2 => (1_i64..50_000).prop_map(|seconds| Step::Pass { seconds }),
        1 => (index(), bounds()).prop_map(|(payer, bounds)| Step::Bind { payer, bounds }),
    ]
}

/// Which project and team each key is in.
fn keys() -> impl Strategy<Value = Vec<(Option<usize>, Option<usize>)>> {
    proptest::collection::vec((proptest::option::of(0_usize..2), proptest::option::of(0_usize..2)), 1..5)
}

fn payers(keys: &[(Option<usize>, Option<usize>)]) -> Vec<Payer> {
    let named = (0..keys.len()).map(|key| Payer::Key(KeyName::new(&format!("k{key}"))));
    let projects = (0..2).map(|n| Payer::Project(format!("p{n}")));
    let teams = (0..2).map(|n| Payer::Team(format!("t{n}")));
    named.chain(projects).chain(teams).chain([Payer::Gateway]).collect()
}

/// What was settled for one payer, in the order of time.
#[derive(Debug, Default)]
struct Settled {
    /// When, and how much it is in all from then on.
    sums: Vec<(Timestamp, i128)>,
}

impl Settled {
    fn add(&mut self, at: Timestamp, cost: i128) {
        let before = self.all();
        self.sums.push((at, before + cost));
    }

    fn all(&self) -> i128 {
        self.sums.last().map_or(0, |(_, sum)| *sum)
    }

    fn since(&self, since: Option<Timestamp>) -> i128 {
        let earlier = self.sums.partition_point(|(at, _)| Some(*at) < since);
        self.all() - earlier.checked_sub(1).map_or(0, |last| self.sums[last].1)
    }
}

/// The truth: every settlement there was, and every hold that is open.
struct Model {
    payers: Vec<Payer>,
    bounds: Vec<Vec<Bound>>,
    /// The payers above and of each key, by their place.
    chains: Vec<Vec<usize>>,
    open: Vec<(usize, i128)>,
    /// By payer.
    held: Vec<i128>,
    settled: Vec<Settled>,
}

impl Model {
    fn spent(&self, payer: usize, since: Option<Timestamp>) -> i128 {
        self.settled[payer].since(since)
    }

    fn hold(&mut self, key: usize, more: i128) {
        self.chains[key].iter().for_each(|payer| self.held[*payer] += more);
    }

    fn begin(&mut self, key: usize, held: i128) {
        self.open.push((key, held));
        self.hold(key, held);
    }

    fn end(&mut self, place: usize) -> usize {
        let (key, held) = self.open.swap_remove(place);
        self.hold(key, -held);
        key
    }

    /// What every bound of a key has left.
    fn left(&self, key: usize, now: Timestamp) -> Vec<(Payer, Bound, i128)> {
        let of = |payer: usize| {
            self.bounds[payer].iter().map(move |bound| {
                let left = bound.limit.pico() - self.spent(payer, bound.window.start(now)) - self.held[payer];
                // What costs nothing is borne by an empty one.
                (self.payers[payer].clone(), bound.clone(), left.max(0))
            })
        };
        self.chains[key].iter().flat_map(|payer| of(*payer)).collect()
    }
}

fn check_refused(over: &OverBudget, left: &[(Payer, Bound, i128)], wanted: i128, now: Timestamp) {
    let short: Vec<_> = left.iter().filter(|(.., left)| wanted > *left).collect();
    let told = short.iter().find(|(payer, bound, _)| *payer == over.payer && bound.window == over.window);
    let (_, bound, left) = told.unwrap_or_else(|| panic!("{over:?} is none of {short:?}"));
    assert_eq!((over.limit, over.left.pico()), (bound.limit, *left));
    assert_eq!(over.refills_at, bound.window.refills_at(now));
    let later = |bound: &Bound| bound.window.refills_at(now).unwrap_or(Timestamp::MAX);
    assert!(short.iter().all(|(_, other, _)| later(other) <= later(bound)), "the one that is waited for");
}

/// Budgets beside their model.
struct Play {
    model: Model,
    budgets: Vec<Arc<Budget>>,
    /// Those of each key.
    of_keys: Vec<Arc<Budgets>>,
    holds: Vec<Hold>,
    now: Timestamp,
    zone: jiff::tz::TimeZone,
}

impl Play {
    fn new(keys: &[(Option<usize>, Option<usize>)], zone: &str, first: &[Vec<(BudgetWindow, i128)>]) -> Self {
        let payers = payers(keys);
        let budgets: Vec<Arc<Budget>> = payers.iter().cloned().map(Budget::of).collect();
        let at = |payer: Payer| payers.iter().position(|known| *known == payer).unwrap();
        let chain = |(key, (project, team)): (usize, &(Option<usize>, Option<usize>))| {
            let groups = [project.map(|n| Payer::Project(format!("p{n}"))), team.map(|n| Payer::Team(format!("t{n}")))];
            [key].into_iter().chain(groups.into_iter().flatten().map(at)).chain([payers.len() - 1]).collect::<Vec<_>>()
        };
        let chains: Vec<Vec<usize>> = keys.iter().enumerate().map(chain).collect();
        let of_keys: Vec<Arc<Budgets>> =
            chains.iter().map(|chain| Budgets::of(chain.iter().rev().map(|payer| Arc::clone(&budgets[*payer])))).collect();
        let count = payers.len();
        let settled = (0..count).map(|_| Settled::default()).collect();
        let model = Model { bounds: vec![Vec::new(); count], payers, chains, open: Vec::new(), held: vec![0; count], settled };
        let (now, zone) = (Timestamp::from_second(BEGIN).unwrap(), jiff::tz::TimeZone::get(zone).unwrap());
        let mut play = Self { model, budgets, of_keys, holds: Vec::new(), now, zone };
        (0..count).for_each(|payer| play.bind(payer, &first[payer % first.len()]));
        play
    }

    fn bind(&mut self, payer: usize, bounds: &[(BudgetWindow, i128)]) {
        let Self { model, budgets, now, zone, .. } = self;
        let bound = |(every, limit): &(BudgetWindow, i128)| Bound::new(Usd::from_pico(*limit), every.in_zone(zone.clone()));
        model.bounds[payer] = bounds.iter().map(bound).collect();
        let read = |bound: &Bound| {
            let must = budgets[payer].must_be_read_for(&bound.window);
            let amount = Usd::from_pico(model.spent(payer, bound.window.start(*now)));
            must.then(|| Spent { amount: Some(amount), at: *now, mark: budgets[payer].settled_ever() })
        };
        budgets[payer].bind(model.bounds[payer].iter().map(|bound| (bound.clone(), read(bound))));
    }

    fn step(&mut self, step: Step) {
        let Self { model, of_keys, holds, now, .. } = self;
        let now = *now;
        match step {
            Step::Hold { key, wanted } => {
                let key = key.index(of_keys.len());
                let left = model.left(key, now);
                match of_keys[key].hold(Usd::from_pico(wanted), now) {
                    Ok(hold) => {
                        assert!(left.iter().all(|(.., left)| wanted <= *left), "{wanted} of {left:?}");
                        holds.push(hold);
                        model.begin(key, wanted);
                    }
                    Err(over) => check_refused(&over, &left, wanted, now),
                }
            }
            Step::Cover { hold, wanted } if !holds.is_empty() => {
                let place = hold.index(holds.len());
                let (key, held) = model.open[place];
                let left = model.left(key, now);
                match holds[place].cover(Usd::from_pico(wanted), now) {
                    Ok(()) => {
                        assert!(wanted <= held || left.iter().all(|(.., left)| wanted - held <= *left));
                        model.open[place].1 = held.max(wanted);
                        model.hold(key, held.max(wanted) - held);
                    }
                    Err(over) => check_refused(&over, &left, wanted - held, now),
                }
            }
            Step::Settle { hold, cost } if !holds.is_empty() => {
                let hold = hold.index(holds.len());
                holds.swap_remove(hold).settle(Usd::from_pico(cost), now);
                let key = model.end(hold);
                let Model { chains, settled, .. } = model;
                chains[key].iter().for_each(|payer| settled[*payer].add(now, cost));
            }
            Step::Release { hold } if !holds.is_empty() => {
                let hold = hold.index(holds.len());
                drop(holds.swap_remove(hold));
                model.end(hold);
            }
            Step::Pass { seconds } => self.now = Timestamp::from_second(now.as_second() + seconds).unwrap(),
            Step::Bind { payer, bounds } => self.bind(payer.index(self.budgets.len()), &bounds),
            Step::Cover { .. } | Step::Settle { .. } | Step::Release { .. } => {}
        }
    }

    /// Every budget says of itself what is true.
    fn check(&self) {
        let Self { model, budgets, now, .. } = self;
        for (payer, budget) in budgets.iter().enumerate() {
            let told = budget.report(*now);
            let told: Vec<_> = told.iter().map(|told| (told.limit, told.spent.pico(), told.held.pico())).collect();
            let truth = |bound: &Bound| (bound.limit, model.spent(payer, bound.window.start(*now)), model.held[payer]);
            let truth: Vec<_> = model.bounds[payer].iter().map(truth).collect();
            assert_eq!(told, truth, "{}", model.payers[payer]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn holds_fit_every_budget_and_sums_are_exact(
        keys in keys(),
        zone in select(ZONES.to_vec()),
        first in proptest::collection::vec(bounds(), 9),
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut play = Play::new(&keys, zone, &first);
        for step in steps {
            play.step(step);
            play.check();
        }
    }
}

/// Steps of [`a_long_life_goes_by_the_model`], unless `TOKENBROKER_STEPS` says how many.
const STEPS: usize = 2_000_000;
/// Steps of one life of it, and between two looks at everything.
const LIFE: usize = 20_000;
const LOOK_EVERY: usize = 50;

/// What a short run never comes to: many windows, many holds, many changes of the bounds.
#[test]
fn a_long_life_goes_by_the_model() {
    let steps = std::env::var("TOKENBROKER_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    let mut runner = TestRunner::deterministic();
    let begin = |runner: &mut TestRunner| {
        let strategy = (keys(), select(ZONES.to_vec()), proptest::collection::vec(bounds(), 9));
        let (keys, zone, first) = strategy.new_tree(runner).unwrap().current();
        Play::new(&keys, zone, &first)
    };
    let steps_of = step();
    let mut play = begin(&mut runner);
    for number in 0..steps {
        if number % LIFE == LIFE - 1 {
            play = begin(&mut runner);
        }
        play.step(steps_of.new_tree(&mut runner).unwrap().current());
        if number % LOOK_EVERY == 0 {
            play.check();
        }
    }
}
