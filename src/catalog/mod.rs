//! The price and capability table: what can be bought, from whom, at what price, under which law. Read from
//! `providers.toml` whole or not at all, and handed out as one immutable [`Snapshot`] per request.

pub mod capability;
pub mod feed;
pub mod fx;
pub mod load;
pub mod price;
pub mod snapshot;

pub use capability::{Backend, Limits, Provider, Quality, QualitySignal, Reasoning, TokenizerFamily};
pub use fx::{DatedRate, FxTable};
pub use price::{PriceRow, PriceSchedule};
pub use snapshot::{BackendIndex, ProviderIndex, Snapshot};
