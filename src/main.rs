//! Parses the command line, runs one command, turns its end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use tokenbroker::cli::{Cli, Output, environment};

/// A request under way holds a dozen pieces of memory of one to eight KB, for which glibc's goes through its lists.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::standard();
    match cli.run(&environment(), &mut output) {
        Ok(exit) => exit.into(),
        Err(error) => output.failed(&error).into(),
    }
}
