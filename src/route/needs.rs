//! What a request requires of a backend, once all who may say so have been heard: the request itself, its wishes, its
//! key's limits and the operator's settings. Of two rules for one thing the stricter wins. Lists of providers and
//! regions stay where they are: two lists cannot be merged into one without losing which of them was empty.

use super::ask::Ask;
use super::facts::Facts;
use super::target::Target;
use crate::canonical::{DataRules, Feature, Features, Preference, QualityTier, ReasoningWish, Shape};
use crate::units::{ImageWish, Pieces, Tokens, Usd};

/// What a backend must offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Needs {
    /// The shape that its provider must have an endpoint for.
    pub shape: Shape,
    /// An endpoint for any other shape of conversations will do too.
    pub translated: bool,
    /// A schema may be asked for by hand; otherwise why not.
    pub by_hand: Result<(), NotByHand>,
    /// Each input is read by itself, so that no window bounds all of them: whether each fits is the provider's to say.
    pub apart: bool,
    /// How long vectors it must be able to make.
    pub dimensions: Option<u32>,
    /// What is billed by the piece.
    pub pieces: Pieces,
    /// Which images are wished, where a price goes by that.
    pub image: ImageWish,
    /// Its answer is images, sound or what was heard, whose tokens the model bounds and no request does.
    pub media: bool,
    /// What it takes is sound: as many tokens as the model takes at most.
    pub sound: bool,
    /// Everything it must be able to do.
    pub features: Features,
    /// What it must do about thinking.
    pub reasoning: ReasoningWish,
    /// Thinking is asked for, and only who thinks will do. Whoever names a model has it as it is, and is told that it does not think.
    pub thinks: bool,
    /// The client's bound on each choice.
    pub output_bound: Option<Tokens>,
    /// Choices wanted, at least one.
    pub choices: u64,
    /// The prompt is mostly Chinese.
    pub chinese: bool,
    /// The floor under its quality.
    pub quality: QualityTier,
    /// What the whole request may cost at its worst.
    pub max_cost: Option<Usd>,
    /// How many to ask at once; 1 is no race.
    pub race: usize,
    /// What a million tokens may be expected to cost.
    pub max_price: Option<Usd>,
    /// What may become of the data.
    pub data: DataRules,
    /// What matters among adequate backends.
    pub prefer: Preference,
}

impl Needs {
    /// Collects them from everyone who has a say.
    pub fn of(facts: &Facts<'_>) -> Self {
        let ask = facts.ask;
        Self {
            shape: ask.shape,
            translated: ask.translated,
            by_hand: NotByHand::of(ask),
            apart: ask.shape.direct().is_some(),
            dimensions: ask.dimensions,
            pieces: ask.pieces,
            image: ask.image,
            media: ask.shape.is_media(),
            sound: ask.shape == Shape::OpenAiTranscriptions,
            features: ask.features,
            reasoning: ask.reasoning,
            thinks: ask.reasoning == ReasoningWish::On && matches!(facts.target, Target::Auto(_)),
            output_bound: ask.output_bound,
            choices: u64::from(ask.choices.max(1)),
            chinese: ask.chinese,
            quality: quality_floor(facts),
            max_cost: [ask.max_cost, facts.limits.max_cost].into_iter().flatten().min(),
            race: ask.race.map_or(1, usize::from).max(1),
            max_price: [ask.max_price, facts.limits.max_price].into_iter().flatten().min(),
            data: ask.data.and(facts.limits.data_rules()),
            prefer: ask.prefer.or(facts.limits.prefer).unwrap_or_default(),
        }
    }
}

/// Why a request for a schema cannot be made by hand (`schema_by` in the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotByHand {
    /// More than one choice is wanted: each would have to be read, and one cannot be asked for again.
    ManyChoices,
    /// Probabilities are of the tokens of the answer, and by hand these are not what the client is told.
    Logprobs,
    /// The schema is of something that is no object: neither a tool's arguments nor the mode for JSON are anything else.
    NoObject,
    /// The request can be said in the client's own words alone, and by hand it is written in ours.
    OwnWords,
}

impl NotByHand {
    /// What keeps a request from it, where it wants a schema at all.
    fn of(ask: &Ask) -> Result<(), Self> {
        let wants = |feature| ask.features.contains(feature);
        match () {
            () if !wants(Feature::JsonSchema) => Ok(()),
            () if wants(Feature::ManyChoices) => Err(Self::ManyChoices),
            () if wants(Feature::Logprobs) => Err(Self::Logprobs),
            () if ask.no_object => Err(Self::NoObject),
            () if !ask.translated => Err(Self::OwnWords),
            () => Ok(()),
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            NotByHand::ManyChoices => "many_choices",
            NotByHand::Logprobs => "logprobs",
            NotByHand::NoObject => "a schema of no object",
            NotByHand::OwnWords => "a request that cannot be said in other words",
        }
    }
}

impl Needs {
    /// The tokens of all choices, each of which has so many.
    pub fn all_choices(&self, tokens: Tokens) -> Tokens {
        Tokens::new(tokens.get().saturating_mul(self.choices))
    }
}

/// The highest floor anyone asks for. The operator's default speaks only where nobody else does and the client left the
/// choice to us: whoever names a model has chosen its quality.
fn quality_floor(facts: &Facts<'_>) -> QualityTier {
    // No figure tells how good vectors are.
    if facts.ask.shape.direct().is_some() {
        return QualityTier::Economy;
    }
    let (named, fallback) = match facts.target {
        Target::Auto(tier) => (*tier, facts.settings.default_quality),
        Target::Model(_) | Target::Backend(_) => (None, QualityTier::Economy),
    };
    [named, facts.ask.quality, facts.limits.quality].into_iter().flatten().max().unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use super::*;
    use crate::canonical::TextProfile;

    fn check(change: impl FnOnce(&mut Case), expected: impl FnOnce(&mut Needs)) {
        let mut case = Case::default();
        let mut wanted = case.with_facts(Needs::of);
        change(&mut case);
        expected(&mut wanted);
        assert_eq!(case.with_facts(Needs::of), wanted);
    }

    #[test]
    fn the_stricter_rule_wins() {
        let cents = |n: i128| Some(Usd::from_pico(n * 10_000_000_000));
        check(|c| (c.limits.max_cost, c.request.wishes.max_cost) = (cents(3), cents(2)), |n| n.max_cost = cents(2));
        check(|c| c.limits.max_cost = cents(3), |n| n.max_cost = cents(3));
        check(
            |c| (c.limits.quality, c.request.wishes.quality) = (Some(QualityTier::Standard), Some(QualityTier::Premium)),
            |n| n.quality = QualityTier::Premium,
        );
        check(
            |c| {
                c.target = "auto:premium".into();
                c.request.wishes.quality = Some(QualityTier::Economy);
            },
            |n| n.quality = QualityTier::Premium,
        );
    }

    #[test]
    fn the_default_floor_speaks_only_where_nobody_else_does() {
        let standard = |c: &mut Case| c.settings.default_quality = QualityTier::Standard;
        check(standard, |n| n.quality = QualityTier::Standard);
        check(
            |c| {
                standard(c);
                c.target = "auto:economy".into();
            },
            |n| n.quality = QualityTier::Economy,
        );
        check(
            |c| {
                standard(c);
                c.target = c.specs[0].model.clone();
            },
            |n| n.quality = QualityTier::Economy,
        );
    }

    #[test]
    fn a_request_can_narrow_what_its_key_allows_and_not_widen_it() {
        check(|c| c.request.wishes.data.no_training = true, |n| n.data.no_training = true);
        check(|c| c.limits.may_train = false, |n| n.data.no_training = true);
        check(|c| c.limits.registered = true, |n| n.data.registered = true);
        let days = |key, request| {
            move |c: &mut Case| (c.limits.max_retention_days, c.request.wishes.data.max_retention_days) = (key, request)
        };
        check(days(Some(0), Some(30)), |n| n.data.max_retention_days = Some(0));
        check(days(Some(30), Some(7)), |n| n.data.max_retention_days = Some(7));
        check(days(None, Some(7)), |n| n.data.max_retention_days = Some(7));
    }

    #[test]
    fn a_preference_is_the_requests_then_the_keys() {
        let both = |key, request| move |c: &mut Case| (c.limits.prefer, c.request.wishes.prefer) = (key, request);
        check(both(Some(Preference::Fastest), Some(Preference::Balanced)), |n| n.prefer = Preference::Balanced);
        check(both(Some(Preference::Fastest), None), |n| n.prefer = Preference::Fastest);
        check(both(None, None), |n| n.prefer = Preference::Cheapest);
    }

    #[test]
    fn chinese_is_told_from_japanese_and_from_code_with_comments() {
        let says = |text: &str, chinese| {
            check(|c| c.request.text = TextProfile::of(text), |n| n.chinese = chinese);
        };
        says("请用三句话解释什么是通货膨胀。", true);
        says("この文章を日本語で要約してください。", false);
        says("fn main() { println!(\"x\"); } // 打印", false);
        says("", false);
    }
}
