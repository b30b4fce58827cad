//! Limits of budgets that an administrator sets while the gateway runs: of a key, a project, a team or the gateway, each window by itself.
//! They are kept in the folder `budgets` of the data directory, and every step is a row of its audit before it is in force.
//!
//! What was set here counts before what the configuration says of the same payer and window, through reloads and restarts, until it
//! is given back to the configuration (`clear`). What is set of a payer that the configuration has no more waits for it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Wanted;
use super::sharing::{Change, Shared, after};
use super::store::{Store, StoreError};
use crate::config::{Config, Means};
use crate::policy::{Bound, BudgetWindow, Payer, TopUp};
use crate::units::Usd;

/// What an administrator says of one window of one payer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetBudget {
    /// `key`, `project`, `team` or `gateway`.
    pub of: String,
    /// What that is called; none for the gateway.
    pub name: Option<String>,
    /// One of [`BudgetWindow`]'s words.
    pub window: String,
    limit: SetLimit,
    /// By whose clocks the window goes, where not by those of the configuration.
    pub zone: Option<String>,
    /// What may be spent beyond the limit until its window ends.
    top_up: Option<ToppedUp>,
    pub at: Timestamp,
    pub by: String,
}

/// What becomes of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SetLimit {
    /// The configuration's counts.
    Configured,
    /// There is none.
    Lifted,
    /// Dollars, with every digit.
    Usd(String),
}

/// An amount that is there once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ToppedUp {
    pub usd: String,
    pub until: Timestamp,
}

/// A step that was taken, for whoever asks later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRow {
    pub at: Timestamp,
    /// The administrator.
    pub by: String,
    pub of: String,
    pub name: Option<String>,
    pub window: String,
    /// `set`, `lifted`, `cleared` or `topped_up`.
    pub step: String,
    /// The amount, and until when it is there.
    pub detail: String,
    pub why: String,
}

/// Why an administrator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum BudgetNotDone {
    #[error("there is no {0} here whose budget could be changed")]
    Payer(Payer),
    #[error("nothing was set of {0} for the {1}")]
    NotSet(Payer, &'static str),
    #[error("{0} has no budget for the {1} that could be topped up; set one")]
    NoBudget(Payer, &'static str),
    #[error("a budget in total never refills, so nothing would end a top-up: set a higher limit")]
    NeverEnds,
    #[error("{0:?} is no time zone; accepted: a name such as \"Europe/Berlin\"")]
    Zone(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of a payer's window. A limit is set of whom a configuration has.
#[derive(Debug, Clone, Copy)]
pub enum BudgetStep<'a> {
    /// It is limited, whatever the configuration says.
    Set { limit: Usd, zone: Option<&'a str>, config: &'a Config },
    /// The payer may spend without a limit, whatever the configuration says.
    Lift { config: &'a Config },
    /// More may be spent until the window ends that is on.
    TopUp { amount: Usd, config: &'a Config },
    /// It is given back to the configuration.
    Clear,
}

impl BudgetStep<'_> {
    const fn config(&self) -> Option<&Config> {
        match self {
            BudgetStep::Set { config, .. } | BudgetStep::Lift { config } | BudgetStep::TopUp { config, .. } => Some(config),
            BudgetStep::Clear => None,
        }
    }
}

/// The limits that were set in one data directory.
#[derive(Debug)]
pub struct BudgetBook {
    pub(super) store: Store,
    set: Mutex<Vec<SetBudget>>,
}

impl Shared for SetBudget {
    fn called(&self) -> String {
        format!("{}|{}|{}", self.of, self.name.as_deref().unwrap_or_default(), self.window)
    }

    /// The later step counts.
    fn merged(there: &Self, here: &Self) -> Self {
        if here.at > there.at { here.clone() } else { there.clone() }
    }
}

impl SetBudget {
    /// What was given back stays on record, so that other gateways hear of it.
    fn says_something(&self) -> bool {
        self.limit != SetLimit::Configured || self.top_up.is_some()
    }

    fn is_of(&self, payer: &Payer, window: BudgetWindow) -> bool {
        self.of == payer.kind() && self.name.as_deref() == payer.name() && self.window == window.word()
    }

    /// Whose it is, where the configuration has it.
    fn means<'c>(&self, config: &'c mut Config) -> Option<&'c mut Means> {
        match (self.of.as_str(), &self.name) {
            ("key", Some(name)) => config.keys.iter_mut().find(|key| key.name.as_str() == name).map(|key| &mut key.means),
            ("project", Some(name)) => config.projects.get_mut(name),
            ("team", Some(name)) => config.teams.get_mut(name),
            ("gateway", None) => Some(&mut config.gateway),
            _ => None,
        }
    }

    fn lay(&self, means: &mut Means, now: Timestamp) {
        let Some((every, _)) = BudgetWindow::WORDS.into_iter().find(|(_, word)| *word == self.window) else { return };
        let there = means.budgets.iter().position(|bound| bound.window.every == every);
        match &self.limit {
            SetLimit::Configured => {}
            SetLimit::Lifted => {
                means.budgets.retain(|bound| bound.window.every != every);
                return;
            }
            SetLimit::Usd(limit) => {
                let Ok(limit) = Usd::parse(limit) else { return };
                let other =
                    there.or_else(|| (!means.budgets.is_empty()).then_some(0)).map(|at| means.budgets[at].window.zone.clone());
                let own = self.zone.as_deref().and_then(|zone| TimeZone::get(zone).ok());
                let bound = Bound::new(limit, every.in_zone(own.or(other).unwrap_or(TimeZone::UTC)));
                match there {
                    Some(at) => means.budgets[at] = bound,
                    None => means.budgets.push(bound),
                }
            }
        }
        let top_up = self.top_up.as_ref().filter(|top_up| top_up.until > now);
        let top_up = top_up.and_then(|ToppedUp { usd, until }| Some(TopUp { amount: Usd::parse(usd).ok()?, until: *until }));
        if let Some(bound) = means.budgets.iter_mut().find(|bound| bound.window.every == every) {
            bound.top_up = top_up;
        }
    }
}

impl BudgetBook {
    /// Reads those of a data directory; touches nothing.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let store = Store::new(data, "budgets", "budgets.json");
        let set = Mutex::new(store.all()?);
        Ok(Self { store, set })
    }

    /// A configuration with what was set here.
    pub fn over(&self, config: Config, now: Timestamp) -> Config {
        laid_over(&self.held(), config, now)
    }

    /// Who set the limit of a window, where not the configuration did.
    pub fn set_by(&self, payer: &Payer, window: BudgetWindow) -> Option<String> {
        let held = self.held();
        let set = held.iter().find(|set| set.is_of(payer, window) && set.limit != SetLimit::Configured);
        set.map(|set| set.by.clone())
    }

    /// Takes a step; answers until when a top-up is there.
    pub fn step(
        &self,
        (payer, window): (&Payer, BudgetWindow),
        step: &BudgetStep<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Option<Timestamp>, BudgetNotDone> {
        let mut held = self.held();
        let (set, row, until) = planned(&held, (payer, window), step, wanted)?;
        let mut next = held.clone();
        match next.iter_mut().find(|set| set.is_of(payer, window)) {
            Some(before) => *before = set,
            None => next.push(set),
        }
        // The audit before all.
        self.store.append(&row)?;
        self.store.keep(&next)?;
        *held = next;
        Ok(until)
    }

    /// Works a step out, for whoever takes it at all gateways.
    pub fn plan(
        &self,
        of: (&Payer, BudgetWindow),
        step: &BudgetStep<'_>,
        wanted: Wanted<'_>,
    ) -> Result<(Change, Option<Timestamp>), BudgetNotDone> {
        let (set, row, until) = planned(&self.held(), of, step, wanted)?;
        Ok((Change::of(&set, &row), until))
    }

    /// Every step that was taken, oldest first; reads the disk.
    pub fn audit(&self) -> Result<Vec<BudgetRow>, StoreError> {
        let mut rows: Vec<BudgetRow> = self.store.audit()?;
        // Those of other gateways came when they came.
        rows.sort_by_key(|row| row.at);
        Ok(rows)
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Vec<SetBudget>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever is set: the configuration, and what was set already.
fn laid_over(held: &[SetBudget], mut config: Config, now: Timestamp) -> Config {
    for set in held {
        if let Some(means) = set.means(&mut config) {
            set.lay(means, now);
        }
    }
    config
}

type Planned = (SetBudget, BudgetRow, Option<Timestamp>);

/// How a window stands after a step, and the step's row of the audit.
fn planned(
    held: &[SetBudget],
    (payer, window): (&Payer, BudgetWindow),
    step: &BudgetStep<'_>,
    wanted: Wanted<'_>,
) -> Result<Planned, BudgetNotDone> {
    let known = held.iter().find(|set| set.is_of(payer, window));
    let mut set = known.cloned().unwrap_or_else(|| template(payer, window, wanted));
    if let Some(config) = step.config()
        && set.means(&mut config.clone()).is_none()
    {
        return Err(BudgetNotDone::Payer(payer.clone()));
    }
    let mut until = None;
    let (word, detail) = match step {
        BudgetStep::Set { limit, zone, .. } => {
            if let Some(zone) = zone.filter(|zone| TimeZone::get(zone).is_err()) {
                return Err(BudgetNotDone::Zone(zone.to_owned()));
            }
            let exact = limit.to_exact();
            if zone.is_some() {
                set.zone = zone.map(str::to_owned);
            }
            set.limit = SetLimit::Usd(exact.clone());
            ("set", format!("{exact} USD"))
        }
        BudgetStep::Lift { .. } => {
            (set.limit, set.top_up) = (SetLimit::Lifted, None);
            ("lifted", String::new())
        }
        BudgetStep::TopUp { amount, config } => {
            let top_up = topped_up(held, &set, (payer, window), (*amount, *config), wanted.now)?;
            let detail = format!("{} USD until {}", amount.to_exact(), top_up.until);
            (until, set.top_up) = (Some(top_up.until), Some(top_up));
            ("topped_up", detail)
        }
        BudgetStep::Clear => {
            if !set.says_something() {
                return Err(BudgetNotDone::NotSet(payer.clone(), window.word()));
            }
            (set.limit, set.zone, set.top_up) = (SetLimit::Configured, None, None);
            ("cleared", String::new())
        }
    };
    let at = known.map_or(wanted.now, |known| after(known.at, wanted.now));
    (set.at, set.by) = (at, wanted.by.to_owned());
    Ok((set, row(payer, window, (word, detail), wanted), until))
}

/// What is there beyond the limit then, with what was there before.
fn topped_up(
    held: &[SetBudget],
    set: &SetBudget,
    (payer, window): (&Payer, BudgetWindow),
    (amount, config): (Usd, &Config),
    now: Timestamp,
) -> Result<ToppedUp, BudgetNotDone> {
    let mut there = laid_over(held, config.clone(), now);
    let means = set.means(&mut there).ok_or_else(|| BudgetNotDone::Payer(payer.clone()))?;
    let bound = means.budgets.iter().find(|bound| bound.window.every == window);
    let bound = bound.ok_or_else(|| BudgetNotDone::NoBudget(payer.clone(), window.word()))?;
    let until = bound.window.refills_at(now).ok_or(BudgetNotDone::NeverEnds)?;
    let before = bound.top_up.as_ref().map_or(Usd::ZERO, |top_up| top_up.amount);
    Ok(ToppedUp { usd: (before + amount).to_exact(), until })
}

/// Nothing said yet of a payer's window.
fn template(payer: &Payer, window: BudgetWindow, Wanted { by, now, .. }: Wanted<'_>) -> SetBudget {
    SetBudget {
        of: payer.kind().to_owned(),
        name: payer.name().map(str::to_owned),
        window: window.word().to_owned(),
        limit: SetLimit::Configured,
        zone: None,
        top_up: None,
        at: now,
        by: by.to_owned(),
    }
}

fn row(payer: &Payer, window: BudgetWindow, (step, detail): (&str, String), wanted: Wanted<'_>) -> BudgetRow {
    let SetBudget { at, by, of, name, window, .. } = template(payer, window, wanted);
    BudgetRow { at, by, of, name, window, step: step.to_owned(), detail, why: wanted.why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn wanted(now: &str) -> Wanted<'static> {
        Wanted { by: "ann", why: "as asked", now: at(now) }
    }

    const NOON: &str = "2026-11-29T12:00:00Z";

    fn config() -> Config {
        let text =
            "[teams.web]\nbudget_usd = 5\nbudget_window = \"day\"\nbudget_zone = \"Europe/Berlin\"\n[gateway]\nbudget_usd = 9\n";
        Config::load(Some(("t.toml", text)), &BTreeMap::new()).unwrap()
    }

    type Of<'a> = (&'a Payer, BudgetWindow);

    impl BudgetBook {
        fn set(
            &self,
            of: Of<'_>,
            limit: Usd,
            zone: Option<&str>,
            config: &Config,
            wanted: Wanted<'_>,
        ) -> Result<(), BudgetNotDone> {
            self.step(of, &BudgetStep::Set { limit, zone, config }, wanted).map(drop)
        }

        fn lift(&self, of: Of<'_>, config: &Config, wanted: Wanted<'_>) -> Result<(), BudgetNotDone> {
            self.step(of, &BudgetStep::Lift { config }, wanted).map(drop)
        }

        fn top_up(&self, of: Of<'_>, amount: Usd, config: &Config, wanted: Wanted<'_>) -> Result<Timestamp, BudgetNotDone> {
            self.step(of, &BudgetStep::TopUp { amount, config }, wanted).map(Option::unwrap)
        }

        fn clear(&self, of: Of<'_>, wanted: Wanted<'_>) -> Result<(), BudgetNotDone> {
            self.step(of, &BudgetStep::Clear, wanted).map(drop)
        }
    }

    fn usd(text: &str) -> Usd {
        Usd::parse(text).unwrap()
    }

    /// What the team may spend, in words.
    fn team(book: &BudgetBook, now: &str) -> Vec<String> {
        let told = |bound: &Bound| {
            let zone = bound.window.zone.iana_name().unwrap_or_default();
            format!("{} {} {zone}", bound.limit_at(at(now)).to_exact(), bound.window.every.word())
        };
        book.over(config(), at(now)).teams["web"].budgets.iter().map(told).collect()
    }

    #[test]
    fn what_is_set_counts_before_the_configuration_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let book = BudgetBook::open(folder.path()).unwrap();
        let web = Payer::Team("web".into());
        book.set((&web, BudgetWindow::Day), usd("2.50"), None, &config(), wanted(NOON)).unwrap();
        book.set((&web, BudgetWindow::Total), usd("70"), Some("UTC"), &config(), wanted(NOON)).unwrap();
        assert_eq!(team(&book, NOON), ["2.5 day Europe/Berlin", "70 total UTC"]);
        assert_eq!(book.set_by(&web, BudgetWindow::Day).as_deref(), Some("ann"));

        let again = BudgetBook::open(folder.path()).unwrap();
        assert_eq!(team(&again, NOON), team(&book, NOON), "a restart changes nothing");
        again.lift((&web, BudgetWindow::Day), &config(), wanted(NOON)).unwrap();
        assert_eq!(team(&again, NOON), ["70 total UTC"]);
        again.clear((&web, BudgetWindow::Day), wanted(NOON)).unwrap();
        again.clear((&web, BudgetWindow::Total), wanted(NOON)).unwrap();
        assert_eq!(team(&again, NOON), ["5 day Europe/Berlin"]);
        assert!(matches!(again.clear((&web, BudgetWindow::Day), wanted(NOON)), Err(BudgetNotDone::NotSet(..))));
        let steps: Vec<String> =
            again.audit().unwrap().into_iter().map(|row| format!("{} {} {}", row.by, row.step, row.window)).collect();
        assert_eq!(steps, ["ann set day", "ann set total", "ann lifted day", "ann cleared day", "ann cleared total"]);
    }

    #[test]
    fn a_top_up_is_there_once_until_its_window_ends() {
        let folder = tempfile::tempdir().unwrap();
        let book = BudgetBook::open(folder.path()).unwrap();
        let web = Payer::Team("web".into());
        let until = book.top_up((&web, BudgetWindow::Day), usd("1"), &config(), wanted(NOON)).unwrap();
        assert_eq!(until, at("2026-11-29T23:00:00Z"));
        book.top_up((&web, BudgetWindow::Day), usd("0.5"), &config(), wanted(NOON)).unwrap();
        assert_eq!(
            (team(&book, NOON), team(&book, "2026-11-29T23:00:00Z")),
            (vec!["6.5 day Europe/Berlin".to_owned()], vec!["5 day Europe/Berlin".to_owned()])
        );
        assert_eq!(book.set_by(&web, BudgetWindow::Day), None, "the limit is the configuration's");
        book.set((&web, BudgetWindow::Day), usd("2"), None, &config(), wanted(NOON)).unwrap();
        assert_eq!(team(&book, NOON), ["3.5 day Europe/Berlin"], "a new limit takes no top-up away");
        let none = book.top_up((&web, BudgetWindow::Hour), usd("1"), &config(), wanted(NOON));
        assert!(matches!(none, Err(BudgetNotDone::NoBudget(..))));
        book.set((&Payer::Gateway, BudgetWindow::Total), usd("9"), None, &config(), wanted(NOON)).unwrap();
        let never = book.top_up((&Payer::Gateway, BudgetWindow::Total), usd("1"), &config(), wanted(NOON));
        assert!(matches!(never, Err(BudgetNotDone::NeverEnds)));
    }

    #[test]
    fn nobody_gets_a_budget_who_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let book = BudgetBook::open(folder.path()).unwrap();
        let nobody = Payer::Team("wbe".into());
        let refused = book.set((&nobody, BudgetWindow::Day), usd("1"), None, &config(), wanted(NOON)).unwrap_err();
        assert_eq!(refused.to_string(), "there is no team wbe here whose budget could be changed");
        let zone = book.set((&Payer::Gateway, BudgetWindow::Day), usd("1"), Some("Mars"), &config(), wanted(NOON));
        assert!(matches!(zone, Err(BudgetNotDone::Zone(_))));
        assert_eq!(book.audit().unwrap(), []);
    }
}
