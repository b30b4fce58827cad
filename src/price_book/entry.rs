//! What the price book writes down: proposals that are held back, and the audit. Plain texts, so that what was written by one
//! version of the gateway can be read by the next, whatever became of its types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::Snapshot;
use crate::catalog::change::{FigurePlace, Layer, PriceChange};
use crate::catalog::feed::{Held, Kind, Offer, Subject};
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
    /// Names it for an approval or a rejection; the same price has the same id at every look, whatever it is held against.
    pub id: String,
    #[serde(flatten)]
    pub subject: Subject,
    /// Each a word and a sentence.
    pub reasons: Vec<(String, String)>,
    /// What an approval would change; empty where none can be given.
    pub figures: Vec<Figure>,
    /// When it was first seen.
    pub since: Timestamp,
    /// When an administrator rejected it. It is kept for as long as the feed says it, so that it is not held up to people again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Timestamp>,
}

impl HeldEntry {
    /// `before`: what was held so far, for when it was first seen and whether it was rejected.
    pub(super) fn of(held: &Held, now: Timestamp, before: &[HeldEntry]) -> Self {
        let reasons = held.reasons.iter().map(|reason| (reason.word().to_owned(), reason.to_string())).collect();
        let entry = Self::new(held.subject.clone(), held.offer.as_ref(), reasons, now, before);
        Self { figures: figures(&held.figures), ..entry }
    }

    /// Without figures that could be approved.
    pub(super) fn new(
        subject: Subject,
        offer: Option<&Offer>,
        reasons: Vec<(String, String)>,
        now: Timestamp,
        before: &[HeldEntry],
    ) -> Self {
        let id = digest(&subject, offer, &reasons);
        let known = before.iter().find(|known| known.id == id);
        let (since, rejected) = known.map_or((now, None), |known| (known.since, known.rejected));
        Self { id, subject, reasons, figures: Vec::new(), since, rejected }
    }

    /// Whether it waits for somebody's word.
    pub(super) fn waits(&self) -> bool {
        self.rejected.is_none()
    }

    /// Whether a feed said it, which will say it again at its next look.
    pub(super) fn is_of_a_feed(&self) -> bool {
        !self.subject.feed.starts_with(BY_ADMIN)
    }

    /// Why it is held back, in sentences.
    pub(super) fn told(&self) -> String {
        self.reasons.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// How what an administrator proposed begins; no feed is named so, as their names have no blanks.
pub(super) const BY_ADMIN: &str = "admin ";

/// Names what is said, not why it is not believed: that depends on the price in force, too. Where nothing could be read, the
/// reasons are all there is of it, and where it has no name, its place.
fn digest(subject: &Subject, offer: Option<&Offer>, reasons: &[(String, String)]) -> String {
    let Subject { feed, provider, model, place, from, .. } = subject;
    let reasons = if offer.is_none() { reasons } else { &[] };
    let place = if model.is_empty() { place } else { "" };
    let said = format!("{:?}", (feed, provider, model, place, from, offer, reasons));
    let digits = Sha256::digest(said.as_bytes());
    digits.iter().take(6).fold(String::new(), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// One step of a price: who, when, what, from what to what, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    pub at: Timestamp,
    /// `feed NAME` or `admin NAME`.
    pub who: String,
    /// `changed`, `ended`, `approved`, `rejected`, `proposed` or `overridden`.
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

    /// What an administrator will not have. `from`: when it would have begun.
    pub(super) fn rejected(held: &HeldEntry, admin: &str, why: &str, now: Timestamp) -> Self {
        let Subject { feed, provider, model, place, backend, from } = &held.subject;
        let named = || if model.is_empty() { place.clone() } else { format!("{provider}/{model}") };
        Self {
            at: now,
            who: format!("{BY_ADMIN}{admin}"),
            what: "rejected".to_owned(),
            backend: backend.clone().unwrap_or_else(named),
            figures: held.figures.clone(),
            from: *from,
            until: None,
            why: format!("{why} (held back from {feed}: {})", held.told()),
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
