//! Answers of Messages, read whole and event by event.

use proptest::prelude::*;

use super::*;
use crate::canonical::Answer;

fn whole(body: &str) -> Answer {
    Answer::of(Deltas::default().message(serde_json::from_str(body).unwrap()))
}

/// An answer's events, each of which is one frame.
fn streamed(events: &[&str]) -> Answer {
    let (mut reader, mut out) = (Deltas::default(), Vec::new());
    for event in events {
        reader.read(format!("event: x\r\ndata: {event}\r\n\r\n").as_bytes(), &mut out);
    }
    reader.end(&mut out);
    Answer::of(out)
}

/// A whole answer and the same as a stream.
fn check(body: &str, events: &[&str]) {
    assert_eq!(whole(body), streamed(events), "{body}");
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":3}}}"#;

#[test]
fn an_answer_is_read_alike_whole_and_as_a_stream() {
    check(
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
            {"type":"thinking","thinking":"Use the tool.","signature":"sig"},{"type":"redacted_thinking","data":"AAAA"},
            {"type":"text","text":"One \u4e00 moment."},
            {"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}},
            {"type":"tool_use","id":"toolu_2","name":"now","input":{}}],"stop_reason":"tool_use","stop_sequence":null}"#,
        &[
            START,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Use the "}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"tool."}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"AAAA"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"One 一"}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":" moment."}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"city\":\"Os"}}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"lo\"}"}}"#,
            r#"{"type":"content_block_stop","index":3}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":25}}"#,
            r#"{"type":"message_stop"}"#,
        ],
    );
}

#[test]
fn reasons_to_stop_are_told_once() {
    let sequence = || Finish::StopSequence(Some("END".into()));
    for (reason, expected) in [
        ("end_turn", Finish::Stop),
        ("pause_turn", Finish::Stop),
        ("something_new", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("tool_use", Finish::Calls),
        ("refusal", Finish::Filtered),
        ("stop_sequence", sequence()),
    ] {
        let stop = format!(r#""stop_reason":"{reason}","stop_sequence":"END""#);
        let answer = whole(&format!(r#"{{"type":"message","content":[{{"type":"text","text":"x"}}],{stop}}}"#));
        assert_eq!(answer.finish, expected, "{reason}");
        let end = format!(r#"{{"type":"message_delta","delta":{{{stop}}}}}"#);
        let (mut reader, mut out) = (Deltas::default(), Vec::new());
        for _ in 0..2 {
            reader.read(format!("data: {end}\n\n").as_bytes(), &mut out);
        }
        assert_eq!(out, [Delta::Finish(expected)], "{reason}");
    }
}

#[test]
fn what_is_missing_is_made_up_and_what_is_unknown_is_left_out() {
    let answer = whole(
        r#"{"id":"msg_9","content":[{"type":"server_tool_use","name":"web_search","input":{"q":1}},{"type":"tool_use","name":"f"},
        {"type":"tool_use","id":"","name":"g","input":null},{"text":"nobody knows"}],"stop_reason":"end_turn"}"#,
    );
    let ids: Vec<&str> = answer.calls().map(|call| call.id.as_str()).collect();
    assert_eq!((ids.as_slice(), answer.parts.len()), (&["call_msg_9_0", "call_msg_9_1"][..], 2));
    let nameless = whole(r#"{"content":[{"type":"tool_use","name":"f"}],"stop_reason":"tool_use"}"#);
    assert_eq!(nameless.calls().map(|call| call.id.as_str()).collect::<Vec<_>>(), [""], "whoever writes it makes one");
    assert_eq!(
        streamed(&[r#"{"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"{"}}"#]),
        Answer::default()
    );
    // A site whose beginning has its first block in it already.
    let eager = streamed(&[
        r#"{"type":"message_start","message":{"content":[{"type":"text","text":"Hel"}]}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}"#,
    ]);
    assert_eq!(eager.parts, [crate::canonical::Part::text("Hello")]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frames: Vec<Vec<u8>>, event in "[a-z_]{0,20}", cut in 0_usize..200) {
        let (mut reader, mut out) = (Deltas::default(), Vec::new());
        for frame in frames {
            reader.read(&frame, &mut out);
        }
        let json = format!(r#"data: {{"type":"{event}","index":-1,"delta":{{"type":"text_delta","text":[]}},"content_block":5}}"#);
        reader.read(&json.as_bytes()[..cut.min(json.len())], &mut out);
        reader.read(format!("data: {}", &START[..cut.min(START.len())]).as_bytes(), &mut out);
        reader.end(&mut out);
    }
}

/// Found by a reviewer: what followed a call without arguments waited for the end of the answer.
#[test]
fn a_call_without_arguments_ends_with_its_block() {
    let event = |data: &str| format!("data: {data}\n\n");
    let stream = [
        r#"{"type":"message_start","message":{"id":"msg_1","model":"m","content":[]}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"now","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"at","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"h\":1}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
    ];
    let stream: String = stream.into_iter().map(event).collect();
    let told = crate::dialect::testing::told(&crate::dialect::testing::streamed(
        &crate::dialect::AnthropicMessages,
        stream.as_bytes(),
        stream.len(),
    ));
    assert_eq!(told, "begin msg_1 m\ncall 0 a now\narguments 0 {}\ncall 1 b at\narguments 1 {\"h\":1}\n");
}
