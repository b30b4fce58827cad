//! The price book over a directory: what is taken is in force after a restart, in the audit before, and nothing that is held
//! back moves a price until a person approves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::catalog::change::Layer;
use crate::catalog::feed::{Format, Kind};
use crate::units::TokenPrice;

const TABLE: &str = include_str!("../../tests/fixtures/feeds/table.toml");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-12-01T00:00:00Z";
const LATER: &str = "2026-12-02T00:00:00Z";

fn feed(name: &str, kind: FeedKind) -> PriceFeed {
    PriceFeed {
        name: name.into(),
        kind,
        origin: FeedOrigin::File("list.json".into()),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        max_bytes: 1_000,
        jump: 4_000_000,
        // The table of these tests is nobody's but the operator's.
        overrules_table: true,
        providers: BTreeMap::new(),
    }
}

fn list() -> PriceFeed {
    feed("list", FeedKind::Prices(Format::Json))
}

fn open(data: &Path) -> PriceBook {
    PriceBook::open(data, &[list()]).unwrap()
}

fn table() -> Snapshot {
    Snapshot::parse("table.toml", TABLE).unwrap()
}

fn document(input: &str) -> String {
    format!("{{\"prices\": [{{\"provider\": \"east\", \"model\": \"plain\", \"input\": {input}, \"output\": 8}}]}}")
}

fn input(book: &PriceBook, instant: &str) -> String {
    let table = book.over(table(), at(NOW));
    let row = table.backend_named("east/plain").unwrap().prices.at(at(instant)).unwrap();
    row.list().cells()[0].tariff.input.to_per_million()
}

fn take(book: &PriceBook, input: &str, now: &str) -> Taken {
    book.take(&list(), document(input).as_bytes(), &book.over(table(), at(now)), at(now)).unwrap()
}

#[test]
fn what_a_feed_says_is_in_force_in_the_audit_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    assert_eq!((input(&book, NOW), book.moved()), ("2".into(), vec![]));
    assert!(!data.path().join("prices").exists());
    let taken = take(&book, "1.5", NOW);
    assert_eq!((taken.begun.len(), taken.changes_prices()), (1, true));
    assert_eq!(input(&book, NOW), "1.5");
    assert_eq!(book.moved()[0].place.to_string(), "input");
    assert!(!take(&book, "1.5", LATER).changes_prices());
    let again = open(data.path());
    assert_eq!((input(&again, NOW), input(&again, "2026-11-30T00:00:00Z")), ("1.5".into(), "2".into()));
    let rows = again.audit(Some("east/plain")).unwrap();
    let row = &rows[0];
    assert_eq!(
        (rows.len(), row.who.as_str(), row.what.as_str(), row.why.as_str()),
        (1, "feed list", "changed", "list.json prices[0]")
    );
    assert_eq!((row.figures[0].before.as_deref(), row.figures[0].after.as_str()), (Some("2"), "1.5"));
}

#[test]
fn what_is_held_back_waits_for_an_approval_on_the_disk() {
    let data = tempfile::tempdir().unwrap();
    let (table, backend) = shipped();
    let (provider, model) = backend.split_once('/').unwrap();
    let list = PriceFeed { overrules_table: false, ..list() };
    let tariff = |table: &Snapshot, instant: &str| {
        table.backend_named(&backend).unwrap().prices.at(at(instant)).unwrap().list().cells()[0].tariff
    };
    let (stood, currency) = (tariff(&table, NOW).input.to_per_million(), tariff(&table, NOW).currency);
    let output = tariff(&table, NOW).output.to_per_million();
    let say = |book: &PriceBook, input: &str| {
        let row = format!(
            "{{\"provider\": \"{provider}\", \"model\": \"{model}\", \"currency\": \"{currency}\", \"input\": {input}, \"output\": {output}}}"
        );
        let document = format!("{{\"prices\": [{row}]}}");
        book.take(&list, document.as_bytes(), &book.over(table.clone(), at(NOW)), at(NOW)).unwrap()
    };
    let input = |book: &PriceBook, instant| tariff(&book.over(table.clone(), at(NOW)), instant).input.to_per_million();
    let taken = say(&open(data.path()), "500");
    assert_eq!((taken.held, taken.changes_prices()), (1, false));
    let book = open(data.path());
    let held = book.held();
    assert_eq!((input(&book, NOW), held[0].reasons[0].0.as_str()), (stood.clone(), "jump"));
    assert!(matches!(book.approve("ann", "none", "x", &table, at(LATER)), Err(AdminError::UnknownId(_))));
    let done = book.approve("ann", &held[0].id, "seen on their page", &table, at(LATER)).unwrap();
    assert!(matches!(done, Done::Changed(change) if change.layer == Layer::Admin && change.by == "ann"));
    assert_eq!((input(&book, NOW), input(&book, LATER), book.held().len()), (stood, "500".into(), 0));
    let row = book.audit(None).unwrap().pop().unwrap();
    assert!(row.who == "admin ann" && row.what == "approved" && row.why.starts_with("seen on their page (held back from list: "));
}

#[test]
fn what_is_rejected_stays_away_until_the_feed_says_something_else() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    assert_eq!(take(&book, "90", NOW).held, 1);
    let id = book.held()[0].id.clone();
    assert!(matches!(book.reject("ann", "none", "x", at(NOW)), Err(AdminError::UnknownId(_))));
    let Done::Rejected(entry) = book.reject("ann", &id, "a slip of theirs", at(NOW)).unwrap() else { panic!() };
    assert_eq!((entry.id.as_str(), book.held()), (id.as_str(), vec![]));
    assert!(matches!(book.approve("ann", &id, "x", &table(), at(NOW)), Err(AdminError::UnknownId(_))));
    assert!(matches!(book.reject("ann", &id, "again", at(NOW)), Err(AdminError::UnknownId(_))));
    // The same list again, in this life and in the next.
    assert_eq!((take(&book, "90", LATER).held, book.held()), (0, vec![]));
    let book = open(data.path());
    assert_eq!((take(&book, "90", LATER).held, book.held()), (0, vec![]));
    // Another price is news, and so is the first one after it.
    assert_eq!((take(&book, "95", LATER).held, book.held().len()), (1, 1));
    assert_ne!(book.held()[0].id, id);
    assert_eq!(take(&book, "90", LATER).held, 1);
    assert_eq!((book.held()[0].id.as_str(), book.held()[0].since), (id.as_str(), at(LATER)));
    assert_eq!(input(&book, LATER), "2");
    let rows = book.audit(Some("east/plain")).unwrap();
    let row = &rows[0];
    assert_eq!((rows.len(), row.who.as_str(), row.what.as_str()), (1, "admin ann", "rejected"));
    assert_eq!(row.why, "a slip of theirs (held back from list: input from 2 to 90 per million: more than 4 times apart)");
    assert_eq!(row.figures[0].after, "90");
}

#[test]
fn a_rejection_counts_for_the_price_and_not_for_what_it_is_held_against() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    take(&book, "90", NOW);
    let id = book.held()[0].id.clone();
    book.reject("ann", &id, "no", at(NOW)).unwrap();
    // The operator's table says something else now, and 90 is as far from it as before.
    let dearer = TABLE.replacen("input = 2, cache_read = 0.2", "input = 3, cache_read = 0.2", 1);
    assert_ne!(dearer, TABLE);
    let table = Snapshot::parse("t", &dearer).unwrap();
    let taken = book.take(&list(), document("90").as_bytes(), &table, at(LATER)).unwrap();
    assert_eq!((taken.held, book.held()), (0, vec![]));
    // Of what has another shape only the price itself tells that it is another one.
    let fee = |fee: &str| document("2").replace("\"output\"", &format!("\"per_request\": {fee}, \"output\""));
    let say = |text: String| book.take(&list(), text.as_bytes(), &table, at(LATER)).unwrap().held;
    assert_eq!(say(fee("0.5")), 1);
    book.reject("ann", &book.held()[0].id.clone(), "no", at(LATER)).unwrap();
    assert_eq!((say(fee("0.5")), say(fee("0.6"))), (0, 1));
}

#[test]
fn an_administrators_own_proposal_is_gone_when_it_is_rejected() {
    let data = tempfile::tempdir().unwrap();
    let book = PriceBook::open(data.path(), &[]).unwrap();
    let (table, backend) = shipped();
    let propose =
        || book.propose("ann", Set { backend: backend.clone(), ..set(&[(Kind::Output, "9999")], None) }, &table, at(NOW));
    let Done::Held(entry) = propose().unwrap() else { panic!() };
    book.reject("bob", &entry.id, "a typing error", at(NOW)).unwrap();
    assert_eq!(book.held(), vec![]);
    let Done::Held(again) = propose().unwrap() else { panic!() };
    assert_eq!((again.id, again.rejected, book.held().len()), (entry.id, None, 1));
}

#[test]
fn a_line_of_rates_that_is_held_back_can_be_rejected() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    let text = format!("{TABLE}\n[[fx]]\ncurrency = \"CNY\"\nper_usd = 6.6529\ndate = 2026-10-30\nsource = \"x\"\n");
    let table = Snapshot::parse("t", &text).unwrap();
    let look = || book.take(&feed("ecb", FeedKind::Rates), b"date,cny_per_usd\nx,1\nx,1\n", &table, at(NOW)).unwrap().held;
    assert_eq!(look(), 2);
    let ids: Vec<String> = book.held().into_iter().map(|held| held.id).collect();
    assert_ne!(ids[0], ids[1], "each line has its own");
    book.reject("ann", &ids[0], "a heading", at(NOW)).unwrap();
    assert_eq!((look(), book.held()[0].id.as_str()), (1, ids[1].as_str()));
    assert_eq!(book.audit(None).unwrap()[0].backend, "line 2");
}

fn set(figures: &[(Kind, &str)], until: Option<&str>) -> Set {
    let figure = |(kind, price): &(Kind, &str)| {
        (FigurePlace { cell: 0, batch: false, kind: *kind }, TokenPrice::per_million(price).unwrap())
    };
    Set {
        backend: "east/plain".into(),
        figures: figures.iter().map(figure).collect(),
        from: None,
        until: until.map(at),
        why: "a test".into(),
    }
}

/// The shipped table, whose figures are nobody's own.
fn shipped() -> (Snapshot, String) {
    let table = Snapshot::parse("providers.toml", SHIPPED).unwrap();
    let priced = |b: &&crate::catalog::Backend| {
        b.prices.at(at(NOW)).is_some_and(|row| row.list().cells().len() == 1 && row.calendar.is_none())
    };
    let id = table.backends().iter().find(priced).unwrap().id.as_str().to_owned();
    (table, id)
}

#[test]
fn an_administrator_proposes_overrides_and_ends() {
    let data = tempfile::tempdir().unwrap();
    let book = PriceBook::open(data.path(), &[]).unwrap();
    let (table, backend) = shipped();
    let now = |table: &Snapshot, instant: &str| {
        table.backend_named(&backend).unwrap().prices.at(at(instant)).unwrap().list().cells()[0].tariff.output.to_per_million()
    };
    let before = now(&table, NOW);
    let of = |output: &str, until| Set { backend: backend.clone(), ..set(&[(Kind::Output, output)], until) };
    assert!(matches!(book.propose("ann", of("9999", None), &table, at(NOW)), Ok(Done::Held(_))));
    assert_eq!(book.propose("ann", of(&before, None), &table, at(NOW)).unwrap(), Done::Unchanged);
    let until = Some("2026-12-05T00:00:00Z");
    assert!(matches!(book.set("ann", of("9999", until), &table, at(NOW)), Ok(Done::Changed(_))));
    let laid = book.over(table.clone(), at(NOW));
    assert_eq!((now(&laid, NOW), now(&laid, "2026-12-05T00:00:00Z")), ("9999".into(), before.clone()));
    assert_eq!(book.end("bob", &backend, "enough", at(LATER)).unwrap(), 1);
    assert_eq!(now(&book.over(table.clone(), at(LATER)), LATER), before);
    assert!(matches!(book.end("bob", &backend, "again", at(LATER)), Err(AdminError::NothingSet(_))));
    let audit: Vec<String> = book.audit(Some(&backend)).unwrap().iter().map(|row| format!("{} {}", row.who, row.what)).collect();
    assert_eq!(audit, ["admin ann overridden", "admin bob ended"]);
}

#[test]
fn what_cannot_be_set_is_refused_with_its_reason() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    let (table, backend) = shipped();
    let check = |wish: Set, table: &Snapshot, expected: &str| {
        let refused = book.set("ann", wish, table, at(NOW)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    };
    let of = |figures: &[(Kind, &str)]| Set { backend: backend.clone(), ..set(figures, None) };
    check(set(&[(Kind::Input, "1")], None), &self::table(), "input is the operator's own figure");
    check(Set { backend: "east/none".into(), ..set(&[(Kind::Input, "1")], None) }, &table, "there is no backend \"east/none\"");
    check(of(&[]), &table, "no figure to change");
    check(of(&[(Kind::Input, "0")]), &table, "accepted: above 0");
    check(of(&[(Kind::Input, "10001")]), &table, "at most 10000");
    check(Set { until: Some(at(NOW)), ..of(&[(Kind::Input, "1")]) }, &table, "end before it begins");
    assert!(!data.path().join("prices").exists(), "nothing was written");
}

#[test]
fn the_operators_own_figures_win_when_the_table_is_read_again() {
    let data = tempfile::tempdir().unwrap();
    let (table, backend) = shipped();
    let book = PriceBook::open(data.path(), &[]).unwrap();
    let of = Set { backend: backend.clone(), ..set(&[(Kind::Input, "9998")], None) };
    book.set("ann", of, &table, at(NOW)).unwrap();
    assert_ne!(book.over(table.clone(), at(NOW)).version, table.version);
    // The same row, with another input price in the operator's own copy.
    let row = table.backend_named(&backend).unwrap().prices.at(at(NOW)).unwrap();
    let mut dearer = row.clone();
    let place = FigurePlace { cell: 0, batch: false, kind: Kind::Input };
    let figures = BTreeMap::from([(place, (TokenPrice::per_million("77").unwrap(), ()))]);
    dearer = crate::catalog::change::with_figures(&dearer, &figures).unwrap();
    let mut backends = table.backends().to_vec();
    backends.iter_mut().find(|b| b.id.as_str() == backend).unwrap().prices = crate::catalog::PriceSchedule::new(vec![dearer]);
    let mut own = Snapshot::new("own".into(), table.providers().to_vec(), backends, table.fx.clone());
    own.text = "own".into();
    assert!(own_figures(&own, at(NOW)).has(&backend, place));
    let laid = laid::Laid { changes: book.changes(), rates: vec![] }.fit_for(&own, &own_figures(&own, at(NOW)), &BTreeSet::new());
    assert!(laid.is_empty());
}

#[test]
fn rates_are_taken_and_laid_over_the_table() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    let text = format!("{TABLE}\n[[fx]]\ncurrency = \"CNY\"\nper_usd = 6.6529\ndate = 2026-10-30\nsource = \"x\"\n");
    let table = Snapshot::parse("t", &text).unwrap();
    let rates = feed("ecb", FeedKind::Rates);
    let document = "date,cny_per_usd\n2026-10-30,6.6\n2026-11-02,6.7\n2026-11-03,9\nx,1\n";
    let taken = book.take(&rates, document.as_bytes(), &table, at(NOW)).unwrap();
    assert_eq!((taken.rates, taken.held), (1, 2));
    let laid = book.over(table.clone(), at(NOW));
    assert_eq!(laid.fx.at(crate::units::Currency::Cny, at(NOW)).unwrap().per_usd(), "6.7");
    assert_eq!(base_of(&laid.text), &*table.text);
    let again = book.take(&rates, document.as_bytes(), &laid, at(NOW)).unwrap();
    assert_eq!(again.rates, 0);
    assert_eq!(book.audit(None).unwrap().len(), 1);
}

#[test]
fn a_damaged_file_is_told_and_a_cut_audit_goes_on() {
    let data = tempfile::tempdir().unwrap();
    take(&open(data.path()), "1.5", NOW);
    let folder = data.path().join("prices");
    let audit = folder.join("audit.jsonl");
    let whole = std::fs::read_to_string(&audit).unwrap();
    std::fs::write(&audit, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    take(&open(data.path()), "1.4", LATER);
    assert_eq!(open(data.path()).audit(None).unwrap().len(), 3);
    std::fs::write(folder.join("changes.toml"), "[[changes]]\nbackend = 1\n").unwrap();
    let refused = PriceBook::open(data.path(), &[]).unwrap_err().to_string();
    assert!(refused.contains("changes.toml") && refused.contains("move the file away"), "{refused}");
}

#[test]
fn a_copy_counts_for_its_own_origin_only() {
    let data = tempfile::tempdir().unwrap();
    let book = open(data.path());
    let about = store::Fetched { origin: "http://a".into(), etag: Some("\"1\"".into()), last_modified: None, at: at(NOW) };
    book.store().keep_copy("list", b"x", &about).unwrap();
    assert_eq!(book.store().copy("list", "http://a"), Some((b"x".to_vec(), about)));
    assert_eq!((book.store().copy("list", "http://b"), book.store().copy("other", "http://a")), (None, None));
}
