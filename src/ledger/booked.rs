//! One request with its attempts as the books have it: from the store once it has ended, from its open page before.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row};

use super::entry::{ClosedAttempt, Ending};
use super::marks::Marks;
use super::query::{Books, usage, usd};
use super::store::StoreError;
use super::tab::OpenRequest;
use crate::units::{KeyName, PiecePrice, RequestId, Tariff, TokenPrice, Tokens, Usage, Usd};

/// One row of `attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedAttempt {
    pub number: u32,
    pub backend: String,
    pub provider: String,
    pub model: String,
    /// The model that the provider says it served.
    pub served_model: Option<String>,
    /// The model that the backend had named before, where that was another.
    pub served_before: Option<String>,
    /// One of [`Ending`]'s words.
    pub ending: String,
    /// One of [`crate::units::Provenance`]'s words.
    pub provenance: String,
    pub usage: Usage,
    pub currency: String,
    /// 10⁻¹² units of `currency`.
    pub amount_pico: i64,
    pub rate_per_usd: String,
    pub rate_date: String,
    pub cost: Usd,
    /// The identity of the price row that it was settled by; empty in rows of before such rows had one.
    pub price: String,
    /// Whether the vendor lists a price for such a request; the dearest was charged where not.
    pub price_listed: bool,
    /// At what it was settled, in `currency`.
    pub prices: BookedPrices,
    /// The free quota that bore it or a part of it, and what that spared in `currency`, in its 10⁻¹² units.
    pub quota: Option<String>,
    pub spared_pico: i64,
    /// What it was expected to cost, and what was held for it.
    pub quoted: Usd,
    pub held: Usd,
    pub http_status: Option<u16>,
    pub cause: Option<String>,
    pub started_at: Timestamp,
    pub first_byte_ms: Option<u64>,
    /// Unknown where the gateway died over it.
    pub duration_ms: Option<u64>,
}

/// Prices per token of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookedPrices {
    pub input: TokenPrice,
    pub cache_read: TokenPrice,
    pub cache_write: TokenPrice,
    pub output: TokenPrice,
    /// Prices of parts of these kinds, where they cost something else.
    pub cache_write_long: Option<TokenPrice>,
    pub reasoning: Option<TokenPrice>,
    pub image_input: Option<TokenPrice>,
    pub audio_input: Option<TokenPrice>,
    pub audio_output: Option<TokenPrice>,
    /// What is billed by the piece, where anything is.
    pub pieces: Option<PiecePrice>,
}

impl From<&Tariff> for BookedPrices {
    fn from(tariff: &Tariff) -> Self {
        let apart = |part: TokenPrice, whole: TokenPrice| (part != whole).then_some(part);
        Self {
            input: tariff.input,
            cache_read: tariff.cache_read,
            cache_write: tariff.cache_write,
            output: tariff.output,
            cache_write_long: apart(tariff.cache_write_long, tariff.cache_write),
            reasoning: apart(tariff.reasoning, tariff.output),
            image_input: apart(tariff.image_input, tariff.input),
            audio_input: apart(tariff.audio_input, tariff.input),
            audio_output: apart(tariff.audio_output, tariff.output),
            pieces: Some(tariff.pieces).filter(|price| !price.is_free()),
        }
    }
}

/// One row of `requests` with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedRequest {
    pub id: RequestId,
    pub client_request_id: Option<String>,
    pub key: KeyName,
    /// Team, project and tags that it is booked under.
    pub marks: Marks,
    /// What shape of API the client spoke.
    pub frontend: String,
    pub requested_model: String,
    pub stream: bool,
    pub session: Option<String>,
    pub arrived_at: Timestamp,
    /// One of [`super::Outcome`]'s words, or [`BookedRequest::UNDER_WAY`].
    pub outcome: String,
    pub status: Option<u16>,
    pub first_byte_ms: Option<u64>,
    pub duration_ms: Option<u64>,
    /// What the gateway itself added before the first attempt.
    pub overhead_us: Option<u64>,
    pub book_version: String,
    pub usage: Usage,
    pub cost: Usd,
    pub quoted: Usd,
    pub runner_up: Option<Usd>,
    pub baseline_model: Option<String>,
    pub baseline: Option<Usd>,
    /// Those that have ended.
    pub attempts: Vec<BookedAttempt>,
    /// Attempts that have not ended.
    pub open_attempts: usize,
}

const USAGE: &str = "fresh_input, cache_read, cache_write, output, reasoning";

/// What [`booked_request`] reads, with `id` behind.
pub(super) const REQUEST_COLUMNS: &str = "fresh_input, cache_read, cache_write, output, reasoning, client_request_id, key, frontend, \
    requested_model, stream, session, arrived_at_us, outcome, status, first_byte_ms, duration_ms, overhead_us, book_version, \
    cost_pico_usd, quoted_pico_usd, runner_up_pico_usd, baseline_model, baseline_pico_usd, team, project, tags";

impl BookedRequest {
    /// What stands as the outcome of a request that has not ended.
    pub const UNDER_WAY: &'static str = "under_way";
}

impl From<&OpenRequest> for BookedRequest {
    fn from(open: &OpenRequest) -> Self {
        let OpenRequest { opened, attempts, open_attempts, end } = open;
        Self {
            id: opened.id,
            client_request_id: opened.client_request_id.clone(),
            key: opened.key.clone(),
            marks: opened.marks.clone(),
            frontend: opened.frontend.clone().into_owned(),
            requested_model: opened.requested_model.clone(),
            stream: opened.stream,
            session: opened.session.clone(),
            arrived_at: opened.arrived_at,
            outcome: end.map_or(Self::UNDER_WAY, |end| end.outcome.word()).to_owned(),
            status: end.map(|end| end.status).filter(|status| *status != 0),
            first_byte_ms: end.and_then(|end| end.first_byte_ms),
            duration_ms: end.map(|end| end.duration_ms),
            overhead_us: end.map(|end| end.overhead_us),
            book_version: opened.book_version.clone(),
            usage: attempts.iter().fold(Usage::default(), |sum, attempt| sum.plus(&attempt.end.usage)),
            cost: attempts.iter().map(|attempt| attempt.cost.usd).sum(),
            quoted: opened.quoted,
            runner_up: opened.runner_up,
            baseline_model: opened.baseline.as_ref().map(|baseline| baseline.model.clone()),
            // Not known before the answer is whole.
            baseline: None,
            attempts: attempts.iter().map(|attempt| BookedAttempt::from(&**attempt)).collect(),
            open_attempts: *open_attempts,
        }
    }
}

impl From<&ClosedAttempt> for BookedAttempt {
    fn from(attempt: &ClosedAttempt) -> Self {
        let ClosedAttempt { number, opened, end, cost, price } = attempt;
        Self {
            number: *number,
            backend: opened.backend.to_string(),
            provider: opened.provider.clone(),
            model: opened.model.clone(),
            served_model: end.served_model.clone(),
            served_before: end.served_before.clone(),
            ending: end.ending.word().to_owned(),
            provenance: end.provenance.word().to_owned(),
            usage: end.usage,
            currency: price.tariff.currency.code().to_owned(),
            amount_pico: i64::try_from(cost.amount.pico()).unwrap_or(i64::MAX),
            rate_per_usd: opened.terms.exchange_rate().per_usd(),
            rate_date: opened.terms.rate_date().to_owned(),
            cost: cost.usd,
            price: price.id.to_string(),
            price_listed: price.listed,
            prices: BookedPrices::from(&price.tariff),
            quota: end.free.as_ref().map(|free| free.quota.to_string()),
            spared_pico: i64::try_from(price.spared.pico()).unwrap_or(i64::MAX),
            quoted: opened.quoted,
            held: opened.held,
            http_status: end.http_status,
            cause: end.cause.clone(),
            started_at: opened.started_at,
            first_byte_ms: end.first_byte_ms,
            duration_ms: (end.ending != Ending::Lost).then_some(end.duration_ms),
        }
    }
}

impl Books {
    /// One request with its attempts; `None` where the store does not have it (yet).
    pub fn request(&self, id: RequestId) -> Result<Option<BookedRequest>, StoreError> {
        let found = self.explained(self.request_row(id))?;
        let Some(mut request) = found else {
            return Ok(None);
        };
        request.attempts = self.explained(self.attempt_rows(id))?;
        Ok(Some(request))
    }

    /// What the decision about a request was made from; `None` where it is not kept (any more).
    pub fn facts(&self, id: RequestId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT facts FROM decisions WHERE request = ?1";
        self.explained(self.connection().query_row(sql, [id.as_bytes()], |row| row.get(0)).optional())
    }

    fn request_row(&self, id: RequestId) -> rusqlite::Result<Option<BookedRequest>> {
        let sql = format!("SELECT {REQUEST_COLUMNS}, id FROM requests WHERE id = ?1");
        self.connection().query_row(&sql, [id.as_bytes()], booked_request).optional()
    }

    pub(super) fn attempt_rows(&self, id: RequestId) -> rusqlite::Result<Vec<BookedAttempt>> {
        let sql = format!(
            "SELECT {USAGE}, number, backend, provider, model, served_model, ending, provenance, currency, amount_pico, \
             rate_per_usd, rate_date, cost_pico_usd, input_price_pico, cache_read_price_pico, cache_write_price_pico, \
             output_price_pico, price, price_listed, cache_write_long, image_input, audio_input, audio_output, \
             cache_write_long_price_pico, reasoning_price_pico, image_input_price_pico, audio_input_price_pico, \
             audio_output_price_pico, quota, spared_pico, served_before, pieces, piece_price_pico, piece_price_per, quoted_pico_usd, held_pico_usd, http_status, cause, started_at_us, \
             first_byte_ms, duration_ms \
             FROM attempts WHERE request = ?1 ORDER BY number"
        );
        let read = |row: &Row<'_>| {
            Ok(BookedAttempt {
                number: row.get("number")?,
                backend: row.get("backend")?,
                provider: row.get("provider")?,
                model: row.get("model")?,
                served_model: row.get("served_model")?,
                served_before: row.get("served_before")?,
                ending: row.get("ending")?,
                provenance: row.get("provenance")?,
                usage: Usage {
                    cache_write_long: tokens(row, "cache_write_long")?,
                    image_input: tokens(row, "image_input")?,
                    audio_input: tokens(row, "audio_input")?,
                    audio_output: tokens(row, "audio_output")?,
                    pieces: whole(row, "pieces")?.unwrap_or(0),
                    ..usage(row, 0)?
                },
                currency: row.get("currency")?,
                amount_pico: row.get("amount_pico")?,
                rate_per_usd: row.get("rate_per_usd")?,
                rate_date: row.get("rate_date")?,
                cost: usd(row.get("cost_pico_usd")?),
                price: row.get("price")?,
                price_listed: row.get("price_listed")?,
                prices: prices(row)?,
                quota: row.get("quota")?,
                spared_pico: row.get("spared_pico")?,
                quoted: usd(row.get("quoted_pico_usd")?),
                held: usd(row.get("held_pico_usd")?),
                http_status: row.get("http_status")?,
                cause: row.get("cause")?,
                started_at: instant(row, "started_at_us")?,
                first_byte_ms: whole(row, "first_byte_ms")?,
                duration_ms: whole(row, "duration_ms")?,
            })
        };
        self.connection().prepare_cached(&sql)?.query_map([id.as_bytes()], read)?.collect()
    }
}

/// A row of `requests`, without its attempts.
pub(super) fn booked_request(row: &Row<'_>) -> rusqlite::Result<BookedRequest> {
    let key: String = row.get("key")?;
    Ok(BookedRequest {
        id: RequestId::from_bytes(row.get("id")?),
        client_request_id: row.get("client_request_id")?,
        key: KeyName::new(&key),
        marks: Marks::of_row(row.get("team")?, row.get("project")?, &row.get::<_, String>("tags")?),
        frontend: row.get("frontend")?,
        requested_model: row.get("requested_model")?,
        stream: row.get("stream")?,
        session: row.get("session")?,
        arrived_at: instant(row, "arrived_at_us")?,
        outcome: row.get("outcome")?,
        status: row.get("status")?,
        first_byte_ms: whole(row, "first_byte_ms")?,
        duration_ms: whole(row, "duration_ms")?,
        overhead_us: whole(row, "overhead_us")?,
        book_version: row.get("book_version")?,
        usage: usage(row, 0)?,
        cost: usd(row.get("cost_pico_usd")?),
        quoted: usd(row.get("quoted_pico_usd")?),
        runner_up: row.get::<_, Option<i64>>("runner_up_pico_usd")?.map(usd),
        baseline_model: row.get("baseline_model")?,
        baseline: row.get::<_, Option<i64>>("baseline_pico_usd")?.map(usd),
        attempts: Vec::new(),
        open_attempts: 0,
    })
}

fn instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_microsecond(row.get(column)?).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn whole(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.and_then(|count| u64::try_from(count).ok()))
}

fn tokens(row: &Row<'_>, column: &str) -> rusqlite::Result<Tokens> {
    Ok(Tokens::new(whole(row, column)?.unwrap_or(0)))
}

fn prices(row: &Row<'_>) -> rusqlite::Result<BookedPrices> {
    let apart = |column| whole(row, column).map(|price| price.map(TokenPrice::from_pico));
    let price = |column| apart(column).map(Option::unwrap_or_default);
    let per = whole(row, "piece_price_per")?.and_then(|per| u32::try_from(per).ok());
    let pieces = whole(row, "piece_price_pico")?.zip(per).and_then(|(pico, per)| PiecePrice::new(pico, per));
    Ok(BookedPrices {
        input: price("input_price_pico")?,
        cache_read: price("cache_read_price_pico")?,
        cache_write: price("cache_write_price_pico")?,
        output: price("output_price_pico")?,
        cache_write_long: apart("cache_write_long_price_pico")?,
        reasoning: apart("reasoning_price_pico")?,
        image_input: apart("image_input_price_pico")?,
        audio_input: apart("audio_input_price_pico")?,
        audio_output: apart("audio_output_price_pico")?,
        pieces,
    })
}
