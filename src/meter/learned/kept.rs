//! What is kept of a class between two lives of the gateway, in a form that can be read in a file. Reading is total: what
//! is no class, no sketch or too much is refused or left out, and never believed.

use serde::{Deserialize, Serialize};

use super::super::shape::Class;
use super::super::sketch::Sketch;
use super::Lengths;

/// One class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLengths {
    /// The place of the class among all.
    pub class: usize,
    plain: KeptSketch,
    thinking: KeptSketch,
    models: Vec<KeptModel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptModel {
    model: String,
    heard: u64,
    sketch: KeptSketch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSketch {
    faded: u64,
    output: u64,
    reasoning: u64,
    /// Bucket and weight.
    weights: Vec<(usize, u16)>,
}

impl Lengths {
    /// What is to be kept; `None` where nothing was learned.
    pub fn kept(&self) -> Option<KeptLengths> {
        let mut models: Vec<KeptModel> = self
            .models
            .iter()
            .map(|(name, one)| KeptModel { model: name.clone(), heard: one.heard, sketch: kept(&one.sketch) })
            .collect();
        models.sort_unstable_by(|a, b| a.model.cmp(&b.model));
        let [plain, thinking] = [kept(&self.kinds[0].sketch), kept(&self.kinds[1].sketch)];
        (!models.is_empty()).then_some(KeptLengths { class: self.class.place(), plain, thinking, models })
    }

    /// Makes again what was kept; `None` where that is no class.
    pub fn restored(kept: &KeptLengths) -> Option<Self> {
        let mut lengths = Self::new(Class::at(kept.class)?);
        lengths.kinds = [super::Model::of(sketch(&kept.plain)?), super::Model::of(sketch(&kept.thinking)?)];
        for one in kept.models.iter().take(super::MOST_MODELS) {
            lengths.models.insert(one.model.clone(), super::Model { heard: one.heard, ..super::Model::of(sketch(&one.sketch)?) });
        }
        Some(lengths)
    }
}

fn kept(sketch: &Sketch) -> KeptSketch {
    let (faded, output, reasoning, weights) = sketch.parts();
    KeptSketch { faded, output, reasoning, weights: weights.collect() }
}

fn sketch(kept: &KeptSketch) -> Option<Sketch> {
    Sketch::from_parts(kept.faded, kept.output, kept.reasoning, &kept.weights)
}
