//! `tokenbroker demo`: the main job, without a key and without a network. Starts the sandbox and a gateway in front of
//! it in this process, sends real HTTP requests through it, shows for each who won and what it cost, and goes on serving,
//! with a gentle traffic of its own so that the page of the operations listener has something to show.
//!
//! Everything is as in service but the providers, and the books: they lie in a directory of their own that is removed
//! at the end.

mod show;
mod tour;
mod traffic;
mod visit;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::output::{Exit, Output};
use super::sandbox::DEFAULT_SEED;
use super::signals::Signals;
use crate::canonical::QualityTier;
use crate::catalog::Snapshot;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, ProviderKeys, Secret};
use crate::sandbox::{Pace, Sandbox, SandboxOptions};
use crate::server::Gateway;
use crate::setup::Setup;
use crate::tasks::Tasks;
use show::{Painter, Totals};
use visit::{Guide, Visit};

/// What the savings are told against, beside the dearest adequate backend.
const BASELINE: &str = "sandbox-summit/summit-max";

/// What `demo` takes.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End after the tour in place of serving until Ctrl-C.
    #[arg(long)]
    pub once: bool,
    /// Tell each request as a line of JSON, and last where the gateway listens.
    #[arg(long)]
    pub json: bool,
    /// Send nothing after the tour; else a pretend request follows every second or two, for the page to show.
    #[arg(long, visible_alias = "quiet")]
    pub no_traffic: bool,
    /// Where the gateway's API listens [default: a free port on 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

/// Runs the demo.
pub fn run(args: &DemoArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        demonstrate(args, Pace::AsTheTableSays, output, signals.stop()).await
    })
}

/// The demo from beginning to end; `told_to_stop` ends it at any time.
async fn demonstrate(
    args: &DemoArgs,
    pace: Pace,
    output: &mut Output,
    told_to_stop: impl Future<Output = ()>,
) -> anyhow::Result<Exit> {
    let mut told_to_stop = pin!(told_to_stop);
    let clock = SystemClock::shared();
    let options = SandboxOptions { seed: DEFAULT_SEED, pace, failures: true, clock: Arc::clone(&clock) };
    let sandbox = Sandbox::start(options).await?;
    let books = TemporaryBooks::create()?;
    let gateway = Box::pin(start_gateway(args, &sandbox, &books, Arc::clone(&clock))).await?;
    let shown = tokio::select! {
        shown = show_all(args, &sandbox, &gateway, clock, output) => Some(shown),
        () = &mut told_to_stop => None,
    };
    if matches!(shown, Some(Ok(()))) && !args.once {
        tokio::select! {
            () = &mut told_to_stop => {}
            () = traffic::flow(gateway.api_addr(), DEFAULT_SEED), if !args.no_traffic => {}
        }
    }
    let stopped = gateway.stop().await;
    sandbox.stop().await;
    drop(books);
    shown.unwrap_or(Ok(()))?;
    stopped.context("the books were not closed in order")?;
    Ok(Exit::Success)
}

async fn start_gateway(
    args: &DemoArgs,
    sandbox: &Sandbox,
    books: &TemporaryBooks,
    clock: SharedClock,
) -> anyhow::Result<Gateway> {
    let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.server.listen = args.listen.unwrap_or(free_port);
    config.server.operations_listen = free_port;
    config.books.directory.clone_from(&books.directory);
    config.routing.default_quality = QualityTier::Standard;
    config.routing.baseline = Some(BASELINE.to_owned());
    let keys: ProviderKeys = sandbox.provider_keys().iter().map(|(name, key)| (name.clone(), Secret::new(key.clone()))).collect();
    let setup = Setup { config_file: None, config, snapshot: parsed_table(sandbox)?, provider_keys: keys, unused: Vec::new() };
    Ok(Box::pin(Gateway::start(setup, None, clock)).await?)
}

fn parsed_table(sandbox: &Sandbox) -> anyhow::Result<Snapshot> {
    let problems = |problems: Vec<crate::document::Problem>| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the sandbox's table is wrong: {}", list.join("; "))
    };
    Snapshot::parse("sandbox/providers.toml", sandbox.table()).map_err(problems)
}

/// The tour, and how to go on from it.
async fn show_all(
    args: &DemoArgs,
    sandbox: &Sandbox,
    gateway: &Gateway,
    clock: SharedClock,
    output: &mut Output,
) -> anyhow::Result<()> {
    let snapshot = parsed_table(sandbox)?;
    let api = format!("http://{}", gateway.api_addr());
    let tasks = Tasks::on_this_runtime();
    let guide = Guide { sandbox, snapshot: &snapshot, api: api.clone(), baseline: BASELINE, tasks, clock };
    let painter = Painter { colour: output.colour() };
    let operations = format!("http://{}", gateway.operations_addr());
    if !args.json {
        lines(output, &painter.opening(&snapshot))?;
        if !args.once {
            lines(output, &painter.page(&operations))?;
        }
    }
    let mut visits = Vec::new();
    for (stop, number) in tour::stops().iter().zip(1..) {
        let visit = guide.visit(stop).await?;
        if args.json {
            output.json(&told(stop.title, &visit))?;
        } else {
            lines(output, &painter.visit(number, stop, &visit))?;
        }
        visits.push(visit);
    }
    if args.json {
        return Ok(output.json(&ending(&visits, &api, &operations, sandbox))?);
    }
    lines(output, &painter.totals(&visits, BASELINE))?;
    if !args.once {
        lines(output, &painter.invitation(&api, &operations, &sandbox.control_url(), !args.no_traffic))?;
    }
    Ok(())
}

fn lines(output: &mut Output, lines: &[String]) -> std::io::Result<()> {
    lines.iter().try_for_each(|line| output.line(line))
}

/// One request for a script. Money is text: a JSON number would be read as a float.
fn told(title: &str, visit: &Visit) -> impl Serialize {
    let priced = |priced: &visit::Priced| json!({"backend": priced.backend, "quality": priced.quality, "cost_usd": priced.cost.to_exact()});
    json!({
        "sandbox": true,
        "request": title,
        "request_id": visit.request_id,
        "won": priced(&visit.won),
        "quoted_usd": visit.quoted.map(crate::units::Usd::to_exact),
        "runner_up": visit.runner_up.as_ref().map(priced),
        "dearest": visit.dearest.as_ref().map(priced),
        "baseline_usd": visit.baseline.to_exact(),
        "left_out": visit.left_out,
        "failed": visit.failed,
        "input_tokens": visit.input_tokens,
        "output_tokens": visit.output_tokens,
        "decision": visit.decision,
        "answer": visit.said,
    })
}

fn ending(visits: &[Visit], api: &str, operations: &str, sandbox: &Sandbox) -> impl Serialize {
    let totals = Totals::of(visits);
    json!({
        "sandbox": true,
        "spent_usd": totals.spent.to_exact(),
        "dearest_usd": totals.dearest.to_exact(),
        "baseline_usd": totals.baseline.to_exact(),
        "api": api,
        "operations": operations,
        "page": format!("{operations}/"),
        "metrics": format!("{operations}/metrics"),
        "control": sandbox.control_url(),
    })
}

/// A directory for the demo's books, removed at the end.
struct TemporaryBooks {
    directory: PathBuf,
}

impl TemporaryBooks {
    fn create() -> anyhow::Result<Self> {
        let random = getrandom::u64().map_err(|error| anyhow::anyhow!("the system has no randomness: {error}"))?;
        let directory = std::env::temp_dir().join(format!("tokenbroker-demo-{random:016x}"));
        std::fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self { directory })
    }
}

impl Drop for TemporaryBooks {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's directory for temporary files, which is emptied anyway.
        std::fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::captured;
    use super::*;
    use crate::units::Usd;
    use serde_json::Value;

    fn demo(once: bool, told_to_stop: impl Future<Output = ()>) -> (Exit, Vec<Value>, String) {
        let args = DemoArgs { once, json: true, no_traffic: false, listen: None };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (exit, out, err) =
            captured(|output| runtime.block_on(demonstrate(&args, Pace::AsFastAsPossible, output, told_to_stop)));
        (exit, out.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), err)
    }

    fn usd(value: &Value) -> Usd {
        Usd::parse(value.as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_tour_goes_through_a_real_gateway_and_adds_up() {
        let (exit, told, err) = demo(true, std::future::pending());
        assert_eq!(exit, Exit::Success, "{err}");
        let [visits @ .., ending] = told.as_slice() else { panic!("nothing was told") };
        assert_eq!(visits.len(), tour::stops().len());
        let spent: Usd = visits.iter().map(|visit| usd(&visit["won"]["cost_usd"])).sum();
        assert_eq!(spent, usd(&ending["spent_usd"]));
        assert!(spent > Usd::ZERO && spent < usd(&ending["dearest_usd"]));
        assert!(visits.iter().all(|visit| visit["left_out"].as_array().is_some_and(|out| !out.is_empty())));
        assert_eq!(visits.last().unwrap()["failed"][0]["status"], 503);
    }

    #[test]
    fn the_demo_ends_when_it_is_told_to() {
        let (exit, told, err) = demo(false, std::future::ready(()));
        assert_eq!((exit, err.as_str()), (Exit::Success, ""));
        assert!(told.len() <= tour::stops().len());
    }
}
