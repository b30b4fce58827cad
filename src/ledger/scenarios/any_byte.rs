//! Any sequence of what may happen to requests, with the journal killed at any byte: every request is booked once, and as far as the
//! journal tells the truth of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::{ManualClock, SharedClock};

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
    open: Vec<(usize, u64, Box<OpenAttempt>)>,
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
    // Every request here has a team, so its sums are all there is.
    let all = UsageBy::WORDS.map(|(by, _)| by).into_iter().filter(|by| by.mark().is_none_or(|mark| mark == Mark::Team));
    for group_by in [vec![], all.collect()] {
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

    for (_, path) in segment::list(&FileDisk, copy.path()).unwrap() {
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
