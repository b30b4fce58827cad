//! Stopping: no new connections from the first moment, what is open may finish within its grace, and the books close last.

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::rows;
use crate::harness::{Answer, Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider, until};

/// A gateway with a stream open, of which the client has the first word; the provider sends the rest when the gate opens.
async fn with_an_open_stream(grace_seconds: &str) -> (Gateway, Answer, Gate, Provider) {
    let east = Provider::start("east").await;
    let gate = Gate::shut();
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let gateway = Setup::of([Site::of(&east)]).set("server.drain_seconds", grace_seconds).start();
    let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    answer.read_past("Hel").await;
    (gateway, answer, gate, east)
}

async fn readiness(gateway: &Gateway) -> Whole {
    let mut operator = Connection::open(gateway.operations).await;
    operator.send(&Call::get("/readyz")).await;
    operator.answer().await.whole().await
}

async fn turned_red(gateway: &Gateway) -> String {
    let red = until("the gateway to be not ready", async || Some(readiness(gateway).await).filter(|ready| ready.status == 503));
    red.await.text().to_owned()
}

async fn an_open_stream_finishes_after(signal: Signal) {
    let (mut gateway, answer, gate, _east) = with_an_open_stream("60").await;

    gateway.signal(signal);
    until("new connections to be refused", async || TcpStream::connect(gateway.api).await.err()).await;
    assert!(turned_red(&gateway).await.contains("draining"));
    gate.open();
    let rest = answer.whole().await;

    assert!(rest.complete && rest.text().contains("lo.") && rest.text().ends_with(chat::DONE), "{}", rest.text());
    assert_eq!(gateway.ended().await.code(), Some(0));
    let rows = rows::requests(&gateway.setup.data());
    assert_eq!((rows.len(), rows[0].outcome.as_str(), rows[0].input, rows[0].output), (1, "answered", 9, 4));
}

#[tokio::test]
async fn an_open_stream_finishes_whole_after_sigterm_and_nobody_new_gets_in() {
    an_open_stream_finishes_after(Signal::TERM).await;
}

#[tokio::test]
async fn an_interrupt_from_the_terminal_drains_too() {
    an_open_stream_finishes_after(Signal::INT).await;
}

#[tokio::test]
async fn a_stream_that_outlives_the_grace_period_is_cut_and_booked_before_the_end() {
    let (mut gateway, answer, _gate, east) = with_an_open_stream("1").await;

    let asked = Instant::now();
    gateway.terminate();
    let rest = answer.whole().await;

    assert!(!rest.complete && !rest.text().contains("[DONE]"), "{}", rest.text());
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(8), "it waited longer than its grace period: {:?}", asked.elapsed());
    east.call(0).await.hung_up().await;
    let rows = rows::attempts(&gateway.setup.data());
    let booked: Vec<_> = rows.iter().map(|row| (row.ending.as_str(), row.provenance.as_str(), row.output)).collect();
    assert_eq!(booked, [("abandoned", "counted", 1)]);
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once_and_the_next_start_books_what_was_open() {
    let (mut gateway, answer, _gate, _east) = with_an_open_stream("300").await;

    // The group's signal right behind the process's own is the same one.
    gateway.terminate();
    gateway.terminate();
    turned_red(&gateway).await;
    until("a later one to end it", async || {
        gateway.terminate();
        tokio::time::timeout(Duration::from_millis(200), gateway.ended()).await.ok().map(drop)
    })
    .await;

    assert_eq!(gateway.ended().await.code(), Some(0));
    let rest = answer.whole().await;
    assert!(!rest.complete && !rest.text().contains("[DONE]"), "{}", rest.text());
    let next = gateway.kill().start();
    let rows = rows::attempts(&next.setup.data());
    assert_eq!(rows.len(), 1);
    assert!(["lost", "abandoned"].contains(&rows[0].ending.as_str()) && rows[0].output > 0 && rows[0].cost > 0, "{rows:?}");
}

/// Nobody listens to it, so no grace is spent on it: it is booked at what was seen.
#[tokio::test]
async fn a_stream_that_is_heard_out_is_let_go_at_once() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east)]).set("server.drain_seconds", "600").set("timeouts.heard_out_seconds", "600");
    let mut gateway = setup.start();
    east.next(provider::then(provider::begun(&[chat::role(), chat::text("Hel")]), [Step::Stall]));
    let mut left = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    left.read_past("Hel").await;
    drop(left);
    until("the client to be missed", async || gateway.setup.log().contains("hears an answer out").then_some(())).await;

    gateway.signal(Signal::TERM);

    assert_eq!(gateway.ended().await.code(), Some(0));
    let rows = rows::requests(&gateway.setup.data());
    assert_eq!((rows.len(), rows[0].outcome.as_str()), (1, "abandoned"));
    assert!(rows[0].output > 0);
}
