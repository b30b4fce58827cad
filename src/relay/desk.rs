//! What every settlement of a gateway shares: how to count exactly, whom to tell, where to run what must go on after
//! its client has left.

use std::sync::Arc;

use super::served::ServedNames;
use crate::clock::SharedClock;
use crate::feed::Feed;
use crate::meter::{Calibration, Tokenizer};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

/// The shared parts.
pub struct Desk {
    pub tokenizer: Tokenizer,
    pub metrics: Arc<Metrics>,
    /// The last decisions, for whoever looks.
    pub feed: Arc<Feed>,
    /// Which model each backend says it serves.
    pub served: Arc<ServedNames>,
    /// What providers report against what is estimated and counted here.
    pub reports: Arc<Calibration>,
    pub tasks: Tasks,
    pub clock: SharedClock,
    /// The prompt's text from the client's bytes, for an exact count.
    pub prompt_text: fn(&[u8]) -> String,
    /// Whether the client's bytes ask a cache to keep any of the prompt for an hour or more.
    pub asks_long_cache: fn(&[u8]) -> bool,
}
