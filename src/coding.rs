//! Content codings of HTTP: which one a header names, and gzip and brotli in both directions.
//!
//! Decoding is bounded: whoever asks says how many bytes may come out, and a body that holds more is refused after so many
//! (a kilobyte of brotli can hold gigabytes). Brotli's window is that of the standard (16 MiB), not the extension's.
//!
//! Not here: `deflate`, which clients send in two formats under one name, and `zstd`, whose decoder would be C. Nor is
//! anything decided about threads: whoever has many bytes takes them off the reactor.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How much brotli puts out at once while it decodes.
const STEP: usize = 8 * 1024;
/// Effort of gzip, from 1 to 9. Measured with English prose as the answer: 8 KB become 5.1 KB at 1 (20 us), 3.9 KB at 2
/// (40 us), 3.8 KB at 4 (47 us) and 6 (51 us); of 64 KB, 6 takes 0.88 ms for 2 percent less than 4 in 0.67 ms.
const GZIP_EFFORT: u32 = 4;
/// Effort of brotli, from 0 to 11. Measured with the same 8 KB: 3.8 KB in 0.11 ms with 0.9 MB of memory. From 5 on it sets
/// 32 MB aside and takes several milliseconds, for 5 percent less.
const BROTLI_EFFORT: i32 = 4;

/// How a brotli stream begins (7 bits) whose window is larger than the standard's: the decoder would set aside up to a
/// gigabyte for it.
const LARGE_WINDOW: u8 = 0x11;

/// A coding that the gateway reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
}

/// What stands in `content-encoding` is not one coding that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("content-encoding {0:?} is not read here; accepted: {ACCEPTED}, or none")]
pub struct UnknownCoding(pub String);

/// Why bytes cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// More came out than may.
    #[error("decoded, it is larger than allowed")]
    TooLarge,
    /// The bytes are damaged, of another coding, or go on behind their end.
    #[error("it is not valid {}", .0.word())]
    Damaged(Coding),
    /// The bytes end before their coding does.
    #[error("its {} ends too early", .0.word())]
    CutShort(Coding),
}

/// The codings as a list for `accept-encoding`.
pub const ACCEPTED: &str = "gzip, br";

impl Coding {
    /// The name in headers.
    pub const fn word(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
        }
    }

    /// The same as a header's value.
    pub const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.word())
    }

    fn from_word(word: &str) -> Option<Coding> {
        match word {
            _ if word.eq_ignore_ascii_case("gzip") || word.eq_ignore_ascii_case("x-gzip") => Some(Coding::Gzip),
            _ if word.eq_ignore_ascii_case("br") => Some(Coding::Brotli),
            _ => None,
        }
    }

    /// The coding that a body is in; `None` for one that is as it is. Several in a row are refused: nobody sends them, and
    /// each would multiply what a small body can become.
    pub fn of_content(headers: &HeaderMap) -> Result<Option<Coding>, UnknownCoding> {
        if !headers.contains_key(CONTENT_ENCODING) {
            return Ok(None);
        }
        let named: Vec<&str> =
            list(headers, &CONTENT_ENCODING).filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case("identity")).collect();
        match named.as_slice() {
            [] => Ok(None),
            [only] => Coding::from_word(only).map(Some).ok_or_else(|| UnknownCoding((*only).to_owned())),
            several => Err(UnknownCoding(several.join(", "))),
        }
    }

    /// The coding that an answer should have; `None`: as it is. The one with the greatest weight wins, gzip among equals,
    /// since it takes half of brotli's work for the same size (see the efforts).
    pub fn wanted(headers: &HeaderMap) -> Option<Coding> {
        if !headers.contains_key(ACCEPT_ENCODING) {
            return None;
        }
        let (mut gzip, mut brotli, mut identity, mut others) = (None, None, None, None);
        for offer in list(headers, &ACCEPT_ENCODING) {
            let (name, weight) = weighted(offer);
            let slot = match Coding::from_word(name) {
                Some(Coding::Gzip) => &mut gzip,
                Some(Coding::Brotli) => &mut brotli,
                None if name == "*" => &mut others,
                None if name.eq_ignore_ascii_case("identity") => &mut identity,
                None => continue,
            };
            *slot = Some(weight);
        }
        let weight = |named: Option<u16>| named.or(others).unwrap_or(0);
        let (best, coding) =
            if weight(brotli) > weight(gzip) { (weight(brotli), Coding::Brotli) } else { (weight(gzip), Coding::Gzip) };
        (best > 0 && best >= identity.unwrap_or(0)).then_some(coding)
    }

    /// Encodes a whole body; `None` where that makes it no smaller.
    pub fn encode(self, plain: &[u8]) -> Option<Vec<u8>> {
        let room = Vec::with_capacity(plain.len() / 2);
        let coded = match self {
            Coding::Gzip => gzip(plain, room),
            Coding::Brotli => brotli(plain, room),
        };
        // Writing into memory does not fail.
        coded.ok().filter(|coded| coded.len() < plain.len())
    }

    /// Decodes a whole body into at most so many bytes.
    pub fn decode(self, coded: &[u8], most: usize) -> Result<Bytes, Undecodable> {
        let mut decoder = Decoder::new(self);
        decoder.write(coded, most)?;
        decoder.end()?;
        Ok(decoder.room().take())
    }
}

/// The members of a header that is a list and may come in several lines.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("unreadable"));
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// A name with its weight in thousandths; a weight that cannot be read counts as none wanted.
fn weighted(offer: &str) -> (&str, u16) {
    let mut parts = offer.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1000, thousandths))
}

fn thousandths(weight: &str) -> u16 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = part.bytes().chain(std::iter::repeat(b'0')).take(3).collect::<Vec<_>>();
    let part = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse::<u16>().ok());
    match (whole, part) {
        ("0", Some(part)) => part,
        ("1", Some(0)) => 1000,
        _ => 0,
    }
}

fn gzip(plain: &[u8], room: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(room, Compression::new(GZIP_EFFORT));
    encoder.write_all(plain)?;
    encoder.finish()
}

fn brotli(mut plain: &[u8], mut room: Vec<u8>) -> io::Result<Vec<u8>> {
    let window = (usize::BITS - plain.len().leading_zeros()).clamp(10, 22);
    let params = BrotliEncoderParams {
        quality: BROTLI_EFFORT,
        mode: BrotliEncoderMode::BROTLI_MODE_TEXT,
        lgwin: window.cast_signed(),
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(&mut plain, &mut room, &params)?;
    Ok(room)
}

/// Decodes a body as it arrives.
pub struct Decoder {
    coding: Coding,
    by: By,
    /// Its first byte has come.
    begun: bool,
}

enum By {
    Gzip(Box<MultiGzDecoder<Room>>),
    Brotli(Box<DecompressorWriter<Room>>),
}

impl Decoder {
    pub fn new(coding: Coding) -> Self {
        let by = match coding {
            Coding::Gzip => By::Gzip(Box::new(MultiGzDecoder::new(Room::default()))),
            Coding::Brotli => By::Brotli(Box::new(DecompressorWriter::new(Room::default(), STEP))),
        };
        Self { coding, by, begun: false }
    }

    /// What these bytes decode to, at most so many; nothing, as long as there is too little to tell.
    pub fn push(&mut self, coded: &[u8], most: usize) -> Result<Bytes, Undecodable> {
        self.write(coded, most)?;
        Ok(self.room().take())
    }

    /// Says that all has been pushed; answers what was still to come out.
    pub fn finish(&mut self, most: usize) -> Result<Bytes, Undecodable> {
        self.room().left = most;
        self.end()?;
        Ok(self.room().take())
    }

    fn write(&mut self, coded: &[u8], most: usize) -> Result<(), Undecodable> {
        self.room().left = most;
        if let (false, Coding::Brotli, Some(first)) = (self.begun, self.coding, coded.first())
            && first & 0x7f == LARGE_WINDOW
        {
            return Err(Undecodable::Damaged(self.coding));
        }
        self.begun |= !coded.is_empty();
        let written = match &mut self.by {
            By::Gzip(by) => by.write_all(coded).and_then(|()| by.flush()),
            By::Brotli(by) => by.write_all(coded),
        };
        written.map_err(|_| self.wrong(Undecodable::Damaged(self.coding)))
    }

    fn end(&mut self) -> Result<(), Undecodable> {
        if !self.begun {
            // An answer without a body may name a coding all the same.
            return Ok(());
        }
        let ended = match &mut self.by {
            By::Gzip(by) => by.try_finish(),
            By::Brotli(by) => by.close(),
        };
        ended.map_err(|_| self.wrong(Undecodable::CutShort(self.coding)))
    }

    /// A decoder whose room is full fails like one whose input is damaged.
    fn wrong(&mut self, otherwise: Undecodable) -> Undecodable {
        if self.room().full { Undecodable::TooLarge } else { otherwise }
    }

    fn room(&mut self) -> &mut Room {
        match &mut self.by {
            By::Gzip(by) => by.get_mut(),
            By::Brotli(by) => by.get_mut(),
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}

/// Where decoded bytes go, as far as there is room.
#[derive(Debug, Default)]
struct Room {
    bytes: Vec<u8>,
    left: usize,
    full: bool,
}

impl Room {
    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.full = true;
            return Err(io::ErrorKind::WriteZero.into());
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Brotli];

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn a_body_is_in_one_known_coding_or_refused() {
        let check = |lines: &[&str], expected: Result<Option<Coding>, &str>| {
            let found = Coding::of_content(&headers(&CONTENT_ENCODING, lines));
            assert_eq!(
                found.as_ref().map_err(|unknown| unknown.0.as_str()),
                expected.as_ref().map_err(|word| *word),
                "{lines:?}"
            );
        };
        check(&[], Ok(None));
        check(&["identity"], Ok(None));
        check(&["GZIP"], Ok(Some(Coding::Gzip)));
        check(&["x-gzip"], Ok(Some(Coding::Gzip)));
        check(&["identity", " br "], Ok(Some(Coding::Brotli)));
        check(&["zstd"], Err("zstd"));
        check(&["gzip, br"], Err("gzip, br"));
        check(&["gzip", "gzip"], Err("gzip, gzip"));
    }

    #[test]
    fn the_weights_of_a_client_decide() {
        let check = |lines: &[&str], expected: Option<Coding>| {
            assert_eq!(Coding::wanted(&headers(&ACCEPT_ENCODING, lines)), expected, "{lines:?}");
        };
        check(&[], None);
        check(&[""], None);
        check(&["identity"], None);
        check(&["gzip, deflate, br"], Some(Coding::Gzip));
        check(&["br"], Some(Coding::Brotli));
        check(&["gzip;q=0.5, br;q=0.501"], Some(Coding::Brotli));
        check(&["gzip;q=0.5", "br; q=0.9"], Some(Coding::Brotli));
        check(&["gzip;q=0, br;q=0.0"], None);
        check(&["gzip;q=2, br;q=-1"], None);
        check(&["*"], Some(Coding::Gzip));
        check(&["*;q=0.1, gzip;q=0"], Some(Coding::Brotli));
        check(&["identity;q=1, gzip;q=0.8"], None);
        check(&["identity;q=0.2, br;q=0.8"], Some(Coding::Brotli));
        check(&["zstd, deflate"], None);
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound() {
        for coding in BOTH {
            let bomb = coding.encode(&vec![b'x'; 64 << 20]).unwrap();
            assert!(bomb.len() < 200_000, "{coding:?}: {}", bomb.len());
            assert_eq!(coding.decode(&bomb, 1 << 20), Err(Undecodable::TooLarge), "{coding:?}");
            let mut arriving = Decoder::new(coding);
            let told = bomb.chunks(64).find_map(|chunk| arriving.push(chunk, 8_192).err());
            assert_eq!(told, Some(Undecodable::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn what_is_cut_damaged_or_goes_on_is_refused() {
        let plain = "a sentence that is long enough to be made shorter, and shorter, and shorter".repeat(9);
        for coding in BOTH {
            let coded = coding.encode(plain.as_bytes()).unwrap();
            assert_eq!(coding.decode(&coded, plain.len()).as_deref(), Ok(plain.as_bytes()));
            assert_eq!(coding.decode(&coded, plain.len() - 1), Err(Undecodable::TooLarge));
            for end in 1..coded.len() {
                assert_eq!(coding.decode(&coded[..end], 1 << 20), Err(Undecodable::CutShort(coding)), "{end} of {}", coded.len());
            }
            let more = [coded.as_slice(), b"more"].concat();
            assert!(coding.decode(&more, 1 << 20).is_err(), "{coding:?}");
            assert_eq!(coding.decode(plain.as_bytes(), 1 << 20), Err(Undecodable::Damaged(coding)));
        }
    }

    #[test]
    fn what_has_arrived_comes_out_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        let mut decoder = Decoder::new(Coding::Gzip);
        for frame in ["data: one\n\n", "data: two\n\n"] {
            encoder.write_all(frame.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let sent = std::mem::take(encoder.get_mut());
            assert_eq!(decoder.push(&sent, 1_000).as_deref(), Ok(frame.as_bytes()));
        }
        encoder.try_finish().unwrap();
        assert_eq!(decoder.push(encoder.get_ref(), 1_000).as_deref(), Ok(b"".as_slice()));
        assert_eq!(decoder.finish(1_000).as_deref(), Ok(b"".as_slice()));
    }

    #[test]
    fn a_window_beyond_the_standard_is_refused() {
        let params = BrotliEncoderParams { large_window: true, lgwin: 30, ..BrotliEncoderParams::default() };
        let mut coded = Vec::new();
        brotli::BrotliCompress(&mut b"hello".as_slice(), &mut coded, &params).unwrap();
        assert_eq!(coded[0] & 0x7f, LARGE_WINDOW);
        assert_eq!(Coding::Brotli.decode(&coded, 1_000), Err(Undecodable::Damaged(Coding::Brotli)));
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        for coding in BOTH {
            assert_eq!(coding.encode(b"\x00\x9f\x17"), None);
        }
    }

    fn coded() -> impl Strategy<Value = (Coding, Vec<u8>)> {
        let any_bytes = prop::collection::vec(any::<u8>(), 0..400);
        let text = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..2_000);
        let hurt = (text, any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
        let damaged = (prop::sample::select(&BOTH), hurt).prop_map(|(coding, (plain, at, byte, hurt))| {
            let mut bytes = coding.encode(&plain).unwrap_or_default();
            if hurt && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            (coding, bytes)
        });
        prop_oneof![(prop::sample::select(&BOTH), any_bytes), damaged]
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_within_the_bound_or_refused((coding, bytes) in coded(), most in 0_usize..3_000) {
            if let Ok(plain) = coding.decode(&bytes, most) {
                prop_assert!(plain.len() <= most);
            }
        }

        #[test]
        fn however_the_bytes_arrive_the_outcome_is_the_same((coding, bytes) in coded(), piece in 1_usize..50) {
            let whole = coding.decode(&bytes, 1 << 20);
            let mut decoder = Decoder::new(coding);
            let mut joined = Vec::new();
            let pushed = bytes.chunks(piece).try_for_each(|chunk| decoder.push(chunk, 1 << 20).map(|out| joined.extend_from_slice(&out)));
            let arrived = pushed.and_then(|()| decoder.finish(1 << 20)).map(|rest| { joined.extend_from_slice(&rest); joined });
            prop_assert_eq!(whole.ok().map(|plain| plain.to_vec()), arrived.ok());
        }

        #[test]
        fn what_was_encoded_is_decoded(plain in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'"'), any::<u8>()], 0..5_000)) {
            for coding in BOTH {
                if let Some(coded) = coding.encode(&plain) {
                    let decoded = coding.decode(&coded, plain.len());
                    prop_assert_eq!(decoded.as_deref(), Ok(plain.as_slice()));
                }
            }
        }
    }
}
