//! The shelf in PostgreSQL: entries by name and the lines of their audit, each with the *revision* that it came with. One counter gives
//! revisions out; whoever takes the next one holds its row until its words are committed, so they are seen in their order, and
//! whoever knows one revision asks only for what came after it. A change is one statement, and what takes several ends by itself: a
//! gateway that stops in the middle of anything holds up nobody for long.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::postgres::{Connected, PostgresError, begun};

/// How long one question may take. Somebody may wait for it.
const ANSWER: Duration = Duration::from_secs(5);

const SETTING_UP: &str = "
    CREATE TABLE IF NOT EXISTS tokenbroker.shelf (
        shelf text NOT NULL, name text NOT NULL, entry text NOT NULL, revision bigint NOT NULL, PRIMARY KEY (shelf, name));
    CREATE TABLE IF NOT EXISTS tokenbroker.shelf_lines (
        id text PRIMARY KEY, shelf text NOT NULL, line text NOT NULL, revision bigint NOT NULL);
    CREATE INDEX IF NOT EXISTS shelf_by_revision ON tokenbroker.shelf (revision);
    CREATE INDEX IF NOT EXISTS shelf_lines_by_revision ON tokenbroker.shelf_lines (revision);
    INSERT INTO tokenbroker.about VALUES ('shelf_revision', '0') ON CONFLICT DO NOTHING;";

const TURN: &str = "WITH turn AS (UPDATE tokenbroker.about SET value = (value::bigint + 1)::text WHERE name = 'shelf_revision' \
    RETURNING value::bigint AS revision)";

/// One thing that holds at every gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which book it is of.
    pub shelf: String,
    /// What it is called there.
    pub name: String,
    pub text: String,
}

/// A line of a book's audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub shelf: String,
    /// The same wherever the line is.
    pub id: String,
    pub text: String,
}

async fn answered<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, PostgresError> {
    Ok(timeout(ANSWER, answer).await.map_err(|_| PostgresError::Late(ANSWER))??)
}

fn line(row: &Row) -> Line {
    Line { id: row.get(0), shelf: row.get(1), text: row.get(2) }
}

impl Connected {
    /// Makes the shelf, where there is none.
    pub(super) async fn set_up_shelf(&mut self) -> Result<(), PostgresError> {
        let set_up = async {
            let transaction = self.client.transaction().await?;
            if let Err(error) = begun(&transaction).await? {
                return Ok(Err(error));
            }
            transaction.batch_execute(SETTING_UP).await?;
            transaction.commit().await?;
            Ok(Ok(()))
        };
        answered(set_up).await?
    }

    /// The last revision.
    pub(super) async fn shelf_revision(&self) -> Result<i64, PostgresError> {
        const SQL: &str = "SELECT value::bigint FROM tokenbroker.about WHERE name = 'shelf_revision'";
        Ok(answered(self.client.query_one(SQL, &[])).await?.get(0))
    }

    /// Entries that came after a revision, each with its own.
    pub(super) async fn entries_after(&self, revision: i64) -> Result<Vec<(Entry, i64)>, PostgresError> {
        const SQL: &str = "SELECT shelf, name, entry, revision FROM tokenbroker.shelf WHERE revision > $1 ORDER BY revision";
        let rows = answered(self.client.query(SQL, &[&revision])).await?;
        let entry = |row: &Row| (Entry { shelf: row.get(0), name: row.get(1), text: row.get(2) }, row.get(3));
        Ok(rows.iter().map(entry).collect())
    }

    /// Lines that came after a revision.
    pub(super) async fn lines_after(&self, revision: i64) -> Result<Vec<Line>, PostgresError> {
        const SQL: &str = "SELECT id, shelf, line FROM tokenbroker.shelf_lines WHERE revision > $1 ORDER BY revision";
        Ok(answered(self.client.query(SQL, &[&revision])).await?.iter().map(line).collect())
    }

    /// The lines of these ids.
    pub(super) async fn lines_of(&self, wanted: &[&str]) -> Result<Vec<Line>, PostgresError> {
        const SQL: &str = "SELECT id, shelf, line FROM tokenbroker.shelf_lines WHERE id = ANY ($1) ORDER BY revision";
        Ok(answered(self.client.query(SQL, &[&wanted])).await?.iter().map(line).collect())
    }

    /// Which lines there are.
    pub(super) async fn line_ids(&self) -> Result<HashSet<String>, PostgresError> {
        const SQL: &str = "SELECT id FROM tokenbroker.shelf_lines";
        Ok(answered(self.client.query(SQL, &[])).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Puts an entry, with its line where there is one, in the place of the one that came with a revision; `None`: where there was none.
    /// Answers the revision, or `None` where another one stands there by now.
    pub(super) async fn put(&self, entry: &Entry, line: Option<&Line>, over: Option<i64>) -> Result<Option<i64>, PostgresError> {
        let sql = format!(
            "{TURN}, put AS (INSERT INTO tokenbroker.shelf AS there (shelf, name, entry, revision) \
                SELECT $1::text, $2::text, $3::text, revision FROM turn ON CONFLICT (shelf, name) DO UPDATE \
                SET entry = excluded.entry, revision = excluded.revision WHERE there.revision = $4::bigint RETURNING revision), \
            noted AS (INSERT INTO tokenbroker.shelf_lines (id, shelf, line, revision) \
                SELECT $5::text, $1::text, $6::text, revision FROM put WHERE $5::text <> '' ON CONFLICT DO NOTHING) \
            SELECT revision FROM put"
        );
        // None came with that.
        let over = over.unwrap_or(i64::MIN);
        let (id, text) = line.map_or(("", ""), |line| (&line.id, &line.text));
        let asked: [&(dyn ToSql + Sync); 6] = [&entry.shelf, &entry.name, &entry.text, &over, &id, &text];
        Ok(answered(self.client.query_opt(&sql, &asked)).await?.map(|row| row.get(0)))
    }

    /// Puts lines down that are not there yet.
    pub(super) async fn put_lines(&self, lines: &[Line]) -> Result<(), PostgresError> {
        let sql = format!(
            "{TURN} INSERT INTO tokenbroker.shelf_lines (id, shelf, line, revision) \
                SELECT id, shelf, line, revision FROM unnest($1::text[], $2::text[], $3::text[]) AS said (id, shelf, line), turn \
                ON CONFLICT DO NOTHING"
        );
        let column = |of: fn(&Line) -> &str| lines.iter().map(of).collect::<Vec<&str>>();
        let (ids, shelves, texts) = (column(|line| &line.id), column(|line| &line.shelf), column(|line| &line.text));
        answered(self.client.execute(&sql, &[&ids, &shelves, &texts])).await?;
        Ok(())
    }
}
