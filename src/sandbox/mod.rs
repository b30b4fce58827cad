//! Pretend providers that speak the OpenAI chat dialect over real sockets: what `demo` and the tests put behind the
//! gateway. Everything that comes from here says so: the providers' names, the text of every answer, and the header
//! `x-sandbox: true`.
//!
//! Each provider of the sandbox's own table (`providers.toml` beside this file) listens on an ephemeral loopback port.
//! They are as strict as vendors: a member that their dialect does not know, a feature that the model does not have, a
//! context that is too long are refused. They count by a tokenizer of their own (`tokens`) and keep a log of what
//! they truly generated (`served`), against which the gateway's books can be checked to the token; faults are
//! scripted through a control listener (`control`).
//!
//! A request may say `"sandbox": {"output_tokens": 500}` to get an answer of at least that length. One that offers tools
//! gets a call of the first two of them, and after their results an answer that quotes these;
//! `"sandbox": {"tool_rounds": 3}` makes that three calls, one after another.
//!
//! What it does not do: pretend to be intelligent, speak other dialects, or resemble a particular vendor.

mod control;
pub mod dice;
mod fault;
mod listener;
pub mod loopback;
mod provider;
mod refusal;
mod reply;
mod request;
mod schema;
mod script;
mod served;
mod site;
mod speech;
pub mod tokens;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use fault::{Fault, FaultOrder};
pub use served::{Ending, Served};

use crate::catalog::Snapshot;
use crate::clock::SharedClock;
use crate::document::Problem;
use crate::tasks::Tasks;
use listener::listen;
use provider::PretendProvider;
use served::ServedLog;

/// The sandbox's table, with placeholders for the addresses that are only known when it listens.
pub const TABLE: &str = include_str!("providers.toml");

/// How long stopping waits for connections that were told to end; they end at once.
const STOPPING: Duration = Duration::from_secs(5);

/// How fast pretend providers answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With the latencies and token rates of the table.
    AsTheTableSays,
    /// Without waiting: for load tests.
    AsFastAsPossible,
}

/// How a sandbox behaves.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Decides every answer and every chance failure.
    pub seed: u64,
    pub pace: Pace,
    /// Whether providers fail by chance as often as the table says. Scripted faults are played in any case.
    pub failures: bool,
    pub clock: SharedClock,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox's own table is wrong: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Table(Vec<Problem>),
    #[error("the sandbox could not listen on a loopback port")]
    Listen(#[from] std::io::Error),
}

/// What all pretend providers share.
struct Shared {
    seed: u64,
    pace: Pace,
    failures: bool,
    clock: SharedClock,
    log: ServedLog,
    faults: fault::Faults,
    providers: Vec<String>,
}

impl Shared {
    fn knows(&self, provider: &str) -> bool {
        provider == "*" || self.providers.iter().any(|known| known == provider)
    }
}

/// Running pretend providers. Dropping it ends them.
pub struct Sandbox {
    shared: Arc<Shared>,
    table: String,
    control: SocketAddr,
    keys: Vec<(String, String)>,
    tasks: Tasks,
}

impl Sandbox {
    /// Starts every provider of the table and the control listener.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let snapshot = Snapshot::parse("sandbox/providers.toml", TABLE).map_err(SandboxError::Table)?;
        let sites = site::sites(&snapshot);
        let shared = Arc::new(Shared {
            seed: options.seed,
            pace: options.pace,
            failures: options.failures,
            log: ServedLog::new(Arc::clone(&options.clock)),
            clock: options.clock,
            faults: fault::Faults::default(),
            providers: sites.iter().map(|site| site.id.clone()).collect(),
        });
        let keys = sites.iter().filter_map(|site| Some((site.key_variable.clone()?, format!("pretend-key-of-{}", site.id))));
        let keys = keys.collect();
        let tasks = Tasks::on_this_runtime();
        let mut table = TABLE.to_owned();
        for site in sites {
            let placeholder = format!("127.0.0.1:1/{}/", site.id);
            let provider = Arc::new(PretendProvider::new(site, Arc::clone(&shared)));
            let address = listen(&tasks, move |request| Arc::clone(&provider).answer(request)).await?;
            table = table.replace(&placeholder, &format!("{address}/"));
        }
        let for_control = Arc::clone(&shared);
        let control = listen(&tasks, move |request| control::answer(Arc::clone(&for_control), request)).await?;
        Ok(Self { shared, table, control, keys, tasks })
    }

    /// The sandbox's table with the addresses that its providers listen on.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Where the control listener is.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// A pretend key for each provider that wants one, by the variable that the table names.
    pub fn provider_keys(&self) -> &[(String, String)] {
        &self.keys
    }

    /// Every request served since the start or the last reset, oldest first.
    pub fn served(&self) -> Vec<Served> {
        self.shared.log.rows()
    }

    /// Orders a fault, as `POST /faults` does.
    pub fn order(&self, order: FaultOrder) {
        self.shared.faults.order(order);
    }

    /// Lifts every fault, as `DELETE /faults` does.
    pub fn lift_faults(&self) {
        self.shared.faults.lift_all();
    }

    /// Ends every connection and waits until all tasks have ended.
    pub async fn stop(self) {
        self.tasks.finish(STOPPING).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

#[cfg(test)]
mod tests;
