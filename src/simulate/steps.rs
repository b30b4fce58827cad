//! The dated steps of prices that mattered in a war: those of backends that somebody asked.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::war::Outcome;
use super::workload::Plan;
use crate::catalog::{BackendIndex, PriceRow, Snapshot};
use crate::units::Amount;

/// A price becomes another, or there is one for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: Timestamp,
    pub backend: BackendIndex,
    /// Listed input and output together after the step, in hundredths of what they were before; `None` where there was no
    /// price before.
    pub percent: Option<i128>,
    /// Requests that this backend answered, by whomever they were sent.
    pub requests: u64,
}

/// All steps within the time, in its order.
pub fn steps(snapshot: &Snapshot, plan: Plan, outcome: &Outcome) -> Vec<Step> {
    let mut requests: BTreeMap<BackendIndex, u64> = BTreeMap::new();
    for spend in outcome.spends.values().chain([&outcome.optimum]) {
        for (backend, count) in &spend.answered {
            *requests.entry(*backend).or_default() += count;
        }
    }
    let mut all: Vec<Step> = requests.iter().flat_map(|(backend, count)| of(snapshot, plan, *backend, *count)).collect();
    all.sort_by_key(|step| (step.at, step.backend));
    all
}

fn of(snapshot: &Snapshot, plan: Plan, backend: BackendIndex, requests: u64) -> Vec<Step> {
    let prices = &snapshot.backend(backend).prices;
    let (mut found, mut from) = (Vec::new(), plan.from);
    let mut before = prices.at(from);
    while let Some(at) = prices.next_step(from, plan.until) {
        let now = prices.at(at);
        let percent = before.zip(now).and_then(|(before, now)| change(snapshot, at, before, now));
        if now.is_some() && percent != Some(100) {
            found.push(Step { at, backend, percent, requests });
        }
        (before, from) = (now, at);
    }
    found
}

/// What the listed prices are, in hundredths of what they were; in dollars, as some vendors changed their currency.
fn change(snapshot: &Snapshot, at: Timestamp, before: &PriceRow, now: &PriceRow) -> Option<i128> {
    let listed = |row: &PriceRow| {
        let tariff = row.list().cells().first()?.tariff;
        let sum = tariff.input.million(tariff.currency).pico() + tariff.output.million(tariff.currency).pico();
        snapshot.fx.convert(Amount::from_pico(sum, tariff.currency), at)
    };
    let (was, is) = (listed(before)?.pico(), listed(now)?.pico());
    (is * 100 + was / 2).checked_div(was)
}
