//! A book on the disk, in a folder of the data directory: all that holds in one file, which is replaced whole, and the audit as
//! lines. There is no key in either, only hashes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::folder;

const AUDIT: &str = "audit.jsonl";

/// Why a book cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the work on it broke off: {0}")]
    Worker(String),
    #[error("{}: {what}; move the file away to go on without what it holds", path.display())]
    Damaged { path: PathBuf, what: String },
}

impl StoreError {
    /// A book was worked on beside the reactor, and that broke off.
    pub fn of_worker(error: &impl ToString) -> Self {
        Self::Worker(error.to_string())
    }
}

#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    file: &'static str,
    /// The last writing of all that holds failed.
    lags: AtomicBool,
}

impl Store {
    pub(super) fn new(data: &Path, folder: &str, file: &'static str) -> Self {
        Self { folder: data.join(folder), file, lags: AtomicBool::new(false) }
    }

    /// All that holds.
    pub(super) fn all<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        let path = self.folder.join(self.file);
        let Some(text) = self.text(self.file)? else { return Ok(Vec::new()) };
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged { path, what: error.to_string() })
    }

    pub(super) fn keep<T: Serialize>(&self, all: &[T]) -> Result<(), StoreError> {
        // Texts: nothing in it can fail to become JSON.
        let bytes = serde_json::to_vec_pretty(all).unwrap_or_default();
        let replaced = folder::replace(&self.folder, self.file, &bytes);
        self.lags.store(replaced.is_err(), Ordering::Relaxed);
        self.told(self.file, replaced)
    }

    /// Whether what was last to be kept is not on the disk.
    pub(super) fn lags(&self) -> bool {
        self.lags.load(Ordering::Relaxed)
    }

    pub(super) fn audit<R: DeserializeOwned>(&self) -> Result<Vec<R>, StoreError> {
        let text = self.text(AUDIT)?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub(super) fn append(&self, row: &impl Serialize) -> Result<(), StoreError> {
        let line = serde_json::to_string(row).unwrap_or_default() + "\n";
        self.told(AUDIT, folder::append(&self.folder, AUDIT, &line))
    }

    /// Adds lines as they are.
    pub(super) fn append_lines(&self, lines: &[String]) -> Result<(), StoreError> {
        self.told(AUDIT, folder::append(&self.folder, AUDIT, &(lines.join("\n") + "\n")))
    }

    /// The audit as it is kept, but for a line that was cut.
    pub(super) fn lines(&self) -> Result<Vec<String>, StoreError> {
        let text = self.text(AUDIT)?.unwrap_or_default();
        let whole = |line: &&str| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
        Ok(text.lines().filter(whole).map(str::to_owned).collect())
    }

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.told(name, folder::read(&self.folder.join(name)))
    }

    fn told<T>(&self, name: &str, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|error| StoreError::Io { path: self.folder.join(name), error })
    }
}
