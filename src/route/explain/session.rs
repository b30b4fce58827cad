//! A conversation in words: whether it stays where it is warm, and what either costs.

use serde::Serialize;

use super::super::affinity::Stay;
use crate::catalog::Snapshot;
use crate::units::Usd;

/// Why a conversation stays or leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedSession {
    /// Who answered its last turn.
    pub home: String,
    /// The number of this turn.
    pub turn: u32,
    /// Turns expected after this one, as a decimal.
    pub remaining_turns: String,
    pub stays: bool,
    /// This turn and those expected after it, at home; absent where home cannot answer this one.
    pub home_usd: Option<String>,
    /// The best of the others, and the same there.
    pub elsewhere: Option<String>,
    pub elsewhere_usd: Option<String>,
    /// All of it in one line.
    pub why: String,
}

impl ExplainedSession {
    pub(super) fn of(stay: &Stay, snapshot: &Snapshot) -> Self {
        let id = |index| snapshot.backend(index).id.to_string();
        let (home, elsewhere) = (id(stay.home), stay.elsewhere.map(|(index, _)| id(index)));
        let remaining_turns = format!("{}.{}", stay.remaining / 1_000_000, stay.remaining / 100_000 % 10);
        let (home_usd, elsewhere_usd) = (stay.at_home.map(Usd::to_micros), stay.elsewhere.map(|(_, cost)| cost.to_micros()));
        let turns = format!("this turn and {remaining_turns} more");
        let why = match (&home_usd, &elsewhere_usd, &elsewhere) {
            (None, _, _) => format!("leaves {home}, which cannot answer now"),
            (Some(_), _, _) if stay.sealed => format!("stays at {home}, which alone can read what it thought"),
            (Some(here), Some(there), Some(other)) if stay.stays() => {
                format!("stays at {home}: {turns} cost ${here} there and ${there} at {other}, its cold start included")
            }
            (Some(here), Some(there), Some(other)) => {
                format!("leaves {home} for {other}: {turns} cost ${there} there, its cold start included, and ${here} at {home}")
            }
            (Some(_), _, _) => format!("stays at {home}: there is nobody else"),
        };
        Self { home, turn: stay.turn, remaining_turns, stays: stay.stays(), home_usd, elsewhere, elsewhere_usd, why }
    }
}
