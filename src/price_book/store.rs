//! The price book on the disk, in the folder `prices` of the data directory: changes in force and past ones, what is held
//! back, the audit, and the last good copy of each feed.
//!
//! The audit is a file of JSON lines that only grows, forced to the disk before the step that it tells of is taken. It is not
//! a table of the ledger's SQLite: that is filled from the journal of requests, many at a time and later, and a journal of
//! another kind of record would be a new format of the books for a few rows a day. A line that a kill cut short is the last
//! one, and is passed over.
//!
//! Everything else is written beside and renamed, so that a kill leaves the old file or the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::{AuditRow, HeldEntry};
use crate::catalog::DatedRate;
use crate::catalog::change::{PriceChange, rates_to_toml, to_toml};
use crate::catalog::load::laid_over;
use crate::folder;

const FOLDER: &str = "prices";
const CHANGES: &str = "changes.toml";
const HELD: &str = "held.json";
const AUDIT: &str = "audit.jsonl";

/// Why the price book cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
}

/// Where a good copy came from, and what to ask with the next time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fetched {
    /// The URL or file; a copy of another one is none of this feed.
    pub origin: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub at: jiff::Timestamp,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// That of a data directory; touches nothing.
    pub(super) fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn changes(&self) -> Result<(Vec<PriceChange>, Vec<DatedRate>), StoreError> {
        let path = self.file(CHANGES);
        let Some(text) = read(&path)? else { return Ok(Default::default()) };
        laid_over(CHANGES, &text).map_err(|problems| {
            let what = problems.first().map(ToString::to_string).unwrap_or_default();
            StoreError::Damaged { path, what: format!("{what}; move the file away to go on without changed prices") }
        })
    }

    pub(super) fn keep_changes(&self, changes: &[PriceChange], rates: &[DatedRate]) -> Result<(), StoreError> {
        self.write(CHANGES, format!("{}{}", rates_to_toml(rates), to_toml(changes)).as_bytes())
    }

    pub(super) fn held(&self) -> Result<Vec<HeldEntry>, StoreError> {
        let path = self.file(HELD);
        let Some(text) = read(&path)? else { return Ok(Vec::new()) };
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged { path, what: error.to_string() })
    }

    pub(super) fn keep_held(&self, held: &[HeldEntry]) -> Result<(), StoreError> {
        // Texts and numbers: nothing in it can fail to become JSON.
        self.write(HELD, &serde_json::to_vec(held).unwrap_or_default())
    }

    /// Every row, oldest first.
    pub(super) fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        let text = read(&self.file(AUDIT))?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Adds rows, on the disk when this returns.
    pub(super) fn append(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let path = self.file(AUDIT);
        let lines: String = rows.iter().map(|row| serde_json::to_string(row).unwrap_or_default() + "\n").collect();
        folder::append(&self.folder, AUDIT, &lines).map_err(|error| StoreError::Io { path, error })
    }

    /// The last good copy of a feed, where there is one from this origin.
    pub fn copy(&self, feed: &str, origin: &str) -> Option<(Vec<u8>, Fetched)> {
        let about: Fetched = serde_json::from_slice(&fs::read(self.file(&about_name(feed))).ok()?).ok()?;
        let copy = fs::read(self.file(&copy_name(feed))).ok()?;
        (about.origin == origin).then_some((copy, about))
    }

    /// Keeps a good copy. The document goes first: what is said about a copy that is not there would ask for no other.
    pub fn keep_copy(&self, feed: &str, document: &[u8], about: &Fetched) -> Result<(), StoreError> {
        // Until both are there, neither counts.
        let _ = fs::remove_file(self.file(&about_name(feed)));
        self.write(&copy_name(feed), document)?;
        self.write(&about_name(feed), &serde_json::to_vec(about).unwrap_or_default())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let done = folder::replace(&self.folder, name, bytes);
        done.map_err(|error| StoreError::Io { path: self.file(name), error })
    }
}

/// A feed's name is letters, digits, `-`, `_` and `.`, and these names begin with a word of their own.
fn copy_name(feed: &str) -> String {
    format!("feed-{feed}.copy")
}

fn about_name(feed: &str) -> String {
    format!("feed-{feed}.json")
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, StoreError> {
    folder::read(path).map_err(|error| StoreError::Io { path: path.to_owned(), error })
}
