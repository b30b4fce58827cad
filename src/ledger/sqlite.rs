//! Closed requests in SQLite: the store that is inside by default.
//!
//! Rows are only ever inserted, in the order of their time-ordered ids and with no other index, because that is what
//! makes a row cost microseconds; sums by other columns belong in roll-ups (`rollup`). The insertions run on one
//! connection in write-ahead mode, checkpoints and what is pruned on a second, because a checkpoint in line would stall
//! the insertions.
//!
//! Amounts are whole 10⁻¹² units in 64-bit integers. A single amount above nine million units of its currency does not
//! fit: it is kept at the largest integer and reported as an error, never wrapped. A row holds no more than
//! [`MOST_TOKENS`] of a kind, whatever a provider reports, so that sums over rows fit too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, ToSql, TransactionBehavior, params};

use super::entry::{ClosedAttempt, ClosedRequest, Ending};
use super::outbox;
use super::pruning::prune;
use super::rollup::{self, RollUp};
use super::store::{Inserted, Store, StoreError, Upkeep};
use crate::units::{RequestId, TokenPrice, Tokens, Usage};

/// The file in the data directory.
pub(super) const FILE: &str = "ledger.sqlite3";

/// One step per schema version: step `n` leads from version `n` to `n + 1`. Steps are never changed, only added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// What a row says at most of one kind of token; far above what any model takes. Providers may report anything, and a few
/// rows at the largest integer would have a sum that SQLite refuses (in a query) or turns into a float (in a row).
pub(super) const MOST_TOKENS: i64 = 1_000_000_000_000;

/// The schema version this gateway writes.
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The store in one SQLite file.
pub(super) struct SqliteStore {
    connection: Connection,
    file: PathBuf,
}

impl SqliteStore {
    /// Opens the file of a data directory, makes it where it is absent and brings an older one up to date.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        let connection = connect(&file)?;
        let mut store = Self { connection, file };
        store.migrate().map_err(|error| explain(&store.file, error))??;
        Ok(store)
    }

    /// Makes the sums of reports anew from the rows; answers how many lines they are.
    pub(super) fn rebuild(&mut self) -> Result<usize, StoreError> {
        rollup::rebuild(&mut self.connection).map_err(|error| explain(&self.file, error))
    }

    /// Whether new requests are noted for the store of a fleet.
    pub(super) fn forward(&mut self, on: bool) -> Result<(), StoreError> {
        outbox::switch(&mut self.connection, on).map_err(|error| explain(&self.file, error))
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn migrate(&mut self) -> rusqlite::Result<Result<(), StoreError>> {
        let transaction = self.connection.transaction()?;
        let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = known_version();
        if found > known {
            return Ok(Err(StoreError::Newer { file: self.file.clone(), found, known }));
        }
        for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        if found < known {
            transaction.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('schema_version', ?1)", [known])?;
            transaction.pragma_update(None, "user_version", known)?;
        }
        // Reads a page of each table's newest end, where a torn file shows.
        transaction.query_row("SELECT (SELECT max(id) FROM requests), (SELECT max(request) FROM attempts)", [], |_| Ok(()))?;
        transaction.commit()?;
        Ok(Ok(()))
    }

    fn insert_all(&mut self, requests: &mut dyn Iterator<Item = &ClosedRequest>) -> rusqlite::Result<Inserted> {
        // Writing from its first moment: one that reads first may find that the pruning came in between.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut inserted = Inserted::default();
        let mut sums = RollUp::default();
        {
            let mut request_row = transaction.prepare_cached(INSERT_REQUEST)?;
            let mut attempt_row = transaction.prepare_cached(INSERT_ATTEMPT)?;
            let mut facts_row = transaction.prepare_cached(INSERT_FACTS)?;
            for request in requests {
                let new = insert_request(&mut request_row, request)?;
                if new > 0 {
                    sums.request(request);
                    inserted.rows += insert_facts(&mut facts_row, request)?;
                }
                inserted.requests += new;
                for attempt in &request.attempts {
                    let new = insert_attempt(&mut attempt_row, request, attempt)?;
                    if new > 0 {
                        sums.attempt(request, attempt);
                    }
                    inserted.rows += new;
                }
            }
        }
        sums.write(&transaction)?;
        transaction.commit()?;
        inserted.rows += inserted.requests;
        Ok(inserted)
    }
}

impl Store for SqliteStore {
    fn insert(&mut self, requests: &mut dyn Iterator<Item = &ClosedRequest>) -> Result<Inserted, StoreError> {
        self.insert_all(requests).map_err(|error| explain(&self.file, error))
    }

    fn upkeep(&self) -> Result<Box<dyn Upkeep>, StoreError> {
        let connection = connect(&self.file)?;
        Ok(Box::new(SqliteUpkeep { connection, file: self.file.clone() }))
    }
}

struct SqliteUpkeep {
    connection: Connection,
    file: PathBuf,
}

impl Upkeep for SqliteUpkeep {
    /// A checkpoint syncs the log before it copies and the file after; rows are safe when it got through to the end.
    fn make_durable(&mut self) -> Result<bool, StoreError> {
        let whole = |row: &rusqlite::Row<'_>| {
            let (busy, log, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && log == copied)
        };
        let result = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], whole);
        result.map_err(|error| explain(&self.file, error))
    }

    fn forget_facts(&mut self, before: RequestId, most: usize) -> Result<usize, StoreError> {
        // Looking takes no lock that the insertions would wait for, and mostly there is nothing to forget.
        let oldest = "SELECT EXISTS (SELECT 1 FROM decisions WHERE request < ?1)";
        let forget = "DELETE FROM decisions WHERE request IN \
            (SELECT request FROM decisions WHERE request < ?1 ORDER BY request LIMIT ?2)";
        let run = |connection: &Connection| {
            let any: bool = connection.prepare_cached(oldest)?.query_row([before.as_bytes()], |row| row.get(0))?;
            if !any {
                return Ok(0);
            }
            connection.prepare_cached(forget)?.execute(params![before.as_bytes(), whole(most as u64)])
        };
        run(&self.connection).map_err(|error| explain(&self.file, error))
    }

    fn prune(&mut self, day: i64, most: usize) -> Result<usize, StoreError> {
        prune(&mut self.connection, day, most).map_err(|error| explain(&self.file, error))
    }

    fn tables_used(&mut self, since: RequestId) -> Result<BTreeSet<String>, StoreError> {
        let run = |connection: &Connection| -> rusqlite::Result<BTreeSet<String>> {
            connection.execute("DELETE FROM tables_used WHERE last_request < ?1", [since.as_bytes()])?;
            connection.prepare_cached("SELECT version FROM tables_used")?.query_map([], |row| row.get(0))?.collect()
        };
        run(&self.connection).map_err(|error| explain(&self.file, error))
    }
}

pub(super) fn connect(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        Ok(connection)
    };
    open().map_err(|error| explain(file, error))
}

/// Tells damage from everything else.
pub(super) fn explain(file: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { file: file.to_owned(), detail: error.to_string() }
        }
        Some(ErrorCode::DiskFull) => StoreError::Full { file: file.to_owned() },
        _ => StoreError::Failed(Arc::new(error)),
    }
}

/// Binds the values of a row and inserts it. Each is bound by what it is: a list of them would be one of pointers, and a row has
/// eighty values.
macro_rules! execute {
    ($row:expr, $($value:expr),+ $(,)?) => {{
        let row = $row;
        let mut place = 0;
        $(
            place += 1;
            row.raw_bind_parameter(place, &$value)?;
        )+
        row.raw_execute()
    }};
}

const INSERT_REQUEST: &str = "INSERT OR IGNORE INTO requests (id, client_request_id, key, frontend, requested_model, \
    stream, session, arrived_at_us, book_version, outcome, status, first_byte_ms, duration_ms, overhead_us, attempts, \
    input_estimate, expected_output, fresh_input, cache_read, cache_write, output, reasoning, cost_pico_usd, \
    quoted_pico_usd, runner_up_pico_usd, baseline_model, baseline_pico_usd, team, project, tags) VALUES \
    (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30)";

fn insert_request(row: &mut Statement<'_>, request: &ClosedRequest) -> rusqlite::Result<usize> {
    let (opened, end, usage) = (&request.opened, &request.end, request.usage());
    let [fresh_input, cache_read, cache_write, output, reasoning] = counts(&usage);
    execute!(
        row,
        opened.id.as_bytes(),
        opened.client_request_id,
        opened.key.as_str(),
        opened.frontend,
        opened.requested_model,
        opened.stream,
        opened.session,
        opened.arrived_at.as_microsecond(),
        opened.book_version,
        end.outcome.word(),
        (end.status != 0).then_some(end.status),
        end.first_byte_ms.map(whole),
        whole(end.duration_ms),
        whole(end.overhead_us),
        whole(request.attempts.len() as u64),
        tokens(opened.input_estimate),
        tokens(opened.expected_output),
        fresh_input,
        cache_read,
        cache_write,
        output,
        reasoning,
        pico(opened.id, request.cost().pico()),
        pico(opened.id, opened.quoted.pico()),
        opened.runner_up.map(|usd| pico(opened.id, usd.pico())),
        opened.baseline.as_ref().map(|baseline| &baseline.model),
        request.baseline_cost().map(|usd| pico(opened.id, usd.pico())),
        opened.marks.team,
        opened.marks.project,
        opened.marks.tags_text(),
    )
}

const INSERT_FACTS: &str = "INSERT OR IGNORE INTO decisions (request, facts) VALUES (?1, ?2)";

fn insert_facts(row: &mut Statement<'_>, request: &ClosedRequest) -> rusqlite::Result<usize> {
    let opened = &request.opened;
    if opened.facts.is_empty() { Ok(0) } else { execute!(row, opened.id.as_bytes(), opened.facts) }
}

const INSERT_ATTEMPT: &str = "INSERT OR IGNORE INTO attempts (request, number, backend, provider, model, served_model, \
    ending, http_status, cause, started_at_us, first_byte_ms, duration_ms, fresh_input, cache_read, cache_write, output, \
    reasoning, provenance, currency, amount_pico, rate_per_usd, rate_date, cost_pico_usd, book_version, \
    input_price_pico, cache_read_price_pico, cache_write_price_pico, output_price_pico, quoted_pico_usd, held_pico_usd, \
    input_estimate, input_upper, expected_output, output_bound, price, price_listed, cache_write_long, image_input, \
    audio_input, audio_output, cache_write_long_price_pico, reasoning_price_pico, image_input_price_pico, \
    audio_input_price_pico, audio_output_price_pico, quota, spared_pico, served_before, pieces, piece_price_pico, piece_price_per) VALUES \
    (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,\
    ?32,?33,?34,?35,?36,?37,?38,?39,?40,?41,?42,?43,?44,?45,?46,?47,?48,?49,?50,?51)";

fn insert_attempt(row: &mut Statement<'_>, request: &ClosedRequest, attempt: &ClosedAttempt) -> rusqlite::Result<usize> {
    let (opened, end) = (&attempt.opened, &attempt.end);
    let (id, terms, price) = (request.opened.id, &opened.terms, &attempt.price);
    let (tariff, usage) = (&price.tariff, &end.usage);
    let apart = |part: TokenPrice, all: TokenPrice| (part != all).then(|| whole(part.pico()));
    let [fresh_input, cache_read, cache_write, output, reasoning] = counts(&end.usage);
    execute!(
        row,
        id.as_bytes(),
        attempt.number,
        opened.backend.as_str(),
        opened.provider,
        opened.model,
        end.served_model,
        end.ending.word(),
        end.http_status,
        end.cause,
        opened.started_at.as_microsecond(),
        end.first_byte_ms.map(whole),
        (end.ending != Ending::Lost).then(|| whole(end.duration_ms)),
        fresh_input,
        cache_read,
        cache_write,
        output,
        reasoning,
        end.provenance.word(),
        tariff.currency.code(),
        pico(id, attempt.cost.amount.pico()),
        terms.exchange_rate().per_usd(),
        terms.rate_date(),
        pico(id, attempt.cost.usd.pico()),
        request.opened.book_version,
        whole(tariff.input.pico()),
        whole(tariff.cache_read.pico()),
        whole(tariff.cache_write.pico()),
        whole(tariff.output.pico()),
        pico(id, opened.quoted.pico()),
        pico(id, opened.held.pico()),
        tokens(opened.input_estimate),
        tokens(opened.input_upper),
        tokens(opened.expected_output),
        tokens(opened.output_bound),
        &*price.id,
        price.listed,
        tokens(usage.cache_write_long),
        tokens(usage.image_input),
        tokens(usage.audio_input),
        tokens(usage.audio_output),
        apart(tariff.cache_write_long, tariff.cache_write),
        apart(tariff.reasoning, tariff.output),
        apart(tariff.image_input, tariff.input),
        apart(tariff.audio_input, tariff.input),
        apart(tariff.audio_output, tariff.output),
        end.free.as_ref().map(|free| &*free.quota),
        pico(id, price.spared.pico()),
        end.served_before,
        whole(usage.pieces).min(MOST_TOKENS),
        (!tariff.pieces.is_free()).then(|| whole(tariff.pieces.pico())),
        (!tariff.pieces.is_free()).then(|| tariff.pieces.per()),
    )
}

/// The five columns of a usage.
pub(super) fn counts(usage: &Usage) -> [i64; 5] {
    [usage.fresh_input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning].map(tokens)
}

fn tokens(tokens: Tokens) -> i64 {
    whole(tokens.get()).min(MOST_TOKENS)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn pico(request: RequestId, pico: i128) -> impl ToSql {
    let kept = fitting(pico);
    if i128::from(kept) != pico {
        tracing::error!(%request, pico, "an amount does not fit the books and is kept at the largest that does");
    }
    kept
}

/// An amount as a column holds it.
pub(super) fn fitting(pico: i128) -> i64 {
    i64::try_from(pico).unwrap_or(if pico < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::{AttemptEnd, Outcome, RequestEnd};
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};

    fn closed(number: u64) -> ClosedRequest {
        let attempt = ClosedAttempt::settle(0, attempt_opened(), attempt_end(10, 20));
        ClosedRequest { opened: Arc::new(request_opened(number)), end: request_end(), attempts: vec![Arc::new(attempt)] }
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        assert_eq!(store.insert(&mut [closed(1)].iter()).unwrap(), Inserted { requests: 1, rows: 3 });
        let other = ClosedRequest { end: RequestEnd { outcome: Outcome::Lost, ..request_end() }, ..closed(1) };
        assert_eq!(store.insert(&mut [other, closed(2)].iter()).unwrap(), Inserted { requests: 1, rows: 3 });
        let outcome: String =
            store.connection.query_row("SELECT outcome FROM requests ORDER BY id LIMIT 1", [], |row| row.get(0)).unwrap();
        assert_eq!(outcome, "answered");
    }

    #[test]
    fn a_checkpoint_makes_rows_durable_and_a_reader_may_hold_it_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut upkeep = store.upkeep().unwrap();
        store.insert(&mut [closed(1)].iter()).unwrap();
        assert!(upkeep.make_durable().unwrap());
        let reader = Connection::open(folder.path().join(FILE)).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM requests").unwrap();
        store.insert(&mut [closed(2)].iter()).unwrap();
        let held_up = upkeep.make_durable().unwrap();
        reader.execute_batch("COMMIT").unwrap();
        assert!(upkeep.make_durable().unwrap(), "held up while a reader was in the way: {held_up}");
    }

    #[test]
    fn rows_of_the_third_version_stay_and_have_no_changed_name_and_no_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        store.insert(&mut [closed(1)].iter()).unwrap();
        let back = "ALTER TABLE attempts DROP COLUMN served_before; ALTER TABLE usage_daily DROP COLUMN model_changes; \
            ALTER TABLE attempts DROP COLUMN pieces; ALTER TABLE attempts DROP COLUMN piece_price_pico; \
            ALTER TABLE attempts DROP COLUMN piece_price_per; ALTER TABLE requests DROP COLUMN team; \
            ALTER TABLE requests DROP COLUMN project; ALTER TABLE requests DROP COLUMN tags; DROP TABLE usage_marked; \
            PRAGMA user_version = 3";
        store.connection().execute_batch(back).unwrap();
        drop(store);
        let mut again = SqliteStore::open(folder.path()).unwrap();
        let mut changed = closed(2);
        let end = attempt_end(10, 20);
        let usage = Usage { pieces: 3, ..end.usage };
        let end = AttemptEnd { served_before: Some("fast-0".into()), usage, ..end };
        changed.attempts = vec![Arc::new(ClosedAttempt::settle(0, attempt_opened(), end))];
        again.insert(&mut [changed].iter()).unwrap();
        let told = |sql| again.connection().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(told("SELECT group_concat(coalesce(served_before, '-') ORDER BY request) FROM attempts"), "-,fast-0");
        assert_eq!(told("SELECT group_concat(pieces || coalesce(piece_price_per, '-') ORDER BY request) FROM attempts"), "0-,3-");
        assert_eq!(told("SELECT sum(attempts) || ' ' || sum(model_changes) FROM usage_daily"), "2 1");
        assert_eq!(told("SELECT group_concat(coalesce(team, '-') || tags ORDER BY id) FROM requests"), "-,weba,b:1");
        assert_eq!(told("SELECT sum(attempts) || ' ' || sum(model_changes) FROM usage_marked WHERE kind = 'team'"), "1 1");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(folder.path()).unwrap());
        Connection::open(folder.path().join(FILE)).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let refusal = SqliteStore::open(folder.path()).err().unwrap().to_string();
        assert!(refusal.contains("schema version 99") && refusal.contains("run the newer version"), "{refusal}");
    }

    #[test]
    fn a_damaged_file_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, b"these are no books, whatever their name says".repeat(200)).unwrap();
        let refusal = SqliteStore::open(folder.path()).err().unwrap().to_string();
        assert!(refusal.contains(FILE) && refusal.contains("move this file away"), "{refusal}");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let many: Vec<_> = (0..200).map(closed).collect();
        store.insert(&mut many.iter()).unwrap();
        assert!(store.upkeep().unwrap().make_durable().unwrap());
        drop(store);
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(FILE)).unwrap();
        file.set_len(5_000).unwrap();
        assert!(matches!(SqliteStore::open(folder.path()), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA max_page_count = 2; CREATE TABLE t (a)").unwrap();
        let full = connection.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap_err();
        let told = explain(Path::new("data/books"), full).to_string();
        assert_eq!(told, "the disk of data/books is full: free some space there, or name another directory");
    }
}
