//! What each provider got, by time: what the caps on shares are filled with at a start. Read through the ids, which sort by
//! time, so that a year of books costs no more than the days that are asked for.

use jiff::Timestamp;
use rusqlite::Row;

use super::query::{Books, count, first_id_at, joined, sum_parts};
use super::store::StoreError;
use crate::units::Usd;

/// What one provider got in one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSpend {
    pub provider: String,
    /// When the stretch begins.
    pub from: Timestamp,
    /// Attempts that were made.
    pub attempts: u64,
    pub cost: Usd,
}

impl Books {
    /// What each provider got of the requests that arrived from one instant until before another, in stretches of so many
    /// seconds, by time and provider.
    pub fn spend_by_provider(&self, since: Timestamp, until: Timestamp, seconds: u32) -> Result<Vec<ProviderSpend>, StoreError> {
        let sql = format!(
            "SELECT provider, started_at_us / ?3 AS stretch, count(*), {} FROM attempts WHERE request >= ?1 AND request < ?2 \
             GROUP BY stretch, provider ORDER BY stretch, provider",
            sum_parts("cost_pico_usd"),
        );
        let length = i64::from(seconds.max(1)) * 1_000_000;
        let read = |row: &Row<'_>| {
            let stretch: i64 = row.get(1)?;
            let from = Timestamp::from_microsecond(stretch.saturating_mul(length)).unwrap_or(Timestamp::UNIX_EPOCH);
            Ok(ProviderSpend { provider: row.get(0)?, from, attempts: count(row, 2)?, cost: joined(row, 3)? })
        };
        let (first, end) = (first_id_at(since), first_id_at(until));
        let rows = || {
            let mut statement = self.connection().prepare_cached(&sql)?;
            statement.query_map((first.as_bytes(), end.as_bytes(), length), read)?.collect()
        };
        self.explained(rows())
    }
}
