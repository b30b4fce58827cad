//! The golden fixtures of each dialect: every recorded stream and answer with what must be read from it. The expectations lie beside
//! the fixtures as text and were checked by eye; `TOKENBROKER_WRITE_GOLDEN=1` writes them anew, for the next eye. What clients are
//! told of the same fixtures is held by `pairs`.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::eventstream;
use crate::canonical::{FrameFacts, FrameKind, ProviderError, Shape};
use crate::catalog::capability::Quirks;
use crate::dialect::{self, BodyProblem, Framing};
use crate::units::Usage;

fn fixtures(shape: Shape, extension: &str) -> Vec<(String, Vec<u8>, String)> {
    let paths = std::fs::read_dir(folder(shape)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        (name, std::fs::read(path).unwrap(), expected)
    };
    paths.iter().map(read).collect()
}

/// Every stream of a shape, in the bytes of its framing.
fn streams(shape: Shape) -> Vec<(String, Vec<u8>, String)> {
    match dialect::of(shape).framing() {
        Framing::Events | Framing::Bytes => fixtures(shape, "sse"),
        Framing::EventStream => {
            let written = |text: Vec<u8>| eventstream::written(std::str::from_utf8(&text).unwrap()).concat();
            fixtures(shape, "events").into_iter().map(|(name, text, expected)| (name, written(text), expected)).collect()
        }
    }
}

fn usage_line(usage: Option<Usage>) -> String {
    usage.map_or(String::new(), |u| {
        let [fresh, read, write] = [u.fresh_input, u.cache_read, u.cache_write];
        let long = if u.cache_write_long.get() == 0 { String::new() } else { format!("[{}]", u.cache_write_long) };
        format!(" usage={fresh}+{read}+{write}{long}/{}({})", u.output, u.reasoning)
    })
}

fn error_line(error: &ProviderError) -> String {
    format!("error {} {:?} {:?}", error.class.word(), error.code.as_deref().unwrap_or("-"), error.message)
}

/// Deviations of the site that a fixture is of, by its name.
pub(super) fn quirks_of(name: &str) -> Quirks {
    Quirks {
        reasoning_outside_output: name.ends_with("reasoning-outside-the-output"),
        messages_input_includes_cache: name.ends_with("input-with-the-cache"),
        ..Quirks::default()
    }
}

/// What else the meter learns of: how much was thought, that the answer was cut for its length, that lifetimes in a cache are told.
fn more(reasoning_bytes: u64, too_long: bool, lifetimes_told: bool) -> String {
    let reasoning = if reasoning_bytes == 0 { String::new() } else { format!(" reasoning={reasoning_bytes}") };
    format!("{reasoning}{}{}", if too_long { " too-long" } else { "" }, if lifetimes_told { " lifetimes" } else { "" })
}

fn frame_line(facts: &FrameFacts) -> String {
    let kind = match &facts.kind {
        FrameKind::KeepAlive => "keep-alive".to_owned(),
        FrameKind::Preamble => "preamble".to_owned(),
        FrameKind::Content => "content".to_owned(),
        FrameKind::UsageOnly => "usage-only".to_owned(),
        FrameKind::Done => "done".to_owned(),
        FrameKind::OffSchema(off) => format!("off schema: {off}"),
        FrameKind::Error(error) => error_line(error),
    };
    let finished = if facts.finished { " finished" } else { "" };
    let more = more(facts.reasoning_bytes, facts.too_long, facts.lifetimes_told);
    let served = facts.served_model.as_deref().map_or(String::new(), |model| format!(" by {model:?}"));
    format!("{kind}{}{finished}{more}{served}", usage_line(facts.usage))
}

/// What is read of a stream that comes in pieces of this many bytes.
fn read_stream(shape: Shape, quirks: Quirks, stream: &[u8], piece: usize) -> String {
    let mut cutter = dialect::of(shape).framing().cutter();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        cutter.push(&Bytes::copy_from_slice(piece), &mut frames).unwrap();
    }
    frames.extend(cutter.finish());
    let mut reader = dialect::of(shape).frame_reader(quirks, 1);
    let (mut lines, mut text) = (String::new(), String::new());
    for frame in frames {
        let facts = reader.read(&frame, &mut |piece| text.push_str(piece));
        writeln!(lines, "{}", frame_line(&facts)).unwrap();
    }
    writeln!(lines, "text {text:?}").unwrap();
    lines
}

fn read_answer(shape: Shape, quirks: Quirks, body: &[u8]) -> String {
    match dialect::of(shape).read_answer(body, quirks) {
        Ok(facts) => {
            let more = more(facts.reasoning_bytes, facts.too_long, facts.lifetimes_told);
            let (served, usage) = (facts.served_model.unwrap_or_default(), usage_line(facts.usage));
            format!("answer by {served:?}{usage}{more}\ntext {:?}\n", facts.text)
        }
        Err(BodyProblem::Provider { error, usage }) => {
            format!("{}{}\n", error_line(&error), usage_line(usage.map(|usage| *usage)))
        }
        Err(BodyProblem::Malformed(_)) => "malformed\n".to_owned(),
    }
}

/// Holds what is read to what is expected, which is written anew where that is asked for.
fn held(shape: Shape, name: &str, read: &str, expected: &str, how: &str) {
    if std::env::var_os("TOKENBROKER_WRITE_GOLDEN").is_some() && read != expected {
        std::fs::write(folder(shape).join(format!("{name}.expected")), read).unwrap();
        return;
    }
    assert_eq!(read, expected, "{name} {how}");
}

fn folder(shape: Shape) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(shape.word())
}

/// How many streams and answers there are at least.
const COUNTS: [(Shape, usize, usize); Shape::ENDPOINTS.len()] = [
    (Shape::OpenAiChat, 40, 14),
    (Shape::AnthropicMessages, 14, 8),
    (Shape::OpenAiResponses, 20, 14),
    (Shape::GeminiGenerate, 16, 12),
    (Shape::BedrockConverse, 16, 11),
];

#[test]
fn streams_are_read_as_expected_however_they_are_cut() {
    for (shape, least, _) in COUNTS {
        let fixtures = streams(shape);
        assert!(fixtures.len() >= least, "{} fixtures", fixtures.len());
        for (name, stream, expected) in fixtures {
            for piece in [usize::MAX, 1, 2, 3, 7, 64] {
                let read = read_stream(shape, quirks_of(&name), &stream, piece.min(stream.len()));
                held(shape, &name, &read, &expected, &format!("in pieces of {piece}"));
            }
        }
    }
}

#[test]
fn answers_are_read_as_expected() {
    for (shape, _, least) in COUNTS {
        let fixtures = fixtures(shape, "json");
        assert!(fixtures.len() >= least, "{} fixtures", fixtures.len());
        for (name, body, expected) in fixtures {
            held(shape, &name, &read_answer(shape, quirks_of(&name), &body), &expected, "");
        }
    }
}

/// A fixture with some bytes overwritten, dropped or doubled: the damage that a fuzzer would begin with.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let of = |shape| streams(shape).into_iter().chain(fixtures(shape, "json"));
    let all: Vec<Vec<u8>> = Shape::ENDPOINTS.into_iter().flat_map(of).map(|(_, bytes, _)| bytes).collect();
    let harm = (any::<prop::sample::Index>(), any::<u8>(), 0_u8..3);
    (prop::sample::select(all), prop::collection::vec(harm, 1..6)).prop_map(|(mut bytes, harms)| {
        for (at, byte, how) in harms {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn damage_is_survived(bytes in prop_oneof![damaged(), prop::collection::vec(any::<u8>(), 0..80)], piece in 1_usize..40, outside in any::<bool>(), shape in prop::sample::select(Shape::ENDPOINTS.to_vec())) {
        let quirks = Quirks { reasoning_outside_output: outside, messages_input_includes_cache: outside, ..Quirks::default() };
        let dialect = dialect::of(shape);
        let mut frames = Vec::new();
        let mut cutter = dialect.framing().cutter();
        let cut = bytes.chunks(piece).try_for_each(|piece| cutter.push(&Bytes::copy_from_slice(piece), &mut frames));
        prop_assert!(cut.is_ok() || dialect.framing() == Framing::EventStream, "checksums alone tell damage");
        frames.extend(cutter.finish());
        // Behind the sums: whatever they let through.
        frames.push(Bytes::from(bytes.clone()));
        let mut reader = dialect.frame_reader(quirks, 1);
        for frame in &frames {
            let mut heard = 0;
            let facts = reader.read(frame, &mut |text| heard += text.len());
            prop_assert!(heard <= frame.len(), "text comes out of the frame, nothing is made up");
            prop_assert!(!(facts.finished && facts.kind == FrameKind::UsageOnly));
        }
        if let Ok(facts) = dialect.read_answer(&bytes, quirks) {
            prop_assert!(facts.text.len() <= bytes.len());
            prop_assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
        }
        prop_assert!(!dialect.classify(500, &HeaderMap::new(), &bytes).message.is_empty());
    }
}
