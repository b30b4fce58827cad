//! The dispatcher's attempts as pages of the ledger: the one place where the two meet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::taking::LOANS;
use crate::catalog::{Backend, FxTable, Purchase};
use crate::clock::SharedClock;
use crate::dispatch::{AttemptBook, AttemptFailure, Cause};
use crate::ledger::{AttemptEnd, AttemptOpened, Ending, OpenAttempt, Purse, Tab, Terms};
use crate::market::Offer;
use crate::meter::usage::Metered;
use crate::policy::{Allowances, Budgets, Claim, Lender, Loan, Portfolio};
use crate::relay::Account;
use crate::route::PlannedAttempt;
use crate::telemetry::Metrics;
use crate::units::{Amount, Free, ImageWish, Pieces, Provenance, Tokens, Usage, Usd};

/// How long an attempt waits for more of a budget, all in all.
const PATIENCE: Duration = Duration::from_secs(1);

/// One request's attempts in the books.
pub(super) struct Pages<'a> {
    pub(super) tab: &'a Tab,
    pub(super) fx: &'a FxTable,
    /// What may be free, or paid already.
    pub(super) allowances: &'a Allowances,
    /// The instant of the plan, whose exchange rates apply.
    pub(super) at: Timestamp,
    /// Tells when an attempt begins: the vendor's clock for its prices.
    pub(super) clock: &'a SharedClock,
    /// How long an attempt may take.
    pub(super) longest: Duration,
    pub(super) metrics: &'a Metrics,
    /// How many answers each attempt is to give.
    pub(super) choices: u32,
    /// The provider is told how long an answer may be.
    pub(super) bound_told: bool,
    /// Which images are wished.
    pub(super) image: ImageWish,
    /// Where the request's money is held,
    pub(super) account: &'a Account,
    /// and where more comes from, where gateways share budgets.
    pub(super) lender: Option<&'a Arc<dyn Lender>>,
    /// What share each provider has.
    pub(super) portfolio: &'a Arc<Portfolio>,
    /// What the whole request may cost.
    pub(super) most: Option<Usd>,
    /// What the attempts that ended cost, and what the others may cost at most.
    pub(super) committed: Mutex<Usd>,
}

impl Pages<'_> {
    /// Whether the request can bear one more attempt. The plan holds money for its dearest attempt, because a failed one
    /// is mostly not billed; where one was, the next needs money beside it. Where gateways share a budget and this one's slice does not
    /// bear that, more is asked for, for a moment.
    async fn commit(&self, worst: Usd) -> Option<()> {
        let mut lacking = match self.try_to_commit(worst) {
            Ok(()) => return Some(()),
            Err(lacking) => lacking?,
        };
        let lender = self.lender?;
        let asked = async {
            for _ in 0..LOANS {
                if lender.lend(&lacking.0, lacking.1).await != Loan::Granted {
                    break;
                }
                lacking = match self.try_to_commit(worst) {
                    Ok(()) => return Some(()),
                    // Others took what was lent.
                    Err(lacking) => lacking?,
                };
            }
            None
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }

    /// Commits to an attempt, or answers what is lacking of budgets that gateways share; `Err(None)`: it is refused for good.
    fn try_to_commit(&self, worst: Usd) -> Result<(), Option<(Arc<Budgets>, Usd)>> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = *committed + worst;
        if self.most.is_some_and(|most| wanted > most) {
            return Err(None);
        }
        match self.account.cover(wanted, self.at) {
            Ok(()) => *committed = wanted,
            Err(over) => return Err(self.account.lacks(wanted).filter(|_| over.shared)),
        }
        Ok(())
    }

    /// The attempt that was committed to is not made.
    fn uncommit(&self, worst: Usd) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        *committed = *committed - worst;
    }

    fn written(&self, attempt: &PlannedAttempt, offer: &Offer<'_>) -> Option<Box<OpenAttempt>> {
        let (quote, now) = (&attempt.quote, self.clock.wall().max(self.at));
        let until = self.at.checked_add(self.longest).unwrap_or(now);
        let pricing = offer.backend.prices.pricing(Purchase::Usual(self.image), now, until)?;
        let (rate, published) = self.fx.dated(pricing.currency(), self.at)?;
        let terms = Terms::new(pricing, rate, published.to_string())?;
        // A hard cap may have closed since the plan was made: then another backend is asked.
        let share = self.portfolio.hold(&offer.provider.id, quote.worst, quote.expected, now).ok()?;
        let mut page = self.tab.attempt(AttemptOpened {
            backend: offer.backend.id.clone(),
            provider: offer.provider.id.clone(),
            model: offer.backend.model.clone(),
            terms,
            quoted: quote.expected,
            held: quote.worst,
            input_estimate: quote.usage.input(),
            input_upper: quote.input_upper,
            expected_output: quote.usage.output,
            output_bound: most_output(quote.output_bound, self.choices, offer.backend.limits.max_output, self.bound_told),
            started_at: now,
            thinking: quote.thinking,
            pieces: Pieces { expected: quote.usage.pieces, most: quote.most_pieces },
        });
        self.account.share(page.number(), share);
        let Backend { quotas, provider, .. } = offer.backend;
        if let Some(claim) = self.allowances.claim(quotas, *provider, &quote.usage, now) {
            page.borne_by(Box::new(Claimed(claim)));
        }
        Some(page)
    }
}

/// What the policy lets an attempt draw on, as the books know it.
struct Claimed(Claim);

impl Purse for Claimed {
    fn bear(&mut self, usage: &Usage) -> Option<Free> {
        self.0.bear(usage)
    }

    fn pay(&mut self, amount: Amount) {
        self.0.pay(amount);
    }
}

impl AttemptBook for Pages<'_> {
    type Page = Box<OpenAttempt>;

    async fn open(&self, attempt: &PlannedAttempt, offer: &Offer<'_>) -> Option<Box<OpenAttempt>> {
        let worst = attempt.quote.worst;
        self.commit(worst).await?;
        let page = self.written(attempt, offer);
        if page.is_none() {
            self.uncommit(worst);
        }
        page
    }

    fn sent(&self, page: &mut Box<OpenAttempt>) {
        page.sent();
    }

    async fn fail(&self, page: Box<OpenAttempt>, failure: &AttemptFailure, took: Duration) {
        self.metrics.attempt(&failure.backend, failure.cause);
        let (usage, provenance) = match failure.used {
            Some(Metered { usage, provenance }) => (usage, provenance),
            None if failure.may_be_billed() => page.unanswered(),
            None => (Usage::default(), Provenance::Counted),
        };
        let settled = page.settle(AttemptEnd {
            ending: if failure.cause == Cause::Timeout { Ending::TimedOut } else { Ending::Failed },
            usage,
            provenance,
            served_model: None,
            served_before: None,
            http_status: failure.status,
            cause: Some(booked(failure)),
            first_byte_ms: None,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            free: None,
        });
        if let Some(settled) = settled {
            let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            *committed = *committed - settled.held + settled.cost.usd;
        }
    }

    fn supersede(&self, page: Box<OpenAttempt>, offer: &Offer<'_>, took: Duration) {
        self.metrics.attempt(&offer.backend.id, Ending::Superseded);
        let (usage, provenance) = page.unanswered();
        page.settle(AttemptEnd {
            ending: Ending::Superseded,
            usage,
            provenance,
            served_model: None,
            served_before: None,
            http_status: None,
            cause: None,
            first_byte_ms: None,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            free: None,
        });
    }
}

/// What all choices of an answer have at most. Where the provider is not told how long one may be, it is as long as its model lets it:
/// what a quote counts with leaves room for a prompt that may be shorter than it was thought to be.
fn most_output(quoted: Tokens, choices: u32, of_model: Tokens, told: bool) -> Tokens {
    let each = if told { quoted } else { quoted.max(of_model) };
    Tokens::new(each.get().saturating_mul(u64::from(choices)))
}

/// Why an attempt failed, as the books say it. What is wrong with an answer is told in its own words, and no text goes into the books.
fn booked(failure: &AttemptFailure) -> String {
    let message = if failure.cause == Cause::OffSchema { "the answer does not keep to its schema" } else { &failure.message };
    format!("{}: {message}", failure.cause.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a kill: an answer to a prompt that left a small model little room, by our estimate of it, was cut off and booked below
    /// what it had.
    #[test]
    fn a_bound_that_nobody_was_told_is_none() {
        let check = |told, expected| {
            let most = most_output(Tokens::new(314), 2, Tokens::new(2_048), told);
            assert_eq!(most.get(), expected, "{told}");
        };
        check(true, 628);
        check(false, 4_096);
    }
}
