//! A client that keeps its conversation as SDKs do: whatever an answer gave it goes back as it came, in the client's own shape.

use serde_json::{Map, Value, json};

use super::{Call, Gateway, Whole, chat, messages, responses};

/// The API that a client asks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Messages,
    Responses,
}

/// A conversation with an agent that may think and has the tools that it was begun with.
pub(crate) struct Talk {
    api: Api,
    stream: bool,
    model: String,
    tools: Vec<String>,
    /// Messages, or items of Responses.
    pub(crate) history: Vec<Value>,
}

/// What an answer says, in nobody's words.
pub(crate) struct Said {
    pub(crate) answer: Whole,
    pub(crate) text: String,
    pub(crate) calls: Vec<Called>,
}

/// A call of a tool that waits for its result.
pub(crate) struct Called {
    id: String,
    pub(crate) tool: String,
    pub(crate) arguments: Value,
}

impl Talk {
    pub(crate) fn begin(api: Api, stream: bool, tools: &[&str], question: &str) -> Self {
        let tools = tools.iter().map(|tool| (*tool).to_owned()).collect();
        let mut talk = Self { api, stream, model: "auto".to_owned(), tools, history: Vec::new() };
        talk.say(question);
        talk
    }

    /// With this model and no other.
    pub(crate) fn at(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// The user says something.
    pub(crate) fn say(&mut self, text: &str) {
        self.history.push(json!({"role": "user", "content": text}));
    }

    /// The tools answer, in this order.
    pub(crate) fn answer<'c>(&mut self, results: impl IntoIterator<Item = (&'c Called, &'c str)>) {
        let api = self.api;
        let results = results.into_iter().map(|(Called { id, .. }, text)| match api {
            Api::Chat => json!({"role": "tool", "tool_call_id": id, "content": text}),
            Api::Messages => json!({"type": "tool_result", "tool_use_id": id, "content": text}),
            Api::Responses => json!({"type": "function_call_output", "call_id": id, "output": text}),
        });
        let results: Vec<Value> = results.collect();
        match api {
            Api::Messages => self.history.push(json!({"role": "user", "content": results})),
            Api::Chat | Api::Responses => self.history.extend(results),
        }
    }

    /// Asks with the whole history, which the answer is then a part of. An error is a failure of the test.
    pub(crate) async fn ask(&mut self, gateway: &Gateway) -> Said {
        let answer = gateway.ask(&self.call()).await;
        assert!(answer.status == 200 && answer.complete, "{:?}: {} {}", self.api, answer.status, answer.text());
        let given = match (self.api, self.stream) {
            (Api::Chat, false) => vec![answer.json()["choices"][0]["message"].clone()],
            (Api::Chat, true) => vec![joined_chunks(answer.text())],
            (Api::Messages, false) => vec![json!({"role": "assistant", "content": answer.json()["content"]})],
            (Api::Messages, true) => vec![json!({"role": "assistant", "content": joined_blocks(answer.text())})],
            (Api::Responses, false) => list(&answer.json()["output"]).to_vec(),
            (Api::Responses, true) => items(answer.text()),
        };
        let pieces: Vec<&Value> = match self.api {
            Api::Chat => list(&given[0]["tool_calls"]).iter().chain([&given[0]]).collect(),
            Api::Messages => list(&given[0]["content"]).iter().collect(),
            Api::Responses => given.iter().collect(),
        };
        let (calls, text) =
            (pieces.iter().filter_map(|piece| called(piece)).collect(), pieces.iter().map(|piece| text(piece)).collect());
        self.history.extend(given);
        Said { answer, text, calls }
    }

    /// The request that asks with the whole history.
    pub(crate) fn call(&self) -> Call {
        let schema = json!({"type": "object", "properties": {"place": {"type": "string"}}});
        let tool = |name: &String| match self.api {
            Api::Chat => json!({"type": "function", "function": {"name": name, "parameters": schema}}),
            Api::Messages => json!({"name": name, "input_schema": schema}),
            Api::Responses => json!({"type": "function", "name": name, "parameters": schema, "strict": false}),
        };
        let tools: Vec<Value> = self.tools.iter().map(tool).collect();
        let (history, stream, model) = (&self.history, self.stream, self.model.as_str());
        let body = match self.api {
            Api::Chat => json!({"messages": history, "reasoning_effort": "medium"}),
            Api::Messages => {
                let thinking = json!({"type": "enabled", "budget_tokens": 2048});
                json!({"messages": history, "max_tokens": 6000, "thinking": thinking})
            }
            Api::Responses => {
                let include = ["reasoning.encrypted_content"];
                json!({"input": history, "reasoning": {"effort": "medium"}, "store": false, "include": include})
            }
        };
        let Value::Object(mut body) = body else { panic!("a body") };
        body.extend(Map::from_iter([("model".into(), model.into()), ("stream".into(), stream.into())]));
        if !tools.is_empty() {
            body.insert("tools".into(), tools.into());
        }
        let body = Value::from(body).to_string();
        match self.api {
            Api::Chat => Call::chat(body),
            Api::Messages => Call::messages(body),
            Api::Responses => Call::responses(body),
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The call that a piece of an answer is.
fn called(piece: &Value) -> Option<Called> {
    let (id, function, arguments) = match piece["type"].as_str() {
        Some("function") => (&piece["id"], &piece["function"], &piece["function"]["arguments"]),
        Some("tool_use") => (&piece["id"], piece, &piece["input"]),
        Some("function_call") => (&piece["call_id"], piece, &piece["arguments"]),
        _ => return None,
    };
    // An object where it is not the text of one.
    let arguments = arguments.as_str().map_or_else(|| arguments.clone(), |text| serde_json::from_str(text).expect("JSON"));
    Some(Called { id: words(id), tool: words(&function["name"]), arguments })
}

/// The text that a piece of an answer is: a message of chat, a block, or an item.
fn text(piece: &Value) -> String {
    match (piece["type"].as_str(), piece["role"].as_str()) {
        (Some("text"), _) => words(&piece["text"]),
        (Some("message"), _) => list(&piece["content"]).iter().map(|part| words(&part["text"])).collect(),
        (None, Some(_)) => words(&piece["content"]),
        _ => String::new(),
    }
}

fn append(value: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *value = Value::from(words(value) + more);
    }
}

/// A chat stream as the message that its chunks make: texts joined, calls by their index, lists one behind the other.
fn joined_chunks(stream: &str) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    let (mut calls, mut details) = (Vec::<Value>::new(), Vec::new());
    for chunk in chat::chunks(stream) {
        let delta = &chunk["choices"][0]["delta"];
        for name in ["content", "reasoning_content"] {
            append(&mut message[name], &delta[name]);
        }
        details.extend_from_slice(list(&delta["reasoning_details"]));
        if let Some(extra) = delta.get("extra_content") {
            message["extra_content"] = extra.clone();
        }
        for piece in list(&delta["tool_calls"]) {
            let index = usize::try_from(piece["index"].as_u64().expect("an index")).unwrap();
            if let Some(call) = calls.get_mut(index) {
                append(&mut call["function"]["arguments"], &piece["function"]["arguments"]);
            } else {
                let mut call = piece.clone();
                call.as_object_mut().unwrap().remove("index");
                calls.push(call);
            }
        }
    }
    for (name, entries) in [("reasoning_details", details), ("tool_calls", calls)] {
        if !entries.is_empty() {
            message[name] = entries.into();
        }
    }
    message
}

/// A stream of Messages as the blocks that its events make.
fn joined_blocks(stream: &str) -> Vec<Value> {
    let mut blocks = Vec::<Value>::new();
    let mut input = String::new();
    for (name, event) in messages::events(stream) {
        match name.as_str() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let (block, delta) = (blocks.last_mut().expect("a block"), &event["delta"]);
                for name in ["text", "thinking", "signature"] {
                    append(&mut block[name], &delta[name]);
                }
                input += delta["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !input.is_empty() => {
                blocks.last_mut().expect("a block")["input"] = serde_json::from_str(&std::mem::take(&mut input)).expect("JSON");
            }
            _ => {}
        }
    }
    blocks
}

/// The items of a stream of Responses, which come one by one and all again at its end.
fn items(stream: &str) -> Vec<Value> {
    let events = responses::events(stream);
    let done: Vec<Value> =
        events.iter().filter(|event| event["type"] == "response.output_item.done").map(|event| event["item"].clone()).collect();
    assert_eq!(Some(&Value::from(done.clone())), events.last().map(|last| &last["response"]["output"]), "{stream}");
    done
}
