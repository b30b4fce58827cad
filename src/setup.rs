//! Everything a gateway needs before it can run: configuration, table and keys, read together so that their problems are
//! told together. The start, every reload and the commands that only ask read through here, so that none of them can
//! accept what another one refuses.
//!
//! What was read is handed out with how each file looked just before ([`Looks`]): whoever wants to know later whether
//! something has changed compares with that, and a change during the reading is not missed. Nothing here decides what a
//! change means.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use self::looks::{Looks, Watch};
use crate::catalog::{Provider, Snapshot};
use crate::config::files;
use crate::config::keys::hash_files;
use crate::config::names::{Known, unknown_names};
use crate::config::restart::needing_restart;
use crate::config::secret::{self, is_set, key_file, purposes};
use crate::config::stores::{POSTGRES_PASSWORD, REDIS_PASSWORD};
use crate::config::{Config, ProviderKeys, Purpose, provider_keys};
use crate::document::{Place, Problem, in_order};
use crate::telemetry::logs;

/// Where a set-up is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration's file, where one is named.
    pub config: Option<PathBuf>,
    /// The variables of the process, with the options of the command line laid over them.
    pub variables: BTreeMap<String, String>,
    /// By variable, the option that was laid over it, as it is typed: problems are told by it.
    pub options: BTreeMap<String, &'static str>,
}

/// What was read, and from which files.
#[derive(Debug)]
pub struct Reading {
    /// Checked, or every problem in the order of the files.
    pub setup: Result<Setup, Vec<Problem>>,
    /// Every file that was wanted, also one that could not be read.
    pub looks: Looks,
}

/// Configuration, table and keys, checked.
#[derive(Debug)]
pub struct Setup {
    /// The configuration's file, where one was named.
    pub config_file: Option<PathBuf>,
    pub config: Config,
    pub snapshot: Snapshot,
    /// By the name of the variable that the table gives (`api_key_env`, `sigv4`, `placeholders`).
    pub provider_keys: ProviderKeys,
    /// What is wrong with variables of providers that are off for want of a key: worth knowing, and nothing depends on it.
    pub unused: Vec<Problem>,
}

/// Whether a provider can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'s> {
    /// It has its key.
    Keyed,
    /// It needs no key.
    Keyless,
    /// This variable is not set, nor the file that its name with `_FILE` would point to.
    KeyMissing(&'s str),
    /// The same of this one, which holds what belongs at a place of its address.
    PlaceMissing(&'s str),
    /// The table switches it off, for this reason.
    Disabled(&'s str),
}

impl Standing<'_> {
    pub fn is_on(self) -> bool {
        matches!(self, Standing::Keyed | Standing::Keyless)
    }
}

impl Setup {
    /// Whether a provider of the table can be called.
    pub fn standing<'s>(&self, provider: &'s Provider) -> Standing<'s> {
        let has = |variable: &str| self.provider_keys.contains_key(variable);
        match (&provider.disabled, provider.key_missing(has), provider.place_missing(has)) {
            (Some(reason), ..) => Standing::Disabled(reason),
            (None, Some(variable), _) => Standing::KeyMissing(variable),
            (None, None, Some(variable)) => Standing::PlaceMissing(variable),
            (None, None, None) if provider.api_key_env.is_none() && provider.signing.is_none() => Standing::Keyless,
            (None, None, None) => Standing::Keyed,
        }
    }

    /// What is worth knowing at an instant, though nothing is wrong.
    pub fn warnings(&self, at: Timestamp) -> Vec<String> {
        let idle = |problem: &Problem| format!("{problem} (nothing depends on it: the provider has no key)");
        self.snapshot.warnings(at).into_iter().chain(self.unused.iter().map(idle)).collect()
    }

    /// Why no gateway can run on this, though nothing is wrong in the files: no provider is on.
    pub fn idle(&self) -> Option<Idle> {
        let providers = self.snapshot.providers();
        if providers.iter().any(|provider| self.standing(provider).is_on()) {
            return None;
        }
        let looked_for = providers.iter().filter_map(|provider| match self.standing(provider) {
            Standing::KeyMissing(variable) | Standing::PlaceMissing(variable) => Some(variable.to_owned()),
            Standing::Keyed | Standing::Keyless | Standing::Disabled(_) => None,
        });
        Some(Idle { variables: looked_for.collect() })
    }
}

/// No provider of a set-up is on. Shown it is one sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// The variables of keys and addresses that were looked for; none where the table switches every provider off.
    pub variables: BTreeSet<String>,
}

impl Idle {
    /// More names than this make a sentence unreadable: it counts them.
    const NAMED: usize = 4;

    /// Whether the sentence counts the variables, so that their names have to be told otherwise.
    pub fn counts(&self) -> bool {
        self.variables.len() > Self::NAMED
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no provider is on: ")?;
        match self.variables.len() {
            0 => f.write_str("the table has none that is switched on"),
            count if self.counts() => write!(f, "looked for {count} variables, and none of them has a value"),
            _ => write!(f, "looked for {}", self.variables.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Sources {
    /// Reads everything, or finds every problem of all files and variables at once. `running` is the configuration of a
    /// gateway that is to go on with what is read: what it cannot change without a restart is a problem then.
    pub fn read(&self, running: Option<&Config>) -> Reading {
        let mut looks = Looks::default();
        let setup = self.everything(running, &mut looks);
        Reading { setup, looks }
    }

    fn everything(&self, running: Option<&Config>, looks: &mut Looks) -> Result<Setup, Vec<Problem>> {
        let variables = &self.variables;
        let mut problems = Vec::new();
        problems.extend(variables.get(logs::VARIABLE).and_then(|filter| unreadable(filter)));
        let file = self.config.as_deref().and_then(|path| {
            let accepted = "a readable file, by --config or TOKENBROKER_CONFIG; or neither: variables and defaults suffice";
            read(path, accepted, looks).map_err(|problem| problems.push(problem)).ok()
        });
        let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
        for path in hash_files(file, variables) {
            looks.note(&path);
        }
        let (config, found) = Config::read(file, variables);
        // Beside wrong values stand their defaults, of which nobody asked for a restart.
        if let Some(running) = running.filter(|_| found.is_empty()) {
            problems.extend(needing_restart(file, variables, running, &config));
        }
        problems.extend(found);
        let snapshot = table(&config.providers_file, looks).map_err(|found| problems.extend(found)).ok();
        if let Some(snapshot) = &snapshot {
            problems.extend(unknown_names(file, variables, &known(snapshot)));
        }
        let (mut provider_keys, found, unused) = self.keys_for(snapshot.as_ref(), looks);
        problems.extend(found);
        let stores = [(config.fleet.postgres.is_some(), POSTGRES_PASSWORD), (config.fleet.redis.is_some(), REDIS_PASSWORD)];
        let passwords = stores.into_iter().filter(|(named, _)| *named).map(|(_, variable)| (variable, Purpose::Key));
        let (passwords, found) = secret::provider_keys(passwords, variables);
        provider_keys.extend(passwords);
        problems.extend(found);
        match snapshot {
            Some(snapshot) if problems.is_empty() => {
                Ok(Setup { config_file: self.config.clone(), config, snapshot, provider_keys, unused })
            }
            _ => Err(self.told(problems)),
        }
    }

    /// What was found; what is wrong; and what is wrong where nothing depends on it.
    fn keys_for(&self, snapshot: Option<&Snapshot>, looks: &mut Looks) -> (ProviderKeys, Vec<Problem>, Vec<Problem>) {
        let on = snapshot.into_iter().flat_map(Snapshot::providers).filter(|provider| provider.disabled.is_none());
        let has_key = |provider: &&Provider| provider.key_missing(|variable| is_set(variable, &self.variables)).is_none();
        let (keyed, keyless): (Vec<&Provider>, Vec<&Provider>) = on.partition(has_key);
        let names: BTreeSet<(&str, Purpose)> = keyed.into_iter().flat_map(purposes).collect();
        let idle: BTreeSet<(&str, Purpose)> =
            keyless.into_iter().flat_map(purposes).filter(|name| !names.contains(name)).collect();
        for path in names.iter().chain(&idle).filter_map(|(name, _)| key_file(name, &self.variables)) {
            looks.note(Path::new(path));
        }
        let (mut keys, problems) = provider_keys(names, &self.variables);
        let (more, warnings) = provider_keys(idle, &self.variables);
        keys.extend(more);
        (keys, problems, warnings)
    }

    /// The problems in the order of the files, those of an option by the option.
    fn told(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        for problem in &mut problems {
            if let Place::Environment { variable } = &problem.place
                && let Some(option) = self.options.get(variable)
            {
                problem.place = Place::Option { option: (*option).to_owned() };
            }
        }
        in_order(problems)
    }
}

fn unreadable(filter: &str) -> Option<Problem> {
    let wrong = logs::readable(filter).err()?.to_string();
    let place = Place::Environment { variable: logs::VARIABLE.to_owned() };
    Some(Problem { place, path: String::new(), wrong, accepted: logs::ACCEPTED.to_owned() })
}

fn table(path: &Path, looks: &mut Looks) -> Result<Snapshot, Vec<Problem>> {
    let accepted = "a price and capability table: start where providers.toml lies, or name it by --providers FILE, \
        TOKENBROKER__PROVIDERS_FILE__PATH or providers_file.path";
    let (name, text) = read(path, accepted, looks).map_err(|problem| vec![problem])?;
    Snapshot::parse(&name, &text)
}

/// A file's path as it is shown, and its text.
fn read(path: &Path, accepted: &str, looks: &mut Looks) -> Result<(String, String), Problem> {
    looks.note(path);
    let name = path.display().to_string();
    match files::text(path, files::MOST_TEXT) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let looked = std::path::absolute(path).map_or_else(|_| name.clone(), |path| path.display().to_string());
            let place = Place::Unread { file: name };
            let wrong = format!("cannot read {looked}: {error}");
            Err(Problem { place, path: String::new(), wrong, accepted: accepted.to_owned() })
        }
    }
}

/// What a table knows by names.
pub fn known(snapshot: &Snapshot) -> Known<'_> {
    Known {
        providers: snapshot.providers().iter().map(|provider| provider.id.as_str()).collect(),
        jurisdictions: snapshot.providers().iter().map(|provider| provider.jurisdiction.as_str()).collect(),
        owners: snapshot.providers().iter().map(|provider| provider.owner.as_str()).collect(),
        regions: snapshot.providers().iter().map(|provider| provider.region.as_str()).collect(),
        backends: snapshot.backends().iter().map(|backend| backend.id.as_str()).collect(),
        models: snapshot.model_names().collect(),
    }
}
