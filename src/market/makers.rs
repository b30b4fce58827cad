//! Who made what a conversation holds that its maker alone can read (signatures of thoughts, encrypted thoughts), and what of it
//! a backend is therefore sent: another's seal is refused, and without its own a model goes on without its thoughts.
//!
//! A seal does not name its maker. Who answered which turn is remembered, and each API has seals of its own kind: where nobody else
//! was asked in the API of a backend, all of that kind are the backend's own.

use super::{Market, Offer};
use crate::canonical::Manner;
use crate::catalog::BackendIndex;

/// Who answered the turns of a conversation that holds thoughts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Makers {
    /// As far as that is remembered; empty as well where the conversation holds no thoughts.
    pub known: Vec<BackendIndex>,
    /// Some of it was told in words of ours, which no provider has made.
    pub told: bool,
}

/// What of the seals a backend is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seals {
    /// The conversation as it is: nothing is known to be another's.
    AsTheyAre,
    /// Those of its own kind.
    OfItsKind,
    None,
}

impl Makers {
    /// What a backend is sent of a request's seals.
    pub fn seals_for(&self, offer: &Offer<'_>, asked: Manner, market: &Market) -> Seals {
        let snapshot = &market.snapshot;
        let mut others = self.known.iter().map(|maker| snapshot.backend(*maker)).filter(|maker| {
            // A signature holds for the model that made it, wherever its provider serves it.
            maker.provider != offer.backend.provider || maker.model != offer.backend.model
        });
        let of_its_kind = |maker| snapshot.provider_of(maker).serving(asked) == Some(offer.shape);
        match others.next() {
            None if self.told => Seals::OfItsKind,
            None => Seals::AsTheyAre,
            Some(first) if of_its_kind(first) || others.any(of_its_kind) => Seals::None,
            Some(_) => Seals::OfItsKind,
        }
    }
}
