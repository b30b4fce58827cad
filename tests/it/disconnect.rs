//! Clients that leave: the provider is let go within a second, and what it may have done is booked.

use std::time::Duration;

use tokenbroker::units::{Tokens, Usd};
use tokio::time::Instant;

use crate::harness::provider::{begun, then};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat};

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_provider_and_is_booked_at_the_estimate() {
    for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(vec![Step::Stall]);
        let client = gateway.sent(&Call::chat(ask)).await;
        let arrived = east.call(0).await;

        let left = Instant::now();
        drop(client);
        arrived.hung_up().await;
        assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());

        let row = gateway.all_booked(1).await.remove(0);
        assert_eq!((row.outcome.as_str(), row.attempts.len(), west.calls().len()), ("abandoned", 1, 0));
        let attempt = &row.attempts[0];
        assert_eq!((attempt.ending.as_str(), attempt.provenance.as_str()), ("abandoned", "estimated"));
        assert!(attempt.usage.fresh_input > Tokens::ZERO && row.cost > Usd::ZERO, "{attempt:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_stream_cancels_the_provider_and_is_booked_at_what_was_counted() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    east.next(then(begun(&[chat::role(), chat::text("The answer to everything is")]), [Step::Stall]));
    let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    answer.read_past("everything").await;
    let (arrived, id) = (east.call(0).await, answer.header("x-tokenbroker-request-id").to_owned());

    let left = Instant::now();
    drop(answer);
    arrived.hung_up().await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());

    let row = gateway.booked(&id).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.ending.as_str()), ("abandoned", "abandoned"));
    assert_eq!((attempt.provenance.as_str(), attempt.usage.output), ("counted", Tokens::new(5)));
}

#[tokio::test]
async fn a_client_that_leaves_while_the_second_provider_is_asked_is_booked_for_both() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    east.next(vec![Step::Reset]);
    west.next(vec![Step::Stall]);
    let client = gateway.sent(&Call::chat(chat::ask("auto"))).await;
    let arrived = west.call(0).await;

    drop(client);
    arrived.hung_up().await;

    let row = gateway.all_booked(1).await.remove(0);
    let endings: Vec<&str> = row.attempts.iter().map(|attempt| attempt.ending.as_str()).collect();
    assert_eq!((row.outcome.as_str(), endings), ("abandoned", vec!["failed", "abandoned"]));
    assert_eq!(row.cost, row.attempts.iter().map(|attempt| attempt.cost).sum());
}

#[tokio::test]
async fn clients_that_leave_teach_nothing_about_the_provider() {
    let silent = vec![Step::Stall];
    let speaking = then(begun(&[chat::text("Well,")]), [Step::Stall]);
    for (script, begins) in [(silent, false), (speaking, true)] {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east)]);
        // More than the failures in a row after which a backend is left alone.
        for number in 0..6 {
            east.next(script.clone());
            let client = gateway.sent(&Call::chat(chat::ask_stream("auto"))).await;
            let arrived = east.call(number).await;
            if begins {
                client.answer().await.read_past("Well,").await;
            } else {
                drop(client);
            }
            arrived.hung_up().await;
        }
        gateway.all_booked(6).await;

        assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_stream_is_cut() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("timeouts.stream_idle_ms", "1000").start();
    // More than all the buffers on the way can take: the kernel lets those of one connection grow to 32 MiB.
    let pages = vec![chat::text(&"words without end ".repeat(20_000)); 300];
    east.next(begun(&pages));
    let reader = gateway.sent(&Call::chat(chat::ask_stream("auto"))).await;

    east.call(0).await.hung_up().await;
    let row = gateway.all_booked(1).await.remove(0);
    assert_eq!((row.outcome.as_str(), row.attempts.len()), ("abandoned", 1), "{row:?}");
    assert!(row.cost > Usd::ZERO);
    drop(reader);
}
