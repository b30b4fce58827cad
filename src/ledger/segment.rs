//! The journal's files: how they are named, how they begin, how they are read back, and which may be deleted.
//!
//! A segment's records are of use until every request opened in it, or before it, is in the store: only then can no
//! later record need it. So segments are deleted from the oldest on, up to the oldest that an unfinished request pins.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, FRAME_HEADER, Record};
use super::disk::Disk;
use crate::units::RequestId;

const MAGIC: &[u8; 8] = b"tbjourn\n";

/// Bytes before the first record: magic and version.
pub(super) const HEADER: usize = 12;

/// What every segment begins with.
pub(super) fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&codec::VERSION.to_le_bytes());
    header
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("journal-{number:010}.log"))
}

/// Every segment of a folder, oldest first.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for path in disk.files(folder)? {
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("journal-")?.strip_suffix(".log")?.parse().ok());
        if let Some(number) = number {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// How a segment's records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing more was written.
    Clean,
    /// Bytes that are no whole record, from this offset on.
    Torn { offset: usize },
    /// Written by a gateway that knows a newer format.
    Newer { version: u32 },
}

/// Whether a segment was set aside and never written: its header goes first.
pub(super) fn is_empty(bytes: &[u8]) -> bool {
    bytes.iter().take(HEADER).all(|byte| *byte == 0)
}

/// Hands every whole record to `each`, in order, and says how they end.
pub(super) fn read(bytes: &[u8], mut each: impl FnMut(RequestId, Record)) -> Tail {
    if is_empty(bytes) {
        return Tail::Clean;
    }
    let (Some(magic), Some(version)) = (bytes.get(..8), bytes.get(8..HEADER).and_then(|v| v.try_into().ok())) else {
        return Tail::Torn { offset: 0 };
    };
    let version = u32::from_le_bytes(version);
    if magic != MAGIC {
        return Tail::Torn { offset: 0 };
    }
    if version > codec::VERSION {
        return Tail::Newer { version };
    }
    if version == 0 {
        return Tail::Torn { offset: 8 };
    }
    let mut offset = HEADER;
    loop {
        match payload(&bytes[offset..]) {
            Ok(None) => return Tail::Clean,
            Ok(Some(payload)) => match codec::read_payload(payload, version) {
                Ok((request, record)) => {
                    each(request, record);
                    offset += FRAME_HEADER + payload.len();
                }
                Err(codec::Malformed) => return Tail::Torn { offset },
            },
            Err(codec::Malformed) => return Tail::Torn { offset },
        }
    }
}

/// The payload of the frame at the head of `bytes`; `None` where nothing was written.
fn payload(bytes: &[u8]) -> Result<Option<&[u8]>, codec::Malformed> {
    let word = |range: std::ops::Range<usize>| bytes.get(range).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if bytes.iter().take(FRAME_HEADER).all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (Some(length), Some(checksum)) = (word(0..4), word(4..8)) else {
        return Err(codec::Malformed);
    };
    let length = usize::try_from(length).map_err(|_| codec::Malformed)?;
    let payload = bytes[FRAME_HEADER..].get(..length).ok_or(codec::Malformed)?;
    if length == 0 || crc32fast::hash(payload) != checksum {
        return Err(codec::Malformed);
    }
    Ok(Some(payload))
}

/// Which segments exist and how many unfinished requests were opened in each.
#[derive(Debug, Default)]
pub(super) struct Pins {
    counts: BTreeMap<u64, usize>,
}

impl Pins {
    /// A segment begins to be written.
    pub(super) fn begin(&mut self, segment: u64) {
        self.counts.insert(segment, 0);
    }

    /// `requests` requests were opened in a segment.
    pub(super) fn pin(&mut self, segment: u64, requests: usize) {
        *self.counts.entry(segment).or_default() += requests;
    }

    /// A request opened in a segment is in the store.
    pub(super) fn release(&mut self, segment: u64) {
        if let Some(count) = self.counts.get_mut(&segment) {
            *count = count.saturating_sub(1);
        }
    }

    /// The segments that nobody needs any more; the newest is never among them.
    pub(super) fn unneeded(&self) -> Vec<u64> {
        let older = self.counts.len().saturating_sub(1);
        self.counts.iter().take(older).take_while(|(_, count)| **count == 0).map(|(segment, _)| *segment).collect()
    }

    pub(super) fn forget(&mut self, segment: u64) {
        self.counts.remove(&segment);
    }

    pub(super) fn segments(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures::{request_end, request_id};

    fn records(bytes: &[u8]) -> (usize, Tail) {
        let mut count = 0;
        let tail = read(bytes, |_, _| count += 1);
        (count, tail)
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_the_last_record() {
        let mut bytes = header().to_vec();
        codec::put_closed(&mut bytes, request_id(1), &request_end());
        let whole = bytes.len();
        codec::put_closed(&mut bytes, request_id(2), &request_end());
        assert_eq!(records(&bytes), (2, Tail::Clean));
        for cut in whole + 1..bytes.len() {
            assert_eq!(records(&bytes[..cut]), (1, Tail::Torn { offset: whole }), "cut at {cut}");
            let mut padded = bytes[..cut].to_vec();
            padded.resize(bytes.len() + 64, 0);
            if padded[..bytes.len()] != bytes[..] {
                assert_eq!(records(&padded), (1, Tail::Torn { offset: whole }), "zeros from {cut}");
            }
        }
        assert_eq!(records(&bytes[..whole]), (1, Tail::Clean));
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let mut bytes = header().to_vec();
        codec::put_closed(&mut bytes, request_id(1), &request_end());
        for place in HEADER..bytes.len() {
            bytes[place] ^= 0x10;
            assert!(matches!(records(&bytes), (0, Tail::Torn { .. })), "byte {place}");
            bytes[place] ^= 0x10;
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let mut bytes = header().to_vec();
        bytes[8] = 99;
        assert_eq!(records(&bytes), (0, Tail::Newer { version: 99 }));
        assert_eq!(records(&[0; 64]), (0, Tail::Clean));
        assert_eq!(records(b"not a journal at all"), (0, Tail::Torn { offset: 0 }));
    }

    #[test]
    fn a_segment_goes_when_it_and_all_before_it_are_folded() {
        let mut pins = Pins::default();
        for segment in 1..=3 {
            pins.begin(segment);
            pins.pin(segment, 1);
        }
        pins.release(2);
        assert_eq!(pins.unneeded(), [0_u64; 0]);
        pins.release(1);
        assert_eq!(pins.unneeded(), [1, 2]);
        pins.release(3);
        assert_eq!(pins.unneeded(), [1, 2], "the newest is being written");
    }
}
