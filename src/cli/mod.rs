//! The command line: one file per command. Commands get what they need from [`setup`], call the library and write what it
//! returns through [`Output`]; nothing else in the crate prints. A command answers with an [`Exit`]; an error is for
//! what no command foresaw.

mod administered;
pub mod args;
pub mod budgets;
pub mod check;
pub mod count;
pub mod days;
pub mod demo;
pub mod export;
pub mod health;
pub mod keys;
pub mod ledger;
pub mod output;
pub mod prices;
pub mod reconcile;
pub mod report;
pub mod route;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod setup;
mod signals;
pub mod simulate;
pub mod table;
pub mod top;

pub use args::{Cli, GatewayArgs, environment};
pub use output::{Exit, Output};
pub use setup::Setup;
