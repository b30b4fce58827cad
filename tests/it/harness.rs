//! What every test here stands on: a gateway in a process of its own, scripted providers, a client that shows every byte.
//!
//! Nothing waits for a time to pass: a test waits for what it wants to see, up to [`PATIENCE`].

pub(crate) mod alone;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod client;
pub(crate) mod crowd;
pub(crate) mod desk;
pub(crate) mod eventstream;
pub(crate) mod gateway;
pub(crate) mod gemini;
pub(crate) mod h2;
pub(crate) mod messages;
pub(crate) mod money;
pub(crate) mod page;
pub(crate) mod price_list;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod responses;
pub(crate) mod rows;
pub(crate) mod sandbox;
pub(crate) mod seeded;
pub(crate) mod site;
pub(crate) mod small_disk;
pub(crate) mod stores;
pub(crate) mod talk;
pub(crate) mod thinker;
pub(crate) mod tls;

use std::time::Duration;

pub(crate) use self::alone::{alone, chats, speaks};
pub(crate) use self::client::{Answer, Call, Whole};
pub(crate) use self::crowd::{Crowd, crowd, crowd_of};
pub(crate) use self::gateway::{Gateway, Setup};
pub(crate) use self::provider::{Gate, Provider, Step};
pub(crate) use self::sandbox::Sandbox;
pub(crate) use self::site::Site;

/// How long anything may take on a busy machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}
