//! Walks a plan: which attempts are made, when one is given up, and what that teaches about a backend.
//!
//! The parts are one policy a file, and none knows the others: [`retry_budget`] caps the extra requests of the whole
//! gateway, [`breaker`] leaves a failing backend alone for a while, [`concurrency`] caps how many requests wait on one
//! backend, [`health`] remembers how each fared and is the one door to the latter two.

pub mod breaker;
pub mod concurrency;
pub mod health;
pub mod retry_budget;

pub use breaker::{BreakerSettings, Cooling, Failure};
pub use concurrency::Saturated;
pub use health::{BackendAttempt, Health, HealthSettings, HealthView, Refused, Roster};
pub use retry_budget::RetryBudget;
