//! What the table knows of the past beside the schedules of its backends: prices of models that nobody can be routed to any
//! more, and reports of the press that name no full price. No decision looks at either.

use super::price::PriceSchedule;
use super::snapshot::ProviderIndex;

/// A model that has no backend, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub provider: ProviderIndex,
    pub model: String,
    pub prices: PriceSchedule,
}

/// Something that was said about prices and is no price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// A day, or a range of days or months as the report tells it.
    pub date: String,
    /// Whom it is about: a provider's id where the table has it.
    pub provider: String,
    pub model: String,
    pub text: String,
    pub source: String,
}
