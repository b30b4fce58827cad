//! The key book on the disk, in the folder `keys` of the data directory: the keys in one file, which is replaced whole, and the audit
//! as lines. There is no key in either, only hashes.

use std::io;
use std::path::{Path, PathBuf};

use super::{AuditRow, VirtualKey};
use crate::folder;

const FOLDER: &str = "keys";
const KEYS: &str = "keys.json";
const AUDIT: &str = "audit.jsonl";

/// Why the key book cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {what}; move the file away to go on without virtual keys", path.display())]
    Damaged { path: PathBuf, what: String },
}

#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// Every key, by name.
    pub(super) fn keys(&self) -> Result<Vec<VirtualKey>, StoreError> {
        let path = self.folder.join(KEYS);
        let Some(text) = self.text(KEYS)? else { return Ok(Vec::new()) };
        let mut keys: Vec<VirtualKey> =
            serde_json::from_str(&text).map_err(|error| StoreError::Damaged { path, what: error.to_string() })?;
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(keys)
    }

    pub(super) fn keep(&self, keys: &[VirtualKey]) -> Result<(), StoreError> {
        // Texts: nothing in it can fail to become JSON.
        let bytes = serde_json::to_vec_pretty(keys).unwrap_or_default();
        self.told(KEYS, folder::replace(&self.folder, KEYS, &bytes))
    }

    pub(super) fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        let text = self.text(AUDIT)?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub(super) fn append(&self, row: &AuditRow) -> Result<(), StoreError> {
        let line = serde_json::to_string(row).unwrap_or_default() + "\n";
        self.told(AUDIT, folder::append(&self.folder, AUDIT, &line))
    }

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.told(name, folder::read(&self.folder.join(name)))
    }

    fn told<T>(&self, name: &str, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|error| StoreError::Io { path: self.folder.join(name), error })
    }
}
