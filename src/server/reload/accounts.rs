//! One budget and one throttle for each key, team and project by its name, and for the gateway, for as long as the process lives.
//!
//! A key that a reload removes keeps its object here: its open requests settle into it, and if it comes back it goes on
//! from there. Names are the operator's, so there are few. The books are only asked for a window that is not counted yet
//! (at the start, for a new key, for another window) or for a team or project that a key has come to: a request that ended
//! before the mark was taken is in the store once it is flushed, and what is settled after the mark is added by the budget
//! itself. A request that ends in between may be counted twice, which is the safe side; it is read once more then, so that
//! this takes a payer that never rests.
//!
//! What a team or project spent is what was booked in its name, and what the keys that belong to it, or did since the process
//! began, spent elsewhere: a key that comes brings what it has spent, and one that goes, or is gone altogether, takes nothing
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::SharedClock;
use crate::config::keys::ANONYMOUS;
use crate::config::{Access, Config, GatewayKey, Means, Standing};
use crate::ledger::{Books, GroupSpend, KeySpend, Ledger, Mark, StoreError};
use crate::policy::{
    Admission, Bound, Budget, BudgetReport, Budgets, Groups, KeyRing, Payer, Rates, SharedBounds, Spent, Throttle, Throttles,
    Whose, Window,
};
use crate::units::{KeyName, Usd};

/// How often the books are read again because a request ended meanwhile.
const READINGS: usize = 5;
/// How long the books may take to be read. They are stuck if it is longer.
const READING_WAIT: Duration = Duration::from_secs(10);

/// The budgets of all payers there have been.
pub struct Accounts {
    by_payer: BTreeMap<Payer, Account>,
    /// The data directory.
    folder: PathBuf,
    /// Where gateways share what bounds a payer.
    shared: Option<SharedBounds>,
    clock: SharedClock,
}

struct Account {
    budget: Arc<Budget>,
    /// Whose spending it counts.
    members: Members,
    throttle: Arc<Throttle>,
}

/// The keys that a budget is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Members {
    All,
    These(BTreeSet<KeyName>),
}

/// The bounds of one payer, ready to be put in force.
pub(super) struct Binding {
    payer: Payer,
    members: Members,
    /// What was spent is read from the books where the budget does not count the window.
    bounds: Vec<(Bound, Option<Spent>)>,
    rates: Rates,
}

impl Members {
    /// With those of both.
    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::These(known), Self::These(more)) => Self::These(known.union(more).cloned().collect()),
            _ => Self::All,
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::All => None,
            Self::These(these) => Some(Arc::new(these.clone())),
        }
    }

    fn count(&self, key: &KeyName) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(key),
        }
    }

    /// What the books say that a payer with these members spent.
    fn spent(&self, payer: &Payer, Spending { keys, groups }: &Spending) -> Usd {
        let name = match payer {
            Payer::Team(name) => Some((Mark::Team, name)),
            Payer::Project(name) => Some((Mark::Project, name)),
            Payer::Key(_) | Payer::Gateway => None,
        };
        let own: Usd = keys.iter().filter(|spend| self.count(&spend.key)).map(|spend| spend.cost).sum();
        let in_its_name = |spend: &&GroupSpend| name == Some((spend.of, &spend.name)) && !self.count(&spend.key);
        own + groups.iter().filter(in_its_name).map(|spend| spend.cost).sum::<Usd>()
    }
}

impl Binding {
    fn new(payer: Payer, members: Members, means: &Means) -> Self {
        let bounds = means.budgets.iter().map(|bound| (bound.clone(), None)).collect();
        Self { payer, members, bounds, rates: means.rates }
    }

    /// The bounds of everybody that a configuration names.
    fn of(config: &Config) -> Vec<Self> {
        let keys = &config.keys;
        let naming = |name: fn(&GatewayKey) -> Option<&String>, group: &String| {
            Members::These(keys.iter().filter(|key| name(key) == Some(group)).map(|key| key.name.clone()).collect())
        };
        let own = keys
            .iter()
            .map(|key| Self::new(Payer::Key(key.name.clone()), Members::These(BTreeSet::from([key.name.clone()])), &key.means));
        let projects = config
            .projects
            .iter()
            .map(|(name, means)| Self::new(Payer::Project(name.clone()), naming(|key| key.project.as_ref(), name), means));
        let teams = config
            .teams
            .iter()
            .map(|(name, means)| Self::new(Payer::Team(name.clone()), naming(|key| key.team.as_ref(), name), means));
        let gateway = Self::new(Payer::Gateway, Members::All, &config.gateway);
        own.chain(projects).chain(teams).chain([gateway]).collect()
    }
}

impl Accounts {
    /// The accounts of a gateway that starts. What cannot be read back counts as used up until it can be read, and the log
    /// says so: nothing spent would be generous.
    pub async fn at_start(config: &Config, (ledger, shared): (&Ledger, Option<SharedBounds>), clock: SharedClock) -> Self {
        let mut accounts = Self { by_payer: BTreeMap::new(), folder: config.books.directory.clone(), shared, clock };
        let bindings = accounts.prepare(config, ledger).await.unwrap_or_else(|error| {
            tracing::error!(
                error,
                "what the keys have spent cannot be read: their budgets count as used up until a reload can read it"
            );
            accounts.unread(config)
        });
        accounts.bind(bindings);
        accounts
    }

    /// Reads what must be known before the bounds of this configuration can be put in force. Changes
    /// nothing yet.
    pub(super) async fn prepare(&self, config: &Config, ledger: &Ledger) -> Result<Vec<Binding>, String> {
        let reading = async {
            let mut bindings = Binding::of(config);
            for _ in 0..READINGS {
                self.read_for(&mut bindings, ledger).await?;
                if bindings.iter().all(|binding| self.is_current(binding)) {
                    break;
                }
            }
            Ok(bindings)
        };
        let late = |_| Err(format!("the books did not answer within {} s", READING_WAIT.as_secs()));
        tokio::time::timeout(READING_WAIT, reading).await.unwrap_or_else(late)
    }

    /// The same where the books cannot be read: what would have to be read counts as used up.
    pub(super) fn unread(&self, config: &Config) -> Vec<Binding> {
        let now = self.clock.wall();
        let mut bindings = Binding::of(config);
        for Binding { payer, bounds, .. } in &mut bindings {
            let budget = self.by_payer.get(payer).map(|account| &account.budget);
            let must = |bound: &Bound| budget.is_none_or(|budget| budget.must_be_read_for(&bound.window));
            let spent = Spent { amount: None, at: now, mark: self.mark(payer) };
            bounds.iter_mut().filter(|(bound, _)| must(bound)).for_each(|(_, read)| *read = Some(spent));
        }
        bindings
    }

    /// Whether nothing has ended since the books were read for it.
    fn is_current(&self, binding: &Binding) -> bool {
        let mark = self.mark(&binding.payer);
        binding.bounds.iter().all(|(_, spent)| spent.is_none_or(|spent| spent.mark == mark))
    }

    async fn read_for(&self, bindings: &mut [Binding], ledger: &Ledger) -> Result<(), String> {
        let now = self.clock.wall();
        let mut unread = Vec::new();
        for Binding { payer, members, bounds, .. } in bindings {
            let account = self.by_payer.get(payer);
            let counted = account.map_or_else(|| members.clone(), |account| account.members.and(members));
            let grows = account.is_none_or(|account| account.members != counted);
            let must = |window: &Window| grows || account.is_none_or(|account| account.budget.must_be_read_for(window));
            for (bound, spent) in bounds.iter_mut().filter(|(bound, _)| must(&bound.window)) {
                *spent = Some(Spent { amount: None, at: now, mark: self.mark(payer) });
                unread.push((bound.window.start(now), (payer.clone(), counted.clone()), spent));
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        ledger.flush().await.map_err(|error| error.to_string())?;
        let spending = spent_since(&self.folder, unread.iter().map(|(start, ..)| *start).collect()).await?;
        for (start, (payer, counted), spent) in unread {
            let amount = spending.get(&start).map(|spending| counted.spent(&payer, spending));
            *spent = spent.map(|spent| Spent { amount, ..spent });
        }
        Ok(())
    }

    /// Whether a budget of this configuration waits for the books to be read.
    pub(super) fn wait_for_the_books(&self, config: &Config) -> bool {
        Binding::of(config).iter().any(|binding| {
            let budget = self.by_payer.get(&binding.payer).map(|account| &account.budget);
            budget.is_some_and(|budget| binding.bounds.iter().any(|(bound, _)| budget.must_be_read_for(&bound.window)))
        })
    }

    /// Puts bounds in force. Who has none is counted all the same; whoever is not named any more is bounded no longer.
    pub(super) fn bind(&mut self, bindings: Vec<Binding>) {
        let named: BTreeSet<Payer> = bindings.iter().map(|binding| binding.payer.clone()).collect();
        for (_, account) in self
            .by_payer
            .iter()
            .filter(|(payer, _)| matches!(payer, Payer::Team(_) | Payer::Project(_)) && !named.contains(payer))
        {
            account.budget.bind([]);
            account.throttle.set(Rates::default());
        }
        for Binding { payer, members, bounds, rates } in bindings {
            let new =
                || Account { budget: Budget::of(payer.clone()), members: members.clone(), throttle: Throttle::of(payer.clone()) };
            let account = self.by_payer.entry(payer.clone()).or_insert_with(new);
            account.members = account.members.and(&members);
            if let Some(shared) = &self.shared {
                shared.budgets.share(&account.budget, account.members.whose());
                shared.throttles.share(&account.throttle);
            }
            account.budget.bind(bounds);
            account.throttle.set(rates);
        }
    }

    /// How every budget stands that is bounded, from keys to the gateway.
    pub(super) fn reports(&self, now: Timestamp) -> Vec<BudgetReport> {
        self.by_payer.values().flat_map(|account| account.budget.report(now)).collect()
    }

    /// The keys of this configuration, whose bounds are in force.
    pub fn ring(&self, config: &Config) -> KeyRing {
        // Where there were keys once, nobody is let in without one.
        if config.access() == Access::Open {
            let Standing { limits, wishes, brown_out } = Standing::of_everybody(config);
            let everybody = Admission {
                limits: Arc::new(limits),
                wishes: Arc::new(wishes),
                brown_out: Arc::new(brown_out),
                budgets: self.budgets([Payer::Gateway]),
                budgeted: !config.gateway.budgets.is_empty(),
                throttles: self.throttles([(Payer::Gateway, &config.gateway)]),
                ..Admission::unbounded(KeyName::new(ANONYMOUS))
            };
            return KeyRing::open_to_all(everybody);
        }
        // A configuration in which the levels leave a key nothing is refused, and shuts a virtual key.
        let let_in = config.keys.iter().filter(|key| !key.shut).filter_map(|key| Some((key, self.admission(key, config)?)));
        KeyRing::new(let_in.flat_map(|(key, admission)| {
            [Some(key.sha256), key.also].into_iter().flatten().map(move |sha256| (sha256, admission.clone()))
        }))
    }

    fn admission(&self, key: &GatewayKey, config: &Config) -> Option<Admission> {
        let Standing { limits, wishes, brown_out } = key.standing(config).ok()?;
        let payers: Vec<(Payer, &Means)> =
            [(Payer::Key(key.name.clone()), &key.means)].into_iter().chain(key.above(config)).collect();
        Some(Admission {
            key: key.name.clone(),
            groups: Arc::new(Groups { team: key.team.clone(), project: key.project.clone(), tags: key.tags.clone() }),
            limits: Arc::new(limits),
            wishes: Arc::new(wishes),
            brown_out: Arc::new(brown_out),
            budgets: self.budgets(payers.iter().map(|(payer, _)| payer.clone())),
            budgeted: payers.iter().any(|(_, means)| !means.budgets.is_empty()),
            throttles: self.throttles(payers),
        })
    }

    /// Those that limit anything.
    fn throttles<'m>(&self, payers: impl IntoIterator<Item = (Payer, &'m Means)>) -> Option<Arc<Throttles>> {
        let limiting = payers.into_iter().filter(|(_, means)| means.rates.limit_anything());
        Throttles::of(limiting.filter_map(|(payer, _)| Some(Arc::clone(&self.by_payer.get(&payer)?.throttle))))
    }

    fn budgets(&self, payers: impl IntoIterator<Item = Payer>) -> Arc<Budgets> {
        let known = |payer: Payer| self.by_payer.get(&payer).map(|account| Arc::clone(&account.budget));
        Budgets::of(payers.into_iter().filter_map(known))
    }

    fn mark(&self, payer: &Payer) -> Usd {
        self.by_payer.get(payer).map_or(Usd::ZERO, |account| account.budget.settled_ever())
    }
}

type SpentSince = BTreeMap<Option<Timestamp>, Spending>;

/// What was spent, by key and by whose name it was in.
struct Spending {
    keys: Vec<KeySpend>,
    groups: Vec<GroupSpend>,
}

/// What was spent since each of these instants; `None` is for ever.
async fn spent_since(folder: &Path, starts: BTreeSet<Option<Timestamp>>) -> Result<SpentSince, String> {
    let folder = folder.to_owned();
    let read = move || -> Result<SpentSince, StoreError> {
        let books = Books::open(&folder)?;
        let spending = |start| Ok(Spending { keys: books.spend_by_key(start)?, groups: books.spend_by_group(start)? });
        starts.into_iter().map(|start| Ok((start, spending(start)?))).collect()
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::Settings;
    use crate::policy::BudgetWindow;

    #[tokio::test]
    async fn what_the_books_could_not_say_at_the_start_is_read_by_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let (ledger, _) = Ledger::open(Settings::new(folder.path()), Arc::clone(&clock)).unwrap();
        let name = KeyName::new("web");
        let bound = Bound::new(Usd::parse("1").unwrap(), BudgetWindow::Total.utc());
        let means = Means { budgets: vec![bound], ..Means::default() };
        let key = GatewayKey {
            name: name.clone(),
            sha256: [1; 32],
            also: None,
            shut: false,
            team: None,
            project: None,
            tags: Vec::new(),
            means,
        };
        let mut config = Config { keys: vec![key], ..Config::default() };
        // Where no books are: what a store does that cannot be opened.
        config.books.directory = folder.path().join("elsewhere");

        let mut accounts = Accounts::at_start(&config, (&ledger, None), Arc::clone(&clock)).await;
        let budget = accounts.budgets([Payer::Key(name)]);
        assert!(budget.hold(Usd::from_pico(1), clock.wall()).is_err(), "nothing spent would be generous");
        assert!(accounts.wait_for_the_books(&config));
        assert!(accounts.prepare(&config, &ledger).await.is_err());

        accounts.folder = folder.path().to_owned();
        let bindings = accounts.prepare(&config, &ledger).await.unwrap();
        accounts.bind(bindings);
        assert!(budget.hold(Usd::parse("1").unwrap(), clock.wall()).is_ok());
        assert!(!accounts.wait_for_the_books(&config));
    }
}
