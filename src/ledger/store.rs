//! Where closed requests are kept for good. The journal is the same whatever the store; a store only has to insert whole
//! requests, to ignore what it already has, and to say when what it took is safe.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::entry::ClosedRequest;
use crate::units::RequestId;

/// Why a store could not be opened or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A newer gateway wrote these books.
    #[error(
        "{} has schema version {found}, this gateway knows up to {known}: run the newer version, or restore a copy from before it", 
        .file.display()
    )]
    Newer { file: PathBuf, found: i64, known: i64 },
    /// An older gateway wrote these books, and none of this version has opened them yet.
    #[error(
        "{} has schema version {found}, and this version reads {known}: start this version of the gateway on it once, or run tokenbroker ledger rebuild while no gateway does; both bring it up to date (tokenbroker ledger backup copies it first)",
        .file.display()
    )]
    Older { file: PathBuf, found: i64, known: i64 },
    /// The file is not what a gateway wrote.
    #[error(
        "{} is damaged ({detail}): keep the journal-*.log files where they are, move this file away (with its -wal and -shm) and start again, or restore a copy of it; the journal then fills in what it still holds", 
        .file.display()
    )]
    Damaged { file: PathBuf, detail: String },
    #[error("the disk of {} is full: free some space there, or name another directory", .file.display())]
    Full { file: PathBuf },
    /// Anything else: busy, forbidden.
    #[error("the store failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// What an insertion added; what was there already is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inserted {
    pub requests: usize,
    /// Rows of any kind.
    pub rows: usize,
}

/// Keeps closed requests.
pub trait Store: Send {
    /// Inserts requests with their attempts, all or none. A request or attempt that is there already stays as it is.
    fn insert(&mut self, requests: &mut dyn Iterator<Item = &ClosedRequest>) -> Result<Inserted, StoreError>;

    /// A second access for the upkeep, so that it never holds up an insertion.
    fn upkeep(&self) -> Result<Box<dyn Upkeep>, StoreError>;
}

/// Periodic work on a store.
pub trait Upkeep: Send {
    /// Makes everything inserted so far survive a loss of power; `false` when that could not be had just now.
    fn make_durable(&mut self) -> Result<bool, StoreError>;

    /// Deletes the facts of decisions of requests with smaller ids, at most this many of the oldest; answers how many.
    fn forget_facts(&mut self, before: RequestId, most: usize) -> Result<usize, StoreError>;

    /// The versions of the price table that facts of requests from an id on belong to; forgets the others.
    fn tables_used(&mut self, since: RequestId) -> Result<BTreeSet<String>, StoreError>;

    /// Deletes the rows of at most so many requests that arrived before a day (counted since 1970, UTC), the oldest first, and
    /// carries forward what only they knew; answers how many. A store that keeps age at bay in its own way need not.
    fn prune(&mut self, _day: i64, _most: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
