//! What is learned of one kind of report: by which factor each part of an estimate is multiplied, and how many tokens stand
//! beside all of them, each with its error.
//!
//! A recursive least-squares fit with a prior (Kalman's filter of something that hardly moves). It begins where it is told to,
//! the factors at one unless something better is known; what it believes moves as far as the prior is wide, and what was seen
//! is certain: that is the shrinkage. Residuals are relative, so that a long prompt teaches no more than a short one, and one
//! row's weight is capped twice: by [`Noise::sure`], below which no row's variance is taken to be, and by so many errors, beyond
//! which it is cut. That is early ([`FAR`]): estimates are far off for a few texts and near for most, and what is sought is
//! right for most.

use super::classes::{CLASSES, PRIORS};

/// The prior's variance of a factor that is of no class: a quarter more or less is nothing unusual.
const PRIOR_FACTOR: f64 = 0.06;
/// The same of the last factor, which belongs to what a template puts around texts.
const PRIOR_FRAME: f64 = 0.25;
/// The prior's variance of the tokens beside, in tokens: a frame that is not as documented, a line of the provider's own.
const PRIOR_BESIDE: f64 = 1024.0;
/// How much of its prior's variance a figure gets back with each row: what changes slowly is followed over some thousand.
const WANDER: f64 = 1.0 / 16_000.0;
/// Factors are kept within this, whatever was reported,
const FACTORS: (f64, f64) = (0.25, 4.0);
/// and the tokens beside within this.
const BESIDE: (f64, f64) = (-64.0, 4096.0);
/// A row's residual is cut at so many errors,
const FAR: f64 = 0.8;
/// except for what it says of the spread, and of all while so few rows were seen that a provider's own lines are not known yet:
const ODD: f64 = 3.0;
const FIRST_ROWS: u32 = 10;
/// How fast the spread follows what is seen: one in so many rows,
const SPREAD_ROWS: f64 = 50.0;
/// and within which bounds it is taken to be, as a factor on the variance that is expected.
const SPREADS: (f64, f64) = (0.04, 16.0);

/// How exact a kind of estimate is by itself: the variance of a long text's relative error,
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    pub(super) sure: f64,
    /// an error that none is taken to be less than when reports are watched: rounding and a mark more or less are no drift;
    pub(super) least: f64,
    /// and what comes on top of it at one token, falling with length.
    pub(super) short: f64,
}

/// A fit of `N - 1` factors and, last, the tokens beside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit<const N: usize> {
    means: [f64; N],
    covariance: [[f64; N]; N],
    /// The variance of residuals over the one that was expected.
    spread: f64,
    rows: u32,
}

/// One comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<const N: usize> {
    /// The parts of the estimate, and one for the tokens beside.
    pub(super) parts: [f64; N],
    /// The whole estimate in tokens, what belongs to no part included; above zero.
    pub(super) estimate: f64,
    pub(super) reported: f64,
}

/// How far a report is from what was expected, relative to the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Residual {
    pub(super) off: f64,
    /// Its standard error.
    pub(super) error: f64,
    /// The variance that the fit itself explains.
    variance: f64,
}

impl<const N: usize> Fit<N> {
    /// Nothing was seen yet; factors begin at these.
    pub(super) fn from(factors: &[f64; N]) -> Self {
        let mut means = *factors;
        means[N - 1] = 0.0;
        let mut covariance = [[0.0; N]; N];
        for (place, row) in covariance.iter_mut().enumerate() {
            row[place] = prior::<N>(place);
        }
        Self { means, covariance, spread: 1.0, rows: 0 }
    }

    pub(super) fn new() -> Self {
        Self::from(&[1.0; N])
    }

    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) const fn means(&self) -> &[f64; N] {
        &self.means
    }

    /// What is to be added to an estimate of these parts.
    pub(super) fn correction(&self, parts: &[f64; N]) -> f64 {
        correction(&self.means, parts)
    }

    /// A figure's standard error.
    pub(super) fn error(&self, place: usize) -> f64 {
        (self.covariance[place][place] * self.spread.max(1.0)).sqrt()
    }

    /// How far a report is from what the fit expects.
    pub(super) fn residual(&self, row: &Row<N>, noise: Noise) -> Residual {
        let off = (row.reported - row.estimate - self.correction(&row.parts)) / row.estimate;
        let direction = row.parts.map(|part| part / row.estimate);
        let explained: f64 = direction.iter().zip(self.along(&direction)).map(|(part, along)| part * along).sum();
        let variance = explained.max(0.0) + noise.sure + noise.short / row.estimate;
        Residual { off, error: (variance * self.spread).sqrt().max(noise.least), variance }
    }

    /// Takes a row.
    pub(super) fn learn(&mut self, row: &Row<N>, noise: Noise) {
        let Residual { off, variance, .. } = self.residual(row, noise);
        // Wide while little is known: the spread says nothing yet.
        let is_new = self.rows < FIRST_ROWS;
        let error = (variance * if is_new { self.spread.max(1.0) } else { self.spread }).sqrt();
        let odd = off.clamp(-ODD * error, ODD * error);
        let cut = if is_new { odd } else { off.clamp(-FAR * error, FAR * error) };
        // One that was cut makes less certain than it would have.
        let trust = if off == 0.0 { 1.0 } else { (cut / off).clamp(0.0, 1.0) };
        let direction = row.parts.map(|part| part / row.estimate);
        let along = self.along(&direction);
        for (place, (mean, gained)) in self.means.iter_mut().zip(&along).enumerate() {
            let (least, most) = if place == N - 1 { BESIDE } else { FACTORS };
            *mean = (*mean + gained / variance * cut).clamp(least, most);
        }
        for (place, gained) in along.iter().enumerate() {
            for (other, with) in along.iter().enumerate() {
                self.covariance[place][other] -= trust * gained * with / variance;
            }
            let most = prior::<N>(place);
            let own = &mut self.covariance[place][place];
            *own = (own.max(0.0) + WANDER * most).min(most);
        }
        let seen = odd * odd / variance;
        let share = 1.0 / SPREAD_ROWS.min(f64::from(self.rows) + 4.0);
        self.spread = (self.spread + share * (seen - self.spread)).clamp(SPREADS.0, SPREADS.1);
        self.rows = self.rows.saturating_add(1);
    }

    /// Makes all of it as uncertain as it was at the beginning, and keeps what is believed.
    pub(super) fn widen(&mut self) {
        let Self { means, rows, .. } = *self;
        *self = Self { means, rows, ..Self::new() };
    }

    fn along(&self, direction: &[f64; N]) -> [f64; N] {
        self.covariance.map(|row| row.iter().zip(direction).map(|(one, part)| one * part).sum())
    }
}

/// The same by figures that were taken of a fit.
pub(super) fn correction<const N: usize>(means: &[f64; N], parts: &[f64; N]) -> f64 {
    let factors = means.iter().zip(parts).take(N - 1).map(|(mean, part)| (mean - 1.0) * part);
    factors.sum::<f64>() + means[N - 1] * parts[N - 1]
}

const fn prior<const N: usize>(place: usize) -> f64 {
    if place + 1 == N {
        PRIOR_BESIDE
    } else if place + 2 == N && N > 2 {
        PRIOR_FRAME
    } else if N == CLASSES + 2 {
        PRIORS[place]
    } else {
        PRIOR_FACTOR
    }
}

/// A fit as it is kept, in whole numbers so that it is the same however often it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct KeptFit {
    rows: u32,
    /// In millionths.
    spread: i64,
    /// In millionths.
    means: Vec<i64>,
    /// In thousand-millionths, row by row up to the diagonal.
    covariance: Vec<i64>,
}

impl<const N: usize> Fit<N> {
    pub(super) fn kept(&self) -> KeptFit {
        let below = self.covariance.iter().enumerate().flat_map(|(place, row)| &row[..=place]);
        KeptFit {
            rows: self.rows,
            spread: whole(self.spread, 1e6),
            means: self.means.iter().map(|mean| whole(*mean, 1e6)).collect(),
            covariance: below.map(|one| whole(*one, 1e9)).collect(),
        }
    }

    /// What was kept; `None` where it cannot be believed.
    pub(super) fn restored(kept: &KeptFit) -> Option<Self> {
        let mut fit = Self::new();
        if kept.means.len() != N || kept.covariance.len() != N * (N + 1) / 2 {
            return None;
        }
        fit.rows = kept.rows;
        fit.spread = within(part(kept.spread, 1e6), SPREADS)?;
        for (place, mean) in kept.means.iter().enumerate() {
            fit.means[place] = within(part(*mean, 1e6), if place == N - 1 { BESIDE } else { FACTORS })?;
        }
        let mut told = kept.covariance.iter();
        for place in 0..N {
            for other in 0..=place {
                let most = (prior::<N>(place) * prior::<N>(other)).sqrt();
                let least = if place == other { 0.0 } else { -most };
                let one = within(part(*told.next()?, 1e9), (least, most))?;
                (fit.covariance[place][other], fit.covariance[other][place]) = (one, one);
            }
        }
        Some(fit)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "figures are bounded, and a float's conversion saturates")]
fn whole(figure: f64, parts: f64) -> i64 {
    (figure * parts).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "figures are bounded far below what a float tells exactly")]
fn part(figure: i64, parts: f64) -> f64 {
    figure as f64 / parts
}

fn within(figure: f64, (least, most): (f64, f64)) -> Option<f64> {
    (figure >= least - 1e-9 && figure <= most + 1e-9).then_some(figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOISE: Noise = Noise { sure: 0.002, least: 0.01, short: 0.7 };

    fn row(first: f64, second: f64, reported: f64) -> Row<3> {
        Row { parts: [first, second, 1.0], estimate: first + second, reported }
    }

    /// Two parts whose factors are these, with tokens beside.
    fn taught(factors: [f64; 2], beside: f64, rows: u32) -> Fit<3> {
        let mut fit = Fit::new();
        for n in 0..rows {
            let (first, second) = (f64::from(20 + n * 37 % 400), f64::from(10 + n * 53 % 300));
            fit.learn(&row(first, second, first * factors[0] + second * factors[1] + beside), NOISE);
        }
        fit
    }

    #[test]
    fn factors_and_what_stands_beside_are_told_apart() {
        let fit = taught([1.3, 0.8], 25.0, 200);
        let check = |place: usize, truth: f64, near: f64| {
            let found = fit.means()[place];
            assert!((found - truth).abs() < near, "{place}: {found} for {truth}, error {}", fit.error(place));
            assert!(fit.error(place) < 0.3 * prior::<3>(place).sqrt());
        };
        check(0, 1.3, 0.03);
        check(1, 0.8, 0.03);
        check(2, 25.0, 4.0);
        assert!(Fit::<3>::new().correction(&[100.0, 100.0, 1.0]).abs() < 1e-9, "nothing is corrected before anything was seen");
    }

    #[test]
    fn one_row_however_odd_moves_little_of_what_many_taught() {
        let mut fit = taught([1.2, 1.0], 0.0, 100);
        let before = fit.correction(&[100.0, 100.0, 1.0]);
        fit.learn(&row(100.0, 100.0, 20_000.0), NOISE);
        let after = fit.correction(&[100.0, 100.0, 1.0]);
        assert!((after - before).abs() < 4.0, "{before} {after}");
    }

    #[test]
    fn a_figure_that_nothing_was_seen_of_stays_where_it_began() {
        let mut fit = Fit::<3>::from(&[1.1, 0.9, 0.0]);
        for n in 0..50 {
            fit.learn(&row(f64::from(100 + n), 0.0, 1.4 * f64::from(100 + n)), NOISE);
        }
        assert!((fit.means()[0] - 1.4).abs() < 0.05 && fit.error(1) > 0.2, "{fit:?}");
        assert!((fit.means()[1] - 0.9).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_is_the_same_however_often_and_nonsense_is_refused() {
        let kept = taught([1.3, 0.8], 25.0, 60).kept();
        let again = Fit::<3>::restored(&kept).unwrap();
        assert_eq!(again.kept(), kept);
        let wrong = |change: fn(&mut KeptFit)| {
            let mut kept = kept.clone();
            change(&mut kept);
            assert_eq!(Fit::<3>::restored(&kept), None, "{kept:?}");
        };
        wrong(|kept| kept.means[0] = 9_000_000);
        wrong(|kept| kept.means[2] = -100_000_000);
        wrong(|kept| _ = kept.means.pop());
        wrong(|kept| kept.covariance[0] = -5);
        wrong(|kept| kept.covariance[1] = 1_000_000_000);
        wrong(|kept| kept.spread = 0);
    }

    /// Priors were narrower once (0.06 of any factor, 256 tokens beside); what was learned under them is believed.
    #[test]
    fn what_an_older_gateway_kept_is_taken_up() {
        const PLACES: usize = CLASSES + 2;
        let mut variances = [60_000_000_i64; PLACES];
        (variances[PLACES - 2], variances[PLACES - 1]) = (250_000_000, 256_000_000_000);
        let row = |place: usize| (0..=place).map(move |other| if other == place { variances[place] } else { 0 });
        let kept = KeptFit {
            rows: 3,
            spread: 1_000_000,
            means: [vec![1_200_000; PLACES - 1], vec![300_000_000]].concat(),
            covariance: (0..PLACES).flat_map(row).collect(),
        };
        let fit = Fit::<PLACES>::restored(&kept).unwrap();
        assert_eq!((fit.kept(), fit.means()[PLACES - 1]), (kept, 300.0));
    }

    proptest! {
        /// Whatever is reported, figures stay within their bounds and expectations finite.
        #[test]
        fn no_report_leads_out_of_bounds(rows in proptest::collection::vec((1_u32..2000, 0_u32..2000, 0_u64..1_000_000_000_000), 1..80)) {
            let mut fit = Fit::<3>::new();
            for (first, second, reported) in rows {
                let reported = f64::from(u32::try_from(reported % 4_000_000_000).unwrap());
                fit.learn(&row(f64::from(first), f64::from(second), reported), NOISE);
                for place in 0..3 {
                    let (least, most) = if place == 2 { BESIDE } else { FACTORS };
                    prop_assert!((least..=most).contains(&fit.means()[place]));
                    prop_assert!(fit.error(place).is_finite());
                }
            }
            let kept = fit.kept();
            prop_assert_eq!(Fit::<3>::restored(&kept).map(|again| again.kept()), Some(kept));
        }
    }
}
