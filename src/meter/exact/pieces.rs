//! Counts a text in pieces: at [borders](super::borders) where it has them, and within long [runs](super::runs).

use super::{borders, runs};

/// The longest piece that is looked for. Small enough that a piece's heap stays in the processor's nearer caches.
pub(super) const PIECE_BYTES: usize = 8 * 1024;

/// Tokens at the end of a piece that are left to the next one, so that its first tokens know what stands before them.
const OVERLAP: usize = 16;

/// How many ends of tokens are tried before a piece is doubled.
const TRIES: usize = 4;

/// What byte-pair encoding has to give for its counts to be cut.
pub(super) trait Encoding {
    fn encode(&self, text: &str) -> Vec<u32>;
    /// The bytes of some tokens; how many they are.
    fn bytes(&self, tokens: &[u32]) -> usize;
}

/// Who takes a text's tokens.
pub(super) trait Tally {
    /// Takes a piece of the text that may be counted by itself.
    fn piece(&mut self, piece: &str);
    /// Takes the tokens of the next part of it.
    fn tokens(&mut self, tokens: &[u32]);
}

/// Hands on a text in pieces of about `most` bytes, or as the tokens that it has there.
pub(super) fn tally(encoding: &impl Encoding, text: &str, most: usize, to: &mut impl Tally) {
    let mut rest = text;
    while rest.len() > most {
        let first = &rest[..rest.floor_char_boundary(most)];
        if let Some(border) = borders::last(first, 0) {
            to.piece(&rest[..border]);
            rest = &rest[border..];
        } else {
            let bytes = tally_long(encoding, rest, most, to);
            rest = &rest[bytes..];
        }
    }
    to.piece(rest);
}

/// Hands on the beginning of a text whose first `most` bytes have no border, up to a border or its end: how many bytes.
fn tally_long(encoding: &impl Encoding, text: &str, most: usize, to: &mut impl Tally) -> usize {
    let mut piece = Piece::of(encoding, text, 0, most);
    loop {
        if piece.ends {
            to.tokens(&piece.tokens);
            return piece.end;
        }
        if let Some((kept, next)) = piece.cut(encoding, text, most) {
            to.tokens(&piece.tokens[..kept]);
            piece = next;
        } else {
            // No pair of tokens could be proven: the whole of it, if need be.
            piece = Piece::of(encoding, text, piece.start, 2 * (piece.end - piece.start));
        }
    }
}

struct Piece {
    start: usize,
    end: usize,
    tokens: Vec<u32>,
    /// It ends at a border or with the text.
    ends: bool,
}

impl Piece {
    fn of(encoding: &impl Encoding, text: &str, start: usize, most: usize) -> Self {
        let hard = text.floor_char_boundary(start.saturating_add(most));
        let within = &text[start..hard];
        let (end, ends) = match borders::last(within, 0) {
            _ if hard == text.len() => (hard, true),
            Some(border) => (start + border, true),
            None => (hard, false),
        };
        Self { start, end, tokens: encoding.encode(&text[start..end]), ends }
    }

    /// Cuts the piece before its last tokens: how many are before the cut, and the piece that begins there.
    fn cut(&self, encoding: &impl Encoding, text: &str, most: usize) -> Option<(usize, Piece)> {
        let from = self.start + runs::cut_from(&text[self.start..self.end])?;
        let latest = self.tokens.len().checked_sub(OVERLAP)?;
        let mut at = self.start + encoding.bytes(&self.tokens[..latest]);
        let mut tried = 0;
        for kept in (1..=latest).rev() {
            if at < from || tried == TRIES {
                return None;
            }
            if text.is_char_boundary(at) {
                let next = Piece::of(encoding, text, at, most);
                // The pair occurs in this piece's row, so it is one that stands.
                if next.tokens.first() == self.tokens.get(kept) {
                    return Some((kept, next));
                }
                tried += 1;
            }
            at -= encoding.bytes(&self.tokens[kept - 1..kept]);
        }
        None
    }
}
