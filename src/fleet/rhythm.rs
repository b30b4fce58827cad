//! The rhythm in which slices are handed out, of budgets as of limits on rates.

use std::time::Duration;

/// How often slices are looked at.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// How long Redis is left alone after a failure.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// How long until others have given back what they do not need.
pub(super) const GIVEN_BACK: Duration = Duration::from_millis(120);
/// A gateway that was not heard of for so long gets nothing set aside.
pub(super) const ALIVE_MS: i64 = 10_000;
/// Commands sent at once.
pub(super) const LOT: usize = 256;
/// Requests that may wait for more.
pub(super) const ASKS: usize = 4_096;
