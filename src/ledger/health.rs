//! Whether the books can be written. Red while a journal write fails or hangs, while no segment could be set aside for
//! the ends of open requests, while the disk does not sync, or while too many closed requests wait for the store. Each
//! part turns itself green again by succeeding; nobody resets anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

/// Why no new request is taken on, and when to ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the books cannot be written: {reason}")]
pub struct Unwritable {
    pub reason: String,
    pub retry_after: Duration,
}

/// What can be wrong, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Write,
    Spare,
    Sync,
    Backlog,
    /// What waits for the store of a fleet.
    Spool,
}

pub(super) struct Health {
    clock: SharedClock,
    stuck_after: Duration,
    retry_after: Duration,
    red: AtomicBool,
    faults: Mutex<[Option<String>; 5]>,
    /// Monotonic nanoseconds at which the running write began; 0 while none runs.
    write_began: AtomicU64,
}

impl Health {
    pub(super) fn new(clock: SharedClock, stuck_after: Duration, retry_after: Duration) -> Self {
        Self {
            clock,
            stuck_after,
            retry_after,
            red: AtomicBool::new(false),
            faults: Mutex::default(),
            write_began: AtomicU64::new(0),
        }
    }

    /// Notes a fault; logged once, when it is new.
    pub(super) fn fault(&self, part: Part, reason: String) {
        let mut faults = lock(&self.faults);
        let slot = &mut faults[part as usize];
        if slot.is_none() {
            tracing::error!(reason, "the books cannot be written");
        }
        *slot = Some(reason);
        self.red.store(true, Ordering::Release);
    }

    /// Takes a fault back.
    pub(super) fn clear(&self, part: Part) {
        if !self.red.load(Ordering::Acquire) {
            return;
        }
        let mut faults = lock(&self.faults);
        if faults[part as usize].take().is_some() {
            tracing::warn!(part = ?part, "the books recovered");
        }
        self.red.store(faults.iter().any(Option::is_some), Ordering::Release);
    }

    pub(super) fn write_begins(&self) {
        self.write_began.store(self.now().max(1), Ordering::Release);
    }

    pub(super) fn write_ends(&self) {
        self.write_began.store(0, Ordering::Release);
    }

    /// Whether new requests may be taken on.
    pub(super) fn writable(&self) -> Result<(), Unwritable> {
        if self.red.load(Ordering::Acquire) {
            let faults = lock(&self.faults);
            if let Some(reason) = faults.iter().flatten().next() {
                return Err(self.unwritable(reason.clone()));
            }
        }
        self.moving()
    }

    /// Whether what is already open can still be written: a full disk alone does not hinder that.
    pub(super) fn ends_writable(&self) -> Result<(), Unwritable> {
        if self.red.load(Ordering::Acquire)
            && let Some(reason) = &lock(&self.faults)[Part::Write as usize]
        {
            return Err(self.unwritable(reason.clone()));
        }
        self.moving()
    }

    pub(super) fn unwritable(&self, reason: impl Into<String>) -> Unwritable {
        Unwritable { reason: reason.into(), retry_after: self.retry_after }
    }

    pub(super) fn stuck_after(&self) -> Duration {
        self.stuck_after
    }

    fn moving(&self) -> Result<(), Unwritable> {
        let began = self.write_began.load(Ordering::Acquire);
        if began == 0 {
            return Ok(());
        }
        let running = Duration::from_nanos(self.now().saturating_sub(began));
        if running > self.stuck_after {
            return Err(self.unwritable(format!("a journal write has been running for {} s", running.as_secs())));
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Locks, whatever became of a thread that held the lock: each critical section leaves its value whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn each_fault_is_taken_back_by_itself() {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let health = Health::new(clock, Duration::from_secs(2), Duration::from_secs(1));
        health.fault(Part::Spare, "disk full".into());
        health.fault(Part::Backlog, "store stuck".into());
        health.clear(Part::Backlog);
        assert_eq!(health.writable().unwrap_err().reason, "disk full");
        assert_eq!(health.ends_writable(), Ok(()));
        health.clear(Part::Spare);
        assert_eq!(health.writable(), Ok(()));
    }

    #[test]
    fn a_write_that_hangs_turns_red_until_it_returns() {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let shared: SharedClock = clock.clone();
        let health = Health::new(shared, Duration::from_secs(2), Duration::from_secs(1));
        health.write_begins();
        clock.advance(Duration::from_secs(2));
        assert_eq!(health.writable(), Ok(()));
        clock.advance(Duration::from_millis(1));
        assert!(health.writable().is_err() && health.ends_writable().is_err());
        health.write_ends();
        assert_eq!(health.writable(), Ok(()));
    }
}
