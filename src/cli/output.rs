//! The one place that writes to the terminal. What a command was asked for goes to the standard output, whatever else it
//! has to say to the standard error stream, so that a script can take the one and a person reads both.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

/// How a command ended. `--help` lists these; 2 (the command line is wrong) is clap's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    Failure,
    /// The configuration or the table has problems.
    Problems,
    /// No backend can serve the request.
    NoneAdequate,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Problems => 3,
            Exit::NoneAdequate => 4,
        })
    }
}

/// How wide a line may be where no terminal says it.
pub const COLUMNS: usize = 100;

/// Where a command writes.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    colour: bool,
    columns: usize,
}

impl Output {
    /// The streams of this process. Colour only on a terminal, and not where `NO_COLOR` is set.
    pub fn standard() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let columns = terminal.filter(|columns| *columns > 0).unwrap_or(COLUMNS);
        Self { out: Box::new(io::stdout()), err: Box::new(io::stderr()), colour, columns }
    }

    /// Streams of the caller's own, without colour.
    pub fn to(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), err: Box::new(err), colour: false, columns: COLUMNS }
    }

    /// Whether colours may be used.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// How many columns the terminal has; [`COLUMNS`] where there is none.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Where what was asked for goes, for whoever writes much of it. To be flushed.
    pub fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut *self.out
    }

    /// What was asked for, to the byte.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A line of what was asked for.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())?;
        self.out.flush()
    }

    /// The same as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// A line beside what was asked for.
    pub fn note(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.err, "{}", text.as_ref())?;
        self.err.flush()
    }

    /// Tells an error nobody foresaw. A reader that went away (`| head`) is no error.
    pub fn failed(&mut self, error: &anyhow::Error) -> Exit {
        let closed = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(closed) {
            return Exit::Success;
        }
        // With the standard error stream gone too, the exit code has to do.
        let _ = self.note(format!("tokenbroker: {error:#}"));
        Exit::Failure
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Exit, Output};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    /// A stream that can be read after it was written.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Runs a command and returns how it ended and what it wrote to both streams.
    pub(crate) fn captured(run: impl FnOnce(&mut Output) -> anyhow::Result<Exit>) -> (Exit, String, String) {
        let (out, err) = (Captured::default(), Captured::default());
        let mut output = Output::to(out.clone(), err.clone());
        let exit = match run(&mut output) {
            Ok(exit) => exit,
            Err(error) => output.failed(&error),
        };
        (exit, out.text(), err.text())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::captured;
    use super::*;

    #[test]
    fn what_was_asked_for_and_what_is_said_beside_it_are_two_streams() {
        let (exit, out, err) = captured(|output| {
            output.line("asked")?;
            output.json(&["a"])?;
            output.note("beside")?;
            Ok(Exit::Success)
        });
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Success, "asked\n[\"a\"]\n", "beside\n"));
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_a_closed_pipe_is_none() {
        let (exit, _, err) = captured(|_| Err(anyhow::anyhow!("cause").context("what")));
        assert_eq!((exit, err.as_str()), (Exit::Failure, "tokenbroker: what: cause\n"));
        let (exit, _, err) = captured(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    }
}
