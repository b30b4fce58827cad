//! Identifiers. Ours are time-ordered, so that the books append in order and need no random unique index.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One routable target, written `provider/model` with the ids of the price and capability table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(Arc<str>);

impl BackendId {
    pub fn new(provider: &str, model: &str) -> Self {
        Self(format!("{provider}/{model}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a gateway key: what metrics, rows and logs say of who asked. Never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

impl KeyName {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our name for one request: 48 bits of Unix milliseconds, then 80 random bits, in the layout of a version 7 UUID
/// (RFC 9562), so that ids sort by time. The client's own request id is only a column beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// Makes an id from Unix milliseconds and ten random bytes.
    pub fn from_parts(unix_millis: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&unix_millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// When it was made, in whole seconds since the Unix epoch.
    pub fn unix_seconds(self) -> u64 {
        let (time, _) = self.0.split_at(6);
        time.iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte)) / 1_000
    }

    /// A number that follows from the id alone, spread over all bits. What is drawn for two purposes does not go together.
    pub fn lot(self, purpose: u64) -> u64 {
        let (time, random) = self.0.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        spread(spread(number(random)).wrapping_add(number(time)) ^ purpose)
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Spreads a seed over all bits (the finalizer of splitmix64): seeds that are near each other give numbers that are not.
pub fn spread(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every answer carries its id: one write of a made-up text costs a tenth of sixteen formatted bytes.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = [b'-'; 36];
        for (byte, place) in self.0.iter().zip(PLACES) {
            text[place] = DIGITS[usize::from(byte >> 4)];
            text[place + 1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a UUID: 32 hexadecimal digits with or without dashes";
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if digits.len() != 32 {
            return Err(SHAPE);
        }
        let mut bytes = [0_u8; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| SHAPE)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| SHAPE)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_sort_by_time_and_read_back() {
        let early = RequestId::from_parts(1_700_000_000_000, [0xff; 10]);
        let late = RequestId::from_parts(1_700_000_000_001, [0; 10]);
        assert!(early < late);
        assert_eq!(
            (early.unix_seconds(), RequestId::from_parts(1_700_000_000_999, [0; 10]).unix_seconds()),
            (1_700_000_000, 1_700_000_000)
        );
        assert_eq!(late.to_string().parse::<RequestId>(), Ok(late));
        assert_eq!(late.to_string().as_bytes()[14], b'7', "version nibble");
        assert!("zz".parse::<RequestId>().is_err());
    }

    #[test]
    fn lots_follow_from_the_id_and_are_spread() {
        // Ids as near as they can be: within one millisecond, counted up.
        let id =
            |n: u16| RequestId::from_parts(1_700_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let low = |purpose: u64| (0..10_000).filter(|n| id(*n).lot(purpose) % 100 < 20).count();
        assert!((1_900..2_100).contains(&low(1)) && (1_900..2_100).contains(&low(2)), "{} {}", low(1), low(2));
        let both = (0..10_000).filter(|n| id(*n).lot(1) % 100 < 20 && id(*n).lot(2) % 100 < 20).count();
        assert!((340..460).contains(&both), "{both}: a fifth of a fifth");
        assert_eq!(id(7).lot(1), id(7).to_string().parse::<RequestId>().unwrap().lot(1));
    }
}
