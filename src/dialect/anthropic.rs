//! The dialect of Anthropic's `POST /v1/messages`, which Anthropic speaks and many others offer beside their own.

use bytes::Bytes;
use http::HeaderMap;

use super::blocks::{Reading, Stop};
use super::frame::named;
use super::usage::Reported;
use super::{
    BodyProblem, DeltaReader, Dialect, FrameReader, Outgoing, Path, errors, left_out, messages_deltas, messages_request, splice,
    sse,
};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Conversation, Delta, FrameFacts, FrameKind, Parameters, ProviderError, Request, Untranslatable};
use crate::catalog::capability::Quirks;
use crate::units::Usage;

/// Anthropic Messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicMessages;

impl Dialect for AnthropicMessages {
    fn path(&self) -> Path {
        Path::Fixed("/messages")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        // The one version there is (dialects.md section 3, 2026-11-22); a request without any is refused.
        &[("anthropic-version", "2023-06-01")]
    }

    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes {
        splice::messages(request, out)
    }

    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let mut text = String::new();
        let mut collect = |piece: &str| text.push_str(piece);
        let body = body.trim_ascii();
        let (reading, outcome) = Reading::of(body, &mut collect);
        outcome.map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        let usage = usage_of(&reading.usage, quirks);
        if let Some(error) = reading.suspect.then(|| errors::in_good_status(body)).flatten() {
            return Err(BodyProblem::Provider { error, usage: usage.map(Box::new) });
        }
        if !reading.has_content {
            return Err(BodyProblem::Malformed("it has no `content`".to_owned()));
        }
        let (lifetimes_told, reasoning_bytes) = (reading.usage.tells_lifetimes(), reading.reasoning_bytes);
        let (served_model, too_long) = (reading.model, reading.stop == Stop::TooLong);
        Ok(AnswerFacts { usage, lifetimes_told, reasoning_bytes, served_model, too_long, text })
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, quirks: Quirks, _: u32) -> Box<dyn FrameReader> {
        Box::new(Frames { quirks, reported: Reported::default(), ended: false, named: false })
    }

    fn write(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
        messages_request::body(conversation, out)
    }

    fn leaves_out(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
        left_out::by_messages(conversation, out)
    }

    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let message = serde_json::from_slice(body.trim_ascii()).map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        Ok(messages_deltas::Deltas::default().message(message))
    }

    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(messages_deltas::Deltas::default())
    }
}

fn usage_of(reported: &Reported, quirks: Quirks) -> Option<Usage> {
    // How a site counts reasoning was found out about its chat.
    let quirks = Quirks { reasoning_outside_output: false, ..quirks };
    if quirks.messages_input_includes_cache { reported.usage(quirks) } else { reported.usage_beside_cache() }
}

/// Reads the frames of one stream. The input is told at its beginning and the output at its end, so what was told so far is
/// remembered.
struct Frames {
    quirks: Quirks,
    reported: Reported,
    /// A reason was told why the answer ended.
    ended: bool,
    /// The model was named.
    named: bool,
}

impl Frames {
    fn facts(&mut self, data: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let (reading, outcome) = Reading::of(data, text);
        if outcome.is_err() {
            return FrameFacts::only(if reading.said { FrameKind::Content } else { FrameKind::KeepAlive });
        }
        // What the beginning says of the output stands for it until the end tells it; where no end does, nobody did.
        let told = if reading.kind == Kind::Start { reading.usage.without_output() } else { reading.usage };
        let usage = if told == Reported::default() {
            None
        } else {
            self.reported.update(&told);
            usage_of(&self.reported, self.quirks)
        };
        if let Some(error) = reading.suspect.then(|| errors::in_good_status(data)).flatten() {
            let lifetimes_told = usage.is_some() && self.reported.tells_lifetimes();
            return FrameFacts { usage, lifetimes_told, ..FrameFacts::only(FrameKind::Error(error)) };
        }
        let (ended, too_long) = (reading.stop != Stop::Unsaid, reading.stop == Stop::TooLong);
        self.ended |= ended;
        let kind = match reading.kind {
            Kind::Stop => FrameKind::Done,
            _ if reading.said || ended => FrameKind::Content,
            Kind::Start | Kind::Part => FrameKind::Preamble,
            Kind::Other => FrameKind::KeepAlive,
        };
        let finished = ended || kind == FrameKind::Done;
        let lifetimes_told = usage.is_some() && self.reported.tells_lifetimes();
        let reasoning_bytes = reading.reasoning_bytes;
        let served_model = named(&mut self.named, reading.model.as_deref());
        FrameFacts { kind, usage, lifetimes_told, reasoning_bytes, finished, too_long, served_model }
    }
}

impl FrameReader for Frames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = sse::data_of(frame);
        match data.trim_ascii() {
            b"" => FrameFacts::only(FrameKind::KeepAlive),
            // Not of this dialect, but sent by sites that made theirs of another. It ends only what has ended.
            b"[DONE]" => FrameFacts::only(if self.ended { FrameKind::Done } else { FrameKind::KeepAlive }),
            json => self.facts(json, text),
        }
    }
}

/// What a frame is by its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// The beginning.
    Start,
    /// A part of the answer, or what frames its parts.
    Part,
    /// The end.
    Stop,
    /// A ping, or something that nobody knows.
    #[default]
    Other,
}

impl Kind {
    /// By the raw value of `type`, quotes included.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "\"message_stop\"" => Self::Stop,
            "\"message_start\"" => Self::Start,
            "\"content_block_start\"" | "\"content_block_delta\"" | "\"content_block_stop\"" | "\"message_delta\"" => Self::Part,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of thinking in a whole answer of one block, and in a frame that begins with the same block.
    fn check(block: &str, expected: u64) {
        let whole = format!(r#"{{"type":"message","content":[{block}],"stop_reason":"end_turn"}}"#);
        let facts = AnthropicMessages.read_answer(whole.as_bytes(), Quirks::default()).unwrap();
        assert_eq!(facts.reasoning_bytes, expected, "{block}");
        let frame = format!("data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{block}}}\n\n");
        let facts = AnthropicMessages.frame_reader(Quirks::default(), 1).read(frame.as_bytes(), &mut |_| {});
        assert_eq!(facts.reasoning_bytes, expected, "{frame}");
    }

    #[test]
    fn thinking_is_told_from_the_rest_of_an_answer() {
        check(r#"{"type":"text","text":"yes"}"#, 0);
        check(r#"{"type":"thinking","thinking":"hm, 好","signature":""}"#, 7);
        check(r#"{"type":"thinking","thinking":"","signature":"c2ln"}"#, 1);
        check(r#"{"type":"redacted_thinking","data":"c2VjcmV0"}"#, 1);
        check(r#"{"type":"tool_use","name":"f","input":{"thinking":"x"}}"#, 0);
    }

    #[test]
    fn lifetimes_that_were_told_at_the_beginning_hold_to_the_end() {
        let mut reader = AnthropicMessages.frame_reader(Quirks::default(), 1);
        let mut read = |json: &str| reader.read(format!("data: {json}\n\n").as_bytes(), &mut |_| {});
        let usage = r#"{"input_tokens":3,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":9}}"#;
        let begun = read(&format!(r#"{{"type":"message_start","message":{{"usage":{usage}}}}}"#));
        assert!(begun.lifetimes_told && begun.usage.is_some_and(|usage| usage.cache_write_long.get() == 9));
        let said = read(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#);
        assert!(!said.lifetimes_told && said.usage.is_none());
        let ended = read(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#);
        assert!(ended.lifetimes_told && ended.finished);
        assert_eq!(ended.usage.map(|usage| (usage.cache_write_long.get(), usage.output.get())), Some((9, 4)));
    }

    /// Found by a reader: the one token that the beginning counts was booked for a whole answer.
    #[test]
    fn what_the_beginning_says_of_the_output_is_no_report() {
        let mut reader = AnthropicMessages.frame_reader(Quirks::default(), 1);
        let mut read =
            |json: &str| reader.read(format!("data: {json}\n\n").as_bytes(), &mut |_| {}).usage.map(|u| u.output.get());
        let start = r#"{"message":{"usage":{"input_tokens":31,"output_tokens":1}},"type":"message_start"}"#;
        assert_eq!(read(start), Some(0));
        for end in ["null", r#"{"output_tokens":0}"#, "{}"] {
            let told = read(&format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{end}}}"#));
            assert_eq!(told.unwrap_or(0), 0, "{end}");
        }
        assert_eq!(read(r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":4}}"#), Some(4));
    }

    /// Found by a reader: a stream that only said so counted as whole.
    #[test]
    fn the_mark_of_another_dialect_ends_only_what_has_ended() {
        let mut reader = AnthropicMessages.frame_reader(Quirks::default(), 1);
        let mut kind = |data: &str| reader.read(format!("data: {data}\n\n").as_bytes(), &mut |_| {}).kind;
        assert_eq!(kind("[DONE]"), FrameKind::KeepAlive);
        assert_eq!(kind(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#), FrameKind::Content);
        assert_eq!(kind("[DONE]"), FrameKind::Done);
    }

    #[test]
    fn how_chat_counts_reasoning_says_nothing_of_messages() {
        let body = br#"{"type":"message","content":[],"usage":{"input_tokens":9,"output_tokens":100,"output_tokens_details":{"thinking_tokens":60}}}"#;
        for messages_input_includes_cache in [false, true] {
            let quirks = Quirks { messages_input_includes_cache, reasoning_outside_output: true, ..Quirks::default() };
            let usage = AnthropicMessages.read_answer(body, quirks).unwrap().usage.unwrap();
            assert_eq!((usage.output.get(), usage.reasoning.get()), (100, 60));
        }
    }

    #[test]
    fn where_a_site_counts_the_cache_within_the_input_a_quirk_says_so() {
        let body =
            br#"{"type":"message","content":[],"usage":{"input_tokens":100,"cache_read_input_tokens":60,"output_tokens":1}}"#;
        for (includes, fresh) in [(false, 100), (true, 40)] {
            let quirks = Quirks { messages_input_includes_cache: includes, ..Quirks::default() };
            let usage = AnthropicMessages.read_answer(body, quirks).unwrap().usage.unwrap();
            assert_eq!((usage.fresh_input.get(), usage.cache_read.get()), (fresh, 60));
        }
    }
}
