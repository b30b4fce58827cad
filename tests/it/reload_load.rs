//! A table of a thousand backends, reloaded again and again while hundreds of clients ask: nobody notices but by the price,
//! every row is of one table, and memory does not grow.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::time::{Duration, Instant};

use crate::harness::rows::AttemptRow;
use crate::harness::seeded::Seeded;
use crate::harness::site::table;
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, rows};

const BACKENDS: u64 = 1_000;
const CLIENTS: u64 = 200;
const RELOADS: u64 = 24;

/// A backend's price per million tokens in this generation of the table, in cents: in and out.
fn cents(backend: u64, generation: u64) -> (u64, u64) {
    (100 + backend + 2_000 * generation, 200 + backend + 3_000 * generation)
}

/// The table in its n-th generation: the same backends, every price another one.
fn generation(east: &Provider, generation: u64) -> String {
    let mut rows = String::new();
    for backend in 1..BACKENDS {
        let (input, output) = cents(backend, generation);
        let dollars = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
        write!(
            rows,
            "[[backends]]\nprovider = \"east\"\nmodel = \"m{backend}\"\ncontext_tokens = 131072\nmax_output_tokens = 8192\n\
             features = [\"tools\"]\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\n\
             [[backends.prices]]\ninput = {}\noutput = {}\nsource = \"invented for tests\"\n",
            dollars(input),
            dollars(output)
        )
        .unwrap();
    }
    let (input, output) = cents(0, generation);
    let site = Site::of(east).price(&format!("{}", input / 100), &format!("{}", output / 100)).more(&rows);
    table(&[site]).replace("\"test\"", &format!("\"generation-{generation}\""))
}

/// Puts a table where the gateway finds it, at once.
fn put(gateway: &Gateway, text: &str) {
    let path = gateway.setup.path("providers.toml");
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

/// Asks for a reload that applies, and answers the version in force from then on.
async fn applied(gateway: &Gateway) -> String {
    let report = gateway.operator(&Call::post("/reload", "")).await;
    assert_eq!(report.json()["result"], "applied", "{}", report.text());
    report.json()["version"].as_str().unwrap().to_owned()
}

/// The generation that a version names.
fn named(version: &str) -> u64 {
    let (name, _) = version.split_once('+').unwrap();
    name.strip_prefix("generation-").unwrap().parse().unwrap()
}

/// The row costs what the table that it names asks for: cents per million tokens are 10,000 in 10⁻¹² dollars a token.
fn check_priced(row: &AttemptRow) {
    let model = row.backend.strip_prefix("east/").unwrap();
    let backend = model.strip_prefix('m').map_or(0, |number| number.parse().unwrap());
    let (input, output) = cents(backend, named(&row.book_version));
    let tokens = |count: i64| u64::try_from(count).unwrap();
    let amount = (tokens(row.fresh_input) * input + tokens(row.output) * output) * 10_000;
    assert_eq!((tokens(row.amount), tokens(row.cost), row.ending.as_str()), (amount, amount, "complete"), "{row:?}");
}

struct Asked {
    began: Instant,
    took: Duration,
    id: String,
}

/// One of many clients, who asks for models at random until it is told to stop.
async fn client(gateway: &Gateway, number: u64, stop: &AtomicBool) -> Vec<Asked> {
    let (mut chance, mut asked) = (Seeded::new(number), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let model = match chance.between(0, BACKENDS - 1) {
            0 => "auto".to_owned(),
            backend => format!("m{backend}"),
        };
        let body = if number.is_multiple_of(4) { chat::ask_stream(&model) } else { chat::ask(&model) };
        let began = Instant::now();
        let answer = gateway.chat(&body).await;
        assert!(answer.status == 200 && answer.complete, "{}", answer.text());
        let id = answer.header("x-tokenbroker-request-id").to_owned();
        asked.push(Asked { began, took: began.elapsed(), id });
    }
    asked
}

/// The 50th and the 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_backends_are_reloaded_under_load_without_a_failed_request() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east)]).own_table().set("reload.watch", "false").variable("TOKENBROKER_LOG", "info");
    fs::write(setup.path("providers.toml"), generation(&east, 0)).unwrap();
    let gateway = setup.start();
    let stop = AtomicBool::new(false);
    let clients = join_all((0..CLIENTS).map(|number| client(&gateway, number, &stop)));
    let reloads = async {
        let mut windows = Vec::new();
        let mut versions = BTreeSet::new();
        for number in 1..=RELOADS {
            put(&gateway, &generation(&east, number));
            let began = Instant::now();
            versions.insert(applied(&gateway).await);
            windows.push((began, Instant::now()));
            // Some requests on the new table before the next one.
            let seen = east.calls().len();
            east.call(seen + usize::try_from(CLIENTS / 2).unwrap()).await;
        }
        stop.store(true, Ordering::Relaxed);
        (windows, versions)
    };
    let (asked, (windows, versions)) = tokio::join!(clients, reloads);

    let asked: Vec<Asked> = asked.into_iter().flatten().collect();
    gateway.all_booked(asked.len()).await;
    let attempts = rows::attempts(&gateway.setup.data());
    assert_eq!((attempts.len(), versions.len() as u64), (asked.len(), RELOADS));
    attempts.iter().for_each(check_priced);
    let used: BTreeSet<&str> = attempts.iter().map(|row| row.book_version.as_str()).collect();
    let known = |version: &&&str| versions.contains(**version) || named(version) == 0;
    assert_eq!(used.iter().filter(known).count(), used.len(), "{used:?}");
    assert!(used.len() as u64 > RELOADS / 2, "each table was asked of: {}", used.len());
    let booked: BTreeSet<&str> = attempts.iter().map(|row| row.request.as_str()).collect();
    assert!(asked.iter().all(|asked| booked.contains(asked.id.as_str())), "each answer has its row");
    let crossed = |asked: &&Asked| windows.iter().any(|(from, to)| asked.began < *to && asked.began + asked.took > *from);
    let (during, beside): (Vec<_>, Vec<_>) = asked.iter().partition(crossed);
    let took = |list: Vec<&Asked>| percentiles(list.into_iter().map(|asked| asked.took).collect());
    let reload = percentiles(windows.iter().map(|(from, to)| *to - *from).collect());
    println!("{} requests, {} of them across a reload", asked.len(), during.len());
    println!("p50 and p99: {:?} beside reloads, {:?} across; a reload: {reload:?}", took(beside), took(during));
}

#[tokio::test]
async fn a_hundred_reloads_leave_no_memory_behind() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east)]).own_table().set("reload.watch", "false").variable("TOKENBROKER_LOG", "info");
    fs::write(setup.path("providers.toml"), generation(&east, 0)).unwrap();
    let gateway = setup.start();
    let tables = [generation(&east, 1), generation(&east, 2)];
    let resident = async || {
        let text = gateway.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        value.map(|value| value.parse::<f64>().unwrap() / 1_048_576.0).unwrap()
    };
    let many = async |count: usize| {
        for number in 0..count {
            put(&gateway, &tables[number % 2]);
            applied(&gateway).await;
            assert_eq!(gateway.chat(&chat::ask("m7")).await.status, 200);
        }
    };
    // By then every thread's part of the heap is as large as it gets.
    many(60).await;
    let before = resident().await;
    many(100).await;
    let after = resident().await;
    println!("resident: {before:.1} MiB after 60 reloads, {after:.1} MiB after 160");
    // A table that stayed behind at each of them would be 80 MiB and more. What a thread of the allocator keeps varies by a dozen.
    assert!(after < before + 40.0, "{before:.1} MiB, then {after:.1} MiB");
}
