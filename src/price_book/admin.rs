//! What an administrator does to prices: propose one within the guards, approve or reject what they held back, set one until a
//! date, and take back what an administrator set. Each is a row of the audit with its reason.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::entry::{AuditRow, BY_ADMIN, HeldEntry, places};
use super::store::StoreError;
use super::{NotTaken, PriceBook, Standing, standing};
use crate::catalog::Snapshot;
use crate::catalog::change::{FigurePlace, Layer, PriceChange, with_figures};
use crate::catalog::feed::review::figures_of;
use crate::catalog::feed::{Guards, Held, Offer, Subject, Verdict, judge};
use crate::units::TokenPrice;

/// The dearest price per million that a table may hold.
const DEAREST: u64 = 10_000_000_000;

/// Why an administrator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("there is no backend {0:?} in the table in force")]
    UnknownBackend(String),
    #[error("{0} has no price in force then; a price that is not there yet is written into the table")]
    NoPrice(String),
    #[error("{0}")]
    Figure(String),
    #[error("nothing by the id {0:?} is held back")]
    UnknownId(String),
    #[error("this cannot be approved figure by figure ({0}); such a price is written into the table")]
    NotApprovable(String),
    #[error("no administrator's change of {0} is in force")]
    NothingSet(String),
    #[error("the change would end before it begins")]
    Ended,
    #[error(transparent)]
    Book(#[from] NotTaken),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        AdminError::Book(error.into())
    }
}

/// Prices that an administrator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub backend: String,
    pub figures: BTreeMap<FigurePlace, TokenPrice>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub why: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// To be put in force.
    Changed(PriceChange),
    /// Held back; an approval by this id lets it through.
    Held(HeldEntry),
    /// Not to be held up to people again.
    Rejected(HeldEntry),
    /// It is so already.
    Unchanged,
}

impl PriceBook {
    /// Proposes prices: taken within the guards, held back otherwise.
    pub fn propose(&self, admin: &str, set: Set, table: &Snapshot, now: Timestamp) -> Result<Done, AdminError> {
        let mut state = self.state();
        let standing = standing(&state, table, now)?;
        let offer = offered(&standing, &set, now)?;
        let stands = row_of(&standing.stands, &set, now).map(Offer::of);
        match judge(&offer, stands.as_ref(), Guards::default()) {
            Verdict::Unchanged => Ok(Done::Unchanged),
            Verdict::Accepted(change) => {
                let figures = figures_of(&change);
                let change = self.set_in(&mut state, "proposed", admin, Set { figures, ..set }, &standing, now)?;
                Ok(Done::Changed(change))
            }
            Verdict::Quarantined(reasons, change) => {
                let (provider, model) = set.backend.split_once('/').unwrap_or(("", &set.backend));
                let subject = Subject {
                    feed: format!("{BY_ADMIN}{admin}"),
                    provider: provider.to_owned(),
                    model: model.to_owned(),
                    place: set.why.clone(),
                    backend: Some(set.backend.clone()),
                    from: set.from,
                };
                let figures = change.as_deref().map(figures_of).unwrap_or_default();
                let held = Held { subject, offer: Some(offer), reasons, figures };
                let entry = HeldEntry::of(&held, now, &state.held);
                let mut entries: Vec<HeldEntry> = state.held.iter().filter(|held| held.id != entry.id).cloned().collect();
                entries.push(entry.clone());
                self.store.keep_held(&entries)?;
                state.held = entries;
                Ok(Done::Held(entry))
            }
        }
    }

    /// Approves what is held back: its figures count as the administrator's.
    pub fn approve(&self, admin: &str, id: &str, why: &str, table: &Snapshot, now: Timestamp) -> Result<Done, AdminError> {
        let mut state = self.state();
        let held = waiting(&state.held, id)?.clone();
        let figures = places(&held.figures);
        let backend = held.subject.backend.clone().filter(|_| !figures.is_empty());
        let backend = backend.ok_or_else(|| AdminError::NotApprovable(held.told()))?;
        let why = format!("{why} (held back from {}: {})", held.subject.feed, held.told());
        let standing = standing(&state, table, now)?;
        let set = Set { backend, figures, from: held.subject.from.filter(|from| *from > now), until: None, why };
        offered(&standing, &set, now)?;
        let change = self.set_in(&mut state, "approved", admin, set, &standing, now)?;
        let entries: Vec<HeldEntry> = state.held.iter().filter(|held| held.id != id).cloned().collect();
        self.store.keep_held(&entries)?;
        state.held = entries;
        Ok(Done::Changed(change))
    }

    /// Rejects what is held back. What a feed says is rejected for as long as it says the same; an administrator's proposal
    /// is gone, and may be made again.
    pub fn reject(&self, admin: &str, id: &str, why: &str, now: Timestamp) -> Result<Done, AdminError> {
        let mut state = self.state();
        let held = waiting(&state.held, id)?.clone();
        let mut entries = state.held.clone();
        entries.retain(|entry| entry.id != id || entry.is_of_a_feed());
        entries.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.rejected = Some(now));
        self.store.append(&[AuditRow::rejected(&held, admin, why, now)])?;
        self.store.keep_held(&entries)?;
        state.held = entries;
        Ok(Done::Rejected(HeldEntry { rejected: Some(now), ..held }))
    }

    /// Sets prices, whatever the guards would say.
    pub fn set(&self, admin: &str, set: Set, table: &Snapshot, now: Timestamp) -> Result<Done, AdminError> {
        let mut state = self.state();
        let standing = standing(&state, table, now)?;
        offered(&standing, &set, now)?;
        self.set_in(&mut state, "overridden", admin, set, &standing, now).map(Done::Changed)
    }

    /// Takes back what administrators set at a backend.
    pub fn end(&self, admin: &str, backend: &str, why: &str, now: Timestamp) -> Result<usize, AdminError> {
        let mut state = self.state();
        let mut changes = state.changes.clone();
        let ours =
            |c: &&mut PriceChange| c.layer == Layer::Admin && c.backend == backend && c.until.is_none_or(|until| until > now);
        let mut rows = Vec::new();
        for change in changes.iter_mut().filter(ours) {
            // What has not begun never will.
            change.until = Some(now.max(change.from));
            let ended = AuditRow::ended(change, now);
            rows.push(AuditRow { who: format!("{BY_ADMIN}{admin}"), why: why.to_owned(), ..ended });
        }
        if rows.is_empty() {
            return Err(AdminError::NothingSet(backend.to_owned()));
        }
        self.store.append(&rows)?;
        self.store.keep_changes(&changes, &state.rates)?;
        state.changes = changes;
        Ok(rows.len())
    }

    fn set_in(
        &self,
        state: &mut super::State,
        what: &str,
        admin: &str,
        set: Set,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<PriceChange, AdminError> {
        let change = PriceChange {
            backend: set.backend,
            layer: Layer::Admin,
            by: admin.to_owned(),
            source: set.why,
            taken: now,
            from: set.from.unwrap_or(now),
            until: set.until,
            figures: set.figures,
        };
        let changes = [state.changes.clone(), vec![change.clone()]].concat();
        self.store.append(&[AuditRow::of(what, &change, &standing.stands, now)])?;
        self.store.keep_changes(&changes, &state.rates)?;
        state.changes = changes;
        Ok(change)
    }
}

/// What is held back by an id and waits for a word.
fn waiting<'h>(held: &'h [HeldEntry], id: &str) -> Result<&'h HeldEntry, AdminError> {
    held.iter().find(|held| held.id == id && held.waits()).ok_or_else(|| AdminError::UnknownId(id.to_owned()))
}

fn row_of<'t>(stands: &'t Snapshot, set: &Set, now: Timestamp) -> Option<&'t crate::catalog::PriceRow> {
    stands.backend_named(&set.backend)?.prices.at(set.from.unwrap_or(now).max(now))
}

/// What people stand behind with the wish in it, where that can be.
fn offered(Standing { stands, own }: &Standing, set: &Set, now: Timestamp) -> Result<Offer, AdminError> {
    if set.until.is_some_and(|until| until <= set.from.unwrap_or(now).max(now)) {
        return Err(AdminError::Ended);
    }
    if stands.backend_named(&set.backend).is_none() {
        return Err(AdminError::UnknownBackend(set.backend.clone()));
    }
    let row = row_of(stands, set, now).ok_or_else(|| AdminError::NoPrice(set.backend.clone()))?;
    let mut offer = Offer::of(row);
    let refuse = |wrong: String| Err(AdminError::Figure(wrong));
    if set.figures.is_empty() {
        return refuse("there is no figure to change".to_owned());
    }
    for (place, price) in &set.figures {
        let kind = place.kind.word();
        if own.has(&set.backend, *place) {
            return refuse(format!("{kind} is the operator's own figure: it is changed in the table, which wins over everybody"));
        }
        if *price == TokenPrice::FREE || price.pico() > DEAREST {
            return refuse(format!(
                "{kind} at {} per million is no price; accepted: above 0, at most 10000",
                price.to_per_million()
            ));
        }
        let cells = if place.batch { &mut offer.batch } else { &mut offer.cells };
        match usize::try_from(place.cell).ok().and_then(|cell| cells.get_mut(cell)) {
            Some(cell) => cell.figures.set(place.kind, *price),
            None => {
                return refuse(format!("the price has no {} {}", if place.batch { "batch cell" } else { "cell" }, place.cell));
            }
        }
    }
    let laid: BTreeMap<FigurePlace, (TokenPrice, ())> = set.figures.iter().map(|(p, f)| (*p, (*f, ()))).collect();
    let differs = Offer::of(row) != offer;
    if differs && with_figures(row, &laid).is_none() {
        return refuse("the price would not be exact at every factor of the backend's calendar".to_owned());
    }
    Ok(offer)
}
