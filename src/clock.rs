//! Time comes in. Every decision that depends on the hour or on how long something took is handed a [`Clock`], so that
//! calendars, breakers and recovery can be tested on invented time. Socket timeouts use tokio's timers directly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A source of wall time (what a vendor's calendar and the books see) and of monotonic time (what a duration is measured by).
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, which may jump.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed moment in this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// A clock as it is shared.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock enters")]
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock enters")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told: for tests and for the simulation.
#[derive(Debug)]
pub struct ManualClock {
    origin: Timestamp,
    elapsed_nanos: AtomicU64,
}

impl ManualClock {
    pub fn starting_at(origin: Timestamp) -> Arc<Self> {
        Arc::new(Self { origin, elapsed_nanos: AtomicU64::new(0) })
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.origin.saturating_add(self.monotonic()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.wall(), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.wall().as_second(), 90);
        assert_eq!(clock.monotonic(), Duration::from_secs(90));
    }
}
