//! How many requests may be under way at once. A further one is told to come back, so that a crowd cannot exhaust
//! memory; it takes and gives back a place without waiting.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places there are.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    all: usize,
}

/// One request's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Every place is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} requests are under way, as many as the gateway takes at once")]
pub struct Full(pub usize);

impl Places {
    pub fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// Takes a place, if there is one.
    pub fn take(&self) -> Result<Place, Full> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => Err(Full(self.all)),
        }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.all - self.free.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let places = Places::new(1);
        let place = places.take().unwrap();
        assert_eq!(places.take().unwrap_err(), Full(1));
        drop(place);
        assert!(places.take().is_ok());
        assert_eq!(places.taken(), 0);
    }
}
