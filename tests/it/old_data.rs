//! Promise 13, and what else a data directory can hold that a gateway must not build on: it refuses, says what is wrong and
//! what to do, and leaves everything as it was.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

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

    check_refused(&setup, &["ledger.sqlite3 has schema version 99", "knows up to 1", "run the newer version"]);
    assert_eq!(fs::read(database(&setup)).unwrap(), before);

    Connection::open(database(&setup)).unwrap().pragma_update(None, "user_version", 1).unwrap();
    let again = setup.start();
    assert_eq!(rows::requests(&again.setup.data()).len(), 1);
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
