//! Backends that were not quoted yet, by bounds on what they cost: the cheapest bound first. A plan mostly wants ten of hundreds,
//! which are found faster by looking for the least ten times than by sorting; who wants more has the rest sorted.

use super::board::Row;
use super::score::Standing;
use crate::units::Usd;

/// An adequate backend that was not quoted yet. Small, since a large table has thousands: what it stands by at best is one
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ahead {
    /// The cost that it is expected not to fall below, then what its quality lacks, then its place among all ids.
    order: u128,
    /// It is expected to cost no more, in 10⁻¹² dollars.
    most: u64,
}

impl Ahead {
    /// `least` and `most` in 10⁻¹² dollars.
    pub(super) fn new(row: &Row, least: u64, most: u64) -> Self {
        let lacking = row.quality.map_or(256, |quality| 255 - u128::from(quality));
        Self { order: u128::from(least) << 64 | lacking << 32 | u128::from(row.by_id), most }
    }

    /// It stands no better than this.
    pub(super) fn at_best(&self, row: &Row) -> Standing {
        Standing::at_best(self.at_least(), row.quality, row.by_id)
    }

    pub(super) fn at_least(&self) -> Usd {
        Usd::from_pico(self.least().into())
    }

    fn least(&self) -> u64 {
        u64::try_from(self.order >> 64).unwrap_or(u64::MAX)
    }

    pub(super) fn at_most(&self) -> Usd {
        Usd::from_pico(self.most.into())
    }

    /// Its place among all ids.
    pub(super) const fn by_id(&self) -> usize {
        (self.order & 0xffff_ffff) as usize
    }
}

/// So many are looked for before the rest is sorted.
const LOOKED_FOR: usize = 32;

/// All of them, for who takes the best first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    all: Vec<Ahead>,
    taken: usize,
    /// Where the best stands, once somebody looked.
    best: Option<usize>,
}

impl Queue {
    pub(super) fn of(all: Vec<Ahead>) -> Self {
        Self { all, taken: 0, best: None }
    }

    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// The best.
    pub(super) fn peek(&mut self) -> Option<Ahead> {
        let best = self.best.or_else(|| self.look())?;
        self.best = Some(best);
        self.all.get(best).copied()
    }

    fn look(&mut self) -> Option<usize> {
        if self.taken == LOOKED_FOR {
            self.all.sort_unstable_by(|a, b| b.cmp(a));
        }
        if self.taken >= LOOKED_FOR {
            return self.all.len().checked_sub(1);
        }
        (0..self.all.len()).min_by_key(|place| self.all[*place].order)
    }

    /// Takes the best.
    pub(super) fn take(&mut self) -> Option<Ahead> {
        let ahead = self.peek()?;
        // Of those that are sorted the best is the last, so the others keep their order.
        if let Some(best) = self.best.take() {
            self.all.swap_remove(best);
        }
        self.taken += 1;
        Some(ahead)
    }

    /// Takes all that fit, in any order.
    pub(super) fn take_all(&mut self, fits: impl Fn(&Ahead) -> bool) -> Vec<Ahead> {
        let (taken, left) = std::mem::take(&mut self.all).into_iter().partition(|ahead| fits(ahead));
        *self = Self::of(left);
        taken
    }

    /// Takes the one that may cost most.
    pub(super) fn take_dearest(&mut self) -> Option<Ahead> {
        let place = (0..self.all.len()).max_by_key(|place| self.all[*place].most)?;
        let dearest = self.all.swap_remove(place);
        (self.taken, self.best) = (0, None);
        Some(dearest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(all: &[(u64, u64)]) -> Vec<Ahead> {
        let ahead = |(place, (least, most)): (u128, &(u64, u64))| Ahead { order: u128::from(*least) << 64 | place, most: *most };
        (0..).zip(all).map(ahead).collect()
    }

    proptest! {
        #[test]
        fn the_best_comes_first_whatever_else_is_taken(all in prop::collection::vec((0_u64..50, 0_u64..50), 0..80), taken in 0_usize..60) {
            let mut left = some(&all);
            left.sort_unstable();
            let mut queue = Queue::of(some(&all));
            for _ in 0..taken.min(left.len()) {
                prop_assert_eq!(queue.take(), Some(left.remove(0)));
            }
            let dearest = queue.take_dearest();
            prop_assert_eq!(dearest.map(|ahead| ahead.most), left.iter().map(|ahead| ahead.most).max());
            left.retain(|ahead| Some(*ahead) != dearest);
            let even = queue.take_all(|ahead| ahead.most % 2 == 0);
            prop_assert!(even.iter().all(|ahead| left.contains(ahead)));
            left.retain(|ahead| !even.contains(ahead));
            prop_assert_eq!(queue.len(), left.len());
            prop_assert_eq!(std::iter::from_fn(|| queue.take()).collect::<Vec<_>>(), left);
        }
    }
}
