//! What becomes of a whole feed: its proposals, mapped and judged, against the changes that the same feed made before.
//!
//! A feed that says nothing of a backend any more, or something that is held back, leaves what it said before in force: an
//! error of the feed must not move a price either way. One that says what the table says ends its own change.
//!
//! Figures that are the operator's own are never changed: see [`OwnFigures`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::guard::{Change, Guards, Verdict, judge};
use super::mapping::Mapping;
use super::proposal::{Entry, Offer, Proposal, Reading};
use super::reason::Reason;
use crate::catalog::Snapshot;
use crate::catalog::change::{FigurePlace, Layer, PriceChange, with_figures};
use crate::units::TokenPrice;

/// Entries for backends that the table does not have are shown up to this many; a list of thousands of models is no news.
const MOST_UNKNOWN: usize = 200;

/// A feed as its proposals are judged.
#[derive(Debug, Clone, Copy)]
pub struct Source<'s> {
    /// The feed's name.
    pub name: &'s str,
    /// Where it was read from.
    pub document: &'s str,
    pub mapping: &'s Mapping,
    pub guards: Guards,
}

/// What something that is held back is about: who said it, by which names, and for which backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The feed, or `admin NAME`.
    pub feed: String,
    /// The names of the feed.
    pub provider: String,
    pub model: String,
    /// Where it stands in the feed; of an administrator's proposal, why it was made.
    pub place: String,
    /// Where the names lead to a backend of the table.
    pub backend: Option<String>,
    /// When it would begin; `None`: now.
    pub from: Option<Timestamp>,
}

impl Subject {
    /// An entry of a feed that leads to no backend.
    fn of(source: Source<'_>, Entry { provider, model, place }: Entry<'_>) -> Self {
        let [feed, provider, model, place] = [source.name, provider, model, place].map(str::to_owned);
        Self { feed, provider, model, place, backend: None, from: None }
    }
}

/// A proposal or an entry that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub subject: Subject,
    /// The price that was said; `None` where it could not be read, which the reasons tell.
    pub offer: Option<Offer>,
    pub reasons: Vec<Reason>,
    /// What would be changed if a person approves; empty where that cannot be done figure by figure.
    pub figures: BTreeMap<FigurePlace, TokenPrice>,
}

/// What a feed leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Review {
    /// Every change of this feed, old and new.
    pub changes: Vec<PriceChange>,
    /// Those among them that are new.
    pub begun: Vec<PriceChange>,
    /// Those that were ended by this.
    pub ended: Vec<PriceChange>,
    pub held: Vec<Held>,
    /// Entries for backends that the table does not have, also those beyond the ones that are shown.
    pub unknown: usize,
    pub unchanged: usize,
}

/// Figures that the operator's own table says: those that differ from the table which ships with the gateway. They win over
/// feeds and administrators, whoever wrote them has to change them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnFigures(BTreeSet<(String, FigurePlace)>);

impl OwnFigures {
    /// Compares what both tables say at an instant.
    pub fn of(table: &Snapshot, shipped: &Snapshot, at: Timestamp) -> Self {
        let mut own = BTreeSet::new();
        for backend in table.backends() {
            let Some(row) = backend.prices.at(at) else { continue };
            let offer = Offer::of(row);
            let there = shipped.backend_named(backend.id.as_str()).and_then(|same| same.prices.at(at)).map(Offer::of);
            let figures = |offer: &Offer| effective(offer);
            let there = there.filter(|there| there.currency == offer.currency).map(|there| figures(&there)).unwrap_or_default();
            let differ = figures(&offer).into_iter().filter(|(place, price)| there.get(place) != Some(price));
            own.extend(differ.map(|(place, _)| (backend.id.as_str().to_owned(), place)));
        }
        Self(own)
    }

    pub fn has(&self, backend: &str, place: FigurePlace) -> bool {
        self.0.contains(&(backend.to_owned(), place))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The figures of a change that are not the operator's own.
    pub fn without(&self, backend: &str, figures: BTreeMap<FigurePlace, TokenPrice>) -> BTreeMap<FigurePlace, TokenPrice> {
        figures.into_iter().filter(|(place, _)| !self.has(backend, *place)).collect()
    }
}

/// Every figure of an offer with what it comes to.
fn effective(offer: &Offer) -> BTreeMap<FigurePlace, TokenPrice> {
    let mut figures = BTreeMap::new();
    for (batch, cells) in [(false, &offer.cells), (true, &offer.batch)] {
        for (cell, n) in cells.iter().zip(0..) {
            for kind in super::Kind::ALL {
                let price = cell.figures.effective(kind);
                figures.extend(price.map(|price| (FigurePlace { cell: n, batch, kind }, price)));
            }
        }
    }
    figures
}

/// The figures that a change sets.
pub fn figures_of(change: &Change) -> BTreeMap<FigurePlace, TokenPrice> {
    let place =
        |f: &super::FigureChange| FigurePlace { cell: u32::try_from(f.cell).unwrap_or(u32::MAX), batch: f.batch, kind: f.kind };
    change.figures.iter().map(|figure| (place(figure), figure.after)).collect()
}

/// Judges a reading. `stands` is the table with what administrators set and without any feed; `before` are the changes that
/// this feed has made so far.
pub fn review(
    source: Source<'_>,
    reading: &Reading,
    (stands, own): (&Snapshot, &OwnFigures),
    before: &[PriceChange],
    now: Timestamp,
) -> Review {
    let mut review = Review { changes: before.to_vec(), ..Review::default() };
    for refused in &reading.refused {
        let entry = Entry { provider: &refused.provider, model: &refused.model, place: &refused.place };
        let (subject, reasons) = (Subject::of(source, entry), vec![refused.reason.clone()]);
        review.held.push(Held { subject, offer: None, reasons, figures: BTreeMap::new() });
    }
    for proposal in reading.current(now) {
        review.take(source, &proposal, (stands, own), now);
    }
    review
}

impl Review {
    fn take(&mut self, source: Source<'_>, proposal: &Proposal, (stands, own): (&Snapshot, &OwnFigures), now: Timestamp) {
        let begins = proposal.from.filter(|from| *from > now);
        let backend = match source.mapping.find(stands, proposal) {
            Ok(backend) => backend,
            Err(reason) => {
                self.unknown += 1;
                if self.unknown <= MOST_UNKNOWN {
                    self.hold(source, proposal, None, vec![reason], BTreeMap::new());
                }
                return;
            }
        };
        let id = backend.id.as_str();
        let row = backend.prices.at(begins.unwrap_or(now));
        let verdict = judge(&proposal.offer, row.map(Offer::of).as_ref(), source.guards);
        match (verdict, row) {
            (Verdict::Unchanged, _) => self.agree(id, source.name, begins, now),
            (Verdict::Quarantined(reasons, change), _) => {
                let figures = change.as_deref().map(figures_of).unwrap_or_default();
                self.hold(source, proposal, Some(id), reasons, own.without(id, figures));
            }
            (Verdict::Accepted(change), Some(row)) => {
                let figures = own.without(id, figures_of(&change));
                if figures.is_empty() {
                    return self.agree(id, source.name, begins, now);
                }
                if let Some(step) = row.from.filter(|step| self.said_before(id, source.name, &figures, *step)) {
                    return self.hold(source, proposal, Some(id), vec![Reason::Outdated { step }], figures);
                }
                let laid: BTreeMap<FigurePlace, (TokenPrice, ())> = figures.iter().map(|(p, f)| (*p, (*f, ()))).collect();
                if with_figures(row, &laid).is_none() {
                    let inexact = Reason::Shape("not exact at every factor of the backend's calendar".into());
                    return self.hold(source, proposal, Some(id), vec![inexact], BTreeMap::new());
                }
                self.change(source, proposal, id, figures, begins, now);
            }
            (Verdict::Accepted(_), None) => {}
        }
    }

    /// Whether the feed said the same before the table's price stepped. A list that nobody keeps up must not undo the step.
    fn said_before(&self, backend: &str, feed: &str, figures: &BTreeMap<FigurePlace, TokenPrice>, step: Timestamp) -> bool {
        let ours = |c: &&PriceChange| c.backend == backend && c.by == feed && c.layer == Layer::Feed;
        let mut before = self.changes.iter().filter(ours).filter(|change| change.from < step);
        before.any(|change| figures.iter().any(|(place, price)| change.figures.get(place) == Some(price)))
    }

    /// The feed says what the table says.
    fn agree(&mut self, backend: &str, feed: &str, begins: Option<Timestamp>, now: Timestamp) {
        self.unchanged += 1;
        if begins.is_none() {
            self.end(backend, feed, now);
        }
    }

    /// Ends what a feed changed at a backend and is in force.
    fn end(&mut self, backend: &str, feed: &str, now: Timestamp) {
        let ours = |c: &&mut PriceChange| c.backend == backend && c.by == feed && c.layer == Layer::Feed && c.in_force(now);
        for change in self.changes.iter_mut().filter(ours) {
            change.until = Some(now);
            self.ended.push(change.clone());
        }
    }

    fn change(
        &mut self,
        source: Source<'_>,
        proposal: &Proposal,
        backend: &str,
        figures: BTreeMap<FigurePlace, TokenPrice>,
        begins: Option<Timestamp>,
        now: Timestamp,
    ) {
        let ours = |c: &PriceChange| c.backend == backend && c.by == source.name && c.layer == Layer::Feed;
        let same = |c: &PriceChange| ours(c) && begins.map_or(c.in_force(now), |begins| c.from == begins) && c.figures == figures;
        if self.changes.iter().any(|c| same(c) && c.until == proposal.until) {
            self.unchanged += 1;
            return;
        }
        match begins {
            None => self.end(backend, source.name, now),
            // What was announced for that instant before never came into force.
            Some(begins) => self.changes.retain(|c| !(ours(c) && c.from == begins)),
        }
        let change = PriceChange {
            backend: backend.to_owned(),
            layer: Layer::Feed,
            by: source.name.to_owned(),
            source: format!("{} {}", source.document, proposal.place),
            taken: now,
            from: begins.unwrap_or(now),
            until: proposal.until,
            figures,
        };
        self.begun.push(change.clone());
        self.changes.push(change);
    }

    fn hold(
        &mut self,
        source: Source<'_>,
        proposal: &Proposal,
        backend: Option<&str>,
        reasons: Vec<Reason>,
        figures: BTreeMap<FigurePlace, TokenPrice>,
    ) {
        let entry = Entry { provider: &proposal.provider, model: &proposal.model, place: &proposal.place };
        let backend = backend.map(str::to_owned);
        let subject = Subject { backend, from: proposal.from, ..Subject::of(source, entry) };
        self.held.push(Held { subject, offer: Some(proposal.offer.clone()), reasons, figures });
    }
}

#[cfg(test)]
mod tests;
