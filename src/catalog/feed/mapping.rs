//! From a feed's names to backends of the table: the same id, or the one that the operator's map gives; never a likeness.
//! A price on the wrong backend is worse than none.

use std::collections::BTreeMap;

use super::proposal::Proposal;
use super::reason::Reason;
use crate::catalog::{Backend, Snapshot};

/// What a feed calls the table's providers, where it is not what the table calls them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// The feed's provider id to the table's. [`super::proposal::NO_PROVIDER`] for a list that names none.
    pub providers: BTreeMap<String, String>,
}

impl Mapping {
    /// The backend that a proposal is for: of its provider, by the name on the wire, else by the model's name, else by an
    /// alias; each exactly.
    pub fn find<'t>(&self, table: &'t Snapshot, proposal: &Proposal) -> Result<&'t Backend, Reason> {
        let id = self.providers.get(&proposal.provider).unwrap_or(&proposal.provider);
        let provider = table.providers().iter().find(|p| p.id == *id).ok_or(Reason::UnknownProvider)?;
        let name = &proposal.model;
        let of_provider = || table.backends().iter().filter(|b| b.provider == provider.index);
        let by_name: [&dyn Fn(&&Backend) -> bool; 3] =
            [&|b| b.upstream_model == *name, &|b| b.model == *name, &|b| b.aliases.contains(name)];
        for goes_by in by_name {
            let found: Vec<&Backend> = of_provider().filter(goes_by).collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(one),
                several => return Err(Reason::Ambiguous(several.len())),
            }
        }
        Err(Reason::UnknownModel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::proposal::{Kind, NO_PROVIDER};
    use super::super::testing::{TABLE, proposal};
    use super::*;

    fn check(map: &[(&str, &str)], provider: &str, model: &str, expected: &Result<&str, Reason>) {
        let providers = map.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let found = Mapping { providers }.find(&TABLE, &proposal(provider, model, &[(Kind::Input, "1")]));
        assert_eq!(&found.map(|b| b.id.as_str()), expected, "{provider}/{model} by {map:?}");
    }

    #[test]
    fn a_backend_is_found_by_exact_names_only() {
        check(&[], "east", "plain", &Ok("east/plain"));
        check(&[], "east", "plain-0801", &Ok("east/plain"));
        check(&[], "east", "wire-name", &Ok("east/wire-name"));
        check(&[], "east", "shared", &Err(Reason::Ambiguous(2)));
        check(&[], "east", "shared-a", &Ok("east/shared-a"));
        check(&[], "east", "Plain", &Err(Reason::UnknownModel));
        check(&[], "east", "plain-", &Err(Reason::UnknownModel));
        check(&[], "orient", "plain", &Err(Reason::UnknownProvider));
        check(&[("orient", "east")], "orient", "plain", &Ok("east/plain"));
        check(&[("east", "west")], "east", "plain", &Err(Reason::UnknownModel));
        check(&[(NO_PROVIDER, "west")], NO_PROVIDER, "tiered", &Ok("west/tiered"));
    }
}
