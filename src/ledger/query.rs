//! Reading the books: read-only, on a connection of its own, never in the way of the writer. What a person or a report
//! asks; nothing on the request path comes here.
//!
//! Sums are exact: SQLite adds 64-bit integers and fails beyond nine million dollars in 10⁻¹² units, so amounts are
//! summed as millions of units and the rest apart, and joined in 128 bits.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::sqlite::{self, FILE, explain};
use super::store::StoreError;
use crate::units::{KeyName, RequestId, Tokens, Usage, Usd};

/// A read-only view of the books in a data directory.
pub struct Books {
    connection: Connection,
    file: std::path::PathBuf,
}

/// Sums over requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub requests: u64,
    pub attempts: u64,
    pub usage: Usage,
    pub cost: Usd,
    /// What was quoted for the same requests.
    pub quoted: Usd,
    /// What their answers would have cost at the baseline; zero where none was configured.
    pub baseline: Usd,
}

/// What one key spent on one day (UTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailySpend {
    pub key: KeyName,
    pub day: Date,
    pub requests: u64,
    pub cost: Usd,
}

/// One row of `attempts`, as far as a reader asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedAttempt {
    pub number: u32,
    pub backend: String,
    pub ending: String,
    pub provenance: String,
    pub usage: Usage,
    pub currency: String,
    /// 10⁻¹² units of `currency`.
    pub amount_pico: i64,
    pub rate_per_usd: String,
    pub rate_date: String,
    pub cost: Usd,
    pub http_status: Option<u16>,
    pub cause: Option<String>,
}

/// One row of `requests` with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedRequest {
    pub id: RequestId,
    pub client_request_id: Option<String>,
    pub key: KeyName,
    pub requested_model: String,
    pub outcome: String,
    pub status: Option<u16>,
    pub book_version: String,
    pub usage: Usage,
    pub cost: Usd,
    pub quoted: Usd,
    pub runner_up: Option<Usd>,
    pub baseline: Option<Usd>,
    pub attempts: Vec<BookedAttempt>,
}

const USAGE: &str = "fresh_input, cache_read, cache_write, output, reasoning";

impl Books {
    /// Opens the books of a data directory for reading. Fails as the gateway itself would on books of a newer schema.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&file, flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok((connection, found))
        };
        let (connection, found) = open().map_err(|error| explain(&file, error))?;
        let known = sqlite::known_version();
        if found > known {
            return Err(StoreError::Newer { file, found, known });
        }
        Ok(Self { connection, file })
    }

    /// Sums over the requests that arrived at or after an instant.
    pub fn totals_since(&self, since: Timestamp) -> Result<Totals, StoreError> {
        let sql = format!(
            "SELECT count(*), sum(attempts), {}, {}, {}, {} FROM requests WHERE id >= ?1",
            ["fresh_input", "cache_read", "cache_write", "output", "reasoning"].map(|c| format!("sum({c})")).join(", "),
            sum_parts("cost_pico_usd"),
            sum_parts("quoted_pico_usd"),
            sum_parts("baseline_pico_usd"),
        );
        let read = |row: &Row<'_>| {
            Ok(Totals {
                requests: count(row, 0)?,
                attempts: count(row, 1)?,
                usage: usage(row, 2)?,
                cost: joined(row, 7)?,
                quoted: joined(row, 9)?,
                baseline: joined(row, 11)?,
            })
        };
        self.explained(self.connection.query_row(&sql, [first_id_at(since).as_bytes()], read))
    }

    /// Sums over everything.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.totals_since(Timestamp::UNIX_EPOCH)
    }

    /// The sum of all attempts' costs: equal to [`Books::totals`]' cost in whole books.
    pub fn attempts_cost(&self) -> Result<Usd, StoreError> {
        let sql = format!("SELECT {} FROM attempts", sum_parts("cost_pico_usd"));
        self.explained(self.connection.query_row(&sql, [], |row| joined(row, 0)))
    }

    /// What each key spent on each day since an instant, by key and day.
    pub fn spend_by_key_and_day(&self, since: Timestamp) -> Result<Vec<DailySpend>, StoreError> {
        let sql = format!(
            "SELECT key, date(arrived_at_us / 1000000, 'unixepoch') AS day, count(*), {} FROM requests WHERE id >= ?1 \
             GROUP BY key, day ORDER BY key, day",
            sum_parts("cost_pico_usd"),
        );
        let read = |row: &Row<'_>| {
            let day: String = row.get(1)?;
            let key: String = row.get(0)?;
            let day = day
                .parse()
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e)))?;
            Ok(DailySpend { key: KeyName::new(&key), day, requests: count(row, 2)?, cost: joined(row, 3)? })
        };
        let rows = || self.connection.prepare_cached(&sql)?.query_map([first_id_at(since).as_bytes()], read)?.collect();
        self.explained(rows())
    }

    /// One request with its attempts; `None` where the books do not have it (yet).
    pub fn request(&self, id: RequestId) -> Result<Option<BookedRequest>, StoreError> {
        let sql = format!(
            "SELECT client_request_id, key, requested_model, outcome, status, book_version, {USAGE}, cost_pico_usd, \
             quoted_pico_usd, runner_up_pico_usd, baseline_pico_usd FROM requests WHERE id = ?1"
        );
        let read = |row: &Row<'_>| {
            let key: String = row.get(1)?;
            Ok(BookedRequest {
                id,
                client_request_id: row.get(0)?,
                key: KeyName::new(&key),
                requested_model: row.get(2)?,
                outcome: row.get(3)?,
                status: row.get(4)?,
                book_version: row.get(5)?,
                usage: usage(row, 6)?,
                cost: usd(row.get(11)?),
                quoted: usd(row.get(12)?),
                runner_up: row.get::<_, Option<i64>>(13)?.map(usd),
                baseline: row.get::<_, Option<i64>>(14)?.map(usd),
                attempts: Vec::new(),
            })
        };
        let found = self.explained(self.connection.query_row(&sql, [id.as_bytes()], read).optional())?;
        let Some(mut request) = found else {
            return Ok(None);
        };
        request.attempts = self.attempts(id)?;
        Ok(Some(request))
    }

    fn attempts(&self, id: RequestId) -> Result<Vec<BookedAttempt>, StoreError> {
        let sql = format!(
            "SELECT number, backend, ending, provenance, {USAGE}, currency, amount_pico, rate_per_usd, rate_date, \
             cost_pico_usd, http_status, cause FROM attempts WHERE request = ?1 ORDER BY number"
        );
        let read = |row: &Row<'_>| {
            Ok(BookedAttempt {
                number: row.get(0)?,
                backend: row.get(1)?,
                ending: row.get(2)?,
                provenance: row.get(3)?,
                usage: usage(row, 4)?,
                currency: row.get(9)?,
                amount_pico: row.get(10)?,
                rate_per_usd: row.get(11)?,
                rate_date: row.get(12)?,
                cost: usd(row.get(13)?),
                http_status: row.get(14)?,
                cause: row.get(15)?,
            })
        };
        let rows = || self.connection.prepare_cached(&sql)?.query_map([id.as_bytes()], read)?.collect();
        self.explained(rows())
    }

    fn explained<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| explain(&self.file, error))
    }
}

/// The least id of a millisecond: ids sort by time, so a range of ids is a range of time and needs no index.
fn first_id_at(instant: Timestamp) -> RequestId {
    RequestId::from_parts(u64::try_from(instant.as_millisecond()).unwrap_or(0), [0; 10])
}

/// A sum that cannot overflow, as two columns for [`joined`].
fn sum_parts(column: &str) -> String {
    format!("coalesce(sum({column} / 1000000), 0), coalesce(sum({column} % 1000000), 0)")
}

fn joined(row: &Row<'_>, at: usize) -> rusqlite::Result<Usd> {
    let (millions, rest): (i64, i64) = (row.get(at)?, row.get(at + 1)?);
    Ok(Usd::from_pico(i128::from(millions) * 1_000_000 + i128::from(rest)))
}

fn usd(pico: i64) -> Usd {
    Usd::from_pico(i128::from(pico))
}

fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let count: Option<i64> = row.get(at)?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

fn usage(row: &Row<'_>, at: usize) -> rusqlite::Result<Usage> {
    let tokens = |offset| count(row, at + offset).map(Tokens::new);
    Ok(Usage {
        fresh_input: tokens(0)?,
        cache_read: tokens(1)?,
        cache_write: tokens(2)?,
        output: tokens(3)?,
        reasoning: tokens(4)?,
    })
}
