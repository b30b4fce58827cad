//! Asking the books while they are being written: what ended before the question is in the answer.
//!
//! A read first has everything folded that has ended, then goes to the store on a connection of its own, off the reactor.
//! Only so many run at once and each for so long, and all of them pass the `gate`, because readers keep the write-ahead log
//! of the store from being cut. Requests that are still open are not in the store: they are looked at where they are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::gate::Gate;
use super::query::{Books, Interrupter};
use super::store::StoreError;
use super::tab::OpenRequest;
use super::{Ledger, LedgerError};
use crate::units::RequestId;

/// Reads at once; further ones wait.
const AT_ONCE: usize = 4;
/// How long a read may take, its wait included.
const WITHIN: Duration = Duration::from_secs(5);

/// Why the books did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the books did not answer within {} s", WITHIN.as_secs())]
    Slow,
    #[error("the books are behind: {0}")]
    Behind(#[source] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who may read at once, and where.
pub(super) struct Readers {
    folder: PathBuf,
    places: Arc<Semaphore>,
    gate: Arc<Gate>,
}

impl Readers {
    pub(super) fn new(folder: &Path, gate: Arc<Gate>) -> Self {
        Self { folder: folder.to_owned(), places: Arc::new(Semaphore::new(AT_ONCE)), gate }
    }
}

/// Ends a question that nobody waits for any more.
struct Unheard(Arc<OnceLock<Interrupter>>);

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(running) = self.0.get() {
            running.interrupt();
        }
    }
}

impl Ledger {
    /// Asks the books. Everything that ended before this call is in the answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Books) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ReadError> {
        tokio::time::timeout(WITHIN, self.ask_patiently(question)).await.map_err(|_| ReadError::Slow)?
    }

    async fn ask_patiently<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Books) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let readers = &self.core.readers;
        let place = Arc::clone(&readers.places).acquire_owned().await.map_err(|_| ReadError::Slow)?;
        self.flush().await.map_err(ReadError::Behind)?;
        let handle = Arc::new(OnceLock::new());
        let unheard = Unheard(Arc::clone(&handle));
        let (folder, gate) = (readers.folder.clone(), Arc::clone(&readers.gate));
        let asked = tokio::task::spawn_blocking(move || {
            // The place is free only when the read has ended, heard or not.
            let _place = place;
            let _reading = gate.enter();
            let books = Books::open(&folder)?;
            let _ = handle.set(books.interrupter());
            // Whoever left before the handle was there could not end what had not begun.
            if Arc::strong_count(&handle) == 1 {
                return Err(StoreError::Failed(Arc::new(ReadError::Slow)));
            }
            question(&books)
        });
        let answer = asked.await.map_err(|_| ReadError::Behind(LedgerError::Closed));
        drop(unheard);
        Ok(answer??)
    }

    /// A request that is still open.
    pub fn open_request(&self, id: RequestId) -> Option<OpenRequest> {
        self.core.journal.page(id).map(|page| page.glance())
    }

    /// The text of a version of the price table, where it is kept. Blocks on the disk.
    pub fn table(&self, version: &str) -> Result<Option<String>, StoreError> {
        self.core.tables.text(version).map_err(|error| StoreError::Failed(Arc::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::Settings;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};

    /// Holds a snapshot of the store for some hundred milliseconds.
    const LONG: &str =
        "WITH RECURSIVE n (i) AS (SELECT count(*) FROM requests UNION ALL SELECT i + 1 FROM n LIMIT 400000) SELECT max(i) FROM n";

    async fn one_request(ledger: &Ledger, number: u64) {
        let tab = ledger.begin(request_opened(number)).unwrap();
        tab.attempt(attempt_opened()).end(attempt_end(100, number)).await.unwrap();
        tab.close(request_end()).await.unwrap();
    }

    /// Each read ends soon, but there is always one that began before the last row came.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_that_overlap_without_end_do_not_keep_the_log_from_being_cut() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            segment_bytes: 16_384,
            retry_every: Duration::from_millis(20),
            decision_days: 36_500,
            ..Settings::new(folder.path())
        };
        let (ledger, _) = Ledger::open(settings, SystemClock::shared()).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let asking = (0..2 * AT_ONCE).map(|_| {
            let (ledger, done) = (ledger.clone(), Arc::clone(&done));
            #[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let long =
                        |books: &Books| books.explained(books.connection().query_row(LONG, [], |row| row.get::<_, i64>(0)));
                    ledger.ask(long).await.unwrap();
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        let (mut most, mut deleted) = (0, 0);
        // On a busy machine the checkpoint takes longer to get its turn; without the gate it never does.
        for number in 0..20_000 {
            one_request(&ledger, number).await;
            let segments = ledger.gauges().segments;
            deleted += usize::from(segments < most);
            most = segments;
            if number >= 4_000 && deleted > 0 {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
        for asked in asking {
            asked.await.unwrap();
        }
        ledger.close().await.unwrap();
        assert!(deleted > 0, "no segment was deleted, {most} are left");
    }

    /// It would run to its end for nobody.
    #[tokio::test]
    async fn a_question_that_nobody_waits_for_any_more_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let was_asked = Arc::clone(&asked);
        let held = Arc::clone(&ledger.core.readers.gate);
        let (closed, is_closed) = std::sync::mpsc::channel();
        let (open, may_open) = std::sync::mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            held.alone(Duration::ZERO, || {
                closed.send(()).unwrap();
                may_open.recv().unwrap();
            });
        });
        is_closed.recv().unwrap();
        let question = ledger.ask(move |_| {
            was_asked.store(true, Ordering::SeqCst);
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), question).await.is_err());
        open.send(()).unwrap();
        keeper.join().unwrap();
        // Free again only when the read is over.
        let all = u32::try_from(AT_ONCE).unwrap();
        drop(ledger.core.readers.places.acquire_many(all).await.unwrap());
        assert!(!asked.load(Ordering::SeqCst));
        ledger.close().await.unwrap();
    }
}
