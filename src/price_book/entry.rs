//! What the price book writes down: proposals that are held back, and the audit. Plain texts, so that what was written by one
//! version of the gateway can be read by the next, whatever became of its types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::Snapshot;
use crate::catalog::change::{FigurePlace, Layer, PriceChange};
use crate::catalog::feed::{Held, Kind, Offer};
use crate::units::TokenPrice;

/// One figure of a price, per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    #[serde(default)]
    pub cell: u32,
    #[serde(default)]
    pub batch: bool,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub after: String,
}

/// A proposal that is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldEntry {
    /// Names it for an approval; the same proposal has the same id at every look.
    pub id: String,
    pub feed: String,
    pub provider: String,
    pub model: String,
    pub place: String,
    pub backend: Option<String>,
    pub from: Option<Timestamp>,
    /// Each a word and a sentence.
    pub reasons: Vec<(String, String)>,
    /// What an approval would change; empty where none can be given.
    pub figures: Vec<Figure>,
    /// When it was first seen.
    pub since: Timestamp,
}

impl HeldEntry {
    /// `before`: what was held so far, for the first time that it was seen.
    pub(super) fn of(held: &Held, now: Timestamp, before: &[HeldEntry]) -> Self {
        let mut entry = Self {
            id: String::new(),
            feed: held.feed.clone(),
            provider: held.provider.clone(),
            model: held.model.clone(),
            place: held.place.clone(),
            backend: held.backend.clone(),
            from: held.from,
            reasons: held.reasons.iter().map(|reason| (reason.word().to_owned(), reason.to_string())).collect(),
            figures: figures(&held.figures),
            since: now,
        };
        entry.id = entry.digest();
        if let Some(known) = before.iter().find(|known| known.id == entry.id) {
            entry.since = known.since;
        }
        entry
    }

    fn digest(&self) -> String {
        let said = format!("{:?}", (&self.feed, &self.provider, &self.model, self.from, &self.reasons, &self.figures));
        let digits = Sha256::digest(said.as_bytes());
        digits.iter().take(6).fold(String::new(), |mut id, byte| {
            // Writing to a String cannot fail.
            let _ = write!(id, "{byte:02x}");
            id
        })
    }
}

/// One step of a price: who, when, what, from what to what, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    pub at: Timestamp,
    /// `feed NAME` or `admin NAME`.
    pub who: String,
    /// `changed`, `ended`, `approved`, `proposed` or `overridden`.
    pub what: String,
    pub backend: String,
    pub figures: Vec<Figure>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub why: String,
}

impl AuditRow {
    /// A change that a feed made.
    pub(super) fn begun(change: &PriceChange, stands: &Snapshot, now: Timestamp) -> Self {
        Self::of("changed", change, stands, now)
    }

    pub(super) fn of(what: &str, change: &PriceChange, stands: &Snapshot, now: Timestamp) -> Self {
        let row = stands.backend_named(&change.backend).and_then(|backend| backend.prices.at(change.from));
        let mut figures = figures(&change.figures);
        if let Some(offer) = row.map(Offer::of) {
            for (figure, place) in figures.iter_mut().zip(change.figures.keys()) {
                figure.before = before(&offer, *place).map(TokenPrice::to_per_million);
            }
        }
        Self {
            at: now,
            who: who(change),
            what: what.to_owned(),
            backend: change.backend.clone(),
            figures,
            from: Some(change.from),
            until: change.until,
            why: change.source.clone(),
        }
    }

    /// A change that ends.
    pub(super) fn ended(change: &PriceChange, now: Timestamp) -> Self {
        let figures = figures(&change.figures);
        let why = "the feed says something else".to_owned();
        let (from, until) = (Some(change.from), change.until);
        Self { at: now, who: who(change), what: "ended".to_owned(), backend: change.backend.clone(), figures, from, until, why }
    }
}

fn who(change: &PriceChange) -> String {
    format!("{} {}", change.layer.word(), change.by)
}

pub(super) fn is_of_feed(change: &PriceChange, feed: &str) -> bool {
    change.layer == Layer::Feed && change.by == feed
}

/// What a figure comes to.
pub(super) fn before(offer: &Offer, place: FigurePlace) -> Option<TokenPrice> {
    let cells = if place.batch { &offer.batch } else { &offer.cells };
    cells.get(usize::try_from(place.cell).ok()?)?.figures.effective(place.kind)
}

impl Figure {
    /// Figures by their places.
    pub fn all(figures: &BTreeMap<FigurePlace, TokenPrice>) -> Vec<Self> {
        self::figures(figures)
    }
}

fn figures(figures: &BTreeMap<FigurePlace, TokenPrice>) -> Vec<Figure> {
    let one = |(place, price): (&FigurePlace, &TokenPrice)| Figure {
        cell: place.cell,
        batch: place.batch,
        kind: place.kind.word().to_owned(),
        before: None,
        after: price.to_per_million(),
    };
    figures.iter().map(one).collect()
}

/// The same back; what is no figure is left out.
pub(super) fn places(figures: &[Figure]) -> BTreeMap<FigurePlace, TokenPrice> {
    let one = |figure: &Figure| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == figure.kind)?;
        let price = TokenPrice::per_million(&figure.after).ok()?;
        Some((FigurePlace { cell: figure.cell, batch: figure.batch, kind }, price))
    };
    figures.iter().filter_map(one).collect()
}
