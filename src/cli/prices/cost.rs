//! `tokenbroker prices cost`: what requests cost by the table, one JSON object a line, through the same schedules, sheets and
//! arithmetic that settle an attempt in the books. For checking a vendor's bill, and us.
//!
//! A line that cannot be priced gets a line that says why, and the others go on.

use std::io::BufRead;

use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::{PriceSchedule, Purchase, Snapshot};
use crate::cli::args::{Environment, GatewayArgs};
use crate::cli::output::{Exit, Output};
use crate::cli::setup;
use crate::units::{BilledAt, Course, Thinking, Tokens, Usage};

/// What `--help` ends with.
pub(super) const EXAMPLES: &str = "\
Each line of standard input is one request that has been answered:
  {\"id\": 1, \"provider\": \"PROVIDER\", \"model\": \"MODEL\", \"arrived\": \"2026-11-23T10:00:00+08:00\",
   \"completed\": \"2026-11-23T10:00:09+08:00\", \"input_tokens\": 1000000, \"cached_input_tokens\": 400000,
   \"cache_write_tokens\": 0, \"output_tokens\": 1000, \"reasoning_tokens\": 0, \"thinking\": false, \"batch\": false}
Absent numbers are 0, absent flags false; one instant may stand for both. The input holds its cached and written parts, the
output its reasoning. Written tokens are kept for minutes.

Each line of standard output is what it costs in the currency that the vendor bills in, and the row of the price book:
  {\"id\":1,\"currency\":\"CNY\",\"amount\":\"1.224\",\"price\":\"PROVIDER/MODEL@2026-09-10T04:00:00Z\"}
or why there is no such price: {\"id\": 1, \"error\": \"...\"}";

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// What `prices cost` takes.
#[derive(Debug, Args)]
pub struct CostArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// One request that has been answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    #[serde(default)]
    id: Value,
    provider: String,
    model: String,
    arrived: Option<String>,
    completed: Option<String>,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cached_input_tokens: u64,
    #[serde(default)]
    cache_write_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    reasoning_tokens: u64,
    #[serde(default)]
    thinking: bool,
    #[serde(default)]
    batch: bool,
}

/// What is told of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Cost { id: Value, currency: &'static str, amount: String, price: String },
    Error { id: Value, error: String },
}

/// Runs `tokenbroker prices cost`.
pub(super) fn run(args: &CostArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let setup = match setup::load_or_tell(&args.gateway, environment, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(exit),
    };
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        output.line(serde_json::to_string(&told(&line, &setup.snapshot))?)?;
    }
    Ok(Exit::Success)
}

/// Reads the next line, whole; what is beyond the longest is read and not kept. `false` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', bytes);
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&piece[..piece.len().min((LONGEST_LINE + 1).saturating_sub(line.len()))]);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn told(line: &[u8], snapshot: &Snapshot) -> Told {
    if line.len() > LONGEST_LINE {
        return Told::Error { id: Value::Null, error: format!("the line is longer than {LONGEST_LINE} bytes") };
    }
    match serde_json::from_slice::<Answered>(line) {
        Ok(answered) => {
            let id = answered.id.clone();
            match cost(&answered, snapshot) {
                Ok((currency, amount, price)) => Told::Cost { id, currency, amount, price },
                Err(error) => Told::Error { id, error },
            }
        }
        Err(error) => {
            let id = serde_json::from_slice::<Value>(line).ok().and_then(|value| value.get("id").cloned());
            Told::Error { id: id.unwrap_or_default(), error: error.to_string() }
        }
    }
}

/// Currency, exact amount and the identity of the price row; or why there is no such price.
fn cost(answered: &Answered, snapshot: &Snapshot) -> Result<(&'static str, String, String), String> {
    let usage = usage(answered)?;
    let course = course(answered)?;
    let schedule = snapshot.prices_of(&answered.provider, &answered.model).ok_or_else(|| unknown(answered, snapshot))?;
    let completed = course.completed.unwrap_or(course.arrived);
    let name = format!("{}/{}", answered.provider, answered.model);
    let counts = deciding(schedule, course);
    if schedule.at(counts).is_none() {
        return Err(format!("{name} has no price in force at {counts}"));
    }
    let purchase = if answered.batch { Purchase::Batch } else { Purchase::default() };
    // What counts is the row in force at the instant that it says to look at, whatever was in force before.
    let pricing =
        schedule.pricing(purchase, counts, completed.max(counts)).ok_or_else(|| format!("{name} is sold in no batch"))?;
    let thinking = if answered.thinking { Thinking::On } else { Thinking::Off };
    let billed = pricing.cost(&usage, thinking, Course { arrived: counts, completed: Some(counts) });
    if !billed.listed {
        let thinks = if answered.thinking { " with thinking" } else { "" };
        return Err(format!("{name} has no price for {} input and {} output tokens{thinks}", usage.input(), usage.output));
    }
    Ok((billed.amount.currency().code(), billed.amount.to_exact(), billed.price.to_string()))
}

/// The instant that decides about the price: that of the row in force on arrival; where none was in force then, on completion.
fn deciding(schedule: &PriceSchedule, course: Course) -> Timestamp {
    let completed = course.completed.unwrap_or(course.arrived);
    let row = schedule.at(course.arrived).or_else(|| schedule.at(completed));
    match row.map(|row| row.billed_at).unwrap_or_default() {
        BilledAt::Arrival => course.arrived,
        BilledAt::Completion => completed,
    }
}

fn usage(answered: &Answered) -> Result<Usage, String> {
    let Answered { input_tokens, cached_input_tokens: read, cache_write_tokens: written, output_tokens, .. } = *answered;
    let fresh = read.checked_add(written).and_then(|cached| input_tokens.checked_sub(cached));
    let fresh = fresh.ok_or_else(|| {
        format!("{read} cached and {written} written tokens are more than the {input_tokens} of the input that holds them")
    })?;
    if answered.reasoning_tokens > output_tokens {
        let reasoning = answered.reasoning_tokens;
        return Err(format!("{reasoning} tokens of reasoning are more than the {output_tokens} of the output that holds them"));
    }
    Ok(Usage {
        fresh_input: Tokens::new(fresh),
        cache_read: Tokens::new(read),
        cache_write: Tokens::new(written),
        reasoning: Tokens::new(answered.reasoning_tokens),
        ..Usage::fresh(Tokens::ZERO, Tokens::new(output_tokens))
    })
}

fn course(answered: &Answered) -> Result<Course, String> {
    let instant = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => text
            .parse::<Timestamp>()
            .map(Some)
            .map_err(|_| format!("{name} {text:?} is no instant of RFC 3339, such as 2026-11-23T10:00:00+08:00")),
    };
    let (arrived, completed) = (instant("arrived", &answered.arrived)?, instant("completed", &answered.completed)?);
    match (arrived, completed) {
        (Some(arrived), Some(completed)) if completed < arrived => {
            Err(format!("completed {completed} is before arrived {arrived}"))
        }
        (Some(arrived), completed) => Ok(Course { arrived, completed: completed.or(Some(arrived)) }),
        (None, Some(completed)) => Ok(Course::at(completed)),
        (None, None) => Err("neither arrived nor completed is there: a price is of an instant".to_owned()),
    }
}

fn unknown(answered: &Answered, snapshot: &Snapshot) -> String {
    let Answered { provider, model, .. } = answered;
    if !snapshot.providers().iter().any(|known| known.id == *provider) {
        return format!("the table has no provider {provider:?}");
    }
    format!("the table has no price of {provider}/{model}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../../tests/fixtures/tables/hours.toml");

    fn check(line: &str, expected: &str) {
        let table = Snapshot::parse("hours.toml", TABLE).unwrap();
        assert_eq!(serde_json::to_string(&told(line.as_bytes(), &table)).unwrap(), expected, "{line}");
    }

    /// A request in which only this differs: 1,000,000 tokens in, 400,000 of them cached, 1,000 out, Monday 10:00 in Beijing.
    fn with(more: &str) -> String {
        format!(
            r#"{{"id":"a","provider":"east","model":"peak","completed":"2026-11-23T10:00:00+08:00","input_tokens":1000000,"cached_input_tokens":400000,"output_tokens":1000{more}}}"#
        )
    }

    #[test]
    fn the_peak_hours_are_those_of_the_completion() {
        let price = r#""price":"east/peak@2026-08-16T16:00:00Z""#;
        check(&with(""), &format!(r#"{{"id":"a","currency":"CNY","amount":"1.224",{price}}}"#));
        let at = |arrived: &str, completed: &str| {
            with("").replace(
                r#""completed":"2026-11-23T10:00:00+08:00""#,
                &format!(r#""arrived":"{arrived}","completed":"{completed}""#),
            )
        };
        let half = format!(r#"{{"id":"a","currency":"CNY","amount":"0.612",{price}}}"#);
        check(&at("2026-11-23T11:59:59+08:00", "2026-11-23T12:00:00+08:00"), &half);
        check(&at("2026-11-22T10:00:00+08:00", "2026-11-22T10:00:00+08:00"), &half);
        check(&at("2026-10-01T10:00:00+08:00", "2026-10-01T10:00:00+08:00"), &half);
    }

    #[test]
    fn what_has_no_price_says_why() {
        let error = |text: &str| format!(r#"{{"id":"a","error":"{text}"}}"#);
        check(&with(r#","batch":true"#), &error("east/peak is sold in no batch"));
        check(
            &with("").replace("2026-11-23T10", "2026-08-16T23"),
            &error("east/peak has no price in force at 2026-08-16T15:00:00Z"),
        );
        check(&with("").replace("\"peak\"", "\"pique\""), &error("the table has no price of east/pique"));
        check(&with("").replace("\"east\"", "\"earth\""), &error(r#"the table has no provider \"earth\""#));
        check(
            &with(r#","cache_write_tokens":600001"#),
            &error("400000 cached and 600001 written tokens are more than the 1000000 of the input that holds them"),
        );
        check(
            r#"{"id":"a","provider":"east","model":"cells","completed":"2026-11-23T10:00:00Z","input_tokens":128001}"#,
            &error("east/cells has no price for 128001 input and 0 output tokens"),
        );
        check(r#"{"id":7,"provider":"east"}"#, r#"{"id":7,"error":"missing field `model` at line 1 column 26"}"#);
    }

    #[test]
    fn models_of_the_past_have_their_prices() {
        let line =
            |at: &str| format!(r#"{{"id":1,"provider":"east","model":"gone","completed":"{at}","output_tokens":1000000}}"#);
        check(&line("2024-05-20T15:59:59Z"), r#"{"id":1,"currency":"CNY","amount":"8","price":"east/gone"}"#);
        check(
            &line("2024-05-20T16:00:00Z"),
            r#"{"id":1,"currency":"CNY","amount":"0","price":"east/gone@2024-05-20T16:00:00Z"}"#,
        );
    }

    #[test]
    fn cells_thinking_and_batches() {
        let line = |more: &str| {
            format!(
                r#"{{"id":1,"provider":"east","model":"cells","completed":"2026-11-23T10:00:00Z","input_tokens":32000,{more}}}"#
            )
        };
        let told = |amount: &str| format!(r#"{{"id":1,"currency":"CNY","amount":"{amount}","price":"east/cells"}}"#);
        check(&line(r#""output_tokens":200"#), &told("0.026"));
        check(&line(r#""output_tokens":201"#), &told("0.027208"));
        check(&line(r#""output_tokens":200,"thinking":true"#), &told("0.0288"));
        check(&line(r#""output_tokens":1000,"batch":true"#), &told("0.0144"));
    }
}
