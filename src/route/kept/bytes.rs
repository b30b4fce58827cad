//! Numbers, words and lists as bytes, and back: what every part of the facts is made of. Numbers take as many bytes as
//! they need. Reading is total: what is no number, word or list is [`Unreadable`].

use std::time::Duration;

use jiff::Timestamp;

use super::Unreadable;
use crate::canonical::QualityTier;
use crate::units::{Tokens, Usd};

/// Bytes being written.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the low ones first.
    pub(super) fn number(&mut self, mut rest: u64) {
        while rest >= 0x80 {
            self.byte(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.byte(rest.to_le_bytes()[0]);
    }

    pub(super) fn tokens(&mut self, tokens: Tokens) {
        self.number(tokens.get());
    }

    pub(super) fn sixteen(&mut self, value: i128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn usd(&mut self, usd: Usd) {
        self.sixteen(usd.pico());
    }

    pub(super) fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(u64::from(duration.subsec_nanos()));
    }

    pub(super) fn instant(&mut self, at: Timestamp) {
        self.0.extend_from_slice(&at.as_nanosecond().to_le_bytes());
    }

    pub(super) fn tier(&mut self, tier: Option<QualityTier>) {
        self.byte(match tier {
            None => 0,
            Some(QualityTier::Economy) => 1,
            Some(QualityTier::Standard) => 2,
            Some(QualityTier::Premium) => 3,
        });
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn texts(&mut self, list: &[String]) {
        self.number(list.len() as u64);
        for text in list {
            self.text(text);
        }
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }
}

/// Bytes not yet read. They come from a disk, so they may be anything.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'b [u8], Unreadable> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn truth(&mut self) -> Result<bool, Unreadable> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.number()?).map_err(|_| Unreadable)
    }

    pub(super) fn tokens(&mut self) -> Result<Tokens, Unreadable> {
        self.number().map(Tokens::new)
    }

    pub(super) fn sixteen(&mut self) -> Result<i128, Unreadable> {
        self.bytes(16)?.try_into().map(i128::from_le_bytes).map_err(|_| Unreadable)
    }

    pub(super) fn usd(&mut self) -> Result<Usd, Unreadable> {
        self.sixteen().map(Usd::from_pico)
    }

    pub(super) fn instant(&mut self) -> Result<Timestamp, Unreadable> {
        Timestamp::from_nanosecond(self.sixteen()?).map_err(|_| Unreadable)
    }

    pub(super) fn duration(&mut self) -> Result<Duration, Unreadable> {
        let (seconds, nanos): (u64, u32) = (self.number()?, self.small()?);
        if nanos < 1_000_000_000 { Ok(Duration::new(seconds, nanos)) } else { Err(Unreadable) }
    }

    pub(super) fn tier(&mut self) -> Result<Option<QualityTier>, Unreadable> {
        match self.byte()? {
            0 => Ok(None),
            1 => Ok(Some(QualityTier::Economy)),
            2 => Ok(Some(QualityTier::Standard)),
            3 => Ok(Some(QualityTier::Premium)),
            _ => Err(Unreadable),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Unreadable> {
        let length = self.small()?;
        std::str::from_utf8(self.bytes(length)?).map(str::to_owned).map_err(|_| Unreadable)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, Unreadable> {
        (0..self.number()?).map(|_| self.text()).collect()
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Unreadable>) -> Result<Option<T>, Unreadable> {
        if self.truth()? { read(self).map(Some) } else { Ok(None) }
    }
}
