//! Walks a plan: which attempts are made, when one is given up, and what that teaches about a backend.
//!
//! [`run`] walks the tree and [`attempt`] makes one attempt, up to the [`opening`] of its answer. The policies are one
//! file each, and none knows the others: [`retry_budget`] caps the extra requests of the whole gateway, [`breaker`]
//! leaves a failing backend alone for a while, [`concurrency`] caps how many requests wait on one backend, [`headroom`]
//! knows what is left of rate limits, [`waits`] how long answers take to begin; [`health`] remembers how each fared and is the
//! one door to all of these but the first. [`wording`] says the request in each backend's words, [`retelling`] tells a stream in other words, [`structured`] asks for a schema by hand,
//! [`names`] calls tools in a way that an API takes.

pub mod attempt;
pub mod breaker;
pub mod concurrency;
pub mod failure;
pub mod headroom;
pub mod health;
pub mod names;
pub mod opening;
pub mod retelling;
mod retry_budget;
pub mod run;
pub mod structured;
pub mod waits;
pub mod wording;

pub use attempt::{ANSWER_CAP, Patience};
pub use breaker::{BreakerSettings, Cooling, Failure};
pub use concurrency::Saturated;
pub use failure::{AttemptFailure, Cause, RunFailure, Stopped};
pub use health::{Answers, BackendAttempt, Health, HealthByShape, HealthSettings, HealthView, Refused, Roster};
pub use opening::Opening;
pub use retry_budget::RetryBudget;
pub use run::{Answered, AttemptBook, Dispatcher, Journey};
pub use wording::{Wording, Written};
