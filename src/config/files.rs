//! Files of the set-up. They are read again while the gateway runs, by paths behind which anything may lie by then, so
//! reading must not wait for somebody who never writes and must not fill the memory.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The largest configuration or table, in bytes: two hundred times the shipped table.
pub const MOST_TEXT: u64 = 32 << 20;
/// The largest file with a key, in bytes.
pub(super) const MOST_KEY: u64 = 64 << 10;

/// A file's text. Refuses what is larger than `most` bytes, and pipes: they can be read once only, and opening one waits
/// for its writer.
pub fn text(path: &Path, most: u64) -> io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe, which cannot be read again when something has changed"));
    }
    let mut bytes = Vec::new();
    let size = file.take(most + 1).read_to_end(&mut bytes)?;
    if size as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn check(path: &Path, expected: Result<&str, &str>) {
        // In a thread, since the failure to expect is that it never comes back.
        let (told, answer) = mpsc::channel();
        let asked = path.to_owned();
        std::thread::spawn(move || told.send(text(&asked, 8).map_err(|error| error.to_string())));
        match (answer.recv_timeout(Duration::from_secs(30)).expect("it was read to its end"), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{}", path.display()),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{}: {found}", path.display()),
            (found, expected) => panic!("{}: {found:?}, not {expected:?}", path.display()),
        }
    }

    #[test]
    fn what_is_no_file_of_a_bearable_size_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, bytes) in [("good", &b"12345678"[..]), ("large", b"123456789"), ("bytes", b"\xff\xfe")] {
            fs::write(at(name), bytes).unwrap();
        }
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        symlink("pipe", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        check(&at("good"), Ok("12345678"));
        check(&at("large"), Err("it is larger than 8 bytes"));
        check(&at("bytes"), Err("it is not UTF-8 text"));
        check(&at("pipe"), Err("it is a pipe"));
        check(&at("link"), Err("it is a pipe"));
        check(&at("loop"), Err("symbolic links"));
        check(folder.path(), Err("directory"));
        check(Path::new("/dev/null"), Ok(""));
        check(Path::new("/dev/zero"), Err("it is larger than 8 bytes"));
    }
}
