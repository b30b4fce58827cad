//! What the table says of each pretend provider, in the form that answering needs.

use std::time::Duration;

use crate::canonical::Features;
use crate::catalog::capability::Quirks;
use crate::catalog::{Backend, Provider, Reasoning, Snapshot};

/// One pretend provider of the table.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) id: String,
    /// The variable that the gateway reads its key from; `None`: it wants no key.
    pub(super) key_variable: Option<String>,
    pub(super) quirks: Quirks,
    pub(super) latency: Duration,
    /// The time between two tokens.
    pub(super) token_time: Duration,
    pub(super) failures_permille: u64,
    pub(super) models: Vec<Model>,
}

/// One model that it serves.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// The name it is asked for by, and nothing else.
    pub(super) name: String,
    pub(super) context: u64,
    pub(super) max_output: u64,
    pub(super) features: Features,
    pub(super) reasoning: Reasoning,
}

/// Every pretend provider of a table; one that is real is left out.
pub(super) fn sites(snapshot: &Snapshot) -> Vec<Site> {
    snapshot.providers().iter().filter_map(|provider| site(snapshot, provider)).collect()
}

fn site(snapshot: &Snapshot, provider: &Provider) -> Option<Site> {
    let traits = provider.sandbox?;
    let models = snapshot.backends().iter().filter(|backend| backend.provider == provider.index && backend.serves.is_none());
    let model = |backend: &Backend| Model {
        name: backend.upstream_model.clone(),
        context: backend.limits.context.get(),
        max_output: backend.limits.max_output.get(),
        features: backend.features,
        reasoning: backend.reasoning,
    };
    Some(Site {
        id: provider.id.clone(),
        key_variable: provider.api_key_env.clone(),
        quirks: provider.quirks,
        latency: Duration::from_millis(traits.latency_ms.into()),
        token_time: Duration::from_secs(1) / traits.tokens_per_second.max(1),
        failures_permille: traits.failures_permille.into(),
        models: models.map(model).collect(),
    })
}
