//! `tokenbroker ledger`: looking after the books of a data directory. `check` proves them, `backup` copies them while a gateway
//! writes to them, `rebuild` makes the sums of reports anew from the rows.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::table::{Align, Table};
use crate::ledger::{Balance, Books, Ledger, Proof};
use crate::units::{Amount, Currency};

/// What `ledger` can do.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Prove the books: the file, each request's sums, each conversion, the trial balance, and the sums that reports read.
    ///
    /// Reads beside a running gateway. Exit code 1 when something is off; each fault says what would help.
    #[command(after_help = "Examples:\n  tokenbroker ledger check\n  tokenbroker ledger check --format json")]
    Check(CheckArgs),
    /// Copy the store to a new file, while a gateway goes on writing to it.
    ///
    /// The copy is one state of the store, without gaps, safe on the disk before its name appears. To restore it, stop the gateway,
    /// put it in the place of ledger.sqlite3 (and move that file's -wal and -shm away), and start again: journal-*.log files beside
    /// it add what they still hold.
    #[command(after_help = "Example:\n  tokenbroker ledger backup books-2026-11-29.sqlite3")]
    Backup(BackupArgs),
    /// Make the sums that reports read anew from the rows. The gateway must be stopped.
    ///
    /// Books that an older version wrote are brought up to date by it, as by a start of this one.
    #[command(after_help = "Example:\n  tokenbroker ledger rebuild")]
    Rebuild(RebuildArgs),
}

/// What `ledger check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub format: Form,
}

/// How a proof is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// One object; amounts are exact.
    Json,
}

/// What `ledger backup` takes.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The file to make; it must not be there.
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
}

/// What `ledger rebuild` takes.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Runs `tokenbroker ledger`.
pub fn run(command: &LedgerCommand, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        LedgerCommand::Check(args) => check(args, environment, output),
        LedgerCommand::Backup(args) => {
            let copied = Books::open_of_any_age(&folder(&args.gateway, environment)?)?.backup(&args.to)?;
            output.note(format!("{} has {copied} bytes and was read back whole", args.to.display()))?;
            Ok(Exit::Success)
        }
        LedgerCommand::Rebuild(args) => {
            let lines = Ledger::rebuild(&args.gateway.books(environment)?)?;
            output.note(format!("{lines} lines of sums were made from the rows"))?;
            Ok(Exit::Success)
        }
    }
}

/// The books that the configuration and the options name.
pub(super) fn open(gateway: &GatewayArgs, environment: &Environment) -> anyhow::Result<Books> {
    Ok(Books::open(&folder(gateway, environment)?)?)
}

fn folder(gateway: &GatewayArgs, environment: &Environment) -> anyhow::Result<PathBuf> {
    let folder = gateway.books(environment)?;
    if !Books::are_in(&folder) {
        bail!("no books in {}: a gateway that ran there leaves some; --data-dir names another directory", folder.display());
    }
    Ok(folder)
}

fn check(args: &CheckArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let proof = open(&args.gateway, environment)?.check()?;
    match args.format {
        Form::Table => table(&proof, output)?,
        Form::Json => output.json(&told(&proof))?,
    }
    Ok(if proof.found == 0 { Exit::Success } else { Exit::Failure })
}

fn table(proof: &Proof, output: &mut Output) -> anyhow::Result<()> {
    let Proof { requests, attempts, entries, postings, sums, .. } = proof;
    output.line(format!(
        "{requests} requests, {attempts} attempts: {entries} entries of {postings} postings; {sums} lines of sums"
    ))?;
    if !proof.balances.is_empty() {
        let mut accounts = Table::new([Align::Left, Align::Left, Align::Right, Align::Left]);
        accounts.row(["account", "of", "balance", ""]);
        for balance in &proof.balances {
            accounts.row([balance.account.word(), &balance.party, &amount(balance.pico), &balance.currency]);
        }
        for currency in currencies(&proof.balances) {
            accounts.row(["all", "", &amount(proof.trial_balance(&currency)), &currency]);
        }
        output.line(accounts.to_string())?;
    }
    if proof.found == 0 {
        return Ok(output.line("The books balance.")?);
    }
    for fault in &proof.faults {
        output.line(format!("OFF: {fault}"))?;
    }
    output.line(format!("{} faults; {} are told here.", proof.found, proof.faults.len()))?;
    let mut ways: Vec<&str> = Vec::new();
    for way in proof.faults.iter().map(crate::ledger::Fault::way_forward) {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    for way in ways {
        output.line(format!("What helps: {way}."))?;
    }
    Ok(())
}

fn told(proof: &Proof) -> serde_json::Value {
    let balance = |balance: &Balance| json!({"account": balance.account.word(), "of": balance.party, "currency": balance.currency, "balance": amount(balance.pico)});
    let all = |currency: &String| json!({"currency": currency, "balance": amount(proof.trial_balance(currency))});
    json!({
        "balanced": proof.found == 0,
        "requests": proof.requests,
        "attempts": proof.attempts,
        "entries": proof.entries,
        "postings": proof.postings,
        "sums": proof.sums,
        "accounts": proof.balances.iter().map(balance).collect::<Vec<_>>(),
        "trial_balance": currencies(&proof.balances).iter().map(all).collect::<Vec<_>>(),
        "faults": proof.faults.iter().map(|fault| json!({"fault": fault.to_string(), "way_forward": fault.way_forward()})).collect::<Vec<_>>(),
        "found": proof.found,
    })
}

fn currencies(balances: &[Balance]) -> Vec<String> {
    let mut currencies: Vec<String> = balances.iter().map(|balance| balance.currency.clone()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    currencies
}

/// Every digit, whatever the currency.
fn amount(pico: i128) -> String {
    Amount::from_pico(pico, Currency::Usd).to_exact()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::cli::output::testing::captured;
    use crate::clock::SystemClock;
    use crate::ledger::Settings;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};

    async fn books(folder: &std::path::Path, requests: u64) {
        let (ledger, _) = Ledger::open(Settings::new(folder), SystemClock::shared()).unwrap();
        for number in 1..=requests {
            let tab = ledger.begin(request_opened(number)).unwrap();
            tab.attempt(attempt_opened()).end(attempt_end(100, number)).await.unwrap();
            tab.close(request_end()).await.unwrap();
        }
        ledger.close().await.unwrap();
    }

    fn gateway(folder: &std::path::Path) -> GatewayArgs {
        GatewayArgs { data_dir: Some(folder.to_owned()), ..GatewayArgs::default() }
    }

    fn checked(folder: &std::path::Path, format: Form) -> (Exit, String) {
        let args = CheckArgs { gateway: gateway(folder), format };
        let (exit, out, err) = captured(|output| run(&LedgerCommand::Check(args), &Environment::new(), output));
        (exit, out + &err)
    }

    fn spoil(folder: &std::path::Path, sql: &str) {
        Connection::open(folder.join("ledger.sqlite3")).unwrap().execute_batch(sql).unwrap();
    }

    #[tokio::test]
    async fn whole_books_balance_and_each_way_of_being_off_is_told_with_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path(), 12).await;
        let (exit, told) = checked(folder.path(), Form::Table);
        assert_eq!(exit, Exit::Success, "{told}");
        assert!(told.starts_with("12 requests, 12 attempts: 48 entries of 120 postings"), "{told}");
        assert!(told.ends_with("The books balance.\n"), "{told}");
        let (_, json) = checked(folder.path(), Form::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["balanced"], &json["trial_balance"][1]["balance"]), (&true.into(), &"0".into()));

        let copy = |sql: &str| {
            let other = tempfile::tempdir().unwrap();
            std::fs::copy(folder.path().join("ledger.sqlite3"), other.path().join("ledger.sqlite3")).unwrap();
            spoil(other.path(), sql);
            (checked(other.path(), Form::Table), other)
        };
        for (sql, fault, help) in [
            (
                "UPDATE requests SET cost_pico_usd = cost_pico_usd + 1 WHERE id = (SELECT min(id) FROM requests)",
                "cost_pico_usd is",
                "compare it with a backup",
            ),
            (
                "UPDATE requests SET attempts = 2 WHERE id = (SELECT max(id) FROM requests)",
                "attempts is 2, its attempts have 1",
                "compare it with a backup",
            ),
            (
                "UPDATE attempts SET rate_per_usd = '7' WHERE request = (SELECT min(request) FROM attempts)",
                "10^-12 CNY at 7 is",
                "compare it with a backup",
            ),
            (
                "UPDATE attempts SET ending = 'odd' WHERE request = (SELECT min(request) FROM attempts)",
                "ending is \"odd\"",
                "compare it with a backup",
            ),
            (
                "DELETE FROM requests WHERE id = (SELECT min(id) FROM requests)",
                "1 attempts have no request",
                "compare it with a backup",
            ),
            (
                "UPDATE usage_daily SET output = output + 1 WHERE key = 'odd'",
                "key odd, acme/fast (fast): output is 37, the rows have 36",
                "ledger rebuild",
            ),
            ("DELETE FROM usage_daily WHERE key = 'even'", "requests is nothing, the rows have 6", "ledger rebuild"),
            (
                "UPDATE usage_marked SET attempts = attempts + 1 WHERE kind = 'team' AND key = 'odd'",
                "team web, key odd, acme/fast (fast): attempts is 7, the rows have 6",
                "ledger rebuild",
            ),
            (
                "DELETE FROM usage_marked WHERE name = 'b:1' AND key = 'even'",
                "tag b:1, key even, acme/fast (fast): requests is nothing, the rows have 6",
                "ledger rebuild",
            ),
            (
                "UPDATE usage_marked SET name = 'c' WHERE name = 'a' AND key = 'odd'",
                "tag c, key odd, acme/fast (fast): requests is 6, the rows have nothing",
                "ledger rebuild",
            ),
        ] {
            let ((exit, told), _) = copy(sql);
            assert_eq!(exit, Exit::Failure, "{sql}: {told}");
            assert!(told.contains(fault) && told.contains(help), "{sql}: {told}");
        }
    }

    #[tokio::test]
    async fn sums_are_made_anew_from_the_rows_when_the_gateway_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path(), 7).await;
        let rebuild = || {
            let args = RebuildArgs { gateway: gateway(folder.path()) };
            captured(|output| run(&LedgerCommand::Rebuild(args), &Environment::new(), output))
        };
        spoil(
            folder.path(),
            "UPDATE usage_daily SET requests = 99, cost_rest_pico = 5; UPDATE usage_marked SET name = 'x' || name",
        );
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
        let (exit, _, refused) = rebuild();
        assert_eq!(exit, Exit::Failure);
        assert!(refused.contains("in use by another gateway"), "{refused}");
        ledger.close().await.unwrap();
        assert_eq!(checked(folder.path(), Form::Table).0, Exit::Failure);
        let (exit, _, done) = rebuild();
        assert_eq!((exit, done.as_str()), (Exit::Success, "8 lines of sums were made from the rows\n"));
        let (exit, told) = checked(folder.path(), Form::Table);
        assert_eq!(exit, Exit::Success, "{told}");
    }

    /// Found by a reader: what SQLite said of columns and tables that are not there yet was all that was told.
    #[tokio::test]
    async fn older_books_are_refused_with_the_way_forward_and_copied_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path(), 3).await;
        spoil(folder.path(), "ALTER TABLE attempts DROP COLUMN pieces; ALTER TABLE attempts DROP COLUMN piece_price_pico");
        spoil(folder.path(), "ALTER TABLE attempts DROP COLUMN piece_price_per; PRAGMA user_version = 6");
        let (exit, told) = checked(folder.path(), Form::Table);
        assert_eq!(exit, Exit::Failure);
        assert!(told.contains("has schema version 6, and this version reads 7") && told.contains("ledger rebuild"), "{told}");
        let done = |command| captured(|output| run(&command, &Environment::new(), output));
        let to = folder.path().join("copy.sqlite3");
        let (exit, _, told) = done(LedgerCommand::Backup(BackupArgs { gateway: gateway(folder.path()), to: to.clone() }));
        assert_eq!(exit, Exit::Success, "{told}");
        let version = |file: &std::path::Path| {
            Connection::open(file).unwrap().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(version(&to), 6);
        let (exit, _, told) = done(LedgerCommand::Rebuild(RebuildArgs { gateway: gateway(folder.path()) }));
        assert_eq!(exit, Exit::Success, "{told}");
        assert_eq!((version(&folder.path().join("ledger.sqlite3")), checked(folder.path(), Form::Table).0), (7, Exit::Success));
    }

    #[tokio::test]
    async fn a_backup_is_whole_while_the_books_are_written_and_is_never_half_there() {
        let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        books(folder.path(), 50).await;
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
        let tab = ledger.begin(request_opened(99)).unwrap();
        let to = place.path().join("copy.sqlite3");
        let args = || BackupArgs { gateway: gateway(folder.path()), to: to.clone() };
        let backup = || captured(|output| run(&LedgerCommand::Backup(args()), &Environment::new(), output));
        let (exit, _, told) = backup();
        assert_eq!(exit, Exit::Success, "{told}");
        assert!(told.contains("was read back whole"), "{told}");
        // Once more: what is there is never written over.
        let (exit, _, told) = backup();
        assert_eq!(exit, Exit::Failure);
        assert!(told.contains("is there already"), "{told}");
        tab.attempt(attempt_opened()).end(attempt_end(1, 1)).await.unwrap();
        tab.close(request_end()).await.unwrap();
        ledger.close().await.unwrap();
        let restored = tempfile::tempdir().unwrap();
        std::fs::copy(&to, restored.path().join("ledger.sqlite3")).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside the copy");
        let (exit, told) = checked(restored.path(), Form::Table);
        assert_eq!(exit, Exit::Success, "{told}");
        assert!(told.starts_with("50 requests"), "{told}");
        // A gateway starts from it.
        let (again, _) = Ledger::open(Settings::new(restored.path()), SystemClock::shared()).unwrap();
        again.close().await.unwrap();
    }
}
