//! A provider that thinks before it calls tools, in the words of each API that makes something of its thoughts, and what such a
//! provider was sent of a conversation.

use serde_json::{Value, json};

use super::provider::{Arrived, Script, stream, whole};
use super::{Provider, Site, chat, gemini, messages};

/// The API of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinker {
    /// Chat of a site that tells its thoughts as a text without a seal and wants to see them again.
    Chat,
    /// Chat of a site that tells no thoughts and refuses messages that do.
    StrictChat,
    /// Anthropic's Messages: a thought is signed.
    Messages,
    /// Gemini: the first call of an answer is signed.
    Gemini,
}

/// A thought that ends in calls of two tools.
pub(crate) struct Thought {
    /// Whose it is: names its text, its seal and the ids of its calls.
    pub(crate) of: &'static str,
    pub(crate) tools: [&'static str; 2],
}

impl Thought {
    pub(crate) fn text(&self) -> String {
        format!("The thought of {}.", self.of)
    }

    pub(crate) fn seal(&self) -> String {
        format!("seal-{}", self.of)
    }
}

const PLACE: &str = r#"{"place":"Oslo"}"#;

impl Thinker {
    pub(crate) fn site(self, provider: &Provider) -> Site {
        let site = Site::of(provider).thinks();
        match self {
            Thinker::Chat => site.quirk("reasoning_returned = true"),
            Thinker::StrictChat => site.quirk(r#"thoughts_refused = ["reasoning_content", "reasoning", "reasoning_details"]"#),
            Thinker::Messages => site.only_messages(),
            Thinker::Gemini => site.only_gemini(),
        }
    }

    /// Thinks, and calls both tools for Oslo at once. 9 tokens in, 4 out.
    pub(crate) fn calls(self, streamed: bool, thought: &Thought) -> Script {
        let (Thought { of, tools }, text, seal) = (thought, &thought.text(), &thought.seal());
        match self {
            Thinker::Chat | Thinker::StrictChat => {
                let call = |nth: usize| {
                    let function = json!({"name": tools[nth], "arguments": PLACE});
                    json!({"index": nth, "id": format!("call_{of}_{nth}"), "type": "function", "function": function})
                };
                let thinks = self == Thinker::Chat;
                if !streamed {
                    let mut said = json!({"role": "assistant", "content": null, "tool_calls": [call(0), call(1)]});
                    if thinks {
                        said["reasoning_content"] = text.as_str().into();
                    }
                    return whole(&chat::answer_with(&said.to_string(), "tool_calls", &chat::usage_object(9, 4)));
                }
                let deltas =
                    [json!({"reasoning_content": text}), json!({"tool_calls": [call(0)]}), json!({"tool_calls": [call(1)]})];
                let deltas = deltas.iter().skip(usize::from(!thinks)).map(|delta| chat::delta(&delta.to_string(), "null"));
                let end = [chat::delta("{}", r#""tool_calls""#), chat::usage(9, 4), chat::DONE.to_owned()];
                stream(&[chat::role()].into_iter().chain(deltas).chain(end).collect::<Vec<_>>())
            }
            Thinker::Messages => {
                let call = |nth: usize, input: Value| json!({"type": "tool_use", "id": format!("toolu_{of}_{nth}"), "name": tools[nth], "input": input});
                let input: Value = serde_json::from_str(PLACE).unwrap();
                if !streamed {
                    let thinking = json!({"type": "thinking", "thinking": text, "signature": seal});
                    let blocks = json!([thinking, call(0, input.clone()), call(1, input)]);
                    return whole(&messages::answer_with(&blocks.to_string(), r#"{"input_tokens":9,"output_tokens":4}"#));
                }
                let block = |index: u64, block: &Value, deltas: &[Value]| {
                    let deltas: String = deltas.iter().map(|delta| messages::delta(index, &delta.to_string())).collect();
                    messages::block(index, &block.to_string()) + &deltas + &messages::end(index)
                };
                let thinking =
                    [json!({"type": "thinking_delta", "thinking": text}), json!({"type": "signature_delta", "signature": seal})];
                let input = [json!({"type": "input_json_delta", "partial_json": PLACE})];
                stream(&[
                    messages::start(r#"{"input_tokens":9,"output_tokens":1}"#),
                    block(0, &json!({"type": "thinking", "thinking": "", "signature": ""}), &thinking),
                    block(1, &call(0, json!({})), &input),
                    block(2, &call(1, json!({})), &input),
                    messages::finish("tool_use", r#"{"output_tokens":4}"#),
                    messages::STOP.to_owned(),
                ])
            }
            Thinker::Gemini => {
                let parts = [gemini::thought(text), gemini::call(tools[0], PLACE, seal), gemini::call(tools[1], PLACE, "")];
                let usage = gemini::usage(9, 4);
                if streamed {
                    stream(&gemini::frames(&parts, &usage))
                } else {
                    whole(&gemini::answer(&parts.join(","), "STOP", &usage))
                }
            }
        }
    }

    /// Answers with a text and without a thought. 9 tokens in, 4 out.
    pub(crate) fn says(self, streamed: bool, text: &str) -> Script {
        match (self, streamed) {
            (Thinker::Chat | Thinker::StrictChat, false) => whole(&chat::answer(text, 9, 4)),
            (Thinker::Chat | Thinker::StrictChat, true) => {
                stream(&[chat::role(), chat::text(text), chat::finish(), chat::usage(9, 4), chat::DONE.to_owned()])
            }
            (Thinker::Messages, false) => whole(&messages::answer(text, 9, 4)),
            (Thinker::Messages, true) => {
                let mut events = messages::opened();
                let finish = messages::finish("end_turn", r#"{"output_tokens":4}"#);
                events.extend([messages::text(text), messages::end(0), finish, messages::STOP.to_owned()]);
                stream(&events)
            }
            (Thinker::Gemini, false) => whole(&gemini::answer(&gemini::text(text), "STOP", &gemini::usage(9, 4))),
            (Thinker::Gemini, true) => stream(&gemini::frames(&[gemini::text(text)], &gemini::usage(9, 4))),
        }
    }

    /// What the provider was sent.
    pub(crate) fn heard(self, arrived: &Arrived) -> Heard {
        Heard { api: self, body: serde_json::from_str(arrived.text()).unwrap() }
    }
}

/// A request as it reached a provider.
pub(crate) struct Heard {
    api: Thinker,
    pub(crate) body: Value,
}

/// One turn in which the assistant called tools.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The tools in the order of their calls, each with what it answered.
    pub(crate) answered: Vec<(String, String)>,
    /// The thought that stands in the turn: its text, and its seal. In Gemini's words each call has a seal.
    pub(crate) thought: Option<String>,
    pub(crate) seals: Vec<String>,
}

impl Heard {
    /// Every turn of the assistant with calls, which are all answered right behind it and nowhere else.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let turns = self.turns();
        let is_of_assistant = |turn: &Value| matches!(turn["role"].as_str(), Some("assistant" | "model"));
        let places = turns.iter().enumerate().filter(|(_, turn)| is_of_assistant(turn) && !self.calls(turn).is_empty());
        let steps: Vec<Step> = places
            .map(|(place, turn)| {
                let behind = turns[place + 1..].iter().take_while(|turn| !is_of_assistant(turn));
                let results: Vec<(String, String)> = behind.flat_map(|turn| self.results(turn)).collect();
                let answered = self.calls(turn).into_iter().enumerate().map(|(nth, (id, tool))| {
                    // Gemini's calls have no id: the name and the place tell whose result it is.
                    let mine = |(result, (of, _)): &(usize, &(String, String))| {
                        *of == id && (self.api != Thinker::Gemini || *result == nth)
                    };
                    let mut found = results.iter().enumerate().filter(mine).map(|(_, (_, text))| text.clone());
                    let text = found.next().unwrap_or_else(|| panic!("no result of {tool}: {:#}", self.body));
                    assert_eq!(found.next(), None, "{:#}", self.body);
                    (tool, text)
                });
                let answered: Vec<_> = answered.collect();
                assert_eq!(answered.len(), results.len(), "{:#}", self.body);
                let (thought, seals) = self.thought(turn);
                Step { answered, thought, seals }
            })
            .collect();
        let all: usize = turns.iter().map(|turn| self.results(turn).len()).sum();
        assert_eq!(all, steps.iter().map(|step| step.answered.len()).sum::<usize>(), "{:#}", self.body);
        steps
    }

    fn turns(&self) -> &[Value] {
        let name = if self.api == Thinker::Gemini { "contents" } else { "messages" };
        self.body[name].as_array().unwrap()
    }

    /// The parts or blocks of a turn; of a message of chat, itself.
    fn parts<'v>(&self, turn: &'v Value) -> Vec<&'v Value> {
        let name = if self.api == Thinker::Gemini { "parts" } else { "content" };
        match self.api {
            Thinker::Chat | Thinker::StrictChat => vec![turn],
            Thinker::Messages | Thinker::Gemini => turn[name].as_array().map(|parts| parts.iter().collect()).unwrap_or_default(),
        }
    }

    /// The id of each call of a turn, and its tool.
    fn calls(&self, turn: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parts = self.parts(turn);
        match self.api {
            Thinker::Chat | Thinker::StrictChat => {
                let calls = turn["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
                calls.iter().map(|call| (text(&call["id"]), text(&call["function"]["name"]))).collect()
            }
            Thinker::Messages => parts
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|call| (text(&call["id"]), text(&call["name"])))
                .collect(),
            Thinker::Gemini => {
                let calls = parts.iter().map(|part| &part["functionCall"]["name"]).filter(|name| name.is_string());
                calls.map(|name| (text(name), text(name))).collect()
            }
        }
    }

    /// What tools answered in a turn: the call's id, or what was called, and the text.
    fn results(&self, turn: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let result = |part: &Value| match self.api {
            Thinker::Chat | Thinker::StrictChat => Some((text(part.get("tool_call_id")?), text(&part["content"]))),
            Thinker::Messages => Some((text(part.get("tool_use_id")?), text(&part["content"][0]["text"]))),
            Thinker::Gemini => {
                let response = part.get("functionResponse")?;
                Some((text(&response["name"]), text(&response["response"]["result"])))
            }
        };
        self.parts(turn).into_iter().filter_map(result).collect()
    }

    fn thought(&self, turn: &Value) -> (Option<String>, Vec<String>) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let parts = self.parts(turn);
        match self.api {
            Thinker::Chat | Thinker::StrictChat => (text(&turn["reasoning_content"]), Vec::new()),
            Thinker::Messages => {
                let thoughts =
                    || parts.iter().filter(|block| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking")));
                let seals = thoughts().filter_map(|block| text(&block["signature"]).or_else(|| text(&block["data"])));
                (thoughts().next().and_then(|block| text(&block["thinking"])), seals.collect())
            }
            Thinker::Gemini => {
                let thought = parts.iter().find(|part| part["thought"] == true).and_then(|part| text(&part["text"]));
                (thought, parts.iter().filter_map(|part| text(&part["thoughtSignature"])).collect())
            }
        }
    }
}
