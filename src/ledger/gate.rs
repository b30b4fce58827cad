//! Readers of the store that overlap without end keep its write-ahead log from being cut, however short each of them is:
//! SQLite begins the log anew only at a moment when nobody reads from it. The gate makes such a moment: it holds new reads
//! back while those that run end.

#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::health::lock;

/// What every read of the gateway's own passes.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    reading: usize,
    closed: bool,
}

/// A read that runs.
pub(super) struct Reading<'g>(&'g Gate);

impl Gate {
    /// Begins a read; blocks while the gate is closed.
    pub(super) fn enter(&self) -> Reading<'_> {
        let opened = self.change.wait_while(lock(&self.state), |state| state.closed);
        opened.unwrap_or_else(PoisonError::into_inner).reading += 1;
        Reading(self)
    }

    /// Runs something while nobody reads, or beside those that did not end in time. New reads wait until it is done.
    pub(super) fn alone<T>(&self, within: Duration, run: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        state.closed = true;
        #[cfg(test)]
        self.change.notify_all();
        let ended = self.change.wait_timeout_while(state, within, |state| state.reading > 0);
        drop(ended);
        let _open = Reopened(self);
        run()
    }
}

/// For tests whose reads end by events, not by time.
#[cfg(test)]
impl Gate {
    /// Blocks a read until the gate closes or somebody calls `release` of the same flag.
    pub(super) fn stay(&self, released: &AtomicBool) {
        let stays = |state: &mut State| !state.closed && !released.load(Ordering::SeqCst);
        drop(self.change.wait_while(lock(&self.state), stays));
    }

    pub(super) fn release(&self, stays: &AtomicBool) {
        let _state = lock(&self.state);
        stays.store(true, Ordering::SeqCst);
        self.change.notify_all();
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).reading -= 1;
        self.0.change.notify_all();
    }
}

/// Opens the gate when it is dropped, whatever happened meanwhile.
struct Reopened<'g>(&'g Gate);

impl Drop for Reopened<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).closed = false;
        self.0.change.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn nobody_reads_while_the_gate_is_closed_and_everybody_reads_again() {
        let (gate, reading, done) = (Gate::default(), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let read = gate.enter();
                        reading.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        reading.fetch_sub(1, Ordering::SeqCst);
                        drop(read);
                    }
                });
            }
            for _ in 0..200 {
                let seen = gate.alone(Duration::from_mins(1), || reading.load(Ordering::SeqCst));
                assert_eq!(seen, 0);
            }
            done.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_read_that_does_not_end_holds_nobody_up_for_long() {
        let gate = Gate::default();
        let _stays = gate.enter();
        assert_eq!(gate.alone(Duration::from_millis(1), || 7), 7);
        drop(gate.enter());
    }
}
