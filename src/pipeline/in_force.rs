//! What decides about requests and may be replaced while the gateway runs: one value behind one pointer, so that no
//! request is let in by one state of it and routed by another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::stored::StoredSettings;
use super::weighed::ExploreRule;
use crate::canonical::{Preference, Request};
use crate::dispatch::{Patience, RunFailure};
use crate::frontend::ClientError;
use crate::market::Market;
use crate::policy::{Allowances, KeyRing};
use crate::relay::StreamEnd;
use crate::route::{self, Ask};
use crate::units::{Tokens, Usd};

/// What an alias wishes for those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AliasWishes {
    pub prefer: Option<Preference>,
    /// What a million tokens may be expected to cost.
    pub max_price: Option<Usd>,
}

/// Everything that is in force at one moment.
pub struct InForce {
    pub keys: KeyRing,
    pub market: Arc<Market>,
    /// What is free and what is paid already, at the indexes of the market's table.
    pub allowances: Arc<Allowances>,
    pub settings: PipelineSettings,
}

/// What the operator decides about the path.
pub struct PipelineSettings {
    pub aliases: BTreeMap<String, String>,
    pub routing: route::Settings,
    /// What matters to requests that come by an alias, where they do not say so themselves.
    pub alias_wishes: BTreeMap<String, AliasWishes>,
    pub explore: ExploreRule,
    /// The backend whose price tells what the same requests would have cost there.
    pub baseline: Option<String>,
    /// Output bound of a key with a budget that names none: a hold must not be the model's whole capacity.
    pub budgeted_output: Tokens,
    /// How long one client request may take, all attempts and the whole stream included.
    pub total: Duration,
    /// For how long the rest of a stream is heard whose client has left.
    pub heard_out: Duration,
    /// How long one attempt may take.
    pub patience: Patience,
    /// Client requests under way; further ones are refused.
    pub most_under_way: usize,
    /// How much is kept of answers that a later request may go on from.
    pub stored: StoredSettings,
    /// The status of a request that a budget does not bear.
    pub over_budget_status: u16,
    /// The largest request body, in bytes.
    pub most_body: usize,
    /// And that of a form with a file.
    pub most_upload: usize,
    /// How long a client may take to send its request's body.
    pub body_wait: Duration,
    /// What a client is told of a stream that broke off.
    pub stream_error: fn(&StreamEnd<'_>) -> ClientError,
    /// The status that a client gets for a run without an answer.
    pub failure_status: fn(&RunFailure) -> u16,
}

/// What a request asks for, with what its alias adds: the request's own preference wins, and of two bounds the lower.
pub fn asked(request: &Request, alias_wishes: &BTreeMap<String, AliasWishes>) -> Ask {
    let own = Ask { translated: request.shape.direct().is_none(), ..Ask::of(request) };
    let Some(alias) = alias_wishes.get(&request.model) else { return own };
    let max_price = [own.max_price, alias.max_price].into_iter().flatten().min();
    Ask { prefer: own.prefer.or(alias.prefer), max_price, ..own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_wishes_what_its_request_does_not_say_and_the_lower_bound_holds() {
        let usd = |pico| Some(Usd::from_pico(pico));
        let quick = AliasWishes { prefer: Some(Preference::Fastest), max_price: usd(2) };
        let wishes = BTreeMap::from([("quick".to_owned(), quick)]);
        let check = |model: &str, prefer, max_price, expected| {
            let mut request = Request::saying("Say hello.");
            request.model = model.to_owned();
            (request.wishes.prefer, request.wishes.max_price) = (prefer, max_price);
            let ask = asked(&request, &wishes);
            assert_eq!((ask.prefer, ask.max_price), expected, "{model}");
        };
        check("quick", None, None, (Some(Preference::Fastest), usd(2)));
        check("quick", Some(Preference::Cheapest), usd(1), (Some(Preference::Cheapest), usd(1)));
        check("quick", None, usd(3), (Some(Preference::Fastest), usd(2)));
        check("auto", None, usd(3), (None, usd(3)));
    }
}
