//! The dialect of `POST /chat/completions`, which most providers speak with small deviations.

use bytes::Bytes;
use http::HeaderMap;

use super::frame::{ChatFrames, broken};
use super::reading::Reading;
use super::{BodyProblem, Dialect, FrameReader, Outgoing, errors, splice};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{ProviderError, Request};
use crate::catalog::capability::Quirks;

/// OpenAI chat completions, and what calls itself compatible.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn path(&self) -> &'static str {
        "/chat/completions"
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
        let (usage, served_model, too_long) = (reading.usage(quirks), reading.model, reading.too_long != 0);
        Ok(AnswerFacts { usage, served_model, too_long, text })
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, quirks: Quirks) -> Box<dyn FrameReader> {
        Box::new(ChatFrames::new(quirks))
    }
}
