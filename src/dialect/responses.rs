//! The dialect of OpenAI's `POST /responses`, which clients ask in as well: their bytes pass, and for clients of another shape
//! requests are written from a conversation. One reader makes deltas of a whole answer and of a stream (`deltas.rs`); what the
//! gateway acts on is read off them (`frames.rs`), so that what is metered is what is told.

mod deltas;
mod event;
mod frames;
mod items;
mod request;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use self::deltas::Deltas;
use self::event::{Response, Status};
use super::usage::{ReadUsage, Reported};
use super::{BodyProblem, DeltaReader, Dialect, FrameReader, Outgoing, Path, errors, left_out, splice};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Conversation, Delta, Finish, Parameters, ProviderError, Request, Untranslatable};
use crate::catalog::capability::Quirks;
use crate::units::Usage;

/// OpenAI's Responses, and what calls itself compatible.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn path(&self) -> Path {
        Path::Fixed("/responses")
    }

    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes {
        splice::responses(request, out)
    }

    fn write(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
        request::body(conversation, out)
    }

    fn leaves_out(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
        left_out::by_responses(conversation, out)
    }

    fn read_answer(&self, body: &[u8], _: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let body = body.trim_ascii();
        let response = response(body)?;
        let mut reported = Reported::default();
        let usage = reported_in(response.usage, &mut reported);
        if let Some(error) = frames::error_of(&response, body) {
            return Err(BodyProblem::Provider { error, usage: usage.map(Box::new) });
        }
        if response.items().is_none() {
            let error = errors::in_good_status(body).map(|error| BodyProblem::Provider { error, usage: usage.map(Box::new) });
            return Err(error.unwrap_or_else(|| BodyProblem::Malformed("it has no items in `output`".to_owned())));
        }
        let finish = match response.status() {
            Status::Ended(finish) => finish,
            Status::Unfinished | Status::Broke(_) => {
                return Err(BodyProblem::Malformed("its `status` says that it is not finished".to_owned()));
            }
        };
        let (mut told, mut text) = (Vec::new(), String::new());
        let mut deltas = Deltas::default();
        deltas.whole(&response, &mut told);
        let heard = frames::heard(&told, deltas.aside(), &mut |piece| text.push_str(piece));
        Ok(AnswerFacts {
            usage,
            lifetimes_told: usage.is_some() && reported.tells_lifetimes(),
            reasoning_bytes: heard.reasoning_bytes,
            served_model: response.model.map(Into::into),
            too_long: finish == Finish::Length,
            text,
        })
    }

    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let mut out = Vec::new();
        Deltas::default().whole(&response(body.trim_ascii())?, &mut out);
        Ok(out)
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    fn frame_reader(&self, _: Quirks, _: u32) -> Box<dyn FrameReader> {
        Box::new(frames::Frames::default())
    }

    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(Deltas::default())
    }
}

/// A whole body, if it is none of an error that has a shape of its own.
fn response(body: &[u8]) -> Result<Response<'_>, BodyProblem> {
    serde_json::from_slice(body).map_err(|unreadable| match errors::in_good_status(body) {
        Some(error) => BodyProblem::Provider { error, usage: None },
        None => BodyProblem::Malformed(unreadable.to_string()),
    })
}

/// Adds a usage object to what was reported so far. Whatever a site does in its chat, here thinking stands within the output
/// (providers.md 2.1: xAI differs in chat alone).
fn reported_in(usage: Option<&RawValue>, reported: &mut Reported) -> Option<Usage> {
    let mut told = Reported::default();
    // What is no object of counts reports nothing.
    let _ = ReadUsage(&mut told).deserialize(&mut serde_json::Deserializer::from_str(usage?.get()));
    if told == Reported::default() {
        return None;
    }
    reported.update(&told);
    reported.usage(Quirks::default())
}
