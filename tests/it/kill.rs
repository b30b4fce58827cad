//! Promise 1: after `kill -9` at any moment, every answer of which a client saw a byte is in the books, a finished one to
//! the token, a cut one from above within the stated margin, and nothing twice.
//!
//! Held against each other are what the clients saw, what the sandbox truly served, and what the books say after the next
//! start. Each gateway is asked 500 times a second, whether it keeps up or not, until the client that gets a certain piece of an
//! answer kills it; the next one serves within a second and goes on with the books of the last. The same where the disk was full
//! when it died, where nothing could be written, and in a fleet (`fleet`). `TOKENBROKER_KILLS` sets how many gateways die, and
//! `TOKENBROKER_KILLS_INTO` where what was found is written (`scripts/kills` makes `docs/kills.md` of it).

mod evidence;
mod fleet;
mod load;

use std::time::Duration;

use rustix::process::Pid;

use self::evidence::{Evidence, Mute, Tally};
use self::load::{Asked, Doom, Full, Load, Loaded, clock};
use crate::harness::seeded::Seeded;
use crate::harness::small_disk::SmallDisk;
use crate::harness::{Call, Gateway, Sandbox, Setup, rows};

const SEED: u64 = 0x0070_6b69_6c6c;
/// How soon after its start one must serve.
const SERVES_WITHIN: Duration = Duration::from_secs(1);

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
    let evidence = Evidence::gather(&[&gateway.setup.data()], sandbox, mute).await;
    evidence.judge(loaded, tally);
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
        let doom = Doom::at(dice.between(100, 4_000));
        let asked = Asked { doomed: &gateway, beside: None, key: None };
        let loaded = Load::run(&asked, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), &doom).await;
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
        let doom = Doom::at(fatal).filling(filling, full());
        let asked = Asked { doomed: &gateway, beside: None, key: None };
        let loaded = Load::run(&asked, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), &doom).await;
        first += u64::try_from(loaded.seen.len()).unwrap();
        let killed = gateway.kill();
        free();
        let mute = Mute { since_ms: doom.full_ms().min(loaded.died_ms), refuses: true };
        setup = judged(killed, &sandbox, &loaded, mute, &mut tally).await;
    }
    tally
}
