//! Gateway keys: 256 random bits each, kept only as SHA-256 and looked up by that hash, so that neither a leaked
//! configuration nor the time a comparison takes gives one away.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::brown_out::BrownOut;
use super::budget::Budgets;
use super::rates::Throttles;
use crate::canonical::{Preference, QualityTier, Wishes};
use crate::units::{KeyName, Tokens, Usd};

/// The header that Anthropic's clients send their key in.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a key, or everybody of a team, a project or the gateway, may ask for. Empty lists allow everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLimits {
    pub providers: Vec<String>,
    pub excluded_providers: Vec<String>,
    /// Only these models: patterns of their names, or of `provider/model`. Each of the lists must have one that fits.
    pub models: Vec<Vec<String>>,
    pub regions: Vec<String>,
    /// Only providers whose data falls under one of these laws.
    pub jurisdictions: Vec<String>,
    /// At least this tier.
    pub quality: Option<QualityTier>,
    /// One request may cost at most this, at its worst.
    pub max_cost: Option<Usd>,
    /// Bound on the output of one request, sent to the provider where the client sets none or a larger one.
    pub max_output: Option<Tokens>,
    /// A million tokens of a request may be expected to cost at most this.
    pub max_price: Option<Usd>,
    /// Providers that train on API data, or do not say, may not be used.
    pub no_training: bool,
    /// Only providers that keep prompts for so many days at most.
    pub max_retention_days: Option<u32>,
    /// Only providers whose models are registered for public service.
    pub registered: bool,
    /// What matters among adequate backends, where a request does not say.
    pub prefer: Option<Preference>,
    /// A parameter that a backend's API has no word for is refused, not left out.
    pub strict: bool,
}

/// Two levels leave nothing of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("none of its {0} is among those that are allowed above it")]
pub struct NothingLeft(pub &'static str);

impl KeyLimits {
    /// What both leave: of two lists what stands in both, of two bounds the stricter.
    ///
    /// # Errors
    /// When two lists have nothing in common: an empty one would allow everything.
    pub fn within(&self, above: &KeyLimits) -> Result<Self, NothingLeft> {
        let mut excluded_providers = self.excluded_providers.clone();
        excluded_providers.extend(above.excluded_providers.iter().filter(|one| !self.excluded_providers.contains(one)).cloned());
        let providers = common("providers", &self.providers, &above.providers)?;
        // What a level says against itself is told by itself.
        if bars_all(&providers, &excluded_providers) && !bars_all(&self.providers, &self.excluded_providers) {
            return Err(NothingLeft("providers"));
        }
        let lower = |own: Option<Usd>, other| [own, other].into_iter().flatten().min();
        Ok(Self {
            providers,
            excluded_providers,
            models: self.models.iter().chain(&above.models).cloned().collect(),
            regions: common("regions", &self.regions, &above.regions)?,
            jurisdictions: common("jurisdictions", &self.jurisdictions, &above.jurisdictions)?,
            quality: self.quality.max(above.quality),
            max_cost: lower(self.max_cost, above.max_cost),
            max_output: [self.max_output, above.max_output].into_iter().flatten().min(),
            max_price: lower(self.max_price, above.max_price),
            no_training: self.no_training || above.no_training,
            max_retention_days: [self.max_retention_days, above.max_retention_days].into_iter().flatten().min(),
            registered: self.registered || above.registered,
            prefer: self.prefer.or(above.prefer),
            strict: self.strict || above.strict,
        })
    }

    /// Whether money is bounded, so that the provider must be told the output bound.
    pub fn bounds_money(&self) -> bool {
        self.max_cost.is_some() || self.max_output.is_some()
    }
}

fn bars_all(providers: &[String], excluded: &[String]) -> bool {
    !providers.is_empty() && providers.iter().all(|provider| excluded.contains(provider))
}

/// What stands in both lists, of which an empty one allows everything.
fn common(what: &'static str, own: &[String], above: &[String]) -> Result<Vec<String>, NothingLeft> {
    match (own, above) {
        (own, []) => Ok(own.to_vec()),
        ([], above) => Ok(above.to_vec()),
        (own, above) => {
            let both: Vec<String> = own.iter().filter(|one| above.contains(one)).cloned().collect();
            if both.is_empty() { Err(NothingLeft(what)) } else { Ok(both) }
        }
    }
}

/// Whose money it is beside a key's, and what its requests are tagged with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    pub team: Option<String>,
    pub project: Option<String>,
    pub tags: Vec<String>,
}

/// A key that was let in.
#[derive(Debug, Clone)]
pub struct Admission {
    pub key: KeyName,
    /// What its requests are booked under beside it.
    pub groups: Arc<Groups>,
    /// What it may ask for, by itself and by its project, its team and the gateway.
    pub limits: Arc<KeyLimits>,
    /// What its requests wish where they do not say.
    pub wishes: Arc<Wishes>,
    /// What becomes of those that a budget does not bear.
    pub brown_out: Arc<BrownOut>,
    /// What its requests hold and have spent; the same objects through every reload.
    pub budgets: Arc<Budgets>,
    /// Whether any of these is bounded in the state of the keys that let it in.
    pub budgeted: bool,
    /// How often it may ask; `None` where nothing limits that.
    pub throttles: Option<Arc<Throttles>>,
}

impl Admission {
    /// Somebody to whom no limit is set and whose money nobody counts.
    pub fn unbounded(key: KeyName) -> Self {
        Self {
            key,
            groups: Arc::default(),
            limits: Arc::default(),
            wishes: Arc::default(),
            brown_out: Arc::default(),
            budgets: Budgets::of([]),
            budgeted: false,
            throttles: None,
        }
    }
}

/// Why a caller was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("no API key was sent: expected the header `Authorization: Bearer <gateway key>` or `x-api-key: <gateway key>`")]
    Missing,
    #[error("this API key is not known to the gateway")]
    Unknown,
}

/// Every key the gateway knows.
#[derive(Debug, Default)]
pub struct KeyRing {
    by_hash: HashMap<[u8; 32], Admission>,
    /// Who everybody is, when no key is asked for.
    open: Option<Admission>,
}

impl KeyRing {
    /// The keys by the SHA-256 of their text.
    pub fn new(keys: impl IntoIterator<Item = ([u8; 32], Admission)>) -> Self {
        Self { by_hash: keys.into_iter().collect(), open: None }
    }

    /// No key is asked for: everybody is let in so.
    pub fn open_to_all(everybody: Admission) -> Self {
        Self { by_hash: HashMap::new(), open: Some(everybody) }
    }

    /// Lets a caller in by its key, which stands in `Authorization` or, as Anthropic's clients send it, in `x-api-key`. Some
    /// of these send both, of which one is of another service: whichever is known counts.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Admission, NotAdmitted> {
        if let Some(everybody) = &self.open {
            return Ok(everybody.clone());
        }
        let in_words = headers.get(API_KEY).map(|value| value.as_bytes().trim_ascii()).filter(|key| !key.is_empty());
        let keys = [headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())), in_words];
        if keys.iter().all(Option::is_none) {
            return Err(NotAdmitted::Missing);
        }
        keys.into_iter().flatten().find_map(|key| self.by_hash.get(&hash(key)).cloned()).ok_or(NotAdmitted::Unknown)
    }
}

/// What is kept of a key.
pub fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// What every gateway key begins with, so that a leaked one is recognised by scanners and people.
pub const PREFIX: &str = "tb-";

/// A key nobody has: 256 random bits.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)?;
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let digits = random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    Ok(PREFIX.chars().chain(digits).collect())
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ring: &KeyRing, authorization: Option<&str>, expected: Result<&str, NotAdmitted>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let admitted = ring.admit(&headers).map(|a| a.key.as_str().to_owned());
        assert_eq!(admitted, expected.map(str::to_owned), "{authorization:?}");
    }

    #[test]
    fn the_stricter_of_two_levels_counts_and_nothing_left_is_told() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let usd = |pico| Some(Usd::from_pico(pico));
        let key = KeyLimits {
            providers: list(&["east", "west"]),
            excluded_providers: list(&["north"]),
            models: vec![list(&["a*"])],
            quality: Some(QualityTier::Economy),
            max_cost: usd(5),
            max_retention_days: Some(30),
            prefer: Some(Preference::Fastest),
            ..KeyLimits::default()
        };
        let team = KeyLimits {
            providers: list(&["west", "south"]),
            excluded_providers: list(&["north", "west2"]),
            models: vec![list(&["*b"])],
            regions: list(&["EU"]),
            quality: Some(QualityTier::Standard),
            max_cost: usd(7),
            max_output: Some(Tokens::new(9)),
            max_retention_days: Some(7),
            no_training: true,
            strict: true,
            ..KeyLimits::default()
        };
        let both = KeyLimits {
            providers: list(&["west"]),
            excluded_providers: list(&["north", "west2"]),
            models: vec![list(&["a*"]), list(&["*b"])],
            regions: list(&["EU"]),
            quality: Some(QualityTier::Standard),
            max_cost: usd(5),
            max_output: Some(Tokens::new(9)),
            max_retention_days: Some(7),
            no_training: true,
            prefer: Some(Preference::Fastest),
            strict: true,
            ..KeyLimits::default()
        };
        assert_eq!(key.within(&team), Ok(both));
        assert_eq!(key.within(&KeyLimits::default()), Ok(key.clone()));
        let other = KeyLimits { providers: list(&["south"]), ..KeyLimits::default() };
        assert_eq!(key.within(&other), Err(NothingLeft("providers")));
        let barred = KeyLimits { excluded_providers: list(&["east", "west"]), ..KeyLimits::default() };
        assert_eq!(key.within(&barred), Err(NothingLeft("providers")));
    }

    #[test]
    fn a_key_is_found_by_its_hash_alone() {
        let ring = KeyRing::new([(hash(b"tb-abc"), Admission::unbounded(KeyName::new("web")))]);
        check(&ring, Some("Bearer tb-abc"), Ok("web"));
        check(&ring, Some("bearer  tb-abc "), Ok("web"));
        check(&ring, Some("Bearer tb-abd"), Err(NotAdmitted::Unknown));
        check(&ring, Some("Basic tb-abc"), Err(NotAdmitted::Missing));
        check(&ring, Some("Bearer "), Err(NotAdmitted::Missing));
        check(&ring, None, Err(NotAdmitted::Missing));
        check(&KeyRing::open_to_all(Admission::unbounded(KeyName::new("open"))), None, Ok("open"));
        let both = |bearer: Option<&str>, key: &str| {
            let mut headers: HeaderMap = [(API_KEY, key.parse().unwrap())].into_iter().collect();
            headers.extend(bearer.map(|bearer| (AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap())));
            ring.admit(&headers).map(|admitted| admitted.key.as_str().to_owned())
        };
        assert_eq!(both(None, "tb-abc"), Ok("web".to_owned()));
        assert_eq!(both(Some("another"), " tb-abc"), Ok("web".to_owned()));
        assert_eq!(both(Some("tb-abc"), "another"), Ok("web".to_owned()));
        assert_eq!(both(Some("another"), "another"), Err(NotAdmitted::Unknown));
        assert_eq!(both(None, "Bearer tb-abc"), Err(NotAdmitted::Unknown));
        assert_eq!(both(None, ""), Err(NotAdmitted::Missing));
    }
}
