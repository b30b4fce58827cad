//! How files look from outside: enough to tell that one is another one now, without reading it.
//!
//! Asked again and again instead of told by the kernel: its notices stop at the symbolic link that Kubernetes swaps, at
//! network file systems and at some overlays, and a watch on a path follows the file that lay there first. Looking at a
//! dozen files once a second costs a dozen system calls, wherever they lie.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is seen of one file, the one behind all symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds. The change time tells what a tool that sets the modification time back hides.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// `None` where there is no such file, or none that may be looked at.
    fn at(path: &Path) -> Option<Self> {
        let seen = std::fs::metadata(path).ok()?;
        Some(Self {
            device: seen.dev(),
            inode: seen.ino(),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}

/// How some files looked at one moment, by the paths they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looks {
    files: BTreeMap<PathBuf, Option<Look>>,
}

impl Looks {
    /// Looks at one more file, unless that was done already.
    pub fn note(&mut self, path: &Path) {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), Look::at(path));
        }
    }

    /// Looks at the same files again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { files: self.files.keys().map(|path| (path.clone(), Look::at(path))).collect() }
    }
}

/// Tells when files that look otherwise than when they were read have come to rest: two looks in a row have seen the same.
/// One that is being written is left alone that way until its writer pauses.
#[derive(Debug)]
pub struct Watch {
    read: Looks,
    seen: Looks,
    /// What was read could not be used, for a reason that may pass without a file being touched.
    stale: bool,
}

impl Watch {
    /// The files looked like this just before they were read.
    pub fn since(read: Looks) -> Self {
        Self { seen: read.clone(), read, stale: false }
    }

    /// They are to be read again when they rest, changed or not.
    pub fn distrust(&mut self) {
        self.stale = true;
    }

    /// How they looked when they were read.
    pub fn read(&self) -> &Looks {
        &self.read
    }

    /// Takes another look; answers whether they are to be read now.
    pub fn look(&mut self, now: Looks) -> bool {
        let rest = now == self.seen;
        self.seen = now;
        rest && (self.stale || self.seen != self.read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whether doing this makes the file at `config/file` look otherwise.
    fn check(what: &str, change: impl Fn(&Path), expected: bool) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for state in ["one", "two"] {
            fs::create_dir_all(at(state)).unwrap();
            fs::write(at(state).join("file"), "text").unwrap();
        }
        symlink("one", at("data")).unwrap();
        symlink("data/file", at("file")).unwrap();
        let mut looks = Looks::default();
        looks.note(&at("file"));
        looks.note(&at("absent"));
        assert_eq!(looks.again(), looks);
        change(folder.path());
        assert_eq!(looks.again() != looks, expected, "{what}");
    }

    #[test]
    fn a_file_that_is_being_written_is_read_once_its_writer_rests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "whole").unwrap();
        let mut looks = Looks::default();
        looks.note(&file);
        let mut watch = Watch::since(looks);
        let mut look_after = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            let now = watch.read().again();
            watch.look(now)
        };
        assert!(!look_after(None) && !look_after(None), "nothing has changed");
        assert!(!look_after(Some("the fir")) && !look_after(Some("the first half, the sec")), "it is being written");
        assert!(!look_after(Some("the first half, the second half")) && look_after(None), "it rests");
        watch = Watch::since(watch.read().again());
        assert!(!watch.look(watch.read().again()));
        watch.distrust();
        assert!(watch.look(watch.read().again()), "it is read again though nobody touched it");
    }

    #[test]
    fn a_file_that_was_written_replaced_swapped_or_removed_looks_otherwise() {
        check("nothing", |_| {}, false);
        check("beside it", |at| fs::write(at.join("other"), "text").unwrap(), false);
        check("written", |at| fs::write(at.join("one/file"), "longer text").unwrap(), true);
        check("replaced by another of its size", |at| fs::rename(at.join("two/file"), at.join("one/file")).unwrap(), true);
        check("removed", |at| fs::remove_file(at.join("one/file")).unwrap(), true);
        check("made", |at| fs::write(at.join("absent"), "").unwrap(), true);
        let swap = |at: &Path| {
            symlink("two", at.join("data.new")).unwrap();
            fs::rename(at.join("data.new"), at.join("data")).unwrap();
        };
        check("swapped", swap, true);
    }
}
