//! A copy of the store while it is being written: one state of it, read in one transaction, so that the writer goes on and the
//! copy is as whole as a stopped gateway's. SQLite's other way, page by page, begins anew whenever somebody writes, which a busy
//! gateway always does.
//!
//! While it is read the write-ahead log cannot be cut, so it grows by what is booked meanwhile. What is not folded yet is not in
//! the copy: it is in the journal.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::query::Books;
use super::sqlite::explain;
use super::store::StoreError;

/// Why no copy was made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackupError {
    #[error("{} is there already: name a new file, or move that one away", .file.display())]
    Present { file: PathBuf },
    #[error("{} cannot be written", .file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("the copy {} is not whole ({detail}) and was deleted: check the books (tokenbroker ledger check)", .file.display())]
    NotWhole { file: PathBuf, detail: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Books {
    /// Copies the store to a new file, which is there only when it is whole and safe on the disk; answers its bytes.
    pub fn backup(&self, to: &Path) -> Result<u64, BackupError> {
        let failed = |source| BackupError::Io { file: to.to_owned(), source: Arc::new(source) };
        if to.try_exists().map_err(failed)? {
            return Err(BackupError::Present { file: to.to_owned() });
        }
        let part = Part(beside(to));
        let _ = std::fs::remove_file(&part.0);
        let name = part.0.to_string_lossy().into_owned();
        self.connection().execute("VACUUM INTO ?1", [name]).map_err(|error| explain(&part.0, error))?;
        let detail = look(&part.0).map_err(|error| explain(&part.0, error))?;
        if detail != "ok" {
            return Err(BackupError::NotWhole { file: to.to_owned(), detail });
        }
        let file = File::open(&part.0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        // A link fails where the name is taken meanwhile; a rename would write over it.
        std::fs::hard_link(&part.0, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Present { file: to.to_owned() },
            _ => failed(error),
        })?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(bytes)
    }
}

/// What SQLite says of a file that nobody else uses.
fn look(file: &Path) -> rusqlite::Result<String> {
    let copy = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
}

/// A file that goes when it is dropped: what is left of a copy that failed, or its first name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    to.with_file_name(name)
}
