//! Limits at their nanoseconds, set right at the end, over several payers, in races.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::units::KeyName;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_mins(1);

fn payer(name: &str) -> Payer {
    Payer::Key(KeyName::new(name))
}

fn throttle(payer: Payer, rates: Rates) -> Arc<Throttle> {
    let throttle = Throttle::of(payer);
    throttle.set(rates);
    throttle
}

fn only(rates: Rates) -> Arc<Throttles> {
    Throttles::of([throttle(payer("web"), rates)]).unwrap()
}

fn a_minute(requests: u64) -> Rates {
    Rates { requests_per_minute: Some(requests), ..Rates::default() }
}

fn tokens_a_minute(tokens: u64) -> Rates {
    Rates { tokens_per_minute: Some(tokens), ..Rates::default() }
}

/// Whether a request is let in, that ends at once.
fn passes(limits: &Arc<Throttles>, now: Duration) -> bool {
    limits.pass(Tokens::ZERO, now).is_ok_and(|passage| {
        passage.end(Tokens::ZERO, now);
        true
    })
}

#[test]
fn a_minutes_worth_comes_at_once_and_the_next_one_when_it_is_due_to_the_nanosecond() {
    let limits = only(a_minute(7));
    let now = Duration::from_secs(1_000);
    let _passed: Vec<Passage> = (0..7).map(|_| limits.pass(Tokens::ZERO, now).unwrap()).collect();
    let refused = limits.pass(Tokens::ZERO, now).unwrap_err();
    // A seventh of a minute is 8,571,428,571.43 ns.
    assert_eq!(refused.retry_after, Some(Duration::from_nanos(8_571_428_572)));
    assert_eq!((refused.counted, refused.limit, refused.wanted), (Counted::Requests, 7, 1));
    assert_eq!(refused.standing.requests, Some(Lane { limit: 7, remaining: 0, reset: MINUTE }));
    assert!(limits.look(now + Duration::from_nanos(8_571_428_571)).is_err());
    let due = now + Duration::from_nanos(8_571_428_572);
    assert!(limits.look(due).is_ok());
    assert!(passes(&limits, due) && !passes(&limits, due));
    // After a minute of rest there is one minute's worth and not two.
    let rested = due + MINUTE * 5;
    assert_eq!((0..20).filter(|_| passes(&limits, rested)).count(), 7);
}

#[test]
fn tokens_are_taken_as_estimated_and_set_right_at_the_end() {
    let limits = only(tokens_a_minute(600));
    let now = Duration::from_secs(5);
    let left = |now| limits.pass(Tokens::ZERO, now).unwrap().standing().tokens.unwrap().remaining;
    let first = limits.pass(Tokens::new(400), now).unwrap();
    assert_eq!(first.standing().tokens, Some(Lane { limit: 600, remaining: 200, reset: Duration::from_secs(40) }));
    let refused = limits.pass(Tokens::new(300), now).unwrap_err();
    assert_eq!((refused.counted, refused.retry_after), (Counted::Tokens, Some(Duration::from_secs(10))));
    assert!(refused.to_string().ends_with("600 tokens a minute, 200 are left and this request takes about 300"), "{refused}");
    first.end(Tokens::new(100), now);
    assert_eq!(left(now), 500);
    drop(limits.pass(Tokens::new(500), now).unwrap());
    assert_eq!(left(now), 500, "what was not sent took none");
    limits.pass(Tokens::new(10), now).unwrap().end(Tokens::new(1_700), now);
    let debt = limits.pass(Tokens::new(1), now).unwrap_err();
    assert_eq!(debt.retry_after, Some(Duration::from_millis(120_100)), "1,800 were taken of 600 a minute");
    let never = limits.pass(Tokens::new(601), now).unwrap_err();
    assert_eq!(never.retry_after, None);
    assert!(never.to_string().contains("this request alone takes about 601"), "{never}");
}

#[test]
fn a_place_is_free_again_when_its_request_ends_however_that_is() {
    let limits = only(Rates { at_once: Some(2), ..Rates::default() });
    let now = Duration::ZERO;
    let [first, second] = [(); 2].map(|()| limits.pass(Tokens::new(9), now).unwrap());
    let refused = limits.pass(Tokens::ZERO, now).unwrap_err();
    assert_eq!((refused.counted, refused.retry_after), (Counted::AtOnce, Some(SOME_WAIT)));
    assert_eq!(refused.standing, Standing::default());
    first.end(Tokens::new(5), now);
    let third = limits.pass(Tokens::ZERO, now).unwrap();
    assert!(limits.look(now).is_err());
    drop((second, third));
    assert!(limits.look(now).is_ok());
}

#[test]
fn of_several_limits_all_hold_the_longest_is_told_and_a_refusal_takes_nothing() {
    let team = throttle(Payer::Team("t".to_owned()), a_minute(3));
    let gateway = throttle(Payer::Gateway, Rates { tokens_per_minute: Some(100), ..a_minute(60) });
    let key = |name: &str, rates: Rates| {
        Throttles::of([Arc::clone(&gateway), throttle(payer(name), rates), Arc::clone(&team)]).unwrap()
    };
    let (ann, ben) = (key("ann", a_minute(2)), key("ben", Rates::default()));
    let now = Duration::from_secs(9);
    let first = ann.pass(Tokens::new(10), now).unwrap();
    assert_eq!(first.standing().requests.unwrap().limit, 2, "the tightest");
    first.end(Tokens::ZERO, now);
    drop(ann.pass(Tokens::ZERO, now).unwrap());
    assert!(passes(&ann, now), "what was not sent does not count");
    let own = ann.pass(Tokens::ZERO, now).unwrap_err();
    assert_eq!((own.payer, own.retry_after), (payer("ann"), Some(Duration::from_secs(30))));
    // None of the refused ones counts above.
    let last = ben.pass(Tokens::new(40), now).unwrap();
    assert_eq!(last.standing().requests, Some(Lane { limit: 3, remaining: 0, reset: MINUTE }));
    let teams = ben.pass(Tokens::new(80), now).unwrap_err();
    // The gateway's tokens would be back in 12 s.
    assert_eq!((teams.counted, teams.retry_after), (Counted::Requests, Some(Duration::from_secs(20))));
    assert_eq!(teams.payer, Payer::Team("t".to_owned()));
}

#[test]
fn another_limit_counts_what_was_asked_and_nothing_limited_is_nothing_counted() {
    assert!(Throttles::of([]).is_none());
    let web = throttle(payer("web"), a_minute(10));
    let limits = Throttles::of([Arc::clone(&web)]).unwrap();
    let now = Duration::from_secs(1);
    let _passed: Vec<Passage> = (0..6).map(|_| limits.pass(Tokens::ZERO, now).unwrap()).collect();
    web.set(a_minute(5));
    assert_eq!(limits.look(now).unwrap_err().retry_after, Some(Duration::from_secs(24)), "six of five, and one more");
    web.set(a_minute(20));
    assert_eq!(limits.pass(Tokens::ZERO, now).unwrap().standing().requests.unwrap().remaining, 13);
}

#[test]
fn threads_that_race_are_let_in_as_often_as_the_limit_says() {
    let team = throttle(Payer::Team("t".to_owned()), Rates { at_once: Some(1_000), ..a_minute(500) });
    let keys = ["a", "b"].map(|name| Throttles::of([throttle(payer(name), a_minute(400)), Arc::clone(&team)]).unwrap());
    let passed = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (key, passed) = (&keys[thread % 2], &passed[thread % 2]);
            scope.spawn(move || {
                let in_time = (0..300).filter(|_| passes(key, MINUTE)).count();
                passed.fetch_add(u64::try_from(in_time).unwrap(), Ordering::Relaxed);
            });
        }
    });
    let [a, b] = passed.map(AtomicU64::into_inner);
    assert!(a <= 400 && b <= 400 && a + b == 500, "{a} and {b}");
}

proptest! {
    /// Whatever is asked when: over any stretch of time no more than a minute's worth and what came back in it is let in, and
    /// a refusal names the first nanosecond at which it would not have been one.
    #[test]
    fn a_limit_is_exact(
        limit in 1_u64..2_000,
        asks in proptest::collection::vec((0_u64..40_000_000_000, 1_u64..400), 1..80),
    ) {
        let limits = only(tokens_a_minute(limit));
        let mut now = Duration::from_secs(100);
        let mut passed: Vec<(Duration, u64)> = Vec::new();
        for (pause, tokens) in asks {
            now += Duration::from_nanos(pause);
            match limits.pass(Tokens::new(tokens), now) {
                Ok(passage) => {
                    passage.end(Tokens::new(tokens), now);
                    passed.push((now, tokens));
                }
                Err(refused) => match refused.retry_after {
                    None => prop_assert!(tokens > limit),
                    Some(wait) => {
                        prop_assert!(wait > Duration::ZERO && tokens <= limit);
                        prop_assert!(limits.pass(Tokens::new(tokens), (now + wait).saturating_sub(Duration::from_nanos(1))).is_err());
                        now += wait;
                        let late = limits.pass(Tokens::new(tokens), now);
                        prop_assert!(late.is_ok());
                        late.unwrap().end(Tokens::new(tokens), now);
                        passed.push((now, tokens));
                    }
                },
            }
        }
        for (from, &(begin, _)) in passed.iter().enumerate() {
            let mut sum = 0_u128;
            for &(end, tokens) in &passed[from..] {
                sum += u128::from(tokens) * ONE;
                let allowed = u128::from(limit) * ONE + end.saturating_sub(begin).as_nanos() * u128::from(limit);
                prop_assert!(sum <= allowed, "{sum} of {allowed}");
            }
        }
    }
}
