//! The columns of an exported row: one list, which every form is written from. A row is an attempt with its request; a request of
//! which none was made has one row without the columns of an attempt.
//!
//! Names are those of OpenTelemetry's conventions for generative AI where it has one for the same thing (`gen_ai.*`, `error.type`;
//! in development, as read 2026-11-29), and `tokenbroker.*` for everything else. As there, `input_tokens` counts cached ones and
//! `output_tokens` reasoning. `gen_ai.provider.name` has the table's id of who was asked.

use std::borrow::Cow;

use crate::ledger::{BookedAttempt, BookedRequest, Ending};
use crate::units::{TokenPrice, Tokens, Usage, Usd};

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell<'r> {
    /// Nothing is known, or there is no such thing.
    Absent,
    Text(Cow<'r, str>),
    Count(u64),
    Flag(bool),
    /// Microseconds since 1970 (UTC).
    Instant(i64),
    /// 10⁻¹² units of the currency that the column or the row names.
    Money(i128),
}

/// What all cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Count,
    Flag,
    Instant,
    Money,
}

/// A column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    of: Source,
}

/// Where a cell comes from.
enum Source {
    Request(fn(&BookedRequest) -> Cell<'_>),
    Attempt(fn(&BookedAttempt) -> Cell<'_>),
}

impl Column {
    /// The cell of a row.
    pub(super) fn cell<'r>(&self, request: &'r BookedRequest, attempt: Option<&'r BookedAttempt>) -> Cell<'r> {
        match (&self.of, attempt) {
            (Source::Request(of), _) => of(request),
            (Source::Attempt(of), Some(attempt)) => of(attempt),
            (Source::Attempt(_), None) => Cell::Absent,
        }
    }
}

const fn request(name: &'static str, kind: Kind, of: fn(&BookedRequest) -> Cell<'_>) -> Column {
    Column { name, kind, of: Source::Request(of) }
}

const fn attempt(name: &'static str, kind: Kind, of: fn(&BookedAttempt) -> Cell<'_>) -> Column {
    Column { name, kind, of: Source::Attempt(of) }
}

/// Every column, in their order.
pub(super) const COLUMNS: &[Column] = &[
    // Who and what.
    request("tokenbroker.request.id", Kind::Text, |r| Cell::Text(r.id.to_string().into())),
    request("tokenbroker.request.client_id", Kind::Text, |r| maybe(r.client_request_id.as_deref())),
    request("tokenbroker.key", Kind::Text, |r| text(r.key.as_str())),
    request("tokenbroker.team", Kind::Text, |r| maybe(r.marks.team.as_deref().filter(|name| !name.is_empty()))),
    request("tokenbroker.project", Kind::Text, |r| maybe(r.marks.project.as_deref().filter(|name| !name.is_empty()))),
    request("tokenbroker.tags", Kind::Text, |r| Cell::Text(r.marks.tags_text().into())),
    request("gen_ai.conversation.id", Kind::Text, |r| maybe(r.session.as_deref())),
    request("tokenbroker.frontend", Kind::Text, |r| text(&r.frontend)),
    request("gen_ai.operation.name", Kind::Text, |r| text(operation(&r.frontend))),
    request("gen_ai.request.model", Kind::Text, |r| text(&r.requested_model)),
    request("tokenbroker.request.stream", Kind::Flag, |r| Cell::Flag(r.stream)),
    // When, and how it ended.
    request("tokenbroker.request.arrived_at", Kind::Instant, |r| Cell::Instant(r.arrived_at.as_microsecond())),
    request("tokenbroker.request.outcome", Kind::Text, |r| text(&r.outcome)),
    request("tokenbroker.request.status", Kind::Count, |r| count(r.status.map(u64::from))),
    request("tokenbroker.request.first_byte_ms", Kind::Count, |r| count(r.first_byte_ms)),
    request("tokenbroker.request.duration_ms", Kind::Count, |r| count(r.duration_ms)),
    request("tokenbroker.request.overhead_us", Kind::Count, |r| count(r.overhead_us)),
    // What the request cost, and what it might have. The decision goes by the request's id.
    request("tokenbroker.decision.id", Kind::Text, |r| Cell::Text(r.id.to_string().into())),
    request("tokenbroker.request.attempts", Kind::Count, |r| Cell::Count(r.attempts.len() as u64)),
    request("tokenbroker.request.cost_usd", Kind::Money, |r| usd(r.cost)),
    request("tokenbroker.request.quoted_usd", Kind::Money, |r| usd(r.quoted)),
    request("tokenbroker.request.next_best_usd", Kind::Money, |r| r.runner_up.map_or(Cell::Absent, usd)),
    request("tokenbroker.request.baseline_model", Kind::Text, |r| maybe(r.baseline_model.as_deref())),
    request("tokenbroker.request.baseline_usd", Kind::Money, |r| r.baseline.map_or(Cell::Absent, usd)),
    request("tokenbroker.price_table", Kind::Text, |r| text(&r.book_version)),
    // Who was asked, and what served.
    attempt("tokenbroker.attempt.number", Kind::Count, |a| Cell::Count(a.number.into())),
    attempt("tokenbroker.attempt.backend", Kind::Text, |a| text(&a.backend)),
    attempt("gen_ai.provider.name", Kind::Text, |a| text(&a.provider)),
    attempt("tokenbroker.attempt.model", Kind::Text, |a| text(&a.model)),
    attempt("gen_ai.response.model", Kind::Text, |a| maybe(a.served_model.as_deref())),
    attempt("tokenbroker.attempt.served_before", Kind::Text, |a| maybe(a.served_before.as_deref())),
    attempt("tokenbroker.attempt.ending", Kind::Text, |a| text(&a.ending)),
    attempt("error.type", Kind::Text, error_type),
    attempt("tokenbroker.attempt.cause", Kind::Text, |a| maybe(a.cause.as_deref())),
    attempt("http.response.status_code", Kind::Count, |a| count(a.http_status.map(u64::from))),
    attempt("tokenbroker.attempt.started_at", Kind::Instant, |a| Cell::Instant(a.started_at.as_microsecond())),
    attempt("tokenbroker.attempt.first_byte_ms", Kind::Count, |a| count(a.first_byte_ms)),
    attempt("tokenbroker.attempt.duration_ms", Kind::Count, |a| count(a.duration_ms)),
    // What it used.
    attempt("tokenbroker.usage.provenance", Kind::Text, |a| text(&a.provenance)),
    attempt("gen_ai.usage.input_tokens", Kind::Count, |a| tokens(a, |u| u.input())),
    attempt("gen_ai.usage.cache_read.input_tokens", Kind::Count, |a| tokens(a, |u| u.cache_read)),
    attempt("gen_ai.usage.cache_creation.input_tokens", Kind::Count, |a| tokens(a, |u| u.cache_write)),
    attempt("tokenbroker.usage.cache_creation_long.input_tokens", Kind::Count, |a| tokens(a, |u| u.cache_write_long)),
    attempt("tokenbroker.usage.image.input_tokens", Kind::Count, |a| tokens(a, |u| u.image_input)),
    attempt("tokenbroker.usage.audio.input_tokens", Kind::Count, |a| tokens(a, |u| u.audio_input)),
    attempt("gen_ai.usage.output_tokens", Kind::Count, |a| tokens(a, |u| u.output)),
    attempt("gen_ai.usage.reasoning.output_tokens", Kind::Count, |a| tokens(a, |u| u.reasoning)),
    attempt("tokenbroker.usage.audio.output_tokens", Kind::Count, |a| tokens(a, |u| u.audio_output)),
    attempt("tokenbroker.usage.pieces", Kind::Count, |a| Cell::Count(a.usage.pieces)),
    // What that cost, by which prices and rate.
    attempt("tokenbroker.price.id", Kind::Text, |a| text(&a.price)),
    attempt("tokenbroker.price.listed", Kind::Flag, |a| Cell::Flag(a.price_listed)),
    attempt("tokenbroker.vendor.currency", Kind::Text, |a| text(&a.currency)),
    attempt("tokenbroker.vendor.amount", Kind::Money, |a| Cell::Money(a.amount_pico.into())),
    attempt("tokenbroker.vendor.spared", Kind::Money, |a| Cell::Money(a.spared_pico.into())),
    attempt("tokenbroker.vendor.quota", Kind::Text, |a| maybe(a.quota.as_deref())),
    attempt("tokenbroker.exchange.per_usd", Kind::Text, |a| text(&a.rate_per_usd)),
    attempt("tokenbroker.exchange.date", Kind::Text, |a| text(&a.rate_date)),
    attempt("tokenbroker.cost_usd", Kind::Money, |a| usd(a.cost)),
    attempt("tokenbroker.quoted_usd", Kind::Money, |a| usd(a.quoted)),
    attempt("tokenbroker.held_usd", Kind::Money, |a| usd(a.held)),
    attempt("tokenbroker.price.input", Kind::Money, |a| price(a.prices.input)),
    attempt("tokenbroker.price.cache_read", Kind::Money, |a| price(a.prices.cache_read)),
    attempt("tokenbroker.price.cache_write", Kind::Money, |a| price(a.prices.cache_write)),
    attempt("tokenbroker.price.output", Kind::Money, |a| price(a.prices.output)),
];

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.into())
}

fn maybe(known: Option<&str>) -> Cell<'_> {
    known.map_or(Cell::Absent, text)
}

fn count<'r>(known: Option<u64>) -> Cell<'r> {
    known.map_or(Cell::Absent, Cell::Count)
}

fn usd<'r>(amount: Usd) -> Cell<'r> {
    Cell::Money(amount.pico())
}

/// Of a token, in the vendor's currency.
fn price<'r>(price: TokenPrice) -> Cell<'r> {
    Cell::Money(price.pico().into())
}

fn tokens(attempt: &BookedAttempt, of: fn(&Usage) -> Tokens) -> Cell<'_> {
    Cell::Count(of(&attempt.usage).get())
}

/// As the conventions have it: absent where nothing failed, a status where there is one, else a word.
fn error_type(attempt: &BookedAttempt) -> Cell<'_> {
    if attempt.ending == Ending::Complete.word() {
        return Cell::Absent;
    }
    match attempt.http_status {
        Some(status) if status >= 400 => Cell::Text(status.to_string().into()),
        _ => text(&attempt.ending),
    }
}

/// The conventions' word for what a shape of API does. Theirs are fewer than there are APIs; ours stand in for the rest.
fn operation(frontend: &str) -> &str {
    match frontend {
        "openai_chat" | "openai_responses" | "anthropic_messages" => "chat",
        "openai_completions" => "text_completion",
        "openai_embeddings" => "embeddings",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_stands_twice_and_each_has_a_prefix_of_those_that_are_known() {
        let names: BTreeSet<&str> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), COLUMNS.len());
        let known = ["tokenbroker.", "gen_ai.", "error.", "http."];
        assert!(names.iter().all(|name| known.iter().any(|prefix| name.starts_with(prefix))), "{names:?}");
    }
}
