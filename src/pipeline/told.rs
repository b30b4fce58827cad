//! What a request and its answer are in other words: read once, and only where a backend of another shape is asked.

use std::sync::OnceLock;

use bytes::Bytes;

use super::InboundCall;
use crate::canonical::{Answer, Conversation, Request, StreamWriter, Translation, Untranslatable};
use crate::frontend::{About, FrontendRef, seal_written};
use crate::units::RequestId;

/// One request's translation.
pub(super) struct Told<'c> {
    frontend: FrontendRef,
    request: &'c Request,
    id: RequestId,
    conversation: OnceLock<Result<Box<Conversation>, Untranslatable>>,
    without_seals: OnceLock<Box<Conversation>>,
}

impl<'c> Told<'c> {
    pub(super) fn of(call: &InboundCall, request: &'c Request) -> Self {
        Self { frontend: call.frontend, request, id: call.id, conversation: OnceLock::new(), without_seals: OnceLock::new() }
    }

    /// What our own hand has to say of the answer.
    pub(super) fn about(&self, model: &str) -> About {
        let (id, model) = (self.id.to_string(), model.to_owned());
        let read = self.conversation.get().and_then(|read| read.as_ref().ok());
        About {
            id,
            model,
            created: self.id.unix_seconds(),
            wants_usage: self.request.wants_usage_frame,
            asked: self.request.body.clone(),
            own_tools: read.map(|conversation| conversation.own_tools.clone()).unwrap_or_default(),
        }
    }
}

impl Translation for Told<'_> {
    fn conversation(&self, sealed: bool) -> Result<&Conversation, Untranslatable> {
        let read = self.conversation.get_or_init(|| self.frontend.conversation(self.request).map(Box::new));
        let conversation = read.as_ref().map_err(Clone::clone)?;
        Ok(if sealed { conversation } else { self.without_seals.get_or_init(|| Box::new(conversation.with_seals(|_| false))) })
    }

    fn conversation_with(&self, kept: &dyn Fn(&[u8]) -> bool) -> Result<Conversation, Untranslatable> {
        let shape = self.frontend.shape();
        Ok(self.conversation(true)?.with_seals(|seal| kept(seal_written(shape, seal).as_bytes())))
    }

    fn whole(&self, answer: &Answer, model: &str) -> Bytes {
        self.frontend.answer_body(answer, &self.about(model))
    }

    fn stream(&self, model: &str) -> Box<dyn StreamWriter> {
        self.frontend.stream_writer(self.about(model))
    }
}

/// Seconds of wall time.
pub(super) fn second(at: jiff::Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}
