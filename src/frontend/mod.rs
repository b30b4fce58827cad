//! What clients speak: bytes in, a canonical request out, and the gateway's own answers (errors, model lists) in the
//! client's words.
//!
//! A frontend is a pure codec: it opens no socket and never sees a dialect. Answers of a backend that speaks the same
//! dialect do not come through here; they pass as they are.

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
pub mod wishes;

pub use errors::{BadRequest, ClientError, ErrorKind, Position};
pub use lifetime::asks_long_cache;
pub use openai_chat::parse;
pub use prompt_text::prompt_text;
