//! What can be typed. The help texts are the command line's reference; an option that is also a setting is laid over the
//! configuration as its variable would be, so that one set of checks serves both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use super::output::{Exit, Output};
use super::{
    budgets, check, count, demo, export, health, keys, ledger, prices, reconcile, report, route, sandbox, serve, settings,
    simulate, top,
};
use crate::config::Config;
use crate::config::load::PREFIX;

/// The variables of this process, as far as commands may read them.
pub type Environment = BTreeMap<String, String>;

/// Takes the variables of this process. What is not UTF-8 is kept with replacement characters, so that it is refused
/// where it matters instead of being overlooked.
pub fn environment() -> Environment {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

// One line per paragraph: clap wraps them to the terminal.
const LONG_ABOUT: &str = "\
An OpenAI-compatible gateway that sends each request to the cheapest adequate LLM provider and keeps exact books.

It reads a table of prices and capabilities (providers.toml) and, where you want one, a configuration. \
A provider is switched on by its key, under the name that the table gives: DEEPSEEK_API_KEY=key, \
or DEEPSEEK_API_KEY_FILE=path of a file that holds it.";

const AFTER_HELP: &str = "\
Examples:
  tokenbroker demo
  DEEPSEEK_API_KEY=... tokenbroker serve
  tokenbroker check --config config/tokenbroker.toml
  tokenbroker route --all-providers request.json
  tokenbroker prices --model 'qwen3*' --sort output
  tokenbroker report --days 7 --by provider,model
  tokenbroker keys new team

Exit codes:
  0  it worked
  1  it failed
  2  the command line is wrong
  3  the configuration or the table has problems; each is printed
  4  no backend can serve the request (route)

Settings come from --config FILE (or TOKENBROKER_CONFIG=FILE; no file is read unasked) and from variables, which win: \
TOKENBROKER__SERVER__LISTEN sets server.listen. \
TOKENBROKER_LOG sets what is logged (info, debug, or filters by module).";

const ROUTE_EXAMPLES: &str = "\
Examples:
  tokenbroker route request.json
  tokenbroker route --all-providers < request.json

A request.json to begin with:
  {\"model\": \"auto\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";

/// An OpenAI-compatible gateway that sends each request to the cheapest adequate LLM provider and keeps exact books.
#[derive(Debug, Parser)]
#[command(name = "tokenbroker", version, long_about = LONG_ABOUT, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the gateway at work before pretend providers: no key, no network.
    ///
    /// Sends real requests through a real gateway, and shows for each which backend won, what it cost, what others would
    /// have cost and why the rest were left out. Then it serves until Ctrl-C.
    #[command(after_help = "Examples:\n  tokenbroker demo\n  tokenbroker demo --once\n  tokenbroker demo --once --json")]
    Demo(demo::DemoArgs),
    /// Run the gateway until it is told to stop (SIGTERM or Ctrl-C drain it).
    #[command(after_help = "Example:\n  DEEPSEEK_API_KEY=... tokenbroker serve --config config/tokenbroker.toml")]
    Serve(serve::ServeArgs),
    /// Watch the last decisions of a running gateway in this terminal.
    ///
    /// Who asked for what, which backend won at what cost, what was saved. It shows what the page of the operations listener
    /// shows. q or Ctrl-C ends it.
    #[command(
        after_help = "Examples:\n  tokenbroker top\n  tokenbroker top --once --url http://127.0.0.1:8079\n  tokenbroker top --json"
    )]
    Top(top::TopArgs),
    /// Run the pretend providers alone, for tests.
    #[command(hide = true)]
    Sandbox(sandbox::SandboxArgs),
    /// Find every problem of the configuration and of the table at once.
    ///
    /// Prints each problem with its file, line, path and what would be accepted, or a summary when all is well.
    #[command(after_help = "Example:\n  tokenbroker check --config config/tokenbroker.toml")]
    Check(check::CheckArgs),
    /// Decide where a chat request would go, and say why. Nothing is sent.
    ///
    /// Prints every adequate backend with what it would cost, and every other one with the rule that excludes it.
    #[command(after_help = ROUTE_EXAMPLES)]
    Route(route::RouteArgs),
    /// List the prices of the table: filtered, sorted, in the vendors' currencies and converted.
    #[command(after_help = prices::EXAMPLES)]
    Prices(Box<prices::PricesArgs>),
    /// Count the tokens of texts and prompts, read as JSON lines from the standard input. Nothing is sent.
    #[command(after_help = count::EXAMPLES)]
    Count(count::CountArgs),
    /// Tell what was spent, and what it would have cost at the baseline, from the books: as a table, for programs, as a picture.
    #[command(after_help = report::EXAMPLES)]
    Report(Box<report::ReportArgs>),
    /// Write the rows of the books for other programs: an attempt each, as CSV, lines of JSON or Parquet.
    #[command(after_help = export::EXAMPLES)]
    Export(Box<export::ExportArgs>),
    /// Hold the books against a vendor's bill or balance: what differs, and what most likely makes the difference.
    #[command(after_help = reconcile::EXAMPLES)]
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Look after the books: prove them, copy them while they are written, make their sums anew.
    #[command(subcommand)]
    Ledger(Box<ledger::LedgerCommand>),
    /// Play through what policies would have spent: nothing is sent.
    #[command(subcommand)]
    Simulate(simulate::SimulateCommand),
    /// Ask the gateway that runs here whether it is ready: exit code 0 when it is, 1 when not.
    ///
    /// For the health check of a container: it needs no shell and no curl, and finds the operations listener by the same
    /// configuration and variables as `serve`.
    #[command(after_help = "Examples:\n  tokenbroker health\n  tokenbroker health --url http://127.0.0.1:8079/healthz")]
    Health(health::HealthArgs),
    /// Make a gateway key, and look after those of a running gateway.
    #[command(subcommand)]
    Keys(Box<keys::KeysCommand>),
    /// See how the budgets of a running gateway stand, and set, lift or top up their limits.
    #[command(subcommand)]
    Budgets(Box<budgets::BudgetsCommand>),
    /// Print every setting with its default, as a configuration to begin with.
    #[command(after_help = "Example:\n  tokenbroker settings > tokenbroker.toml")]
    Settings(settings::SettingsArgs),
}

/// What every command that needs a configuration takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GatewayArgs {
    /// The configuration; without it, defaults and variables alone.
    #[arg(long, value_name = "FILE", env = "TOKENBROKER_CONFIG")]
    pub config: Option<PathBuf>,
    /// The price and capability table [default: providers.toml].
    #[arg(long, value_name = "FILE")]
    pub providers: Option<PathBuf>,
    /// Where the API listens [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where `/metrics` and the probes listen [default: 127.0.0.1:8079].
    #[arg(long, value_name = "ADDRESS")]
    pub operations_listen: Option<String>,
    /// Where the books lie [default: tokenbroker-data].
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
}

impl GatewayArgs {
    /// The variables, with the options laid over them.
    pub fn over(&self, environment: &Environment) -> Environment {
        let mut laid = environment.clone();
        for (_, name, value) in self.given() {
            // In quotes: a directory named 2026 or true is a text all the same.
            laid.insert(format!("{PREFIX}{name}"), toml::Value::String(value).to_string());
        }
        laid
    }

    /// What the configuration, the variables and the options say. A problem elsewhere in the configuration is for `check` to tell:
    /// books can be read without a gateway that could start.
    pub fn configuration(&self, environment: &Environment) -> anyhow::Result<Config> {
        let shown = self.config.as_ref().map(|path| path.display().to_string());
        let text = match (&self.config, &shown) {
            (Some(path), Some(shown)) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?),
            _ => None,
        };
        let (config, _) = Config::read(shown.as_deref().zip(text.as_deref()), &self.over(environment));
        Ok(config)
    }

    /// Where they say that the books are.
    pub fn books(&self, environment: &Environment) -> anyhow::Result<PathBuf> {
        Ok(self.configuration(environment)?.books.directory)
    }

    /// The option, as it is typed, that stands behind a variable of [`GatewayArgs::over`]. `None` for a real variable.
    pub fn behind(&self, variable: &str) -> Option<&'static str> {
        let name = variable.strip_prefix(PREFIX)?;
        self.given().find(|(_, given, _)| *given == name).map(|(option, _, _)| option)
    }

    /// The options that were given: each as it is typed, the name of its variable without the prefix, and its value.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let options = [
            ("--providers", "PROVIDERS_FILE__PATH", self.providers.as_deref().map(path)),
            ("--listen", "SERVER__LISTEN", self.listen.clone()),
            ("--operations-listen", "SERVER__OPERATIONS_LISTEN", self.operations_listen.clone()),
            ("--data-dir", "BOOKS__DIRECTORY", self.data_dir.as_deref().map(path)),
        ];
        options.into_iter().filter_map(|(option, name, value)| Some((option, name, value?)))
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(&self, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
        match &self.command {
            Command::Demo(args) => demo::run(args, output),
            Command::Serve(args) => serve::run(args, environment, output),
            Command::Top(args) => top::run(args, output),
            Command::Sandbox(args) => sandbox::run(args, output),
            Command::Check(args) => check::run(args, environment, output),
            Command::Count(args) => count::run(args, std::io::stdin().lock(), output),
            Command::Route(args) => route::run(args, environment, output),
            Command::Prices(args) => prices::run(args, environment, output),
            Command::Report(args) => report::run(args, environment, output),
            Command::Export(args) => export::run(args, environment, output),
            Command::Reconcile(args) => reconcile::run(args, environment, output),
            Command::Ledger(command) => ledger::run(command, environment, output),
            Command::Simulate(command) => simulate::run(command, environment, output),
            Command::Health(args) => health::run(args, environment, output),
            Command::Keys(command) => keys::run(command, environment, output),
            Command::Budgets(command) => budgets::run(command, environment, output),
            Command::Settings(args) => settings::run(args, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_command_says_what_it_does() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
        }
    }

    #[test]
    fn options_win_over_variables_and_are_checked_like_them() {
        let args = GatewayArgs {
            providers: Some("2026".into()),
            listen: Some("0.0.0.0:80".into()),
            data_dir: Some("a \"b\"".into()),
            ..GatewayArgs::default()
        };
        let environment = [("TOKENBROKER__SERVER__LISTEN", "127.0.0.1:1"), ("TOKENBROKER__SERVER__OPEN", "true")];
        let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = Config::load(None, &args.over(&environment)).unwrap();
        assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
        assert_eq!((config.providers_file, config.books.directory), ("2026".into(), "a \"b\"".into()));
        assert!(Config::load(None, &args.over(&Environment::new())).is_err(), "open beyond loopback");
    }
}
