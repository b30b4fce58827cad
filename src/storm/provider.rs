//! The scripted upstream: providers that answer in memory, on invented time, as well or badly as the seed says, and know what they
//! bill.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::dice::Dice;
use super::scene::LONG;
use super::table::BACKENDS;
use super::world::{Alive, Kind, Served};
use crate::units::{Tokens, Usage};
use crate::upstream::{Scripted, ScriptedBody, UpstreamError};

/// What the dice of this file are for.
const PURPOSE: u64 = 11;
/// Words that are one token each in every place of a text.
const WORDS: [&str; 8] = [" the", " of", " and", " to", " in", " that", " for", " with"];

/// Every provider of one life.
pub(super) struct Providers(pub(super) Arc<Alive>);

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Providers")
    }
}

/// A text of so many tokens.
pub(super) fn text(dice: &mut Dice, tokens: u64) -> String {
    (0..tokens).map(|_| dice.pick(&WORDS)).collect()
}

/// What is done with one call.
enum Act {
    NoConnection,
    BreaksAtOnce,
    Hangs,
    Refuses(u16, bool),
    Answers,
}

/// What happens to the body of an answer, in this order.
enum Step {
    Wait(u64),
    /// So many tokens are made.
    Made(u64),
    Tells(Usage),
    Sends(Bytes),
    Breaks,
    Hangs,
}

/// A call as it arrived.
struct Call {
    number: u64,
    backend: usize,
    stream: bool,
    wants_usage: bool,
    bound: u64,
    words: u64,
}

impl Call {
    async fn of(request: Request<Full<Bytes>>) -> Self {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let trace = request.headers()["traceparent"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
        Self {
            number: u64::from_str_radix(&trace[3..35], 16).unwrap(),
            backend: BACKENDS.iter().position(|listed| host.split('.').next() == Some(listed.provider)).unwrap(),
            stream: body["stream"] == true,
            wants_usage: body["stream_options"]["include_usage"] == true,
            bound: body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()).unwrap_or(8_192),
            words: prompt.split(' ').count() as u64,
        }
    }
}

impl Scripted for Providers {
    fn answer(&self, request: Request<Full<Bytes>>) -> BoxFuture<'static, Result<Response<ScriptedBody>, UpstreamError>> {
        let alive = Arc::clone(&self.0);
        Box::pin(async move {
            let call = Call::of(request).await;
            let mut dice = Dice::of(alive.world.scene.seed, PURPOSE, call.number * 10 + call.backend as u64);
            let (backend, act) = (BACKENDS[call.backend].id(), act(&mut dice));
            let input = call.words + 6;
            let cached = if dice.chance(30) { dice.between(0, input) } else { 0 };
            let kind = match act {
                Act::NoConnection => Kind::Unreached,
                Act::Refuses(504, _) | Act::Hangs | Act::BreaksAtOnce | Act::Answers => Kind::Silent,
                Act::Refuses(..) => Kind::Refused,
            };
            let bound = call.bound;
            let (number, life, at) = (call.number, alive.number, alive.world.now());
            let place = alive.world.serve(Served {
                number,
                life,
                backend: backend.clone(),
                at,
                kind,
                input,
                cached,
                made: 0,
                rest: 0,
                open: false,
                told: None,
                bound,
            });
            let told = |what: &str| format!("  {backend} gets #{number} (most {bound}): {what}");
            match act {
                Act::NoConnection => {
                    alive.event(|| told("no connection")).await;
                    Err(UpstreamError::Connect("refused".to_owned()))
                }
                Act::BreaksAtOnce => {
                    alive.event(|| told("breaks at once")).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(0, 300))).await;
                    Err(UpstreamError::Broken("reset".to_owned()))
                }
                Act::Hangs => {
                    alive.event(|| told("hangs")).await;
                    std::future::pending().await
                }
                Act::Refuses(status, later) => {
                    alive.event(|| told(&format!("refuses with {status}"))).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(0, 300))).await;
                    Ok(refusal(status, later))
                }
                Act::Answers => {
                    alive.event(|| told("answers")).await;
                    tokio::time::sleep(Duration::from_millis(dice.between(1, 900))).await;
                    Ok(answer(&alive, &call, place, &mut dice))
                }
            }
        })
    }
}

fn act(dice: &mut Dice) -> Act {
    match dice.between(0, 99) {
        0..5 => Act::NoConnection,
        5..9 => Act::BreaksAtOnce,
        9..12 => Act::Hangs,
        12..24 => {
            let status = dice.pick(&[429, 429, 500, 503, 504, 400, 401]);
            Act::Refuses(status, dice.chance(50))
        }
        _ => Act::Answers,
    }
}

fn refusal(status: u16, later: bool) -> Response<ScriptedBody> {
    let body = json!({"error": {"message": "not now", "type": "invalid_request_error", "code": null}}).to_string();
    let mut response = Response::new(whole(VecDeque::from([Ok(Bytes::from(body))])));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    if later {
        response.headers_mut().insert("retry-after", "1".parse().unwrap());
    }
    response
}

fn whole(pieces: VecDeque<Result<Bytes, UpstreamError>>) -> ScriptedBody {
    StreamBody::new(stream::iter(pieces.into_iter().map(|piece| piece.map(Frame::data)))).boxed()
}

/// An answer, whole or streamed.
fn answer(alive: &Arc<Alive>, call: &Call, place: usize, dice: &mut Dice) -> Response<ScriptedBody> {
    let length = dice.between(1, 500);
    let tokens =
        if dice.chance(if call.bound < LONG { 25 } else { 60 }) { call.bound } else { length.min(call.bound) }.min(4_000);
    let dishonest = !alive.world.scene.honest && dice.chance(30);
    let script = Script { served: alive.world.served.lock().unwrap()[place].clone(), tokens, dishonest, dice };
    let (kind, steps) = if call.stream { script.stream(call) } else { script.whole() };
    let rest = steps.iter().map(|step| if let Step::Made(tokens) = step { *tokens } else { 0 }).sum();
    alive.world.change(place, |served| (served.rest, served.kind, served.open) = (rest, kind, true));
    let serving = Serving { alive: Arc::clone(alive), place };
    let body = stream::unfold((steps, serving), move |(mut steps, serving)| async move {
        let Serving { alive, place } = &serving;
        loop {
            match steps.pop_front()? {
                Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                Step::Made(tokens) => alive.world.change(*place, |served| {
                    served.made += tokens;
                    served.rest -= tokens;
                }),
                Step::Tells(usage) => alive.world.change(*place, |served| served.told = Some(usage)),
                Step::Sends(bytes) => {
                    alive.event(|| format!("    {}", String::from_utf8_lossy(&bytes).trim_end())).await;
                    return Some((Ok(Frame::data(bytes)), (steps, serving)));
                }
                Step::Breaks => return Some((Err(UpstreamError::Broken("reset".to_owned())), (steps, serving))),
                Step::Hangs => std::future::pending().await,
            }
        }
    });
    let mut response = Response::new(StreamBody::new(body).boxed());
    let media_type = if call.stream { "text/event-stream" } else { "application/json" };
    response.headers_mut().insert("content-type", media_type.parse().unwrap());
    response
}

/// An answer under way.
struct Serving {
    alive: Arc<Alive>,
    place: usize,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A gateway that dies is noticed late.
        let open = self.alive.dead.is_cancelled();
        self.alive.world.change(self.place, |served| served.open = open);
    }
}

/// How an answer goes.
struct Script<'d> {
    served: Served,
    tokens: u64,
    dishonest: bool,
    dice: &'d mut Dice,
}

impl Script<'_> {
    fn report(&self, output: u64) -> Usage {
        let Served { input, cached, bound, .. } = self.served;
        let (input, output) = if self.dishonest { (input * 7, output + 3 * bound) } else { (input, output) };
        Usage { cache_read: Tokens::new(cached), ..Usage::fresh(Tokens::new(input - cached), Tokens::new(output)) }
    }

    fn whole(self) -> (Kind, VecDeque<Step>) {
        let content = text(self.dice, self.tokens);
        let mut body = json!({
            "id": "a", "object": "chat.completion", "created": 1, "model": "served",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        });
        let report = self.report(self.tokens);
        let says = self.dice.chance(85);
        if says {
            body["usage"] = told(&report);
        }
        let text = body.to_string();
        let half = self.dice.size(1, text.len() - 1);
        let mut steps = VecDeque::from([Step::Wait(self.dice.between(0, 200))]);
        match self.dice.between(0, 19) {
            0 => steps.extend([Step::Sends(Bytes::from(text[..half].to_owned())), Step::Breaks]),
            1 => steps.extend([Step::Made(self.tokens), Step::Sends(Bytes::from(text[..half].to_owned()))]),
            _ => {
                steps.push_back(Step::Made(self.tokens));
                if says {
                    steps.push_back(Step::Tells(report));
                }
                steps.push_back(Step::Sends(Bytes::from(text)));
                return (Kind::Answered, steps);
            }
        }
        (Kind::Spoilt, steps)
    }

    fn stream(mut self, call: &Call) -> (Kind, VecDeque<Step>) {
        let mut steps = VecDeque::new();
        let tells = call.wants_usage && self.dice.chance(85);
        let running = tells && self.dice.chance(20);
        let (chunk, most_wait) = (self.dice.pick(&[4, 8, 40, 64]), self.dice.pick(&[0, 20, 150]));
        if self.dice.chance(50) {
            self.frame(&mut steps, &json!({"role": "assistant"}), None, None);
        }
        let cut = self.dice.chance(25).then(|| self.dice.between(0, self.tokens));
        let (mut made, end) = (0, cut.unwrap_or(self.tokens));
        while made < end {
            let tokens = self.dice.between(1, chunk).min(end - made);
            made += tokens;
            steps.push_back(Step::Wait(self.dice.between(0, most_wait)));
            let content = text(self.dice, tokens);
            let report = running.then(|| self.report(made));
            self.frame(&mut steps, &json!({"content": content}), Some(tokens), report);
        }
        if cut.is_none() || self.dice.chance(5) {
            steps.push_back(Step::Sends(Bytes::from(
                "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            )));
        }
        match (cut, self.dice.between(0, 3)) {
            (None, _) => {
                if tells {
                    let report = self.report(made);
                    let usage = json!({"id": "a", "choices": [], "usage": told(&report)});
                    steps.extend([Step::Tells(report), Step::Sends(Bytes::from(format!("data: {usage}\n\n")))]);
                }
                steps.push_back(Step::Sends(Bytes::from_static(b"data: [DONE]\n\n")));
            }
            (Some(_), 0) => steps.push_back(Step::Breaks),
            (Some(_), 1) => steps.push_back(Step::Hangs),
            (Some(_), 2) => {
                let error = json!({"error": {"message": "overloaded", "type": "server_error", "code": 503}});
                steps.push_back(Step::Sends(Bytes::from(format!("data: {error}\n\n"))));
            }
            (Some(_), _) => {}
        }
        (Kind::Answered, steps)
    }

    /// A frame, in one piece or in two. Its tokens count when it is whole.
    fn frame(&mut self, steps: &mut VecDeque<Step>, delta: &Value, tokens: Option<u64>, report: Option<Usage>) {
        let mut frame = json!({"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "served",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        if let Some(report) = &report {
            frame["usage"] = told(report);
        }
        let mut bytes = Bytes::from(format!("data: {frame}\n\n"));
        if self.dice.chance(15) {
            let first = bytes.split_to(self.dice.size(1, bytes.len() - 1));
            steps.extend([Step::Sends(first), Step::Wait(self.dice.between(0, 20))]);
        }
        steps.extend(tokens.map(Step::Made));
        steps.extend(report.map(Step::Tells));
        steps.push_back(Step::Sends(bytes));
    }
}

/// A report in OpenAI's words.
fn told(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input().get(),
        "completion_tokens": usage.output.get(),
        "total_tokens": usage.input().get() + usage.output.get(),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read.get()},
    })
}
