//! The configuration as it holds with what administrators did while the gateway ran: with the keys of the key book and the limits of
//! the budget book.

use jiff::Timestamp;

use super::routes::Front;
use crate::config::Config;
use crate::key_book::{BudgetBook, KeyBook};

/// A configuration with both books, as they hold at an instant. What the configuration does not bear is told in the log.
pub(super) fn in_effect((key_book, budget_book): (&KeyBook, &BudgetBook), config: &Config, now: Timestamp) -> Config {
    let (config, wrong) = with_keys(key_book, config.clone(), now);
    for (key, problem) in wrong {
        tracing::error!(key, problem, "a virtual key lets nobody in: the configuration does not bear its settings");
    }
    budget_book.over(config, now)
}

/// With the virtual keys, and what is wrong with them.
fn with_keys(key_book: &KeyBook, mut config: Config, now: Timestamp) -> (Config, Vec<(String, String)>) {
    let (more, wrong) = key_book.read(&config, now);
    config.keys.extend(more);
    let told =
        wrong.iter().flat_map(|(key, problems)| problems.iter().map(|problem| (key.clone(), problem.to_string()))).collect();
    (config, told)
}

impl Front {
    /// A configuration with the books of this gateway, now.
    pub(super) fn books_over(&self, config: &Config) -> Config {
        in_effect((&self.key_book, &self.budget_book), config, self.clock.wall())
    }

    /// A configuration with the virtual keys, now.
    pub(super) fn keys_over(&self, config: Config) -> Config {
        with_keys(&self.key_book, config, self.clock.wall()).0
    }
}
