//! `tokenbroker top` as somebody at a terminal has it, over a pseudo-terminal, and as a script has it.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::harness::provider::status;
use crate::harness::{Gateway, Provider, Setup, Site, chat, until};

fn top(url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.args(["top", "--url", url]).args(more).env_clear().env("TERM", "xterm");
    command
}

/// Runs it to its end.
fn ran(url: &str, more: &[&str]) -> Output {
    top(url, more).stdin(Stdio::null()).output().unwrap()
}

/// `top` at a terminal of its own.
struct Terminal {
    master: OwnedFd,
    slave: File,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn open(operations: SocketAddr, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        resize(&master, columns, rows);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = top(&operations.to_string(), &[]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { master, slave, shown, child }
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The last whole picture, without colours.
    fn picture(&self) -> Option<String> {
        let all = self.all();
        let (whole, _) = all.rsplit_once("\x1b[J")?;
        let (_, last) = whole.rsplit_once("\x1b[H")?;
        let mut parts = last.split("\x1b[");
        let first = parts.next()?.to_owned();
        Some(parts.fold(first, |text, part| text + part.split_once(['m', 'K']).map_or("", |(_, rest)| rest)))
    }

    /// Waits until the picture has this in it.
    async fn shows(&self, wanted: &str) -> String {
        until(wanted, async || self.picture().filter(|picture| picture.contains(wanted))).await
    }

    fn press(&self, keys: &[u8]) {
        rustix::io::write(&self.master, keys).unwrap();
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    async fn ended(&mut self) -> Option<i32> {
        until("top to end", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &OwnedFd, columns: u16, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[tokio::test]
async fn it_draws_in_place_follows_the_size_and_puts_the_terminal_back() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Setup::of([Site::of(&east), Site::of(&west).price("3", "6")]).start();
    let mut terminal = Terminal::open(gateway.operations, 140, 24);
    terminal.shows("no request yet").await;
    assert!(!terminal.echoes(), "keys are taken as they come");

    gateway.chat(&chat::ask("auto")).await;
    let picture = terminal.shows("9>4").await;
    assert!(picture.contains("east/jade-v3") && picture.contains("$0.000017") && picture.contains("66.6 %"), "{picture}");
    assert!(picture.contains("RUNNER-UP") && picture.contains("BACKEND"), "{picture}");
    east.next(status(503, &[], &chat::error("down")));
    gateway.chat(&chat::ask("auto")).await;
    terminal.shows("after overloaded").await;

    resize(&terminal.master, 60, 12);
    kill_process(Pid::from_child(&terminal.child), Signal::WINCH).unwrap();
    let narrow = until("a narrow picture", async || terminal.picture().filter(|picture| !picture.contains("RUNNER-UP"))).await;
    assert!(narrow.contains("WINNER") && narrow.lines().all(|line| line.trim_end().chars().count() <= 60), "{narrow}");
    assert_eq!(narrow.lines().count(), 12);

    terminal.press(b"x");
    terminal.press(b"q");
    assert_eq!(terminal.ended().await, Some(0));
    assert!(terminal.echoes(), "the keyboard is as it was");
    until("the screen to be put back", async || terminal.all().ends_with("\x1b[?25h\x1b[?1049l").then_some(())).await;
}

#[tokio::test]
async fn it_waits_for_a_gateway_that_restarts_and_ends_with_a_signal() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let operations = gateway.operations;
    gateway.chat(&chat::ask("auto")).await;
    let mut terminal = Terminal::open(operations, 120, 20);
    terminal.shows("1 request ").await;
    let setup = gateway.kill();
    let old = terminal.shows("nobody listens there").await;
    assert!(old.contains("1 request "), "the last picture stays: {old}");
    let _again = setup.set("server.operations_listen", &operations.to_string()).start();
    terminal.shows("0 requests").await;
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap();
    assert_eq!(terminal.ended().await, Some(0));
    assert!(terminal.echoes());
}

#[tokio::test]
async fn a_script_gets_text_or_json() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    gateway.chat(&chat::ask("auto")).await;
    let url = format!("http://{}", gateway.operations);
    for more in [&["--once"][..], &[]] {
        let text = String::from_utf8(ran(&url, more).stdout).unwrap();
        assert!(text.contains("east/jade-v3") && !text.contains('\x1b'), "{text}");
    }
    let json: Value = serde_json::from_slice(&ran(&url, &["--once", "--json"]).stdout).unwrap();
    assert_eq!(json["entries"][0]["answered_by"], "east/jade-v3");

    let mut follower = top(&url, &["--json"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["number"].clone();
    assert_eq!(next(), 1);
    gateway.chat(&chat::ask("auto")).await;
    assert_eq!(next(), 2);
    kill_process(Pid::from_child(&follower), Signal::INT).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_wrong_address_is_told_in_one_sentence() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let nobody = Provider::refusing("nobody").address;
    let cases = [
        (format!("http://{}", gateway.api), "has no feed: give the operations address"),
        (format!("http://{nobody}"), "nobody listens there"),
        (format!("https://{}", gateway.operations), "is no address of an operations listener"),
    ];
    for (url, expected) in cases {
        for more in [&[][..], &["--once", "--json"], &["--json"]] {
            let output = ran(&url, more);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{url} {more:?}: {said}");
            assert!(said.contains(expected) && said.lines().count() == 1, "{url} {more:?}: {said}");
        }
    }
}
