//! One backend's figures on a clock that is turned by hand.

use jiff::Timestamp;

use super::*;
use crate::canonical::event::ErrorClass;
use crate::clock::{Clock, ManualClock};

const BAD_REQUEST: Failure = Failure::Told(ErrorClass::BadRequest);

fn health(most_waiting: u32) -> (Arc<ManualClock>, Health, BackendId) {
    let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let shared: SharedClock = clock.clone();
    let settings = HealthSettings { most_waiting, ..HealthSettings::default() };
    (clock, Health::new(shared, settings), BackendId::new("north", "small"))
}

fn risks(roster: &Roster) -> impl Iterator<Item = HealthRisk> {
    let mut all = vec![HealthRisk::default(); roster.backends.len()];
    roster.risks(None).into_iter().for_each(|(place, risk)| all[place] = risk);
    all.into_iter()
}

#[test]
fn the_failure_share_rises_and_is_forgotten() {
    let (clock, health, id) = health(8);
    assert_eq!(health.view(&id), HealthView::default());
    health.enter(&id).unwrap().failed(Failure::Timeout, None);
    assert_eq!(health.view(&id).failure_share, 90_909, "one of one with ten imagined good ones");
    health.enter(&id).unwrap().succeeded();
    health.enter(&id).unwrap().failed(BAD_REQUEST, None);
    assert_eq!(health.view(&id).failure_share, 76_923, "one of three");
    clock.advance(Duration::from_mins(1));
    let halved = health.view(&id).failure_share;
    assert!(halved.abs_diff(43_478) <= 1, "half of one in ten and three halves: {halved}");
    clock.advance(Duration::from_hours(2));
    assert_eq!(health.view(&id).failure_share, 0);
}

#[test]
fn the_decay_does_not_depend_on_how_often_one_looks() {
    let share_after = |looks: u64| {
        let (clock, health, id) = health(8);
        health.enter(&id).unwrap().failed(Failure::Cut, None);
        for _ in 0..looks {
            clock.advance(Duration::from_mins(2) / u32::try_from(looks).unwrap());
            health.view(&id);
        }
        health.view(&id).failure_share
    };
    assert!(share_after(1).abs_diff(share_after(480)) <= 2);
    assert!(share_after(1).abs_diff(24_390) <= 2, "a quarter of one in ten and a quarter");
}

#[test]
fn a_place_is_held_until_the_first_byte() {
    let (clock, health, id) = health(1);
    let mut attempt = health.enter(&id).unwrap();
    assert!(matches!(health.enter(&id), Err(Refused::Saturated(Saturated { most: 1 }))));
    assert!(health.view(&id).waiting_full);
    clock.advance(Duration::from_millis(800));
    attempt.answered(Answers::Streamed);
    let wait = || health.view(&id).wait.map(|wait| wait.mean_ms);
    assert_eq!(wait(), Some(1150), "between 800 and the 1500 of one that nobody knows");
    let mut second = health.enter(&id).unwrap();
    clock.advance(Duration::from_millis(1600));
    attempt.answered(Answers::Streamed);
    second.answered(Answers::Streamed);
    assert_eq!(wait(), Some(1300));
    attempt.succeeded();
    second.succeeded();
}

#[test]
fn an_attempt_that_is_dropped_gives_back_everything_and_teaches_nothing() {
    let (clock, health, id) = health(1);
    drop(health.enter(&id).unwrap());
    assert_eq!(health.view(&id), HealthView::default());
    for _ in 0..5 {
        health.enter(&id).unwrap().failed(Failure::Connect, None);
    }
    assert!(matches!(health.enter(&id), Err(Refused::Cooling(_))));
    assert!(!health.view(&id).waiting_full, "a refusal keeps no place");
    assert_eq!(health.view(&id).cooling, Some(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5));
    drop(health.enter(&id).unwrap());
    health.enter(&id).unwrap().succeeded();
    assert_eq!(health.view(&id).cooling, None);
}

#[test]
fn a_cut_stream_counts_once_and_against_the_backend() {
    let (_, health, id) = health(4);
    for _ in 0..5 {
        let mut attempt = health.enter(&id).unwrap();
        attempt.answered(Answers::Streamed);
        attempt.failed(Failure::Cut, None);
    }
    assert!(health.view(&id).cooling.is_some());
    assert_eq!(health.view(&id).failure_share, 333_333, "five of fifteen");
}

#[test]
fn backends_are_kept_by_id_and_dropped_when_unnamed() {
    let (_, health, id) = health(4);
    let other = BackendId::new("south", "small");
    health.enter(&id).unwrap().failed(Failure::Timeout, None);
    health.enter(&other).unwrap().failed(Failure::Timeout, None);
    assert!(Arc::ptr_eq(&health.of(&id), &health.of(&BackendId::new("north", "small"))));
    health.keep_only(|named| *named == id);
    assert!(health.view(&id).failure_share > 0);
    assert_eq!(health.view(&other).failure_share, 0);
}

#[test]
fn a_backend_that_is_reached_otherwise_begins_anew() {
    let (clock, health, id) = health(4);
    let before = health.enter(&id).unwrap();
    health.enter(&id).unwrap().failed(Failure::Told(ErrorClass::Auth), None);
    assert_eq!(health.view(&id).cooling, Some(Duration::from_mins(1)));
    health.trust_again(&id);
    assert_eq!(health.view(&id), HealthView::default());
    before.failed(Failure::Told(ErrorClass::Auth), None);
    assert_eq!(health.view(&id).cooling, None, "it was sent with the old key");
    clock.advance(Duration::from_secs(1));
    health.enter(&id).unwrap().failed(Failure::Told(ErrorClass::Auth), None);
    assert!(health.view(&id).cooling.is_some(), "the new key is no better");
}

#[test]
fn streams_and_whole_answers_wait_apart_and_only_where_asked_for() {
    let (clock, health, id) = health(4);
    let roster = health.roster([health.of(&id)].into_iter(), &[0]);
    let mut attempt = health.enter(&id).unwrap();
    clock.advance(Duration::from_millis(3500));
    attempt.answered(Answers::Whole);
    let mean = |waits| roster.risks(waits).first().and_then(|(_, risk)| risk.wait).map(|wait| wait.mean_ms);
    assert_eq!([None, Some(Answers::Streamed), Some(Answers::Whole)].map(mean), [None, None, Some(2500)]);
    health.enter(&id).unwrap().waited(Answers::Streamed);
    assert_eq!(mean(Some(Answers::Streamed)), Some(750), "one that was waited for in vain teaches too");
}

#[test]
fn limits_that_are_told_and_refusals_are_headroom() {
    let (clock, health, id) = health(4);
    let roster = health.roster([health.of(&id)].into_iter(), &[0]);
    let left = || risks(&roster).next().unwrap().headroom.left;
    let requests = Some(crate::dialect::limits::Left { left: 11, limit: Some(100), resets: None });
    health.of(&id).told(&RateLimits { requests, tokens: None });
    assert_eq!(left(), 110_000);
    health.enter(&id).unwrap().succeeded();
    assert_eq!(left(), 100_000, "one that was sent counts off");
    health.enter(&id).unwrap().failed(Failure::Told(ErrorClass::RateLimited), None);
    assert_eq!(left(), 0);
    clock.advance(Duration::from_secs(45));
    assert_eq!(left(), 90_000, "what was told last, since more has come back");
    health.trust_again(&id);
    assert_eq!(left(), 1_000_000);
}

#[test]
fn a_roster_sees_what_happens_after_it_was_made() {
    let (_, health, id) = health(4);
    let other = BackendId::new("south", "small");
    let roster = health.roster([&other, &id].map(|id| health.of(id)).into_iter(), &[0, 1]);
    health.enter(&id).unwrap().failed(Failure::Timeout, None);
    let shares = || risks(&roster).map(|risk| risk.failure_share).collect::<Vec<_>>();
    assert_eq!(shares(), [0, health.view(&id).failure_share]);
    roster.get(0).unwrap().enter().unwrap().failed(Failure::Timeout, None);
    assert_eq!(shares(), [health.view(&other).failure_share, health.view(&id).failure_share]);
    assert!(health.view(&other).failure_share > 0 && roster.get(2).is_none());
}

/// What nobody failed at, or everybody has forgotten, is answered without a look at the record: as the record would.
#[test]
fn the_short_way_says_what_the_long_one_says() {
    let (clock, health, id) = health(1);
    let roster = health.roster([health.of(&id)].into_iter(), &[0]);
    let check = |what: &str| {
        let HealthView { failure_share, wait: _, cooling, waiting_full } = health.view(&id);
        let headroom = health.of(&id).headroom.at(clock.monotonic());
        let long = HealthRisk { failure_share, headroom, wait: None, cooling, waiting_full };
        assert_eq!(risks(&roster).collect::<Vec<_>>(), [long], "{what}");
        assert_eq!(risks(&roster).collect::<Vec<_>>(), [long], "{what}, again");
    };
    check("nothing has happened");
    let waits = health.enter(&id).unwrap();
    check("one waits");
    waits.failed(Failure::Told(ErrorClass::RateLimited), Some(Duration::from_secs(90)));
    check("told to stay away");
    clock.advance(Duration::from_secs(91));
    check("may be asked again");
    let probe = health.enter(&id).unwrap();
    check("being probed");
    probe.succeeded();
    check("back");
    clock.advance(Duration::from_hours(3));
    check("all is forgotten");
    health.enter(&id).unwrap().failed(Failure::Timeout, None);
    check("and failed again");
    assert!(risks(&roster).all(|risk| risk.failure_share > 0));
}

/// The marks that spare a look never hide what counts: whatever happens, in any order, the roster says what the backends say.
#[test]
fn marks_hide_nothing() {
    for seed in 0..300_u64 {
        let (clock, health, id) = health(2);
        let other = BackendId::new("south", "small");
        let roster = health.roster([&other, &id].map(|id| health.of(id)).into_iter(), &[0, 1]);
        let (mut state, mut under_way) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, Vec::new());
        for step in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = if state >> 60 & 1 == 0 { &id } else { &other };
            let limits = RateLimits {
                requests: Some(crate::dialect::limits::Left { left: 3, limit: Some(9), resets: None }),
                tokens: None,
            };
            match state >> 40 & 7 {
                0 | 1 => under_way.extend(health.enter(id).ok()),
                2 => drop(under_way.pop()),
                3 => under_way.pop().into_iter().for_each(|attempt| attempt.failed(Failure::Timeout, None)),
                4 => under_way.pop().into_iter().for_each(BackendAttempt::succeeded),
                5 => health.of(id).told(&limits),
                6 => clock.advance(Duration::from_secs(state >> 50 & 127)),
                _ => health.let_wait((state >> 45 & 3).try_into().unwrap()),
            }
            let now = clock.monotonic();
            let short: Vec<_> = risks(&roster).collect();
            let long: Vec<_> = roster.backends.iter().map(|backend| backend.risk_at(now, None)).collect();
            assert_eq!(short, long, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn sixty_ticks_leave_a_half() {
    assert_eq!(left_after(0), 1 << 32);
    assert!(left_after(60).abs_diff(1 << 31) < 100);
    assert!(left_after(FORGOTTEN_AFTER) < 100);
    assert_eq!(left_after(u64::MAX), 0);
}
