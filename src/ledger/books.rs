//! The ledger as the rest of the gateway holds it: opened once, cheap to clone, closed at the end.
//!
//! Three threads stand behind it (journal, bookkeeper, housekeeping), each ended by the one before it, so that a stop
//! writes what is queued, then folds what is written, then syncs. They hold the lock of the data directory between them.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::{Disk, FileDisk};
use super::entry::{RequestOpened, clip};
use super::folding::{Bookkeeper, FoldQueue};
use super::forgetting::Forgetting;
use super::gate::Gate;
use super::health::{Health, Part, Unwritable, lock};
use super::housekeeping::{Housekeeping, SegmentFiles};
use super::journal::{Journal, Writer};
use super::outbox::Outbox;
use super::reader::Readers;
use super::recovery::{self, RecoveryReport};
use super::sampling::Sampling;
use super::sqlite::SqliteStore;
use super::store::{Store, StoreError, Upkeep};
use super::tab::Tab;
use super::tables::Tables;
use crate::clock::SharedClock;
use crate::units::RequestId;

/// When the journal is synced against a loss of power. A killed process loses nothing either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Once a second: a loss of power costs at most that window.
    #[default]
    Second,
    /// Before anybody is told that a record is written.
    Always,
}

/// How the books are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data directory; made where it is absent, used by one gateway at a time.
    pub folder: PathBuf,
    pub sync: SyncPolicy,
    /// The size of one journal segment; two are always set aside.
    pub segment_bytes: u64,
    /// New requests are refused while more than this waits to be written.
    pub queue_bytes: usize,
    /// New requests are refused while more closed requests than this wait for the store.
    pub backlog_cap: usize,
    /// A journal write that takes longer turns the books red.
    pub stuck_after: Duration,
    /// How often a failed write is tried again, and how often the housekeeping runs.
    pub retry_every: Duration,
    /// For how many days the facts of a decision and the table it was made by are kept; 0 keeps none.
    pub decision_days: u32,
    /// Of which requests.
    pub decisions: Sampling,
    /// For how many days the rows of a request are kept; `None` keeps them for good. Sums are kept in any case.
    pub row_days: Option<u32>,
    /// Whether what is folded is noted for the store of a fleet, and waits until that has taken it.
    pub outbox: bool,
}

impl Settings {
    /// The defaults, in a data directory.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            sync: SyncPolicy::default(),
            segment_bytes: 16 * 1024 * 1024,
            queue_bytes: 4 * 1024 * 1024,
            backlog_cap: 50_000,
            stuck_after: Duration::from_secs(2),
            retry_every: Duration::from_secs(1),
            decision_days: 30,
            decisions: Sampling::ALL,
            row_days: None,
            outbox: false,
        }
    }
}

/// Why the books could not be opened or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    #[error("{} is in use by another gateway: give each its own data directory", .folder.display())]
    Locked { folder: PathBuf },
    #[error("{} cannot be used{}", .path.display(), remedy(.source.kind()))]
    Io {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("{} was written by a newer version (journal format {version}): run that version", .file.display())]
    NewerJournal { file: PathBuf, version: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    #[error("the books are closed")]
    Closed,
}

/// What to do about a place where books cannot be kept, where that is known.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => " (name a directory that this user may write to)",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => " (name a directory, not a file)",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => " (free some space there, or name another directory)",
        _ => "",
    }
}

impl LedgerError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Told how the books are doing; must return at once.
pub trait Observer: Send + Sync + 'static {
    /// A batch of records was written to the journal; its oldest had waited this long.
    fn journaled(&self, _records: usize, _waited: Duration) {}

    /// A transaction added this many rows to the store and took this long.
    fn committed(&self, _rows: usize, _took: Duration) {}
}

/// Nobody looks.
impl Observer for () {}

/// How the books are doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    pub open_requests: usize,
    /// Bytes that wait to be written to the journal.
    pub queued_bytes: usize,
    /// Closed requests that are not in the store yet.
    pub backlog: u64,
    pub segments: usize,
    pub writable: bool,
}

/// The books, open.
#[derive(Clone)]
pub struct Ledger {
    pub(super) core: Arc<Core>,
}

pub(super) struct Core {
    pub(super) journal: Arc<Journal>,
    folding: Arc<FoldQueue>,
    housekeeping: Arc<Housekeeping>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(super) tables: Arc<Tables>,
    pub(super) readers: Readers,
    decision_days: u32,
    decisions: Sampling,
}

/// What works behind the books, each on a thread of its own.
pub(super) struct Workers {
    pub(super) writer: Writer,
    pub(super) bookkeeper: Bookkeeper,
    pub(super) housekeeping: Arc<Housekeeping>,
    pub(super) upkeep: Box<dyn Upkeep>,
    pub(super) forgetting: Forgetting,
    pub(super) gate: Arc<Gate>,
}

impl Core {
    fn writer(&self, observer: Arc<dyn Observer>, sync: SyncPolicy, retry_every: Duration) -> Writer {
        Writer {
            journal: Arc::clone(&self.journal),
            housekeeping: Arc::clone(&self.housekeeping),
            folding: Arc::clone(&self.folding),
            observer,
            sync,
            retry_every,
            current: None,
        }
    }

    fn bookkeeper(&self, store: Box<dyn Store>, observer: Arc<dyn Observer>, retry_every: Duration) -> Bookkeeper {
        Bookkeeper {
            queue: Arc::clone(&self.folding),
            store,
            housekeeping: Arc::clone(&self.housekeeping),
            observer,
            retry_every,
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.journal.stop();
    }
}

impl Ledger {
    /// Opens the books of a data directory: locks it, opens the store, and books what the journal still holds. Blocks
    /// while it does so.
    pub fn open(settings: Settings, clock: SharedClock) -> Result<(Self, RecoveryReport), LedgerError> {
        Self::open_with(settings, clock, Arc::new(FileDisk), Arc::new(()))
    }

    /// The same on a given disk and watched by an observer.
    pub fn open_with(
        settings: Settings,
        clock: SharedClock,
        disk: Arc<dyn Disk>,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, RecoveryReport), LedgerError> {
        let folder = settings.folder.clone();
        std::fs::create_dir_all(&folder).map_err(LedgerError::io(&folder))?;
        let held = Arc::new(lock_folder(&folder)?);
        let mut store = SqliteStore::open(&folder)?;
        // Before the journal is read: what a kill left is forwarded too.
        store.forward(settings.outbox)?;
        let (ledger, workers, report) = Self::put_together(settings, clock, disk, Box::new(store), observer)?;
        let Workers { writer, bookkeeper, housekeeping, upkeep, forgetting, gate } = workers;
        let threads = [
            spawn("journal", &held, move || writer.run()),
            spawn("bookkeeper", &held, move || bookkeeper.run()),
            spawn("housekeeping", &held, move || housekeeping.run(upkeep, forgetting, &gate)),
        ];
        *lock(&ledger.core.threads) = threads.into_iter().collect::<io::Result<_>>().map_err(LedgerError::io(&folder))?;
        Ok((ledger, report))
    }

    /// Recovers what a disk and a store hold, and makes the books of them. Nothing is written until the workers work.
    pub(super) fn put_together(
        settings: Settings,
        clock: SharedClock,
        disk: Arc<dyn Disk>,
        mut store: Box<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Workers, RecoveryReport), LedgerError> {
        let Settings {
            folder,
            sync,
            segment_bytes,
            queue_bytes,
            backlog_cap,
            stuck_after,
            retry_every,
            decision_days,
            decisions,
            row_days,
            outbox: _,
        } = settings;
        let mut upkeep = store.upkeep()?;
        let (report, next) = recovery::run(&folder, disk.as_ref(), store.as_mut(), upkeep.as_mut())?;

        let health = Arc::new(Health::new(Arc::clone(&clock), stuck_after, retry_every));
        let files = SegmentFiles { folder: folder.clone(), disk, bytes: segment_bytes };
        let housekeeping = Arc::new(Housekeeping::new(files, next, retry_every, Arc::clone(&health)));
        housekeeping.provide_spare();
        let folding = Arc::new(FoldQueue::new(backlog_cap, Arc::clone(&health), Arc::clone(&clock)));
        let tables = Arc::new(Tables::new(&folder));
        let forgetting = Forgetting {
            days: decision_days,
            row_days,
            tables: Arc::clone(&tables),
            clock: Arc::clone(&clock),
            tables_due: Duration::ZERO,
        };
        let journal = Arc::new(Journal::new(queue_bytes, health, clock));
        let gate = Arc::new(Gate::default());
        let (threads, readers) = (Mutex::default(), Readers::new(&folder, Arc::clone(&gate)));
        let core = Core { journal, folding, housekeeping, threads, tables, readers, decision_days, decisions };
        let writer = core.writer(Arc::clone(&observer), sync, retry_every);
        let bookkeeper = core.bookkeeper(store, observer, retry_every);
        let housekeeping = Arc::clone(&core.housekeeping);
        let workers = Workers { writer, bookkeeper, housekeeping, upkeep, forgetting, gate };
        Ok((Self { core: Arc::new(core) }, workers, report))
    }

    /// Makes the sums of reports anew from the rows, in a data directory that no gateway uses; answers how many lines they are.
    pub fn rebuild(folder: &Path) -> Result<usize, LedgerError> {
        let _held = lock_folder(folder)?;
        Ok(SqliteStore::open(folder)?.rebuild()?)
    }

    /// Whether new requests may be taken on.
    pub fn writable(&self) -> Result<(), Unwritable> {
        self.core.journal.health.writable()
    }

    /// Opens a request's page. Queues its record and returns at once; [`Tab::journaled`] says when it is written.
    pub fn begin(&self, mut opened: RequestOpened) -> Result<Tab, Unwritable> {
        self.writable()?;
        if !self.core.journal.room() {
            return Err(self.core.journal.health.unwritable("too much waits to be written"));
        }
        clip(&mut opened.requested_model, 256);
        for text in [&mut opened.client_request_id, &mut opened.session].into_iter().flatten() {
            clip(text, 128);
        }
        Ok(Tab::open(&self.core.journal, opened))
    }

    /// What waits for the store of a fleet; only where [`Settings::outbox`] is set.
    pub fn outbox(&self) -> Result<Outbox, StoreError> {
        self.core.readers.outbox()
    }

    /// No new request is taken on for this reason, until it is taken back: too much waits for the store of a fleet.
    pub fn hold_back(&self, reason: Option<String>) {
        let health = &self.core.journal.health;
        match reason {
            Some(reason) => health.fault(Part::Spool, reason),
            None => health.clear(Part::Spool),
        }
    }

    /// Whether the facts of decisions are kept at all.
    pub fn keeps_facts(&self) -> bool {
        self.core.decision_days > 0 && !self.core.decisions.is_of_none()
    }

    /// Whether those of every request are kept.
    pub fn keeps_all_facts(&self) -> bool {
        self.keeps_facts() && self.core.decisions.is_of_all()
    }

    /// Whether those of this request are kept.
    pub fn keeps_facts_of(&self, id: RequestId) -> bool {
        self.keeps_facts() && self.core.decisions.takes(id)
    }

    /// For how many days the facts of decisions are kept.
    pub fn decision_days(&self) -> u32 {
        self.core.decision_days
    }

    /// Keeps a version of the price table, before it is put in force in the place of the one before it: what is decided by
    /// it can then be explained. Blocks on the disk, unless nothing is kept.
    pub fn keep_table(&self, version: &str, text: &str) -> Result<(), LedgerError> {
        if self.keeps_facts() { self.core.tables.keep(version, text, self.core.journal.clock.monotonic()) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn has_spare(&self) -> bool {
        self.core.housekeeping.has_spare()
    }

    /// How many records were queued so far.
    #[cfg(test)]
    pub(super) fn records(&self) -> u64 {
        self.core.journal.last()
    }

    /// How many records are in the journal.
    #[cfg(test)]
    pub(super) fn journaled_records(&self) -> u64 {
        (0..=self.records()).rev().find(|number| self.core.journal.is_journaled(*number)).unwrap_or(0)
    }

    /// Returns when everything that was closed before this call is in the store.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        let core = &self.core;
        core.journal.journaled(core.journal.last()).await?;
        core.folding.folded().await
    }

    /// Flushes, stops the threads and frees the data directory. What is still open is booked as lost at the next start.
    pub async fn close(self) -> Result<(), LedgerError> {
        let flushed = self.flush().await;
        self.core.journal.stop();
        let threads = std::mem::take(&mut *lock(&self.core.threads));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        match joined.await {
            Ok(true) => flushed,
            _ => Err(LedgerError::Closed),
        }
    }

    pub fn gauges(&self) -> Gauges {
        let core = &self.core;
        let (open_requests, queued_bytes) = core.journal.depth();
        let (backlog, segments) = (core.folding.backlog(), core.housekeeping.segments());
        Gauges { open_requests, queued_bytes, backlog, segments, writable: self.writable().is_ok() }
    }
}

/// Takes the data directory for this process; the lock goes with the file handle, so a killed gateway leaves none.
fn lock_folder(folder: &Path) -> Result<File, LedgerError> {
    let path = folder.join("ledger.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(LedgerError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(LedgerError::io(&path)(error)),
    }
}

/// A thread of the books, which holds the data directory until it ends.
fn spawn(name: &str, held: &Arc<File>, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let held = Arc::clone(held);
    std::thread::Builder::new().name(format!("ledger-{name}")).spawn(move || {
        run();
        drop(held);
    })
}
