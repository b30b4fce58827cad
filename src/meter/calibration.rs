//! What providers report against what is estimated and counted here, by backend and class of text: learned, with its error, and
//! used where a report is not there yet (a quote, a hold) or never comes (a broken stream).
//!
//! A backend begins with what is known of its tokenizer family and soon rests on its own reports. Each figure is a
//! [`fit`](Fit) of factors on the parts of an estimate by [class of text](TextClass), and of tokens beside them, such as a
//! provider's own lines in front of every prompt. Before [`USED_FROM`] reports nothing is corrected.
//!
//! Reports are also [watched](Drift). Those of a backend that has left its usual band teach nothing, neither here nor
//! elsewhere, until they are back: what they are off by is money at stake. A count of a sample of answers is watched beside
//! the estimate: its band is some times narrower, and where it stays calm it was the texts that became others, not the reports.
//!
//! Holds only ever rise by what is learned here: a bound that shrank with a provider's habits would be none.
//!
//! What this holds is bounded: the backend that was not heard of for the longest time goes first. No clock: seconds come in.

mod classes;
mod drift;
mod fit;
mod kept;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

pub use self::classes::TextClass;
use self::classes::{CLASSES, parts};
use self::drift::{Drift, USUAL_ROWS};
pub use self::drift::{Turn, Way};
use self::fit::{Fit, Noise, Row};
pub use self::kept::KeptReports;
pub use self::view::{Ratio, View, Watch};
use super::estimate;
use super::prompt::Estimate;
use crate::canonical::TextProfile;
use crate::catalog::{BackendIndex, Snapshot, TokenizerFamily};
use crate::units::{BackendId, Tokens, Usd};

/// Backends that are remembered. A table has fewer that are asked; this bounds what a series of tables leaves behind.
const MOST_BACKENDS: usize = 512;
/// So many reports are needed before an estimate is corrected by them.
const USED_FROM: u32 = 8;
/// From so many reports on, every fourth teaches: it costs some thousand instructions. All are watched.
const WELL_KNOWN: u32 = 256;
/// Factors of classes, one of what a template puts around texts, and what stands beside.
const ESTIMATED: usize = CLASSES + 2;
/// The same for counts, which need no classes.
const COUNTED: usize = 2;
/// An estimate by classes is some five hundredths off, a short one more.
const ESTIMATE_NOISE: Noise = Noise { sure: 0.002, least: 0.04, short: 0.7 };
/// A count is exact but for what stands around it.
const COUNT_NOISE: Noise = Noise { sure: 0.000_1, least: 0.01, short: 0.05 };

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Input,
    Output,
}

impl Side {
    pub const ALL: [Side; 2] = [Side::Input, Side::Output];

    pub const fn word(self) -> &'static str {
        match self {
            Side::Input => "input",
            Side::Output => "output",
        }
    }
}

/// Everything that is known of reports.
#[derive(Debug, Default)]
pub struct Calibration {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    backends: HashMap<BackendId, Backend>,
    /// What backends of a family begin with, by side and the family's place.
    families: HashMap<(Side, TokenizerFamily), Fit<ESTIMATED>>,
    /// Whose places in the table are in `placed`.
    version: String,
    placed: Vec<(BackendIndex, BackendId)>,
}

#[derive(Debug)]
struct Backend {
    family: TokenizerFamily,
    /// When it was heard of last, in seconds of wall time.
    heard: u64,
    /// By side.
    estimated: [Watched<ESTIMATED>; 2],
    counted: [Watched<COUNTED>; 2],
    /// What its reports cost beyond what was expected of them since they began to leave the band.
    at_stake: Usd,
}

#[derive(Debug)]
struct Watched<const N: usize> {
    fit: Fit<N>,
    drift: Drift,
    /// Counts rows, to pick those that teach.
    turn: u8,
}

/// One side of an answer's report.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// What the text was made of.
    pub text: TextProfile,
    /// The whole estimate, what is not text included, as it is before anything learned.
    pub estimate: Tokens,
    pub reported: Tokens,
}

/// A report that can be compared: the sides that can.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub backend: &'a BackendId,
    pub family: TokenizerFamily,
    pub input: Option<Heard>,
    pub output: Option<Heard>,
    /// In seconds of wall time.
    pub at: u64,
}

/// The same where what was said was counted: the tokens counted, and those reported.
#[derive(Debug, Clone, Copy)]
pub struct CountedReport<'a> {
    pub backend: &'a BackendId,
    pub family: TokenizerFamily,
    pub input: Option<(Tokens, Tokens)>,
    pub output: Option<(Tokens, Tokens)>,
    pub at: u64,
}

/// What a report turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The backend's reports are out of their band: nothing is to be learned from this one.
    pub flagged: bool,
    /// What this one turned.
    pub turns: Vec<(Side, Turn)>,
    /// What was expected instead, of each side that was compared, where the reports are under suspicion.
    pub expected: [Option<Tokens>; 2],
}

/// One backend's own figures for one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnInput {
    pub backend: BackendIndex,
    pub expected: Tokens,
    pub upper: Tokens,
}

impl Calibration {
    /// What each backend of a table that is known, or each of those that are `wanted`, is expected to report of a prompt, and a bound
    /// on it.
    pub fn inputs(
        &self,
        text: &TextProfile,
        estimate: &Estimate,
        table: &Snapshot,
        wanted: Option<&[BackendIndex]>,
    ) -> Vec<OwnInput> {
        let mut known = self.lock();
        known.place(table);
        let Known { backends, placed, .. } = &*known;
        let own = |(index, id): &(BackendIndex, BackendId)| backends.get(id)?.input(text, estimate, *index);
        let Some(wanted) = wanted else { return placed.iter().filter_map(own).collect() };
        let at = |index: &BackendIndex| placed.binary_search_by_key(index, |(placed, _)| *placed).ok();
        wanted.iter().filter_map(at).filter_map(|found| own(&placed[found])).collect()
    }

    /// What was learned of a backend's answers, to be asked as one streams; nothing while that is too little.
    pub fn factors(&self, backend: &BackendId) -> Option<Factors> {
        let known = self.lock();
        let backend = known.backends.get(backend)?;
        let fit = &backend.estimated[Side::Output as usize].fit;
        (fit.rows() >= USED_FROM).then(|| Factors { family: backend.family, means: *fit.means() })
    }

    /// What a backend is expected to report where this many were counted, in a vocabulary that is not certainly its own.
    pub fn counted(&self, backend: &BackendId, side: Side, counted: Tokens) -> Tokens {
        let known = self.lock();
        let fit = known.backends.get(backend).map(|backend| &backend.counted[side as usize].fit);
        match fit {
            Some(fit) if fit.rows() >= USED_FROM && counted > Tokens::ZERO => {
                corrected(counted, fit.correction(&[real(counted), 1.0]))
            }
            _ => counted,
        }
    }

    /// Takes a report.
    pub fn heard(&self, report: &Report<'_>) -> Verdict {
        let mut known = self.lock();
        let known = &mut *known;
        known.make_room(report.backend);
        let families = &mut known.families;
        let is_new = known.backends.get(report.backend).is_none_or(|backend| backend.family != report.family);
        if is_new {
            known.backends.insert(report.backend.clone(), Backend::new(report.family, families));
            known.version.clear();
        }
        let Some(backend) = known.backends.get_mut(report.backend) else { return Verdict::default() };
        backend.heard = backend.heard.max(report.at);
        let mut verdict = Verdict::default();
        let rows = [report.input, report.output].map(|heard| heard.filter(|heard| heard.estimate > Tokens::ZERO));
        let rows = rows.map(|heard| heard.map(|heard| row(&heard, report.family)));
        for (side, row) in Side::ALL.into_iter().zip(&rows) {
            if let Some(row) = row {
                backend.estimated[side as usize].watch(row, ESTIMATE_NOISE, side, &mut verdict);
            }
        }
        backend.judged(&mut verdict);
        if verdict.flagged {
            return verdict;
        }
        for (side, row) in Side::ALL.into_iter().zip(&rows) {
            let watched = &mut backend.estimated[side as usize];
            let Some(row) = row.as_ref().filter(|_| watched.is_due()) else { continue };
            watched.fit.learn(row, ESTIMATE_NOISE);
            // A vocabulary that nobody knows says nothing of another one.
            let rows = watched.fit.rows();
            if report.family != TokenizerFamily::Unknown && (rows <= WELL_KNOWN / 4 || rows.is_multiple_of(8)) {
                families.entry((side, report.family)).or_insert_with(Fit::new).learn(row, ESTIMATE_NOISE);
            }
        }
        verdict
    }

    /// Takes a report of an answer that was counted, after [`Self::heard`] had it.
    pub fn heard_counted(&self, report: &CountedReport<'_>) -> Verdict {
        let mut known = self.lock();
        let mut verdict = Verdict::default();
        let of_family = |backend: &&mut Backend| backend.family == report.family;
        let Some(backend) = known.backends.get_mut(report.backend).filter(of_family) else { return verdict };
        let row = |(counted, reported): (Tokens, Tokens)| Row {
            parts: [real(counted), 1.0],
            estimate: real(counted),
            reported: real(reported),
        };
        let rows = [report.input, report.output].map(|counted| counted.filter(|(counted, _)| *counted > Tokens::ZERO).map(row));
        for (side, row) in Side::ALL.into_iter().zip(&rows) {
            if let Some(row) = row {
                backend.counted[side as usize].watch(row, COUNT_NOISE, side, &mut verdict);
                backend.acquit(row, side, &mut verdict);
            }
        }
        backend.judged(&mut verdict);
        if !verdict.flagged {
            for (watched, row) in backend.counted.iter_mut().zip(&rows) {
                if let Some(row) = row {
                    watched.fit.learn(row, COUNT_NOISE);
                }
            }
        }
        verdict
    }

    /// Takes what a report under suspicion cost beyond what was expected. Answers what is at stake in all.
    pub fn stake(&self, backend: &BackendId, more: Usd) -> Usd {
        let mut known = self.lock();
        let Some(backend) = known.backends.get_mut(backend) else { return Usd::ZERO };
        backend.at_stake += more;
        backend.at_stake
    }

    /// Forgets a backend, which begins anew where its family is; answers whether anything was known of it.
    pub fn forget(&self, backend: &BackendId) -> bool {
        self.lock().backends.remove(backend).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was learned of one backend's answers when one of them began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    family: TokenizerFamily,
    means: [f64; ESTIMATED],
}

impl Factors {
    /// What the backend is expected to report of a text that it wrote, whose estimate this is.
    pub fn of(&self, text: &TextProfile, estimate: Tokens) -> Tokens {
        corrected(estimate, fit::correction(&self.means, &with_frame(parts(text, self.family), 0.0)))
    }
}

impl Known {
    /// Finds the backends' places in a table that they were not found in yet.
    fn place(&mut self, table: &Snapshot) {
        if self.version == table.version {
            return;
        }
        let place = |(id, backend): (&BackendId, &Backend)| {
            let found = table.backend_named(id.as_str())?;
            (found.tokenizer == backend.family).then(|| (found.index, id.clone()))
        };
        self.placed = self.backends.iter().filter_map(place).collect();
        self.placed.sort_unstable();
        self.version.clone_from(&table.version);
    }

    fn make_room(&mut self, wanted: &BackendId) {
        if self.backends.len() < MOST_BACKENDS || self.backends.contains_key(wanted) {
            return;
        }
        let oldest = self.backends.iter().min_by_key(|(id, backend)| (backend.heard, *id)).map(|(id, _)| id.clone());
        oldest.map(|id| self.backends.remove(&id));
    }
}

impl Backend {
    fn new(family: TokenizerFamily, families: &HashMap<(Side, TokenizerFamily), Fit<ESTIMATED>>) -> Self {
        let estimated = Side::ALL.map(|side| {
            let fit = families.get(&(side, family)).map_or_else(Fit::new, |fit| Fit::from(fit.means()));
            Watched { fit, drift: Drift::default(), turn: 0 }
        });
        let counted = Side::ALL.map(|_| Watched { fit: Fit::new(), drift: Drift::default(), turn: 0 });
        Self { family, heard: 0, estimated, counted, at_stake: Usd::ZERO }
    }

    /// What it is expected to report of a prompt; nothing while too little is known of it.
    fn input(&self, text: &TextProfile, estimate: &Estimate, index: BackendIndex) -> Option<OwnInput> {
        let Watched { fit, drift, .. } = &self.estimated[Side::Input as usize];
        if fit.rows() < USED_FROM && drift.flagged().is_none() {
            return None;
        }
        let family = self.family;
        let (whole, plain) = (estimate.expected(family), estimate::expected(text, family));
        let frame = real(whole.saturating_sub(plain));
        let parts = parts(text, family);
        let expected = corrected(whole, fit.correction(&with_frame(parts, frame)));
        let in_text = fit.correction(&with_frame(parts, 0.0)) - fit.means()[ESTIMATED - 1];
        let own_text = corrected(plain, in_text);
        let widened = estimate::widened(text, family, own_text).max(own_text);
        // Twice what the fit expects around the text, and no less than the family's bound has there.
        let around = tokens(2.0 * real(expected.saturating_sub(own_text)));
        let beside = around.max(estimate.upper(family).saturating_sub(estimate::upper(text, family)));
        // Of a provider that reports more than it did, no less than that can be held.
        let drifted = drift.lately().max(self.counted[Side::Input as usize].drift.lately());
        let upper = estimate.upper(family).max(widened + beside).max(expected);
        let upper = upper.max(tokens(real(upper) * drifted));
        Some(OwnInput { backend: index, expected, upper })
    }

    /// Clears what estimates flagged where counts of the same texts have stayed within their band: the texts became others.
    fn acquit(&mut self, row: &Row<COUNTED>, side: Side, verdict: &mut Verdict) {
        let (estimated, counted) = (&mut self.estimated[side as usize], &self.counted[side as usize]);
        let residual = counted.fit.residual(row, COUNT_NOISE);
        let usual = counted.fit.rows() >= USUAL_ROWS && !counted.drift.is_suspected();
        if usual && residual.off.abs() <= residual.error && estimated.drift.acquit() {
            estimated.fit.widen();
            verdict.turns.push((side, Turn::Ended));
        }
    }

    /// Whether it is flagged now, and what of it there is a suspicion about.
    fn judged(&mut self, verdict: &mut Verdict) {
        let mut suspected = false;
        for side in Side::ALL {
            let drifts = [&self.estimated[side as usize].drift, &self.counted[side as usize].drift];
            verdict.flagged |= drifts.iter().any(|drift| drift.flagged().is_some());
            if drifts.iter().any(|drift| drift.is_suspected()) {
                suspected = true;
            } else {
                verdict.expected[side as usize] = None;
            }
        }
        if !suspected {
            self.at_stake = Usd::ZERO;
        }
    }
}

impl<const N: usize> Watched<N> {
    /// Whether the next row teaches.
    fn is_due(&mut self) -> bool {
        self.turn = self.turn.wrapping_add(1);
        self.fit.rows() < WELL_KNOWN || self.turn.is_multiple_of(4)
    }

    /// Looks at a row before it teaches.
    fn watch(&mut self, row: &Row<N>, noise: Noise, side: Side, verdict: &mut Verdict) {
        let residual = self.fit.residual(row, noise);
        let expected = row.estimate + self.fit.correction(&row.parts);
        let ratio = row.reported / expected.max(1.0);
        let turn = self.drift.hear(residual.off, residual.error, self.fit.rows(), ratio);
        verdict.turns.extend(turn.map(|turn| (side, turn)));
        verdict.expected[side as usize] = Some(tokens(expected));
    }
}

fn row(heard: &Heard, family: TokenizerFamily) -> Row<ESTIMATED> {
    let frame = real(heard.estimate.saturating_sub(estimate::expected(&heard.text, family)));
    let parts = with_frame(parts(&heard.text, family), frame);
    Row { parts, estimate: real(heard.estimate), reported: real(heard.reported) }
}

fn with_frame(parts: [f64; CLASSES], frame: f64) -> [f64; ESTIMATED] {
    let mut with = [1.0; ESTIMATED];
    with[..CLASSES].copy_from_slice(&parts);
    with[CLASSES] = frame;
    with
}

/// At least one token is left of what has any.
fn corrected(estimate: Tokens, correction: f64) -> Tokens {
    if estimate == Tokens::ZERO { estimate } else { tokens(real(estimate) + correction).max(Tokens::new(1)) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below what a float tells exactly")]
const fn real(tokens: Tokens) -> f64 {
    tokens.get() as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's conversion saturates, below at none")]
fn tokens(count: f64) -> Tokens {
    Tokens::new(count.round() as u64)
}

#[cfg(test)]
mod tests;
