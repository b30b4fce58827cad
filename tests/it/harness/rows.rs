//! The books as they lie on the disk: every column that a promise speaks of, read by SQL of the tests' own.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::PATIENCE;

/// A row of `attempts`, with what of its request belongs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptRow {
    /// The request's id as the header shows it.
    pub(crate) request: String,
    /// The client's own id.
    pub(crate) client: String,
    pub(crate) number: i64,
    pub(crate) backend: String,
    pub(crate) provider: String,
    pub(crate) ending: String,
    pub(crate) provenance: String,
    pub(crate) fresh_input: i64,
    pub(crate) cache_read: i64,
    pub(crate) cache_write: i64,
    pub(crate) output: i64,
    pub(crate) currency: String,
    pub(crate) amount: i64,
    pub(crate) rate: String,
    pub(crate) rate_date: String,
    pub(crate) cost: i64,
    pub(crate) book_version: String,
    pub(crate) held: i64,
    pub(crate) input_upper: i64,
    pub(crate) expected_output: i64,
    pub(crate) output_bound: i64,
}

impl AttemptRow {
    pub(crate) fn input(&self) -> i64 {
        self.fresh_input + self.cache_read + self.cache_write
    }
}

/// A row of `requests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestRow {
    pub(crate) id: String,
    pub(crate) client: String,
    pub(crate) key: String,
    pub(crate) outcome: String,
    pub(crate) arrived_at_us: i64,
    pub(crate) book_version: String,
    pub(crate) attempts: i64,
    /// Fresh, read from a cache and written to one.
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cost: i64,
}

/// Every attempt, in the order of the requests' ids.
pub(crate) fn attempts(data: &Path) -> Vec<AttemptRow> {
    let sql = "SELECT lower(hex(a.request)) request, coalesce(r.client_request_id, '') client, a.number, a.backend, a.provider, \
        a.ending, a.provenance, a.fresh_input, a.cache_read, a.cache_write, a.output, a.currency, a.amount_pico, \
        a.rate_per_usd, a.rate_date, a.cost_pico_usd, a.book_version, a.held_pico_usd, a.input_upper, a.expected_output, \
        a.output_bound FROM attempts a JOIN requests r ON r.id = a.request ORDER BY a.request, a.number";
    select(data, sql, |row| {
        Ok(AttemptRow {
            request: shown(&row.get::<_, String>("request")?),
            client: row.get("client")?,
            number: row.get("number")?,
            backend: row.get("backend")?,
            provider: row.get("provider")?,
            ending: row.get("ending")?,
            provenance: row.get("provenance")?,
            fresh_input: row.get("fresh_input")?,
            cache_read: row.get("cache_read")?,
            cache_write: row.get("cache_write")?,
            output: row.get("output")?,
            currency: row.get("currency")?,
            amount: row.get("amount_pico")?,
            rate: row.get("rate_per_usd")?,
            rate_date: row.get("rate_date")?,
            cost: row.get("cost_pico_usd")?,
            book_version: row.get("book_version")?,
            held: row.get("held_pico_usd")?,
            input_upper: row.get("input_upper")?,
            expected_output: row.get("expected_output")?,
            output_bound: row.get("output_bound")?,
        })
    })
}

/// Every request, in the order of their ids.
pub(crate) fn requests(data: &Path) -> Vec<RequestRow> {
    let sql = "SELECT lower(hex(id)) id, coalesce(client_request_id, '') client, key, outcome, arrived_at_us, book_version, \
        attempts, fresh_input + cache_read + cache_write input, output, cost_pico_usd FROM requests ORDER BY id";
    select(data, sql, |row| {
        Ok(RequestRow {
            id: shown(&row.get::<_, String>("id")?),
            client: row.get("client")?,
            key: row.get("key")?,
            outcome: row.get("outcome")?,
            arrived_at_us: row.get("arrived_at_us")?,
            book_version: row.get("book_version")?,
            attempts: row.get("attempts")?,
            input: row.get("input")?,
            output: row.get("output")?,
            cost: row.get("cost_pico_usd")?,
        })
    })
}

fn select<T>(data: &Path, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let books = Connection::open_with_flags(data.join("ledger.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    books.busy_timeout(PATIENCE).unwrap();
    let mut statement = books.prepare(sql).unwrap();
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// An id's 32 digits as a header shows them.
fn shown(digits: &str) -> String {
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
