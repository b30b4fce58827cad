//! `tokenbroker sandbox`: pretend providers alone, for tests and for trying a gateway by hand.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::output::{Exit, Output};
use super::signals::Signals;
use crate::clock::SystemClock;
use crate::sandbox::{Pace, Sandbox, SandboxOptions};

/// The seed where none is given: answers and chance failures are the same on every machine.
pub const DEFAULT_SEED: u64 = 20_261_122;

/// What `sandbox` takes.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Write the table, with the addresses that the pretend providers listen on, to this file.
    #[arg(long, value_name = "FILE")]
    pub write_table: PathBuf,
    /// Answer without waiting, in place of the latencies and token rates of the table.
    #[arg(long)]
    pub fast: bool,
    /// Never fail by chance, in place of the failure rates of the table.
    #[arg(long)]
    pub steady: bool,
    /// Decides every answer and every chance failure.
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Say that it is ready as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a script reads when the sandbox is ready.
#[derive(Serialize)]
struct Ready<'a> {
    table: &'a Path,
    control: String,
}

impl SandboxArgs {
    fn options(&self) -> SandboxOptions {
        let pace = if self.fast { Pace::AsFastAsPossible } else { Pace::AsTheTableSays };
        SandboxOptions { seed: self.seed, pace, failures: !self.steady, clock: SystemClock::shared() }
    }
}

/// Runs the sandbox until it is told to stop.
pub fn run(args: &SandboxArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(serve(args, output))
}

async fn serve(args: &SandboxArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let sandbox = Sandbox::start(args.options()).await?;
    std::fs::write(&args.write_table, sandbox.table())
        .with_context(|| format!("cannot write the table to {}", args.write_table.display()))?;
    let ready = Ready { table: &args.write_table, control: sandbox.control_url() };
    if args.json {
        output.json(&ready)?;
    } else {
        output.line(format!("[sandbox] pretend providers are listening; their table is {}", ready.table.display()))?;
        output.line(format!("[sandbox] what they served: {}/served", ready.control))?;
    }
    signals.stop().await;
    sandbox.stop().await;
    Ok(Exit::Success)
}
