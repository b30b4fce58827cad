//! `tokenbroker settings`: every setting with its default, as a configuration to begin with. `scripts/docs` writes the
//! repository's own copies by it.

use clap::{Args, ValueEnum};

use super::output::{Exit, Output};
use crate::config::pages;

/// What `settings` takes.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// As a file to begin with, or as the page of the documentation.
    #[arg(long, value_enum, default_value_t = Format::Toml)]
    pub format: Format,
}

/// As what the settings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Toml,
    Markdown,
}

/// Runs `tokenbroker settings`.
pub fn run(args: &SettingsArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let text = match args.format {
        Format::Toml => pages::example(),
        Format::Markdown => pages::page(),
    };
    output.line(text.trim_end())?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;

    #[test]
    fn both_formats_are_the_whole_files() {
        let printed = |format| captured(|output| run(&SettingsArgs { format }, output)).1;
        assert_eq!((printed(Format::Toml), printed(Format::Markdown)), (pages::example(), pages::page()));
    }
}
