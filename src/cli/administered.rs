//! Asking a running gateway for what its administrators may do, by their key: what is asked for is done by the gateway, and in force
//! when it answers.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::{Method, Uri};
use serde_json::Value;

use super::args::Environment;
use crate::config::settings::Server;
use crate::config::{Purpose, provider_keys};
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

/// The gateway's answer, where it did what was asked.
pub(super) fn ask(method: Method, path: &str, body: String, at: &Where, environment: &Environment) -> anyhow::Result<Value> {
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
