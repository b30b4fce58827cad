//! The ring of the last entries with the sums since the start, and what has changed in it since somebody looked.
//!
//! Readers are not told: they come and ask for what changed since they were here, so nothing queues up for a slow one and
//! the request path wakes nobody. What left the ring before a reader came is told as a number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{End, Entry, FailedTry, Finished, Planned, Refusal, Subject};
use crate::dispatch::AttemptFailure;
use crate::ledger::{Ending, Outcome, SettledAttempt};
use crate::route::Decision;
use crate::units::{BackendId, RequestId, Usd};

/// How many requests are remembered at most.
pub const MOST_ENTRIES: usize = 200;
/// How much memory they may keep at most, tables left out: a plan over a table of 240 backends takes some 60 KB.
pub const MOST_BYTES: usize = 4 << 20;
/// How many backends are told apart in the sums; a table has fewer, but tables change.
const MOST_BACKENDS: usize = 1024;

/// The feed of one gateway.
#[derive(Debug)]
pub struct Feed {
    /// `None`: nobody will look.
    ring: Option<Mutex<Ring>>,
    /// Rises with every change, so that a reader sees without the lock that there is nothing new.
    sequence: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    /// The oldest first.
    entries: VecDeque<Arc<Entry>>,
    /// What the entries keep, by their own estimate.
    bytes: usize,
    begun: u64,
    totals: Totals,
    backends: BTreeMap<BackendId, BackendSums>,
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests that were planned.
    pub requests: u64,
    /// Those of them that have not ended.
    pub open: u64,
    /// Those of them that were answered whole.
    pub answered: u64,
    /// Requests that the gateway itself refused; strangers are not counted.
    pub refused: u64,
    /// Failed attempts that were followed by another one.
    pub failovers: u64,
    /// What all attempts cost.
    pub spent: Usd,
    /// Against the configured baseline.
    pub baseline: Yardstick,
    /// Against the dearest adequate backend, for requests that had no baseline.
    pub dearest: Yardstick,
}

/// What answered requests would have cost elsewhere with the same tokens, and what they did cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Yardstick {
    pub elsewhere: Usd,
    pub spent: Usd,
}

impl Yardstick {
    fn add(&mut self, elsewhere: Usd, spent: Usd) {
        self.elsewhere += elsewhere;
        self.spent += spent;
    }

    /// What was saved; below zero where it would have been cheaper elsewhere.
    pub fn saved(&self) -> Usd {
        self.elsewhere - self.spent
    }
}

/// One backend's sums since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendSums {
    pub answered: u64,
    /// Attempts that did not answer.
    pub failed: u64,
    pub spent: Usd,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    sequence: u64,
    /// How many entries had begun.
    begun: u64,
}

impl Mark {
    /// Where a reader stands that has seen the feed at this sequence. What it missed cannot be told.
    pub fn at(sequence: u64) -> Self {
        Self { sequence, begun: u64::MAX }
    }

    /// The feed's sequence then.
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}

/// What changed since a mark, and the sums now.
#[derive(Debug)]
pub struct Changes {
    /// The oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// Entries that came and left without being seen.
    pub missed: u64,
    pub totals: Totals,
    pub backends: Vec<(BackendId, BackendSums)>,
    /// Where the reader stands now.
    pub mark: Mark,
}

impl Feed {
    /// An empty feed; one that is not `on` remembers nothing.
    pub fn new(on: bool) -> Arc<Self> {
        Arc::new(Self { ring: on.then(Mutex::default), sequence: AtomicU64::new(0) })
    }

    /// Whether anything is remembered.
    pub const fn is_on(&self) -> bool {
        self.ring.is_some()
    }

    /// A planned request begins.
    pub fn begin(self: &Arc<Self>, planned: impl FnOnce() -> Planned) -> Shown {
        let Some(mut ring) = self.lock() else { return Shown(None) };
        ring.totals.requests += 1;
        ring.totals.open += 1;
        let entry = ring.push(Subject::Planned(planned()), self.step());
        Shown(Some((Arc::clone(self), entry)))
    }

    /// The gateway itself refuses a request.
    pub fn refuse(&self, refusal: impl FnOnce() -> Refusal) {
        let Some(mut ring) = self.lock() else { return };
        ring.totals.refused += 1;
        ring.push(Subject::Refused(refusal()), self.step());
    }

    /// What has changed since a reader was here; `None` when nothing has.
    pub fn since(&self, mark: Mark) -> Option<Changes> {
        (self.sequence.load(Ordering::Acquire) != mark.sequence).then(|| self.read(mark))
    }

    /// The same, in any case.
    pub fn read(&self, mark: Mark) -> Changes {
        let Some(ring) = self.lock() else {
            let (entries, backends) = Default::default();
            return Changes { entries, missed: 0, totals: Totals::default(), backends, mark };
        };
        let sequence = self.sequence.load(Ordering::Acquire);
        // A mark from before a restart stands ahead of this life.
        let seen = if mark.sequence > sequence { 0 } else { mark.sequence };
        let oldest = ring.entries.front().map_or(ring.begun, |entry| entry.number - 1);
        Changes {
            entries: ring.entries.iter().filter(|entry| entry.changed() > seen).map(Arc::clone).collect(),
            missed: oldest.saturating_sub(mark.begun),
            totals: ring.totals,
            backends: ring.backends.iter().map(|(id, sums)| (id.clone(), *sums)).collect(),
            mark: Mark { sequence, begun: ring.begun },
        }
    }

    /// The decision about a request that was planned and is still here.
    pub fn decision(&self, id: RequestId) -> Option<Decision> {
        let of = |entry: &&Arc<Entry>| entry.planned().is_some_and(|planned| planned.opened.id == id);
        // It is decided again without the lock.
        let entry = self.lock()?.entries.iter().rev().find(of).map(Arc::clone)?;
        entry.planned().and_then(Planned::decision)
    }

    /// To be called with the lock held, so that whoever reads a sequence finds its change.
    fn step(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn lock(&self) -> Option<MutexGuard<'_, Ring>> {
        self.ring.as_ref().map(|ring| ring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ring {
    fn push(&mut self, subject: Subject, sequence: u64) -> Arc<Entry> {
        self.begun += 1;
        let entry = Arc::new(Entry::new(self.begun, subject, sequence));
        self.drop_older_tables(&entry);
        self.bytes += entry.bytes;
        self.entries.push_back(Arc::clone(&entry));
        while self.entries.len() > MOST_ENTRIES || (self.bytes > MOST_BYTES && self.entries.len() > 1) {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.bytes;
            }
        }
        entry
    }

    /// The first request of a new table ends the entries of all tables but the one before it: memory must not grow with
    /// the number of reloads.
    fn drop_older_tables(&mut self, next: &Entry) {
        let Some(table) = next.table() else { return };
        let Some(before) = self.entries.iter().rev().find_map(|entry| entry.table()).cloned() else { return };
        if !Arc::ptr_eq(&before, table) {
            self.entries.retain(|entry| entry.table().is_none_or(|kept| Arc::ptr_eq(kept, &before)));
            self.bytes = self.entries.iter().map(|entry| entry.bytes).sum();
        }
    }

    fn finish(&mut self, finished: &Finished) {
        let Finished { end, dearest } = finished;
        let totals = &mut self.totals;
        totals.open = totals.open.saturating_sub(1);
        totals.spent += end.cost;
        totals.answered += u64::from(end.outcome == Outcome::Answered);
        if let Some(baseline) = end.baseline {
            totals.baseline.add(baseline, end.cost);
        }
        if let Some(dearest) = dearest {
            totals.dearest.add(*dearest, end.cost);
        }
        end.attempts.iter().for_each(|attempt| self.count(attempt));
    }

    fn count(&mut self, attempt: &SettledAttempt) {
        let sums = if let Some(sums) = self.backends.get_mut(&attempt.backend) {
            sums
        } else if self.backends.len() < MOST_BACKENDS {
            self.backends.entry(attempt.backend.clone()).or_default()
        } else {
            return;
        };
        match attempt.ending {
            Ending::Complete => sums.answered += 1,
            Ending::Failed | Ending::TimedOut | Ending::Cut | Ending::Lost => sums.failed += 1,
            Ending::Abandoned | Ending::Superseded => {}
        }
        sums.spent += attempt.cost.usd;
    }
}

/// One request's place in the feed, held by whoever ends the request.
#[derive(Debug)]
pub struct Shown(Option<(Arc<Feed>, Arc<Entry>)>);

impl Shown {
    /// A request that nobody will look at.
    pub const fn nowhere() -> Self {
        Self(None)
    }

    /// Attempts did not answer; after `moved_on` of them another one was made.
    pub fn failed(&self, failures: &[AttemptFailure], moved_on: usize) {
        let Self(Some((feed, entry))) = self else { return };
        if failures.is_empty() || entry.failures.set(failures.iter().map(FailedTry::from).collect()).is_err() {
            return;
        }
        if let Some(mut ring) = feed.lock() {
            ring.totals.failovers += moved_on as u64;
            entry.touch(feed.step());
        }
    }

    /// The request has ended. A second end is dropped.
    pub fn end(&self, end: End) {
        let Self(Some((feed, entry))) = self else { return };
        let Subject::Planned(planned) = &entry.subject else { return };
        let dearest = match (end.baseline, end.answered()) {
            (None, Some(answered)) => planned.at_the_dearest(answered),
            _ => None,
        };
        if entry.end.set(Finished { end, dearest }).is_err() {
            return;
        }
        if let (Some(mut ring), Some(finished)) = (feed.lock(), entry.end.get()) {
            ring.finish(finished);
            entry.touch(feed.step());
        }
    }
}

#[cfg(test)]
mod tests;
