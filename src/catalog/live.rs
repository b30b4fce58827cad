//! The table in force. Readers take one snapshot; a writer swaps in a whole new one or leaves the old one in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::snapshot::Snapshot;

/// Hands out the snapshot in force.
#[derive(Debug)]
pub struct Catalog {
    current: ArcSwap<Snapshot>,
}

impl Catalog {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot) }
    }

    /// The table for one whole request.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a checked table in force.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }
}
