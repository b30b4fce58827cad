//! One immutable view of the whole table. A request takes one snapshot and never sees two mixed.

use std::sync::Arc;

use foldhash::HashMap;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::allowance::{Quota, QuotaIndex};
use super::calendar::Calendar;
use super::capability::{Backend, Provider};
use super::change::PriceChange;
use super::fx::FxTable;
use super::history::{Annotation, Past};
use super::price::PriceSchedule;
use crate::canonical::{Manner, Shape, Shapes};
use crate::units::Tokens;

/// How alike (Jaro-Winkler, 1 for equal) two names must be for one to be meant by the other. Below 0.8 short model names
/// match nearly anything.
const NEAR: f64 = 0.8;

/// A provider's place in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderIndex(pub u32);

/// A backend's place in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendIndex(pub u32);

/// The table at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Names this state of the table in rows and metrics: its date and the first digits of its SHA-256.
    pub version: String,
    /// What it was read from, so that it can be kept beside the books; empty for one that was put together by hand.
    pub text: Arc<str>,
    providers: Vec<Provider>,
    backends: Vec<Backend>,
    pub fx: FxTable,
    /// Each at its own index.
    pub calendars: Vec<Arc<Calendar>>,
    /// Each at its own index.
    pub quotas: Vec<Arc<Quota>>,
    pub past: Vec<Past>,
    pub annotations: Vec<Annotation>,
    /// What is laid over the prices; they hold it already.
    pub changes: Vec<PriceChange>,
    by_id: HashMap<String, BackendIndex>,
    by_model: HashMap<String, Vec<BackendIndex>>,
}

impl Snapshot {
    /// Puts the table together; the indexes inside `providers` and `backends` are set here.
    ///
    /// A model's own name wins over another's alias (`price-doubts.md`, 2026-11-22).
    pub fn new(version: String, mut providers: Vec<Provider>, mut backends: Vec<Backend>, fx: FxTable) -> Self {
        for (provider, n) in providers.iter_mut().zip(0..) {
            provider.index = ProviderIndex(n);
        }
        for (backend, n) in backends.iter_mut().zip(0..) {
            backend.index = BackendIndex(n);
        }
        let by_id = backends.iter().map(|b| (b.id.as_str().to_owned(), b.index)).collect();
        let mut by_model: HashMap<String, Vec<BackendIndex>> = HashMap::default();
        for backend in &backends {
            by_model.entry(backend.model.clone()).or_default().push(backend.index);
        }
        let own_names: Vec<String> = by_model.keys().cloned().collect();
        for backend in &backends {
            let names = backend.aliases.iter().chain([&backend.upstream_model]);
            for name in names.filter(|name| !own_names.contains(name)) {
                let served = by_model.entry(name.clone()).or_default();
                if !served.contains(&backend.index) {
                    served.push(backend.index);
                }
            }
        }
        Self { version, providers, backends, fx, by_id, by_model, ..Self::default() }
    }

    /// The midnight (UTC) of the date that the version begins with; `None` where it begins with something else.
    pub fn dated(&self) -> Option<Timestamp> {
        let date: Date = self.version.get(..10)?.parse().ok()?;
        date.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp())
    }

    /// What an operator should know of the table at an instant, though nothing is wrong in it.
    pub fn warnings(&self, at: Timestamp) -> Vec<String> {
        self.calendars.iter().filter_map(|calendar| calendar.warning(at)).collect()
    }

    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    pub fn backend(&self, index: BackendIndex) -> &Backend {
        &self.backends[index.0 as usize]
    }

    pub fn provider(&self, index: ProviderIndex) -> &Provider {
        &self.providers[index.0 as usize]
    }

    /// The provider of a backend.
    pub fn provider_of(&self, backend: &Backend) -> &Provider {
        self.provider(backend.provider)
    }

    /// The shapes that a backend can be asked in: those of its provider, or the one of what it serves instead of conversations.
    pub fn shapes_of(&self, backend: &Backend) -> Shapes {
        match backend.serves {
            None => self.provider_of(backend).shapes(),
            Some(direct) => Shapes::default().with(direct.shape),
        }
    }

    /// The shape of the endpoint that a request is sent to, which asks so.
    pub fn endpoint_for(&self, backend: &Backend, manner: Manner) -> Option<Shape> {
        match backend.serves {
            None => self.provider_of(backend).serving(backend.asked(manner)),
            Some(direct) => Some(direct.shape).filter(|shape| *shape == manner.shape),
        }
    }

    /// The free quotas of a backend, in the order in which they are used.
    pub fn quotas_of<'s>(&'s self, backend: &'s Backend) -> impl Iterator<Item = &'s Arc<Quota>> {
        backend.quotas.iter().filter_map(|QuotaIndex(n)| self.quotas.get(*n as usize))
    }

    /// The backend called `provider/upstream_model`, exactly.
    pub fn backend_named(&self, id: &str) -> Option<&Backend> {
        self.by_id.get(id).map(|index| self.backend(*index))
    }

    /// Every price that the table has of a provider's model, by the id that the provider knows it by: a backend's, or that of
    /// a model of the past.
    pub fn prices_of(&self, provider: &str, model: &str) -> Option<&PriceSchedule> {
        let backend = self.backend_named(&format!("{provider}/{model}")).map(|backend| &backend.prices);
        let past = || {
            let named = |past: &&Past| past.model == model && self.provider(past.provider).id == provider;
            self.past.iter().find(named).map(|past| &past.prices)
        };
        backend.or_else(past)
    }

    /// Every backend that serves a model, by its name or an alias.
    pub fn serving(&self, model: &str) -> &[BackendIndex] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }

    /// Where a price of some backends is another for longer answers, rising (see `PriceSchedule::output_borders`).
    pub fn output_borders(&self, backends: impl Iterator<Item = BackendIndex>) -> Vec<Tokens> {
        let mut borders: Vec<Tokens> = backends.flat_map(|index| self.backend(index).prices.output_borders()).copied().collect();
        borders.sort_unstable();
        borders.dedup();
        borders
    }

    /// Every name a client may ask a model by, unsorted.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        self.by_model.keys().map(String::as_str)
    }

    /// The `count` names nearest to one that nobody serves, best first: for a 404 that helps. A name with a slash is also
    /// compared with the ids of single backends.
    pub fn near_models(&self, name: &str, count: usize) -> Vec<&str> {
        let typed = name.to_lowercase();
        let ids = self.backends.iter().map(|b| b.id.as_str()).filter(|_| name.contains('/'));
        let score = |known: &str| strsim::jaro_winkler(&typed, &known.to_lowercase());
        let mut near: Vec<(f64, &str)> = self.model_names().chain(ids).map(|known| (score(known), known)).collect();
        near.retain(|(score, _)| *score >= NEAR);
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        near.dedup_by_key(|(_, known)| *known);
        near.into_iter().take(count).map(|(_, known)| known).collect()
    }
}
