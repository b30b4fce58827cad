//! The policies that tokenbroker is measured against. Each orders the same adequate backends and asks them in that order.
//! They are given the price rows in force at the instant, which is kinder than the yearly list that many gateways ship.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::catalog::{Backend, BackendIndex, Snapshot};
use crate::units::{Amount, Usd};

/// Who chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// tokenbroker's own.
    Broker,
    /// The least sum of listed input and output price, whatever the currency: as gateways sort today.
    ListNominal,
    /// The same in dollars.
    ListConverted,
    /// Everybody adequate in turn.
    RoundRobin,
    /// The best there is, the cheapest of them by list.
    Strongest,
}

impl Policy {
    pub const ALL: [Policy; 5] =
        [Policy::Broker, Policy::ListNominal, Policy::ListConverted, Policy::RoundRobin, Policy::Strongest];

    /// What a report calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Policy::Broker => "tokenbroker",
            Policy::ListNominal => "list price, nominal",
            Policy::ListConverted => "list price, in dollars",
            Policy::RoundRobin => "round robin",
            Policy::Strongest => "always the strongest",
        }
    }

    /// The order in which a peer asks; the broker's is its plan's. `count`: how many requests it has seen.
    pub fn order(self, adequate: &[BackendIndex], snapshot: &Snapshot, at: Timestamp, count: usize) -> Vec<BackendIndex> {
        let mut order = adequate.to_vec();
        order.sort_unstable();
        let listed = |index: &BackendIndex| Listed::of(snapshot.backend(*index), snapshot, at);
        match self {
            Policy::Broker => return adequate.to_vec(),
            Policy::ListNominal => order.sort_by_cached_key(|index| (listed(index).nominal, *index)),
            Policy::ListConverted => order.sort_by_cached_key(|index| (listed(index).dollars, *index)),
            Policy::RoundRobin => {
                let turn = count.checked_rem(order.len()).unwrap_or(0);
                order.rotate_left(turn);
            }
            Policy::Strongest => order.sort_by_cached_key(|index| {
                let score = snapshot.backend(*index).quality.score.unwrap_or(0);
                (Reverse(score), listed(index).dollars, *index)
            }),
        }
        order
    }
}

/// What a comparison of list prices sees of a backend: its first cell, outside of all windows.
struct Listed {
    nominal: i128,
    dollars: Usd,
}

impl Listed {
    fn of(backend: &Backend, snapshot: &Snapshot, at: Timestamp) -> Self {
        let Some(tariff) = backend.prices.at(at).and_then(|row| row.list().cells().first()).map(|cell| cell.tariff) else {
            return Self { nominal: i128::MAX, dollars: Usd::MAX };
        };
        let nominal = i128::from(tariff.input.pico()) + i128::from(tariff.output.pico());
        let million = Amount::from_pico(nominal * 1_000_000, tariff.currency);
        Self { nominal, dollars: snapshot.fx.convert(million, at).unwrap_or(Usd::MAX) }
    }
}
