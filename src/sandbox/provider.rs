//! A pretend provider: takes a chat request as a strict vendor would, and answers it by a script.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::dice::{Dice, mix};
use super::fault::{DONE, Fault};
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::request::{ChatRequest, Prompt};
use super::script::{Script, ScriptBody, Step};
use super::served::{Arrival, Serving};
use super::site::{Model, Site};
use super::wire::{Count, Envelope, UsageMember};
use super::{Pace, Shared};
use crate::catalog::Reasoning;
use crate::catalog::capability::{OutputBoundField, StreamUsage};

/// The largest request that is read.
const LARGEST_BODY: usize = 64 << 20;
/// Prefixes that a provider's prompt cache remembers.
const CACHED_PREFIXES: usize = 8_192;
/// Cached tokens are counted in whole blocks of this size, as vendors do.
const CACHE_BLOCK: u64 = 64;
/// Tokens generated between two looks at the clock while an answer is not streamed.
const QUIET_BATCH: u32 = 8;

/// One provider of the table, at work.
pub(super) struct PretendProvider {
    site: Site,
    shared: Arc<Shared>,
    cache: Mutex<PromptCache>,
    asked: AtomicU64,
}

/// The beginnings of prompts that were seen lately.
#[derive(Default)]
struct PromptCache {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// Everything about an answer before its first byte.
struct Prepared {
    reply: Reply,
    envelope: Envelope,
    stream: bool,
    /// The count to report, where one is to be reported.
    reported: Option<Count>,
    /// Chunks carry `usage: null` until the end, as a client sees that asked for usage.
    null_usage: bool,
    fault: Option<Fault>,
}

impl PretendProvider {
    pub(super) fn new(site: Site, shared: Arc<Shared>) -> Self {
        Self { site, shared, cache: Mutex::default(), asked: AtomicU64::new(0) }
    }

    /// Answers one HTTP request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<ScriptBody> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/v1/chat/completions") => self.chat(request).await,
            (&Method::GET, "/v1/models") => json_response(200, self.models()),
            _ => refuse(&Refusal::no_such_path()),
        }
    }

    async fn chat(&self, request: Request<Incoming>) -> Response<ScriptBody> {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
            return refuse(&Refusal::too_large());
        };
        let body = body.to_bytes();
        let serving = self.shared.log.open(self.arrival(&parts.headers, body.clone()));
        match self.prepare(&parts.headers, &body, &serving) {
            Ok(prepared) => self.play(prepared, serving).await,
            Err(refusal) => {
                serving.refused(refusal.status);
                refuse(&refusal)
            }
        }
    }

    fn arrival(&self, headers: &HeaderMap, body: Bytes) -> Arrival {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Arrival {
            provider: self.site.id.clone(),
            request_id: text("x-request-id"),
            trace: text("traceparent").and_then(|parent| parent.split('-').nth(1).map(str::to_owned)),
            key: bearer(headers).map(str::to_owned),
            body,
        }
    }

    fn prepare(&self, headers: &HeaderMap, body: &[u8], serving: &Serving) -> Result<Prepared, Refusal> {
        if self.site.key_variable.is_some() && bearer(headers).is_none() {
            return Err(Refusal::no_key());
        }
        let request = ChatRequest::read(body)?;
        serving.note(|row| {
            row.model = request.model.to_string();
            row.stream = request.stream();
        });
        let fault = self.next_fault(serving)?;
        let found = self.site.models.iter().find(|model| model.name == request.model);
        let model = found.ok_or_else(|| Refusal::unknown_model(&request.model))?;
        let prompt = request.prompt(mix(self.shared.seed, model.name.as_bytes()))?;
        self.check_dialect(&request, &prompt, model)?;
        check_features(&request, &prompt, model)?;
        let bound = output_bound(&request, &prompt, model)?;
        let thinks = match model.reasoning {
            Reasoning::Never => false,
            Reasoning::Switchable => !request.thinking_off(),
            Reasoning::Always => true,
        };
        let reply = reply::reply(&request, &prompt, thinks, bound, self.shared.seed)?;
        Ok(self.prepared(&request, &prompt, reply, fault, serving))
    }

    fn prepared(
        &self,
        request: &ChatRequest<'_>,
        prompt: &Prompt,
        reply: Reply,
        fault: Option<Fault>,
        serving: &Serving,
    ) -> Prepared {
        let cached = self.cached_tokens(prompt);
        let (output, reasoning) = reply.output_tokens();
        let reasoning_outside = self.site.quirks.reasoning_outside_output;
        let count = Count { input: prompt.input_tokens, cached, output, reasoning, reasoning_outside };
        serving.note(|row| {
            row.status = 200;
            row.input_tokens = count.input;
            row.cached_tokens = cached;
            row.planned_output_tokens = output;
        });
        let stream = request.stream();
        let unasked = self.site.quirks.stream_usage == StreamUsage::Always;
        let told = !stream || unasked || (request.wants_usage() && self.site.quirks.stream_usage == StreamUsage::OnRequest);
        let reported = fault.as_ref().map_or(Some(count), |fault| fault.reported(count)).filter(|_| told);
        let envelope = Envelope {
            id: format!("chatcmpl-sandbox-{}", serving.id),
            created: self.shared.clock.wall().as_second(),
            model: request.model.clone().into_owned(),
            logprobs: request.logprobs(),
        };
        Prepared { reply, envelope, stream, null_usage: reported.is_some() && !unasked, reported, fault }
    }

    /// The scripted fault, else by chance the failure that the table promises.
    fn next_fault(&self, serving: &Serving) -> Result<Option<Fault>, Refusal> {
        if let Some(fault) = self.shared.faults.take(&self.site.id) {
            serving.note(|row| row.fault = Some(fault.word()));
            return fault.refusal().map_or(Ok(Some(fault)), Err);
        }
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice::new(mix(self.shared.seed ^ turn, self.site.id.as_bytes()));
        if !self.shared.failures || dice.below(1000) >= self.site.failures_permille {
            return Ok(None);
        }
        Err(if dice.below(3) == 0 { Refusal::too_many_requests() } else { Refusal::overloaded() })
    }

    /// Refuses what this site's dialect does not know, as its quirks in the table say.
    fn check_dialect(&self, request: &ChatRequest<'_>, prompt: &Prompt, model: &Model) -> Result<(), Refusal> {
        let quirks = self.site.quirks;
        let unknown = match quirks.output_bound {
            OutputBoundField::MaxTokens if request.max_completion_tokens.is_some() => Some("max_completion_tokens"),
            OutputBoundField::MaxCompletionTokens if request.max_tokens.is_some() => Some("max_tokens"),
            _ if prompt.has_developer_role && !quirks.developer_role => Some("the role developer"),
            _ if request.stream_options.is_some() && quirks.stream_usage != StreamUsage::OnRequest => Some("stream_options"),
            _ => None,
        };
        unknown.map_or(Ok(()), |what| Err(Refusal::unsupported(what, &model.name)))
    }

    fn cached_tokens(&self, prompt: &Prompt) -> u64 {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = prompt.prefixes.iter().rev().find(|(fold, _)| cache.known.contains(fold));
        let tokens = longest.map_or(0, |(_, tokens)| (*tokens).min(prompt.input_tokens.saturating_sub(1)));
        for (fold, _) in &prompt.prefixes {
            cache.remember(*fold);
        }
        tokens / CACHE_BLOCK * CACHE_BLOCK
    }

    async fn play(&self, prepared: Prepared, serving: Serving) -> Response<ScriptBody> {
        if prepared.fault == Some(Fault::StallBeforeHeaders) {
            // Ends when the client does: hyper then drops this future, and the guard notes it.
            std::future::pending::<()>().await;
        }
        let latency = prepared.fault.as_ref().and_then(Fault::latency).unwrap_or(self.paced(self.site.latency));
        wait(latency).await;
        if prepared.stream { self.play_stream(prepared, serving) } else { self.play_whole(prepared, serving).await }
    }

    fn play_stream(&self, prepared: Prepared, serving: Serving) -> Response<ScriptBody> {
        let fault = prepared.fault.clone();
        let script = stream_script(prepared, self.paced(self.site.token_time));
        let script = match fault {
            Some(fault) => fault.bend_stream(script),
            None => script,
        };
        let mut response = labelled(200, "text/event-stream; charset=utf-8", ScriptBody::new(script, serving));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    async fn play_whole(&self, prepared: Prepared, serving: Serving) -> Response<ScriptBody> {
        self.generate_quietly(prepared.reply.output_tokens().0, &serving).await;
        let text = prepared.envelope.whole(&prepared.reply, prepared.reported);
        let (length, script): (usize, Script) = match &prepared.fault {
            Some(fault) => fault.bend_whole(text),
            None => (text.len(), Box::new(std::iter::once(Step::Send(text.into(), 0)))),
        };
        let mut response = labelled(200, "application/json", ScriptBody::new(script, serving));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    /// Takes the time that the tokens take, billing as they are generated: a client that leaves meanwhile is billed for
    /// what was generated until then.
    async fn generate_quietly(&self, tokens: u64, serving: &Serving) {
        let batch_time = self.paced(self.site.token_time) * QUIET_BATCH;
        let mut left = tokens;
        while left > 0 {
            wait(batch_time).await;
            let batch = left.min(if batch_time.is_zero() { left } else { QUIET_BATCH.into() });
            serving.bill(batch);
            left -= batch;
        }
    }

    fn paced(&self, duration: Duration) -> Duration {
        match self.shared.pace {
            Pace::AsTheTableSays => duration,
            Pace::AsFastAsPossible => Duration::ZERO,
        }
    }

    fn models(&self) -> String {
        let item =
            |model: &Model| serde_json::json!({"id": model.name, "object": "model", "created": 0, "owned_by": self.site.id});
        let models: Vec<_> = self.site.models.iter().map(item).collect();
        serde_json::json!({"object": "list", "data": models}).to_string()
    }
}

impl PromptCache {
    fn remember(&mut self, fold: u64) {
        if self.known.insert(fold) {
            self.order.push_back(fold);
        }
        if self.order.len() > CACHED_PREFIXES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn stream_script(prepared: Prepared, token_time: Duration) -> Script {
    let Prepared { reply, envelope, reported, null_usage, .. } = prepared;
    let usage = if null_usage { UsageMember::Null } else { UsageMember::Absent };
    let envelope = Arc::new(envelope);
    let pieces: Vec<_> = reply.in_turns().map(|(choice, piece)| (choice, piece.clone())).collect();
    let finishes: Vec<_> = reply.choices.iter().map(|choice| choice.finish.word()).enumerate().collect();
    let (for_roles, for_pieces, for_ends, for_usage) = (envelope.clone(), envelope.clone(), envelope.clone(), envelope);
    let roles = (0..finishes.len()).map(move |choice| Step::Send(for_roles.role_frame(choice, usage), 0));
    let pieces = pieces.into_iter().flat_map(move |(choice, piece)| {
        let wait = (!token_time.is_zero()).then_some(Step::Wait(token_time));
        wait.into_iter().chain([Step::Send(for_pieces.piece_frame(choice, &piece, usage), piece.tokens())])
    });
    let ends = finishes.into_iter().map(move |(choice, finish)| Step::Send(for_ends.finish_frame(choice, finish, usage), 0));
    let count = reported.into_iter().map(move |count| Step::Send(for_usage.usage_frame(count), 0));
    let done = std::iter::once(Step::Send(Bytes::from_static(DONE), 0));
    Box::new(roles.chain(pieces).chain(ends).chain(count).chain(done))
}

fn check_features(request: &ChatRequest<'_>, prompt: &Prompt, model: &Model) -> Result<(), Refusal> {
    let needs = request.needs(&request.format()?);
    let mut missing = needs.iter().chain(prompt.parts.iter()).filter(|feature| !model.features.contains(*feature));
    missing.next().map_or(Ok(()), |feature| Err(Refusal::unsupported(feature.word(), &model.name)))
}

/// The most output tokens that one choice may have.
fn output_bound(request: &ChatRequest<'_>, prompt: &Prompt, model: &Model) -> Result<u64, Refusal> {
    let asked = request.output_bound();
    if asked.is_some_and(|asked| asked > model.max_output || asked == 0) {
        let message = format!("the output bound must be from 1 to {}", model.max_output);
        return Err(Refusal::new(400, "invalid_request_error", "invalid_value", &message));
    }
    let wanted = prompt.input_tokens.saturating_add(asked.unwrap_or(1));
    if wanted > model.context {
        return Err(Refusal::too_long(model.context, wanted));
    }
    Ok(asked.unwrap_or(model.max_output.min(model.context - prompt.input_tokens)))
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    (!key.is_empty()).then_some(key)
}

fn refuse(refusal: &Refusal) -> Response<ScriptBody> {
    let mut response = json_response(refusal.status, refusal.body());
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A JSON answer, sent whole and labelled.
pub(super) fn json_response(status: u16, body: String) -> Response<ScriptBody> {
    labelled(status, "application/json", ScriptBody::plain(body))
}

/// An answer with the sandbox's label. A status that HTTP does not know becomes a 500.
pub(super) fn labelled(status: u16, content_type: &'static str, body: ScriptBody) -> Response<ScriptBody> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(HeaderName::from_static("x-sandbox"), HeaderValue::from_static("true"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
