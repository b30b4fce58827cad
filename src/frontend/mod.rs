//! What clients speak: bytes in, a canonical request out, and the gateway's own answers (errors, model lists) in the
//! client's words.
//!
//! A [`Frontend`] is a pure codec: it opens no socket and never sees a dialect. Answers of a backend that speaks the same
//! dialect do not come through here; they pass as they are. For one that speaks another, a request is read into a
//! [`Conversation`] and the answer is written from its pieces.

mod about;
mod anthropic_errors;
pub mod anthropic_messages;
mod blocks;
mod chat_answer;
mod chat_request;
mod chat_stream;
mod chat_turns;
mod citations;
pub mod codes;
mod content;
mod direct;
pub mod errors;
mod extent;
mod extra_content;
mod folded;
mod freeform;
mod hints;
mod in_turn;
mod items;
mod json;
mod lifetime;
mod messages;
mod messages_answer;
mod messages_request;
mod messages_stream;
mod messages_turns;
pub mod models;
pub mod multipart;
mod needs;
pub mod openai_chat;
pub mod openai_responses;
pub mod prefix;
mod prompt_text;
mod reasoning_details;
mod responses_answer;
mod responses_items;
mod responses_request;
mod responses_stream;
mod responses_tools;
mod sealed;
mod seals;
mod seen;
pub mod sound;
mod stored;
#[cfg(test)]
mod testing;
mod tool_names;
mod top_level;
mod unsaid;
pub mod vectors;
pub mod wishes;

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::models::{ListedModel, Page};
use crate::canonical::event::Understood;
use crate::canonical::{Answer, Conversation, Request, Shape, StreamWriter, Untranslatable};

pub use about::About;
pub use anthropic_messages::AnthropicMessages;
pub use direct::OpenAiDirect;
pub use errors::{BadRequest, ClientError, ErrorKind, Position};
pub use lifetime::asks_long_cache;
pub use openai_chat::{OpenAiChat, parse};
pub use openai_responses::OpenAiResponses;
pub use prompt_text::prompt_text;
pub use sealed::{
    hash_seals, holds_google_seals, holds_thoughts, holds_told_thoughts, holds_unsigned_thoughts, is_sealed, seal_chain,
};
pub use seals::written as seal_written;
pub use seen::Seen;
pub use stored::{Ended, Link, said_kept};
pub use unsaid::HARMLESS;

/// One client-side API shape: how its requests are read, and how the gateway's own answers are written in it.
pub trait Frontend: Debug + Send + Sync {
    /// The shape of its requests, which is that of the answers they want.
    fn shape(&self) -> Shape;

    /// What it is called in the books.
    fn word(&self) -> &'static str;

    /// Reads a request and keeps its bytes.
    ///
    /// # Errors
    /// When it is no request that can be routed, with what is wrong and where.
    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest>;

    /// What the client asks, in nobody's words, for a backend that does not speak its own.
    ///
    /// # Errors
    /// When the request has something that only its own shape can say, or something that this shape does not say so.
    fn conversation(&self, request: &Request) -> Result<Conversation, Untranslatable>;

    /// The body of a whole answer that was read in other words.
    fn answer_body(&self, answer: &Answer, about: &About) -> Bytes;

    /// Writes the frames of a stream that is read in other words.
    fn stream_writer(&self, about: About) -> Box<dyn StreamWriter>;

    /// Headers of its own that a provider of the same shape is to see as the client sent them.
    fn passing(&self) -> &'static [HeaderName] {
        &[]
    }

    /// Whether a tool of this type is run by the provider, which makes prompts longer than they were sent, for a fee.
    fn hosts(&self, tool: &str) -> bool;

    /// A provider's body as the client gets it, where it tells the error in this shape or comes so near that only members are
    /// missing, which are those of ours.
    fn passed_on(&self, body: &Bytes, ours: &ClientError) -> Option<Bytes> {
        errors::completed(body, ours)
    }

    /// The body of an error. `id` is our own id of the request.
    fn error_body(&self, error: &ClientError, id: &str) -> Bytes;

    /// The event that tells an error within a stream, which it ends behind what the client has seen.
    fn error_event(&self, error: &ClientError, about: &About, seen: &Seen) -> Bytes;

    /// Takes note of what goes out of a stream, as far as [`Self::error_event`] goes on from it.
    fn sees(&self, _seen: &mut Seen, _bytes: &Bytes) {}

    /// What a client makes of the frame by which a provider of this shape tells an error.
    fn understands(&self, frame: &[u8]) -> Understood;

    /// Whether its clients read a list page by page.
    fn has_pages(&self) -> bool {
        false
    }

    /// The body of a list of models.
    fn model_list(&self, page: &Page<'_>) -> Bytes;

    /// The body of one model.
    fn model_item(&self, model: &ListedModel) -> Bytes;

    /// The header in which its SDKs look for a request's id.
    fn id_header(&self) -> Option<HeaderName> {
        None
    }
}

/// The member of a request whose cost nobody here can tell beforehand, where it has one: a bound on its money would be none.
/// Asked only where there is such a bound.
pub fn unpriced(frontend: FrontendRef, request: &Request) -> Option<&'static str> {
    let tools = || request.body.get(request.members.tools.clone()).filter(|tools| !tools.is_empty());
    request.unpriced.or_else(|| tools().is_some_and(|tools| any_hosted(frontend, tools)).then_some(HOSTED))
}

/// The member with the tools that a provider runs itself.
pub const HOSTED: &str = "tools";

/// Whether a provider runs one of these tools itself. What cannot be read may be one.
fn any_hosted(frontend: FrontendRef, tools: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Tool<'b> {
        #[serde(borrow, rename = "type")]
        kind: Option<Cow<'b, str>>,
        /// Of a namespace.
        #[serde(borrow)]
        tools: Option<&'b RawValue>,
    }
    let hosted = |tool: &Tool<'_>| {
        let within = |kind| if kind == NAMESPACE { tool.tools } else { None };
        let kind = tool.kind.as_deref();
        kind.is_some_and(|kind| frontend.hosts(kind))
            || kind.and_then(within).is_some_and(|tools| any_hosted(frontend, tools.get().as_bytes()))
    };
    serde_json::from_slice::<Vec<Tool<'_>>>(tools).map_or(true, |all| all.iter().any(hosted))
}

/// Tools of a client that stand together (Responses).
const NAMESPACE: &str = "namespace";

/// A frontend, chosen once for a request.
pub type FrontendRef = &'static dyn Frontend;

/// The conversation in a client's bytes of a shape, where they hold one that can be told in nobody's words.
pub fn conversation(body: &Bytes, shape: Shape) -> Option<Conversation> {
    let frontend = ALL.into_iter().find(|frontend| frontend.shape() == shape)?;
    let headers = HeaderMap::new();
    // A prompt that is to be counted only bounds no answer.
    let request = match shape {
        Shape::AnthropicMessages => anthropic_messages::parse_prompt(body.clone(), &headers),
        _ => frontend.parse(body.clone(), &headers),
    };
    frontend.conversation(&request.ok()?).ok()
}

/// One for each of the shapes that clients hold conversations in.
const ALL: [FrontendRef; Shape::CLIENTS.len()] = [&OpenAiChat, &AnthropicMessages, &OpenAiResponses];
/// One for each of the others.
static DIRECT: [OpenAiDirect; OpenAiDirect::ALL.len()] = OpenAiDirect::ALL;

/// The frontend of a shape; where the path belongs to none that clients ask in, that which the headers speak of: Anthropic's
/// clients send its version with every request, and their key in a header of its own. Of the two only the version says what a
/// body is: anybody may send a key so.
pub fn of(shape: Option<Shape>, has_body: bool, headers: &HeaderMap) -> FrontendRef {
    let anthropic = || headers.contains_key(&anthropic_messages::VERSION) || (!has_body && headers.contains_key("x-api-key"));
    let direct = DIRECT.iter().map(|frontend| frontend as FrontendRef);
    let asked = ALL.into_iter().chain(direct).find(|frontend| shape == Some(frontend.shape()));
    asked.unwrap_or_else(|| if anthropic() { &AnthropicMessages } else { &OpenAiChat })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Direct;

    #[test]
    fn where_a_path_has_no_shape_the_headers_say_which_frontend_is_asked() {
        let check = |shape: Option<Shape>, headers: &[&'static str], expected: &str| {
            let headers: HeaderMap = headers.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect();
            assert_eq!(of(shape, false, &headers).word(), expected, "{headers:?}");
            let keyed = shape.is_none() && !headers.contains_key(&anthropic_messages::VERSION);
            assert_eq!(of(shape, true, &headers).word(), if keyed { "openai_chat" } else { expected }, "{headers:?}");
        };
        assert_eq!(ALL.map(Frontend::shape), Shape::CLIENTS);
        for shape in Shape::CLIENTS {
            let word = shape.word().replace('-', "_");
            check(Some(shape), &[], &word);
            check(Some(shape), &["x-api-key", "anthropic-version"], &word);
        }
        for direct in Direct::ALL {
            check(Some(direct.shape), &["x-api-key"], direct.booked);
        }
        check(None, &["authorization"], "openai_chat");
        check(None, &["x-api-key"], "anthropic_messages");
        check(None, &["authorization", "anthropic-version"], "anthropic_messages");
    }
}
