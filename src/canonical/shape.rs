//! The shapes of conversation that both sides know: a client asks in one of them, and a provider has an endpoint for it or
//! has none. What stands on the wire is the frontends' and the dialects' to know; here a shape is a name.

/// The shape of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Shape {
    /// OpenAI's Chat Completions.
    #[default]
    OpenAiChat,
    /// Anthropic's Messages.
    AnthropicMessages,
}

impl Shape {
    pub const ALL: [Shape; 2] = [Shape::OpenAiChat, Shape::AnthropicMessages];

    /// The word in the table (`dialect = "openai-chat"`) and in reasons.
    pub const fn word(self) -> &'static str {
        match self {
            Shape::OpenAiChat => "openai-chat",
            Shape::AnthropicMessages => "anthropic-messages",
        }
    }

    /// The shape with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.word() == word)
    }
}

/// A set of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shapes(u8);

impl Shapes {
    #[must_use]
    pub const fn with(self, shape: Shape) -> Self {
        Self(self.0 | 1 << shape as u8)
    }

    /// A bit for each, by the discriminant.
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn contains(self, shape: Shape) -> bool {
        self.0 & 1 << shape as u8 != 0
    }
}

impl FromIterator<Shape> for Shapes {
    fn from_iter<I: IntoIterator<Item = Shape>>(shapes: I) -> Self {
        shapes.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_shapes_and_sets_hold_what_was_put_in() {
        for shape in Shape::ALL {
            assert_eq!(Shape::from_word(shape.word()), Some(shape));
            let only: Shapes = [shape].into_iter().collect();
            assert!(Shape::ALL.into_iter().all(|other| only.contains(other) == (other == shape)));
        }
        assert_eq!(Shape::from_word("openai_chat"), None);
    }
}
