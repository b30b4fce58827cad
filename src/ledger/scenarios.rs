//! The books as a whole under what may happen to them: kills, full, failing and hanging disks, drops.

mod any_byte;
mod free;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::{FaultyDisk, attempt_end, attempt_opened, request_end, request_id, request_opened, terms, usage};
use super::*;
use crate::clock::SystemClock;
use crate::units::{Course, Provenance, Thinking, Tokens, Usage, Usd};

fn settings(folder: &Path) -> Settings {
    // The requests of these tests are years old, and what explains them is to stay.
    Settings { retry_every: Duration::from_millis(5), decision_days: 36_500, ..Settings::new(folder) }
}

fn open(folder: &Path) -> (Ledger, RecoveryReport) {
    Ledger::open(settings(folder), SystemClock::shared()).unwrap()
}

fn open_on(disk: &Arc<FaultyDisk>, settings: Settings) -> Ledger {
    let disk: Arc<dyn Disk> = Arc::<FaultyDisk>::clone(disk);
    Ledger::open_with(settings, SystemClock::shared(), disk, Arc::new(())).unwrap().0
}

/// Waits for what another thread will do soon; fails after ten seconds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// The journal's files as a kill would leave them, in a new folder.
fn crashed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (_, path) in segment::list(&FileDisk, folder).unwrap() {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    segment::list(&FileDisk, folder).unwrap().into_iter().map(|(_, path)| path).collect()
}

async fn one_request(ledger: &Ledger, number: u64) -> Result<(), LedgerError> {
    let tab = ledger.begin(request_opened(number))?;
    tab.attempt(attempt_opened()).end(attempt_end(100, number)).await?;
    tab.close(request_end()).await
}

#[tokio::test]
async fn a_request_with_a_failover_is_booked_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let tab = ledger.begin(request_opened(1)).unwrap();
    let failed = AttemptEnd { ending: Ending::Failed, http_status: Some(503), ..attempt_end(0, 0) };
    tab.attempt(attempt_opened()).settle(failed).unwrap();
    let settled = tab.attempt(attempt_opened()).end(attempt_end(100, 50)).await.unwrap();
    tab.close(request_end()).await.unwrap();
    tab.close(RequestEnd { outcome: Outcome::Failed, ..request_end() }).await.unwrap();
    // 100 × 2 and 50 × 8 yuan per million are 600 millionths of a yuan, at 7.1 yuan to the dollar.
    assert_eq!((settled.number, settled.cost.amount.pico()), (1, 600_000_000));
    assert_eq!((settled.cost.usd.pico(), tab.spent()), (84_507_042, settled.cost.usd));
    ledger.close().await.unwrap();

    let books = Books::open(folder.path()).unwrap();
    let booked = books.request(request_id(1)).unwrap().unwrap();
    assert_eq!((booked.outcome.as_str(), booked.cost, booked.usage), ("answered", settled.cost.usd, usage(100, 50)));
    assert_eq!(booked.baseline, Some(Usd::from_pico(500_000_000)));
    let endings: Vec<_> = booked.attempts.iter().map(|a| (a.ending.as_str(), a.rate_per_usd.as_str())).collect();
    assert_eq!(endings, [("failed", "7.1"), ("complete", "7.1")]);
    assert_eq!(books.totals().unwrap().cost, books.attempts_cost().unwrap());
}

#[tokio::test]
async fn spending_is_summed_by_key_and_day_and_from_an_instant() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    for number in 1..=5 {
        one_request(&ledger, number).await.unwrap();
    }
    ledger.flush().await.unwrap();
    let books = Books::open(folder.path()).unwrap();
    let spend = books.spend_by_key(None).unwrap();
    let names: Vec<&str> = spend.iter().map(|spend| spend.key.as_str()).collect();
    assert_eq!(names, ["even", "odd"]);
    let since = books.totals_since(Timestamp::from_millisecond(1_700_000_000_004).unwrap()).unwrap();
    assert_eq!((since.requests, since.usage.output), (2, Tokens::new(9)));
    let together = |since| books.spend_by_key(since).unwrap().iter().map(|spend| spend.cost).sum::<Usd>();
    assert_eq!(together(None), books.totals().unwrap().cost);
    assert!(together(None) > since.cost && since.cost > Usd::ZERO);
    // Within a day, at its beginning, before it and after it; the first rows arrived at 22:13:20.001 of it.
    for (from, cost) in [
        ("2023-11-14T22:13:20.004Z", since.cost),
        ("2023-11-14T22:13:20Z", together(None)),
        ("2023-11-14T00:00:00Z", together(None)),
        ("2023-11-01T10:00:00Z", together(None)),
        ("2023-11-14T23:00:00Z", Usd::ZERO),
        ("2023-11-15T00:00:00Z", Usd::ZERO),
    ] {
        assert_eq!(together(Some(from.parse().unwrap())), cost, "{from}");
    }
}

#[tokio::test]
async fn a_dropped_attempt_is_booked_from_what_was_seen_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let tab = ledger.begin(request_opened(1)).unwrap();
    drop(tab.attempt(attempt_opened()));
    let mut sent = tab.attempt(attempt_opened());
    sent.sent();
    drop(sent);
    let mut streaming = tab.attempt(attempt_opened());
    assert_eq!(streaming.progress(usage(0, 33), Provenance::Counted), Pace::Go);
    drop(streaming);
    drop(tab);
    ledger.flush().await.unwrap();
    let booked = Books::open(folder.path()).unwrap().request(request_id(1)).unwrap().unwrap();
    let rows: Vec<_> = booked.attempts.iter().map(|a| (a.usage, a.provenance.as_str(), a.ending.as_str())).collect();
    assert_eq!(
        rows,
        [
            (usage(0, 0), "counted", "abandoned"),
            (usage(100, 200), "estimated", "abandoned"),
            (usage(100, 33), "counted", "abandoned"),
        ]
    );
    assert_eq!((booked.outcome.as_str(), booked.status), ("abandoned", Some(499)));
}

#[tokio::test]
async fn a_request_waits_for_an_attempt_that_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let tab = ledger.begin(request_opened(1)).unwrap();
    let loser = tab.attempt(attempt_opened());
    tab.close(request_end()).await.unwrap();
    ledger.flush().await.unwrap();
    let books = Books::open(folder.path()).unwrap();
    assert_eq!(books.totals().unwrap().requests, 0);
    loser.end(AttemptEnd { ending: Ending::Superseded, ..attempt_end(5, 5) }).await.unwrap();
    ledger.flush().await.unwrap();
    assert_eq!((books.totals().unwrap().requests, books.totals().unwrap().usage), (1, usage(5, 5)));
}

#[tokio::test]
async fn a_kill_books_open_attempts_with_the_margin_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    one_request(&ledger, 1).await.unwrap();
    let streaming = ledger.begin(request_opened(2)).unwrap();
    let mut begun = streaming.attempt(attempt_opened());
    let _ = begun.progress(usage(0, 40), Provenance::Counted);
    let silent = ledger.begin(request_opened(3)).unwrap();
    let waiting = silent.attempt(attempt_opened());
    silent.journaled().await.unwrap();
    let copy = crashed(folder.path());
    let again = crashed(folder.path());
    drop((begun, waiting));

    let (recovered, report) = open(copy.path());
    assert_eq!((report.closed, report.closed_inserted, report.lost_requests, report.lost_attempts), (1, 1, 2, 2));
    let cost = |usage: &Usage| terms().cost(usage, Thinking::Unsaid, Course::at(request_opened(1).arrived_at)).0.usd;
    let margin = cost(&usage(150, 40 + 512));
    assert_eq!(report.lost_cost, margin + cost(&usage(100, 200)));
    recovered.close().await.unwrap();
    for path in segments(again.path()) {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let (recovered, report) = open(copy.path());
    assert_eq!((report.closed, report.closed_inserted, report.lost_requests), (1, 0, 0));
    let books = Books::open(copy.path()).unwrap();
    let lost = books.request(request_id(2)).unwrap().unwrap();
    assert_eq!((lost.outcome.as_str(), lost.status, lost.cost), ("lost", None, margin));
    assert_eq!((lost.attempts[0].ending.as_str(), lost.attempts[0].provenance.as_str()), ("lost", "estimated"));
    assert_eq!(books.totals().unwrap().requests, 3);
    recovered.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_gets_ahead_of_the_journal_is_told_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, settings(folder.path()));
    let tab = ledger.begin(request_opened(1)).unwrap();
    let mut attempt = tab.attempt(attempt_opened());
    assert_eq!(attempt.progress(usage(0, 1), Provenance::Counted), Pace::Go);
    tab.journaled().await.unwrap();
    disk.set_stuck(true);
    assert_eq!(attempt.progress(usage(0, 1 + LEAD_TOKENS), Provenance::Counted), Pace::Go);
    assert_eq!(attempt.progress(usage(0, 2 + LEAD_TOKENS), Provenance::Counted), Pace::Wait);
    disk.set_stuck(false);
    attempt.caught_up().await.unwrap();
    assert_eq!(attempt.progress(usage(0, 3 + LEAD_TOKENS), Provenance::Counted), Pace::Go);
}

#[tokio::test]
async fn a_full_disk_refuses_new_requests_and_lets_open_ones_end() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    // Room enough in the spare that the lack of the next one is noticed long before it is full.
    let ledger = open_on(&disk, Settings { segment_bytes: 65_536, ..settings(folder.path()) });
    let tab = ledger.begin(request_opened(0)).unwrap();
    let attempt = tab.attempt(attempt_opened());
    tab.journaled().await.unwrap();
    eventually("a spare is ready", || ledger.has_spare()).await;
    disk.set_full(true);
    let mut number = 0;
    while ledger.gauges().segments < 2 {
        number += 1;
        one_request(&ledger, number).await.unwrap();
    }
    eventually("red", || ledger.writable().is_err()).await;
    let Err(refused) = ledger.begin(request_opened(9_999)) else { panic!("begun on a full disk") };
    assert!(refused.reason.contains("no journal segment could be set aside"), "{refused}");
    attempt.end(attempt_end(7, 8)).await.unwrap();
    tab.close(request_end()).await.unwrap();
    disk.set_full(false);
    eventually("green again", || ledger.writable().is_ok()).await;
    one_request(&ledger, 5_000).await.unwrap();
    ledger.close().await.unwrap();
    let books = Books::open(folder.path()).unwrap();
    assert_eq!(books.request(request_id(0)).unwrap().unwrap().usage, usage(7, 8));
    assert_eq!(books.totals().unwrap().requests, number + 2);
}

#[tokio::test]
async fn a_failing_disk_turns_red_keeps_the_ends_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, settings(folder.path()));
    let tab = ledger.begin(request_opened(1)).unwrap();
    let attempt = tab.attempt(attempt_opened());
    tab.journaled().await.unwrap();
    disk.set_torn(true);
    disk.set_failing(true);
    assert!(matches!(attempt.end(attempt_end(7, 8)).await, Err(LedgerError::Unwritable(_))));
    assert!(matches!(tab.close(request_end()).await, Err(LedgerError::Unwritable(_))));
    assert!(ledger.begin(request_opened(2)).is_err() && !ledger.gauges().writable);
    assert_eq!(tab.settled_attempts()[0].usage, usage(7, 8));
    let cut = crashed(folder.path());
    disk.set_failing(false);
    eventually("green again", || ledger.writable().is_ok()).await;
    ledger.close().await.unwrap();
    let books = Books::open(folder.path()).unwrap();
    assert_eq!(books.request(request_id(1)).unwrap().unwrap().usage, usage(7, 8));
    let (_recovered, report) = open(cut.path());
    assert_eq!((report.lost_requests, report.problems.len()), (1, 0));
}

#[tokio::test]
async fn a_hanging_disk_turns_red_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, Settings { stuck_after: Duration::from_millis(30), ..settings(folder.path()) });
    disk.set_stuck(true);
    let tab = ledger.begin(request_opened(1)).unwrap();
    assert!(matches!(tab.journaled().await, Err(LedgerError::Unwritable(_))));
    eventually("red", || ledger.writable().is_err()).await;
    disk.set_stuck(false);
    eventually("green again", || ledger.writable().is_ok()).await;
    tab.close(request_end()).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(Books::open(folder.path()).unwrap().totals().unwrap().requests, 1);
}

#[tokio::test]
async fn what_happens_together_is_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, settings(folder.path()));
    disk.set_stuck(true);
    let first = ledger.begin(request_opened(0)).unwrap();
    drop(first);
    eventually("the writer is in its first write", || disk.writes() == 1).await;
    let tabs: Vec<_> = (1..100).map(|number| ledger.begin(request_opened(number)).unwrap()).collect();
    disk.set_stuck(false);
    tabs.last().unwrap().journaled().await.unwrap();
    assert_eq!(disk.writes(), 3, "the header, the first request, all the others");
}

/// Adds up what it is told.
#[derive(Default)]
struct Counting {
    records: AtomicUsize,
    rows: AtomicUsize,
}

impl Observer for Counting {
    fn journaled(&self, records: usize, _waited: Duration) {
        self.records.fetch_add(records, Ordering::SeqCst);
    }

    fn committed(&self, rows: usize, _took: Duration) {
        self.rows.fetch_add(rows, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_observer_hears_of_every_record_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let observer = Arc::new(Counting::default());
    let watching: Arc<dyn Observer> = Arc::<Counting>::clone(&observer);
    let settings = settings(folder.path());
    let (ledger, _) = Ledger::open_with(settings, SystemClock::shared(), Arc::new(FileDisk), watching).unwrap();
    for number in 0..10 {
        one_request(&ledger, number).await.unwrap();
    }
    ledger.close().await.unwrap();
    assert_eq!((observer.records.load(Ordering::SeqCst), observer.rows.load(Ordering::SeqCst)), (40, 30));
}

#[tokio::test]
async fn with_every_write_synced_nothing_is_told_before_its_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, Settings { sync: SyncPolicy::Always, ..settings(folder.path()) });
    for number in 1..=3 {
        let tab = ledger.begin(request_opened(number)).unwrap();
        tab.journaled().await.unwrap();
        assert_eq!(disk.unsynced(), 0);
        tab.close(request_end()).await.unwrap();
        assert_eq!(disk.unsynced(), 0);
    }
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_synced_journal_is_what_a_clean_stop_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let ledger = open_on(&disk, Settings { retry_every: Duration::from_hours(1), ..settings(folder.path()) });
    one_request(&ledger, 1).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(disk.unsynced(), 0);
}

#[tokio::test]
async fn two_gateways_cannot_share_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let refusal = Ledger::open(settings(folder.path()), SystemClock::shared()).err().unwrap();
    assert!(refusal.to_string().contains("in use by another gateway"), "{refusal}");
    ledger.close().await.unwrap();
    open(folder.path()).0.close().await.unwrap();
}

/// The segment that is being written.
fn newest(folder: &Path) -> PathBuf {
    let written = |path: &PathBuf| !segment::is_empty(&std::fs::read(path).unwrap());
    segments(folder).into_iter().rfind(written).unwrap()
}

#[tokio::test]
async fn finished_segments_go_and_one_with_an_open_request_stays() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { segment_bytes: 4_096, ..settings(folder.path()) };
    let (ledger, _) = Ledger::open(small, SystemClock::shared()).unwrap();
    for number in 0..50 {
        one_request(&ledger, number).await.unwrap();
    }
    let long = ledger.begin(request_opened(50)).unwrap();
    long.journaled().await.unwrap();
    let pinned = newest(folder.path());
    for number in 51..100 {
        one_request(&ledger, number).await.unwrap();
    }
    ledger.flush().await.unwrap();
    eventually("all before the pinned one are gone", || segments(folder.path())[0] >= pinned).await;
    let copy = crashed(folder.path());
    let (recovered, report) = open(copy.path());
    assert_eq!((report.lost_requests, report.problems.len()), (1, 0), "the open request is still in the journal");
    recovered.close().await.unwrap();
    long.close(request_end()).await.unwrap();
    ledger.flush().await.unwrap();
    eventually("the current segment and the spare remain", || segments(folder.path()).len() == 2).await;
    ledger.close().await.unwrap();
    let (ledger, report) = open(folder.path());
    assert_eq!((report.closed_inserted, report.lost_requests), (0, 0));
    ledger.close().await.unwrap();
    assert_eq!(Books::open(folder.path()).unwrap().totals().unwrap().requests, 100);
}

#[tokio::test]
async fn damage_in_an_older_segment_is_reported_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(Settings { segment_bytes: 4_096, ..settings(folder.path()) }, SystemClock::shared()).unwrap();
    let pin = ledger.begin(request_opened(0)).unwrap();
    for number in 1..40 {
        one_request(&ledger, number).await.unwrap();
    }
    let copy = crashed(folder.path());
    drop(pin);
    let damaged = segments(copy.path())[1].clone();
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[2_000] ^= 0xff;
    std::fs::write(&damaged, bytes).unwrap();
    let (recovered, report) = open(copy.path());
    assert!(report.problems.len() == 1 && report.problems[0].contains("journal-0000000002.log"), "{:?}", report.problems);
    assert!(report.closed > 25 && report.closed < 39, "{report:?}");
    assert!(damaged.with_extension("damaged").exists() && !damaged.exists());
    recovered.close().await.unwrap();
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let tab = ledger.begin(request_opened(1)).unwrap();
    tab.journaled().await.unwrap();
    let copy = crashed(folder.path());
    let newest = &segments(copy.path())[0];
    let mut bytes = std::fs::read(newest).unwrap();
    bytes[8] = 99;
    std::fs::write(newest, bytes).unwrap();
    let refusal = Ledger::open(settings(copy.path()), SystemClock::shared()).err().unwrap().to_string();
    assert!(refusal.contains("journal format 99"), "{refusal}");
}
