//! Requests of Messages, with every block, as conversations.

use proptest::prelude::*;

use super::super::AnthropicMessages;
use super::super::testing::{any_request, conversation, refused, survives};
use super::*;
use crate::canonical::Part;
use crate::canonical::conversation::{
    CacheLifetime, Call, Medium, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn,
};
use crate::units::Tokens;

fn asked(members: &str) -> Conversation {
    conversation(&AnthropicMessages, &format!(r#"{{"model":"m","max_tokens":50,{members}}}"#)).unwrap()
}

/// The request beside one plain message.
fn beside(members: &str) -> Conversation {
    asked(&format!(r#""messages":[{{"role":"user","content":"hi"}}],{members}"#))
}

fn cannot_say(members: &str, what: &str) {
    let body = format!(r#"{{"model":"m","max_tokens":50,"messages":[{{"role":"user","content":"hi"}}],{members}}}"#);
    refused(&AnthropicMessages, &body, what);
}

/// The parts of a turn with these blocks, which a user does not say where there are calls among them.
fn check(blocks: &str, expected: &[Part]) {
    let calls = expected.iter().any(|part| matches!(part, Part::Call(_)));
    for (word, role) in [("user", Role::User), ("assistant", Role::Assistant)] {
        if calls && role == Role::User {
            cannot_say_block(blocks, "a `tool_use` in `messages[0].content`, whose role is `user`");
            continue;
        }
        let read = asked(&format!(r#""messages":[{{"role":"{word}","content":[{blocks}]}}]"#));
        assert_eq!(*read.turns, [Turn { role, parts: expected.to_vec() }], "{blocks}");
    }
}

fn cannot_say_block(block: &str, what: &str) {
    let body = format!(r#"{{"model":"m","max_tokens":50,"messages":[{{"role":"user","content":[{block}]}}]}}"#);
    refused(&AnthropicMessages, &body, what);
}

fn medium(source: Source, media_type: Option<&str>) -> Medium {
    Medium { source, media_type: media_type.map(str::to_owned), name: None, detail: None, cached: None }
}

fn marked(text: &str, cached: CacheLifetime) -> Part {
    Part::Text(Text { text: text.into(), cached: Some(cached) })
}

fn thought(text: &str, kind: SealKind, value: &str) -> Part {
    Part::Thought(Thought { text: text.into(), seal: Some(Seal { kind, value: value.into() }) })
}

#[test]
fn the_system_is_a_text_or_blocks_and_what_comes_later_keeps_its_place() {
    assert_eq!(beside(r#""system":"a""#).system, [Part::text("a")]);
    assert!(beside(r#""system":"""#).system.is_empty() && beside(r#""system":null"#).system.is_empty());
    let read = asked(
        r#""system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "messages":[{"role":"user","content":"hi"},{"role":"system","content":"c"},{"role":"assistant","content":"ho"}]"#,
    );
    assert_eq!(read.system, [marked("a", CacheLifetime::Minutes), marked("b", CacheLifetime::Hour)]);
    let said = |role, text: &str| Turn { role, parts: vec![Part::text(text)] };
    assert_eq!(*read.turns, [said(Role::User, "hi"), said(Role::System, "c"), said(Role::Assistant, "ho")]);
    let first = asked(r#""messages":[{"role":"system","content":"c"},{"role":"user","content":"hi"}]"#);
    assert_eq!((first.system, first.turns.len()), (vec![Part::text("c")], 1));
    cannot_say(r#""system":[{"type":"image","source":{"type":"url","url":"https://a"}}]"#, "`system` that is not text");
}

/// Found by a reviewer: automatic caching was dropped without a word, and the whole prompt was paid for in full each turn.
#[test]
fn a_mark_of_the_whole_request_stands_at_its_last_block() {
    let hour = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    let last = |messages: &str| asked(&format!(r#"{hour},"messages":[{messages}]"#)).turns.to_vec().pop().unwrap().parts;
    assert_eq!(last(r#"{"role":"user","content":"hi"}"#), [marked("hi", CacheLifetime::Hour)]);
    let own = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}"#;
    assert_eq!(last(own), [Part::text("a"), marked("b", CacheLifetime::Minutes)]);
    let thinks =
        r#"{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"thinking","thinking":"hm","signature":"s"}]}"#;
    assert_eq!(last(thinks)[0], marked("a", CacheLifetime::Hour));
    let reminded = asked(&format!(r#"{hour},"messages":[{{"role":"user","content":"hi"}},{{"role":"system","content":"c"}}]"#));
    assert_eq!(reminded.turns[0].parts, [marked("hi", CacheLifetime::Hour)], "instructions are told before it elsewhere");
    let silent = asked(&format!(r#"{hour},"system":"s","messages":[{{"role":"user","content":""}}]"#));
    assert_eq!(silent.system, [marked("s", CacheLifetime::Hour)]);
    assert_eq!(beside(r#""cache_control":null"#).turns[0].parts, [Part::text("hi")]);
}

#[test]
fn texts_images_and_documents_are_read() {
    check(r#"{"type":"text","text":"a"},{"type":"text","text":""}"#, &[Part::text("a")]);
    check(
        r#"{"type":"text","text":"a","citations":null,"cache_control":{"type":"ephemeral","ttl":"5m"}}"#,
        &[marked("a", CacheLifetime::Minutes)],
    );
    let image =
        |source: &str, expected: Medium| check(&format!(r#"{{"type":"image","source":{source}}}"#), &[Part::Image(expected)]);
    image(r#"{"type":"base64","media_type":"image/png","data":"AA"}"#, medium(Source::Base64("AA".into()), Some("image/png")));
    image(r#"{"type":"url","url":"https://a"}"#, medium(Source::Url("https://a".into()), None));
    image(r#"{"type":"file","file_id":"f"}"#, medium(Source::FileId("f".into()), None));
    let document = |source: &str, expected: Medium| {
        check(&format!(r#"{{"type":"document","source":{source}}}"#), &[Part::Document(expected)]);
    };
    document(
        r#"{"type":"base64","media_type":"application/pdf","data":"AA"}"#,
        medium(Source::Base64("AA".into()), Some("application/pdf")),
    );
    document(r#"{"type":"url","url":"https://a"}"#, medium(Source::Url("https://a".into()), None));
    document(r#"{"type":"file","file_id":"f"}"#, medium(Source::FileId("f".into()), None));
    let plain = |text: &str| medium(Source::Text(text.into()), Some("text/plain"));
    document(r#"{"type":"text","media_type":"text/plain","data":"a"}"#, plain("a"));
    document(r#"{"type":"content","content":"a"}"#, plain("a"));
    document(r#"{"type":"content","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, plain("a\nb"));
    let named = Part::Document(Medium { name: Some("t".into()), ..plain("a") });
    check(
        r#"{"type":"document","title":"t","context":"from the archive","citations":{"enabled":false},"source":{"type":"text","data":"a"}}"#,
        &[Part::text("from the archive"), named],
    );
    check(
        r#"{"type":"search_result","source":"https://a","title":"t","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
        &[Part::text("t\nhttps://a\na\nb")],
    );
}

#[test]
fn thoughts_keep_their_seals_and_calls_find_theirs() {
    let plain = Part::Thought(Thought { text: "hm".into(), seal: None });
    check(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#, &[thought("hm", SealKind::AnthropicSignature, "s")]);
    check(r#"{"type":"thinking","thinking":"hm","signature":""},{"type":"thinking","thinking":"hm"}"#, &[plain.clone(), plain]);
    check(r#"{"type":"thinking","thinking":"","signature":""}"#, &[]);
    check(r#"{"type":"thinking","thinking":"","signature":"s"}"#, &[thought("", SealKind::AnthropicSignature, "s")]);
    check(
        r#"{"type":"thinking","thinking":"hm","signature":"openai-responses-v1:s"}"#,
        &[thought("hm", SealKind::OpenAiEncrypted, "s")],
    );
    let redacted = thought("", SealKind::AnthropicRedacted, "d");
    let call = Call { id: "t1".into(), name: "f".into(), arguments: "{}".into(), seal: None, cached: None };
    let used = r#"{"type":"tool_use","id":"t1","name":"f","input":{}}"#;
    check(&format!(r#"{{"type":"redacted_thinking","data":"d"}},{used}"#), &[redacted, Part::Call(call.clone())]);
    let seal = Seal { kind: SealKind::GeminiSignature, value: "s".into() };
    let carried = r#"{"type":"redacted_thinking","data":"google-gemini-v1:s"}"#;
    check(
        &format!("{carried},{used},{used}"),
        &[Part::Call(Call { seal: Some(seal), ..call.clone() }), Part::Call(call.clone())],
    );
    let alone = thought("", SealKind::GeminiSignature, "s");
    check(&format!(r#"{carried},{{"type":"text","text":"a"}},{carried}"#), &[alone.clone(), Part::text("a"), alone.clone()]);
    let signed = r#"{"type":"thinking","thinking":"","signature":"google-gemini-v1:s"}"#;
    check(&format!(r#"{signed},{{"type":"text","text":""}},{used}"#), &[alone, Part::Call(call)]);
}

#[test]
fn calls_and_what_tools_answered_are_read() {
    let call = |arguments: &str| {
        Part::Call(Call { id: "t1".into(), name: "f".into(), arguments: arguments.into(), seal: None, cached: None })
    };
    check(r#"{"type":"tool_use","id":"t1","name":"f","input":{"a": 1.0}}"#, &[call("{\"a\": 1.0}")]);
    check(r#"{"type":"tool_use","id":"t1","name":"f"}"#, &[call("")]);
    check(r#"{"type":"tool_use","id":"t1","name":"f","input":{"_raw":"{\"a\":"}}"#, &[call("{\"a\":")]);
    check(r#"{"type":"tool_use","id":"t1","name":"f","input":{"_raw":"x","b":1}}"#, &[call(r#"{"_raw":"x","b":1}"#)]);
    let result =
        |parts: &[Part], is_error| Part::Result(ToolResult { id: "t1".into(), parts: parts.to_vec(), is_error, cached: None });
    check(r#"{"type":"tool_result","tool_use_id":"t1"}"#, &[result(&[], false)]);
    check(r#"{"type":"tool_result","tool_use_id":"t1","content":"a","is_error":true}"#, &[result(&[Part::text("a")], true)]);
    let image = Part::Image(medium(Source::Url("https://a".into()), None));
    check(
        r#"{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"https://a"}}]},
            {"type":"text","text":"b"}"#,
        &[result(&[Part::text("a"), image], false), Part::text("b")],
    );
}

#[test]
fn blocks_that_nobody_else_has_are_named() {
    for kind in ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "container_upload", "compaction", "new"] {
        cannot_say_block(
            &format!(r#"{{"type":"text","text":"a"}},{{"type":"{kind}"}}"#),
            &format!("`messages[0].content[1]` of type `{kind}`"),
        );
    }
    cannot_say_block("{}", "without a type");
    cannot_say_block(r#"{"type":"image"}"#, "`messages[0].content[0]` of type `image` as it is");
    cannot_say_block(r#"{"type":"image","source":{"type":"new"}}"#, "as it is");
    cannot_say_block(r#"{"type":"tool_use","name":"f","input":{}}"#, "as it is");
    cannot_say_block(r#"{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"a"}}"#, "citations");
    cannot_say_block(
        r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"tool_reference","tool_name":"f"}]}"#,
        "`messages[0].content[0].content[0]` of type `tool_reference`",
    );
    cannot_say_block(
        r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"thinking","thinking":"a"}]}"#,
        "not text, images",
    );
    cannot_say_block(
        r#"{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url","url":"https://a"}}]}}"#,
        "not text",
    );
    cannot_say_block(r#"{"type":"text","text":5}"#, "does not read as one");
    let narrated = r#"{"model":"m","max_tokens":5,"messages":[{"role":"narrator","content":"a"}]}"#;
    refused(&AnthropicMessages, narrated, "`messages[0]` with the role `narrator`");
}

#[test]
fn tools_and_their_choice_are_read() {
    let read = beside(
        r#""tools":[{"name":"f","description":"d","input_schema":{"type": "object"},"strict":true},
            {"type":"custom","name":"g","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#,
    );
    let parameters = Json::parse(r#"{"type": "object"}"#.into());
    let first = Tool { name: "f".into(), description: Some("d".into()), parameters, strict: Some(true), cached: None };
    let second = Tool { name: "g".into(), description: None, parameters: None, strict: None, cached: Some(CacheLifetime::Hour) };
    assert_eq!(read.tools, [first, second]);
    cannot_say(
        r#""tools":[{"name":"f"},{"type":"web_search_20250305","name":"web_search"}]"#,
        "`tools[1]` of type `web_search_20250305`",
    );
    cannot_say(r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, "`bash_20250124`");
    cannot_say(r#""tools":[{}]"#, "without a name");

    let check = |choice: &str, expected: ToolChoice, parallel| {
        let read = beside(&format!(r#""tool_choice":{choice}"#));
        assert_eq!((read.tool_choice, read.parallel_calls), (expected, parallel), "{choice}");
    };
    check("null", ToolChoice::Auto, None);
    check(r#"{"type":"auto"}"#, ToolChoice::Auto, None);
    check(r#"{"type":"auto","disable_parallel_tool_use":true}"#, ToolChoice::Auto, Some(false));
    check(r#"{"type":"any","disable_parallel_tool_use":false}"#, ToolChoice::Required, Some(true));
    check(r#"{"type":"none"}"#, ToolChoice::None, None);
    check(r#"{"type":"tool","name":"f"}"#, ToolChoice::Named("f".into()), None);
    cannot_say(r#""tool_choice":{"type":"tool"}"#, "`tool_choice`");
    cannot_say(r#""tool_choice":{"type":"some"}"#, "`some`");
}

#[test]
fn thinking_form_and_sampling_are_read() {
    let check = |members: &str, wish, effort, budget: Option<u64>| {
        let said = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
        let expected = ThinkingWish { off_by_default: !said.is_said(), ..said };
        assert_eq!(beside(members).thinking, expected, "{members}");
    };
    check(r#""top_k":null"#, ReasoningWish::Unsaid, None, None);
    check(r#""thinking":{"type":"enabled","budget_tokens":2000}"#, ReasoningWish::On, None, Some(2000));
    check(r#""thinking":{"type":"disabled"},"output_config":{"effort":"high"}"#, ReasoningWish::Off, None, None);
    check(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"max"}"#, ReasoningWish::On, Some(Effort::Max), None);
    check(r#""output_config":{"effort":"low"}"#, ReasoningWish::Unsaid, Some(Effort::Low), None);

    let schema = || Json::parse(r#"{"type": "object"}"#.into()).unwrap();
    let form = Format::JsonSchema(AnswerSchema { name: String::new(), description: None, schema: schema(), strict: None });
    assert_eq!(beside(r#""output_config":{"format":{"type":"json_schema","schema":{"type": "object"}}}"#).format, form);
    assert_eq!(beside(r#""output_format":{"type":"json_schema","schema":{"type": "object"}}"#).format, form);
    // Found by a reviewer: a schema that is kept to here was told elsewhere as one that need not be.
    let closed = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
    let format = beside(&format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{closed}}}}}"#)).format;
    assert!(matches!(format, Format::JsonSchema(AnswerSchema { strict: Some(true), .. })));
    assert_eq!(beside(r#""output_config":{}"#).format, Format::Text);
    cannot_say(r#""output_config":{"format":{"type":"json_schema"}}"#, "`output_config.format`");

    let read = beside(
        r#""temperature":0.70,"top_p":0.9,"top_k":40,"stop_sequences":["a","","b"],"stream":true,"metadata":{"user_id":"u"},"service_tier":"auto""#,
    );
    let number = |text: &str| Json::parse(text.into());
    let (temperature, top_p, top_k) = (number("0.70"), number("0.9"), number("40"));
    assert_eq!(read.sampling, Sampling { temperature, top_p, top_k, stop: vec!["a".into(), "b".into()], ..Sampling::default() });
    assert_eq!((read.output_bound, read.stream, read.user.as_deref()), (Some(Tokens::new(50)), true, Some("u")));
}

#[test]
fn what_only_anthropic_does_is_named() {
    cannot_say(r#""container":"c1""#, "`container`");
    cannot_say(r#""mcp_servers":[{"type":"url","url":"https://a","name":"a"}]"#, "`mcp_servers`");
    cannot_say(r#""fallbacks":[{"model":"n"}]"#, "`fallbacks`");
    cannot_say(r#""inference_geo":"us""#, "`inference_geo`");
    cannot_say(r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#, "`context_management`");
    beside(
        r#""container":null,"mcp_servers":[],"fallbacks":[],"inference_geo":"global","context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#,
    );
    beside(r#""context_management":{}"#);
}

const WORDS: &[&str] = &[
    "role",
    "content",
    "system",
    "user",
    "assistant",
    "type",
    "text",
    "image",
    "document",
    "source",
    "base64",
    "url",
    "file",
    "media_type",
    "data",
    "file_id",
    "thinking",
    "signature",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "tool_use_id",
    "search_result",
    "title",
    "context",
    "citations",
    "id",
    "name",
    "input",
    "_raw",
    "is_error",
    "cache_control",
    "ttl",
    "tools",
    "tool_choice",
    "output_config",
    "format",
    "json_schema",
    "schema",
    "stop_sequences",
    "metadata",
    "user_id",
    "container",
    "context_management",
    "edits",
    "google-gemini-v1:s",
];

proptest! {
    #[test]
    fn requests_of_any_json_are_read_or_refused(body in any_request(&["system", "user", "assistant"], WORDS)) {
        survives(&AnthropicMessages, &body);
    }

    #[test]
    fn bytes_of_any_kind_are_refused(body in "\\PC{0,60}") {
        prop_assert!(!survives(&AnthropicMessages, &body));
    }
}
