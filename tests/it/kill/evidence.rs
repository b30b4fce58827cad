//! What the clients saw, what the sandbox truly served and what the books say, held against each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokenbroker::ledger::{ESTIMATE_BESIDE_TOKENS, ESTIMATE_MARGIN_PERCENT, IN_FLIGHT_TOKENS, MARGIN_TOKENS};

use super::load::{Loaded, Seen, client_id};
use crate::harness::Sandbox;
use crate::harness::money::{self, Prices};
use crate::harness::rows::{self, AttemptRow, RequestRow};
use crate::harness::sandbox::Served;

/// A request reaches the provider while its opening is still being written: one sent this shortly before the kill may be
/// missing from the books, if no client saw anything of it.
const UNWRITTEN_MS: i64 = 250;
/// The status of a request that cannot be booked,
const UNWRITABLE: u16 = 503;
/// and of one that its budget does not bear.
const UNPAYABLE: u16 = 402;

/// How many of each the test has judged.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) kills: usize,
    pub(super) asked: usize,
    pub(super) lasted: Duration,
    pub(super) slowest_start: Duration,
    /// Refused because the books could not be written, or because the budget did not bear it.
    pub(super) refused: usize,
    pub(super) whole: usize,
    pub(super) cut: usize,
    /// Sent, but no client saw a byte.
    pub(super) unseen: usize,
    /// Of those, not in the books, for the kill came before the opening was written.
    pub(super) unwritten: usize,
    /// How long before the kill the oldest of these was sent.
    pub(super) unwritten_ms: i64,
    /// By how many tokens cut answers were booked above the truth, at most.
    pub(super) most_above: i64,
}

impl Tally {
    fn load(&mut self, loaded: &Loaded) {
        self.kills += 1;
        self.asked += loaded.seen.len();
        self.lasted += loaded.lasted;
    }

    /// What was found, as a row of a table; written where somebody gathers them.
    pub(super) fn tell(&self, what: &str) -> String {
        let Self {
            kills, asked, lasted, slowest_start, refused, whole, cut, unseen, unwritten, unwritten_ms, most_above, ..
        } = self;
        let a_second = *asked as u128 * 1_000 / lasted.as_millis().max(1);
        let row = format!(
            "| {what} | {kills} | {asked} in {:.1} s ({a_second}/s) | {whole} | {cut} | {most_above} | {unseen} | {unwritten} ({unwritten_ms} ms) | {refused} | {} ms |",
            lasted.as_secs_f64(),
            slowest_start.as_millis()
        );
        if let Some(folder) = std::env::var_os("TOKENBROKER_KILLS_INTO") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{what}.row")), format!("{row}\n")).unwrap();
        }
        row
    }
}

/// The books after the next start, and the truth.
pub(super) struct Evidence {
    requests: BTreeMap<String, RequestRow>,
    attempts: BTreeMap<String, Vec<AttemptRow>>,
    pub(super) all_attempts: Vec<AttemptRow>,
    served: BTreeMap<String, Vec<Served>>,
    prices: BTreeMap<String, Prices>,
    mute: Mute,
}

/// When the books could not be written any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mute {
    /// In Unix milliseconds.
    pub(super) since_ms: i64,
    /// The gateway lived on and refused what it could not book.
    pub(super) refuses: bool,
}

impl Evidence {
    /// Of all these books together.
    pub(super) async fn gather(books: &[&Path], sandbox: &Sandbox, mute: Mute) -> Self {
        let all_attempts: Vec<AttemptRow> = books.iter().flat_map(|data| rows::attempts(data)).collect();
        let mut evidence = Self {
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            served: BTreeMap::new(),
            prices: money::prices(sandbox.table()),
            mute,
            all_attempts: all_attempts.clone(),
        };
        let numbered = |request: &RequestRow| !request.client.is_empty();
        for request in books.iter().flat_map(|data| rows::requests(data)).filter(numbered) {
            let again = evidence.requests.insert(request.client.clone(), request);
            assert_eq!(again, None, "booked twice");
        }
        for attempt in all_attempts {
            evidence.attempts.entry(attempt.client.clone()).or_default().push(attempt);
        }
        for served in sandbox.served().await {
            evidence.served.entry(served.trace.clone()).or_default().push(served);
        }
        evidence
    }

    /// Judges what clients saw.
    pub(super) fn judge(&self, loaded: &Loaded, tally: &mut Tally) {
        tally.load(loaded);
        for seen in &loaded.seen {
            self.check(seen, tally);
        }
    }

    fn check(&self, seen: &Seen, tally: &mut Tally) {
        let none = (Vec::new(), Vec::new());
        let attempts = self.attempts.get(&client_id(seen.number)).unwrap_or(&none.0);
        let served = self.served.get(&format!("{:032x}", seen.number)).unwrap_or(&none.1);
        let shown = || format!("{seen:?}\n{attempts:#?}\n{served:#?}");
        let refused = self.mute.refuses && seen.status == UNWRITABLE;
        tally.refused += usize::from(refused || seen.status == UNPAYABLE);
        // An error is an answer too, where providers were asked; that nothing can be booked is none.
        let answered = seen.bytes > 0 && !refused && !served.is_empty();
        if answered {
            let request = self.requests.get(&client_id(seen.number)).unwrap_or_else(|| panic!("not booked: {}", shown()));
            assert_eq!(request.id, seen.id, "{}", shown());
        }
        self.check_sums(seen, attempts);
        // One that goes on owes every row.
        self.check_pairing(attempts, served, answered || seen.beside, tally);
        assert!(!seen.beside || attempts.iter().all(|attempt| attempt.ending != "lost"), "{}", shown());
        for (attempt, served) in attempts.iter().zip(served) {
            assert_eq!(attempt.provider, served.provider, "{}", shown());
            self.check_attempt(attempt, served).unwrap_or_else(|wrong| panic!("{wrong}: {}", shown()));
        }
        let (Some(last), Some(truth)) = (attempts.last(), served.last()) else { return };
        if seen.whole && seen.status == 200 {
            tally.whole += 1;
            assert_eq!(last.ending, "complete", "{}", shown());
            assert!(seen.cost.is_empty() || seen.cost == money::shown(self.requests[&last.client].cost), "{}", shown());
        } else if answered && last.ending == "lost" {
            tally.cut += 1;
            let above = last.output - truth.output;
            tally.most_above = tally.most_above.max(above);
            // The margin grows with the checkpoint, which is what is left of the booking without it; and where it rests on an
            // estimate, that may be above the truth as well.
            let fixed = i64::try_from(MARGIN_TOKENS).unwrap();
            let percent = i64::try_from(ESTIMATE_MARGIN_PERCENT).unwrap();
            let beside = i64::try_from(ESTIMATE_BESIDE_TOKENS).unwrap();
            let margin = fixed + beside + (last.output - fixed).max(0) * 2 * percent / (100 + percent);
            assert!(above <= margin, "{above} above the truth: {}", shown());
            // On a machine that is too busy to run the gateway a provider gets further ahead than what is in flight between two that run:
            // that nobody can know.
            let surely = truth.output.min(seen.tokens + i64::try_from(IN_FLIGHT_TOKENS).unwrap());
            assert!(last.output >= surely, "{above} above the truth, of which {surely} are sure: {}", shown());
            assert!((truth.input..=last.input_upper).contains(&last.input()), "{}", shown());
        } else if last.ending == "lost" {
            tally.unseen += 1;
        }
    }

    /// A request's row is the sum of its attempts' rows.
    fn check_sums(&self, seen: &Seen, attempts: &[AttemptRow]) {
        let Some(request) = self.requests.get(&client_id(seen.number)) else { return };
        let sums = |of: fn(&AttemptRow) -> i64| attempts.iter().map(of).sum::<i64>();
        let told = (request.attempts, request.input, request.output, request.cost);
        let count = i64::try_from(attempts.len()).unwrap();
        assert_eq!(told, (count, sums(AttemptRow::input), sums(|a| a.output), sums(|a| a.cost)), "{request:?} {attempts:#?}");
    }

    /// Every request that a provider served is an attempt in the books, and the other way round, but for what the kill
    /// caught on its way.
    fn check_pairing(&self, attempts: &[AttemptRow], served: &[Served], owed: bool, tally: &mut Tally) {
        if let Some(opened) = attempts.get(served.len()) {
            assert_eq!(
                (attempts.len(), opened.ending.as_str()),
                (served.len() + 1, "lost"),
                "never sent: {attempts:#?} {served:#?}"
            );
        }
        let unwritten = served.get(attempts.len()..).unwrap_or_default();
        let fresh = |sent: &Served| self.mute.since_ms - sent.started_ms <= UNWRITTEN_MS;
        assert!(unwritten.iter().all(|sent| fresh(sent) && !owed), "sent and not booked: {attempts:#?} {served:#?}");
        tally.unwritten += unwritten.len();
        let oldest = unwritten.iter().map(|sent| self.mute.since_ms - sent.started_ms).max();
        tally.unwritten_ms = tally.unwritten_ms.max(oldest.unwrap_or(0));
    }

    fn check_attempt(&self, attempt: &AttemptRow, served: &Served) -> Result<(), String> {
        let prices = self.prices.get(&attempt.backend).ok_or("a backend that is not in the table")?;
        let (amount, cost) = prices.cost(attempt);
        if (i128::from(attempt.amount), i128::from(attempt.cost)) != (amount, cost) {
            return Err(format!("booked at another price than {amount} and {cost}"));
        }
        let booked = (attempt.provenance.as_str(), attempt.input(), attempt.cache_read, attempt.output);
        match attempt.ending.as_str() {
            "complete" if served.finished && booked == ("reported", served.input, served.cached, served.output) => Ok(()),
            "failed" if served.refused && attempt.cost == 0 => Ok(()),
            "lost" if attempt.provenance == "estimated" => Ok(()),
            _ => Err("not what was served".to_owned()),
        }
    }
}
