//! The bytes of an answer in the OpenAI chat dialect: whole, or as the frames of a stream.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::dice::{Dice, mix};
use super::reply::{Choice, Piece, Reply};

/// What every answer carries as its `system_fingerprint`.
const FINGERPRINT: &str = "sandbox";

/// What is said of an answer beside its content.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: i64,
    pub(super) model: String,
    /// Log probabilities are wanted, with this many alternatives.
    pub(super) logprobs: Option<u64>,
}

/// The count that a provider reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) input: u64,
    pub(super) cached: u64,
    /// With reasoning.
    pub(super) output: u64,
    pub(super) reasoning: u64,
    /// The site reports reasoning beside `completion_tokens` instead of in it.
    pub(super) reasoning_outside: bool,
}

impl Count {
    fn json(&self) -> Value {
        let completion = if self.reasoning_outside { self.output.saturating_sub(self.reasoning) } else { self.output };
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": completion,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        })
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "UsageMember::is_absent")]
    usage: UsageMember,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Value>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// The member `usage` of a chunk: not there, `null` until the end, or the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageMember {
    Absent,
    Null,
    Is(Count),
}

impl UsageMember {
    fn is_absent(&self) -> bool {
        *self == UsageMember::Absent
    }
}

impl Serialize for UsageMember {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            UsageMember::Absent | UsageMember::Null => serializer.serialize_none(),
            UsageMember::Is(count) => count.json().serialize(serializer),
        }
    }
}

impl Envelope {
    /// The first frame of a choice: its role and nothing else.
    pub(super) fn role_frame(&self, index: usize, usage: UsageMember) -> Bytes {
        let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
        self.frame(&[ChunkChoice { index, delta, logprobs: None, finish_reason: None }], usage)
    }

    /// The frame of one piece.
    pub(super) fn piece_frame(&self, index: usize, piece: &Piece, usage: UsageMember) -> Bytes {
        let logprobs = match piece {
            Piece::Content(token) => self.logprobs.map(|most| json!({"content": [logprob(token, most)]})),
            Piece::Reasoning(_) | Piece::Call { .. } | Piece::Arguments { .. } => None,
        };
        self.frame(&[ChunkChoice { index, delta: delta(piece), logprobs, finish_reason: None }], usage)
    }

    /// The last frame of a choice: why it ended.
    pub(super) fn finish_frame(&self, index: usize, finish: &'static str, usage: UsageMember) -> Bytes {
        self.frame(&[ChunkChoice { index, delta: Delta::default(), logprobs: None, finish_reason: Some(finish) }], usage)
    }

    /// The frame with the count and no choice.
    pub(super) fn usage_frame(&self, count: Count) -> Bytes {
        self.frame(&[], UsageMember::Is(count))
    }

    fn frame(&self, choices: &[ChunkChoice<'_>], usage: UsageMember) -> Bytes {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        };
        let mut bytes = Vec::with_capacity(320);
        bytes.extend_from_slice(b"data: ");
        // Writing plain values to memory cannot fail; were it to, the frame would be empty and the reader would say so.
        serde_json::to_writer(&mut bytes, &chunk).unwrap_or_default();
        bytes.extend_from_slice(b"\n\n");
        bytes.into()
    }

    /// The whole answer.
    pub(super) fn whole(&self, reply: &Reply, count: Option<Count>) -> String {
        let choices: Vec<Value> = reply.choices.iter().enumerate().map(|(n, choice)| self.whole_choice(n, choice)).collect();
        let mut answer = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        });
        if let Some(count) = count {
            answer["usage"] = count.json();
        }
        answer.to_string()
    }

    fn whole_choice(&self, index: usize, choice: &Choice) -> Value {
        let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::<Value>::new());
        let mut arguments: Vec<String> = Vec::new();
        for piece in &choice.pieces {
            match piece {
                Piece::Content(text) => content.push_str(text),
                Piece::Reasoning(text) => reasoning.push_str(text),
                Piece::Call { id, name, .. } => {
                    calls.push(json!({"id": id, "type": "function", "function": {"name": name}}));
                    arguments.push(String::new());
                }
                Piece::Arguments { place, text } => arguments[*place].push_str(text),
            }
        }
        for (call, arguments) in calls.iter_mut().zip(arguments) {
            call["function"]["arguments"] = arguments.into();
        }
        let content = if calls.is_empty() { Value::from(content) } else { Value::Null };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !reasoning.is_empty() {
            message["reasoning_content"] = reasoning.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let logprobs = self.logprobs.map(|most| whole_logprobs(choice, most));
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish.word()})
    }
}

fn delta(piece: &Piece) -> Delta<'_> {
    match piece {
        Piece::Content(text) => Delta { content: Some(text), ..Delta::default() },
        Piece::Reasoning(text) => Delta { reasoning_content: Some(text), ..Delta::default() },
        Piece::Call { place, id, name } => {
            let function = FunctionDelta { name: Some(name), arguments: "" };
            let call = CallDelta { index: *place, id: Some(id), r#type: Some("function"), function };
            Delta { tool_calls: Some([call]), ..Delta::default() }
        }
        Piece::Arguments { place, text } => {
            let function = FunctionDelta { name: None, arguments: text };
            Delta { tool_calls: Some([CallDelta { index: *place, id: None, r#type: None, function }]), ..Delta::default() }
        }
    }
}

fn whole_logprobs(choice: &Choice, most: u64) -> Value {
    let of = |piece: &Piece| match piece {
        Piece::Content(token) => Some(logprob(token, most)),
        Piece::Reasoning(_) | Piece::Call { .. } | Piece::Arguments { .. } => None,
    };
    json!({"content": choice.pieces.iter().filter_map(of).collect::<Vec<_>>()})
}

/// A pretend log probability, the same for the same token, with alternatives that are less likely.
fn logprob(token: &str, most: u64) -> Value {
    let mut dice = Dice::new(mix(0, token.as_bytes()));
    let mut likely = -f64::from(u16::try_from(dice.below(500)).unwrap_or(0)) / 1000.0;
    let first = json!({"token": token, "logprob": likely, "bytes": token.as_bytes()});
    let mut top = Vec::new();
    for n in 0..most {
        let text = if n == 0 { token.to_owned() } else { format!("alt{n}") };
        top.push(json!({"token": text, "logprob": likely, "bytes": text.as_bytes()}));
        likely -= 0.5;
    }
    let mut entry = first;
    entry["top_logprobs"] = top.into();
    entry
}
