//! Chat completions: what stands in them, and that they come back as they were written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::OpenAiChat;
use super::super::testing::{
    about_own_tools, arguments, begin, call, conversation, deltas, sealed, text, thought, used, whole, whole_about,
};
use super::*;
use crate::canonical::Delta;
use crate::canonical::conversation::{SealKind, Thought};

fn check(deltas: &[Delta], message: &Value, finish: &str) {
    let body = whole(&OpenAiChat, deltas);
    let expected = json!({"id":"a1","object":"chat.completion","created":1_790_000_000_u64,"model":"m",
        "choices":[{"index":0,"message":message,"logprobs":null,"finish_reason":finish}]});
    assert_eq!(body, expected, "{deltas:?}");
}

#[test]
fn a_message_has_what_was_said_and_null_for_what_was_not() {
    let said = |content: Value| json!({"role":"assistant","content":content,"refusal":null});
    check(&[begin(), text("a"), text("b")], &said(json!("ab")), "stop");
    check(&[begin(), text("a"), Delta::Finish(Finish::Length)], &said(json!("a")), "length");
    check(&[begin(), text("a"), Delta::Finish(Finish::StopSequence(Some("x".into())))], &said(json!("a")), "stop");
    check(&[begin(), Delta::Finish(Finish::Calls)], &said(json!("")), "stop");
    let refused = json!({"role":"assistant","content":null,"refusal":"no"});
    check(&[begin(), Delta::Refusal("no".into()), Delta::Finish(Finish::Filtered)], &refused, "content_filter");
    let called = json!({"role":"assistant","content":null,"refusal":null,"tool_calls":[
        {"id":"call_0","type":"function","function":{"name":"f","arguments":"{\"a\": 1"}},
        {"id":"call_1","type":"function","function":{"name":"g","arguments":"{}"}}]});
    let calls = [begin(), call(0, "f"), call(1, "g"), arguments(0, "{\"a\": 1")];
    check(&calls, &called, "tool_calls");
    check(&[&calls[..], &[Delta::Finish(Finish::Length)]].concat(), &called, "length");
    let thinking = json!({"role":"assistant","content":"a","refusal":null,"reasoning_content":"hm","reasoning_details":[
        {"type":"reasoning.text","text":"hm","signature":"sig","format":"anthropic-claude-v1","index":0,"origin":"tokenbroker"},
        {"type":"reasoning.encrypted","data":"sig","format":"openai-responses-v1","index":1,"origin":"tokenbroker"}]});
    let thoughts = [begin(), thought("hm"), sealed(SealKind::AnthropicSignature), sealed(SealKind::OpenAiEncrypted), text("a")];
    check(&thoughts, &thinking, "stop");
}

#[test]
fn a_call_of_a_custom_tool_has_its_text() {
    let deltas = [begin(), call(0, "f"), arguments(0, "{\"input\":\"a\\n\"}"), call(1, "g"), arguments(1, "{}"), call(2, "f")];
    let told = whole_about(&OpenAiChat, &deltas, &about_own_tools());
    let calls = json!([
        {"id":"call_0","type":"custom","custom":{"name":"f","input":"a\n"}},
        {"id":"call_1","type":"function","function":{"name":"g","arguments":"{}"}},
        {"id":"call_2","type":"custom","custom":{"name":"f","input":""}}]);
    let choice = &told["choices"][0];
    assert_eq!((&choice["message"]["tool_calls"], &choice["finish_reason"]), (&calls, &json!("tool_calls")));
}

/// Found by a reviewer: calls of an answer without ids had the ids of every other such answer, and two calls of one answer the same
/// one where the provider said so.
#[test]
fn calls_without_an_id_of_their_own_get_one_that_no_other_has() {
    let nameless = |slot, id: Option<&str>| Delta::Call { slot, id: id.map(str::to_owned), name: "f".into(), seal: None };
    let deltas = [nameless(0, None), nameless(1, Some("x")), nameless(2, Some("x")), nameless(3, Some(""))];
    let expected = ["call_req_1_0", "x", "call_req_1_2", "call_req_1_3"];
    let chat = whole(&OpenAiChat, &deltas);
    let calls = chat["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.iter().map(|call| call["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    let messages = whole(&super::super::AnthropicMessages, &deltas);
    let blocks = messages["content"].as_array().unwrap();
    assert_eq!(blocks.iter().map(|block| block["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    let ours = About { id: "0191e2f0-7d4e-7c3a-9b1d-2f3a4b5c6d7e".into(), ..super::super::testing::about(true) };
    assert!(call_id("", &ours, 99).len() <= 40);
}

#[test]
fn cached_input_is_part_of_the_prompt() {
    let body = whole(&OpenAiChat, &[text("a"), Delta::Usage(used())]);
    assert_eq!((&body["id"], &body["model"]), (&json!("req_1"), &json!("served")));
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens":991,"completion_tokens":25,"total_tokens":1016,
            "prompt_tokens_details":{"cached_tokens":900,"cache_write_tokens":60},"completion_tokens_details":{"reasoning_tokens":5}})
    );
}

#[test]
fn sound_and_images_are_told_where_there_are_any() {
    let t = crate::units::Tokens::new;
    let usage = Usage { image_input: t(5), audio_input: t(7), audio_output: t(11), ..used() };
    let told = whole(&OpenAiChat, &[text("a"), Delta::Usage(usage)]);
    let details = (&told["usage"]["prompt_tokens_details"], &told["usage"]["completion_tokens_details"]);
    let prompt = json!({"cached_tokens":900,"cache_write_tokens":60,"audio_tokens":7,"image_tokens":5});
    assert_eq!(details, (&prompt, &json!({"reasoning_tokens":5,"audio_tokens":11})));
}

/// What a conversation keeps of an answer.
#[derive(Default)]
struct Kept {
    text: String,
    refusal: String,
    calls: Vec<Call>,
    /// The sealed ones.
    thoughts: Vec<Thought>,
    /// The text of all.
    thought: String,
}

fn kept(parts: &[Part]) -> Kept {
    let mut kept = Kept::default();
    for part in parts {
        match part {
            Part::Text(said) => kept.text.push_str(&said.text),
            Part::Refusal(said) => kept.refusal.push_str(said),
            Part::Call(call) => {
                let arguments = if call.arguments.is_empty() { "{}".to_owned() } else { call.arguments.clone() };
                kept.calls.push(Call { arguments, ..call.clone() });
            }
            Part::Thought(thought) => {
                let between = if kept.thought.is_empty() || thought.text.is_empty() { "" } else { BETWEEN_THOUGHTS };
                kept.thought.push_str(between);
                kept.thought.push_str(&thought.text);
                kept.thoughts.extend(thought.seal.is_some().then(|| thought.clone()));
            }
            other => panic!("{other:?}"),
        }
    }
    kept
}

proptest! {
    #[test]
    fn an_answer_that_comes_back_is_what_was_written(deltas in deltas()) {
        let answer = Answer::of(deltas.clone());
        let message = whole(&OpenAiChat, &deltas)["choices"][0]["message"].take();
        let body = json!({"model":"m","messages":[message]}).to_string();
        let read = kept(&conversation(&OpenAiChat, &body).unwrap().turns[0].parts);
        let written = kept(&answer.parts);
        prop_assert_eq!((read.text, read.refusal, read.calls), (written.text, written.refusal, written.calls));
        // Where no sealed thought was told, the text of all goes to the first seal that takes it.
        if written.thoughts.iter().any(|thought| !thought.text.is_empty()) {
            prop_assert_eq!(read.thoughts, written.thoughts);
        } else {
            prop_assert_eq!(read.thought, written.thought);
            let seals = |thoughts: &[Thought]| thoughts.iter().map(|thought| thought.seal.clone()).collect::<Vec<_>>();
            prop_assert_eq!(seals(&read.thoughts), seals(&written.thoughts));
        }
    }
}
