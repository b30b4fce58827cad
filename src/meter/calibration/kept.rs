//! What is known of reports, kept between two lives.

use std::sync::PoisonError;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use super::drift::{Drift, Way};
use super::fit::{Fit, KeptFit};
use super::{Backend, Calibration, Known, Side, Watched};
use crate::catalog::TokenizerFamily;
use crate::units::{BackendId, Usd};

/// How text is divided into classes, as a number that changes with it: since 2 spaces are words'.
const DIVISION: u32 = 2;

/// Everything, in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptReports {
    /// By which [`DIVISION`] the factors were learned.
    #[serde(default)]
    division: u32,
    backends: Vec<KeptBackend>,
    /// Side, the family's word.
    families: Vec<(usize, String, KeptFit)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptBackend {
    backend: String,
    family: String,
    heard: u64,
    /// By side: estimated, then counted.
    watched: Vec<KeptWatched>,
    /// In 10⁻¹² dollars.
    at_stake: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptWatched {
    fit: KeptFit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drift: Option<(Way, i64)>,
}

impl Calibration {
    /// What is to be kept.
    pub fn kept(&self) -> KeptReports {
        let known = self.lock();
        let mut backends: Vec<KeptBackend> = known.backends.iter().map(|(id, backend)| backend.kept(id)).collect();
        backends.sort_by(|one, other| one.backend.cmp(&other.backend));
        let family = |((side, family), fit): (&(Side, TokenizerFamily), &Fit<{ super::ESTIMATED }>)| {
            (*side as usize, family.word().to_owned(), fit.kept())
        };
        let mut families: Vec<_> = known.families.iter().map(family).collect();
        families.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        KeptReports { division: DIVISION, backends, families }
    }

    /// Takes up what was kept, all of it; answers whether it could be believed.
    #[must_use]
    pub fn restore(&self, kept: &KeptReports) -> bool {
        let family = |(side, word, fit): &(usize, String, KeptFit)| {
            let key = (*Side::ALL.get(*side)?, TokenizerFamily::from_word(word)?);
            Some((key, Fit::restored(fit)?))
        };
        let backends: Option<HashMap<BackendId, Backend>> = kept.backends.iter().map(Backend::restored).collect();
        let families = kept.families.iter().map(family).collect::<Option<HashMap<_, _>>>();
        let (Some(mut backends), Some(mut families)) = (backends, families) else { return false };
        if kept.division != DIVISION {
            // What was believed of classes that are others now is soon learned anew.
            let estimated = backends.values_mut().flat_map(|backend| &mut backend.estimated).map(|watched| &mut watched.fit);
            estimated.chain(families.values_mut()).for_each(Fit::widen);
        }
        *self.lock() = Known { backends, families, ..Known::default() };
        true
    }

    /// Takes over what another one knows.
    pub fn take_up(&self, other: Self) {
        *self.lock() = other.known.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
}

impl Backend {
    fn kept(&self, id: &BackendId) -> KeptBackend {
        let watched = self.estimated.iter().map(Watched::kept).chain(self.counted.iter().map(Watched::kept)).collect();
        KeptBackend {
            backend: id.as_str().to_owned(),
            family: self.family.word().to_owned(),
            heard: self.heard,
            watched,
            at_stake: i64::try_from(self.at_stake.pico()).unwrap_or(i64::MAX),
        }
    }

    fn restored(kept: &KeptBackend) -> Option<(BackendId, Self)> {
        let (provider, model) = kept.backend.split_once('/')?;
        let [input, output, counted_input, counted_output] = &kept.watched[..] else { return None };
        let backend = Self {
            family: TokenizerFamily::from_word(&kept.family)?,
            heard: kept.heard,
            estimated: [Watched::restored(input)?, Watched::restored(output)?],
            counted: [Watched::restored(counted_input)?, Watched::restored(counted_output)?],
            at_stake: Usd::from_pico(kept.at_stake.into()),
        };
        Some((BackendId::new(provider, model), backend))
    }
}

impl<const N: usize> Watched<N> {
    fn kept(&self) -> KeptWatched {
        KeptWatched { fit: self.fit.kept(), drift: self.drift.kept() }
    }

    fn restored(kept: &KeptWatched) -> Option<Self> {
        Some(Self { fit: Fit::restored(&kept.fit)?, drift: Drift::restored(kept.drift), turn: 0 })
    }
}
