//! The ring: exact sums, bounded memory, what a reader is told, and an entry in words.

use super::super::{EntryView, State};
use super::*;
use crate::canonical::event::ErrorClass;
use crate::catalog::Snapshot;
use crate::dispatch::Cause;
use crate::ledger::Cost;
use crate::ledger::fixtures::request_opened;
use crate::route::Plan;
use crate::route::testing::{Case, Spec};
use crate::units::{Amount, Course, Currency, KeyName, Provenance, RequestId, Tokens, Usage};
use jiff::Timestamp;
use std::time::Duration;

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// A table, a whole plan of it and the facts that it was made from.
type Decided = (Arc<Snapshot>, Arc<Plan>, Vec<u8>);

fn planned_over(count: usize) -> Decided {
    let specs = (0..count).map(|n| Spec::named(&format!("site{n}/m")).costing(&(n + 1).to_string(), "1")).collect();
    let case = Case::of(specs);
    let (snapshot, plan) = case.plan();
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of facts of one lifetime")]
    let facts = case.with_facts_of(&snapshot, |facts| facts.keep());
    (Arc::new(snapshot), plan.unwrap(), facts)
}

fn begin(feed: &Arc<Feed>, number: u64, (snapshot, plan, facts): &Decided) -> Shown {
    let (snapshot, plan, facts) = (Arc::clone(snapshot), Arc::clone(plan), facts.clone());
    feed.begin(|| Planned { opened: Arc::new(request_opened(number)), plan, snapshot, facts })
}

fn attempt(backend: &str, ending: Ending, cost: Usd) -> SettledAttempt {
    let (provider, model) = backend.split_once('/').unwrap();
    SettledAttempt {
        number: 0,
        backend: BackendId::new(provider, model),
        ending,
        usage: Usage::fresh(Tokens::new(1_000_000), Tokens::new(1_000_000)),
        provenance: Provenance::Reported,
        cost: Cost { amount: Amount::zero(Currency::Usd), usd: cost },
        quoted: cost,
        held: cost,
        course: Course::at(request_opened(1).arrived_at),
    }
}

fn end(outcome: Outcome, cost: &str, baseline: Option<&str>, attempts: Vec<SettledAttempt>) -> End {
    let cost = usd(cost);
    let baseline = baseline.map(usd);
    End {
        outcome,
        status: 200,
        first_byte: Some(Duration::from_millis(5)),
        took: Duration::from_millis(9),
        cost,
        baseline,
        attempts,
    }
}

fn refuse(feed: &Feed, model: &str) {
    feed.refuse(|| Refusal {
        id: RequestId::from_parts(1, [0; 10]),
        at: Timestamp::UNIX_EPOCH,
        key: KeyName::new("team"),
        model: Some(model.to_owned()),
        reason: "unknown_model",
        excluded: Vec::new(),
    });
}

#[test]
fn sums_are_exact_and_compare_answered_requests_only() {
    let (feed, table) = (Feed::new(true), planned_over(3));
    let answered = |cost: &str| vec![attempt("site0/m", Ending::Complete, usd(cost))];
    begin(&feed, 1, &table).end(end(Outcome::Answered, "0.1", Some("0.5"), answered("0.1")));
    let failed = vec![attempt("site1/m", Ending::TimedOut, usd("0.02"))];
    begin(&feed, 2, &table).end(end(Outcome::Failed, "0.02", None, failed));
    // Without a baseline: a million tokens each way cost 3 + 1 at the dearest.
    begin(&feed, 3, &table).end(end(Outcome::Answered, "0.2", None, answered("0.2")));
    let open = begin(&feed, 4, &table);
    let totals = feed.read(Mark::default()).totals;
    assert_eq!((totals.requests, totals.open, totals.answered), (4, 1, 2));
    assert_eq!(totals.spent, usd("0.32"));
    assert_eq!(totals.baseline, Yardstick { elsewhere: usd("0.5"), spent: usd("0.1") });
    assert_eq!(totals.dearest, Yardstick { elsewhere: usd("4"), spent: usd("0.2") });
    let backends = feed.read(Mark::default()).backends;
    let sums: Vec<(&str, u64, u64)> = backends.iter().map(|(id, sums)| (id.as_str(), sums.answered, sums.failed)).collect();
    assert_eq!(sums, [("site0/m", 2, 0), ("site1/m", 0, 1)]);
    drop(open);
}

#[test]
fn a_request_ends_once() {
    let (feed, table) = (Feed::new(true), planned_over(1));
    let shown = begin(&feed, 1, &table);
    for _ in 0..2 {
        shown.end(end(Outcome::Answered, "0.1", None, Vec::new()));
    }
    let totals = feed.read(Mark::default()).totals;
    assert_eq!((totals.answered, totals.spent), (1, usd("0.1")));
}

#[test]
fn a_reader_gets_what_changed_and_is_told_what_it_missed() {
    let (feed, table) = (Feed::new(true), planned_over(1));
    assert!(feed.since(Mark::default()).is_none(), "nothing yet");
    let first = begin(&feed, 1, &table);
    let seen = feed.since(Mark::default()).unwrap();
    assert_eq!((seen.entries.len(), seen.missed), (1, 0));
    assert!(feed.since(seen.mark).is_none());
    refuse(&feed, "x");
    first.end(end(Outcome::Answered, "0.1", None, Vec::new()));
    let changed = feed.since(seen.mark).unwrap();
    let numbers = |changes: &Changes| changes.entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
    assert_eq!(numbers(&changed), [1, 2]);
    for _ in 0..MOST_ENTRIES + 5 {
        refuse(&feed, "y");
    }
    let later = feed.since(changed.mark).unwrap();
    assert_eq!((later.entries.len(), later.missed), (MOST_ENTRIES, 5));
    assert_eq!(later.totals.refused, MOST_ENTRIES as u64 + 6);
    // Of an earlier life: everything is new.
    assert_eq!(feed.since(Mark::at(u64::MAX)).unwrap().entries.len(), MOST_ENTRIES);
}

#[test]
fn memory_is_bounded_by_count_by_bytes_and_by_tables() {
    let (feed, large) = (Feed::new(true), planned_over(400));
    let kept = |feed: &Feed| feed.read(Mark::default()).entries;
    for number in 0..MOST_ENTRIES as u64 {
        drop(begin(&feed, number, &large));
    }
    let bytes: usize = kept(&feed).iter().map(|entry| entry.bytes).sum();
    assert!(kept(&feed).len() < MOST_ENTRIES && bytes <= MOST_BYTES && bytes > MOST_BYTES / 2, "{bytes}");

    let tables: Vec<_> = (0..3).map(|_| planned_over(1)).collect();
    for table in &tables {
        drop(begin(&feed, 1, table));
        refuse(&feed, "of no table");
    }
    assert_eq!(kept(&feed).iter().filter(|entry| entry.table().is_some()).count(), 2);
    assert_eq!(Arc::strong_count(&tables[0].0), 1, "an older table is let go");
    assert_eq!(Arc::strong_count(&large.0), 1);
}

#[test]
fn a_decision_is_told_as_long_as_its_request_is_here() {
    let (feed, table) = (Feed::new(true), planned_over(3));
    let id = |number: u64| begin(&feed, number, &table).0.unwrap().1.planned().unwrap().opened.id;
    let first = id(1);
    let told = feed.decision(first).unwrap();
    assert_eq!(told.chosen.map(|chosen| chosen.backend), Some("site0/m".to_owned()));
    (0..MOST_ENTRIES).for_each(|_| refuse(&feed, "x"));
    assert!(feed.decision(first).is_none(), "it has left the ring");
    let last = id(2);
    assert!(feed.decision(last).is_some() && feed.decision(RequestId::from_parts(9, [9; 10])).is_none());
}

#[test]
fn one_that_is_off_remembers_nothing_and_asks_for_nothing() {
    let feed = Feed::new(false);
    let shown = feed.begin(|| panic!("asked for a plan"));
    shown.end(end(Outcome::Answered, "0.1", None, Vec::new()));
    feed.refuse(|| panic!("asked for a refusal"));
    assert!(feed.since(Mark::default()).is_none());
    assert_eq!(feed.read(Mark::default()).totals, Totals::default());
}

#[test]
fn an_entry_is_told_in_words() {
    let (feed, table) = (Feed::new(true), planned_over(9));
    let shown = begin(&feed, 3, &table);
    let view = |feed: &Feed| EntryView::of(&feed.read(Mark::default()).entries[0]);
    let open = view(&feed);
    assert_eq!((open.state, open.winner(), open.cost_usd), (State::Open, Some("site0/m"), None));
    let attempts = vec![attempt("site0/m", Ending::TimedOut, usd("0.1")), attempt("site6/m", Ending::Complete, usd("0.2"))];
    shown.end(end(Outcome::Answered, "0.3", Some("4"), attempts));
    let ended = view(&feed);
    let plan = ended.plan.clone().unwrap();
    let ranks: Vec<(usize, bool)> = plan.candidates.iter().map(|candidate| (candidate.rank, candidate.dearest)).collect();
    assert_eq!(ranks, [(1, false), (2, false), (3, false), (4, false), (7, false), (9, true)]);
    assert_eq!((plan.adequate, plan.considered), (9, 9));
    assert_eq!((ended.winner(), ended.runner_up().map(|next| next.rank)), (Some("site6/m"), Some(1)));
    assert_eq!((ended.tries[0].backend.as_str(), ended.tries[0].cause.as_str()), ("site0/m", "timed_out"));
    assert_eq!(ended.saved_usd.map(|saved| saved.0), Some(usd("3.7")));
    let json = serde_json::to_string(&ended).unwrap();
    assert!(json.contains(r#""cost_usd":"0.3""#), "{json}");
    assert_eq!(serde_json::from_str::<EntryView>(&json).unwrap(), ended);
}

/// Fixed once: both tries were told with what the first had cost, and one of the second that was cut was not told at all.
#[test]
fn a_backend_that_was_asked_twice_is_told_twice() {
    let (feed, table) = (Feed::new(true), planned_over(2));
    let refused = || {
        let cause = Cause::Provider(ErrorClass::BadRequest);
        AttemptFailure::idle(&BackendId::new("site0", "m"), cause, String::new(), None)
    };
    let tell = |failures: &[AttemptFailure], second: Ending| {
        let shown = begin(&feed, 1, &table);
        shown.failed(failures, 0);
        let attempts = vec![attempt("site0/m", Ending::Failed, usd("0.1")), attempt("site0/m", second, usd("0.2"))];
        shown.end(end(Outcome::Failed, "0.3", None, attempts));
        let view = EntryView::of(feed.read(Mark::default()).entries.last().unwrap());
        view.tries.into_iter().map(|tried| (tried.cause, tried.cost_usd.0)).collect::<Vec<_>>()
    };
    let told = |tries: &[(&str, &str)]| tries.iter().map(|(cause, cost)| ((*cause).to_owned(), usd(cost))).collect::<Vec<_>>();
    let first = ("bad_request", "0.1");
    assert_eq!(tell(&[refused(), refused()], Ending::Failed), told(&[first, ("bad_request", "0.2")]));
    assert_eq!(tell(&[refused()], Ending::Cut), told(&[first, ("cut", "0.2")]));
    assert_eq!(tell(&[refused()], Ending::Complete), told(&[first]));
}

#[test]
fn what_a_client_names_is_cut_and_cannot_steer_a_terminal() {
    let feed = Feed::new(true);
    refuse(&feed, &format!("\x1b[2J{}", "x".repeat(4_000)));
    let view = EntryView::of(&feed.read(Mark::default()).entries[0]);
    let model = view.model.unwrap();
    assert!(model.starts_with("\u{fffd}[2Jxxx") && model.chars().count() == 121, "{model}");
}
