//! What is billed by the piece and not by the token: searches, images, characters, time of sound. A request has pieces of one
//! kind, which the API that it came by decides; here they are a count and a price.
//!
//! Vendors list such prices for many pieces at once (a thousand searches, an hour of sound), and the price of one is often no
//! decimal. So a price stays what it is listed as, and only the cost of a whole attempt is rounded, up, to 10⁻¹² units.

/// A kind of piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A query against so many documents, as vendors of ranking bill it.
    Search,
    /// An image of an answer.
    Image,
    /// A character of a text that is spoken: a Unicode scalar value.
    Character,
    /// A thousandth of a second of sound that is written down.
    Millisecond,
}

impl Piece {
    /// What several of them are called.
    pub const fn word(self) -> &'static str {
        match self {
            Piece::Search => "searches",
            Piece::Image => "images",
            Piece::Character => "characters",
            Piece::Millisecond => "milliseconds of sound",
        }
    }

    /// The members of a price row that its price may stand in, each with how many pieces it is for.
    pub const fn prices(self) -> &'static [(&'static str, u32)] {
        match self {
            Piece::Search => &[("per_thousand_searches", 1_000)],
            Piece::Image => &[("per_image", 1)],
            Piece::Character => &[("per_million_characters", 1_000_000), ("per_thousand_characters", 1_000)],
            Piece::Millisecond => &[("per_hour", 3_600_000), ("per_minute", 60_000), ("per_second", 1_000)],
        }
    }
}

/// How many pieces a request is billed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pieces {
    pub expected: u64,
    /// No more than this, whatever happens: what a hold covers.
    pub most: u64,
}

impl Pieces {
    /// A number that is known before anything is sent.
    pub const fn exactly(count: u64) -> Self {
        Self { expected: count, most: count }
    }
}

/// What pieces cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PiecePrice {
    /// In 10⁻¹² units of the currency,
    pico: u64,
    /// for so many pieces; at least one.
    per: u32,
}

impl PiecePrice {
    /// Nothing is billed by the piece.
    pub const FREE: PiecePrice = PiecePrice { pico: 0, per: 1 };

    /// So much for so many. `None` for a price of no pieces.
    pub const fn new(pico: u64, per: u32) -> Option<Self> {
        if per == 0 { None } else { Some(Self { pico, per }) }
    }

    /// The listed price, in 10⁻¹² units of the currency.
    pub const fn pico(self) -> u64 {
        self.pico
    }

    /// For how many pieces that is.
    pub const fn per(self) -> u32 {
        self.per
    }

    /// Nothing is billed by the piece.
    pub const fn is_free(self) -> bool {
        self.pico == 0
    }

    /// What so many cost, in 10⁻¹² units of the currency, rounded up.
    pub fn cost(self, pieces: u64) -> i128 {
        let (pico, per) = (u128::from(self.pico) * u128::from(pieces), u128::from(self.per));
        i128::try_from(pico.div_ceil(per)).unwrap_or(i128::MAX)
    }
}

impl Default for PiecePrice {
    fn default() -> Self {
        Self::FREE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_for_as_many_as_it_is_listed_for_and_the_cost_is_rounded_up() {
        let check = |pico, per, pieces, expected| assert_eq!(PiecePrice::new(pico, per).unwrap().cost(pieces), expected);
        check(2_000_000_000_000, 1_000, 1, 2_000_000_000);
        check(40_000_000_000, 3_600_000, 1, 11_112);
        check(40_000_000_000, 3_600_000, 3_600_000, 40_000_000_000);
        check(7, 1, 0, 0);
        check(u64::MAX, 1, u64::MAX, i128::MAX);
        assert_eq!(PiecePrice::new(1, 0), None);
        assert!(PiecePrice::FREE.is_free() && PiecePrice::FREE.cost(u64::MAX) == 0);
    }

    proptest! {
        #[test]
        fn more_never_cost_less_and_no_cost_is_a_unit_above_the_exact_one(pico: u64, per in 1_u32.., pieces in 0_u64..u64::MAX) {
            let price = PiecePrice::new(pico, per).unwrap();
            let cost = price.cost(pieces);
            prop_assert!(cost <= price.cost(pieces + 1));
            let (exact, per) = (u128::from(pico) * u128::from(pieces), u128::from(per));
            let charged = cost.unsigned_abs() * per;
            prop_assert!(charged >= exact && charged - exact < per);
        }
    }
}
