//! Streams of Responses, event by event, and that they add up to the whole answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::{
    about, about_own_tools, arguments, begin, call, deltas, responses_client, sealed, stream, stream_about, text, thought, used,
    whole, whole_about,
};
use super::super::{ErrorKind, Frontend, OpenAiResponses, seen};
use super::*;
use crate::canonical::Finish;
use crate::canonical::conversation::SealKind;

/// Each event as a line: its type without `response.`, where it belongs, and what it tells.
fn lines(deltas: &[Delta]) -> Vec<String> {
    lines_of(&stream(&OpenAiResponses, deltas, true))
}

fn lines_of(stream: &str) -> Vec<String> {
    let line = |frame: &str| {
        let data: Value = serde_json::from_str(frame.split_once("\ndata: ").unwrap().1).unwrap();
        let mut line = data["type"].as_str().unwrap().strip_prefix("response.").unwrap().to_owned();
        for place in ["output_index", "content_index", "summary_index"] {
            line += &data[place].as_u64().map_or(String::new(), |index| format!(" {index}"));
        }
        for told in ["delta", "text", "refusal", "arguments", "input"] {
            line += &data[told].as_str().map_or(String::new(), |told| format!(" {told:?}"));
        }
        for told in ["part", "item"] {
            line += &data.get(told).map_or(String::new(), |told| format!(" {told}"));
        }
        line
    };
    stream.split_terminator("\n\n").map(line).collect()
}

/// What comes between the beginning and the end.
fn check(deltas: &[Delta], expected: &[&str], end: &str) {
    let lines = lines(deltas);
    let inner = &lines[2..lines.len() - 1];
    assert_eq!((&lines[..2], inner), (&["created".to_owned(), "in_progress".to_owned()][..], &expected.map_lines()[..]));
    assert_eq!(lines.last().map(String::as_str), Some(end));
    responses_client(&stream(&OpenAiResponses, deltas, true));
}

trait MapLines {
    fn map_lines(&self) -> Vec<String>;
}

impl MapLines for [&str] {
    fn map_lines(&self) -> Vec<String> {
        self.iter().map(|line| (*line).to_owned()).collect()
    }
}

#[test]
fn a_text_comes_in_pieces_within_its_part_and_item() {
    let message = |status: &str, text: &str| {
        let content = if text.is_empty() {
            json!([])
        } else {
            json!([{"annotations": [], "logprobs": [], "text": text, "type": "output_text"}])
        };
        json!({"content": content, "id": "msg_req_1_0", "role": "assistant", "status": status, "type": "message"})
    };
    let part = |text: &str| json!({"annotations": [], "logprobs": [], "text": text, "type": "output_text"});
    let added = format!("output_item.added 0 {}", message("in_progress", ""));
    let (opened, closed) = (format!("content_part.added 0 0 {}", part("")), format!("content_part.done 0 0 {}", part("Oslo")));
    let done = |status: &str| format!("output_item.done 0 {}", message(status, "Oslo"));
    let told = |status: &str| {
        let (opened, closed, done) = (opened.clone(), closed.clone(), done(status));
        let deltas = ["output_text.delta 0 0 \"Os\"", "output_text.delta 0 0 \"lo\"", "output_text.done 0 0 \"Oslo\""];
        [vec![added.clone(), opened], deltas.map(str::to_owned).to_vec(), vec![closed, done]].concat()
    };
    for (finish, status, end) in [(Finish::Stop, "completed", "completed"), (Finish::Length, "incomplete", "incomplete")] {
        let deltas = [begin(), text("Os"), text(""), text("lo"), Delta::Finish(finish)];
        let expected = told(status);
        check(&deltas, &expected.iter().map(String::as_str).collect::<Vec<_>>(), end);
    }
    check(&[begin()], &[], "completed");
}

#[test]
fn a_thought_is_a_summary_and_ends_with_its_seal() {
    let deltas = [begin(), thought("h"), thought("m"), sealed(SealKind::AnthropicSignature), sealed(SealKind::OpenAiEncrypted)];
    check(
        &deltas,
        &[
            r#"output_item.added 0 {"id":"rs_req_1_0","summary":[],"type":"reasoning"}"#,
            r#"reasoning_summary_part.added 0 0 {"text":"","type":"summary_text"}"#,
            r#"reasoning_summary_text.delta 0 0 "h""#,
            r#"reasoning_summary_text.delta 0 0 "m""#,
            r#"reasoning_summary_text.done 0 0 "hm""#,
            r#"reasoning_summary_part.done 0 0 {"text":"hm","type":"summary_text"}"#,
            r#"output_item.done 0 {"encrypted_content":"anthropic-claude-v1:sig","id":"rs_req_1_0","summary":[{"text":"hm","type":"summary_text"}],"type":"reasoning"}"#,
            r#"output_item.added 1 {"id":"rs_req_1_1","summary":[],"type":"reasoning"}"#,
            r#"output_item.done 1 {"encrypted_content":"sig","id":"rs_req_1_1","summary":[],"type":"reasoning"}"#,
        ],
        "completed",
    );
}

#[test]
fn calls_at_once_are_told_one_after_the_other() {
    let item = |nth: usize, name: &str, arguments: &str, status: &str| {
        json!({"arguments": arguments, "call_id": format!("call_{nth}"), "id": format!("fc_req_1_{nth}"), "name": name,
            "status": status, "type": "function_call"})
    };
    let deltas = [
        begin(),
        call(0, "weather"),
        arguments(0, "{\"a\""),
        call(1, "time"),
        arguments(1, "{}"),
        arguments(0, ":1}"),
        arguments(7, "lost"),
        call(2, "now"),
        Delta::Finish(Finish::Stop),
    ];
    let expected = [
        format!("output_item.added 0 {}", item(0, "weather", "", "in_progress")),
        r#"function_call_arguments.delta 0 "{\"a\"""#.to_owned(),
        r#"function_call_arguments.delta 0 ":1}""#.to_owned(),
        r#"function_call_arguments.done 0 "{\"a\":1}""#.to_owned(),
        format!("output_item.done 0 {}", item(0, "weather", "{\"a\":1}", "completed")),
        format!("output_item.added 1 {}", item(1, "time", "", "in_progress")),
        r#"function_call_arguments.delta 1 "{}""#.to_owned(),
        r#"function_call_arguments.done 1 "{}""#.to_owned(),
        format!("output_item.done 1 {}", item(1, "time", "{}", "completed")),
        format!("output_item.added 2 {}", item(2, "now", "", "in_progress")),
        r#"function_call_arguments.delta 2 "{}""#.to_owned(),
        r#"function_call_arguments.done 2 "{}""#.to_owned(),
        format!("output_item.done 2 {}", item(2, "now", "{}", "completed")),
    ];
    check(&deltas, &expected.each_ref().map(String::as_str), "completed");
}

#[test]
fn a_call_of_a_custom_tool_is_told_as_one_and_its_text_as_it_comes() {
    let item = |input: &str, status: &str| json!({"call_id": "call_0", "id": "ctc_req_1_0", "input": input, "name": "f", "status": status, "type": "custom_tool_call"});
    let deltas = [
        begin(),
        call(0, "f"),
        arguments(0, "{\"inp"),
        arguments(0, "ut\": \"a\\"),
        arguments(0, "nb"),
        arguments(0, "\\\""),
        arguments(0, "\"}"),
        call(1, "n__g"),
        arguments(1, "{\"a\":1}"),
        Delta::Finish(Finish::Calls),
    ];
    let stream = stream_about(&OpenAiResponses, &deltas, about_own_tools());
    let lines = lines_of(&stream);
    let in_namespace = |arguments: &str, status: &str| {
        json!({"arguments": arguments, "call_id": "call_1", "id": "fc_req_1_1", "name": "g", "namespace": "n", "status": status,
            "type": "function_call"})
    };
    let expected = [
        format!("output_item.added 0 {}", item("", "in_progress")),
        r#"custom_tool_call_input.delta 0 "a""#.to_owned(),
        r#"custom_tool_call_input.delta 0 "\nb""#.to_owned(),
        r#"custom_tool_call_input.delta 0 "\"""#.to_owned(),
        r#"custom_tool_call_input.done 0 "a\nb\"""#.to_owned(),
        format!("output_item.done 0 {}", item("a\nb\"", "completed")),
        format!("output_item.added 1 {}", in_namespace("", "in_progress")),
        r#"function_call_arguments.delta 1 "{\"a\":1}""#.to_owned(),
        r#"function_call_arguments.done 1 "{\"a\":1}""#.to_owned(),
        format!("output_item.done 1 {}", in_namespace("{\"a\":1}", "completed")),
    ];
    assert_eq!(lines[2..lines.len() - 1], expected);
    responses_client(&stream);
}

#[test]
fn what_a_model_writes_to_a_custom_tool_without_json_is_told_whole() {
    let check = |deltas: &[Delta], input: &str, status: &str| {
        let deltas: Vec<Delta> = [begin()].into_iter().chain(deltas.iter().cloned()).collect();
        let told = responses_client(&stream_about(&OpenAiResponses, &deltas, about_own_tools()));
        let call = &told["output"][0];
        assert_eq!((&call["type"], &call["input"], &call["status"]), (&json!("custom_tool_call"), &json!(input), &json!(status)));
    };
    check(&[call(0, "f")], "", "completed");
    check(&[call(0, "f"), arguments(0, "{}")], "", "completed");
    check(&[call(0, "f"), arguments(0, "{\"pat"), arguments(0, "ch\":1}")], "{\"patch\":1}", "completed");
    check(&[call(0, "f"), arguments(0, "{\"input\":\"a\\u00"), Delta::Finish(Finish::Length)], "a\\u00", "incomplete");
    // Braces end no text: what comes beside it waits.
    let beside = [call(0, "f"), arguments(0, "f({})"), call(1, "g"), arguments(0, " + 1"), arguments(1, "{}")];
    check(&beside, "f({}) + 1", "completed");
}

#[test]
fn a_refusal_is_a_part_beside_the_text_and_a_call_says_its_seal_before() {
    let deltas = [begin(), text("Hm."), Delta::Refusal("No.".into()), Delta::Finish(Finish::Filtered)];
    let lines = lines(&deltas);
    let kinds: Vec<&str> = lines.iter().map(|line| line.split(" {").next().unwrap()).collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added 0",
        "content_part.added 0 0",
        "output_text.delta 0 0 \"Hm.\"",
        "output_text.done 0 0 \"Hm.\"",
        "content_part.done 0 0",
        "content_part.added 0 1",
        "refusal.delta 0 1 \"No.\"",
        "refusal.done 0 1 \"No.\"",
        "content_part.done 0 1",
        "output_item.done 0",
        "incomplete",
    ];
    assert_eq!(kinds, expected);
    let seal = Some(crate::canonical::conversation::Seal { kind: SealKind::GeminiSignature, value: "g".into() });
    let called = Delta::Call { slot: 0, id: None, name: "f".into(), seal };
    let told = responses_client(&stream(&OpenAiResponses, &[begin(), called], true));
    assert_eq!(told["output"][0]["encrypted_content"], "google-gemini-v1:g");
    assert_eq!(told["output"][1]["call_id"], "call_req_1_0");
}

#[test]
fn usage_stands_in_the_event_that_ends_the_answer_and_each_event_on_one_line() {
    let asked =
        "{\"model\":\"m\",\"tools\":[\n {\"type\":\"function\",\n\"name\":\"a\\nb\"}],\"temperature\":0.50,\"input\":\"hi\"}";
    let mut writer = OpenAiResponses.stream_writer(About { asked: asked.into(), ..about(true) });
    let mut out = BytesMut::new();
    for delta in [begin(), text("4"), Delta::Usage(used())] {
        writer.write(delta, &mut out);
    }
    writer.end(&mut out);
    let stream = String::from_utf8(out.to_vec()).unwrap();
    assert!(stream.split_terminator("\n\n").all(|frame| frame.lines().count() == 2), "{stream}");
    let told = responses_client(&stream);
    assert_eq!((told["usage"]["input_tokens"].as_u64(), told["usage"]["total_tokens"].as_u64()), (Some(991), Some(1016)));
    assert_eq!((&told["tools"][0]["name"], &told["temperature"]), (&json!("a\nb"), &json!(0.5)));
    assert!(stream.contains("\"temperature\":0.50"), "as the client wrote it");
}

#[test]
fn a_stream_that_broke_off_ends_with_a_response_that_failed() {
    let error = ClientError::new(502, ErrorKind::Server, "upstream_broken", "it broke");
    let frame = String::from_utf8(OpenAiResponses.error_event(&error, &about(true), &Seen::default()).to_vec()).unwrap();
    let data = frame.strip_prefix("event: response.failed\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let told: Value = serde_json::from_str(data).unwrap();
    let response = &told["response"];
    assert_eq!((&told["type"], &told["sequence_number"]), (&json!("response.failed"), &json!(u32::MAX)));
    assert_eq!((&response["id"], &response["status"]), (&json!("resp_req_1"), &json!("failed")));
    assert_eq!(
        response["error"],
        json!({
            "code": "server_error", "message": "it broke", "param": null, "type": "server_error",
            "tokenbroker": {"code": "upstream_broken"},
        })
    );
}

#[test]
fn a_failure_has_a_code_of_theirs() {
    for (kind, code, expected) in [
        (ErrorKind::Server, "upstream_error", "server_error"),
        (ErrorKind::Server, "timeout", "server_error"),
        (ErrorKind::RateLimit, "upstream_unavailable", "rate_limit_exceeded"),
        (ErrorKind::InvalidRequest, "moderation", "invalid_prompt"),
        (ErrorKind::InvalidRequest, "context_length_exceeded", "context_length_exceeded"),
    ] {
        let error = ClientError::new(502, kind, code, "it broke");
        let frame = OpenAiResponses.error_event(&error, &about(true), &Seen::default());
        let told: Value = seen::events(&frame).next().unwrap();
        assert_eq!(
            (&told["response"]["error"]["code"], &told["response"]["error"]["tokenbroker"]["code"]),
            (&json!(expected), &json!(code))
        );
    }
}

proptest! {
    #[test]
    fn a_stream_adds_up_to_the_whole_answer(deltas in deltas()) {
        prop_assert_eq!(responses_client(&stream(&OpenAiResponses, &deltas, true)), whole(&OpenAiResponses, &deltas));
    }

    #[test]
    fn so_does_one_of_custom_tools(deltas in deltas()) {
        let stream = stream_about(&OpenAiResponses, &deltas, about_own_tools());
        prop_assert_eq!(responses_client(&stream), whole_about(&OpenAiResponses, &deltas, &about_own_tools()));
    }
}
