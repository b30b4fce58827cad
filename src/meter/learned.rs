//! How long answers have been, by model and class of request: what a quote's output rests on.
//!
//! Each level stands on the one above it with the weight of eight answers: a model in a class on all models of its kind
//! (thinking or not) in that class, those on the constants of [`super::forecast`]. A new model is therefore expected to
//! write as others do, and what it writes itself soon counts more. Whoever serves a model writes with it, so providers
//! share its figures.
//!
//! Taught by whole answers alone. One cut by its client or by a failure says nothing; one that ended at a bound says that
//! it would have been longer ([`Sketch::add_cut`]). What this holds is bounded: so many models a class, the one that was
//! not heard of for the longest time goes first.

mod kept;

pub use self::kept::KeptLengths;
use foldhash::HashMap;

use super::forecast::priors;
use super::shape::Class;
use super::sketch::{Expected, Prior, Sketch, Stretch};
use crate::units::Tokens;

/// Models of one class. A table has fewer; this bounds what a series of tables leaves behind.
const MOST_MODELS: usize = 256;
/// A model's figures are kept so long at most, so that what fades is seen to fade.
const FRESH_SECONDS: u64 = 6 * 3600;

/// The answers of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    class: Class,
    /// All models together: those that did not think, and those that did.
    kinds: [Model; 2],
    models: HashMap<String, Model>,
}

/// What is known of one model, or of all of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    sketch: Sketch,
    /// When it was heard of last, in seconds of wall time.
    heard: u64,
    /// By whether it thinks: what was worked out last.
    figures: [Option<Figures>; 2],
}

/// Figures at hand, so that a request does not work them out anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    whole: Expected,
    /// What they rest on.
    prior: Prior,
    /// The same under the bound that was asked for last.
    bounded: Option<(Tokens, Expected)>,
    /// Until when they hold.
    until: u64,
    /// What the sketch weighed when they were worked out.
    weight: u32,
}

/// What is asked of a forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// On each choice.
    pub bound: Option<Tokens>,
    pub choices: u32,
    /// In seconds of wall time.
    pub at: u64,
}

/// What is known of one model, to be asked for what it is asked to answer. By whether it thinks on the request.
#[derive(Debug)]
pub struct Known<'l> {
    model: &'l mut Model,
    priors: [Prior; 2],
    asking: &'l Asking,
}

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The model's common name.
    pub model: &'a str,
    /// The model was expected to think on this request.
    pub thinks: bool,
    /// Tokens of all choices.
    pub output: Tokens,
    /// Those of them that were reasoning.
    pub reasoning: Tokens,
    pub choices: u32,
    /// The bound on each choice at which it was cut.
    pub cut_at: Option<Tokens>,
}

impl Lengths {
    /// One for each class, in their order; nothing is known yet.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Class::COUNT).filter_map(Class::at).map(Self::new)
    }

    pub fn new(class: Class) -> Self {
        Self { class, kinds: Default::default(), models: HashMap::default() }
    }

    /// What to expect of a model that nothing is known of, all choices together: one that does not think on the request,
    /// and one that does.
    pub fn forecast(&mut self, asking: &Asking) -> [Expected; 2] {
        let priors = priors(self.class);
        [false, true].map(|thinks| {
            let kind = usize::from(thinks);
            asking.all(self.kinds[kind].expected(thinks, priors[kind], asking))
        })
    }

    /// Calls `told` with each model of which something is known, and with what is.
    pub fn each(&mut self, asking: &Asking, wanted: impl Fn(&str) -> bool, mut told: impl FnMut(&str, &mut Known<'_>)) {
        if self.models.is_empty() {
            return;
        }
        let priors = self.model_priors(asking.at);
        for (name, model) in self.models.iter_mut().filter(|(name, _)| wanted(name)) {
            told(name, &mut Known { model, priors, asking });
        }
    }

    /// Takes an answer.
    pub fn learn(&mut self, answer: &Answer<'_>, at: u64) {
        let kind = usize::from(answer.thinks);
        let prior = self.model_priors(at)[kind];
        if !self.models.contains_key(answer.model) {
            self.make_room();
        }
        self.models.entry(answer.model.to_owned()).or_default().learn(answer, prior, at);
        self.kinds[kind].learn(answer, priors(self.class)[kind], at);
    }

    /// What a model's own figures rest on: those of all models of its kind.
    fn model_priors(&mut self, at: u64) -> [Prior; 2] {
        let unbounded = Asking { bound: None, choices: 1, at };
        self.forecast(&unbounded).map(|Expected { mean, reasoning, .. }| Prior { mean, reasoning })
    }

    fn make_room(&mut self) {
        if self.models.len() < MOST_MODELS {
            return;
        }
        let oldest = self.models.iter().min_by_key(|(name, model)| (model.heard, *name)).map(|(name, _)| name.clone());
        oldest.map(|name| self.models.remove(&name));
    }
}

impl Known<'_> {
    /// What to expect of the answer, all choices together.
    pub fn expected(&mut self, thinks: bool) -> Expected {
        self.asking.all(self.model.expected(thinks, self.priors[usize::from(thinks)], self.asking))
    }

    /// How answers spread over the stretches between borders (rising; each the last length of what is shorter), all choices
    /// together, which are taken to be equally long. Empty where all answers are of one stretch.
    pub fn spread(&self, thinks: bool, borders: &[Tokens]) -> Vec<Stretch> {
        let choices = u64::from(self.asking.choices.max(1));
        let borders: Vec<Tokens> = borders.iter().map(|border| Tokens::new(border.get() / choices)).collect();
        let one = self.model.sketch.spread(self.priors[usize::from(thinks)], self.asking.each(), &borders);
        let all = |stretch: Stretch| Stretch { mean: Tokens::new(stretch.mean.get().saturating_mul(choices)), ..stretch };
        one.into_iter().map(all).collect()
    }
}

impl Model {
    fn of(sketch: Sketch) -> Self {
        Self { sketch, ..Self::default() }
    }

    fn learn(&mut self, answer: &Answer<'_>, prior: Prior, at: u64) {
        answer.teach(&mut self.sketch, prior, at);
        self.heard = self.heard.max(at);
    }

    fn expected(&mut self, thinks: bool, prior: Prior, asking: &Asking) -> Expected {
        let Self { sketch, figures, .. } = self;
        let kept = &mut figures[usize::from(thinks)];
        let figures = match kept {
            Some(figures) if asking.at < figures.until && figures.stand(sketch.weight()) => figures,
            _ => kept.insert(Figures {
                whole: sketch.expected(prior, None, asking.at),
                prior,
                bounded: None,
                until: asking.at + FRESH_SECONDS,
                weight: sketch.weight(),
            }),
        };
        let Some(bound) = asking.each() else { return figures.whole };
        match figures.bounded {
            Some((before, expected)) if before == bound => expected,
            _ => {
                let expected = sketch.bounded(figures.whole, figures.prior, bound);
                figures.bounded = Some((bound, expected));
                expected
            }
        }
    }
}

impl Figures {
    /// Whether they may stand for a sketch of such weight: one answer in sixty-four does not move them enough to be worked out
    /// anew, which takes longer than all the rest of a decision about one model.
    const fn stand(&self, weight: u32) -> bool {
        match weight.checked_sub(self.weight) {
            Some(more) => more as u64 * 64 <= self.weight as u64,
            None => false,
        }
    }
}

impl Asking {
    /// The bound on each choice. One below one token still lets one be billed.
    fn each(&self) -> Option<Tokens> {
        self.bound.map(|bound| bound.max(Tokens::new(1)))
    }

    /// All choices of what is expected of one.
    fn all(&self, one: Expected) -> Expected {
        let times = |tokens: Tokens| Tokens::new(tokens.get().saturating_mul(u64::from(self.choices.max(1))));
        Expected { mean: times(one.mean), reasoning: times(one.reasoning), p50: times(one.p50), p90: times(one.p90) }
    }
}

impl Answer<'_> {
    fn teach(&self, sketch: &mut Sketch, prior: Prior, at: u64) {
        let one = |tokens: Tokens| Tokens::new(tokens.get().div_ceil(u64::from(self.choices.max(1))));
        match self.cut_at {
            // What a report counts beyond the bound was written all the same.
            Some(bound) => sketch.add_cut(bound.max(one(self.output)), prior, at),
            None => sketch.add(one(self.output), one(self.reasoning), at),
        }
    }
}

#[cfg(test)]
#[path = "learned/tests.rs"]
mod tests;
