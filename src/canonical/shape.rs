//! The shapes of API that both sides know: a client asks in one of them, and a provider has an endpoint for it or has none.
//! What stands on the wire is the frontends' and the dialects' to know; here a shape is a name.
//!
//! Conversations are told in each other's shapes. What is none (vectors of texts, a text written on) has one shape for everybody, and what there
//! is to know of it is a row: [`Direct`].

use super::request::{Feature, Features, ReasoningWish};
use crate::units::Piece;

/// The shape of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Shape {
    /// OpenAI's Chat Completions.
    #[default]
    OpenAiChat,
    /// Anthropic's Messages.
    AnthropicMessages,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Gemini's `generateContent`: only providers speak it, no client asks in it.
    GeminiGenerate,
    /// OpenAI's Embeddings.
    OpenAiEmbeddings,
    /// Converse of Amazon's Bedrock: only providers speak it.
    BedrockConverse,
    /// OpenAI's Completions: a text that is written on.
    OpenAiCompletions,
    /// Documents in the order in which they fit a query, in the words that Cohere, Jina and `SiliconFlow` share.
    Rerank,
    /// OpenAI's Images: images of a prompt.
    OpenAiImages,
    /// OpenAI's Speech: a text spoken.
    OpenAiSpeech,
    /// OpenAI's Transcriptions: sound written down.
    OpenAiTranscriptions,
}

/// An API that is no conversation: client and provider speak it alike, so bytes pass as they are but for the model, and nothing
/// is told in other words. A row says what is particular to it; frontend, dialect and table read the row.
#[derive(Debug, PartialEq, Eq)]
pub struct Direct {
    pub shape: Shape,
    /// The word in the table (`serves = "embeddings"`).
    pub word: &'static str,
    /// What its frontend is called in the books.
    pub booked: &'static str,
    /// What is appended to a provider's address of OpenAI's shape.
    pub path: &'static str,
    /// The member whose texts are billed,
    pub input: &'static str,
    /// and what it may hold.
    pub takes: Takes,
    /// What may be billed by the piece.
    pub piece: Option<Piece>,
    /// Every member that is acted on, beside the model and the wishes. Of others only the bytes pass.
    pub members: &'static [&'static str],
    /// What its answers are.
    pub answer: Yields,
    /// What of its answers has tokens.
    pub writes: Writes,
    /// Why no model stands for another there.
    pub own_model: &'static str,
}

/// What a member may hold whose texts are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Texts or tokens, one or many.
    TextsOrTokens,
    /// A list of texts, or of objects with texts in them.
    Documents,
    /// One text.
    Text,
    /// A file of sound, in a form beside the other members.
    Sound,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    /// An object with a list of this name.
    List(&'static str),
    /// Sound.
    Sound,
    /// A text, by itself or in an object.
    Transcript,
}

/// What of an answer has tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    Nothing,
    /// A text that a model writes: its tokens are bounded by the request and billed, and it may come as a stream.
    Text,
    /// Images, sound or what was heard: some hosts bill tokens of it, and no request bounds them, but the model does.
    Media,
}

impl Direct {
    /// Embeddings: `dialects.md` section 1.5, 2026-11-22. Completions: the reference of OpenAI's API, `POST /completions` (openapi.yaml
    /// of openai/openai-openapi, stored copy). Rerank: docs.cohere.com/reference/rerank, jina.ai/reranker, api-docs.siliconflow.cn
    /// (stored copies). Images, speech and transcriptions: openapi.yaml as above.
    pub const ALL: &[Direct] = &[
        Direct {
            shape: Shape::OpenAiEmbeddings,
            word: "embeddings",
            booked: "openai_embeddings",
            path: "/embeddings",
            input: "input",
            takes: Takes::TextsOrTokens,
            piece: None,
            members: &["input", "dimensions", "encoding_format"],
            answer: Yields::List("data"),
            writes: Writes::Nothing,
            own_model: "vectors of two models cannot be compared",
        },
        Direct {
            shape: Shape::OpenAiCompletions,
            word: "completions",
            booked: "openai_completions",
            path: "/completions",
            input: "prompt",
            takes: Takes::TextsOrTokens,
            piece: None,
            members: &["prompt", "suffix", "max_tokens", "n", "best_of", "stream", "stream_options", "service_tier"],
            answer: Yields::List("choices"),
            writes: Writes::Text,
            own_model: "a model that writes a text on is no other's equal",
        },
        Direct {
            shape: Shape::Rerank,
            word: "rerank",
            booked: "rerank",
            path: "/rerank",
            input: "documents",
            takes: Takes::Documents,
            piece: Some(Piece::Search),
            members: &["query", "documents"],
            answer: Yields::List("results"),
            writes: Writes::Nothing,
            own_model: "the scores of two models cannot be compared",
        },
        Direct {
            shape: Shape::OpenAiImages,
            word: "images",
            booked: "openai_images",
            path: "/images/generations",
            input: "prompt",
            takes: Takes::Text,
            piece: Some(Piece::Image),
            members: &["prompt", "n", "size", "quality", "stream", "partial_images"],
            answer: Yields::List("data"),
            writes: Writes::Media,
            own_model: "no model draws as another does",
        },
        Direct {
            shape: Shape::OpenAiSpeech,
            word: "speech",
            booked: "openai_speech",
            path: "/audio/speech",
            input: "input",
            takes: Takes::Text,
            piece: Some(Piece::Character),
            members: &["input", "instructions"],
            answer: Yields::Sound,
            writes: Writes::Media,
            own_model: "no model speaks with another's voices",
        },
        Direct {
            shape: Shape::OpenAiTranscriptions,
            word: "transcriptions",
            booked: "openai_transcriptions",
            path: "/audio/transcriptions",
            input: "file",
            takes: Takes::Sound,
            piece: Some(Piece::Millisecond),
            members: &["file", "prompt", "response_format", "stream"],
            answer: Yields::Transcript,
            writes: Writes::Media,
            own_model: "no model hears as another does",
        },
    ];

    /// The one with this word.
    pub fn named(word: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|direct| direct.word == word)
    }
}

impl Shape {
    pub const ALL: [Shape; 11] = [
        Shape::OpenAiChat,
        Shape::AnthropicMessages,
        Shape::OpenAiResponses,
        Shape::GeminiGenerate,
        Shape::OpenAiEmbeddings,
        Shape::BedrockConverse,
        Shape::OpenAiCompletions,
        Shape::Rerank,
        Shape::OpenAiImages,
        Shape::OpenAiSpeech,
        Shape::OpenAiTranscriptions,
    ];

    /// Those that clients hold conversations in.
    pub const CLIENTS: [Shape; 3] = [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::OpenAiResponses];

    /// Those that a provider may have an endpoint for conversations in.
    pub const ENDPOINTS: [Shape; 5] =
        [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::OpenAiResponses, Shape::GeminiGenerate, Shape::BedrockConverse];

    /// Those that say most first: thinking, its seals and marks of the cache have words of their own in the first two, and none in
    /// the last two. Responses stand behind chat although they have seals: they have no word for what ends an answer. Who asks for
    /// thinking goes there all the same ([`Manner::thinks`]).
    const BY_WORDS: [Shape; 5] =
        [Shape::AnthropicMessages, Shape::BedrockConverse, Shape::GeminiGenerate, Shape::OpenAiChat, Shape::OpenAiResponses];

    /// Whether its answers are written by a model, in tokens that a request bounds.
    pub fn writes(self) -> bool {
        self.direct().is_none_or(|direct| direct.writes == Writes::Text)
    }

    /// Whether its answers are images, sound or what was heard.
    pub fn is_media(self) -> bool {
        self.direct().is_some_and(|direct| direct.writes == Writes::Media)
    }

    /// The row of one that is no conversation.
    pub fn direct(self) -> Option<&'static Direct> {
        Direct::ALL.iter().find(|direct| direct.shape == self)
    }

    /// Whether an endpoint of it refuses a seal that another made.
    pub const fn checks_seals(self) -> bool {
        matches!(self, Shape::AnthropicMessages | Shape::OpenAiResponses | Shape::GeminiGenerate | Shape::BedrockConverse)
    }

    /// Whether an endpoint of it takes schemas of answers whose objects are closed, and no bounds in them ([`closed`](super::closed)).
    pub const fn closes_schemas(self) -> bool {
        matches!(self, Shape::AnthropicMessages | Shape::BedrockConverse)
    }

    /// Whether a mark of the cache can say there for how long it is to be kept.
    pub const fn says_lifetimes(self) -> bool {
        matches!(self, Shape::AnthropicMessages | Shape::BedrockConverse)
    }

    /// The word in the table (`dialect = "openai-chat"`) and in reasons.
    pub const fn word(self) -> &'static str {
        match self {
            Shape::OpenAiChat => "openai-chat",
            Shape::AnthropicMessages => "anthropic-messages",
            Shape::OpenAiResponses => "openai-responses",
            Shape::GeminiGenerate => "gemini-generate-content",
            Shape::OpenAiEmbeddings => "openai-embeddings",
            Shape::BedrockConverse => "bedrock-converse",
            Shape::OpenAiCompletions => "openai-completions",
            Shape::Rerank => "rerank",
            Shape::OpenAiImages => "openai-images",
            Shape::OpenAiSpeech => "openai-speech",
            Shape::OpenAiTranscriptions => "openai-transcriptions",
        }
    }

    /// The shape of endpoints for conversations with this word.
    pub fn of_endpoint(word: &str) -> Option<Self> {
        Self::ENDPOINTS.into_iter().find(|shape| shape.word() == word)
    }
}

/// The form that an answer is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Form {
    #[default]
    Text,
    /// Some JSON object.
    Object,
    /// JSON by a schema.
    Schema,
}

impl Form {
    pub const ALL: [Form; 3] = [Form::Text, Form::Object, Form::Schema];
}

/// What decides to which endpoint of a provider a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Manner {
    /// The shape that it is in.
    pub shape: Shape,
    pub form: Form,
    /// Tools are offered, and thinking is not refused.
    pub tools: bool,
    /// Thinking is asked for.
    pub thinks: bool,
}

impl Manner {
    /// Every one, each at its [`place`](Self::place).
    pub const ALL: [Manner; 4 * Form::ALL.len() * Shape::ALL.len()] = {
        let mut all = [Manner::plain(Shape::OpenAiChat); 4 * Form::ALL.len() * Shape::ALL.len()];
        let mut place = 0;
        while place < all.len() {
            let (shape, rest) = (Shape::ALL[place % Shape::ALL.len()], place / Shape::ALL.len());
            let (form, rest) = (Form::ALL[rest % Form::ALL.len()], rest / Form::ALL.len());
            all[place] = Manner { shape, form, tools: rest & 1 != 0, thinks: rest & 2 != 0 };
            place += 1;
        }
        all
    };

    /// Of a request in a shape that needs these of a backend, and says this of thinking.
    pub const fn of(shape: Shape, features: Features, reasoning: ReasoningWish) -> Self {
        let form = if features.contains(Feature::JsonSchema) {
            Form::Schema
        } else if features.contains(Feature::JsonObject) {
            Form::Object
        } else {
            Form::Text
        };
        let tools = features.contains(Feature::Tools) && !matches!(reasoning, ReasoningWish::Off);
        Self { shape, form, tools, thinks: matches!(reasoning, ReasoningWish::On) }
    }

    /// Of a request for a text.
    pub const fn plain(shape: Shape) -> Self {
        Self { shape, form: Form::Text, tools: false, thinks: false }
    }

    /// The same without what only some endpoints take well.
    #[must_use]
    pub const fn anywhere(self) -> Self {
        Self { tools: false, thinks: false, ..self }
    }

    /// Of each request in its shape.
    pub fn any_of_its_shape(self) -> impl Iterator<Item = Self> {
        Form::ALL.into_iter().flat_map(move |form| {
            let told = [(false, false), (false, true), (true, false), (true, true)];
            told.map(|(tools, thinks)| Self { form, tools, thinks, ..self })
        })
    }

    pub const fn place(self) -> usize {
        let rest = (self.thinks as usize * 2 + self.tools as usize) * Form::ALL.len() + self.form as usize;
        rest * Shape::ALL.len() + self.shape as usize
    }
}

/// A set of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shapes(u16);

impl Shapes {
    #[must_use]
    pub const fn with(self, shape: Shape) -> Self {
        Self(self.0 | 1 << shape as u8)
    }

    /// A bit for each, by the discriminant.
    pub const fn bits(self) -> u16 {
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
    /// else the one whose words lose least. What is no conversation is sent to its own alone.
    pub fn serving(self, shape: Shape) -> Option<Shape> {
        let others = Shape::BY_WORDS.into_iter().filter(|_| shape.direct().is_none());
        [shape].into_iter().chain(others).find(|shape| self.contains(*shape))
    }

    /// Whether any of them is one of conversations.
    pub fn converses(self) -> bool {
        Shape::ENDPOINTS.into_iter().any(|shape| self.contains(shape))
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
        let both: Shapes = [Shape::OpenAiChat, Shape::OpenAiResponses].into_iter().collect();
        assert_eq!(both.serving(Shape::AnthropicMessages), Some(Shape::OpenAiChat), "stop sequences have a word there");
        assert_eq!(Shapes::default().serving(Shape::OpenAiChat), None);
        assert!(all.converses() && !Shapes::default().converses());
        assert_eq!(Shape::of_endpoint("openai_chat"), None);
    }

    #[test]
    fn every_manner_stands_at_its_place() {
        for (place, manner) in Manner::ALL.into_iter().enumerate() {
            assert_eq!(manner.place(), place, "{manner:?}");
        }
        let of = |features: &[Feature]| {
            Manner::of(Shape::AnthropicMessages, features.iter().copied().collect(), ReasoningWish::Unsaid).form
        };
        assert_eq!([of(&[Feature::Tools]), of(&[Feature::JsonObject])], [Form::Text, Form::Object]);
        assert_eq!(of(&[Feature::Tools, Feature::JsonSchema]), Form::Schema);
    }

    #[test]
    fn what_is_no_conversation_is_served_by_its_own_endpoint_alone() {
        let all: Shapes = Shape::ALL.into_iter().collect();
        let conversations: Shapes = Shape::ENDPOINTS.into_iter().collect();
        for direct in Direct::ALL {
            let (shape, own): (_, Shapes) = (direct.shape, [direct.shape].into_iter().collect());
            assert_eq!((all.serving(shape), conversations.serving(shape)), (Some(shape), None), "{direct:?}");
            assert!(Shape::CLIENTS.into_iter().all(|asked| own.serving(asked).is_none()) && !own.converses());
            assert!(Direct::named(direct.word).is_some_and(|named| named.shape == shape));
            assert!(shape.direct().is_some() && Shape::of_endpoint(shape.word()).is_none());
        }
        assert!(Shape::CLIENTS.into_iter().chain(Shape::ENDPOINTS).all(|shape| shape.direct().is_none()));
        assert!(Direct::named("chat").is_none());
    }
}
