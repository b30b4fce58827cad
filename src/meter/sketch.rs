//! How long answers were, as a histogram that forgets: eight buckets to each doubling, so a figure read from it is
//! within six per cent of the truth whatever its size, in about 300 bytes and without a float.
//!
//! Three things keep it honest. A *prior* stands in it with the weight of eight answers, so that one odd answer moves a
//! figure a little and a hundred replace it. Old answers *fade*: all weights are halved when there are enough, and once
//! for every half-life of wall time. And an answer that was *cut at a bound* is only known to be longer than that: it is
//! spread over what lies above the bound, in the proportions of what is known of longer answers (Efron's redistribution
//! to the right), so that short bounds do not teach that answers are short.
//!
//! No clock: the second of an observation comes in, and one before the last counts as that.

mod spread;

pub use self::spread::Stretch;
use crate::units::Tokens;

/// Buckets to a doubling, as a power of two.
const PARTS_LOG2: u32 = 3;
const PARTS: u64 = 1 << PARTS_LOG2;
/// Up to two million tokens; what is longer counts as that.
pub(super) const BUCKETS: usize = 152;
/// The weight of one answer: it takes six halvings until it is gone.
pub(super) const UNIT: u32 = 64;
/// Weight at which everything is halved: so many answers are remembered, the last half of them in full.
pub(super) const MOST_WEIGHT: u32 = 512 * UNIT;
/// The prior's weight: that of eight answers.
const PRIOR_WEIGHT: u32 = 8 * UNIT;
/// A week without answers takes half of their weight.
const HALF_LIFE_SECONDS: u64 = 7 * 24 * 3600;
/// The points of a prior, in sixteenths of four times its mean: a quarter, a half, the whole and nine quarters of it. Each
/// has a quarter of the weight, and their mean is the prior's.
const PRIOR_POINTS: [u64; 4] = [1, 2, 4, 9];

/// What is known of one kind of answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    weights: [u16; BUCKETS],
    /// The sum of `weights`.
    total: u32,
    /// Tokens of the answers whose reasoning was told, and the reasoning among them. Fading with the weights.
    output: u64,
    reasoning: u64,
    /// Up to which second of wall time it has faded.
    faded: u64,
}

/// What a sketch expects. All figures are of one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The mean, within the client's bound.
    pub mean: Tokens,
    /// The part of the mean that is hidden reasoning, were it cut in proportion.
    pub reasoning: Tokens,
    /// Half of the answers are not longer.
    pub p50: Tokens,
    /// Nine of ten answers are not longer.
    pub p90: Tokens,
}

/// What is taken for true before anything was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prior {
    /// Of the whole answer, without a bound.
    pub mean: Tokens,
    /// The part of it that is hidden reasoning.
    pub reasoning: Tokens,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { weights: [0; BUCKETS], total: 0, output: 0, reasoning: 0, faded: 0 }
    }
}

impl Sketch {
    /// Takes a whole answer of so many tokens, of which so many were reasoning.
    pub fn add(&mut self, tokens: Tokens, reasoning: Tokens, at: u64) {
        self.fade(at);
        self.weigh(bucket(tokens.get()), UNIT);
        self.output = self.output.saturating_add(tokens.get());
        self.reasoning = self.reasoning.saturating_add(reasoning.get().min(tokens.get()));
        self.keep_small();
    }

    /// Takes an answer that was cut at a bound: it would have been longer, nobody knows by how much.
    pub fn add_cut(&mut self, bound: Tokens, prior: Prior, at: u64) {
        self.fade(at);
        let least = bucket(bound.get()) + 1;
        let longer = self.merged(prior);
        let known: u64 = longer.iter().skip(least).map(|weight| u64::from(*weight)).sum();
        let mut left = UNIT;
        let mut heaviest = (bucket(bound.get().saturating_mul(2)), 0);
        for (place, weight) in longer.iter().enumerate().skip(least) {
            let share = u64::from(*weight) * u64::from(UNIT) / known.max(1);
            let share = u32::try_from(share).unwrap_or(UNIT).min(left);
            self.weigh(place, share);
            left -= share;
            if *weight > heaviest.1 {
                heaviest = (place, *weight);
            }
        }
        // Rounding leaves some; where nothing is known of longer answers, twice the bound is the guess.
        self.weigh(heaviest.0, left);
        self.keep_small();
    }

    /// What to expect of the next answer, under a bound.
    pub fn expected(&self, prior: Prior, bound: Option<Tokens>, at: u64) -> Expected {
        let mut now = self.clone();
        now.fade(at);
        let whole = now.figures(prior);
        bound.map_or(whole, |bound| now.bounded(whole, prior, bound))
    }

    /// What all answers weigh together; less than before once old ones have faded.
    pub(super) const fn weight(&self) -> u32 {
        self.total
    }

    /// Answers that its figures rest on, the prior left out.
    pub fn answers(&self) -> u32 {
        self.total / UNIT
    }

    /// The figures under a bound, from those without one: a fraction of what they take anew.
    pub(super) fn bounded(&self, whole: Expected, prior: Prior, bound: Tokens) -> Expected {
        let mean = self.mean(prior, bound.get());
        let reasoning = u128::from(mean) * u128::from(whole.reasoning.get()) / u128::from(whole.mean.get().max(1));
        let reasoning = u64::try_from(reasoning).unwrap_or(mean).min(mean);
        let (p50, p90) = (whole.p50.min(bound), whole.p90.min(bound));
        Expected { mean: Tokens::new(mean), reasoning: Tokens::new(reasoning), p50, p90 }
    }

    fn figures(&self, prior: Prior) -> Expected {
        let mean = self.mean(prior, u64::MAX);
        let merged = self.merged(prior);
        let eight = |tokens: Tokens| u128::from(tokens.get()) * 8;
        let told = u128::from(self.output) + eight(prior.mean);
        let thought = u128::from(self.reasoning) + eight(prior.reasoning);
        let reasoning = (u128::from(mean) * thought).checked_div(told).unwrap_or(0);
        let reasoning = u64::try_from(reasoning).unwrap_or(mean).min(mean);
        let quantile = |percent| Tokens::new(quantile(&merged, percent));
        Expected { mean: Tokens::new(mean), reasoning: Tokens::new(reasoning), p50: quantile(50), p90: quantile(90) }
    }

    /// The mean of what is billed when nothing is longer than `bound`.
    fn mean(&self, prior: Prior, bound: u64) -> u64 {
        let cut = u32::try_from(bound).unwrap_or(u32::MAX);
        let seen = self.weights.iter().zip(&MIDDLES).map(|(weight, middle)| u64::from(*weight) * u64::from((*middle).min(cut)));
        let seen: u64 = seen.sum();
        let sixteenth = PRIOR_POINTS.map(|point| point.saturating_mul(prior.mean.get()).min(bound.saturating_mul(4)));
        let supposed = sixteenth.iter().fold(0_u64, |sum, one| sum.saturating_add(*one)) / 16;
        let sum = seen.saturating_add(supposed.saturating_mul(u64::from(PRIOR_WEIGHT)));
        // Rounded up: an answer that is billed has a token.
        sum.div_ceil(u64::from(self.total + PRIOR_WEIGHT)).min(bound)
    }

    /// The weights with the prior's beside them.
    fn merged(&self, prior: Prior) -> [u32; BUCKETS] {
        let mut merged = self.weights.map(u32::from);
        for point in PRIOR_POINTS {
            merged[bucket(point.saturating_mul(prior.mean.get()) / 4)] += PRIOR_WEIGHT / 4;
        }
        merged
    }

    fn weigh(&mut self, place: usize, weight: u32) {
        let room = u32::from(u16::MAX - self.weights[place]);
        let weight = weight.min(room);
        self.weights[place] += u16::try_from(weight).unwrap_or(u16::MAX);
        self.total += weight;
    }

    fn keep_small(&mut self) {
        if self.total > MOST_WEIGHT {
            self.halve(1);
        }
    }

    /// Halves once for every half-life that has passed.
    fn fade(&mut self, at: u64) {
        if self.faded == 0 {
            self.faded = at;
        }
        let lives = at.saturating_sub(self.faded) / HALF_LIFE_SECONDS;
        if lives > 0 {
            self.halve(lives);
            self.faded += lives * HALF_LIFE_SECONDS;
        }
    }

    fn halve(&mut self, times: u64) {
        let times = u32::try_from(times.min(15)).unwrap_or(15);
        self.weights.iter_mut().for_each(|weight| *weight >>= times);
        self.total = self.weights.iter().map(|weight| u32::from(*weight)).sum();
        self.output >>= times;
        self.reasoning >>= times;
    }

    /// The numbers that make it up, for [`Sketch::from_parts`].
    pub(super) fn parts(&self) -> (u64, u64, u64, impl Iterator<Item = (usize, u16)> + '_) {
        let filled = self.weights.iter().copied().enumerate().filter(|(_, weight)| *weight > 0);
        (self.faded, self.output, self.reasoning, filled)
    }

    /// Puts a sketch together again; `None` where the numbers are of none.
    pub(super) fn from_parts(faded: u64, output: u64, reasoning: u64, filled: &[(usize, u16)]) -> Option<Self> {
        let mut sketch = Self { faded, output, reasoning: reasoning.min(output), ..Self::default() };
        for (place, weight) in filled {
            *sketch.weights.get_mut(*place)? = *weight;
        }
        sketch.total = sketch.weights.iter().map(|weight| u32::from(*weight)).sum();
        (sketch.total <= MOST_WEIGHT && reasoning <= output).then_some(sketch)
    }
}

/// Exact below eight; above it the octave and the three bits after the leading one.
fn bucket(tokens: u64) -> usize {
    if tokens < PARTS {
        return usize::try_from(tokens).unwrap_or(0);
    }
    let octave = tokens.ilog2();
    let part = (tokens >> (octave - PARTS_LOG2)) & (PARTS - 1);
    let place = u64::from(octave - PARTS_LOG2 + 1) * PARTS + part;
    usize::try_from(place).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The figure that stands for a bucket.
fn middle(place: usize) -> u64 {
    u64::from(MIDDLES[place])
}

/// The figure that stands for each bucket.
const MIDDLES: [u32; BUCKETS] = {
    let mut middles = [0; BUCKETS];
    // An iterator is no constant.
    let (mut place, mut octave, mut part) = (0, 0, 0);
    while place < BUCKETS {
        let width = if octave == 0 { 1 } else { 1 << (octave - 1) };
        let least = if octave == 0 { part } else { (8 + part) * width };
        middles[place] = least + (width - 1) / 2;
        place += 1;
        part = (part + 1) % 8;
        octave += if part == 0 { 1 } else { 0 };
    }
    middles
};

/// The least figure that so many per cent of the weight are not above.
fn quantile(weights: &[u32; BUCKETS], percent: u64) -> u64 {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let wanted = (total * percent).div_ceil(100);
    let mut below = 0;
    for (place, weight) in weights.iter().enumerate() {
        below += u64::from(*weight);
        if below >= wanted && below > 0 {
            return middle(place);
        }
    }
    0
}

#[cfg(test)]
#[path = "sketch/tests.rs"]
mod tests;
