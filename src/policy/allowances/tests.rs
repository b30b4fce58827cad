//! What is free is free once, whoever asks at the same time, and a window that turns forgets nothing that is under way.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::catalog::allowance::Period;
use crate::units::{Counted, Currency, FreeTokens, Tokens};

const FIRST: QuotaIndex = QuotaIndex(0);
const PROVIDER: ProviderIndex = ProviderIndex(0);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn usage(tokens: u64) -> Usage {
    Usage::fresh(Tokens::new(tokens), Tokens::ZERO)
}

fn quota(period: Period, granted: &[(Counted, u64)]) -> Arc<Quota> {
    let grant = Grant::by(|counted| granted.iter().find(|(word, _)| *word == counted).map(|(_, n)| *n));
    let name = format!("east/a/{}", period.word()).into();
    let (zone, source) = (TimeZone::UTC, String::new());
    Arc::new(Quota { index: FIRST, name, period, zone, grant, from: None, until: None, source })
}

/// Quotas of one backend, of which nothing is used.
fn allowances(quotas: impl IntoIterator<Item = Arc<Quota>>) -> Allowances {
    let bound = |quota: Arc<Quota>| {
        let free = Arc::<FreeQuota>::default();
        assert!(free.must_be_read_for(&quota));
        free.bind(quota, Some(Some(Draw::default())), at(0));
        free
    };
    Allowances::new(quotas.into_iter().map(bound).collect(), Vec::new())
}

fn claim(allowances: &Allowances, expected: u64, now: i64) -> Claim {
    let indexes: Vec<QuotaIndex> = (0..allowances.quotas.len()).map(|n| QuotaIndex(u32::try_from(n).unwrap())).collect();
    allowances.claim(&indexes, PROVIDER, &usage(expected), at(now)).unwrap()
}

fn left(allowances: &Allowances, counted: Counted, now: i64) -> u64 {
    allowances.left(at(now))[0].of(counted).unwrap()
}

/// The tokens of a usage that were free.
fn freed(free: Option<&Free>, used: u64) -> u64 {
    match free.map(|free| free.part) {
        None => 0,
        Some(FreePart::Whole) => used,
        Some(FreePart::Tokens(FreeTokens { any, .. })) => any.get(),
    }
}

#[test]
fn what_is_under_way_is_set_aside_and_what_is_over_was_used() {
    let allowances = allowances([quota(Period::Minute, &[(Counted::Tokens, 100)])]);
    let mut first = claim(&allowances, 60, 1);
    assert_eq!(left(&allowances, Counted::Tokens, 1), 40);
    let mut second = claim(&allowances, 60, 1);
    assert_eq!(left(&allowances, Counted::Tokens, 1), 0);
    assert_eq!(freed(second.bear(&usage(60)).as_ref(), 60), 40, "the first has set the others aside");
    drop(claim(&allowances, 60, 1));
    assert_eq!(freed(first.bear(&usage(10)).as_ref(), 10), 10);
    assert_eq!(left(&allowances, Counted::Tokens, 2), 30);
    let mut longer = claim(&allowances, 5, 2);
    assert_eq!(freed(longer.bear(&usage(50)).as_ref(), 50), 30, "more than expected, but nobody else wants it");
    assert_eq!((left(&allowances, Counted::Tokens, 59), left(&allowances, Counted::Tokens, 60)), (0, 100));
}

#[test]
fn an_attempt_belongs_to_the_window_it_began_in() {
    let allowances = allowances([quota(Period::Minute, &[(Counted::Requests, 2)])]);
    let mut over_the_minute = claim(&allowances, 60, 59);
    let mut unborne = [claim(&allowances, 1, 59), claim(&allowances, 1, 59)];
    assert_eq!(left(&allowances, Counted::Requests, 60), 2);
    assert_eq!(over_the_minute.bear(&usage(99)).map(|free| free.part), Some(FreePart::Whole));
    assert_eq!(unborne[1].bear(&usage(1)), None, "two were set aside before it");
    assert_eq!(left(&allowances, Counted::Requests, 60), 2);
}

#[test]
fn what_is_not_billed_counts_nothing() {
    let allowances = allowances([quota(Period::Day, &[(Counted::Requests, 1)])]);
    assert_eq!(claim(&allowances, 5, 1).bear(&Usage::default()), None);
    assert_eq!(left(&allowances, Counted::Requests, 1), 1);
}

#[test]
fn quotas_are_used_one_after_the_other() {
    let one = quota(Period::Day, &[(Counted::Requests, 1)]);
    let allowances = allowances([one, quota(Period::Ever, &[(Counted::Tokens, 100)])]);
    let names: Vec<_> =
        [10, 30, 90, 7].map(|n| claim(&allowances, n, 1).bear(&usage(n)).map(|free| free.quota.to_string())).into();
    let [day, ever] = ["east/a/day", "east/a/ever"].map(|name| Some(name.to_owned()));
    assert_eq!(names, [day, ever.clone(), ever, None]);
}

#[test]
fn other_terms_keep_what_was_counted_and_another_period_is_read() {
    let allowances = allowances([quota(Period::Day, &[(Counted::Tokens, 100)])]);
    claim(&allowances, 30, 1).bear(&usage(30));
    let more = quota(Period::Day, &[(Counted::Tokens, 130)]);
    let free = &allowances.quotas[0];
    assert!(!free.must_be_read_for(&more));
    free.bind(more, None, at(2));
    assert_eq!(left(&allowances, Counted::Tokens, 2), 100);
    let minute = quota(Period::Minute, &[(Counted::Tokens, 50)]);
    assert!(free.must_be_read_for(&minute));
    free.bind(Arc::clone(&minute), Some(None), at(3));
    assert_eq!(left(&allowances, Counted::Tokens, 3), 0, "nobody knows what is used of it");
    assert!(free.must_be_read_for(&minute));
    free.bind(Arc::clone(&minute), Some(Some(Draw::of(&usage(20)))), at(4));
    assert_eq!((left(&allowances, Counted::Tokens, 4), left(&allowances, Counted::Tokens, 60)), (30, 50));
    let mut open = claim(&allowances, 10, 61);
    free.retire();
    assert!(free.must_be_read_for(&minute) && open.bear(&usage(10)).is_none());
    assert_eq!(free.left(at(62)), None);
}

#[test]
fn a_balance_is_charged_with_what_it_was_paid_for() {
    let amount = |pico| Amount::from_pico(pico, Currency::Cny);
    let prepaid = Prepaid { amount: amount(1000), from: at(100), until: Some(at(200)), source: String::new() };
    let balance = Arc::<Balance>::default();
    assert!(balance.must_be_read_for(&prepaid));
    balance.bind(Some(prepaid.clone()), Some(Some(200)));
    let allowances = Allowances::new(Vec::new(), vec![Some(Arc::clone(&balance))]);
    let pay = |now, amount| allowances.claim(&[], PROVIDER, &usage(1), at(now)).unwrap().pay(amount);
    pay(150, amount(100));
    pay(150, Amount::from_pico(100, Currency::Usd));
    pay(99, amount(100));
    let report = |now| allowances.balances(at(now))[0].map(|report| (report.left.pico(), report.outlasts));
    assert_eq!([99, 120, 150, 200].map(report), [None, Some((700, false)), Some((700, true)), None]);
    assert!(!balance.must_be_read_for(&Prepaid { amount: amount(5000), ..prepaid.clone() }));
    assert!(balance.must_be_read_for(&Prepaid { from: at(101), ..prepaid }));
    assert!(allowances.claim(&[], ProviderIndex(7), &usage(1), at(150)).is_none());
}

proptest! {
    #[test]
    fn no_more_is_free_than_was_granted_whoever_comes_when(
        steps in prop::collection::vec((0_u64..80, 0_u64..120, 0_usize..4, 0_i64..7), 1..60), granted in 0_u64..400,
    ) {
        let allowances = allowances([quota(Period::Minute, &[(Counted::Tokens, granted), (Counted::Requests, 9)])]);
        let (mut open, mut now, mut used, mut freed_in) = (Vec::new(), 0, 0, std::collections::BTreeMap::new());
        for (expected, uses, ends, passed) in steps {
            now += passed;
            open.push((now / 60, claim(&allowances, expected, now), uses));
            let ending = open.len().saturating_sub(ends);
            for (minute, mut claim, uses) in open.drain(ending.min(open.len())..).collect::<Vec<_>>() {
                let free = claim.bear(&usage(uses));
                let (tokens, requests) = freed_in.entry(minute).or_insert((0, 0));
                *tokens += freed(free.as_ref(), uses);
                *requests += u64::from(free.is_some());
                prop_assert!(freed(free.as_ref(), uses) <= uses && *tokens <= granted && *requests <= 9);
                used += if minute == now / 60 { uses } else { 0 };
            }
        }
        drop(open);
        if now < 60 {
            prop_assert_eq!(left(&allowances, Counted::Tokens, now), granted.saturating_sub(used));
            let (freed, _) = freed_in.get(&0).copied().unwrap_or_default();
            prop_assert!(freed <= used.min(granted));
        }
    }

    #[test]
    fn concurrent_claims_share_one_quota(uses in prop::collection::vec(0_u64..50, 2..24), granted in 0_u64..300) {
        let allowances = allowances([quota(Period::Ever, &[(Counted::Tokens, granted)])]);
        let one = |uses: u64| {
            let allowances = &allowances;
            move || {
                let mut claim = claim(allowances, 20, 1);
                freed(claim.bear(&usage(uses)).as_ref(), uses)
            }
        };
        let freed: u64 = std::thread::scope(|scope| {
            let running: Vec<_> = uses.iter().map(|uses| scope.spawn(one(*uses))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let used: u64 = uses.iter().sum();
        prop_assert!(freed <= used.min(granted));
        prop_assert_eq!(left(&allowances, Counted::Tokens, 1), granted.saturating_sub(used));
    }
}
