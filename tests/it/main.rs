//! The real binary over real sockets, against providers that do whatever a test scripts: what clients see, what providers
//! were asked, and what stands in the books. One binary, so that it links once.
//!
//! Not here: real SDKs (`tests/sdk`), a real inference server (`tests/local`), and what a unit test beside the code can show.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod addresses;
mod affinity;
mod allowances;
mod bedrock;
mod books;
mod budget;
mod budget_levels;
mod call_ids;
mod completions;
mod conversations;
mod corner_cases;
mod decisions;
mod disconnect;
mod documents;
mod drain;
mod edge;
mod embeddings;
mod errors;
mod failover;
mod feed;
mod gemini;
mod harness;
mod http2;
mod kill;
mod limits;
mod messages;
mod messages_errors;
mod messages_money;
mod metrics;
mod models;
mod newcomer;
mod odd_providers;
mod old_data;
mod outbound;
mod passthrough;
mod portfolio;
mod price_admin;
mod price_feeds;
mod prices;
mod rates;
mod readme;
mod reload;
mod reload_budget;
mod reload_load;
mod reload_odd;
mod rerank;
mod resilience;
mod responses;
mod responses_upstream;
mod secrets;
mod served_model;
mod simulate;
mod stream;
mod strict;
mod structured;
mod tokens;
mod top;
mod translated;
mod unwritable;
mod usage;
mod vendor_rules;
mod wishes;
