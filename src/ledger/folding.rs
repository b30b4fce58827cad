//! From the journal into the store: a second thread folds closed requests into rows, many to a transaction, so that no
//! request ever waits for the database. A store that fails is tried again; what waits for it is safe in the journal,
//! and when too much waits the books turn red.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::entry::ClosedRequest;
use super::health::{Health, Part, lock};
use super::housekeeping::Housekeeping;
use super::journal::OpenedIn;
use super::store::{Store, StoreError};
use super::{LedgerError, Observer};
use crate::clock::SharedClock;

/// A transaction begins when this many requests wait,
const BATCH: usize = 256;
/// or when the first has waited this long.
const LINGER: Duration = Duration::from_millis(100);
/// No transaction is larger: it bounds what a reader of the write-ahead log and a retry cost.
const LARGEST: usize = 2_048;

/// A closed request on its way into the store.
pub(super) struct Folding {
    pub(super) request: ClosedRequest,
    pub(super) opened_in: OpenedIn,
}

/// What waits for the store.
pub(super) struct FoldQueue {
    state: Mutex<Waiting>,
    wake: Condvar,
    cap: usize,
    health: Arc<Health>,
    clock: SharedClock,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Folding>,
    since: Duration,
    /// How many were ever handed over, and how many of those are in the store.
    handed: u64,
    folded: u64,
    waiters: Vec<(u64, oneshot::Sender<Result<(), StoreError>>)>,
    stopping: bool,
    stopped: bool,
}

impl FoldQueue {
    pub(super) fn new(cap: usize, health: Arc<Health>, clock: SharedClock) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), cap, health, clock }
    }

    pub(super) fn hand_over(&self, requests: Vec<Folding>) {
        let mut state = lock(&self.state);
        if state.requests.is_empty() {
            state.since = self.clock.monotonic();
            self.wake.notify_all();
        }
        state.handed += requests.len() as u64;
        state.requests.extend(requests);
        if state.requests.len() >= BATCH {
            self.wake.notify_all();
        }
        let backlog = state.handed - state.folded;
        if backlog > self.cap as u64 {
            self.health.fault(Part::Backlog, format!("{backlog} closed requests wait for the store"));
        }
    }

    /// Requests that are closed and not yet in the store.
    pub(super) fn backlog(&self) -> u64 {
        let state = lock(&self.state);
        state.handed - state.folded
    }

    /// Returns when everything handed over so far is in the store; an error when the store failed at it (it is tried again).
    pub(super) async fn folded(&self) -> Result<(), LedgerError> {
        let written = {
            let mut state = lock(&self.state);
            if state.folded == state.handed {
                return Ok(());
            }
            if state.stopped {
                return Err(LedgerError::Closed);
            }
            let (tell, written) = oneshot::channel();
            let handed = state.handed;
            state.waiters.push((handed, tell));
            self.wake.notify_all();
            written
        };
        written.await.map_err(|_| LedgerError::Closed)?.map_err(LedgerError::Store)
    }

    /// Tells the bookkeeper to fold what waits and to stop.
    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.wake.notify_all();
    }

    fn take(&self) -> Option<Vec<Folding>> {
        let mut state = lock(&self.state);
        loop {
            if state.requests.is_empty() {
                if state.stopping {
                    return None;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let lingered = self.clock.monotonic().saturating_sub(state.since);
            let hurry = state.stopping || !state.waiters.is_empty() || state.requests.len() >= BATCH;
            if hurry || lingered >= LINGER {
                let count = state.requests.len().min(LARGEST);
                return Some(state.requests.drain(..count).collect());
            }
            let (guard, timeout) =
                self.wake.wait_timeout(state, LINGER.saturating_sub(lingered)).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && !state.requests.is_empty() {
                let count = state.requests.len().min(LARGEST);
                return Some(state.requests.drain(..count).collect());
            }
        }
    }

    fn done(&self, count: usize) {
        let mut state = lock(&self.state);
        state.folded += count as u64;
        state.since = self.clock.monotonic();
        let folded = state.folded;
        for (_, tell) in state.waiters.extract_if(.., |(wanted, _)| *wanted <= folded) {
            let _ = tell.send(Ok(()));
        }
        if (state.handed - folded) * 2 <= self.cap as u64 {
            self.health.clear(Part::Backlog);
        }
    }

    /// Nobody folds any more: whoever waits is told by losing their sender.
    fn ended(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.waiters.clear();
    }

    fn failed(&self, error: &StoreError) {
        for (_, tell) in lock(&self.state).waiters.drain(..) {
            let _ = tell.send(Err(error.clone()));
        }
    }

    /// Sleeps before the next try; `true` when the gateway is stopping.
    fn pause(&self, time: Duration) -> bool {
        let waited = self.wake.wait_timeout_while(lock(&self.state), time, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

/// The one thread that writes to the store.
pub(super) struct Bookkeeper {
    pub(super) queue: Arc<FoldQueue>,
    pub(super) store: Box<dyn Store>,
    pub(super) housekeeping: Arc<Housekeeping>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) retry_every: Duration,
}

impl Bookkeeper {
    /// Folds until the queue is stopped and empty.
    pub(super) fn run(mut self) {
        while let Some(requests) = self.queue.take() {
            if !self.fold(&requests) {
                break;
            }
        }
        self.queue.ended();
        self.housekeeping.stop();
    }

    /// Inserts a batch, however often that takes. `false` when the gateway stops over a store that does not take it:
    /// the journal keeps it for the next start.
    fn fold(&mut self, requests: &[Folding]) -> bool {
        let clock = Arc::clone(&self.queue.clock);
        loop {
            let began = clock.monotonic();
            match self.store.insert(&mut requests.iter().map(|folding| &folding.request)) {
                Ok(inserted) => {
                    self.housekeeping.release(requests.iter().map(|folding| folding.opened_in.load(Ordering::Acquire)));
                    self.observer.committed(inserted.rows, clock.monotonic().saturating_sub(began));
                    self.queue.done(requests.len());
                    return true;
                }
                Err(error) => {
                    tracing::error!(%error, requests = requests.len(), "the store refused closed requests; trying again");
                    self.queue.failed(&error);
                }
            }
            if self.queue.pause(self.retry_every) {
                return false;
            }
        }
    }
}
