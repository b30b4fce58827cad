//! Which backends can answer a request, what each would cost, and in which order to ask them.
//!
//! [`plan()`] goes through the table once, over a few bytes a backend ([`board`]): the first rule that a backend breaks
//! excludes it ([`adequate`]). Of the others those that may be among the first (`sieve`) are quoted in exact money
//! ([`quote`]), weighed by their risk ([`score`]) and put into a small tree of attempts ([`mod@plan`]). The same values explain the choice afterwards ([`explain`]). Everything here is a pure function of
//! [`Facts`]: the same facts give the same plan, so a decision can be replayed, tested and argued about. Facts can be
//! put into a few hundred bytes and read back ([`kept`]), so that it can be explained long after.
//!
//! No clock, no randomness, no I/O, no floating point; nothing is sent, held or booked here.

pub mod adequate;
pub mod affinity;
mod ahead;
pub mod ask;
pub mod board;
pub mod caps;
pub mod explain;
pub mod explore;
pub mod facts;
pub mod kept;
pub mod learned;
pub mod needs;
pub mod permit;
pub mod plan;
pub mod price_risk;
#[cfg(test)]
mod properties;
pub mod quote;
pub mod risk;
mod rule;
pub mod score;
mod screen;
mod sieve;
mod sizes;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod usable;

pub use adequate::Unfit;
pub use affinity::{Affinity, Session, Stay, Warm};
pub use ask::Ask;
pub use board::{Board, BoardInForce};
pub use caps::{Cap, CapCost, Caps};
pub use explain::{Decision, ExplainedRefusal};
pub use explore::Explored;
pub use facts::{
    Allowances, Availability, BackendHealth, Explore, Facts, Headroom, InputEstimate, InputTokens, Limits, OutputForecast,
    Prepaid, Settings, Wait,
};
pub use kept::{Kept, Unreadable};
pub use learned::{LearnedOutput, OutputFigures, OutputStretch};
pub use needs::Needs;
pub use permit::open_to;
pub use plan::{Candidate, Node, Plan, PlanError, PlannedAttempt, Whole, explained, plan};
pub use quote::{FreeQuote, Quote};
pub use rule::Rule;
pub use score::Score;
pub use target::{Target, UnknownModel, resolve};
pub use usable::{Rejected, Usable};
