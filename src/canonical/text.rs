//! What a text is made of, in the few numbers from which its tokens can be estimated for any tokenizer.
//!
//! The features are byte classes and runs of them, as fitted in `token_ratios.json` of 2026-11-22. They are counted
//! incrementally: adding a text in pieces, cut anywhere, gives the same profile as adding it whole, so a stream can be
//! profiled as it passes.
//!
//! Sixty-four bytes are looked at together, in the widest registers that the machine has: what each of them is becomes a bit,
//! and runs and counts are left to whole numbers. Of a long prompt this is a third of all work.

use std::sync::LazyLock;

use fearless_simd::prelude::{SimdBase, SimdMask};
use fearless_simd::{Level, Simd, dispatch, u8x64};

// What an ASCII byte is, one bit each; a byte outside ASCII is none of these.
const LETTER: u8 = 1;
const UPPER: u8 = 2;
const DIGIT: u8 = 4;
const SPACE: u8 = 8;
const PUNCT: u8 = 16;
const NEWLINE: u8 = 32;

/// Bytes that are looked at together, a bit of a whole number each.
const BLOCK: usize = 64;

/// What the machine can do, found out once.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// Counts of byte classes and of runs of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextProfile {
    /// ASCII letters.
    pub letters: u32,
    pub letter_runs: u32,
    /// An upper-case letter directly after a lower-case one.
    pub camel_breaks: u32,
    /// Upper-case ASCII letters.
    pub upper: u32,
    pub digits: u32,
    pub digit_runs: u32,
    /// ASCII punctuation (and control bytes).
    pub punct: u32,
    pub punct_runs: u32,
    /// Spaces, tabs and line ends.
    pub spaces: u32,
    pub space_runs: u32,
    pub newlines: u32,
    /// Characters of two bytes in UTF-8 (lead C2 to DF).
    pub lead2: u32,
    /// Characters of three bytes whose lead is E4 to E9: mostly Han.
    pub lead3_han: u32,
    /// All characters of three bytes (lead E0 to EF).
    pub lead3: u32,
    /// Characters of four bytes (lead F0 and above).
    pub lead4: u32,
    /// Characters of three bytes whose lead is E3 or EF: kana, CJK punctuation, full-width forms.
    pub lead_e3_ef: u32,
    /// Class bits of the byte before: they decide whether the next one starts a new run.
    last: u8,
}

impl TextProfile {
    /// The profile of one whole text.
    pub fn of(text: &str) -> Self {
        let mut profile = Self::default();
        profile.add(text);
        profile
    }

    /// Adds the next piece of the same text.
    pub fn add(&mut self, piece: &str) {
        let (blocks, rest) = piece.as_bytes().as_chunks::<BLOCK>();
        if !blocks.is_empty() {
            self.add_blocks(blocks);
        }
        self.add_rest(rest);
    }

    /// Ends the current text: the next piece starts a text of its own.
    pub fn end_text(&mut self) {
        self.last = 0;
    }

    /// Bytes of UTF-8 that were added.
    pub fn bytes(&self) -> u64 {
        let ascii = u64::from(self.letters) + u64::from(self.digits) + u64::from(self.punct) + u64::from(self.spaces);
        ascii + 2 * u64::from(self.lead2) + 3 * u64::from(self.lead3) + 4 * u64::from(self.lead4)
    }

    /// The profile of so many texts like this one.
    #[must_use]
    pub fn times(&self, texts: u32) -> Self {
        Self::of_counts(self.counts().map(|count| count.saturating_mul(texts)))
    }

    /// The counts in the order of the fields: what can be kept of a text where the text itself cannot.
    pub const fn counts(&self) -> [u32; 16] {
        [
            self.letters,
            self.letter_runs,
            self.camel_breaks,
            self.upper,
            self.digits,
            self.digit_runs,
            self.punct,
            self.punct_runs,
            self.spaces,
            self.space_runs,
            self.newlines,
            self.lead2,
            self.lead3_han,
            self.lead3,
            self.lead4,
            self.lead_e3_ef,
        ]
    }

    /// The profile of an ended text that had these counts.
    pub const fn of_counts(counts: [u32; 16]) -> Self {
        let [letters, letter_runs, camel_breaks, upper, digits, digit_runs, punct, punct_runs, ..] = counts;
        let [.., spaces, space_runs, newlines, lead2, lead3_han, lead3, lead4, lead_e3_ef] = counts;
        Self {
            letters,
            letter_runs,
            camel_breaks,
            upper,
            digits,
            digit_runs,
            punct,
            punct_runs,
            spaces,
            space_runs,
            newlines,
            lead2,
            lead3_han,
            lead3,
            lead4,
            lead_e3_ef,
            last: 0,
        }
    }

    /// More than half of the bytes are Han, and kana are few: Japanese is written with Han too.
    pub fn is_mostly_han(&self) -> bool {
        let han_bytes = 3 * u64::from(self.lead3_han);
        2 * han_bytes > self.bytes() && self.lead_e3_ef < self.lead3_han
    }

    /// Adds another profile's counts, as of a text of its own.
    pub fn merge(&mut self, other: &TextProfile) {
        self.letters = self.letters.saturating_add(other.letters);
        self.letter_runs = self.letter_runs.saturating_add(other.letter_runs);
        self.camel_breaks = self.camel_breaks.saturating_add(other.camel_breaks);
        self.upper = self.upper.saturating_add(other.upper);
        self.digits = self.digits.saturating_add(other.digits);
        self.digit_runs = self.digit_runs.saturating_add(other.digit_runs);
        self.punct = self.punct.saturating_add(other.punct);
        self.punct_runs = self.punct_runs.saturating_add(other.punct_runs);
        self.spaces = self.spaces.saturating_add(other.spaces);
        self.space_runs = self.space_runs.saturating_add(other.space_runs);
        self.newlines = self.newlines.saturating_add(other.newlines);
        self.lead2 = self.lead2.saturating_add(other.lead2);
        self.lead3_han = self.lead3_han.saturating_add(other.lead3_han);
        self.lead3 = self.lead3.saturating_add(other.lead3);
        self.lead4 = self.lead4.saturating_add(other.lead4);
        self.lead_e3_ef = self.lead_e3_ef.saturating_add(other.lead_e3_ef);
        self.end_text();
    }

    /// Fewer bytes than a block: few one by one, more as a block filled up with bytes that belong to no class.
    fn add_rest(&mut self, rest: &[u8]) {
        const NOTHING: u8 = 0x80;
        if rest.len() < BLOCK / 4 {
            for &byte in rest {
                self.add_byte(byte);
            }
        } else if let Some(last) = rest.last() {
            let mut block = [NOTHING; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            self.add_blocks(&[block]);
            self.last = class_of(*last);
        }
    }

    /// The same as [`Self::add_byte`] for every byte of some blocks.
    fn add_blocks(&mut self, blocks: &[[u8; BLOCK]]) {
        let level = *LEVEL;
        dispatch!(level, simd => self.add_blocks_by(simd, blocks));
    }

    #[expect(clippy::inline_always, reason = "only what stands in the function that may use them uses wide registers")]
    #[inline(always)]
    fn add_blocks_by<S: Simd>(&mut self, simd: S, blocks: &[[u8; BLOCK]]) {
        let mut before = Marks::of_last(self.last);
        for block in blocks {
            let bytes = u8x64::from_slice(simd, block);
            let marks = Marks::of(bytes);
            self.add_marks(&marks, &before);
            before = marks;
            if bytes.simd_ge(0xc0).any_true() {
                self.add_wide_leads(bytes);
            }
        }
        if let Some([.., last]) = blocks.last() {
            self.last = class_of(*last);
        }
    }

    /// Adds a block, behind another one.
    #[expect(clippy::inline_always, reason = "only what stands in the function that may use them uses wide registers")]
    #[inline(always)]
    fn add_marks(&mut self, marks: &Marks, before: &Marks) {
        let Marks { letters, upper, digits, puncts, spaces, newlines } = *marks;
        // Each bit is that of the byte before.
        let behind = |marks: u64, before: u64| marks << 1 | before >> (BLOCK - 1);
        let behind_letters = behind(letters, before.letters);
        self.letters += letters.count_ones();
        self.letter_runs += (letters & !behind_letters).count_ones();
        self.camel_breaks += (upper & behind_letters & !behind(upper, before.upper)).count_ones();
        self.upper += upper.count_ones();
        self.digits += digits.count_ones();
        self.digit_runs += (digits & !behind(digits, before.digits)).count_ones();
        self.punct += puncts.count_ones();
        self.punct_runs += (puncts & !behind(puncts, before.puncts)).count_ones();
        self.spaces += spaces.count_ones();
        self.space_runs += (spaces & !behind(spaces, before.spaces)).count_ones();
        self.newlines += newlines.count_ones();
    }

    #[expect(clippy::inline_always, reason = "only what stands in the function that may use them uses wide registers")]
    #[inline(always)]
    fn add_wide_leads<S: Simd>(&mut self, bytes: u8x64<S>) {
        let among = |low: u8, high: u8| (bytes - low).simd_le(high - low).to_bitmask().count_ones();
        self.lead2 += among(0xc0, 0xdf);
        self.lead3 += among(0xe0, 0xef);
        self.lead3_han += among(0xe4, 0xe9);
        self.lead_e3_ef += among(0xe3, 0xe3) + among(0xef, 0xef);
        self.lead4 += among(0xf0, 0xff);
    }

    fn add_byte(&mut self, byte: u8) {
        let begins = |class: u8| u32::from(self.last & class == 0);
        match byte {
            b'a'..=b'z' => {
                self.letters += 1;
                self.letter_runs += begins(LETTER);
            }
            b'A'..=b'Z' => {
                self.letters += 1;
                self.upper += 1;
                self.letter_runs += begins(LETTER);
                self.camel_breaks += u32::from(self.last == LETTER);
            }
            b'0'..=b'9' => {
                self.digits += 1;
                self.digit_runs += begins(DIGIT);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.spaces += 1;
                self.space_runs += begins(SPACE);
                self.newlines += u32::from(byte == b'\n');
            }
            0x80..=0xbf => {}
            0xc0..=0xff => self.add_wide_lead(byte),
            _ => {
                self.punct += 1;
                self.punct_runs += begins(PUNCT);
            }
        }
        self.last = class_of(byte);
    }

    fn add_wide_lead(&mut self, byte: u8) {
        match byte {
            0xe0..=0xef => {
                self.lead3 += 1;
                self.lead3_han += u32::from(matches!(byte, 0xe4..=0xe9));
                self.lead_e3_ef += u32::from(matches!(byte, 0xe3 | 0xef));
            }
            0xf0..=0xff => self.lead4 += 1,
            _ => self.lead2 += 1,
        }
    }
}

/// What the bytes of a block are, a bit each, that of the first byte the lowest.
struct Marks {
    letters: u64,
    upper: u64,
    digits: u64,
    puncts: u64,
    spaces: u64,
    newlines: u64,
}

impl Marks {
    #[expect(clippy::inline_always, reason = "only what stands in the function that may use them uses wide registers")]
    #[inline(always)]
    fn of<S: Simd>(bytes: u8x64<S>) -> Self {
        let newline = bytes.simd_eq(b'\n');
        let space = newline | bytes.simd_eq(b' ') | bytes.simd_eq(b'\t') | bytes.simd_eq(b'\r');
        let letters = ((bytes | 0x20) - b'a').simd_lt(26).to_bitmask();
        let digits = (bytes - b'0').simd_lt(10).to_bitmask();
        let (spaces, newlines) = (space.to_bitmask(), newline.to_bitmask());
        let upper = (bytes - b'A').simd_lt(26).to_bitmask();
        let puncts = bytes.simd_lt(0x80).to_bitmask() & !(letters | digits | spaces);
        Self { letters, upper, digits, puncts, spaces, newlines }
    }

    /// Of a block of which only the class bits of its last byte are known.
    fn of_last(class: u8) -> Self {
        let last = |bit: u8| u64::from(class & bit != 0) << (BLOCK - 1);
        Self {
            letters: last(LETTER),
            upper: last(UPPER),
            digits: last(DIGIT),
            puncts: last(PUNCT),
            spaces: last(SPACE),
            newlines: last(NEWLINE),
        }
    }
}

/// The class bits of a byte.
#[inline]
fn class_of(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => LETTER,
        b'A'..=b'Z' => LETTER | UPPER,
        b'0'..=b'9' => DIGIT,
        b'\n' => SPACE | NEWLINE,
        b' ' | b'\t' | b'\r' => SPACE,
        0x80.. => 0,
        _ => PUNCT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_and_runs_are_told_apart() {
        let p = TextProfile::of("getURL 42\n你好, é😀");
        assert_eq!((p.letters, p.letter_runs, p.camel_breaks, p.upper), (6, 1, 1, 3));
        assert_eq!((p.digits, p.digit_runs, p.newlines), (2, 1, 1));
        assert_eq!((p.lead3_han, p.lead3, p.lead2, p.lead4), (2, 2, 1, 1));
        assert_eq!(p.bytes(), "getURL 42\n你好, é😀".len() as u64);
    }

    /// The blocks are an optimisation: byte by byte must give the same.
    fn slowly(text: &str) -> TextProfile {
        let mut profile = TextProfile::default();
        text.bytes().for_each(|byte| profile.add_byte(byte));
        profile
    }

    /// The lanes of a block are bytes: none may run over.
    #[test]
    fn a_long_text_of_one_kind_is_counted_to_the_end() {
        for piece in ["a", "A", "7", " ", "\n", "{", "aB", "a 7", "\u{4f60}"] {
            let text = piece.repeat(20_000);
            assert_eq!(slowly(&text), TextProfile::of(&text), "{piece:?}");
        }
    }

    #[test]
    fn every_ascii_byte_has_exactly_one_class() {
        for byte in 0..=127_u8 {
            let kinds = class_of(byte) & (LETTER | DIGIT | SPACE | PUNCT);
            assert_eq!(kinds.count_ones(), 1, "byte {byte}");
        }
        for byte in 128..=255_u8 {
            assert_eq!(class_of(byte), 0, "byte {byte}");
        }
    }

    proptest! {
        #[test]
        fn blocks_count_what_single_bytes_count(text in "([a-zA-Z]{0,5}|[0-9 \\n.,]{0,4}|\\PC{0,3}){0,200}") {
            prop_assert_eq!(slowly(&text), TextProfile::of(&text));
        }

        #[test]
        fn a_text_in_pieces_has_the_profile_of_the_whole(text in "\\PC{0,200}", cut in 0_usize..200) {
            let cut = (0..=cut.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let mut pieces = TextProfile::default();
            pieces.add(&text[..cut]);
            pieces.add(&text[cut..]);
            prop_assert_eq!(pieces, TextProfile::of(&text));
            prop_assert_eq!(pieces.bytes(), text.len() as u64);
        }
    }
}
