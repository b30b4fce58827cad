//! What the operator wants: one file, laid over by environment variables, read whole and checked at once.
//!
//! [`Config::load`] returns checked values or every problem with its place; a value that is wrong never reaches the
//! gateway as a default in disguise. Secrets stay out of the file: provider keys come from the environment or from a file
//! that the environment names ([`secret::provider_keys`]), gateway keys are kept as hashes only. Nothing here knows
//! the price and capability table itself; names that belong to it are judged by [`names`], given what the table knows.
//!
//! A setting is an entry of `reference.rs`: from it come what the reader accepts, `docs/configuration.md` and the example
//! file.

pub mod feeds;
pub mod files;
pub mod keys;
pub mod load;
pub mod means;
pub mod names;
pub mod outbound;
pub mod pages;
pub mod portfolio;
mod reference;
pub mod restart;
pub mod secret;
mod setting;
pub mod settings;
pub mod stores;

pub use feeds::{Admin, FeedKind, FeedOrigin, PriceFeed};
pub use keys::{GatewayKey, Standing};
pub use means::Means;
pub use outbound::Outbound;
pub use secret::{ProviderKeys, Purpose, Secret, provider_keys};
pub use settings::{
    Access, AliasWishes, Books, BooksSync, Config, Deployments, Limits, Log, LogFormat, Reload, Retries, Routing, Server,
    Timeouts, Tokenizers,
};
pub use stores::{Fleet, StoreAddress};
