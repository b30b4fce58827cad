//! What is known of reports, to be looked at: as metrics, and by an operator.

use super::classes::CLASSES;
use super::drift::Way;
use super::fit::Fit;
use super::{Backend, Calibration, ESTIMATED, Side, TextClass, Watched};
use crate::units::{BackendId, Usd};

/// What is known of one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub backend: BackendId,
    /// By side: how many reports taught.
    pub reports: [u32; 2],
    /// By side: the tokens that it reports beside those of the text.
    pub beside: [f64; 2],
    /// What is learned.
    pub ratios: Vec<Ratio>,
    /// What is flagged.
    pub drifts: Vec<Watch>,
    /// What its reports cost beyond what was expected, since they began to leave their band; below zero where they cost less.
    pub at_stake: Usd,
}

/// One ratio of what is reported to what is estimated or counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub side: Side,
    /// `None`: of counts, of whatever class.
    pub class: Option<TextClass>,
    pub ratio: f64,
    /// Its standard error.
    pub error: f64,
}

/// Reports that left their band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    pub side: Side,
    /// They were compared with a count, not with an estimate.
    pub counted: bool,
    pub way: Way,
    /// What was reported lately over what was usual.
    pub lately: f64,
}

impl Calibration {
    /// Everything that is known, by the backends' names.
    pub fn view(&self) -> Vec<View> {
        let known = self.lock();
        let mut all: Vec<View> = known.backends.iter().map(|(id, backend)| backend.view(id)).collect();
        all.sort_by(|one, other| one.backend.cmp(&other.backend));
        all
    }
}

impl Backend {
    fn view(&self, id: &BackendId) -> View {
        let (mut ratios, mut drifts) = (Vec::new(), Vec::new());
        for side in Side::ALL {
            let (estimated, counted) = (&self.estimated[side as usize], &self.counted[side as usize]);
            let by_class = TextClass::ALL.into_iter().enumerate().take(CLASSES);
            ratios.extend(by_class.filter_map(|(place, class)| ratio(&estimated.fit, place, side, Some(class))));
            ratios.extend(ratio(&counted.fit, 0, side, None));
            drifts.extend(watch(estimated, side, false).into_iter().chain(watch(counted, side, true)));
        }
        let reports = Side::ALL.map(|side| self.estimated[side as usize].fit.rows());
        let beside = Side::ALL.map(|side| self.estimated[side as usize].fit.means()[ESTIMATED - 1]);
        View { backend: id.clone(), reports, beside, ratios, drifts, at_stake: self.at_stake }
    }
}

/// Where anything was reported.
fn ratio<const N: usize>(fit: &Fit<N>, place: usize, side: Side, class: Option<TextClass>) -> Option<Ratio> {
    (fit.rows() > 0).then(|| Ratio { side, class, ratio: fit.means()[place], error: fit.error(place) })
}

fn watch<const N: usize>(watched: &Watched<N>, side: Side, counted: bool) -> Option<Watch> {
    let way = watched.drift.flagged()?;
    Some(Watch { side, counted, way, lately: watched.drift.lately() })
}
