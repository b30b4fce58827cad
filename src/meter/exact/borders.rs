//! Where a text may be cut without changing its count.
//!
//! Every vocabulary here splits a text into words by a regular expression before it looks anything up. A border is a place
//! where each of these expressions ends a word and begins the next, whatever stands before and comes after, and where Unicode's
//! composition joins nothing (some vocabularies normalise first). No alternative looks back and only white space looks ahead, so
//! it is enough to look at the two characters around the place:
//! - a run of letters ends at what is neither a letter, a combining mark nor an apostrophe (which may begin an English
//!   contraction);
//! - a run of digits ends at every other ASCII character: no word but one of digits holds a digit;
//! - a line ends where the next one begins with something visible. Not with `/`: three of the vocabularies keep it with
//!   punctuation before the line's end.
//!
//! Judged by short lists of certain characters; a place in doubt is no border.

/// The last border inside of a text that is after its first `from` bytes.
pub(super) fn last(text: &str, from: usize) -> Option<usize> {
    let mut after: Option<(usize, char)> = None;
    for (at, c) in text.char_indices().rev() {
        if let Some((place, follows)) = after {
            if place <= from {
                return None;
            }
            if is_border(c, follows) {
                return Some(place);
            }
        }
        after = Some((at, c));
    }
    None
}

/// How far a border is looked for.
const NEAR: usize = 200;

/// The first border after the first `from` bytes of a text, or where it was looked for no further.
pub(super) fn first(text: &str, from: usize) -> usize {
    let from = text.ceil_char_boundary(from);
    let near = text.ceil_char_boundary(from.saturating_add(NEAR));
    let mut before: Option<char> = None;
    for (at, c) in text[from..near].char_indices() {
        if before.is_some_and(|before| is_border(before, c)) {
            return from + at;
        }
        before = Some(c);
    }
    near
}

fn is_border(c: char, follows: char) -> bool {
    match c {
        '\n' => follows.is_ascii_graphic() && follows != '/' || is_han(follows),
        '0'..='9' => (follows.is_ascii() && !follows.is_ascii_digit()) || is_punctuation(follows),
        _ => {
            is_letter(c) && ((follows.is_ascii() && !follows.is_ascii_alphabetic() && follows != '\'') || is_punctuation(follows))
        }
    }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || is_han(c)
        || matches!(c, 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '가'..='힣')
}

/// Letters of the block that all vocabularies know as Han.
pub(super) fn is_han(c: char) -> bool {
    matches!(c, '一'..='龥')
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '，' | '。' | '、' | '；' | '：' | '！' | '？' | '（' | '）' | '《' | '》' | '“' | '”' | '…' | '\u{3000}')
}
