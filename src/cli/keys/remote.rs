//! Virtual keys of a running gateway, by its administrator's paths.

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use crate::cli::administered::{Where, ask};
use crate::cli::args::Environment;
use crate::cli::output::{Exit, Output};
use crate::document::Plain;

/// Settings of the command line (`NAME=VALUE`) as lines of a configuration; a value that is none of its values is a text.
pub(super) fn settings(given: &[String]) -> anyhow::Result<String> {
    let one = |given: &String| {
        let (name, value) = given.split_once('=').with_context(|| format!("{given:?} is no setting: NAME=VALUE"))?;
        let line = format!("{} = {}\n", name.trim(), value.trim());
        let as_text = || format!("{} = {}\n", name.trim(), json!(value.trim()));
        anyhow::Ok(if Plain::from_toml(&line).is_ok() { line } else { as_text() })
    };
    given.iter().map(one).collect()
}

/// Asks for a step, and tells what came of it.
pub(super) fn wish(
    step: &str,
    members: Value,
    at: &Where,
    environment: &Environment,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut members = members;
    members["why"] = json!(at.why);
    let answer = ask(Method::POST, &format!("/admin/keys/{step}"), members.to_string(), at, environment)?;
    if at.json {
        output.line(answer.to_string())?;
        return Ok(Exit::Success);
    }
    if let Some(key) = answer["key"].as_str() {
        output.line(format!("{key}\n"))?;
        output.line("This is the key: it is shown once and kept nowhere. Clients send it as their API key.")?;
    }
    let [name, result] = ["name", "result"].map(|member| answer[member].as_str().unwrap_or_default());
    let in_force = if answer["in_force"] == true { "in force" } else { "not in force yet: see the gateway's log" };
    output.line(format!("{name}: {result}, {in_force}"))?;
    if answer["shared"] == false {
        output.line("The other gateways hear of it when the store that they share is back.")?;
    }
    Ok(Exit::Success)
}

/// Every virtual key, or every step.
pub(super) fn list(steps: bool, at: &Where, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let path = if steps { "/admin/keys/history" } else { "/admin/keys" };
    let answer = ask(Method::GET, path, String::new(), at, environment)?;
    if at.json {
        output.line(answer.to_string())?;
        return Ok(Exit::Success);
    }
    let text = |value: &Value| crate::feed::words::plain(value.as_str().unwrap_or("-"));
    for row in answer["rows"].as_array().into_iter().flatten() {
        let [at, by, step, key, why, detail] = ["at", "by", "step", "key", "why", "detail"].map(|member| text(&row[member]));
        output.line(format!("{at}  {by}  {step} {key}: {why}{}{detail}", if detail.is_empty() { "" } else { "; " }))?;
    }
    for key in answer["keys"].as_array().into_iter().flatten() {
        let [name, state, created, by, expires] =
            ["name", "state", "created", "created_by", "expires"].map(|member| text(&key[member]));
        output.line(format!("{name}  {state}  made {created} by {by}, expires {expires}"))?;
        for line in ["settings", "problems"].iter().filter_map(|member| key[*member].as_array()).flatten() {
            output.line(format!("    {}", text(line)))?;
        }
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_value_of_the_configuration_or_a_text() {
        let given =
            ["team=web", "budget_usd=2.50", "models=[\"a*\"]", "budgets = { day = 1 }", "prefer=\"fastest\""].map(str::to_owned);
        let lines = "team = \"web\"\nbudget_usd = 2.50\nmodels = [\"a*\"]\nbudgets = { day = 1 }\nprefer = \"fastest\"\n";
        assert_eq!(settings(&given).unwrap(), lines);
        assert!(settings(&["team".to_owned()]).is_err());
    }
}
