//! Real PostgreSQL and Redis, as Debian has them: on a free port of loopback, in a directory that goes with the test, as a user
//! without rights. They can be stopped, started again on what they have, and cut off.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::{Gateway, Setup, rows, until};

/// What both servers ask for.
pub(crate) const PASSWORD: &str = "s3cret-of-the-fleet";

/// A server that is not installed.
#[expect(clippy::print_stdout, reason = "the line is one that `scripts/test` looks for")]
fn missing(what: &str) {
    println!("skipped: no server ({what}; Debian's postgresql and redis-server, which scripts/test installs)");
}

/// The program of a server, wherever Debian puts it.
fn program(name: &str) -> Option<PathBuf> {
    let newest = || {
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
            .collect();
        versions.sort();
        versions.into_iter().rev().find(|path| path.exists())
    };
    newest()
        .or_else(|| ["/usr/bin", "/usr/local/bin", "/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|p| p.exists()))
}

/// Root may not run PostgreSQL: Debian's package makes a user that may.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let id = |option: &str| {
        let told = Command::new("id").args([option, "postgres"]).output().unwrap();
        String::from_utf8(told.stdout).unwrap().trim().parse().expect("the user postgres")
    };
    Some((id("-u"), id("-g")))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder of the server's user.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    if let Some((user, group)) = unprivileged() {
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    folder
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command.current_dir(folder).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether the port takes a connection.
async fn listens(port: u16) -> Option<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).await.ok()
}

/// PostgreSQL. Dropping it kills it.
pub(crate) struct Postgres {
    program: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// `None` where there is none, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let (Some(init), Some(program)) = (program("initdb"), program("postgres")) else {
            missing("PostgreSQL");
            return None;
        };
        let folder = folder();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let made = command(&init, folder.path())
            .args([
                "-D",
                "data",
                "-U",
                "books",
                "-A",
                "scram-sha-256",
                "--pwfile=password",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let mut server = Self { program, folder, port: free_port(), child: None };
        server.resume().await;
        Some(server)
    }

    /// Starts it on what it has.
    pub(crate) async fn resume(&mut self) {
        let port = self.port.to_string();
        let child = command(&self.program, self.folder.path())
            .args(["-D", "data", "-p", &port, "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("PostgreSQL", async || self.connect().await).await;
    }

    /// Stops it at once, connections and all, as a failing machine would.
    pub(crate) fn stop(&mut self) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), Signal::QUIT).unwrap();
            // One that was cut off hears nothing else.
            self.go_on();
        }
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// It answers nothing any more and holds its connections, until it is told to go on.
    pub(crate) fn cut_off(&self) {
        self.signal_all(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let parent = Pid::from_child(self.child.as_ref().expect("a running server"));
        kill_process(parent, signal).unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero())).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended just now.
            let _ = kill_process(child, signal);
        }
    }

    async fn connect(&self) -> Option<Client> {
        let stream = listens(self.port).await?;
        let mut config = Config::new();
        config.user("books").password(PASSWORD).dbname("postgres").ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect_raw(stream, NoTls).await.ok()?;
        #[expect(clippy::disallowed_methods, reason = "it ends with its client, which the test drops")]
        tokio::spawn(connection);
        Some(client)
    }

    /// What a question of the test's own tells.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<Row> {
        self.connect().await.expect("PostgreSQL").query(sql, &[]).await.unwrap()
    }

    /// The same while the tables may not be there yet.
    pub(crate) async fn try_ask(&self, sql: &str) -> Option<Vec<Row>> {
        self.connect().await.expect("PostgreSQL").query(sql, &[]).await.ok()
    }

    /// The first column of the first row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.ask(sql).await[0].get(0)
    }

    /// Waits until it has what these gateways' own books have: every row once, and the same sums.
    pub(crate) async fn has_all(&self, gateways: &[&Setup]) {
        let mut own = (0, 0, 0);
        for gateway in gateways {
            let rows = rows::attempts(&gateway.data());
            own.0 += i64::try_from(rows::requests(&gateway.data()).len()).unwrap();
            own.1 += i64::try_from(rows.len()).unwrap();
            own.2 += rows.iter().map(|row| row.cost).sum::<i64>();
        }
        let told = until("every row in PostgreSQL", async || {
            let sql = "SELECT (SELECT count(*) FROM tokenbroker.requests), count(*), coalesce(sum(cost_pico_usd), 0)::bigint \
                FROM tokenbroker.attempts";
            let rows = self.try_ask(sql).await?;
            let told: (i64, i64, i64) = (rows[0].get(0), rows[0].get(1), rows[0].get(2));
            (told.0 >= own.0).then_some(told)
        })
        .await;
        assert_eq!(told, own);
        let sums = "SELECT sum(requests)::bigint, sum(attempts)::bigint, sum(cost_micro_usd * 1000000 + cost_rest_pico)::bigint \
            FROM tokenbroker.usage_daily";
        let sums = &self.ask(sums).await[0];
        assert_eq!((sums.get::<_, i64>(0), sums.get::<_, i64>(1), sums.get::<_, i64>(2)), own);
    }

    /// A gateway whose books go there.
    pub(crate) fn for_gateway(&self, setup: Setup) -> Setup {
        let address = format!("postgres://books@127.0.0.1:{}/postgres", self.port);
        setup.set("fleet.postgres", &address).variable("TOKENBROKER_POSTGRES_PASSWORD", PASSWORD)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Redis. Dropping it kills it.
pub(crate) struct Redis {
    program: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Redis {
    /// `None` where there is none, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = program("redis-server").or_else(|| program("valkey-server")) else {
            missing("Redis");
            return None;
        };
        let mut server = Self { program, folder: folder(), port: free_port(), child: None };
        server.resume().await;
        Some(server)
    }

    /// Waits until a gateway can have slices of budgets.
    pub(crate) async fn lends(gateway: &Gateway) {
        let up = async || (gateway.sample("fleet_store_up{store=\"redis\"}").await == Some(1.0)).then_some(());
        until("budgets to be shared", up).await;
    }

    /// Starts it with nothing in it.
    pub(crate) async fn resume(&mut self) {
        let port = self.port.to_string();
        let child = command(&self.program, self.folder.path())
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", PASSWORD])
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("Redis", async || listens(self.port).await).await;
    }

    /// Ends it; what it held is gone.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().expect("a running server")), signal).unwrap();
    }

    /// Sends one command, and waits for its answer.
    pub(crate) async fn tell(&self, command: &str) -> String {
        let mut stream = listens(self.port).await.expect("Redis");
        stream.write_all(format!("AUTH {PASSWORD}\r\n{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        told
    }

    /// A gateway that shares budgets there.
    pub(crate) fn for_gateway(&self, setup: Setup) -> Setup {
        let address = format!("redis://127.0.0.1:{}", self.port);
        setup.set("fleet.redis", &address).variable("TOKENBROKER_REDIS_PASSWORD", PASSWORD)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
