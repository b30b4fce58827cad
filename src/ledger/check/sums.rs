//! The sums of reports against those of the rows, for the days of which the rows are there: by key, and once more by team, project and
//! tag.

use std::cmp::Ordering;

use rusqlite::{Connection, Row};

use super::super::pruning::first_whole_day;
use super::super::query::sum_parts;
use super::super::rollup::{MARKED_LINES, OF_ROWS, marked_as_kept};
use super::super::usage::{self, UsageSums};
use super::{Fault, Proof};

/// Compares all of them.
pub(super) fn all(connection: &Connection, proof: &mut Proof) -> rusqlite::Result<()> {
    let daily = Compared { name: "'', key, day, '', backend, model", lines: "key, day, backend, model", table: "usage_daily" };
    daily.compare(connection, OF_ROWS, proof)?;
    let marked = Compared { name: MARKED_LINES, lines: MARKED_LINES, table: "usage_marked" };
    marked.compare(connection, &marked_as_kept(), proof)?;
    whole(connection, proof)
}

/// Sums of one kind.
struct Compared {
    /// What [`Line::name`] is read from.
    name: &'static str,
    /// The columns that tell lines apart.
    lines: &'static str,
    table: &'static str,
}

struct Line {
    /// Kind of mark, key, day, name of the mark, backend, model.
    name: (String, String, i64, String, String, String),
    columns: [i64; UsageSums::COLUMNS.len()],
}

impl Line {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let name = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        Ok(Self { name, columns: usage::columns(row, 6)? })
    }

    /// Its figures by name. The two parts of an amount count as one: the same sum may be parted in another way.
    fn figures(&self) -> Vec<(&'static str, i128)> {
        let whole = |(at, name): (usize, &'static str)| {
            let column = i128::from(self.columns[at]);
            match name.strip_suffix("_micro_usd") {
                Some(amount) => Some((amount, column * 1_000_000 + i128::from(self.columns[at + 1]))),
                None => (!name.ends_with("_rest_pico")).then_some((name, column)),
            }
        };
        UsageSums::COLUMNS.into_iter().enumerate().filter_map(whole).collect()
    }
}

impl Compared {
    /// Both are read in the order of their lines, so that neither has to be kept.
    fn compare(&self, connection: &Connection, of_rows: &str, proof: &mut Proof) -> rusqlite::Result<()> {
        let Self { name, lines, table } = self;
        let from = first_whole_day(connection)?;
        let sums = UsageSums::summed(|column| format!("sum({column})"));
        let read =
            |from: &str| connection.prepare(&format!("SELECT {name}, {sums} FROM {from} GROUP BY {lines} ORDER BY {lines}"));
        let (mut said, mut summed) = (read(&format!("{table} WHERE day >= ?1"))?, read(&format!("({of_rows})"))?);
        let (mut said, mut summed) = (said.query_map([from], Line::of)?, summed.query_map([from], Line::of)?);
        let (mut left, mut right) = (said.next().transpose()?, summed.next().transpose()?);
        loop {
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.name.cmp(&right.name),
            };
            let says = if order.is_le() { std::mem::replace(&mut left, said.next().transpose()?) } else { None };
            let rows = if order.is_ge() { std::mem::replace(&mut right, summed.next().transpose()?) } else { None };
            proof.sums += 1;
            one(says.as_ref(), rows.as_ref(), proof);
        }
    }
}

fn one(says: Option<&Line>, rows: Option<&Line>, proof: &mut Proof) {
    let Some(line) = says.or(rows) else { return };
    let (said, summed) = (says.map(Line::figures), rows.map(Line::figures));
    let off = line.figures().into_iter().enumerate().find_map(|(at, (figure, _))| {
        let of = |figures: Option<&Vec<(&str, i128)>>| figures.map(|figures| figures[at].1);
        let (says, rows) = (of(said.as_ref()), of(summed.as_ref()));
        (says.unwrap_or(0) != rows.unwrap_or(0)).then_some((figure, says, rows))
    });
    // One figure of a line tells that it is off; the others would say it again.
    let Some((figure, says, rows)) = off else { return };
    let (kind, key, day, name, backend, model) = line.name.clone();
    let (mark, day) = ((!kind.is_empty()).then_some((kind, name)), usage::day(day).to_string());
    proof.fault(Fault::Sums { mark, key, day, backend, model, figure, says, rows });
}

/// Pruned days have no rows that their sums could be held against one by one; all together they can be.
fn whole(connection: &Connection, proof: &mut Proof) -> rusqlite::Result<()> {
    let parts = |sql: &str| {
        connection.query_row(sql, [], |row| {
            let (micro, rest): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(i128::from(micro) * 1_000_000 + i128::from(rest))
        })
    };
    let split = "coalesce(sum(cost_micro_usd), 0), coalesce(sum(cost_rest_pico), 0)";
    let says = parts(&format!("SELECT {split} FROM usage_daily"))?;
    let pruned = parts(&format!("SELECT {split} FROM attempts_daily"))?;
    let kept = parts(&format!("SELECT {} FROM attempts", sum_parts("cost_pico_usd")))?;
    // Where a line of them was told already, this would say it again.
    if says != pruned + kept && !proof.faults.iter().any(|fault| matches!(fault, Fault::Sums { mark: None, .. })) {
        proof.fault(Fault::Whole { says, rows: pruned + kept });
    }
    Ok(())
}
