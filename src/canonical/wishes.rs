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

/// What matters among adequate backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Preference {
    /// The least expected cost, risks included.
    #[default]
    Cheapest,
    /// Cost, with a fifth of it added for each second to the first token.
    Balanced,
    /// The shortest wait for the first token; cost among equals.
    Fastest,
}

impl Preference {
    pub const ALL: [Preference; 3] = [Preference::Cheapest, Preference::Balanced, Preference::Fastest];

    pub const fn word(self) -> &'static str {
        match self {
            Preference::Cheapest => "cheapest",
            Preference::Balanced => "balanced",
            Preference::Fastest => "fastest",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.word() == word)
    }
}

/// What may become of what a provider is sent. Where nobody knows, the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataRules {
    /// Not at providers that train on what they are sent, or do not say.
    pub no_training: bool,
    /// Only at providers that keep prompts for so many days at most; 0 wants those that keep none.
    pub max_retention_days: Option<u32>,
    /// Only at providers whose models are registered for public service.
    pub registered: bool,
}

impl DataRules {
    /// Both together: the stricter of each.
    #[must_use]
    pub fn and(self, other: DataRules) -> Self {
        Self {
            no_training: self.no_training || other.no_training,
            max_retention_days: [self.max_retention_days, other.max_retention_days].into_iter().flatten().min(),
            registered: self.registered || other.registered,
        }
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
    /// Only providers whose data falls under one of these laws. Empty: any.
    pub jurisdictions: Vec<String>,
    /// A million tokens, in the request's own mix, may be expected to cost at most this.
    pub max_price: Option<Usd>,
    /// What may become of the data.
    pub data: DataRules,
    /// What matters among adequate backends.
    pub prefer: Option<Preference>,
    /// A conversation that should stay where its prompt cache is warm.
    pub session: Option<String>,
    /// The answer must have begun within this many milliseconds.
    pub deadline_ms: Option<u64>,
    /// How many of the best candidates to ask at once, keeping the first answer (each is paid). 1 to 4.
    pub race: Option<u8>,
    /// Decide and explain, send nothing.
    pub dry_run: bool,
}
