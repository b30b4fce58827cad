//! The rules that a backend may break, each by the word it is told by, and how often each excluded somebody.

/// A rule; its numbers and names are [`Unfit`](super::adequate::Unfit)'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    Disabled,
    NoKey,
    ProviderNotAllowed,
    ProviderExcluded,
    ModelNotAllowed,
    OutsideRegions,
    OutsideJurisdictions,
    TrainsOnData,
    RetainsData,
    NotRegistered,
    DialectUnsupported,
    DimensionsUnsupported,
    MissingFeatures,
    SchemaByHand,
    ReasoningAlwaysOn,
    ReasoningMissing,
    LanguageUnsupported,
    BelowQuality,
    ContextTooSmall,
    OutputTooSmall,
    InputUnpriced,
    Unpriced,
    NoExchangeRate,
    LeavesOut,
    TooDear,
    PriceAboveMax,
    OverShare,
    CoolingDown,
    Saturated,
}

impl Rule {
    /// Every word there is, by the rule's discriminant: the closed set of a metric's label.
    pub const WORDS: [&'static str; 29] = [
        "disabled",
        "no_key",
        "provider_not_allowed",
        "provider_excluded",
        "model_not_allowed",
        "outside_regions",
        "outside_jurisdictions",
        "trains_on_data",
        "retains_data",
        "not_registered",
        "dialect_unsupported",
        "dimensions_unsupported",
        "missing_features",
        "schema_by_hand",
        "reasoning_always_on",
        "reasoning_missing",
        "language_unsupported",
        "below_quality",
        "context_too_small",
        "output_too_small",
        "input_unpriced",
        "unpriced",
        "no_exchange_rate",
        "leaves_out",
        "too_dear",
        "price_above_max",
        "over_share",
        "cooling_down",
        "saturated",
    ];

    /// The rule in one word: label, summary and JSON.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// How often each rule excluded a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally([u32; Rule::WORDS.len()]);

impl Tally {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0[rule as usize] += 1;
    }

    /// How many backends it counts.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|n| *n as usize).sum()
    }

    /// How often each word stands: the most frequent first, then by word.
    pub(super) fn words(&self) -> Vec<(&'static str, usize)> {
        let all = Rule::WORDS.iter().zip(self.0).filter(|(_, n)| *n > 0);
        let mut counts: Vec<(&'static str, usize)> = all.map(|(word, n)| (*word, n as usize)).collect();
        counts.sort_unstable_by_key(|(word, n)| (std::cmp::Reverse(*n), *word));
        counts
    }
}

impl FromIterator<Rule> for Tally {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut tally = Self::default();
        rules.into_iter().for_each(|rule| tally.add(rule));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_its_rules_own() {
        let last = Rule::Saturated;
        assert_eq!((Rule::Disabled.word(), last.word(), last as usize + 1), ("disabled", "saturated", Rule::WORDS.len()));
        let tally: Tally = [Rule::Unpriced, Rule::NoKey, Rule::Unpriced, Rule::Disabled].into_iter().collect();
        assert_eq!((tally.count(), tally.words()), (4, vec![("unpriced", 2), ("disabled", 1), ("no_key", 1)]));
    }
}
