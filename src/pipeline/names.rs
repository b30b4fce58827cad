//! The names that a key can ask for, and what it is told of one that its limits leave nobody for.

use std::collections::BTreeMap;

use super::{Admitted, Pipeline};
use crate::canonical::QualityTier;
use crate::catalog::{Backend, Quality};
use crate::frontend::models::ListedModel;
use crate::market::Market;
use crate::pipeline::appraise::limits_of;
use crate::policy::Admission;
use crate::route::{self, Target, UnknownModel};
use crate::units::KeyName;

/// A key may not have what it names: every backend that serves it is forbidden by what the key, its project, its team or the gateway
/// may ask for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the key `{key}` may not use `{model}`: {} (a limit of the key, its project, its team or the gateway; GET /v1/models lists what it may use)",
    .rules.join("; ")
)]
pub struct NotAllowed {
    key: KeyName,
    model: String,
    /// What forbids it, each once.
    rules: Vec<String>,
}

impl NotAllowed {
    /// `None` where its limits leave somebody, or the choice was left to us.
    pub(super) fn of(admitted: &Admitted) -> Option<Self> {
        let Admitted { admission, request, target, .. } = admitted;
        let (market, limits) = (admitted.market(), limits_of(&admission.limits));
        let mut rules = Vec::new();
        for backend in serving(market, target) {
            let rule = route::open_to(backend, market.snapshot.provider_of(backend), &limits).err()?.to_string();
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        (!rules.is_empty()).then(|| Self { key: admission.key.clone(), model: request.model.clone(), rules })
    }
}

/// The backends of a name; none where the choice was left to us.
fn serving<'m>(market: &'m Market, target: &'m Target) -> Vec<&'m Backend> {
    let table = &market.snapshot;
    match target {
        Target::Auto(_) => Vec::new(),
        Target::Backend(index) => vec![table.backend(*index)],
        Target::Model(name) => table.serving(name).iter().map(|index| table.backend(*index)).collect(),
    }
}

impl Pipeline {
    /// Every name that a key can ask for right now: the `auto` names, the operator's aliases, models and backends, but for those of
    /// which its limits leave nothing.
    pub fn models(&self, admission: &Admission) -> Vec<ListedModel> {
        let in_force = self.in_force.load();
        let (market, limits) = (&*in_force.market, limits_of(&admission.limits));
        let open = |backend: &Backend| route::open_to(backend, market.snapshot.provider_of(backend), &limits).is_ok();
        let models = market.models(open);
        let best_of = |names: &BTreeMap<&str, &str>| {
            let conversing = market.snapshot.backends().iter().filter(|backend| backend.serves.is_none());
            conversing
                .filter(|backend| names.contains_key(backend.id.as_str()))
                .map(|backend| backend.quality.score.unwrap_or(0))
                .max()
        };
        // A tier that nobody here reaches is not the key's to miss.
        let (best, best_of_all) = (best_of(&models), best_of(&market.models(|_| true)));
        let chosen = |tier: Option<QualityTier>| {
            let floor = tier.map_or(0, Quality::floor_of);
            best.is_some_and(|best| best >= floor) || best_of_all.is_none_or(|best| best < floor)
        };
        let autos = [None].into_iter().chain(QualityTier::ALL.map(Some)).filter(|tier| chosen(*tier));
        let autos = autos.map(|tier| tier.map_or_else(|| "auto".to_owned(), |tier| format!("auto:{}", tier.word())));
        let leads = |name: &&String| match route::resolve(name, &market.snapshot, &in_force.settings.aliases) {
            Ok(Target::Auto(tier)) => chosen(tier),
            Ok(target) => serving(market, &target).into_iter().any(|backend| models.contains_key(backend.id.as_str())),
            Err(_) => false,
        };
        let aliases = in_force.settings.aliases.keys().filter(leads).cloned();
        let mut listed: Vec<ListedModel> = autos.chain(aliases).map(|id| one(&id, "tokenbroker")).collect();
        listed.extend(models.into_iter().map(|(name, owner)| one(name, owner)));
        listed
    }

    /// The names near one that is not served.
    pub fn unknown(&self, name: &str) -> UnknownModel {
        let in_force = self.in_force.load();
        match route::resolve(name, &in_force.market.snapshot, &in_force.settings.aliases) {
            Err(unknown) => unknown,
            // Known to the table, but nobody who serves it can be reached.
            Ok(_) => UnknownModel { name: name.to_owned(), near: Vec::new() },
        }
    }
}

fn one(id: &str, owner: &str) -> ListedModel {
    ListedModel { id: id.to_owned(), owned_by: owner.to_owned(), created: 0 }
}
