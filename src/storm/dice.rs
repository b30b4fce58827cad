//! Numbers that follow from a seed. Each purpose has dice of its own, so that what is left out of a storm changes nothing of the rest.

use crate::units::spread;

/// A seeded sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(seed: u64, purpose: u64, number: u64) -> Self {
        Self(spread(spread(spread(seed) ^ purpose) ^ number))
    }

    pub(super) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        spread(self.0)
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.any() % (high - low + 1)
    }

    /// A length, a place in a list.
    pub(super) fn size(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.between(low as u64, high as u64)).unwrap()
    }

    /// True so many times in a hundred.
    pub(super) fn chance(&mut self, hundredths: u64) -> bool {
        self.between(0, 99) < hundredths
    }

    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.size(0, list.len() - 1)]
    }
}
