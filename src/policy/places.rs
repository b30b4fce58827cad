//! How many requests may be under way at once. A further one is told to come back, so that a crowd cannot exhaust
//! memory; it takes and gives back a place without waiting. How many there may be is said by whoever takes one, so that
//! another number counts from the next request on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places that are taken.
#[derive(Debug, Clone, Default)]
pub struct Places {
    taken: Arc<AtomicUsize>,
}

/// One request's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<AtomicUsize>,
}

/// Every place is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} requests are under way, as many as the gateway takes at once")]
pub struct Full(pub usize);

impl Places {
    /// Takes a place, if fewer than `most` are taken.
    pub fn take(&self, most: usize) -> Result<Place, Full> {
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place { taken: Arc::clone(&self.taken) }),
            Err(_) => Err(Full(most)),
        }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let places = Places::default();
        let place = places.take(1).unwrap();
        assert_eq!(places.take(1).unwrap_err(), Full(1));
        drop(place);
        assert!(places.take(1).is_ok());
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn fewer_places_than_are_taken_let_nobody_in_until_enough_have_left() {
        let places = Places::default();
        let mut taken: Vec<Place> = (0..3).map(|_| places.take(3).unwrap()).collect();
        assert_eq!(places.take(2).unwrap_err(), Full(2));
        taken.truncate(1);
        assert!(places.take(2).is_ok());
    }
}
