//! What must happen now and then and never in the way of a record: syncing the journal, having a spare segment ready,
//! making the store's rows safe against a loss of power, and only then deleting the segments they came from.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::disk::{Disk, SegmentFile};
use super::forgetting::Forgetting;
use super::gate::Gate;
use super::health::{Health, Part, lock};
use super::segment::{self, Pins};
use super::store::Upkeep;

/// How long the reads that hold a checkpoint up have to end. As long, new ones wait.
const READS_END_WITHIN: Duration = Duration::from_millis(250);

/// A segment file and the room set aside in it.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) room: u64,
}

/// Where segments are and how large.
pub(super) struct SegmentFiles {
    pub(super) folder: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) bytes: u64,
}

/// The segments of one journal, shared by the three threads.
pub(super) struct Housekeeping {
    files: SegmentFiles,
    every: Duration,
    health: Arc<Health>,
    /// Held while a segment is made: a spare that came late must not be written after one with a higher number, because
    /// recovery reads in the order of numbers.
    making: Mutex<()>,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    next: u64,
    spare: Option<Segment>,
    /// Segments written since their last sync.
    dirty: Vec<Segment>,
    pins: Pins,
    stopping: bool,
    spare_wanted: bool,
}

impl Housekeeping {
    /// `next` is the number of the first segment to make.
    pub(super) fn new(files: SegmentFiles, next: u64, every: Duration, health: Arc<Health>) -> Self {
        let state = State { next, spare: None, dirty: Vec::new(), pins: Pins::default(), stopping: false, spare_wanted: false };
        Self { files, every, health, making: Mutex::default(), state: Mutex::new(state), wake: Condvar::new() }
    }

    /// The spare segment, or a new one where none is ready.
    pub(super) fn next_segment(&self) -> io::Result<Segment> {
        let making = lock(&self.making);
        let spare = lock(&self.state).spare.take();
        let segment = match spare {
            Some(spare) => spare,
            None => self.create()?,
        };
        drop(making);
        let mut state = lock(&self.state);
        state.pins.begin(segment.number);
        state.spare_wanted = true;
        self.wake.notify_all();
        Ok(segment)
    }

    /// Makes a segment without holding the lock on the state, which the writer needs for every batch. A number that came
    /// to nothing is skipped.
    fn create(&self) -> io::Result<Segment> {
        let number = {
            let mut state = lock(&self.state);
            state.next += 1;
            state.next - 1
        };
        let file = self.files.disk.create(&segment::path(&self.files.folder, number), self.files.bytes)?;
        Ok(Segment { number, file, room: self.files.bytes })
    }

    /// Sets a spare segment aside, so that what is open can be ended on a full disk.
    pub(super) fn provide_spare(&self) {
        let _making = lock(&self.making);
        let present = {
            let mut state = lock(&self.state);
            state.spare_wanted = false;
            state.spare.is_some()
        };
        if present {
            return;
        }
        match self.create() {
            Ok(spare) => {
                lock(&self.state).spare = Some(spare);
                self.health.clear(Part::Spare);
            }
            Err(error) => self.health.fault(Part::Spare, format!("no journal segment could be set aside: {error}")),
        }
    }

    /// Notes that a segment has bytes the disk may not have yet.
    pub(super) fn written(&self, segment: &Segment) {
        let mut state = lock(&self.state);
        if state.dirty.iter().all(|dirty| dirty.number != segment.number) {
            state.dirty.push(segment.clone());
        }
    }

    pub(super) fn pin(&self, number: u64, requests: usize) {
        if requests > 0 {
            lock(&self.state).pins.pin(number, requests);
        }
    }

    pub(super) fn release(&self, opened_in: impl Iterator<Item = u64>) {
        let mut state = lock(&self.state);
        opened_in.for_each(|number| state.pins.release(number));
    }

    pub(super) fn segments(&self) -> usize {
        lock(&self.state).pins.segments()
    }

    #[cfg(test)]
    pub(super) fn has_spare(&self) -> bool {
        lock(&self.state).spare.is_some()
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.wake.notify_all();
    }

    /// Runs until stopped; once more after that, so that a clean stop leaves nothing unsynced.
    pub(super) fn run(&self, mut upkeep: Box<dyn Upkeep>, mut forgetting: Forgetting, readers: &Gate) {
        loop {
            let stopping = self.rest();
            self.round(upkeep.as_mut(), readers, stopping);
            if stopping {
                return;
            }
            forgetting.round(upkeep.as_mut());
        }
    }

    /// What is due now.
    pub(super) fn round(&self, upkeep: &mut dyn Upkeep, readers: &Gate, stopping: bool) {
        self.provide_spare_unless(stopping);
        self.sync();
        self.delete_folded(upkeep, readers);
    }

    fn rest(&self) -> bool {
        let state = lock(&self.state);
        let rested = self.wake.wait_timeout_while(state, self.every, |state| !state.stopping && !state.spare_wanted);
        rested.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn provide_spare_unless(&self, stopping: bool) {
        if !stopping {
            self.provide_spare();
        }
    }

    fn sync(&self) {
        let dirty = std::mem::take(&mut lock(&self.state).dirty);
        for segment in dirty {
            match segment.file.sync() {
                Ok(()) => self.health.clear(Part::Sync),
                Err(error) => {
                    self.written(&segment);
                    self.health.fault(Part::Sync, format!("the journal cannot be synced: {error}"));
                }
            }
        }
    }

    /// Which segments can go is asked before the store is made safe: what is folded later is not covered by it.
    fn delete_folded(&self, upkeep: &mut dyn Upkeep, readers: &Gate) {
        let unneeded = lock(&self.state).pins.unneeded();
        let durable = match upkeep.make_durable() {
            Ok(false) => readers.alone(READS_END_WITHIN, || upkeep.make_durable()),
            other => other,
        };
        match durable {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::warn!(%error, "the store could not be checkpointed; trying again"),
        }
        for number in unneeded {
            if let Err(error) = self.files.disk.remove(&segment::path(&self.files.folder, number)) {
                tracing::warn!(%error, segment = number, "a finished journal segment could not be deleted");
            }
            lock(&self.state).pins.forget(number);
        }
    }
}
