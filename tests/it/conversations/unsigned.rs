//! Thoughts that a provider of Messages does not sign: where its row says that it takes such, they go back to it, whatever the API of the
//! client; to who signs thoughts none is told.

use serde_json::{Value, json};

use super::*;
use crate::harness::provider::{Script, stream, whole};

/// How a thought is told: with an empty signature, or without the member.
const TOLD: [Option<&str>; 2] = [Some(""), None];

/// Thinks without a signature and calls a tool.
fn calls(streamed: bool, signature: Option<&str>) -> Script {
    let block = |thinking: &str| {
        let mut block = json!({"type": "thinking", "thinking": thinking});
        if let Some(signature) = signature {
            block["signature"] = signature.into();
        }
        block
    };
    let call = |input: Value| json!({"type": "tool_use", "id": "toolu_1", "name": "tide", "input": input});
    if !streamed {
        let blocks = json!([block("Ask first."), call(json!({"place": "Oslo"}))]);
        return whole(&messages::answer_with(&blocks.to_string(), r#"{"input_tokens":9,"output_tokens":4}"#));
    }
    stream(&[
        messages::start(r#"{"input_tokens":9,"output_tokens":1}"#),
        messages::block(0, &block("").to_string()),
        messages::delta(0, r#"{"type":"thinking_delta","thinking":"Ask first."}"#),
        messages::end(0),
        messages::block(1, &call(json!({})).to_string()),
        messages::delta(1, r#"{"type":"input_json_delta","partial_json":"{\"place\":\"Oslo\"}"}"#),
        messages::end(1),
        messages::finish("tool_use", r#"{"output_tokens":4}"#),
        messages::STOP.to_owned(),
    ])
}

/// What the provider is sent of the turn and of the wish to think, and what the client is told was left out.
async fn sent(api: Api, streamed: bool, signature: Option<&str>, takes: bool) -> (Value, Value, String) {
    let east = Provider::start("east").await;
    let site = Thinker::Messages.site(&east);
    let gateway = Gateway::of([if takes { site.quirk("unsigned_thoughts = true") } else { site }]);
    east.next(calls(streamed, signature)).next(Thinker::Messages.says(streamed, "Go now."));
    let mut talk = Talk::begin(api, streamed, &["tide"], "May I sail?");
    let called = talk.ask(&gateway).await;
    answer_in_reverse(&mut talk, &called);
    let done = talk.ask(&gateway).await;
    assert_eq!(done.text, "Go now.");
    let body: Value = serde_json::from_str(east.calls()[1].text()).unwrap();
    (
        body["messages"][1]["content"][0].clone(),
        body["thinking"]["type"].clone(),
        done.answer.header("x-tokenbroker-dropped").to_owned(),
    )
}

/// A known defect: clients of other APIs lost it, the model was told not to think, and one that always thinks was shown its call without
/// the thought that led to it.
#[tokio::test]
async fn a_thought_that_nobody_signed_goes_back_to_its_maker() {
    for streamed in [false, true] {
        for signature in TOLD {
            for api in [Api::Chat, Api::Messages, Api::Responses] {
                let told = sent(api, streamed, signature, true).await;
                let mut block = json!({"type": "thinking", "thinking": "Ask first.", "signature": ""});
                // Its own bytes, as it told them.
                if api == Api::Messages && signature.is_none() {
                    block["signature"] = told.0.get("signature").cloned().unwrap_or_default();
                }
                let told = (&told.0["type"], &told.0["thinking"], &told.0["signature"], &told.1, told.2.as_str());
                let expected = (&block["type"], &block["thinking"], &block["signature"], &json!("enabled"), "");
                assert_eq!(told, expected, "{api:?} {signature:?} streamed: {streamed}");
            }
        }
    }
}

#[tokio::test]
async fn who_signs_thoughts_is_sent_none_without_a_signature() {
    for api in [Api::Chat, Api::Responses] {
        let (block, thinking, _) = sent(api, false, Some(""), false).await;
        assert_eq!((&block["type"], &thinking), (&json!("tool_use"), &json!("disabled")), "{api:?}");
    }
}

/// The turn that one made who takes such thoughts goes to one who signs his: without them.
#[tokio::test]
async fn a_thought_that_nobody_signed_is_not_told_to_who_signs_his() {
    for api in [Api::Chat, Api::Messages, Api::Responses] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let takes = Thinker::Messages.site(&east).quirk("unsigned_thoughts = true");
        let gateway = Gateway::of([takes, Thinker::Messages.site(&west).price("3", "6")]);
        east.next(calls(false, Some(""))).always(status(503, &[], &messages::error("overloaded_error", "It is down.")));
        west.next(Thinker::Messages.says(false, "Aye.")).next(Thinker::Messages.says(false, "Go now."));
        let begin = || Talk::begin(api, false, &["tide"], "May I sail?");
        let mut talk = begin();
        let called = talk.ask(&gateway).await;
        // It begins like another conversation.
        begin().at("west/jade-v3").ask(&gateway).await;
        answer_in_reverse(&mut talk, &called);

        assert_eq!(talk.ask(&gateway).await.text, "Go now.", "{api:?}");

        assert_eq!(west.calls().len(), 2, "{api:?}");
        assert!(!west.calls()[1].text().contains(r#""thinking":"Ask first.""#), "{api:?}: {}", west.calls()[1].text());
    }
}
