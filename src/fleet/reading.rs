//! Asking the books of all gateways: sums by day and key, and what each gateway spent of a budget's window.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::postgres::{Connected, PostgresError, answered};
use crate::ledger::{UsageBy, UsageLine, UsageQuery, UsageSums};
use crate::policy::Payer;
use crate::units::{KeyName, RequestId, Usd};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// How far the time in a request's id may be from that of its arrival, in microseconds.
const SKEW: i64 = 60_000_000;
/// The first day that days are counted from.
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// What was spent since an instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spending {
    keys: Vec<SpentAt>,
    named: Vec<SpentInName>,
}

/// What one key spent at one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SpentAt {
    gateway: String,
    key: KeyName,
    cost: Usd,
}

/// The part of it that was in the name of a team or project.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SpentInName {
    /// `team` or `project`.
    of: String,
    name: String,
    spent: SpentAt,
}

impl Spending {
    /// What counts for a payer, by gateway: what these keys spent (`None`: all), and what was spent in its name by others, that belonged
    /// to it then or are gone. Each gateway counts its own in the same way.
    pub(super) fn of(&self, payer: &Payer, keys: Option<&BTreeSet<KeyName>>) -> BTreeMap<&str, Usd> {
        let counts = |spent: &&SpentAt| keys.is_none_or(|keys| keys.contains(&spent.key));
        let named = |named: &&SpentInName| Some(named.name.as_str()) == payer.name() && named.of == payer.kind();
        let own = self.keys.iter().filter(counts);
        let of_others = self.named.iter().filter(named).map(|named| &named.spent).filter(|spent| !counts(spent));
        let mut by_gateway: BTreeMap<&str, Usd> = BTreeMap::new();
        for spent in own.chain(of_others) {
            *by_gateway.entry(&spent.gateway).or_default() += spent.cost;
        }
        by_gateway
    }
}

/// What a request cost, of requests of the first day.
const OF_ROWS: &str = "cost_pico_usd / 1000000 AS micro, cost_pico_usd % 1000000 AS rest FROM tokenbroker.requests \
    WHERE id >= $1 AND id < $2 AND arrived_at_us >= $3 AND arrived_at_us < $4";

impl Connected {
    /// As [`crate::ledger::Books::usage`], of all gateways.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageLine>, PostgresError> {
        let columns: Vec<&str> = query.group_by.iter().map(|by| column(*by)).collect();
        let mut sql = "SELECT ".to_owned();
        sql.extend(columns.iter().flat_map(|column| [*column, ", "]));
        let sums = UsageSums::summed(|column| format!("coalesce(sum({column}), 0)::bigint"));
        let table = match query.mark() {
            Some(mark) => format!("usage_marked WHERE kind = '{}' AND", mark.word()),
            None => "usage_daily WHERE".to_owned(),
        };
        let _ = write!(sql, "{sums} FROM tokenbroker.{table} day >= $1 AND day < $2");
        let (from, until, most) = (number(query.from), number(query.until), i64::try_from(query.most_lines).unwrap_or(i64::MAX));
        let mut asked: Vec<&(dyn ToSql + Sync)> = vec![&from, &until, &most];
        let key = query.key.as_ref().map(KeyName::as_str);
        if let Some(key) = &key {
            sql.push_str(" AND key = $4");
            asked.push(key);
        }
        if !columns.is_empty() {
            let _ = write!(sql, " GROUP BY {0} ORDER BY {0}", columns.join(", "));
        }
        sql.push_str(" LIMIT $3");
        let rows = answered(self.client.query(&sql, &asked)).await?;
        let lines = rows.iter().map(|row| line(row, &query.group_by));
        Ok(lines.filter(|line| line.sums != UsageSums::default()).collect())
    }

    /// As [`crate::ledger::Books::usage_total`], of all gateways.
    pub async fn usage_total(&self, query: &UsageQuery, lines: &[UsageLine]) -> Result<UsageSums, PostgresError> {
        let sum = |lines: &[UsageLine]| lines.iter().fold(UsageSums::default(), |sum, line| sum.plus(&line.sums));
        if query.mark().is_none() {
            return Ok(sum(lines));
        }
        Ok(sum(&self.usage(&UsageQuery { group_by: Vec::new(), ..query.clone() }).await?))
    }

    /// What was spent at each gateway, by key and in whose name, by requests that arrived at or after an instant (`None`: by all there
    /// were). Whole days (UTC) come from their sums, the rest of the first day from its rows.
    pub(super) async fn spent(&self, since: Option<Timestamp>) -> Result<Spending, PostgresError> {
        let by_key = format!(
            "SELECT gateway, key, sum(micro)::bigint, sum(rest)::bigint FROM ( \
                SELECT gateway, key, {OF_ROWS} \
                UNION ALL SELECT gateway, key, cost_micro_usd, cost_rest_pico FROM tokenbroker.usage_daily WHERE day >= $5 \
            ) AS spent GROUP BY gateway, key ORDER BY gateway, key"
        );
        let by_name = format!(
            "SELECT gateway, key, sum(micro)::bigint, sum(rest)::bigint, kind, name FROM ( \
                SELECT gateway, key, 'team' AS kind, team AS name, {OF_ROWS} AND team <> '' \
                UNION ALL SELECT gateway, key, 'project', project, {OF_ROWS} AND project <> '' \
                UNION ALL SELECT gateway, key, kind, name, cost_micro_usd, cost_rest_pico FROM tokenbroker.usage_marked \
                WHERE kind IN ('team', 'project') AND day >= $5 \
            ) AS spent GROUP BY gateway, kind, name, key ORDER BY gateway, kind, name, key"
        );
        let first = since.map(Timestamp::as_microsecond);
        let whole = first.map_or(i64::MIN, |first| first.div_euclid(MICROS_PER_DAY) + i64::from(first % MICROS_PER_DAY != 0));
        let until = whole.saturating_mul(MICROS_PER_DAY);
        let first = first.unwrap_or(until);
        let [from_id, until_id] = [first.saturating_sub(SKEW), until.saturating_add(SKEW)].map(first_id_at);
        let asked: [&(dyn ToSql + Sync); 5] = [&from_id, &until_id, &first, &until, &whole];
        let keys = answered(self.client.query(&by_key, &asked)).await?;
        let named = answered(self.client.query(&by_name, &asked)).await?;
        let read = |row: &Row| SpentAt {
            gateway: row.get(0),
            key: KeyName::new(row.get(1)),
            cost: Usd::from_pico(i128::from(row.get::<_, i64>(2)) * 1_000_000 + i128::from(row.get::<_, i64>(3))),
        };
        let in_name = |row: &Row| SpentInName { of: row.get(4), name: row.get(5), spent: read(row) };
        Ok(Spending { keys: keys.iter().map(read).collect(), named: named.iter().map(in_name).collect() })
    }
}

/// The least id of an instant, in microseconds: ids sort by time.
fn first_id_at(micros: i64) -> Vec<u8> {
    RequestId::from_parts(u64::try_from(micros / 1_000).unwrap_or(0), [0; 10]).as_bytes().to_vec()
}

const fn column(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Day => "day",
        UsageBy::Key => "key",
        UsageBy::Model => "model",
        UsageBy::Provider => "provider",
        UsageBy::Backend => "backend",
        UsageBy::Team | UsageBy::Project | UsageBy::Tag => "name",
    }
}

fn line(row: &Row, group_by: &[UsageBy]) -> UsageLine {
    let mut line = UsageLine::default();
    for (at, by) in group_by.iter().enumerate() {
        let text = || row.get::<_, Option<String>>(at).filter(|text| !text.is_empty());
        match by {
            UsageBy::Day => line.day = Some(EPOCH.saturating_add(SignedDuration::from_hours(24 * row.get::<_, i64>(at)))),
            UsageBy::Key => line.key = text(),
            UsageBy::Model => line.model = text(),
            UsageBy::Provider => line.provider = text(),
            UsageBy::Backend => line.backend = text(),
            UsageBy::Team => line.team = text(),
            UsageBy::Project => line.project = text(),
            UsageBy::Tag => line.tag = text(),
        }
    }
    let mut columns = [0; UsageSums::COLUMNS.len()];
    columns.iter_mut().zip(group_by.len()..).for_each(|(column, at)| *column = row.get(at));
    line.sums = UsageSums::of(&columns);
    line
}

fn number(day: Date) -> i64 {
    day.duration_since(EPOCH).as_hours() / 24
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(gateway: &str, key: &str, cost: i128) -> SpentAt {
        SpentAt { gateway: gateway.to_owned(), key: KeyName::new(key), cost: Usd::from_pico(cost) }
    }

    fn named(of: &str, name: &str, spent: SpentAt) -> SpentInName {
        SpentInName { of: of.to_owned(), name: name.to_owned(), spent }
    }

    #[test]
    fn a_team_has_spent_what_its_keys_did_and_what_was_spent_in_its_name() {
        let spending = Spending {
            keys: vec![at("1", "ann", 10), at("1", "gone", 20), at("2", "ann", 3), at("2", "moved", 400)],
            named: vec![
                named("team", "web", at("1", "ann", 7)),
                named("team", "web", at("1", "gone", 20)),
                named("team", "web", at("2", "moved", 100)),
                named("project", "web", at("2", "moved", 50)),
                named("team", "other", at("2", "moved", 300)),
            ],
        };
        let check = |payer: Payer, keys: Option<&[&str]>, expected: &[(&str, i128)]| {
            let keys = keys.map(|keys| keys.iter().map(|key| KeyName::new(key)).collect());
            let told: Vec<(&str, i128)> =
                spending.of(&payer, keys.as_ref()).into_iter().map(|(gateway, cost)| (gateway, cost.pico())).collect();
            assert_eq!(told, expected, "{payer}");
        };
        check(Payer::Team("web".into()), Some(&["ann"]), &[("1", 30), ("2", 103)]);
        check(Payer::Team("other".into()), Some(&["moved"]), &[("2", 400)]);
        check(Payer::Project("web".into()), Some(&[]), &[("2", 50)]);
        check(Payer::Key(KeyName::new("web")), Some(&["web"]), &[]);
        check(Payer::Gateway, None, &[("1", 30), ("2", 403)]);
    }
}
