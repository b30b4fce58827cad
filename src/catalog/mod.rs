//! The price and capability table: what can be bought, from whom, at what price, under which law. Read from
//! `providers.toml` whole or not at all, and handed out as one immutable [`Snapshot`] per request.

pub mod address;
pub mod allowance;
pub mod calendar;
pub mod capability;
pub mod change;
pub mod feed;
pub mod fx;
pub mod history;
pub mod load;
pub mod price;
mod refused;
mod signing;
pub mod snapshot;
pub mod steering;
mod thinking;

pub use allowance::{Prepaid, Quota, QuotaIndex};
pub use calendar::Calendar;
pub use capability::{
    Backend, CacheRules, Dimensions, KeyHeader, Limits, MoreEndpoint, PriceChanges, Provider, Quality, QualitySignal, Reasoning,
    Retention, TokenizerFamily,
};
pub use change::{Layer, PriceChange};
pub use fx::{DatedRate, FxTable};
pub use history::{Annotation, Past};
pub use price::{PriceRow, PriceSchedule, Purchase};
pub use signing::{REGION, Signing};
pub use snapshot::{BackendIndex, ProviderIndex, Snapshot};
pub use steering::{BudgetBounds, ConverseFields, Steering};
