//! The table in force together with what this process holds for it: who can be reached with which key, how healthy
//! each backend is, which dialect it speaks. A request takes one market and never sees two mixed; a new table makes a
//! new market, and health carries over by backend id.

mod makers;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Uri;
use jiff::Timestamp;

use crate::canonical::{Direct, Form, Manner, Shape};
use crate::catalog::capability::Quirks;
use crate::catalog::{Backend, BackendIndex, KeyHeader, Provider, REGION, Signing, Snapshot, address};
use crate::config::secret::grant_of;
use crate::config::{Deployments, ProviderKeys, Secret};
use crate::dialect::{self, Dialect, Outgoing, Path};
use crate::dispatch::health::{Answers, BackendHealth, HealthByShape, HealthRisk, Roster};
use crate::route::{self, Availability, Board, BoardInForce, Usable};
use crate::upstream::{Credentials, Endpoint, EndpointError, Key, Signer, Tokens};

pub use self::makers::{Makers, Seals};

/// Everything needed to ask one backend.
#[derive(Clone, Copy)]
pub struct Offer<'m> {
    pub backend: &'m Backend,
    pub provider: &'m Provider,
    /// That of the endpoint: another than the request's where it is translated.
    pub shape: Shape,
    pub endpoint: &'m Endpoint,
    pub dialect: &'static dyn Dialect,
    pub health: &'m Arc<BackendHealth>,
    /// What the provider calls the model: the table's word, or that of the operator's deployment.
    pub model: &'m str,
}

impl Offer<'_> {
    /// Where it is asked: the endpoint's own address, or one by the model where dialect or address want that.
    pub fn uri(&self, stream: bool) -> Result<Uri, EndpointError> {
        match self.dialect.path() {
            Path::Fixed(_) => self.endpoint.at("", self.model),
            Path::OfModel(path) => self.endpoint.at(&path(self.model, stream), self.model),
        }
    }

    /// Whether it takes thoughts without a signature in an API whose maker refuses them.
    pub fn takes_unsigned(&self) -> bool {
        self.shape == Shape::AnthropicMessages && self.provider.quirks.unsigned_thoughts
    }

    /// What differs between a client's request and the one that it is sent, without a bound of ours.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let Backend { limits, reasoning, steering, .. } = self.backend;
        let quirks = self.provider.quirks;
        let quirks = Quirks { thinking_switch: steering.switch.unwrap_or(quirks.thinking_switch), ..quirks };
        Outgoing { max_output: limits.max_output, reasoning: *reasoning, steering: *steering, ..Outgoing::to(self.model, quirks) }
    }
}

/// How one provider is reached for requests of one shape.
struct Site {
    shape: Shape,
    endpoint: Endpoint,
}

/// The table in force and this process's means to use it.
pub struct Market {
    pub snapshot: Arc<Snapshot>,
    /// By provider index; none for one that cannot be reached.
    sites: Vec<Vec<Site>>,
    /// By backend, what its provider calls the model, where that is not what the table says.
    deployments: BTreeMap<BackendIndex, String>,
    usable: Usable,
    /// The table as decisions look at it, until the next step of its prices.
    board: BoardInForce,
    /// By what decides where requests are sent ([`Manner::place`]); each by backend index.
    health: Vec<Roster>,
}

/// A provider that could be used but for its address or its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider {provider} cannot be used: {reason}")]
pub struct Unreachable {
    pub provider: String,
    pub reason: String,
}

impl Market {
    /// Opens a market with the provider keys that were found. A provider without its key, or without a part of its address,
    /// is off; one whose address or key is unusable is an error that names it. What is sent of keys that only give tokens comes
    /// from `tokens`.
    pub fn open(
        snapshot: Arc<Snapshot>,
        keys: &ProviderKeys,
        deployments: &Deployments,
        tokens: &Tokens,
        health: &HealthByShape,
    ) -> Result<Self, Unreachable> {
        let sites = snapshot.providers().iter().map(|provider| sites(provider, keys, tokens)).collect::<Result<Vec<_>, _>>()?;
        let availability =
            sites.iter().map(|sites| if sites.is_empty() { Availability::NoKey } else { Availability::Ready }).collect();
        let usable = Usable::of(&snapshot, availability);
        let asked: Vec<usize> = usable.ready().iter().map(|index| index.0 as usize).collect();
        let table = &snapshot;
        let endpoint = |backend| move |manner| table.endpoint_for(backend, manner);
        let health = health.rosters(&table.backends().iter().map(|backend| (&backend.id, endpoint(backend))), &asked);
        let named = |(id, name): (&String, &String)| Some((snapshot.backend_named(id)?.index, name.clone()));
        let deployments = deployments.iter().filter_map(named).collect();
        Ok(Self { snapshot, sites, deployments, usable, board: BoardInForce::default(), health })
    }

    /// Who can be asked at all.
    pub fn usable(&self) -> &Usable {
        &self.usable
    }

    /// The table as a decision first looks at it at an instant.
    pub fn board_at(&self, at: Timestamp) -> Arc<Board> {
        self.board.at(&self.snapshot, at)
    }

    /// How each backend fares right now with requests that ask so, by its index; a backend beyond the end is well, and of those
    /// that cannot be asked nothing is told. `waits` asks how long they take to begin as well.
    pub fn health(&self, manner: Manner, waits: Option<Answers>) -> Vec<route::BackendHealth> {
        let plain = |risk: HealthRisk| route::BackendHealth {
            failure_share: risk.failure_share,
            headroom: risk.headroom,
            wait: risk.wait,
            cooling: risk.cooling,
            waiting_full: risk.waiting_full,
        };
        let mut health = Vec::new();
        for (place, risk) in self.health[manner.place()].risks(waits) {
            health.resize(place, route::BackendHealth::default());
            health.push(plain(risk));
        }
        health
    }

    /// What is needed to ask a backend for a request that asks so; `None` when its provider cannot be reached, which no plan
    /// names.
    pub fn offer(&self, index: BackendIndex, manner: Manner) -> Option<Offer<'_>> {
        self.offer_at(index, self.snapshot.endpoint_for(self.snapshot.backend(index), manner)?)
    }

    /// The same where the request cannot be said in the words of that endpoint: of the one that it would be sent to without tools and
    /// thinking, then of the one that speaks its own shape and knows no forms.
    pub fn other_offers(&self, index: BackendIndex, manner: Manner) -> impl Iterator<Item = Offer<'_>> + use<'_> {
        let serving = |manner| self.snapshot.endpoint_for(self.snapshot.backend(index), manner);
        let (first, second) = (serving(manner), serving(manner.anywhere()));
        let own = Some(manner.shape).filter(|own| manner.form != Form::Text && second != Some(*own));
        let others = [second, own].into_iter().flatten().filter(move |shape| first != Some(*shape));
        others.filter_map(move |shape| self.offer_at(index, shape))
    }

    /// What is needed to ask a backend at its endpoint of a shape.
    fn offer_at(&self, index: BackendIndex, shape: Shape) -> Option<Offer<'_>> {
        let backend = self.snapshot.backend(index);
        let provider = self.snapshot.provider_of(backend);
        Some(Offer {
            backend,
            provider,
            shape,
            endpoint: &self.site(backend, shape)?.endpoint,
            dialect: dialect::of(shape),
            health: self.health[Manner::plain(shape).place()].get(index.0 as usize)?,
            model: self.deployments.get(&index).unwrap_or(&backend.upstream_model),
        })
    }

    /// A backend's endpoint of a shape.
    pub fn endpoint(&self, index: BackendIndex, shape: Shape) -> Option<&Endpoint> {
        self.site(self.snapshot.backend(index), shape).map(|site| &site.endpoint)
    }

    fn site(&self, backend: &Backend, shape: Shape) -> Option<&Site> {
        self.sites.get(backend.provider.0 as usize)?.iter().find(|site| site.shape == shape)
    }

    /// The models that can be asked for by name right now: those that a reachable provider serves and that are open to whoever asks,
    /// sorted.
    ///
    /// Each with who stands behind it: the provider of a backend, nobody in particular for a model.
    pub fn models(&self, open: impl Fn(&Backend) -> bool) -> BTreeMap<&str, &str> {
        let has_site = |backend: &Backend| self.sites.get(backend.provider.0 as usize).is_some_and(|sites| !sites.is_empty());
        let reachable = |backend: &&Backend| has_site(backend) && backend.disabled.is_none() && open(backend);
        let names = |backend: &'_ Backend| {
            let owner = self.snapshot.provider_of(backend).id.as_str();
            let backend = self.snapshot.backend(backend.index);
            [(backend.model.as_str(), "tokenbroker"), (backend.id.as_str(), owner)]
        };
        self.snapshot.backends().iter().filter(reachable).flat_map(names).collect()
    }
}

/// What signs a provider's requests, with the values of its variables and of the places of its address.
fn signer<'v>(
    signing: &'v Signing,
    value: impl Fn(&str) -> Option<&'v str>,
    placed: impl Fn(&str) -> Option<&'v str>,
) -> Option<Signer> {
    let credentials = Credentials {
        access_key: value(&signing.access_key_env)?,
        secret_key: value(&signing.secret_key_env)?,
        session_token: signing.session_token_env.as_deref().and_then(&value),
    };
    let region = signing.region.as_deref().or_else(|| placed(REGION))?;
    Some(Signer::new(credentials, region, &signing.service))
}

/// Every way to reach a provider.
fn sites<'a>(provider: &'a Provider, keys: &ProviderKeys, tokens: &Tokens) -> Result<Vec<Site>, Unreachable> {
    let value = |variable: &str| keys.get(variable).map(Secret::expose);
    let has = |variable: &str| value(variable).is_some();
    if provider.disabled.is_some() || provider.key_missing(has).or(provider.place_missing(has)).is_some() {
        return Ok(Vec::new());
    }
    let key = provider.api_key_env.as_deref().and_then(value);
    let placed = |name: &str| {
        let place = provider.placeholders.iter().find(|(place, _)| place == name);
        place.and_then(|(_, variable)| value(variable))
    };
    let query = || provider.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let site = |(shape, base_url, auth): (Shape, &str, KeyHeader)| {
        let unreachable = |reason: String| Unreachable { provider: provider.id.clone(), reason };
        let dialect = dialect::of(shape);
        let (header, prefix) = auth.parts();
        let grant = grant_of(auth);
        let token = grant.zip(key).map(|(grant, key)| tokens.of(&provider.id, grant, key)).transpose();
        let token = token.map_err(|error| unreachable(error.to_string()))?;
        let key = key.filter(|_| grant.is_none()).map(|text| Key { header, prefix, text });
        let more = provider.extra_headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = dialect.headers().iter().copied().chain(more);
        let path = match dialect.path() {
            Path::Fixed(path) => path,
            Path::OfModel(_) => "",
        };
        let signer = provider.signing.as_ref().filter(|_| key.is_none()).and_then(|signing| signer(signing, value, placed));
        let base_url = address::filled(base_url, placed);
        let endpoint = Endpoint::new(&base_url, path, headers, key).and_then(|endpoint| endpoint.with_query(query()));
        let endpoint = endpoint.map_err(|error| unreachable(error.to_string()))?.with_token(token).with_signer(signer);
        Ok(Site { shape, endpoint })
    };
    // What is no conversation is asked at the same address, under its own path.
    let direct = |(shape, base_url, auth): (Shape, &'a str, KeyHeader)| {
        let all = Direct::ALL.iter().filter(move |_| shape == Shape::OpenAiChat);
        all.map(move |direct| (direct.shape, base_url, auth))
    };
    provider.endpoints().chain(provider.endpoints().flat_map(direct)).map(site).collect()
}
