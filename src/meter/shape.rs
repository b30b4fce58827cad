//! The class of a request, as far as it says how long an answer will be: what form the answer must have, what was said
//! about thinking, how long the prompt is, whether it is Chinese. All of it is there before anybody is asked.
//!
//! Few classes on purpose: each has to see some dozens of answers of a model before it knows more than its prior.

use crate::canonical::{Feature, ReasoningWish, Request};

/// What an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A tool call.
    ForcedTool,
    /// Tool calls or prose.
    Tools,
    /// JSON.
    Json,
    /// Free.
    Chat,
}

/// Bytes of text from which a prompt is of the next size: about 2,000 and 16,000 tokens.
const SIZES: [u64; 2] = [8_000, 64_000];

/// One class of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    pub form: Form,
    pub reasoning: ReasoningWish,
    /// How many of [`SIZES`] the prompt reaches.
    size: u8,
    chinese: bool,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4 * 3 * (SIZES.len() + 1) * 2;

    /// The class of a request. Any tool offered outweighs a format: the format applies to the last turn only.
    pub fn of(request: &Request) -> Self {
        let has = |feature| request.features.contains(feature);
        let form = match () {
            () if has(Feature::ForcedTool) => Form::ForcedTool,
            () if has(Feature::Tools) => Form::Tools,
            () if has(Feature::JsonSchema) || has(Feature::JsonObject) => Form::Json,
            () => Form::Chat,
        };
        let bytes = request.text.bytes();
        let size = SIZES.iter().fold(0, |size, least| size + u8::from(bytes >= *least));
        Self { form, reasoning: request.reasoning, size, chinese: request.text.is_mostly_han() }
    }

    /// Its place among all, below [`Class::COUNT`].
    pub fn place(self) -> usize {
        let parts = [
            (self.form as usize, 4),
            (self.reasoning as usize, 3),
            (usize::from(self.size), SIZES.len() + 1),
            (usize::from(self.chinese), 2),
        ];
        parts.iter().fold(0, |place, (part, of)| place * of + part)
    }

    /// The class at a place.
    pub(super) fn at(place: usize) -> Option<Self> {
        const FORMS: [Form; 4] = [Form::ForcedTool, Form::Tools, Form::Json, Form::Chat];
        const WISHES: [ReasoningWish; 3] = [ReasoningWish::Unsaid, ReasoningWish::Off, ReasoningWish::On];
        let (rest, chinese) = (place / 2, place % 2 == 1);
        let (rest, size) = (rest / (SIZES.len() + 1), rest % (SIZES.len() + 1));
        let (form, reasoning) = (*FORMS.get(rest / 3)?, WISHES[rest % 3]);
        Some(Self { form, reasoning, size: u8::try_from(size).ok()?, chinese })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;
    use crate::canonical::Features;

    fn check(features: &[Feature], text: &str, form: Form, size: u8, chinese: bool) {
        let mut asked = request(text, 1);
        asked.features = features.iter().copied().collect::<Features>();
        let expected = Class { form, reasoning: ReasoningWish::Unsaid, size, chinese };
        assert_eq!(Class::of(&asked), expected, "{features:?} {} bytes", text.len());
    }

    #[test]
    fn a_request_has_the_class_of_its_shape() {
        check(&[], "what?", Form::Chat, 0, false);
        check(&[Feature::Tools, Feature::ForcedTool], "what?", Form::ForcedTool, 0, false);
        check(&[Feature::Tools, Feature::JsonSchema], &"a ".repeat(4_000), Form::Tools, 1, false);
        check(&[Feature::JsonObject], &"通货膨胀".repeat(6_000), Form::Json, 2, true);
    }

    #[test]
    fn each_class_has_a_place_of_its_own() {
        for place in 0..Class::COUNT {
            assert_eq!(Class::at(place).map(Class::place), Some(place));
        }
        assert_eq!(Class::at(Class::COUNT), None);
    }
}
