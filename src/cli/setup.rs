//! The set-up of a command that runs a gateway or asks what one would do: from the command line to what
//! [`setup`](crate::setup) reads, and its problems to the terminal.

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::table::flowed;
use crate::document::Problem;
pub use crate::setup::{Idle, Setup, Standing};
use crate::setup::{Reading, Sources};

/// Where the command line says that the set-up lies.
pub fn sources(args: &GatewayArgs, environment: &Environment) -> Sources {
    let variables = args.over(environment);
    let behind = |variable: &String| args.behind(variable).map(|option| (variable.clone(), option));
    let options = variables.keys().filter_map(behind).collect();
    Sources { config: args.config.clone(), variables, options }
}

/// Reads everything, or finds every problem of all files and variables at once.
pub fn load(args: &GatewayArgs, environment: &Environment) -> Result<Setup, Vec<Problem>> {
    sources(args, environment).read(None).setup
}

/// The same for a command that cannot go on without it: problems and a refusal are told, and the command ends.
pub fn load_or_tell(args: &GatewayArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Result<Setup, Exit>> {
    told(sources(args, environment).read(None), output)
}

/// What was read; or its problems are told and the command ends.
pub fn told(reading: Reading, output: &mut Output) -> anyhow::Result<Result<Setup, Exit>> {
    match reading.setup {
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

/// What to do where no provider is on.
pub const REMEDY: &str = "Set the key of one: NAME=key, or NAME_FILE=path of a file that holds it.\n\
    Or see the gateway at work without any key: tokenbroker demo";

/// Why nothing is started where no provider is on, on lines for a terminal of 80 columns, and what to do.
pub fn refusal(idle: &Idle) -> String {
    if !idle.counts() {
        return format!("{idle}.\n{REMEDY}");
    }
    let names = flowed(idle.variables.iter().cloned(), 78).join("\n  ");
    format!("{idle}:\n  {names}\n{REMEDY}\nWhose they are is told by: tokenbroker check")
}

/// `1 problem`, `2 problems`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The configuration's file as it is shown to people.
pub fn shown_config(file: Option<&str>) -> String {
    file.map_or_else(|| "no file: defaults and variables (--config FILE reads one)".to_owned(), str::to_owned)
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
    fn many_variables_are_a_list_that_fits_a_terminal() {
        let variables = (0..30).map(|n| format!("PROVIDER_{n}_API_KEY")).collect();
        let told = refusal(&Idle { variables });
        assert!(told.lines().count() > 5 && told.lines().all(|line| line.len() <= 80), "{told}");
        assert!(
            told.starts_with("no provider is on: looked for 30 variables, and none of them has a value:\n  PROVIDER_0_"),
            "{told}"
        );
        assert!((0..30).all(|n| told.contains(&format!("PROVIDER_{n}_API_KEY"))) && told.contains(REMEDY), "{told}");
    }

    #[test]
    fn a_gateway_without_any_provider_says_what_it_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path(), "", TABLE);
        let setup = load(&args, &environment(&[])).unwrap();
        let refusal = refusal(&setup.idle().unwrap());
        assert!(refusal.contains("looked for FAR_KEY, NEAR_KEY.") && refusal.contains("tokenbroker demo"), "{refusal}");
        let setup = load(&args, &environment(&[("FAR_KEY", "k")])).unwrap();
        assert_eq!(setup.idle(), None);
        let standings: Vec<_> = setup.snapshot.providers().iter().map(|provider| setup.standing(provider)).collect();
        assert!(standings.contains(&Standing::Keyed) && standings.contains(&Standing::KeyMissing("NEAR_KEY")));
        assert!(standings.contains(&Standing::Disabled("closed")));
    }
}
