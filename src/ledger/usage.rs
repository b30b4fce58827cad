//! What was used and spent, by day, key, model, provider and backend: read from the sums that `rollup` keeps, so that a
//! month of millions of requests is a few thousand rows.

use jiff::SignedDuration;
use jiff::civil::Date;
use rusqlite::{Row, params_from_iter};

use super::marks::Mark;
use super::query::Books;
use super::store::StoreError;
use crate::units::{KeyName, Provenance, Tokens, Usage, Usd};

/// What sums can be told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageBy {
    /// The day (UTC) on which the request arrived.
    Day,
    /// The gateway key that asked.
    Key,
    /// The model that was asked, by its name in the table.
    Model,
    Provider,
    Backend,
    /// The team that the key was of,
    Team,
    /// its project,
    Project,
    /// and each tag of the request: what has several counts at each. Of these three one at a time.
    Tag,
}

impl UsageBy {
    /// Every value with its word.
    pub const WORDS: [(UsageBy, &'static str); 8] = [
        (UsageBy::Day, "day"),
        (UsageBy::Key, "key"),
        (UsageBy::Model, "model"),
        (UsageBy::Provider, "provider"),
        (UsageBy::Backend, "backend"),
        (UsageBy::Team, "team"),
        (UsageBy::Project, "project"),
        (UsageBy::Tag, "tag"),
    ];

    /// The mark that it is, where it is one.
    pub const fn mark(self) -> Option<Mark> {
        match self {
            UsageBy::Team => Some(Mark::Team),
            UsageBy::Project => Some(Mark::Project),
            UsageBy::Tag => Some(Mark::Tag),
            UsageBy::Day | UsageBy::Key | UsageBy::Model | UsageBy::Provider | UsageBy::Backend => None,
        }
    }
}

/// A question for sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only of this key.
    pub key: Option<KeyName>,
    /// From the beginning of this day (UTC),
    pub from: Date,
    /// up to the beginning of this one.
    pub until: Date,
    /// One line for each combination, in this order; none makes one line of all. At most one of them is a mark.
    pub group_by: Vec<UsageBy>,
    /// No more lines than this are answered.
    pub most_lines: usize,
}

/// Sums over attempts, and over the requests that ended with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSums {
    /// Requests of which the attempt that answered (else the last one) is here.
    pub requests: u64,
    pub attempts: u64,
    pub usage: Usage,
    pub cost: Usd,
    /// Requests that were compared with a baseline,
    pub compared: u64,
    /// and what their answers would have cost there.
    pub baseline: Usd,
    /// Attempts by where their tokens come from, in the order of [`Provenance::ALL`].
    pub provenance: [u64; Provenance::ALL.len()],
    /// Attempts whose answer names another model than its backend had named before.
    pub model_changes: u64,
}

impl UsageQuery {
    /// The mark that is told apart: then only what has it is told.
    pub fn mark(&self) -> Option<Mark> {
        self.group_by.iter().find_map(|by| by.mark())
    }

    /// Whether its words can be answered together.
    pub fn is_answerable(group_by: &[UsageBy]) -> bool {
        group_by.iter().filter(|by| by.mark().is_some()).count() <= 1
    }
}

impl UsageSums {
    /// The columns of sums in every store, in the order in which they are read. An amount is in two: millionths of a dollar, and the
    /// rest in 10⁻¹² dollars.
    pub const COLUMNS: [&str; 16] = [
        "requests",
        "attempts",
        "fresh_input",
        "cache_read",
        "cache_write",
        "output",
        "reasoning",
        "cost_micro_usd",
        "cost_rest_pico",
        "compared",
        "baseline_micro_usd",
        "baseline_rest_pico",
        "reported",
        "counted",
        "estimated",
        "model_changes",
    ];

    /// What is selected to read them: each as `sum` writes it.
    pub fn summed(sum: impl FnMut(&str) -> String) -> String {
        Self::COLUMNS.map(sum).join(", ")
    }

    /// What the columns say.
    pub fn of(columns: &[i64; Self::COLUMNS.len()]) -> Self {
        let count = |at: usize| u64::try_from(columns[at]).unwrap_or(0);
        let tokens = |at| Tokens::new(count(at));
        let amount = |at: usize| Usd::from_pico(i128::from(columns[at]) * 1_000_000 + i128::from(columns[at + 1]));
        Self {
            requests: count(0),
            attempts: count(1),
            usage: Usage {
                fresh_input: tokens(2),
                cache_read: tokens(3),
                cache_write: tokens(4),
                output: tokens(5),
                reasoning: tokens(6),
                ..Usage::default()
            },
            cost: amount(7),
            compared: count(9),
            baseline: amount(10),
            provenance: [count(12), count(13), count(14)],
            model_changes: count(15),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &UsageSums) -> Self {
        let mut provenance = self.provenance;
        provenance.iter_mut().zip(other.provenance).for_each(|(sum, more)| *sum += more);
        Self {
            requests: self.requests + other.requests,
            attempts: self.attempts + other.attempts,
            usage: self.usage.plus(&other.usage),
            cost: self.cost + other.cost,
            compared: self.compared + other.compared,
            baseline: self.baseline + other.baseline,
            provenance,
            model_changes: self.model_changes + other.model_changes,
        }
    }
}

/// One line of an answer. `None` stands where the question does not tell them apart, and for what no attempt has: a
/// request without one has neither model, provider nor backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageLine {
    pub day: Option<Date>,
    pub key: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub backend: Option<String>,
    pub team: Option<String>,
    pub project: Option<String>,
    pub tag: Option<String>,
    pub sums: UsageSums,
}

/// The first day that days are counted from.
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Every key's days in the order of the primary key: it begins with the key (behind the kind of mark), so each key is a range.
fn keys(table: &str, of: &str) -> String {
    format!(
        "WITH RECURSIVE keys (key) AS (SELECT min(u.key) FROM {table} u WHERE {of} UNION ALL \
         SELECT (SELECT min(u.key) FROM {table} u WHERE {of} AND u.key > keys.key) FROM keys WHERE keys.key IS NOT NULL)"
    )
}

impl Books {
    /// Sums, one line for each combination of what the question tells apart, in their order.
    pub fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreError> {
        self.explained(self.usage_lines(query))
    }

    /// The sums of all that a question is about, of which these are the lines: what has no mark is in no line, and what has several
    /// tags in several.
    pub fn usage_total(&self, query: &UsageQuery, lines: &[UsageLine]) -> Result<UsageSums, StoreError> {
        let sum = |lines: &[UsageLine]| lines.iter().fold(UsageSums::default(), |sum, line| sum.plus(&line.sums));
        if query.mark().is_none() {
            return Ok(sum(lines));
        }
        self.usage(&UsageQuery { group_by: Vec::new(), ..query.clone() }).map(|lines| sum(&lines))
    }

    fn usage_lines(&self, query: &UsageQuery) -> rusqlite::Result<Vec<UsageLine>> {
        let columns: Vec<&str> = query.group_by.iter().map(|by| column(*by)).collect();
        let (table, of) = match query.mark() {
            Some(mark) => ("usage_marked", format!("u.kind = '{}'", mark.word())),
            None => ("usage_daily", "true".to_owned()),
        };
        let (with, from) = match &query.key {
            Some(_) => (String::new(), format!("{table} u WHERE {of} AND u.key = ?4")),
            None => (keys(table, &of), format!("keys CROSS JOIN {table} u WHERE {of} AND u.key = keys.key")),
        };
        let sums = UsageSums::summed(|column| format!("sum({column})"));
        let selected = columns.iter().copied().chain([sums.as_str()]).collect::<Vec<_>>().join(", ");
        let order = if columns.is_empty() { String::new() } else { format!("GROUP BY {0} ORDER BY {0}", columns.join(", ")) };
        let sql = format!("{with} SELECT {selected} FROM {from} AND u.day >= ?1 AND u.day < ?2 {order} LIMIT ?3");
        let most = i64::try_from(query.most_lines).unwrap_or(i64::MAX);
        let numbers = [number(query.from), number(query.until), most].map(rusqlite::types::Value::from);
        let key = query.key.iter().map(|key| key.as_str().to_owned().into());
        let read = |row: &Row<'_>| line(row, &query.group_by);
        let mut statement = self.connection().prepare(&sql)?;
        let lines = statement.query_map(params_from_iter(numbers.into_iter().chain(key)), read)?;
        // Without a group there is always one line, of nothing where nothing is.
        lines.filter(|line| line.as_ref().map_or(true, |line| line.sums != UsageSums::default())).collect()
    }
}

fn column(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Day => "u.day",
        UsageBy::Key => "u.key",
        UsageBy::Model => "u.model",
        UsageBy::Provider => "u.provider",
        UsageBy::Backend => "u.backend",
        UsageBy::Team | UsageBy::Project | UsageBy::Tag => "u.name",
    }
}

fn line(row: &Row<'_>, group_by: &[UsageBy]) -> rusqlite::Result<UsageLine> {
    let mut line = UsageLine::default();
    for (at, by) in group_by.iter().enumerate() {
        let text = || row.get::<_, String>(at).map(|text| Some(text).filter(|text| !text.is_empty()));
        match by {
            UsageBy::Day => line.day = Some(day(row.get(at)?)),
            UsageBy::Key => line.key = text()?,
            UsageBy::Model => line.model = text()?,
            UsageBy::Provider => line.provider = text()?,
            UsageBy::Backend => line.backend = text()?,
            UsageBy::Team => line.team = text()?,
            UsageBy::Project => line.project = text()?,
            UsageBy::Tag => line.tag = text()?,
        }
    }
    line.sums = UsageSums::of(&columns(row, group_by.len())?);
    Ok(line)
}

/// The columns of a sum, from a place on; nothing where there is nothing to sum up.
pub(super) fn columns(row: &Row<'_>, from: usize) -> rusqlite::Result<[i64; UsageSums::COLUMNS.len()]> {
    let mut columns = [0; UsageSums::COLUMNS.len()];
    for (at, column) in columns.iter_mut().enumerate() {
        *column = row.get::<_, Option<i64>>(from + at)?.unwrap_or(0);
    }
    Ok(columns)
}

pub(super) fn number(day: Date) -> i64 {
    day.duration_since(EPOCH).as_hours() / 24
}

pub(super) fn day(number: i64) -> Date {
    EPOCH.saturating_add(SignedDuration::from_hours(24 * number))
}
