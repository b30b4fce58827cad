//! Budgets against a model of them: random payers with random bounds, random interleavings of everything that happens to a
//! hold, through windows that end and bounds that change.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const BEGIN: i64 = 1_795_000_000;
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

/// The truth: every settlement there was, and every hold that is open.
struct Model {
    payers: Vec<Payer>,
    bounds: Vec<Vec<Bound>>,
    /// The payers above and of each key, by their place.
    chains: Vec<Vec<usize>>,
    open: Vec<(usize, i128)>,
    settled: Vec<(usize, Timestamp, i128)>,
}

impl Model {
    fn spent(&self, payer: usize, since: Option<Timestamp>) -> i128 {
        let counts = |(key, at, _): &&(usize, Timestamp, i128)| self.chains[*key].contains(&payer) && Some(*at) >= since;
        self.settled.iter().filter(counts).map(|(.., cost)| cost).sum()
    }

    fn held(&self, payer: usize) -> i128 {
        self.open.iter().filter(|(key, _)| self.chains[*key].contains(&payer)).map(|(_, held)| held).sum()
    }

    /// What every bound of a key has left.
    fn left(&self, key: usize, now: Timestamp) -> Vec<(Payer, Bound, i128)> {
        let of = |payer: usize| {
            self.bounds[payer].iter().map(move |bound| {
                let left = bound.limit.pico() - self.spent(payer, bound.window.start(now)) - self.held(payer);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn holds_fit_every_budget_and_sums_are_exact(
        keys in keys(),
        zone in select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata"]),
        first in proptest::collection::vec(bounds(), 9),
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let zone = jiff::tz::TimeZone::get(zone).unwrap();
        let payers = payers(&keys);
        let budgets: Vec<Arc<Budget>> = payers.iter().cloned().map(Budget::of).collect();
        let at = |payer: Payer| payers.iter().position(|known| *known == payer).unwrap();
        let chain = |(key, (project, team)): (usize, &(Option<usize>, Option<usize>))| {
            let groups = [project.map(|n| Payer::Project(format!("p{n}"))), team.map(|n| Payer::Team(format!("t{n}")))];
            [key].into_iter().chain(groups.into_iter().flatten().map(at)).chain([payers.len() - 1]).collect::<Vec<_>>()
        };
        let chains: Vec<Vec<usize>> = keys.iter().enumerate().map(chain).collect();
        let of_keys: Vec<Arc<Budgets>> =
            chains.iter().map(|chain| Budgets::of(chain.iter().rev().map(|payer| Arc::clone(&budgets[*payer])))).collect();
        let mut model =
            Model { bounds: vec![Vec::new(); payers.len()], payers: payers.clone(), chains, open: Vec::new(), settled: Vec::new() };
        let mut holds: Vec<Hold> = Vec::new();
        let mut now = Timestamp::from_second(BEGIN).unwrap();
        let bind = |model: &mut Model, payer: usize, bounds: &[(BudgetWindow, i128)], now: Timestamp| {
            let bound = |(every, limit): &(BudgetWindow, i128)| Bound::new(Usd::from_pico(*limit), every.in_zone(zone.clone()));
            model.bounds[payer] = bounds.iter().map(bound).collect();
            let read = |bound: &Bound| {
                let must = budgets[payer].must_be_read_for(&bound.window);
                let amount = Usd::from_pico(model.spent(payer, bound.window.start(now)));
                must.then(|| Spent { amount: Some(amount), at: now, mark: budgets[payer].settled_ever() })
            };
            budgets[payer].bind(model.bounds[payer].iter().map(|bound| (bound.clone(), read(bound))));
        };
        (0..payers.len()).for_each(|payer| bind(&mut model, payer, &first[payer % first.len()], now));
        for step in steps {
            match step {
                Step::Hold { key, wanted } => {
                    let key = key.index(keys.len());
                    let left = model.left(key, now);
                    match of_keys[key].hold(Usd::from_pico(wanted), now) {
                        Ok(hold) => {
                            prop_assert!(left.iter().all(|(.., left)| wanted <= *left), "{wanted} of {left:?}");
                            holds.push(hold);
                            model.open.push((key, wanted));
                        }
                        Err(over) => check_refused(&over, &left, wanted, now),
                    }
                }
                Step::Cover { hold, wanted } if !holds.is_empty() => {
                    let hold = hold.index(holds.len());
                    let (key, held) = model.open[hold];
                    let left = model.left(key, now);
                    match holds[hold].cover(Usd::from_pico(wanted), now) {
                        Ok(()) => {
                            prop_assert!(wanted <= held || left.iter().all(|(.., left)| wanted - held <= *left));
                            model.open[hold].1 = held.max(wanted);
                        }
                        Err(over) => check_refused(&over, &left, wanted - held, now),
                    }
                }
                Step::Settle { hold, cost } if !holds.is_empty() => {
                    let hold = hold.index(holds.len());
                    holds.swap_remove(hold).settle(Usd::from_pico(cost), now);
                    let (key, _) = model.open.swap_remove(hold);
                    model.settled.push((key, now, cost));
                }
                Step::Release { hold } if !holds.is_empty() => {
                    let hold = hold.index(holds.len());
                    drop(holds.swap_remove(hold));
                    model.open.swap_remove(hold);
                }
                Step::Pass { seconds } => now = Timestamp::from_second(now.as_second() + seconds).unwrap(),
                Step::Bind { payer, bounds } => bind(&mut model, payer.index(payers.len()), &bounds, now),
                Step::Cover { .. } | Step::Settle { .. } | Step::Release { .. } => {}
            }
            for (payer, budget) in budgets.iter().enumerate() {
                let told = budget.report(now);
                let told: Vec<_> = told.iter().map(|told| (told.limit, told.spent.pico(), told.held.pico())).collect();
                let truth = |bound: &Bound| (bound.limit, model.spent(payer, bound.window.start(now)), model.held(payer));
                let truth: Vec<_> = model.bounds[payer].iter().map(truth).collect();
                prop_assert_eq!(told, truth, "{}", model.payers[payer]);
            }
        }
    }
}
