//! What a client may wish beyond the model: in the body's `tokenbroker` object or in `x-tokenbroker-*` headers.
//! They are removed before anything is forwarded.

use crate::units::Usd;

/// A floor under the quality of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QualityTier {
    Economy,
    Standard,
    /// For critical decisions.
    Premium,
}

impl QualityTier {
    pub const ALL: [QualityTier; 3] = [QualityTier::Economy, QualityTier::Standard, QualityTier::Premium];

    pub const fn word(self) -> &'static str {
        match self {
            QualityTier::Economy => "economy",
            QualityTier::Standard => "standard",
            QualityTier::Premium => "premium",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.word() == word)
    }
}

/// The wishes of one request. Absent means "no wish".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// At least this tier of quality.
    pub quality: Option<QualityTier>,
    /// The request may cost at most this, at its worst.
    pub max_cost: Option<Usd>,
    /// Only backends whose data stays in one of these regions (codes of the table, such as `CN`, `EU`, `US`). Empty: any.
    pub regions: Vec<String>,
    /// Only these providers (ids of the table). Empty: any.
    pub providers: Vec<String>,
    /// Not these providers.
    pub excluded_providers: Vec<String>,
    /// A conversation that should stay where its prompt cache is warm.
    pub session: Option<String>,
    /// The answer must have begun within this many milliseconds.
    pub deadline_ms: Option<u64>,
    /// How many of the best candidates to ask at once, keeping the first answer (each is paid). 1 to 4.
    pub race: Option<u8>,
    /// Decide and explain, send nothing.
    pub dry_run: bool,
}
