//! The dated steps of prices that mattered in a war: those of backends that somebody asked.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::war::Outcome;
use super::workload::Plan;
use crate::catalog::{BackendIndex, PriceRow, Snapshot};

/// A price becomes another, or there is one for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: Timestamp,
    pub backend: BackendIndex,
    /// Listed input and output together after the step, in hundredths of what they were before; `None` where there was no
    /// price before, or in another currency.
    pub percent: Option<u128>,
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
        let percent = before.zip(now).and_then(|(before, now)| change(before, now));
        if now.is_some() && percent != Some(100) {
            found.push(Step { at, backend, percent, requests });
        }
        (before, from) = (now, at);
    }
    found
}

/// What the listed prices are, in hundredths of what they were.
fn change(before: &PriceRow, now: &PriceRow) -> Option<u128> {
    let listed = |row: &PriceRow| {
        let tariff = row.list().cells().first()?.tariff;
        Some(u128::from(tariff.input.pico()) + u128::from(tariff.output.pico()))
    };
    let (was, is) = (listed(before)?, listed(now)?);
    if before.currency() == now.currency() { (is * 100).checked_div(was) } else { None }
}
