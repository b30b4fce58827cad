//! Books whose workers are moved by hand, on a disk and a store in memory: for tests that must come out the same every time.
//!
//! The disk knows what a kill leaves (everything that was written, the last write perhaps torn) and what a loss of power does (what
//! was not synced is there or not, whole or in part, and a file that was deleted may be back). The store keeps watch: a request that
//! comes a second time must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::books::{Ledger, LedgerError, Settings, Workers};
use super::codec::Record;
use super::disk::{Disk, FileDisk, SegmentFile};
use super::entry::ClosedRequest;
use super::folding::Folding;
use super::health::lock;
use super::journal::Batch;
use super::recovery::RecoveryReport;
use super::segment;
use super::sqlite::SqliteStore;
use super::store::{Inserted, Store, StoreError, Upkeep};
use crate::clock::SharedClock;
use crate::units::RequestId;

/// The three workers of open books, each of which does what is due when it is told to.
pub(crate) struct Stepped {
    workers: Workers,
    /// What the disk did not take.
    refused: Option<Batch>,
    /// What the store did not take.
    unfolded: Vec<Folding>,
}

impl Stepped {
    /// Opens books: recovers what disk and store hold.
    pub(crate) fn open(
        settings: Settings,
        clock: SharedClock,
        disk: &Arc<MemoryDisk>,
        store: &Arc<MemoryStore>,
    ) -> Result<(Ledger, Self, RecoveryReport), LedgerError> {
        let (disk, store): (Arc<dyn Disk>, _) = (Arc::<MemoryDisk>::clone(disk), Box::new(Access(Arc::clone(store))));
        Self::put_together(settings, clock, disk, store)
    }

    /// Opens the books of a data directory that nobody else uses.
    pub(crate) fn on_files(settings: Settings, clock: SharedClock) -> Result<(Ledger, Self, RecoveryReport), LedgerError> {
        let store = Box::new(SqliteStore::open(&settings.folder)?);
        Self::put_together(settings, clock, Arc::new(FileDisk), store)
    }

    fn put_together(
        settings: Settings,
        clock: SharedClock,
        disk: Arc<dyn Disk>,
        store: Box<dyn Store>,
    ) -> Result<(Ledger, Self, RecoveryReport), LedgerError> {
        let (ledger, workers, report) = Ledger::put_together(settings, clock, disk, store, Arc::new(()))?;
        Ok((ledger, Self { workers, refused: None, unfolded: Vec::new() }, report))
    }

    /// Writes what is queued; answers whether the disk took anything.
    pub(crate) fn write(&mut self) -> bool {
        let Some(batch) = self.refused.take().or_else(|| self.workers.writer.journal.take_now()) else { return false };
        self.refused = self.workers.writer.try_write(batch);
        self.refused.is_none()
    }

    /// Folds at most so many of the requests that wait.
    pub(crate) fn fold(&mut self, most: usize) {
        if self.unfolded.is_empty() {
            self.unfolded = self.workers.bookkeeper.queue.take_now(most);
            self.unfolded.sort_unstable_by_key(|folding| folding.request.opened.id);
        }
        if !self.unfolded.is_empty() && self.workers.bookkeeper.try_fold(&self.unfolded) {
            self.unfolded.clear();
        }
    }

    /// A round of the housekeeping.
    pub(crate) fn keep_house(&mut self) {
        let Workers { housekeeping, upkeep, gate, .. } = &mut self.workers;
        housekeeping.round(upkeep.as_mut(), gate, false);
    }
}

/// What a record of the journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Noted {
    Opened,
    AttemptOpened(u32),
    Checkpoint(u32),
    AttemptEnded(u32),
    Closed,
}

impl Noted {
    fn of(record: &Record) -> Self {
        match record {
            Record::Opened(_) => Self::Opened,
            Record::AttemptOpened { number, .. } => Self::AttemptOpened(*number),
            Record::Checkpoint { number, .. } => Self::Checkpoint(*number),
            Record::AttemptEnded { number, .. } => Self::AttemptEnded(*number),
            Record::Closed(_) => Self::Closed,
        }
    }
}

/// A disk in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug, Default)]
struct DiskState {
    files: BTreeMap<PathBuf, Contents>,
    /// Deleted, and not yet for good.
    deleted: BTreeMap<PathBuf, Contents>,
    /// Everything that was ever deleted.
    past: Vec<Contents>,
    /// No file can be made.
    full: bool,
    /// A write leaves so many hundredths of its bytes and fails.
    failing: Option<usize>,
    /// Nothing can be synced.
    unsyncable: bool,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Contents {
    fn put(into: &mut Vec<u8>, bytes: &[u8], offset: usize) {
        if into.len() < offset + bytes.len() {
            into.resize(offset + bytes.len(), 0);
        }
        into[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl MemoryDisk {
    pub(crate) fn set_full(&self, full: bool) {
        lock(&self.state).full = full;
    }

    pub(crate) fn set_failing(&self, hundredths: Option<usize>) {
        lock(&self.state).failing = hundredths;
    }

    pub(crate) fn set_unsyncable(&self, unsyncable: bool) {
        lock(&self.state).unsyncable = unsyncable;
    }

    /// Loses what power keeps only by chance: `kept` tells how many hundredths of each write stay, `back` whether a file that was deleted
    /// is there again.
    pub(crate) fn lose_power(&self, mut kept: impl FnMut() -> usize, mut back: impl FnMut() -> bool) {
        let mut state = lock(&self.state);
        for contents in state.files.values_mut() {
            contents.now = contents.synced.clone();
            for (offset, bytes) in std::mem::take(&mut contents.unsynced) {
                let part = &bytes[..bytes.len() * kept().min(100) / 100];
                Contents::put(&mut contents.now, part, offset);
            }
            contents.synced = contents.now.clone();
        }
        for (path, contents) in std::mem::take(&mut state.deleted) {
            if back() {
                state.files.entry(path).or_insert(Contents { now: contents.synced.clone(), unsynced: Vec::new(), ..contents });
            }
        }
    }

    /// Every record that was ever written and not lost, in no order.
    pub(crate) fn records(&self) -> Vec<(RequestId, Noted)> {
        let state = lock(&self.state);
        let mut records = Vec::new();
        for contents in state.files.values().chain(&state.past) {
            let _ = segment::read(&contents.now, |request, record| records.push((request, Noted::of(&record))));
        }
        records
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = lock(&self.state);
        if state.files.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if state.full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let room = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        let made = Contents { now: room.clone(), synced: room, unsynced: Vec::new() };
        state.files.insert(path.to_owned(), made);
        Ok(Arc::new(MemoryFile { disk: Arc::clone(&self.state), path: path.to_owned() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        let contents = state.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.past.push(contents.clone());
        state.deleted.insert(path.to_owned(), contents);
        Ok(())
    }

    fn files(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(lock(&self.state).files.keys().cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        lock(&self.state).files.get(path).map(|contents| contents.now.clone()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        let contents = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), contents);
        Ok(())
    }
}

struct MemoryFile {
    disk: Arc<Mutex<DiskState>>,
    path: PathBuf,
}

impl SegmentFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.disk);
        let failing = state.failing;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let contents = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let part = &bytes[..bytes.len() * failing.unwrap_or(100).min(100) / 100];
        Contents::put(&mut contents.now, part, offset);
        contents.unsynced.push((offset, part.to_vec()));
        if failing.is_some() { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.disk);
        if state.unsyncable {
            return Err(io::Error::other("input/output error"));
        }
        // One that was deleted meanwhile has nothing that could be lost.
        if let Some(contents) = state.files.get_mut(&self.path) {
            contents.unsynced.clear();
            contents.synced = contents.now.clone();
        }
        Ok(())
    }
}

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    state: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    requests: BTreeMap<RequestId, ClosedRequest>,
    /// By transaction, what power can still take.
    fresh: Vec<BTreeSet<RequestId>>,
    /// It takes so many more transactions, and then none.
    takes: Option<usize>,
    /// What came a second time and was not the same.
    contradictions: Vec<String>,
}

impl MemoryStore {
    /// It takes so many more transactions and refuses what comes then; `None`: it takes everything.
    pub(crate) fn set_takes(&self, transactions: Option<usize>) {
        lock(&self.state).takes = transactions;
    }

    /// Loses the last of the transactions that were not made durable, but for the first so many.
    pub(crate) fn lose_power(&self, kept: usize) {
        let mut rows = lock(&self.state);
        let fresh = std::mem::take(&mut rows.fresh);
        fresh.into_iter().skip(kept).flatten().for_each(|id| drop(rows.requests.remove(&id)));
    }

    /// Everything that is booked, in the order of the ids.
    pub(crate) fn requests(&self) -> Vec<ClosedRequest> {
        lock(&self.state).requests.values().cloned().collect()
    }

    pub(crate) fn contradictions(&self) -> Vec<String> {
        lock(&self.state).contradictions.clone()
    }
}

struct Access(Arc<MemoryStore>);

impl Store for Access {
    fn insert(&mut self, requests: &mut dyn Iterator<Item = &ClosedRequest>) -> Result<Inserted, StoreError> {
        let mut rows = lock(&self.0.state);
        if let Some(takes) = &mut rows.takes {
            *takes = takes.checked_sub(1).ok_or_else(|| StoreError::Failed(Arc::new(io::Error::other("no"))))?;
        }
        let (mut inserted, mut fresh) = (Inserted::default(), BTreeSet::new());
        for request in requests {
            let id = request.opened.id;
            let mut request = request.clone();
            request.attempts.sort_by_key(|attempt| attempt.number);
            let Some(known) = rows.requests.get(&id) else {
                inserted.requests += 1;
                inserted.rows += 1 + request.attempts.len();
                fresh.insert(id);
                rows.requests.insert(id, request);
                continue;
            };
            if (&known.opened, known.end, &known.attempts) != (&request.opened, request.end, &request.attempts) {
                let contradiction = format!("booked as\n{known:#?}\nand then as\n{request:#?}");
                rows.contradictions.push(contradiction);
            }
        }
        rows.fresh.push(fresh);
        Ok(inserted)
    }

    fn upkeep(&self) -> Result<Box<dyn Upkeep>, StoreError> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
}

impl Upkeep for Access {
    fn make_durable(&mut self) -> Result<bool, StoreError> {
        lock(&self.0.state).fresh.clear();
        Ok(true)
    }

    fn forget_facts(&mut self, _before: RequestId, _most: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn tables_used(&mut self, _since: RequestId) -> Result<BTreeSet<String>, StoreError> {
        Ok(BTreeSet::new())
    }
}
