//! What a reload changed, for the log and for whoever asked: counts and names, no prices and no secrets.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::catalog::{Backend, Snapshot};
use crate::config::{Config, GatewayKey};

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

fn names(config: &Config) -> BTreeSet<&str> {
    config.keys.iter().map(|key: &GatewayKey| key.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::KeyLimits;
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
        let key =
            |name: &&str| GatewayKey { name: KeyName::new(name), sha256: [0; 32], limits: KeyLimits::default(), budget: None };
        Config { keys: names.iter().map(key).collect(), ..Config::default() }
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
