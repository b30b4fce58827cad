//! Parses the command line, runs one command, turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use tokenbroker::cli::{Cli, Output, environment};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::standard();
    match cli.run(&environment(), &mut output) {
        Ok(exit) => exit.into(),
        Err(error) => output.failed(&error).into(),
    }
}
