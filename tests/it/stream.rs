//! Streams: frames as the provider sent them, one ending, and no ending that pretends.

use crate::harness::{Gateway, Provider, Site, chat};

#[tokio::test]
async fn frames_pass_unchanged_and_the_usage_frame_nobody_asked_for_is_left_out() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    let expected = [chat::role(), chat::text("Hel"), chat::text("lo."), chat::finish(), chat::DONE.to_owned()].concat();
    assert_eq!((answer.status, answer.text(), answer.complete), (200, expected.as_str(), true));
    let row = gateway.booked(answer.header("x-tokenbroker-request-id")).await;
    assert_eq!((row.outcome.as_str(), row.cost.to_exact()), ("answered", "0.000017".to_owned()));
}
