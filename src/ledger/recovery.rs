//! After a kill: the journal is read again, from the oldest segment on. What was closed goes into the store if it is not
//! there; what was open is booked as lost. Both are computed from the journal alone, so a recovery that is itself killed
//! and run again comes to the same rows, and keys drop what is there already.
//!
//! A torn end of the newest segment is what a kill looks like and no problem. Damage anywhere else is reported, the
//! segment is kept beside the others under another name, and the rest of the journal is read all the same.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LedgerError;
use super::codec::Record;
use super::disk::Disk;
use super::entry::{
    AttemptEnd, AttemptOpened, ClosedAttempt, ClosedRequest, Ending, Outcome, RequestEnd, RequestOpened, lost_margin,
};
use super::segment::{self, Tail};
use super::store::{Store, StoreError, Upkeep};
use super::tab::unanswered;
use crate::units::{Course, Provenance, RequestId, Tokens, Usage, Usd};

/// How many closed requests are gathered for one transaction.
const BATCH: usize = 2_048;

/// What the journal held when the books were opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    pub segments: usize,
    /// Requests that were closed before the gateway stopped, and how many of them the store did not have yet.
    pub closed: usize,
    pub closed_inserted: usize,
    /// Requests that had not ended, newly booked now.
    pub lost_requests: usize,
    /// Attempts that had not ended: booked from an estimate.
    pub lost_attempts: usize,
    /// What the attempts that had not ended were booked with, together.
    pub lost_cost: Usd,
    /// The newest segment ended within a record.
    pub torn_tail: bool,
    /// Damage: records are missing. An operator must look.
    pub problems: Vec<String>,
}

/// Replays the journal of a data directory into the store; returns the number for the next segment too.
pub(super) fn run(
    folder: &Path,
    disk: &dyn Disk,
    store: &mut dyn Store,
    upkeep: &mut dyn Upkeep,
) -> Result<(RecoveryReport, u64), LedgerError> {
    let segments = segment::list(disk, folder).map_err(LedgerError::io(folder))?;
    let next = segments.last().map_or(1, |(number, _)| number + 1);
    let mut replay = Replay { store, pages: HashMap::new(), finished: Vec::new(), report: RecoveryReport::default() };
    let damaged = replay.read_all(disk, &segments)?;
    let report = replay.finish()?;
    let durable = upkeep.make_durable()?;
    for (_, path) in &segments {
        if damaged.contains(path) {
            disk.rename(path, &path.with_extension("damaged")).map_err(LedgerError::io(path))?;
        } else if durable {
            disk.remove(path).map_err(LedgerError::io(path))?;
        }
    }
    Ok((report, next))
}

struct Replay<'s> {
    store: &'s mut dyn Store,
    pages: HashMap<RequestId, Page>,
    finished: Vec<ClosedRequest>,
    report: RecoveryReport,
}

/// A request as far as the journal has been read.
struct Page {
    opened: Arc<RequestOpened>,
    attempts: BTreeMap<u32, Attempt>,
    end: Option<RequestEnd>,
}

struct Attempt {
    opened: AttemptOpened,
    seen: Option<(Usage, Provenance)>,
    end: Option<AttemptEnd>,
}

impl Replay<'_> {
    /// Reads every segment and returns the damaged ones.
    fn read_all(&mut self, disk: &dyn Disk, segments: &[(u64, PathBuf)]) -> Result<Vec<PathBuf>, LedgerError> {
        let mut damaged = Vec::new();
        let mut torn: Option<(&PathBuf, usize)> = None;
        for (_, path) in segments {
            let bytes = disk.read(path).map_err(LedgerError::io(path))?;
            if segment::is_empty(&bytes) {
                continue;
            }
            self.report.segments += 1;
            if let Some((path, offset)) = torn.take() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.report.problems.push(format!("{name} is damaged at byte {offset}: later records in it are lost"));
                damaged.push(path.clone());
            }
            match segment::read(&bytes, |request, record| self.apply(request, record)) {
                Tail::Clean => {}
                Tail::Torn { offset } => torn = Some((path, offset)),
                Tail::Newer { version } => return Err(LedgerError::NewerJournal { file: path.clone(), version }),
            }
            self.insert_when_many()?;
        }
        self.report.torn_tail = torn.is_some();
        Ok(damaged)
    }

    /// Records of a request whose opening is gone belong to one that was folded before its segment was deleted.
    fn apply(&mut self, request: RequestId, record: Record) {
        if let Record::Opened(opened) = record {
            let page = Page { opened: Arc::new(*opened), attempts: BTreeMap::new(), end: None };
            self.pages.insert(request, page);
            return;
        }
        let Some(page) = self.pages.get_mut(&request) else {
            return;
        };
        page.apply(record);
        if page.is_finished()
            && let Some(page) = self.pages.remove(&request)
        {
            self.report.closed += 1;
            self.finished.push(page.close().0);
        }
    }

    fn insert_when_many(&mut self) -> Result<(), StoreError> {
        if self.finished.len() >= BATCH { self.insert_finished() } else { Ok(()) }
    }

    fn insert_finished(&mut self) -> Result<(), StoreError> {
        for batch in self.finished.chunks(BATCH) {
            self.report.closed_inserted += self.store.insert(&mut batch.iter())?.requests;
        }
        self.finished.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<RecoveryReport, StoreError> {
        self.insert_finished()?;
        let mut open: Vec<_> = self.pages.drain().collect();
        open.sort_by_key(|(id, _)| *id);
        let lost: Vec<_> = open.into_iter().map(|(_, page)| page.close()).collect();
        for (request, lost) in &lost {
            // One by one: only what was not there counts in the report.
            if self.store.insert(&mut std::iter::once(request))?.requests == 1 {
                self.report.lost_requests += 1;
                self.report.lost_attempts += lost.attempts;
                self.report.lost_cost += lost.cost;
            }
        }
        Ok(self.report)
    }
}

/// What of a request had to be estimated.
#[derive(Default)]
struct Lost {
    attempts: usize,
    cost: Usd,
}

impl Page {
    fn apply(&mut self, record: Record) {
        match record {
            Record::AttemptOpened { number, opened } => {
                self.attempts.insert(number, Attempt { opened: *opened, seen: None, end: None });
            }
            Record::Checkpoint { number, usage, provenance } => {
                if let Some(attempt) = self.attempts.get_mut(&number) {
                    attempt.seen = Some((usage, provenance));
                }
            }
            Record::AttemptEnded { number, end } => {
                if let Some(attempt) = self.attempts.get_mut(&number) {
                    attempt.end.get_or_insert(end);
                }
            }
            Record::Closed(end) => {
                self.end.get_or_insert(end);
            }
            Record::Opened(_) => {}
        }
    }

    fn is_finished(&self) -> bool {
        self.end.is_some() && self.attempts.values().all(|attempt| attempt.end.is_some())
    }

    /// The request as it goes into the books; what has not ended is lost.
    fn close(self) -> (ClosedRequest, Lost) {
        let mut lost = Lost::default();
        let close = |(number, attempt): (u32, Attempt)| {
            let ended = attempt.end.is_some();
            let end = attempt.end.unwrap_or_else(|| lost_end(&attempt.opened, attempt.seen));
            let closed = ClosedAttempt::settle(number, attempt.opened, end);
            if !ended {
                lost.attempts += 1;
                lost.cost += closed.cost.usd;
            }
            Arc::new(closed)
        };
        let attempts = self.attempts.into_iter().map(close).collect();
        let end = self.end.unwrap_or(RequestEnd {
            outcome: Outcome::Lost,
            status: 0,
            first_byte_ms: None,
            duration_ms: 0,
            overhead_us: 0,
        });
        (ClosedRequest { opened: self.opened, end, attempts }, lost)
    }
}

fn lost_end(opened: &AttemptOpened, seen: Option<(Usage, Provenance)>) -> AttemptEnd {
    AttemptEnd {
        ending: Ending::Lost,
        usage: lost_usage(opened, seen),
        provenance: Provenance::Estimated,
        served_model: None,
        served_before: None,
        http_status: None,
        cause: Some("the gateway stopped before the end".into()),
        first_byte_ms: None,
        duration_ms: 0,
        free: None,
    }
}

/// No less than the truth, and no more than the margin above it. Output: the last checkpoint plus [`lost_margin`],
/// within the bound that was sent to the provider, never less than was seen. Input: what the provider reported, else its
/// upper bound at the dearest price an input token may have. Where no answer had begun, no client saw a byte: what the
/// quote expected.
fn lost_usage(opened: &AttemptOpened, seen: Option<(Usage, Provenance)>) -> Usage {
    let Some((seen, provenance)) = seen else {
        return unanswered(opened);
    };
    let output = (seen.output + lost_margin(seen.output, provenance)).min(opened.output_bound).max(seen.output);
    let cost = |usage: &Usage| {
        opened.terms.pricing().cost(usage, opened.thinking, Course { arrived: opened.started_at, completed: None })
    };
    // The plainest that costs no less than the others: a kind that changes nothing would be told for nothing.
    let dearer = |a: Usage, b: Usage| if cost(&b).amount.pico() > cost(&a).amount.pico() { b } else { a };
    let with_output = |usage: Usage| {
        let thought = Usage { reasoning: output, ..usage };
        dearer(dearer(usage, thought), Usage { audio_output: output, ..usage })
    };
    if provenance == Provenance::Reported && seen.input() > Tokens::ZERO {
        let pieces = seen.pieces.max(opened.pieces.expected);
        return with_output(Usage { output, pieces, ..seen });
    }
    let seen = Usage { pieces: seen.pieces.max(opened.pieces.most), ..seen };
    let input = opened.input_upper.max(seen.input());
    let usage = with_output(Usage { reasoning: seen.reasoning, pieces: seen.pieces, ..Usage::fresh(input, output) });
    let written = Usage { fresh_input: Tokens::ZERO, cache_write: input, ..usage };
    let kinds = [
        written,
        Usage { cache_write_long: input, ..written },
        Usage { image_input: input, ..usage },
        Usage { audio_input: input, ..usage },
    ];
    kinds.into_iter().fold(usage, dearer)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Terms;
    use super::super::fixtures::attempt_opened;
    use super::*;
    use crate::units::{Currency, ExchangeRate, Pricing, Tariff, TokenPrice};

    /// What a lost answer costs of which so much was seen, with prices of one kind changed.
    fn check(change: impl FnOnce(&mut Tariff), seen: Usage, provenance: Provenance, inputs: u64) {
        let price = TokenPrice::from_pico;
        let mut tariff = Tariff::flat(Currency::Usd, price(2), price(3));
        change(&mut tariff);
        let terms = Terms::new(Pricing::flat("p", tariff), ExchangeRate::USD, "2026-11-20").unwrap();
        let opened = AttemptOpened { terms, ..attempt_opened() };
        let usage = lost_usage(&opened, Some((seen, provenance)));
        let course = Course { arrived: opened.started_at, completed: None };
        let (cost, _) = opened.terms.cost(&usage, opened.thinking, course);
        let output = usage.output.get();
        assert!(output > seen.output.get(), "with its margin");
        let dearest = Tokens::new(inputs) * tariff.dearest_input() + usage.output * tariff.dearest_output();
        assert_eq!(cost.usd.pico(), dearest, "{usage:?}");
        assert_eq!(usage.input().get(), inputs);
    }

    /// Fixed once: what a lost answer may have had beyond what was seen was priced as plain text, which reasoning, sound,
    /// images and writes to a cache are dearer than.
    #[test]
    fn the_tokens_of_a_lost_answer_are_of_their_dearest_kind() {
        let price = TokenPrice::from_pico;
        let seen = Usage::fresh(Tokens::new(100), Tokens::new(50));
        let all = attempt_opened().input_upper.get();
        let unreported = |change: &dyn Fn(&mut Tariff)| check(change, seen, Provenance::Estimated, all);
        unreported(&|_| {});
        unreported(&|tariff| tariff.reasoning = price(9));
        unreported(&|tariff| tariff.audio_output = price(9));
        unreported(&|tariff| tariff.cache_write = price(5));
        unreported(&|tariff| (tariff.cache_write, tariff.cache_write_long) = (price(5), price(7)));
        unreported(&|tariff| tariff.image_input = price(5));
        unreported(&|tariff| (tariff.audio_input, tariff.reasoning) = (price(5), price(4)));
        // The input that was reported is what it is; its answer went on.
        check(|tariff| tariff.reasoning = price(9), seen, Provenance::Reported, 100);
    }
}
