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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::super::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::{AttemptOpened, Ledger, Settings};

    #[tokio::test]
    async fn providers_are_summed_by_stretches_of_time_between_two_instants() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
        let first = request_opened(0).arrived_at;
        // The ids of these requests are a millisecond apart; their attempts began at these seconds.
        for (number, provider, second) in [(1, "acme", 0), (2, "acme", 200), (3, "bolt", 200), (4, "acme", 400), (5, "acme", 400)]
        {
            let tab = Arc::new(ledger.begin(request_opened(number)).unwrap());
            let started_at = first + SignedDuration::from_secs(second);
            tab.attempt(AttemptOpened { provider: provider.into(), started_at, ..attempt_opened() }).settle(attempt_end(100, 50));
            tab.end(request_end());
        }
        ledger.flush().await.unwrap();
        let books = Books::open(folder.path()).unwrap();
        let until = first + SignedDuration::from_millis(5);
        let given = books.spend_by_provider(first, until, 300).unwrap();
        let cost = |times: i128| Usd::from_pico(84_507_042 * times);
        let rows: Vec<_> =
            given.iter().map(|row| (row.from.as_second(), row.provider.as_str(), row.attempts, row.cost)).collect();
        // 1,700,000,000 lies 200 seconds into its stretch of 300.
        let stretch = 1_699_999_800;
        assert_eq!(
            rows,
            [
                (stretch, "acme", 1, cost(1)),
                (stretch + 300, "acme", 1, cost(1)),
                (stretch + 300, "bolt", 1, cost(1)),
                (stretch + 600, "acme", 1, cost(1)),
            ]
        );
        assert_eq!(books.spend_by_provider(until, until, 300).unwrap(), []);
    }
}
