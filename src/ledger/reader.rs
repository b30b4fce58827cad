//! Asking the books while they are being written: what ended before the question is in the answer.
//!
//! A read first has everything folded that has ended, then goes to the store on a connection of its own, off the reactor.
//! Only so many run at once and each for so long, because a reader that stays keeps the write-ahead log of the store from
//! being cut. Requests that are still open are not in the store: they are looked at where they are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;

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
}

impl Readers {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), places: Arc::new(Semaphore::new(AT_ONCE)) }
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
        let folder = readers.folder.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // The place is free only when the read has ended, heard or not.
            let _place = place;
            let books = Books::open(&folder)?;
            let _ = handle.set(books.interrupter());
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
