//! What a reload changed, for the log and for whoever asked: counts and names, no prices and no secrets.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::catalog::{Backend, Provider, Snapshot};
use crate::config::{Config, Deployments, GatewayKey, ProviderKeys};
use crate::units::BackendId;

/// The differences between what was in force and what is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    /// The table's version before; the same as now where only the configuration or a key changed.
    pub version_before: String,
    pub backends_added: usize,
    pub backends_removed: usize,
    /// Backends of both tables whose prices differ.
    pub prices_changed: usize,
    pub keys_added: Vec<String>,
    pub keys_removed: Vec<String>,
}

impl Changes {
    pub(super) fn between(before: (&Config, &Snapshot), after: (&Config, &Snapshot)) -> Self {
        let (old, new) = (before.1, after.1);
        let missing = |from: &Snapshot, backend: &&Backend| from.backend_named(backend.id.as_str()).is_none();
        let repriced = |backend: &&Backend| {
            old.backend_named(backend.id.as_str()).is_some_and(|was| was.prices != backend.prices || was.free != backend.free)
        };
        let (had, has) = (names(before.0), names(after.0));
        let only = |one: &BTreeSet<&str>, other: &BTreeSet<&str>| one.difference(other).map(|name| (*name).to_owned()).collect();
        Self {
            version_before: old.version.clone(),
            backends_added: new.backends().iter().filter(|backend| missing(old, backend)).count(),
            backends_removed: old.backends().iter().filter(|backend| missing(new, backend)).count(),
            prices_changed: new.backends().iter().filter(repriced).count(),
            keys_added: only(&has, &had),
            keys_removed: only(&had, &has),
        }
    }
}

/// What says how backends are reached.
pub(super) struct Reached<'r> {
    pub(super) keys: &'r ProviderKeys,
    pub(super) deployments: &'r Deployments,
    pub(super) table: &'r Snapshot,
}

/// The backends of both tables that are reached by another address or with another key now: what is known of how they fare
/// does not hold for them.
pub(super) fn reached_otherwise(before: &Reached<'_>, after: &Reached<'_>) -> Vec<BackendId> {
    let (old, new) = (before.table, after.table);
    let same_value = |was: &str, is: &str| match (before.keys.get(was), after.keys.get(is)) {
        (Some(was), Some(is)) => was.is_same(is),
        (was, is) => was.is_none() && is.is_none(),
    };
    let same = |was: &Provider, is: &Provider| {
        was.variables().count() == is.variables().count()
            && was.variables().zip(is.variables()).all(|(was, is)| same_value(was, is))
            && was.query == is.query
            && was.base_url == is.base_url
            && was.auth == is.auth
            && was.signing == is.signing
            && was.more_endpoints == is.more_endpoints
            && was.extra_headers == is.extra_headers
            && was.dialect == is.dialect
    };
    let otherwise = |backend: &&Backend| {
        let was = old.backend_named(backend.id.as_str());
        was.is_some_and(|was| {
            !same(old.provider_of(was), new.provider_of(backend))
                || was.upstream_model != backend.upstream_model
                || before.deployments.get(was.id.as_str()) != after.deployments.get(backend.id.as_str())
        })
    };
    new.backends().iter().filter(otherwise).map(|backend| backend.id.clone()).collect()
}

fn names(config: &Config) -> BTreeSet<&str> {
    config.keys.iter().map(|key: &GatewayKey| key.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Means, Secret};
    use crate::units::KeyName;

    fn table(backends: &[(&str, &str)]) -> Snapshot {
        let provider = "schema = 1\nversion = \"t\"\n[providers.p]\nname = \"P\"\nbase_url = \"https://p.example/v1\"\n\
            dialect = \"openai-chat\"\napi_key_env = \"P_KEY\"\nowner = \"P\"\njurisdiction = \"US\"\nregion = \"US\"\n\
            currency = \"USD\"\nsource = \"test\"\n";
        let rows = backends.iter().map(|(model, price)| {
            format!(
                "[[backends]]\nprovider = \"p\"\nmodel = \"{model}\"\ncontext_tokens = 8000\nmax_output_tokens = 4000\n\
                 features = []\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\n\
                 [[backends.prices]]\ninput = {price}\noutput = 2\nsource = \"test\"\n"
            )
        });
        Snapshot::parse("t.toml", &(provider.to_owned() + &rows.collect::<String>())).unwrap()
    }

    fn keys(names: &[&str]) -> Config {
        let key = |name: &&str| GatewayKey {
            name: KeyName::new(name),
            sha256: [0; 32],
            also: None,
            shut: false,
            team: None,
            project: None,
            tags: Vec::new(),
            means: Means::default(),
        };
        Config { keys: names.iter().map(key).collect(), ..Config::default() }
    }

    #[test]
    fn another_address_or_key_is_told_from_the_same_one() {
        fn named<'r>((keys, table): (&'r ProviderKeys, &'r Snapshot), deployments: &'r Deployments) -> Reached<'r> {
            Reached { keys, deployments, table }
        }
        let keys = |key: &str| ProviderKeys::from([("P_KEY".to_owned(), Secret::new(key.into()))]);
        let base = [("a", "1"), ("b", "1")];
        let moved = |text: &str, to: &str| Snapshot::parse("t.toml", &table(&base).text.replace(text, to)).unwrap();
        let none = Deployments::new();
        let check = |before: (&ProviderKeys, &Snapshot), after: (&ProviderKeys, &Snapshot), expected: &[&str]| {
            let found = reached_otherwise(&named(before, &none), &named(after, &none));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        let (one, old) = (keys("one"), table(&base));
        check((&one, &old), (&one, &table(&[("a", "3"), ("c", "1")])), &[]);
        check((&one, &old), (&keys("two"), &old), &["p/a", "p/b"]);
        check((&ProviderKeys::new(), &old), (&one, &old), &["p/a", "p/b"]);
        check((&ProviderKeys::new(), &old), (&ProviderKeys::new(), &old), &[]);
        check((&one, &old), (&one, &moved("p.example/v1", "q.example/v1")), &["p/a", "p/b"]);
        let placed = moved("https://p.example/v1\"", "https://{place}.example/v1\"\nplaceholders = { place = \"P_PLACE\" }");
        let at = |place: &str| keys("one").into_iter().chain([("P_PLACE".to_owned(), Secret::new(place.into()))]).collect();
        let (here, there): (ProviderKeys, ProviderKeys) = (at("here"), at("there"));
        check((&here, &placed), (&here, &placed), &[]);
        check((&here, &placed), (&there, &placed), &["p/a", "p/b"]);
        let deployed = Deployments::from([("p/a".to_owned(), "mine".to_owned())]);
        let found = reached_otherwise(&named((&one, &old), &none), &named((&one, &old), &deployed));
        assert_eq!(found.iter().map(BackendId::as_str).collect::<Vec<_>>(), ["p/a"]);
    }

    #[test]
    fn what_came_went_and_costs_another_price_is_counted() {
        let (old, new) = (table(&[("a", "1"), ("b", "1"), ("c", "1")]), table(&[("b", "1"), ("c", "2"), ("d", "1"), ("e", "1")]));
        let changes = Changes::between((&keys(&["web", "old"]), &old), (&keys(&["new", "web"]), &new));
        assert_eq!((changes.backends_added, changes.backends_removed, changes.prices_changed), (2, 1, 1));
        assert_eq!((changes.keys_added, changes.keys_removed), (vec!["new".to_owned()], vec!["old".to_owned()]));
        assert_eq!(changes.version_before, old.version);
    }
}
