//! What a request and an answer are, whoever's words they came in. Frontends (what clients speak) and dialects (what
//! backends speak) meet here and nowhere else. No vendor's serde shapes, no async.
//!
//! The canonical request does not copy the conversation: it keeps the client's original bytes, says what in them
//! decides the routing, and where the few members stand that may have to differ on the way out.

pub mod answer;
pub mod closed;
pub mod conversation;
pub mod event;
pub mod parameter;
pub mod prefix;
pub mod quoted;
pub mod request;
pub mod schema;
pub mod shape;
pub mod shared;
pub mod strict;
pub mod text;
pub mod thought;
pub mod unanswered;
pub mod wishes;
pub mod written;

pub use answer::{Answer, CallIds, Citation, Delta, Finish, StreamWriter, Translation};
pub use conversation::{Conversation, Part, Untranslatable};
pub use event::{FrameFacts, FrameKind, ProviderError};
pub use parameter::{Parameter, Parameters};
pub use prefix::{Chain, Link};
pub use request::{
    Feature, Features, IdForms, Members, RareMember, RareMembers, ReasoningWish, Request, TemplateSaid, ThinkingSaid,
    ThinkingWord,
};
pub use schema::{Mismatch, Schema, SchemaBy};
pub use shape::{Direct, Form, Manner, Shape, Shapes, Takes, Writes, Yields};
pub use shared::Shared;
pub use text::TextProfile;
pub use wishes::{DataRules, MOST_TAGS, Preference, QualityTier, TAGS_SHAPE, Wishes, is_tag};
pub use written::written;
