//! Reading the books: read-only, on a connection of its own, never in the way of the writer. What a person, a client or a
//! report asks; nothing on the request path comes here. Sums by day and model are in `usage`,
//! single requests in `booked`.
//!
//! Sums are exact: SQLite adds 64-bit integers and fails beyond nine million dollars in 10⁻¹² units, so amounts are
//! summed as millions of units and the rest apart, and joined in 128 bits. Rows of the first format may hold absurd counts
//! of tokens; they count for what a row of today would hold.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, InterruptHandle, OpenFlags, Row};

use super::marks::Mark;
use super::sqlite::{self, FILE, MOST_TOKENS, explain};
use super::store::StoreError;
use crate::units::{BackendId, Draw, KeyName, RequestId, Tokens, Usage, Usd};

/// A read-only view of the books in a data directory.
pub struct Books {
    connection: Connection,
    file: std::path::PathBuf,
}

/// Ends what is being asked, from another thread.
pub(super) struct Interrupter(InterruptHandle);

impl Interrupter {
    pub(super) fn interrupt(&self) {
        self.0.interrupt();
    }
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

/// What one key spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpend {
    pub key: KeyName,
    pub cost: Usd,
}

/// What one key spent for one team or project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpend {
    /// Its kind: never a tag.
    pub of: Mark,
    pub name: String,
    pub key: KeyName,
    pub cost: Usd,
}

pub(super) const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Of 10⁻¹² units, where an amount is split.
const MILLION: i64 = 1_000_000;
/// How far the time in a request's id may be from that of its arrival, in microseconds.
pub(super) const SKEW: i64 = 60_000_000;

/// What the requests of the first day cost, in two columns.
const SPENT: &str = "cost_pico_usd / 1000000 AS micro, cost_pico_usd % 1000000 AS rest FROM requests \
    WHERE id >= ?1 AND id < ?2 AND arrived_at_us >= ?3 AND arrived_at_us < ?4";

/// What the attempts at a backend used that one quota bore, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub backend: BackendId,
    pub quota: Option<String>,
    pub draw: Draw,
}

/// What a provider charged in one currency, in 10⁻¹² units of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    pub provider: String,
    /// Its code.
    pub currency: String,
    pub pico: i128,
}

impl Books {
    /// Whether a data directory has books.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Opens the books of a data directory for reading. Fails as the gateway itself would on books of a newer schema, and on those of
    /// an older one, which a reader cannot bring up to date.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let books = Self::open_of_any_age(folder)?;
        let (found, known) = (books.version()?, sqlite::known_version());
        if found < known { Err(StoreError::Older { file: books.file, found, known }) } else { Ok(books) }
    }

    fn version(&self) -> Result<i64, StoreError> {
        self.explained(self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)))
    }

    /// The same of an older schema too: for what asks nothing of its tables.
    pub fn open_of_any_age(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&file, flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            Ok(connection)
        };
        let connection = open().map_err(|error| explain(&file, error))?;
        let books = Self { connection, file };
        let (found, known) = (books.version()?, sqlite::known_version());
        if found > known { Err(StoreError::Newer { file: books.file, found, known }) } else { Ok(books) }
    }

    /// Ends whatever is asked through this view from another thread.
    pub(super) fn interrupter(&self) -> Interrupter {
        Interrupter(self.connection.get_interrupt_handle())
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sums over the requests that arrived at or after an instant.
    pub fn totals_since(&self, since: Timestamp) -> Result<Totals, StoreError> {
        let sql = format!(
            "SELECT count(*), sum(attempts), {}, {}, {}, {} FROM requests WHERE id >= ?1",
            ["fresh_input", "cache_read", "cache_write", "output", "reasoning"]
                .map(|c| format!("sum(min({c}, {MOST_TOKENS}))"))
                .join(", "),
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

    /// What each key spent by requests that arrived at or after an instant (`None`: by all there were), by key. Whole days (UTC)
    /// come from their sums, so that only the rest of the first day is read row by row.
    pub fn spend_by_key(&self, since: Option<Timestamp>) -> Result<Vec<KeySpend>, StoreError> {
        let sql = format!(
            "SELECT key, coalesce(sum(micro), 0), coalesce(sum(rest), 0) FROM ( \
                SELECT key, {SPENT} UNION ALL SELECT key, cost_micro_usd, cost_rest_pico FROM usage_daily WHERE day >= ?5 \
            ) GROUP BY key ORDER BY key"
        );
        let read = |row: &Row<'_>| {
            let key: String = row.get(0)?;
            Ok(KeySpend { key: KeyName::new(&key), cost: joined(row, 1)? })
        };
        self.spent_since(&sql, since, read)
    }

    /// What each key spent in the name of each team and project, as above. Requests of before that was booked are in none.
    pub fn spend_by_group(&self, since: Option<Timestamp>) -> Result<Vec<GroupSpend>, StoreError> {
        let sql = format!(
            "SELECT kind, name, key, coalesce(sum(micro), 0), coalesce(sum(rest), 0) FROM ( \
                SELECT 'team' AS kind, team AS name, key, {SPENT} AND team <> '' \
                UNION ALL SELECT 'project', project, key, {SPENT} AND project <> '' \
                UNION ALL SELECT kind, name, key, cost_micro_usd, cost_rest_pico FROM usage_marked \
                WHERE kind IN ('team', 'project') AND day >= ?5 \
            ) GROUP BY kind, name, key ORDER BY kind, name, key"
        );
        let read = |row: &Row<'_>| {
            let (kind, key): (String, String) = (row.get(0)?, row.get(2)?);
            let of = if kind == Mark::Team.word() { Mark::Team } else { Mark::Project };
            Ok(GroupSpend { of, name: row.get(1)?, key: KeyName::new(&key), cost: joined(row, 3)? })
        };
        self.spent_since(&sql, since, read)
    }

    /// Asks for rows of the first day up to its midnight, and for sums of the whole days after it.
    fn spent_since<T>(
        &self,
        sql: &str,
        since: Option<Timestamp>,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let first = since.map(Timestamp::as_microsecond);
        let whole = first.map_or(i64::MIN, |first| first.div_euclid(MICROS_PER_DAY) + i64::from(first % MICROS_PER_DAY != 0));
        let until = whole.saturating_mul(MICROS_PER_DAY);
        let ids = [first.unwrap_or(until).saturating_sub(SKEW), until.saturating_add(SKEW)]
            .map(|micros| first_id_at(Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)));
        let asked = rusqlite::params![ids[0].as_bytes(), ids[1].as_bytes(), first.unwrap_or(until), until, whole];
        let rows = || self.connection.prepare_cached(sql)?.query_map(asked, read)?.collect();
        self.explained(rows())
    }

    /// What each request cost, by the id that its client gave it.
    #[cfg(test)]
    pub(crate) fn costs_by_client(&self) -> Result<std::collections::BTreeMap<String, i128>, StoreError> {
        let sql = "SELECT client_request_id, cost_pico_usd FROM requests";
        let read = |row: &Row<'_>| Ok((row.get(0)?, i128::from(row.get::<_, i64>(1)?)));
        let rows = || self.connection.prepare_cached(sql)?.query_map([], read)?.collect();
        self.explained(rows())
    }

    /// What was used of each backend by attempts that began at or after an instant, of requests that arrived at most `slack`
    /// before it. Of days whose rows were pruned a day counts whole, so that what was used is never told too low.
    pub fn drawn_since(&self, since: Timestamp, slack: Duration) -> Result<Vec<Drawn>, StoreError> {
        let tokens = "fresh_input + cache_read + cache_write";
        let sql = format!(
            "SELECT backend, quota, sum(used), sum(input), sum(output) FROM ( \
                SELECT backend, quota, {tokens} + output + pieces > 0 AS used, min({tokens}, {MOST_TOKENS}) AS input, \
                    min(output, {MOST_TOKENS}) AS output FROM attempts WHERE request >= ?1 AND started_at_us >= ?2 \
                UNION ALL SELECT backend, nullif(quota, ''), used, {tokens}, output FROM attempts_daily WHERE day >= ?3 \
            ) GROUP BY backend, quota ORDER BY backend, quota"
        );
        let read = |row: &Row<'_>| {
            let id: String = row.get(0)?;
            let (provider, model) = id.split_once('/').unwrap_or((id.as_str(), ""));
            let draw = Draw::new(count(row, 2)?, Tokens::new(count(row, 3)?), Tokens::new(count(row, 4)?));
            Ok(Drawn { backend: BackendId::new(provider, model), quota: row.get(1)?, draw })
        };
        self.attempts_since(&sql, since, slack, read)
    }

    /// What each provider charged for attempts that began at or after an instant, as above.
    pub fn charged_since(&self, since: Timestamp, slack: Duration) -> Result<Vec<Charged>, StoreError> {
        let sql = format!(
            "SELECT provider, currency, coalesce(sum(micro), 0), coalesce(sum(rest), 0) FROM ( \
                SELECT provider, currency, amount_pico / {MILLION} AS micro, amount_pico % {MILLION} AS rest FROM attempts \
                WHERE request >= ?1 AND started_at_us >= ?2 \
                UNION ALL SELECT provider, currency, amount_micro, amount_rest_pico FROM attempts_daily WHERE day >= ?3 \
            ) GROUP BY provider, currency ORDER BY provider, currency"
        );
        let read = |row: &Row<'_>| Ok(Charged { provider: row.get(0)?, currency: row.get(1)?, pico: joined(row, 2)?.pico() });
        self.attempts_since(&sql, since, slack, read)
    }

    /// Attempts lie in the order of their requests' arrival, and one may begin a while after that.
    fn attempts_since<T>(
        &self,
        sql: &str,
        since: Timestamp,
        slack: Duration,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let first = first_id_at(since.checked_sub(slack).unwrap_or(Timestamp::UNIX_EPOCH));
        let micros = since.as_microsecond();
        let begun = rusqlite::params![first.as_bytes(), micros, micros.div_euclid(MICROS_PER_DAY)];
        let rows = || self.connection.prepare_cached(sql)?.query_map(begun, read)?.collect();
        self.explained(rows())
    }

    pub(super) fn explained<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| explain(&self.file, error))
    }
}

/// The least id of a millisecond: ids sort by time, so a range of ids is a range of time and needs no index.
pub(super) fn first_id_at(instant: Timestamp) -> RequestId {
    RequestId::from_parts(u64::try_from(instant.as_millisecond()).unwrap_or(0), [0; 10])
}

/// A sum that cannot overflow, as two columns for [`joined`].
pub(super) fn sum_parts(column: &str) -> String {
    format!("coalesce(sum({column} / 1000000), 0), coalesce(sum({column} % 1000000), 0)")
}

pub(super) fn joined(row: &Row<'_>, at: usize) -> rusqlite::Result<Usd> {
    let (millions, rest): (i64, i64) = (row.get(at)?, row.get(at + 1)?);
    Ok(Usd::from_pico(i128::from(millions) * 1_000_000 + i128::from(rest)))
}

pub(super) fn usd(pico: i64) -> Usd {
    Usd::from_pico(i128::from(pico))
}

pub(super) fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let count: Option<i64> = row.get(at)?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

pub(super) fn usage(row: &Row<'_>, at: usize) -> rusqlite::Result<Usage> {
    let tokens = |offset| count(row, at + offset).map(Tokens::new);
    Ok(Usage {
        fresh_input: tokens(0)?,
        cache_read: tokens(1)?,
        cache_write: tokens(2)?,
        output: tokens(3)?,
        reasoning: tokens(4)?,
        ..Usage::default()
    })
}
