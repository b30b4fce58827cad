//! A price war played through on a virtual clock: a seeded workload meets the table's dated prices, and each of several
//! policies answers it with its own choice of backends. What it would have spent is computed by the code that books.
//!
//! [`texts`] has what real prompts are made of, [`workload`] puts sessions together from them, [`world`] knows what each
//! backend would answer and what that costs, [`broker`] and [`peers`] choose, [`optimum`] chooses with everything known,
//! [`war`] plays them against each other, [`losses`] says why the gateway's own policy lost to the optimum, and
//! [`picture`] draws the outcome.
//!
//! It replays decisions and sends nothing. The table, the tokens of the prompts, the decision and the arithmetic are the
//! real ones; lengths of answers, hits of caches and failures are drawn, and no figure here is a promise of any provider.

pub mod broker;
pub mod draw;
pub mod losses;
pub mod optimum;
pub mod peers;
pub mod picture;
pub mod steps;
#[cfg(test)]
mod testing;
pub mod texts;
pub mod war;
pub mod workload;
pub mod world;
