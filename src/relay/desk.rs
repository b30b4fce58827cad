//! What every settlement of a gateway shares: how to count exactly, whom to tell, where to run what must go on after
//! its client has left.

use std::sync::Arc;

use bytes::Bytes;

use super::counting::Sampler;
use super::served::ServedNames;
use crate::canonical::{Conversation, Shape};
use crate::clock::SharedClock;
use crate::feed::Feed;
use crate::meter::{Calibration, Tokenizer};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

/// The shared parts.
pub struct Desk {
    pub tokenizer: Tokenizer,
    /// Which answers are counted beside their reports.
    pub sampler: Sampler,
    pub metrics: Arc<Metrics>,
    /// The last decisions, for whoever looks.
    pub feed: Arc<Feed>,
    /// Which model each backend says it serves.
    pub served: Arc<ServedNames>,
    /// What providers report against what is estimated and counted here.
    pub reports: Arc<Calibration>,
    pub tasks: Tasks,
    pub clock: SharedClock,
    /// The conversation in the client's bytes, in this shape, for an exact count.
    pub conversation: fn(&Bytes, Shape) -> Option<Conversation>,
    /// The prompt's text in them, where they are none that can be told so.
    pub prompt_text: fn(&[u8]) -> String,
    /// Whether the client's bytes ask a cache to keep any of the prompt for an hour or more.
    pub asks_long_cache: fn(&[u8]) -> bool,
}
