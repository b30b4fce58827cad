//! Any bytes as a stream of a provider of each shape, told to a client of each shape: every frame that goes out is one of the
//! client's shape, and who reads them hears what the provider said.
#![no_main]

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenbroker::canonical::conversation::{OwnTool, Part};
use tokenbroker::canonical::event::FrameKind;
use tokenbroker::canonical::{Answer, Shape};
use tokenbroker::catalog::TokenizerFamily;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{self, Dialect, Framing};
use tokenbroker::dispatch::opening::Frame;
use tokenbroker::dispatch::retelling::{Reading, Retelling};
use tokenbroker::frontend::{self, About};
use tokenbroker::meter::OwnCount;
use tokenbroker::units::Tokens;

fn frames(framing: Framing, stream: &[u8]) -> Vec<Bytes> {
    let (mut cutter, mut frames) = (framing.cutter(), Vec::new());
    // Damage ends a stream that has checksums; no other is refused.
    let cut = cutter.push(&Bytes::copy_from_slice(stream), &mut frames);
    assert!(cut.is_ok() || framing == Framing::EventStream, "below the limit");
    frames.extend(cutter.finish());
    frames
}

/// The answer that a stream tells, and whether it was whole.
fn heard(dialect: &dyn Dialect, frames: &[Bytes]) -> (Answer, bool) {
    let (mut meter, mut reader) = (dialect.frame_reader(Quirks::default(), 1), dialect.delta_reader());
    let (mut deltas, mut finished) = (Vec::new(), false);
    for frame in frames {
        let facts = meter.read(frame, &mut |_| {});
        finished |= facts.finished;
        match facts.kind {
            FrameKind::Error(_) | FrameKind::OffSchema(_) => return (Answer::of(deltas), false),
            FrameKind::Done => {
                reader.read(frame, &mut deltas);
                finished = true;
                break;
            }
            FrameKind::KeepAlive | FrameKind::Preamble | FrameKind::Content | FrameKind::UsageOnly => {
                reader.read(frame, &mut deltas);
            }
        }
    }
    reader.end(&mut deltas);
    (Answer::of(deltas), finished)
}

/// The names of its calls, and all that it says, refusing or not: not every shape tells these apart.
fn said(answer: &Answer) -> (Vec<&str>, String) {
    let texts = answer.parts.iter().map(|part| match part {
        Part::Text(text) => text.text.as_str(),
        Part::Refusal(refusal) => refusal,
        _ => "",
    });
    (answer.calls().map(|call| call.name.as_str()).collect(), texts.collect())
}

/// By what its client answers the calls of an answer.
fn ids(client: Shape, body: &Value) -> Vec<String> {
    let (list, member, kinds) = match client {
        Shape::OpenAiChat => ("/choices/0/message/tool_calls", "id", ["function", "custom"]),
        Shape::AnthropicMessages => ("/content", "id", ["tool_use", ""]),
        _ => ("/output", "call_id", ["function_call", "custom_tool_call"]),
    };
    let items = body.pointer(list).and_then(Value::as_array).into_iter().flatten();
    let calls = items.filter(|item| kinds.iter().any(|kind| item["type"] == *kind));
    calls.map(|call| call[member].as_str().unwrap_or_default().to_owned()).collect()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, stream) = input;
    let choice = usize::from(choice);
    let dialect = dialect::of(Shape::ENDPOINTS[choice % 5]);
    let client = Shape::CLIENTS[choice / 5 % 3];
    let frontend = frontend::of(Some(client), true, &HeaderMap::new());
    let (id, model, asked) = ("1".to_owned(), "up".to_owned(), Bytes::from_static(b"{}"));
    let custom = |name: &str| OwnTool { function: name.to_owned(), name: name.to_owned(), namespace: None, custom: true };
    let own_tools = if choice & 0x40 == 0 { Vec::new() } else { ["apply_patch", "weather"].map(custom).to_vec() };
    // Whom it would be told to by their own provider reads calls of functions alone.
    let heard_again = own_tools.is_empty();
    let about = About { id, model, created: 1, wants_usage: choice & 0x80 != 0, asked, own_tools };

    let given = frames(dialect.framing(), stream);
    let mut meter = dialect.frame_reader(Quirks::default(), 1);
    let count = OwnCount::new(Tokens::new(9), TokenizerFamily::O200k);
    let mut retelling = Retelling::new(dialect.delta_reader(), frontend.stream_writer(about.clone()), count, Reading::default());
    let mut told = BytesMut::new();
    for bytes in &given {
        let facts = meter.read(bytes, &mut |_| {});
        let Ok(frame) = retelling.tell(Frame { bytes: bytes.clone(), facts }) else { return };
        told.extend_from_slice(&frame.bytes);
    }
    told.extend_from_slice(retelling.close().map(|end| end.bytes).unwrap_or_default().as_ref());

    let told = frames(Framing::Events, &told);
    for frame in &told {
        for line in frame.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
            assert!(line == b"[DONE]" || serde_json::from_slice::<&RawValue>(line).is_ok(), "what goes out is JSON");
        }
    }
    let (answer, whole) = heard(dialect, &given);
    let body: Value = serde_json::from_slice(&frontend.answer_body(&answer, &about)).expect("a whole answer is JSON");
    let ids = ids(client, &body);
    assert!(ids.iter().all(|id| !id.is_empty()) && ids.len() == answer.calls().count(), "every call can be answered: {body}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "and each by itself: {body}");
    if whole && heard_again {
        let (again, ended) = heard(dialect::of(client), &told);
        assert!(ended, "a whole answer is told as whole");
        let (expected, found) = (said(&answer), said(&again));
        assert_eq!(found.0, expected.0, "every call is told");
        // What looks like the mark of a thought in a text is read as one.
        assert!(found.1 == expected.1 || expected.1.contains('<'), "{:?} instead of {:?}", found.1, expected.1);
    }
});
