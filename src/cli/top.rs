//! `tokenbroker top`: the last decisions of a running gateway in a terminal. It asks the operations listener for its feed
//! once a second and draws the answer; what is drawn is a pure function of that answer and the terminal's size.
//!
//! It only reads, over plain HTTP. On anything but a terminal it writes one picture as text and ends.

mod draw;
mod screen;
mod watch;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::draw::{Painter, Size};
use self::screen::{Screen, Told};
use self::watch::{Unseen, Watched};
use super::output::{Exit, Output};
use super::signals::Signals;
use crate::feed::{Overview, State};

/// How often the gateway is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How wide a picture is that nobody measures.
const PLAIN_COLUMNS: usize = 132;
/// How many requests stand in a picture that is not cut to a screen.
const PLAIN_REQUESTS: usize = 20;

/// What `top` takes.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// The gateway's operations listener [default: 127.0.0.1:8079].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Show one picture and end.
    #[arg(long)]
    pub once: bool,
    /// Tell the feed as JSON: with --once in one piece, else a line for each request that has ended.
    #[arg(long)]
    pub json: bool,
}

/// Runs `top`.
pub fn run(args: &TopArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let watched = match Watched::at(args.url.as_deref()) {
            Ok(watched) => watched,
            Err(unseen) => return tell(output, &unseen),
        };
        let on_terminal = std::io::stdout().is_terminal();
        match (args.json, args.once || !on_terminal) {
            (true, _) if args.once => once_as_json(&watched, output).await,
            (true, _) => follow_as_json(&watched, output).await,
            (false, true) => once(&watched, output).await,
            (false, false) => follow(&watched, output).await,
        }
    })
}

fn tell(output: &mut Output, unseen: &Unseen) -> anyhow::Result<Exit> {
    output.note(format!("tokenbroker: {unseen}"))?;
    Ok(Exit::Failure)
}

async fn once(watched: &Watched, output: &mut Output) -> anyhow::Result<Exit> {
    let overview = match watched.look(PLAIN_REQUESTS, 0).await {
        Ok(overview) => overview,
        Err(unseen) => return tell(output, &unseen),
    };
    let columns = screen::size().map_or(PLAIN_COLUMNS, |size| size.columns);
    let painter = Painter { colour: output.colour() };
    for line in painter.picture(&overview, Size { columns, rows: usize::MAX }, None) {
        output.line(line)?;
    }
    Ok(Exit::Success)
}

async fn once_as_json(watched: &Watched, output: &mut Output) -> anyhow::Result<Exit> {
    match watched.look(usize::MAX, 0).await {
        Ok(overview) => output.json(&overview).map(|()| Exit::Success).map_err(Into::into),
        Err(unseen) => tell(output, &unseen),
    }
}

/// A line for each request as it ends, those that have ended already first.
async fn follow_as_json(watched: &Watched, output: &mut Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let mut ticks = ticks();
    let (mut sequence, mut run, mut reachable) = (0, None, None);
    loop {
        tokio::select! {
            _any = signals.next() => return Ok(Exit::Success),
            _ = ticks.tick() => {}
        }
        match watched.look(usize::MAX, sequence).await {
            Ok(overview) => {
                // A gateway that was started anew counts from the beginning.
                let same = run.as_ref().is_none_or(|run| *run == overview.gateway.started);
                sequence = if same { tell_ended(&overview, output)? } else { 0 };
                (run, reachable) = (Some(overview.gateway.started), Some(true));
            }
            Err(unseen) if reachable.is_none() => return tell(output, &unseen),
            Err(unseen) if reachable == Some(true) => {
                output.note(format!("tokenbroker: {unseen}; trying again"))?;
                reachable = Some(false);
            }
            Err(_) => {}
        }
    }
}

fn tell_ended(overview: &Overview, output: &mut Output) -> anyhow::Result<u64> {
    for entry in overview.entries.iter().rev().filter(|entry| entry.state != State::Open) {
        output.json(entry)?;
    }
    Ok(overview.sequence)
}

/// Draws until it is told to stop; a terminal that hangs up says so too. The first look decides whether there is anything to watch; later ones may fail and are
/// tried again, for a gateway is restarted now and then.
async fn follow(watched: &Watched, output: &mut Output) -> anyhow::Result<Exit> {
    let mut seen = match watched.look(screen::rows(), 0).await {
        Ok(overview) => overview,
        Err(unseen) => return tell(output, &unseen),
    };
    let mut signals = Signals::listen()?;
    let mut ticks = ticks();
    let mut screen = Screen::enter()?;
    let painter = Painter { colour: output.colour() };
    let mut trouble: Option<String> = None;
    loop {
        let size = screen::size().unwrap_or(Size { columns: PLAIN_COLUMNS, rows: 24 });
        screen.show(&painter.picture(&seen, size, trouble.as_deref()))?;
        tokio::select! {
            _any = signals.next() => return Ok(Exit::Success),
            told = screen.next() => match told {
                Told::Quit => return Ok(Exit::Success),
                Told::Resized => {}
            },
            looked = next_look(watched, &mut ticks) => match looked {
                Ok(overview) => (seen, trouble) = (overview, None),
                Err(unseen) => trouble = Some(unseen.to_string()),
            },
        }
    }
}

/// A look that hangs must not keep anybody from leaving, so it waits in the same place as the keys.
async fn next_look(watched: &Watched, ticks: &mut Interval) -> Result<Overview, Unseen> {
    ticks.tick().await;
    watched.look(screen::rows(), 0).await
}

fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
