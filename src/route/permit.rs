//! Whether a provider may be asked at all and a key may have a model: what key and request say of whom to ask, and of what becomes
//! of the data. The figures of a request have no part in it, so the same rules tell which models a key can be shown.

use super::adequate::Unfit;
use super::ask::Ask;
use super::facts::{Facts, Limits};
use super::needs::Needs;
use crate::canonical::DataRules;
use crate::catalog::{Backend, Provider, Quality};
use crate::units::glob;

/// Whether a key may have a backend in any request: the first of its limits that forbids it.
pub fn open_to(backend: &Backend, provider: &Provider, limits: &Limits) -> Result<(), Unfit> {
    allowed(provider, &[Lists::of_key(limits)])?;
    may_have(backend, limits)?;
    compliant(provider, limits.data_rules())?;
    // No figure tells how good vectors are.
    let floor = limits.quality.filter(|_| backend.serves.is_none()).map_or(0, Quality::floor_of);
    let score = backend.quality.score;
    if score.unwrap_or(0) < floor { Err(Unfit::BelowQuality { score, floor }) } else { Ok(()) }
}

/// Whether a provider may be asked.
pub fn permitted(provider: &Provider, needs: &Needs, facts: &Facts<'_>) -> Result<(), Unfit> {
    allowed(provider, &[Lists::of_key(facts.limits), Lists::of_request(facts.ask)])?;
    compliant(provider, needs.data)
}

/// Whether nothing is said of whom to ask: then everybody is [`permitted`], and nobody leaves out what must not be.
pub fn anybody(needs: &Needs, facts: &Facts<'_>) -> bool {
    let (limits, wishes) = (facts.limits, facts.ask);
    let lists = [
        &limits.providers,
        &limits.excluded_providers,
        &limits.regions,
        &limits.jurisdictions,
        &wishes.providers,
        &wishes.excluded_providers,
        &wishes.regions,
        &wishes.jurisdictions,
    ];
    needs.data == DataRules::default()
        && wishes.unsaid.is_empty()
        && !wishes.other_words_only
        && limits.models.is_empty()
        && lists.iter().all(|list| list.is_empty())
}

/// Whether a key may have its model.
pub(super) fn may_have(backend: &Backend, limits: &Limits) -> Result<(), Unfit> {
    let says = |pattern: &String| glob::matches(pattern, &backend.model) || glob::matches(pattern, backend.id.as_str());
    let listed = |list: &Vec<String>| list.iter().any(says);
    if limits.models.iter().all(listed) { Ok(()) } else { Err(Unfit::ModelNotAllowed) }
}

/// Whose lists a provider must be on.
struct Lists<'l> {
    providers: &'l [String],
    excluded: &'l [String],
    regions: &'l [String],
    jurisdictions: &'l [String],
}

impl<'l> Lists<'l> {
    fn of_key(limits: &'l Limits) -> Self {
        let Limits { providers, excluded_providers: excluded, regions, jurisdictions, .. } = limits;
        Self { providers, excluded, regions, jurisdictions }
    }

    fn of_request(ask: &'l Ask) -> Self {
        let Ask { providers, excluded_providers: excluded, regions, jurisdictions, .. } = ask;
        Self { providers, excluded, regions, jurisdictions }
    }
}

fn allowed(provider: &Provider, all: &[Lists<'_>]) -> Result<(), Unfit> {
    let outside = |list: &[String], value: &String| !list.is_empty() && !list.contains(value);
    let broken = |breaks: &dyn Fn(&Lists<'_>) -> bool, unfit| if all.iter().any(breaks) { Err(unfit) } else { Ok(()) };
    broken(&|lists| outside(lists.providers, &provider.id), Unfit::ProviderNotAllowed)?;
    broken(&|lists| lists.excluded.contains(&provider.id), Unfit::ProviderExcluded)?;
    broken(&|lists| outside(lists.regions, &provider.region), Unfit::OutsideRegions)?;
    broken(&|lists| outside(lists.jurisdictions, &provider.jurisdiction), Unfit::OutsideJurisdictions)
}

/// What becomes of the data, as far as it is known: where nobody says, the answer is no.
fn compliant(provider: &Provider, rules: DataRules) -> Result<(), Unfit> {
    if rules.no_training && provider.trains_on_data != Some(false) {
        return Err(Unfit::TrainsOnData);
    }
    let kept = provider.retention;
    match rules.max_retention_days {
        Some(most) if !kept.is_some_and(|kept| kept.within(most)) => return Err(Unfit::RetainsData { kept, most }),
        Some(_) | None => {}
    }
    if rules.registered && provider.registered != Some(true) {
        return Err(Unfit::NotRegistered);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::canonical::QualityTier;

    /// What the limits of a key, as `change` makes them, say of `north/mist`.
    fn check(change: impl FnOnce(&mut Limits), expected: Result<(), &str>) {
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        change(&mut case.limits);
        let told = case.with_facts(|facts| {
            let backend = &facts.snapshot.backends()[0];
            open_to(backend, facts.snapshot.provider_of(backend), facts.limits).map_err(Unfit::word)
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_key_is_open_to_what_none_of_its_limits_forbids() {
        let lists = |lists: &[&[&str]]| {
            let list = |list: &&[&str]| list.iter().map(|item| (*item).to_owned()).collect();
            lists.iter().map(list).collect::<Vec<Vec<String>>>()
        };
        check(|_| {}, Ok(()));
        check(|l| l.models = lists(&[&["fog", "mist"], &["north/*"]]), Ok(()));
        check(|l| l.models = lists(&[&["fog", "mist"], &["south/*"]]), Err("model_not_allowed"));
        check(|l| l.providers = vec!["south".into()], Err("provider_not_allowed"));
        check(|l| l.excluded_providers = vec!["north".into()], Err("provider_excluded"));
        check(|l| l.regions = vec!["nowhere".into()], Err("outside_regions"));
        check(|l| l.jurisdictions = vec!["nowhere".into()], Err("outside_jurisdictions"));
        check(|l| l.quality = Some(QualityTier::Premium), Err("below_quality"));
    }
}
