//! Whole answers, by what an SDK reads of them.

use serde_json::{Value, json};

use super::super::testing::{about, arguments, begin, call, sealed, text, thought, used, whole};
use super::super::{Frontend, OpenAiResponses};
use super::*;
use crate::canonical::Delta;
use crate::canonical::conversation::SealKind;

#[test]
fn what_was_thought_said_and_called_are_items_in_order() {
    let deltas = [
        begin(),
        thought("Use it."),
        sealed(SealKind::OpenAiEncrypted),
        text("One moment."),
        call(0, "weather"),
        arguments(0, "{\"city\":\"Oslo\"}"),
        call(1, "now"),
        Delta::Finish(Finish::Calls),
        Delta::Usage(used()),
    ];
    let told = whole(&OpenAiResponses, &deltas);
    let expected = json!([
        {"type": "reasoning", "id": "rs_req_1_0", "summary": [{"type": "summary_text", "text": "Use it."}], "encrypted_content": "sig"},
        {"type": "message", "id": "msg_req_1_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "One moment.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_req_1_2", "call_id": "call_0", "name": "weather", "arguments": "{\"city\":\"Oslo\"}", "status": "completed"},
        {"type": "function_call", "id": "fc_req_1_3", "call_id": "call_1", "name": "now", "arguments": "{}", "status": "completed"},
    ]);
    assert_eq!(told["output"], expected);
    let usage = json!({"input_tokens": 991, "input_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 60},
        "output_tokens": 25, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 1016});
    assert_eq!((&told["usage"], &told["status"], &told["incomplete_details"]), (&usage, &json!("completed"), &Value::Null));
}

fn check(finish: Finish, status: &str, reason: &Value) {
    let told = whole(&OpenAiResponses, &[begin(), thought("hm"), text("4"), Delta::Finish(finish)]);
    assert_eq!((&told["status"], &told["incomplete_details"]["reason"]), (&json!(status), reason));
    assert_eq!(told["output"][1]["status"], status);
}

#[test]
fn an_answer_that_was_cut_is_incomplete() {
    check(Finish::Stop, "completed", &Value::Null);
    check(Finish::StopSequence(Some("x".into())), "completed", &Value::Null);
    check(Finish::Length, "incomplete", &json!("max_output_tokens"));
    check(Finish::Filtered, "incomplete", &json!("content_filter"));
    let nothing = whole(&OpenAiResponses, &[begin(), Delta::Finish(Finish::Length)]);
    assert_eq!((&nothing["output"], &nothing["status"], &nothing["usage"]), (&json!([]), &json!("incomplete"), &Value::Null));
}

#[test]
fn a_response_repeats_its_request() {
    let asked = r#"{"model":"auto","input":"hi","instructions":"Be brief.","tools":[{"type":"function","name":"f","parameters":{}}],
        "tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"temperature":0.2,"metadata":{"a":"b"},
        "text":{"format":{"type":"json_object"}},"reasoning":{"effort":"low"},"max_output_tokens":64,"user":null}"#;
    let request: Value = serde_json::from_str(asked).unwrap();
    let body = OpenAiResponses.answer_body(&Answer::default(), &About { asked: asked.into(), ..about(true) });
    let told: Value = serde_json::from_slice(&body).unwrap();
    for (member, value) in request.as_object().unwrap().iter().filter(|(member, _)| !matches!(&***member, "model" | "input")) {
        assert_eq!(told[member], *value, "{member}");
    }
    let identity = (&told["id"], &told["object"], &told["model"], &told["created_at"]);
    assert_eq!(identity, (&json!("resp_req_1"), &json!("response"), &json!("served"), &json!(1_790_000_000)));
}

#[test]
fn what_was_not_asked_is_told_by_its_default() {
    let told = whole(&OpenAiResponses, &[begin(), text("4")]);
    let defaults = (&told["tools"], &told["tool_choice"], &told["parallel_tool_calls"], &told["text"], &told["metadata"]);
    assert_eq!(defaults, (&json!([]), &json!("auto"), &json!(true), &json!({"format": {"type": "text"}}), &json!({})));
    for member in ["instructions", "temperature", "top_p", "max_output_tokens", "reasoning", "previous_response_id", "error"] {
        assert_eq!(told.get(member), Some(&Value::Null), "{member}");
    }
    assert_eq!((&told["model"], &told["store"], &told["background"]), (&json!("m"), &json!(false), &json!(false)));
}
