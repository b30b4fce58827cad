//! Every version of the price table that a kept decision was made from, as a file in the data directory: without it, the
//! facts of the decision explain nothing. To the books a table is a version and a text.
//!
//! A file is written when its table is put in force, whole or not at all, before a request can name it; it goes when
//! no kept decision needs it any more. It can be deleted by hand at any time: those decisions then cannot be explained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::LedgerError;
use super::health::lock;

const FOLDER: &str = "tables";
const ENDING: &str = ".toml";
/// While a file is being written.
const UNFINISHED: &str = ".unfinished";

/// The texts of the tables of one data directory.
pub(super) struct Tables {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_force: Option<String>,
    /// File names of tables that were in force in this life, and until when on the monotonic clock.
    replaced: BTreeMap<String, Duration>,
}

impl Tables {
    /// Those of a data directory; touches nothing.
    pub(super) fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER), state: Mutex::default() }
    }

    /// Keeps a table that is about to be put in force, in the place of the one before it.
    pub(super) fn keep(&self, version: &str, text: &str, now: Duration) -> Result<(), LedgerError> {
        let name = file_name(version);
        // Held while it is written: a file that nobody has put in force yet looks like one that nobody needs.
        let mut state = lock(&self.state);
        self.write(&name, text).map_err(LedgerError::io(&self.folder.join(&name)))?;
        state.replaced.remove(&name);
        if let Some(before) = state.in_force.replace(name.clone()).filter(|before| *before != name) {
            state.replaced.insert(before, now);
        }
        Ok(())
    }

    /// The text of a version; `None` where it is not kept.
    pub(super) fn text(&self, version: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.folder.join(file_name(version))) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes every table but the one in force, those of these versions, and those that were in force at or after an
    /// instant of the monotonic clock, whose requests may not be in the store yet; and what a kill left unfinished. What
    /// cannot be deleted stays, and the first such failure is told.
    pub(super) fn prune(&self, used: &BTreeSet<String>, since: Duration) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let used: BTreeSet<String> = used.iter().map(|version| file_name(version)).collect();
        // Held to the end: a table must not be put in force while its file is looked at.
        let mut state = lock(&self.state);
        state.replaced.retain(|_, until| *until >= since);
        let mut told = Ok(());
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let needed = used.contains(&name) || state.in_force.as_ref() == Some(&name) || state.replaced.contains_key(&name);
            let ours = name.ends_with(ENDING) || name.strip_suffix(UNFINISHED).is_some_and(|name| name.ends_with(ENDING));
            if ours && !needed {
                told = told.and(fs::remove_file(entry.path()));
            }
        }
        told
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let file = self.folder.join(name);
        if fs::read(&file).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let unfinished = self.folder.join(format!("{name}{UNFINISHED}"));
        let written = write_synced(&unfinished, text).and_then(|()| fs::rename(&unfinished, &file));
        if written.is_err() {
            // On a full disk its room is needed; what hinders this as well, the next pruning finds.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        // So that the name survives a loss of power as well.
        File::open(&self.folder)?.sync_all()
    }
}

fn write_synced(file: &Path, text: &str) -> io::Result<()> {
    let mut writing = File::create(file)?;
    writing.write_all(text.as_bytes())?;
    writing.sync_all()
}

/// A version may hold any printable letter; it ends with digits of its text's hash, so replacing some keeps two apart.
fn file_name(version: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '_') { c } else { '_' };
    format!("{}{ENDING}", version.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u64) -> Duration {
        Duration::from_hours(24 * day)
    }

    fn kept(tables: &Tables) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&tables.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_table_is_kept_whatever_its_version_is_called() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        for version in ["2026-11-22+0123456789ab", "../../odd name+0123456789ac", ".hidden/x+0123456789ad"] {
            assert_eq!(tables.text(version).unwrap(), None);
            tables.keep(version, version, at(1)).unwrap();
            assert_eq!(tables.text(version).unwrap().as_deref(), Some(version));
        }
        let all = ["2026-11-22+0123456789ab.toml", "______odd_name+0123456789ac.toml", "_hidden_x+0123456789ad.toml"];
        assert_eq!(kept(&tables), all);
    }

    #[test]
    fn a_table_goes_when_nothing_needs_it() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        tables.prune(&BTreeSet::new(), at(9)).unwrap();
        for (day, version) in [(1, "a+1"), (2, "b+2"), (3, "c+3"), (4, "d+4")] {
            tables.keep(version, "text", at(day)).unwrap();
        }
        let used = BTreeSet::from(["a+1".to_owned()]);
        tables.prune(&used, at(3)).unwrap();
        assert_eq!(kept(&tables), ["a+1.toml", "b+2.toml", "c+3.toml", "d+4.toml"], "replaced on day 3 is not before day 3");
        tables.prune(&used, at(4)).unwrap();
        assert_eq!(kept(&tables), ["a+1.toml", "c+3.toml", "d+4.toml"]);
        tables.prune(&BTreeSet::new(), at(400)).unwrap();
        assert_eq!(kept(&tables), ["d+4.toml"], "what is in force stays");

        let next_life = Tables::new(data.path());
        next_life.keep("e+5", "text", at(5)).unwrap();
        next_life.prune(&BTreeSet::new(), at(0)).unwrap();
        assert_eq!(kept(&next_life), ["e+5.toml"], "what an earlier life left and nobody needs");
    }

    #[test]
    fn a_table_that_is_being_put_in_force_is_never_pruned() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        std::thread::scope(|scope| {
            let pruning = scope.spawn(|| (0..2_000).for_each(|_| tables.prune(&BTreeSet::new(), at(1)).unwrap()));
            for number in 0.. {
                let version = format!("v{number}+0");
                tables.keep(&version, &version, at(1)).unwrap();
                assert_eq!(tables.text(&version).unwrap().as_deref(), Some(version.as_str()));
                if pruning.is_finished() {
                    break;
                }
            }
        });
    }

    #[test]
    fn what_was_left_unfinished_goes_and_what_cannot_be_deleted_hinders_nothing() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        for version in ["a+1", "b+2", "y+3", "z+4"] {
            tables.keep(version, "text", at(1)).unwrap();
        }
        fs::write(tables.folder.join("c+5.toml.unfinished"), "te").unwrap();
        fs::write(tables.folder.join("notes.txt"), "an operator's own").unwrap();
        // Wherever it comes in the order of the folder.
        for folder in ["0.toml", "m.toml", "zz.toml"] {
            fs::create_dir(tables.folder.join(folder)).unwrap();
        }
        tables.prune(&BTreeSet::new(), at(2)).unwrap_err();
        assert_eq!(kept(&tables), ["0.toml", "m.toml", "notes.txt", "z+4.toml", "zz.toml"]);
    }

    #[test]
    fn a_table_that_cannot_be_written_leaves_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        tables.keep("a+1", "text", at(1)).unwrap();
        // A folder where the file should be: everything but the last step can be done.
        fs::create_dir_all(tables.folder.join("b+2.toml/in the way")).unwrap();
        tables.keep("b+2", "text", at(2)).unwrap_err();
        assert_eq!(kept(&tables), ["a+1.toml", "b+2.toml"]);
        fs::remove_dir_all(tables.folder.join("b+2.toml")).unwrap();
        tables.prune(&BTreeSet::new(), at(9)).unwrap();
        assert_eq!(kept(&tables), ["a+1.toml"], "what is in force is what it was");
    }

    #[test]
    fn a_damaged_table_is_written_again_and_an_unfinished_one_is_no_table() {
        let data = tempfile::tempdir().unwrap();
        let tables = Tables::new(data.path());
        tables.keep("a+1", "whole", at(1)).unwrap();
        fs::write(tables.folder.join("a+1.toml"), "wh").unwrap();
        fs::write(tables.folder.join("b+2.toml.unfinished"), "wh").unwrap();
        assert_eq!(tables.text("b+2").unwrap(), None);
        tables.keep("a+1", "whole", at(1)).unwrap();
        assert_eq!(tables.text("a+1").unwrap().as_deref(), Some("whole"));
    }
}
