//! For the tests of reading requests into conversations and of writing answers: requests by their text, sequences of pieces as a
//! dialect's reader would bring them, and clients that put a stream together again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{About, FrontendRef};
use crate::canonical::conversation::{OwnTool, Seal, SealKind};
use crate::canonical::{Answer, Conversation, Delta, Finish, Request, Untranslatable};
use crate::units::{Tokens, Usage};

pub(super) const KINDS: [SealKind; 6] = [
    SealKind::AnthropicSignature,
    SealKind::AnthropicRedacted,
    SealKind::GeminiSignature,
    SealKind::OpenAiEncrypted,
    SealKind::BedrockSignature,
    SealKind::BedrockRedacted,
];

/// Reads a request as the path does.
pub(super) fn conversation(frontend: FrontendRef, body: &str) -> Result<Conversation, Untranslatable> {
    let request = frontend.parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new());
    frontend.conversation(&request.unwrap_or_else(|error| panic!("{body}: {error:?}")))
}

/// The request cannot be said in another shape, for this reason.
pub(super) fn refused(frontend: FrontendRef, body: &str, what: &str) {
    let error = conversation(frontend, body).expect_err(body);
    assert!(error.what.contains(what), "{body}: {}", error.what);
}

pub(super) fn about(wants_usage: bool) -> About {
    let (id, model, created) = ("req_1".into(), "served".into(), 1_790_000_000);
    About { id, model, created, wants_usage, asked: Bytes::new(), own_tools: Vec::new() }
}

/// Of a client that declared `f` as a custom tool, and `g` within a namespace.
pub(super) fn about_own_tools() -> About {
    let own = |name: &str, namespace: Option<&str>, custom| {
        let function = namespace.map_or(name.to_owned(), |namespace| format!("{namespace}__{name}"));
        OwnTool { function, name: name.into(), namespace: namespace.map(str::to_owned), custom }
    };
    About { own_tools: vec![own("f", None, true), own("g", Some("n"), false)], ..about(true) }
}

/// The frames of a stream.
pub(super) fn stream(frontend: FrontendRef, deltas: &[Delta], wants_usage: bool) -> String {
    stream_about(frontend, deltas, about(wants_usage))
}

pub(super) fn stream_about(frontend: FrontendRef, deltas: &[Delta], about: About) -> String {
    let mut writer = frontend.stream_writer(about);
    let mut out = BytesMut::new();
    for delta in deltas {
        writer.write(delta.clone(), &mut out);
    }
    writer.end(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// A whole answer.
pub(super) fn whole(frontend: FrontendRef, deltas: &[Delta]) -> Value {
    whole_about(frontend, deltas, &about(true))
}

pub(super) fn whole_about(frontend: FrontendRef, deltas: &[Delta], about: &About) -> Value {
    serde_json::from_slice(&frontend.answer_body(&Answer::of(deltas.iter().cloned()), about)).unwrap()
}

pub(super) fn begin() -> Delta {
    Delta::Begin { id: Some("a1".into()), model: Some("m".into()) }
}

pub(super) fn text(piece: &str) -> Delta {
    Delta::Text(piece.into())
}

pub(super) fn thought(piece: &str) -> Delta {
    Delta::Thought(piece.into())
}

pub(super) fn sealed(kind: SealKind) -> Delta {
    Delta::Sealed(Seal { kind, value: "sig".into() })
}

pub(super) fn call(slot: u32, name: &str) -> Delta {
    Delta::Call { slot, id: Some(format!("call_{slot}")), name: name.into(), seal: None }
}

pub(super) fn arguments(slot: u32, piece: &str) -> Delta {
    Delta::Arguments { slot, piece: piece.into() }
}

pub(super) fn used() -> Usage {
    Usage {
        cache_read: Tokens::new(900),
        cache_write: Tokens::new(60),
        cache_write_long: Tokens::new(20),
        reasoning: Tokens::new(5),
        ..Usage::fresh(Tokens::new(31), Tokens::new(25))
    }
}

/// What a provider says next.
#[derive(Debug, Clone)]
enum Step {
    Text(String),
    Thought(String),
    Sealed(SealKind),
    Refusal(String),
    Call {
        pieces: Vec<String>,
        sealed: bool,
    },
    /// The next piece of some call's arguments.
    More(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let pieces = || {
        let text = "[a-z\"\\\\{}é]{0,6}";
        let object = prop_oneof![
            text.prop_map(|text| json!({ "a": text, "b": [1] }).to_string()),
            text.prop_map(|text| json!({ "input": text }).to_string()),
        ];
        let cut = prop_oneof![4 => object.clone(), 1 => object.prop_map(|text| text.chars().take(text.chars().count() / 2).collect()), 1 => Just(String::new())];
        (cut, 1_usize..5).prop_map(|(text, size)| {
            let chars: Vec<char> = text.chars().collect();
            chars.chunks(size).map(|piece| piece.iter().collect()).collect()
        })
    };
    prop_oneof![
        3 => "[a-zé\n ]{0,4}".prop_map(Step::Text),
        2 => "[a-z]{0,4}".prop_map(Step::Thought),
        1 => proptest::sample::select(&KINDS[..]).prop_map(Step::Sealed),
        1 => "[a-z]{0,3}".prop_map(Step::Refusal),
        2 => (pieces(), any::<bool>()).prop_map(|(pieces, sealed)| Step::Call { pieces, sealed }),
        6 => any::<usize>().prop_map(Step::More),
    ]
}

/// An answer in pieces, with calls that interleave.
pub(super) fn deltas() -> impl Strategy<Value = Vec<Delta>> {
    let finish = prop_oneof![
        Just(Finish::Stop),
        Just(Finish::Length),
        Just(Finish::Calls),
        Just(Finish::StopSequence(None)),
        Just(Finish::Filtered)
    ];
    (proptest::collection::vec(step(), 0..24), finish, any::<bool>()).prop_map(|(steps, finish, told)| {
        let mut deltas = vec![begin()];
        let mut open: Vec<VecDeque<Delta>> = Vec::new();
        for step in steps {
            let next = match step {
                Step::Text(piece) => Some(Delta::Text(piece)),
                Step::Thought(piece) => Some(Delta::Thought(piece)),
                Step::Sealed(kind) => Some(sealed(kind)),
                Step::Refusal(piece) => Some(Delta::Refusal(piece)),
                Step::More(any) => open.len().checked_sub(1).and_then(|last| open[any % (last + 1)].pop_front()),
                Step::Call { pieces, sealed } => {
                    let slot = u32::try_from(open.len()).unwrap();
                    open.push(pieces.iter().map(|piece| arguments(slot, piece)).collect());
                    let seal = sealed.then(|| Seal { kind: SealKind::GeminiSignature, value: format!("seal{slot}") });
                    Some(Delta::Call { slot, id: Some(format!("call_{slot}")), name: "f".into(), seal })
                }
            };
            deltas.extend(next);
        }
        deltas.extend(open.into_iter().flatten());
        deltas.push(Delta::Finish(finish));
        deltas.extend(told.then(|| Delta::Usage(used())));
        deltas
    })
}

/// Puts a chat stream together: the message, why it stopped, and what was used.
pub(super) fn chat_client(stream: &str) -> (Value, Value, Value) {
    let (mut message, mut finish, mut usage) = (Map::new(), Value::Null, Value::Null);
    let data: Vec<&str> = stream.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    for chunk in &data[..data.len() - 1] {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        if !chunk["usage"].is_null() {
            usage = chunk["usage"].clone();
        }
        let Some(choice) = chunk["choices"].get(0) else { continue };
        assert!(finish.is_null(), "something follows the end: {stream}");
        finish = choice["finish_reason"].clone();
        for (member, value) in choice["delta"].as_object().unwrap() {
            add_to_message(&mut message, member, value);
        }
    }
    (Value::Object(message), finish, usage)
}

fn add_to_message(message: &mut Map<String, Value>, member: &str, value: &Value) {
    let slot = message.entry(member).or_insert_with(|| if value.is_array() { json!([]) } else { json!("") });
    match value {
        Value::String(piece) => *slot = json!(slot.as_str().unwrap().to_owned() + piece),
        Value::Array(entries) if member == "reasoning_details" => slot.as_array_mut().unwrap().extend(entries.iter().cloned()),
        Value::Array(entries) => {
            let (entry, calls) = (&entries[0], slot.as_array_mut().unwrap());
            let index = usize::try_from(entry["index"].as_u64().unwrap()).unwrap();
            if index == calls.len() {
                let mut call = entry.clone();
                call.as_object_mut().unwrap().remove("index");
                calls.push(call);
                return;
            }
            let kind = calls[index]["type"].as_str().unwrap().to_owned();
            let text = if kind == "custom" { "input" } else { "arguments" };
            assert!(entry.get("id").is_none() && entry.get("type").is_none() && entry[&kind].get("name").is_none(), "{entry}");
            let so_far = calls[index][&kind][text].as_str().unwrap();
            calls[index][&kind][text] = json!(so_far.to_owned() + entry[&kind][text].as_str().unwrap());
        }
        Value::Object(_) if member == "extra_content" => *slot = value.clone(),
        other => panic!("{member}: {other}"),
    }
}

/// Puts a Messages stream together, as strictly as its SDKs do: one block at a time, in order.
pub(super) fn messages_client(stream: &str) -> Value {
    let mut message = Value::Null;
    let (mut open, mut input, mut stopped) = (None, String::new(), false);
    for frame in stream.split_terminator("\n\n") {
        let (event, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event.strip_prefix("event: "), Some(kind));
        assert!(!stopped && (kind == "message_start") == message.is_null(), "{frame}");
        match kind {
            "message_start" => message = data["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!((open, data["index"].as_u64()), (None, Some(content.len() as u64)), "{frame}");
                content.push(data["content_block"].clone());
                open = data["index"].as_u64();
                input.clear();
            }
            "content_block_delta" => {
                assert_eq!(data["index"].as_u64(), open, "{frame}");
                add_to_block(message["content"].as_array_mut().unwrap().last_mut().unwrap(), &data["delta"], &mut input);
            }
            "content_block_stop" => {
                assert_eq!(data["index"].as_u64(), open.take(), "{frame}");
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                if block["type"] == "tool_use" {
                    let parsed = serde_json::from_str::<Value>(&input).ok().filter(Value::is_object);
                    block["input"] = parsed.unwrap_or_else(|| json!({ "_raw": input }));
                }
            }
            "message_delta" => {
                assert_eq!(open, None, "{frame}");
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                message["usage"] = data["usage"].clone();
            }
            "message_stop" => stopped = true,
            other => panic!("{other}"),
        }
    }
    assert!(stopped, "{stream}");
    message
}

fn add_to_block(block: &mut Value, delta: &Value, input: &mut String) {
    let member = match (block["type"].as_str().unwrap(), delta["type"].as_str().unwrap()) {
        ("text", "text_delta") => "text",
        ("thinking", "thinking_delta") => "thinking",
        ("thinking", "signature_delta") => "signature",
        ("tool_use", "input_json_delta") => return input.push_str(delta["partial_json"].as_str().unwrap()),
        other => panic!("{other:?}"),
    };
    block[member] = json!(block[member].as_str().unwrap().to_owned() + delta[member].as_str().unwrap());
}

/// Puts a stream of Responses together as its SDKs do, and holds each event to what was told before. Answers the response.
pub(super) fn responses_client(stream: &str) -> Value {
    let (mut output, mut open, mut ended) = (Vec::<Value>::new(), Vec::<bool>::new(), None);
    for (number, frame) in stream.split_terminator("\n\n").enumerate() {
        let (event, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event.strip_prefix("event: "), Some(kind));
        assert_eq!((data["sequence_number"].as_u64(), &ended), (Some(number as u64), &None), "{frame}");
        let beginning = ["response.created", "response.in_progress"].get(number);
        assert!(beginning.is_none_or(|begin| *begin == kind && data["response"]["status"] == "in_progress"), "{frame}");
        let index = data["output_index"].as_u64().map_or(usize::MAX, |index| usize::try_from(index).unwrap());
        match kind {
            "response.created" | "response.in_progress" => {}
            "response.output_item.added" => {
                assert_eq!(index, output.len(), "{frame}");
                assert!(open.iter().all(|open| !open), "one item after the other: {frame}");
                output.push(data["item"].clone());
                open.push(true);
            }
            "response.output_item.done" => {
                assert!(std::mem::take(&mut open[index]), "{frame}");
                let (told, mut done) = (&output[index], data["item"].clone());
                if done.get("encrypted_content").is_some() && told.get("encrypted_content").is_none() {
                    done.as_object_mut().unwrap().remove("encrypted_content");
                }
                if done.get("status").is_some() {
                    done["status"] = json!("in_progress");
                }
                assert_eq!(*told, done, "what was told adds up to the item: {frame}");
                output[index] = data["item"].clone();
            }
            "response.completed" | "response.incomplete" => {
                assert_eq!(kind.strip_prefix("response."), data["response"]["status"].as_str());
                assert_eq!(data["response"]["output"], json!(output), "{frame}");
                ended = Some(data["response"].clone());
            }
            _ => {
                assert_eq!((data["item_id"].as_str(), open[index]), (output[index]["id"].as_str(), true), "{frame}");
                add_to_item(&mut output[index], kind.strip_prefix("response.").unwrap(), &data);
            }
        }
    }
    assert!(open.iter().all(|open| !open), "{stream}");
    ended.expect(stream)
}

fn add_to_item(item: &mut Value, kind: &str, data: &Value) {
    let (parts, place) = if item["type"] == "reasoning" { ("summary", "summary_index") } else { ("content", "content_index") };
    let at = data[place].as_u64().map_or(0, |at| usize::try_from(at).unwrap());
    let grow = |told: &mut Value| *told = json!(told.as_str().unwrap().to_owned() + data["delta"].as_str().unwrap());
    match (kind, item["type"].as_str().unwrap()) {
        ("content_part.added", "message") | ("reasoning_summary_part.added", "reasoning") => {
            let parts = item[parts].as_array_mut().unwrap();
            assert_eq!(at, parts.len());
            parts.push(data["part"].clone());
        }
        ("content_part.done", "message") | ("reasoning_summary_part.done", "reasoning") => {
            assert_eq!(item[parts][at], data["part"]);
        }
        ("output_text.delta", "message") | ("reasoning_summary_text.delta", "reasoning") => grow(&mut item[parts][at]["text"]),
        ("output_text.done", "message") | ("reasoning_summary_text.done", "reasoning") => {
            assert_eq!(item[parts][at]["text"], data["text"]);
        }
        ("refusal.delta", "message") => grow(&mut item[parts][at]["refusal"]),
        ("refusal.done", "message") => assert_eq!(item[parts][at]["refusal"], data["refusal"]),
        ("function_call_arguments.delta", "function_call") => grow(&mut item["arguments"]),
        ("function_call_arguments.done", "function_call") => {
            assert_eq!((&item["arguments"], &item["name"]), (&data["arguments"], &data["name"]));
        }
        ("custom_tool_call_input.delta", "custom_tool_call") => grow(&mut item["input"]),
        ("custom_tool_call_input.done", "custom_tool_call") => assert_eq!(item["input"], data["input"]),
        other => panic!("{other:?}"),
    }
}

/// Any JSON that is made of a shape's own words.
pub(super) fn any_json(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let word = move || proptest::sample::select(words);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
        "\\PC{0,5}".prop_map(Value::from),
        Just(json!("data:image/png;base64,AA==")),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

/// Requests that may be none, made of a shape's own words: messages of its roles with parts of its types, and what stands beside
/// them.
pub(super) fn any_request(roles: &'static [&'static str], words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let object = move |named: &'static str, names: &'static [&'static str]| {
        let members = proptest::collection::vec((proptest::sample::select(words), any_json(words)), 0..4);
        (proptest::sample::select(names), members).prop_map(move |(name, members)| {
            let mut object: Map<_, _> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            object.insert(named.into(), json!(name));
            object
        })
    };
    let parts = proptest::collection::vec(object("type", words).prop_map(Value::Object), 0..3).prop_map(Value::from);
    let content = prop_oneof![4 => parts, 2 => Just(json!("hi")), 1 => any_json(words)];
    let message = (object("role", roles), content).prop_map(|(mut message, content)| {
        message.insert("content".into(), content);
        Value::Object(message)
    });
    (proptest::collection::vec(message, 1..3), object("stop", words)).prop_map(|(messages, mut body)| {
        body.extend([("model".into(), json!("m")), ("max_tokens".into(), json!(9)), ("messages".into(), messages.into())]);
        Value::Object(body).to_string()
    })
}

/// Reads it whether or not the path would: neither reading may panic. Answers whether there was a conversation.
pub(super) fn survives(frontend: FrontendRef, body: &str) -> bool {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let unchecked = Request { body: bytes.clone(), ..Request::saying("") };
    let _ = frontend.conversation(&unchecked);
    frontend.parse(bytes, &HeaderMap::new()).is_ok_and(|request| frontend.conversation(&request).is_ok())
}
