//! Names for requests. Their random bytes are asked of the system for many at a time: one call to it takes as long as reading a
//! short request.

use std::sync::{Mutex, PoisonError};

use crate::clock::SharedClock;
use crate::units::RequestId;

/// Random bytes in one id.
const EACH: usize = 10;
/// Ids for which the system is asked at once.
const AT_ONCE: usize = 64;

/// Makes ids, no two of them alike.
#[derive(Debug, Default)]
pub struct Ids {
    ahead: Mutex<Ahead>,
}

/// Random bytes that are in no id yet.
#[derive(Debug)]
struct Ahead {
    bytes: [[u8; EACH]; AT_ONCE],
    /// How many of them are left.
    left: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { bytes: [[0; EACH]; AT_ONCE], left: 0 }
    }
}

impl Ids {
    /// An id of this moment.
    pub fn next(&self, clock: &SharedClock) -> RequestId {
        let random = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take(clock);
        RequestId::from_parts(u64::try_from(clock.wall().as_millisecond()).unwrap_or(0), random)
    }
}

impl Ahead {
    fn take(&mut self, clock: &SharedClock) -> [u8; EACH] {
        if self.left == 0 {
            self.refill(clock);
        }
        self.left -= 1;
        self.bytes[self.left]
    }

    fn refill(&mut self, clock: &SharedClock) {
        self.left = AT_ONCE;
        if getrandom::fill(self.bytes.as_flattened_mut()).is_ok() {
            return;
        }
        // Without randomness ids could meet within one millisecond; the system has it or does not run.
        let now = clock.monotonic().as_nanos().to_le_bytes();
        for (number, bytes) in (0..).zip(&mut self.bytes) {
            bytes[..8].copy_from_slice(&now[..8]);
            bytes[8] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn no_two_ids_are_alike_and_they_tell_when_they_were_made() {
        let (ids, clock) = (Ids::default(), SystemClock::shared());
        let before = clock.wall().as_millisecond();
        let made: BTreeSet<_> = (0..5 * AT_ONCE).map(|_| ids.next(&clock)).collect();
        assert_eq!(made.len(), 5 * AT_ONCE);
        let millis = |id: &RequestId| id.as_bytes()[..6].iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
        assert!(made.iter().all(|id| (before..=clock.wall().as_millisecond()).contains(&millis(id))));
    }
}
