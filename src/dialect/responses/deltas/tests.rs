//! Answers as deltas. What the gateway acts on in an answer is told by the fixtures of the wire tests.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::canonical::{Answer, FrameKind, Shape};
use crate::catalog::capability::Quirks;
use crate::dialect::testing::{self, check_deltas, fixture, frames, told};
use crate::dialect::{Dialect, OpenAiResponses};

const SHAPE: Shape = Shape::OpenAiResponses;

fn streamed(stream: &[u8], piece: usize) -> Vec<Delta> {
    testing::streamed(&OpenAiResponses, stream, piece)
}

fn check(name: &str, expected: &[&str]) {
    check_deltas(&OpenAiResponses, SHAPE, name, expected);
}

const BEGIN: &str = "begin resp_1 gpt-6-luna";
const SEAL: &str = "sealed OpenAiEncrypted c2VhbA==";

#[test]
fn texts_thoughts_and_refusals_are_told_once() {
    check("text.sse", &[BEGIN, "text Oslo 你", "text 好.", "usage 12+0/5(0)", "finish Stop"]);
    check("answer-text.json", &[BEGIN, "text Oslo. 好", "usage 12+0/5(0)", "finish Stop"]);
    check(
        "thinking-with-a-seal.sse",
        &[
            BEGIN,
            "thought Weather is ",
            "thought asked.",
            "thought \\n\\n",
            "thought So call.",
            SEAL,
            "text Cold.",
            "usage 26+64/21(15)",
            "finish Stop",
        ],
    );
    check("refusal.sse", &[BEGIN, "refusal I cannot ", "refusal help.", "usage 30+0/6(0)", "finish Stop"]);
    check("reasoning-in-words.sse", &[BEGIN, "thought They ask ", "thought twice.", "text 4", "usage 11+0/8(0)", "finish Stop"]);
    check("comments-and-done.sse", &["begin resp_1 m", "text Oslo", "text .", "usage 7+0/2(0)", "finish Stop"]);
}

#[test]
fn calls_keep_their_ids_and_slots() {
    check(
        "sealed-thought-and-two-calls.sse",
        &[
            BEGIN,
            SEAL,
            "call 0 call_1 weather",
            "arguments 0 {\"city\":",
            "arguments 0 \"Oslo\"}",
            "call 1 call_2 time",
            "arguments 1 {}",
            "usage 88+0/52(30)",
            "finish Stop",
        ],
    );
    check(
        "calls-that-interleave.sse",
        &[
            BEGIN,
            "call 0 call_1 weather",
            "call 1 call_2 time",
            "arguments 1 {\"in\"",
            "arguments 0 {}",
            "arguments 1 :1}",
            "usage 40+0/20(0)",
            "finish Stop",
        ],
    );
    check(
        "answer-of-a-compatible-site.json",
        &["begin resp_1 m", "thought Hm.", "text 4", "call 0 call_resp_1_0 f", "arguments 0 {\"a\":1}", "finish Stop"],
    );
}

#[test]
fn a_source_is_told_once_and_where_it_is_in_all_the_text() {
    let page = json!({"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 3});
    let content = json!([{"type": "output_text", "text": "Low.", "annotations": [page]}]);
    let piece = |at: u64, text: &str| json!({"type": "response.output_text.delta", "output_index": at, "delta": text});
    let events = [
        piece(0, "Ö."),
        piece(1, "Low."),
        json!({"type": "response.output_text.annotation.added", "output_index": 1, "annotation": page}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": content}}),
    ];
    let read = |events: &[Value]| {
        let (mut reader, mut out) = (Deltas::default(), Vec::new());
        for event in events {
            reader.read(format!("data: {event}\n\n").as_bytes(), &mut out);
        }
        out
    };
    let source = Citation { url: "https://a.test".into(), title: "A".into(), start: 2, end: 5 };
    let expected = [Delta::Text("Ö.".into()), Delta::Text("Low.".into()), Delta::Cited(source)];
    assert_eq!(read(&events), expected);
    // Where no event tells it.
    assert_eq!(read(&[&events[..2], &events[3..]].concat()), expected);
    // However many a provider names, in events and with an item.
    let content = json!([{"type": "output_text", "text": "Low.", "annotations": vec![&page; Citation::MOST]}]);
    let item = json!({"type": "response.output_item.done", "output_index": 2, "item": {"type": "message", "content": content}});
    let many = read(&[&events[..2], &vec![events[2].clone(); Citation::MOST - 9], &[item][..]].concat());
    assert_eq!(many.iter().filter(|delta| matches!(delta, Delta::Cited(_))).count(), Citation::MOST);
}

/// Without a place, whatever comes is of the item that began last.
#[test]
fn items_without_a_place_are_counted() {
    let event = |event: Value| format!("data: {event}\n\n");
    let call = |name: &str| {
        event(json!({"type": "response.output_item.added", "item": {"type": "function_call", "call_id": name, "name": name}}))
    };
    let piece = |piece: &str| event(json!({"type": "response.function_call_arguments.delta", "delta": piece}));
    let stream = [call("a"), piece("{}"), call("b"), piece("["), piece("]")].concat();
    let expected = ["call 0 a a", "arguments 0 {}", "call 1 b b", "arguments 1 [", "arguments 1 ]", ""].join("\n");
    assert_eq!(told(&streamed(stream.as_bytes(), 7)), expected);
}

#[test]
fn a_site_that_tells_ends_alone_is_understood() {
    let call = ["call 0 call_1 weather", "arguments 0 {\"a\":1}"];
    check("without-deltas.sse", &[BEGIN, "text Oslo.", call[0], call[1], "usage 9+0/9(0)", "finish Stop"]);
    let call = ["call 0 call_1 weather", "arguments 0 {}"];
    check(
        "all-in-the-last-event.sse",
        &[BEGIN, "thought Hm.", SEAL, "text Oslo.", call[0], call[1], "usage 9+0/9(3)", "finish Stop"],
    );
    // What no other shape has a word for is left out.
    check("what-has-no-word-elsewhere.sse", &[BEGIN, "usage 900+0/12(0)", "finish Stop"]);
}

#[test]
fn an_answer_ends_as_it_was_told() {
    check("cut-for-its-length.sse", &[BEGIN, "text Once upon", "usage 9+0/64(60)", "finish Length"]);
    check("answer-cut.json", &[BEGIN, "text Once", "usage 9+0/64(0)", "finish Length"]);
    check("filtered.sse", &[BEGIN, "text Well, ", "usage 9+0/3(0)", "finish Filtered"]);
    // Failures are the frame reader's to tell.
    check("failed-after-content.sse", &[BEGIN, "text Half", "usage 20+0/7(0)"]);
    check("cut-before-its-end.sse", &[BEGIN, "text Oslo"]);
}

#[test]
fn a_made_id_is_of_one_answer_only_and_short() {
    let id = |response: &str, name: &str| {
        let body = format!(r#"{{{response}"output":[{{"type":"function_call","name":"{name}"}}]}}"#);
        let answer = Answer::of(OpenAiResponses.read_deltas(body.as_bytes()).unwrap());
        answer.calls().next().unwrap().id.clone()
    };
    assert_eq!(id(r#""id":"a/b+c","#, "f"), "call_abc_0");
    assert!(id(&format!("\"id\":\"{}\",", "x".repeat(99)), "f").len() < 40);
    let (f, g) = (id("", "f"), id("", "g"));
    assert!(f != g && f == id("", "f") && f.len() < 40, "{f} {g}");
}

/// A reader of whole answers and a reader of frames must not disagree about an ending.
#[test]
fn every_ending_has_one_meaning() {
    let cut = |reason: &str| json!({"status": "incomplete", "incomplete_details": {"reason": reason}});
    for (kind, response, expected) in [
        ("response.completed", json!({"status": "completed"}), "finish Stop\n"),
        ("response.incomplete", cut("max_output_tokens"), "finish Length\n"),
        ("response.incomplete", cut("content_filter"), "finish Filtered\n"),
        ("response.incomplete", cut("newly_invented"), "finish Length\n"),
        ("response.incomplete", json!({"status": "incomplete", "incomplete_details": null}), "finish Length\n"),
        ("response.failed", json!({"status": "failed"}), ""),
        ("response.cancelled", json!({"status": "cancelled"}), ""),
    ] {
        let mut response = response;
        response["output"] = json!([]);
        let frame = format!("data: {}\n\n", json!({"type": kind, "response": response}));
        let facts = OpenAiResponses.frame_reader(Quirks::default(), 1).read(frame.as_bytes(), &mut |_| {});
        let whole = OpenAiResponses.read_answer(response.to_string().as_bytes(), Quirks::default());
        assert_eq!(matches!(facts.kind, FrameKind::Error(_)), expected.is_empty(), "{kind}");
        assert_eq!((facts.finished, whole.is_ok()), (!expected.is_empty(), !expected.is_empty()), "{kind}");
        assert_eq!(facts.too_long, whole.is_ok_and(|whole| whole.too_long), "{kind} {response}");
        assert_eq!(told(&OpenAiResponses.read_deltas(response.to_string().as_bytes()).unwrap()), expected, "{kind}");
        assert_eq!(told(&streamed(frame.as_bytes(), frame.len())), expected, "{kind}");
    }
}

/// An item, as it stands in a response.
fn an_item() -> impl Strategy<Value = Value> {
    let texts = |kind: &'static str| {
        prop::collection::vec(".{0,6}", 0..3)
            .prop_map(move |texts| texts.into_iter().map(|text| json!({"type": kind, "text": text})).collect::<Vec<_>>())
    };
    let message = (texts("output_text"), prop::option::of(".{0,6}")).prop_map(|(mut content, refusal)| {
        content.extend(refusal.map(|refusal| json!({"type": "refusal", "refusal": refusal})));
        json!({"type": "message", "role": "assistant", "content": content})
    });
    let thought = (texts("summary_text"), prop::option::of("[a-z]{0,3}"))
        .prop_map(|(summary, seal)| json!({"type": "reasoning", "summary": summary, "encrypted_content": seal}));
    let open = texts("reasoning_text").prop_map(|content| json!({"type": "reasoning", "content": content}));
    let call = ("[a-z]{1,3}", prop::option::of("[a-z]{0,3}"), any::<u8>()).prop_map(
        |(name, id, x)| json!({"type": "function_call", "call_id": id, "name": name, "arguments": format!("{{\"x\": {x}}}")}),
    );
    prop_oneof![message, thought, open, call]
}

/// The events of an item, with the pieces of its texts or without them, and with the ends of its texts or without them.
fn events_of(at: usize, item: &Value, pieces: bool, ends: bool, out: &mut Vec<Value>) {
    let mut begun = item.clone();
    for member in ["content", "summary"] {
        begun.as_object_mut().unwrap().remove(member);
    }
    out.push(json!({"type": "response.output_item.added", "output_index": at, "item": begun}));
    let mut say = |kind: &str, index: &str, nth: usize, member: &str, text: &str| {
        let middle = text.char_indices().nth(2).map_or(text.len(), |(at, _)| at);
        for piece in [&text[..middle], &text[middle..]].into_iter().filter(|_| pieces) {
            out.push(json!({"type": format!("{kind}.delta"), "output_index": at, index: nth, "delta": piece}));
        }
        if ends {
            out.push(json!({"type": format!("{kind}.done"), "output_index": at, index: nth, member: text}));
        }
    };
    for (nth, part) in item["content"].as_array().into_iter().flatten().enumerate() {
        match part["type"].as_str().unwrap() {
            "refusal" => say("response.refusal", "content_index", nth, "refusal", part["refusal"].as_str().unwrap()),
            kind => {
                let kind = format!("response.{kind}");
                say(&kind, "content_index", nth, "text", part["text"].as_str().unwrap());
            }
        }
    }
    for (nth, part) in item["summary"].as_array().into_iter().flatten().enumerate() {
        say("response.reasoning_summary_text", "summary_index", nth, "text", part["text"].as_str().unwrap());
    }
    if let Some(arguments) = item["arguments"].as_str() {
        say("response.function_call_arguments", "unused_index", 0, "arguments", arguments);
    }
    out.push(json!({"type": "response.output_item.done", "output_index": at, "item": item}));
}

proptest! {
    #[test]
    fn a_stream_and_a_whole_body_are_one_answer(items in prop::collection::vec(an_item(), 0..6), pieces in any::<bool>(), ends in any::<bool>(), last_alone in any::<bool>(), piece in 1_usize..60, id in any::<bool>(), crlf in any::<bool>()) {
        let mut response = json!({"status": "completed", "output": items, "usage": {"input_tokens": 9, "output_tokens": 4}});
        response["id"] = json!(id.then_some("r1"));
        let mut events = vec![json!({"type": "response.created", "response": {"id": response["id"], "status": "in_progress", "usage": null}})];
        for (at, item) in items.iter().enumerate().filter(|_| !last_alone) {
            events_of(at, item, pieces, ends, &mut events);
        }
        events.push(json!({"type": "response.completed", "response": response}));
        let end = if crlf { "\r\n" } else { "\n" };
        let mut stream = String::new();
        for event in &events {
            write!(stream, "event: {}{end}data: {event}{end}{end}", event["type"].as_str().unwrap()).unwrap();
        }
        let whole = OpenAiResponses.read_deltas(response.to_string().as_bytes()).unwrap();
        prop_assert_eq!(Answer::of(streamed(stream.as_bytes(), piece)), Answer::of(whole));
        // What is metered is what is told, however it comes.
        let (mut reader, mut text) = (OpenAiResponses.frame_reader(Quirks::default(), 1), String::new());
        for frame in frames(stream.as_bytes(), piece) {
            reader.read(&frame, &mut |piece| text.push_str(piece));
        }
        prop_assert_eq!(text, OpenAiResponses.read_answer(response.to_string().as_bytes(), Quirks::default()).unwrap().text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), name in prop::sample::select(vec!["sealed-thought-and-two-calls.sse", "thinking-with-a-seal.sse", "answer-thinking-and-call.json"]), at in any::<prop::sample::Index>(), piece in 1_usize..40) {
        let mut damaged = fixture(SHAPE, name);
        let at = at.index(damaged.len());
        let end = (at + bytes.len() / 2).min(damaged.len());
        damaged.splice(at..end, bytes.iter().copied());
        for stream in [&bytes, &damaged] {
            let calls = streamed(stream, piece).iter().filter(|delta| matches!(delta, Delta::Call { id: Some(_), .. })).count();
            prop_assert!(calls <= stream.len());
            let _ = OpenAiResponses.read_deltas(stream);
        }
    }
}
