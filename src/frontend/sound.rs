//! How long sound is that is to be written down, before anybody has heard it: what it may be billed for where the price goes by time.
//!
//! A file of plain samples (WAV: PCM, floats, A-law, mu-law) tells it exactly. Any other is taken to be as long as its bytes could be at
//! the lowest rate that speech is sensibly stored at, 6 kbit/s (the least of Opus, RFC 6716 section 2.1.1; MP3 has 8): so much is held.
//! What is expected of it, and booked where nobody tells, is its length at 32 kbit/s, as voice is often kept. Times are of whole
//! seconds, rounded up, as vendors bill them.

use crate::units::Pieces;

/// Bytes a second that nothing falls below,
const LEAST_RATE: u64 = 750;
/// and that are expected of what is no plain samples.
const USUAL_RATE: u64 = 4_000;

/// Kinds of WAV in which a sample has one size: PCM, IEEE floats, A-law and mu-law.
const PLAIN: [u16; 4] = [1, 3, 6, 7];
/// The kind is told further behind.
const EXTENSIBLE: u16 = 0xFFFE;

/// How long a file may be, in thousandths of a second.
pub fn length(file: &[u8]) -> Pieces {
    let bytes = file.len() as u64;
    let unknown = || Pieces { expected: milliseconds(bytes, USUAL_RATE), most: milliseconds(bytes, LEAST_RATE) };
    samples(file).unwrap_or_else(unknown)
}

/// Whole seconds, in thousandths.
fn milliseconds(bytes: u64, rate: u64) -> u64 {
    bytes.div_ceil(rate).saturating_mul(1_000)
}

/// Of a file of plain samples: as long as its samples are, and no longer than all that stands behind their beginning.
fn samples(file: &[u8]) -> Option<Pieces> {
    if !matches!(file.get(..4)?, b"RIFF" | b"RF64") || file.get(8..12)? != b"WAVE" {
        return None;
    }
    let (mut at, mut rate) = (12, None);
    loop {
        let (name, announced) = (file.get(at..at + 4)?, number(file, at + 4)?);
        let behind = &file[at + 8..];
        if name == b"data" {
            let rate: u64 = rate?;
            // What is written as it is recorded does not know its length yet.
            let there = behind.len() as u64;
            let length = if announced == 0 || announced > there { there } else { announced };
            return Some(Pieces { expected: milliseconds(length, rate), most: milliseconds(there, rate) });
        }
        if name == b"fmt " && rate.replace(bytes_a_second(behind)?).is_some() {
            return None;
        }
        // A chunk of odd length has a byte behind it.
        at = at.checked_add(8)?.checked_add(usize::try_from(announced + announced % 2).ok()?)?;
    }
}

/// How many bytes of samples are a second, as their format says.
fn bytes_a_second(format: &[u8]) -> Option<u64> {
    let short = |at: usize| Some(u16::from_le_bytes([*format.get(at)?, *format.get(at + 1)?]));
    let kind = if short(0)? == EXTENSIBLE { short(24)? } else { short(0)? };
    let (channels, rate, bits) = (u64::from(short(2)?), number(format, 4)?, u64::from(short(14)?));
    let bytes = channels * rate * bits.div_ceil(8);
    (PLAIN.contains(&kind) && bytes > 0).then_some(bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u64::from(u32::from_le_bytes(four.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(name: &[u8], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        let pad = if content.len() % 2 == 1 { &[0_u8][..] } else { &[] };
        [name, &length.to_le_bytes()[..], content, pad].concat()
    }

    fn format(kind: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let frame = channels * bits.div_ceil(8);
        let bytes = rate.wrapping_mul(frame.into());
        let [kind, channels, frame, bits] = [kind, channels, frame, bits].map(u16::to_le_bytes);
        [&kind[..], &channels, &rate.to_le_bytes(), &bytes.to_le_bytes(), &frame, &bits].concat()
    }

    fn wav(chunks: &[Vec<u8>]) -> Vec<u8> {
        let content = [b"WAVE".to_vec(), chunks.concat()].concat();
        chunk(b"RIFF", &content)
    }

    fn check(file: &[u8], expected: u64, most: u64) {
        assert_eq!(length(file), Pieces { expected, most }, "{} bytes", file.len());
    }

    #[test]
    fn plain_samples_tell_how_long_they_are() {
        let second = vec![0; 32_000];
        let speech = || chunk(b"fmt ", &format(1, 1, 16_000, 16));
        check(&wav(&[speech(), chunk(b"data", &second)]), 1_000, 1_000);
        check(&wav(&[speech(), chunk(b"data", &[&second[..], &[0, 0]].concat())]), 2_000, 2_000);
        check(&wav(&[chunk(b"fmt ", &format(7, 2, 8_000, 8)), chunk(b"data", &second)]), 2_000, 2_000);
        check(
            &wav(&[chunk(b"fmt ", &format(3, 2, 48_000, 32)), chunk(b"LIST", b"odd"), chunk(b"data", &vec![0; 768_000])]),
            2_000,
            2_000,
        );
        let told_behind = [&format(EXTENSIBLE, 1, 16_000, 16)[..], &[22, 0, 16, 0, 0, 0, 0, 0], &[1, 0], &[0; 14]].concat();
        check(&wav(&[chunk(b"fmt ", &told_behind), chunk(b"data", &second)]), 1_000, 1_000);
        // What stands behind the samples may be taken for some.
        check(&wav(&[speech(), chunk(b"data", &second), chunk(b"LIST", &vec![0; 40_000])]), 1_000, 3_000);
        // Written as it was recorded.
        let mut streamed = wav(&[speech(), chunk(b"data", &second)]);
        for announced in [0_u32, 7, u32::MAX] {
            streamed[40..44].copy_from_slice(&announced.to_le_bytes());
            check(&streamed, 1_000, 1_000);
        }
        check(&wav(&[speech(), chunk(b"data", &[])]), 0, 0);
    }

    #[test]
    fn of_anything_else_the_bytes_are_all_that_is_known() {
        check(b"", 0, 0);
        check(b"ID3", 1_000, 1_000);
        check(&[0; 4_001], 2_000, 6_000);
        let second = chunk(b"data", &vec![0; 32_000]);
        let bytes = 12 + 24 + 8 + 32_000_u64;
        for odd in [format(2, 1, 16_000, 4), format(1, 0, 16_000, 16), format(1, 1, 0, 16), format(1, 1, 16_000, 0)] {
            check(&wav(&[chunk(b"fmt ", &odd), second.clone()]), bytes.div_ceil(4_000) * 1_000, bytes.div_ceil(750) * 1_000);
        }
        let twice = wav(&[chunk(b"fmt ", &format(1, 1, 16_000, 16)), chunk(b"fmt ", &format(1, 8, 96_000, 32)), second.clone()]);
        assert_ne!(length(&twice).most, 1_000);
        assert!(length(&wav(&[second])).most > 1_000, "no format");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_length_that_is_expected_within_what_is_held(
            mut bytes: Vec<u8>, rate: u32, channels: u16, bits: u16, kind in 0_u16..9, data in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let fits = |file: &[u8]| length(file).expected <= length(file).most;
            prop_assert!(fits(&bytes));
            let channels = channels % 999;
            let format = [&kind.to_le_bytes()[..], &channels.to_le_bytes(), &rate.to_le_bytes(), &[0; 6], &bits.to_le_bytes()].concat();
            let file = wav(&[chunk(b"fmt ", &format), chunk(b"data", &data)]);
            prop_assert!(fits(&file));
            bytes.splice(..0, file);
            prop_assert!(fits(&bytes));
        }
    }
}
