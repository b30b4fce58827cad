//! Somebody's desk on the first day: a folder like a fresh clone, and the commands that are typed there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::page::{ROOT, words};

const BINARY: &str = env!("CARGO_BIN_EXE_tokenbroker");
/// In the place of cargo: what it would have built is there already.
const CARGO: &str = "#!/bin/sh\n[ \"$1 $2 $3\" = \"run --release --\" ] || exit 99\nshift 3\nexec tokenbroker \"$@\"\n";
const REQUEST: &str = r#"{"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}"#;

/// A folder with everything that a clone has, and the variables that were exported there.
pub(crate) struct Desk {
    folder: TempDir,
    /// Programs that are found before others.
    programs: TempDir,
    variables: BTreeMap<String, String>,
}

impl Desk {
    /// A clone with a request to try (`request.json`), where no port is taken.
    pub(crate) fn new() -> Self {
        let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        clone(folder.path());
        fs::write(folder.path().join("request.json"), REQUEST).unwrap();
        symlink(BINARY, programs.path().join("tokenbroker")).unwrap();
        let cargo = programs.path().join("cargo");
        fs::write(&cargo, CARGO).unwrap();
        fs::set_permissions(cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let port = ["LISTEN", "OPERATIONS_LISTEN"].map(|name| (format!("TOKENBROKER__SERVER__{name}"), "127.0.0.1:0".to_owned()));
        Self { folder, programs, variables: port.into() }
    }

    pub(crate) fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// What was exported so far.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    pub(crate) fn export(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    fn at_hand(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.programs.path().display()));
        command.env("TMPDIR", self.folder.path()).envs(&self.variables);
        command
    }

    fn tokenbroker(&self, arguments: &str) -> Command {
        let mut command = self.at_hand(BINARY);
        command.args(words(arguments, &self.variables));
        command
    }

    /// Runs a line as a shell does; it has to end by itself, and well. Answers what it wrote.
    pub(crate) fn shell(&self, line: &str) -> String {
        let mut command = self.at_hand("/bin/sh");
        ended_well(line, command.args(["-c", line]))
    }

    /// Runs `tokenbroker` with these arguments; it has to end by itself, and well. Answers what it wrote.
    pub(crate) fn run(&self, arguments: &str) -> String {
        ended_well(&format!("tokenbroker {arguments}"), &mut self.tokenbroker(arguments))
    }

    /// Starts a command that serves, waits for the line that says so, and lets it end as Ctrl-C does.
    pub(crate) fn run_until(&self, arguments: &str, ready: &str) {
        let mut child = Ended(self.tokenbroker(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.trim_start().starts_with(ready)), "tokenbroker {arguments}: no {ready:?}");
        kill_process(Pid::from_child(&child.0), Signal::INT).unwrap();
        assert!(child.0.wait().unwrap().success(), "tokenbroker {arguments}");
    }

    /// What becomes of a request, with every provider's key.
    pub(crate) fn route(&self, request: &Value) -> Output {
        fs::write(self.path("asked.json"), request.to_string()).unwrap();
        self.tokenbroker("route --all-providers --json asked.json").output().unwrap()
    }
}

fn ended_well(line: &str, command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{line}: {status}\n{out}{err}");
    out
}

/// Copies what a commit of everything here would hold.
fn clone(folder: &Path) {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(ROOT).output().unwrap();
    assert!(listed.status.success(), "git ls-files");
    for file in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        let (from, to) = (Path::new(ROOT).join(file), folder.join(file));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}
