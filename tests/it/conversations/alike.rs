//! Conversations that begin alike under one key: each one's thoughts go back to who made them, whoever else answered the same opening.

use serde_json::{Value, json};

use super::*;
use crate::harness::provider::whole;
use crate::harness::{Site, responses};

/// Without what was said elsewhere, and thinking on.
fn goes_on_as_it_was(thinker: Thinker, heard: &Heard, thought: &Thought, about: &str) {
    // A client's own bytes tell a tool's answer otherwise than ours.
    let held = |step: &Step| (step.thought.clone(), step.seals.clone());
    assert_eq!(heard.steps().iter().map(held).collect::<Vec<_>>(), [held(&of_its_own(thinker, thought))], "{about}");
    assert!(thinker != Thinker::Messages || heard.body["thinking"]["type"] == "enabled", "{about}: {}", heard.body);
}

/// East and west are asked the same and call tools, each in a conversation of its own; then both go on, the later one first.
async fn check_alike(api: Api, streamed: bool, (one, other): (Thinker, Thinker)) {
    let way = format!("{api:?} over {one:?} and {other:?}, streamed: {streamed}");
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([one.site(&east), other.site(&west).price("3", "6")]);
    east.next(one.calls(streamed, &EAST)).next(one.says(streamed, "Go east."));
    west.next(other.calls(streamed, &WEST)).next(other.says(streamed, "Go west."));
    let begin = |model| Talk::begin(api, streamed, &EAST.tools, "May I sail?").at(model);
    let (mut at_east, mut at_west) = (begin("east/jade-v3"), begin("west/jade-v3"));
    let (of_east, of_west) = (at_east.ask(&gateway).await, at_west.ask(&gateway).await);
    answer_in_reverse(&mut at_east, &of_east);
    answer_in_reverse(&mut at_west, &of_west);

    for (talk, text) in [(&mut at_west, "Go west."), (&mut at_east, "Go east.")] {
        let said = talk.ask(&gateway).await;
        assert_eq!((said.text.as_str(), said.answer.header("x-tokenbroker-dropped")), (text, ""), "{way}");
    }

    assert_eq!((east.calls().len(), west.calls().len()), (2, 2), "{way}");
    goes_on_as_it_was(one, &one.heard(&east.calls()[1]), &EAST, &way);
    goes_on_as_it_was(other, &other.heard(&west.calls()[1]), &WEST, &way);
}

/// A known defect: whoever had answered the same opening was taken for a maker of what the conversation held, so its thoughts were taken
/// out and thinking was switched off, in every later conversation of that opening.
#[tokio::test]
async fn conversations_that_begin_alike_keep_each_its_own_thoughts() {
    for api in [Api::Chat, Api::Messages, Api::Responses] {
        for way in WAYS {
            check_alike(api, false, way).await;
            check_alike(api, true, way).await;
        }
    }
}

/// Another's single answer to the same opening neither moves a conversation to it nor leaves its seal in when it has to move.
#[tokio::test]
async fn who_made_a_turn_is_told_by_the_turn() {
    for streamed in [false, true] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Thinker::Messages.site(&east), Thinker::Messages.site(&west).price("3", "6")]);
        east.next(Thinker::Messages.calls(streamed, &EAST)).next(Thinker::Messages.says(streamed, "Wait."));
        east.always(status(503, &[], &messages::error("overloaded_error", "It is down.")));
        west.next(Thinker::Messages.calls(streamed, &WEST)).next(Thinker::Messages.says(streamed, "Go now."));
        let begin = || Talk::begin(Api::Messages, streamed, &EAST.tools, "May I sail?");
        let mut talk = begin();
        let called = talk.ask(&gateway).await;
        assert_eq!(by(&called), "east/jade-v3");
        begin().at("west/jade-v3").ask(&gateway).await;

        answer_in_reverse(&mut talk, &called);
        assert_eq!(by(&talk.ask(&gateway).await), "east/jade-v3");
        talk.say("And now?");
        let done = talk.ask(&gateway).await;

        assert_eq!((by(&done), done.text.as_str()), ("west/jade-v3", "Go now."));
        goes_on_as_it_was(Thinker::Messages, &Thinker::Messages.heard(&east.calls()[1]), &EAST, "at east");
        // At once, and not after a refusal.
        assert_eq!(west.calls().len(), 2);
        assert_eq!(Thinker::Messages.heard(&west.calls()[1]).steps(), [of_another(Thinker::Messages, &EAST, false)]);
    }
}

/// The same between two models of Responses, whose client's bytes pass as they are.
#[tokio::test]
async fn encrypted_thoughts_pass_though_two_models_answered_the_same_opening() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([&east, &west].map(|provider| Site::of(provider).only_responses().thinks()));
    let answers = |of: &str| {
        let used = responses::usage(9, 0, 4, 2);
        let called = responses::answer(&[responses::thought(&format!("seal-{of}")), responses::call("call_1", "{}")], &used);
        [called, responses::answer(&[responses::message("Four.")], &used)].map(|body| whole(&body))
    };
    for (provider, of) in [(&east, "east"), (&west, "west")] {
        let [called, said] = answers(of);
        provider.next(called).next(said);
    }
    let begin = |model: &str| Talk::begin(Api::Responses, false, &["weather"], "How cold is it?").at(model);
    let (mut at_east, mut at_west) = (begin("east/jade-v3"), begin("west/jade-v3"));
    let (of_east, of_west) = (at_east.ask(&gateway).await, at_west.ask(&gateway).await);
    answer_in_reverse(&mut at_east, &of_east);
    answer_in_reverse(&mut at_west, &of_west);
    for (talk, provider, seal) in [(&mut at_west, &west, "seal-west"), (&mut at_east, &east, "seal-east")] {
        let history = talk.history.clone();
        assert_eq!(talk.ask(&gateway).await.text, "Four.");
        let sent: Value = serde_json::from_str(provider.calls()[1].text()).unwrap();
        assert_eq!((&sent["input"], &sent["input"][1]["encrypted_content"]), (&json!(history), &json!(seal)));
    }
}
