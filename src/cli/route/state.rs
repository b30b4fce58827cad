//! What of a gateway's state decides beside its configuration and its table: read from the data directory, as a gateway
//! would that started there, and left as it is. A running gateway writes what it learned once a minute, and an attempt into
//! the books when it has ended: what is younger is not seen here.

use anyhow::Context;
use jiff::Timestamp;

use crate::canonical::Request;
use crate::catalog::Snapshot;
use crate::cli::setup::{Setup, counted};
use crate::clock::SystemClock;
use crate::meter::Class;
use crate::pipeline::appraise::{Appraisal, allowances_at};
use crate::pipeline::learning::Learning;
use crate::price_book::PriceBook;
use crate::route::{Allowances, Target};
use crate::server::{allowances_of_books, take_up_learned};

/// The state; by default none is used.
#[derive(Default)]
pub(super) struct State {
    learning: Option<Learning>,
    pub(super) allowances: Allowances,
    /// What cannot be read.
    pub(super) problems: Vec<String>,
    /// What was found, in words.
    found: Option<Found>,
}

/// What was found where.
struct Found {
    directory: String,
    parts: Vec<String>,
}

impl State {
    /// Reads what is on the disk, and lays changed prices over the table.
    pub(super) fn read(setup: Setup, at: Timestamp) -> anyhow::Result<(Setup, Self)> {
        let (config, listed) = (&setup.config, setup.snapshot.version.clone());
        let directory = &config.books.directory;
        let clock = SystemClock::shared();
        let book =
            PriceBook::open(directory, &config.feeds).context("the price book cannot be read (--no-state goes without)")?;
        let snapshot = book.over(setup.snapshot, clock.wall());
        let (mut problems, mut parts) = (Vec::new(), Vec::new());
        if snapshot.version != listed {
            parts.push("prices as feeds and administrators changed them".to_owned());
        }
        let learning = Learning::new(0);
        match take_up_learned(directory, &learning) {
            Ok(true) => parts.push("lengths of answers as they were learned".to_owned()),
            Ok(false) => {}
            Err(why) => problems.push(format!("What was learned is not used: {why}.")),
        }
        let allowances = match allowances_of_books(config, &snapshot, at, clock) {
            Ok(allowances) => allowances_at(&allowances, at),
            Err(why) => {
                problems
                    .push(format!("Free quotas and prepaid balances count as used up, since the books cannot be read: {why}."));
                Allowances::default()
            }
        };
        let (quotas, prepaid) = (snapshot.quotas.len(), allowances.prepaid.iter().flatten().count());
        if quotas > 0 {
            parts.push(format!("what is left of {}", counted(quotas, "free quota")));
        }
        if prepaid > 0 {
            parts.push(format!("what is left of {}", counted(prepaid, "prepaid balance")));
        }
        let found = Some(Found { directory: directory.display().to_string(), parts });
        Ok((Setup { snapshot, ..setup }, Self { learning: Some(learning), allowances, problems, found }))
    }

    /// How many tokens a request is expected to take.
    pub(super) fn appraise(&self, (request, target): (&Request, &Target), snapshot: &Snapshot, at: Timestamp) -> Appraisal {
        let second = u64::try_from(at.as_second()).unwrap_or(0);
        let learned = |learning: &Learning| {
            Appraisal::by((request, target), &mut learning.lengths(Class::of(request)), &learning.reports, snapshot, second)
        };
        self.learning.as_ref().map_or_else(|| Appraisal::of(request), learned)
    }

    /// What was used, as a sentence.
    pub(super) fn told(&self) -> String {
        match &self.found {
            None => "Decided without the state of a gateway.".to_owned(),
            Some(Found { directory, parts }) if parts.is_empty() => {
                format!("Decided as a gateway that begins anew: {directory} has no state that counts.")
            }
            Some(Found { directory, parts }) => format!("Decided with the state in {directory}: {}.", parts.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{RouteArgs, run};
    use super::*;
    use crate::cli::output::Exit;
    use crate::cli::output::testing::captured;
    use crate::cli::setup::testing::{TABLE, args, environment};
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_opened};
    use crate::ledger::{AttemptOpened, Ledger, Outcome, RequestEnd, Settings};
    use crate::meter::Answer;
    use crate::units::{BackendId, Tokens};

    const HELLO: &str = r#"{"model":"far/m","messages":[{"role":"user","content":"hello"}]}"#;
    /// The day of the books of `spent`.
    const AT: &str = "2023-11-14T23:00:00Z";

    /// Decides with the state in a folder, or without; the decision, and what was told beside it.
    fn route(folder: &Path, table: &str, no_state: bool) -> (serde_json::Value, String) {
        let setup = tempfile::tempdir().unwrap();
        let file = setup.path().join("request.json");
        std::fs::write(&file, HELLO).unwrap();
        let config = format!("[books]\ndirectory = {:?}\n", folder.display().to_string());
        let asked = |json| RouteArgs {
            request: Some(file.clone()),
            gateway: args(setup.path(), &config, table),
            key: None,
            all_providers: false,
            no_state,
            at: Some(AT.parse().unwrap()),
            json,
        };
        let environment = environment(&[("FAR_KEY", "k")]);
        let (exit, out, _) = captured(|output| run(&asked(true), &environment, output));
        assert_eq!(exit, Exit::Success, "{out}");
        let (_, _, told) = captured(|output| run(&asked(false), &environment, output));
        (serde_json::from_str(&out).unwrap(), told)
    }

    /// The table with a price that is old enough, and more of the first backend.
    fn table(more: &str) -> String {
        let table = TABLE.replace("2026-01-02T", "2023-01-02T");
        table.replacen("[[backends]]\nprovider = \"near\"", &format!("{more}[[backends]]\nprovider = \"near\""), 1)
    }

    #[test]
    fn answers_are_as_long_as_a_gateway_learned() {
        let folder = tempfile::tempdir().unwrap();
        let learning = Learning::new(1);
        let request = crate::frontend::parse(HELLO.into(), &http::HeaderMap::new()).unwrap();
        let output = Tokens::new(3_000);
        let answer = Answer { model: "m", thinks: false, output, reasoning: Tokens::ZERO, choices: 1, cut_at: None };
        (0..200).for_each(|_| learning.answered(Class::of(&request), &answer, 1_700_000_000));
        let output = |no_state| {
            let (decision, told) = route(folder.path(), &table(""), no_state);
            (decision["chosen"]["tokens"]["output"].as_u64().unwrap(), told)
        };
        let (before, told) = output(false);
        assert!(told.contains("begins anew") && before < 1_000, "{before} {told}");
        std::fs::write(folder.path().join("learned.json"), learning.kept()).unwrap();
        let (learned, told) = output(false);
        assert!(learned > 2_500 && told.contains("lengths of answers as they were learned"), "{learned} {told}");
        let (without, told) = output(true);
        assert!(without == before && told.contains("without the state"), "{without} {told}");
    }

    #[test]
    fn a_damaged_file_is_told_and_left_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("learned.json"), "{").unwrap();
        let (decision, told) = route(folder.path(), &table(""), false);
        assert!(told.contains("What was learned is not used: it is damaged"), "{told}");
        assert_eq!(decision["chosen"]["backend"], "far/m");
        assert_eq!(std::fs::read_to_string(folder.path().join("learned.json")).unwrap(), "{");
        std::fs::write(folder.path().join("ledger.sqlite3"), "no books").unwrap();
        let (_, told) = route(folder.path(), &table(QUOTA), false);
        assert!(told.contains("count as used up, since the books cannot be read"), "{told}");
    }

    const QUOTA: &str = "[[backends.quotas]]\nsource = \"invented\"\nper = \"day\"\nzone = \"UTC\"\nrequests = 2\n";

    /// Books a request that used the first backend.
    async fn spent(folder: &Path, number: u64) {
        let (ledger, _) = Ledger::open(Settings::new(folder), SystemClock::shared()).unwrap();
        let tab = ledger.begin(request_opened(number)).unwrap();
        let own = AttemptOpened { backend: BackendId::new("far", "m"), provider: "far".into(), ..attempt_opened() };
        tab.attempt(own).settle(attempt_end(10, 20));
        tab.end(RequestEnd { outcome: Outcome::Answered, status: 200, first_byte_ms: None, duration_ms: 1, overhead_us: 1 });
        tab.journaled().await.unwrap();
        ledger.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_free_is_what_the_books_leave_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let free = |no_state| {
            let (decision, told) = route(folder.path(), &table(QUOTA), no_state);
            (decision["chosen"]["expected_usd"] == "0", told)
        };
        assert!(free(false).0, "there are no books yet");
        spent(folder.path(), 1).await;
        let (still, told) = free(false);
        assert!(still && told.contains("what is left of 1 free quota."), "{told}");
        assert!(!free(true).0);
        spent(folder.path(), 2).await;
        assert!(!free(false).0, "two were free on this day");
    }

    #[test]
    fn a_prepaid_balance_is_used_first() {
        let folder = tempfile::tempdir().unwrap();
        let paid = "[providers.far.prepaid]\namount = 5\nfrom = 2020-01-01T00:00:00Z\nsource = \"invented\"\n";
        let table = table("").replacen("[[backends]]", &format!("{paid}[[backends]]"), 1);
        let prepaid = |no_state| {
            let (decision, told) = route(folder.path(), &table, no_state);
            (decision["chosen"]["prepaid"] == true, told.contains("1 prepaid balance"))
        };
        assert_eq!(prepaid(false), (true, true));
        assert_eq!(prepaid(true), (false, false));
    }
}
