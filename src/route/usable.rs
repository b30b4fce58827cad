//! The backends of a table, parted by what no request can change: those that the table switches off or whose provider
//! has no key, and the others. Made once for a table and its keys, so that a decision looks at the usable ones only: with
//! three keys most rows of a large table are of no use to anybody, and their refusals are the same every time.
//!
//! It knows nothing of health, which comes and goes, nor of what a gateway key allows.

use std::sync::Arc;

use super::adequate::{Unfit, barred};
use super::facts::Availability;
use super::rule::{Rule, Tally};
use crate::catalog::{BackendIndex, Provider, ProviderIndex, Snapshot};

/// Who can be asked at all with this table and these keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usable {
    /// By [`ProviderIndex`]; a provider beyond its end has no key.
    availability: Vec<Availability>,
    ready: Vec<BackendIndex>,
    barred: Arc<Barred>,
}

impl Usable {
    /// Parts a table. `availability` is by provider index.
    pub fn of(snapshot: &Snapshot, availability: Vec<Availability>) -> Self {
        let mut usable = Self { availability, ..Self::default() };
        let mut rows = Vec::new();
        for backend in snapshot.backends() {
            let provider = snapshot.provider_of(backend);
            match barred(backend, provider, usable.availability_of(provider)) {
                Ok(()) => usable.ready.push(backend.index),
                Err(unfit) => rows.push((backend.index, unfit)),
            }
        }
        let counts = rows.iter().map(|(_, unfit)| unfit.rule()).collect();
        usable.barred = Arc::new(Barred { rows, counts });
        usable
    }

    /// Whether a provider can be called at all; one that nobody spoke of cannot.
    pub fn availability_of(&self, provider: &Provider) -> Availability {
        let ProviderIndex(n) = provider.index;
        self.availability.get(n as usize).copied().unwrap_or(Availability::NoKey)
    }

    /// Whether each provider can be called, by its index.
    pub(super) fn availability(&self) -> &[Availability] {
        &self.availability
    }

    /// The backends that can be asked, in the order of the table.
    pub fn ready(&self) -> &[BackendIndex] {
        &self.ready
    }

    /// What is left out of every decision for any backend, shared by all of them.
    pub(super) const fn barred(&self) -> &Arc<Barred> {
        &self.barred
    }
}

/// Backends that no request can have, in the order of the table, and how often each rule excludes them.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Barred {
    rows: Vec<(BackendIndex, Unfit)>,
    counts: Tally,
}

/// Every backend that was considered and is no candidate: how often each rule excluded one, and, where a decision is to be
/// explained, which one and why. Most decisions are told by the counts alone, and most rows of a large table are refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rejected {
    /// Of all of them.
    counts: Tally,
    told: Option<Told>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Told {
    /// Absent where the request named a model or a backend.
    barred: Option<Arc<Barred>>,
    own: Vec<(BackendIndex, Unfit)>,
}

impl Rejected {
    /// Nothing yet but what is barred. With `told` it keeps each backend with its reason.
    pub(super) fn beside(barred: Option<&Arc<Barred>>, told: bool) -> Self {
        let counts = barred.map_or_else(Tally::default, |barred| barred.counts);
        Self { counts, told: told.then(|| Told { barred: barred.cloned(), own: Vec::new() }) }
    }

    /// Counts a backend; its reason is asked for only where it is kept.
    pub(super) fn refuse(&mut self, backend: BackendIndex, rule: Rule, why: impl FnOnce() -> Option<Unfit>) {
        self.counts.add(rule);
        if let Some(told) = &mut self.told {
            told.own.extend(why().map(|unfit| (backend, unfit)));
        }
    }

    pub(super) fn push(&mut self, backend: BackendIndex, unfit: Unfit) {
        self.refuse(backend, unfit.rule(), || Some(unfit));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.counts.count()
    }

    /// All of them with their reasons, in the order of the table where any backend was considered, else in the order they were
    /// looked at; nobody where reasons were not kept.
    pub fn all(&self) -> Vec<(BackendIndex, Unfit)> {
        let Some(Told { barred, own }) = &self.told else { return Vec::new() };
        let mut all = [barred.as_ref().map_or(&[][..], |barred| &barred.rows), own].concat();
        if barred.is_some() {
            all.sort_by_key(|(index, _)| *index);
        }
        all
    }

    /// How often each rule excluded a backend: the most frequent first, then by word.
    pub fn tally(&self) -> Vec<(&'static str, usize)> {
        self.counts.words()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::canonical::Feature;

    /// `north` has its key, `south` none, `north/off` is switched off and `north/deaf` cannot what is asked.
    fn case() -> Case {
        let ids = ["south/a", "north/off", "north/b", "south/c", "north/deaf"];
        let mut case = Case::of(ids.map(Spec::named).to_vec());
        case.keyless = vec!["south".into()];
        case.specs[1].disabled = true;
        case.request.features = [Feature::Tools].into_iter().collect();
        case.specs[2].features = case.request.features;
        case
    }

    #[test]
    fn what_no_request_can_have_is_explained_all_the_same() {
        let (snapshot, plan) = case().plan();
        let plan = plan.unwrap();
        let rejected = plan.rejected.all();
        let told: Vec<String> =
            rejected.iter().map(|(index, unfit)| format!("{} {}", snapshot.backend(*index).id, unfit.word())).collect();
        assert_eq!(told, ["south/a no_key", "north/off disabled", "south/c no_key", "north/deaf missing_features"]);
        assert_eq!(plan.rejected.tally(), [("no_key", 2), ("disabled", 1), ("missing_features", 1)]);
        assert_eq!(plan.rejected.count(), 4);
    }

    #[test]
    fn only_the_others_are_ready() {
        let ready = case().with_facts(|facts| facts.usable.ready().to_vec());
        assert_eq!(ready, [BackendIndex(2), BackendIndex(4)]);
    }

    #[test]
    fn a_named_model_is_refused_for_the_same_reasons() {
        let mut case = case();
        for (target, rule) in [("south/a", Unfit::NoKey), ("north/off", Unfit::Disabled)] {
            case.target = target.into();
            assert_eq!(case.unfit(target), Some(rule), "{target}");
        }
    }
}
