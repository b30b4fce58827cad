//! The dispatcher's attempts as pages of the ledger: the one place where the two meet.

use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::FxTable;
use crate::dispatch::{AttemptBook, AttemptFailure, Cause};
use crate::ledger::{AttemptEnd, AttemptOpened, Ending, OpenAttempt, Tab, Terms};
use crate::market::Offer;
use crate::route::PlannedAttempt;
use crate::telemetry::Metrics;
use crate::units::{Provenance, Tokens, Usage};

/// One request's attempts in the books.
pub(super) struct Pages<'a> {
    pub(super) tab: &'a Tab,
    pub(super) fx: &'a FxTable,
    /// The instant whose prices and rates apply.
    pub(super) at: Timestamp,
    pub(super) metrics: &'a Metrics,
    /// How many answers each attempt is to give.
    pub(super) choices: u32,
}

impl AttemptBook for Pages<'_> {
    type Page = OpenAttempt;

    fn open(&self, attempt: &PlannedAttempt, offer: &Offer<'_>) -> Option<OpenAttempt> {
        let quote = &attempt.quote;
        let (_, published) = self.fx.dated(quote.tariff.currency, self.at)?;
        let mut page = self.tab.attempt(AttemptOpened {
            backend: offer.backend.id.clone(),
            provider: offer.provider.id.clone(),
            model: offer.backend.model.clone(),
            terms: Terms::new(quote.tariff, quote.exchange_rate, published.to_string())?,
            quoted: quote.expected,
            held: quote.worst,
            input_estimate: quote.usage.input(),
            input_upper: quote.input_upper,
            expected_output: quote.usage.output,
            output_bound: Tokens::new(quote.output_bound.get().saturating_mul(u64::from(self.choices))),
            started_at: self.at,
        });
        page.sent();
        Some(page)
    }

    async fn fail(&self, page: OpenAttempt, failure: &AttemptFailure, took: Duration) {
        self.metrics.attempt(&failure.backend, failure.cause);
        let (usage, provenance) = if failure.cause.may_be_billed() {
            (page.unanswered(), Provenance::Estimated)
        } else {
            (Usage::default(), Provenance::Counted)
        };
        page.settle(AttemptEnd {
            ending: if failure.cause == Cause::Timeout { Ending::TimedOut } else { Ending::Failed },
            usage,
            provenance,
            served_model: None,
            http_status: failure.status,
            cause: Some(format!("{}: {}", failure.cause.word(), failure.message)),
            first_byte_ms: None,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    fn supersede(&self, page: OpenAttempt, offer: &Offer<'_>, took: Duration) {
        self.metrics.attempt(&offer.backend.id, Ending::Superseded);
        let usage = page.unanswered();
        page.settle(AttemptEnd {
            ending: Ending::Superseded,
            usage,
            provenance: Provenance::Estimated,
            served_model: None,
            http_status: None,
            cause: None,
            first_byte_ms: None,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }
}
