//! Streams: frames as the provider sent them, one ending, and no ending that pretends.

use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{Script, begun, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat};

/// What `chat::hello` is without the usage frame that nobody asked for.
fn hello_without_usage() -> String {
    [chat::role(), chat::text("Hel"), chat::text("lo."), chat::finish(), chat::DONE.to_owned()].concat()
}

#[tokio::test]
async fn frames_pass_unchanged_and_the_usage_frame_nobody_asked_for_is_left_out() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert_eq!((answer.status, answer.text(), answer.complete), (200, hello_without_usage().as_str(), true));
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.outcome.as_str(), row.cost.to_exact().as_str()), ("answered", "0.000017"));
    assert_eq!((row.attempts.len(), row.attempts[0].provenance.as_str()), (1, "reported"));
}

#[tokio::test]
async fn any_cutting_of_a_stream_reaches_the_client_as_the_same_bytes() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let odd = [
        ": a comment\r\n\r\n".to_owned(),
        format!("event: message\r\nid: 7\r\n{}", chat::text("你好").replace('\n', "\r\n")),
        chat::text("").replace("data: ", "data:"),
        chat::frame(r#"{ "choices" : [ {"index":0, "delta":{"reasoning_content":"h\u006dm"}} ] , "unknown":[1, 2] }"#),
        chat::finish().replace('\n', "\r"),
        chat::DONE.to_owned(),
    ];
    let bytes = chat::joined(&odd);
    for cut in 1..bytes.len() {
        east.next(stream(&[&bytes[..cut], &bytes[cut..]]));
        let answer = gateway.chat(&chat::ask_stream("auto")).await;
        assert!(answer.body == bytes && answer.complete, "cut at {cut}: {:?}", answer.text());
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    east.next(stream(&single));
    assert_eq!(gateway.chat(&chat::ask_stream("auto")).await.body, bytes);
}

#[tokio::test]
async fn the_usage_frame_is_kept_for_a_client_that_asked_and_asked_for_where_it_did_not() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);

    let members = r#""stream":true,"stream_options":{"include_usage":true}"#;
    let asked = gateway.chat(&chat::ask_with("jade-v3", members)).await;
    assert_eq!(asked.body, chat::joined(&chat::hello()));
    assert_eq!(east.call(0).await.text(), chat::ask_with("jade-v3", members));

    gateway.chat(&chat::ask_stream("jade-v3")).await;
    let sent = r#""jade-v3","stream_options":{"include_usage":true},"messages""#;
    assert_eq!(east.call(1).await.text(), chat::ask_stream("jade-v3").replace(r#""jade-v3","messages""#, sent));

    let declined = chat::ask_with("jade-v3", r#""stream":true,"stream_options":{"include_usage":false,"x":1}"#);
    let answer = gateway.chat(&declined).await;
    assert_eq!(answer.text(), hello_without_usage());
    assert_eq!(east.call(2).await.text(), declined.replace("false", "true"));
}

/// Everything that can go wrong before the answer has said anything.
#[tokio::test]
async fn a_failure_before_the_first_content_moves_on_and_the_client_never_notices() {
    let scripts: [(&str, Script); 5] = [
        ("broken", then(begun(&[chat::role()]), [Step::Close])),
        ("broken", then(begun(&[chat::role(), chat::KEEP_ALIVE.to_owned()]), [Step::Reset])),
        ("broken", stream(&[chat::role()])),
        ("broken", then(begun(&[chat::text("cut").trim_end_matches("null}]}\n\n")]), [Step::Close])),
        ("overloaded", stream(&[chat::role(), chat::error_frame("the server is overloaded, try again")])),
    ];
    for (cause, script) in scripts {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(script);

        let answer = gateway.chat(&chat::ask_stream("auto")).await;

        assert_eq!((answer.status, answer.text()), (200, hello_without_usage().as_str()), "{cause}");
        assert_eq!(answer.header("x-tokenbroker-backend"), "west/jade-v3", "{cause}");
        let row = gateway.row_of(&answer).await;
        let [failed, answered] = row.attempts.as_slice() else { panic!("{:?}", row.attempts) };
        assert_eq!((failed.backend.as_str(), failed.ending.as_str()), ("east/jade-v3", "failed"), "{cause}");
        let told = failed.cause.as_deref().unwrap_or_default();
        assert!(told.starts_with(cause), "expected {cause}: {told}");
        assert_eq!((answered.backend.as_str(), answered.ending.as_str()), ("west/jade-v3", "complete"));
    }
}

#[tokio::test]
async fn keep_alives_alone_are_no_answer() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).price("3", "6")];
    let gateway = Setup::of(sites).set("timeouts.first_byte_ms", "300").start();
    east.next(then(begun(&[chat::KEEP_ALIVE, chat::KEEP_ALIVE, &chat::role()]), [Step::Stall]));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert_eq!((answer.status, answer.text()), (200, hello_without_usage().as_str()));
    east.call(0).await.hung_up().await;
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.attempts[0].ending.as_str(), row.attempts[0].provenance.as_str()), ("timed_out", "estimated"));
    assert!(row.attempts[0].cost > Usd::ZERO, "a time-out may have been billed");
}

/// Everything that can go wrong after the client has seen content.
#[tokio::test]
async fn a_stream_cut_after_content_ends_with_an_error_event_and_is_booked_at_what_was_said() {
    let started = [chat::role(), chat::text("The answer to everything is")];
    let half = chat::text("lost").into_bytes();
    let scripts: [(&str, Script); 4] = [
        ("upstream_broken", then(begun(&started), [Step::Close])),
        ("upstream_broken", then(begun(&started), [Step::Reset])),
        ("upstream_broken", then(then(begun(&started), begun(&[&half[..40]]).split_off(1)), [Step::Close])),
        ("upstream_truncated", stream(&started)),
    ];
    for (code, script) in scripts {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(script);

        let answer = gateway.chat(&chat::ask_stream("auto")).await;

        check_cut(&gateway, &answer, &started.concat(), code).await;
        assert!(west.calls().is_empty(), "no switch after the first byte");
    }
}

#[tokio::test]
async fn silence_within_a_stream_ends_it() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("timeouts.stream_idle_ms", "200").start();
    let started = [chat::role(), chat::text("The answer to everything is")];
    east.next(then(begun(&started), [Step::Stall]));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    check_cut(&gateway, &answer, &started.concat(), "upstream_broken").await;
    east.call(0).await.hung_up().await;
}

/// The client got what had come, then our error event, and nothing that says "done".
async fn check_cut(gateway: &Gateway, answer: &crate::harness::Whole, came: &str, code: &str) {
    let after = answer.text().strip_prefix(came).unwrap_or_else(|| panic!("{code}: {}", answer.text()));
    let event = after.strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n")).expect("one event");
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!((&event["error"]["code"], &event["error"]["type"]), (&code.into(), &"server_error".into()));
    assert!(!answer.text().contains("[DONE]"));
    let row = gateway.row_of(answer).await;
    assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"), "{code}");
    let attempt = &row.attempts[0];
    assert_eq!((attempt.provenance.as_str(), attempt.usage.output), ("counted", Tokens::new(5)), "{code}");
    assert!(attempt.usage.fresh_input > Tokens::ZERO, "{code}");
    let microdollars = attempt.usage.fresh_input.get() + 2 * attempt.usage.output.get();
    assert_eq!(row.cost, Usd::parse(&format!("0.{microdollars:06}")).unwrap(), "{code}");
}

#[tokio::test]
async fn an_error_event_of_the_provider_passes_as_it_is() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let frames = [chat::text("Well,"), chat::error_frame("the model fell over")];
    east.next(then(begun(&frames), [Step::Close]));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert_eq!((answer.status, answer.text()), (200, frames.concat().as_str()));
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
}

#[tokio::test]
async fn a_stream_that_said_why_it_ended_is_whole_without_the_mark() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let frames = [chat::role(), chat::text("Hi."), chat::finish(), chat::usage(9, 2)];
    east.next(stream(&frames));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    assert_eq!(answer.text(), frames[..3].concat());
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.outcome.as_str(), row.attempts[0].provenance.as_str()), ("answered", "reported"));
    assert_eq!(row.cost.to_exact(), "0.000013");
}

#[tokio::test]
async fn what_a_provider_does_not_report_is_counted() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    east.next(stream(&[chat::text("The answer to everything is"), chat::finish(), chat::DONE.to_owned()]));

    let streamed = gateway.chat(&chat::ask_stream("auto")).await;
    let attempt = gateway.row_of(&streamed).await.attempts.remove(0);
    assert_eq!((attempt.provenance.as_str(), attempt.usage.output), ("counted", Tokens::new(5)));

    let body = chat::answer("The answer to everything is", 9, 5);
    let without = body.split_once(r#","usage""#).unwrap().0.to_owned() + "}";
    east.next(whole(&without));
    let answered = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(answered.text(), without);
    let whole = gateway.row_of(&answered).await.attempts.remove(0);
    assert_eq!((whole.provenance.as_str(), whole.usage), ("counted", attempt.usage));
}

#[tokio::test]
async fn the_cost_of_a_stream_is_told_in_a_trailer_to_whoever_takes_trailers() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);

    let told = gateway.ask(&Call::chat(chat::ask_stream("auto")).header("te", "trailers")).await;
    assert_eq!(told.header("trailer"), "x-tokenbroker-cost-usd");
    assert_eq!(told.trailer("x-tokenbroker-cost-usd"), gateway.row_of(&told).await.cost.to_exact());

    let among_others = gateway.ask(&Call::chat(chat::ask_stream("auto")).header("te", "gzip;q=0.5, Trailers")).await;
    assert_eq!(among_others.trailer("x-tokenbroker-cost-usd"), "0.000017");

    let untold = gateway.chat(&chat::ask_stream("auto")).await;
    assert!(untold.trailers.is_empty() && untold.header("x-tokenbroker-cost-usd").is_empty());
}

#[tokio::test]
async fn frames_arrive_one_by_one_and_the_head_says_that_they_will() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let gate = crate::harness::Gate::shut();
    let rest = begun(&[chat::finish(), chat::DONE.to_owned()]).split_off(1);
    let end = Step::Send(bytes::Bytes::from_static(b"0\r\n\r\n"));
    let wait = [Step::Wait(gate.clone())];
    east.next(then(then(then(begun(&[chat::role(), chat::text("Hel")]), wait), rest), [end]));

    let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache", "no"));
    // The provider is still waiting for this test: nothing is held back until it ends.
    assert_eq!(answer.read_past("Hel\"").await, [chat::role(), chat::text("Hel")].concat());
    gate.open();
    let rest = answer.whole().await;
    assert_eq!((rest.text(), rest.complete), ([chat::finish(), chat::DONE.to_owned()].concat().as_str(), true));
}
