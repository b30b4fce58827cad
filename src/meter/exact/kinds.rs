//! What tokens are made of, and how common they are: what distinguishes them for a vocabulary that would cut them otherwise.
//!
//! A vocabulary numbers its tokens in the order in which it learned them, the commonest first. So a number tells how likely it
//! is that another vocabulary, most of all a smaller one, has the token too: a long German word is a token of a high number
//! here and three of the other's, an English one of the same length is one in both. What a token is made of cannot tell the two
//! apart.

/// Kinds by what tokens are made of,
const MADE_OF: usize = 26;
/// each of which is split where numbers reach one of these.
const RARER_FROM: [u32; 4] = [2_000, 8_000, 25_000, 70_000];
const RARITIES: usize = RARER_FROM.len() + 1;

/// How many kinds there are.
pub const KINDS: usize = MADE_OF * RARITIES;

/// How many tokens of each kind a text has.
pub type Kinds = [u64; KINDS];

/// The kind of a token, by its number and its bytes. A kind is a place in the fits of `calibrated`: their order is the fits'
/// order.
pub(super) fn kind_of(number: u32, token: &[u8]) -> usize {
    RARITIES * made_of(token) + RARER_FROM.iter().filter(|from| number >= **from).count()
}

fn made_of(token: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_the_kind_of_its_bytes_and_of_its_number() {
        let check = |number: u32, token: &[u8], made_of: usize, rarity: usize| {
            assert_eq!(kind_of(number, token), RARITIES * made_of + rarity, "{number} {token:?}");
        };
        check(0, b"!", 25, 0);
        check(1_999, b" the", 22, 0);
        check(2_000, b" the", 22, 1);
        check(70_000, " Änderungen".as_bytes(), 15, 4);
        check(199_997, b" abcdefghijkl", 24, 4);
        check(24_999, "好的".as_bytes(), 11, 2);
        check(25_000, b"\xf0\x9f", 0, 3);
        check(220, b" ", 7, 0);
        check(u32::MAX, b"123", 20, RARITIES - 1);
        assert_eq!(kind_of(u32::MAX, b"?"), KINDS - 1, "the last place");
    }
}
