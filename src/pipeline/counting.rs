//! How many tokens a prompt has, for who asks for nothing else: `/v1/messages/count_tokens`.

use super::appraise::Appraisal;
use super::{GatewayError, InboundCall, Pipeline};
use crate::catalog::TokenizerFamily;
use crate::frontend::anthropic_messages;
use crate::route::{self, Target};
use crate::units::Tokens;

impl Pipeline {
    /// How many input tokens a request is expected to have at the model that it names: what its quote would count with. Of
    /// `auto` the commonest tokenizer's.
    pub fn count(&self, call: &InboundCall) -> Result<Tokens, GatewayError> {
        let in_force = self.in_force.load();
        in_force.keys.admit(&call.headers)?;
        let request = anthropic_messages::parse_prompt(call.body.clone(), &call.headers)?;
        let snapshot = &in_force.market.snapshot;
        let family = match route::resolve(&request.model, snapshot, &in_force.settings.aliases)? {
            Target::Auto(_) => TokenizerFamily::O200k,
            Target::Backend(index) => snapshot.backend(index).tokenizer,
            Target::Model(name) => {
                let serving = snapshot.serving(&name).first();
                serving.map_or(TokenizerFamily::O200k, |index| snapshot.backend(*index).tokenizer)
            }
        };
        Ok(Appraisal::of(&request).input.of(family).expected())
    }
}
