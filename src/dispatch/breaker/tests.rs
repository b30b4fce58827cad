//! The breaker on invented time.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, ManualClock};

const OVERLOADED: Failure = Failure::Told(ErrorClass::Overloaded);

fn breaker() -> (Arc<ManualClock>, Arc<Breaker>) {
    let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let shared: SharedClock = clock.clone();
    (clock, Breaker::new(shared, BreakerSettings::default()))
}

fn fail(breaker: &Arc<Breaker>, times: u32) {
    for _ in 0..times {
        breaker.admit().unwrap().failed(OVERLOADED, None);
    }
}

fn remaining(breaker: &Arc<Breaker>) -> Option<Duration> {
    breaker.admit().err().map(|cooling| cooling.remaining)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_run_of_failures_opens_and_a_success_breaks_the_run() {
    let (_, breaker) = breaker();
    fail(&breaker, 4);
    breaker.admit().unwrap().succeeded();
    fail(&breaker, 4);
    assert_eq!(remaining(&breaker), None);
    fail(&breaker, 1);
    assert_eq!(remaining(&breaker), Some(seconds(5)));
}

#[test]
fn half_of_many_attempts_failing_opens() {
    let (_, breaker) = breaker();
    for _ in 0..9 {
        breaker.admit().unwrap().succeeded();
        fail(&breaker, 1);
    }
    breaker.admit().unwrap().succeeded();
    assert_eq!(remaining(&breaker), None, "nineteen attempts say nothing yet");
    fail(&breaker, 1);
    assert_eq!(remaining(&breaker), Some(seconds(5)));
}

#[test]
fn failures_of_long_ago_do_not_count() {
    let (clock, breaker) = breaker();
    for _ in 0..9 {
        breaker.admit().unwrap().succeeded();
        fail(&breaker, 1);
    }
    clock.advance(Duration::from_secs(31));
    breaker.admit().unwrap().succeeded();
    fail(&breaker, 1);
    assert_eq!(remaining(&breaker), None);
}

#[test]
fn what_is_the_requests_fault_never_opens() {
    let (_, breaker) = breaker();
    for class in
        [ErrorClass::BadRequest, ErrorClass::Unsupported, ErrorClass::Moderation, ErrorClass::Context, ErrorClass::ModelErred]
    {
        for _ in 0..50 {
            breaker.admit().unwrap().failed(Failure::Told(class), None);
        }
    }
    assert_eq!(remaining(&breaker), None);
}

#[test]
fn what_is_the_backends_fault_opens_in_time() {
    let lasting = [ErrorClass::Auth, ErrorClass::Billing, ErrorClass::NotFound].map(|class| (Failure::Told(class), 1));
    let passing = [
        OVERLOADED,
        Failure::Told(ErrorClass::RateLimited),
        Failure::Told(ErrorClass::BrokeOff),
        Failure::Connect,
        Failure::Timeout,
        Failure::Cut,
        Failure::Malformed,
    ];
    for (failure, needed) in lasting.into_iter().chain(passing.map(|failure| (failure, 5))) {
        let (_, breaker) = breaker();
        let mut admitted = 0;
        for permit in (0..10).filter_map(|_| breaker.admit().ok()) {
            permit.failed(failure, None);
            admitted += 1;
        }
        assert_eq!(admitted, needed, "{}", failure.word());
    }
}

/// A firewall in front of a provider answers 403 to what one client writes; some sites answer 402 to a bound that is too
/// large, and 404 to an option. None of these may close it to the others.
#[test]
fn one_clients_forbidden_request_does_not_close_a_backend_that_serves_others() {
    for class in [ErrorClass::Auth, ErrorClass::Billing, ErrorClass::NotFound] {
        let (clock, breaker) = breaker();
        for _ in 0..12 {
            breaker.admit().unwrap().succeeded();
            breaker.admit().unwrap().succeeded();
            breaker.admit().unwrap().failed(Failure::Told(class), None);
        }
        assert_eq!(remaining(&breaker), None, "{class:?}");
        clock.advance(seconds(60));
        breaker.admit().unwrap().failed(Failure::Told(class), None);
        assert_eq!(remaining(&breaker), Some(seconds(60)), "{class:?}: nobody was served lately");
    }
}

#[test]
fn a_time_to_stay_away_is_obeyed_at_once_and_to_the_end() {
    let (clock, breaker) = breaker();
    let limited = Failure::Told(ErrorClass::RateLimited);
    breaker.admit().unwrap().failed(limited, Some(seconds(30)));
    clock.advance(Duration::from_secs(29));
    assert_eq!(remaining(&breaker), Some(seconds(1)));
    clock.advance(Duration::from_secs(1));
    breaker.admit().unwrap().failed(limited, Some(seconds(120)));
    assert_eq!(remaining(&breaker), Some(seconds(120)), "longer than any cooling of our own");
    clock.advance(Duration::from_mins(2));
    breaker.admit().unwrap().failed(limited, Some(seconds(86_400)));
    assert_eq!(remaining(&breaker), Some(seconds(600)), "a day is not believed");
}

#[test]
fn one_probe_at_a_time_decides_for_all() {
    let (clock, breaker) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(5));
    let probe = breaker.admit().unwrap();
    assert_eq!(remaining(&breaker), Some(PROBE_WAIT));
    assert_eq!(breaker.cooling_at(clock.monotonic()), Some(PROBE_WAIT));
    probe.succeeded();
    assert_eq!(remaining(&breaker), None);
    fail(&breaker, 4);
    assert_eq!(remaining(&breaker), None, "the count began anew");
}

#[test]
fn a_dropped_probe_makes_room_for_the_next() {
    let (clock, breaker) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(5));
    drop(breaker.admit().unwrap());
    let next = breaker.admit().unwrap();
    assert_eq!(remaining(&breaker), Some(PROBE_WAIT));
    next.succeeded();
    assert_eq!(remaining(&breaker), None);
}

#[test]
fn a_probe_that_answers_lets_others_in_before_it_ends() {
    let (clock, breaker) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(5));
    let mut probe = breaker.admit().unwrap();
    probe.answered();
    fail(&breaker, 4);
    probe.failed(Failure::Cut, None);
    assert_eq!(remaining(&breaker), Some(seconds(5)), "its own end counts like any other");
}

#[test]
fn failed_probes_double_the_cooling_up_to_a_minute() {
    let (clock, breaker) = breaker();
    fail(&breaker, 5);
    for expected in [10, 20, 40, 60, 60] {
        clock.advance(remaining(&breaker).unwrap());
        fail(&breaker, 1);
        assert_eq!(remaining(&breaker), Some(seconds(expected)));
    }
    clock.advance(Duration::from_mins(1));
    breaker.admit().unwrap().succeeded();
    fail(&breaker, 5);
    assert_eq!(remaining(&breaker), Some(seconds(5)), "a success forgets");
}

#[test]
fn requests_from_before_the_opening_are_no_news() {
    let (clock, breaker) = breaker();
    let (late_success, late_failure) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    fail(&breaker, 5);
    late_success.succeeded();
    assert_eq!(remaining(&breaker), Some(seconds(5)));
    clock.advance(Duration::from_secs(5));
    let probe = breaker.admit().unwrap();
    late_failure.failed(Failure::Timeout, None);
    probe.succeeded();
    assert_eq!(remaining(&breaker), None);
}

#[test]
fn a_late_refusal_extends_the_cooling_only() {
    let (_, breaker) = breaker();
    let (shorter, longer) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    fail(&breaker, 5);
    shorter.failed(Failure::Told(ErrorClass::RateLimited), Some(seconds(2)));
    assert_eq!(remaining(&breaker), Some(seconds(5)));
    longer.failed(Failure::Told(ErrorClass::RateLimited), Some(seconds(20)));
    assert_eq!(remaining(&breaker), Some(seconds(20)));
}

proptest! {
    /// Whatever happens in whatever order: while open nobody passes, while probing one is out, and once every permit is
    /// gone and time has passed the backend can be asked again.
    #[test]
    fn a_breaker_never_locks_a_backend_out(steps in proptest::collection::vec((0_u8..6, 0_u64..20), 0..120)) {
        let (clock, breaker) = breaker();
        let mut out: Vec<Permit> = Vec::new();
        for (step, wait) in steps {
            clock.advance(Duration::from_secs(wait));
            let cooling = breaker.cooling_at(clock.monotonic());
            match (step, out.pop()) {
                (0, Some(permit)) => permit.succeeded(),
                (1, Some(permit)) => drop(permit.failed(OVERLOADED, None)),
                (2, Some(permit)) => drop(permit.failed(OVERLOADED, Some(seconds(wait)))),
                (3, Some(permit)) => drop(permit),
                (_, last) => {
                    out.extend(last);
                    let admitted = breaker.admit();
                    prop_assert_eq!(admitted.is_ok(), cooling.is_none());
                    out.extend(admitted.ok());
                }
            }
        }
        out.clear();
        clock.advance(Duration::from_mins(10));
        prop_assert!(breaker.admit().is_ok());
    }
}
