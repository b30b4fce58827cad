//! How many requests may wait on one backend at once without a byte of an answer.
//!
//! A provider that accepts connections and then says nothing is worse than one that refuses: every request that is sent to
//! it stays for the whole time-out, and soon all requests of the gateway sit there (promise 7). Only the wait counts: a
//! stream that has begun may last for minutes and says nothing about the next request, so the place is given back at the
//! first byte. No queue in front of it: the plan has another backend, and a full one is simply not asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many may wait on one backend: one figure for all of them, which a reload may change.
pub type MostWaiting = Arc<AtomicU32>;

/// The places at one backend.
#[derive(Debug)]
pub struct Waiting {
    most: MostWaiting,
    now: AtomicU32,
}

/// As many requests wait on the backend as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{most} requests already wait on this backend without an answer")]
pub struct Saturated {
    pub most: u32,
}

impl Waiting {
    pub fn new(most: &MostWaiting) -> Arc<Self> {
        Arc::new(Self { most: Arc::clone(most), now: AtomicU32::new(0) })
    }

    /// Takes a place; the guard gives it back when it is dropped.
    pub fn enter(self: &Arc<Self>) -> Result<WaitingGuard, Saturated> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |now: u32| (now < most).then_some(now + 1);
        match self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(WaitingGuard { waiting: Arc::clone(self) }),
            Err(_) => Err(Saturated { most }),
        }
    }

    /// How many wait now.
    pub fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        self.now() >= self.most.load(Ordering::Relaxed)
    }
}

/// One request that waits. Drop it at the first byte of the answer, or when the wait is over for another reason.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the guard is dropped"]
pub struct WaitingGuard {
    waiting: Arc<Waiting>,
}

impl Drop for WaitingGuard {
    fn drop(&mut self) {
        self.waiting.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let most = MostWaiting::new(2.into());
        let waiting = Waiting::new(&most);
        let first = waiting.enter().unwrap();
        let second = waiting.enter().unwrap();
        assert_eq!(waiting.enter().unwrap_err(), Saturated { most: 2 });
        assert!(waiting.is_full());
        drop(first);
        assert_eq!(waiting.now(), 1);
        let third = waiting.enter().unwrap();
        most.store(1, Ordering::Relaxed);
        assert!(waiting.is_full() && waiting.enter().is_err(), "fewer places are full at once");
        drop((second, third));
        assert_eq!(waiting.now(), 0);
    }

    #[test]
    fn many_threads_never_exceed_the_cap() {
        let waiting = Waiting::new(&MostWaiting::new(3.into()));
        let admitted: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let entered = (0..2000).filter_map(|_| waiting.enter().ok());
                        entered
                            .map(|guard| {
                                assert!(waiting.now() <= 3);
                                drop(guard);
                                1
                            })
                            .sum::<u32>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(admitted >= 2000, "three places serve at least one thread in full");
        assert_eq!(waiting.now(), 0);
    }
}
