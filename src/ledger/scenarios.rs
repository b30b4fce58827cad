//! The books as a whole under what may happen to them: kills at any byte, full, failing and hanging disks, drops.

mod free;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::fixtures::{FaultyDisk, attempt_end, attempt_opened, request_end, request_id, request_opened, terms, usage};
use super::*;
use crate::clock::{ManualClock, SharedClock, SystemClock};
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
    for (_, path) in segment::list(folder).unwrap() {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    segment::list(folder).unwrap().into_iter().map(|(_, path)| path).collect()
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
    let spend = books.spend_by_key_and_day(Timestamp::UNIX_EPOCH).unwrap();
    let rows: Vec<_> = spend.iter().map(|s| (s.key.as_str(), s.day.to_string(), s.requests)).collect();
    assert_eq!(rows, [("even", "2023-11-14".to_owned(), 2), ("odd", "2023-11-14".to_owned(), 3)]);
    let since = books.totals_since(Timestamp::from_millisecond(1_700_000_000_004).unwrap()).unwrap();
    assert_eq!((since.requests, since.usage.output), (2, Tokens::new(9)));
    assert_eq!(spend.iter().map(|s| s.cost).sum::<Usd>(), books.totals().unwrap().cost);
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

// === any sequence, killed at any byte ===

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Attempt(usize),
    Progress { at: usize, tokens: u64, millis: u64 },
    End(usize),
    DropAttempt(usize),
    Close(usize),
    DropTab(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..100_usize;
    prop_oneof![
        2 => Just(Step::Begin),
        3 => at.clone().prop_map(Step::Attempt),
        8 => (at.clone(), 1..400_u64, 0..400_u64).prop_map(|(at, tokens, millis)| Step::Progress { at, tokens, millis }),
        2 => at.clone().prop_map(Step::End),
        1 => at.clone().prop_map(Step::DropAttempt),
        2 => at.clone().prop_map(Step::Close),
        1 => at.prop_map(Step::DropTab),
    ]
}

/// What is true of an attempt, each with the number of journal records from which on it is.
#[derive(Debug, Default)]
struct Truth {
    opened: u64,
    /// What its provider had made by then.
    seen: Vec<(u64, u64)>,
    end: Option<(u64, Usage)>,
}

#[derive(Debug, Default)]
struct TrueRequest {
    opened: u64,
    closed: Option<u64>,
    attempts: BTreeMap<u32, Truth>,
}

/// Drives the books as the pipeline would and writes down the truth.
struct Driver {
    ledger: Ledger,
    clock: Arc<ManualClock>,
    tabs: Vec<(usize, Tab)>,
    open: Vec<(usize, u64, OpenAttempt)>,
    truth: Vec<TrueRequest>,
}

impl Driver {
    fn new(folder: &Path) -> Self {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let (ledger, _) = Ledger::open(Settings::new(folder), shared).unwrap();
        Self { ledger, clock, tabs: Vec::new(), open: Vec::new(), truth: Vec::new() }
    }

    fn records(&self) -> u64 {
        self.ledger.records()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin => {
                let number = self.truth.len();
                let tab = self.ledger.begin(request_opened(number as u64)).unwrap();
                self.tabs.push((number, tab));
                self.truth.push(TrueRequest { opened: self.records(), ..TrueRequest::default() });
            }
            Step::Attempt(at) if !self.tabs.is_empty() => {
                let (number, tab) = &self.tabs[at % self.tabs.len()];
                let mut attempt = tab.attempt(attempt_opened());
                attempt.sent();
                let truth = Truth { opened: self.records(), ..Truth::default() };
                self.truth[*number].attempts.insert(attempt.number(), truth);
                self.open.push((*number, 0, attempt));
            }
            Step::Progress { at, tokens, millis } if !self.open.is_empty() => {
                self.clock.advance(Duration::from_millis(millis));
                let index = at % self.open.len();
                self.progress(index, tokens).await;
            }
            Step::End(at) if !self.open.is_empty() => {
                let (number, output, attempt) = self.open.swap_remove(at % self.open.len());
                let name = attempt.number();
                attempt.end(attempt_end(90, output)).await.unwrap();
                self.ended(number, name, usage(90, output));
            }
            Step::DropAttempt(at) if !self.open.is_empty() => {
                let (number, output, attempt) = self.open.swap_remove(at % self.open.len());
                let name = attempt.number();
                drop(attempt);
                self.ended(number, name, if output == 0 { usage(100, 200) } else { usage(100, output) });
            }
            Step::Close(at) if !self.tabs.is_empty() => {
                let (number, tab) = self.tabs.swap_remove(at % self.tabs.len());
                tab.close(request_end()).await.unwrap();
                self.truth[number].closed = Some(self.records());
            }
            Step::DropTab(at) if !self.tabs.is_empty() => {
                let (number, tab) = self.tabs.swap_remove(at % self.tabs.len());
                drop(tab);
                self.truth[number].closed = Some(self.records());
            }
            _ => {}
        }
    }

    async fn progress(&mut self, index: usize, tokens: u64) {
        let (number, output, attempt) = &mut self.open[index];
        let first = *output == 0;
        *output += tokens;
        let pace = attempt.progress(usage(0, *output), Provenance::Counted);
        if pace == Pace::Wait || first {
            attempt.caught_up().await.unwrap();
        }
        // The client sees the frame now, and so no kill can leave less of the journal than there is on disk now.
        let written = self.ledger.journaled_records();
        let truth = self.truth[*number].attempts.get_mut(&attempt.number()).unwrap();
        truth.seen.push((written, *output));
    }

    fn ended(&mut self, number: usize, attempt: u32, usage: Usage) {
        let records = self.records();
        self.truth[number].attempts.get_mut(&attempt).unwrap().end = Some((records, usage));
    }
}

/// The length of each prefix of a journal that holds whole records only.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![segment::HEADER];
    let mut at = segment::HEADER;
    while let Some(length) = bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap())) {
        if length == 0 {
            break;
        }
        at += codec::FRAME_HEADER + length as usize;
        borders.push(at);
    }
    borders
}

fn check_attempt(truth: &Truth, booked: &BookedAttempt, records: u64) {
    if let Some((_, usage)) = truth.end.filter(|(from, _)| *from <= records) {
        assert_eq!(booked.usage, usage, "an ended attempt is exact");
        return;
    }
    assert_eq!((booked.ending.as_str(), booked.provenance.as_str()), ("lost", "estimated"));
    let seen = truth.seen.iter().filter(|(from, _)| *from <= records).map(|(_, output)| *output).max();
    let made = truth.seen.iter().map(|(_, output)| *output).max().unwrap_or(0);
    let output = booked.usage.output.get();
    if let Some(seen) = seen {
        assert!(output >= seen.min(4_000), "booked {output}, a client saw {seen}");
        assert_eq!(booked.usage.input(), Tokens::new(150));
    }
    assert!(
        output <= (made + lost_margin(Tokens::new(made), Provenance::Estimated).get()).max(200),
        "booked {output}, made {made}"
    );
}

/// The sums that are kept are the sums of the rows.
fn check_sums(books: &Books, totals: &Totals) {
    let (from, until) = ("1970-01-01".parse().unwrap(), "2100-01-01".parse().unwrap());
    for group_by in [vec![], UsageBy::WORDS.map(|(by, _)| by).to_vec()] {
        let lines = books.usage(&UsageQuery { key: None, from, until, group_by, most_lines: 9_999 }).unwrap();
        let sums = lines.iter().fold(UsageSums::default(), |sum, line| sum.plus(&line.sums));
        let told = Totals { requests: sums.requests, attempts: sums.attempts, usage: sums.usage, cost: sums.cost, ..*totals };
        assert_eq!((told, sums.baseline), (*totals, totals.baseline));
        assert_eq!(sums.provenance.iter().sum::<u64>(), totals.attempts);
    }
}

fn check(truth: &[TrueRequest], folder: &Path, records: u64) {
    let books = Books::open(folder).unwrap();
    let totals = books.totals().unwrap();
    assert_eq!(totals.requests, truth.iter().filter(|t| t.opened <= records).count() as u64);
    assert_eq!(totals.cost, books.attempts_cost().unwrap());
    check_sums(&books, &totals);
    for (number, truth) in truth.iter().enumerate() {
        let booked = books.request(request_id(number as u64)).unwrap();
        assert_eq!(booked.is_some(), truth.opened <= records, "request {number}");
        let facts = books.facts(request_id(number as u64)).unwrap();
        assert_eq!(facts, booked.as_ref().map(|_| request_opened(number as u64).facts), "what explains it");
        let Some(booked) = booked else { continue };
        assert_eq!(booked.outcome == "lost", truth.closed.is_none_or(|closed| closed > records), "request {number}");
        let expected: Vec<_> = truth.attempts.iter().filter(|(_, t)| t.opened <= records).collect();
        assert_eq!(booked.attempts.len(), expected.len());
        for ((_, truth), booked) in expected.into_iter().zip(&booked.attempts) {
            check_attempt(truth, booked, records);
        }
    }
}

async fn killed_at_any_byte(steps: Vec<Step>, cut: prop::sample::Index) {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(folder.path());
    for step in steps {
        driver.step(step).await;
    }
    driver.ledger.flush().await.unwrap();
    let mut bytes = std::fs::read(&segments(folder.path())[0]).unwrap();
    let borders = borders(&bytes);
    assert_eq!(borders.len() as u64 - 1, driver.records(), "a record each");
    bytes.truncate(cut.index(borders[borders.len() - 1]) + 1);
    let records = borders.iter().filter(|border| **border <= bytes.len()).count().saturating_sub(1) as u64;

    let copy = tempfile::tempdir().unwrap();
    let journal = segment::path(copy.path(), 1);
    std::fs::write(&journal, &bytes).unwrap();
    open(copy.path()).0.close().await.unwrap();
    check(&driver.truth, copy.path(), records);
    let before = Books::open(copy.path()).unwrap().totals().unwrap();

    for (_, path) in segment::list(copy.path()).unwrap() {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(&journal, &bytes).unwrap();
    let (again, report) = open(copy.path());
    assert_eq!((report.closed_inserted, report.lost_requests), (0, 0), "nothing is booked twice");
    again.close().await.unwrap();
    assert_eq!(Books::open(copy.path()).unwrap().totals().unwrap(), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_booked_once_wherever_the_journal_ends(
        steps in prop::collection::vec(step(), 1..60),
        cut: prop::sample::Index,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(killed_at_any_byte(steps, cut));
    }
}
