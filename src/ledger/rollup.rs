//! Sums by key, day, backend and model, gathered over one transaction's rows and added to those of the store in the same
//! transaction: a report then reads a few thousand rows instead of millions, and what was summed twice or not at all would
//! have been inserted twice or not at all.
//!
//! `schema_2.sql` says what counts where; it computes the same from rows that were there before the sums were. The same sums are
//! kept once more for each mark of a request (`schema_6.sql`).

use std::collections::BTreeMap;

use rusqlite::{Connection, Statement, ToSql, Transaction, TransactionBehavior, params};

use super::entry::{ClosedAttempt, ClosedRequest, Ending};
use super::marks::Mark;
use super::pruning::first_whole_day;
use super::sqlite::{counts, fitting};
use super::usage::UsageSums;
use crate::units::{Provenance, RequestId, Usd};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Of 10⁻¹² dollars, where an amount is split.
const SPLIT: i128 = 1_000_000;

/// So many different tags of a key have sums of their own on one day.
pub(super) const MOST_TAGS_A_DAY: i64 = 100;
/// What the others are summed up under; no tag can be called so.
pub(super) const OTHER_TAGS: &str = "(other)";

/// What the rows of one transaction add up to.
#[derive(Default)]
pub(super) struct RollUp<'r> {
    lines: BTreeMap<Line<'r>, Sums>,
    marked: BTreeMap<(Mark, &'r str, Line<'r>), Sums>,
    tables: BTreeMap<&'r str, RequestId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Line<'r> {
    key: &'r str,
    day: i64,
    backend: &'r str,
    model: &'r str,
    provider: &'r str,
}

#[derive(Clone, Default)]
struct Sums {
    requests: i64,
    attempts: i64,
    /// As the columns of a row have them.
    tokens: [i64; 5],
    cost: Usd,
    compared: i64,
    baseline: Usd,
    /// In the order of [`Provenance::ALL`].
    provenance: [i64; Provenance::ALL.len()],
    model_changes: i64,
}

impl<'r> RollUp<'r> {
    /// Adds a request that was not there before.
    pub(super) fn request(&mut self, request: &'r ClosedRequest) {
        let decisive = request.attempts.iter().max_by_key(|a| (a.end.ending == Ending::Complete, a.number));
        let baseline = request.baseline_cost();
        let more = Sums {
            requests: 1,
            compared: i64::from(baseline.is_some()),
            baseline: baseline.map_or(Usd::ZERO, as_kept),
            ..Sums::default()
        };
        self.add(request, Line::of(request, decisive.map(|a| &**a)), &more);
        if !request.opened.facts.is_empty() {
            let last = self.tables.entry(&request.opened.book_version).or_insert(request.opened.id);
            *last = request.opened.id.max(*last);
        }
    }

    /// Adds an attempt that was not there before.
    pub(super) fn attempt(&mut self, request: &'r ClosedRequest, attempt: &'r ClosedAttempt) {
        let mut more = Sums {
            attempts: 1,
            tokens: counts(&attempt.end.usage),
            cost: as_kept(attempt.cost.usd),
            model_changes: i64::from(attempt.end.served_before.is_some()),
            ..Sums::default()
        };
        more.provenance[attempt.end.provenance as usize] = 1;
        self.add(request, Line::of(request, Some(attempt)), &more);
    }

    fn add(&mut self, request: &'r ClosedRequest, line: Line<'r>, more: &Sums) {
        self.lines.entry(line).or_default().add(more);
        for (mark, name) in request.opened.marks.each() {
            self.marked.entry((mark, name, line)).or_default().add(more);
        }
    }

    /// Adds the sums to those in the store.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut add = transaction.prepare_cached(ADD_LINE)?;
        for (line, sums) in &self.lines {
            sums.bind(&mut add, line)?;
            add.raw_execute()?;
        }
        if !self.marked.is_empty() {
            self.write_marked(transaction)?;
        }
        let mut used = transaction.prepare_cached(USE_TABLE)?;
        for (version, last) in &self.tables {
            used.execute(params![version, last.as_bytes()])?;
        }
        Ok(())
    }

    fn write_marked(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sql = ADD_LINE
            .replace("usage_daily (key,", "usage_marked (kind, name, key,")
            .replace("VALUES (", "VALUES (?22,?23,")
            .replace("(key, day, backend", "(kind, key, day, name, backend");
        let mut add = transaction.prepare_cached(&sql)?;
        for ((mark, name, line), sums) in &self.marked {
            let fits = *mark != Mark::Tag || has_room(transaction, line, name)?;
            sums.bind(&mut add, line)?;
            add.raw_bind_parameter(22, mark.word())?;
            add.raw_bind_parameter(23, if fits { name } else { OTHER_TAGS })?;
            add.raw_execute()?;
        }
        Ok(())
    }
}

/// Whether a tag has sums of its own on a key's day, or may still have them.
fn has_room(transaction: &Transaction<'_>, line: &Line<'_>, tag: &str) -> rusqlite::Result<bool> {
    let known = "SELECT EXISTS (SELECT 1 FROM usage_marked WHERE kind = 'tag' AND key = ?1 AND day = ?2 AND name = ?3)";
    if transaction.prepare_cached(known)?.query_row(params![line.key, line.day, tag], |row| row.get(0))? {
        return Ok(true);
    }
    let count = "SELECT count(DISTINCT name) FROM usage_marked WHERE kind = 'tag' AND key = ?1 AND day = ?2 AND name <> ?3";
    let count: i64 = transaction.prepare_cached(count)?.query_row(params![line.key, line.day, OTHER_TAGS], |row| row.get(0))?;
    Ok(count < MOST_TAGS_A_DAY)
}

impl Sums {
    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.attempts += more.attempts;
        self.tokens.iter_mut().zip(more.tokens).for_each(|(sum, more)| *sum += more);
        self.cost += more.cost;
        self.compared += more.compared;
        self.baseline += more.baseline;
        self.provenance.iter_mut().zip(more.provenance).for_each(|(sum, more)| *sum += more);
        self.model_changes += more.model_changes;
    }

    /// Binds the values of [`ADD_LINE`].
    fn bind(&self, statement: &mut Statement<'_>, line: &Line<'_>) -> rusqlite::Result<()> {
        let mut place = 0;
        let ((cost, cost_rest), (baseline, baseline_rest)) = (split(self.cost), split(self.baseline));
        let mut next = |value: &dyn ToSql| {
            place += 1;
            statement.raw_bind_parameter(place, value)
        };
        next(&line.key)?;
        next(&line.day)?;
        [line.backend, line.model, line.provider].into_iter().try_for_each(|text| next(&text))?;
        let sums = [self.requests, self.attempts].into_iter().chain(self.tokens).chain([cost, cost_rest, self.compared]);
        let sums = sums.chain([baseline, baseline_rest]).chain(self.provenance).chain([self.model_changes]);
        sums.into_iter().try_for_each(|sum| next(&sum))
    }
}

impl<'r> Line<'r> {
    fn of(request: &'r ClosedRequest, attempt: Option<&'r ClosedAttempt>) -> Self {
        let opened = attempt.map(|attempt| &attempt.opened);
        Self {
            key: request.opened.key.as_str(),
            day: request.opened.arrived_at.as_microsecond() / MICROS_PER_DAY,
            backend: opened.map_or("", |opened| opened.backend.as_str()),
            model: opened.map_or("", |opened| &opened.model),
            provider: opened.map_or("", |opened| &opened.provider),
        }
    }
}

/// What the row says, which is what the sums are of.
fn as_kept(usd: Usd) -> Usd {
    Usd::from_pico(fitting(usd.pico()).into())
}

/// Millionths of a dollar, and what is left in 10⁻¹² dollars.
fn split(usd: Usd) -> (i64, i64) {
    let part = |pico: i128| i64::try_from(pico).unwrap_or(i64::MAX);
    (part(usd.pico() / SPLIT), part(usd.pico() % SPLIT))
}

const ADD_LINE: &str = "INSERT INTO usage_daily (key, day, backend, model, provider, requests, attempts, fresh_input, \
    cache_read, cache_write, output, reasoning, cost_micro_usd, cost_rest_pico, compared, baseline_micro_usd, \
    baseline_rest_pico, reported, counted, estimated, model_changes) \
    VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21) \
    ON CONFLICT (key, day, backend, model) DO UPDATE SET requests = requests + excluded.requests, \
    attempts = attempts + excluded.attempts, fresh_input = fresh_input + excluded.fresh_input, \
    cache_read = cache_read + excluded.cache_read, cache_write = cache_write + excluded.cache_write, \
    output = output + excluded.output, reasoning = reasoning + excluded.reasoning, \
    cost_micro_usd = cost_micro_usd + excluded.cost_micro_usd, cost_rest_pico = cost_rest_pico + excluded.cost_rest_pico, \
    compared = compared + excluded.compared, baseline_micro_usd = baseline_micro_usd + excluded.baseline_micro_usd, \
    baseline_rest_pico = baseline_rest_pico + excluded.baseline_rest_pico, reported = reported + excluded.reported, \
    counted = counted + excluded.counted, estimated = estimated + excluded.estimated, \
    model_changes = model_changes + excluded.model_changes";

/// The same sums from the rows, from a day on: one line for each row and one for each request, with the columns of `usage_daily`.
pub(super) const OF_ROWS: &str = "SELECT r.key, r.arrived_at_us / 86400000000 AS day, a.backend, a.model, a.provider, \
    0 AS requests, 1 AS attempts, min(a.fresh_input, 1000000000000) AS fresh_input, min(a.cache_read, 1000000000000) AS cache_read, \
    min(a.cache_write, 1000000000000) AS cache_write, min(a.output, 1000000000000) AS output, \
    min(a.reasoning, 1000000000000) AS reasoning, a.cost_pico_usd / 1000000 AS cost_micro_usd, \
    a.cost_pico_usd % 1000000 AS cost_rest_pico, 0 AS compared, 0 AS baseline_micro_usd, 0 AS baseline_rest_pico, \
    a.provenance = 'reported' AS reported, a.provenance = 'counted' AS counted, a.provenance = 'estimated' AS estimated, \
    a.served_before IS NOT NULL AS model_changes \
    FROM requests r JOIN attempts a ON a.request = r.id WHERE r.arrived_at_us / 86400000000 >= ?1 \
    UNION ALL SELECT r.key, r.arrived_at_us / 86400000000, coalesce(a.backend, ''), coalesce(a.model, ''), coalesce(a.provider, ''), \
    1, 0, 0, 0, 0, 0, 0, 0, 0, r.baseline_pico_usd IS NOT NULL, coalesce(r.baseline_pico_usd / 1000000, 0), \
    coalesce(r.baseline_pico_usd % 1000000, 0), 0, 0, 0, 0 \
    FROM requests r LEFT JOIN attempts a ON a.request = r.id AND a.number = ( \
        SELECT number FROM attempts WHERE request = r.id ORDER BY ending = 'complete' DESC, number DESC LIMIT 1 \
    ) WHERE r.arrived_at_us / 86400000000 >= ?1";

/// What a line of `usage_marked` is called by, in the order of its primary key.
pub(super) const MARKED_LINES: &str = "kind, key, day, name, backend, model";

/// Each request once for each of its marks. No tag has a character that JSON would mind; one that somebody else wrote is quoted.
const MARKED: &str = "SELECT 'team' AS kind, team AS name, requests.* FROM requests WHERE team <> '' \
    UNION ALL SELECT 'project', project, requests.* FROM requests WHERE project <> '' \
    UNION ALL SELECT 'tag', tag.value, requests.* FROM requests, json_each('[' || replace(json_quote(tags), ',', '\",\"') || ']') AS tag \
    WHERE tags <> ''";

/// [`OF_ROWS`] once more for each mark, under the name that it has.
fn of_marked_rows() -> String {
    OF_ROWS.replace("SELECT r.key", "SELECT r.kind, r.name, r.key").replace("FROM requests r", &format!("FROM ({MARKED}) r"))
}

/// The same under the name that the sums of the store have it by: once a key's day has sums of so many tags, any other is with the rest.
pub(super) fn marked_as_kept() -> String {
    format!(
        "WITH full_days AS MATERIALIZED ( \
            SELECT key, day FROM usage_marked WHERE kind = 'tag' AND name <> '{OTHER_TAGS}' AND day >= ?1 \
            GROUP BY key, day HAVING count(DISTINCT name) >= {MOST_TAGS_A_DAY} \
        ) SELECT kind, CASE WHEN kind <> 'tag' THEN name \
            WHEN EXISTS (SELECT 1 FROM usage_marked u WHERE u.kind = 'tag' AND u.key = r.key AND u.day = r.day AND u.name = r.name) THEN name \
            WHEN EXISTS (SELECT 1 FROM full_days f WHERE f.key = r.key AND f.day = r.day) THEN '{OTHER_TAGS}' ELSE name END AS name, \
        key, day, backend, model, provider, {figures} FROM ({rows}) r",
        figures = UsageSums::COLUMNS.join(", "),
        rows = of_marked_rows(),
    )
}

/// The same under the names that they get when sums are made anew: of a key's day the tags that came first have sums of their own.
fn marked_anew() -> String {
    format!(
        "WITH tags AS MATERIALIZED ( \
            SELECT key, arrived_at_us / 86400000000 AS day, name, \
                row_number() OVER (PARTITION BY key, arrived_at_us / 86400000000 ORDER BY min(id), name) AS place \
            FROM ({MARKED}) WHERE kind = 'tag' AND arrived_at_us / 86400000000 >= ?1 GROUP BY key, day, name \
        ), other AS MATERIALIZED (SELECT key, day, name FROM tags WHERE place > {MOST_TAGS_A_DAY}) \
        SELECT kind, CASE WHEN kind = 'tag' AND (key, day, name) IN (SELECT key, day, name FROM other) THEN '{OTHER_TAGS}' ELSE name END AS name, \
        key, day, backend, model, provider, {figures} FROM ({rows})",
        figures = UsageSums::COLUMNS.join(", "),
        rows = of_marked_rows(),
    )
}

/// Makes the sums of the days anew of which every row is there; answers how many lines they are.
pub(super) fn rebuild(connection: &mut Connection) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from = first_whole_day(&transaction)?;
    let (figures, sums) = (UsageSums::COLUMNS.join(", "), UsageSums::summed(|column| format!("sum({column})")));
    let (mut lines, marked) = (0, marked_anew());
    let tables = [("usage_daily", "key, day, backend, model", OF_ROWS), ("usage_marked", MARKED_LINES, marked.as_str())];
    for (table, name, rows) in tables {
        transaction.execute(&format!("DELETE FROM {table} WHERE day >= ?1"), [from])?;
        let insert = format!(
            "INSERT INTO {table} ({name}, provider, {figures}) \
             SELECT {name}, max(provider), {sums} FROM ({rows}) GROUP BY {name}"
        );
        lines += transaction.execute(&insert, [from])?;
    }
    transaction.commit()?;
    Ok(lines)
}

const USE_TABLE: &str = "INSERT INTO tables_used (version, last_request) VALUES (?1, ?2) \
    ON CONFLICT (version) DO UPDATE SET last_request = max(last_request, excluded.last_request)";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::sqlite::{MOST_TOKENS, SqliteStore};
    use crate::ledger::store::Store;
    use crate::ledger::{Books, UsageQuery};
    use crate::units::{BackendId, KeyName, Tokens};

    /// One attempt in small numbers: which backend, how it ended, where its tokens come from, how many.
    type Drawn = (u8, usize, usize, u64, u64);

    fn request(number: u64, day: i64, key: u8, baseline: bool, attempts: &[Drawn]) -> ClosedRequest {
        let mut opened = request_opened(number);
        opened.arrived_at = opened.arrived_at.saturating_add(SignedDuration::from_hours(24 * day)).unwrap();
        opened.key = KeyName::new(&format!("k{key}"));
        opened.baseline = opened.baseline.filter(|_| baseline);
        let attempt = |(number, (backend, ending, provenance, input, output)): (u32, &Drawn)| {
            let mut opened = attempt_opened();
            opened.backend = BackendId::new("acme", &format!("m{backend}"));
            opened.model = format!("model-{}", backend % 2);
            let mut end = attempt_end(*input, *output);
            end.ending = Ending::ALL[*ending];
            end.provenance = Provenance::ALL[*provenance];
            end.usage.cache_read = Tokens::new(input / 3);
            Arc::new(ClosedAttempt::settle(number, opened, end))
        };
        ClosedRequest { opened: Arc::new(opened), end: request_end(), attempts: (0..).zip(attempts).map(attempt).collect() }
    }

    fn lines(connection: &Connection) -> Vec<String> {
        let columns: Vec<String> = ["requests", "attempts", "fresh_input", "cache_read", "cache_write", "output", "reasoning"]
            .into_iter()
            .chain(["compared", "reported", "counted", "estimated"])
            .chain(["cost_micro_usd * 1000000 + cost_rest_pico", "baseline_micro_usd * 1000000 + baseline_rest_pico"])
            .map(|column| format!("'{column}=' || ({column})"))
            .collect();
        let sql = format!(
            "SELECT concat_ws(' ', key, day, backend, model, provider, {}) FROM usage_daily ORDER BY key, day, backend, model",
            columns.join(", ")
        );
        connection.prepare(&sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// However the rows come, the sums are what the migration makes of the same rows.
        #[test]
        fn sums_are_what_a_migration_computes_from_the_rows(
            drawn in prop::collection::vec(
                (0_i64..3, 0_u8..3, any::<bool>(), prop::collection::vec(
                    (0_u8..4, 0..Ending::ALL.len(), 0..Provenance::ALL.len(), 0_u64..9_000_000, 0_u64..9_000_000), 0..4)),
                1..20),
            batch in 1_usize..5,
        ) {
            let requests: Vec<_> = (0..).zip(&drawn).map(|(n, (day, key, base, tried))| request(n, *day, *key, *base, tried)).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut store = SqliteStore::open(folder.path()).unwrap();
            for part in requests.chunks(batch) {
                store.insert(&mut part.iter()).unwrap();
            }
            // What is there already must not count again.
            store.insert(&mut requests.iter()).unwrap();
            prop_assert_eq!(Books::open(folder.path()).unwrap().check().unwrap().faults, Vec::new());
            let told = lines(store.connection());
            store.rebuild().unwrap();
            prop_assert_eq!(&told, &lines(store.connection()));
            prop_assert_eq!(Books::open(folder.path()).unwrap().check().unwrap().faults, Vec::new());

            store.connection().execute_batch("DROP TABLE usage_daily; DROP TABLE decisions; DROP TABLE tables_used").unwrap();
            store.connection().execute_batch(include_str!("schema_2.sql")).unwrap();
            prop_assert_eq!(&told, &lines(store.connection()));
            prop_assert!(!told.is_empty());
        }
    }

    #[test]
    fn a_key_has_sums_of_so_many_tags_a_day_and_of_the_rest_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let tagged = |number: u64| {
            let mut one = request(number, 0, 0, false, &[(0, 0, 0, 10, 10)]);
            let mut opened = request_opened(number);
            opened.marks.tags = vec![format!("t{}", number % 150)];
            (opened.arrived_at, opened.key) = (one.opened.arrived_at, one.opened.key.clone());
            one.opened = Arc::new(opened);
            one
        };
        let all: Vec<_> = (0..300).map(tagged).collect();
        for part in all.chunks(7) {
            store.insert(&mut part.iter()).unwrap();
        }
        let told = |sql: &str| store.connection().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(told("SELECT count(DISTINCT name) FROM usage_marked WHERE kind = 'tag'"), MOST_TAGS_A_DAY + 1);
        assert_eq!(told("SELECT sum(requests) FROM usage_marked WHERE kind = 'tag' AND name = '(other)'"), 100);
        assert_eq!(told("SELECT sum(requests) FROM usage_marked WHERE kind = 'tag'"), 300);
        assert_eq!(told("SELECT sum(requests) FROM usage_marked WHERE kind = 'team' AND name = 'web'"), 300);
        let faults = || Books::open(folder.path()).unwrap().check().unwrap().faults;
        assert_eq!(faults(), []);
        store.rebuild().unwrap();
        assert_eq!(faults(), []);
        let other = "SELECT sum(requests) FROM usage_marked WHERE kind = 'tag' AND name = '(other)'";
        let other = store.connection().query_row(other, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(other, 100);
    }

    /// Providers may report anything; the books of such a day must still open, grow and answer.
    #[test]
    fn absurd_reports_have_sums_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let absurd = |number| request(number, 0, 0, true, &[(0, 0, 0, u64::MAX, u64::MAX), (0, 0, 0, 7, 7)]);
        for number in 1..=3 {
            store.insert(&mut [absurd(number)].iter()).unwrap();
        }
        let day = |date: &str| date.parse().unwrap();
        let query =
            UsageQuery { key: None, from: day("2023-11-01"), until: day("2023-12-01"), group_by: Vec::new(), most_lines: 9 };
        let books = Books::open(folder.path()).unwrap();
        let sums = books.usage(&query).unwrap()[0].sums;
        assert_eq!((sums.requests, sums.attempts), (3, 6));
        assert_eq!(sums.usage.output.get(), 3 * (MOST_TOKENS.unsigned_abs() + 7));
        assert_eq!(sums.cost, books.attempts_cost().unwrap());
        assert_eq!(books.totals().unwrap().requests, 3);

        // Rows of the first format hold whatever fits an integer.
        store.connection().execute_batch("UPDATE attempts SET output = 9223372036854775807 WHERE number = 0").unwrap();
        store.connection().execute_batch("UPDATE requests SET output = 9223372036854775807").unwrap();
        store.connection().execute_batch("DROP TABLE usage_daily; DROP TABLE decisions; DROP TABLE tables_used").unwrap();
        store.connection().execute_batch(include_str!("schema_2.sql")).unwrap();
        store.connection().execute_batch("ALTER TABLE usage_daily ADD COLUMN model_changes INTEGER NOT NULL DEFAULT 0").unwrap();
        assert_eq!(books.usage(&query).unwrap()[0].sums, sums);
        assert_eq!(books.totals().unwrap().requests, 3);
    }

    #[test]
    fn sums_beyond_nine_million_dollars_stay_exact() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut dear = request(1, 0, 0, false, &[]);
        let mut end = attempt_end(0, 0);
        end.usage.output = Tokens::new(7_000_000_000_000);
        dear.attempts = vec![Arc::new(ClosedAttempt::settle(0, attempt_opened(), end))];
        let each = dear.cost();
        let same = |number: u64| ClosedRequest {
            opened: Arc::new(crate::ledger::RequestOpened { arrived_at: dear.opened.arrived_at, ..request_opened(number * 2) }),
            ..dear.clone()
        };
        for number in 1..=3 {
            store.insert(&mut [same(number)].iter()).unwrap();
        }
        let sum = |row: &rusqlite::Row<'_>| Ok(i128::from(row.get::<_, i64>(0)?) * SPLIT + i128::from(row.get::<_, i64>(1)?));
        let told =
            store.connection().query_row("SELECT sum(cost_micro_usd), sum(cost_rest_pico) FROM usage_daily", [], sum).unwrap();
        assert_eq!(told, 3 * each.pico());
        assert!(told > i128::from(i64::MAX), "{told}");
    }
}
