//! What clients speak: bytes in, a canonical request out, and the gateway's own answers (errors, model lists) in the
//! client's words.
//!
//! A [`Frontend`] is a pure codec: it opens no socket and never sees a dialect. Answers of a backend that speaks the same
//! dialect do not come through here; they pass as they are.

mod anthropic_errors;
pub mod anthropic_messages;
mod blocks;
pub mod codes;
pub mod errors;
mod json;
mod lifetime;
mod messages;
pub mod models;
mod needs;
pub mod openai_chat;
pub mod prefix;
mod prompt_text;
mod top_level;
pub mod wishes;

use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use self::models::ListedModel;
use crate::canonical::{Request, Shape};

pub use anthropic_messages::AnthropicMessages;
pub use errors::{BadRequest, ClientError, ErrorKind, Position};
pub use lifetime::asks_long_cache;
pub use openai_chat::{OpenAiChat, parse};
pub use prompt_text::prompt_text;

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

    /// Headers of its own that a provider of the same shape is to see as the client sent them.
    fn passing(&self) -> &'static [&'static str] {
        &[]
    }

    /// The body of an error. `id` is our own id of the request.
    fn error_body(&self, error: &ClientError, id: &str) -> Bytes;

    /// The event that tells an error within a stream, which it ends.
    fn error_event(&self, error: &ClientError) -> Bytes;

    /// The body of a list of models.
    fn model_list(&self, models: &[ListedModel]) -> Bytes;

    /// The body of one model.
    fn model_item(&self, model: &ListedModel) -> Bytes;

    /// The header in which its SDKs look for a request's id.
    fn id_header(&self) -> Option<HeaderName> {
        None
    }
}

/// A frontend, chosen once for a request.
pub type FrontendRef = &'static dyn Frontend;

/// The frontend of a shape; where the path belongs to none, that which the headers speak of: Anthropic's clients send its
/// version with every request, and their key in a header of its own.
pub fn of(shape: Option<Shape>, headers: &HeaderMap) -> FrontendRef {
    let anthropic = || headers.contains_key(anthropic_messages::VERSION) || headers.contains_key("x-api-key");
    match shape.unwrap_or_else(|| if anthropic() { Shape::AnthropicMessages } else { Shape::OpenAiChat }) {
        Shape::OpenAiChat => &OpenAiChat,
        Shape::AnthropicMessages => &AnthropicMessages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_path_has_no_shape_the_headers_say_which_frontend_is_asked() {
        let check = |shape: Option<Shape>, headers: &[&'static str], expected: &str| {
            let headers: HeaderMap = headers.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect();
            assert_eq!(of(shape, &headers).word(), expected, "{headers:?}");
        };
        for shape in Shape::ALL {
            let word = shape.word().replace('-', "_");
            check(Some(shape), &[], &word);
            check(Some(shape), &["x-api-key", "anthropic-version"], &word);
        }
        check(None, &["authorization"], "openai_chat");
        check(None, &["x-api-key"], "anthropic_messages");
        check(None, &["authorization", "anthropic-version"], "anthropic_messages");
    }
}
