//! The write-ahead journal: what happened, on disk before anybody is told of it.
//!
//! Requests encode their records into one shared buffer under a short lock; a single thread takes the buffer, writes it
//! with one call and wakes those who wait for it. So a record costs its encoding, and a write is shared by everything
//! that happened while the last one ran. Waking a thread costs more than the write itself, so only those who wait for a
//! record wake the writer, and they first let every task that is ready queue its own. A write is not synced (a killed process loses nothing that the kernel has);
//! `housekeeping` syncs once a second against a loss of power, unless every write is to be synced.
//!
//! A failed write is kept and tried again; meanwhile waiters get an error at once, new requests are refused, and the
//! ends of open requests gather in the buffer, which their number bounds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::entry::ClosedRequest;
use super::folding::{FoldQueue, Folding};
use super::health::{Health, Part, Unwritable, lock};
use super::housekeeping::{Housekeeping, Segment};
use super::segment::{self, HEADER};
use super::tab::Page;
use super::{LedgerError, Observer, SyncPolicy};
use crate::clock::SharedClock;
use crate::units::RequestId;

/// How long a record that nobody waits for may lie in the buffer.
const TICK: Duration = Duration::from_millis(20);

/// More room than this is not kept for the next batch.
const MOST_ROOM: usize = 256 * 1024;

/// Where the request of a page was opened: written by the journal, read when the request is folded.
pub(super) type OpenedIn = Arc<AtomicU64>;

/// What a record means to the journal besides its bytes.
pub(super) enum Meaning {
    Opens(OpenedIn, RequestId, Weak<Page>),
    Plain,
    Closes(Box<Folding>),
}

impl Meaning {
    /// A closed request, if this record made one.
    pub(super) fn closing(request: Option<ClosedRequest>, opened_in: &OpenedIn) -> Self {
        request.map_or(Self::Plain, |request| Self::Closes(Box::new(Folding { request, opened_in: Arc::clone(opened_in) })))
    }
}

/// The journal as requests see it.
pub(super) struct Journal {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// The highest number of which the record and all before it are written.
    journaled: AtomicU64,
    capacity_bytes: usize,
    pub(super) health: Arc<Health>,
    pub(super) clock: SharedClock,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// The bytes of the batch that was written last, emptied: the next batch is gathered in their room.
    room: Vec<u8>,
    /// The number of the last record.
    last: u64,
    waiters: Vec<(u64, oneshot::Sender<Result<(), Unwritable>>)>,
    /// The pages of requests that are open, so that they can be looked at.
    open: HashMap<RequestId, Weak<Page>, RandomEnough>,
    /// Somebody waits for what is queued.
    urgent: bool,
    rest: Rest,
    phase: Phase,
}

/// Our ids end with random bytes of our own making, so these are their hash.
type RandomEnough = BuildHasherDefault<LastBytes>;

#[derive(Default)]
struct LastBytes(u64);

impl Hasher for LastBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    /// The length of an id says nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the writer does while there is nothing to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    /// It writes, or has been told to look.
    #[default]
    Awake,
    /// It looks again after a [`TICK`], or when told.
    Dozing,
    /// It looks only when told: a whole tick has passed without a record.
    Asleep,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// The writer writes what is queued and then stops.
    Closing,
    /// Nobody writes any more.
    Stopped,
}

/// Records to be written together.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: usize,
    last: u64,
    since: Duration,
    opened: Vec<OpenedIn>,
    closed: Vec<Folding>,
}

impl Queue {
    /// What is queued, to be written; the next batch begins.
    fn cut(&mut self) -> Batch {
        self.urgent = false;
        let next = Batch { bytes: std::mem::take(&mut self.room), ..Batch::default() };
        std::mem::replace(&mut self.batch, next)
    }
}

impl Journal {
    pub(super) fn new(capacity_bytes: usize, health: Arc<Health>, clock: SharedClock) -> Self {
        Self { queue: Mutex::default(), wake: Condvar::new(), journaled: AtomicU64::new(0), capacity_bytes, health, clock }
    }

    /// Queues a record and returns its number. Never blocks on the disk; nothing is ever refused here, because whoever
    /// ends something must be able to: see [`Journal::room`] for those who begin something.
    pub(super) fn push(&self, meaning: Meaning, encode: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let mut queue = lock(&self.queue);
        if queue.batch.records == 0 {
            queue.batch.since = self.clock.monotonic();
        }
        queue.last += 1;
        let number = queue.last;
        queue.batch.last = number;
        queue.batch.records += 1;
        encode(&mut queue.batch.bytes);
        match meaning {
            Meaning::Opens(opened_in, request, page) => {
                queue.open.insert(request, page);
                queue.batch.opened.push(opened_in);
            }
            Meaning::Plain => {}
            Meaning::Closes(folding) => {
                queue.open.remove(&folding.request.opened.id);
                queue.batch.closed.push(*folding);
            }
        }
        if queue.rest == Rest::Asleep {
            self.rouse(queue);
        }
        number
    }

    /// Wakes the writer if it rests and nobody has woken it yet; outside the lock, which it takes first.
    fn rouse(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.rest != Rest::Awake {
            queue.rest = Rest::Awake;
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Whether the buffer has room for something that could as well not begin.
    pub(super) fn room(&self) -> bool {
        lock(&self.queue).batch.bytes.len() < self.capacity_bytes
    }

    pub(super) fn is_journaled(&self, number: u64) -> bool {
        self.journaled.load(Ordering::Acquire) >= number
    }

    /// Returns when a record and all before it are written; an error when they cannot be now (they stay queued).
    pub(super) async fn journaled(&self, number: u64) -> Result<(), LedgerError> {
        if self.is_journaled(number) {
            return Ok(());
        }
        self.health.ends_writable()?;
        // Whatever else is ready now queues its records first, so that one write carries them all. Where no other request is
        // open there is nothing of the kind, and nobody to look for it.
        if !self.is_idle() {
            tokio::task::yield_now().await;
        }
        let Some(written) = self.wait_for(number)? else {
            return Ok(());
        };
        match tokio::time::timeout(self.health.stuck_after(), written).await {
            Ok(Ok(result)) => result.map_err(LedgerError::Unwritable),
            Ok(Err(_)) => Err(LedgerError::Closed),
            Err(_) => Err(self.health.unwritable("the journal did not keep up").into()),
        }
    }

    /// Whether nobody but the one who asks can have anything to write.
    fn is_idle(&self) -> bool {
        lock(&self.queue).open.len() <= 1
    }

    fn wait_for(&self, number: u64) -> Result<Option<oneshot::Receiver<Result<(), Unwritable>>>, LedgerError> {
        let mut queue = lock(&self.queue);
        if self.is_journaled(number) {
            return Ok(None);
        }
        if queue.phase == Phase::Stopped {
            return Err(LedgerError::Closed);
        }
        let (tell, written) = oneshot::channel();
        queue.waiters.push((number, tell));
        queue.urgent = true;
        self.rouse(queue);
        Ok(Some(written))
    }

    /// The number of the last record queued.
    pub(super) fn last(&self) -> u64 {
        lock(&self.queue).last
    }

    /// Open requests and bytes that wait to be written.
    pub(super) fn depth(&self) -> (usize, usize) {
        let queue = lock(&self.queue);
        (queue.open.len(), queue.batch.bytes.len())
    }

    /// The page of a request that is open.
    pub(super) fn page(&self, request: RequestId) -> Option<Arc<Page>> {
        lock(&self.queue).open.get(&request).and_then(Weak::upgrade)
    }

    /// Tells the writer to write what is queued and to stop.
    pub(super) fn stop(&self) {
        let mut queue = lock(&self.queue);
        if queue.phase == Phase::Open {
            queue.phase = Phase::Closing;
        }
        self.wake.notify_all();
    }

    /// What is queued, for a writer that is moved by hand.
    #[cfg(test)]
    pub(super) fn take_now(&self) -> Option<Batch> {
        let mut queue = lock(&self.queue);
        (queue.batch.records > 0).then(|| queue.cut())
    }

    /// Waits for the next batch; `None` when the journal is closed and nothing is left.
    fn take(&self) -> Option<Batch> {
        let mut queue = lock(&self.queue);
        let mut ticked = false;
        loop {
            let filled = queue.batch.records > 0;
            if filled && (queue.urgent || queue.phase == Phase::Closing || ticked) {
                return Some(queue.cut());
            }
            if queue.phase == Phase::Closing {
                queue.phase = Phase::Stopped;
                queue.waiters.clear();
                return None;
            }
            queue.urgent = false;
            (queue, ticked) = self.rest(queue, ticked && !filled);
        }
    }

    /// Waits until told, at most a tick unless there is nothing to look for; answers whether the tick is over.
    fn rest<'q>(&self, mut queue: MutexGuard<'q, Queue>, nothing_to_do: bool) -> (MutexGuard<'q, Queue>, bool) {
        let ticked;
        if nothing_to_do {
            queue.rest = Rest::Asleep;
            (queue, ticked) = (self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner), false);
        } else {
            queue.rest = Rest::Dozing;
            let (woken, timeout) = self.wake.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner);
            (queue, ticked) = (woken, timeout.timed_out());
        }
        queue.rest = Rest::Awake;
        (queue, ticked)
    }

    fn published(&self, last: u64, mut written: Vec<u8>) {
        self.journaled.store(last, Ordering::Release);
        written.clear();
        let mut queue = lock(&self.queue);
        if written.capacity() <= MOST_ROOM {
            queue.room = written;
        }
        // Told outside the lock: each of them may run at once and queue its next record.
        let told: Vec<_> = queue.waiters.extract_if(.., |(number, _)| *number <= last).collect();
        drop(queue);
        for (_, tell) in told {
            let _ = tell.send(Ok(()));
        }
    }

    fn fail_waiters(&self, reason: &str) {
        for (_, tell) in lock(&self.queue).waiters.drain(..) {
            let _ = tell.send(Err(self.health.unwritable(reason)));
        }
    }

    /// Sleeps before the next try; returns at once, and `true`, when the journal is being closed.
    fn pause(&self, time: Duration) -> bool {
        let queue = lock(&self.queue);
        let waited = self.wake.wait_timeout_while(queue, time, |queue| queue.phase == Phase::Open);
        waited.unwrap_or_else(PoisonError::into_inner).0.phase != Phase::Open
    }
}

/// The one thread that writes.
pub(super) struct Writer {
    pub(super) journal: Arc<Journal>,
    pub(super) housekeeping: Arc<Housekeeping>,
    pub(super) folding: Arc<FoldQueue>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) sync: SyncPolicy,
    pub(super) retry_every: Duration,
    pub(super) current: Option<Position>,
}

/// The segment being written and where its next record goes.
pub(super) struct Position {
    segment: Segment,
    offset: u64,
    /// The header is not on disk yet; it goes out with the first batch.
    fresh: bool,
}

impl Writer {
    /// Writes until the journal is closed.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.journal.take() {
            self.write(batch);
        }
        self.folding.stop();
    }

    /// Writes a batch, however often that takes; gives up only when the gateway stops over a disk that does not write.
    fn write(&mut self, mut batch: Batch) {
        while let Some(refused) = self.try_write(batch) {
            batch = refused;
            if self.journal.pause(self.retry_every) {
                tracing::error!(records = batch.records, "stopped with records that the journal could not take");
                return;
            }
        }
    }

    /// Writes a batch and tells whoever waits for it; gives it back where the disk does not take it.
    pub(super) fn try_write(&mut self, batch: Batch) -> Option<Batch> {
        let health = Arc::clone(&self.journal.health);
        health.write_begins();
        let written = self.append(&batch);
        health.write_ends();
        match written {
            Ok(()) => {
                health.clear(Part::Write);
                self.publish(batch);
                None
            }
            Err(error) => {
                let reason = format!("the journal cannot be written: {error}");
                health.fault(Part::Write, reason.clone());
                self.journal.fail_waiters(&reason);
                Some(batch)
            }
        }
    }

    fn append(&mut self, batch: &Batch) -> std::io::Result<()> {
        let mut position = self.position_for(batch.bytes.len())?;
        let result = self.append_at(&mut position, batch);
        self.current = Some(position);
        result
    }

    fn append_at(&self, position: &mut Position, batch: &Batch) -> std::io::Result<()> {
        let file = &position.segment.file;
        if position.fresh {
            file.write_at(&segment::header(), 0)?;
            position.fresh = false;
        }
        file.write_at(&batch.bytes, position.offset)?;
        match self.sync {
            SyncPolicy::Always => file.sync()?,
            SyncPolicy::Second => self.housekeeping.written(&position.segment),
        }
        position.offset += batch.bytes.len() as u64;
        Ok(())
    }

    /// The segment in which a batch has room. A batch is never split: whatever a request's page says of its segment
    /// then holds for the whole record. A batch larger than a segment gets one of its own.
    fn position_for(&mut self, bytes: usize) -> std::io::Result<Position> {
        if let Some(position) = self.current.take() {
            if position.offset + bytes as u64 <= position.segment.room {
                return Ok(position);
            }
            self.current = Some(position);
        }
        let segment = self.housekeeping.next_segment()?;
        self.current = None;
        Ok(Position { segment, offset: HEADER as u64, fresh: true })
    }

    /// Closed requests are handed on before anybody hears that they are written: a flush then finds them waiting.
    fn publish(&mut self, batch: Batch) {
        if let Some(position) = &self.current {
            let number = position.segment.number;
            self.housekeeping.pin(number, batch.opened.len());
            batch.opened.iter().for_each(|opened_in| opened_in.store(number, Ordering::Release));
        }
        if !batch.closed.is_empty() {
            self.folding.hand_over(batch.closed);
        }
        self.journal.published(batch.last, batch.bytes);
        let waited = self.journal.clock.monotonic().saturating_sub(batch.since);
        self.observer.journaled(batch.records, waited);
    }
}
