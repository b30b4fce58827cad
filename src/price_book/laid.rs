//! What is laid over a table, as text behind the table's own. A line marks where it begins, so that the operator's text can
//! be had again from a table in force.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Moved;
use super::entry::before;
use crate::catalog::change::{Layer, PriceChange, rates_to_toml, said, to_toml};
use crate::catalog::feed::{Offer, OwnFigures};
use crate::catalog::{DatedRate, Snapshot};

const MARK: &str = "\n# === from here on laid over by the gateway: changes of feeds and administrators ===\n";

/// Changes of prices and further exchange rates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Laid {
    pub(super) changes: Vec<PriceChange>,
    pub(super) rates: Vec<DatedRate>,
}

impl Laid {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.rates.is_empty()
    }

    /// Only what administrators changed.
    pub(super) fn by_people(mut self) -> Self {
        self.changes.retain(|change| change.layer == Layer::Admin);
        self
    }

    /// What this table can take: changes of its backends without figures that are the operator's own, and rates that are
    /// newer than its own.
    pub(super) fn fit_for(self, base: &Snapshot, own: &OwnFigures, overruling: &BTreeSet<String>) -> Self {
        let fit = |change: PriceChange| {
            let overrules = change.layer == Layer::Feed && overruling.contains(&change.by);
            let figures = if overrules { change.figures } else { own.without(&change.backend, change.figures) };
            let known = !figures.is_empty() && base.backend_named(&change.backend).is_some();
            known.then_some(PriceChange { figures, ..change })
        };
        let newest =
            |rate: &DatedRate| base.fx.rates().iter().filter(|r| r.rate.currency() == rate.rate.currency()).map(|r| r.date).max();
        let newer = |rate: &DatedRate| newest(rate).is_none_or(|newest| rate.date > newest);
        Self {
            changes: self.changes.into_iter().filter_map(fit).collect(),
            rates: self.rates.into_iter().filter(newer).collect(),
        }
    }
}

impl Laid {
    /// Where two tables differ by this at an instant.
    pub(super) fn moved(&self, base: &Snapshot, table: &Snapshot, now: Timestamp) -> Vec<Moved> {
        let offer = |table: &Snapshot, backend: &str| Some(Offer::of(table.backend_named(backend)?.prices.at(now)?));
        let mut moved = Vec::new();
        for (place, (_, change)) in self.changes.iter().flat_map(|change| said([change], now)) {
            let backend = change.backend.as_str();
            let (Some(old), Some(new)) = (offer(base, backend), offer(table, backend)) else { continue };
            if let (Some(before), Some(after)) = (before(&old, place), before(&new, place)) {
                let told = moved.iter().any(|known: &Moved| known.backend == backend && known.place == place);
                if !told && before != after {
                    moved.push(Moved { backend: backend.to_owned(), place, before, after });
                }
            }
        }
        moved
    }
}

/// The text of a table with something laid over it.
pub(super) fn lay(base: &str, laid: &Laid) -> String {
    format!("{}{MARK}{}{}", base_of(base), rates_to_toml(&laid.rates), to_toml(&laid.changes))
}

/// The operator's own part of a table's text.
pub fn base_of(text: &str) -> &str {
    text.split_once(MARK).map_or(text, |(base, _)| base)
}
