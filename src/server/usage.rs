//! `GET /v1/usage`: what the caller's key used and spent, by day and model; on the operations listener `GET /usage`, the
//! same for every key. Everything that ended before the question is in the answer; what is still under way is not.
//!
//! Amounts are decimal strings with every digit that counts. The sums are exact: they are those of the books' rows.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::Serialize;

use super::parameters::{Given, WrongParameter, parse};
use super::routes::{Front, Marks};
use super::status::{Refusal, refusal, unread, unshared, wrong_parameter};
use crate::ledger::{Books, ReadError, UsageBy, UsageLine, UsageQuery, UsageSums};
use crate::policy::BudgetReport;
use crate::telemetry::Route;
use crate::units::{KeyName, Usage};

/// Days that are answered where none are named.
const USUAL_DAYS: i64 = 30;
/// No question spans more days.
const MOST_DAYS: i64 = 400;
/// How long the books of all gateways may take to answer.
const SHARED_WAIT: Duration = Duration::from_secs(5);
/// No answer has more lines.
const MOST_LINES: usize = 10_000;

/// Who may be asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// A client: its own key.
    Client,
    /// An operator: every key.
    Operator,
}

/// The caller's own usage.
pub(super) async fn own(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::Usage, request.headers());
    let admitted = front.pipeline.in_force.load().keys.admit(request.headers());
    let admission = match admitted {
        Ok(admission) => admission,
        Err(stranger) => return marks.refuse(&refusal(&stranger.into())),
    };
    let now = front.clock.wall();
    let query = match query(request.uri().query(), Audience::Client, now) {
        Ok(query) => UsageQuery { key: Some(admission.key.clone()), ..query },
        Err(wrong) => return marks.refuse(&wrong_parameter(&wrong)),
    };
    let budgets = admission.budgets.report(now).iter().map(Budget::of).collect();
    told(&front, &marks, query, budgets).await
}

/// Anybody's usage, for operators.
pub(super) async fn all(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::AllUsage, request.headers());
    match query(request.uri().query(), Audience::Operator, front.clock.wall()) {
        Ok(query) => told(&front, &marks, query, Vec::new()).await,
        Err(wrong) => marks.refuse(&wrong_parameter(&wrong)),
    }
}

async fn told(front: &Front, marks: &Marks<'_>, query: UsageQuery, budgets: Vec<Budget>) -> Response {
    // One line more than is told shows that there are too many.
    match sums(front, query.clone()).await {
        Ok((lines, _)) if lines.len() > MOST_LINES => {
            let fewer = format!("fewer days: the answer has more than {MOST_LINES} lines");
            marks.refuse(&wrong_parameter(&WrongParameter::new("start_date", fewer)))
        }
        Ok((lines, total)) => marks.own(body(&query, &lines, &total, budgets)),
        Err(refusal) => marks.refuse(&refusal),
    }
}

/// The sums and their total: of all gateways where books are shared, else of this one.
async fn sums(front: &Front, query: UsageQuery) -> Result<(Vec<UsageLine>, UsageSums), Refusal> {
    let asked = UsageQuery { most_lines: MOST_LINES + 1, ..query };
    if let Some(fleet) = &front.fleet {
        let Ok(read) = tokio::time::timeout(SHARED_WAIT, fleet.usage(&asked)).await else {
            return Err(unread(&ReadError::Slow));
        };
        return read.map_err(|error| unshared(&error));
    }
    let read = move |books: &Books| {
        let lines = books.usage(&asked)?;
        let total = books.usage_total(&asked, &lines)?;
        Ok((lines, total))
    };
    front.pipeline.ledger.ask(read).await.map_err(|error| unread(&error))
}

/// Reads the question. Both days are inclusive, since that is how people name a month.
fn query(text: Option<&str>, audience: Audience, now: Timestamp) -> Result<UsageQuery, WrongParameter> {
    const CLIENT: &[&str] = &["start_date", "end_date", "group_by"];
    const OPERATOR: &[&str] = &["start_date", "end_date", "group_by", "key"];
    let given = parse(text, if audience == Audience::Operator { OPERATOR } else { CLIENT })?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let end = date(&given, "end_date")?.unwrap_or(today);
    let usual = end.saturating_sub((USUAL_DAYS - 1).days());
    let from = date(&given, "start_date")?.unwrap_or(usual);
    let until = end.checked_add(1.day()).map_err(|_| WrongParameter::new("end_date", DATE_SHAPE))?;
    if from > end {
        return Err(WrongParameter::new("start_date", "a day that is not after end_date; both are inclusive"));
    }
    if until.duration_since(from) > SignedDuration::from_hours(24 * MOST_DAYS) {
        return Err(WrongParameter::new("start_date", format!("at most {MOST_DAYS} days up to end_date")));
    }
    let group_by = match given.get("group_by") {
        Some(words) => group_by(words, audience)?,
        None => vec![UsageBy::Day, UsageBy::Model],
    };
    Ok(UsageQuery { key: given.get("key").map(KeyName::new), from, until, group_by, most_lines: MOST_LINES })
}

const DATE_SHAPE: &str = "a day (UTC) such as 2026-11-22";

fn date(given: &Given, name: &str) -> Result<Option<Date>, WrongParameter> {
    // Longer forms of ISO 8601 would be read as well, and their time of day silently dropped.
    let read = |text: &str| text.parse().ok().filter(|_| text.len() == 10);
    given.get(name).map(|text| read(text).ok_or_else(|| WrongParameter::new(name, DATE_SHAPE))).transpose()
}

fn group_by(words: &str, audience: Audience) -> Result<Vec<UsageBy>, WrongParameter> {
    let may = |by: UsageBy| audience == Audience::Operator || !matches!(by, UsageBy::Key | UsageBy::Team | UsageBy::Project);
    let known = || UsageBy::WORDS.into_iter().filter(|(by, _)| may(*by));
    let mut group_by = Vec::new();
    for word in words.split(',').map(str::trim) {
        match known().find(|(_, known)| *known == word) {
            Some((by, _)) if !group_by.contains(&by) => group_by.push(by),
            _ => {
                let list: Vec<&str> = known().map(|(_, word)| word).collect();
                return Err(WrongParameter::new("group_by", format!("each at most once, with commas: {}", list.join(", "))));
            }
        }
    }
    if !UsageQuery::is_answerable(&group_by) {
        return Err(WrongParameter::new("group_by", "one of team, project and tag at a time"));
    }
    Ok(group_by)
}

/// What `GET /usage` tells of a question, for whoever asked the books himself.
pub fn body_of(query: &UsageQuery, lines: &[UsageLine], total: &UsageSums) -> bytes::Bytes {
    body(query, lines, total, Vec::new())
}

fn body(query: &UsageQuery, lines: &[UsageLine], total: &UsageSums, budgets: Vec<Budget>) -> bytes::Bytes {
    let has = |by| query.group_by.contains(&by);
    let list = List {
        object: "list",
        start_date: query.from.to_string(),
        end_date: query.until.saturating_sub(1.day()).to_string(),
        group_by: query.group_by.iter().filter_map(|by| word(*by)).collect(),
        data: lines
            .iter()
            .map(|line| Line {
                date: line.day.map(|day| day.to_string()),
                key: has(UsageBy::Key).then_some(Name(line.key.as_deref())),
                model: has(UsageBy::Model).then_some(Name(line.model.as_deref())),
                provider: has(UsageBy::Provider).then_some(Name(line.provider.as_deref())),
                backend: has(UsageBy::Backend).then_some(Name(line.backend.as_deref())),
                team: line.team.as_deref(),
                project: line.project.as_deref(),
                tag: line.tag.as_deref(),
                sums: Sums::of(&line.sums),
            })
            .collect(),
        total: Sums::of(total),
        budgets,
    };
    // Texts and numbers: nothing in it can fail to become JSON.
    serde_json::to_vec(&list).unwrap_or_default().into()
}

fn word(by: UsageBy) -> Option<&'static str> {
    UsageBy::WORDS.into_iter().find(|(known, _)| *known == by).map(|(_, word)| word)
}

// === what is told, as JSON ===

#[derive(Serialize)]
struct List<'l> {
    object: &'static str,
    start_date: String,
    /// Inclusive.
    end_date: String,
    group_by: Vec<&'static str>,
    data: Vec<Line<'l>>,
    total: Sums,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<Budget>,
}

/// The members that were not asked for are absent; null stands for requests without any attempt.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Name<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Name<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Name<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<Name<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'l str>,
    #[serde(flatten)]
    sums: Sums,
}

/// Null where there is nothing to name.
#[derive(Serialize)]
#[serde(transparent)]
struct Name<'l>(Option<&'l str>);

#[derive(Serialize)]
struct Sums {
    requests: u64,
    attempts: u64,
    #[serde(flatten)]
    tokens: Tokens,
    cost_usd: String,
    /// Absent where nothing was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Compared>,
    provenance: Provenances,
    /// Attempts whose answer names another model than its backend had named before.
    served_model_changes: u64,
}

/// Tokens in the words of the API: cached ones are part of the input, reasoning ones of the output.
#[derive(Serialize)]
pub(super) struct Tokens {
    #[serde(rename = "input_tokens")]
    input: u64,
    #[serde(rename = "cached_input_tokens")]
    cached: u64,
    #[serde(rename = "cache_write_tokens")]
    cache_write: u64,
    #[serde(rename = "output_tokens")]
    output: u64,
    #[serde(rename = "reasoning_tokens")]
    reasoning: u64,
}

/// What the answers of so many of the requests would have cost at the baseline.
#[derive(Serialize)]
struct Compared {
    requests: u64,
    cost_usd: String,
}

/// Attempts by where their tokens come from.
#[derive(Serialize)]
struct Provenances {
    reported: u64,
    counted: u64,
    estimated: u64,
}

#[derive(Serialize)]
struct Budget {
    /// Whose it is: `key`, `project`, `team` or `gateway`.
    of: &'static str,
    /// What that is called; null for the gateway.
    name: Option<String>,
    limit_usd: String,
    window: &'static str,
    spent_usd: String,
    held_usd: String,
    /// Null where the budget never refills.
    refills_at: Option<String>,
}

impl Sums {
    fn of(sums: &UsageSums) -> Self {
        let [reported, counted, estimated] = sums.provenance;
        Self {
            requests: sums.requests,
            attempts: sums.attempts,
            tokens: Tokens::of(&sums.usage),
            cost_usd: sums.cost.to_exact(),
            baseline: (sums.compared > 0).then(|| Compared { requests: sums.compared, cost_usd: sums.baseline.to_exact() }),
            provenance: Provenances { reported, counted, estimated },
            served_model_changes: sums.model_changes,
        }
    }
}

impl Tokens {
    pub(super) fn of(usage: &Usage) -> Self {
        Self {
            input: usage.input().get(),
            cached: usage.cache_read.get(),
            cache_write: usage.cache_write.get(),
            output: usage.output.get(),
            reasoning: usage.reasoning.get(),
        }
    }
}

impl Budget {
    fn of(report: &BudgetReport) -> Self {
        Self {
            of: report.payer.kind(),
            name: report.payer.name().map(str::to_owned),
            limit_usd: report.limit.to_exact(),
            window: report.window.every.word(),
            spent_usd: report.spent.to_exact(),
            held_usd: report.held.to_exact(),
            refills_at: report.refills_at.map(|at| at.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, audience: Audience, expected: Result<(&str, &str, &[UsageBy]), (&str, &str)>) {
        let now = "2026-11-22T23:59:59Z".parse().unwrap();
        let told = query(Some(text), audience, now);
        match (told, expected) {
            (Ok(query), Ok((from, until, by))) => {
                assert_eq!((query.from.to_string(), query.until.to_string()), (from.to_owned(), until.to_owned()), "{text}");
                assert_eq!(query.group_by, by, "{text}");
            }
            (Err(wrong), Err((param, part))) => {
                assert_eq!(wrong.name, param, "{text}");
                assert!(wrong.expected.contains(part), "{text}: {}", wrong.expected);
            }
            (told, expected) => panic!("{text}: {told:?} and not {expected:?}"),
        }
    }

    #[test]
    fn a_question_is_days_and_what_to_tell_apart() {
        let usual: &[UsageBy] = &[UsageBy::Day, UsageBy::Model];
        check("", Audience::Client, Ok(("2026-10-24", "2026-11-23", usual)));
        check("start_date=2026-11-01", Audience::Client, Ok(("2026-11-01", "2026-11-23", usual)));
        check("end_date=2026-03-31", Audience::Client, Ok(("2026-03-02", "2026-04-01", usual)));
        let both: &[UsageBy] = &[UsageBy::Backend, UsageBy::Day];
        check("group_by=backend,%20day&end_date=2026-11-22", Audience::Client, Ok(("2026-10-24", "2026-11-23", both)));
        check("start_date=2026-02-01&end_date=2026-02-28", Audience::Client, Ok(("2026-02-01", "2026-03-01", usual)));
        check("group_by=key", Audience::Operator, Ok(("2026-10-24", "2026-11-23", &[UsageBy::Key])));
        let tagged: &[UsageBy] = &[UsageBy::Tag, UsageBy::Model];
        check("group_by=tag,model", Audience::Client, Ok(("2026-10-24", "2026-11-23", tagged)));
        check("group_by=team,tag", Audience::Operator, Err(("group_by", "one of team, project and tag")));
    }

    #[test]
    fn a_wrong_question_is_told_what_would_be_right() {
        for (text, param, part) in [
            ("start_date=yesterday", "start_date", "such as 2026-11-22"),
            ("start_date=2026-11-22T10:00:00Z", "start_date", "such as 2026-11-22"),
            ("end_date=2026-02-30", "end_date", "such as 2026-11-22"),
            ("start_date=2026-11-23&end_date=2026-11-22", "start_date", "not after end_date"),
            ("start_date=2025-01-01", "start_date", "at most 400 days"),
            ("group_by=key", "group_by", "day, model, provider, backend, tag"),
            ("group_by=team", "group_by", "day, model, provider, backend, tag"),
            ("group_by=", "group_by", "day, model"),
            ("group_by=day,day", "group_by", "at most once"),
            ("key=other", "key", "start_date, end_date, group_by"),
            ("start_date=2026-11-01&start_date=2026-11-02", "start_date", "once"),
            ("group_by=%zz", "group_by", "percent"),
        ] {
            check(text, Audience::Client, Err((param, part)));
        }
        check("end_date=9999-12-31", Audience::Client, Err(("end_date", "such as")));
    }
}
