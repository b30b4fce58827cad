//! Long runs of one kind of character, which have no [border](super::borders) inside: a megabyte of spaces, of one letter, of
//! emoji, of base64 without a digit.
//!
//! Merging bytes into tokens takes a heap as large as the word, so one word of a megabyte takes many times what its bytes take
//! by themselves. Such a word is cut all the same, at the end of one of its tokens, on the strength of a property of
//! byte-pair encoding: a row of tokens is the encoding of its bytes if and only if each neighbouring pair of them is the
//! encoding of theirs. So the row of the left part and the row of the right part are together the row of the whole if the pair
//! where they meet occurs in a row that was made from both, which is what `pieces` checks.
//!
//! That holds inside of one word only. Here stands which runs every vocabulary's splitter keeps in one word, so that it splits
//! neither part otherwise than the whole; whatever is not listed is not cut.

use super::borders::is_han;

/// Bytes of a run that must stand before a cut in it: beyond an English contraction and the first word's prefix.
const BEFORE_A_CUT: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lower,
    Upper,
    Han,
    Symbol,
    Space,
    LineEnd,
}

fn kind(c: char) -> Option<Kind> {
    Some(match c {
        'a'..='z' => Kind::Lower,
        'A'..='Z' => Kind::Upper,
        ' ' => Kind::Space,
        '\n' => Kind::LineEnd,
        // Not the apostrophe, which may begin a contraction, and not the slash, which may end a line.
        '!'..='&'
        | '('..='.'
        | ':'..='@'
        | '['..='`'
        | '{'..='~'
        | '\u{1f300}'..='\u{1f5ff}'
        | '\u{1f600}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6c5}' => Kind::Symbol,
        _ if is_han(c) => Kind::Han,
        _ => return None,
    })
}

/// Whether what stands before a run leaves it in one word, whatever follows it.
fn begins_after(run: Kind, before: char) -> bool {
    match run {
        // Case, Han and a leading mark of punctuation make words of their own in some vocabularies.
        Kind::Lower | Kind::Upper | Kind::Han => before.is_ascii_digit() || matches!(before, ' ' | '\n'),
        Kind::Symbol => true,
        // Spaces after a line's end belong to it or not by what comes after them.
        Kind::Space => !before.is_whitespace(),
        // Line ends after punctuation belong to that.
        Kind::LineEnd => before.is_ascii_alphanumeric(),
    }
}

/// From where on a text that ends within a run may be cut, at the end of any token: the first place, if there is one. The text
/// begins at a border, or was itself cut from the run before.
pub(super) fn cut_from(text: &str) -> Option<usize> {
    let run = kind(text.chars().next_back()?)?;
    let start = text.char_indices().rev().take_while(|(_, c)| kind(*c) == Some(run)).last()?.0;
    let begins = text[..start].chars().next_back().is_none_or(|before| begins_after(run, before));
    let from = start + BEFORE_A_CUT;
    (begins && from < text.len()).then_some(from)
}
