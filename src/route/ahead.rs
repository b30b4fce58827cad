//! Backends that were not quoted yet, by bounds on what they cost: the cheapest bound first.

use super::board::Row;
use super::score::Standing;
use super::screen::Screen;
use crate::units::Usd;

/// An adequate backend that was not quoted yet. Small, since a large table has thousands: what it stands by at best is one
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ahead {
    /// The cost that it is expected not to fall below, then what its quality lacks, then its place among all ids.
    order: u128,
    /// It is expected to cost no more, in 10⁻¹² dollars; zero for one that was taken.
    most: u64,
}

impl Ahead {
    /// `least` and `most` in 10⁻¹² dollars.
    #[inline]
    pub(super) fn new(screen: &Screen, least: u64, most: u64) -> Self {
        Self { order: u128::from(least) << 64 | u128::from(screen.rank), most: most.max(1) }
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

/// All of them, for who takes the best first: in blocks, the best of each of which is known, so that taking one looks at one
/// block and at the bests of the others. A plan mostly wants ten of hundreds, and sorting them would cost more than it needs.
#[derive(Debug, Default)]
pub(super) struct Queue {
    all: Vec<Ahead>,
    /// The least order of each block of [`BLOCK`]; of an empty one [`NOBODY`].
    bests: Vec<u128>,
    left: usize,
}

/// How many are looked at together.
const BLOCK: usize = 16;
/// The order of one that was taken: behind all others.
const NOBODY: u128 = u128::MAX;

impl Queue {
    pub(super) fn of(all: Vec<Ahead>) -> Self {
        let bests = all.chunks(BLOCK).map(least_order).collect();
        Self { left: all.len(), bests, all }
    }

    pub(super) const fn len(&self) -> usize {
        self.left
    }

    /// The best.
    pub(super) fn peek(&self) -> Option<Ahead> {
        self.all.get(self.best()?).copied()
    }

    /// Where the best stands.
    fn best(&self) -> Option<usize> {
        let (block, order) =
            self.bests.iter().enumerate().min_by_key(|(_, order)| **order).filter(|(_, order)| **order != NOBODY)?;
        let first = block * BLOCK;
        self.all[first..].iter().take(BLOCK).position(|ahead| ahead.order == *order).map(|place| first + place)
    }

    /// Takes the best.
    pub(super) fn take(&mut self) -> Option<Ahead> {
        self.best().map(|place| self.take_at(place))
    }

    fn take_at(&mut self, place: usize) -> Ahead {
        let taken = std::mem::replace(&mut self.all[place], Ahead { order: NOBODY, most: 0 });
        let first = place - place % BLOCK;
        self.bests[place / BLOCK] = least_order(&self.all[first..self.all.len().min(first + BLOCK)]);
        self.left -= 1;
        taken
    }

    /// Takes all that fit, in any order.
    pub(super) fn take_all(&mut self, fits: impl Fn(&Ahead) -> bool) -> Vec<Ahead> {
        let all = std::mem::take(&mut self.all).into_iter().filter(|ahead| ahead.order != NOBODY);
        let (taken, left) = all.partition(|ahead| fits(ahead));
        *self = Self::of(left);
        taken
    }

    /// Takes the one that may cost most.
    pub(super) fn take_dearest(&mut self) -> Option<Ahead> {
        let dearer =
            |best: (usize, u64), (place, ahead): (usize, &Ahead)| if ahead.most > best.1 { (place, ahead.most) } else { best };
        let (place, most) = self.all.iter().enumerate().fold((0, 0), dearer);
        (most > 0).then(|| self.take_at(place))
    }
}

fn least_order(block: &[Ahead]) -> u128 {
    block.iter().map(|ahead| ahead.order).min().unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(all: &[(u64, u64)]) -> Vec<Ahead> {
        let ahead =
            |(place, (least, most)): (u128, &(u64, u64))| Ahead { order: u128::from(*least) << 64 | place, most: *most + 1 };
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
