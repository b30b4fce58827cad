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
    let gateway = Gateway::start(setup, Some(reloading), SystemClock::shared()).await?;
    let ready =
        Ready { api: format!("http://{}", gateway.api_addr()), operations: format!("http://{}", gateway.operations_addr()) };
    if args.json {
        output.json(&ready)?;
    } else {
        output.line(summary)?;
        output.line(format!("API         {}/v1", ready.api))?;
        output.line(format!("operations  {}/metrics", ready.operations))?;
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
    tracing::info!(grace_seconds = grace.as_secs(), "draining: open answers may finish");
    tokio::select! {
        closed = gateway.stop() => {
            closed?;
            tracing::info!("stopped: the books are closed");
        }
        () = signals.stop() => tracing::warn!("told to stop twice: open answers are cut; what they used is booked at the next start"),
    }
    Ok(Exit::Success)
}

/// Who is on and who is off, and who may ask.
fn summary(setup: &Setup) -> String {
    let providers = setup.snapshot.providers();
    let (on, off): (Vec<_>, Vec<_>) = providers.iter().partition(|provider| setup.standing(provider).is_on());
    let file = setup.config_file.as_ref().map(|path| path.display().to_string());
    let mut text = format!("config      {}\n", setup::shown_config(file.as_deref()));
    let _ = writeln!(text, "table       {}", setup.snapshot.version);
    let names = |list: &[&crate::catalog::Provider]| list.iter().map(|p| p.id.as_str()).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "on          {}: {}", counted(on.len(), "provider"), names(&on));
    for provider in off {
        let why = match setup.standing(provider) {
            Standing::KeyMissing(variable) => format!("{variable} is not set"),
            Standing::Disabled(reason) => reason.to_owned(),
            Standing::Keyed | Standing::Keyless => continue,
        };
        let _ = writeln!(text, "off         {}: {why}", provider.id);
    }
    let who = match setup.config.access() {
        Access::Open => "everybody who can connect (no keys are configured)".to_owned(),
        Access::Keys => counted(setup.config.keys.len(), "key"),
    };
    let _ = write!(text, "asked by    {who}");
    text
}
