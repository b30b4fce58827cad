//! What decides about requests and may be replaced while the gateway runs: one value behind one pointer, so that no
//! request is let in by one state of it and routed by another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dispatch::{Patience, RunFailure};
use crate::market::Market;
use crate::policy::{Allowances, KeyRing};
use crate::relay::EndEvent;
use crate::route;
use crate::units::Tokens;

/// Everything that is in force at one moment.
pub struct InForce {
    pub keys: KeyRing,
    pub market: Market,
    /// What is free and what is paid already, at the indexes of the market's table.
    pub allowances: Allowances,
    pub settings: PipelineSettings,
}

/// What the operator decides about the path.
pub struct PipelineSettings {
    pub aliases: BTreeMap<String, String>,
    pub routing: route::Settings,
    /// The backend whose price tells what the same requests would have cost there.
    pub baseline: Option<String>,
    /// Output bound of a key with a budget that names none: a hold must not be the model's whole capacity.
    pub budgeted_output: Tokens,
    /// How long one client request may take, all attempts and the whole stream included.
    pub total: Duration,
    /// How long one attempt may take.
    pub patience: Patience,
    /// Client requests under way; further ones are refused.
    pub most_under_way: usize,
    /// The largest request body, in bytes.
    pub most_body: usize,
    /// How long a client may take to send its request's body.
    pub body_wait: Duration,
    /// Writes the error event of a stream that broke off.
    pub end_event: EndEvent,
    /// The status that a client gets for a run without an answer.
    pub failure_status: fn(&RunFailure) -> u16,
}
