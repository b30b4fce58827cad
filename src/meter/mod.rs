//! How many tokens a request, an answer or a stream has: before ([`estimate`], [`prompt`], [`forecast`]), while it runs
//! ([`running`]) and after ([`tokenizer`], [`usage`]).
//!
//! Two ways of counting, because one cannot do both jobs. Exact tokenising costs tens of nanoseconds a byte and exists
//! here for two vocabularies only; the gateway has about a microsecond for a whole prompt and needs a figure for every
//! backend's family. So the decision rests on an estimate from the byte classes of the text, which
//! [`TextProfile`](crate::canonical::TextProfile) gathers while the request is parsed, and the bill rests on what the
//! provider reports; what reports teach of the estimate is kept by [`calibration`]. The exact tokenizer serves where a report
//! is missing, a stream broke, or a sample is to tell how exact reports are.
//!
//! Everything but `tokenizer` is pure: no clock, no I/O, no async. What tokens cost is not known here.

pub mod calibrated;
pub mod calibration;
pub mod chat;
mod coefficients;
pub mod estimate;
pub mod exact;
pub mod forecast;
pub mod learned;
mod own;
pub mod prompt;
pub mod running;
pub mod sampled;
pub mod shape;
pub mod sketch;
pub mod tokenizer;
pub mod usage;

#[cfg(test)]
mod testing;

pub use calibration::Calibration;
pub use chat::How;
pub use learned::{Answer, Asking, Known, Lengths};
pub use own::OwnCount;
pub use prompt::Estimate;
pub use running::RunningCount;
pub use shape::Class;
pub use sketch::{Expected, Stretch};
pub use tokenizer::{Count, Tokenizer};
