//! A share that is learned and forgets: what happened out of what could have, with a prior and halved when there is enough
//! of it. Whole numbers; no clock, since what it counts comes by itself.

/// Millionths in one.
pub const ONE: u32 = 1_000_000;
/// Observations at which what was seen is halved: so many, and the last half of them in full, are remembered.
const MOST: u64 = 128;

/// A share in millionths, from what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratio {
    /// The sum of what was seen, in millionths.
    sum: u64,
    /// How often, in millionths, so that halving loses nothing.
    count: u64,
}

/// What a share is taken for before anything was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supposed {
    /// In millionths.
    pub share: u32,
    /// The observations that it counts as.
    pub weight: u32,
}

impl Ratio {
    /// Takes one observation: a share of itself, in millionths.
    pub fn add(&mut self, share: u32) {
        self.sum += u64::from(share.min(ONE));
        self.count += u64::from(ONE);
        if self.count > MOST * u64::from(ONE) {
            (self.sum, self.count) = (self.sum / 2, self.count / 2);
        }
    }

    /// Adds to what happened without another chance of it.
    pub fn happened(&mut self) {
        self.sum = (self.sum + u64::from(ONE)).min(self.count);
    }

    /// Adds a chance in which nothing has happened yet.
    pub fn chance(&mut self) {
        self.add(0);
    }

    /// The share, in millionths.
    pub fn share(&self, supposed: Supposed) -> u32 {
        let weight = u64::from(supposed.weight);
        let sum = self.sum + u64::from(supposed.share.min(ONE)) * weight;
        let count = self.count + u64::from(ONE) * weight;
        u32::try_from(sum * u64::from(ONE) / count.max(1)).unwrap_or(ONE).min(ONE)
    }

    /// The numbers that make it up.
    pub fn parts(&self) -> (u64, u64) {
        (self.sum, self.count)
    }

    /// Puts one together; `None` where the numbers are of none.
    pub fn from_parts(sum: u64, count: u64) -> Option<Self> {
        (sum <= count && count <= MOST * u64::from(ONE)).then_some(Self { sum, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Supposed = Supposed { share: ONE / 2, weight: 4 };

    fn check(seen: &[u32], expected: u32) {
        let mut ratio = Ratio::default();
        for share in seen {
            ratio.add(*share);
        }
        assert_eq!(ratio.share(HALF), expected, "{seen:?}");
        let (sum, count) = ratio.parts();
        assert_eq!(Ratio::from_parts(sum, count), Some(ratio));
    }

    #[test]
    fn a_share_moves_from_its_prior_to_what_is_seen_and_on() {
        check(&[], 500_000);
        check(&[ONE; 4], 750_000);
        check(&[u32::MAX; 4], 750_000);
        check(&[0; 12], 125_000);
        let mut ratio = Ratio::default();
        for share in [[ONE; 500], [0; 500]].concat() {
            ratio.add(share);
        }
        assert!(ratio.share(HALF) < 30_000, "{}", ratio.share(HALF));
    }

    #[test]
    fn what_happens_after_its_chance_is_counted_once_at_most() {
        let mut ratio = Ratio::default();
        ratio.happened();
        assert_eq!(ratio.share(HALF), 500_000, "nothing can happen without a chance");
        ratio.chance();
        (0..9).for_each(|_| ratio.happened());
        assert_eq!(ratio.share(HALF), 600_000);
    }
}
