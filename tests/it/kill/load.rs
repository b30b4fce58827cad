//! Clients that ask until the gateway is dead, and what they saw of its answers.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use tokenbroker::clock::SystemClock;
use tokenbroker::sandbox::loopback::{self, LoopbackError};
use tokenbroker::tasks::Tasks;
use tokio::sync::watch;

use crate::harness::Gateway;
use crate::harness::seeded::Seeded;
use crate::harness::small_disk::SmallDisk;

/// How often the gateway that dies is asked, in a second.
const ASKED_A_SECOND: u64 = 500;
/// Another one of its fleet is asked once where it is asked so often.
const BESIDE: u64 = 10;
const MODELS: [&str; 6] = ["auto", "auto", "auto:standard", "auto:premium", "pearl-chat", "fjord-small"];
/// What stands before each token of a stream.
const TOKEN: &[u8] = b"content\":\"";

/// What a client saw of one answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Which request this was: its trace and its `x-request-id`.
    pub(super) number: u64,
    /// It was asked of the gateway that goes on.
    pub(super) beside: bool,
    pub(super) status: u16,
    /// Our request id, from the header.
    pub(super) id: String,
    /// What the header or the trailer said it cost.
    pub(super) cost: String,
    pub(super) bytes: usize,
    /// Its tokens, of a stream: a provider of the sandbox puts each into an event of its own. One that was cut in two is not counted.
    pub(super) tokens: i64,
    /// The answer came whole.
    pub(super) whole: bool,
}

/// Whom clients ask.
pub(super) struct Asked<'g> {
    /// The one that dies.
    pub(super) doomed: &'g Gateway,
    /// Another one of its fleet.
    pub(super) beside: Option<&'g Gateway>,
    /// The gateway key that they have.
    pub(super) key: Option<&'g str>,
}

/// Clients that ask until the gateway is dead.
pub(super) struct Load<'g> {
    asked: &'g Asked<'g>,
    tasks: Tasks,
    dice: Mutex<Seeded>,
    seen: Mutex<Vec<Seen>>,
    dead: AtomicBool,
    doom: &'g Doom,
}

/// What ends a gateway.
pub(super) struct Doom {
    /// The client that gets this piece of an answer, or the first one after it once that may be, kills it.
    fatal: u64,
    armed: AtomicBool,
    /// The one that gets this piece takes it the room to write.
    filling: Option<(u64, Full)>,
    /// When it was taken, in Unix milliseconds.
    full_ms: AtomicU64,
    /// How many pieces clients got.
    pieces: watch::Sender<u64>,
}

impl Doom {
    pub(super) fn at(fatal: u64) -> Self {
        Self { fatal, armed: AtomicBool::new(true), filling: None, full_ms: AtomicU64::new(0), pieces: watch::Sender::new(0) }
    }

    /// Before, at this piece, nothing can be written any more.
    pub(super) fn filling(self, piece: u64, full: Full) -> Self {
        Self { filling: Some((piece, full)), ..self }
    }

    /// Not before it is armed.
    pub(super) fn disarmed(self) -> Self {
        Self { armed: AtomicBool::new(false), ..self }
    }

    pub(super) fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Since when nothing could be written, in Unix milliseconds.
    pub(super) fn full_ms(&self) -> i64 {
        i64::try_from(self.full_ms.load(Ordering::Relaxed)).unwrap()
    }

    /// Waits until clients have got so many pieces.
    pub(super) async fn reached(&self, piece: u64) {
        self.pieces.subscribe().wait_for(|got| *got >= piece).await.unwrap();
    }
}

/// How a disk comes to be full.
pub(super) enum Full {
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
pub(super) struct Loaded {
    pub(super) seen: Vec<Seen>,
    /// When the gateway died, in Unix milliseconds.
    pub(super) died_ms: i64,
    pub(super) lasted: Duration,
}

impl<'g> Load<'g> {
    /// Asks until the gateway dies. Requests are numbered from `first`.
    pub(super) async fn run(asked: &'g Asked<'g>, first: u64, dice: Seeded, doom: &'g Doom) -> Loaded {
        let load = Self {
            asked,
            tasks: Tasks::on_this_runtime(),
            dice: Mutex::new(dice),
            seen: Mutex::default(),
            dead: AtomicBool::new(false),
            doom,
        };
        let began = clock();
        let mut numbers = first..;
        let mut under_way: FuturesUnordered<_> = FuturesUnordered::new();
        let mut beat = tokio::time::interval(Duration::from_micros(1_000_000 / ASKED_A_SECOND));
        let mut beats = 0..;
        while !load.dead.load(Ordering::Relaxed) {
            tokio::select! {
                _ = beat.tick() => {
                    under_way.push(load.client(numbers.next().unwrap(), asked.doomed.api));
                    let is_its_turn = beats.next().unwrap() % BESIDE == 0;
                    if let Some(beside) = asked.beside.filter(|_| is_its_turn) {
                        under_way.push(load.client(numbers.next().unwrap(), beside.api));
                    }
                }
                Some(()) = under_way.next() => {}
            }
        }
        let lasted = began.elapsed();
        let died_ms = SystemClock::shared().wall().as_millisecond();
        while under_way.next().await.is_some() {}
        drop(under_way);
        Loaded { seen: load.seen.into_inner().unwrap(), died_ms, lasted }
    }

    async fn client(&self, number: u64, gateway: SocketAddr) {
        let beside = gateway != self.asked.doomed.api;
        let mut seen = Seen { number, beside, ..Seen::default() };
        // A dead gateway is seen by many.
        let _ended = self.ask(&mut seen, gateway).await;
        self.seen.lock().unwrap().push(seen);
    }

    async fn ask(&self, seen: &mut Seen, gateway: SocketAddr) -> Result<(), LoopbackError> {
        // The one that goes on is not waited for long.
        let (body, stream) = self.request(!seen.beside);
        let (client, parent) = (client_id(seen.number), format!("00-{:032x}-00000000000000a1-01", seen.number));
        let key = self.asked.key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/json"), ("x-request-id", &client), ("traceparent", &parent)];
        headers.extend(key.as_deref().map(|key| ("authorization", key)));
        let url = format!("http://{gateway}/v1/chat/completions");
        let mut answer = loopback::call(&self.tasks, Method::POST, &url, &headers, body.to_string()).await?;
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
        let Doom { fatal, armed, filling, full_ms, pieces } = self.doom;
        let mut number = 0;
        pieces.send_modify(|got| {
            *got += 1;
            number = *got;
        });
        let gateway = self.asked.doomed.process();
        if let Some((_, full)) = filling.as_ref().filter(|(filling, _)| *filling == number) {
            let now = u64::try_from(SystemClock::shared().wall().as_millisecond()).unwrap();
            full_ms.store(now, Ordering::Relaxed);
            full.fill(gateway);
        }
        if number >= *fatal && armed.load(Ordering::Acquire) && !self.dead.swap(true, Ordering::Relaxed) {
            kill_process(gateway, Signal::KILL).unwrap();
        }
    }

    fn request(&self, may_be_long: bool) -> (Value, bool) {
        let mut dice = self.dice.lock().unwrap();
        let stream = dice.between(0, 2) == 0;
        let mut body = json!({
            "model": dice.pick(&MODELS),
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": dice.prompt()}],
            "stream": stream,
        });
        // Most are short, so that many fit into a second; one in ten is long enough to be cut.
        let tokens = if dice.between(0, 9) == 0 && may_be_long { dice.between(60, 600) } else { dice.between(1, 30) };
        body["sandbox"] = json!({"output_tokens": tokens});
        (body, stream)
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast a machine is, is measured by its clock")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

pub(super) fn client_id(number: u64) -> String {
    format!("client-{number}")
}
