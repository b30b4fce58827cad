//! The golden fixtures: every recorded stream and answer with what must be read from it. The expectations lie beside
//! the fixtures as text and were checked by eye; a test that writes them would only agree with itself.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use crate::canonical::{FrameFacts, FrameKind, ProviderError};
use crate::catalog::capability::Quirks;
use crate::dialect::sse::Framer;
use crate::dialect::{BodyProblem, Dialect, OpenAiChat};
use crate::units::Usage;

fn fixtures(extension: &str) -> Vec<(String, Vec<u8>, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai-chat");
    let paths = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        (name, std::fs::read(path).unwrap(), expected)
    };
    paths.iter().map(read).collect()
}

fn usage_line(usage: Option<Usage>) -> String {
    usage.map_or(String::new(), |u| {
        let [fresh, read, write] = [u.fresh_input, u.cache_read, u.cache_write];
        format!(" usage={fresh}+{read}+{write}/{}({})", u.output, u.reasoning)
    })
}

fn error_line(error: &ProviderError) -> String {
    format!("error {} {:?} {:?}", error.class.word(), error.code.as_deref().unwrap_or("-"), error.message)
}

fn frame_line(facts: &FrameFacts) -> String {
    let kind = match &facts.kind {
        FrameKind::KeepAlive => "keep-alive".to_owned(),
        FrameKind::Preamble => "preamble".to_owned(),
        FrameKind::Content => "content".to_owned(),
        FrameKind::UsageOnly => "usage-only".to_owned(),
        FrameKind::Done => "done".to_owned(),
        FrameKind::Error(error) => error_line(error),
    };
    format!("{kind}{}{}", usage_line(facts.usage), if facts.finished { " finished" } else { "" })
}

/// What is read of a stream that comes in pieces of this many bytes.
fn read_stream(stream: &[u8], piece: usize) -> String {
    let mut cutter = Framer::default();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        cutter.push(&Bytes::copy_from_slice(piece), &mut frames).unwrap();
    }
    frames.extend(cutter.finish());
    let mut reader = OpenAiChat.frame_reader(Quirks::default());
    let (mut lines, mut text) = (String::new(), String::new());
    for frame in frames {
        let facts = reader.read(&frame, &mut |piece| text.push_str(piece));
        writeln!(lines, "{}", frame_line(&facts)).unwrap();
    }
    writeln!(lines, "text {text:?}").unwrap();
    lines
}

fn read_answer(body: &[u8]) -> String {
    match OpenAiChat.read_answer(body, Quirks::default()) {
        Ok(facts) => {
            format!("answer by {:?}{}\ntext {:?}\n", facts.served_model.unwrap_or_default(), usage_line(facts.usage), facts.text)
        }
        Err(BodyProblem::Provider { error, .. }) => format!("{}\n", error_line(&error)),
        Err(BodyProblem::Malformed(_)) => "malformed\n".to_owned(),
    }
}

#[test]
fn streams_are_read_as_expected_however_they_are_cut() {
    let fixtures = fixtures("sse");
    assert!(fixtures.len() >= 40, "{} fixtures", fixtures.len());
    for (name, stream, expected) in fixtures {
        for piece in [usize::MAX, 1, 7] {
            assert_eq!(read_stream(&stream, piece.min(stream.len())), expected, "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn answers_are_read_as_expected() {
    let fixtures = fixtures("json");
    assert!(fixtures.len() >= 14, "{} fixtures", fixtures.len());
    for (name, body, expected) in fixtures {
        assert_eq!(read_answer(&body), expected, "{name}");
    }
}

/// A fixture with some bytes overwritten, dropped or doubled: the damage that a fuzzer would begin with.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = fixtures("sse").into_iter().chain(fixtures("json")).map(|(_, bytes, _)| bytes).collect();
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
    fn damage_is_survived(bytes in prop_oneof![damaged(), prop::collection::vec(any::<u8>(), 0..80)], piece in 1_usize..40, outside in any::<bool>()) {
        let quirks = Quirks { reasoning_outside_output: outside, ..Quirks::default() };
        let mut frames = Vec::new();
        let mut cutter = Framer::default();
        for piece in bytes.chunks(piece) {
            cutter.push(&Bytes::copy_from_slice(piece), &mut frames).unwrap();
        }
        frames.extend(cutter.finish());
        let mut reader = OpenAiChat.frame_reader(quirks);
        for frame in &frames {
            let mut heard = 0;
            let facts = reader.read(frame, &mut |text| heard += text.len());
            prop_assert!(heard <= frame.len(), "text comes out of the frame, nothing is made up");
            prop_assert!(!(facts.finished && facts.kind == FrameKind::UsageOnly));
        }
        if let Ok(facts) = OpenAiChat.read_answer(&bytes, quirks) {
            prop_assert!(facts.text.len() <= bytes.len());
            prop_assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
        }
        prop_assert!(!OpenAiChat.classify(500, &HeaderMap::new(), &bytes).message.is_empty());
    }
}
