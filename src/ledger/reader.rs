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
use super::outbox::Outbox;
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

    pub(super) fn outbox(&self) -> Result<Outbox, StoreError> {
        Outbox::open(&self.folder, Arc::clone(&self.gate))
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

    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::{FileDisk, Settings, segment};

    /// Requests that are folded after one read has begun and before the one before it ends; some such lots fill a segment.
    const BETWEEN: usize = 32;

    async fn one_request(ledger: &Ledger, number: u64) {
        let tab = ledger.begin(request_opened(number)).unwrap();
        tab.attempt(attempt_opened()).end(attempt_end(100, number)).await.unwrap();
        tab.close(request_end()).await.unwrap();
    }

    /// A read that holds a snapshot of the store until it is released, or until the gate closes.
    struct Overlapping {
        gate: Arc<Gate>,
        released: Arc<AtomicBool>,
        ends: JoinHandle<Result<(), ReadError>>,
    }

    impl Overlapping {
        /// Returns when it has its snapshot.
        async fn begin(ledger: &Ledger) -> Self {
            let (gate, released) = (Arc::clone(&ledger.core.readers.gate), Arc::new(AtomicBool::new(false)));
            let (begun, has_begun) = oneshot::channel();
            let (ledger, stays, until) = (ledger.clone(), Arc::clone(&gate), Arc::clone(&released));
            let question = move |books: &Books| {
                let connection = books.connection();
                let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
                books.explained(connection.execute_batch("BEGIN"))?;
                books.explained(connection.query_row("SELECT count(*) FROM requests", [], count))?;
                let _ = begun.send(());
                stays.stay(&until);
                books.explained(connection.execute_batch("COMMIT"))
            };
            #[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
            let ends = tokio::spawn(async move { ledger.ask(question).await });
            has_begun.await.unwrap();
            Self { gate, released, ends }
        }

        async fn end(self) {
            self.gate.release(&self.released);
            let ended = self.ends.await.unwrap();
            assert!(matches!(ended, Ok(()) | Err(ReadError::Slow)), "{ended:?}");
        }
    }

    /// There is always a read that began before the last row came, so SQLite alone never finds the moment to begin its log
    /// anew. A read ends after the next has begun and more has been folded, or when the gate asks it to: whether a segment can
    /// go depends on the gate alone and not on how fast the machine is.
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
        let (_, oldest) = segment::list(&FileDisk, folder.path()).unwrap().swap_remove(0);
        let mut reading = Overlapping::begin(&ledger).await;
        let cut = async {
            let mut numbers = 0..;
            while oldest.exists() {
                let next = Overlapping::begin(&ledger).await;
                for number in numbers.by_ref().take(BETWEEN) {
                    one_request(&ledger, number).await;
                }
                ledger.flush().await.unwrap();
                std::mem::replace(&mut reading, next).end().await;
            }
        };
        // How long a failure takes. Without the gate it comes to this.
        let in_time = tokio::time::timeout(Duration::from_mins(1), cut).await;
        reading.end().await;
        ledger.close().await.unwrap();
        assert!(in_time.is_ok(), "no segment was deleted");
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
