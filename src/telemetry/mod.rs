//! What the gateway tells its operators: metrics for Prometheus and a log for people. Both are typed: label values come
//! from closed lists, from the table and from the configuration, so that no client can create a series, and nothing
//! that a client or a provider wrote reaches a label or a log line. Nothing outside this folder names prometheus.
//! The books are elsewhere: a figure here is a float for a dashboard, never money that somebody owes.

mod families;
pub mod labels;
pub mod logs;
pub mod metrics;
mod process;

pub use labels::{AnswerEnd, FeedLook, Label, Rejection, Reloaded, Renewal, Route};
pub use logs::LogLevel;
pub use metrics::{Metrics, MetricsError, OpenRequest, Reports, Settled};
