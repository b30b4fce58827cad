//! Promise 13, and what else a data directory can hold that a gateway must not build on: it refuses, says what is wrong and
//! what to do, and leaves everything as it was.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokenbroker::units::Usd;

use crate::harness::rows;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat, provider};

fn database(setup: &Setup) -> PathBuf {
    setup.data().join("ledger.sqlite3")
}

/// A setup whose books hold one answered request; the process has ended.
async fn with_books() -> (Setup, Provider) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    (gateway.drain().await.1, east)
}

fn check_refused(setup: &Setup, expected: &[&str]) {
    let (code, said) = setup.refused();
    assert_eq!(code, Some(1), "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_stays_as_it_is() {
    let (setup, _east) = with_books().await;
    Connection::open(database(&setup)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(database(&setup)).unwrap();

    check_refused(&setup, &["ledger.sqlite3 has schema version 99", "knows up to 7", "run the newer version"]);
    assert_eq!(fs::read(database(&setup)).unwrap(), before);

    Connection::open(database(&setup)).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let again = setup.start();
    assert_eq!(rows::requests(&again.setup.data()).len(), 1);
}

/// A data directory of the first format, as a kill left it; see `tests/fixtures/books_v1`.
fn first_format(into: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/books_v1");
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(fixture).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
}

/// The rows of one question, as JSON.
fn told(data: &Path, sql: &str) -> Value {
    let books = Connection::open(data.join("ledger.sqlite3")).unwrap();
    let mut select = books.prepare(sql).unwrap();
    let width = select.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        let cell = |at| match row.get::<_, rusqlite::types::Value>(at).unwrap() {
            rusqlite::types::Value::Integer(number) => json!(number),
            rusqlite::types::Value::Text(text) => json!(text),
            other => panic!("{other:?}"),
        };
        Ok((0..width).map(cell).collect::<Value>())
    };
    select.query_map([], read).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn books_of_the_first_format_open_with_every_row_and_go_on() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east)]).key("web", "tb-web").key("batch", "tb-batch");
    first_format(&setup.data());
    let expected: Value = serde_json::from_str(&fs::read_to_string(setup.data().join("expected.json")).unwrap()).unwrap();

    let gateway = setup.start();

    let data = gateway.setup.data();
    let sums = "SELECT count(*), sum(attempts), sum(cost_pico_usd), sum(fresh_input + cache_read + cache_write), sum(output), \
        sum(baseline_pico_usd) FROM requests";
    assert_eq!(told(&data, sums)[0], expected["requests"]);
    let by_key = "SELECT key, count(*), sum(cost_pico_usd) FROM requests GROUP BY key ORDER BY key";
    assert_eq!(told(&data, by_key), expected["by_key"]);
    let endings = "SELECT ending, count(*), sum(cost_pico_usd) FROM attempts GROUP BY ending ORDER BY ending";
    assert_eq!(told(&data, endings), expected["endings"]);
    let currencies = "SELECT currency, count(*), sum(amount_pico) FROM attempts GROUP BY currency ORDER BY currency";
    assert_eq!(told(&data, currencies), expected["currencies"]);

    // The sums that reports are read from are made of the old rows, those that lay in the journal included.
    for (at, key) in ["batch", "web"].into_iter().enumerate() {
        let usage =
            gateway.ask(&Call::get("/v1/usage?start_date=2026-11-01&end_date=2026-11-30").key(&format!("tb-{key}"))).await;
        let total = &usage.json()["total"];
        let cost = Usd::parse(total["cost_usd"].as_str().unwrap()).unwrap();
        assert_eq!(
            json!([key, total["requests"], i64::try_from(cost.pico()).unwrap()]),
            expected["by_key"][at],
            "{}",
            usage.text()
        );
    }
    let baseline = gateway.operator(&Call::get("/usage?start_date=2026-11-01&end_date=2026-11-30")).await.json();
    let baseline = Usd::parse(baseline["total"]["baseline"]["cost_usd"].as_str().unwrap()).unwrap();
    assert_eq!(json!(i64::try_from(baseline.pico()).unwrap()), expected["requests"][5]);

    // Nothing was kept then of what a decision was made from, and that is what is said.
    let oldest = rows::requests(&data)[0].id.clone();
    let forgotten = gateway.operator(&Call::get(&format!("/decisions/{oldest}"))).await;
    assert_eq!((forgotten.status, forgotten.error("code")), (410, json!("decision_forgotten")));

    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await;
    assert_eq!(answer.status, 200);
    let (_, setup) = gateway.drain().await;
    let again = setup.start();
    let count = told(&again.setup.data(), "SELECT count(*) FROM requests")[0][0].as_i64();
    assert_eq!(count, expected["requests"][0].as_i64().map(|old| old + 1));
}

#[tokio::test]
async fn books_of_the_third_schema_open_with_every_row_and_go_on() {
    let (setup, east) = with_books().await;
    let back = "ALTER TABLE attempts DROP COLUMN served_before; ALTER TABLE usage_daily DROP COLUMN model_changes; \
        ALTER TABLE attempts DROP COLUMN pieces; ALTER TABLE attempts DROP COLUMN piece_price_pico; \
        ALTER TABLE attempts DROP COLUMN piece_price_per; ALTER TABLE requests DROP COLUMN team; \
        ALTER TABLE requests DROP COLUMN project; ALTER TABLE requests DROP COLUMN tags; DROP TABLE usage_marked; \
        PRAGMA user_version = 3";
    Connection::open(database(&setup)).unwrap().execute_batch(back).unwrap();

    let gateway = setup.start();

    east.next(provider::whole(&chat::answer("Hello.", 9, 4).replace("\"served\"", "\"another\"")));
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    let usage = gateway.operator(&Call::get("/usage")).await.json();
    assert_eq!((&usage["total"]["requests"], &usage["total"]["served_model_changes"]), (&json!(2), &json!(1)), "{usage}");
    let changed = told(&gateway.setup.data(), "SELECT coalesce(served_before, '-') FROM attempts ORDER BY request");
    assert_eq!(changed, json!([["-"], ["served"]]));
}

#[tokio::test]
async fn a_newer_journal_is_refused() {
    let (setup, _east) = with_an_unfinished_journal().await;
    let journal = newest_journal(&setup.data());
    let mut bytes = fs::read(&journal).unwrap();
    // After the eight bytes that every segment begins with.
    bytes[8..12].copy_from_slice(&99_u32.to_le_bytes());
    fs::write(&journal, bytes).unwrap();

    check_refused(&setup, &["was written by a newer version (journal format 99)"]);
}

#[tokio::test]
async fn damaged_books_are_refused_and_doing_what_the_message_says_mends_them() {
    let (setup, _east) = with_an_unfinished_journal().await;
    let file = database(&setup);
    // The write-ahead log alone would mend the file.
    for ending in ["", "-wal"] {
        let part = format!("{}{ending}", file.display());
        let mut bytes = fs::read(&part).unwrap();
        bytes.iter_mut().take(64).for_each(|byte| *byte = b'x');
        fs::write(part, bytes).unwrap();
    }

    check_refused(&setup, &["ledger.sqlite3 is damaged", "keep the journal-*.log files where they are", "move this file away"]);

    for ending in ["", "-wal", "-shm"] {
        let part = PathBuf::from(format!("{}{ending}", file.display()));
        if part.exists() {
            fs::rename(&part, part.with_extension(format!("kept{ending}"))).unwrap();
        }
    }
    let mended = setup.start();
    let outcomes: Vec<_> = rows::requests(&mended.setup.data()).into_iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, ["answered", "lost"]);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused_and_the_first_goes_on() {
    let east = Provider::start("east").await;
    let first = Gateway::of([Site::of(&east)]);

    check_refused(&first.setup, &["is in use by another gateway", "its own data directory"]);

    assert_eq!(first.chat(&chat::ask("auto")).await.status, 200);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_named() {
    let east = Provider::start("east").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "not a directory").unwrap();

    for taken in [file.clone(), file.join("data")] {
        let setup = Setup::of([Site::of(&east)]).set("books.directory", &taken.to_string_lossy());
        check_refused(&setup, &[&format!("{} cannot be used", taken.display())]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
}

/// A journal that holds an answered and an open request: the gateway was killed.
async fn with_an_unfinished_journal() -> (Setup, Provider) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    east.next(provider::then(provider::begun(&[chat::role(), chat::text("Hel")]), [Step::Stall]));
    let mut open = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    open.read_past("Hel").await;
    (gateway.kill(), east)
}

fn newest_journal(data: &Path) -> PathBuf {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    journals.filter(|path| fs::read(path).unwrap().starts_with(b"tbjourn\n")).max().expect("a journal that was written")
}
