//! Promise 12: when the books cannot be written, nobody gets an answer that is not in them, and everything else goes on.
//!
//! Two ways for a disk to fail: one on which no file may grow (a limit of the process, so that it runs everywhere), where
//! not even what is open can be ended; and one that is really full, where room was set aside for that.

use rustix::process::{Resource, Rlimit, prlimit};

use crate::harness::client::Connection;
use crate::harness::small_disk::SmallDisk;
use crate::harness::{Answer, Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider, until};

const KEY: &str = "tb-unwritable";

fn ask() -> Call {
    Call::chat(chat::ask("auto")).key(KEY)
}

/// A stream of which the client has the first word; the provider sends the rest when the gate opens.
async fn open_stream(gateway: &Gateway, east: &Provider) -> (Answer, Gate) {
    let gate = Gate::shut();
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let call = Call::chat(chat::ask_stream("auto")).key(KEY);
    let mut answer = gateway.call(&call).await;
    answer.read_past("Hel").await;
    (answer, gate)
}

async fn readiness(gateway: &Gateway) -> [Whole; 2] {
    let api = gateway.ask(&Call::get("/readyz")).await;
    let mut operator = Connection::open(gateway.operations).await;
    operator.send(&Call::get("/readyz")).await;
    [api, operator.answer().await.whole().await]
}

async fn until_ready(gateway: &Gateway, status: u16) -> String {
    let both = async || {
        let both = readiness(gateway).await;
        both.iter().all(|ready| ready.status == status).then(|| both[0].text().to_owned())
    };
    until("the readiness to turn", both).await
}

fn check_refusal(refused: &Whole) {
    assert_eq!((refused.status, refused.error("code").as_str()), (503, Some("books_unwritable")), "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
}

/// While the books are red: nothing is asked upstream, keys are checked, the metric says so.
async fn check_red(gateway: &Gateway, east: &Provider) {
    let calls = east.calls().len();
    check_refusal(&gateway.ask(&ask()).await);
    assert_eq!(east.calls().len(), calls, "a request that cannot be booked was sent");
    for stranger in [Call::chat(chat::ask("auto")), Call::chat(chat::ask("auto")).header("authorization", "Bearer tb-other")] {
        assert_eq!(gateway.ask(&stranger).await.status, 401);
    }
    assert!(gateway.metrics().await.contains("tokenbroker_ledger_writable 0\n"));
}

async fn check_green(gateway: &Gateway) {
    until_ready(gateway, 200).await;
    assert!(gateway.metrics().await.contains("tokenbroker_ledger_writable 1\n"));
    let answer = gateway.ask(&ask()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.row_of(&answer).await;
}

#[tokio::test]
async fn no_answer_ends_well_on_a_disk_that_takes_nothing_and_all_is_booked_when_it_does_again() {
    let east = Provider::start("east").await;
    // A write beyond the limit is an error only for a process that ignores the signal that comes with it.
    let gateway = Setup::of([Site::of(&east)]).key("team", KEY).after("trap '' XFSZ").start();
    let (stream, gate) = open_stream(&gateway, &east).await;
    let id = stream.header("x-tokenbroker-request-id").to_owned();

    let limit = |current| prlimit(Some(gateway.process()), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    limit(Some(0));
    check_refusal(&gateway.ask(&ask()).await);
    // Whoever comes to the disk first notices: who writes a record, or who sets the next segment aside.
    let said = until_ready(&gateway, 503).await;
    assert!(["the journal cannot be written", "no journal segment"].iter().any(|reason| said.contains(reason)), "{said}");
    check_red(&gateway, &east).await;
    gate.open();
    let rest = stream.whole().await;
    assert!(!rest.text().contains("[DONE]") && rest.text().contains(r#"data: {"error":"#), "{}", rest.text());
    assert!(rest.text().contains("books_unwritable"), "{}", rest.text());

    limit(None);
    check_green(&gateway).await;
    let row = gateway.booked(&id).await;
    assert_eq!((row.usage.input().get(), row.usage.output.get(), row.cost.to_exact()), (9, 4, "0.000017".to_owned()));
    assert_eq!(gateway.drain().await.0.code(), Some(0));
}

#[tokio::test]
async fn what_is_open_ends_well_on_a_full_disk_and_new_requests_wait_until_there_is_room() {
    // Room for one segment of the journal, not for two.
    let Some(disk) = SmallDisk::mount("24m") else {
        println!("skipped: cannot mount");
        return;
    };
    let east = Provider::start("east").await;
    let data = disk.path().join("data");
    let gateway = Setup::of([Site::of(&east)]).key("team", KEY).set("books.directory", &data.to_string_lossy()).start();
    let (stream, gate) = open_stream(&gateway, &east).await;
    let id = stream.header("x-tokenbroker-request-id").to_owned();

    SmallDisk::fill(disk.path());
    assert!(until_ready(&gateway, 503).await.contains("no journal segment could be set aside"));
    check_red(&gateway, &east).await;
    gate.open();
    let rest = stream.whole().await;
    assert!(rest.complete && rest.text().ends_with(chat::DONE), "{}", rest.text());

    disk.grow("128m");
    check_green(&gateway).await;
    assert_eq!(gateway.booked(&id).await.outcome, "answered");
    assert_eq!(gateway.drain().await.0.code(), Some(0));
}
