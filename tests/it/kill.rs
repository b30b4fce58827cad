//! Promise 1: after `kill -9` at any moment, every answer of which a client saw a byte is in the books, a finished one to
//! the token, a cut one from above within the stated margin, and nothing twice.
//!
//! Held against each other are what the clients saw, what the sandbox truly served, and what the books say after the next
//! start. Each gateway is asked 500 times a second, whether it keeps up or not, until the client that gets a certain piece of an
//! answer kills it; the next one serves within a second and goes on with the books of the last. The same once more where the disk
//! was full when it died. `TOKENBROKER_KILLS` sets how many gateways die, and `TOKENBROKER_KILLS_INTO` where what was found is
//! written (`scripts/kills` makes `docs/kills.md` of it).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use tokenbroker::clock::SystemClock;
use tokenbroker::ledger::{ESTIMATE_BESIDE_TOKENS, ESTIMATE_MARGIN_PERCENT, IN_FLIGHT_TOKENS, MARGIN_TOKENS};
use tokenbroker::sandbox::loopback::{self, LoopbackError};
use tokenbroker::tasks::Tasks;

use crate::harness::money::{self, Prices};
use crate::harness::rows::{self, AttemptRow, RequestRow};
use crate::harness::sandbox::Served;
use crate::harness::seeded::Seeded;
use crate::harness::small_disk::SmallDisk;
use crate::harness::{Call, Gateway, Sandbox, Setup};

const SEED: u64 = 0x0070_6b69_6c6c;
/// How often a gateway is asked, in a second.
const ASKED_A_SECOND: u64 = 500;
/// How soon after its start one must serve.
const SERVES_WITHIN: Duration = Duration::from_secs(1);
const MODELS: [&str; 6] = ["auto", "auto", "auto:standard", "auto:premium", "pearl-chat", "fjord-small"];
/// A request reaches the provider while its opening is still being written: one sent this shortly before the kill may be
/// missing from the books, if no client saw anything of it.
const UNWRITTEN_MS: i64 = 250;
/// What stands before each token of a stream.
const TOKEN: &[u8] = b"content\":\"";

/// The status of a request that cannot be booked.
const UNWRITABLE: u16 = 503;

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
    /// Its tokens, of a stream: a provider of the sandbox puts each into an event of its own. One that was cut in two is not counted.
    tokens: i64,
    /// The answer came whole.
    whole: bool,
}

/// Clients that ask until the gateway is dead.
struct Load<'g> {
    url: String,
    gateway: &'g Gateway,
    tasks: Tasks,
    dice: Mutex<Seeded>,
    seen: Mutex<Vec<Seen>>,
    pieces: AtomicU64,
    dead: AtomicBool,
    doom: &'g Doom,
}

/// What ends a gateway.
struct Doom {
    /// The client that gets this piece of an answer kills it.
    fatal: u64,
    /// The one that gets this piece takes it the room to write.
    filling: Option<(u64, Full)>,
    /// When it was taken, in Unix milliseconds.
    full_ms: AtomicU64,
}

/// How a disk comes to be full.
enum Full {
    /// It is.
    Disk(std::path::PathBuf),
    /// The process may let no file grow: where nothing can be mounted.
    Limit,
}

impl Full {
    fn fill(&self, gateway: Pid) {
        match self {
            Self::Disk(disk) => SmallDisk::fill(disk),
            Self::Limit => {
                prlimit(Some(gateway), Resource::Fsize, Rlimit { current: Some(0), maximum: None }).unwrap();
            }
        }
    }
}

/// What came of a load.
struct Loaded {
    seen: Vec<Seen>,
    /// When the gateway died, in Unix milliseconds.
    died_ms: i64,
    lasted: Duration,
}

impl<'g> Load<'g> {
    /// Asks until the gateway dies.
    async fn run(gateway: &'g Gateway, first: u64, dice: Seeded, doom: &'g Doom) -> Loaded {
        let load = Self {
            url: format!("http://{}/v1/chat/completions", gateway.api),
            gateway,
            tasks: Tasks::on_this_runtime(),
            dice: Mutex::new(dice),
            seen: Mutex::default(),
            pieces: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            doom,
        };
        let began = clock();
        let mut numbers = first..;
        let mut under_way: FuturesUnordered<_> = FuturesUnordered::new();
        let mut beat = tokio::time::interval(Duration::from_micros(1_000_000 / ASKED_A_SECOND));
        while !load.dead.load(Ordering::Relaxed) {
            tokio::select! {
                _ = beat.tick() => under_way.push(load.client(numbers.next().unwrap())),
                Some(()) = under_way.next() => {}
            }
        }
        let lasted = began.elapsed();
        let died_ms = SystemClock::shared().wall().as_millisecond();
        while under_way.next().await.is_some() {}
        drop(under_way);
        Loaded { seen: load.seen.into_inner().unwrap(), died_ms, lasted }
    }

    async fn client(&self, number: u64) {
        let mut seen = Seen { number, ..Seen::default() };
        // A dead gateway is seen by many.
        let _ended = self.ask(&mut seen).await;
        self.seen.lock().unwrap().push(seen);
    }

    async fn ask(&self, seen: &mut Seen) -> Result<(), LoopbackError> {
        let (body, stream) = self.request();
        let (client, parent) = (client_id(seen.number), format!("00-{:032x}-00000000000000a1-01", seen.number));
        let headers = [("content-type", "application/json"), ("x-request-id", &client), ("traceparent", &parent)];
        let mut answer = loopback::call(&self.tasks, Method::POST, &self.url, &headers, body.to_string()).await?;
        (seen.status, seen.id) = (answer.status, answer.header("x-tokenbroker-request-id").to_owned());
        while let Some(chunk) = answer.chunk().await? {
            seen.bytes += chunk.len();
            seen.tokens += i64::try_from(chunk.windows(TOKEN.len()).filter(|at| *at == TOKEN).count()).unwrap();
            // The mark is what a client takes for the end, whatever becomes of the connection after it.
            seen.whole = stream && chunk.ends_with(b"data: [DONE]\n\n");
            self.count_piece();
        }
        seen.whole |= !stream;
        answer.header("x-tokenbroker-cost-usd").clone_into(&mut seen.cost);
        Ok(())
    }

    fn count_piece(&self) {
        let number = self.pieces.fetch_add(1, Ordering::Relaxed) + 1;
        let gateway = self.gateway.process();
        if let Some((_, full)) = self.doom.filling.as_ref().filter(|(filling, _)| *filling == number) {
            let now = u64::try_from(SystemClock::shared().wall().as_millisecond()).unwrap();
            self.doom.full_ms.store(now, Ordering::Relaxed);
            full.fill(gateway);
        }
        if number == self.doom.fatal {
            kill_process(gateway, Signal::KILL).unwrap();
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    fn request(&self) -> (Value, bool) {
        let mut dice = self.dice.lock().unwrap();
        let stream = dice.between(0, 2) == 0;
        let mut body = json!({
            "model": dice.pick(&MODELS),
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": dice.prompt()}],
            "stream": stream,
        });
        // Most are short, so that many fit into a second; one in ten is long enough to be cut.
        let tokens = if dice.between(0, 9) == 0 { dice.between(60, 600) } else { dice.between(1, 30) };
        body["sandbox"] = json!({"output_tokens": tokens});
        (body, stream)
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast a machine is, is measured by its clock")]
fn clock() -> Instant {
    Instant::now()
}

fn client_id(number: u64) -> String {
    format!("client-{number}")
}

fn kills() -> usize {
    std::env::var("TOKENBROKER_KILLS").map_or(5, |kills| kills.parse().unwrap())
}

/// How long a process was ready to run and others ran: that says how busy the machine is, and nothing of the process.
fn waited_for_a_core(process: Pid) -> Duration {
    let told = std::fs::read_to_string(format!("/proc/{}/schedstat", process.as_raw_nonzero())).unwrap_or_default();
    let nanos = told.split_ascii_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    nanos.map_or(Duration::ZERO, Duration::from_nanos)
}

/// Starts a gateway, and sees that it serves in time.
async fn started(setup: Setup, tally: &mut Tally) -> Gateway {
    let began = clock();
    let gateway = setup.start();
    let ready = gateway.ask(&Call::get("/readyz")).await;
    let took = began.elapsed().saturating_sub(waited_for_a_core(gateway.process()));
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(took <= SERVES_WITHIN, "it served only after {took:?}");
    tally.slowest_start = tally.slowest_start.max(took);
    gateway
}

/// Judges what the clients of one gateway saw, in the books of the next.
async fn judged(setup: Setup, sandbox: &Sandbox, loaded: &Loaded, mute: Mute, tally: &mut Tally) -> Setup {
    let gateway = started(setup, tally).await;
    let evidence = Evidence::gather(&gateway, sandbox, mute).await;
    tally.load(loaded);
    for seen in &loaded.seen {
        evidence.check(seen, tally);
    }
    let (_, stopped) = gateway.drain().await;
    assert_eq!(rows::attempts(&stopped.data()), evidence.all_attempts, "a start books nothing twice");
    stopped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_outruns_the_books_whenever_the_gateway_is_killed() {
    let mut dice = Seeded::new(SEED);
    let sandbox = Sandbox::start(&["--seed", "7"]);
    // Failovers are part of the load: the retry budget must not end them.
    let mut setup = sandbox.gateway().set("retries.floor_per_second", "1000").variable("TOKENBROKER_LOG", "warn");
    let (mut first, mut tally) = (1, Tally::default());
    for _ in 0..kills() {
        let gateway = started(setup, &mut tally).await;
        let doom = Doom { fatal: dice.between(100, 4_000), filling: None, full_ms: AtomicU64::new(0) };
        let loaded = Load::run(&gateway, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), &doom).await;
        first += u64::try_from(loaded.seen.len()).unwrap();
        setup = judged(gateway.kill(), &sandbox, &loaded, Mute { since_ms: loaded.died_ms, refuses: false }, &mut tally).await;
    }
    println!("{}", tally.tell("killed"));
    assert!(tally.whole > 0 && tally.cut > 0 && tally.unseen > 0, "the kills missed: {tally:?}");
}

/// Room was set aside for what is open, and rows wait in the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_outruns_the_books_when_the_gateway_is_killed_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount("256m") else {
        println!("skipped: cannot mount");
        return;
    };
    let data = disk.path().join("data");
    let setup = |setup: Setup| setup.set("books.directory", &data.to_string_lossy());
    let tally = killed_without_room(SEED + 1, setup, || Full::Disk(disk.path().to_owned()), || disk.empty()).await;
    println!("{}", tally.tell("killed on a full disk"));
    assert!(tally.whole > 0, "nothing was answered: {tally:?}");
}

/// Not even what is open can be ended. What is refused is no answer; what was one is in the books.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_outruns_the_books_when_the_gateway_is_killed_while_nothing_can_be_written() {
    // A write beyond the limit is an error only for a process that ignores the signal that comes with it.
    let tally = killed_without_room(SEED + 2, |setup| setup.after("trap '' XFSZ"), || Full::Limit, || ()).await;
    println!("{}", tally.tell("killed while nothing could be written"));
    assert!(tally.whole > 0 && tally.refused > 0, "everything could be written: {tally:?}");
}

async fn killed_without_room(seed: u64, with: impl Fn(Setup) -> Setup, full: impl Fn() -> Full, free: impl Fn()) -> Tally {
    let mut dice = Seeded::new(seed);
    let sandbox = Sandbox::start(&["--seed", "8"]);
    let setup = sandbox.gateway().set("retries.floor_per_second", "1000").variable("TOKENBROKER_LOG", "warn");
    // What explains decisions would fill the disk.
    let mut setup = with(setup.set("books.decision_days", "0"));
    let (mut first, mut tally) = (1, Tally::default());
    for _ in 0..kills() {
        let gateway = started(setup, &mut tally).await;
        let filling = dice.between(50, 1_500);
        let fatal = filling + dice.between(1, 1_500);
        let doom = Doom { fatal, filling: Some((filling, full())), full_ms: AtomicU64::new(0) };
        let loaded = Load::run(&gateway, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), &doom).await;
        first += u64::try_from(loaded.seen.len()).unwrap();
        let killed = gateway.kill();
        free();
        let full_ms = i64::try_from(doom.full_ms.load(Ordering::Relaxed)).unwrap();
        setup =
            judged(killed, &sandbox, &loaded, Mute { since_ms: full_ms.min(loaded.died_ms), refuses: true }, &mut tally).await;
    }
    tally
}

/// How many of each the test has judged.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    asked: usize,
    lasted: Duration,
    slowest_start: Duration,
    /// Refused because the books could not be written.
    refused: usize,
    whole: usize,
    cut: usize,
    /// Sent, but no client saw a byte.
    unseen: usize,
    /// Of those, not in the books, for the kill came before the opening was written.
    unwritten: usize,
    /// How long before the kill the oldest of these was sent.
    unwritten_ms: i64,
    /// By how many tokens cut answers were booked above the truth, at most.
    most_above: i64,
}

impl Tally {
    fn load(&mut self, loaded: &Loaded) {
        self.kills += 1;
        self.asked += loaded.seen.len();
        self.lasted += loaded.lasted;
    }

    /// What was found, as a row of a table; written where somebody gathers them.
    fn tell(&self, what: &str) -> String {
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
struct Evidence {
    requests: BTreeMap<String, RequestRow>,
    attempts: BTreeMap<String, Vec<AttemptRow>>,
    all_attempts: Vec<AttemptRow>,
    served: BTreeMap<String, Vec<Served>>,
    prices: BTreeMap<String, Prices>,
    mute: Mute,
}

/// When the books could not be written any more.
#[derive(Debug, Clone, Copy)]
struct Mute {
    /// In Unix milliseconds.
    since_ms: i64,
    /// The gateway lived on and refused what it could not book.
    refuses: bool,
}

impl Evidence {
    async fn gather(gateway: &Gateway, sandbox: &Sandbox, mute: Mute) -> Self {
        let data = gateway.setup.data();
        let all_attempts = rows::attempts(&data);
        let mut evidence = Self {
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            served: BTreeMap::new(),
            prices: money::prices(sandbox.table()),
            mute,
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
        let refused = self.mute.refuses && seen.status == UNWRITABLE;
        tally.refused += usize::from(refused);
        // An error is an answer too, where providers were asked; that nothing can be booked is none.
        let answered = seen.bytes > 0 && !refused && !served.is_empty();
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
    fn check_pairing(&self, attempts: &[AttemptRow], served: &[Served], answered: bool, tally: &mut Tally) {
        if let Some(opened) = attempts.get(served.len()) {
            assert_eq!(
                (attempts.len(), opened.ending.as_str()),
                (served.len() + 1, "lost"),
                "never sent: {attempts:#?} {served:#?}"
            );
        }
        let unwritten = served.get(attempts.len()..).unwrap_or_default();
        let fresh = |sent: &Served| self.mute.since_ms - sent.started_ms <= UNWRITTEN_MS;
        assert!(unwritten.iter().all(|sent| fresh(sent) && !answered), "sent and not booked: {attempts:#?} {served:#?}");
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
