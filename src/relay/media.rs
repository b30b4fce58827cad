//! What an answer is booked at that is images, sound or what was heard. Nobody here can count its tokens: what its host does not tell
//! is taken for the most that it may be, and what is billed by the piece for what was expected.

use crate::meter::usage::Metered;
use crate::units::{Pieces, Provenance, Sheet, Tokens, Usage};

/// What is known of such an answer before it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// What the quote expected; of tokens the most.
    expected: Usage,
    pieces: Pieces,
    /// Tokens have a price.
    tokens: bool,
    /// The pieces of an answer are counted as they are there, so that none is a number too.
    counted: bool,
}

/// How well pieces are known that nobody reports.
pub(super) fn ours(pieces: Pieces) -> Provenance {
    if pieces.expected == pieces.most { Provenance::Counted } else { Provenance::Estimated }
}

impl Media {
    /// Of a quote by a sheet. `most` is how many pieces it holds; `counted`, whether the answer shows how many it has.
    pub fn new(expected: Usage, most: u64, sheet: Option<&Sheet>, counted: bool) -> Self {
        let tokens = sheet.is_none_or(Sheet::bills_tokens);
        Self { expected, pieces: Pieces { expected: expected.pieces, most }, tokens, counted }
    }

    /// What it is booked at.
    pub(super) fn metered(&self, reported: Option<Usage>) -> Metered {
        let mut metered = Metered::reported(reported.unwrap_or_default());
        let told = metered.usage.input() + metered.usage.output > Tokens::ZERO;
        if self.tokens && !told {
            metered.usage = Usage { pieces: metered.usage.pieces, ..self.expected };
            metered.provenance = Provenance::Estimated;
        }
        let all_there = self.counted && reported.is_some();
        if metered.usage.pieces == 0 && self.pieces.expected > 0 && !all_there {
            metered.usage.pieces = self.pieces.expected;
            metered.provenance = metered.provenance.max(ours(self.pieces));
        }
        metered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Currency, PiecePrice, Tariff, TokenPrice};

    /// What is booked of a report, as `[input, output, pieces]`, with where that is from.
    fn check(by_token: bool, pieces: (u64, u64), counted: bool, reported: Option<[u64; 3]>, expected: ([u64; 3], Provenance)) {
        let price = TokenPrice::from_pico(u64::from(by_token));
        let by_piece = PiecePrice::new(u64::from(pieces.0 > 0), 1).unwrap();
        let sheet = Sheet::flat(Tariff { pieces: by_piece, ..Tariff::flat(Currency::Usd, price, price) });
        let usage = |[input, output, pieces]: [u64; 3]| Usage { pieces, ..Usage::fresh(Tokens::new(input), Tokens::new(output)) };
        let media = Media::new(usage([50, 900, pieces.0]), pieces.1, Some(&sheet), counted);
        let Metered { usage, provenance } = media.metered(reported.map(usage));
        assert_eq!(
            ([usage.input().get(), usage.output.get(), usage.pieces], provenance),
            expected,
            "{by_token} {pieces:?} {reported:?}"
        );
    }

    #[test]
    fn what_is_told_is_booked_and_what_is_not_is_the_most_or_what_was_expected() {
        let [reported, counted, estimated] = Provenance::ALL;
        // Images by the token: the report, else the most.
        check(true, (0, 0), true, Some([40, 300, 2]), ([40, 300, 2], reported));
        check(true, (0, 0), true, Some([0, 0, 2]), ([50, 900, 2], estimated));
        check(true, (0, 0), true, None, ([50, 900, 0], estimated));
        // Images by the piece: as many as are there, none of them too.
        check(false, (3, 3), true, Some([0, 0, 2]), ([0, 0, 2], reported));
        check(false, (3, 3), true, Some([0, 0, 0]), ([0, 0, 0], reported));
        check(false, (3, 3), true, None, ([0, 0, 3], counted));
        // Speech by the character, which is known before.
        check(false, (70, 70), false, None, ([0, 0, 70], counted));
        check(false, (70, 70), false, Some([5, 6, 0]), ([5, 6, 70], counted));
        // Sound whose length nobody told, and both prices at once.
        check(false, (700, 9_000), false, None, ([0, 0, 700], estimated));
        check(true, (700, 9_000), false, Some([5, 6, 0]), ([5, 6, 700], estimated));
        check(true, (700, 9_000), false, Some([0, 0, 800]), ([50, 900, 800], estimated));
    }
}
