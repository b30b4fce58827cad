//! Whether a proposal is believed. A feed proposes, these rules decide; what they hold back goes to a person with the numbers
//! that decided it.
//!
//! A proposal is held against the price that people stand behind (the table and what an administrator set), not against what
//! feeds made of it before: otherwise a feed could walk anywhere in small steps. Whatever a feed does, a figure stays within
//! the jump factor of one that a person set.
//!
//! Only figures are taken. The shape of a price (cells, calendar, how tiers count) stays the table's: a proposal of another
//! shape is held back whole, since half of it would be a third price that nobody charges. What a proposal does not say stays
//! as it is; batch prices of a backend that the table sells none for are passed over.

use super::proposal::{Bounds, Cell, Figures, Hours, Kind, Offer};
use super::reason::{Reason, Slip};
use crate::units::{Amount, TokenPrice};

/// How far a cached price that the table does not have may lie below the input price. The lowest known is a fiftieth.
const LOWEST_CACHE: u64 = 100;

/// Settings of a feed's guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// How many times a figure may rise or fall, in millionths.
    pub jump: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Self { jump: 4_000_000 }
    }
}

/// What becomes of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It says what is in force.
    Unchanged,
    Accepted(Change),
    /// Held back, with every reason found; and what it would change, where that can be said figure by figure.
    Quarantined(Vec<Reason>, Option<Box<Change>>),
}

/// A price with the figures of a proposal in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub offer: Offer,
    /// At least one.
    pub figures: Vec<FigureChange>,
}

/// One figure that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureChange {
    /// Which cell, in the order of the table.
    pub cell: usize,
    pub batch: bool,
    pub kind: Kind,
    /// `None` where the table has no such price.
    pub before: Option<TokenPrice>,
    pub after: TokenPrice,
}

/// Holds an offer against the price that people stand behind.
pub fn judge(offer: &Offer, stands: Option<&Offer>, guards: Guards) -> Verdict {
    let Some(stands) = stands else {
        return Verdict::Quarantined(vec![Reason::NoPriceInForce], None);
    };
    if offer.free && stands.free {
        return Verdict::Unchanged;
    }
    let mut reasons = unlike(offer, stands);
    if !reasons.is_empty() {
        return Verdict::Quarantined(reasons, None);
    }
    let mut change = Change { offer: stands.clone(), figures: Vec::new() };
    let mut comparison = Comparison { guards, reasons: &mut reasons, figures: &mut change.figures };
    for (n, (said, cell)) in offer.cells.iter().zip(&mut change.offer.cells).enumerate() {
        cell.figures = comparison.cell(n, false, &said.figures, &cell.figures);
    }
    for (n, (said, cell)) in offer.batch.iter().zip(&mut change.offer.batch).enumerate() {
        cell.figures = comparison.cell(n, true, &said.figures, &cell.figures);
    }
    match (reasons.is_empty(), change.figures.is_empty()) {
        (false, _) => {
            let told = reasons.iter().all(|reason| !matches!(reason, Reason::Missing(_) | Reason::Zero(_)));
            Verdict::Quarantined(reasons, told.then(|| Box::new(change)))
        }
        (true, true) => Verdict::Unchanged,
        (true, false) => Verdict::Accepted(change),
    }
}

/// Why two offers cannot be compared figure by figure.
fn unlike(offer: &Offer, stands: &Offer) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if offer.free {
        reasons.push(Reason::Free);
    }
    if offer.currency != stands.currency {
        reasons.push(Reason::Currency { feed: offer.currency, table: stands.currency });
    }
    reasons.extend(other_hours(&offer.hours, &stands.hours));
    if offer.marginal.is_some_and(|marginal| marginal != stands.marginal.unwrap_or(false)) {
        reasons.push(Reason::OtherShape("how its tiers count"));
    }
    reasons.extend(other_cells(&offer.cells, &stands.cells));
    if !offer.batch.is_empty() && !stands.batch.is_empty() {
        reasons.extend(other_cells(&offer.batch, &stands.batch));
    }
    for (before, after) in [(stands.per_request, offer.per_request), (stands.minimum, offer.minimum)] {
        if let Some(after) = after.filter(|after| before != Some(*after)) {
            let money = |pico: u64| Amount::from_pico(i128::from(pico), stands.currency);
            reasons.push(Reason::Fee { before: before.map(money), after: money(after) });
        }
    }
    reasons
}

fn other_hours(feed: &Hours, table: &Hours) -> Option<Reason> {
    match (feed, table) {
        (Hours::Same | Hours::Windows, Hours::Calendar(_)) => Some(Reason::Flatter("its price follows a calendar")),
        (Hours::Windows | Hours::Calendar(_), Hours::Same | Hours::Windows) => {
            Some(Reason::MoreShaped("the feed's depends on the hour"))
        }
        (Hours::Calendar(feed), Hours::Calendar(table)) if feed != table => Some(Reason::OtherShape("another calendar")),
        (Hours::Calendar(_), Hours::Calendar(_)) | (Hours::Same, Hours::Same | Hours::Windows) => None,
    }
}

fn other_cells(feed: &[Cell], table: &[Cell]) -> Option<Reason> {
    let flat = |cells: &[Cell]| matches!(cells, [one] if one.bounds == Bounds::ALL);
    match (flat(feed), flat(table)) {
        (true, false) => Some(Reason::Flatter("its price has cells by length or thinking")),
        (false, true) => Some(Reason::MoreShaped("the feed's has cells by length or thinking")),
        (true, true) => None,
        (false, false) => {
            let alike = feed.len() == table.len() && feed.iter().zip(table).all(|(a, b)| same_bounds(&a.bounds, &b.bounds));
            (!alike).then_some(Reason::OtherShape("cells with other bounds"))
        }
    }
}

/// Lists write "above 200k" and "from 200k on" for the same edge; where the words differ by that one token, the table's stand.
fn same_bounds(a: &Bounds, b: &Bounds) -> bool {
    let near = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) <= 1,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    near(a.input_above, b.input_above)
        && near(a.input_to, b.input_to)
        && near(a.output_above, b.output_above)
        && near(a.output_to, b.output_to)
        && a.thinking == b.thinking
}

/// What has been found so far.
struct Comparison<'a> {
    guards: Guards,
    reasons: &'a mut Vec<Reason>,
    figures: &'a mut Vec<FigureChange>,
}

impl Comparison<'_> {
    /// The figures of a cell with what is said in them.
    fn cell(&mut self, cell: usize, batch: bool, said: &Figures, stands: &Figures) -> Figures {
        let found = self.reasons.len();
        for kind in [Kind::Input, Kind::Output] {
            if said.get(kind).is_none() {
                self.reasons.push(Reason::Missing(kind));
            }
        }
        let mut merged = *stands;
        for kind in Kind::ALL {
            let Some(after) = said.get(kind) else { continue };
            let before = stands.get(kind);
            if before.or(stands.effective(kind)) == Some(after) {
                continue;
            }
            if let Some(reason) = self.unbelievable(kind, before, after, stands) {
                self.reasons.push(reason);
            }
            self.figures.push(FigureChange { cell, batch, kind, before, after });
            merged.set(kind, after);
        }
        // Where something is wrong with the figures themselves, what they are to each other says no more.
        if self.reasons.len() == found && cache_above_input(stands).is_none() {
            self.reasons.extend(cache_above_input(&merged));
        }
        merged
    }

    fn unbelievable(&self, kind: Kind, before: Option<TokenPrice>, after: TokenPrice, stands: &Figures) -> Option<Reason> {
        if after == TokenPrice::FREE {
            return Some(Reason::Zero(kind));
        }
        let instead_of = before.or(stands.effective(kind))?;
        if let Some(slip) = slip(instead_of, after) {
            return Some(Reason::UnitSlip { kind, before: instead_of, after, slip });
        }
        let apart = beyond(instead_of, after, self.guards.jump);
        match before {
            Some(before) => apart.then(|| Reason::Jump { kind, before, after, factor: self.factor() }),
            // A discount for what is cached may well be a tenth of the price that it replaces.
            None if kind == Kind::CacheRead => {
                let low = beyond(instead_of, after, LOWEST_CACHE * 1_000_000);
                low.then_some(Reason::Unlikely { kind, instead_of, after })
            }
            None => apart.then_some(Reason::Unlikely { kind, instead_of, after }),
        }
    }

    fn factor(&self) -> String {
        TokenPrice::from_pico(self.guards.jump).to_per_million()
    }
}

fn cache_above_input(figures: &Figures) -> Option<Reason> {
    let (cache, input) = (figures.get(Kind::CacheRead)?, figures.get(Kind::Input)?);
    (cache > input).then_some(Reason::CacheAboveInput { cache, input })
}

/// Whether one is more than `factor` millionths times the other, either way.
fn beyond(before: TokenPrice, after: TokenPrice, factor: u64) -> bool {
    let (low, high) = (before.min(after).pico(), before.max(after).pico());
    u128::from(high) * 1_000_000 > u128::from(low) * u128::from(factor)
}

/// A price for another count of tokens than it claims: within a factor of two of a thousand or a million times.
fn slip(before: TokenPrice, after: TokenPrice) -> Option<Slip> {
    let (low, high) = (u128::from(before.min(after).pico()), u128::from(before.max(after).pico()));
    let about = |times: u128| low * times / 2 <= high && high <= low * times * 2;
    match (after > before, about(1_000), about(1_000_000)) {
        (true, true, _) => Some(Slip::ThousandTimes),
        (true, _, true) => Some(Slip::MillionTimes),
        (false, true, _) => Some(Slip::Thousandth),
        (false, _, true) => Some(Slip::Millionth),
        (_, false, false) => None,
    }
}

#[cfg(test)]
mod tests;
