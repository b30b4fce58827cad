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

/// So many tags a request may have by itself, and a key.
pub const MOST_TAGS: usize = 8;
const MOST_TAG_BYTES: usize = 64;
/// What is accepted for tags.
pub const TAGS_SHAPE: &str = "a list of at most 8 tags of 1 to 64 letters, digits, `-`, `_`, `.`, `:`, `=` and `/`";

/// Whether something can be a tag.
pub fn is_tag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'=' | b'/');
    (1..=MOST_TAG_BYTES).contains(&text.len()) && text.bytes().all(plain)
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
    /// The client itself says whether its data may be trained on,
    pub says_training: bool,
    /// and whether a model must be registered: no default speaks then.
    pub says_registered: bool,
    /// What matters among adequate backends.
    pub prefer: Option<Preference>,
    /// A conversation that should stay where its prompt cache is warm.
    pub session: Option<String>,
    /// The answer must have begun within this many milliseconds.
    pub deadline_ms: Option<u64>,
    /// How many of the best candidates to ask at once, keeping the first answer (each is paid). 1 to 4.
    pub race: Option<u8>,
    /// What it is summed up under, beside its key's own tags.
    pub tags: Vec<String>,
    /// Decide and explain, send nothing.
    pub dry_run: bool,
}

impl Wishes {
    /// Takes what these do not say from others. A list that is empty says nothing; a session, tags and a dry run are
    /// a request's own.
    pub fn or(&mut self, others: &Wishes) {
        fn said<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        said(&mut self.quality, &others.quality);
        said(&mut self.max_cost, &others.max_cost);
        said(&mut self.max_price, &others.max_price);
        said(&mut self.prefer, &others.prefer);
        said(&mut self.deadline_ms, &others.deadline_ms);
        said(&mut self.race, &others.race);
        said(&mut self.data.max_retention_days, &others.data.max_retention_days);
        let lists = [
            (&mut self.regions, &others.regions),
            (&mut self.providers, &others.providers),
            (&mut self.excluded_providers, &others.excluded_providers),
            (&mut self.jurisdictions, &others.jurisdictions),
        ];
        for (own, other) in lists.into_iter().filter(|(own, _)| own.is_empty()) {
            own.clone_from(other);
        }
        if !self.says_training {
            (self.says_training, self.data.no_training) = (others.says_training, others.data.no_training);
        }
        if !self.says_registered {
            (self.says_registered, self.data.registered) = (others.says_registered, others.data.registered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_and_what_is_not_is_taken_from_others() {
        let usd = |pico| Some(Usd::from_pico(pico));
        let defaults = Wishes {
            quality: Some(QualityTier::Premium),
            max_cost: usd(7),
            regions: vec!["EU".into()],
            data: DataRules { no_training: true, max_retention_days: Some(30), registered: true },
            says_training: true,
            says_registered: true,
            race: Some(2),
            ..Wishes::default()
        };
        let mut silent = Wishes { session: Some("s".into()), ..Wishes::default() };
        silent.or(&defaults);
        assert_eq!(silent, Wishes { session: Some("s".into()), ..defaults.clone() });

        let own = Wishes {
            quality: Some(QualityTier::Economy),
            max_cost: usd(9),
            regions: vec!["US".into()],
            data: DataRules { no_training: false, max_retention_days: Some(60), registered: false },
            says_training: true,
            says_registered: true,
            race: Some(1),
            ..Wishes::default()
        };
        let mut outspoken = own.clone();
        outspoken.or(&defaults);
        assert_eq!(outspoken, own, "a default is no bound");
    }
}
