//! The clock of a storm: tokio's paused time, which stands still while anybody has something to do.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct StormClock {
    origin: Timestamp,
    began: Instant,
}

impl StormClock {
    pub(super) fn starting_at(origin: Timestamp) -> Self {
        Self { origin, began: Instant::now() }
    }
}

impl Clock for StormClock {
    fn wall(&self) -> Timestamp {
        self.origin.saturating_add(self.monotonic()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}
