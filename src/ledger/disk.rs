//! The few things the journal asks of a disk, behind a trait so that a test can make the disk full, failing or stuck, or keep it
//! in memory. Recovery reads whole files, before anything is written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Makes, finds, reads and removes segment files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new file with room set aside for `bytes` bytes, so that writing that many cannot fail for want of space.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Every file of a folder, in any order.
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Gives a file another name in its folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// One segment file.
pub trait SegmentFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`. After a failure any part of them may be there; writing them again mends it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns when everything written survives a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDisk;

impl Disk for FileDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let reserved = reserve(&file, bytes).and_then(|()| sync_folder_of(path));
        if let Err(error) = reserved {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
}

impl SegmentFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Sets room aside. A file system that cannot do so is used without: ends may then fail on a full disk and are retried.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A new file's name survives a loss of power only when its folder has been written too.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
