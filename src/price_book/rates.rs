//! Exchange rates of a feed, taken into the price book.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::entry::{AuditRow, HeldEntry};
use super::{NotTaken, PriceBook, Taken};
use crate::catalog::feed::Subject;
use crate::catalog::feed::rates::{decode, judge};
use crate::catalog::{FxTable, Snapshot};
use crate::config::{FeedOrigin, PriceFeed};

impl PriceBook {
    pub(super) fn take_rates(
        &self,
        feed: &PriceFeed,
        document: &[u8],
        table: &Snapshot,
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let mut state = self.state();
        let source = match &feed.origin {
            FeedOrigin::Url(url) => format!("feed {} ({url})", feed.name),
            FeedOrigin::File(path) => format!("feed {} ({})", feed.name, path.display()),
        };
        let reading = decode(document, &source)?;
        let known: Vec<_> = table.fx.rates().iter().chain(&state.rates).cloned().collect();
        let (taken, told) = judge(&reading, &FxTable::new(known), now.to_zoned(TimeZone::UTC).date());
        let of_lines = reading.refused.iter().map(|(line, why)| (format!("line {line}"), why.clone()));
        let held: Vec<HeldEntry> = told
            .into_iter()
            .map(|why| (String::new(), why))
            .chain(of_lines)
            .map(|(place, why)| entry(feed, place, why, now, &state.held))
            .collect();
        let row = |rate: &crate::catalog::DatedRate| AuditRow {
            at: now,
            who: format!("feed {}", feed.name),
            what: "changed".to_owned(),
            backend: format!("{} per USD", rate.rate.currency()),
            figures: Vec::new(),
            from: None,
            until: None,
            why: format!("{} of {}: {source}", rate.rate.per_usd(), rate.date),
        };
        let rows: Vec<AuditRow> = taken.iter().map(row).collect();
        let count = held.iter().filter(|entry| entry.waits()).count();
        let entries = state.held_but_by(&feed.name, held);
        self.store.append(&rows)?;
        self.store.keep_held(&entries)?;
        if !taken.is_empty() {
            let rates = [state.rates.clone(), taken.clone()].concat();
            self.store.keep_changes(&state.changes, &rates)?;
            state.rates = rates;
        }
        state.held = entries;
        Ok(Taken { held: count, rates: taken.len(), ..Taken::default() })
    }
}

fn entry(feed: &PriceFeed, place: String, why: String, now: Timestamp, before: &[HeldEntry]) -> HeldEntry {
    let (provider, model) = Default::default();
    let subject = Subject { feed: feed.name.clone(), provider, model, place, backend: None, from: None };
    HeldEntry::new(subject, None, vec![("rate".to_owned(), why)], now, before)
}
