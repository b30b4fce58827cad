//! What was learned, on disk: read at the start, written once a minute while something new was learned, and once more when
//! the gateway stops. Losing it costs better quotes for a while and nothing else, so nothing waits for it and no failure
//! stops anything.
//!
//! The file is replaced whole, by another name first: a kill leaves the one before. One that is damaged or newer is renamed
//! and told of, never overwritten.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::pipeline::learning::{Learning, NotRestored};

/// Its name in the data directory.
const FILE: &str = "learned.json";
/// More is no file of ours.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
const EVERY: Duration = Duration::from_mins(1);

/// Where what was learned is kept.
#[derive(Debug, Clone)]
pub(super) struct LearnedFile {
    path: PathBuf,
}

impl LearnedFile {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// Takes up what an earlier life learned.
    pub(super) fn restore(&self, learning: &Learning) {
        if let Err(why) = self.take_up(learning) {
            self.set_aside(&why);
        }
    }

    /// The same, and leaves the file as it is; answers whether there is one.
    fn take_up(&self, learning: &Learning) -> Result<bool, NotRestored> {
        match read(&self.path) {
            Ok(text) => learning.restore(&text).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(NotRestored::Damaged(error.to_string())),
        }
    }

    /// Writes what was learned.
    pub(super) fn write(&self, learning: &Learning) -> io::Result<()> {
        let unfinished = self.path.with_extension("unfinished");
        let written = write_synced(&unfinished, &learning.kept()).and_then(|()| fs::rename(&unfinished, &self.path));
        if written.is_err() {
            // On a full disk its room is needed.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Writes while the gateway runs, and once more when it stops.
    pub(super) async fn keep(self, learning: Arc<Learning>, stopping: CancellationToken) {
        let (mut ticks, mut kept) = (interval(EVERY), learning.lessons());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stops = stopping.run_until_cancelled(ticks.tick()).await.is_none();
            if stops {
                return;
            }
            if kept != learning.lessons() {
                kept = learning.lessons();
                self.write_aside(&learning).await;
            }
        }
    }

    /// Writes off the reactor, and tells of a failure.
    pub(super) async fn write_aside(&self, learning: &Arc<Learning>) {
        let (file, learning) = (self.clone(), Arc::clone(learning));
        let path = self.path.display();
        if let Ok(Err(error)) = spawn_blocking(move || file.write(&learning)).await {
            tracing::warn!(%error, %path, "what was learned cannot be kept: quotes begin with less after a restart");
        }
    }

    fn set_aside(&self, why: &NotRestored) {
        let aside = self.path.with_extension(match why {
            NotRestored::Newer(_) => "json.newer",
            NotRestored::Damaged(_) => "json.damaged",
        });
        let path = self.path.display();
        match fs::rename(&self.path, &aside) {
            Ok(()) => tracing::warn!(%why, %path, aside = %aside.display(), "what was learned before is not used and set aside"),
            Err(error) => tracing::warn!(%why, %error, %path, "what was learned before is not used"),
        }
    }
}

/// Takes up what a gateway has learned that keeps its state in a data directory, and changes nothing there. Answers whether
/// there is anything.
///
/// # Errors
/// Where the gateway would not use it: it is damaged, or a newer version's.
pub fn take_up_learned(folder: &Path, learning: &Learning) -> Result<bool, NotRestored> {
    LearnedFile::in_folder(folder).take_up(learning)
}

fn read(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has {size} bytes; at most {MOST_BYTES} are read")));
    }
    fs::read_to_string(path)
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn check(text: &[u8], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        LearnedFile::in_folder(folder.path()).restore(&Learning::new(1));
        assert_eq!(names(folder.path()), [expected]);
        assert_eq!(fs::read(folder.path().join(expected)).unwrap(), text);
    }

    #[test]
    fn what_cannot_be_used_is_set_aside_as_it_is() {
        check(b"{\"format\":2}", "learned.json.newer");
        check(b"{\"format\":1", "learned.json.damaged");
        check(b"\xff", "learned.json.damaged");
    }

    #[test]
    fn what_was_learned_is_there_in_the_next_life() {
        let folder = tempfile::tempdir().unwrap();
        let (file, before, after) = (LearnedFile::in_folder(folder.path()), Learning::new(1), Learning::new(2));
        file.restore(&before);
        before.turns.answered(1);
        file.write(&before).unwrap();
        file.write(&before).unwrap();
        file.restore(&after);
        assert_eq!(after.kept(), before.kept());
        assert_eq!(names(folder.path()), [FILE]);
    }
}
