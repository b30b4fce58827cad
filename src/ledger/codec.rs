//! Records as bytes. A frame is a length (u32, little endian), a CRC-32 of the payload and the payload; a length of zero
//! is the end of a segment, because segments are allocated ahead and read as zeros where nothing was written.
//!
//! The payload is our own compact form, not JSON: a request's records are written on the request path, and this costs
//! a tenth. One list of members per type yields both directions, so they cannot drift apart; a change of a list is a
//! new [`VERSION`], and what an older one lacks is read as absent. Enumerations travel as their words, which do not
//! change when a variant is inserted.

mod prices;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::entry::{AttemptEnd, AttemptOpened, Baseline, Ending, Outcome, RequestEnd, RequestOpened, Terms};
use super::marks::Marks;
use crate::units::{
    BackendId, Currency, ExchangeRate, KeyName, Pieces, Provenance, RequestId, Thinking, TokenPrice, Tokens, Usage, Usd,
};

/// The version of the record format that is written; stands in every segment's header. Since 2 the opening of a request
/// ends with the facts of its decision; since 3 an attempt has all prices that it may be settled by, and more kinds of token,
/// and its end says what of it was free; since 4 that end says which model was named before, where it changed; since 5 usage, prices
/// and expectations tell what is billed by the piece; since 6 the opening of a request ends with whose team and project its key is of, and
/// its tags.
pub(super) const VERSION: u32 = 6;
/// The first version in which a price is more than one tariff.
const WITH_SHEETS: u32 = 3;
/// The first version in which an end says that the model's name changed.
const WITH_CHANGES: u32 = 4;
/// The first version that knows what is billed by the piece.
const WITH_PIECES: u32 = 5;
/// The first version in which a request tells its team, its project and its tags.
const WITH_MARKS: u32 = 6;

/// Bytes before a payload: its length and its checksum.
pub(super) const FRAME_HEADER: usize = 8;

/// Bytes that no record can have been written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record")]
pub(super) struct Malformed;

/// One thing that happened to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Opened(Box<RequestOpened>),
    AttemptOpened { number: u32, opened: Box<AttemptOpened> },
    Checkpoint { number: u32, usage: Usage, provenance: Provenance },
    AttemptEnded { number: u32, end: AttemptEnd },
    Closed(RequestEnd),
}

const OPENED: u8 = 1;
const ATTEMPT_OPENED: u8 = 2;
const CHECKPOINT: u8 = 3;
const ATTEMPT_ENDED: u8 = 4;
const CLOSED: u8 = 5;

pub(super) fn put_opened(out: &mut Vec<u8>, opened: &RequestOpened) {
    frame(out, OPENED, opened.id, |out| opened.put(out));
}

pub(super) fn put_attempt_opened(out: &mut Vec<u8>, request: RequestId, number: u32, opened: &AttemptOpened) {
    frame(out, ATTEMPT_OPENED, request, |out| {
        number.put(out);
        opened.put(out);
    });
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, request: RequestId, number: u32, usage: Usage, provenance: Provenance) {
    frame(out, CHECKPOINT, request, |out| {
        number.put(out);
        usage.put(out);
        provenance.put(out);
    });
}

pub(super) fn put_attempt_ended(out: &mut Vec<u8>, request: RequestId, number: u32, end: &AttemptEnd) {
    frame(out, ATTEMPT_ENDED, request, |out| {
        number.put(out);
        end.put(out);
    });
}

pub(super) fn put_closed(out: &mut Vec<u8>, request: RequestId, end: &RequestEnd) {
    frame(out, CLOSED, request, |out| end.put(out));
}

fn frame(out: &mut Vec<u8>, kind: u8, request: RequestId, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    out.push(kind);
    request.put(out);
    payload(out);
    let payload = &out[start + FRAME_HEADER..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(payload).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + FRAME_HEADER].copy_from_slice(&checksum);
}

/// Reads one payload of a segment of this version, which must be one that is known.
pub(super) fn read_payload(payload: &[u8], version: u32) -> Result<(RequestId, Record), Malformed> {
    let from = &mut Reader { rest: payload, version };
    let kind = from.byte()?;
    let request = RequestId::take(from)?;
    let record = match kind {
        OPENED => Record::Opened(Box::new(Wire::take(from)?)),
        ATTEMPT_OPENED => Record::AttemptOpened { number: Wire::take(from)?, opened: Box::new(Wire::take(from)?) },
        CHECKPOINT => Record::Checkpoint { number: Wire::take(from)?, usage: Wire::take(from)?, provenance: Wire::take(from)? },
        ATTEMPT_ENDED => Record::AttemptEnded { number: Wire::take(from)?, end: Wire::take(from)? },
        CLOSED => Record::Closed(Wire::take(from)?),
        _ => return Err(Malformed),
    };
    if from.rest.is_empty() { Ok((request, record)) } else { Err(Malformed) }
}

/// Bytes not yet read, in the format of a version.
struct Reader<'b> {
    rest: &'b [u8],
    version: u32,
}

impl<'b> Reader<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn text(&mut self) -> Result<&'b str, Malformed> {
        let length = usize::try_from(u64::take(self)?).map_err(|_| Malformed)?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed)
    }
}

/// A value with one form as bytes.
trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

impl Wire for u64 {
    /// Seven bits a byte, the low ones first: most counts fit two bytes.
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        out.push(rest.to_le_bytes()[0]);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// Types that travel as another type: how to get there, and how back (which may fail).
macro_rules! wire_as {
    ($($type:ty as $inner:ty: |$value:ident| $there:expr, |$read:ident| $back:expr;)+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let $value = self;
                <$inner as Wire>::put(&$there, out);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let $read = <$inner as Wire>::take(from)?;
                $back.ok_or(Malformed)
            }
        }
    )+};
}

wire_as! {
    u32 as u64: |v| u64::from(*v), |r| u32::try_from(r).ok();
    u16 as u64: |v| u64::from(*v), |r| u16::try_from(r).ok();
    bool as u64: |v| u64::from(*v), |r| (r <= 1).then_some(r == 1);
    Tokens as u64: |v| v.get(), |r| Some(Tokens::new(r));
    TokenPrice as u64: |v| v.pico(), |r| Some(TokenPrice::from_pico(r));
    RequestId as [u8; 16]: |v| *v.as_bytes(), |r| Some(RequestId::from_bytes(r));
    Usd as [u8; 16]: |v| v.pico().to_le_bytes(), |r| Some(Usd::from_pico(i128::from_le_bytes(r)));
    Timestamp as [u8; 8]: |v| v.as_microsecond().to_le_bytes(), |r| Timestamp::from_microsecond(i64::from_le_bytes(r)).ok();
}

/// Types that travel as a text.
macro_rules! wire_text {
    ($($type:ty: |$value:ident| $there:expr, |$read:ident| $back:expr;)+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let $value = self;
                let text: &str = $there;
                (text.len() as u64).put(out);
                out.extend_from_slice(text.as_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let $read = from.text()?;
                $back.ok_or(Malformed)
            }
        }
    )+};
}

wire_text! {
    String: |v| v, |r| Some(r.to_owned());
    Arc<str>: |v| v, |r| Some(r.into());
    Cow<'static, str>: |v| v, |r| Some(Cow::Owned(r.to_owned()));
    KeyName: |v| v.as_str(), |r| Some(KeyName::new(r));
    BackendId: |v| v.as_str(), |r| r.split_once('/').map(|(provider, model)| BackendId::new(provider, model));
    Currency: |v| v.code(), |r| r.parse().ok();
    Provenance: |v| v.word(), |r| Provenance::ALL.into_iter().find(|p| p.word() == r);
    Ending: |v| v.word(), |r| Ending::from_word(r);
    Outcome: |v| v.word(), |r| Outcome::from_word(r);
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
}

/// The facts of a decision, which are bytes to the books.
impl Wire for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.version < 2 {
            return Ok(Vec::new());
        }
        let length = usize::try_from(u64::take(from)?).map_err(|_| Malformed)?;
        from.bytes(length).map(<[u8]>::to_vec)
    }
}

impl Wire for ExchangeRate {
    fn put(&self, out: &mut Vec<u8>) {
        self.currency().put(out);
        self.per_usd().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let currency = Currency::take(from)?;
        ExchangeRate::parse(currency, from.text()?).map_err(|_| Malformed)
    }
}

impl Wire for Usage {
    fn put(&self, out: &mut Vec<u8>) {
        let kinds = [self.fresh_input, self.cache_read, self.cache_write, self.output, self.reasoning];
        let parts = [self.cache_write_long, self.image_input, self.audio_input, self.audio_output];
        kinds.into_iter().chain(parts).for_each(|tokens| tokens.put(out));
        self.pieces.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut tokens = || Tokens::take(from);
        let (fresh_input, cache_read, cache_write) = (tokens()?, tokens()?, tokens()?);
        let (output, reasoning) = (tokens()?, tokens()?);
        let usage = Self { fresh_input, cache_read, cache_write, output, reasoning, ..Self::default() };
        if from.version < WITH_SHEETS {
            return Ok(usage);
        }
        let mut tokens = || Tokens::take(from);
        let (cache_write_long, image_input, audio_input, audio_output) = (tokens()?, tokens()?, tokens()?, tokens()?);
        let pieces = if from.version < WITH_PIECES { 0 } else { u64::take(from)? };
        Ok(Self { cache_write_long, image_input, audio_input, audio_output, pieces, ..usage })
    }
}

impl Wire for Thinking {
    fn put(&self, out: &mut Vec<u8>) {
        let told = match self {
            Thinking::On => Some(true),
            Thinking::Off => Some(false),
            Thinking::Unsaid => None,
        };
        told.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.version < WITH_SHEETS {
            return Ok(Thinking::Unsaid);
        }
        Ok(match <Option<bool> as Wire>::take(from)? {
            Some(true) => Thinking::On,
            Some(false) => Thinking::Off,
            None => Thinking::Unsaid,
        })
    }
}

/// Behind all that stood there before.
impl Wire for Pieces {
    fn put(&self, out: &mut Vec<u8>) {
        self.expected.put(out);
        self.most.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.version < WITH_PIECES {
            return Ok(Self::default());
        }
        Ok(Self { expected: Wire::take(from)?, most: Wire::take(from)? })
    }
}

/// Behind all that stood there before.
impl Wire for Marks {
    fn put(&self, out: &mut Vec<u8>) {
        self.team.put(out);
        self.project.put(out);
        (self.tags.len() as u64).put(out);
        self.tags.iter().for_each(|tag| tag.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.version < WITH_MARKS {
            return Ok(Self::default());
        }
        let (team, project) = (Wire::take(from)?, Wire::take(from)?);
        // Each takes a byte at least, so a damaged count ends where the bytes do.
        let tags = (0..u64::take(from)?).map(|_| Wire::take(from)).collect::<Result<_, _>>()?;
        Ok(Self { team, project, tags })
    }
}

impl Wire for Terms {
    fn put(&self, out: &mut Vec<u8>) {
        self.pricing().put(out);
        self.exchange_rate().put(out);
        self.rate_date().to_owned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Terms::new(Wire::take(from)?, Wire::take(from)?, String::take(from)?).ok_or(Malformed)
    }
}

/// Types that travel as their members, in the order of the list.
macro_rules! wire_members {
    ($($type:ident { $($member:ident),+ $(,)? })+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$member.put(out);)+
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self { $($member: Wire::take(from)?),+ })
            }
        }
    )+};
}

wire_members! {
    Baseline { model, terms }
    RequestOpened {
        id, client_request_id, key, frontend, requested_model, stream, session, arrived_at, book_version, input_estimate,
        expected_output, quoted, runner_up, baseline, facts, marks,
    }
    AttemptOpened {
        backend, provider, model, terms, quoted, held, input_estimate, input_upper, expected_output, output_bound, started_at, thinking,
        pieces,
    }
    RequestEnd { outcome, status, first_byte_ms, duration_ms, overhead_us }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_id, request_opened};

    pub(super) fn payload(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes);
        bytes.split_off(FRAME_HEADER)
    }

    pub(super) fn check(put: impl FnOnce(&mut Vec<u8>), expected: Record) {
        let payload = payload(put);
        assert_eq!(read_payload(&payload, VERSION), Ok((request_id(7), expected)));
        for cut in 0..payload.len() {
            assert_eq!(read_payload(&payload[..cut], VERSION), Err(Malformed), "cut at {cut}");
        }
    }

    #[test]
    fn every_record_reads_back_and_no_part_of_one_does() {
        let (id, opened, attempt) = (request_id(7), request_opened(7), attempt_opened());
        check(|out| put_opened(out, &opened), Record::Opened(Box::new(opened.clone())));
        check(
            |out| put_attempt_opened(out, id, 3, &attempt),
            Record::AttemptOpened { number: 3, opened: Box::new(attempt.clone()) },
        );
        let end = AttemptEnd { cause: Some("cut off".into()), http_status: Some(503), ..attempt_end(300, 70_000) };
        check(|out| put_attempt_ended(out, id, 1, &end), Record::AttemptEnded { number: 1, end: end.clone() });
        check(|out| put_closed(out, id, &request_end()), Record::Closed(request_end()));
        let (usage, provenance) = (end.usage, Provenance::Counted);
        check(|out| put_checkpoint(out, id, 0, usage, provenance), Record::Checkpoint { number: 0, usage, provenance });
    }

    #[test]
    fn an_opening_of_the_first_version_has_no_facts() {
        let mut opened = RequestOpened { baseline: None, marks: Marks::default(), ..request_opened(7) };
        let facts = opened.facts.len();
        let mut old = payload(|out| put_opened(out, &opened));
        // Neither a team nor a project nor a tag is three bytes.
        let before = old[..old.len() - 3].to_vec();
        assert_eq!(read_payload(&before, WITH_MARKS - 1), Ok((request_id(7), Record::Opened(Box::new(opened.clone())))));
        old.truncate(old.len() - facts - 1 - 3);
        opened.facts.clear();
        assert_eq!(read_payload(&old, 1), Ok((request_id(7), Record::Opened(Box::new(opened)))));
        assert_eq!(read_payload(&old, 2), Err(Malformed));
    }

    proptest! {
        #[test]
        fn numbers_of_any_size_read_back(value: u64) {
            let mut bytes = Vec::new();
            value.put(&mut bytes);
            prop_assert_eq!(u64::take(&mut Reader { rest: &bytes, version: VERSION }), Ok(value));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            (1..=VERSION).for_each(|version| drop(read_payload(&bytes, version)));
        }
    }
}
