//! The demo's own traffic after the tour: a pretend request every second or two, so that the page and `top` have something
//! to show. Seeded, so that every demo sends the same; each carries the request id `demo-traffic-N`, which the feed shows.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use serde_json::{Value, json};

use crate::sandbox::dice::Dice;
use crate::sandbox::loopback;
use crate::tasks::Tasks;

/// The shortest time between two requests, and how much longer it may be, in milliseconds.
const PAUSE: (u64, u64) = (900, 1_400);
/// How many requests may be under way.
const MOST_OPEN: usize = 8;

const PROMPTS: [&str; 8] = [
    "In one sentence: what does a broker do?",
    "Summarise the minutes of the harbour committee in three points.",
    "Write a polite reply to a customer whose parcel is late.",
    "Which of these two clauses is stricter, and why?",
    "Explain a binary search to somebody who has never programmed.",
    "请用三句话介绍一下算盘的历史。",
    "把这句话翻译成英语：旧桥记得更长的路。",
    "Suggest five names for a small sailing boat.",
];

/// What is asked for: mostly whatever fits, sometimes a tier or one model, now and then a name with a typing error.
const MODELS: [&str; 20] = [
    "auto",
    "auto",
    "auto",
    "auto",
    "auto",
    "auto",
    "auto",
    "auto:economy",
    "auto:economy",
    "auto:economy",
    "auto:standard",
    "auto:standard",
    "auto:standard",
    "auto:premium",
    "auto:premium",
    "lotus-plus",
    "pearl-chat",
    "sandbox-fjord/fjord-small",
    "summit-mini",
    "auto:premum",
];

/// Sends requests without end, to a gateway that listens here.
pub(super) async fn flow(api: SocketAddr, seed: u64) {
    let url = format!("http://{api}/v1/chat/completions");
    let tasks = Tasks::on_this_runtime();
    let mut dice = Dice::new(seed);
    let mut open = FuturesUnordered::new();
    let mut number = 0_u64;
    loop {
        let pause = Duration::from_millis(PAUSE.0 + dice.below(PAUSE.1));
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        while tokio::select! {
            () = &mut pause => false,
            Some(()) = open.next() => true,
        } {}
        if open.len() < MOST_OPEN {
            number += 1;
            open.push(send(&tasks, &url, number, request(&mut dice)));
        }
    }
}

/// What becomes of it is seen in the feed, so nothing is told here; some are meant to be refused.
async fn send(tasks: &Tasks, url: &str, number: u64, body: Value) {
    let id = format!("demo-traffic-{number}");
    let headers = [("content-type", "application/json"), ("authorization", "Bearer demo"), ("x-request-id", id.as_str())];
    if let Ok(mut answer) = loopback::call(tasks, Method::POST, url, &headers, body.to_string()).await {
        answer.whole().await.unwrap_or_default();
    }
}

/// The next request.
fn request(dice: &mut Dice) -> Value {
    let prompt = dice.pick(&PROMPTS);
    let model = dice.pick(&MODELS);
    let directions = json!({"output_tokens": 20 + dice.below(400)});
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": prompt}], "sandbox": directions});
    match dice.below(10) {
        0..=3 => body["stream"] = true.into(),
        4 => body["tools"] = tools(),
        5 => body["response_format"] = format(),
        6 => body["tokenbroker"] = json!({"race": 2}),
        7 => body["tokenbroker"] = json!({"regions": ["EU", "US"]}),
        _ => {}
    }
    body
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "weather", "description": "The weather in a city", "parameters": parameters}}])
}

fn format() -> Value {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["names"], "properties": {
        "names": {"type": "array", "minItems": 3, "maxItems": 5, "items": {"type": "string"}}}});
    json!({"type": "json_schema", "json_schema": {"name": "names", "strict": true, "schema": schema}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Snapshot;
    use crate::route::resolve;
    use crate::sandbox::TABLE;
    use std::collections::{BTreeMap, BTreeSet};

    fn first(count: usize) -> Vec<Value> {
        let mut dice = Dice::new(7);
        std::iter::repeat_with(|| request(&mut dice)).take(count).collect()
    }

    #[test]
    fn every_demo_sends_the_same_and_all_kinds_of_requests() {
        let requests = first(200);
        assert_eq!(requests, first(200));
        for member in ["stream", "tools", "response_format", "tokenbroker"] {
            assert!(requests.iter().any(|request| request.get(member).is_some()), "{member}");
        }
    }

    #[test]
    fn one_name_has_a_typing_error_and_the_sandbox_serves_the_others() {
        let snapshot = Snapshot::parse("sandbox/providers.toml", TABLE).unwrap();
        let unknown: BTreeSet<&str> =
            MODELS.into_iter().filter(|model| resolve(model, &snapshot, &BTreeMap::new()).is_err()).collect();
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["auto:premum"]);
    }
}
