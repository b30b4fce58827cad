//! Reading a request that is no conversation in one borrowed pass over the client's bytes: one reader for all of them, by the
//! row of its shape ([`Direct`]). The member that is billed is walked, to profile its texts and count its tokens;
//! `top_level.rs` says what becomes of the other members.

mod documents;
mod form;
mod inputs;
mod media;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use serde::de::MapAccess;

use self::documents::Documents;
use self::inputs::Inputs;
use self::media::Text;
use super::errors::{BadRequest, ClientError};
use super::messages::Conversation;
use super::models::{self, ListedModel, Page};
use super::top_level::{Layout, Named, TopLevel, keeping, named, string, utf8};
use super::{About, Frontend, Seen, errors, openai_chat, wishes};
use crate::canonical::event::Understood;
use crate::canonical::{
    self, Answer, Delta, Direct, Features, Members, ReasoningWish, Request, Shape, StreamWriter, Takes, TextProfile,
    Untranslatable, Wishes, Writes, Yields,
};
use crate::units::{Piece, Pieces, Tokens};

/// Above the length of any vectors that are sold or announced.
const MOST_DIMENSIONS: u64 = 1 << 20;
/// How numbers of a vector may be written (`dialects.md` section 1.5, 2026-11-22).
const ENCODINGS: [&str; 2] = ["float", "base64"];

/// Choices of one prompt that are believed; providers allow 128 at most, and 20 to choose from.
const MOST_CHOICES: u64 = 128;
/// Tokens of an answer whose request does not say how many (OpenAI's reference of `POST /completions`, stored copy).
const DEFAULT_MAX_TOKENS: u64 = 16;

named! {
    /// The top-level members that the gateway acts on.
    enum Name {
        Model = "model",
        Input = "input",
        Prompt = "prompt",
        Documents = "documents",
        Query = "query",
        Suffix = "suffix",
        Instructions = "instructions",
        Size = "size",
        Quality = "quality",
        PartialImages = "partial_images",
        Dimensions = "dimensions",
        EncodingFormat = "encoding_format",
        MaxTokens = "max_tokens",
        N = "n",
        BestOf = "best_of",
        Stream = "stream",
        StreamOptions = "stream_options",
        ServiceTier = "service_tier",
        Tokenbroker = "tokenbroker",
    }
}

/// What is read of a request beside the members that are kept.
#[derive(Debug)]
struct Billed<'b> {
    direct: &'static Direct,
    texts: Conversation<'b>,
    /// Tokens that came as numbers.
    tokens: u64,
    /// How long each document is, in bytes.
    documents: Vec<u32>,
    /// How long a text is that stands by itself, in characters.
    characters: u64,
}

impl<'b> Layout<'b> for Billed<'b> {
    type Name = Name;

    fn acts_on(&self, name: Name) -> bool {
        matches!(name, Name::Model | Name::Tokenbroker) || self.direct.members.contains(&name.key())
    }

    fn is_walked(name: Name) -> bool {
        matches!(name, Name::Input | Name::Prompt | Name::Documents)
    }

    fn walk<A: MapAccess<'b>>(&mut self, _: Name, members: &mut A) -> Result<(), A::Error> {
        self.texts.reading_member(self.direct.input);
        match self.direct.takes {
            Takes::TextsOrTokens => members.next_value_seed(Inputs(self))?,
            Takes::Documents => members.next_value_seed(Documents(self))?,
            // Of a form nothing is walked here.
            Takes::Text | Takes::Sound => members.next_value_seed(Text(self))?,
        }
        self.texts.done();
        Ok(())
    }

    fn conversation(&self) -> &Conversation<'b> {
        &self.texts
    }
}

/// What a form is not read without.
static FORM: [HeaderName; 1] = [CONTENT_TYPE];

/// The frontend of a path whose requests are no conversation.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiDirect(&'static Direct);

impl OpenAiDirect {
    /// One for each row.
    pub const ALL: [OpenAiDirect; Direct::ALL.len()] = {
        let mut all = [OpenAiDirect(&Direct::ALL[0]); Direct::ALL.len()];
        let mut place = 0;
        while place < all.len() {
            all[place] = OpenAiDirect(&Direct::ALL[place]);
            place += 1;
        }
        all
    };
}

impl Frontend for OpenAiDirect {
    fn shape(&self) -> Shape {
        self.0.shape
    }

    fn word(&self) -> &'static str {
        let Direct { booked, .. } = self.0;
        booked
    }

    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
        keeping(body, headers, |body, wishes| match self.0.takes {
            Takes::Sound => form::read(self.0, body, headers, wishes),
            Takes::TextsOrTokens | Takes::Documents | Takes::Text => read(self.0, body, wishes),
        })
    }

    /// Where a form's fields end is said in its type.
    fn passing(&self) -> &'static [HeaderName] {
        if self.0.takes == Takes::Sound { &FORM } else { &[] }
    }

    fn conversation(&self, _: &Request) -> Result<canonical::Conversation, Untranslatable> {
        Err(Untranslatable { what: format!("a request for {}", self.0.word), shape: "another shape" })
    }

    /// Never asked: no answer is told in other words than the provider's.
    fn answer_body(&self, _: &Answer, _: &About) -> Bytes {
        Bytes::new()
    }

    /// Never asked either.
    fn stream_writer(&self, _: About) -> Box<dyn StreamWriter> {
        Box::new(Silent)
    }

    fn hosts(&self, _: &str) -> bool {
        false
    }

    /// Rerankers are not of OpenAI's API, and each has a shape of its own for errors: its members stay beside the `error` that all
    /// clients here read.
    fn passed_on(&self, body: &Bytes, ours: &ClientError) -> Option<Bytes> {
        let in_shape = errors::completed(body, ours);
        if self.0.shape == Shape::Rerank { in_shape.or_else(|| errors::joined(body, ours)) } else { in_shape }
    }

    fn error_body(&self, error: &ClientError, _: &str) -> Bytes {
        error.body()
    }

    fn error_event(&self, error: &ClientError, _: &About, _: &Seen) -> Bytes {
        error.sse_frame()
    }

    fn understands(&self, frame: &[u8]) -> Understood {
        // Events of sound and pictures are their makers' own.
        if self.0.writes == Writes::Media { Understood::Error } else { openai_chat::understood(frame) }
    }

    fn model_list(&self, page: &Page<'_>) -> Bytes {
        models::list_body(page)
    }

    fn model_item(&self, model: &ListedModel) -> Bytes {
        models::item_body(model)
    }
}

struct Silent;

impl StreamWriter for Silent {
    fn write(&mut self, _: Delta, _: &mut BytesMut) {}

    fn end(&mut self, _: &mut BytesMut) {}

    fn held(&self) -> usize {
        0
    }
}

/// Everything but the bytes themselves.
fn read(direct: &'static Direct, body: &[u8], mut wishes: Wishes) -> Result<Request, BadRequest> {
    let text = utf8(body)?;
    let texts = Conversation::within(text, direct.input);
    let billed = Billed { direct, texts, tokens: 0, documents: Vec::new(), characters: 0 };
    let mut top = TopLevel::read(text, billed)?;
    if let Some(value) = top.value(Name::Tokenbroker) {
        wishes::from_body(value, &mut wishes).map_err(|bad| top.place(bad, value))?;
    }
    let members = Members {
        model: top.member(Name::Model).map(|m| m.value).unwrap_or_default(),
        wishes: top.member(Name::Tokenbroker),
        stream_options: top.member(Name::StreamOptions),
        max_tokens: top.member(Name::MaxTokens),
        ..Members::default()
    };
    top.check_input()?;
    top.check_encoding()?;
    top.add_suffix()?;
    top.add_instructions()?;
    let pieces = top.pieces()?;
    // Sound passes as it comes, whatever it comes in.
    let stream = top.flag(Name::Stream)?.unwrap_or(direct.answer == Yields::Sound);
    top.check_images(stream)?;
    let Billed { texts, tokens, .. } = &top.layout;
    Ok(Request {
        shape: direct.shape,
        body: Bytes::new(),
        members,
        model: top.model()?.into_owned(),
        stream,
        wants_usage_frame: top.include_usage(Name::StreamOptions)? && stream,
        output_bound: top.output_bound()?,
        choices: top.choices()?,
        features: Features::NONE,
        reasoning: ReasoningWish::Unsaid,
        thinking_budget: None,
        no_object: false,
        may_hold_thoughts: false,
        unpriced: top.unpriced()?,
        text: texts.profile,
        token_input: Tokens::new(*tokens),
        dimensions: top.whole(Name::Dimensions, 1, MOST_DIMENSIONS)?.and_then(|length| u32::try_from(length).ok()),
        pieces,
        image: top.image()?,
        messages: texts.messages,
        tools: 0,
        images: 0,
        wishes,
    })
}

impl<'b> TopLevel<'b, Billed<'b>> {
    fn check_input(&self) -> Result<(), BadRequest> {
        if self.layout.texts.messages > 0 {
            return Ok(());
        }
        let input = self.layout.direct.input;
        let given = [Name::Input, Name::Prompt, Name::Documents].into_iter().any(|name| self.has(name));
        let accepted = match self.layout.direct.takes {
            Takes::TextsOrTokens => inputs::ACCEPTED,
            Takes::Documents => documents::ACCEPTED,
            Takes::Text | Takes::Sound => media::ACCEPTED,
        };
        let code = if given { "invalid_value" } else { "missing_required_parameter" };
        let what = if given { "must not be empty" } else { "must be given" };
        Err(BadRequest::new(code, input, format!("`{input}` {what}: it must be {accepted}")))
    }

    /// What changes the price in a way that nobody here knows, as in chat: another tier than the usual, unless it is the cheaper one.
    fn unpriced(&self) -> Result<Option<&'static str>, BadRequest> {
        let tier = self.value(Name::ServiceTier).filter(|_| self.writes());
        if tier.is_some_and(|tier| !matches!(string(tier).as_deref(), Some("auto" | "default" | "flex"))) {
            return Ok(Some("service_tier"));
        }
        // What is shown before an image is done costs more, and no list here says how much.
        let shown = self.whole(Name::PartialImages, 0, media::MOST_PARTIAL_IMAGES)?.unwrap_or(0);
        Ok((shown > 0).then_some("partial_images"))
    }

    /// Whether its answers are texts that a model writes.
    fn writes(&self) -> bool {
        self.layout.direct.writes == Writes::Text
    }

    /// What it may come to where it is billed by the piece.
    fn pieces(&mut self) -> Result<Pieces, BadRequest> {
        match self.layout.direct.piece {
            Some(Piece::Search) => self.add_query(),
            Some(Piece::Image) => Ok(Pieces::exactly(self.whole(Name::N, 1, MOST_CHOICES)?.unwrap_or(1))),
            Some(Piece::Character) => Ok(Pieces::exactly(self.layout.characters)),
            Some(Piece::Millisecond) | None => Ok(Pieces::default()),
        }
    }

    /// What is to stand behind the text is read by the model as well, once for each prompt.
    fn add_suffix(&mut self) -> Result<(), BadRequest> {
        let Some(raw) = self.value(Name::Suffix) else { return Ok(()) };
        let suffix = string(raw).ok_or_else(|| self.wrong_type(Name::Suffix, raw, "a string"))?;
        let read = TextProfile::of(&suffix).times(self.layout.texts.messages);
        self.layout.texts.profile.merge(&read);
        Ok(())
    }

    /// The query of documents, which vendors that bill tokens count with each of them; and the searches that they come to.
    fn add_query(&mut self) -> Result<Pieces, BadRequest> {
        let missing = || BadRequest::new("missing_required_parameter", "query", "`query` must be given: a string");
        let raw = self.value(Name::Query).ok_or_else(missing)?;
        let query = string(raw).ok_or_else(|| self.wrong_type(Name::Query, raw, "a string"))?;
        let read = TextProfile::of(&query).times(self.layout.texts.messages);
        self.layout.texts.profile.merge(&read);
        Ok(documents::searches(query.len() as u64, &self.layout.documents))
    }

    /// The bound on each choice: there is always one, the API's own where the request says nothing.
    fn output_bound(&self) -> Result<Option<Tokens>, BadRequest> {
        let bound = self.whole(Name::MaxTokens, 0, u64::from(u32::MAX))?;
        Ok(self.writes().then(|| Tokens::new(bound.unwrap_or(DEFAULT_MAX_TOKENS))))
    }

    /// How many are written, all prompts together; those that the best are chosen from are billed too.
    fn choices(&self) -> Result<u32, BadRequest> {
        if self.layout.direct.writes == Writes::Nothing {
            return Ok(1);
        }
        let [n, best_of] = [Name::N, Name::BestOf].map(|name| self.whole(name, 1, MOST_CHOICES));
        let each = n?.unwrap_or(1).max(best_of?.unwrap_or(1));
        Ok(u32::try_from(each).unwrap_or(u32::MAX).saturating_mul(self.layout.texts.messages))
    }

    fn check_encoding(&self) -> Result<(), BadRequest> {
        let Some(raw) = self.value(Name::EncodingFormat) else { return Ok(()) };
        let accepted = || format!("one of {}", ENCODINGS.map(|word| format!("\"{word}\"")).join(", "));
        let word = string(raw).ok_or_else(|| self.wrong_type(Name::EncodingFormat, raw, &accepted()))?;
        if ENCODINGS.contains(&&*word) {
            return Ok(());
        }
        let message = format!("`encoding_format` must be {}", accepted());
        Err(self.place(BadRequest::new("invalid_value", "encoding_format", message), raw))
    }
}

#[cfg(test)]
mod tests;
