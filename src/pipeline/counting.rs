//! How many tokens a prompt has, for who asks for nothing else: `/v1/messages/count_tokens`.

use super::appraise::Appraisal;
use super::{GatewayError, InboundCall, Pipeline};
use crate::canonical::{Request, Shape};
use crate::catalog::TokenizerFamily;
use crate::frontend::anthropic_messages;
use crate::meter::How;
use crate::meter::calibration::Side;
use crate::meter::chat::Chat;
use crate::meter::tokenizer::Whose;
use crate::relay::Compared;
use crate::route::{self, Target};
use crate::units::{BackendId, Tokens};

impl Pipeline {
    /// How many input tokens a request of Messages has at the model that it names, and how they were told: counted off the reactor,
    /// as its model reads it; estimated where too many wait for that or it cannot be read. Of `auto` in the commonest vocabulary.
    pub async fn count(&self, call: &InboundCall) -> Result<(Tokens, How), GatewayError> {
        let (request, of) = self.to_count(call)?;
        let body = request.body.clone();
        let conversation = self.desk.conversation;
        let make = move || conversation(&body, Shape::AnthropicMessages).as_ref().map(Chat::of);
        let in_words = Compared::of(&request, of.family).is_some();
        let counted = if in_words { self.desk.tokenizer.count_chat_soon(make, of.clone()).await } else { None };
        match counted {
            Some((tokens, How::Exact)) => Ok((tokens, How::Exact)),
            Some((tokens, how)) => Ok((self.desk.reports.counted(&of.backend, Side::Input, tokens), how)),
            None => Ok((Appraisal::of(&request).input.of(of.family).expected(), How::Estimate)),
        }
    }

    /// A request that is to be counted, and whose tokens.
    fn to_count(&self, call: &InboundCall) -> Result<(Request, Whose), GatewayError> {
        let in_force = self.in_force.load();
        in_force.keys.admit(&call.headers)?;
        let request = anthropic_messages::parse_prompt(call.body.clone(), &call.headers)?;
        let snapshot = &in_force.market.snapshot;
        let backend = match route::resolve(&request.model, snapshot, &in_force.settings.aliases)? {
            Target::Auto(_) => None,
            Target::Backend(index) => Some(index),
            Target::Model(name) => snapshot.serving(&name).first().copied(),
        };
        let of = match backend.map(|index| snapshot.backend(index)) {
            Some(backend) => Whose { backend: backend.id.clone(), family: backend.tokenizer },
            None => Whose { backend: BackendId::new("auto", "auto"), family: TokenizerFamily::O200k },
        };
        Ok((request, of))
    }
}
