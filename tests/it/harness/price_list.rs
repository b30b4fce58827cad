//! A price list that a gateway follows, and the administrator who judges what is held back of it.

use std::fs;

use serde_json::Value;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;

use super::{Call, Gateway, Provider, Setup, provider, until};

const ADMIN: &str = "tb-an-administrators-key";

/// A gateway that follows this list in our own JSON as the feed `list`, with further lines of its section, and whose
/// administrator is `ann`.
pub(crate) fn followed(setup: Setup, list: &Provider, more: &str) -> Setup {
    let setup = setup.set("reload.watch", "false");
    let path = setup.path("tokenbroker.toml");
    let admin = to_hex(&hash(ADMIN.as_bytes()));
    let text = format!(
        "[feeds.list]\nformat = \"json\"\nurl = \"http://{}/list.json\"\ninterval_seconds = 1\n{more}\n[admins.ann]\nsha256 = \"{admin}\"\n",
        list.address
    );
    fs::write(&path, text).unwrap();
    setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap())
}

/// What the list says from now on.
pub(crate) fn says(list: &Provider, etag: &str, body: &str) {
    list.always(provider::status(200, &[("etag", etag)], body));
}

async fn looks(gateway: &Gateway, result: &str) -> f64 {
    gateway.sample(&format!("price_feed_looks_total{{feed=\"list\",result=\"{result}\"}}")).await.unwrap_or(0.0)
}

/// Waits until one more look ended so.
pub(crate) async fn until_look(gateway: &Gateway, result: &str) {
    let before = looks(gateway, result).await;
    until(&format!("a look that is {result}"), async || (looks(gateway, result).await > before).then_some(())).await;
}

/// What the administrator is answered on the operations listener.
pub(crate) async fn admin(gateway: &Gateway, call: Call) -> (u16, Value) {
    let answer = gateway.operator(&call.key(ADMIN)).await;
    (answer.status, answer.json())
}
