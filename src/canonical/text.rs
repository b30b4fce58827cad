//! What a text is made of, in the few numbers from which its tokens can be estimated for any tokenizer.
//!
//! The features are byte classes and runs of them, as fitted in `token_ratios.json` of 2026-11-22. They are counted
//! incrementally: adding a text in pieces, cut anywhere, gives the same profile as adding it whole, so a stream can be
//! profiled as it passes.

/// What the previous byte was: decides whether the next one starts a new run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Run {
    #[default]
    None,
    Lower,
    Upper,
    Digit,
    Punct,
    Space,
    Wide,
}

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
    last: Run,
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
        for &byte in piece.as_bytes() {
            self.add_byte(byte);
        }
    }

    /// Ends the current text: the next piece starts a text of its own.
    pub fn end_text(&mut self) {
        self.last = Run::None;
    }

    /// Bytes of UTF-8 that were added.
    pub fn bytes(&self) -> u64 {
        let ascii = u64::from(self.letters) + u64::from(self.digits) + u64::from(self.punct) + u64::from(self.spaces);
        ascii + 2 * u64::from(self.lead2) + 3 * u64::from(self.lead3) + 4 * u64::from(self.lead4)
    }

    /// Adds another profile's counts, as of a text of its own.
    pub fn merge(&mut self, other: &TextProfile) {
        self.letters += other.letters;
        self.letter_runs += other.letter_runs;
        self.camel_breaks += other.camel_breaks;
        self.upper += other.upper;
        self.digits += other.digits;
        self.digit_runs += other.digit_runs;
        self.punct += other.punct;
        self.punct_runs += other.punct_runs;
        self.spaces += other.spaces;
        self.space_runs += other.space_runs;
        self.newlines += other.newlines;
        self.lead2 += other.lead2;
        self.lead3_han += other.lead3_han;
        self.lead3 += other.lead3;
        self.lead4 += other.lead4;
        self.lead_e3_ef += other.lead_e3_ef;
        self.end_text();
    }

    fn add_byte(&mut self, byte: u8) {
        let run = match byte {
            b'a'..=b'z' => {
                self.letters += 1;
                self.letter_runs += u32::from(!matches!(self.last, Run::Lower | Run::Upper));
                Run::Lower
            }
            b'A'..=b'Z' => {
                self.letters += 1;
                self.upper += 1;
                self.letter_runs += u32::from(!matches!(self.last, Run::Lower | Run::Upper));
                self.camel_breaks += u32::from(self.last == Run::Lower);
                Run::Upper
            }
            b'0'..=b'9' => {
                self.digits += 1;
                self.digit_runs += u32::from(self.last != Run::Digit);
                Run::Digit
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.spaces += 1;
                self.space_runs += u32::from(self.last != Run::Space);
                self.newlines += u32::from(byte == b'\n');
                Run::Space
            }
            0x80..=0xbf => Run::Wide,
            0xc0..=0xdf => {
                self.lead2 += 1;
                Run::Wide
            }
            0xe0..=0xef => {
                self.lead3 += 1;
                self.lead3_han += u32::from(matches!(byte, 0xe4..=0xe9));
                self.lead_e3_ef += u32::from(matches!(byte, 0xe3 | 0xef));
                Run::Wide
            }
            0xf0..=0xff => {
                self.lead4 += 1;
                Run::Wide
            }
            _ => {
                self.punct += 1;
                self.punct_runs += u32::from(self.last != Run::Punct);
                Run::Punct
            }
        };
        self.last = run;
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

    proptest! {
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
