//! The way out: the one HTTP client, and what it needs to be let in at a provider. No routing, no dialect, no retries.

pub mod client;
pub mod endpoint;
mod mac;
pub mod proxy;
pub mod sigv4;
pub mod socket;
pub mod token;
pub mod trust;

#[cfg(test)]
pub(crate) use client::{Scripted, ScriptedBody};
pub use client::{Upstream, UpstreamAnswer, UpstreamError, UpstreamSettings};
pub use endpoint::{Endpoint, EndpointError, Key};
pub use proxy::{Direct, Proxy};
pub use sigv4::{Credentials, Signer};
pub use socket::{Socket, Way};
pub use token::{Grant, Token, TokenError, Tokens};
pub use trust::Trust;
