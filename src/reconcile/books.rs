//! What the books have of a vendor, added up as its bill is: by day in its zone and by model, under the name that the bill has for
//! it where it has one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use jiff::civil::Date;

use super::bill::{Bill, same_name};
use super::mapping::{CountsWhen, Mapping};
use crate::ledger::{BookedAttempt, BookedPrices};
use crate::units::{Provenance, Usage};

/// What the books have of one model on one day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booked {
    /// Attempts that used anything.
    pub attempts: u64,
    pub usage: Usage,
    /// Attempts whose tokens are estimated (a stream that broke, a kill, no answer in time), and what they were booked at.
    pub estimated: u64,
    pub estimated_usage: Usage,
    /// By the code of its currency, in 10⁻¹² units; what free quotas spared in the same.
    pub amounts: BTreeMap<String, i128>,
    pub estimated_amounts: BTreeMap<String, i128>,
    pub spared: BTreeMap<String, i128>,
    /// Rows of the price book that attempts were settled by, and versions of the table.
    pub prices: BTreeSet<String>,
    pub tables: BTreeSet<String>,
}

/// Days and models of the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// Names of models that stand on the bill.
    known: BTreeSet<String>,
    pub lines: BTreeMap<(Date, String), Booked>,
    /// Prices of each model that any attempt was settled by, by the row of the price book and the currency.
    pub(super) priced: BTreeMap<String, BTreeMap<(String, String), BookedPrices>>,
}

impl Gathered {
    /// Nothing yet, to be held against a bill.
    pub fn against(bill: &Bill) -> Self {
        Self { known: bill.models().into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Adds an attempt of the vendor. What used nothing is on no bill.
    pub fn add(&mut self, mapping: &Mapping, table: &str, attempt: &BookedAttempt) {
        if attempt.usage == Usage::default() && attempt.amount_pico == 0 {
            return;
        }
        let name = self.name_of(attempt);
        let priced = self.priced.entry(name.clone()).or_default();
        priced.entry((attempt.price.clone(), attempt.currency.clone())).or_insert(attempt.prices);
        let line = self.lines.entry((day(mapping, attempt), name)).or_default();
        let amount = i128::from(attempt.amount_pico);
        line.attempts += 1;
        line.usage = line.usage.plus(&attempt.usage);
        *line.amounts.entry(attempt.currency.clone()).or_default() += amount;
        *line.spared.entry(attempt.currency.clone()).or_default() += i128::from(attempt.spared_pico);
        if attempt.provenance == Provenance::Estimated.word() {
            line.estimated += 1;
            line.estimated_usage = line.estimated_usage.plus(&attempt.usage);
            *line.estimated_amounts.entry(attempt.currency.clone()).or_default() += amount;
        }
        line.prices.insert(attempt.price.clone());
        line.tables.insert(table.to_owned());
    }

    /// The vendor's own name first (what the answer said it was), then ours.
    fn name_of(&self, attempt: &BookedAttempt) -> String {
        let ours = attempt.backend.split_once('/').map_or(attempt.backend.as_str(), |(_, model)| model);
        let names = [attempt.served_model.as_deref(), Some(ours), Some(attempt.model.as_str())];
        let mut names = names.into_iter().flatten().map(same_name);
        names.find(|name| self.known.contains(name)).unwrap_or_else(|| same_name(ours))
    }
}

fn day(mapping: &Mapping, attempt: &BookedAttempt) -> Date {
    let took = match mapping.counts_when {
        CountsWhen::Begun => 0,
        CountsWhen::Ended => attempt.duration_ms.unwrap_or(0),
    };
    let took = SignedDuration::from_millis(i64::try_from(took).unwrap_or(i64::MAX));
    let instant = attempt.started_at.checked_add(took).unwrap_or(attempt.started_at);
    instant.to_zoned(mapping.zone.clone()).date()
}
