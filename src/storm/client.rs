//! The clients of a storm: they ask, read, lose patience, and remember what they saw.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::dice::Dice;
use super::life::KEYS;
use super::provider::text;
use super::scene::{Asking, Patience};
use super::world::Alive;
use crate::clock::Clock;
use crate::frontend::OpenAiChat;
use crate::pipeline::{GatewayError, InboundCall, Pipeline, Reply};
use crate::relay::Pump;
use crate::telemetry::Route;
use crate::units::RequestId;

/// What the dice of this file are for.
const PURPOSE: u64 = 31;

/// What a client calls its request.
pub(super) fn name(number: u64) -> String {
    format!("r{number}")
}

/// Asks everything, one after the other.
pub(super) async fn ask_all(alive: &Arc<Alive>, pipeline: &Arc<Pipeline>, asks: &[Asking]) {
    for asking in asks {
        tokio::time::sleep(Duration::from_millis(asking.pause_ms)).await;
        Box::pin(ask(alive, pipeline, asking)).await;
    }
}

async fn ask(alive: &Arc<Alive>, pipeline: &Arc<Pipeline>, asking: &Asking) {
    let number = asking.number;
    let call = inbound(alive, asking);
    alive.event(|| format!("#{number} asks: {asking:?}")).await;
    alive.world.saw(number, |seen| (seen.life, seen.id) = (alive.number, Some(call.id)));
    let answering = pipeline.answer(call);
    let reply = match asking.patience {
        Patience::Leaves { after_ms } => {
            let Ok(reply) = tokio::time::timeout(Duration::from_millis(after_ms), answering).await else {
                return alive.event(|| format!("#{number} leaves")).await;
            };
            reply
        }
        Patience::Stays | Patience::HasEnough { .. } => answering.await,
    };
    match reply {
        Ok(Reply::Whole { receipt, .. }) => {
            alive.world.saw(number, |seen| (seen.pieces, seen.whole, seen.cost) = (1, true, receipt.cost));
            alive.event(|| format!("#{number} has its answer, for {:?}", receipt.cost)).await;
        }
        Ok(Reply::Stream { pump, .. }) => read(alive, asking, pump).await,
        Ok(Reply::Decision(_)) => alive.world.breaks(format!("#{number} was told a decision")),
        Err(error) => {
            let told = match &error {
                GatewayError::Failed(failure) => format!("{failure:?}"),
                other => format!("{other:?}"),
            };
            alive.world.saw(number, |seen| seen.error = Some(told.clone()));
            alive.event(|| format!("#{number} is refused: {told}")).await;
        }
    }
}

async fn read(alive: &Arc<Alive>, asking: &Asking, mut pump: Box<Pump>) {
    let number = asking.number;
    let mut pieces = 0;
    loop {
        if asking.patience == (Patience::HasEnough { pieces }) {
            return alive.event(|| format!("#{number} has enough")).await;
        }
        if asking.slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(asking.slow_ms)).await;
        }
        let Some(bytes) = pump.next().await else { break };
        pieces += 1;
        let done = bytes.ends_with(b"data: [DONE]\n\n");
        alive.world.saw(number, |seen| {
            seen.pieces = pieces;
            seen.whole |= done;
        });
        alive.event(|| format!("#{number} reads {} bytes{}", bytes.len(), if done { ", the last" } else { "" })).await;
    }
    let cost = pump.cost();
    alive.world.saw(number, |seen| seen.cost = cost);
    alive.event(|| format!("#{number} is through, for {cost:?}")).await;
}

fn inbound(alive: &Alive, asking: &Asking) -> InboundCall {
    let Asking { number, key, model, stream, wants_usage, most_output, most_cost, race, deadline_ms, words, .. } = asking;
    let mut dice = Dice::of(alive.world.scene.seed, PURPOSE, *number);
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text(&mut dice, *words).trim_start()}]});
    if *stream {
        body["stream"] = true.into();
        if *wants_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
    }
    if let Some(most) = most_output {
        body["max_tokens"] = (*most).into();
    }
    let mut headers = HeaderMap::new();
    let mut header = |name: &'static str, value: String| headers.insert(name, value.parse().unwrap());
    header("authorization", format!("Bearer tb-{}", KEYS[*key]));
    header("content-type", "application/json".to_owned());
    header("x-request-id", name(*number));
    header("traceparent", format!("00-{number:032x}-00000000000000a1-01"));
    if let Some(most) = most_cost {
        header("x-tokenbroker-max-cost-usd", (*most).to_owned());
    }
    if *race {
        header("x-tokenbroker-race", "2".to_owned());
    }
    if let Some(deadline) = deadline_ms {
        header("x-tokenbroker-deadline-ms", deadline.to_string());
    }
    let mut random = [0; 10];
    random[2..].copy_from_slice(&dice.any().to_le_bytes());
    let millis = u64::try_from(alive.world.clock.wall().as_millisecond()).unwrap();
    InboundCall {
        id: RequestId::from_parts(millis, random),
        route: Route::ChatCompletions,
        frontend: &OpenAiChat,
        headers,
        body: Bytes::from(body.to_string()),
        arrived: alive.world.now(),
    }
}
