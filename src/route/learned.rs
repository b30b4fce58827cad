//! What is expected of single backends' answers, where something was learned of their models; the others are expected to
//! write what [`OutputForecast`](super::OutputForecast) says. Filled in from the meter, and kept with the facts.

use crate::catalog::BackendIndex;
use crate::units::Tokens;

/// What one answer is expected to have, all choices together and within the client's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputFigures {
    /// The mean, hidden reasoning included.
    pub mean: Tokens,
    /// The part of the mean that is hidden reasoning.
    pub reasoning: Tokens,
    /// Half of the answers are not longer.
    pub p50: Tokens,
    /// Nine of ten answers are not longer.
    pub p90: Tokens,
}

/// By backend. Those who serve one model mostly share its figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LearnedOutput {
    figures: Vec<OutputFigures>,
    /// By [`BackendIndex`], one above the place in `figures`; zero and beyond the end: nothing was learned.
    places: Vec<u16>,
}

impl LearnedOutput {
    /// Sets what is expected of some backends.
    pub fn set(&mut self, backends: impl IntoIterator<Item = BackendIndex>, figures: OutputFigures) {
        let Ok(place) = u16::try_from(self.figures.len() + 1) else { return };
        self.figures.push(figures);
        for BackendIndex(n) in backends {
            let n = n as usize;
            if self.places.len() <= n {
                self.places.resize(n + 1, 0);
            }
            self.places[n] = place;
        }
    }

    /// Whether nothing was learned of anybody.
    pub const fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }

    /// What is expected of a backend, where something was learned.
    pub fn of(&self, BackendIndex(n): BackendIndex) -> Option<&OutputFigures> {
        let place = self.places.get(n as usize)?.checked_sub(1)?;
        self.figures.get(usize::from(place))
    }

    /// Each set of figures with the backends it is of, none of which is missing.
    pub fn all(&self) -> impl Iterator<Item = (OutputFigures, Vec<BackendIndex>)> + '_ {
        (1_u16..).zip(&self.figures).map(|(place, figures)| {
            let theirs = (0_u32..).zip(&self.places).filter(move |(_, own)| **own == place);
            (*figures, theirs.map(|(n, _)| BackendIndex(n)).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_found_and_nothing_else() {
        let (mut learned, figures) =
            (LearnedOutput::default(), |n| OutputFigures { mean: Tokens::new(n), ..OutputFigures::default() });
        learned.set([BackendIndex(1), BackendIndex(4)], figures(7));
        learned.set([BackendIndex(2)], figures(8));
        learned.set([], figures(9));
        let found: Vec<Option<u64>> = (0..6).map(|n| learned.of(BackendIndex(n)).map(|f| f.mean.get())).collect();
        assert_eq!(found, [None, Some(7), Some(8), None, Some(7), None]);
        let all: Vec<(u64, usize)> = learned.all().map(|(figures, of)| (figures.mean.get(), of.len())).collect();
        assert_eq!(all, [(7, 2), (8, 1), (9, 0)]);
    }
}
