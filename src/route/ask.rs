//! What routing asks of a request: its needs and its wishes without its bytes. A small value of its own, so that a
//! decision can be made again when the request itself, which is kept nowhere, is long gone.

use crate::canonical::{DataRules, Features, Manner, Parameters, Preference, QualityTier, ReasoningWish, Request, Shape};
use crate::catalog::BackendIndex;
use crate::units::{ImageWish, Pieces, Tokens, Usd};

/// A request as far as a decision depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Ask {
    /// The shape that the answer has to have.
    pub shape: Shape,
    /// It may be said in other shapes too, and the answer told in this one.
    pub translated: bool,
    /// How long the vectors of the answer are to be.
    pub dimensions: Option<u32>,
    /// What is billed by the piece where a price goes by it.
    pub pieces: Pieces,
    /// Which images are wished, where any are.
    pub image: ImageWish,
    /// Everything a backend must be able to do.
    pub features: Features,
    /// Its answer is to keep to a schema that no object can keep to: then it cannot be asked for by hand.
    pub no_object: bool,
    /// Backends that would be asked in other words than the client's, and without something that must not be left out: by their
    /// indexes, each with its parameters that these words lack, none where it is something else.
    pub unsaid: Vec<(BackendIndex, Parameters)>,
    /// It may be asked in other words than the client's only: in its own it has something that makes it cost what nobody can tell
    /// beforehand, which is left out in others, and its money is bounded.
    pub other_words_only: bool,
    /// What the client says about thinking.
    pub reasoning: ReasoningWish,
    /// The client's bound on each choice, after the key's own.
    pub output_bound: Option<Tokens>,
    /// Choices wanted, at least one.
    pub choices: u32,
    /// The prompt is mostly Chinese.
    pub chinese: bool,
    /// The floor under the quality that the client wishes.
    pub quality: Option<QualityTier>,
    /// What the client wants to spend at most.
    pub max_cost: Option<Usd>,
    /// How many to ask at once.
    pub race: Option<u8>,
    /// Only in these regions; empty means any.
    pub regions: Vec<String>,
    /// Only these providers; empty means any.
    pub providers: Vec<String>,
    /// Not these providers.
    pub excluded_providers: Vec<String>,
    /// Only under these laws; empty means any.
    pub jurisdictions: Vec<String>,
    /// The most that a million tokens may cost.
    pub max_price: Option<Usd>,
    /// What may become of the data.
    pub data: DataRules,
    /// What matters among adequate backends: the request's own word, else that of its alias.
    pub prefer: Option<Preference>,
    /// The answer must have begun within this many milliseconds.
    pub deadline_ms: Option<u64>,
    /// More requests of the same conversation are expected.
    pub session: bool,
    /// The answer is wanted as a stream.
    pub stream: bool,
}

impl Ask {
    /// What decides to which endpoint of a provider it is sent.
    pub const fn manner(&self) -> Manner {
        Manner::of(self.shape, self.features, self.reasoning)
    }

    /// Takes from a request what a decision depends on.
    pub fn of(request: &Request) -> Self {
        let wishes = &request.wishes;
        Self {
            shape: request.shape,
            translated: false,
            dimensions: request.dimensions,
            pieces: request.pieces,
            image: request.image,
            features: request.features,
            no_object: request.no_object,
            unsaid: Vec::new(),
            other_words_only: false,
            reasoning: request.reasoning,
            output_bound: request.output_bound,
            choices: request.choices.max(1),
            // Languages and quality are of models that write.
            chinese: request.shape.direct().is_none() && request.text.is_mostly_han(),
            quality: wishes.quality,
            max_cost: wishes.max_cost,
            race: wishes.race,
            regions: wishes.regions.clone(),
            providers: wishes.providers.clone(),
            excluded_providers: wishes.excluded_providers.clone(),
            jurisdictions: wishes.jurisdictions.clone(),
            max_price: wishes.max_price,
            data: wishes.data,
            prefer: wishes.prefer,
            deadline_ms: wishes.deadline_ms,
            session: wishes.session.is_some(),
            stream: request.stream,
        }
    }
}
