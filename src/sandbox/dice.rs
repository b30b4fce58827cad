//! Seeded pseudo-randomness: the same request to the same sandbox gets the same answer, on every machine.
//!
//! Two well-known tiny functions (the step of `SplitMix64` and a multiply-and-fold hash), written here because the
//! standard hasher's algorithm is not promised to stay. Nothing here is fit for secrets.

/// A seeded sequence of numbers.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `bound`; zero where the bound is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        let count = u64::try_from(list.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(self.below(count)).unwrap_or(0);
        list[place]
    }
}

/// Folds bytes into a seed, eight at a time.
pub(super) fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in words {
        state = fold(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    scramble(fold(state, u64::from_le_bytes(last)))
}

fn fold(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29)
}

fn scramble(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let sequence = |seed| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn close_texts_fold_apart() {
        let folded: HashSet<u64> = (0..1000).map(|n| mix(1, format!("a text with the number {n}").as_bytes())).collect();
        assert_eq!(folded.len(), 1000);
        assert_ne!(mix(1, b"ab"), mix(1, b"ab\0"));
        assert_ne!(mix(1, b"ab"), mix(2, b"ab"));
    }
}
