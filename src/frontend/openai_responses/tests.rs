//! What the path reads of a request.

use std::ops::Range;

use super::super::{Frontend, is_sealed, unpriced};
use super::*;

fn parse(body: &str) -> Result<Request, BadRequest> {
    OpenAiResponses.parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
}

fn with(members: &str) -> Request {
    let body = format!(r#"{{"model":"auto","input":[{{"role":"user","content":"hi"}}],{members}}}"#);
    parse(&body).unwrap_or_else(|error| panic!("{body}: {error:?}"))
}

fn has(members: &str, expected: &[Feature]) {
    assert_eq!(with(members).features.iter().collect::<Vec<_>>(), expected, "{members}");
}

#[test]
fn what_a_request_needs_is_read_from_its_members() {
    has(r#""store":true"#, &[]);
    let tools = r#""tools":[{"type":"function","name":"f"}]"#;
    has(tools, &[Feature::Tools]);
    has(&format!(r#"{tools},"tool_choice":"required""#), &[Feature::Tools, Feature::ForcedTool]);
    has(&format!(r#"{tools},"tool_choice":{{"type":"function","name":"f"}}"#), &[Feature::Tools, Feature::ForcedTool]);
    has(&format!(r#"{tools},"tool_choice":{{"type":"allowed_tools","mode":"auto","tools":[]}}"#), &[Feature::Tools]);
    has(r#""text":{"format":{"type":"json_schema","name":"a","schema":{}}}"#, &[Feature::JsonSchema]);
    has(r#""text":{"format":{"type":"json_object"}}"#, &[Feature::JsonObject]);
    has(r#""top_logprobs":3"#, &[Feature::Logprobs]);
    let media = r#"{"model":"m","input":[{"role":"user","content":[{"image_url":"data:image/png;base64,AA==","type":"input_image"},{"type":"input_file","file_data":"AA"}]},
        {"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://a/b"}]}]}"#;
    let request = parse(media).unwrap();
    assert_eq!(request.features.iter().collect::<Vec<_>>(), [Feature::ImageInput, Feature::FileInput]);
    assert_eq!((request.images, request.messages), (2, 2));
    let reasoning = |effort: &str| with(&format!(r#""reasoning":{{"effort":{effort}}}"#)).reasoning;
    assert_eq!(
        (reasoning("\"low\""), reasoning("\"none\""), reasoning("null")),
        (ReasoningWish::On, ReasoningWish::Off, ReasoningWish::Unsaid)
    );
}

#[test]
fn bounds_streams_and_wishes_are_read() {
    let request = with(r#""stream":true,"max_output_tokens":64,"tokenbroker":{"session":"s"}"#);
    assert_eq!((request.shape, request.model.as_str(), request.stream), (Shape::OpenAiResponses, "auto", true));
    assert_eq!((request.output_bound, request.wants_usage_frame), (Some(Tokens::new(64)), true));
    assert_eq!(request.wishes.session.as_deref(), Some("s"));
}

#[test]
fn every_text_that_the_model_reads_is_counted() {
    let items = r#"[{"role":"user","content":"12345"},{"type":"reasoning","id":"rs_123","summary":[{"type":"summary_text","text":"123"}],"encrypted_content":"AAAAAAAA"},
        {"type":"function_call","id":"fc_1","call_id":"call_1","name":"1234","arguments":"{\"a\":1}","status":"completed"},
        {"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"12"}]}]"#;
    let request = parse(&format!(r#"{{"model":"m","instructions":"123456789","input":{items}}}"#)).unwrap();
    assert_eq!(request.text.bytes(), 9 + 5 + 3 + 4 + 7 + 2);
    let slice = |range: &Range<usize>| std::str::from_utf8(&request.body[range.clone()]).unwrap().to_owned();
    assert_eq!((slice(&request.members.messages).as_str(), slice(&request.members.system).as_str()), (items, "\"123456789\""));
    let text = parse(r#"{"model":"m","input":"12345"}"#).unwrap();
    assert_eq!((text.text.bytes(), text.messages, &text.members.messages), (5, 1, &(0..0)));
    let schema = with(r#""text":{"format":{"type":"json_schema","schema":{"a":1}}}"#);
    assert_eq!(schema.text.bytes(), 2 + 7);
}

fn refused(body: &str, code: &str, param: Option<&str>) -> BadRequest {
    let error = parse(body).expect_err(body);
    assert_eq!((error.code, error.param.as_deref()), (code, param), "{body}: {error:?}");
    error
}

#[test]
fn what_cannot_be_routed_is_refused_with_its_place() {
    refused(r#"{"model":"m"}"#, "missing_required_parameter", Some("input"));
    refused(r#"{"model":"m","input":null}"#, "invalid_value", Some("input"));
    refused(r#"{"model":"m","input":""}"#, "invalid_value", Some("input"));
    refused(r#"{"model":"m","input":[]}"#, "invalid_value", Some("input"));
    refused(r#"{"model":"m","input":7}"#, "invalid_type", Some("input"));
    refused(r#"{"input":"hi"}"#, "missing_required_parameter", Some("model"));
    refused(r#"{"model":"m","input":["hi"]}"#, "invalid_type", Some("input[0]"));
    refused(r#"{"model":"m","input":[{"role":"user","content":"a"},{"role":7}]}"#, "invalid_type", Some("input[1].role"));
    refused(r#"{"model":"m","input":[{"role":"user","content":7}]}"#, "invalid_type", Some("input[0].content"));
    refused(r#"{"model":"m","input":"hi","instructions":["a"]}"#, "invalid_type", Some("instructions"));
    refused(r#"{"model":"m","input":"hi","max_output_tokens":0}"#, "invalid_type", Some("max_output_tokens"));
    refused(r#"{"model":"m","input":"hi","input":"ho"}"#, "duplicate_parameter", Some("input"));
    refused(r#"{"model":"m","input":"hi","Stream":true}"#, "unknown_parameter", Some("Stream"));
    refused(r#"{"model":"m","input":"hi""#, "invalid_json", None);
    let deep = format!(r#"{{"model":"m","input":[{{"role":"user","x":{}1{}}}]}}"#, "[".repeat(200), "]".repeat(200));
    refused(&deep, "nesting_too_deep", Some("input[0]"));
}

#[test]
fn what_needs_an_answer_before_is_refused_as_none_is_stored() {
    let error = refused(
        r#"{"model":"m","input":"hi","previous_response_id":"resp_1"}"#,
        "unsupported_parameter",
        Some("previous_response_id"),
    );
    assert!(error.message.contains("whole conversation in `input`") && error.position.is_some(), "{error:?}");
    let item = r#"{"model":"m","input":[{"role":"user","content":"a"},{"type":"item_reference","id":"msg_1"}]}"#;
    refused(item, "unsupported_parameter", Some("input[1]"));
    assert!(parse(r#"{"model":"m","input":"hi","previous_response_id":null}"#).is_ok());
}

#[test]
fn what_changes_the_price_beyond_the_table_is_known() {
    let check =
        |members: &str, expected: Option<&str>| assert_eq!(unpriced(&OpenAiResponses, &with(members)), expected, "{members}");
    check(r#""service_tier":"priority""#, Some("service_tier"));
    check(r#""service_tier":"auto","tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"}]"#, None);
    check(r#""tools":[{"type":"web_search"}]"#, Some("tools"));
    let remote = r#"{"model":"m","input":[{"role":"user","content":[{"file_url":"https://a/b","type":"input_file"}]}]}"#;
    assert_eq!(unpriced(&OpenAiResponses, &parse(remote).unwrap()), Some("input"));
    let image = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a/b"}]}]}"#;
    assert_eq!(unpriced(&OpenAiResponses, &parse(image).unwrap()), None);
}

#[test]
fn encrypted_thoughts_are_seals() {
    let said =
        |item: &str| is_sealed(&parse(&format!(r#"{{"model":"m","input":[{item},{{"role":"user","content":"a"}}]}}"#)).unwrap());
    assert!(said(r#"{"type":"reasoning","id":"r","summary":[],"encrypted_content":"AAAA"}"#));
    assert!(!said(r#"{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"the \"encrypted_content\""}]}"#));
}
