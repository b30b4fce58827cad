//! Backends that were not quoted yet, by bounds on what they cost: the cheapest bound first, sorted only as far as somebody
//! looks. Those within twice the cheapest are sorted at a time, which are mostly as many as a plan wants; to find them takes a
//! look at each.

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

/// All of them, for who takes the best first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What was taken stands before `next`; what stands before `sorted` is in order, and no better than anything behind it.
    all: Vec<Ahead>,
    next: usize,
    sorted: usize,
}

impl Queue {
    pub(super) fn of(all: Vec<Ahead>) -> Self {
        Self { all, next: 0, sorted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.next
    }

    /// The best that was not taken yet.
    pub(super) fn peek(&mut self) -> Option<Ahead> {
        if self.next == self.sorted {
            self.sort_some();
        }
        self.all[..self.sorted].get(self.next).copied()
    }

    fn sort_some(&mut self) {
        let rest = &mut self.all[self.next..];
        let least = rest.iter().map(Ahead::least).min().unwrap_or(0);
        let (limit, mut count) = (least.saturating_mul(2), 0);
        for place in 0..rest.len() {
            if rest[place].least() <= limit {
                rest.swap(place, count);
                count += 1;
            }
        }
        rest[..count].sort_unstable();
        self.sorted = self.next + count;
    }

    /// Takes the best.
    pub(super) fn take(&mut self) -> Option<Ahead> {
        let best = self.peek()?;
        self.next += 1;
        Some(best)
    }

    /// Takes all that fit, in any order.
    pub(super) fn take_all(&mut self, fits: impl Fn(&Ahead) -> bool) -> Vec<Ahead> {
        let (taken, left) = self.all[self.next..].iter().partition(|ahead| fits(ahead));
        *self = Self::of(left);
        taken
    }

    /// Takes the one that may cost most.
    pub(super) fn take_dearest(&mut self) -> Option<Ahead> {
        let place = (self.next..self.all.len()).max_by_key(|place| self.all[*place].most)?;
        let dearest = self.all.swap_remove(place);
        self.sorted = self.next;
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
        fn the_best_comes_first_whatever_else_is_taken(all in prop::collection::vec((0_u64..50, 0_u64..50), 0..80), taken in 0_usize..20) {
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
