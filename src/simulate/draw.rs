//! Seeded draws. Every draw has a name, so that one more of them somewhere changes no other: what a backend would answer
//! to a request is the same whoever asks, in whatever order. Whole numbers throughout, the same on every machine.

/// Parts in one, of all shares here.
pub const ONE: u64 = 1_000_000;

/// What a draw follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed of its own for whatever has this name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let fold = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(scramble(name.as_bytes().iter().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, fold)))
    }

    /// A seed of its own for whatever has this number.
    #[must_use]
    pub const fn numbered(self, number: u64) -> Self {
        Self(scramble(self.0 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The draws of this seed.
    pub const fn draws(self) -> Draws {
        Draws(self.0)
    }

    /// The first draw: a share of one, in millionths.
    pub fn share(self) -> u64 {
        self.draws().below(ONE)
    }
}

/// A sequence of draws (the step of `SplitMix64`).
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below a bound; zero where the bound is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// A number from one to another, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of a list; `None` of an empty one.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(u64::try_from(list.len()).unwrap_or(u64::MAX))).unwrap_or(0);
        list.get(place)
    }

    /// One of a list by weight; the first where no weight counts.
    pub fn weighted<T: Copy>(&mut self, list: &[(T, u64); 3]) -> T {
        let mut left = self.below(list.iter().map(|(_, weight)| weight).sum());
        for (item, weight) in list {
            if left < *weight {
                return *item;
            }
            left -= weight;
        }
        list[0].0
    }
}

const fn scramble(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A distribution by its quantiles: at a share of so many in a hundred the value is so much, straight in between.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles(pub &'static [(u64, u64)]);

impl Quantiles {
    /// The value at a share in millionths.
    pub fn at(self, share: u64) -> u64 {
        let percent = |point: &(u64, u64)| point.0 * ONE / 100;
        let above = self.0.partition_point(|point| percent(point) <= share);
        let (Some(high), Some(low)) = (self.0.get(above), self.0.get(above.wrapping_sub(1))) else {
            let end = if above == 0 { self.0.first() } else { self.0.last() };
            return end.map_or(0, |(_, value)| *value);
        };
        let within = share - percent(low);
        low.1 + (high.1.saturating_sub(low.1)) * within / (percent(high) - percent(low)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_its_name_and_on_nothing_else() {
        let seed = Seed::new(7);
        assert_eq!(seed.named("a").numbered(3).share(), seed.named("a").numbered(3).share());
        let shares = ["a", "b", "ab", "ba", ""].map(|name| seed.named(name).share());
        assert_eq!(shares.iter().collect::<std::collections::BTreeSet<_>>().len(), shares.len());
        let numbered: std::collections::BTreeSet<u64> = (0..1000).map(|n| seed.numbered(n).draws().roll()).collect();
        assert_eq!(numbered.len(), 1000);
    }

    #[test]
    fn shares_are_even() {
        let low = (0..10_000).filter(|n| Seed::new(1).numbered(*n).share() < ONE / 4).count();
        assert!((2300..2700).contains(&low), "{low}");
    }

    #[test]
    fn a_distribution_is_straight_between_its_quantiles() {
        let lengths = Quantiles(&[(0, 10), (50, 20), (100, 120)]);
        let at = |percent: u64| lengths.at(percent * ONE / 100);
        assert_eq!([0, 25, 50, 75, 100, 200].map(at), [10, 15, 20, 70, 120, 120]);
        assert_eq!(Quantiles(&[(10, 5)]).at(0), 5);
        assert_eq!(Quantiles(&[]).at(ONE), 0);
    }

    #[test]
    fn lists_are_drawn_from_by_weight() {
        let mut draws = Seed::new(5).draws();
        let letters: Vec<char> = (0..1000).map(|_| draws.weighted(&[('a', 1), ('b', 0), ('c', 3)])).collect();
        let count = |of| letters.iter().filter(|c| **c == of).count();
        assert!(count('b') == 0 && (200..300).contains(&count('a')), "{}", count('a'));
        assert_eq!(draws.pick::<u8>(&[]), None);
        assert!((0..100).all(|_| (3..=5).contains(&draws.between(3, 5))));
    }
}
