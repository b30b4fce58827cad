//! A folder of small files that survive a kill and a power cut: a file is replaced whole, or lines are added to its end, and
//! either is on the disk when the call returns.
//!
//! What is replaced is written beside and renamed, so that a kill leaves the old file or the new one. A line that a kill cut short
//! is the last one, and does not swallow the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// While a file is being written.
const UNFINISHED: &str = "unfinished";

/// The text of a file; `None` where there is none.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts these bytes in the place of a file of a folder, which is made where it is not there.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}.{UNFINISHED}")));
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(folder)?.sync_all()
}

/// Adds lines to the end of a file of a folder, which is made where it is not there.
pub fn append(folder: &Path, name: &str, lines: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    let cut = fs::read(&path).is_ok_and(|there| there.last().is_some_and(|last| *last != b'\n'));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(if cut { b"\n" } else { b"" })?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made");
        assert_eq!(read(&folder.join("a")).unwrap(), None);
        append(&folder, "a", "one\n").unwrap();
        fs::write(folder.join("a"), "one\ntw").unwrap();
        append(&folder, "a", "three\n").unwrap();
        assert_eq!(read(&folder.join("a")).unwrap().unwrap(), "one\ntw\nthree\n");
        replace(&folder, "a", b"new").unwrap();
        replace(&folder, "a", b"newer").unwrap();
        assert_eq!(read(&folder.join("a")).unwrap().unwrap(), "newer");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing unfinished is left");
    }
}
