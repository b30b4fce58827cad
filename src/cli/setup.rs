//! Everything a gateway needs before it can run: configuration, table and provider keys, read together so that their
//! problems are told together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use crate::catalog::{Provider, Snapshot};
use crate::config::names::{Known, unknown_names};
use crate::config::{Config, ProviderKeys, provider_keys};
use crate::document::{Place, Problem};
use crate::telemetry::logs;

/// Configuration, table and keys, checked.
#[derive(Debug)]
pub struct Setup {
    /// The configuration's file, where one was named.
    pub config_file: Option<PathBuf>,
    pub config: Config,
    pub snapshot: Snapshot,
    /// By the name of the variable that the table gives (`api_key_env`).
    pub provider_keys: ProviderKeys,
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
        match (&provider.disabled, &provider.api_key_env) {
            (Some(reason), _) => Standing::Disabled(reason),
            (None, None) => Standing::Keyless,
            (None, Some(variable)) if self.provider_keys.contains_key(variable) => Standing::Keyed,
            (None, Some(variable)) => Standing::KeyMissing(variable),
        }
    }

    /// Why a gateway cannot start on this, though nothing is wrong in the files: no provider is on.
    pub fn refusal(&self) -> Option<String> {
        let providers = self.snapshot.providers();
        if providers.iter().any(|provider| self.standing(provider).is_on()) {
            return None;
        }
        let looked_for: BTreeSet<&str> = providers
            .iter()
            .filter_map(|provider| match self.standing(provider) {
                Standing::KeyMissing(variable) => Some(variable),
                Standing::Keyed | Standing::Keyless | Standing::Disabled(_) => None,
            })
            .collect();
        let names = looked_for.into_iter().collect::<Vec<_>>().join(", ");
        let looked =
            if names.is_empty() { "the table has none that is switched on".to_owned() } else { format!("looked for {names}") };
        Some(format!(
            "no provider is on: {looked}.\nSet the key of at least one (NAME=key, or NAME_FILE=path of a file that holds it), \
             or see the gateway at work without any key: tokenbroker demo"
        ))
    }
}

/// Reads everything, or finds every problem of all files and variables at once.
pub fn load(args: &GatewayArgs, environment: &Environment) -> Result<Setup, Vec<Problem>> {
    let environment = args.over(environment);
    let mut problems = Vec::new();
    problems.extend(environment.get(logs::VARIABLE).and_then(|filter| unreadable(filter)));
    let file = args.config.as_deref().and_then(|path| {
        let accepted = "a readable file, by --config or TOKENBROKER_CONFIG; or neither: variables and defaults suffice";
        read(path, accepted).map_err(|problem| problems.push(problem)).ok()
    });
    let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let (config, found) = Config::read(file, &environment);
    problems.extend(found);
    let snapshot = table(&config.providers_file).map_err(|found| problems.extend(found)).ok();
    if let Some(snapshot) = &snapshot {
        problems.extend(unknown_names(file, &environment, &known(snapshot)));
    }
    let names = snapshot.iter().flat_map(Snapshot::providers).filter(|provider| provider.disabled.is_none());
    let (provider_keys, found) = provider_keys(names.filter_map(|provider| provider.api_key_env.as_deref()), &environment);
    problems.extend(found);
    for problem in &mut problems {
        if let Place::Environment { variable } = &problem.place
            && let Some(option) = args.behind(variable)
        {
            problem.place = Place::Option { option: option.to_owned() };
        }
    }
    problems.sort();
    problems.dedup();
    match snapshot {
        Some(snapshot) if problems.is_empty() => Ok(Setup { config_file: args.config.clone(), config, snapshot, provider_keys }),
        _ => Err(problems),
    }
}

/// The same for a command that cannot go on without it: problems and a refusal are told, and the command ends.
pub fn load_or_tell(args: &GatewayArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Result<Setup, Exit>> {
    match load(args, environment) {
        Ok(setup) => Ok(Ok(setup)),
        Err(problems) => {
            for problem in &problems {
                output.note(problem.to_string())?;
            }
            output.note(format!("{}: nothing was started.", counted(problems.len(), "problem")))?;
            Ok(Err(Exit::Problems))
        }
    }
}

/// `1 problem`, `2 problems`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The configuration's file as it is shown to people.
pub fn shown_config(file: Option<&str>) -> String {
    file.map_or_else(|| "no file: defaults and variables (--config FILE reads one)".to_owned(), str::to_owned)
}

fn unreadable(filter: &str) -> Option<Problem> {
    let wrong = logs::readable(filter).err()?.to_string();
    let place = Place::Environment { variable: logs::VARIABLE.to_owned() };
    Some(Problem { place, path: String::new(), wrong, accepted: logs::ACCEPTED.to_owned() })
}

fn table(path: &Path) -> Result<Snapshot, Vec<Problem>> {
    let accepted = "a price and capability table, by --providers, TOKENBROKER__PROVIDERS_FILE__PATH or providers_file.path";
    let (name, text) = read(path, accepted).map_err(|problem| vec![problem])?;
    Snapshot::parse(&name, &text)
}

/// A file's path as it is shown, and its text.
fn read(path: &Path, accepted: &str) -> Result<(String, String), Problem> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let looked = std::path::absolute(path).map_or_else(|_| name.clone(), |path| path.display().to_string());
            let place = Place::File { file: name, line: 1, column: 1 };
            let wrong = format!("cannot read {looked}: {error}");
            Err(Problem { place, path: String::new(), wrong, accepted: accepted.to_owned() })
        }
    }
}

fn known(snapshot: &Snapshot) -> Known<'_> {
    Known {
        providers: snapshot.providers().iter().map(|provider| provider.id.as_str()).collect(),
        regions: snapshot.providers().iter().map(|provider| provider.region.as_str()).collect(),
        backends: snapshot.backends().iter().map(|backend| backend.id.as_str()).collect(),
        models: snapshot.model_names().collect(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::GatewayArgs;
    use crate::cli::args::Environment;
    use std::path::Path;

    /// A table of three providers: one with a key, one without the need of one, one that is off.
    pub(crate) const TABLE: &str = "schema = 1\nversion = \"2026-11-22\"\n\
        [providers.far]\nname = \"Far\"\nbase_url = \"https://far.example/v1\"\ndialect = \"openai-chat\"\napi_key_env = \"FAR_KEY\"\n\
        owner = \"Far\"\njurisdiction = \"US\"\nregion = \"US\"\ncurrency = \"USD\"\nsource = \"test\"\n\
        [providers.near]\nname = \"Near\"\nbase_url = \"http://127.0.0.1:9/v1\"\ndialect = \"openai-chat\"\napi_key_env = \"NEAR_KEY\"\n\
        owner = \"self\"\njurisdiction = \"local\"\nregion = \"local\"\ncurrency = \"USD\"\nsource = \"test\"\n\
        [providers.gone]\nname = \"Gone\"\nbase_url = \"https://gone.example/v1\"\ndialect = \"openai-chat\"\napi_key_env = \"GONE_KEY\"\n\
        owner = \"Gone\"\njurisdiction = \"US\"\nregion = \"US\"\ncurrency = \"USD\"\nsource = \"test\"\ndisabled = \"closed\"\n\
        [[backends]]\nprovider = \"far\"\nmodel = \"m\"\ncontext_tokens = 8000\nmax_output_tokens = 4000\ninput = [\"text\"]\n\
        features = []\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\n\
        [[backends.prices]]\nfrom = 2026-01-02T00:00:00Z\ninput = 1\noutput = 2\nsource = \"a page, 2026-01-02\"\n\
        [[backends]]\nprovider = \"near\"\nmodel = \"m\"\ncontext_tokens = 2000\nmax_output_tokens = 1000\ninput = [\"text\"]\n\
        features = []\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\nfree = true\n";

    /// Arguments that name files with these texts.
    pub(crate) fn args(directory: &Path, config: &str, table: &str) -> GatewayArgs {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        GatewayArgs { config: write("c.toml", config), providers: write("p.toml", table), ..GatewayArgs::default() }
    }

    pub(crate) fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{TABLE, args, environment};
    use super::*;

    #[test]
    fn the_problems_of_both_files_and_of_the_variables_come_together() {
        let directory = tempfile::tempdir().unwrap();
        let config = "[server]\nlisten = \"x\"\n[aliases]\nfast = \"mm\"\n";
        let args = args(directory.path(), config, &TABLE.replace("reasoning = \"never\"", "reasoning = \"nevr\""));
        let problems = load(&args, &environment(&[("TOKENBROKER__LOG__LEVEL", "loud")])).unwrap_err();
        let shown = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in ["c.toml:2:10: server.listen", "p.toml:", "\"nevr\"", "TOKENBROKER__LOG__LEVEL: log.level"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        let args = self::args(directory.path(), config, TABLE);
        let problems = load(&args, &environment(&[("FAR_KEY", "a b")])).unwrap_err();
        let shown = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains("c.toml:4:8: aliases.fast") && shown.contains("FAR_KEY: the key holds"), "{shown}");
        assert!(!shown.contains("a b"), "{shown}");
    }

    #[test]
    fn what_an_option_got_wrong_is_told_by_the_option() {
        let directory = tempfile::tempdir().unwrap();
        let args = GatewayArgs { listen: Some("localhost:8080".into()), ..args(directory.path(), "", TABLE) };
        let problems = load(&args, &environment(&[("TOKENBROKER__SERVER__OPERATIONS_LISTEN", "x")])).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(shown.iter().any(|problem| problem.starts_with("option --listen: server.listen: ")), "{shown:?}");
        assert!(shown.iter().any(|problem| problem.starts_with("environment variable TOKENBROKER__SERVER__OP")), "{shown:?}");
    }

    #[test]
    fn a_misspelt_log_level_is_told_with_everything_else() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path(), "[server]\nopen = 1\n", TABLE);
        let problems = load(&args, &environment(&[("TOKENBROKER_LOG", "inof")])).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().any(|problem| problem.starts_with("environment variable TOKENBROKER_LOG: ")), "{shown:?}");
    }

    #[test]
    fn a_missing_file_is_told_with_where_it_was_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Some(directory.path().join("no.toml"));
        let args = GatewayArgs { config: missing.clone(), providers: missing, ..GatewayArgs::default() };
        let problems = load(&args, &environment(&[])).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|problem| problem.contains("cannot read") && problem.contains("no.toml")), "{shown:?}");
        assert!(shown.iter().any(|problem| problem.contains("--providers")), "{shown:?}");
    }

    #[test]
    fn a_gateway_without_any_provider_says_what_it_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path(), "", TABLE);
        let setup = load(&args, &environment(&[])).unwrap();
        let refusal = setup.refusal().unwrap();
        assert!(refusal.contains("looked for FAR_KEY, NEAR_KEY.") && refusal.contains("tokenbroker demo"), "{refusal}");
        let setup = load(&args, &environment(&[("FAR_KEY", "k")])).unwrap();
        assert_eq!(setup.refusal(), None);
        let standings: Vec<_> = setup.snapshot.providers().iter().map(|provider| setup.standing(provider)).collect();
        assert!(standings.contains(&Standing::Keyed) && standings.contains(&Standing::KeyMissing("NEAR_KEY")));
        assert!(standings.contains(&Standing::Disabled("closed")));
    }
}
