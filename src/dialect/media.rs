//! Answers that are images, sound, or what was heard: looked at for what they are billed by. What is large in them (an image in
//! base64, sound) is passed over unread, so that an answer of many megabytes costs one look at its bytes and no copy.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::frame::ChatFrames;
use super::usage::{Milliseconds, ReadUsage, Reported};
use super::walk::{KeyAs, says_nothing};
use super::{BodyProblem, FrameReader, errors, sse};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{FrameFacts, FrameKind, ProviderError};
use crate::catalog::capability::Quirks;
use crate::units::{Tokens, Usage};

/// The events that an image, speech or a transcript ends with have types that end so.
const LAST: [&str; 2] = [".done", ".completed"];
/// The event that an image ends with.
const IMAGE: &str = "image_generation.completed";

/// What a JSON object says.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// How many elements `data` has; `None` without such a list.
    pub(super) data: Option<u64>,
    /// There is a text.
    text: bool,
    /// What kind of event it is.
    kind: Option<String>,
    model: Option<String>,
    /// How long the sound is, where that stands beside the usage.
    duration: Option<u64>,
    usage: Reported,
    /// A member that errors have is there.
    suspect: bool,
}

impl Reading {
    pub(super) fn of(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut reading = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(json);
        Top(&mut reading).deserialize(&mut reader).and_then(|()| reader.end())?;
        Ok(reading)
    }

    /// The error that it tells, where it tells one.
    fn error(&self, json: &[u8]) -> Option<ProviderError> {
        self.suspect.then(|| errors::in_good_status(json)).flatten()
    }

    /// What is reported, with so many pieces where nobody tells another number; `None` where nothing is.
    fn usage(&self, pieces: Option<u64>, quirks: Quirks) -> Option<Usage> {
        let tokens = self.usage.usage(quirks);
        let pieces = pieces.or(self.usage.pieces()).or(self.duration);
        (tokens.is_some() || pieces.is_some()).then(|| Usage { pieces: pieces.unwrap_or(0), ..tokens.unwrap_or_default() })
    }
}

/// The facts of images: they are counted as they are there.
pub(super) fn images(body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
    let reading = Reading::of(body.trim_ascii()).map_err(|e| BodyProblem::Malformed(e.to_string()))?;
    let usage = reading.usage(reading.data, quirks);
    told(&reading, body, usage)?;
    if reading.data.is_none() {
        return Err(BodyProblem::Malformed("it has no list `data`".to_owned()));
    }
    Ok(AnswerFacts { usage, served_model: reading.model, ..AnswerFacts::default() })
}

/// The facts of a transcript: an object with its text, or the text in whatever form was asked for.
pub(super) fn transcript(body: &[u8], media_type: &str, quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
    let json = media_type.starts_with("application/json");
    if media_type.starts_with("text/html") {
        return Err(BodyProblem::Malformed("it is a page".to_owned()));
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        let is_text = || serde_json::from_slice::<&RawValue>(body).is_ok_and(|raw| raw.get().starts_with('"'));
        if json && !is_text() {
            return Err(BodyProblem::Malformed("it is no object and no text".to_owned()));
        }
        return Ok(AnswerFacts::default());
    }
    let reading = match Reading::of(body.trim_ascii()) {
        Ok(reading) => reading,
        Err(error) if json => return Err(BodyProblem::Malformed(error.to_string())),
        // A text may well begin with a brace.
        Err(_) => return Ok(AnswerFacts::default()),
    };
    let usage = reading.usage(None, quirks);
    told(&reading, body, usage)?;
    if !reading.text && json {
        return Err(BodyProblem::Malformed("it has no `text`".to_owned()));
    }
    Ok(AnswerFacts { usage, served_model: reading.model, ..AnswerFacts::default() })
}

/// What comes as JSON where sound is expected is an error, or nothing that could be passed on as sound.
pub(super) fn no_sound(body: &[u8], media_type: &str) -> BodyProblem {
    let error = Reading::of(body.trim_ascii()).ok().and_then(|reading| reading.error(body));
    error.map_or_else(
        || BodyProblem::Malformed(format!("it is no sound but {media_type:?}")),
        |error| BodyProblem::Provider { error, usage: None },
    )
}

fn told(reading: &Reading, body: &[u8], usage: Option<Usage>) -> Result<(), BodyProblem> {
    match reading.error(body) {
        Some(error) => {
            let usage = usage.filter(|usage| usage.input() + usage.output > Tokens::ZERO);
            Err(BodyProblem::Provider { error, usage: usage.map(Box::new) })
        }
        None => Ok(()),
    }
}

/// Reads the events of such an answer. Some servers tell a transcript in chunks as chat has them.
pub(super) struct MediaFrames {
    quirks: Quirks,
    chunks: ChatFrames,
}

impl MediaFrames {
    pub(super) fn new(quirks: Quirks) -> Self {
        Self { quirks, chunks: ChatFrames::new(quirks, 1) }
    }
}

impl FrameReader for MediaFrames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = sse::data_of(frame);
        let json = data.trim_ascii();
        let Ok(reading) = Reading::of(json) else { return self.chunks.read(frame, text) };
        let Some(kind) = reading.kind.as_deref() else { return self.chunks.read(frame, text) };
        let usage = reading.usage((kind == IMAGE).then_some(1), self.quirks);
        let facts = |kind: FrameKind| FrameFacts { usage, ..FrameFacts::only(kind) };
        if let Some(error) = reading.error(json) {
            return facts(FrameKind::Error(error));
        }
        if LAST.iter().any(|end| kind.ends_with(end)) {
            return FrameFacts { finished: true, ..facts(FrameKind::Done) };
        }
        facts(FrameKind::Content)
    }
}

/// Reads sound, of which nothing can be said but that it is there, and when it ends.
#[derive(Debug, Default)]
pub(super) struct SoundFrames {
    last: bool,
}

impl FrameReader for SoundFrames {
    fn read(&mut self, _: &[u8], _: &mut dyn FnMut(&str)) -> FrameFacts {
        let kind = if self.last { FrameKind::Done } else { FrameKind::Content };
        FrameFacts { finished: self.last, ..FrameFacts::only(kind) }
    }

    fn closes(&mut self) {
        self.last = true;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Data,
    Text,
    Type,
    Model,
    Duration,
    Usage,
    Error,
    BareError,
    Other,
}

impl Member {
    fn of(key: &str) -> Self {
        match key {
            "data" => Self::Data,
            "text" => Self::Text,
            "type" => Self::Type,
            "model" => Self::Model,
            "duration" => Self::Duration,
            "usage" => Self::Usage,
            "error" => Self::Error,
            "code" | "message" | "error_code" | "error_msg" | "detail" => Self::BareError,
            _ => Self::Other,
        }
    }
}

struct Top<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (reading, mut bare_error) = (self.0, false);
        while let Some(key) = members.next_key_seed(KeyAs(Member::of))? {
            match key {
                Member::Data => reading.data = members.next_value_seed(Length)?,
                Member::Duration => reading.duration = members.next_value_seed(Milliseconds)?,
                Member::Usage => members.next_value_seed(ReadUsage(&mut reading.usage))?,
                Member::Text => reading.text |= members.next_value::<&RawValue>()?.get().starts_with('"'),
                Member::Type => reading.kind = word(members.next_value::<&RawValue>()?),
                Member::Model => reading.model = word(members.next_value::<&RawValue>()?),
                Member::Error => {
                    let error = members.next_value::<&RawValue>()?.get();
                    reading.suspect |= !matches!(error, "null" | "\"\"" | "{}" | "false");
                }
                Member::BareError => {
                    members.next_value::<IgnoredAny>()?;
                    bare_error = true;
                }
                Member::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        reading.suspect |= bare_error && reading.data.is_none() && !reading.text;
        Ok(())
    }
}

fn word(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// How many elements a list has; `None` where it is none.
struct Length;

impl<'de> DeserializeSeed<'de> for Length {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Option<u64>, D::Error> {
        let mut length = None;
        value.deserialize_any(Elements(&mut length))?;
        Ok(length)
    }
}

struct Elements<'l>(&'l mut Option<u64>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut length = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        *self.0 = Some(length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &str = "application/json; charset=utf-8";

    /// Input, output and pieces that a report comes to; `None` without one.
    fn told(facts: &AnswerFacts) -> Option<[u64; 3]> {
        facts.usage.map(|usage| [usage.input().get(), usage.output.get(), usage.pieces])
    }

    #[test]
    fn images_are_counted_and_their_tokens_read() {
        let check = |body: &str, expected: Option<[u64; 3]>| {
            assert_eq!(told(&images(body.as_bytes(), Quirks::default()).unwrap()), expected, "{body}");
        };
        check(r#"{"created":1,"data":[{"b64_json":"iVBORw0K"},{"url":"x","b64_json":null}]}"#, Some([0, 0, 2]));
        check(r#" {"data":[],"usage":null} "#, Some([0, 0, 0]));
        let usage = r#""usage":{"input_tokens":50,"input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":272,"total_tokens":322}"#;
        check(&format!(r#"{{{usage},"data":[{{}}]}}"#), Some([50, 272, 1]));
        for bad in ["", "{}", "[]", "7", r#"{"data":7}"#, r#"{"data":{"a":[1]}}"#, "<html>", r#"{"data":[{"b64_json":"iVB"#] {
            assert!(matches!(images(bad.as_bytes(), Quirks::default()), Err(BodyProblem::Malformed(_))), "{bad}");
        }
        let failed = images(br#"{"error":{"message":"no","code":"rate_limit_exceeded"}}"#, Quirks::default()).unwrap_err();
        assert!(matches!(failed, BodyProblem::Provider { ref error, usage: None } if error.message == "no"), "{failed:?}");
    }

    #[test]
    fn a_transcript_is_a_text_or_has_one() {
        let check = |body: &str, kind: &str, expected: Option<[u64; 3]>| {
            assert_eq!(told(&transcript(body.as_bytes(), kind, Quirks::default()).unwrap()), expected, "{body} {kind}");
        };
        check(r#"{"text":"hello"}"#, JSON, None);
        check(r#"{"text":"","usage":{"type":"duration","seconds":9}}"#, JSON, Some([0, 0, 9_000]));
        check(r#"{"text":"a","duration":"8.47"}"#, JSON, Some([0, 0, 8_470]));
        check(r#"{"text":"a","duration":8.47,"usage":{"type":"duration","seconds":9}}"#, JSON, Some([0, 0, 9_000]));
        let tokens = r#""usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":3}"#;
        check(&format!(r#"{{"text":"a",{tokens}}}"#), JSON, Some([14, 3, 0]));
        check("WEBVTT\n", "text/vtt", None);
        check("", "text/plain", None);
        check("{well", "text/plain", None);
        check(r#""a text as JSON""#, JSON, None);
        for (bad, kind) in
            [("<html>", "text/html"), ("[]", JSON), ("{}", JSON), (r#"{"text":7}"#, JSON), (r#"{"text":"a"#, JSON), ("", JSON)]
        {
            assert!(matches!(transcript(bad.as_bytes(), kind, Quirks::default()), Err(BodyProblem::Malformed(_))), "{bad}");
        }
        let failed = transcript(br#"{"error":{"message":"no"}}"#, "text/plain", Quirks::default());
        assert!(matches!(failed, Err(BodyProblem::Provider { .. })), "{failed:?}");
    }

    #[test]
    fn the_last_event_ends_an_answer_and_has_its_usage() {
        let mut frames = MediaFrames::new(Quirks::default());
        let mut read = |data: &str| frames.read(format!("event: x\ndata: {data}\n\n").as_bytes(), &mut |_| {});
        assert_eq!(read(r#"{"type":"speech.audio.delta","audio":"SUQz"}"#).kind, FrameKind::Content);
        let last = read(r#"{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101}}"#);
        assert_eq!((last.kind, last.finished, last.usage.unwrap().output.get()), (FrameKind::Done, true, 101));
        let image = read(r#"{"type":"image_generation.completed","b64_json":"","usage":{"input_tokens":1,"output_tokens":2}}"#);
        assert_eq!((image.kind, image.usage.unwrap().pieces), (FrameKind::Done, 1));
        assert!(matches!(read(r#"{"type":"error","error":{"message":"no"}}"#).kind, FrameKind::Error(_)));
        // As some servers tell a transcript.
        let chunk = read(r#"{"object":"transcription.chunk","choices":[{"delta":{"content":"hi"},"finish_reason":null}]}"#);
        assert_eq!(chunk.kind, FrameKind::Content);
        assert_eq!(read("[DONE]").kind, FrameKind::Done);
        let mut sound = SoundFrames::default();
        assert_eq!(sound.read(b"data: [DONE]\n\n", &mut |_| {}).kind, FrameKind::Content);
        sound.closes();
        assert_eq!(sound.read(b"\0", &mut |_| {}).kind, FrameKind::Done);
    }

    proptest! {
        #[test]
        fn damage_is_survived(body in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..90, kind in "(application/json|text/plain|)") {
            let whole = br#"{"data":[{"b64_json":"iVBORw0K"}],"text":"a","usage":{"seconds":1e9,"input_tokens":8}}"#;
            for bytes in [&body[..], &whole[..cut.min(whole.len())]] {
                let _ = images(bytes, Quirks::default());
                let _ = transcript(bytes, &kind, Quirks::default());
                let _ = no_sound(bytes, &kind);
                let _ = MediaFrames::new(Quirks::default()).read(bytes, &mut |_| {});
            }
        }
    }
}
