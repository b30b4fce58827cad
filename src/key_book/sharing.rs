//! What gateways of a fleet have alike: entries of a book by what they are called, and the lines of its audit. A step is worked out here,
//! put down where all gateways see it (`fleet/shelf.rs`), and comes back to each of them as any other's does. There is no key in
//! either, only hashes.
//!
//! Two states of one entry meet where a gateway was away, or where it joins with what it had alone; [`Shared::merged`] says what
//! holds then, the same whoever asks.

use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::{Store, StoreError};
use super::{BudgetBook, KeyBook};

/// A step that was worked out and is not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the entry is called.
    pub name: String,
    /// How it stands then, as JSON.
    pub entry: String,
    /// The line of the audit.
    pub line: String,
}

impl Change {
    pub(super) fn of(entry: &impl Shared, row: &impl Serialize) -> Self {
        Self { name: entry.called(), entry: text(entry), line: text(row) }
    }
}

/// An entry of a book.
pub(super) trait Shared: Serialize + DeserializeOwned + Clone + PartialEq {
    /// By what it is known at every gateway.
    fn called(&self) -> String;

    /// What holds of what stands there, where all see it, and here.
    fn merged(there: &Self, here: &Self) -> Self;
}

/// An instant that is later than another, and now if it can be.
pub(super) fn after(before: Timestamp, now: Timestamp) -> Timestamp {
    now.max(before.checked_add(1.microsecond()).unwrap_or(before))
}

/// Texts and instants: nothing in it can fail to become JSON.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn entries<T: Shared>(held: &[T]) -> Vec<(String, String)> {
    held.iter().map(|entry| (entry.called(), text(entry))).collect()
}

/// What is to stand there in the place of what does; `None` where that holds, or is not understood here.
fn merged<T: Shared>(there: &str, here: &str) -> Option<String> {
    let (there, here): (T, T) = (serde_json::from_str(there).ok()?, serde_json::from_str(here).ok()?);
    let merged = T::merged(&there, &here);
    (merged != there).then(|| text(&merged))
}

/// Entries with what stands there, sorted by what they are called.
fn taken<T: Shared>(held: &[T], entries: &[String]) -> Vec<T> {
    let mut next = held.to_vec();
    for entry in entries {
        // Of a newer gateway: that one is to be run here too.
        let Ok(there) = serde_json::from_str::<T>(entry) else {
            tracing::error!(entry, "what gateways share holds something that this version does not understand");
            continue;
        };
        match next.iter_mut().find(|here| here.called() == there.called()) {
            Some(here) => *here = T::merged(&there, here),
            None => next.push(there),
        }
    }
    next.sort_by_key(Shared::called);
    next
}

/// What stands where all see it holds here too, whatever this disk says: a revocation waits for no disk. What could not be written
/// is told, and written when it is taken the next time.
fn take<T: Shared>(store: &Store, held: &mut Vec<T>, entries: &[String], lines: &[String]) -> Result<(), StoreError> {
    let noted = if lines.is_empty() { Ok(()) } else { store.append_lines(lines) };
    let next = taken(held, entries);
    let news = next != *held;
    *held = next;
    let kept = if news || store.lags() { store.keep(held) } else { Ok(()) };
    noted.and(kept)
}

impl KeyBook {
    /// Every entry, by what it is called.
    pub fn entries(&self) -> Vec<(String, String)> {
        entries(&self.held())
    }

    /// The audit as it is kept, line by line; reads the disk.
    pub fn audit_lines(&self) -> Result<Vec<String>, StoreError> {
        self.store.lines()
    }

    /// What is to stand where all gateways see it, where that is something else than what does.
    pub fn merged(there: &str, here: &str) -> Option<String> {
        merged::<super::VirtualKey>(there, here)
    }

    /// Takes up what stands there, and lines of the audit that are not here yet.
    pub fn take(&self, entries: &[String], lines: &[String]) -> Result<(), StoreError> {
        take(&self.store, &mut self.held(), entries, lines)
    }
}

impl BudgetBook {
    /// Every entry, by what it is called.
    pub fn entries(&self) -> Vec<(String, String)> {
        entries(&self.held())
    }

    /// The audit as it is kept, line by line; reads the disk.
    pub fn audit_lines(&self) -> Result<Vec<String>, StoreError> {
        self.store.lines()
    }

    /// What is to stand where all gateways see it, where that is something else than what does.
    pub fn merged(there: &str, here: &str) -> Option<String> {
        merged::<super::budgets::SetBudget>(there, here)
    }

    /// Takes up what stands there, and lines of the audit that are not here yet.
    pub fn take(&self, entries: &[String], lines: &[String]) -> Result<(), StoreError> {
        take(&self.store, &mut self.held(), entries, lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::key_book::{BudgetStep, KeyStep, Wanted};
    use crate::policy::{BudgetWindow, Payer};
    use crate::units::Usd;
    use std::time::Duration;

    fn wanted(now: &str) -> Wanted<'static> {
        Wanted { by: "ann", why: "as asked", now: now.parse().unwrap() }
    }

    const NOON: &str = "2026-11-29T12:00:00Z";
    const LATER: &str = "2026-11-29T12:00:05Z";

    struct Books(tempfile::TempDir, KeyBook);

    fn books() -> Books {
        let folder = tempfile::tempdir().unwrap();
        let book = KeyBook::open(folder.path()).unwrap();
        Books(folder, book)
    }

    impl Books {
        fn step(&self, step: &KeyStep<'_>, now: &str) {
            self.1.step("bot", step, wanted(now)).unwrap();
        }

        fn made(&self, now: &str) {
            self.step(&KeyStep::Create { settings: "", expires: None, config: &Config::default() }, now);
        }

        fn entry(&self) -> String {
            self.1.entries().swap_remove(0).1
        }

        fn take(&self, entry: &str) {
            self.1.take(&[entry.to_owned()], &[]).unwrap();
        }
    }

    const ROTATE: KeyStep<'_> = KeyStep::Rotate { grace: Duration::from_mins(1) };

    #[test]
    fn a_step_that_is_planned_is_taken_when_it_comes_back() {
        let (one, two) = (books(), books());
        let config = Config::default();
        let create = KeyStep::Create { settings: "strict = true\n", expires: None, config: &config };
        let (change, key) = one.1.plan("bot", &create, wanted(NOON)).unwrap();
        assert_eq!((one.1.keys(), one.1.audit().unwrap()), (Vec::new(), Vec::new()));
        let key = key.unwrap();
        assert!(!change.entry.contains(&key) && !change.line.contains(&key), "{change:?}");
        for book in [&one, &two] {
            book.1.take(std::slice::from_ref(&change.entry), std::slice::from_ref(&change.line)).unwrap();
            assert_eq!((book.1.keys()[0].settings.as_str(), book.1.audit().unwrap().len()), ("strict = true\n", 1));
            let again = KeyBook::open(book.0.path()).unwrap();
            assert_eq!((again.keys(), again.audit_lines().unwrap()), (book.1.keys(), vec![change.line.clone()]));
        }
    }

    #[test]
    fn a_revocation_stays_whatever_came_after_it_elsewhere() {
        let (one, two) = (books(), books());
        one.made(NOON);
        two.take(&one.entry());
        one.step(&KeyStep::Revoke, NOON);
        two.step(&ROTATE, LATER);
        two.step(&ROTATE, LATER);
        let merged = KeyBook::merged(&two.entry(), &one.entry()).unwrap();
        assert_eq!(KeyBook::merged(&merged, &one.entry()), None, "it holds everybody's");
        let (there, here) = (two.entry(), one.entry());
        two.take(&here);
        one.take(&there);
        for book in [&one, &two] {
            book.take(&merged);
            let key = &book.1.keys()[0];
            assert!(key.revoked.is_some() && key.before.is_none(), "{key:?}");
        }
        assert_eq!(one.1.keys(), two.1.keys());
    }

    #[test]
    fn the_later_step_counts_whoever_is_asked_and_a_slow_clock_takes_later_steps_too() {
        let (one, two) = (books(), books());
        one.made(LATER);
        two.take(&one.entry());
        let before = one.entry();
        // Its clock is five seconds behind.
        two.step(&ROTATE, NOON);
        assert_eq!(KeyBook::merged(&before, &two.entry()), Some(two.entry()));
        assert_eq!(KeyBook::merged(&two.entry(), &before), None);
        one.take(&two.entry());
        two.take(&before);
        assert_eq!((one.1.keys(), one.entry()), (two.1.keys(), two.entry()));
    }

    #[test]
    fn a_key_that_was_made_apart_gives_way_to_the_one_of_its_name_that_is_there() {
        let (one, two) = (books(), books());
        one.made(NOON);
        two.made(LATER);
        assert_eq!(KeyBook::merged(&one.entry(), &two.entry()), None);
        two.take(&one.entry());
        assert_eq!(one.1.keys(), two.1.keys());
    }

    #[test]
    fn a_revocation_holds_though_the_disk_refuses_it_and_is_written_when_it_can_be() {
        let (one, two) = (books(), books());
        one.made(NOON);
        two.take(&one.entry());
        one.step(&KeyStep::Revoke, LATER);
        let (entry, lines) = (one.entry(), one.1.audit_lines().unwrap());

        // A folder where the file is to be: nothing can be written there, whoever runs the tests.
        let file = two.0.path().join("keys/keys.json");
        let aside = two.0.path().join("aside");
        std::fs::rename(&file, &aside).unwrap();
        std::fs::create_dir_all(file.join("in the way")).unwrap();
        two.1.take(std::slice::from_ref(&entry), &lines).unwrap_err();
        assert_eq!(two.1.keys(), one.1.keys(), "in force all the same");

        std::fs::remove_dir_all(&file).unwrap();
        std::fs::rename(&aside, &file).unwrap();
        two.1.take(&[], &[]).unwrap();
        assert_eq!(KeyBook::open(two.0.path()).unwrap().keys(), one.1.keys(), "nothing new came, and it was made up for");
        assert_eq!(two.1.audit_lines().unwrap(), lines);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let one = books();
        one.made(NOON);
        let before = one.1.keys();
        one.take("{\"name\": 7}");
        assert_eq!((one.1.keys(), KeyBook::merged("{}", &one.entry())), (before, None));
    }

    #[test]
    fn a_limit_that_was_given_back_is_given_back_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) =
            (BudgetBook::open(&folder.path().join("1")).unwrap(), BudgetBook::open(&folder.path().join("2")).unwrap());
        let of = (&Payer::Gateway, BudgetWindow::Day);
        let config = Config::default();
        let set = BudgetStep::Set { limit: Usd::parse("2").unwrap(), zone: None, config: &config };
        let (change, _) = one.plan(of, &set, wanted(NOON)).unwrap();
        let entry = || std::slice::from_ref(&change.entry);
        one.take(entry(), &[]).unwrap();
        two.take(entry(), &[]).unwrap();
        assert!(two.set_by(of.0, of.1).is_some());
        one.step(of, &BudgetStep::Clear, wanted(NOON)).unwrap();
        let [(_, cleared)] = &one.entries()[..] else { panic!("{:?}", one.entries()) };
        assert_eq!(BudgetBook::merged(&change.entry, cleared), Some(cleared.clone()));
        two.take(std::slice::from_ref(cleared), &[]).unwrap();
        two.take(entry(), &[]).unwrap();
        assert_eq!((two.set_by(of.0, of.1), one.entries()), (None, two.entries()));
        assert!(two.step(of, &BudgetStep::Clear, wanted(LATER)).is_err(), "nothing is set");
    }
}
