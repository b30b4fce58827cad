//! Answers as deltas. What the gateway acts on in an answer is told by the fixtures of the wire tests.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::canonical::{Answer, FrameKind, Shape};
use crate::catalog::capability::Quirks;
use crate::dialect::testing::{self, check_deltas, fixture, told};
use crate::dialect::{Dialect, GeminiGenerate};

const SHAPE: Shape = Shape::GeminiGenerate;

fn streamed(stream: &[u8], piece: usize) -> Vec<Delta> {
    testing::streamed(&GeminiGenerate, stream, piece)
}

fn check(name: &str, expected: &[&str]) {
    check_deltas(&GeminiGenerate, SHAPE, name, expected);
}

const BEGIN: &str = "begin resp-1_a gemini-3-flash";

#[test]
fn texts_and_thoughts_are_told_apart() {
    check(
        "text.sse",
        &[BEGIN, "usage 12+0/0(0)", "text Oslo 你", "usage 12+0/2(0)", "text 好.", "usage 12+0/5(0)", "finish Stop"],
    );
    check("answer-text.json", &[BEGIN, "usage 12+0/5(0)", "text Oslo. ", "text Cold.", "finish Stop"]);
    check(
        "thinking-with-signature.sse",
        &[
            BEGIN,
            "usage 10+20/4(4)",
            "thought Weather is ",
            "usage 10+20/9(9)",
            "thought asked.",
            "usage 10+20/11(9)",
            "text Cold.",
            "sealed GeminiSignature c2ln",
            "finish Stop",
        ],
    );
    check("what-is-not-text.sse", &[BEGIN, "usage 42+0/4(0)", "finish Stop"]);
}

#[test]
fn calls_come_whole_and_have_an_id() {
    check(
        "two-calls.sse",
        &[
            BEGIN,
            "usage 40+0/27(7)",
            "call 0 call_resp-1_a_0 weather c2ln",
            "arguments 0 {\"city\":\"Oslo\"}",
            "call 1 call_resp-1_a_1 time",
            "arguments 1 {}",
            "finish Stop",
        ],
    );
    check(
        "text-and-calls-with-ids.sse",
        &[
            BEGIN,
            "usage 40+0/2(0)",
            "text Both. ",
            "usage 40+0/12(0)",
            "call 0 fc_9 weather",
            "arguments 0 {\"city\":\"Oslo\"}",
            "usage 40+0/20(0)",
            "call 1 call_resp-1_a_1 time",
            "finish Stop",
        ],
    );
    check(
        "answer-thinking-and-call.json",
        &[
            BEGIN,
            "usage 20+11/25(11)",
            "thought Use it.",
            "call 0 call_resp-1_a_0 weather c2ln",
            "arguments 0 {\"city\":\"Oslo\"}",
            "finish Stop",
        ],
    );
}

#[test]
fn a_made_id_is_of_one_answer_only_and_short() {
    let id = |response: &str, name: &str| {
        let body = format!(r#"{{{response}"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"{name}"}}}}]}}}}]}}"#);
        let answer = Answer::of(GeminiGenerate.read_deltas(body.as_bytes()).unwrap());
        answer.calls().next().unwrap().id.clone()
    };
    assert_eq!(id(r#""responseId":"a/b+c","#, "f"), "call_abc_0");
    assert!(id(&format!("\"responseId\":\"{}\",", "x".repeat(99)), "f").len() < 40);
    assert_eq!(id("", "f"), "", "an answer without an id makes none: whoever writes it does");
}

#[test]
fn an_answer_ends_as_it_was_told() {
    check("cut-for-its-length.sse", &[BEGIN, "usage 12+0/1(0)", "text On", "finish Length"]);
    check("filtered.sse", &[BEGIN, "usage 12+0/0(0)", "text Once", "usage 12+0/1(0)", "finish Filtered"]);
    check("answer-filtered.json", &[BEGIN, "usage 12+0/0(0)", "finish Filtered"]);
    // Failures are the frame reader's to tell.
    check("malformed-call.sse", &[BEGIN, "usage 12+0/3(3)", "thought Hm."]);
    check("error-after-content.sse", &[BEGIN, "usage 12+0/0(0)", "text On"]);
    check("error-that-is-no-event.sse", &[BEGIN, "usage 12+0/0(0)", "text On"]);
    check("cut-in-a-frame.sse", &[BEGIN, "usage 12+0/0(0)", "text a"]);
    check("counts-left-out.sse", &[BEGIN, "usage 4+8/3(3)", "thought Hm.", "text Yes", "usage 4+8/7(3)", "finish Stop"]);
    check("done-of-another-dialect.sse", &[BEGIN, "text Hi", "finish Stop"]);
}

/// A reader of deltas and a reader of frames must not disagree about an ending.
#[test]
fn every_finish_reason_has_one_meaning() {
    let reasons = [
        ("STOP", "Stop"),
        ("MAX_TOKENS", "Length"),
        ("SAFETY", "Filtered"),
        ("RECITATION", "Filtered"),
        ("PROHIBITED_CONTENT", "Filtered"),
        ("BLOCKLIST", "Filtered"),
        ("SPII", "Filtered"),
        ("IMAGE_SAFETY", "Filtered"),
        ("NEWLY_INVENTED", "Stop"),
        ("MALFORMED_FUNCTION_CALL", "failure"),
        ("OTHER", "failure"),
        ("FINISH_REASON_UNSPECIFIED", "none"),
        ("", "none"),
    ];
    for (reason, expected) in reasons {
        let body = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
        let facts = GeminiGenerate.frame_reader(Quirks::default(), 1).read(format!("data: {body}\n\n").as_bytes(), &mut |_| {});
        let told = told(&GeminiGenerate.read_deltas(body.as_bytes()).unwrap());
        let failed = matches!(facts.kind, FrameKind::Error(_));
        assert_eq!(failed, expected == "failure", "{reason}");
        assert_eq!(GeminiGenerate.read_answer(body.as_bytes(), Quirks::default()).is_err(), failed, "{reason}");
        assert_eq!(facts.finished, !matches!(expected, "failure" | "none"), "{reason}");
        assert_eq!(told, if facts.finished { format!("finish {expected}\n") } else { String::new() }, "{reason}");
        assert_eq!(facts.too_long, expected == "Length", "{reason}");
    }
}

fn a_part() -> impl Strategy<Value = Value> {
    let text = (".{0,6}", any::<bool>())
        .prop_map(|(text, thought)| if thought { json!({"text": text, "thought": true}) } else { json!({"text": text}) });
    let call = ("[a-z]{1,3}", prop::option::of("[a-z]{0,3}"), any::<u8>())
        .prop_map(|(name, id, x)| json!({"functionCall": {"name": name, "id": id, "args": {"x": x}}}));
    (prop_oneof![text, call], prop::option::of("[a-z]{0,3}")).prop_map(|(mut part, seal)| {
        part["thoughtSignature"] = json!(seal);
        part
    })
}

proptest! {
    #[test]
    fn a_stream_and_a_whole_body_are_one_answer(parts in prop::collection::vec(a_part(), 0..9), lengths in prop::collection::vec(0_usize..4, 1..9), piece in 1_usize..60, id in any::<bool>(), crlf in any::<bool>()) {
        let message = |parts: &[Value], reason: Option<&str>| {
            let mut message = json!({"candidates": [{"content": {"parts": parts}, "finishReason": reason}], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}});
            message["responseId"] = json!(id.then_some("r1"));
            message
        };
        let (end, mut stream, mut rest) = (if crlf { "\r\n\r\n" } else { "\n\n" }, String::new(), parts.as_slice());
        for length in lengths {
            let (now, later) = rest.split_at(length.min(rest.len()));
            write!(stream, "data: {}{end}", message(now, None)).unwrap();
            rest = later;
        }
        write!(stream, "data: {}{end}", message(rest, Some("STOP"))).unwrap();
        let whole = GeminiGenerate.read_deltas(message(&parts, Some("STOP")).to_string().as_bytes()).unwrap();
        prop_assert_eq!(Answer::of(streamed(stream.as_bytes(), piece)), Answer::of(whole));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), name in prop::sample::select(vec!["two-calls.sse", "thinking-with-signature.sse", "answer-thinking-and-call.json"]), at in any::<prop::sample::Index>(), piece in 1_usize..40) {
        let mut damaged = fixture(SHAPE, name);
        let at = at.index(damaged.len());
        let end = (at + bytes.len() / 2).min(damaged.len());
        damaged.splice(at..end, bytes.iter().copied());
        for stream in [&bytes, &damaged] {
            let calls = streamed(stream, piece).iter().filter(|delta| matches!(delta, Delta::Call { id: Some(_), .. })).count();
            prop_assert!(calls <= stream.len());
            let _ = GeminiGenerate.read_deltas(stream);
        }
    }
}
