//! Parsing and splicing: the result is the original but for the members that were to differ.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::canonical::request::ThoughtMember;
use crate::canonical::{RareMembers, Request};
use crate::catalog::capability::{
    KnownHints, OutputBoundField, Quirks, RefusedThoughts, StreamUsage, ThinkingDepth, ThinkingEffort, ThinkingSwitch,
};
use crate::dialect::{Dialect, OpenAiChat, Outgoing};
use crate::frontend::{BadRequest, parse};
use crate::units::Tokens;

/// A site that takes everything as OpenAI does.
const PLAIN: Quirks = Quirks {
    output_bound: OutputBoundField::Either,
    developer_role: true,
    stream_usage: StreamUsage::OnRequest,
    reasoning_outside_output: false,
    messages_input_includes_cache: false,
    thinking_depth: ThinkingDepth::Tokens,
    thinking_switch: ThinkingSwitch::ReasoningEffort,
    thinking_effort: ThinkingEffort::Never,
    template_arguments: false,
    reasoning_returned: false,
    thoughts_refused: RefusedThoughts::NONE,
    custom_tools: true,
    refuses: RareMembers::NONE,
    adaptive_thinking: false,
    short_call_ids: false,
    call_id_chars: None,
    random_seed: false,
    required_is_any: false,
    messages_formats: true,
    unsigned_thoughts: false,
    unopened_thoughts: false,
    hints: KnownHints::NONE,
    instructions_anywhere: false,
    encrypted_reasoning: false,
};

fn read(body: &str) -> Result<Request, BadRequest> {
    parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
}

fn send(body: &str, quirks: Quirks, bound: Option<u64>) -> String {
    let out = Outgoing { output_bound: bound.map(Tokens::new), ..Outgoing::to("up", quirks) };
    String::from_utf8(OpenAiChat.encode(&read(body).unwrap(), &out).to_vec()).unwrap()
}

#[test]
fn a_request_that_needs_no_change_is_the_same_bytes() {
    let body = r#" { "model" : "up", "messages":[{"role":"developer","content":"x"}], "max_tokens":5, "x":1e400 } "#;
    let request = read(body).unwrap();
    let out = Outgoing { output_bound: Some(Tokens::new(9)), ..Outgoing::to("up", PLAIN) };
    let sent = OpenAiChat.encode(&request, &out);
    assert_eq!(sent.as_ptr(), request.body.as_ptr(), "shared, not copied");
    assert_eq!(sent, body);
}

/// Some chats refuse messages with members of others.
#[test]
fn thoughts_that_are_refused_are_cut() {
    let strict = Quirks { thoughts_refused: RefusedThoughts::WORDS.into_iter().map(|(member, _)| member).collect(), ..PLAIN };
    let content = Quirks { thoughts_refused: [ThoughtMember::ReasoningContent].into_iter().collect(), ..PLAIN };
    let cases = [
        (
            strict,
            r#"{"model":"up","messages":[{"role":"assistant","reasoning_content" : "a\"}","content":null, "reasoning":null,"reasoning_details":[{"x":[]}]},{"reasoni\u006eg":"","content":"x"}, {"reasoning_content":"t"}]}"#,
            r#"{"model":"up","messages":[{"role":"assistant","content":null},{"content":"x"}, {}]}"#,
        ),
        (
            content,
            r#"{"model":"up","messages":[{"annotations":[{"a":"\"}"}] , "role":"assistant","reasoning_content":"a"},{"role":"assistant","annotations":null,"annotation\u0073":[]},{"role":"user","annotations":[]}]}"#,
            r#"{"model":"up","messages":[{ "role":"assistant"},{"role":"assistant"},{"role":"user","annotations":[]}]}"#,
        ),
        (
            PLAIN,
            r#"{"model":"up","messages":[{"role":"assistant","annotations":[{}]}]}"#,
            r#"{"model":"up","messages":[{"role":"assistant","annotations":[{}]}]}"#,
        ),
        (
            content,
            r#"{"model":"up","messages":[{"role":"assistant","reasoning_content":"a","reasoning":"b","content":"{\"reasoning_content\":1}"}]}"#,
            r#"{"model":"up","messages":[{"role":"assistant","reasoning":"b","content":"{\"reasoning_content\":1}"}]}"#,
        ),
    ];
    for (quirks, body, expected) in cases {
        assert_eq!(send(body, quirks, None), expected, "{body}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_difference_alone() {
    let max_tokens = Quirks { output_bound: OutputBoundField::MaxTokens, ..PLAIN };
    let completion = Quirks { output_bound: OutputBoundField::MaxCompletionTokens, ..PLAIN };
    let no_developer = Quirks { developer_role: false, ..PLAIN };
    let returned = Quirks { reasoning_returned: true, ..PLAIN };
    let random = Quirks { random_seed: true, ..PLAIN };
    let any = Quirks { required_is_any: true, ..PLAIN };
    let always = Quirks { stream_usage: StreamUsage::Always, ..PLAIN };
    let m = r#""messages":[{}]"#;
    let cases = [
        (PLAIN, None, r#"{"model":"a\"b",M}"#, r#"{"model":"up",M}"#),
        (PLAIN, None, r#"{"model":"\u0075p",M}"#, r#"{"model":"\u0075p",M}"#),
        (PLAIN, None, r#"{"tokenbroker":{},"model":"up",M}"#, r#"{"model":"up",M}"#),
        (PLAIN, None, r#"{"model":"up" , "tokenbroker":{"race":2} ,M}"#, r#"{"model":"up" , M}"#),
        (PLAIN, None, r#"{"model":"up",M , "tokenbroker":null }"#, r#"{"model":"up",M  }"#),
        (random, None, r#"{"model":"up",M,"seed" : 3}"#, r#"{"model":"up",M,"random_seed" : 3}"#),
        (PLAIN, None, r#"{"model":"up",M,"seed" : 3}"#, r#"{"model":"up",M,"seed" : 3}"#),
        (any, None, r#"{"model":"up",M,"tool_choice": "required" }"#, r#"{"model":"up",M,"tool_choice": "any" }"#),
        (any, None, r#"{"model":"up",M,"tool_choice":"any"}"#, r#"{"model":"up",M,"tool_choice":"any"}"#),
        (any, None, r#"{"model":"up",M,"tool_choice":"auto"}"#, r#"{"model":"up",M,"tool_choice":"auto"}"#),
        (PLAIN, None, r#"{"model":"up",M,"tool_choice":"any"}"#, r#"{"model":"up",M,"tool_choice":"required"}"#),
        (PLAIN, None, r#"{"model":"up",M,"tool_choice": "required"}"#, r#"{"model":"up",M,"tool_choice": "required"}"#),
        (PLAIN, Some(7), r#"{"model":"up",M}"#, r#"{"model":"up","max_tokens":7,M}"#),
        (PLAIN, Some(7), r#"{"model":"up",M,"max_tokens":9}"#, r#"{"model":"up",M,"max_tokens":7}"#),
        (PLAIN, Some(7), r#"{"model":"up",M,"max_tokens":null}"#, r#"{"model":"up",M,"max_tokens":7}"#),
        (PLAIN, Some(7), r#"{"model":"up",M,"max_completion_tokens":3}"#, r#"{"model":"up",M,"max_completion_tokens":3}"#),
        (max_tokens, None, r#"{"model":"up",M,"max_completion_tokens":3}"#, r#"{"model":"up",M,"max_tokens":3}"#),
        (completion, Some(2), r#"{"max_tokens":3,"model":"up",M}"#, r#"{"max_completion_tokens":2,"model":"up",M}"#),
        (max_tokens, None, r#"{"model":"up",M,"max_tokens":8,"max_completion_tokens":3}"#, r#"{"model":"up",M,"max_tokens":3}"#),
        (
            max_tokens,
            None,
            r#"{"model":"up",M,"max_completion_tokens":3, "tokenbroker":{},"max_tokens":3}"#,
            r#"{"model":"up",M,"max_tokens":3}"#,
        ),
        (
            completion,
            None,
            r#"{"model":"up",M,"max_completion_tokens":3,"tokenbroker":{}, "max_tokens":3}"#,
            r#"{"model":"up",M,"max_completion_tokens":3}"#,
        ),
        (
            returned,
            None,
            r#"{"model":"up","messages":[{"role":"assistant"}]}"#,
            r#"{"model":"up","messages":[{"role":"assistant"}]}"#,
        ),
        (
            returned,
            None,
            r#"{"model":"up","messages":[{"role":"assistant"},{"tool_calls":[],"role" : "assistant" },{"reasoning_content":"t","role":"assistant"},{"role":"user"}]}"#,
            r#"{"model":"up","messages":[{"role":"assistant","reasoning_content":""},{"tool_calls":[],"role" : "assistant","reasoning_content":"" },{"reasoning_content":"t","role":"assistant"},{"role":"user"}]}"#,
        ),
        (
            no_developer,
            None,
            r#"{"model":"up","messages":[{"role":"developer"},{"role": "develope\u0072"}]}"#,
            r#"{"model":"up","messages":[{"role":"system"},{"role": "system"}]}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream":true}"#,
            r#"{"model":"up","stream_options":{"include_usage":true},M,"stream":true}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream":true,"stream_options":null}"#,
            r#"{"model":"up",M,"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream":true,"stream_options":{ }}"#,
            r#"{"model":"up",M,"stream":true,"stream_options":{"include_usage":true }}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream":true,"stream_options":{"x":1}}"#,
            r#"{"model":"up",M,"stream":true,"stream_options":{"include_usage":true,"x":1}}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream":true,"stream_options":{"x":1,"include_usage": false}}"#,
            r#"{"model":"up",M,"stream":true,"stream_options":{"x":1,"include_usage": true}}"#,
        ),
        (
            PLAIN,
            None,
            r#"{"model":"up",M,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"up",M,"stream_options":{"include_usage":true}}"#,
        ),
        (
            always,
            None,
            r#"{"model":"up",M,"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"up",M,"stream":true}"#,
        ),
    ];
    for (quirks, bound, body, expected) in cases {
        let (body, expected) = (body.replace('M', m), expected.replace('M', m));
        assert_eq!(send(&body, quirks, bound), expected, "{body}");
    }
}

#[test]
fn neighbours_that_go_take_one_comma() {
    let quirks = Quirks { output_bound: OutputBoundField::MaxTokens, stream_usage: StreamUsage::Always, ..PLAIN };
    let goes = [r#""tokenbroker":{}"#, r#""stream_options" : {}"#, r#""max_completion_tokens":4"#];
    let stays = [r#""model":"up""#, r#""messages":[{}]"#, r#""max_tokens":4"#];
    let mut members: Vec<&str> = goes.into_iter().chain(stays).collect();
    // Every rotation and every stride over the six members: starts, middles, ends, runs of one to three.
    for stride in [1, 5] {
        for turn in 0..6 {
            members.rotate_left(1);
            let order: Vec<&str> = (0..6).map(|i| members[(i * stride + turn) % 6]).collect();
            let body = format!("{{ {} }}", order.join(" , "));
            let sent: Value = serde_json::from_str(&send(&body, quirks, None)).unwrap_or_else(|e| panic!("{e}: {body}"));
            assert_eq!(sent, json!({"model":"up","messages":[{}],"max_tokens":4}), "{body}");
        }
    }
}

/// Any JSON value of modest size.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("quote \" slash \\ line \n tab \t 汉字 😀")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Writes JSON with odd whitespace and, now and then, escapes where none are needed.
fn write_oddly(value: &Value, odd: &mut impl Iterator<Item = u8>, out: &mut String) {
    let gap = |odd: &mut dyn Iterator<Item = u8>, out: &mut String| {
        out.push_str(["", "", " ", "\n", "\t ", "\r\n  "][usize::from(odd.next().unwrap_or(0)) % 6]);
    };
    gap(odd, out);
    match value {
        Value::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                gap(odd, out);
                write_text(key, odd.next().unwrap_or(0).is_multiple_of(4), out);
                gap(odd, out);
                out.push(':');
                write_oddly(value, odd, out);
            }
            gap(odd, out);
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_oddly(item, odd, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, odd.next().unwrap_or(0).is_multiple_of(4), out),
        other => out.push_str(&other.to_string()),
    }
    gap(odd, out);
}

fn write_text(text: &str, escape: bool, out: &mut String) {
    use std::fmt::Write;
    if !escape {
        out.push_str(&Value::from(text).to_string());
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        write!(out, "\\u{unit:04x}").unwrap();
    }
    out.push('"');
}

#[derive(Debug, Clone)]
struct Case {
    object: Map<String, Value>,
    text: String,
}

/// A valid request among members of any kind, written oddly, its members in any order.
fn any_request() -> impl Strategy<Value = Case> {
    let roles = prop::sample::select(vec!["developer", "system", "user"]);
    let messages = prop::collection::vec((roles, "\\PC{0,20}"), 1..4);
    let optional = (
        prop::option::of(prop::bool::ANY),
        prop::option::of(prop_oneof![
            Just(json!({})),
            Just(json!({"include_usage":false,"y":[1]})),
            Just(json!({"include_usage":true})),
            Just(Value::Null)
        ]),
        prop::option::of(prop_oneof![(1_u64..5000).prop_map(Value::from), Just(Value::Null)]),
        prop::option::of((1_u64..5000).prop_map(Value::from)),
        prop::option::of(prop_oneof![Just(json!({"race":2})), Just(json!({"session":"},{\"\\"}))]),
    );
    let others = prop::collection::btree_map("x\\PC{0,6}", any_value(), 0..5);
    (messages, "[ -~]{1,12}[a-z]", optional, others, any::<u64>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(
        |(messages, model, optional, others, order, odd)| {
            let message = |(role, content)| json!({"role": role, "content": content});
            let mut members: Vec<(String, Value)> = others.into_iter().collect();
            members.push(("model".into(), model.into()));
            members.push(("messages".into(), messages.into_iter().map(message).collect::<Vec<_>>().into()));
            let (stream, options, tokens, completion, wishes) = optional;
            let named = [
                ("stream", stream.map(Value::from)),
                ("stream_options", options),
                ("max_tokens", tokens),
                ("max_completion_tokens", completion),
                ("tokenbroker", wishes),
            ];
            members.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            shuffle(&mut members, order);
            let mut odd = odd.into_iter().cycle();
            let mut text = String::from("{");
            for (i, (key, value)) in members.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                text.push_str(["", " ", "\n\t"][i % 3]);
                write_text(key, odd.next().unwrap_or(0).is_multiple_of(4), &mut text);
                text.push(':');
                write_oddly(value, &mut odd, &mut text);
            }
            text.push('}');
            Case { object: members.into_iter().collect(), text }
        },
    )
}

fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, usize::try_from(seed >> 33).unwrap() % (i + 1));
    }
}

fn any_quirks() -> impl Strategy<Value = Quirks> {
    let field =
        prop::sample::select(vec![OutputBoundField::MaxTokens, OutputBoundField::MaxCompletionTokens, OutputBoundField::Either]);
    let usage = prop::sample::select(vec![StreamUsage::OnRequest, StreamUsage::Always, StreamUsage::Never]);
    (field, usage, any::<bool>()).prop_map(|(output_bound, stream_usage, developer_role)| Quirks {
        output_bound,
        developer_role,
        stream_usage,
        ..PLAIN
    })
}

/// The same changes made on the value: slow, plain, and independent of where anything stands.
fn changed(mut object: Map<String, Value>, quirks: Quirks, bound: Option<u64>) -> Map<String, Value> {
    object.insert("model".into(), "up".into());
    object.remove("tokenbroker");
    let stream = object.get("stream") == Some(&Value::Bool(true));
    match quirks.stream_usage {
        StreamUsage::Always => drop(object.remove("stream_options")),
        StreamUsage::OnRequest if stream => {
            let options = object.entry("stream_options").or_insert(Value::Null);
            if options.is_null() {
                *options = json!({});
            }
            options["include_usage"] = true.into();
        }
        StreamUsage::OnRequest | StreamUsage::Never => {}
    }
    let (tokens, completion) = (object.remove("max_tokens"), object.remove("max_completion_tokens"));
    let name = match quirks.output_bound {
        OutputBoundField::MaxCompletionTokens => "max_completion_tokens",
        OutputBoundField::Either if completion.is_some() => "max_completion_tokens",
        OutputBoundField::MaxTokens | OutputBoundField::Either => "max_tokens",
    };
    let given = tokens.is_some() || completion.is_some();
    let client = [tokens, completion].into_iter().flatten().filter_map(|v| v.as_u64()).min();
    match [client, bound].into_iter().flatten().min() {
        Some(least) => drop(object.insert(name.into(), least.into())),
        None if given => drop(object.insert(name.into(), Value::Null)),
        None => {}
    }
    if !quirks.developer_role {
        for message in object["messages"].as_array_mut().unwrap() {
            if message["role"] == "developer" {
                message["role"] = "system".into();
            }
        }
    }
    object
}

proptest! {
    #[test]
    fn nothing_else_changes(case in any_request(), quirks in any_quirks(), bound in prop::option::of(1_u64..6000)) {
        let sent = send(&case.text, quirks, bound);
        let sent_value: Value = serde_json::from_str(&sent).map_err(|e| TestCaseError::fail(format!("{e}: {sent}")))?;
        prop_assert_eq!(&sent_value, &Value::Object(changed(case.object, quirks, bound)));
        prop_assert_eq!(send(&sent, quirks, bound), sent, "what went out needs no second splice");
    }

    #[test]
    fn members_that_only_pass_keep_their_bytes(case in any_request(), quirks in any_quirks(), bound in prop::option::of(1_u64..6000)) {
        let sent = send(&case.text, quirks, bound);
        let before: std::collections::BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_str(&case.text).unwrap();
        for (key, raw) in before.iter().filter(|(key, _)| key.starts_with('x')) {
            prop_assert!(sent.contains(raw.get()), "{}: {} is not in {}", key, raw, sent);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(bytes.into(), &HeaderMap::new()).is_err(), "random bytes are no request");
    }

    /// Damage to a valid request: whatever is still read can still be sent, as JSON.
    #[test]
    fn a_damaged_request_is_refused_or_still_sent_whole(case in any_request(), at in any::<prop::sample::Index>(), byte in any::<u8>(), quirks in any_quirks()) {
        let mut bytes = case.text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = parse(bytes.into(), &HeaderMap::new()) {
            let out = Outgoing { output_bound: Some(Tokens::new(3)), ..Outgoing::to("up", quirks) };
            let sent = OpenAiChat.encode(&request, &out);
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&sent).is_ok());
        }
    }
}
