//! What the books cost and take: `cargo bench --bench ledger` prints, for both modes of `books.sync`,
//!
//! - rows a second through journal and store, sustained, with 64 requests at a time that wait for the journal as the gateway does;
//! - how long a request waits for the journal at 2,000 requests a second (before its first byte and before its last one), and how
//!   long the store's transactions take;
//! - CPU of the whole process a request, which is what a request with books costs above one without any;
//! - for how long bytes were in the journal and not forced to the disk: what a loss of power takes.
//!
//! `-- --write` writes it into docs/bench/ledger.md. The data directory is made in the current directory, on a real disk.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a tool for measuring, not the product"
)]

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokenbroker::clock::SystemClock;
use tokenbroker::ledger::{
    AttemptEnd, AttemptOpened, Disk, Ending, FileDisk, Ledger, Marks, Observer, Outcome, RequestEnd, RequestOpened, SegmentFile,
    Settings, SyncPolicy, Terms,
};
use tokenbroker::units::{
    BackendId, Currency, ExchangeRate, KeyName, Pieces, Pricing, Provenance, RequestId, Tariff, Thinking, TokenPrice, Tokens,
    Usage, Usd,
};

const AT_ONCE: u64 = 64;
const SUSTAINED: Duration = Duration::from_secs(20);
const PACED: Duration = Duration::from_secs(20);
const PACE: u64 = 2_000;
/// Of /proc/self/stat.
const TICKS: f64 = 100.0;

/// Notes what the ledger tells, and for how long bytes wait for a sync.
#[derive(Default)]
struct Watch {
    rows: AtomicU64,
    commits: Mutex<Vec<Duration>>,
    journaled: Mutex<Vec<Duration>>,
    unsynced: Mutex<Option<Instant>>,
    longest_unsynced: Mutex<Duration>,
}

impl Observer for Watched {
    fn journaled(&self, _records: usize, waited: Duration) {
        self.0.journaled.lock().unwrap().push(waited);
    }

    fn committed(&self, rows: usize, took: Duration) {
        self.0.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.0.commits.lock().unwrap().push(took);
    }
}

struct Watched(Arc<Watch>);

impl Disk for Watched {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(WatchedFile { inner: FileDisk.create(path, bytes)?, watch: Arc::clone(&self.0) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileDisk.remove(path)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        FileDisk.files(folder)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        FileDisk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileDisk.rename(from, to)
    }
}

struct WatchedFile {
    inner: Arc<dyn SegmentFile>,
    watch: Arc<Watch>,
}

impl SegmentFile for WatchedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)?;
        self.watch.unsynced.lock().unwrap().get_or_insert_with(Instant::now);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let since = self.watch.unsynced.lock().unwrap().take();
        self.inner.sync()?;
        if let Some(since) = since {
            let mut longest = self.watch.longest_unsynced.lock().unwrap();
            *longest = longest.max(since.elapsed());
        }
        Ok(())
    }
}

fn main() {
    let mut told = String::from(
        "| books.sync | rows/s sustained | CPU a request | first byte waits p50 / p99 | last byte waits p50 / p99 | \
         transactions p50 / p99 | not on the disk for at most |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut bytes = 0.0;
    for (sync, word) in [(SyncPolicy::Second, "second"), (SyncPolicy::Always, "always")] {
        let sustained = run(sync, None);
        let paced = run(sync, Some(PACE));
        writeln!(
            told,
            "| `{word}` | {:.0} ({:.0} requests/s) | {:.1} us | {} | {} | {} | {} |",
            sustained.rows_per_second,
            sustained.requests_per_second,
            paced.cpu_us,
            pair(&paced.first),
            pair(&paced.last),
            pair(&paced.commits),
            millis(paced.longest_unsynced),
        )
        .unwrap();
        println!(
            "{word}: sustained {:.0} rows/s at {:.1} us CPU and {:.0} bytes a request; paced at {:.0} requests/s, backlog at the end {}",
            sustained.rows_per_second, sustained.cpu_us, sustained.bytes, paced.requests_per_second, paced.backlog
        );
        bytes = sustained.bytes;
    }
    println!("\n{told}");
    if std::env::args().any(|argument| argument == "--write") {
        write(&told, bytes);
    }
}

/// What one run came to.
struct Figures {
    rows_per_second: f64,
    requests_per_second: f64,
    cpu_us: f64,
    first: Vec<Duration>,
    last: Vec<Duration>,
    commits: Vec<Duration>,
    longest_unsynced: Duration,
    backlog: u64,
    /// Of the store's file, a request.
    bytes: f64,
}

/// As fast as it goes, or at a pace of so many requests a second.
fn run(sync: SyncPolicy, pace: Option<u64>) -> Figures {
    let folder = tempfile::Builder::new().prefix("ledger-bench").tempdir_in(".").unwrap();
    let watch = Arc::new(Watch::default());
    let settings = Settings { sync, ..Settings::new(folder.path()) };
    let (disk, observer) = (Arc::new(Watched(Arc::clone(&watch))), Arc::new(Watched(Arc::clone(&watch))));
    let (ledger, _) = Ledger::open_with(settings, SystemClock::shared(), disk, observer).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (cpu, began) = (cpu(), Instant::now());
    let until = began + if pace.is_some() { PACED } else { SUSTAINED };
    let (first, last) = runtime.block_on(async {
        let tasks: Vec<_> = (0..AT_ONCE).map(|task| tokio::spawn(requests(ledger.clone(), task, began, until, pace))).collect();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for task in tasks {
            let (more_first, more_last) = task.await.unwrap();
            first.extend(more_first);
            last.extend(more_last);
        }
        (first, last)
    });
    let (offered, backlog) = (began.elapsed(), ledger.gauges().backlog);
    runtime.block_on(ledger.close()).unwrap();
    // Everything is in the store now, and its time counts.
    let (took, requests) = (began.elapsed(), first.len() as f64);
    let figures = Figures {
        rows_per_second: watch.rows.load(Ordering::Relaxed) as f64 / took.as_secs_f64(),
        requests_per_second: requests / offered.as_secs_f64(),
        cpu_us: (self::cpu() - cpu) * 1e6 / requests,
        first,
        last,
        commits: std::mem::take(&mut watch.commits.lock().unwrap()),
        longest_unsynced: *watch.longest_unsynced.lock().unwrap(),
        backlog,
        bytes: std::fs::metadata(folder.path().join("ledger.sqlite3")).unwrap().len() as f64 / requests,
    };
    drop(runtime);
    figures
}

/// One after the other, as the gateway books them; how long the first byte and the last one waited.
async fn requests(
    ledger: Ledger,
    task: u64,
    began: Instant,
    until: Instant,
    pace: Option<u64>,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let terms = terms();
    for round in 0_u64.. {
        if let Some(pace) = pace {
            // By the clock and not one after the other: who waits long does not make fewer come.
            let due = began + Duration::from_secs_f64((round * AT_ONCE + task) as f64 / pace as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        if Instant::now() >= until {
            break;
        }
        let Ok(tab) = ledger.begin(request(task, round)) else {
            // The store is behind: the gateway would refuse this one.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut attempt = tab.attempt(attempt(&terms));
        attempt.sent();
        let _ = attempt.progress(Usage::fresh(Tokens::new(900), Tokens::new(1)), Provenance::Counted);
        let waits = Instant::now();
        tab.journaled().await.unwrap();
        first.push(waits.elapsed());
        attempt.settle(end()).unwrap();
        let waits = Instant::now();
        tab.close(RequestEnd {
            outcome: Outcome::Answered,
            status: 200,
            first_byte_ms: Some(3),
            duration_ms: 9,
            overhead_us: 60,
        })
        .await
        .unwrap();
        last.push(waits.elapsed());
    }
    (first, last)
}

fn terms() -> Terms {
    let price = |p| TokenPrice::per_million(p).unwrap();
    let tariff = Tariff { cache_read: price("0.2"), ..Tariff::flat(Currency::Cny, price("2"), price("8")) };
    Terms::new(Pricing::flat("acme/fast", tariff), ExchangeRate::parse(Currency::Cny, "7.1").unwrap(), "2026-11-20").unwrap()
}

fn request(task: u64, round: u64) -> RequestOpened {
    let now = Timestamp::now();
    let mut random = [0; 10];
    random[..2].copy_from_slice(&task.to_be_bytes()[6..]);
    random[2..].copy_from_slice(&round.to_be_bytes());
    RequestOpened {
        id: RequestId::from_parts(u64::try_from(now.as_millisecond()).unwrap(), random),
        client_request_id: None,
        marks: Marks::default(),
        key: KeyName::new(if task.is_multiple_of(2) { "web" } else { "batch" }),
        frontend: "openai_chat".into(),
        requested_model: "auto".into(),
        stream: false,
        session: None,
        arrived_at: now,
        book_version: "sha256:2b3c".into(),
        input_estimate: Tokens::new(900),
        expected_output: Tokens::new(200),
        quoted: Usd::from_pico(1_000_000),
        runner_up: Some(Usd::from_pico(2_000_000)),
        baseline: None,
        // As many as a short chat has.
        facts: vec![7; 85],
    }
}

fn attempt(terms: &Terms) -> AttemptOpened {
    AttemptOpened {
        pieces: Pieces::default(),
        backend: BackendId::new("acme", "fast"),
        provider: "acme".into(),
        model: "fast".into(),
        terms: terms.clone(),
        quoted: Usd::from_pico(1_000_000),
        held: Usd::from_pico(9_000_000_000),
        input_estimate: Tokens::new(900),
        input_upper: Tokens::new(1_100),
        expected_output: Tokens::new(200),
        output_bound: Tokens::new(4_000),
        started_at: Timestamp::now(),
        thinking: Thinking::Unsaid,
    }
}

fn end() -> AttemptEnd {
    AttemptEnd {
        ending: Ending::Complete,
        usage: Usage::fresh(Tokens::new(903), Tokens::new(187)),
        provenance: Provenance::Reported,
        served_model: Some("fast-2026-11".into()),
        served_before: None,
        http_status: Some(200),
        cause: None,
        first_byte_ms: Some(3),
        duration_ms: 9,
        free: None,
    }
}

/// Seconds of CPU that this process took.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn pair(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |permille: usize| {
        sorted.get((sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    format!("{} / {}", millis(at(500)), millis(at(990)))
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn write(told: &str, bytes: f64) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let text = format!(
        "# The books, measured\n\nWritten by `cargo bench --bench ledger -- --write`, {}, on {cores} cores that others used too (load \
         {load}); everything runs in one process: {AT_ONCE} requests at a time on one thread, the journal, the store and their upkeep.\n\n{told}\n\
         A request is three rows: its own, one attempt, the facts of its decision. The first column is without a pause for {} s, the others at \
         {PACE} requests/s for {} s. *First byte waits*: for the journal, before an answer begins; *last byte waits*: before it ends. Both \
         normally lie within the upstream's latency or beside it. *CPU a request* is all that the books take, on every thread: a gateway without \
         books would be cheaper by this. *Not on the disk for at most*: how long any byte was written and not forced to the disk, which is what \
         a loss of power takes; a killed process loses none of it. The store takes {bytes:.0} bytes a request.\n",
        Timestamp::now().strftime("%Y-%m-%d"),
        SUSTAINED.as_secs(),
        PACED.as_secs()
    );
    std::fs::write("docs/bench/ledger.md", text).unwrap();
}
