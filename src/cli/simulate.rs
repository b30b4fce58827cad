//! `tokenbroker simulate`: what policies would have spent on the same requests, played through on a virtual clock. Nothing
//! is sent and no key is needed.

mod told;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::prices::instant;
use super::setup;
use crate::route;
use crate::simulate::draw::Seed;
use crate::simulate::picture::picture;
use crate::simulate::steps::steps;
use crate::simulate::texts::{self, Texts};
use crate::simulate::war::play;
use crate::simulate::workload::{Plan, generate};
use crate::simulate::world::World;

/// What can be simulated.
#[derive(Debug, Subcommand)]
pub enum SimulateCommand {
    /// A mixed workload against the dated prices of the table: what tokenbroker would have spent, and what others.
    ///
    /// Others are sorting by list price (as gateways do today, and the same in dollars), round robin, always the strongest,
    /// and the optimum of somebody who knows everything beforehand.
    #[command(after_help = EXAMPLES)]
    PriceWar(PriceWarArgs),
    /// Print what a workload needs of some texts, without the texts: for `price-war --workload`.
    #[command(after_help = TEXTS)]
    Texts(TextsArgs),
}

const EXAMPLES: &str = "\
Examples:
  tokenbroker simulate price-war
  tokenbroker simulate price-war --requests 50000 --seed 7 --svg price-war.svg
  tokenbroker simulate price-war --from 2026-08-01 --until 2026-10-01 --json

Prices, exchange rates, tokens of the prompts, decisions and the arithmetic of bills are the real ones. Lengths of answers,
reasoning, cache hits and failures are drawn from the seed: docs/simulation.md says how.";

const TEXTS: &str = "\
Each line of FILE is a JSON object: {\"class\": \"code\", \"text\": \"...\", \"tokens\": {\"o200k\": 120, ...}}; classes are
en_prose, chat_en, zh_prose, zh_tech, zh_hant, chat_zh, code, json, and anything else is a mix. Families that have no count
are estimated.";

/// What `simulate price-war` takes.
#[derive(Debug, Args)]
pub struct PriceWarArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The virtual time begins here (an instant, or a day in UTC).
    #[arg(long, value_name = "INSTANT", value_parser = instant, default_value = "2026-05-01")]
    pub from: Timestamp,
    /// And ends here.
    #[arg(long, value_name = "INSTANT", value_parser = instant, default_value = "2026-12-01")]
    pub until: Timestamp,
    /// How many requests.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
    /// What everything that is drawn follows from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Texts that prompts are made of, as JSON lines, in place of the built-in ones (see `simulate texts`).
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// Draw cumulative spend into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print the outcome as one JSON object; amounts are exact decimals in quotes.
    #[arg(long)]
    pub json: bool,
}

/// What `simulate texts` takes.
#[derive(Debug, Args)]
pub struct TextsArgs {
    /// Texts as JSON lines.
    #[arg(value_name = "FILE")]
    pub texts: PathBuf,
    /// Only one of so many, evenly.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
}

/// Runs `tokenbroker simulate`.
pub fn run(command: &SimulateCommand, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        SimulateCommand::PriceWar(args) => price_war(args, environment, output),
        SimulateCommand::Texts(args) => print_texts(args, output),
    }
}

fn price_war(args: &PriceWarArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    if args.from >= args.until {
        bail!("--from {} is not before --until {}", args.from, args.until);
    }
    let setup = match setup::load_or_tell(&args.gateway, environment, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(exit),
    };
    let texts = match &args.workload {
        Some(path) => Texts::parse(&path.display().to_string(), &read(path)?),
        None => Texts::shipped(),
    };
    let texts = texts.map_err(anyhow::Error::msg)?;
    let requests = usize::try_from(args.requests)?;
    let plan = Plan { from: args.from, until: args.until, requests, seed: Seed::new(args.seed) };
    let world = World::new(&setup.snapshot, routing(&setup), plan.seed);
    let outcome = play(&world, plan, &generate(plan, &texts));
    let steps = steps(&setup.snapshot, plan, &outcome);
    if let Some(path) = &args.svg {
        let drawn = picture(&setup.snapshot, plan, &outcome, &steps);
        std::fs::write(path, drawn).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        output.json(&told::report(args, &setup.snapshot, &outcome, &steps))?;
    } else {
        output.line(told::table(args, &setup.snapshot, &outcome))?;
        output.note(told::HONESTY)?;
    }
    Ok(Exit::Success)
}

/// How the gateway of this configuration decides.
fn routing(setup: &setup::Setup) -> route::Settings {
    crate::server::routing_settings(&setup.config)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn print_texts(args: &TextsArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let every = usize::try_from(args.every)?;
    for (line, number) in read(&args.texts)?.lines().step_by(every).zip(1..) {
        let Some(bare) = texts::bare(line) else {
            bail!("{}: the text number {number} that was taken has neither `text` nor `profile`", args.texts.display());
        };
        output.line(bare)?;
    }
    Ok(Exit::Success)
}
