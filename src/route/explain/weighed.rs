//! What a score is made of, in money: the parts of an expected cost and the premiums on it; and what caps on shares and
//! exploring did to a choice.

use serde::Serialize;

use super::super::caps::{Cap, CapCost};
use super::super::plan::Plan;
use super::super::quote::Quote;
use super::super::score::Premiums;
use crate::catalog::{Backend, Snapshot};
use crate::units::{Amount, Tariff, Thinking, Usage, Usd};

/// What an expected cost is made of, in dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCost {
    pub fresh_input_usd: String,
    pub cached_input_usd: String,
    pub output_usd: String,
    /// Fees, minimum charges, what prices by parts make of the input beside its last part's price, and what answers shorter or
    /// longer than the expected ones make of an output whose price goes by length.
    pub other_usd: String,
    /// Below zero: what a free quota bears.
    pub free_usd: String,
}

/// What is added to an expected cost, in dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPremiums {
    /// Attempts that fail.
    pub failure_usd: String,
    /// A rate limit that is nearly used up.
    pub limit_usd: String,
    /// A first token after the deadline.
    pub late_usd: String,
    /// What the price may become while a session stays.
    pub price_usd: String,
    /// A soft cap on a share that is nearly used up.
    pub cap_usd: String,
    /// Waiting, where it matters beside the cost.
    pub wait_usd: String,
    /// Below zero: what does not count of a cost that is paid already.
    pub prepaid_usd: String,
}

/// A cap on a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCap {
    /// `provider`, `owner` or `jurisdiction`.
    pub by: &'static str,
    pub name: String,
    /// `spend` or `requests`.
    pub of: &'static str,
    /// `hard` or `soft`.
    pub kind: &'static str,
    pub percent: u8,
    /// The share in the window, in millionths.
    pub share_millionths: u32,
    /// A hard one that let nobody in.
    pub closed: bool,
}

/// What caps cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCapCost {
    /// The cap that stood against the one that would have been chosen.
    pub by: &'static str,
    pub name: String,
    /// What would have been chosen without caps.
    pub instead_of: String,
    /// What that was expected to cost.
    pub expected_usd: String,
    /// How much more the choice is expected to cost; below zero where it costs less and is chosen for its lower risk.
    pub more_usd: String,
}

/// What exploring did to a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedExploring {
    /// The best, which was passed over.
    pub instead_of: String,
    /// How much more the choice is expected to cost.
    pub more_usd: String,
}

impl ExplainedCost {
    pub(super) fn of(quote: &Quote, backend: &Backend) -> Self {
        let tariff = tariff(quote, backend);
        let usd = |pico| quote.exchange_rate.convert(Amount::from_pico(pico, tariff.currency)).unwrap_or(Usd::ZERO);
        let Usage { fresh_input, cache_read, .. } = quote.usage;
        let (fresh, cached) = (usd(fresh_input * tariff.input), usd(cache_read * tariff.cache_read));
        let output = usd(quote.usage.output * tariff.output);
        let free = quote.free.map_or(Usd::ZERO, |free| free.spared);
        let other = quote.expected + free - fresh - cached - output;
        Self {
            fresh_input_usd: fresh.to_exact(),
            cached_input_usd: cached.to_exact(),
            output_usd: output.to_exact(),
            other_usd: other.to_exact(),
            free_usd: (Usd::ZERO - free).to_exact(),
        }
    }
}

/// What is billed by the piece: at what price for how many, and what a quote counts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPieces {
    pub price: String,
    pub per: u32,
    pub expected: u64,
    /// What the worst case counts with.
    pub most: u64,
}

impl ExplainedPieces {
    pub(super) fn of(quote: &Quote, tariff: &Tariff) -> Option<Self> {
        let price = tariff.pieces;
        let listed = Amount::from_pico(price.pico().into(), tariff.currency).to_exact();
        let (expected, most) = (quote.usage.pieces, quote.most_pieces);
        (!price.is_free()).then_some(Self { price: listed, per: price.per(), expected, most })
    }
}

/// The prices of the cell that a quote falls into.
pub(super) fn tariff(quote: &Quote, backend: &Backend) -> Tariff {
    let sheet = backend.prices.point(quote.price).map(|(_, sheet)| sheet);
    let priced = sheet.map(|sheet| sheet.cost(&quote.usage, quote.thinking != Thinking::Off));
    priced.map_or(Tariff::free(quote.exchange_rate.currency()), |priced| *priced.tariff)
}

impl ExplainedPremiums {
    pub(super) fn of(premiums: &Premiums) -> Self {
        let Premiums { failure, limit, late, price, cap, wait, prepaid } = premiums;
        Self {
            failure_usd: failure.to_exact(),
            limit_usd: limit.to_exact(),
            late_usd: late.to_exact(),
            price_usd: price.to_exact(),
            cap_usd: cap.to_exact(),
            wait_usd: wait.to_exact(),
            prepaid_usd: prepaid.to_exact(),
        }
    }
}

impl ExplainedCap {
    pub(super) fn of(cap: &Cap) -> Self {
        let (by, of, kind, name) = (cap.by.word(), cap.of.word(), cap.kind.word(), cap.name.clone());
        Self { by, name, of, kind, percent: cap.percent, share_millionths: cap.share(), closed: cap.closed }
    }
}

impl ExplainedCapCost {
    pub(super) fn of(plan: &Plan, snapshot: &Snapshot) -> Option<Self> {
        let cost = plan.cap_cost.as_ref()?;
        Some(Self {
            by: cost.cap.by.word(),
            name: cost.cap.name.clone(),
            instead_of: snapshot.backend(cost.instead_of).id.to_string(),
            expected_usd: cost.expected.to_exact(),
            more_usd: cost.more.to_exact(),
        })
    }
}

impl ExplainedExploring {
    pub(super) fn of(plan: &Plan, snapshot: &Snapshot) -> Option<Self> {
        let explored = plan.explored?;
        let instead_of = snapshot.backend(explored.instead_of).id.to_string();
        Some(Self { instead_of, more_usd: explored.more.to_exact() })
    }
}

impl Plan {
    /// What the choice carries beside its price: `counted failure $0.000120, cap $0.000004`; and what caps and exploring did.
    pub(super) fn weighed(&self) -> Vec<String> {
        let chosen = self.chosen().map(|chosen| chosen.score.premiums(chosen.quote.expected, self.floor));
        let counted = chosen.iter().flat_map(Premiums::named).filter(|(_, premium)| *premium > Usd::ZERO);
        let counted: Vec<String> = counted.map(|(word, premium)| format!("{word} {premium}")).collect();
        let counted = (!counted.is_empty()).then(|| format!("counted {}", counted.join(", ")));
        let capped = self.cap_cost.as_ref().map(|CapCost { cap, more, .. }| {
            let sign = if *more < Usd::ZERO { "" } else { "+" };
            format!("cap on {} {} {sign}{}", cap.by.word(), cap.name, more.to_micros())
        });
        let explored = self.explored.map(|explored| format!("explored, +{}", explored.more));
        [counted, capped, explored].into_iter().flatten().collect()
    }
}
