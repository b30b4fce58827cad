//! What is kept for some days only goes here, off the path: the facts of decisions, the versions of the price table that no kept
//! decision was made from, and, where the operator wants it, the rows of old requests and attempts. Sums are kept for good.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::query::{MICROS_PER_DAY, first_id_at};
use super::store::{StoreError, Upkeep};
use super::tables::Tables;
use crate::clock::SharedClock;
use crate::units::RequestId;

/// Rows deleted in one transaction: the insertions wait for it.
const BATCH: usize = 512;
/// Transactions at a time; with a round every second, far above what a gateway of one machine can take on.
const BATCHES: usize = 16;
/// For how long a table that is in force no more is kept although no decision in the store needs it: those of requests that
/// are under way are not there yet. No request takes longer than a day (`timeouts.total_ms`).
const UNDER_WAY: Duration = Duration::from_hours(25);
/// How often the tables are looked through.
const TABLES_EVERY: Duration = Duration::from_hours(1);

/// Deletes what is too old.
pub(super) struct Forgetting {
    /// How many days the facts of a decision are kept; 0 keeps none.
    pub(super) days: u32,
    /// How many days the rows of a request are kept; `None` keeps all.
    pub(super) row_days: Option<u32>,
    pub(super) tables: Arc<Tables>,
    pub(super) clock: SharedClock,
    /// When the tables are to be looked through again, on the monotonic clock.
    pub(super) tables_due: Duration,
}

impl Forgetting {
    /// One round. What fails is told and tried again in the next.
    pub(super) fn round(&mut self, upkeep: &mut dyn Upkeep) {
        let kept_since = self.kept_since();
        if let Err(error) = forget_facts(upkeep, first_id_at(kept_since)) {
            tracing::warn!(%error, "old decisions could not be deleted; trying again");
        }
        if let Some(days) = self.row_days
            && let Err(error) = prune(upkeep, self.first_kept_day(days))
        {
            tracing::warn!(%error, "old rows could not be deleted; trying again");
        }
        let now = self.clock.monotonic();
        if now >= self.tables_due {
            self.tables_due = now + TABLES_EVERY;
            if let Err(error) = self.old_tables(upkeep, kept_since) {
                tracing::warn!(%error, "old price tables could not be deleted; trying again in an hour");
            }
        }
    }

    fn kept_since(&self) -> Timestamp {
        let age = SignedDuration::from_hours(24 * i64::from(self.days));
        self.clock.wall().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The day (counted since 1970) from which on rows are kept: today is one of so many.
    fn first_kept_day(&self, days: u32) -> i64 {
        self.clock.wall().as_microsecond().div_euclid(MICROS_PER_DAY) - i64::from(days) + 1
    }

    fn old_tables(&self, upkeep: &mut dyn Upkeep, kept_since: Timestamp) -> Result<(), StoreError> {
        let used = upkeep.tables_used(first_id_at(kept_since))?;
        // By the clock that is never set: a gateway that is told a new date must not lose what it works with.
        let since = self.clock.monotonic().saturating_sub(UNDER_WAY);
        self.tables.prune(&used, since).map_err(|error| StoreError::Failed(Arc::new(error)))
    }
}

fn forget_facts(upkeep: &mut dyn Upkeep, before: RequestId) -> Result<(), StoreError> {
    for _ in 0..BATCHES {
        if upkeep.forget_facts(before, BATCH)? < BATCH {
            break;
        }
    }
    Ok(())
}

fn prune(upkeep: &mut dyn Upkeep, day: i64) -> Result<(), StoreError> {
    for _ in 0..BATCHES {
        if upkeep.prune(day, BATCH)? < BATCH {
            break;
        }
    }
    Ok(())
}
