//! Messages: what stands in them, and that they come back as they were written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::AnthropicMessages;
use super::super::testing::{arguments, begin, call, conversation, deltas, sealed, text, thought, used, whole};
use super::*;
use crate::canonical::Delta;
use crate::canonical::conversation::SealKind;

fn check(deltas: &[Delta], content: &Value, stop: &Value) {
    let body = whole(&AnthropicMessages, deltas);
    assert_eq!((&body["content"], &json!([body["stop_reason"], body["stop_sequence"]])), (content, stop), "{deltas:?}");
}

#[test]
fn blocks_stand_in_the_order_in_which_they_were_said() {
    let saying = [begin(), text("a"), Delta::Refusal("b".into()), text("c")];
    let texts = json!([{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"text","text":"c"}]);
    let ending = |finish| [&saying[..], &[Delta::Finish(finish)]].concat();
    // Found by a reviewer: what declined was told as an answer like others.
    check(&ending(Finish::Stop), &texts, &json!(["refusal", null]));
    check(&ending(Finish::Calls), &texts, &json!(["refusal", null]));
    check(&[begin(), text("a"), Delta::Finish(Finish::Calls)], &json!([{"type":"text","text":"a"}]), &json!(["end_turn", null]));
    check(&ending(Finish::Length), &texts, &json!(["max_tokens", null]));
    let stopped = |at: Option<&str>| [begin(), text("a"), Delta::Finish(Finish::StopSequence(at.map(Into::into)))];
    check(&stopped(Some("x")), &json!([{"type":"text","text":"a"}]), &json!(["stop_sequence", "x"]));
    check(&stopped(None), &json!([{"type":"text","text":"a"}]), &json!(["stop_sequence", null]));
    check(&ending(Finish::Filtered), &texts, &json!(["refusal", null]));
    let calls = [begin(), call(0, "f"), call(1, "g"), arguments(0, "{\"a\":1}"), Delta::Finish(Finish::StopSequence(None))];
    let used = json!([{"type":"tool_use","id":"call_0","name":"f","input":{"a":1}},{"type":"tool_use","id":"call_1","name":"g","input":{}}]);
    check(&calls, &used, &json!(["tool_use", null]));
    check(&[begin()], &json!([]), &json!(["end_turn", null]));
}

#[test]
fn thoughts_have_the_signature_that_is_theirs() {
    // Found with pydantic-ai and the AI SDK: they did not send back what had none.
    const NONE: &str = "tokenbroker-unsigned-v1:";
    let thinking = |text: &str, signature: &str| json!({"type":"thinking","thinking":text,"signature":signature});
    let redacted = |data: &str| json!({"type":"redacted_thinking","data":data});
    let end = json!(["end_turn", null]);
    check(&[thought("hm")], &json!([thinking("hm", NONE)]), &end);
    check(&[thought("hm"), sealed(SealKind::AnthropicSignature)], &json!([thinking("hm", "sig")]), &end);
    check(&[sealed(SealKind::AnthropicRedacted)], &json!([redacted("sig")]), &end);
    check(&[thought("hm"), sealed(SealKind::AnthropicRedacted)], &json!([thinking("hm", NONE), redacted("sig")]), &end);
    check(&[sealed(SealKind::OpenAiEncrypted)], &json!([thinking("", "openai-responses-v1:sig")]), &end);
    let seal = Some(Seal { kind: SealKind::GeminiSignature, value: "sig".into() });
    let called = Delta::Call { slot: 0, id: None, name: "f".into(), seal };
    let used = json!({"type":"tool_use","id":"call_req_1_0","name":"f","input":{}});
    check(&[called], &json!([redacted("google-gemini-v1:sig"), used]), &json!(["tool_use", null]));
}

#[test]
fn arguments_that_are_no_object_stand_in_one() {
    let check = |arguments: &str, expected: &str| {
        assert_eq!(serde_json::to_string(&Input::of(arguments)).unwrap(), expected);
    };
    check("", "{}");
    check(" \n", "{}");
    check(" {\"a\": 1.0} ", "{\"a\": 1.0}");
    check("{\"a\":", r#"{"_raw":"{\"a\":"}"#);
    check("[1]", r#"{"_raw":"[1]"}"#);
    check("null", r#"{"_raw":"null"}"#);
}

#[test]
fn usage_counts_cached_input_apart() {
    let body = whole(&AnthropicMessages, &[text("a"), Delta::Usage(used())]);
    let expected = json!({"input_tokens":31,"cache_creation_input_tokens":60,"cache_read_input_tokens":900,
        "cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":20},"output_tokens":25,
        "output_tokens_details":{"thinking_tokens":5}});
    assert_eq!((&body["usage"], &body["id"], &body["model"]), (&expected, &json!("req_1"), &json!("served")));
    assert_eq!((&body["type"], &body["role"]), (&json!("message"), &json!("assistant")));
}

/// What comes back of a part: a refusal as a text, a call with arguments, and a redacted thought apart from what was told of it.
fn back(part: Part) -> Vec<Part> {
    match part {
        Part::Refusal(text) => vec![Part::text(text)],
        Part::Call(call) if call.arguments.is_empty() => vec![Part::Call(Call { arguments: "{}".into(), ..call })],
        Part::Thought(Thought { text, seal: Some(seal) }) if seal.kind.is_redacted() => {
            let told = (!text.is_empty()).then_some(Part::Thought(Thought { text, seal: None }));
            let redacted = Part::Thought(Thought { text: String::new(), seal: Some(seal) });
            told.into_iter().chain([redacted]).collect()
        }
        other => vec![other],
    }
}

proptest! {
    #[test]
    fn an_answer_that_comes_back_is_what_was_written(deltas in deltas()) {
        let written: Vec<Part> = Answer::of(deltas.clone()).parts.into_iter().flat_map(back).collect();
        let content = whole(&AnthropicMessages, &deltas)["content"].take();
        let body = json!({"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":content}]}).to_string();
        let read = conversation(&AnthropicMessages, &body).unwrap();
        prop_assert_eq!(&read.turns[0].parts, &written);
    }
}
