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

/// Some of the answers, by their length: those that a price with cells by the length of the output puts into one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputStretch {
    /// How many of all answers, in millionths.
    pub share: u32,
    /// Mean of their tokens, all choices together and within the client's bound.
    pub mean: Tokens,
}

impl OutputStretch {
    /// Millionths in all answers: what the shares of a spread come to.
    pub const WHOLE: u32 = 1_000_000;
}

/// By backend. Those who serve one model mostly share its figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LearnedOutput {
    figures: Vec<OutputFigures>,
    /// The spreads of those that have one, in their order: the place in `figures`, and one stretch.
    stretches: Vec<Stretch>,
    /// By [`BackendIndex`], one above the place in `figures`; zero and beyond the end: nothing was learned.
    places: Vec<u16>,
}

/// Backends that are looked at together.
const PIECE: usize = 32;

/// A stretch of the spread of the figures at a place.
type Stretch = (usize, OutputStretch);

impl LearnedOutput {
    /// Sets what is expected of some backends, and how their answers spread over the borders of their prices: stretches
    /// from the shortest answers to the longest whose shares are the whole; none where the mean says enough.
    pub fn set(
        &mut self,
        backends: impl IntoIterator<Item = BackendIndex>,
        figures: OutputFigures,
        spread: impl IntoIterator<Item = OutputStretch>,
    ) {
        let Ok(place) = u16::try_from(self.figures.len() + 1) else { return };
        self.stretches.extend(spread.into_iter().map(|stretch| (self.figures.len(), stretch)));
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
    pub fn of(&self, backend: BackendIndex) -> Option<&OutputFigures> {
        self.figures.get(self.place(backend)?)
    }

    /// How a backend's answers spread over lengths; nothing where its mean says enough.
    pub fn spread_of(&self, backend: BackendIndex) -> impl Iterator<Item = OutputStretch> + Clone + '_ {
        self.spread_at(self.place(backend).unwrap_or(usize::MAX))
    }

    /// Who something was learned of, sorted by whose figures are the same.
    pub fn known(&self) -> Vec<(u16, BackendIndex)> {
        // Mostly few of a table are learned of at once, so that what is empty is passed over in pieces.
        let pieces = (0_u32..)
            .step_by(PIECE)
            .zip(self.places.chunks(PIECE))
            .filter(|(_, piece)| piece.iter().fold(0, |any, place| any | place) > 0);
        let learned = pieces.flat_map(|(first, piece)| (first..).zip(piece).filter(|(_, place)| **place > 0));
        let mut by_place: Vec<(u16, BackendIndex)> = learned.map(|(n, place)| (*place, BackendIndex(n))).collect();
        by_place.sort_unstable();
        by_place
    }

    fn place(&self, BackendIndex(n): BackendIndex) -> Option<usize> {
        self.places.get(n as usize)?.checked_sub(1).map(usize::from)
    }

    fn spread_at(&self, place: usize) -> impl Iterator<Item = OutputStretch> + Clone + '_ {
        let first = self.stretches.partition_point(|(of, _)| *of < place);
        self.stretches[first..].iter().take_while(move |(of, _)| *of == place).map(|(_, stretch)| *stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_found_and_nothing_else() {
        let (mut learned, figures) =
            (LearnedOutput::default(), |n| OutputFigures { mean: Tokens::new(n), ..OutputFigures::default() });
        let spread =
            |shares: &[u32]| shares.iter().map(|share| OutputStretch { share: *share, mean: Tokens::ZERO }).collect::<Vec<_>>();
        learned.set([BackendIndex(1), BackendIndex(4)], figures(7), spread(&[400_000, 600_000]));
        learned.set([BackendIndex(2)], figures(8), []);
        learned.set([], figures(9), spread(&[1_000_000]));
        let found: Vec<Option<u64>> = (0..6).map(|n| learned.of(BackendIndex(n)).map(|f| f.mean.get())).collect();
        assert_eq!(found, [None, Some(7), Some(8), None, Some(7), None]);
        let known = learned.known().into_iter().map(|(place, BackendIndex(n))| (place, n));
        assert_eq!(known.collect::<Vec<_>>(), [(1, 1), (1, 4), (2, 2)]);
        let spreads: Vec<Vec<OutputStretch>> = (0..6).map(|n| learned.spread_of(BackendIndex(n)).collect()).collect();
        let none = Vec::new;
        let two = spread(&[400_000, 600_000]);
        assert_eq!(spreads, [none(), two.clone(), none(), none(), two, none()]);
    }
}
