//! The dialect of `POST /chat/completions`, which most providers speak with small deviations.

use bytes::Bytes;
use http::HeaderMap;

use super::frame::{ChatFrames, broken};
use super::reading::Reading;
use super::{
    BodyProblem, DeltaReader, Dialect, FrameReader, Outgoing, Path, chat_deltas, chat_request, errors, left_out, splice,
};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Conversation, Delta, Parameters, ProviderError, Request, Untranslatable};
use crate::catalog::capability::Quirks;

/// OpenAI chat completions, and what calls itself compatible.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn path(&self) -> Path {
        Path::Fixed("/chat/completions")
    }

    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes {
        splice::chat(request, out)
    }

    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let mut text = String::new();
        let mut collect = |piece: &str| text.push_str(piece);
        // Blank lines before the body keep a connection alive at some sites.
        let (reading, outcome) = Reading::of(body.trim_ascii(), true, &mut collect);
        outcome.map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        let error = if reading.suspect { errors::in_good_status(body) } else { None };
        if let Some(error) = error.or_else(|| reading.broke.map(broken)) {
            return Err(BodyProblem::Provider { error, usage: reading.usage(quirks).map(Box::new) });
        }
        if reading.choices.is_none() {
            return Err(BodyProblem::Malformed("it has no `choices`".to_owned()));
        }
        let (usage, lifetimes_told) = (reading.usage(quirks), reading.lifetimes_told(quirks));
        let (served_model, too_long, reasoning_bytes) = (reading.model, reading.too_long != 0, reading.reasoning_bytes);
        Ok(AnswerFacts { usage, lifetimes_told, reasoning_bytes, served_model, too_long, text })
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, quirks: Quirks, choices: u32) -> Box<dyn FrameReader> {
        Box::new(ChatFrames::new(quirks, choices))
    }

    fn write(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
        chat_request::body(conversation, out)
    }

    fn leaves_out(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
        left_out::by_chat(conversation, out)
    }

    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let answer = serde_json::from_slice(body.trim_ascii()).map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        Ok(chat_deltas::Deltas::default().whole(answer))
    }

    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(chat_deltas::Deltas::default())
    }

    fn delta_reader_at(&self, quirks: Quirks) -> Box<dyn DeltaReader> {
        Box::new(chat_deltas::Deltas::of(quirks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of reasoning in a whole answer with this message, and in a frame with the same as its delta.
    fn check(message: &str, expected: u64) {
        let whole = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#);
        let facts = OpenAiChat.read_answer(whole.as_bytes(), Quirks::default()).unwrap();
        assert_eq!(facts.reasoning_bytes, expected, "{message}");
        let frame = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{message}}}]}}\n\n");
        let mut text = String::new();
        let facts = OpenAiChat.frame_reader(Quirks::default(), 1).read(frame.as_bytes(), &mut |piece| text.push_str(piece));
        assert_eq!(facts.reasoning_bytes, expected, "{frame}");
        assert!(text.len() as u64 >= expected || expected == 1, "{text}");
    }

    #[test]
    fn reasoning_is_told_from_the_rest_of_an_answer() {
        check(r#"{"content":"yes"}"#, 0);
        check(r#"{"reasoning_content":"hm, 好","content":"yes"}"#, 7);
        check(r#"{"reasoning_content":null,"reasoning":"","content":"yes"}"#, 0);
        check(r#"{"reasoning":"hm","reasoning_details":[{"text":"hm"}],"content":""}"#, 2);
        check(r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"c2VjcmV0"}]}"#, 1);
    }

    #[test]
    fn a_report_tells_lifetimes_wherever_it_stands() {
        let check = |members: &str, expected: bool| {
            let frame = format!("data: {{\"choices\":[],{members}}}\n\n");
            let facts = OpenAiChat.frame_reader(Quirks::default(), 1).read(frame.as_bytes(), &mut |_| {});
            assert_eq!((facts.usage.is_some(), facts.lifetimes_told), (true, expected), "{members}");
        };
        let told = r#"{"prompt_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4}}"#;
        check(&format!("\"usage\":{told}"), true);
        check(&format!("\"x_vendor\":{{\"usage\":{told}}}"), true);
        check(r#""usage":{"prompt_tokens":9,"cache_creation_input_tokens":4}"#, false);
    }
}
