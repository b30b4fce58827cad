//! A disk that a test can fill.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const FILLER: &str = "filler";

/// A file system in memory, as small as a test wants it.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).then_some(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no byte free on the disk that is mounted there.
    pub(crate) fn fill(at: &Path) {
        let filler = std::io::copy(&mut std::io::repeat(0), &mut std::fs::File::create(at.join(FILLER)).unwrap());
        assert_eq!(filler.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    /// Frees what was filled.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.path().join(FILLER)).unwrap();
    }

    pub(crate) fn grow(&self, size: &str) {
        assert!(self.run("mount", &["-o", &format!("remount,size={size}")]));
    }

    fn run(&self, command: &str, arguments: &[&str]) -> bool {
        Command::new(command).args(arguments).arg(self.path()).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a gateway that a failed test left may still hold it.
        self.run("umount", &["-l"]);
    }
}
