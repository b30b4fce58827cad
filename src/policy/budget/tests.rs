//! One budget, and the keys of a team on theirs: holds, windows, bounds that change, races.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use proptest::prelude::*;

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn unbounded() -> Arc<Budget> {
    Budget::of(Payer::Key(KeyName::new("web")))
}

fn bound(limit: &str, window: BudgetWindow) -> Bound {
    Bound::new(usd(limit), window.utc())
}

/// Whether the books must be read for such a window.
fn must_be_read(budget: &Budget, window: BudgetWindow) -> bool {
    budget.must_be_read_for(&window.utc())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_hold_is_settled_or_released() {
    let now = at("2026-11-22T10:00:00Z");
    let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
    let first = budget.alone().hold(usd("0.4"), now).unwrap();
    let refused = budget.alone().hold(usd("0.2"), now).unwrap_err();
    assert_eq!((refused.left, refused.refills_at), (usd("0.1"), Some(at("2026-11-23T00:00:00Z"))));
    first.settle(usd("0.1"), now);
    drop(budget.alone().hold(usd("0.3"), now).unwrap());
    assert_eq!(budget.standing(), (usd("0.6"), Usd::ZERO));
}

#[test]
fn a_hold_grows_within_the_budget_and_never_shrinks() {
    let now = at("2026-11-22T10:00:00Z");
    let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
    let hold = budget.alone().hold(usd("0.2"), now).unwrap();
    assert_eq!(hold.cover(usd("0.4"), now), Ok(()));
    assert_eq!(hold.cover(usd("0.1"), now), Ok(()));
    assert_eq!(hold.cover(usd("0.6"), now).unwrap_err().left, usd("0.1"));
    assert_eq!(budget.standing(), (usd("0.5"), usd("0.4")));
    hold.settle(usd("0.3"), now);
    assert_eq!(budget.standing(), (usd("0.8"), Usd::ZERO));
    let unbounded = unbounded().alone().hold(usd("1"), now).unwrap();
    assert_eq!(unbounded.cover(usd("9"), now), Ok(()));
}

#[test]
fn a_window_refills_and_what_is_held_stays_held() {
    let budget = Budget::new(usd("1"), BudgetWindow::Month, Usd::ZERO, at("2026-11-30T23:59:00Z"));
    let over_midnight = budget.alone().hold(usd("0.8"), at("2026-11-30T23:59:59Z")).unwrap();
    assert!(budget.alone().hold(usd("0.3"), at("2026-12-01T00:00:00Z")).is_err());
    over_midnight.settle(usd("0.1"), at("2026-12-01T00:00:00Z"));
    let december = budget.report(at("2026-12-01T00:00:01Z")).remove(0);
    assert_eq!((december.spent, december.held), (usd("0.1"), Usd::ZERO));
    assert_eq!(budget.report(at("2027-01-01T00:00:00Z"))[0].spent, Usd::ZERO, "nobody has asked in this window yet");
    assert!(budget.alone().hold(usd("0.9"), at("2026-12-01T00:00:01Z")).is_ok());
}

#[test]
fn another_limit_counts_what_is_spent_and_held() {
    let now = at("2026-11-22T10:00:00Z");
    let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
    let open = budget.alone().hold(usd("0.4"), now).unwrap();
    assert!(!must_be_read(&budget, BudgetWindow::Day));
    budget.bind([(bound("0.6", BudgetWindow::Day), None)]);
    let refused = budget.alone().hold(usd("0.01"), now).unwrap_err();
    assert_eq!((refused.limit, refused.left), (usd("0.6"), Usd::ZERO), "0.9 are spent and held");
    assert!(open.cover(usd("0.41"), now).is_err());
    open.settle(usd("0.05"), now);
    assert!(budget.alone().hold(usd("0.05"), now).is_ok());
    budget.bind([(bound("2", BudgetWindow::Day), None)]);
    assert!(budget.alone().hold(usd("1.45"), now).is_ok());
    assert_eq!(budget.standing(), (usd("0.55"), Usd::ZERO));
}

#[test]
fn another_window_is_counted_from_the_books_and_what_was_settled_since() {
    let now = at("2026-11-22T10:00:00Z");
    let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.25"), now);
    let [first, second, third] = [(); 3].map(|()| budget.alone().hold(usd("0.1"), now).unwrap());
    first.settle(usd("0.1"), now);
    assert!(must_be_read(&budget, BudgetWindow::Month));
    let mark = budget.settled_ever();
    second.settle(usd("0.08"), now);
    budget.bind([(bound("9", BudgetWindow::Month), Some(Spent { amount: Some(usd("5")), at: now, mark }))]);
    assert_eq!(budget.standing(), (usd("5.08"), usd("0.1")));
    third.settle(usd("0.02"), now);
    assert_eq!(budget.alone().hold(usd("4"), now).unwrap_err().left, usd("3.9"));
    assert_eq!(budget.alone().hold(usd("9"), at("2026-12-01T00:00:00Z")).map(|hold| hold.amount()), Ok(usd("9")));
}

#[test]
fn a_window_that_could_not_be_read_is_used_up_until_it_can_be_or_ends() {
    let now = at("2026-11-22T10:00:00Z");
    let unread = || {
        let budget = unbounded();
        budget.bind([(bound("1", BudgetWindow::Day), Some(Spent { amount: None, at: now, mark: Usd::ZERO }))]);
        assert_eq!(budget.alone().hold(usd("0.1"), now).unwrap_err().left, Usd::ZERO);
        assert_eq!(budget.report(now)[0].spent, usd("1"));
        assert!(must_be_read(&budget, BudgetWindow::Day));
        budget
    };
    let read = unread();
    let spent = Spent { amount: Some(usd("0.25")), at: now, mark: read.settled_ever() };
    read.bind([(bound("1", BudgetWindow::Day), Some(spent))]);
    assert_eq!(read.alone().hold(usd("0.8"), now).unwrap_err().left, usd("0.75"));
    let ended = unread();
    assert!(ended.alone().hold(usd("1"), at("2026-11-23T00:00:00Z")).is_ok());
    assert!(!must_be_read(&read, BudgetWindow::Day) && !must_be_read(&ended, BudgetWindow::Day));
}

#[test]
fn a_key_that_becomes_bounded_counts_its_open_requests() {
    let now = at("2026-11-22T10:00:00Z");
    let budget = unbounded();
    let open = budget.alone().hold(usd("0.7"), now).unwrap();
    assert!(must_be_read(&budget, BudgetWindow::Total));
    let spent = Spent { amount: Some(usd("0.2")), at: now, mark: budget.settled_ever() };
    budget.bind([(bound("1", BudgetWindow::Total), Some(spent))]);
    assert_eq!(budget.alone().hold(usd("0.2"), now).unwrap_err().left, usd("0.1"));
    open.settle(usd("0.7"), now);
    assert_eq!(budget.standing(), (usd("0.9"), Usd::ZERO));
    budget.bind([]);
    assert!(budget.alone().hold(usd("50"), now).is_ok() && must_be_read(&budget, BudgetWindow::Total));
}

/// Promise 2 across reloads: many threads spend from one key while another one raises, lowers, lifts and re-reads its
/// bound, as reloads do. What is out (held, or settled at its cost) never exceeds the largest limit, and nothing is
/// lost or counted twice.
#[test]
fn a_bound_that_changes_under_load_stays_a_bound() {
    const MOST: i128 = 1_000;
    let now = at("2026-11-22T10:00:00Z");
    let budget = Budget::new(Usd::from_pico(MOST), BudgetWindow::Total, Usd::ZERO, now);
    let (out, booked) = (AtomicI64::new(0), AtomicI64::new(0));
    let spend = |seed: i64| {
        for n in 0..3_000 {
            let (wanted, cost) = (1 + (n * 7 + seed) % 40, (n + seed) % 3 % 2);
            let Ok(hold) = budget.alone().hold(Usd::from_pico(wanted.into()), now) else { continue };
            let now_out = out.fetch_add(wanted, Ordering::SeqCst) + wanted;
            assert!(i128::from(now_out) <= MOST, "{now_out} of {MOST}");
            // First off what is counted here, then off the budget: what it grants next is seen after.
            out.fetch_sub(wanted - cost.min(wanted), Ordering::SeqCst);
            booked.fetch_add(cost.min(wanted), Ordering::SeqCst);
            hold.settle(Usd::from_pico(cost.min(wanted).into()), now);
        }
    };
    let reload = || {
        for n in 0..2_000 {
            let limit = Usd::from_pico(MOST / (1 + n % 4));
            let bound = Bound::new(limit, BudgetWindow::Total.utc());
            budget.bind([(bound.clone(), None)]);
            if n % 3 == 0 {
                // A reading of the books: what was settled up to the mark.
                let mark = budget.settled_ever();
                std::thread::yield_now();
                budget.bind([(bound, Some(Spent { amount: Some(mark), at: now, mark }))]);
            }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..6 {
            scope.spawn(move || spend(seed));
        }
        scope.spawn(reload);
    });
    let booked = Usd::from_pico(booked.into_inner().into());
    assert_eq!((budget.standing(), budget.settled_ever()), ((booked, Usd::ZERO), booked));
    assert!(booked > Usd::ZERO);
}

proptest! {
    #[test]
    fn settled_plus_held_never_exceeds_the_limit(steps in proptest::collection::vec((0_i128..50, 0_i128..50, any::<bool>()), 1..60)) {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(Usd::from_pico(100), BudgetWindow::Total, Usd::ZERO, now);
        let mut open = Vec::new();
        for (wanted, cost, end) in steps {
            if let Ok(hold) = budget.alone().hold(Usd::from_pico(wanted), now) {
                open.push((hold, cost.min(wanted)));
            }
            if end && !open.is_empty() {
                let (hold, cost) = open.swap_remove(0);
                hold.settle(Usd::from_pico(cost), now);
            }
            let (settled, held) = budget.standing();
            prop_assert!(settled + held <= Usd::from_pico(100));
        }
        drop(open);
        prop_assert_eq!(budget.standing().1, Usd::ZERO);
    }
}

/// Two keys of one team, many threads each: what is out never exceeds what the team may spend, nor what each key may.
#[test]
fn keys_that_race_for_a_budget_above_them_stay_within_it() {
    const TEAM: i128 = 700;
    const EACH: i128 = 500;
    let now = at("2026-11-22T10:00:00Z");
    let pico = Usd::from_pico;
    let of = |payer: Payer, limit: i128| {
        let budget = Budget::of(payer);
        let spent = Spent { amount: Some(Usd::ZERO), at: now, mark: Usd::ZERO };
        budget.bind([(Bound::new(pico(limit), BudgetWindow::Total.utc()), Some(spent))]);
        budget
    };
    let team = of(Payer::Team("t".to_owned()), TEAM);
    let keys = ["a", "b"].map(|name| of(Payer::Key(KeyName::new(name)), EACH));
    let out = AtomicI64::new(0);
    let spend = |key: &Arc<Budget>, seed: i64| {
        // Named from the team down: the order of the locks is not that of the names.
        let budgets = Budgets::of([Arc::clone(&team), Arc::clone(key)]);
        for n in 0..2_000 {
            let wanted = 1 + (n * 11 + seed) % 150;
            let Ok(hold) = budgets.hold(pico(wanted.into()), now) else { continue };
            let now_out = out.fetch_add(wanted, Ordering::SeqCst) + wanted;
            assert!(i128::from(now_out) <= TEAM, "{now_out}");
            out.fetch_sub(wanted, Ordering::SeqCst);
            if n % 200 == 0 { hold.settle(pico(1), now) } else { drop(hold) }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let (key, spend) = (&keys[usize::try_from(seed % 2).unwrap()], &spend);
            scope.spawn(move || spend(key, seed));
        }
    });
    let [a, b] = keys.map(|key| key.standing());
    assert_eq!((team.standing().1, a.1, b.1), (Usd::ZERO, Usd::ZERO, Usd::ZERO));
    assert_eq!(team.standing().0, a.0 + b.0);
    assert!(a.0 <= pico(EACH));
}
