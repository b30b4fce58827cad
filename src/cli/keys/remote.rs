//! Virtual keys of a running gateway, by its administrator's paths: what is asked for is done by the gateway, and in force when
//! it answers.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::{Method, Uri};
use serde_json::{Value, json};

use crate::cli::args::Environment;
use crate::cli::output::{Exit, Output};
use crate::config::settings::Server;
use crate::config::{Purpose, provider_keys};
use crate::document::Plain;
use crate::sandbox::loopback;
use crate::tasks::Tasks;

/// The variable with the administrator's key; or the file that it names with `_FILE`.
const ADMIN_KEY: &str = "TOKENBROKER_ADMIN_KEY";
/// How long the gateway may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where the gateway is, and why it is asked.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// The gateway's operations listener [default: 127.0.0.1:8079].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Why: it stands in the audit.
    #[arg(long, value_name = "TEXT", default_value = "by the command line")]
    pub why: String,
    /// Print the gateway's answer as it is.
    #[arg(long)]
    pub json: bool,
}

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

fn ask(method: Method, path: &str, body: String, at: &Where, environment: &Environment) -> anyhow::Result<Value> {
    let (mut keys, problems) = provider_keys([(ADMIN_KEY, Purpose::Key)], environment);
    if let Some(problem) = problems.first() {
        bail!("{problem}");
    }
    let Some(key) = keys.remove(ADMIN_KEY) else {
        bail!(
            "no administrator's key: set {ADMIN_KEY}, or {ADMIN_KEY}_FILE to a file that holds it ([admins.NAME] has its hash)"
        );
    };
    let url = format!("{}{path}", base(at.url.as_deref())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let asked = runtime.block_on(async {
        let tasks = Tasks::on_this_runtime();
        let authorization = format!("Bearer {}", key.expose());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let call = async {
            let mut answer = loopback::call(&tasks, method, &url, &headers, body).await?;
            anyhow::Ok((answer.status, answer.whole().await?))
        };
        tokio::time::timeout(PATIENCE, call).await.with_context(|| format!("{url} did not answer in time"))?
    });
    let (status, body) = asked.with_context(|| format!("no gateway answers at {url}"))?;
    let answer: Value = serde_json::from_slice(&body).with_context(|| format!("what answers at {url} is no gateway"))?;
    if status != 200 {
        let said = answer["error"]["message"].as_str().unwrap_or("no reason given");
        bail!("the gateway answered {status}: {}", crate::feed::words::plain(said));
    }
    Ok(answer)
}

/// Scheme, host and port, from what people type.
fn base(typed: Option<&str>) -> anyhow::Result<String> {
    let usual = Server::default().operations_listen;
    let Some(typed) = typed else { return Ok(format!("http://{usual}")) };
    let url = if typed.contains("://") { typed.to_owned() } else { format!("http://{typed}") };
    let uri: Uri = url.parse().with_context(|| format!("{typed} is no address"))?;
    match uri.authority().filter(|_| uri.scheme_str() == Some("http")) {
        Some(authority) => Ok(format!("http://{}:{}", authority.host(), authority.port_u16().unwrap_or(usual.port()))),
        None => bail!("{typed} is no address of an operations listener; give one such as http://{usual}"),
    }
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

    #[test]
    fn an_address_may_be_typed_in_short() {
        for (typed, expected) in [
            (None, "http://127.0.0.1:8079"),
            (Some("localhost"), "http://localhost:8079"),
            (Some("http://10.0.0.1:7000/x"), "http://10.0.0.1:7000"),
        ] {
            assert_eq!(base(typed).unwrap(), expected);
        }
        assert!(base(Some("https://a")).is_err());
    }
}
