//! Which backends of one table may have something against them, a bit for each: a decision reads a few words instead of
//! every backend, and where all are well it is done with those.
//!
//! A bit may stand for a backend that is well again until somebody looks; it is never missing for one that is not. Whoever
//! gives a backend something against it marks it afterwards; whoever finds a marked one well takes the mark and then looks
//! once more. So either the second look sees what was given, or the mark comes after the taking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Places in a word.
const BITS: usize = 64;

/// A bit for each backend of a table, by its place.
pub(super) struct Marks(Box<[AtomicU64]>);

impl Marks {
    /// Room for so many places, none marked.
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self((0..places.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(super) fn set(&self, place: usize) {
        self.0[place / BITS].fetch_or(1 << (place % BITS), Ordering::AcqRel);
    }

    pub(super) fn clear(&self, place: usize) {
        self.0[place / BITS].fetch_and(!(1 << (place % BITS)), Ordering::AcqRel);
    }

    /// The marked places in order, as each word stands when it is reached.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(n, word)| {
            let mut left = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < BITS).then_some(n * BITS + bit)
            })
        })
    }
}

/// Whose marks stand for one backend: those of the table in force, and of earlier ones while a request still holds them.
#[derive(Default)]
pub(super) struct Marked(Mutex<Vec<(Weak<Marks>, usize)>>);

impl Marked {
    /// From now on this backend is marked at this place, and is marked to begin with.
    pub(super) fn by(&self, marks: &Arc<Marks>, place: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(marks, _)| marks.strong_count() > 0);
        all.push((Arc::downgrade(marks), place));
        marks.set(place);
    }

    /// Something was given to it that may count against it.
    pub(super) fn set(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (marks, place) in all.iter().filter_map(|(marks, place)| Some((marks.upgrade()?, *place))) {
            marks.set(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_come_back_in_order(count in 1_usize..300, seeds in prop::collection::vec(any::<usize>(), 0..40), taken in any::<usize>()) {
            let marks = Marks::new(count);
            let mut places: Vec<usize> = seeds.iter().map(|seed| seed % count).collect();
            for place in &places {
                marks.set(*place);
            }
            marks.clear(taken % count);
            places.retain(|place| *place != taken % count);
            places.sort_unstable();
            places.dedup();
            prop_assert_eq!(marks.places().collect::<Vec<_>>(), places);
        }
    }

    #[test]
    fn a_backend_is_marked_in_every_table_that_is_still_held() {
        let (marked, now, before) = (Marked::default(), Marks::new(70), Marks::new(3));
        marked.by(&before, 1);
        marked.by(&now, 69);
        assert_eq!((before.places().collect::<Vec<_>>(), now.places().collect::<Vec<_>>()), (vec![1], vec![69]), "at first");
        [&before, &now].into_iter().zip([1, 69]).for_each(|(marks, place)| marks.clear(place));
        drop(before);
        marked.set();
        assert_eq!(now.places().collect::<Vec<_>>(), [69]);
        marked.by(&Marks::new(1), 0);
        assert_eq!(marked.0.lock().unwrap().len(), 2, "the dropped one is gone");
        assert_eq!(Marks::new(0).places().count(), 0);
    }
}
