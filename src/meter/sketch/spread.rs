//! How answers spread over lengths: for prices that are others for short answers, where the mean says too little.

use super::{BUCKETS, PARTS, PARTS_LOG2, Prior, Sketch};
use crate::units::Tokens;

/// The answers between two borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How many of all answers, in millionths.
    pub share: u32,
    /// The mean of those, which lies between the borders too.
    pub mean: Tokens,
}

/// Millionths in all answers.
const WHOLE: u128 = 1_000_000;
/// The widest bucket's lengths. Every bucket has a power of two of them, so that parts of a bucket are whole numbers.
const WIDEST: u64 = 1 << (BUCKETS as u64 / PARTS - 2);

/// Some of the answers: how many, and the sum of their lengths, each doubled.
#[derive(Debug, Clone, Copy, Default)]
struct Heap {
    weight: u64,
    doubled: u128,
}

impl Sketch {
    /// The answers of each stretch between borders (rising; each the last length of what is shorter) that holds any, the
    /// shortest first; together all. Under a bound, longer ones are as long as it. Empty where all are of one stretch.
    pub(in crate::meter) fn spread(&self, prior: Prior, bound: Option<Tokens>, borders: &[Tokens]) -> Vec<Stretch> {
        let merged = self.merged(prior);
        let cut = bound.map_or(u64::MAX, Tokens::get);
        let all: u64 = merged.iter().map(|weight| u64::from(*weight) * WIDEST).sum();
        let (mut spread, mut least, mut below, mut told) = (Vec::new(), 0, 0, 0);
        for to in borders.iter().map(|border| border.get()).filter(|border| *border < cut).chain([cut]) {
            let mut heap = Heap::default();
            for (place, weight) in merged.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                heap.add(place, *weight, (least, to), cut);
            }
            below += heap.weight;
            least = to.saturating_add(1);
            // Of what is below, rounded down: so that all shares together are the whole.
            let share = u32::try_from(u128::from(below) * WHOLE / u128::from(all.max(1))).unwrap_or(0);
            if share > told {
                spread.push(Stretch { share: share - told, mean: heap.mean() });
                told = share;
            }
        }
        if spread.len() < 2 { Vec::new() } else { spread }
    }
}

impl Heap {
    /// Adds those of a bucket's answers, which are of each of its lengths alike, that lie between two lengths, both included.
    /// With those that end at the cut come the longer ones, as long as it.
    fn add(&mut self, place: usize, weight: u32, (least, to): (u64, u64), cut: u64) {
        let (first, width) = lengths(place);
        let longest = first + width - 1;
        let each = u64::from(weight) * (WIDEST / width);
        let (from, until) = (first.max(least), longest.min(to));
        if from <= until {
            self.take(each * (until - from + 1), from + until);
        }
        if to == cut && longest > cut {
            self.take(each * (longest - first.max(cut + 1) + 1), cut * 2);
        }
    }

    fn take(&mut self, weight: u64, doubled: u64) {
        self.weight += weight;
        self.doubled += u128::from(weight) * u128::from(doubled);
    }

    /// Rounded up, which is still between the borders.
    fn mean(&self) -> Tokens {
        let mean = self.doubled.div_ceil(u128::from(self.weight.max(1)) * 2);
        Tokens::new(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}

/// A bucket's least length, and how many it has.
fn lengths(place: usize) -> (u64, u64) {
    let place = place as u64;
    let (octave, part) = (place >> PARTS_LOG2, place & (PARTS - 1));
    if octave == 0 { (part, 1) } else { ((PARTS + part) << (octave - 1), 1 << (octave - 1)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{bucket, middle};
    use super::*;

    fn prior(mean: u64) -> Prior {
        Prior { mean: Tokens::new(mean), reasoning: Tokens::ZERO }
    }

    fn seen(answers: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for tokens in answers {
            sketch.add(Tokens::new(*tokens), Tokens::ZERO, 1);
        }
        sketch
    }

    fn spread(sketch: &Sketch, bound: Option<u64>, borders: &[u64]) -> Vec<(u32, u64)> {
        let borders: Vec<Tokens> = borders.iter().copied().map(Tokens::new).collect();
        let spread = sketch.spread(prior(400), bound.map(Tokens::new), &borders);
        spread.into_iter().map(|stretch| (stretch.share, stretch.mean.get())).collect()
    }

    #[test]
    fn every_length_lies_among_those_of_its_bucket() {
        for tokens in (0..3_000).chain((12..20).map(|power| 1 << power)) {
            let (first, width) = lengths(bucket(tokens));
            assert!((first..first + width).contains(&tokens), "{tokens}: {first} and {width}");
            assert_eq!(middle(bucket(tokens)), first + (width - 1) / 2);
        }
        assert_eq!(lengths(BUCKETS - 1).1, WIDEST);
    }

    #[test]
    fn the_prior_spreads_by_its_points() {
        // A quarter each at a hundred, two hundred, four hundred and nine hundred; of the sixteen lengths of the bucket that
        // two hundred lies in (192 to 207), nine are not above it.
        let quarters = spread(&Sketch::default(), None, &[200]);
        assert_eq!(quarters.iter().map(|(share, _)| *share).sum::<u32>(), 1_000_000);
        assert_eq!(quarters[0].0, 250_000 + 250_000 * 9 / 16);
        assert!((100..=200).contains(&quarters[0].1) && quarters[1].1 > 400, "{quarters:?}");
        assert_eq!(spread(&Sketch::default(), Some(300), &[200])[1].1, 283, "seven of 204, and the rest cut at 300");
    }

    #[test]
    fn two_kinds_of_answers_stay_two() {
        let answers: Vec<u64> = [100; 75].into_iter().chain([2_000; 25]).collect();
        let halves = spread(&seen(&answers), None, &[200]);
        assert!((690_000..770_000).contains(&halves[0].0), "{halves:?}");
        assert!((95..130).contains(&halves[0].1) && (1_400..2_050).contains(&halves[1].1), "{halves:?}");
    }

    #[test]
    fn answers_of_one_stretch_have_no_spread() {
        assert_eq!(spread(&seen(&[100; 50]), None, &[]), []);
        assert_eq!(spread(&seen(&[100; 50]), Some(150), &[200]), [], "the bound keeps all of them short");
        assert_eq!(spread(&seen(&[100; 50]), Some(200), &[200]), []);
    }

    proptest! {
        #[test]
        fn all_answers_are_of_one_stretch_and_its_mean_lies_in_it(
            answers in proptest::collection::vec(0_u64..3_000_000, 0..60), borders in proptest::collection::btree_set(0_u64..5_000, 0..6),
            bound in proptest::option::of(1_u64..6_000),
        ) {
            let (sketch, borders) = (seen(&answers), borders.into_iter().collect::<Vec<_>>());
            let told = spread(&sketch, bound, &borders);
            let whole: u32 = told.iter().map(|(share, _)| share).sum();
            prop_assert!(told.is_empty() || whole == 1_000_000);
            let stretch = |mean: u64| borders.iter().filter(|border| **border < mean).count();
            prop_assert!(told.windows(2).all(|pair| stretch(pair[0].1) < stretch(pair[1].1)), "{told:?}");
            prop_assert!(bound.is_none_or(|bound| told.iter().all(|(_, mean)| *mean <= bound)));
            // The mean of all is the sketch's own, but for the rounding of shares and means.
            if !told.is_empty() {
                let sum: u64 = told.iter().map(|(share, mean)| u64::from(*share) * mean).sum();
                let own = sketch.expected(prior(400), bound.map(Tokens::new), 1).mean.get();
                prop_assert!((sum / 1_000_000).abs_diff(own) <= 2 + own / 16, "{sum} {own}");
            }
        }
    }
}
