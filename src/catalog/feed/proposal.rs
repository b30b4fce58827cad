//! What a feed says, in our terms: figures by kind of token, in cells by length, for one model of one provider.
//!
//! An [`Offer`] is also the shape in which the price in force is held against it ([`super::guard`]): two things that are
//! compared should look alike. `None` is "not said", which is not "costs nothing" and not "as input".

use std::collections::HashMap;

use jiff::Timestamp;

use super::reason::Reason;
use crate::units::{Currency, TokenPrice};

/// Names longer than this, or with blanks or control characters in them, name no model; they would reach logs and pages.
const LONGEST_NAME: usize = 200;
/// Refusals kept of one feed; the rest are counted.
const MOST_REFUSED: usize = 10_000;

/// A kind of token that may have its own price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Input,
    CacheRead,
    CacheWrite,
    CacheWriteLong,
    Output,
    Reasoning,
    ImageInput,
    AudioInput,
    AudioOutput,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Input,
        Kind::CacheRead,
        Kind::CacheWrite,
        Kind::CacheWriteLong,
        Kind::Output,
        Kind::Reasoning,
        Kind::ImageInput,
        Kind::AudioInput,
        Kind::AudioOutput,
    ];

    /// The name of this member in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::CacheRead => "cache_read",
            Kind::CacheWrite => "cache_write",
            Kind::CacheWriteLong => "cache_write_long",
            Kind::Output => "output",
            Kind::Reasoning => "reasoning",
            Kind::ImageInput => "image_input",
            Kind::AudioInput => "audio_input",
            Kind::AudioOutput => "audio_output",
        }
    }

    /// What such a token costs where its own price is not said.
    pub const fn otherwise(self) -> Option<Kind> {
        match self {
            Kind::Input | Kind::Output => None,
            Kind::CacheRead | Kind::CacheWrite | Kind::ImageInput | Kind::AudioInput => Some(Kind::Input),
            Kind::CacheWriteLong => Some(Kind::CacheWrite),
            Kind::Reasoning | Kind::AudioOutput => Some(Kind::Output),
        }
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// Prices by kind of token; `None` where none is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Figures([Option<TokenPrice>; Kind::ALL.len()]);

impl Figures {
    pub fn get(&self, kind: Kind) -> Option<TokenPrice> {
        self.0[kind.place()]
    }

    pub fn set(&mut self, kind: Kind, price: TokenPrice) {
        self.0[kind.place()] = Some(price);
    }

    /// What such a token costs, by its own price or by that of the kind it falls back to.
    pub fn effective(&self, kind: Kind) -> Option<TokenPrice> {
        self.get(kind).or_else(|| kind.otherwise().and_then(|other| self.effective(other)))
    }

    /// These figures, and those of `other` where none is said here.
    #[must_use]
    pub fn or(&self, other: &Figures) -> Figures {
        let mut both = *self;
        for kind in Kind::ALL {
            both.0[kind.place()] = self.get(kind).or(other.get(kind));
        }
        both
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Which requests a cell prices: "above" exclusive, "to" inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bounds {
    pub input_above: Option<u64>,
    pub input_to: Option<u64>,
    pub output_above: Option<u64>,
    pub output_to: Option<u64>,
    pub thinking: Option<bool>,
}

impl Bounds {
    pub const ALL: Bounds = Bounds { input_above: None, input_to: None, output_above: None, output_to: None, thinking: None };

    pub fn input(above: Option<u64>, to: Option<u64>) -> Self {
        Self { input_above: above.filter(|above| *above > 0), input_to: to, ..Self::ALL }
    }
}

/// Figures for the requests within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Cell {
    pub bounds: Bounds,
    pub figures: Figures,
}

/// Whether the price depends on the hour, and how much of that can be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Hours {
    /// At any hour the same, as far as is said.
    #[default]
    Same,
    /// It changes by the hour in a way that the list can tell only in part; the figures are those outside its windows.
    Windows,
    /// By a calendar of the table, by its name.
    Calendar(String),
}

/// A price as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub currency: Currency,
    /// At least one; the first whose bounds hold counts.
    pub cells: Vec<Cell>,
    /// Prices of batch requests; empty where none is said.
    pub batch: Vec<Cell>,
    /// When the batch prices begin, where that is later than the others.
    pub batch_from: Option<Timestamp>,
    /// Each cell prices the part of the input within it, not the whole request; `None` where it is not said.
    pub marginal: Option<bool>,
    pub hours: Hours,
    /// Costs nothing, by its own word.
    pub free: bool,
    /// Fee per request in 10⁻¹² of the currency's unit.
    pub per_request: Option<u64>,
    /// The least that a request costs, in the same unit.
    pub minimum: Option<u64>,
}

impl Offer {
    pub fn new(currency: Currency, cells: Vec<Cell>) -> Self {
        Self {
            currency,
            cells,
            batch: Vec::new(),
            batch_from: None,
            marginal: None,
            hours: Hours::Same,
            free: false,
            per_request: None,
            minimum: None,
        }
    }
}

/// An offer for a model of a provider, by the names of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// [`NO_PROVIDER`] where the feed is one provider's list and names none.
    pub provider: String,
    pub model: String,
    /// In force from here; `None`: now, as far as the feed says.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub offer: Offer,
    /// Where it stood in the feed.
    pub place: String,
}

/// The provider of a list that names none; a mapping says whose it is.
pub const NO_PROVIDER: &str = "*";

/// An entry that proposes nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub provider: String,
    pub model: String,
    pub place: String,
    pub reason: Reason,
}

/// A feed, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    pub proposals: Vec<Proposal>,
    pub refused: Vec<Refused>,
    /// Refusals beyond those that are kept.
    pub more_refused: usize,
    /// Entries without any price per token, such as those of image models: nothing is wrong with them.
    pub unpriced: usize,
}

/// What an entry is called and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) place: &'a str,
}

impl Reading {
    /// Takes what came of an entry: an offer, nothing that it prices, or a reason.
    pub(super) fn take(&mut self, entry: Entry<'_>, read: Result<Option<Offer>, Reason>) {
        self.take_dated(entry, None, None, read);
    }

    pub(super) fn take_dated(
        &mut self,
        entry: Entry<'_>,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        read: Result<Option<Offer>, Reason>,
    ) {
        if !(is_name(entry.provider) && is_name(entry.model)) {
            return self.refuse(entry, Reason::Unnamed);
        }
        match read {
            Ok(None) => self.unpriced += 1,
            Err(reason) => self.refuse(entry, reason),
            Ok(Some(offer)) => self.proposals.push(Proposal {
                provider: entry.provider.to_owned(),
                model: entry.model.to_owned(),
                from,
                until,
                offer,
                place: clip(entry.place),
            }),
        }
    }

    pub(super) fn refuse(&mut self, entry: Entry<'_>, reason: Reason) {
        if self.refused.len() == MOST_REFUSED {
            self.more_refused += 1;
            return;
        }
        let (provider, model, place) = (clip(entry.provider), clip(entry.model), clip(entry.place));
        self.refused.push(Refused { provider, model, place, reason });
    }

    /// Where a feed says two things about one model, it says nothing; the same thing twice counts once.
    pub(super) fn finish(mut self) -> Self {
        let mut first: HashMap<(String, String, Option<Timestamp>), usize> = HashMap::new();
        let mut fate = vec![Fate::Stands; self.proposals.len()];
        for (n, proposal) in self.proposals.iter().enumerate() {
            let key = (proposal.provider.clone(), proposal.model.clone(), proposal.from);
            let Some(earlier) = first.get(&key).copied() else {
                first.insert(key, n);
                continue;
            };
            let same = self.proposals[earlier].offer == proposal.offer && self.proposals[earlier].until == proposal.until;
            fate[n] = if same { Fate::Repeats } else { Fate::Contradicts };
            if !same {
                fate[earlier] = Fate::Contradicts;
            }
        }
        for (proposal, fate) in std::mem::take(&mut self.proposals).into_iter().zip(fate) {
            match fate {
                Fate::Stands => self.proposals.push(proposal),
                Fate::Repeats => {}
                Fate::Contradicts => {
                    let entry = Entry { provider: &proposal.provider, model: &proposal.model, place: &proposal.place };
                    self.refuse(entry, Reason::SaidTwice);
                }
            }
        }
        self
    }

    /// What holds at an instant, and what is announced after it: of the offers of a model that have begun, the one that
    /// began last; of what has ended, nothing.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> Vec<Proposal> {
        let mut begun: HashMap<(&str, &str), &Proposal> = HashMap::new();
        let mut current = Vec::new();
        for proposal in self.proposals.iter().filter(|proposal| proposal.until.is_none_or(|until| until > now)) {
            if proposal.from.is_some_and(|from| from > now) {
                current.push(proposal);
                continue;
            }
            let latest = begun.entry((&proposal.provider, &proposal.model)).or_insert(proposal);
            if latest.from < proposal.from {
                *latest = proposal;
            }
        }
        current.extend(begun.into_values());
        current.sort_by(|a, b| (&a.provider, &a.model, a.from).cmp(&(&b.provider, &b.model, b.from)));
        current.into_iter().map(|proposal| proposal.with_batch_at(now)).collect()
    }
}

impl Proposal {
    /// The same, without batch prices that have not begun.
    fn with_batch_at(&self, now: Timestamp) -> Proposal {
        let mut proposal = self.clone();
        let begins = proposal.offer.batch_from.take();
        if begins.is_some_and(|begins| begins > self.from.map_or(now, |from| from.max(now))) {
            proposal.offer.batch.clear();
        }
        proposal
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Stands,
    Repeats,
    Contradicts,
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// A text that may stand in a log: bounded and without control characters.
pub(super) fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{flat, proposal};
    use super::*;

    #[test]
    fn a_kind_without_a_price_costs_what_its_neighbour_costs() {
        let figures = flat(&[(Kind::Input, "2"), (Kind::CacheWrite, "2.5"), (Kind::Output, "8")]).cells[0].figures;
        let costs = |kind| figures.effective(kind).map(TokenPrice::to_per_million);
        assert_eq!(costs(Kind::CacheRead).as_deref(), Some("2"));
        assert_eq!(costs(Kind::CacheWriteLong).as_deref(), Some("2.5"));
        assert_eq!(costs(Kind::Reasoning).as_deref(), Some("8"));
        assert_eq!(Figures::default().effective(Kind::CacheRead), None);
    }

    #[test]
    fn a_feed_that_contradicts_itself_says_nothing() {
        let mut reading = Reading::default();
        for price in ["1", "1", "2"] {
            reading.proposals.push(proposal("p", "a", &[(Kind::Input, price)]));
        }
        reading.proposals.push(proposal("p", "b", &[(Kind::Input, "3")]));
        reading.proposals.push(proposal("p", "b", &[(Kind::Input, "3")]));
        let read = reading.finish();
        assert_eq!(read.proposals.iter().map(|p| p.model.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(read.refused.iter().all(|r| r.model == "a" && r.reason == Reason::SaidTwice));
    }

    #[test]
    fn what_holds_is_what_began_last_and_what_is_announced() {
        let at = |text: &str| Some(text.parse().unwrap());
        let dated = |from, until, price: &str| Proposal { from, until, ..proposal("p", "m", &[(Kind::Input, price)]) };
        let reading = Reading {
            proposals: vec![
                dated(at("2026-10-01T00:00:00Z"), None, "2"),
                dated(None, None, "1"),
                dated(at("2026-12-01T00:00:00Z"), None, "4"),
                dated(at("2026-10-02T00:00:00Z"), at("2026-10-03T00:00:00Z"), "9"),
            ],
            ..Reading::default()
        };
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        let input = |p: &Proposal| p.offer.cells[0].figures.get(Kind::Input).unwrap().to_per_million();
        assert_eq!(reading.current(now).iter().map(input).collect::<Vec<_>>(), ["2", "4"]);
    }
}
