//! Paths, errors and deltas.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::canonical::conversation::{Call, Part, Seal, SealKind, Thought};
use crate::canonical::event::ErrorClass::{self, *};
use crate::canonical::{Answer, Finish};
use crate::dialect::{Cutter, Framing};
use crate::units::Tokens;
use crate::wire_tests::eventstream;

/// The deltas of a stream whose bytes come in pieces of this length.
fn deltas(events: &str, piece: usize) -> Vec<Delta> {
    let stream = eventstream::written(events).concat();
    let (mut cutter, mut frames): (Cutter, _) = (Framing::EventStream.cutter(), Vec::new());
    for piece in stream.chunks(piece) {
        cutter.push(&Bytes::copy_from_slice(piece), &mut frames).unwrap();
    }
    let (mut reader, mut out) = (BedrockConverse.delta_reader(), Vec::new());
    for frame in &frames {
        reader.read(frame, &mut out);
    }
    assert_eq!(cutter.finish(), None);
    reader.end(&mut out);
    assert_eq!(reader.held(), 0);
    out
}

fn stop(reason: &str) -> String {
    format!("messageStop {{\"stopReason\":\"{reason}\"}}\n")
}

fn delta(block: u32, json: &str) -> String {
    format!("contentBlockDelta {{\"contentBlockIndex\":{block},\"delta\":{json}}}\n")
}

fn begins(block: u32, id: &str, name: &str) -> String {
    format!(
        "contentBlockStart {{\"contentBlockIndex\":{block},\"start\":{{\"toolUse\":{{\"toolUseId\":\"{id}\",\"name\":\"{name}\"}}}}}}\n"
    )
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::Call(Call { id: id.into(), name: name.into(), arguments: arguments.into(), seal: None, cached: None })
}

fn thought(text: &str, kind: SealKind, value: &str) -> Part {
    Part::Thought(Thought { text: text.into(), seal: Some(Seal { kind, value: value.into() }) })
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    for (model, path) in [
        ("amazon.nova-lite-v1:0", "/model/amazon.nova-lite-v1%3A0/converse"),
        (
            "arn:aws:bedrock:eu-west-1:1:inference-profile/x.y",
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Fx.y/converse",
        ),
        ("../é", "/model/..%2F%C3%A9/converse"),
    ] {
        assert_eq!(path_of(model, false), path);
        assert_eq!(path_of(model, true), format!("{path}-stream"));
    }
}

#[test]
fn a_stream_and_a_whole_answer_tell_the_same() {
    let stream = [
        "messageStart {\"role\":\"assistant\"}\n",
        &delta(0, r#"{"reasoningContent":{"text":"Lo"}}"#),
        &delta(0, r#"{"reasoningContent":{"text":"ok."}}"#),
        &delta(0, r#"{"reasoningContent":{"signature":"c2"}}"#),
        &delta(0, r#"{"reasoningContent":{"signature":"ln"}}"#),
        "contentBlockStop {\"contentBlockIndex\":0}\n",
        &delta(1, r#"{"reasoningContent":{"redactedContent":"AAAA"}}"#),
        "contentBlockStop {\"contentBlockIndex\":1}\n",
        &delta(2, r#"{"text":"Let me "}"#),
        &delta(2, r#"{"text":"see."}"#),
        &begins(3, "a", "weather"),
        &delta(3, r#"{"toolUse":{"input":"{\"place\":"}}"#),
        &begins(4, "b", "tide"),
        &delta(3, r#"{"toolUse":{"input":"\"Oslo\"}"}}"#),
        &delta(4, r#"{"toolUse":{"input":"{}"}}"#),
        &stop("tool_use"),
        "metadata {\"usage\":{\"inputTokens\":9,\"outputTokens\":4}}\n",
    ]
    .concat();
    let whole = br#"{"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"text":"Look.","signature":"c2ln"}}},{"reasoningContent":{"redactedContent":"AAAA"}},
        {"text":"Let me see."},{"toolUse":{"toolUseId":"a","name":"weather","input":{"place":"Oslo"}}},
        {"toolUse":{"toolUseId":"b","name":"tide","input":{}}}]}},"stopReason":"tool_use","usage":{"inputTokens":9,"outputTokens":4}}"#;
    let parts = [
        thought("Look.", SealKind::BedrockSignature, "c2ln"),
        thought("", SealKind::BedrockRedacted, "AAAA"),
        Part::text("Let me see."),
        call("a", "weather", r#"{"place":"Oslo"}"#),
        call("b", "tide", "{}"),
    ];
    for deltas in
        [deltas(&stream, 1), deltas(&stream, 7), deltas(&stream, usize::MAX), BedrockConverse.read_deltas(whole).unwrap()]
    {
        let answer = Answer::of(deltas);
        assert_eq!((&answer.parts[..], &answer.finish), (&parts[..], &Finish::Calls));
        let usage = answer.usage.unwrap();
        assert_eq!((usage.fresh_input, usage.output), (Tokens::new(9), Tokens::new(4)));
    }
}

#[test]
fn every_end_is_told() {
    for (reason, finish) in [
        ("end_turn", Some(Finish::Stop)),
        ("max_tokens", Some(Finish::Length)),
        ("model_context_window_exceeded", Some(Finish::Length)),
        ("stop_sequence", Some(Finish::StopSequence(None))),
        ("guardrail_intervened", Some(Finish::Filtered)),
        ("content_filtered", Some(Finish::Filtered)),
        ("malformed_model_output", None),
        ("", None),
    ] {
        let expected: Vec<Delta> = finish.map(Delta::Finish).into_iter().collect();
        assert_eq!(deltas(&stop(reason), usize::MAX), expected, "{reason}");
    }
}

#[test]
fn a_signature_without_its_stop_is_not_lost_and_arguments_of_nobody_are() {
    let stream = delta(0, r#"{"reasoningContent":{"signature":"s"}}"#) + &delta(5, r#"{"toolUse":{"input":"{}"}}"#);
    assert_eq!(Answer::of(deltas(&stream, 3)).parts, [thought("", SealKind::BedrockSignature, "s")]);
}

#[test]
fn errors_are_known_by_the_name_in_the_header() {
    let check = |status: u16, name: &str, body: &str, class: ErrorClass, code: &str, message: &str| {
        let headers =
            HeaderMap::from_iter((!name.is_empty()).then(|| ("x-amzn-errortype".parse().unwrap(), name.parse().unwrap())));
        let error = BedrockConverse.classify(status, &headers, body.as_bytes());
        assert_eq!(
            (error.class, error.status, error.code.as_deref(), error.message.as_str()),
            (class, status, Some(code), message),
            "{name} {body}"
        );
    };
    let said = |text: &str| format!(r#"{{"message":"{text}"}}"#);
    let no = &said("No.");
    check(
        429,
        "ThrottlingException:http://internal.amazon.com/coral/com.amazon.coral.service/",
        no,
        RateLimited,
        "ThrottlingException",
        "No.",
    );
    check(403, "com.amazon#AccessDeniedException", r#"{"Message":"No."}"#, Auth, "AccessDeniedException", "No.");
    check(403, "UnrecognizedClientException", no, Auth, "UnrecognizedClientException", "No.");
    check(403, "ExpiredTokenException", no, Auth, "ExpiredTokenException", "No.");
    check(404, "ResourceNotFoundException", no, NotFound, "ResourceNotFoundException", "No.");
    check(408, "ModelTimeoutException", no, Overloaded, "ModelTimeoutException", "No.");
    check(424, "ModelErrorException", no, Overloaded, "ModelErrorException", "No.");
    check(429, "ModelNotReadyException", no, Overloaded, "ModelNotReadyException", "No.");
    check(500, "InternalServerException", no, Overloaded, "InternalServerException", "No.");
    check(503, "ServiceUnavailableException", no, Overloaded, "ServiceUnavailableException", "No.");
    check(400, "ValidationException", no, BadRequest, "ValidationException", "No.");
    let long = "Input is too long for requested model.";
    check(400, "ValidationException", &said(long), Context, "ValidationException", long);
    let unknown = "The provided model identifier is invalid.";
    check(400, "ValidationException", &said(unknown), NotFound, "ValidationException", unknown);
    let daily = "Too many tokens per day, please wait before trying again.";
    check(429, "ThrottlingException", &said(daily), Billing, "ThrottlingException", daily);
    // Without the header, as somebody in between may have it.
    check(429, "", r#"{"__type":"ThrottlingException","message":"No."}"#, RateLimited, "ThrottlingException", "No.");
    let page = BedrockConverse.classify(502, &HeaderMap::new(), b"<html>");
    assert_eq!((page.class, page.code), (Overloaded, None));
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_deltas(piece in 1_usize..200, words in prop::collection::vec("[a-z\u{e9}\u{6c49} ]{0,6}", 0..8)) {
        let mut stream = String::from("messageStart {\"role\":\"assistant\"}\n");
        for (nth, word) in (0..).zip(&words) {
            stream += &delta(nth, &format!("{{\"text\":\"{word}\"}}"));
        }
        stream += &stop("end_turn");
        prop_assert_eq!(deltas(&stream, piece), deltas(&stream, usize::MAX));
        let parts = Answer::of(deltas(&stream, piece)).parts;
        let text: String = parts.iter().map(|part| if let Part::Text(text) = part { text.text.as_str() } else { "" }).collect();
        prop_assert_eq!(text, words.concat());
    }
}
