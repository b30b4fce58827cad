//! The live price book: the operator's table with what feeds and administrators changed, and what is held back. It keeps
//! its state in the data directory and gives out whole tables ([`PriceBook::over`]); who puts them in force, and when feeds
//! are fetched, is the server's. Nothing here waits, asks a network or knows a request.
//!
//! Layers, the strongest first: figures that the operator's own table says (those that differ from the table which ships with
//! this gateway), an administrator's changes, feeds, the shipped table. Every step is a row of the audit before it is in
//! force: see [`store`].

mod admin;
mod entry;
mod laid;
mod rates;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use self::admin::{AdminError, Done, Set};
pub use self::entry::{AuditRow, Figure, HeldEntry};
pub use self::laid::base_of;
use self::laid::{Laid, lay};
use self::store::{Store, StoreError};
use crate::catalog::change::{FigurePlace, PriceChange};
use crate::catalog::feed::{self, Guards, Mapping, OwnFigures, Review, Source};
use crate::catalog::{DatedRate, Snapshot};
use crate::config::{FeedKind, FeedOrigin, PriceFeed};
use crate::units::TokenPrice;

/// The table that ships with this gateway: what differs from it in the operator's is the operator's own word.
const SHIPPED: &str = include_str!("../../providers.toml");
static SHIPPED_TABLE: LazyLock<Option<Snapshot>> = LazyLock::new(|| Snapshot::parse("the shipped table", SHIPPED).ok());

/// The price book of one data directory.
#[derive(Debug)]
pub struct PriceBook {
    store: Store,
    /// Feeds that win over figures of the operator's own table.
    overruling: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: Vec<PriceChange>,
    rates: Vec<DatedRate>,
    held: Vec<HeldEntry>,
    feeds: BTreeMap<String, FeedState>,
    moved: Vec<Moved>,
}

impl State {
    /// What is held back, with what a feed says now in the place of what it said before.
    fn held_but_by(&self, feed: &str, now: Vec<HeldEntry>) -> Vec<HeldEntry> {
        let others = self.held.iter().filter(|entry| entry.subject.feed != feed);
        others.cloned().chain(now).collect()
    }
}

/// A figure that is another than the table's, when the table in force was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub backend: String,
    pub place: FigurePlace,
    pub before: TokenPrice,
    pub after: TokenPrice,
}

/// How a feed fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedState {
    /// When its last good copy was fetched, or found unchanged.
    pub good: Option<Timestamp>,
    /// The last fetch that failed, where none has succeeded since.
    pub failure: Option<(Timestamp, String)>,
    /// Proposals for backends that the table does not have.
    pub unknown: usize,
}

/// What a feed led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Changes that are to be put in force.
    pub begun: Vec<PriceChange>,
    pub ended: usize,
    pub held: usize,
    pub unchanged: usize,
    /// Exchange rates that are new.
    pub rates: usize,
}

impl Taken {
    /// Whether the table in force has to be made anew.
    pub fn changes_prices(&self) -> bool {
        !self.begun.is_empty() || self.ended > 0 || self.rates > 0
    }
}

/// Why nothing came of a feed's document.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    Unreadable(#[from] feed::Unreadable),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the table in force cannot be read again: {0}")]
    Table(String),
}

impl PriceBook {
    /// The book of a data directory, as it was left. Creates nothing before there is something to keep.
    pub fn open(data: &Path, feeds: &[PriceFeed]) -> Result<Self, StoreError> {
        let store = Store::new(data);
        let overruling = feeds.iter().filter(|feed| feed.overrules_table).map(|feed| feed.name.clone()).collect();
        let (changes, rates) = store.changes()?;
        let state = State { changes, rates, held: store.held()?, ..State::default() };
        Ok(Self { store, overruling, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table with everything laid over it that is for one of its backends. The table itself where that is nothing.
    pub fn over(&self, base: Snapshot, now: Timestamp) -> Snapshot {
        let laid = {
            let state = self.state();
            Laid { changes: state.changes.clone(), rates: state.rates.clone() }
        };
        // The figures of the table itself are read a second time for this, which a start without changes need not wait for.
        let fit = |laid: Laid| laid.fit_for(&base, &own_figures(&base, now), &self.overruling);
        let laid = if laid.is_empty() { laid } else { fit(laid) };
        if laid.is_empty() {
            self.state().moved.clear();
            return base;
        }
        match Snapshot::parse("the table with changed prices", &lay(&base.text, &laid)) {
            Ok(table) => {
                self.state().moved = laid.moved(&base, &table, now);
                table
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "changed prices cannot be laid over the table: it is used as it is");
                }
                base
            }
        }
    }

    /// Reads a feed's document and takes what the guards let through. `table` is the one in force.
    pub fn take(&self, feed: &PriceFeed, document: &[u8], table: &Snapshot, now: Timestamp) -> Result<Taken, NotTaken> {
        match feed.kind {
            FeedKind::Prices(format) => self.take_prices(feed, &feed::decode(format, document)?, table, now),
            FeedKind::Rates => self.take_rates(feed, document, table, now),
        }
    }

    fn take_prices(
        &self,
        feed: &PriceFeed,
        reading: &feed::Reading,
        table: &Snapshot,
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let mut state = self.state();
        let Standing { stands, own } = standing(&state, table, now)?;
        let own = if feed.overrules_table { OwnFigures::default() } else { own };
        let mapping = Mapping { providers: feed.providers.clone() };
        let document = match &feed.origin {
            FeedOrigin::Url(url) => url.clone(),
            FeedOrigin::File(path) => path.display().to_string(),
        };
        let source = Source { name: &feed.name, document: &document, mapping: &mapping, guards: Guards { jump: feed.jump } };
        let (before, others): (Vec<PriceChange>, Vec<PriceChange>) =
            state.changes.iter().cloned().partition(|change| entry::is_of_feed(change, &feed.name));
        let Review { changes, begun, ended, held, unknown, unchanged } =
            feed::review(source, reading, (&stands, &own), &before, now);
        let rows: Vec<AuditRow> = ended
            .iter()
            .map(|change| AuditRow::ended(change, now))
            .chain(begun.iter().map(|change| AuditRow::begun(change, &stands, now)))
            .collect();
        let held: Vec<HeldEntry> = held.iter().map(|held| HeldEntry::of(held, now, &state.held)).collect();
        let count = held.iter().filter(|entry| entry.waits()).count() + reading.more_refused;
        let entries = state.held_but_by(&feed.name, held);
        let all = [others, changes].concat();
        self.store.append(&rows)?;
        self.store.keep_held(&entries)?;
        if !rows.is_empty() {
            self.store.keep_changes(&all, &state.rates)?;
        }
        (state.changes, state.held) = (all, entries);
        state.feeds.entry(feed.name.clone()).or_default().unknown = unknown;
        Ok(Taken { begun, ended: ended.len(), held: count, unchanged, rates: 0 })
    }

    /// What is held back and waits for somebody's word, by feed and in the order of the feeds' lists.
    pub fn held(&self) -> Vec<HeldEntry> {
        self.state().held.iter().filter(|entry| entry.waits()).cloned().collect()
    }

    /// Every change there was, oldest first.
    pub fn changes(&self) -> Vec<PriceChange> {
        self.state().changes.clone()
    }

    /// Every row of the audit for a backend; of all backends without a name.
    pub fn audit(&self, backend: Option<&str>) -> Result<Vec<AuditRow>, StoreError> {
        let rows = self.store.audit()?;
        Ok(rows.into_iter().filter(|row| backend.is_none_or(|backend| row.backend == backend)).collect())
    }

    /// Which figures are others than the table's.
    pub fn moved(&self) -> Vec<Moved> {
        self.state().moved.clone()
    }

    /// How each feed fares that was looked at in this life.
    pub fn feeds(&self) -> BTreeMap<String, FeedState> {
        self.state().feeds.clone()
    }

    /// A feed was read, or found unchanged.
    pub fn is_good(&self, feed: &str, at: Timestamp) {
        let mut state = self.state();
        let fares = state.feeds.entry(feed.to_owned()).or_default();
        (fares.good, fares.failure) = (Some(at), None);
    }

    /// A feed could not be fetched or read.
    pub fn failed(&self, feed: &str, at: Timestamp, why: String) {
        self.state().feeds.entry(feed.to_owned()).or_default().failure = Some((at, why));
    }

    /// What operators are told of feeds that fail, a line each.
    pub fn troubles(&self) -> String {
        let state = self.state();
        let failing = state.feeds.iter().filter_map(|(name, fares)| Some((name, fares.good, fares.failure.as_ref()?)));
        let line = |(name, good, (at, why)): (&String, Option<Timestamp>, &(Timestamp, String))| {
            let since = good.map_or("there is no good copy".to_owned(), |good| format!("its copy of {good} counts"));
            format!("price feed {name} failed at {at}, {since}: {why}\n")
        };
        failing.map(line).collect()
    }

    /// Where the copies of feeds lie.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The table that people stand behind: the operator's with what administrators set, and without any feed.
struct Standing {
    stands: Snapshot,
    own: OwnFigures,
}

fn standing(state: &State, table: &Snapshot, now: Timestamp) -> Result<Standing, NotTaken> {
    let read = |text: &str| {
        Snapshot::parse("the table in force", text)
            .map_err(|problems| NotTaken::Table(problems.first().map(ToString::to_string).unwrap_or_default()))
    };
    let base = read(base_of(&table.text))?;
    let own = own_figures(&base, now);
    let laid = Laid { changes: state.changes.clone(), rates: Vec::new() }.by_people().fit_for(&base, &own, &BTreeSet::new());
    let stands = if laid.is_empty() { base } else { read(&lay(&base.text, &laid))? };
    Ok(Standing { stands, own })
}

/// Figures of a table that are the operator's own.
pub fn own_figures(base: &Snapshot, now: Timestamp) -> OwnFigures {
    match &*SHIPPED_TABLE {
        Some(shipped) if *base.text != *SHIPPED => OwnFigures::of(base, shipped, now),
        _ => OwnFigures::default(),
    }
}

#[cfg(test)]
mod tests;
