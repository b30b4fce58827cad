//! What is booked where nobody reports, or somebody reports too early.

use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{begun, stream, then, whole};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, chat, chats, until};

/// A frame with text and the usage so far.
fn counted(piece: &str, output: u64) -> String {
    let frame = chat::text(piece);
    format!("{},\"usage\":{}}}\n\n", frame.strip_suffix("}\n\n").unwrap(), chat::usage_object(9, output))
}

#[tokio::test]
async fn corner_26_a_client_that_leaves_before_the_usage_is_booked_at_what_was_seen() {
    let snapshot = [chat::role(), counted("The answer to everything is", 7)];
    let text_alone = [chat::role(), chat::text("The answer to everything is")];
    for (frames, provenance, output) in [(snapshot, "reported", 7), (text_alone, "counted", 5)] {
        let (east, gateway) = chats().await;
        east.next(then(begun(&frames), [Step::Stall]));
        let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
        answer.read_past("everything").await;
        let id = answer.header("x-tokenbroker-request-id").to_owned();
        drop(answer);
        // The provider is let go: what nobody reads any more costs nothing more at most of them.
        east.call(0).await.hung_up().await;

        let row = gateway.booked(&id).await;
        let attempt = &row.attempts[0];
        let booked = (attempt.ending.as_str(), attempt.provenance.as_str(), attempt.usage.output.get());
        assert_eq!(booked, ("abandoned", provenance, output));
        assert!(attempt.usage.fresh_input > Tokens::ZERO && row.cost > Usd::ZERO);
    }
}

/// The other policy: the provider is heard to its end, and what it reports is booked; one that tells no end in time is let go.
#[tokio::test]
async fn corner_26_or_its_provider_is_heard_out_and_what_it_reports_is_booked() {
    let gate = Gate::shut();
    // Of a whole stream all but its head.
    let rest = stream(&[chat::text(" forty-two."), chat::finish(), chat::usage(9, 77), chat::DONE.to_owned()]).split_off(1);
    let goes_on = then(vec![Step::Wait(gate.clone())], rest);
    for (seconds, more, booked) in
        [("600", goes_on, ("complete", "reported", 77)), ("1", vec![Step::Stall], ("abandoned", "counted", 5))]
    {
        let east = Provider::start("east").await;
        let gateway = Setup::of([Site::of(&east)]).set("timeouts.heard_out_seconds", seconds).start();
        east.next(then(begun(&[chat::role(), chat::text("The answer to everything is")]), more));
        let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
        answer.read_past("everything").await;
        let id = answer.header("x-tokenbroker-request-id").to_owned();
        drop(answer);
        until("the client to be missed", async || gateway.setup.log().contains("hears an answer out").then_some(())).await;
        gate.open();

        let row = gateway.booked(&id).await;
        let attempt = &row.attempts[0];
        assert_eq!((attempt.ending.as_str(), attempt.provenance.as_str(), attempt.usage.output.get()), booked);
        assert_eq!(row.outcome, "abandoned", "the client has not got it");
        assert!(row.cost > Usd::ZERO);
        if booked.0 == "abandoned" {
            east.call(0).await.hung_up().await;
        }
    }
}

#[tokio::test]
async fn corner_27_the_loser_of_a_race_is_billed_too() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    let (never, both) = (Gate::shut(), Gate::shut());
    east.next(vec![Step::Wait(never)]);
    west.next(then(vec![Step::Wait(both.clone())], whole(&chat::answer("Hello.", 9, 4))));
    let body = chat::ask_with("auto", r#""tokenbroker":{"race":2}"#);
    let reached = async {
        east.call(0).await;
        both.open();
    };
    let (answer, ()) = tokio::join!(gateway.chat(&body), reached);

    let row = gateway.row_of(&answer).await;
    let loser = row.attempts.iter().find(|attempt| attempt.backend == "east/jade-v3").unwrap();
    assert_eq!((loser.ending.as_str(), loser.provenance.as_str()), ("superseded", "estimated"));
    assert!(loser.cost > Usd::ZERO && row.cost == row.attempts.iter().map(|attempt| attempt.cost).sum(), "{row:?}");
}

#[tokio::test]
async fn corner_28_a_usage_in_every_chunk_settles_a_stream_that_was_cut() {
    let (east, gateway) = chats().await;
    let frames = [chat::role(), counted("The answer", 3), counted(" to everything is", 8)];
    east.next(then(begun(&frames), [Step::Close]));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    let row = gateway.row_of(&answer).await;
    let attempt = &row.attempts[0];
    let booked = (attempt.ending.as_str(), attempt.provenance.as_str(), attempt.usage.input().get(), attempt.usage.output.get());
    assert_eq!(booked, ("cut", "reported", 9, 8), "the last one, and never their sum");
}
