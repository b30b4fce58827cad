//! What tests of the dialects share: fixtures as streams in pieces, deltas as lines, and turns in a word each.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;

use super::Dialect;
use super::sse::Framer;
use crate::canonical::conversation::{Call, Json, Part, Role, Turn};
use crate::canonical::{Conversation, Delta, Shape};

/// A recorded answer of a shape.
pub(crate) fn fixture(shape: Shape, name: &str) -> Vec<u8> {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(fixtures.join(shape.word()).join(name)).unwrap()
}

/// The frames of a stream that comes in pieces of so many bytes.
pub(crate) fn frames(stream: &[u8], piece: usize) -> Vec<Bytes> {
    let (mut cutter, mut frames) = (Framer::default(), Vec::new());
    for piece in stream.chunks(piece) {
        cutter.push(&Bytes::copy_from_slice(piece), &mut frames).unwrap();
    }
    frames.extend(cutter.finish());
    frames
}

/// The deltas of a stream that comes in pieces of so many bytes.
pub(crate) fn streamed(dialect: &dyn Dialect, stream: &[u8], piece: usize) -> Vec<Delta> {
    let (mut reader, mut out) = (dialect.delta_reader(), Vec::new());
    for frame in frames(stream, piece) {
        reader.read(&frame, &mut out);
    }
    reader.end(&mut out);
    out
}

/// One delta a line.
pub(crate) fn told(deltas: &[Delta]) -> String {
    let mut lines = String::new();
    for delta in deltas {
        match delta {
            Delta::Begin { id, model } => {
                writeln!(lines, "begin {} {}", id.as_deref().unwrap_or("-"), model.as_deref().unwrap_or("-"))
            }
            Delta::Text(text) => writeln!(lines, "text {text}"),
            Delta::Thought(text) => writeln!(lines, "thought {}", text.escape_debug()),
            Delta::Sealed(seal) => writeln!(lines, "sealed {:?} {}", seal.kind, seal.value),
            Delta::Cited(source) => writeln!(lines, "cited {} {:?} {}..{}", source.url, source.title, source.start, source.end),
            Delta::Refusal(text) => writeln!(lines, "refusal {text}"),
            Delta::Call { slot, id, name, seal } => {
                let seal = seal.as_ref().map_or(String::new(), |seal| format!(" {}", seal.value));
                writeln!(lines, "call {slot} {} {name}{seal}", id.as_deref().unwrap_or("-"))
            }
            Delta::Arguments { slot, piece } => writeln!(lines, "arguments {slot} {piece}"),
            Delta::Finish(finish) => writeln!(lines, "finish {finish:?}"),
            Delta::Usage(u) => writeln!(lines, "usage {}+{}/{}({})", u.fresh_input, u.cache_read, u.output, u.reasoning),
        }
        .unwrap();
    }
    lines
}

/// What is read of a recorded answer, however it is cut.
pub(crate) fn check_deltas(dialect: &dyn Dialect, shape: Shape, name: &str, expected: &[&str]) {
    let expected: String = expected.iter().flat_map(|line| [line, "\n"]).collect();
    let bytes = fixture(shape, name);
    if !name.ends_with("sse") {
        return assert_eq!(told(&dialect.read_deltas(&bytes).unwrap()), expected, "{name}");
    }
    for piece in [1, 2, 3, 7, bytes.len()] {
        assert_eq!(told(&streamed(dialect, &bytes, piece)), expected, "{name} in pieces of {piece}");
    }
}

pub(crate) fn user(parts: impl Into<Vec<Part>>) -> Turn {
    Turn { role: Role::User, parts: parts.into() }
}

pub(crate) fn model(parts: impl Into<Vec<Part>>) -> Turn {
    Turn { role: Role::Assistant, parts: parts.into() }
}

pub(crate) fn of(turns: impl Into<Vec<Turn>>) -> Conversation {
    let turns: Vec<Turn> = turns.into();
    Conversation { turns: turns.into(), ..Conversation::default() }
}

pub(crate) fn raw(json: &str) -> Json {
    Json::parse(json.to_owned()).unwrap()
}

pub(crate) fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::Call(Call { id: id.into(), name: name.into(), arguments: arguments.into(), seal: None, cached: None })
}
