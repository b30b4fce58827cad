//! What tokens are made of: what distinguishes them for a vocabulary that would cut them otherwise.

/// How many kinds there are.
const KINDS: usize = 26;

/// How many tokens of each kind a text has.
pub type Kinds = [u64; KINDS];

/// The kind of a token, by its bytes. A kind is a place in the fits of `calibrated`: their order is the fits' order.
pub(super) fn kind_of(token: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(token) else { return of_part(token) };
    let visible = text.trim();
    let Some(first) = visible.chars().next() else { return of_space(text) };
    let letters = visible.chars().count();
    if let Some(wide) = text.chars().find(|c| !c.is_ascii()) {
        return of_wide(wide, letters);
    }
    match first {
        '0'..='9' => 20,
        _ if first.is_ascii_alphabetic() => match letters {
            ..=2 => 21,
            3..=5 => 22,
            6..=9 => 23,
            _ => 24,
        },
        _ => 25,
    }
}

/// Part of a character, by how long that is.
fn of_part(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(0xf0..) => 0,
        Some(0xe4..=0xe9) => 1,
        Some(0xe0..) => 2,
        Some(0xc0..) => 3,
        _ => 4,
    }
}

fn of_space(text: &str) -> usize {
    match (text.contains('\n'), text.len()) {
        (true, 1) => 5,
        (true, _) => 6,
        (false, 1) => 7,
        (false, ..=4) => 8,
        (false, _) => 9,
    }
}

/// By the script of a character outside ASCII, and for Han by how many there are.
fn of_wide(c: char, letters: usize) -> usize {
    match c {
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' => 9 + letters.clamp(1, 3),
        '\u{3040}'..='\u{30ff}' => 13,
        '\u{ac00}'..='\u{d7af}' => 14,
        '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => 15,
        '\u{250}'..='\u{7ff}' => 16,
        '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}' | '\u{2000}'..='\u{206f}' => 17,
        '\u{10000}'.. => 18,
        _ => 19,
    }
}
