//! Amazon's event stream (`application/vnd.amazon.eventstream`): bytes in, whole messages out. No sockets, no JSON: a message is
//! cut out as it came, and one that lies whole in a chunk is a slice of it, not a copy.
//!
//! A message is its length and that of its headers (four bytes each, the greatest first), a CRC-32 of these eight, the headers, the
//! payload, and a CRC-32 of all before it. The first sum is checked before a length is believed, the second before anybody reads.
//! Bytes may be cut anywhere; any cutting of the same bytes gives the same messages. (AWS, "Event stream encoding", in the
//! developer guide of Transcribe; botocore 1.44.8, `eventstream.py`.)

use bytes::{Bytes, BytesMut};

/// Both lengths and their sum.
const PRELUDE: usize = 12;
/// The sum at the end.
const TRAILER: usize = 4;
/// A name of a header is at least a byte, its length and its type one each.
const LEAST_HEADER: usize = 3;

/// Why a stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventStreamError {
    #[error("one event of the stream is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("an event of the stream has a wrong checksum")]
    Checksum,
    #[error("an event of the stream has lengths that cannot be")]
    Lengths,
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The beginning of a message whose end has not come.
    carry: BytesMut,
}

impl Decoder {
    /// One that refuses messages of more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, carry: BytesMut::new() }
    }

    /// Takes the next bytes and appends the messages that they complete to `messages`.
    ///
    /// # Errors
    /// When a message is too large or damaged. What was appended before is good; nothing more can be read.
    pub fn push(&mut self, chunk: &Bytes, messages: &mut Vec<Bytes>) -> Result<(), EventStreamError> {
        let mut chunk = chunk.clone();
        while !self.carry.is_empty() {
            let wanted = self.total(&self.carry)?.unwrap_or(PRELUDE);
            let piece = chunk.split_to(wanted.saturating_sub(self.carry.len()).min(chunk.len()));
            self.carry.extend_from_slice(&piece);
            match self.total(&self.carry)? {
                Some(total) if self.carry.len() == total => messages.push(whole(self.carry.split().freeze())?),
                // Only now its length is known.
                Some(_) if !chunk.is_empty() => {}
                _ => return Ok(()),
            }
        }
        while let Some(total) = self.total(&chunk)?.filter(|total| *total <= chunk.len()) {
            messages.push(whole(chunk.split_to(total))?);
        }
        self.carry.extend_from_slice(&chunk);
        Ok(())
    }

    /// The length of the message that begins with these bytes; `None` while it is not told.
    fn total(&self, bytes: &[u8]) -> Result<Option<usize>, EventStreamError> {
        let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
        if crc32fast::hash(&prelude[..8]) != number(prelude, 8) {
            return Err(EventStreamError::Checksum);
        }
        let (total, headers) = (number(prelude, 0) as usize, number(prelude, 4) as usize);
        if total > self.limit {
            return Err(EventStreamError::TooLarge { limit: self.limit });
        }
        let least = headers.saturating_add(PRELUDE + TRAILER);
        if total < least { Err(EventStreamError::Lengths) } else { Ok(Some(total)) }
    }
}

/// Four bytes of a message; 0 beyond its end.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

fn whole(message: Bytes) -> Result<Bytes, EventStreamError> {
    let body = message.len().saturating_sub(TRAILER);
    if crc32fast::hash(&message[..body]) == number(&message, body) { Ok(message) } else { Err(EventStreamError::Checksum) }
}

/// A message, as far as anybody here acts on it: its headers are read where they are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'m> {
    headers: &'m [u8],
    pub payload: &'m [u8],
}

impl<'m> Message<'m> {
    /// Looks at a message as [`Decoder`] cuts them; `None` of what is none.
    pub fn of(message: &'m [u8]) -> Option<Self> {
        let headers = PRELUDE.checked_add(number(message, 4) as usize)?;
        let body = message.get(..message.len().checked_sub(TRAILER)?)?;
        Some(Self { headers: body.get(PRELUDE..headers)?, payload: body.get(headers..)? })
    }

    /// The text of a header (`:event-type`); `None` where it is not there, no text, or behind one that cannot be read.
    pub fn header(&self, name: &str) -> Option<&'m str> {
        let mut rest = self.headers;
        while rest.len() >= LEAST_HEADER {
            let (length, behind) = rest.split_first()?;
            let (told, behind) = behind.split_at_checked(usize::from(*length))?;
            let (kind, behind) = behind.split_first()?;
            let (value, behind) = value(*kind, behind)?;
            if told == name.as_bytes() {
                return value.and_then(|text| std::str::from_utf8(text).ok());
            }
            rest = behind;
        }
        None
    }
}

/// The text of a value, where it is one, and what follows it.
type Valued<'m> = (Option<&'m [u8]>, &'m [u8]);

/// By the number of its type.
fn value(kind: u8, bytes: &[u8]) -> Option<Valued<'_>> {
    const TEXT: u8 = 7;
    let fixed = |length: usize| Some((None, bytes.get(length..)?));
    match kind {
        // True and false.
        0 | 1 => fixed(0),
        // Whole numbers of one byte to eight, an instant, and an id.
        2 => fixed(1),
        3 => fixed(2),
        4 => fixed(4),
        5 | 8 => fixed(8),
        9 => fixed(16),
        // Bytes, or a text.
        6 | TEXT => {
            let (length, behind) = bytes.split_first_chunk()?;
            let (value, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            Some(((kind == TEXT).then_some(value), behind))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "eventstream/tests.rs"]
mod tests;
