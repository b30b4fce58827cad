//! The books of all gateways in PostgreSQL: its schema, and lots of rows going in.
//!
//! The tables are those of this gateway's own books (`ledger/outbox.rs`), made and widened from what its SQLite has, each row
//! with the gateway it comes from: a new column there is one here without a word. Rows of requests and attempts go in once,
//! whoever sends them again; sums of a day are each gateway's own and are replaced by later ones. A lot is one transaction,
//! and counts itself: a store that has counted fewer lots than a gateway remembers was put back to an older state, and gets
//! everything again.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Transaction};

use crate::config::{Secret, StoreAddress};
use crate::ledger::{Cells, Column, Kind, Lot, Rows, Table};
use crate::tasks::Tasks;
use crate::upstream::{Trust, UpstreamError, Way};

/// Until a connection stands, greeting included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one question or one lot may take. A server that was stopped says nothing at all.
const ANSWER: Duration = Duration::from_secs(20);
/// What asks PostgreSQL for TLS, and its yes.
const ASK_TLS: (&[u8], u8) = (&[0, 0, 0, 8, 4, 210, 22, 47], b'S');
/// The format of what is written here; a higher one in the store is of a newer gateway.
const FORMAT: i64 = 1;
/// Gateways that start at once make the tables one after the other.
const LOCK: i64 = 0x746f_6b65_6e62_726b;

const SETTING_UP: &str = "
    CREATE SCHEMA IF NOT EXISTS tokenbroker;
    CREATE TABLE IF NOT EXISTS tokenbroker.about (name text PRIMARY KEY, value text NOT NULL);
    CREATE TABLE IF NOT EXISTS tokenbroker.gateways (
        id text PRIMARY KEY, lots bigint NOT NULL, member boolean NOT NULL, first_seen timestamptz NOT NULL DEFAULT now(),
        last_seen timestamptz NOT NULL DEFAULT now());
    INSERT INTO tokenbroker.about VALUES ('ledger', gen_random_uuid()::text), ('format', '1') ON CONFLICT DO NOTHING;";

/// Why the store did not take or answer something.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("PostgreSQL cannot be reached: {0}")]
    Connect(#[source] std::io::Error),
    #[error("PostgreSQL: {}", in_full(.0))]
    Refused(#[from] tokio_postgres::Error),
    #[error("PostgreSQL did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error(
        "the books in PostgreSQL are of a newer gateway (format {found}, this one knows {FORMAT}): run that version here too"
    )]
    Newer { found: i64 },
}

/// With what the server says, which stands in the sources.
fn in_full(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |told| format!("{} ({})", told.message(), told.code().code()))
}

/// The way to the store.
#[derive(Clone)]
pub struct Postgres {
    way: Way,
    config: Config,
    tasks: Tasks,
}

/// An open connection.
pub struct Connected {
    pub(super) client: Client,
}

/// What the store knows of itself and of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The store's own id.
    pub ledger: String,
    /// How many lots of this gateway it has.
    pub lots: i64,
}

impl Postgres {
    /// The way to an address. Connections are kept going by tasks of these.
    pub fn at(address: &StoreAddress, password: Option<&Secret>, trust: &Trust, tasks: &Tasks) -> Result<Self, UpstreamError> {
        let mut way = Way::to(&address.host, address.port);
        if address.tls {
            way = way.secured(trust)?.after(ASK_TLS.0, ASK_TLS.1);
        }
        let mut config = Config::new();
        config.user(address.user.as_deref().unwrap_or_default()).dbname(&address.database).application_name("tokenbroker");
        if let Some(password) = password {
            config.password(password.expose());
        }
        // The socket brings its own.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        Ok(Self { way, config, tasks: tasks.clone() })
    }

    pub async fn connect(&self) -> Result<Connected, PostgresError> {
        let socket = self.way.open(CONNECT).await.map_err(PostgresError::Connect)?;
        let greeted = timeout(CONNECT, self.config.connect_raw(socket, NoTls)).await;
        let (client, connection) = greeted.map_err(|_| PostgresError::Late(CONNECT))??;
        // It ends with its client.
        self.tasks.spawn("a connection to PostgreSQL", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        // A gateway that stops in the middle of a transaction must not keep the others from theirs.
        answered(client.batch_execute("SET idle_in_transaction_session_timeout = '10s'")).await?;
        Ok(Connected { client })
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn answered<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, PostgresError> {
    Ok(timeout(ANSWER, answer).await.map_err(|_| PostgresError::Late(ANSWER))??)
}

impl Connected {
    /// Makes and widens the tables, and makes the gateway known. A member may hold leases of budgets.
    pub async fn set_up(&mut self, gateway: &str, member: bool, tables: &[Table]) -> Result<Known, PostgresError> {
        let mut wanted = String::new();
        for table in tables {
            define(table, &mut wanted);
        }
        let set_up = async {
            let transaction = self.client.transaction().await?;
            let ledger = match begun(&transaction).await? {
                Ok(ledger) => ledger,
                Err(error) => return Ok(Err(error)),
            };
            transaction.batch_execute(&wanted).await?;
            let known = "INSERT INTO tokenbroker.gateways (id, lots, member) VALUES ($1, 0, $2) \
                ON CONFLICT (id) DO UPDATE SET member = gateways.member OR excluded.member, last_seen = now() RETURNING lots";
            let lots = transaction.query_one(known, &[&gateway, &member]).await?.get(0);
            transaction.commit().await?;
            Ok(Ok(Known { ledger, lots }))
        };
        answered(set_up).await?
    }

    /// Takes a lot of a gateway, which is its so many-th. What is there already stays.
    pub async fn take(&mut self, gateway: &str, lot: &Lot, lots: i64) -> Result<(), PostgresError> {
        let take = async {
            let transaction = self.client.transaction().await?;
            for rows in lot.rows.iter().filter(|rows| rows.count > 0) {
                insert(&transaction, gateway, rows).await?;
            }
            let counted = "UPDATE tokenbroker.gateways SET lots = $2, last_seen = now() WHERE id = $1";
            transaction.execute(counted, &[&gateway, &lots]).await?;
            transaction.commit().await
        };
        answered(take).await
    }

    /// Which gateways may hold leases.
    pub async fn members(&self) -> Result<Vec<String>, PostgresError> {
        let rows = answered(self.client.query("SELECT id FROM tokenbroker.gateways WHERE member ORDER BY id", &[])).await?;
        Ok(rows.iter().map(|row: &Row| row.get(0)).collect())
    }

    /// This gateway holds no leases any more, and all that it booked is here.
    pub async fn leave(&self, gateway: &str) -> Result<(), PostgresError> {
        answered(self.client.execute("UPDATE tokenbroker.gateways SET member = false WHERE id = $1", &[&gateway])).await?;
        Ok(())
    }
}

/// Makes what is to be there whoever comes first, one after the other; answers the store's own id.
pub(super) async fn begun(transaction: &Transaction<'_>) -> Result<Result<String, PostgresError>, tokio_postgres::Error> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute(SETTING_UP).await?;
    let told = transaction.query("SELECT name, value FROM tokenbroker.about", &[]).await?;
    let about =
        |name: &str| told.iter().find(|row| row.get::<_, &str>(0) == name).map(|row| row.get::<_, String>(1)).unwrap_or_default();
    let found = about("format").parse::<i64>().unwrap_or(i64::MAX);
    Ok(if found > FORMAT { Err(PostgresError::Newer { found }) } else { Ok(about("ledger")) })
}

const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        // Sorted by bytes, as in SQLite.
        Kind::Text => "text COLLATE \"C\"",
        Kind::Bytes => "bytea",
    }
}

const fn array_of(kind: Kind) -> (&'static str, Type) {
    match kind {
        Kind::Integer => ("bigint[]", Type::INT8_ARRAY),
        Kind::Text => ("text[]", Type::TEXT_ARRAY),
        Kind::Bytes => ("bytea[]", Type::BYTEA_ARRAY),
    }
}

/// The primary key: of sums, each gateway has its own.
fn key_of(table: &Table) -> Vec<&str> {
    let own = table.is_sums().then_some("gateway");
    own.into_iter().chain(table.columns.iter().filter(|column| column.key).map(|column| column.name.as_str())).collect()
}

/// SQL that makes a table, or adds the columns that it lacks.
fn define(table: &Table, sql: &mut String) {
    let column = |column: &Column| format!("{} {}", column.name, type_of(column.kind));
    let (keys, others): (Vec<_>, Vec<_>) = table.columns.iter().partition(|column| column.key);
    let made: Vec<String> = keys.into_iter().map(column).collect();
    let added: Vec<String> = others.into_iter().map(|other| format!("ADD COLUMN IF NOT EXISTS {}", column(other))).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        sql,
        "CREATE TABLE IF NOT EXISTS tokenbroker.{0} (gateway {1} NOT NULL, {2}, PRIMARY KEY ({3})); ALTER TABLE tokenbroker.{0} {4};",
        table.name,
        type_of(Kind::Text),
        made.join(", "),
        key_of(table).join(", "),
        added.join(", ")
    );
}

async fn insert(transaction: &Transaction<'_>, gateway: &str, rows: &Rows) -> Result<(), tokio_postgres::Error> {
    let Rows { table, cells, .. } = rows;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let arrays = table.columns.iter().zip(2..).map(|(column, at)| format!("${at}::{}", array_of(column.kind).0));
    let told = if table.is_sums() {
        let sums = table.columns.iter().filter(|column| !column.key);
        let set: Vec<String> = sums.map(|column| format!("{0} = excluded.{0}", column.name)).collect();
        // Sums only grow: an older state of a gateway's books does not replace a newer one.
        format!(
            "DO UPDATE SET {} WHERE excluded.attempts + excluded.requests >= {1}.attempts + {1}.requests",
            set.join(", "),
            table.name
        )
    } else {
        "DO NOTHING".to_owned()
    };
    let sql = format!(
        "INSERT INTO tokenbroker.{} (gateway, {}) SELECT $1, * FROM unnest({}) ON CONFLICT ({}) {told}",
        table.name,
        names.join(", "),
        arrays.collect::<Vec<_>>().join(", "),
        key_of(table).join(", "),
    );
    let types: Vec<Type> = std::iter::once(Type::TEXT).chain(table.columns.iter().map(|c| array_of(c.kind).1)).collect();
    let statement = transaction.prepare_typed(&sql, &types).await?;
    let cells: Vec<Cells> = cells.iter().map(without_nul).collect();
    let values = cells.iter().map(|cells| match cells {
        Cells::Integer(cells) => cells as &(dyn ToSql + Sync),
        Cells::Text(cells) => cells,
        Cells::Bytes(cells) => cells,
    });
    let parameters: Vec<&(dyn ToSql + Sync)> = std::iter::once(&gateway as &(dyn ToSql + Sync)).chain(values).collect();
    transaction.execute(&statement, &parameters).await?;
    Ok(())
}

/// A text of PostgreSQL has no NUL, and a client may send one as the name of a model.
fn without_nul(cells: &Cells) -> Cells {
    match cells {
        Cells::Text(texts) => {
            let text = |text: &String| if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.clone() };
            Cells::Text(texts.iter().map(|cell| cell.as_ref().map(text)).collect())
        }
        Cells::Integer(_) | Cells::Bytes(_) => cells.clone(),
    }
}
