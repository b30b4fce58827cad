//! One provider, and a gateway in front of it.

use super::{Gateway, Provider, Site};

/// A provider that is reached as `site` says: `alone(Site::and_messages)`.
pub(crate) async fn alone(site: impl FnOnce(Site) -> Site) -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([site(Site::of(&east))]);
    (east, gateway)
}

/// One that speaks chat and nothing else.
pub(crate) async fn chats() -> (Provider, Gateway) {
    alone(|site| site).await
}

/// One that speaks Messages and nothing else.
pub(crate) async fn speaks() -> (Provider, Gateway) {
    alone(Site::only_messages).await
}
