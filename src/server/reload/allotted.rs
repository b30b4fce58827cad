//! One object for each free quota and each prepaid balance, by its name, for as long as the process lives: what is counted
//! outlives a reload, and a table that changes an amount changes it under the requests that are open.
//!
//! The books are asked as for budgets (see `accounts`): at the start, and for a quota or balance that is not counted yet. An
//! attempt that was under way when a reload brought a quota in is not counted against it, since it has no claim on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::{Prepaid, Quota, Snapshot};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::ledger::{Books, Charged, Drawn, Ledger};
use crate::policy::{Allowances, Balance, FreeQuota};
use crate::units::{BackendId, Draw};

/// How long the books may take to be read. They are stuck if it is longer.
const READING_WAIT: Duration = Duration::from_secs(10);

/// The quotas and balances of all tables there have been.
pub struct Allotted {
    quotas: BTreeMap<Arc<str>, Arc<FreeQuota>>,
    /// By the provider's id.
    balances: BTreeMap<String, Arc<Balance>>,
    /// What of the table in force could not be read from the books.
    unread: bool,
    /// The data directory.
    folder: PathBuf,
    clock: SharedClock,
}

/// What is used of those that were not counted; `None` of one for which the books cannot be read.
pub(super) struct Used {
    /// In the windows that hold this instant.
    at: Timestamp,
    quotas: BTreeMap<Arc<str>, Option<Draw>>,
    /// By the provider's id.
    balances: BTreeMap<String, Option<i128>>,
}

impl Allotted {
    /// Those of a gateway that starts, with what its requests may use. What cannot be read counts as used up.
    pub async fn at_start(config: &Config, table: &Snapshot, ledger: &Ledger, clock: SharedClock) -> (Self, Allowances) {
        let mut allotted = Self::nothing(config, clock);
        let used = allotted.read(table, ledger, config.timeouts.total).await.unwrap_or_else(|error| {
            tracing::error!(
                error,
                "what is used of free quotas and balances cannot be read: they count as used up until it can be"
            );
            Used {
                at: allotted.clock.wall(),
                quotas: table.quotas.iter().map(|quota| (Arc::clone(&quota.name), None)).collect(),
                balances: prepaid(table).map(|(provider, _)| (provider.to_owned(), None)).collect(),
            }
        });
        let allowances = allotted.bind(table, used);
        (allotted, allowances)
    }

    /// Reads what must be known before the quotas and balances of a table can be put in force. Changes nothing yet.
    /// `longest`: an attempt begins at most so long after its request arrived.
    pub(super) async fn read(&self, table: &Snapshot, ledger: &Ledger, longest: Duration) -> Result<Used, String> {
        let wanted = self.wanted(table, self.clock.wall());
        if wanted.is_nothing() {
            return Ok(wanted.used(table, &Rows::default()));
        }
        ledger.flush().await.map_err(|error| error.to_string())?;
        let reading = read_books(self.folder.clone(), wanted.windows(), wanted.beginnings(), longest);
        let late = |_| Err(format!("the books did not answer within {} s", READING_WAIT.as_secs()));
        let rows = tokio::time::timeout(READING_WAIT, reading).await.unwrap_or_else(late)?;
        Ok(wanted.used(table, &rows))
    }

    fn nothing(config: &Config, clock: SharedClock) -> Self {
        let folder = config.books.directory.clone();
        Self { quotas: BTreeMap::new(), balances: BTreeMap::new(), unread: false, folder, clock }
    }

    /// Those of a table that are not counted yet.
    fn wanted<'t>(&self, table: &'t Snapshot, at: Timestamp) -> Wanted<'t> {
        let unknown = |quota: &&Arc<Quota>| self.quotas.get(&quota.name).is_none_or(|counted| counted.must_be_read_for(quota));
        let unpaid =
            |(id, prepaid): &(&str, &Prepaid)| self.balances.get(*id).is_none_or(|counted| counted.must_be_read_for(prepaid));
        Wanted { at, quotas: table.quotas.iter().filter(unknown).collect(), balances: prepaid(table).filter(unpaid).collect() }
    }

    /// Puts the quotas and balances of a table in force.
    pub(super) fn bind(&mut self, table: &Snapshot, mut used: Used) -> Allowances {
        self.unread = used.quotas.values().any(Option::is_none) || used.balances.values().any(Option::is_none);
        let quotas = table.quotas.iter().map(|quota| {
            let counted = self.quotas.entry(Arc::clone(&quota.name)).or_default();
            counted.bind(Arc::clone(quota), used.quotas.remove(&quota.name), used.at);
            Arc::clone(counted)
        });
        let quotas = quotas.collect();
        let given = |name: &Arc<str>| table.quotas.iter().any(|quota| quota.name == *name);
        self.quotas.iter().filter(|(name, _)| !given(name)).for_each(|(_, counted)| counted.retire());
        let paid: BTreeSet<&str> = prepaid(table).map(|(id, _)| id).collect();
        self.balances.iter().filter(|(id, _)| !paid.contains(id.as_str())).for_each(|(_, counted)| counted.bind(None, None));
        let balances = table.providers().iter().map(|provider| {
            let prepaid = provider.prepaid.clone()?;
            let counted = self.balances.entry(provider.id.clone()).or_default();
            counted.bind(Some(prepaid), used.balances.remove(&provider.id));
            Some(Arc::clone(counted))
        });
        Allowances::new(quotas, if paid.is_empty() { Vec::new() } else { balances.collect() })
    }

    /// Whether any of them counts as used up because the books could not be read.
    pub(super) const fn waits_for_the_books(&self) -> bool {
        self.unread
    }
}

/// What is left of the free quotas and balances of a table at an instant, as the books of a data directory say: what a gateway
/// would find that started there. Nothing is used where there are no books; what is under way is in none. Blocks.
///
/// # Errors
/// Says why the books cannot be read.
pub fn allowances_of_books(config: &Config, table: &Snapshot, at: Timestamp, clock: SharedClock) -> Result<Allowances, String> {
    let mut allotted = Allotted::nothing(config, clock);
    let wanted = allotted.wanted(table, at);
    let rows = if wanted.is_nothing() || !Books::are_in(&allotted.folder) {
        Rows::default()
    } else {
        read_rows(&allotted.folder, &wanted.windows(), &wanted.beginnings(), config.timeouts.total)?
    };
    let used = wanted.used(table, &rows);
    Ok(allotted.bind(table, used))
}

/// The quotas and balances of a table of which the books must tell what is used.
struct Wanted<'t> {
    at: Timestamp,
    quotas: Vec<&'t Arc<Quota>>,
    /// With their provider's id.
    balances: Vec<(&'t str, &'t Prepaid)>,
}

impl Wanted<'_> {
    fn is_nothing(&self) -> bool {
        self.quotas.is_empty() && self.balances.is_empty()
    }

    /// When the window of a quota began; one that is not given now is counted from here on.
    fn begun(&self, quota: &Quota) -> Timestamp {
        quota.window(self.at).map_or(self.at, |window| window.from)
    }

    fn windows(&self) -> BTreeSet<Timestamp> {
        self.quotas.iter().map(|quota| self.begun(quota)).collect()
    }

    fn beginnings(&self) -> BTreeSet<Timestamp> {
        self.balances.iter().map(|(_, prepaid)| prepaid.from).collect()
    }

    /// What rows of the books say that is used.
    fn used(&self, table: &Snapshot, (drawn, charged): &Rows) -> Used {
        let of_quota = |quota: &&Arc<Quota>| {
            let draw = drawn.get(&self.begun(quota)).map(|rows| drawn_on(quota, table, rows));
            (Arc::clone(&quota.name), Some(draw.unwrap_or_default()))
        };
        let of_balance = |(id, prepaid): &(&str, &Prepaid)| {
            let rows = charged.get(&prepaid.from).into_iter().flatten();
            let own = rows.filter(|row| row.provider == *id && row.currency == prepaid.amount.currency().code());
            ((*id).to_owned(), Some(own.map(|row| row.pico).sum()))
        };
        Used {
            at: self.at,
            quotas: self.quotas.iter().map(of_quota).collect(),
            balances: self.balances.iter().map(of_balance).collect(),
        }
    }
}

fn prepaid(table: &Snapshot) -> impl Iterator<Item = (&str, &Prepaid)> {
    table.providers().iter().filter_map(|provider| Some((provider.id.as_str(), provider.prepaid.as_ref()?)))
}

/// What counts against a quota: what it bore of its backends' attempts, and what no quota of theirs did.
fn drawn_on(quota: &Quota, table: &Snapshot, rows: &[Drawn]) -> Draw {
    let others = |id: &BackendId| table.backend_named(id.as_str()).map(|backend| table.quotas_of(backend).collect::<Vec<_>>());
    let counts = |row: &&Drawn| {
        let Some(quotas) = others(&row.backend).filter(|quotas| quotas.iter().any(|own| own.index == quota.index)) else {
            return false;
        };
        let another = |own: &&Arc<Quota>| own.index != quota.index && row.quota.as_deref() == Some(&*own.name);
        !quotas.iter().any(another)
    };
    rows.iter().filter(counts).fold(Draw::default(), |sum, row| sum.plus(row.draw))
}

type Rows = (BTreeMap<Timestamp, Vec<Drawn>>, BTreeMap<Timestamp, Vec<Charged>>);

async fn read_books(
    folder: PathBuf,
    windows: BTreeSet<Timestamp>,
    beginnings: BTreeSet<Timestamp>,
    longest: Duration,
) -> Result<Rows, String> {
    let read = move || read_rows(&folder, &windows, &beginnings, longest);
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}

/// Blocks: it reads the books.
fn read_rows(
    folder: &Path,
    windows: &BTreeSet<Timestamp>,
    beginnings: &BTreeSet<Timestamp>,
    longest: Duration,
) -> Result<Rows, String> {
    let books = Books::open(folder).map_err(|error| error.to_string())?;
    let drawn = windows.iter().map(|since| books.drawn_since(*since, longest).map(|rows| (*since, rows)));
    let drawn = drawn.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let charged = beginnings.iter().map(|since| books.charged_since(*since, longest).map(|rows| (*since, rows)));
    Ok((drawn, charged.collect::<Result<_, _>>().map_err(|error| error.to_string())?))
}
