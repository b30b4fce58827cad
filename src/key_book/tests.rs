//! The life of virtual keys, on the disk and off it.

use super::*;
use crate::policy::BudgetWindow;
use crate::units::Usd;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn wanted(now: &str) -> Wanted<'static> {
    Wanted { by: "ann", why: "as asked", now: at(now) }
}

const NOON: &str = "2026-11-29T12:00:00Z";

fn config() -> Config {
    let text = "[teams.web]\n[teams.research]\n[keys.fixed]\nsha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";
    Config::load(Some(("t.toml", text)), &std::collections::BTreeMap::new()).unwrap()
}

impl KeyBook {
    fn create(
        &self,
        name: &str,
        settings: &str,
        expires: Option<Timestamp>,
        config: &Config,
        wanted: Wanted<'_>,
    ) -> Result<String, NotDone> {
        self.step(name, &KeyStep::Create { settings, expires, config }, wanted).map(Option::unwrap)
    }

    fn rotate(&self, name: &str, grace: Duration, wanted: Wanted<'_>) -> Result<String, NotDone> {
        self.step(name, &KeyStep::Rotate { grace }, wanted).map(Option::unwrap)
    }

    fn expire(&self, name: &str, at: Timestamp, wanted: Wanted<'_>) -> Result<(), NotDone> {
        self.step(name, &KeyStep::Expire { at }, wanted).map(drop)
    }

    fn revoke(&self, name: &str, wanted: Wanted<'_>) -> Result<(), NotDone> {
        self.step(name, &KeyStep::Revoke, wanted).map(drop)
    }
}

/// Who is let in: the hashes of texts.
fn lets_in(book: &KeyBook, text: &str, now: &str) -> bool {
    let sha256 = hash(text.as_bytes());
    let (keys, wrong) = book.read(&config(), at(now));
    assert_eq!(wrong, []);
    keys.iter().any(|key| !key.shut && (key.sha256 == sha256 || key.also == Some(sha256)))
}

#[test]
fn a_key_is_made_rotated_and_revoked_and_each_step_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let book = KeyBook::open(folder.path()).unwrap();
    let settings = "team = \"web\"\nbudget_usd = 2.50\nbudget_window = \"day\"\n";
    let first = book.create("bot", settings, None, &config(), wanted(NOON)).unwrap();
    assert!(lets_in(&book, &first, NOON));
    let second = book.rotate("bot", Duration::from_mins(1), wanted(NOON)).unwrap();
    assert!(lets_in(&book, &second, NOON) && lets_in(&book, &first, "2026-11-29T12:00:59Z"));
    assert!(!lets_in(&book, &first, "2026-11-29T12:01:00Z") && lets_in(&book, &second, "2026-11-29T12:01:00Z"));
    assert_eq!(book.next_end(at(NOON)), Some(at("2026-11-29T12:01:00Z")));

    let again = KeyBook::open(folder.path()).unwrap();
    assert_eq!(again.keys(), book.keys());
    let (keys, _) = again.read(&config(), at(NOON));
    let bound = &keys[0].means.budgets[0];
    assert_eq!((bound.limit, bound.window.every), (Usd::parse("2.5").unwrap(), BudgetWindow::Day));
    assert_eq!(keys[0].team.as_deref(), Some("web"));

    again.revoke("bot", wanted(NOON)).unwrap();
    assert!(!lets_in(&again, &second, NOON) && !lets_in(&again, &first, NOON));
    assert!(again.read(&config(), at(NOON)).0[0].shut, "it still counts for its team");
    assert!(matches!(again.rotate("bot", Duration::ZERO, wanted(NOON)), Err(NotDone::Ended(_, "revoked"))));
    assert!(matches!(again.create("bot", "", None, &config(), wanted(NOON)), Err(NotDone::Taken(_))));
    let steps: Vec<String> =
        again.audit().unwrap().into_iter().map(|row| format!("{} {} {}", row.by, row.step, row.key)).collect();
    assert_eq!(steps, ["ann created bot", "ann rotated bot", "ann revoked bot"]);
    let kept = std::fs::read_to_string(folder.path().join("keys/keys.json")).unwrap();
    let audit = std::fs::read_to_string(folder.path().join("keys/audit.jsonl")).unwrap();
    assert!([&first, &second].iter().all(|text| !kept.contains(*text) && !audit.contains(*text)));
}

#[test]
fn a_key_ends_at_its_instant() {
    let folder = tempfile::tempdir().unwrap();
    let book = KeyBook::open(folder.path()).unwrap();
    let one = book.create("one", "", Some(at("2026-11-29T13:00:00Z")), &config(), wanted(NOON)).unwrap();
    assert!(lets_in(&book, &one, "2026-11-29T12:59:59Z") && !lets_in(&book, &one, "2026-11-29T13:00:00Z"));
    book.expire("one", at(NOON), wanted(NOON)).unwrap();
    assert!(!lets_in(&book, &one, NOON));
    assert!(matches!(book.expire("one", at(NOON), wanted(NOON)), Err(NotDone::Ended(_, "expired"))));
    assert!(matches!(book.create("two", "", Some(at(NOON)), &config(), wanted(NOON)), Err(NotDone::Past)));
    assert_eq!(book.next_end(at(NOON)), None);
}

#[test]
fn what_a_configuration_would_refuse_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let book = KeyBook::open(folder.path()).unwrap();
    let refused = |name: &str, settings: &str| {
        let error = book.create(name, settings, None, &config(), wanted(NOON)).unwrap_err();
        error.to_string()
    };
    assert!(refused("a b", "").contains("cannot name a key"));
    assert!(refused("fixed", "").contains("changed there"));
    assert!(refused("bot", "team = \"reserch\"\n").contains("there is no [teams.reserch] (did you mean \"research\"?)"));
    assert!(refused("bot", "budgt_usd = 1\n").contains("did you mean \"budget_usd\"?"));
    assert!(refused("bot", "sha256_file = \"x\"\n").contains("`sha256` is given too"));
    assert!(refused("bot", "budget_usd = 0\nquality = \"bset\"\n").matches("settings").count() >= 2, "every problem at once");
    let open = Config { server: crate::config::Server { open: true, ..crate::config::Server::default() }, ..Config::default() };
    assert!(matches!(book.create("bot", "", None, &open, wanted(NOON)), Err(NotDone::Open)));
    assert_eq!((book.keys(), book.audit().unwrap()), (Vec::new(), Vec::new()));
}

/// A gateway without any other key would be open to everybody.
#[test]
fn a_key_whose_team_is_gone_is_shut_and_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let book = KeyBook::open(folder.path()).unwrap();
    book.create("bot", "team = \"web\"\n", None, &config(), wanted(NOON)).unwrap();
    let (keys, wrong) = book.read(&Config::default(), at(NOON));
    assert!(keys.len() == 1 && keys[0].shut && keys[0].name.as_str() == "bot");
    assert!(wrong[0].1[0].to_string().contains("there is no [teams.web]"), "{wrong:?}");
}
