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
    /// OpenAI's Responses: clients ask in it, and no provider is asked in it yet.
    OpenAiResponses,
    /// Gemini's `generateContent`: only providers speak it, no client asks in it.
    GeminiGenerate,
}

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::OpenAiResponses, Shape::GeminiGenerate];

    /// Those that clients ask in.
    pub const CLIENTS: [Shape; 3] = [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::OpenAiResponses];

    /// Those that a provider may have an endpoint for.
    pub const ENDPOINTS: [Shape; 3] = [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::GeminiGenerate];

    /// Those that say most first: thinking, its seals and marks of the cache have words of their own in the first, and none in
    /// the last.
    const BY_WORDS: [Shape; 3] = [Shape::AnthropicMessages, Shape::GeminiGenerate, Shape::OpenAiChat];

    /// Whether an endpoint of it refuses a seal that another made.
    pub const fn checks_seals(self) -> bool {
        matches!(self, Shape::AnthropicMessages | Shape::GeminiGenerate)
    }

    /// The word in the table (`dialect = "openai-chat"`) and in reasons.
    pub const fn word(self) -> &'static str {
        match self {
            Shape::OpenAiChat => "openai-chat",
            Shape::AnthropicMessages => "anthropic-messages",
            Shape::OpenAiResponses => "openai-responses",
            Shape::GeminiGenerate => "gemini-generate-content",
        }
    }

    /// The shape of endpoints with this word.
    pub fn of_endpoint(word: &str) -> Option<Self> {
        Self::ENDPOINTS.into_iter().find(|shape| shape.word() == word)
    }
}

/// What decides to which endpoint of a provider a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Manner {
    /// The shape that it is in.
    pub shape: Shape,
    /// Its answer is to have a form other than text.
    pub formatted: bool,
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

    #[must_use]
    pub const fn without(self, shape: Shape) -> Self {
        Self(self.0 & !(1 << shape as u8))
    }

    pub const fn contains(self, shape: Shape) -> bool {
        self.0 & 1 << shape as u8 != 0
    }

    /// Of endpoints of these shapes the one that a request of a shape is sent to: its own, where its bytes pass as they are,
    /// else the one whose words lose least.
    pub fn serving(self, shape: Shape) -> Option<Shape> {
        [shape].into_iter().chain(Shape::BY_WORDS).find(|shape| self.contains(*shape))
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
            let only: Shapes = [shape].into_iter().collect();
            assert!(Shape::ALL.into_iter().all(|other| only.contains(other) == (other == shape)));
        }
        let all: Shapes = Shape::ENDPOINTS.into_iter().collect();
        for shape in Shape::ENDPOINTS {
            let only: Shapes = [shape].into_iter().collect();
            assert_eq!((all.serving(shape), Shape::of_endpoint(shape.word())), (Some(shape), Some(shape)));
            assert!(Shape::CLIENTS.into_iter().all(|asked| only.serving(asked) == Some(shape)));
        }
        assert_eq!(all.serving(Shape::OpenAiResponses), Some(Shape::AnthropicMessages));
        assert_eq!(Shape::of_endpoint(Shape::OpenAiResponses.word()), None);
        assert_eq!(Shapes::default().serving(Shape::OpenAiChat), None);
        assert_eq!(Shape::of_endpoint("openai_chat"), None);
    }
}
