//! One budget object for each key name, for as long as the process lives.
//!
//! A key that a reload removes keeps its object here: its open requests settle into it, and if it comes back it goes on
//! from there. Names are the operator's, so there are few. The books are only asked for a window that is not counted yet
//! (at the start, for a new key, for another window): a request that ended before the mark was taken is in the store once
//! it is flushed, and what is settled after the mark is added by the budget itself. A request that ends in between may be
//! counted twice, which is the safe side; it is read once more then, so that this takes a key that never rests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::SharedClock;
use crate::config::keys::ANONYMOUS;
use crate::config::{Access, Config, GatewayKey};
use crate::ledger::{Books, DailySpend, Ledger};
use crate::policy::{Admission, Bound, Budget, BudgetWindow, KeyRing, Spent};
use crate::units::{KeyName, Usd};

/// How often the books are read again because a request ended meanwhile.
const READINGS: usize = 5;
/// How long the books may take to be read. They are stuck if it is longer.
const READING_WAIT: Duration = Duration::from_secs(10);

/// The budgets of all keys there have been.
pub struct Accounts {
    by_name: BTreeMap<KeyName, Arc<Budget>>,
    /// The data directory.
    folder: PathBuf,
    clock: SharedClock,
}

/// The bound of one key, ready to be put in force.
pub(super) struct Binding {
    key: KeyName,
    bound: Option<Bound>,
    /// Read from the books where the budget does not count this window.
    spent: Option<Spent>,
}

impl Accounts {
    /// The accounts of a gateway that starts. What cannot be read back counts as used up until it can be read, and the log
    /// says so: nothing spent would be generous.
    pub async fn at_start(config: &Config, ledger: &Ledger, clock: SharedClock) -> Self {
        let now = clock.wall();
        let mut accounts = Self { by_name: BTreeMap::new(), folder: config.books.directory.clone(), clock };
        let bindings = accounts.prepare(&config.keys, ledger).await.unwrap_or_else(|error| {
            tracing::error!(
                error,
                "what the keys have spent cannot be read: their budgets count as used up until a reload can read it"
            );
            let used_up = |key: &GatewayKey| {
                let spent = Spent { amount: None, at: now, mark: Usd::ZERO };
                Binding { key: key.name.clone(), bound: bound(key), spent: Some(spent) }
            };
            config.keys.iter().map(used_up).collect()
        });
        accounts.bind(bindings);
        accounts
    }

    /// Reads what must be known before the bounds of these keys can be put in force. Changes nothing yet.
    pub(super) async fn prepare(&self, keys: &[GatewayKey], ledger: &Ledger) -> Result<Vec<Binding>, String> {
        let reading = async {
            let mut bindings: Vec<Binding> =
                keys.iter().map(|key| Binding { key: key.name.clone(), bound: bound(key), spent: None }).collect();
            for _ in 0..READINGS {
                self.read_for(&mut bindings, ledger).await?;
                if bindings.iter().all(|binding| binding.spent.is_none_or(|spent| spent.mark == self.mark(&binding.key))) {
                    break;
                }
            }
            Ok(bindings)
        };
        let late = |_| Err(format!("the books did not answer within {} s", READING_WAIT.as_secs()));
        tokio::time::timeout(READING_WAIT, reading).await.unwrap_or_else(late)
    }

    async fn read_for(&self, bindings: &mut [Binding], ledger: &Ledger) -> Result<(), String> {
        let now = self.clock.wall();
        let mut unread: Vec<(&mut Binding, BudgetWindow)> = bindings
            .iter_mut()
            .filter(|binding| self.by_name.get(&binding.key).is_none_or(|budget| budget.must_be_read_for(binding.bound)))
            .filter_map(|binding| binding.bound.map(|bound| (binding, bound.window)))
            .collect();
        let begin = |window: BudgetWindow| window.start(now).unwrap_or(Timestamp::UNIX_EPOCH);
        let Some(since) = unread.iter().map(|(_, window)| begin(*window)).min() else { return Ok(()) };
        for (binding, _) in &mut unread {
            binding.spent = Some(Spent { amount: None, at: now, mark: self.mark(&binding.key) });
        }
        ledger.flush().await.map_err(|error| error.to_string())?;
        let days = spent_since(&self.folder, since).await?;
        for (binding, window) in unread {
            let first = begin(window).to_zoned(TimeZone::UTC).date();
            let own = days.iter().filter(|day| day.key == binding.key && day.day >= first);
            let amount = Some(own.map(|day| day.cost).sum());
            binding.spent = binding.spent.map(|spent| Spent { amount, ..spent });
        }
        Ok(())
    }

    /// Whether the budget of one of these keys waits for the books to be read.
    pub(super) fn wait_for_the_books(&self, keys: &[GatewayKey]) -> bool {
        keys.iter().any(|key| self.by_name.get(&key.name).is_some_and(|budget| budget.must_be_read_for(bound(key))))
    }

    /// Puts bounds in force. Keys without one are counted all the same.
    pub(super) fn bind(&mut self, bindings: Vec<Binding>) {
        for Binding { key, bound, spent } in bindings {
            self.by_name.entry(key).or_default().bind(bound, spent);
        }
    }

    /// The keys of a configuration, whose bounds are in force.
    pub fn ring(&self, config: &Config) -> KeyRing {
        if config.access() == Access::Open {
            return KeyRing::open_to_all(ANONYMOUS);
        }
        let admission = |key: &GatewayKey| Admission {
            key: key.name.clone(),
            limits: Arc::new(key.limits.clone()),
            budget: self.by_name.get(&key.name).cloned().unwrap_or_default(),
            budgeted: key.budget.is_some(),
        };
        KeyRing::new(config.keys.iter().map(|key| (key.sha256, admission(key))))
    }

    fn mark(&self, key: &KeyName) -> Usd {
        self.by_name.get(key).map_or(Usd::ZERO, |budget| budget.settled_ever())
    }
}

fn bound(key: &GatewayKey) -> Option<Bound> {
    key.budget.map(|(limit, window)| Bound { limit, window })
}

async fn spent_since(folder: &Path, since: Timestamp) -> Result<Vec<DailySpend>, String> {
    let folder = folder.to_owned();
    let read = move || Books::open(&folder).and_then(|books| books.spend_by_key_and_day(since));
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::Settings;
    use crate::policy::KeyLimits;

    #[tokio::test]
    async fn what_the_books_could_not_say_at_the_start_is_read_by_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), Arc::clone(&clock)).unwrap();
        let name = KeyName::new("web");
        let budget = Some((Usd::parse("1").unwrap(), BudgetWindow::Total));
        let key = GatewayKey { name: name.clone(), sha256: [1; 32], limits: KeyLimits::default(), budget };
        let mut config = Config { keys: vec![key], ..Config::default() };
        // Where no books are: what a store does that cannot be opened.
        config.books.directory = folder.path().join("elsewhere");

        let mut accounts = Accounts::at_start(&config, &ledger, Arc::clone(&clock)).await;
        let budget = Arc::clone(&accounts.by_name[&name]);
        assert!(budget.hold(Usd::from_pico(1), clock.wall()).is_err(), "nothing spent would be generous");
        assert!(accounts.wait_for_the_books(&config.keys));
        assert!(accounts.prepare(&config.keys, &ledger).await.is_err());

        accounts.folder = folder.path().to_owned();
        let bindings = accounts.prepare(&config.keys, &ledger).await.unwrap();
        accounts.bind(bindings);
        assert!(budget.hold(Usd::parse("1").unwrap(), clock.wall()).is_ok());
        assert!(!accounts.wait_for_the_books(&config.keys));
    }
}
