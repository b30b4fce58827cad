//! Old rows make place: what they add up to is carried forward, and they are deleted, in one transaction. The sums that reports
//! read (`usage_daily`) are there already and stay for good; what only rows knew (what free quotas were drawn on, what vendors
//! charged in their own currency) is carried forward by day.
//!
//! Whole days (UTC) go, the oldest first, a few hundred requests at a time, because the insertions wait meanwhile. SQLite uses
//! the room again, so the file stops growing; it gets smaller by a backup only, which is written without the gaps.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::query::{MICROS_PER_DAY, SKEW, first_id_at};
use crate::units::RequestId;

/// The row of `meta` that says from which day on every row is there.
const ROWS_FROM: &str = "rows_from_day";

/// The first day, counted since 1970, from which on every row is there.
pub(super) fn first_whole_day(connection: &Connection) -> rusqlite::Result<i64> {
    let kept = connection.query_row("SELECT value FROM meta WHERE name = ?1", [ROWS_FROM], |row| row.get(0)).optional()?;
    Ok(kept.unwrap_or(i64::MIN))
}

/// Deletes at most so many of the oldest requests that arrived before a day, with their attempts; answers how many.
pub(super) fn prune(connection: &mut Connection, day: i64, most: usize) -> rusqlite::Result<usize> {
    let border = day.saturating_mul(MICROS_PER_DAY);
    // Looking takes no lock that the insertions would wait for, and mostly there is nothing to delete.
    let oldest = "SELECT arrived_at_us < ?1 FROM requests ORDER BY id LIMIT 1";
    let any: Option<bool> = connection.prepare_cached(oldest)?.query_row([border], |row| row.get(0)).optional()?;
    if any != Some(true) {
        return Ok(0);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let end = Timestamp::from_microsecond(border.saturating_add(SKEW)).unwrap_or(Timestamp::UNIX_EPOCH);
    let end = first_id_at(end);
    let find = "SELECT max(id) FROM (SELECT id FROM requests WHERE id < ?1 AND arrived_at_us < ?2 ORDER BY id LIMIT ?3)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let last: Option<[u8; 16]> =
        transaction.prepare_cached(find)?.query_row(params![end.as_bytes(), border, most], |row| row.get(0))?;
    let Some(last) = last.map(RequestId::from_bytes) else { return Ok(0) };
    let range = params![last.as_bytes(), border];
    transaction.prepare_cached(CARRY)?.execute(range)?;
    transaction.prepare_cached(&of_those("DELETE FROM attempts WHERE request"))?.execute(range)?;
    transaction.prepare_cached(&of_those("DELETE FROM decisions WHERE request"))?.execute(range)?;
    let deleted = transaction.prepare_cached("DELETE FROM requests WHERE id <= ?1 AND arrived_at_us < ?2")?.execute(range)?;
    let note =
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
    transaction.prepare_cached(note)?.execute(params![ROWS_FROM, day])?;
    transaction.commit()?;
    Ok(deleted)
}

fn of_those(delete: &str) -> String {
    format!("{delete} <= ?1 AND request IN (SELECT id FROM requests WHERE id <= ?1 AND arrived_at_us < ?2)")
}

const CARRY: &str = "INSERT INTO attempts_daily (day, backend, provider, model, currency, quota, attempts, used, estimated, \
    fresh_input, cache_read, cache_write, output, reasoning, amount_micro, amount_rest_pico, cost_micro_usd, cost_rest_pico) \
    SELECT a.started_at_us / 86400000000, a.backend, max(a.provider), a.model, a.currency, coalesce(a.quota, ''), count(*), \
    sum(a.fresh_input + a.cache_read + a.cache_write + a.output + a.pieces > 0), sum(a.provenance = 'estimated'), \
    sum(min(a.fresh_input, 1000000000000)), sum(min(a.cache_read, 1000000000000)), sum(min(a.cache_write, 1000000000000)), \
    sum(min(a.output, 1000000000000)), sum(min(a.reasoning, 1000000000000)), sum(a.amount_pico / 1000000), \
    sum(a.amount_pico % 1000000), sum(a.cost_pico_usd / 1000000), sum(a.cost_pico_usd % 1000000) \
    FROM attempts a JOIN requests r ON r.id = a.request WHERE a.request <= ?1 AND r.arrived_at_us < ?2 \
    GROUP BY 1, a.backend, a.model, a.currency, coalesce(a.quota, '') \
    ON CONFLICT (day, backend, model, currency, quota) DO UPDATE SET attempts = attempts + excluded.attempts, \
    used = used + excluded.used, estimated = estimated + excluded.estimated, fresh_input = fresh_input + excluded.fresh_input, \
    cache_read = cache_read + excluded.cache_read, cache_write = cache_write + excluded.cache_write, \
    output = output + excluded.output, reasoning = reasoning + excluded.reasoning, \
    amount_micro = amount_micro + excluded.amount_micro, amount_rest_pico = amount_rest_pico + excluded.amount_rest_pico, \
    cost_micro_usd = cost_micro_usd + excluded.cost_micro_usd, cost_rest_pico = cost_rest_pico + excluded.cost_rest_pico";

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::sqlite::SqliteStore;
    use crate::ledger::store::Store;
    use crate::ledger::{Books, ClosedAttempt, ClosedRequest, UsageBy, UsageQuery};
    use crate::units::{Free, FreePart};

    /// A request of a day, with two attempts, one of them borne by a quota.
    fn request(number: u64, day: i64) -> ClosedRequest {
        let later = |instant: Timestamp| instant.saturating_add(SignedDuration::from_hours(24 * day)).unwrap();
        let mut opened = request_opened(number);
        opened.arrived_at = later(opened.arrived_at);
        opened.id = RequestId::from_parts(u64::try_from(opened.arrived_at.as_millisecond()).unwrap(), [7; 10]);
        let attempts = (0..2).map(|attempt| {
            let mut begun = attempt_opened();
            begun.started_at = later(begun.started_at);
            let mut end = attempt_end(100 + number, 10 * number);
            end.free = (attempt == 1).then(|| Free { quota: "acme/fast:day".into(), part: FreePart::Whole });
            Arc::new(ClosedAttempt::settle(attempt, begun, end))
        });
        ClosedRequest { attempts: attempts.collect(), opened: Arc::new(opened), end: request_end() }
    }

    /// What the books still know of everything, whatever became of the rows.
    fn known(books: &Books) -> (Vec<String>, Vec<String>, Vec<String>) {
        let day = |date: &str| date.parse().unwrap();
        let group_by = vec![UsageBy::Day, UsageBy::Key, UsageBy::Model, UsageBy::Provider, UsageBy::Backend];
        let query = UsageQuery { key: None, from: day("2023-01-01"), until: day("2024-12-31"), group_by, most_lines: 999 };
        let drawn = books.drawn_since(Timestamp::UNIX_EPOCH, Duration::ZERO).unwrap();
        let charged = books.charged_since(Timestamp::UNIX_EPOCH, Duration::ZERO).unwrap();
        let told = |line: &dyn std::fmt::Debug| format!("{line:?}");
        (
            books.usage(&query).unwrap().iter().map(|line| told(line)).collect(),
            drawn.iter().map(|line| told(line)).collect(),
            charged.iter().map(|line| told(line)).collect(),
        )
    }

    #[test]
    fn what_is_pruned_is_still_in_every_sum_and_the_books_still_check() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let all: Vec<_> = (1..=40).map(|number| request(number, i64::try_from(number / 8).unwrap())).collect();
        store.insert(&mut all.iter()).unwrap();
        let mut upkeep = store.upkeep().unwrap();
        let books = Books::open(folder.path()).unwrap();
        let (before, spent) = (known(&books), books.spend_by_key(None).unwrap());
        let first_day = all[0].opened.arrived_at.as_microsecond().div_euclid(MICROS_PER_DAY);
        assert_eq!(upkeep.prune(first_day, 5).unwrap(), 0, "nothing is so old");
        let mut rounds = 0;
        // Three of six days, in steps that end amid a day.
        while upkeep.prune(first_day + 3, 5).unwrap() > 0 {
            rounds += 1;
            assert_eq!(known(&books), before, "after round {rounds}");
            let proof = books.check().unwrap();
            assert_eq!(proof.faults, [], "after round {rounds}");
        }
        assert_eq!(rounds, 5, "7 + 8 + 8 requests, 5 at a time");
        assert_eq!(books.totals().unwrap().requests, 17);
        assert_eq!(books.spend_by_key(None).unwrap(), spent);
        // A sum of a pruned day that was changed is still found out, by the whole.
        store
            .connection()
            .execute_batch(
                "UPDATE usage_daily SET cost_rest_pico = cost_rest_pico + 1 WHERE day = (SELECT min(day) FROM usage_daily)",
            )
            .unwrap();
        let told = books.check().unwrap().faults[0].to_string();
        assert!(told.contains("the sums of all days"), "{told}");
    }

    #[test]
    fn a_day_that_began_before_the_question_counts_whole_against_a_quota() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let one = request(1, 0);
        store.insert(&mut [one.clone()].iter()).unwrap();
        let day = one.opened.arrived_at.as_microsecond().div_euclid(MICROS_PER_DAY);
        store.upkeep().unwrap().prune(day + 1, 9).unwrap();
        let books = Books::open(folder.path()).unwrap();
        let noon = Timestamp::from_microsecond(day * MICROS_PER_DAY + MICROS_PER_DAY / 2).unwrap();
        assert_eq!(books.drawn_since(noon, Duration::ZERO).unwrap().len(), 2, "with a quota, and without");
        let next = Timestamp::from_microsecond((day + 1) * MICROS_PER_DAY).unwrap();
        assert_eq!(books.drawn_since(next, Duration::ZERO).unwrap(), []);
    }
}
