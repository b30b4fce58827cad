//! What the store of a fleet has not taken yet. The books of this gateway are on its own disk, whatever becomes of that store:
//! rows are folded into SQLite as ever, a trigger notes each new request beside them in the same transaction, and whoever
//! forwards takes lots from the oldest on and strikes them out once they are safe there. So the spool is the books
//! themselves: it survives every kill, costs no memory, and a lot that is sent twice is the same rows twice.
//!
//! Rows go out as SQLite has them, by the columns that it has: a new column of a migration needs no word here. The sums of a
//! day (`usage_daily`) go out as they stand, not as differences, so that sending them twice changes nothing either; they may be
//! ahead of the rows by what is still on its way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::gate::Gate;
use super::sqlite::{connect, explain};
use super::store::StoreError;

/// Which rows belong to a lot, by table: an expression over the ids of `lot`.
const TABLES: [(&str, &str); 4] = [
    ("requests", "id IN lot"),
    ("attempts", "request IN lot"),
    (
        "usage_daily",
        "(key, day, backend, model) IN ( \
            SELECT r.key, r.arrived_at_us / 86400000000, coalesce(a.backend, ''), coalesce(a.model, '') \
            FROM requests r LEFT JOIN attempts a ON a.request = r.id WHERE r.id IN lot)",
    ),
    (
        "usage_marked",
        "kind IN ('team', 'project', 'tag') AND (key, day) IN ( \
            SELECT r.key, r.arrived_at_us / 86400000000 FROM requests r WHERE r.id IN lot)",
    ),
];

const SWITCH_ON: &str = "
    CREATE TABLE outbox (request BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE outbox_state (ledger TEXT, lots INTEGER NOT NULL, member INTEGER NOT NULL);
    INSERT INTO outbox_state VALUES (NULL, 0, 0);
    CREATE TRIGGER outbox_requests AFTER INSERT ON requests BEGIN INSERT OR IGNORE INTO outbox VALUES (new.id); END;
    INSERT OR IGNORE INTO meta (name, value) VALUES ('gateway_id', lower(hex(randomblob(8))));";
const SWITCH_OFF: &str = "DROP TRIGGER outbox_requests; DROP TABLE outbox; DROP TABLE outbox_state;";

/// Notes new requests from now on, or no more. Only what the store of a fleet is asked for costs anything.
pub(super) fn switch(connection: &mut Connection, on: bool) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let is_on: bool =
        transaction.query_row("SELECT count(*) > 0 FROM sqlite_master WHERE name = 'outbox'", [], |row| row.get(0))?;
    match (is_on, on) {
        (false, true) => transaction.execute_batch(SWITCH_ON)?,
        (true, false) => transaction.execute_batch(SWITCH_OFF)?,
        (true, true) | (false, false) => {}
    }
    transaction.commit()
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Text,
    Bytes,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// Whether it is a part of the primary key.
    pub key: bool,
}

/// A table whose rows are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub columns: Vec<Column>,
}

impl Table {
    /// Whether its rows are sums, of which the later one counts; other rows never change.
    pub fn is_sums(&self) -> bool {
        self.name.starts_with("usage_")
    }
}

/// The cells of one column, as many as there are rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cells {
    Integer(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Cells {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
            Kind::Bytes => Self::Bytes(Vec::new()),
        }
    }

    /// A value of another kind than its column's is not written by any gateway; it goes out as absent.
    fn push(&mut self, value: ValueRef<'_>) {
        match self {
            Self::Integer(cells) => cells.push(value.as_i64().ok()),
            Self::Text(cells) => cells.push(value.as_str().ok().map(str::to_owned)),
            Self::Bytes(cells) => cells.push(value.as_bytes().ok().map(<[u8]>::to_vec)),
        }
    }
}

/// Rows of one table, column by column, in the order of [`Table::columns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub table: Table,
    pub cells: Vec<Cells>,
    pub count: usize,
}

/// Some requests with everything that belongs to them, in the order of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub requests: Vec<[u8; 16]>,
    pub rows: Vec<Rows>,
}

/// How far the books were forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The store they were forwarded to, by its own id.
    pub ledger: Option<String>,
    /// How many lots it took.
    pub lots: i64,
    /// Whether it knows this gateway as one that may hold leases.
    pub member: bool,
}

/// The spool of a gateway whose books go to the store of a fleet.
pub struct Outbox {
    connection: Connection,
    file: PathBuf,
    gate: Arc<Gate>,
    gateway: String,
    tables: Vec<Table>,
}

impl Outbox {
    pub(super) fn open(folder: &Path, gate: Arc<Gate>) -> Result<Self, StoreError> {
        let file = folder.join(super::sqlite::FILE);
        let connection = connect(&file)?;
        let read = || {
            let gateway = connection.query_row("SELECT value FROM meta WHERE name = 'gateway_id'", [], |row| row.get(0))?;
            let tables: rusqlite::Result<Vec<Table>> = TABLES.iter().map(|(name, _)| table(&connection, name)).collect();
            Ok((gateway, tables?))
        };
        let (gateway, tables) = read().map_err(|error| explain(&file, error))?;
        Ok(Self { connection, file, gate, gateway, tables })
    }

    /// What this gateway is called in what it shares: random, made with its books and kept in them.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The tables that are forwarded.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub fn standing(&self) -> Result<Standing, StoreError> {
        let read = |row: &rusqlite::Row<'_>| Ok(Standing { ledger: row.get(0)?, lots: row.get(1)?, member: row.get(2)? });
        self.explained(self.connection.query_row("SELECT ledger, lots, member FROM outbox_state", [], read))
    }

    /// Everything is to be forwarded, from the first request on: to a store that is new, or has lost what it took.
    pub fn all_again(&mut self, ledger: &str, lots: i64) -> Result<(), StoreError> {
        let file = self.file.clone();
        let mut run = || {
            let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute("INSERT OR IGNORE INTO outbox SELECT id FROM requests", [])?;
            transaction.execute("UPDATE outbox_state SET ledger = ?1, lots = ?2, member = 0", params![ledger, lots])?;
            transaction.commit()
        };
        run().map_err(|error| explain(&file, error))
    }

    /// The store knows this gateway as one that may hold leases, or no more.
    pub fn set_member(&self, member: bool) -> Result<(), StoreError> {
        self.explained(self.connection.execute("UPDATE outbox_state SET member = ?1", [member])).map(|_| ())
    }

    /// How many requests wait, counted no further than to a number.
    pub fn waiting(&self, up_to: u64) -> Result<u64, StoreError> {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        let count = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?1)";
        let counted: i64 = self.explained(self.connection.query_row(count, [up_to], |row| row.get(0)))?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    /// The oldest requests that wait, all as they were at one moment; without any, none do.
    pub fn next(&mut self, most: usize) -> Result<Lot, StoreError> {
        let _reading = self.gate.enter();
        let read = || {
            self.connection.execute_batch("BEGIN")?;
            let lot = lot(&self.connection, &self.tables, i64::try_from(most).unwrap_or(i64::MAX));
            self.connection.execute_batch("COMMIT")?;
            lot
        };
        read().map_err(|error| explain(&self.file, error))
    }

    /// The store has a lot: it is struck out. `lots` is how many that makes.
    pub fn sent(&mut self, lot: &Lot, lots: i64) -> Result<(), StoreError> {
        let file = self.file.clone();
        let mut run = || {
            let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            {
                let mut strike = transaction.prepare_cached("DELETE FROM outbox WHERE request = ?1")?;
                for request in &lot.requests {
                    strike.execute([request])?;
                }
            }
            transaction.execute("UPDATE outbox_state SET lots = ?1", [lots])?;
            transaction.commit()
        };
        run().map_err(|error| explain(&file, error))
    }

    fn explained<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| explain(&self.file, error))
    }
}

fn table(connection: &Connection, name: &'static str) -> rusqlite::Result<Table> {
    let mut about = connection.prepare("SELECT name, type, pk > 0 FROM pragma_table_info(?1)")?;
    let columns = about.query_map([name], |row| {
        let kind = match row.get_ref(1)?.as_str().unwrap_or_default() {
            "INTEGER" => Kind::Integer,
            "BLOB" => Kind::Bytes,
            _ => Kind::Text,
        };
        Ok(Column { name: row.get(0)?, kind, key: row.get(2)? })
    })?;
    Ok(Table { name, columns: columns.collect::<rusqlite::Result<_>>()? })
}

fn lot(connection: &Connection, tables: &[Table], most: i64) -> rusqlite::Result<Lot> {
    const IN_LOT: &str = "WITH lot (request) AS MATERIALIZED (SELECT request FROM outbox ORDER BY request LIMIT ?1)";
    let mut ids = connection.prepare_cached("SELECT request FROM outbox ORDER BY request LIMIT ?1")?;
    let requests: Vec<[u8; 16]> = ids.query_map([most], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut rows = Vec::with_capacity(tables.len());
    for (table, (_, belongs)) in tables.iter().zip(TABLES) {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let sql = format!("{IN_LOT} SELECT {} FROM {} WHERE {belongs}", names.join(", "), table.name);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query([most])?;
        let mut cells: Vec<Cells> = table.columns.iter().map(|column| Cells::of(column.kind)).collect();
        let mut count = 0;
        while let Some(row) = found.next()? {
            for (at, cells) in cells.iter_mut().enumerate() {
                cells.push(row.get_ref(at)?);
            }
            count += 1;
        }
        rows.push(Rows { table: table.clone(), cells, count });
    }
    Ok(Lot { requests, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::{Ledger, Settings};

    async fn one_request(ledger: &Ledger, number: u64) {
        let tab = ledger.begin(request_opened(number)).unwrap();
        tab.attempt(attempt_opened()).end(attempt_end(100, number)).await.unwrap();
        tab.close(request_end()).await.unwrap();
    }

    fn open(folder: &Path, outbox: bool) -> Ledger {
        Ledger::open(Settings { outbox, ..Settings::new(folder) }, SystemClock::shared()).unwrap().0
    }

    fn counts(lot: &Lot) -> Vec<usize> {
        lot.rows.iter().map(|rows| rows.count).collect()
    }

    #[tokio::test]
    async fn what_ends_waits_until_it_is_sent_and_so_does_what_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), false);
        one_request(&ledger, 1).await;
        ledger.close().await.unwrap();

        let ledger = open(folder.path(), true);
        one_request(&ledger, 2).await;
        one_request(&ledger, 3).await;
        ledger.flush().await.unwrap();
        let mut outbox = ledger.outbox().unwrap();
        assert_eq!((outbox.waiting(9).unwrap(), outbox.waiting(1).unwrap()), (2, 1));
        assert_eq!(outbox.standing().unwrap(), Standing { ledger: None, lots: 0, member: false });
        outbox.all_again("there", 7).unwrap();
        outbox.set_member(true).unwrap();
        assert_eq!(outbox.standing().unwrap(), Standing { ledger: Some("there".into()), lots: 7, member: true });
        let first = outbox.next(2).unwrap();
        assert_eq!((first.requests.len(), counts(&first)), (2, vec![2, 2, 2, 6]));
        assert_eq!(outbox.next(2).unwrap(), first, "until it is sent");
        outbox.sent(&first, 8).unwrap();
        let second = outbox.next(2).unwrap();
        assert_eq!((second.requests.len(), counts(&second), outbox.standing().unwrap().lots), (1, vec![1, 1, 1, 3], 8));
        outbox.sent(&second, 9).unwrap();
        assert_eq!((outbox.next(2).unwrap().requests.len(), outbox.waiting(9).unwrap()), (0, 0));
        let name = outbox.gateway().to_owned();
        drop(outbox);
        ledger.close().await.unwrap();

        // Without a fleet nothing is noted; with one again, it is the same gateway.
        let ledger = open(folder.path(), false);
        one_request(&ledger, 4).await;
        ledger.close().await.unwrap();
        let ledger = open(folder.path(), true);
        let outbox = ledger.outbox().unwrap();
        assert_eq!((outbox.gateway(), outbox.waiting(9).unwrap()), (name.as_str(), 0));
        assert_eq!(outbox.standing().unwrap().ledger, None, "so everything is sent again");
        ledger.close().await.unwrap();
    }
}
