//! Promise 1: after `kill -9` at any moment, every answer of which a client saw a byte is in the books, a finished one to
//! the token, a cut one from above within the stated margin, and nothing twice.
//!
//! Held against each other are what the clients saw, what the sandbox truly served, and what the books say after the next
//! start. `TOKENBROKER_KILLS` sets how many gateways die; each next one goes on with the books of the last.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokenbroker::clock::SystemClock;
use tokenbroker::ledger::{ESTIMATE_MARGIN_PERCENT, MARGIN_TOKENS};
use tokenbroker::sandbox::loopback::{self, LoopbackError};
use tokenbroker::tasks::Tasks;

use crate::harness::money::{self, Prices};
use crate::harness::rows::{self, AttemptRow, RequestRow};
use crate::harness::sandbox::Served;
use crate::harness::seeded::Seeded;
use crate::harness::{Gateway, Sandbox};

const SEED: u64 = 0x0070_6b69_6c6c;
const CLIENTS: usize = 150;
const MODELS: [&str; 6] = ["auto", "auto", "auto:standard", "auto:premium", "pearl-chat", "fjord-small"];
/// A request reaches the provider while its opening is still being written: one sent this shortly before the kill may be
/// missing from the books, if no client saw anything of it.
const UNWRITTEN_MS: i64 = 250;

/// What a client saw of one answer.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Which request this was: its trace and its `x-request-id`.
    number: u64,
    status: u16,
    /// Our request id, from the header.
    id: String,
    /// What the header or the trailer said it cost.
    cost: String,
    bytes: usize,
    /// The answer came whole.
    whole: bool,
}

/// Clients that keep asking until the gateway is dead.
struct Load {
    url: String,
    gateway: Pid,
    tasks: Tasks,
    dice: Mutex<Seeded>,
    seen: Mutex<Vec<Seen>>,
    next: AtomicU64,
    chunks: AtomicU64,
    /// The client that gets this chunk kills the gateway.
    fatal: u64,
}

impl Load {
    /// Asks until the gateway dies; answers what was seen and when it died, in Unix milliseconds.
    async fn run(gateway: &Gateway, first: u64, dice: Seeded, fatal: u64) -> (Vec<Seen>, i64) {
        let load = Self {
            url: format!("http://{}/v1/chat/completions", gateway.api),
            gateway: gateway.process(),
            tasks: Tasks::on_this_runtime(),
            dice: Mutex::new(dice),
            seen: Mutex::default(),
            next: AtomicU64::new(first),
            chunks: AtomicU64::new(0),
            fatal,
        };
        join_all((0..CLIENTS).map(|_| load.client())).await;
        (load.seen.into_inner().unwrap(), SystemClock::shared().wall().as_millisecond())
    }

    async fn client(&self) {
        loop {
            let mut seen = Seen { number: self.next.fetch_add(1, Ordering::Relaxed), ..Seen::default() };
            let ended = self.ask(&mut seen).await;
            self.seen.lock().unwrap().push(seen);
            if ended.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, seen: &mut Seen) -> Result<(), LoopbackError> {
        let (body, stream) = self.request();
        let (client, parent) = (client_id(seen.number), format!("00-{:032x}-00000000000000a1-01", seen.number));
        let headers = [("content-type", "application/json"), ("x-request-id", &client), ("traceparent", &parent)];
        let mut answer = loopback::call(&self.tasks, Method::POST, &self.url, &headers, body.to_string()).await?;
        (seen.status, seen.id) = (answer.status, answer.header("x-tokenbroker-request-id").to_owned());
        while let Some(chunk) = answer.chunk().await? {
            seen.bytes += chunk.len();
            // The mark is what a client takes for the end, whatever becomes of the connection after it.
            seen.whole = stream && chunk.ends_with(b"data: [DONE]\n\n");
            self.count_chunk();
        }
        seen.whole |= !stream;
        answer.header("x-tokenbroker-cost-usd").clone_into(&mut seen.cost);
        Ok(())
    }

    fn count_chunk(&self) {
        if self.chunks.fetch_add(1, Ordering::Relaxed) + 1 == self.fatal {
            kill_process(self.gateway, Signal::KILL).unwrap();
        }
    }

    fn request(&self) -> (Value, bool) {
        let mut dice = self.dice.lock().unwrap();
        let stream = dice.between(0, 2) > 0;
        let mut body = json!({
            "model": dice.pick(&MODELS),
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": dice.prompt()}],
            "stream": stream,
        });
        if dice.between(0, 1) == 0 {
            body["sandbox"] = json!({"output_tokens": dice.between(60, 600)});
        }
        (body, stream)
    }
}

fn client_id(number: u64) -> String {
    format!("client-{number}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_outruns_the_books_whenever_the_gateway_is_killed() {
    let kills = std::env::var("TOKENBROKER_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let mut dice = Seeded::new(SEED);
    let sandbox = Sandbox::start(&["--seed", "7"]);
    // Failovers are part of the load: the retry budget must not end them.
    let mut setup = sandbox.gateway().set("retries.floor_per_second", "1000").variable("TOKENBROKER_LOG", "warn");
    let (mut first, mut tally) = (1, Tally::default());
    for _ in 0..kills {
        let gateway = setup.start();
        let fatal = dice.between(300, 15_000);
        let (seen, died_ms) = Load::run(&gateway, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), fatal).await;
        first += u64::try_from(seen.len()).unwrap() + u64::try_from(CLIENTS).unwrap();
        let gateway = gateway.kill().start();
        let evidence = Evidence::gather(&gateway, &sandbox, died_ms).await;
        for seen in &seen {
            evidence.check(seen, &mut tally);
        }
        let (_, stopped) = gateway.drain().await;
        assert_eq!(rows::attempts(&stopped.data()), evidence.all_attempts, "a start books nothing twice");
        setup = stopped;
    }
    println!("{tally:?}");
    assert!(tally.whole > 0 && tally.cut > 0 && tally.unseen > 0, "the kills missed: {tally:?}");
}

/// How many of each the test has judged.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    cut: usize,
    /// Sent, but no client saw a byte.
    unseen: usize,
    /// Of those, not in the books, for the kill came before the opening was written.
    unwritten: usize,
    /// How long before the kill the oldest of these was sent.
    unwritten_ms: i64,
    /// By how many tokens cut answers were booked above the truth, at most and in sum.
    most_above: i64,
    sum_above: i64,
}

/// The books after the next start, and the truth.
struct Evidence {
    requests: BTreeMap<String, RequestRow>,
    attempts: BTreeMap<String, Vec<AttemptRow>>,
    all_attempts: Vec<AttemptRow>,
    served: BTreeMap<String, Vec<Served>>,
    prices: BTreeMap<String, Prices>,
    died_ms: i64,
}

impl Evidence {
    async fn gather(gateway: &Gateway, sandbox: &Sandbox, died_ms: i64) -> Self {
        let data = gateway.setup.data();
        let all_attempts = rows::attempts(&data);
        let mut evidence = Self {
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            served: BTreeMap::new(),
            prices: money::prices(sandbox.table()),
            died_ms,
            all_attempts: all_attempts.clone(),
        };
        for request in rows::requests(&data) {
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

    fn check(&self, seen: &Seen, tally: &mut Tally) {
        let none = (Vec::new(), Vec::new());
        let attempts = self.attempts.get(&client_id(seen.number)).unwrap_or(&none.0);
        let served = self.served.get(&format!("{:032x}", seen.number)).unwrap_or(&none.1);
        let shown = || format!("{seen:?}\n{attempts:#?}\n{served:#?}");
        // An error is an answer too, where providers were asked.
        let answered = seen.bytes > 0 && !served.is_empty();
        if answered {
            let request = self.requests.get(&client_id(seen.number)).unwrap_or_else(|| panic!("not booked: {}", shown()));
            assert_eq!(request.id, seen.id, "{}", shown());
        }
        self.check_sums(seen, attempts);
        self.check_pairing(attempts, served, answered, tally);
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
            tally.sum_above += above;
            // The margin grows with the checkpoint, which is what is left of the booking without it.
            let fixed = i64::try_from(MARGIN_TOKENS).unwrap();
            let percent = i64::try_from(ESTIMATE_MARGIN_PERCENT).unwrap();
            let margin = fixed + (last.output - fixed).max(0) * percent / (100 + percent);
            assert!((0..=margin).contains(&above), "{above} above the truth: {}", shown());
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
    fn check_pairing(&self, attempts: &[AttemptRow], served: &[Served], answered: bool, tally: &mut Tally) {
        if let Some(opened) = attempts.get(served.len()) {
            assert_eq!(
                (attempts.len(), opened.ending.as_str()),
                (served.len() + 1, "lost"),
                "never sent: {attempts:#?} {served:#?}"
            );
        }
        let unwritten = served.get(attempts.len()..).unwrap_or_default();
        let fresh = |sent: &Served| self.died_ms - sent.started_ms <= UNWRITTEN_MS;
        assert!(unwritten.iter().all(|sent| fresh(sent) && !answered), "sent and not booked: {attempts:#?} {served:#?}");
        tally.unwritten += unwritten.len();
        let oldest = unwritten.iter().map(|sent| self.died_ms - sent.started_ms).max();
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
