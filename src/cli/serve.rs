//! `tokenbroker serve`: the gateway itself, until it is told to stop.

use std::fmt::Write as _;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::runtime::Builder;

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::setup::{self, Setup, Standing, counted};
use super::signals::{Signals, Told};
use super::table::flowed;
use crate::catalog::Provider;
use crate::clock::SystemClock;
use crate::config::Access;
use crate::server::Gateway;
use crate::server::reload::Reloading;
use crate::telemetry::logs;

/// What `serve` takes.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Say that it is ready as one line of JSON with both addresses.
    #[arg(long)]
    pub json: bool,
}

/// What a script reads when the gateway is ready.
#[derive(Serialize)]
struct Ready {
    api: String,
    operations: String,
}

/// Runs the gateway until it is told to stop.
pub fn run(args: &ServeArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let sources = setup::sources(&args.gateway, environment);
    let reading = sources.read(None);
    let looks = reading.looks.clone();
    let setup = match setup::told(reading, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(exit),
    };
    if let Some(idle) = setup.idle() {
        output.note(setup::refusal(&idle))?;
        return Ok(Exit::Problems);
    }
    let log_level = logs::begin(setup.config.log, environment.get(logs::VARIABLE).map(String::as_str))?;
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(args, setup, Reloading { sources, looks, log_level }, output));
    // What is still being read may never come (a file on a network disk that is gone): nobody waits for it.
    runtime.shutdown_background();
    ended
}

/// As many threads as there are cores; on one core none beside this one, which saves every task the locks and wake-ups
/// that only other threads need.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let alone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build().context("cannot start the runtime")
}

async fn serve(args: &ServeArgs, setup: Setup, reloading: Reloading, output: &mut Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let summary = summary(&setup);
    let grace = setup.config.server.drain;
    let warnings = setup.warnings(SystemClock::shared().wall());
    let gateway = Box::pin(Gateway::start(setup, Some(reloading), SystemClock::shared())).await?;
    let ready =
        Ready { api: format!("http://{}", gateway.api_addr()), operations: format!("http://{}", gateway.operations_addr()) };
    if args.json {
        output.json(&ready)?;
    } else {
        output.line(summary)?;
        output.line(format!("API         {}/v1", ready.api))?;
        output.line(format!("operations  {}/metrics", ready.operations))?;
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let recovery = &gateway.recovery;
    if recovery.lost_requests > 0 {
        let cost = recovery.lost_cost.to_exact();
        tracing::warn!(
            requests = recovery.lost_requests,
            cost_usd = cost,
            "the last run was cut short: what was open is booked as estimated"
        );
    }
    if recovery.torn_tail {
        tracing::warn!("the last record of the journal was cut off: it was being written when the last run ended");
    }
    for problem in &recovery.problems {
        tracing::error!(problem, "the journal is damaged: records are missing from the books");
    }
    tracing::info!(api = ready.api, operations = ready.operations, "serving");
    while signals.next().await == Told::Reload {
        gateway.reload();
    }
    tracing::info!(grace_seconds = grace.as_secs(), "draining: open answers may finish; a second signal ends them at once");
    tokio::select! {
        closed = gateway.stop() => {
            closed?;
            tracing::info!("stopped: the books are closed");
        }
        () = signals.stop() => tracing::warn!("told to stop twice: open answers are cut; what they used is booked at the next start"),
    }
    Ok(Exit::Success)
}

/// A heading and the names of providers, on lines for a terminal of 80 columns.
fn listed(label: &str, heading: &str, providers: &[&Provider]) -> String {
    let names = || providers.iter().map(|provider| provider.id.as_str().to_owned());
    let line = format!("{label:<12}{heading}: {}\n", names().collect::<Vec<_>>().join(", "));
    if line.len() <= 80 {
        return line;
    }
    let lines = flowed(names(), 68).join("\n            ");
    format!("{label:<12}{heading}:\n            {lines}\n")
}

/// Who is on and who is off, and who may ask.
fn summary(setup: &Setup) -> String {
    let providers = setup.snapshot.providers();
    let (on, off): (Vec<_>, Vec<_>) = providers.iter().partition(|provider| setup.standing(provider).is_on());
    let file = setup.config_file.as_ref().map(|path| path.display().to_string());
    let mut text = format!("config      {}\n", setup::shown_config(file.as_deref()));
    let _ = writeln!(text, "table       {}", setup.snapshot.version);
    let (disabled, off): (Vec<_>, Vec<_>) =
        off.into_iter().partition(|provider| matches!(setup.standing(provider), Standing::Disabled(_)));
    let (placeless, keyless): (Vec<_>, Vec<_>) =
        off.into_iter().partition(|provider| matches!(setup.standing(provider), Standing::PlaceMissing(_)));
    text.push_str(&listed("on", &counted(on.len(), "provider"), &on));
    if !placeless.is_empty() {
        let heading = format!("{} without a part of the address (which: tokenbroker check)", placeless.len());
        text.push_str(&listed("off", &heading, &placeless));
    }
    if !keyless.is_empty() {
        text.push_str(&listed("off", &format!("{} without a key (which: tokenbroker check)", keyless.len()), &keyless));
    }
    if !disabled.is_empty() {
        text.push_str(&listed(
            "off",
            &format!("{} switched off in the table (why: tokenbroker check)", disabled.len()),
            &disabled,
        ));
    }
    let who = match setup.config.access() {
        Access::Open => "everybody who can connect (no keys are configured)".to_owned(),
        Access::Keys => counted(setup.config.keys.len(), "key"),
    };
    let _ = write!(text, "asked by    {who}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::testing::{TABLE, args, environment};

    fn shown(table: &str, variables: &[(&str, &str)]) -> String {
        let directory = tempfile::tempdir().unwrap();
        summary(&setup::load(&args(directory.path(), "", table), &environment(variables)).unwrap())
    }

    #[test]
    fn who_is_on_and_who_is_off_are_told_with_where_to_look() {
        let told = shown(TABLE, &[("FAR_KEY", "k")]);
        for line in [
            "on          1 provider: far",
            "off         1 without a key (which: tokenbroker check): near",
            "off         1 switched off in the table (why: tokenbroker check): gone",
        ] {
            assert!(told.lines().any(|shown| shown == line), "{line} is not in\n{told}");
        }
    }

    #[test]
    fn a_whole_table_of_providers_fits_a_terminal() {
        let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/providers.toml")).unwrap();
        let told = shown(&shipped, &[("DEEPSEEK_API_KEY", "k")]);
        assert!(told.contains("\non          1 provider: deepseek\noff         36 without a key"), "{told}");
        assert!(told.lines().count() < 20 && told.lines().skip(2).all(|line| line.len() <= 80), "{told}");
    }
}
