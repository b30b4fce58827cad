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

    /// What waits, for a bookkeeper that is moved by hand.
    #[cfg(test)]
    pub(super) fn take_now(&self, most: usize) -> Vec<Folding> {
        let mut state = lock(&self.state);
        let count = state.requests.len().min(most);
        state.requests.drain(..count).collect()
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
        while let Some(mut requests) = self.queue.take() {
            // In the order of their ids the rows go to the end of each table.
            requests.sort_unstable_by_key(|folding| folding.request.opened.id);
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
        while !self.try_fold(requests) {
            if self.queue.pause(self.retry_every) {
                return false;
            }
        }
        true
    }

    /// Inserts a batch; `false` when the store does not take it.
    pub(super) fn try_fold(&mut self, requests: &[Folding]) -> bool {
        let clock = Arc::clone(&self.queue.clock);
        let began = clock.monotonic();
        match self.store.insert(&mut requests.iter().map(|folding| &folding.request)) {
            Ok(inserted) => {
                self.housekeeping.release(requests.iter().map(|folding| folding.opened_in.load(Ordering::Acquire)));
                self.observer.committed(inserted.rows, clock.monotonic().saturating_sub(began));
                self.queue.done(requests.len());
                true
            }
            Err(error) => {
                tracing::error!(%error, requests = requests.len(), "the store refused closed requests; trying again");
                self.queue.failed(&error);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::disk::FileDisk;
    use crate::ledger::fixtures::{request_end, request_opened};
    use crate::ledger::housekeeping::SegmentFiles;
    use crate::ledger::store::{Inserted, Upkeep};

    /// A store that fails while it is told to.
    #[derive(Default)]
    struct Stubborn {
        failing: AtomicBool,
        tries: AtomicUsize,
        took: AtomicUsize,
    }

    struct StubbornStore(Arc<Stubborn>);

    impl Store for StubbornStore {
        fn insert(&mut self, requests: &mut dyn Iterator<Item = &ClosedRequest>) -> Result<Inserted, StoreError> {
            self.0.tries.fetch_add(1, Ordering::SeqCst);
            if self.0.failing.load(Ordering::SeqCst) {
                return Err(StoreError::Failed(Arc::new(io::Error::other("no"))));
            }
            let requests = requests.count();
            self.0.took.fetch_add(requests, Ordering::SeqCst);
            Ok(Inserted { requests, rows: requests })
        }

        fn upkeep(&self) -> Result<Box<dyn Upkeep>, StoreError> {
            Err(StoreError::Failed(Arc::new(io::Error::other("none"))))
        }
    }

    fn closed(number: u64) -> Folding {
        let request = ClosedRequest { opened: Arc::new(request_opened(number)), end: request_end(), attempts: Vec::new() };
        Folding { request, opened_in: OpenedIn::default() }
    }

    fn bookkeeper(store: &Arc<Stubborn>, retry_every: Duration) -> (Arc<FoldQueue>, Arc<Health>, Bookkeeper) {
        let clock = SystemClock::shared();
        let health = Arc::new(Health::new(Arc::clone(&clock), Duration::from_secs(2), Duration::from_secs(1)));
        let queue = Arc::new(FoldQueue::new(2, Arc::clone(&health), clock));
        let files = SegmentFiles { folder: "unused".into(), disk: Arc::new(FileDisk), bytes: 0 };
        let housekeeping = Arc::new(Housekeeping::new(files, 1, retry_every, Arc::clone(&health)));
        let store = Box::new(StubbornStore(Arc::clone(store)));
        let keeper = Bookkeeper { queue: Arc::clone(&queue), store, housekeeping, observer: Arc::new(()), retry_every };
        (queue, health, keeper)
    }

    #[tokio::test]
    async fn a_stuck_store_turns_the_books_red_and_they_turn_green_by_themselves() {
        let store = Arc::new(Stubborn::default());
        store.failing.store(true, Ordering::SeqCst);
        let (queue, health, keeper) = bookkeeper(&store, Duration::from_millis(1));
        let thread = std::thread::spawn(move || keeper.run());
        queue.hand_over((0..2).map(closed).collect());
        assert!(matches!(queue.folded().await, Err(LedgerError::Store(_))));
        assert_eq!((health.writable(), queue.backlog()), (Ok(()), 2));
        queue.hand_over(vec![closed(3)]);
        assert!(health.writable().unwrap_err().reason.contains("3 closed requests"));
        store.failing.store(false, Ordering::SeqCst);
        while queue.folded().await.is_err() {}
        assert_eq!((health.writable(), store.took.load(Ordering::SeqCst)), (Ok(()), 3));
        queue.stop();
        thread.join().unwrap();
        assert!(store.tries.load(Ordering::SeqCst) > 1);
    }

    #[tokio::test]
    async fn a_stop_over_a_store_that_fails_ends_and_keeps_nobody_waiting() {
        let store = Arc::new(Stubborn::default());
        store.failing.store(true, Ordering::SeqCst);
        let (queue, _, keeper) = bookkeeper(&store, Duration::from_hours(1));
        queue.hand_over(vec![closed(1)]);
        queue.stop();
        keeper.run();
        assert!(matches!(queue.folded().await, Err(LedgerError::Closed)));
        assert_eq!(store.took.load(Ordering::SeqCst), 0);
    }
}
