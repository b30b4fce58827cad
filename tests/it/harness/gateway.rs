//! The real binary in a process of its own: free ports, a data directory that goes with the test, and nothing of this
//! process's environment.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokenbroker::config::keys::to_hex;
use tokenbroker::ledger::{BookedRequest, Books};
use tokenbroker::policy::keys::hash;
use tokenbroker::units::RequestId;

use super::client::{Answer, Call, Connection as Client, Whole};
use super::site::{Site, table};
use super::{PATIENCE, until};

/// How a gateway is to run.
#[derive(Clone)]
pub(crate) struct Setup {
    sites: Vec<Site>,
    variables: Vec<(String, String)>,
    folder: Arc<TempDir>,
    /// The test writes the table itself.
    own_table: bool,
    /// What a shell does before it becomes the gateway.
    shell: Option<String>,
}

impl Setup {
    /// A gateway in front of these, with free ports and a data directory of its own.
    pub(crate) fn of(sites: impl IntoIterator<Item = Site>) -> Self {
        let setup = Self {
            sites: sites.into_iter().collect(),
            variables: Vec::new(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            own_table: false,
            shell: None,
        };
        let (table, data) = (setup.path("providers.toml"), setup.data());
        setup
            .variable("TOKENBROKER_LOG", "trace")
            // A vocabulary takes a while to load where nothing is optimised.
            .set("books.counted_per_minute", "0")
            .set("server.listen", "127.0.0.1:0")
            .set("server.operations_listen", "127.0.0.1:0")
            .set("providers_file.path", &table.to_string_lossy())
            .set("books.directory", &data.to_string_lossy())
    }

    /// Sets a setting by its path: `timeouts.first_byte_ms`.
    pub(crate) fn set(self, path: &str, value: &str) -> Self {
        let name = format!("TOKENBROKER__{}", path.to_uppercase().replace('.', "__"));
        self.variable(&name, value)
    }

    /// A gateway key of this name; from now on clients need one. Its limits are settings of `keys.NAME`.
    pub(crate) fn key(self, name: &str, secret: &str) -> Self {
        self.set(&format!("keys.{name}.sha256"), &to_hex(&hash(secret.as_bytes())))
    }

    /// A variable of the process.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The table is what the test has written, here or elsewhere.
    pub(crate) fn own_table(mut self) -> Self {
        self.own_table = true;
        self
    }

    /// Starts it from a shell that does this first.
    pub(crate) fn after(mut self, shell: &str) -> Self {
        self.shell = Some(shell.to_owned());
        self
    }

    /// Where the books lie.
    pub(crate) fn data(&self) -> PathBuf {
        let set = self.variables.iter().rev().find(|(name, _)| name == "TOKENBROKER__BOOKS__DIRECTORY");
        set.map_or_else(|| self.path("data"), |(_, folder)| PathBuf::from(folder))
    }

    /// What the process wrote to its standard error so far, over all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// A file in the folder that the process runs in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(self) -> Gateway {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut child = self.command().stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}\n{}", self.log()));
        let (api, operations) = (address(&ready["api"]), address(&ready["operations"]));
        Gateway { api, operations, setup: self, child }
    }

    /// Starts it where it must not start; answers its exit code and what it said.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.is_empty() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(line, "", "it says that it is ready");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// What `tokenbroker report` says of the books, with the gateway's variables.
    pub(crate) fn report(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
        command.arg("report").args(arguments).env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn command(&self) -> Command {
        if !self.own_table {
            fs::write(self.path("providers.toml"), table(&self.sites)).unwrap();
        }
        let binary = env!("CARGO_BIN_EXE_tokenbroker");
        let mut command = match &self.shell {
            None => Command::new(binary),
            Some(shell) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\""), binary]);
                command
            }
        };
        command
            .args(["serve", "--json"])
            .env_clear()
            .envs(self.sites.iter().filter_map(Site::key))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

fn address(url: &Value) -> SocketAddr {
    url.as_str().and_then(|url| url.strip_prefix("http://")).and_then(|a| a.parse().ok()).expect("an address")
}

/// A running gateway. Dropping it kills it.
pub(crate) struct Gateway {
    pub(crate) api: SocketAddr,
    pub(crate) operations: SocketAddr,
    pub(crate) setup: Setup,
    child: Child,
}

impl Gateway {
    /// In front of these sites, with nothing else set.
    pub(crate) fn of(sites: impl IntoIterator<Item = Site>) -> Self {
        Setup::of(sites).start()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn call(&self, call: &Call) -> Answer {
        self.sent(call).await.answer().await
    }

    /// Sends a request and waits for nothing.
    pub(crate) async fn sent(&self, call: &Call) -> Client {
        let mut connection = Client::open(self.api).await;
        connection.send(call).await;
        connection
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&self, call: &Call) -> Whole {
        self.call(call).await.whole().await
    }

    /// Sends a chat request and reads the whole answer.
    pub(crate) async fn chat(&self, body: &str) -> Whole {
        self.ask(&Call::chat(body.to_owned())).await
    }

    /// Sends a short chat request with a key.
    pub(crate) async fn chat_with_key(&self, key: &str) -> Whole {
        self.ask(&Call::chat(super::chat::ask("auto")).key(key)).await
    }

    /// Asks the operations listener.
    pub(crate) async fn operator(&self, call: &Call) -> Whole {
        let mut connection = Client::open(self.operations).await;
        connection.send(call).await;
        connection.answer().await.whole().await
    }

    /// What the operations listener shows.
    pub(crate) async fn metrics(&self) -> String {
        self.operator(&Call::get("/metrics")).await.text().to_owned()
    }

    /// One sample of the metrics, by its name and labels without the prefix of all of them.
    pub(crate) async fn sample(&self, series: &str) -> Option<f64> {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix("tokenbroker_")?.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// What `/readyz` says.
    pub(crate) async fn readiness(&self) -> String {
        self.operator(&Call::get("/readyz")).await.text().to_owned()
    }

    /// The request's row, once it is closed and written.
    pub(crate) async fn booked(&self, request_id: &str) -> BookedRequest {
        let id: RequestId = request_id.parse().expect("an answer with a request id");
        let data = self.setup.data();
        until("a row in the books", async || booked(&data, id)).await
    }

    /// The row of an answer's request, once it is closed and written.
    pub(crate) async fn row_of(&self, answer: &Whole) -> BookedRequest {
        self.booked(answer.header("x-tokenbroker-request-id")).await
    }

    /// All rows, once there are this many: for clients that saw no request id.
    pub(crate) async fn all_booked(&self, count: usize) -> Vec<BookedRequest> {
        let data = self.setup.data();
        until("rows in the books", async || {
            let ids = ids(&data);
            (ids.len() >= count).then(|| ids.into_iter().filter_map(|id| booked(&data, id)).collect())
        })
        .await
    }

    /// Waits until an attempt at a backend is in the journal.
    pub(crate) async fn journaled(&self, backend: &str) {
        let data = self.setup.data();
        until("the attempt in the journal", async || {
            let files = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
            let mut journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
            let begins = |path: PathBuf| fs::read(path).unwrap().into_iter().take(65_536).collect::<Vec<u8>>();
            journals.any(|path| begins(path).windows(backend.len()).any(|part| part == backend.as_bytes())).then_some(())
        })
        .await;
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn drain(mut self) -> (ExitStatus, Setup) {
        self.terminate();
        (self.ended().await, self.setup.clone())
    }

    /// Asks it to stop (SIGTERM), and does not wait.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends any signal, and does not wait.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the gateway to end", async || self.child.try_wait().unwrap()).await
    }

    /// Ends it as a power cut would (SIGKILL). What it leaves can be started again.
    pub(crate) fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ids of all rows, in the order of their arrival.
fn ids(data: &Path) -> Vec<RequestId> {
    let books = Connection::open_with_flags(data.join("ledger.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    books.busy_timeout(PATIENCE).unwrap();
    let mut select = books.prepare("SELECT id FROM requests ORDER BY id").unwrap();
    let ids = select.query_map([], |row| row.get::<_, [u8; 16]>(0)).unwrap();
    ids.map(|id| RequestId::from_bytes(id.unwrap())).collect()
}

fn booked(data: &Path, id: RequestId) -> Option<BookedRequest> {
    Books::open(data).unwrap().request(id).unwrap()
}
