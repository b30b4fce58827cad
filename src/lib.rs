//! **tokenbroker**: one `base_url` in front of every LLM provider; each request goes to the cheapest adequate backend.
//!
//! # The way of a request
//! `server` accepts it; `policy` admits the key; `frontend` turns the client's bytes into a `canonical` request and keeps
//! them; `market` hands out one view of the `catalog` (prices, capabilities) and of who can be reached; `meter` estimates
//! the tokens; `route` filters, quotes, scores and plans; `policy` holds the plan's worst case; `dispatch` walks the plan
//! through `dialect` and `upstream`; `relay` streams the answer; `ledger` settles. `pipeline` is the one function that
//! joins them: read it next. The modules below stand in groups, by name within each.

// Vocabulary: no I/O, no async.
pub mod canonical;
pub mod clock;
pub mod coding;
pub mod document;
pub mod folder;
pub mod in_place;
pub mod tasks;
pub mod units;

// The request path.
pub mod dialect;
pub mod dispatch;
pub mod frontend;
pub mod market;
pub mod meter;
pub mod pipeline;
pub mod relay;
pub mod route;
pub mod upstream;

// Control plane: decides, never in the way of bytes.
pub mod catalog;
pub mod config;
pub mod feed;
pub mod fleet;
pub mod key_book;
pub mod ledger;
pub mod policy;
pub mod price_book;
pub mod reconcile;
pub mod setup;
pub mod telemetry;

// The shell.
pub mod cli;
pub mod sandbox;
pub mod server;
pub mod simulate;

#[cfg(test)]
mod storm;
#[cfg(test)]
mod wire_tests;
