//! Whether the books are right in themselves: that the file is whole, that each request's sums are those of its attempts, that
//! dollars are the vendor's amount at the row's own rate, that the accounts balance, and that the sums which reports read are the
//! sums of the rows.
//!
//! It reads one state of the store from beginning to end, row by row, in memory that grows with the number of accounts and not
//! with that of rows. Nothing is mended here: rows are the facts, and what to do about one that is off is for a person, who is
//! told what would help.

mod sums;

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, Row};

use super::entry::Ending;
use super::postings::{Account, Settled};
use super::query::Books;
use super::sqlite::MOST_TOKENS;
use super::store::StoreError;
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
        /// The kind of mark and its name, where the sums are of one.
        mark: Option<(String, String)>,
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
            Fault::Sums { mark, key, day, backend, model, figure, says, rows } => {
                let told = |figure: &Option<i128>| figure.map_or_else(|| "nothing".to_owned(), |figure| figure.to_string());
                let (says, rows) = (told(says), told(rows));
                let of = if backend.is_empty() { "requests without an attempt" } else { backend };
                let mark = mark.as_ref().map(|(kind, name)| format!("{kind} {name}, ")).unwrap_or_default();
                write!(f, "sums of {day}, {mark}key {key}, {of} ({model}): {figure} is {says}, the rows have {rows}")
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
        let checked = rows(connection, &mut proof).and_then(|()| sums::all(connection, &mut proof));
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
