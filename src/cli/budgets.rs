//! `tokenbroker budgets`: how the budgets of a running gateway stand, and their limits, set by its administrator's paths: in force when
//! it answers, before what the configuration says, through restarts, until they are given back to it.

use anyhow::bail;
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::administered::{Where, ask};
use super::args::Environment;
use super::output::{Exit, Output};
use super::table::{Align, Table};

/// What can be done with budgets. WHOSE is `key:NAME`, `project:NAME`, `team:NAME` or `gateway`; WINDOW is hour, day, week, month or total.
#[derive(Debug, Subcommand)]
pub enum BudgetsCommand {
    /// List every budget with what is settled, held and left of it, or with --history who did what to them.
    List {
        /// Every step that was taken.
        #[arg(long)]
        history: bool,
        #[command(flatten)]
        at: Where,
    },
    /// Limit what may be spent in a window, whatever the configuration says.
    #[command(
        after_help = "Examples:\n  tokenbroker budgets set team:web day 25.00 --why \"a demo\"\n  tokenbroker budgets set gateway month 900 --zone Europe/Berlin"
    )]
    Set {
        #[arg(value_name = "WHOSE")]
        whose: String,
        #[arg(value_name = "WINDOW")]
        window: String,
        /// US dollars.
        #[arg(value_name = "USD")]
        usd: String,
        /// By whose clocks the window begins [default: those of the configuration].
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Let more be spent, once, until the window ends that is on.
    TopUp {
        #[arg(value_name = "WHOSE")]
        whose: String,
        #[arg(value_name = "WINDOW")]
        window: String,
        /// US dollars.
        #[arg(value_name = "USD")]
        usd: String,
        #[command(flatten)]
        at: Where,
    },
    /// Let be spent without a limit in a window, whatever the configuration says.
    Lift {
        #[arg(value_name = "WHOSE")]
        whose: String,
        #[arg(value_name = "WINDOW")]
        window: String,
        #[command(flatten)]
        at: Where,
    },
    /// Give a window back to the configuration.
    Clear {
        #[arg(value_name = "WHOSE")]
        whose: String,
        #[arg(value_name = "WINDOW")]
        window: String,
        #[command(flatten)]
        at: Where,
    },
}

/// Runs `tokenbroker budgets ...`.
pub fn run(command: &BudgetsCommand, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let (step, whose, window, more, at) = match command {
        BudgetsCommand::List { history, at } => return list(*history, at, environment, output),
        BudgetsCommand::Set { whose, window, usd, zone, at } => ("set", whose, window, json!({"usd": usd, "zone": zone}), at),
        BudgetsCommand::TopUp { whose, window, usd, at } => ("top-up", whose, window, json!({"usd": usd}), at),
        BudgetsCommand::Lift { whose, window, at } => ("lift", whose, window, json!({}), at),
        BudgetsCommand::Clear { whose, window, at } => ("clear", whose, window, json!({}), at),
    };
    let mut wish = more;
    let (of, name) = payer(whose)?;
    for (member, value) in [("of", json!(of)), ("name", json!(name)), ("window", json!(window)), ("why", json!(at.why))] {
        wish[member] = value;
    }
    let answer = ask(Method::POST, &format!("/admin/budgets/{step}"), wish.to_string(), at, environment)?;
    if at.json {
        output.line(answer.to_string())?;
        return Ok(Exit::Success);
    }
    let result = answer["result"].as_str().unwrap_or_default().replace('_', " ");
    let until = answer["until"].as_str().map(|until| format!(" until {until}")).unwrap_or_default();
    let in_force = if answer["in_force"] == true { "in force" } else { "not in force yet: see the gateway's log" };
    output.line(format!("{whose} {window}: {result}{until}, {in_force}"))?;
    Ok(Exit::Success)
}

/// Whose budget is meant.
fn payer(whose: &str) -> anyhow::Result<(&str, Option<&str>)> {
    match whose.split_once(':') {
        Some((of @ ("key" | "project" | "team"), name)) if !name.is_empty() => Ok((of, Some(name))),
        None if whose == "gateway" => Ok((whose, None)),
        _ => bail!("{whose:?} has no budget; accepted: key:NAME, project:NAME, team:NAME or gateway"),
    }
}

/// Every budget, or every step.
fn list(steps: bool, at: &Where, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let path = if steps { "/admin/budgets/history" } else { "/admin/budgets" };
    let answer = ask(Method::GET, path, String::new(), at, environment)?;
    if at.json {
        output.line(answer.to_string())?;
        return Ok(Exit::Success);
    }
    let text = |value: &Value| crate::feed::words::plain(value.as_str().unwrap_or("-"));
    let whose = |of: &Value| match of["name"].as_str() {
        Some(_) => format!("{}:{}", text(&of["of"]), text(&of["name"])),
        None => text(&of["of"]),
    };
    for row in answer["rows"].as_array().into_iter().flatten() {
        let [at, by, step, window, why, detail] =
            ["at", "by", "step", "window", "why", "detail"].map(|member| text(&row[member]));
        let detail = if detail.is_empty() { detail } else { format!("; {detail}") };
        output.line(format!("{at}  {by}  {step} {} {window}: {why}{detail}", whose(row)))?;
    }
    let Some(budgets) = answer["budgets"].as_array() else { return Ok(Exit::Success) };
    let aligned = [Align::Left; 2].into_iter().chain([Align::Right; 4]).chain([Align::Left; 2]);
    let mut table = Table::new(aligned);
    table.row(["whose", "window", "limit USD", "settled", "held", "left", "refills", "set by"]);
    for budget in budgets {
        let [window, limit, settled, held, left] =
            ["window", "limit_usd", "settled_usd", "held_usd", "left_usd"].map(|member| text(&budget[member]));
        let refills = budget["refills_at"].as_str().map_or_else(|| "never".to_owned(), |_| text(&budget["refills_at"]));
        let set_by = budget["set_by"].as_str().map_or_else(|| "configuration".to_owned(), |_| text(&budget["set_by"]));
        table.row([whose(budget), window, limit, settled, held, left, refills, set_by]);
    }
    output.line(table.to_string())?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_budget_is_named_by_kind_and_name() {
        assert_eq!(payer("team:web").unwrap(), ("team", Some("web")));
        assert_eq!(payer("gateway").unwrap(), ("gateway", None));
        for wrong in ["web", "team:", "gateway:x", "tag:x", ""] {
            assert!(payer(wrong).is_err(), "{wrong}");
        }
    }
}
