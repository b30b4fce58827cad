//! Server-sent events: bytes in, whole event blocks out. No sockets, no text: a frame is the bytes as they came, so
//! that it can be passed on unchanged, and one that lies whole in a chunk is a slice of it, not a copy.
//!
//! A frame ends behind a blank line, whatever ends the lines (LF, CRLF or CR). Bytes may be cut anywhere, inside a line
//! end or inside a character: any cutting of the same bytes gives the same frames. A CR that might be half of a CRLF
//! waits for the next byte.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The most bytes one frame may have, unless set otherwise: images and long tool arguments come on one line.
pub const DEFAULT_FRAME_LIMIT: usize = 8 << 20;

/// One event grew beyond the limit; the stream cannot be followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one event of the stream is larger than {limit} bytes")]
pub struct FrameTooLarge {
    pub limit: usize,
}

/// Cuts a stream into event blocks.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// The beginning of a frame whose end has not come.
    carry: BytesMut,
    /// The current line has a byte.
    in_line: bool,
    /// The last byte was a CR.
    after_cr: AfterCr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterCr {
    No,
    /// It ended a line; an LF behind it belongs to the same line end.
    Line,
    /// It ended a blank line; the frame ends here, or behind the LF.
    Frame,
}

impl Default for Framer {
    fn default() -> Self {
        Self::with_limit(DEFAULT_FRAME_LIMIT)
    }
}

impl Framer {
    /// A framer that refuses frames of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, carry: BytesMut::new(), in_line: false, after_cr: AfterCr::No }
    }

    /// Takes the next bytes and appends the frames that they complete to `frames`.
    ///
    /// # Errors
    /// When a frame exceeds the limit. What was appended before is good; nothing more can be read.
    pub fn push(&mut self, chunk: &Bytes, frames: &mut Vec<Bytes>) -> Result<(), FrameTooLarge> {
        let mut from = 0;
        let mut at = 0;
        while let Some(end) = self.frame_end(chunk, &mut at) {
            frames.push(self.complete(chunk, from, end)?);
            from = end;
        }
        let rest = &chunk[from..];
        self.check(self.carry.len() + rest.len())?;
        self.carry.extend_from_slice(rest);
        Ok(())
    }

    /// The stream has ended: what is left is a last frame without its blank line.
    pub fn finish(&mut self) -> Option<Bytes> {
        (self.in_line, self.after_cr) = (false, AfterCr::No);
        (!self.carry.is_empty()).then(|| self.carry.split().freeze())
    }

    /// Walks on from `at` to the end of the next frame.
    fn frame_end(&mut self, chunk: &[u8], at: &mut usize) -> Option<usize> {
        while *at < chunk.len() {
            if self.after_cr != AfterCr::No {
                let ends = self.after_cr == AfterCr::Frame;
                *at += usize::from(chunk[*at] == b'\n');
                self.after_cr = AfterCr::No;
                if ends {
                    return Some(*at);
                }
                continue;
            }
            let Some(line) = memchr2(b'\n', b'\r', &chunk[*at..]) else {
                self.in_line = true;
                *at = chunk.len();
                return None;
            };
            let blank = !self.in_line && line == 0;
            let end = chunk[*at + line];
            *at += line + 1;
            self.in_line = false;
            match (end, blank) {
                (b'\r', true) => self.after_cr = AfterCr::Frame,
                (b'\r', false) => self.after_cr = AfterCr::Line,
                (_, true) => return Some(*at),
                (_, false) => {}
            }
        }
        None
    }

    fn complete(&mut self, chunk: &Bytes, from: usize, end: usize) -> Result<Bytes, FrameTooLarge> {
        self.check(self.carry.len() + end - from)?;
        if self.carry.is_empty() {
            return Ok(chunk.slice(from..end));
        }
        self.carry.extend_from_slice(&chunk[from..end]);
        Ok(self.carry.split().freeze())
    }

    fn check(&self, length: usize) -> Result<(), FrameTooLarge> {
        if length > self.limit { Err(FrameTooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

/// A frame with the blank line that ends it.
pub fn ended(frame: &Bytes) -> Bytes {
    let missing: &[u8] = match frame[..] {
        [.., b'\n' | b'\r'] => b"\n",
        _ => b"\n\n",
    };
    [&frame[..], missing].concat().into()
}

/// The data of one frame: its `data` lines joined by LF. Empty for a comment, a ping without data, a blank line.
pub fn data_of(frame: &[u8]) -> Cow<'_, [u8]> {
    let mut rest = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    let mut data: Option<Cow<'_, [u8]>> = None;
    while !rest.is_empty() {
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        rest = behind.strip_prefix(b"\r\n").unwrap_or_else(|| behind.get(1..).unwrap_or_default());
        let Some(value) = data_line(line) else {
            continue;
        };
        data = Some(match data {
            None => Cow::Borrowed(value),
            Some(joined) => {
                let mut joined = joined.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                Cow::Owned(joined)
            }
        });
    }
    data.unwrap_or_default()
}

/// The value of a line of the field `data`; one space behind the colon does not belong to it.
fn data_line(line: &[u8]) -> Option<&[u8]> {
    let behind = line.strip_prefix(b"data")?;
    if behind.is_empty() {
        return Some(behind);
    }
    let value = behind.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The frames of a stream that comes in pieces of these lengths (the last one repeats).
    fn frames(bytes: &[u8], pieces: &[usize]) -> Vec<Bytes> {
        let mut framer = Framer::default();
        let mut out = Vec::new();
        let mut rest = bytes;
        let mut lengths = pieces.iter().chain(std::iter::repeat(pieces.last().unwrap_or(&usize::MAX)));
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
            framer.push(&Bytes::copy_from_slice(piece), &mut out).unwrap();
            rest = behind;
        }
        out.extend(framer.finish());
        out
    }

    fn check(stream: &str, expected: &[&str]) {
        for piece in [1, 2, 3, 5, usize::MAX] {
            assert_eq!(frames(stream.as_bytes(), &[piece]), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn lines_may_end_in_any_way() {
        check("data: a\n\ndata: b\n\n", &["data: a\n\n", "data: b\n\n"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["data: a\r\n\r\n", "data: b\r\n\r\n"]);
        check("data: a\r\rdata: b\r\r", &["data: a\r\r", "data: b\r\r"]);
        check("data: a\r\n\ndata: b\n\r\n", &["data: a\r\n\n", "data: b\n\r\n"]);
    }

    #[test]
    fn blank_lines_and_comments_are_frames_of_their_own() {
        check("\n: ping\n\n\r\ndata: a\n\n", &["\n", ": ping\n\n", "\r\n", "data: a\n\n"]);
    }

    #[test]
    fn a_frame_is_ended_by_a_blank_line() {
        for (frame, expected) in [("data: a", "data: a\n\n"), ("data: a\n", "data: a\n\n"), ("data: a\r\n", "data: a\r\n\n")] {
            assert_eq!(ended(&Bytes::from(frame)), expected);
        }
    }

    #[test]
    fn the_last_frame_may_lack_its_blank_line() {
        check("data: a\n\ndata: b", &["data: a\n\n", "data: b"]);
        check("data: a\n\ndata: b\r", &["data: a\n\n", "data: b\r"]);
        check("", &[]);
    }

    #[test]
    fn characters_cut_by_chunks_survive() {
        check("data: 汉字\u{85}x\n\n", &["data: 汉字\u{85}x\n\n"]);
    }

    #[test]
    fn a_whole_frame_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata:");
        let mut out = Vec::new();
        Framer::default().push(&chunk, &mut out).unwrap();
        assert_eq!(out[1].as_ptr(), chunk[9..].as_ptr());
    }

    #[test]
    fn a_frame_beyond_the_limit_ends_the_stream_of_frames() {
        let mut framer = Framer::with_limit(10);
        let mut out = Vec::new();
        assert_eq!(framer.push(&Bytes::from_static(b"data: 12\n\n"), &mut out), Ok(()), "exactly the limit");
        assert_eq!(framer.push(&Bytes::from_static(b"data: 12"), &mut out), Ok(()));
        assert_eq!(framer.push(&Bytes::from_static(b"345"), &mut out), Err(FrameTooLarge { limit: 10 }));
        assert_eq!(out, ["data: 12\n\n"]);
    }

    #[test]
    fn data_is_what_the_data_lines_say() {
        for (frame, data) in [
            ("data: {}\n\n", "{}"),
            ("data:{}\r\n\r\n", "{}"),
            ("data:  two\n\n", " two"),
            ("\u{feff}data: bom\n\n", "bom"),
            ("event: x\rid: 1\rdata: a\rdata: b\r\r", "a\nb"),
            ("data\ndata: b\n\n", "\nb"),
            (": comment\n\n", ""),
            ("dataset: x\n\n", ""),
            ("data: no end", "no end"),
            ("\n", ""),
        ] {
            assert_eq!(data_of(frame.as_bytes()), data.as_bytes(), "{frame:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_frames(
            stream in "(data: ?|: c|event: e|[a-z汉]|\r|\n|\r\n|\n\n){0,60}",
            pieces in prop::collection::vec(1_usize..9, 1..12),
        ) {
            let whole = frames(stream.as_bytes(), &[usize::MAX]);
            prop_assert_eq!(&frames(stream.as_bytes(), &pieces), &whole);
            prop_assert_eq!(whole.concat(), stream.as_bytes());
        }

        #[test]
        fn any_bytes_come_out_as_they_went_in(stream in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let cut = frames(&stream, &[piece]);
            prop_assert_eq!(cut.concat(), stream);
            for frame in &cut {
                let _ = data_of(frame);
            }
        }
    }
}
