//! `GET /v1/decisions/{id}`: why a request went where it went, and what became of it, in money. On the operations
//! listener `GET /decisions/{id}`, for the requests of every key.
//!
//! The books keep the facts of a decision and the table it was made by. The explanation is computed here, by the same
//! functions that decided, when somebody asks. What they do not keep is explained from memory for as long as the request is
//! one of the last. A client sees its own requests only, and cannot tell those of others from those that never were.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

use super::routes::{Front, Marks};
use super::status::{Refusal, refusal, unread};
use super::usage::Tokens;
use crate::catalog::Snapshot;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::ledger::{BookedAttempt, BookedRequest, Books, Ledger, OpenRequest, StoreError};
use crate::route::{Decision, Kept};
use crate::telemetry::{Rejection, Route};
use crate::units::{Amount, Currency, KeyName, RequestId, TokenPrice, Usd};

/// One of the caller's own requests.
pub(super) async fn own(State(front): State<Arc<Front>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let marks = Marks::of(&front, Route::Decision, &headers);
    let admitted = front.pipeline.in_force.load().keys.admit(&headers);
    let told = match admitted {
        Ok(admission) => explained(&front, &id, Some(admission.key)).await,
        Err(stranger) => Err(refusal(&stranger.into())),
    };
    told.map_or_else(|refusal| marks.refuse(&refusal), |body| marks.own(body))
}

/// Anybody's request, for operators.
pub(super) async fn any(State(front): State<Arc<Front>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let marks = Marks::of(&front, Route::AnyDecision, &headers);
    explained(&front, &id, None).await.map_or_else(|refusal| marks.refuse(&refusal), |body| marks.own(body))
}

/// Tables that are in force no more: the last one that somebody asked about, since a question seldom comes alone.
#[derive(Default)]
pub struct PastTables {
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl PastTables {
    /// A version of the table, as it was in force. Blocks: it may have to be read and parsed.
    fn version(&self, version: &str, ledger: &Ledger) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last().clone().filter(|known| known.version == version) {
            return Ok(Some(known));
        }
        let parsed = ledger.table(version)?.and_then(|text| Snapshot::parse(version, &text).ok());
        let found = parsed.filter(|table| table.version == version).map(Arc::new);
        if found.is_some() {
            last().clone_from(&found);
        }
        Ok(found)
    }
}

/// What the books say of a request.
enum Told {
    /// There is none, or it is another key's.
    Unknown,
    /// The facts of its decision, or the table it was made by, are gone or were never kept, and it is none of the last.
    Forgotten,
    /// They are there and cannot be read.
    Unreadable,
    Explained(Box<(BookedRequest, Decision)>),
}

async fn explained(front: &Arc<Front>, id: &str, key: Option<KeyName>) -> Result<Bytes, Refusal> {
    let id: RequestId = id.parse().map_err(|shape| malformed(id, shape))?;
    let ledger = &front.pipeline.ledger;
    let open = ledger.open_request(id);
    let asked = Arc::clone(front);
    let told = ledger.ask(move |books| look(&asked, books, id, open.as_ref(), key.as_ref())).await;
    match told.map_err(|error| unread(&error))? {
        Told::Explained(told) => Ok(body(&told.0, &told.1)),
        Told::Unknown => Err(unknown(id)),
        Told::Forgotten => Err(forgotten(id, ledger)),
        Told::Unreadable => Err(unreadable(id)),
    }
}

/// Blocks: it reads, may parse a table, and decides again.
fn look(
    front: &Front,
    books: &Books,
    id: RequestId,
    open: Option<&OpenRequest>,
    key: Option<&KeyName>,
) -> Result<Told, StoreError> {
    let request = match open {
        Some(open) => Some(BookedRequest::from(open)),
        None => books.request(id)?,
    };
    let Some(request) = request.filter(|request| key.is_none_or(|key| *key == request.key)) else {
        return Ok(Told::Unknown);
    };
    let decision = match kept(front, books, &request, open)? {
        Some(InBooks { facts, table }) => match Kept::read(&facts, &table) {
            Ok(kept) => Some(kept.decision(&table)),
            Err(_) => return Ok(Told::Unreadable),
        },
        None => front.pipeline.desk.feed.decision(id),
    };
    Ok(decision.map_or(Told::Forgotten, |decision| Told::Explained(Box::new((request, decision)))))
}

/// What the books keep of a decision.
struct InBooks {
    facts: Vec<u8>,
    /// The table it was made by.
    table: Arc<Snapshot>,
}

fn kept(
    front: &Front,
    books: &Books,
    request: &BookedRequest,
    open: Option<&OpenRequest>,
) -> Result<Option<InBooks>, StoreError> {
    let facts = match open {
        Some(open) => Some(open.opened.facts.clone()).filter(|facts| !facts.is_empty()),
        None => books.facts(request.id)?,
    };
    let Some(facts) = facts else { return Ok(None) };
    let in_force = Arc::clone(&front.pipeline.in_force.load().market.snapshot);
    let table = if in_force.version == request.book_version {
        Some(in_force)
    } else {
        front.past_tables.version(&request.book_version, &front.pipeline.ledger)?
    };
    Ok(table.map(|table| InBooks { facts, table }))
}

fn refused(status: u16, kind: ErrorKind, code: &str, message: String) -> Refusal {
    Refusal::of(ClientError::new(status, kind, code, message).about("id")).because(Rejection::BadRequest)
}

fn malformed(id: &str, shape: &str) -> Refusal {
    let shown: String = id.chars().take(64).collect();
    let message = format!("{shown:?} is no request id; expected the x-tokenbroker-request-id of an answer, {shape}");
    refused(400, ErrorKind::InvalidRequest, "invalid_request_id", message)
}

/// The same for what never was and for what is another's.
fn unknown(id: RequestId) -> Refusal {
    let message =
        format!("the books have no request {id} of this key; a request that was refused before anything was sent has no row");
    refused(404, ErrorKind::InvalidRequest, "decision_not_found", message)
}

fn forgotten(id: RequestId, ledger: &Ledger) -> Refusal {
    let days = ledger.decision_days();
    let kept = if ledger.keeps_facts_of(id) { "any more" } else { "(books.decision_sample_percent keeps a share of them)" };
    let message = format!(
        "what the decision about {id} was made from is not kept {kept} (books.decision_days = {days}); what requests cost is \
         told by GET /v1/usage"
    );
    refused(410, ErrorKind::InvalidRequest, "decision_forgotten", message)
}

fn unreadable(id: RequestId) -> Refusal {
    tracing::error!(request = %id, "the facts of a decision cannot be read: the books are damaged");
    refused(500, ErrorKind::Server, "decision_unreadable", format!("what is kept of the decision about {id} cannot be read"))
}

fn body(request: &BookedRequest, decision: &Decision) -> Bytes {
    let told = Explanation {
        object: "tokenbroker.decision",
        id: request.id.to_string(),
        request: Asked::of(request),
        outcome: Became::of(request),
        as_booked: as_booked(request, decision),
        decision,
    };
    // Texts and numbers: nothing in it can fail to become JSON.
    serde_json::to_vec(&told).unwrap_or_default().into()
}

/// Whether the decision that was computed now is the one whose figures are in the books: an explanation by a gateway that
/// decides otherwise than the one of then must say so.
fn as_booked(request: &BookedRequest, decision: &Decision) -> bool {
    let quoted = decision.chosen.as_ref().map(|chosen| chosen.expected_usd.clone());
    let next = decision.runner_up.as_ref().map(|next| next.expected_usd.clone());
    (quoted, next) == (Some(request.quoted.to_exact()), request.runner_up.map(Usd::to_exact))
}

// === what is told, as JSON ===

#[derive(Serialize)]
struct Explanation<'e> {
    object: &'static str,
    id: String,
    request: Asked<'e>,
    outcome: Became<'e>,
    /// The explanation gives the quotes that are in the books.
    as_booked: bool,
    decision: &'e Decision,
}

#[derive(Serialize)]
struct Asked<'e> {
    key: &'e str,
    model: &'e str,
    stream: bool,
    api: &'e str,
    arrived_at: String,
    client_request_id: Option<&'e str>,
    session: Option<&'e str>,
}

#[derive(Serialize)]
struct Became<'e> {
    /// `under_way`, or how it ended as the client saw it.
    state: &'e str,
    status: Option<u16>,
    first_byte_ms: Option<u64>,
    duration_ms: Option<u64>,
    /// What the gateway itself took before the first attempt.
    overhead_us: Option<u64>,
    quoted_usd: String,
    /// Of the attempts that have ended.
    cost_usd: String,
    usage: Tokens,
    /// Absent where none was configured, or the answer has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Compared<'e>>,
    /// Attempts that have not ended.
    open_attempts: usize,
    attempts: Vec<Tried<'e>>,
}

/// What the answer would have cost elsewhere, and what was saved; less than nothing where it was dearer here.
#[derive(Serialize)]
struct Compared<'e> {
    backend: &'e str,
    cost_usd: String,
    saved_usd: String,
}

#[derive(Serialize)]
struct Tried<'e> {
    number: u32,
    backend: &'e str,
    provider: &'e str,
    model: &'e str,
    served_model: Option<&'e str>,
    /// What the backend had named before; absent where that was the same, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    served_before: Option<&'e str>,
    ending: &'e str,
    http_status: Option<u16>,
    cause: Option<&'e str>,
    started_at: String,
    first_byte_ms: Option<u64>,
    duration_ms: Option<u64>,
    usage: Tokens,
    /// What it was billed for by the piece, by what the backend serves; absent where that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces: Option<u64>,
    /// Where the usage comes from: `reported`, `counted` or `estimated`.
    provenance: &'e str,
    cost: Paid<'e>,
    /// Per million tokens, in the currency of the cost.
    /// The row of the price book.
    price: &'e str,
    /// Whether it lists a price for such a request; the dearest was charged where not.
    price_listed: bool,
    prices: Prices,
    /// The free quota that bore it or a part of it, and what that spared.
    #[serde(skip_serializing_if = "Option::is_none")]
    free_quota: Option<Spared<'e>>,
    quoted_usd: String,
    held_usd: String,
}

/// What was free of an attempt.
#[derive(Serialize)]
struct Spared<'e> {
    quota: &'e str,
    /// In the currency of the cost.
    amount: String,
}

/// What the vendor bills, and what that is in dollars.
#[derive(Serialize)]
struct Paid<'e> {
    usd: String,
    amount: String,
    currency: &'e str,
    /// Units of the currency per dollar, on that day.
    per_usd: &'e str,
    rate_date: &'e str,
}

#[derive(Serialize)]
struct Prices {
    input: String,
    cache_read: String,
    cache_write: String,
    output: String,
    /// Parts of these kinds, where they cost something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_long: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces: Option<PiecePrices>,
}

/// What is billed by the piece, as it is listed: so much for so many.
#[derive(Debug, Serialize)]
struct PiecePrices {
    price: String,
    per: u32,
}

impl<'e> Asked<'e> {
    fn of(request: &'e BookedRequest) -> Self {
        Self {
            key: request.key.as_str(),
            model: &request.requested_model,
            stream: request.stream,
            api: &request.frontend,
            arrived_at: request.arrived_at.to_string(),
            client_request_id: request.client_request_id.as_deref(),
            session: request.session.as_deref(),
        }
    }
}

impl<'e> Became<'e> {
    fn of(request: &'e BookedRequest) -> Self {
        let compared = request.baseline_model.as_deref().zip(request.baseline);
        Self {
            state: &request.outcome,
            status: request.status,
            first_byte_ms: request.first_byte_ms,
            duration_ms: request.duration_ms,
            overhead_us: request.overhead_us,
            quoted_usd: request.quoted.to_exact(),
            cost_usd: request.cost.to_exact(),
            usage: Tokens::of(&request.usage),
            baseline: compared.map(|(backend, cost)| Compared {
                backend,
                cost_usd: cost.to_exact(),
                saved_usd: (cost - request.cost).to_exact(),
            }),
            open_attempts: request.open_attempts,
            attempts: request.attempts.iter().map(Tried::of).collect(),
        }
    }
}

impl<'e> Tried<'e> {
    fn of(attempt: &'e BookedAttempt) -> Self {
        // The currency's word stands beside the amount; of the amount only its digits are asked here.
        let digits = |pico: i64| Amount::from_pico(pico.into(), Currency::Usd).to_exact();
        let prices = &attempt.prices;
        Self {
            number: attempt.number,
            backend: &attempt.backend,
            provider: &attempt.provider,
            model: &attempt.model,
            served_model: attempt.served_model.as_deref(),
            served_before: attempt.served_before.as_deref(),
            ending: &attempt.ending,
            http_status: attempt.http_status,
            cause: attempt.cause.as_deref(),
            started_at: attempt.started_at.to_string(),
            first_byte_ms: attempt.first_byte_ms,
            duration_ms: attempt.duration_ms,
            usage: Tokens::of(&attempt.usage),
            pieces: Some(attempt.usage.pieces).filter(|pieces| *pieces > 0),
            provenance: &attempt.provenance,
            cost: Paid {
                usd: attempt.cost.to_exact(),
                amount: digits(attempt.amount_pico),
                currency: &attempt.currency,
                per_usd: &attempt.rate_per_usd,
                rate_date: &attempt.rate_date,
            },
            price: &attempt.price,
            price_listed: attempt.price_listed,
            prices: Prices {
                input: prices.input.to_per_million(),
                cache_read: prices.cache_read.to_per_million(),
                cache_write: prices.cache_write.to_per_million(),
                output: prices.output.to_per_million(),
                cache_write_long: prices.cache_write_long.map(TokenPrice::to_per_million),
                reasoning: prices.reasoning.map(TokenPrice::to_per_million),
                image_input: prices.image_input.map(TokenPrice::to_per_million),
                audio_input: prices.audio_input.map(TokenPrice::to_per_million),
                audio_output: prices.audio_output.map(TokenPrice::to_per_million),
                pieces: prices
                    .pieces
                    .map(|price| PiecePrices { price: Usd::from_pico(price.pico().into()).to_exact(), per: price.per() }),
            },
            free_quota: attempt.quota.as_deref().map(|quota| Spared { quota, amount: digits(attempt.spared_pico) }),
            quoted_usd: attempt.quoted.to_exact(),
            held_usd: attempt.held.to_exact(),
        }
    }
}
