//! The sandbox in a process of its own, so that the gateway can die without it, and its log of what it truly served: the
//! measure of the books.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokenbroker::sandbox::loopback;
use tokenbroker::tasks::Tasks;

use super::gateway::Setup;
use super::until;

/// A running sandbox. Dropping it kills it.
pub(crate) struct Sandbox {
    control: String,
    table: String,
    folder: TempDir,
    tasks: Tasks,
    child: Child,
}

/// What a pretend provider knows of one request.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) provider: String,
    /// The trace that the request belongs to: 32 hexadecimal digits.
    pub(crate) trace: String,
    pub(crate) finished: bool,
    pub(crate) refused: bool,
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) output: i64,
    pub(crate) started_ms: i64,
}

impl Sandbox {
    /// Starts it with these further arguments: `--steady`, `--fast`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sandbox.toml");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tokenbroker"))
            .args(["sandbox", "--json", "--write-table"])
            .arg(&file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("a ready sandbox");
        let control = ready["control"].as_str().unwrap().to_owned();
        let table = std::fs::read_to_string(file).unwrap();
        Self { control, table, folder, tasks: Tasks::on_this_runtime(), child }
    }

    /// A gateway in front of it.
    pub(crate) fn gateway(&self) -> Setup {
        self.gateway_with(&self.table)
    }

    /// A gateway that reads another table of the same providers.
    pub(crate) fn gateway_with(&self, table: &str) -> Setup {
        let file = self.folder.path().join("read.toml");
        std::fs::write(&file, table).unwrap();
        let setup = Setup::of([]).set("providers_file.path", &file.to_string_lossy());
        let keys = table.lines().filter_map(|line| line.strip_prefix("api_key_env = "));
        keys.fold(setup, |setup, variable| setup.variable(variable.trim_matches('"'), "sk-sandbox-4c1f7e90"))
    }

    /// Everything served, once nothing is being served any more.
    pub(crate) async fn served(&self) -> Vec<Served> {
        until("the sandbox to end every answer", async || {
            let rows = self.rows().await;
            rows.iter().all(|row| !row["ending"].is_null()).then(|| rows.iter().map(Served::read).collect())
        })
        .await
    }

    async fn rows(&self) -> Vec<Value> {
        let url = format!("{}/served", self.control);
        let mut answer = loopback::call(&self.tasks, Method::GET, &url, &[], "").await.unwrap();
        let lines = answer.whole().await.unwrap();
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// Has a provider do something wrong from now on.
    pub(crate) async fn order(&self, fault: &Value) {
        let url = format!("{}/faults", self.control);
        let mut answer = loopback::call(&self.tasks, Method::POST, &url, &[], fault.to_string()).await.unwrap();
        assert_eq!(answer.status, 200, "{fault}");
        answer.whole().await.unwrap();
    }

    /// Has every provider behave again.
    pub(crate) async fn lift_faults(&self) {
        let mut answer = loopback::call(&self.tasks, Method::DELETE, &format!("{}/faults", self.control), &[], "").await.unwrap();
        answer.whole().await.unwrap();
    }

    /// The table that its providers are in, with their addresses.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn read(row: &Value) -> Self {
        let number = |name: &str| row[name].as_i64().unwrap();
        Self {
            provider: row["provider"].as_str().unwrap().to_owned(),
            trace: row["trace"].as_str().unwrap_or_default().to_owned(),
            finished: row["finished"] == true,
            refused: row["ending"] == "refused",
            input: number("input_tokens"),
            cached: number("cached_tokens"),
            output: number("output_tokens"),
            started_ms: number("started_ms"),
        }
    }
}
