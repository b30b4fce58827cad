//! What a decision is made from. The pipeline fills these in from the meter, the policy and the health registry; they
//! are `route`'s own types, so that routing can be replayed without any of those. Nothing here is computed from a clock.

use std::time::Duration;

use jiff::Timestamp;

use super::affinity::Affinity;
use super::ask::Ask;
use super::board::Board;
use super::caps::Caps;
use super::learned::{LearnedOutput, OutputFigures};
use super::target::Target;
use super::usable::Usable;
use crate::canonical::{DataRules, Preference, QualityTier, ReasoningWish};
use crate::catalog::{Backend, BackendIndex, ProviderIndex, QuotaIndex, Reasoning, Snapshot, TokenizerFamily};
use crate::units::{Amount, Grant, Tokens, Usd};

/// Everything one decision depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What the request needs and wishes.
    pub ask: &'a Ask,
    /// The one table for the whole request.
    pub snapshot: &'a Snapshot,
    /// The same as a decision first looks at it, at `at`.
    pub board: &'a Board,
    /// What the client's model name means in `snapshot`.
    pub target: &'a Target,
    /// Tokens of the prompt.
    pub input: &'a InputEstimate,
    /// Tokens of the answer, all its choices together.
    pub expected_output: OutputForecast,
    /// The same for single backends, where something was learned.
    pub learned: &'a LearnedOutput,
    /// What the key allows.
    pub limits: &'a Limits,
    /// Who of the table can be asked at all.
    pub usable: &'a Usable,
    /// By [`BackendIndex`]; a backend beyond its end is taken as healthy.
    pub health: &'a [BackendHealth],
    /// Where the prompt is likely still cached, and the conversation that it goes on with.
    pub affinity: &'a Affinity,
    /// How every cap on a share stands.
    pub caps: &'a Caps,
    /// Present where this request may be used to look at another backend than the best.
    pub explore: Option<Explore>,
    /// What is free, and what is paid already.
    pub allowances: &'a Allowances,
    /// The instant whose prices and exchange rates apply.
    pub at: Timestamp,
    pub settings: &'a Settings,
}

impl Facts<'_> {
    /// How a backend has fared lately; one that nobody spoke of has not failed.
    pub fn health_of(&self, backend: &Backend) -> BackendHealth {
        let BackendIndex(n) = backend.index;
        self.health.get(n as usize).copied().unwrap_or_default()
    }

    /// What a backend's answer is expected to have, all choices together.
    #[inline]
    pub fn output_of(&self, backend: BackendIndex, reasoning: Reasoning) -> OutputFigures {
        if let Some(learned) = self.learned.of(backend) {
            return *learned;
        }
        let OutputForecast { plain, .. } = self.expected_output;
        let mean = self.expected_output.of(reasoning, self.ask.reasoning == ReasoningWish::Off);
        OutputFigures { mean, reasoning: mean.saturating_sub(plain), ..OutputFigures::default() }
    }
}

/// Whether a provider can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Availability {
    /// It has its key, or needs none.
    Ready,
    /// Its key is missing, or a part of its address.
    NoKey,
}

/// How a backend has fared lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendHealth {
    /// Share of recent attempts that failed, in millionths (0 to 1,000,000).
    pub failure_share: u32,
    /// What is left of its rate limit.
    pub headroom: Headroom,
    /// How long its first token takes; absent where nobody knows or nobody asks.
    pub wait: Option<Wait>,
    /// Its breaker is open for this much longer.
    pub cooling: Option<Duration>,
    /// As many requests wait on it without an answer as may.
    pub waiting_full: bool,
}

/// What is left of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// In millionths of the limit.
    pub left: u32,
    /// Tokens that it still takes, where it is told.
    pub tokens: Option<Tokens>,
}

impl Default for Headroom {
    /// No limit is known.
    fn default() -> Self {
        Self { left: 1_000_000, tokens: None }
    }
}

/// Times to the first token, lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub mean_ms: u32,
    /// Mean absolute deviation.
    pub spread_ms: u32,
}

/// Leave to look at another backend than the best, so that its figures stay fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explore {
    /// From the request's id: makes the choice the same in every replay.
    pub seed: u64,
    /// Of so many thousand requests.
    pub permille: u16,
    /// What is left of the day's money for it.
    pub left: Usd,
}

/// Tokens of one prompt by one tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputTokens {
    expected: Tokens,
    upper: Tokens,
}

impl InputTokens {
    /// An expectation and a bound that the truth is not above; a bound below the expectation is raised to it, so that
    /// no quote's worst case falls below its expectation.
    pub fn new(expected: Tokens, upper: Tokens) -> Self {
        Self { expected, upper: upper.max(expected) }
    }

    /// What is expected.
    pub const fn expected(self) -> Tokens {
        self.expected
    }

    /// What it is at most.
    pub const fn upper(self) -> Tokens {
        self.upper
    }
}

/// Tokens of the prompt by each tokenizer family, and at single backends whose reports taught better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputEstimate {
    /// By the family's discriminant.
    families: [InputTokens; TokenizerFamily::WORDS.len()],
    /// Of those that have figures of their own, by their index: few of a table, mostly.
    own: Vec<(BackendIndex, InputTokens)>,
}

impl InputEstimate {
    /// Asks for each family once.
    pub fn by_family(mut tokens: impl FnMut(TokenizerFamily) -> InputTokens) -> Self {
        let mut families = [InputTokens::default(); TokenizerFamily::WORDS.len()];
        for (family, _) in TokenizerFamily::WORDS {
            families[family as usize] = tokens(family);
        }
        Self { families, own: Vec::new() }
    }

    /// Sets what single backends are expected to count; a bound of none is no figure.
    #[must_use]
    pub fn with_own(mut self, own: impl IntoIterator<Item = (BackendIndex, InputTokens)>) -> Self {
        self.own = own.into_iter().filter(|(_, tokens)| tokens.upper > Tokens::ZERO).collect();
        self.own.sort_unstable_by_key(|(index, _)| *index);
        self
    }

    /// The tokens of the prompt by one family.
    pub const fn of(&self, family: TokenizerFamily) -> InputTokens {
        self.families[family as usize]
    }

    /// The tokens of the prompt at a backend of a family.
    #[inline]
    pub fn at(&self, index: BackendIndex, family: TokenizerFamily) -> InputTokens {
        self.own(index).unwrap_or_else(|| self.of(family))
    }

    /// What one backend's own reports taught of the prompt.
    #[inline]
    pub fn own(&self, wanted: BackendIndex) -> Option<InputTokens> {
        let found = self.own.binary_search_by_key(&wanted, |(index, _)| *index).ok()?;
        Some(self.own[found].1)
    }

    /// Those whose own reports taught, in their order.
    pub fn all_own(&self) -> &[(BackendIndex, InputTokens)] {
        &self.own
    }
}

/// Tokens that the answer is expected to have, all its choices together. The plan bounds it by what may be written at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputForecast {
    /// From a model that does not think first.
    pub plain: Tokens,
    /// From a model that does, its hidden reasoning included.
    pub thinking: Tokens,
}

impl OutputForecast {
    /// The forecast for a backend.
    pub fn of(self, reasoning: Reasoning, thinking_refused: bool) -> Tokens {
        if reasoning.thinks(thinking_refused) { self.thinking } else { self.plain }
    }
}

/// What is left of what vendors gave for nothing or were paid in advance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowances {
    /// By [`QuotaIndex`]; of a quota beyond its end nothing is left.
    pub free: Vec<Grant>,
    /// By [`ProviderIndex`]; a provider beyond its end was paid nothing.
    pub prepaid: Vec<Option<Prepaid>>,
}

/// A balance that was paid in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepaid {
    pub left: Amount,
    /// Spent as it has been so far, some of it would be left at its end.
    pub outlasts: bool,
}

impl Allowances {
    /// What is left of a quota.
    pub fn free_of(&self, QuotaIndex(n): QuotaIndex) -> Grant {
        self.free.get(n as usize).copied().unwrap_or(Grant::NOTHING)
    }

    /// The balance of a provider, where it is to be used before other money.
    pub fn to_be_used(&self, ProviderIndex(n): ProviderIndex) -> Option<Amount> {
        let prepaid = self.prepaid.get(n as usize).copied().flatten()?;
        prepaid.outlasts.then_some(prepaid.left)
    }
}

/// What a gateway key allows. An empty list allows everything. A request's wishes can only narrow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Only these providers (ids of the table).
    pub providers: Vec<String>,
    /// Not these providers.
    pub excluded_providers: Vec<String>,
    /// Only these models: patterns of names of the table, or of `provider/model`; each of the lists must have one that fits.
    pub models: Vec<Vec<String>>,
    /// Only providers that serve in one of these regions.
    pub regions: Vec<String>,
    /// Only providers whose data falls under one of these laws.
    pub jurisdictions: Vec<String>,
    /// At least this tier, whatever the request says.
    pub quality: Option<QualityTier>,
    /// The most that one request may cost at its worst.
    pub max_cost: Option<Usd>,
    /// The most that a million of its tokens may cost, in its own mix.
    pub max_price: Option<Usd>,
    /// Providers that train on what they are sent, or do not say, may be used.
    pub may_train: bool,
    /// Only providers that keep prompts for so many days at most.
    pub max_retention_days: Option<u32>,
    /// Only providers whose models are registered for public service.
    pub registered: bool,
    /// What matters among adequate backends, where the request does not say.
    pub prefer: Option<Preference>,
}

impl Limits {
    /// What a key says may become of the data.
    pub fn data_rules(&self) -> DataRules {
        let Self { may_train, max_retention_days, registered, .. } = *self;
        DataRules { no_training: !may_train, max_retention_days, registered }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            excluded_providers: Vec::new(),
            models: Vec::new(),
            regions: Vec::new(),
            jurisdictions: Vec::new(),
            quality: None,
            max_cost: None,
            max_price: None,
            may_train: true,
            max_retention_days: None,
            registered: false,
            prefer: None,
        }
    }
}

/// What the operator set for all decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How much of the risk counts, in per cent: 0 looks at the price alone.
    pub risk_weight_percent: u32,
    /// How much counts of what prices may become, in per cent.
    pub price_risk_weight_percent: u32,
    /// The floor for `auto` where neither name nor wish nor key sets one.
    pub default_quality: QualityTier,
    /// Upstream attempts that one request may take, raced ones included; at least one is made.
    pub max_attempts: usize,
    /// How long a request may take until it is over: so far ahead prices are looked at.
    pub longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            risk_weight_percent: 100,
            price_risk_weight_percent: 100,
            default_quality: QualityTier::Economy,
            max_attempts: 4,
            longest: Duration::from_mins(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use super::*;

    #[test]
    fn a_bound_below_the_expectation_is_raised_to_it() {
        let t = Tokens::new;
        assert_eq!(InputTokens::new(t(10), t(7)).upper(), t(10));
        assert_eq!(InputTokens::new(t(10), t(12)).upper(), t(12));
    }

    #[test]
    fn each_family_keeps_its_own_tokens() {
        let place = |family| TokenizerFamily::WORDS.iter().position(|(f, _)| *f == family).map_or(0, |n| n as u64);
        let tokens = |family| InputTokens::new(Tokens::new(place(family)), Tokens::ZERO);
        let estimate = InputEstimate::by_family(tokens);
        for (family, word) in TokenizerFamily::WORDS {
            assert_eq!(estimate.of(family), tokens(family), "{word}");
        }
    }

    #[test]
    fn a_switchable_model_is_taken_to_think_unless_thinking_was_refused() {
        let forecast = OutputForecast { plain: Tokens::new(1), thinking: Tokens::new(5) };
        let check = |reasoning, expected: [u64; 2]| {
            assert_eq!([false, true].map(|refused| forecast.of(reasoning, refused).get()), expected, "{reasoning:?}");
        };
        check(Reasoning::Never, [1, 1]);
        check(Reasoning::Switchable, [5, 1]);
        check(Reasoning::Always, [5, 5]);
    }

    #[test]
    fn who_is_not_spoken_of_has_no_key_and_no_failures() {
        Case::default().with_facts(|facts| {
            let silent = Facts { usable: &Usable::default(), health: &[], ..facts.clone() };
            let backend = &facts.snapshot.backends()[0];
            assert_eq!(silent.usable.availability_of(facts.snapshot.provider_of(backend)), Availability::NoKey);
            assert_eq!(silent.health_of(backend), BackendHealth::default());
        });
    }
}
