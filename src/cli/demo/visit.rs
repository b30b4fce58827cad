//! Sends one request of the tour through the gateway and notes what became of it: the decision, the answer, its price,
//! and what it would have cost elsewhere.

use anyhow::{Context, bail};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tour::Stop;
use crate::catalog::{Purchase, Snapshot};
use crate::clock::SharedClock;
use crate::sandbox::loopback::{self, Answer};
use crate::sandbox::{Fault, FaultOrder, Sandbox};
use crate::tasks::Tasks;
use crate::units::{Course, Pricing, Thinking, Tokens, Usage, Usd};

/// What the demo reads of `POST /v1/route`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Decided {
    candidates: Vec<Candidate>,
    rejected: Vec<LeftOut>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Candidate {
    backend: String,
    provider: String,
    expected_usd: String,
    tokens: ExpectedTokens,
}

/// The tokens that a backend was expected to count and to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct ExpectedTokens {
    input: u64,
    output: u64,
}

/// A backend that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct LeftOut {
    pub(super) backend: String,
    pub(super) why: String,
}

/// A backend and what this request costs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Priced {
    pub(super) backend: String,
    /// On the table's scale of 0 to 100.
    pub(super) quality: Option<u8>,
    pub(super) cost: Usd,
}

/// An attempt that failed before the answer came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FailedAttempt {
    pub(super) provider: String,
    pub(super) model: String,
    /// The HTTP status it answered with.
    pub(super) status: u16,
}

/// One request, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) won: Priced,
    /// What it was expected to cost there before it was sent.
    pub(super) quoted: Option<Usd>,
    /// The next best.
    pub(super) runner_up: Option<Priced>,
    /// The adequate one where the request would have cost most.
    pub(super) dearest: Option<Priced>,
    /// What it would have cost at the baseline.
    pub(super) baseline: Usd,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) failed: Vec<FailedAttempt>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// The beginning of the answer, on one line.
    pub(super) said: String,
    /// The gateway's own short reason.
    pub(super) decision: String,
    pub(super) request_id: String,
}

/// The running demo, as a guide to it.
pub(super) struct Guide<'d> {
    pub(super) sandbox: &'d Sandbox,
    pub(super) snapshot: &'d Snapshot,
    /// `http://address:port` of the gateway's API.
    pub(super) api: String,
    pub(super) baseline: &'d str,
    pub(super) tasks: Tasks,
    pub(super) clock: SharedClock,
}

impl Guide<'_> {
    /// Sends one request and tells what became of it.
    pub(super) async fn visit(&self, stop: &Stop) -> anyhow::Result<Visit> {
        let decided: Decided = serde_json::from_slice(&self.post("/v1/route", stop).await?.whole().await?)
            .context("the gateway's decision cannot be read")?;
        let first = decided.candidates.first().context("no backend of the sandbox is adequate")?;
        if stop.breaks_first_choice {
            self.sandbox.order(FaultOrder { provider: first.provider.clone(), fault: overloaded(), count: None });
        }
        let before = self.sandbox.served().len();
        let answer = self.post("/v1/chat/completions", stop).await?;
        let told = Told::read(answer, stop.streamed()).await;
        self.sandbox.lift_faults();
        let told = told?;
        let failed = self.failed_since(before);
        self.compare(decided, told, failed)
    }

    async fn post(&self, path: &str, stop: &Stop) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.api);
        let headers = [("content-type", "application/json"), ("authorization", "Bearer demo")];
        let mut answer = loopback::call(&self.tasks, Method::POST, &url, &headers, stop.body.to_string()).await?;
        if answer.status != 200 {
            let body = answer.whole().await?;
            bail!("{}: {path} answered {}: {}", stop.title, answer.status, String::from_utf8_lossy(&body));
        }
        Ok(answer)
    }

    fn failed_since(&self, before: usize) -> Vec<FailedAttempt> {
        let served = self.sandbox.served().into_iter().skip(before);
        let failed = served.filter(|row| row.status != 200);
        failed.map(|row| FailedAttempt { provider: row.provider, model: row.model, status: row.status }).collect()
    }

    fn compare(&self, decided: Decided, told: Told, failed: Vec<FailedAttempt>) -> anyhow::Result<Visit> {
        let found = decided.candidates.iter().find(|candidate| candidate.backend == told.backend);
        let winner = found.with_context(|| format!("{} answered, which was not adequate", told.backend))?;
        let there =
            |candidate: &Candidate| self.priced(&candidate.backend, elsewhere(&told.usage, winner.tokens, candidate.tokens));
        let is_failed = |candidate: &Candidate| failed.iter().any(|attempt| attempt.provider == candidate.provider);
        let others = decided.candidates.iter().filter(|candidate| candidate.backend != winner.backend);
        let runner_up = others.clone().find(|candidate| !is_failed(candidate)).map(there).transpose()?;
        let dearest = others.map(there).collect::<anyhow::Result<Vec<_>>>()?.into_iter().max_by_key(|other| other.cost);
        let baseline = decided.candidates.iter().find(|candidate| candidate.backend == self.baseline);
        let baseline = baseline.map_or_else(|| self.priced(self.baseline, told.usage), there)?.cost;
        Ok(Visit {
            won: Priced { cost: told.cost, ..self.priced(&told.backend, told.usage)? },
            quoted: Usd::parse(&winner.expected_usd).ok(),
            runner_up,
            dearest,
            baseline,
            left_out: decided.rejected,
            failed,
            input_tokens: told.usage.input().get(),
            output_tokens: told.usage.output.get(),
            said: told.said,
            decision: told.decision,
            request_id: told.request_id,
        })
    }

    /// What these tokens cost at a backend.
    fn priced(&self, backend: &str, usage: Usage) -> anyhow::Result<Priced> {
        let found = self.snapshot.backend_named(backend).with_context(|| format!("{backend} is not in the table"))?;
        let now = self.clock.wall();
        let billed = |pricing: Pricing| pricing.cost(&usage, Thinking::Unsaid, Course::at(now)).amount;
        let amount = found.prices.pricing(Purchase::default(), now, now).map(billed);
        let cost = amount.and_then(|amount| self.snapshot.fx.convert(amount, now));
        let cost = cost.with_context(|| format!("{backend} has no price"))?;
        Ok(Priced { backend: backend.to_owned(), quality: found.quality.score, cost })
    }
}

/// What another backend would have counted and written, none of it cached: the tokens that were billed, in the proportion
/// in which the gateway expected them of the two. A model that thinks writes more of the same answer.
fn elsewhere(billed: &Usage, here: ExpectedTokens, there: ExpectedTokens) -> Usage {
    let scaled = |count: u64, here: u64, there: u64| Tokens::new((count * there).checked_div(here).unwrap_or(count));
    let input = scaled(billed.input().get(), here.input, there.input);
    Usage::fresh(input, scaled(billed.output.get(), here.output, there.output))
}

fn overloaded() -> Fault {
    Fault::Status {
        status: 503,
        kind: "server_error".into(),
        code: "overloaded".into(),
        message: "told to fail by the demo".into(),
        retry_after: None,
    }
}

/// What an answer says of itself.
struct Told {
    backend: String,
    cost: Usd,
    usage: Usage,
    said: String,
    decision: String,
    request_id: String,
}

impl Told {
    async fn read(mut answer: Answer, streamed: bool) -> anyhow::Result<Self> {
        let body = answer.whole().await?;
        let (said, reported) = if streamed { streamed_answer(&body) } else { whole_answer(&body)? };
        let cost = answer.header("x-tokenbroker-cost-usd");
        let cost = Usd::parse(cost).map_err(|why| anyhow::anyhow!("the answer's price {cost:?} cannot be read: {why}"))?;
        Ok(Self {
            backend: answer.header("x-tokenbroker-backend").to_owned(),
            cost,
            usage: usage(&reported),
            said,
            decision: answer.header("x-tokenbroker-decision").to_owned(),
            request_id: answer.header("x-tokenbroker-request-id").to_owned(),
        })
    }
}

/// The text and the count of a whole answer.
fn whole_answer(body: &[u8]) -> anyhow::Result<(String, Value)> {
    let mut answer: Value = serde_json::from_slice(body).context("the answer is not JSON")?;
    let message = &answer["choices"][0]["message"];
    let said = match message["tool_calls"].as_array() {
        Some(calls) => calls.iter().map(call_text).collect::<Vec<_>>().join("  "),
        None => message["content"].as_str().unwrap_or_default().to_owned(),
    };
    Ok((said, answer["usage"].take()))
}

fn call_text(call: &Value) -> String {
    let text = |member: &str| call["function"][member].as_str().unwrap_or_default().to_owned();
    format!("{}({})", text("name"), text("arguments"))
}

/// The text and the count of a stream.
fn streamed_answer(body: &[u8]) -> (String, Value) {
    let text = String::from_utf8_lossy(body);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let (mut said, mut usage) = (String::new(), Value::Null);
    for mut chunk in data.filter_map(|data| serde_json::from_str::<Value>(data).ok()) {
        said.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        if chunk["usage"].is_object() {
            usage = chunk["usage"].take();
        }
    }
    (said, usage)
}

/// All tokens as they were billed: at a site that reports reasoning beside the output, the total tells.
fn usage(reported: &Value) -> Usage {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let input = number(&reported["prompt_tokens"]);
    let output = number(&reported["total_tokens"]).saturating_sub(input).max(number(&reported["completion_tokens"]));
    Usage::fresh(Tokens::new(input), Tokens::new(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_read_whole_and_streamed_alike() {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 9});
        let whole = json!({"choices": [{"message": {"content": "a b"}}], "usage": usage});
        assert_eq!(whole_answer(whole.to_string().as_bytes()).unwrap(), ("a b".to_owned(), usage.clone()));
        let chunk = |text: &str| json!({"choices": [{"delta": {"content": text}}], "usage": null});
        let last = json!({"choices": [], "usage": usage});
        let stream = format!("data: {}\n\ndata: {}\n\ndata: {last}\n\ndata: [DONE]\n\n", chunk("a"), chunk(" b"));
        assert_eq!(streamed_answer(stream.as_bytes()), ("a b".to_owned(), usage.clone()));
        assert_eq!(super::usage(&usage), Usage::fresh(Tokens::new(5), Tokens::new(4)));
    }

    #[test]
    fn elsewhere_the_tokens_are_those_expected_there() {
        let billed = Usage::fresh(Tokens::new(100), Tokens::new(50));
        let expected = |input, output| ExpectedTokens { input, output };
        let check = |here, there, input, output| {
            assert_eq!(elsewhere(&billed, here, there), Usage::fresh(Tokens::new(input), Tokens::new(output)));
        };
        check(expected(90, 200), expected(90, 600), 100, 150);
        check(expected(90, 200), expected(45, 200), 50, 50);
        check(expected(0, 0), expected(45, 200), 100, 50);
    }

    #[test]
    fn tool_calls_are_told_as_calls() {
        let call = json!({"function": {"name": "f", "arguments": "{\"a\":1}"}});
        let answer = json!({"choices": [{"message": {"content": null, "tool_calls": [call, call]}}], "usage": {}});
        assert_eq!(whole_answer(answer.to_string().as_bytes()).unwrap().0, "f({\"a\":1})  f({\"a\":1})");
    }
}
