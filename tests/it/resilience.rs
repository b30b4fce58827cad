//! Outages: backends that fail are left alone, retries stay within their budget, and one that hangs cannot collect
//! every request.

use futures_util::future::join_all;

use crate::harness::provider::{Script, status, then};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, until};

fn down() -> Script {
    status(500, &[], &chat::error("down"))
}

#[tokio::test]
async fn a_backend_that_keeps_failing_is_left_alone() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    east.always(down());

    for _ in 0..7 {
        assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "west/jade-v3");
    }

    assert_eq!((east.calls().len(), west.calls().len()), (5, 7));
}

#[tokio::test]
async fn a_failure_that_will_last_opens_the_breaker_at_once() {
    for code in [401, 402, 404] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.always(status(code, &[], &chat::error("not you")));

        for _ in 0..3 {
            assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
        }

        assert_eq!((east.calls().len(), west.calls().len()), (1, 3), "{code}");
    }
}

#[tokio::test]
async fn a_provider_that_names_a_time_is_left_alone_until_then_and_the_client_is_told_when() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    east.next(status(429, &[("retry-after", "120")], &chat::error("slow down")));

    let first = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((first.status, first.header("retry-after")), (503, "120"));

    let second = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((second.status, second.error("code")), (503, "no_backend_available".into()));
    let wait: u64 = second.header("retry-after").parse().unwrap();
    assert!((60..=120).contains(&wait), "{wait}");
    assert_eq!(second.header("x-should-retry"), "true");
    assert_eq!(east.calls().len(), 1);
}

#[tokio::test]
async fn retries_are_a_share_of_the_traffic() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
    let gateway = Setup::of(sites).set("retries.share_percent", "20").set("retries.floor_per_second", "0").start();
    // Every third one fails, which is too seldom for the breaker: the fourth and fifth failure find a fifth of the
    // requests before them as reserve.
    let mut statuses = Vec::new();
    for number in 0..15 {
        if number % 3 == 0 {
            east.next(down());
        } else {
            east.next(crate::harness::provider::whole(&chat::answer("Hi.", 9, 4)));
        }
        statuses.push(gateway.chat(&chat::ask("auto")).await.status);
    }

    // After 1, 4, 7, 10 and 13 requests a fifth of them is 0.2, 0.8, 1.4, 2.0 and 2.6; two of these are whole retries.
    assert_eq!((statuses[0], statuses[3], statuses[6], statuses[9], statuses[12]), (503, 503, 200, 200, 503));
    assert_eq!((east.calls().len(), west.calls().len()), (15, 2));
}

#[tokio::test]
async fn an_outage_of_everybody_sees_at_most_the_allowed_share_of_extra_requests() {
    const REQUESTS: usize = 30;
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6"), Site::of(&south).price("4", "8")];
    let gateway = Setup::of(sites).set("retries.share_percent", "20").set("retries.floor_per_second", "0").start();
    // All of them are under way before the first fails, so that no breaker can help.
    let gate = Gate::shut();
    east.always(then(vec![Step::Wait(gate.clone())], down()));
    west.always(down());
    south.always(down());

    let ask = chat::ask("auto");
    let asked = join_all((0..REQUESTS).map(|_| gateway.chat(&ask)));
    let release = async {
        east.call(REQUESTS - 1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(asked, release);

    assert!(answers.iter().all(|answer| answer.status == 503), "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    let extra = west.calls().len() + south.calls().len();
    assert_eq!((east.calls().len(), extra), (REQUESTS, REQUESTS / 5));
}

#[tokio::test]
async fn a_backend_that_hangs_cannot_collect_every_request() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
    let gateway = Setup::of(sites).set("limits.max_waiting_per_backend", "4").start();
    let gate = Gate::shut();
    let answer = crate::harness::provider::whole(&chat::answer("At last.", 9, 4));
    east.always(then(vec![Step::Wait(gate.clone())], answer));

    let ask = chat::ask("auto");
    let hanging = join_all((0..4).map(|_| gateway.chat(&ask)));
    let others = async {
        east.call(3).await;
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(gateway.chat(&ask).await);
        }
        gate.open();
        answers
    };
    let (hanging, others) = tokio::join!(hanging, others);

    let from = |answers: &[Whole], id: &str| answers.iter().filter(|a| a.header("x-tokenbroker-backend") == id).count();
    assert_eq!((from(&hanging, "east/jade-v3"), from(&others, "west/jade-v3")), (4, 6));
    assert_eq!(east.calls().len(), 4);
}

#[tokio::test]
async fn more_requests_than_may_be_under_way_are_told_to_come_again() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("limits.max_concurrent_requests", "2").start();
    let gate = Gate::shut();
    east.next(vec![Step::Wait(gate.clone()), Step::Close]).next(vec![Step::Wait(gate.clone()), Step::Close]);
    let ask = Call::chat(chat::ask("auto"));
    let (first, second) = (gateway.sent(&ask).await, gateway.sent(&ask).await);
    east.call(1).await;

    let refused = gateway.ask(&ask).await;
    assert_eq!((refused.status, refused.error("code")), (503, "overloaded".into()));
    assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), ("1", "true"));

    gate.open();
    drop((first.answer().await, second.answer().await));
    // Its place is given back with the answer.
    until("a free place", async || (gateway.ask(&ask).await.status == 200).then_some(())).await;
}
