//! Whether the books are right in themselves: that the file is whole, that each request's sums are those of its attempts, that
//! dollars are the vendor's amount at the row's own rate, that the accounts balance, and that the sums which reports read are the
//! sums of the rows.
//!
//! It reads one state of the store from beginning to end, row by row, in memory that grows with the number of accounts and not
//! with that of rows. Nothing is mended here: rows are the facts, and what to do about one that is off is for a person, who is
//! told what would help.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, Row};

use super::entry::Ending;
use super::postings::{Account, Settled};
use super::query::Books;
use super::sqlite::MOST_TOKENS;
use super::store::StoreError;
use super::usage::{self, UsageSums};
use crate::units::{Amount, Currency, ExchangeRate, RequestId};

/// No more faults are told one by one; the rest is counted.
pub const MOST_FAULTS: usize = 50;

/// Something in the books that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The file itself, as SQLite says it.
    Damaged { detail: String },
    /// So many attempts have no request.
    Orphans { attempts: u64 },
    /// A figure of a request is not the sum of its attempts.
    Request { request: RequestId, figure: &'static str, says: i64, attempts: i128 },
    /// The dollars of an attempt are not its amount at its rate.
    Conversion { request: RequestId, attempt: u32, amount: String, rate: String, says: i64, exact: Option<i128> },
    /// A word that no row can have.
    Word { request: RequestId, attempt: u32, column: &'static str, says: String },
    /// An account that must come to nothing does not.
    Account { account: Account, party: String, currency: String, pico: i128 },
    /// What reports read of a key's day is not what the rows add up to.
    Sums {
        key: String,
        day: String,
        backend: String,
        model: String,
        figure: &'static str,
        says: Option<i128>,
        rows: Option<i128>,
    },
    /// All that was ever spent is not what rows and pruned rows add up to.
    Whole { says: i128, rows: i128 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Damaged { detail } => write!(f, "the file is damaged: {detail}"),
            Fault::Orphans { attempts } => write!(f, "{attempts} attempts have no request"),
            Fault::Request { request, figure, says, attempts } => {
                write!(f, "request {request}: {figure} is {says}, its attempts have {attempts}")
            }
            Fault::Conversion { request, attempt, amount, rate, says, exact } => {
                let exact = exact.map_or_else(|| "nothing that can be told".to_owned(), |pico| pico.to_string());
                write!(f, "attempt {attempt} of {request}: {amount} at {rate} is {exact} 10^-12 USD, the row says {says}")
            }
            Fault::Word { request, attempt, column, says } => {
                write!(f, "attempt {attempt} of {request}: {column} is {says:?}, which is no such word")
            }
            Fault::Account { account, party, currency, pico } => {
                write!(f, "account {} of {party} has {pico} 10^-12 {currency} left, and must have none", account.word())
            }
            Fault::Sums { key, day, backend, model, figure, says, rows } => {
                let told = |figure: &Option<i128>| figure.map_or_else(|| "nothing".to_owned(), |figure| figure.to_string());
                let (says, rows) = (told(says), told(rows));
                let of = if backend.is_empty() { "requests without an attempt" } else { backend };
                write!(f, "sums of {day}, key {key}, {of} ({model}): {figure} is {says}, the rows have {rows}")
            }
            Fault::Whole { says, rows } => {
                write!(f, "the sums of all days are {says} 10^-12 USD, rows and pruned rows have {rows}")
            }
        }
    }
}

impl Fault {
    /// What helps.
    pub const fn way_forward(&self) -> &'static str {
        match self {
            Fault::Damaged { .. } => {
                "stop the gateway, keep the journal-*.log files, put a backup (tokenbroker ledger backup) in the place of the file \
                 or move it away, with its -wal and -shm, and start again: the journal fills in what it still holds"
            }
            Fault::Sums { .. } | Fault::Whole { .. } => {
                "rows are the facts: stop the gateway and make the sums anew from them with tokenbroker ledger rebuild"
            }
            Fault::Orphans { .. }
            | Fault::Request { .. }
            | Fault::Conversion { .. }
            | Fault::Word { .. }
            | Fault::Account { .. } => {
                "no gateway writes such a row, so the file was changed by something else: compare it with a backup \
                 (tokenbroker ledger backup), which can be put in its place while the gateway is stopped"
            }
        }
    }
}

/// What one account comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub account: Account,
    pub party: String,
    pub currency: String,
    pub pico: i128,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    pub requests: u64,
    pub attempts: u64,
    pub entries: u64,
    pub postings: u64,
    /// Lines of sums that were compared with the rows.
    pub sums: u64,
    /// Accounts by kind, party and currency.
    pub balances: Vec<Balance>,
    /// The first [`MOST_FAULTS`].
    pub faults: Vec<Fault>,
    /// All of them.
    pub found: u64,
}

impl Proof {
    fn fault(&mut self, fault: Fault) {
        self.found += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// What the balances of a currency come to together; nothing, in books that are right.
    pub fn trial_balance(&self, currency: &str) -> i128 {
        self.balances.iter().filter(|balance| balance.currency == currency).map(|balance| balance.pico).sum()
    }
}

impl Books {
    /// Checks everything, in one state of the store. Takes as long as reading the file does.
    pub fn check(&self) -> Result<Proof, StoreError> {
        let mut proof = Proof::default();
        let connection = self.connection();
        // What is damaged may make any question fail, so it is asked first, and alone.
        let whole = || {
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        for detail in self.explained(whole())?.into_iter().filter(|line| line != "ok") {
            proof.fault(Fault::Damaged { detail });
        }
        if proof.found > 0 {
            return Ok(proof);
        }
        self.explained(connection.execute_batch("BEGIN"))?;
        let checked = rows(connection, &mut proof).and_then(|()| sums(connection, &mut proof));
        self.explained(connection.execute_batch("COMMIT"))?;
        self.explained(checked)?;
        Ok(proof)
    }
}

/// The figures that a request has of its attempts, and the columns that they stand in.
const FIGURES: [&str; 6] = ["fresh_input", "cache_read", "cache_write", "output", "reasoning", "cost_pico_usd"];

type Accounts = BTreeMap<(Account, String, String), i128>;

/// Every request with its attempts.
fn rows(connection: &Connection, proof: &mut Proof) -> rusqlite::Result<()> {
    let figures = FIGURES.join(", ");
    let mut requests = connection.prepare(&format!("SELECT {figures}, id, key, attempts FROM requests ORDER BY id"))?;
    let mut attempts = connection.prepare(&format!(
        "SELECT {figures}, number, provider, currency, held_pico_usd, amount_pico, rate_per_usd, ending, provenance FROM attempts \
         WHERE request = ?1 ORDER BY number"
    ))?;
    let mut accounts = Accounts::new();
    let mut found = requests.query([])?;
    while let Some(request) = found.next()? {
        let (id, key): (_, String) = (RequestId::from_bytes(request.get("id")?), request.get("key")?);
        let (mut sums, mut count) = ([0_i128; FIGURES.len()], 0);
        let mut tried = attempts.query([id.as_bytes()])?;
        while let Some(attempt) = tried.next()? {
            count += 1;
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum += i128::from(attempt.get::<_, i64>(at)?);
            }
            one_attempt(id, &key, attempt, &mut accounts, proof)?;
        }
        proof.requests += 1;
        compare_request(id, request, &sums, count, proof)?;
    }
    let all = connection.query_row("SELECT count(*) FROM attempts", [], |row| super::query::count(row, 0))?;
    if all > proof.attempts {
        proof.fault(Fault::Orphans { attempts: all - proof.attempts });
    }
    for ((account, party, currency), pico) in accounts {
        if matches!(account, Account::Budget | Account::Hold) && pico != 0 {
            proof.fault(Fault::Account { account, party: party.clone(), currency: currency.clone(), pico });
        }
        proof.balances.push(Balance { account, party, currency, pico });
    }
    Ok(())
}

fn compare_request(
    request: RequestId,
    row: &Row<'_>,
    sums: &[i128; FIGURES.len()],
    count: i64,
    proof: &mut Proof,
) -> rusqlite::Result<()> {
    let says: i64 = row.get("attempts")?;
    if says != count {
        proof.fault(Fault::Request { request, figure: "attempts", says, attempts: count.into() });
    }
    for (at, figure) in FIGURES.into_iter().enumerate() {
        let says: i64 = row.get(at)?;
        // A column holds no more than so much, whatever its attempts add up to.
        let most = if figure == "cost_pico_usd" { i64::MAX } else { MOST_TOKENS };
        if i128::from(says) != sums[at] && i128::from(says) != sums[at].min(most.into()) {
            proof.fault(Fault::Request { request, figure, says, attempts: sums[at] });
        }
    }
    Ok(())
}

fn one_attempt(request: RequestId, key: &str, row: &Row<'_>, accounts: &mut Accounts, proof: &mut Proof) -> rusqlite::Result<()> {
    let (provider, currency): (String, String) = (row.get("provider")?, row.get("currency")?);
    let attempt = row.get("number")?;
    let (held, cost, amount) = (row.get("held_pico_usd")?, row.get("cost_pico_usd")?, row.get("amount_pico")?);
    let settled = Settled { request, attempt, key, provider: &provider, currency: &currency, held, cost, amount };
    proof.attempts += 1;
    let mut entry = None;
    for line in settled.postings() {
        proof.postings += 1;
        proof.entries += u64::from(entry != Some(line.entry));
        entry = Some(line.entry);
        *accounts.entry((line.account, line.party.to_owned(), line.currency.to_owned())).or_default() += line.pico;
    }
    let (ending, provenance): (String, String) = (row.get("ending")?, row.get("provenance")?);
    let known = crate::units::Provenance::ALL.iter().any(|known| known.word() == provenance);
    for (column, says, known) in [("ending", &ending, Ending::from_word(&ending).is_some()), ("provenance", &provenance, known)] {
        if !known {
            proof.fault(Fault::Word { request, attempt, column, says: says.clone() });
        }
    }
    let rate: String = row.get("rate_per_usd")?;
    let exact = currency.parse::<Currency>().ok().and_then(|currency| {
        let dollars = ExchangeRate::parse(currency, &rate).ok()?.convert(Amount::from_pico(amount.into(), currency));
        dollars.map(crate::units::Usd::pico)
    });
    // What does not fit a column stands there as the largest that does, and was told when it was booked.
    let fits = ![amount, cost].contains(&i64::MAX);
    if fits && exact != Some(cost.into()) {
        let amount = format!("{amount} 10^-12 {currency}");
        proof.fault(Fault::Conversion { request, attempt, amount, rate, says: cost, exact });
    }
    Ok(())
}

struct Line {
    /// Key, day, backend, model.
    name: (String, i64, String, String),
    columns: [i64; UsageSums::COLUMNS.len()],
}

impl Line {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { name: (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), columns: usage::columns(row, 4)? })
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

/// The sums of reports against those of the rows, for the days of which the rows are there.
fn sums(connection: &Connection, proof: &mut Proof) -> rusqlite::Result<()> {
    let from = super::pruning::first_whole_day(connection)?;
    let columns = UsageSums::summed(|column| format!("sum({column})"));
    let said = format!(
        "SELECT key, day, backend, model, {columns} FROM usage_daily WHERE day >= ?1 GROUP BY key, day, backend, model \
         ORDER BY key, day, backend, model"
    );
    let summed = format!(
        "SELECT key, day, backend, model, {columns} FROM ({}) GROUP BY key, day, backend, model \
        ORDER BY key, day, backend, model",
        super::rollup::OF_ROWS
    );
    let (mut said, mut summed) = (connection.prepare(&said)?, connection.prepare(&summed)?);
    let (mut said, mut summed) = (said.query_map([from], Line::of)?, summed.query_map([from], Line::of)?);
    let (mut left, mut right) = (said.next().transpose()?, summed.next().transpose()?);
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(left), Some(right)) => left.name.cmp(&right.name),
        };
        let says = if order.is_le() { std::mem::replace(&mut left, said.next().transpose()?) } else { None };
        let rows = if order.is_ge() { std::mem::replace(&mut right, summed.next().transpose()?) } else { None };
        proof.sums += 1;
        compare_sums(says.as_ref(), rows.as_ref(), proof);
    }
    whole(connection, proof)
}

fn compare_sums(says: Option<&Line>, rows: Option<&Line>, proof: &mut Proof) {
    let Some(line) = says.or(rows) else { return };
    let (said, summed) = (says.map(Line::figures), rows.map(Line::figures));
    let off = line.figures().into_iter().enumerate().find_map(|(at, (figure, _))| {
        let of = |figures: &Option<Vec<(_, i128)>>| figures.as_ref().map(|figures| figures[at].1);
        let (says, rows) = (of(&said), of(&summed));
        (says.unwrap_or(0) != rows.unwrap_or(0)).then_some((figure, says, rows))
    });
    // One figure of a line tells that it is off; the others would say it again.
    let Some((figure, says, rows)) = off else { return };
    let (key, day, backend, model) = line.name.clone();
    let day = usage::day(day).to_string();
    proof.fault(Fault::Sums { key, day, backend, model, figure, says, rows });
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
    let kept = parts(&format!("SELECT {} FROM attempts", super::query::sum_parts("cost_pico_usd")))?;
    // Where a line was told already, this would say it again.
    if says != pruned + kept && !proof.faults.iter().any(|fault| matches!(fault, Fault::Sums { .. })) {
        proof.fault(Fault::Whole { says, rows: pruned + kept });
    }
    Ok(())
}
