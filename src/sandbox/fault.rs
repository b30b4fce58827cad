//! Faults that a test scripts: what a provider does wrong, how often, and how that bends an answer.
//!
//! A fault is ordered for one provider (or `*`, any) and for a number of requests (or until it is lifted). Each request
//! meets the oldest order that fits it and no other, so `two 503s, then a stall` is three orders in that order.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::refusal::Refusal;
use super::script::{Script, Step};
use super::wire::Count;

/// The end of a stream that ends well.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";
/// How long a connection stays open after its last bytes before it is broken, so that they leave the machine first.
const BEFORE_CUT: Duration = Duration::from_millis(5);

/// Something a pretend provider does wrong. `after` counts the frames that carry output tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with an HTTP status and an error body.
    Status {
        status: u16,
        #[serde(default = "server_error", rename = "type")]
        kind: String,
        #[serde(default)]
        code: String,
        #[serde(default = "scripted")]
        message: String,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Answers 429 with `retry-after`.
    RetryAfter { seconds: u64 },
    /// Reads the request and never answers.
    StallBeforeHeaders,
    /// Sends a 200 and headers, then nothing.
    StallAfterHeaders,
    /// Stops sending in the middle and keeps the connection open.
    StallMidStream {
        #[serde(default = "few")]
        after: u64,
    },
    /// Breaks the connection in the middle.
    CutMidStream {
        #[serde(default = "few")]
        after: u64,
    },
    /// Reports no usage at all.
    NoUsage,
    /// Reports these counts instead of the true ones.
    LieAboutUsage {
        #[serde(default)]
        input_tokens: Option<u64>,
        #[serde(default)]
        output_tokens: Option<u64>,
    },
    /// Reports so many hundredths of the true counts, of both sides.
    ScaleUsage { percent: u64 },
    /// Sends an error frame in the middle of a stream, and ends.
    ErrorInStream {
        #[serde(default = "few")]
        after: u64,
        #[serde(default = "scripted")]
        message: String,
    },
    /// Answers 200 and an error as the first frame (or the whole body).
    ErrorFrameFirst {
        #[serde(default = "scripted")]
        message: String,
    },
    /// Waits before the first and between all tokens, whatever the pace.
    Slow {
        #[serde(default)]
        latency_ms: u64,
        #[serde(default)]
        token_ms: u64,
    },
    /// Breaks off inside a JSON text, and ends.
    BadJson {
        #[serde(default = "few")]
        after: u64,
    },
    /// Ends the stream without `[DONE]`.
    NoDone,
    /// Sends comment lines before the first and between all frames (blank lines before a whole answer).
    KeepAliveComments,
    /// Ends lines with CR LF.
    Crlf,
}

fn server_error() -> String {
    "server_error".into()
}

fn scripted() -> String {
    "a scripted fault".into()
}

const fn few() -> u64 {
    3
}

impl Fault {
    /// The fault's word in `/faults` and `/served`.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Status { .. } => "status",
            Fault::RetryAfter { .. } => "retry_after",
            Fault::StallBeforeHeaders => "stall_before_headers",
            Fault::StallAfterHeaders => "stall_after_headers",
            Fault::StallMidStream { .. } => "stall_mid_stream",
            Fault::CutMidStream { .. } => "cut_mid_stream",
            Fault::NoUsage => "no_usage",
            Fault::LieAboutUsage { .. } => "lie_about_usage",
            Fault::ScaleUsage { .. } => "scale_usage",
            Fault::ErrorInStream { .. } => "error_in_stream",
            Fault::ErrorFrameFirst { .. } => "error_frame_first",
            Fault::Slow { .. } => "slow",
            Fault::BadJson { .. } => "bad_json",
            Fault::NoDone => "no_done",
            Fault::KeepAliveComments => "keep_alive_comments",
            Fault::Crlf => "crlf",
        }
    }

    /// The refusal, for a fault that refuses.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Fault::Status { status, kind, code, message, retry_after } => {
                Some(Refusal::new(*status, kind, code, message).retry_after(*retry_after))
            }
            Fault::RetryAfter { seconds } => {
                Some(Refusal::new(429, "rate_limit_error", "rate_limit_exceeded", "scripted").retry_after(Some(*seconds)))
            }
            _ => None,
        }
    }

    /// The count that is reported in place of the true one.
    pub(super) fn reported(&self, truth: Count) -> Option<Count> {
        match self {
            Fault::NoUsage => None,
            Fault::LieAboutUsage { input_tokens, output_tokens } => {
                Some(Count { input: input_tokens.unwrap_or(truth.input), output: output_tokens.unwrap_or(truth.output), ..truth })
            }
            Fault::ScaleUsage { percent } => {
                let scaled = |count: u64| count.saturating_mul(*percent) / 100;
                Some(Count { input: scaled(truth.input), output: scaled(truth.output), ..truth })
            }
            _ => Some(truth),
        }
    }

    /// Bends a streamed answer.
    pub(super) fn bend_stream(&self, script: Script) -> Script {
        match self {
            Fault::StallAfterHeaders => Box::new(std::iter::once(Step::Stall)),
            Fault::StallMidStream { after } => Box::new(first_tokens(script, *after).chain([Step::Stall])),
            Fault::CutMidStream { after } => Box::new(first_tokens(script, *after).chain([Step::Wait(BEFORE_CUT), Step::Cut])),
            Fault::ErrorInStream { after, message } => Box::new(first_tokens(script, *after).chain([error_frame(message)])),
            Fault::ErrorFrameFirst { message } => Box::new(std::iter::once(error_frame(message))),
            Fault::BadJson { after } => {
                let broken = Bytes::from_static(b"data: {\"id\":\"chatcmpl-sandbox\",\"choi\n\n");
                Box::new(first_tokens(script, *after).chain([Step::Send(broken, 0)]))
            }
            Fault::NoDone => Box::new(script.filter(|step| !matches!(step, Step::Send(bytes, _) if bytes == DONE))),
            Fault::KeepAliveComments => {
                let comment = || Step::Send(Bytes::from_static(b": keep-alive\n\n"), 0);
                Box::new(script.flat_map(move |step| [comment(), step]))
            }
            Fault::Crlf => Box::new(script.map(with_crlf)),
            Fault::Slow { latency_ms, token_ms } => slowed(script, *latency_ms, *token_ms),
            _ => script,
        }
    }

    /// Bends a whole answer; the text may change, so its length is taken from what comes back.
    pub(super) fn bend_whole(&self, text: String) -> (usize, Script) {
        let length = text.len();
        let half = || Step::Send(Bytes::copy_from_slice(&text.as_bytes()[..length / 2]), 0);
        let steps = match self {
            Fault::StallAfterHeaders => vec![Step::Stall],
            Fault::StallMidStream { .. } => vec![half(), Step::Stall],
            Fault::CutMidStream { .. } => vec![half(), Step::Wait(BEFORE_CUT), Step::Cut],
            Fault::BadJson { .. } => return (length / 2, Box::new(std::iter::once(half()))),
            Fault::ErrorInStream { message, .. } | Fault::ErrorFrameFirst { message } => {
                let body = error_body(message);
                return (body.len(), Box::new(std::iter::once(Step::Send(body.into(), 0))));
            }
            Fault::KeepAliveComments => {
                let body = format!("\n\n\n{text}");
                return (body.len(), Box::new(std::iter::once(Step::Send(body.into(), 0))));
            }
            _ => vec![Step::Send(text.into(), 0)],
        };
        (length, Box::new(steps.into_iter()))
    }

    /// The wait before the answer that this fault puts in place of the provider's latency.
    pub(super) fn latency(&self) -> Option<Duration> {
        match self {
            Fault::Slow { latency_ms, .. } => Some(Duration::from_millis(*latency_ms)),
            Fault::StallAfterHeaders => Some(Duration::ZERO),
            _ => None,
        }
    }
}

fn error_body(message: &str) -> String {
    Refusal::new(500, "server_error", "", message).body()
}

fn error_frame(message: &str) -> Step {
    Step::Send(format!("data: {}\n\n", error_body(message)).into(), 0)
}

/// The script up to the frame that carries the `after`th token, with what comes before it.
fn first_tokens(script: Script, after: u64) -> impl Iterator<Item = Step> + Send {
    let mut sent = 0;
    script.take_while(move |step| {
        if let Step::Send(_, tokens) = step {
            sent += tokens;
        }
        sent <= after
    })
}

fn with_crlf(step: Step) -> Step {
    match step {
        Step::Send(bytes, tokens) => {
            let text = String::from_utf8_lossy(&bytes).replace('\n', "\r\n");
            Step::Send(text.into(), tokens)
        }
        other => other,
    }
}

fn slowed(script: Script, latency_ms: u64, token_ms: u64) -> Script {
    let between = Duration::from_millis(token_ms);
    let slow = script.flat_map(move |step| match step {
        Step::Wait(_) => [None, None],
        Step::Send(_, 1..) if !between.is_zero() => [Some(Step::Wait(between)), Some(step)],
        other => [Some(other), None],
    });
    Box::new(std::iter::once(Step::Wait(Duration::from_millis(latency_ms))).chain(slow.flatten()))
}

/// A fault and whom it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultOrder {
    /// A provider's id, or `*`.
    pub provider: String,
    pub fault: Fault,
    /// How many requests it hits; `None`: every one until it is lifted.
    pub count: Option<u64>,
}

impl FaultOrder {
    /// Reads `{"provider", "fault", …parameters, "count"}`.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut order: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let Some(serde_json::Value::String(provider)) = order.remove("provider") else {
            return Err("provider must be a provider's id or \"*\"".into());
        };
        let count = match order.remove("count") {
            None | Some(serde_json::Value::Null) => None,
            Some(count) => Some(count.as_u64().ok_or("count must be a whole number, or absent for all requests")?),
        };
        let fault = serde_json::from_value(order.into()).map_err(|error| error.to_string())?;
        Ok(Self { provider, fault, count })
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.fault).unwrap_or_default();
        value["provider"] = json!(self.provider);
        value["count"] = json!(self.count);
        value
    }

    fn fits(&self, provider: &str) -> bool {
        (self.provider == "*" || self.provider == provider) && self.count != Some(0)
    }
}

/// The orders in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    orders: Mutex<Vec<FaultOrder>>,
}

impl Faults {
    pub(super) fn order(&self, order: FaultOrder) {
        self.with(|orders| orders.push(order));
    }

    /// The fault that the next request at this provider meets; counts it.
    pub(super) fn take(&self, provider: &str) -> Option<Fault> {
        self.with(|orders| {
            let order = orders.iter_mut().find(|order| order.fits(provider))?;
            order.count = order.count.map(|left| left - 1);
            let fault = order.fault.clone();
            orders.retain(|order| order.count != Some(0));
            Some(fault)
        })
    }

    pub(super) fn lift_all(&self) {
        self.with(Vec::clear);
    }

    pub(super) fn all(&self) -> Vec<FaultOrder> {
        self.with(|orders| orders.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<FaultOrder>) -> T) -> T {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Script {
        let frame = |n: u64| Step::Send(format!("data: {n}\n\n").into(), 1);
        let role = Step::Send(Bytes::from_static(b"data: role\n\n"), 0);
        let done = Step::Send(Bytes::from_static(DONE), 0);
        Box::new(std::iter::once(role).chain((1..=5).map(frame)).chain([done]))
    }

    fn check(fault: &Fault, expected: &str) {
        let tell = |step| match step {
            Step::Send(bytes, _) => String::from_utf8_lossy(&bytes).trim().replace("data: ", ""),
            Step::Wait(time) => format!("wait{}", time.as_millis()),
            Step::Stall => "stall".into(),
            Step::Cut => "cut".into(),
        };
        let told: Vec<String> = fault.bend_stream(stream()).map(tell).collect();
        assert_eq!(told.join(" "), expected, "{fault:?}");
    }

    #[test]
    fn faults_bend_a_stream_where_they_say() {
        check(&Fault::StallMidStream { after: 2 }, "role 1 2 stall");
        check(&Fault::CutMidStream { after: 0 }, "role wait5 cut");
        check(&Fault::NoDone, "role 1 2 3 4 5");
        check(&Fault::StallAfterHeaders, "stall");
        check(&Fault::Slow { latency_ms: 9, token_ms: 2 }, "wait9 role wait2 1 wait2 2 wait2 3 wait2 4 wait2 5 [DONE]");
        check(&Fault::NoUsage, "role 1 2 3 4 5 [DONE]");
    }

    #[test]
    fn orders_are_met_oldest_first_and_run_out() {
        let faults = Faults::default();
        let order = |provider: &str, fault, count| FaultOrder { provider: provider.into(), fault, count };
        faults.order(order("a", Fault::NoDone, Some(2)));
        faults.order(order("*", Fault::Crlf, None));
        let met: Vec<_> = ["a", "b", "a", "a"].into_iter().map(|provider| faults.take(provider).unwrap().word()).collect();
        assert_eq!(met, ["no_done", "crlf", "no_done", "crlf"]);
        faults.lift_all();
        assert_eq!(faults.take("a"), None);
    }

    #[test]
    fn an_order_is_read_with_its_parameters_and_refused_when_it_makes_no_sense() {
        let read = |text: &str| FaultOrder::read(text.as_bytes());
        let order = read(r#"{"provider":"x","fault":"status","status":503,"count":2,"retry_after":7}"#).unwrap();
        assert_eq!((order.count, order.fault.refusal().unwrap().retry_after), (Some(2), Some(7)));
        assert_eq!(read(r#"{"provider":"*","fault":"stall_before_headers"}"#).unwrap().fault, Fault::StallBeforeHeaders);
        for wrong in
            [r#"{"fault":"crlf"}"#, r#"{"provider":"x","fault":"nonsense"}"#, r#"{"provider":"x","fault":"crlf","count":-1}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
