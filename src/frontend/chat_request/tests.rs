//! Requests of chat, in every form that clients write, as conversations.

use proptest::prelude::*;

use super::super::OpenAiChat;
use super::super::testing::{KINDS, any_request, conversation, refused, survives};
use super::*;
use crate::canonical::Part;
use crate::canonical::conversation::{
    CacheLifetime, Call, Hints, Medium, OwnTool, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn,
};

fn asked(members: &str) -> Conversation {
    conversation(&OpenAiChat, &format!(r#"{{"model":"m",{members}}}"#)).unwrap()
}

/// The request beside one plain message.
fn beside(members: &str) -> Conversation {
    asked(&format!(r#""messages":[{{"role":"user","content":"hi"}}],{members}"#))
}

fn check_turns(messages: &str, expected: &[(Role, Vec<Part>)]) {
    let turns = asked(&format!(r#""messages":[{messages}]"#)).turns.to_vec();
    let expected: Vec<Turn> = expected.iter().cloned().map(|(role, parts)| Turn { role, parts }).collect();
    assert_eq!(turns, expected, "{messages}");
}

fn cannot_say(members: &str, what: &str) {
    refused(&OpenAiChat, &format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{members}}}"#), what);
}

fn cannot_say_message(message: &str, what: &str) {
    refused(&OpenAiChat, &format!(r#"{{"model":"m","messages":[{message}]}}"#), what);
}

fn called(id: &str, name: &str, arguments: &str) -> Call {
    Call { id: id.into(), name: name.into(), arguments: arguments.into(), seal: None, cached: None }
}

fn result(id: &str, text: &str) -> Part {
    Part::Result(ToolResult { id: id.into(), parts: vec![Part::text(text)], is_error: false, cached: None })
}

fn medium(source: Source, media_type: Option<&str>) -> Medium {
    Medium { source, media_type: media_type.map(str::to_owned), name: None, detail: None, cached: None }
}

#[test]
fn instructions_keep_their_place() {
    let read = asked(
        r#""messages":[{"role":"system","content":"a"},{"role":"system","content":"c"},{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},
            {"role":"developer","content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral"}},{"type":"text","text":""}]},
            {"role":"system","content":null}]"#,
    );
    let marked = Part::Text(Text { text: "b".into(), cached: Some(CacheLifetime::Minutes) });
    assert_eq!(read.system, [Part::text("a"), Part::text("c")]);
    assert_eq!(read.turns.iter().map(|turn| turn.role).collect::<Vec<_>>(), [Role::User, Role::Assistant, Role::System]);
    assert_eq!(read.turns[2].parts, std::slice::from_ref(&marked));
    assert_eq!(read.instructions().cloned().collect::<Vec<_>>(), [Part::text("a"), Part::text("c"), marked]);
    cannot_say_message(
        r#"{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://a"}}]}"#,
        "messages[0].content",
    );
}

/// Found by a reviewer: what says which cache, how soon and how long an answer was lost although the other API has the same words.
#[test]
fn hints_are_read_and_a_breakpoint_is_a_mark() {
    let read = beside(r#""prompt_cache_key":"k","service_tier":"flex","verbosity":"low""#);
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(read.hints, Hints { cache_key: said("k"), tier: said("flex"), verbosity: said("low") });
    assert!(read.unsaid.is_empty());
    assert_eq!(beside(r#""prompt_cache_key":null,"service_tier":"auto","verbosity":null"#).hints, Hints::default());
    let marked = Part::Text(Text { text: "a".into(), cached: Some(CacheLifetime::Minutes) });
    let part = r#"{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}"#;
    check_turns(&format!(r#"{{"role":"user","content":[{part}]}}"#), &[(Role::User, vec![marked])]);
}

#[test]
fn parts_of_every_kind_are_read() {
    let check = |part: &str, expected: Part| {
        check_turns(&format!(r#"{{"role":"user","content":[{part}]}}"#), &[(Role::User, vec![expected])]);
    };
    check(r#"{"type":"text","text":"a"}"#, Part::text("a"));
    check(r#"{"text":"a"}"#, Part::text("a"));
    let hour = Part::Text(Text { text: "a".into(), cached: Some(CacheLifetime::Hour) });
    check(r#"{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}"#, hour);
    let link = medium(Source::Url("https://a/b.png".into()), None);
    let high = Medium { detail: Some("high".into()), ..link.clone() };
    check(r#"{"type":"image_url","image_url":{"url":"https://a/b.png","detail":"high"}}"#, Part::Image(high));
    check(r#"{"type":"image_url","image_url":"https://a/b.png"}"#, Part::Image(link));
    let held = |data: &str| Source::Base64(data.into());
    check(
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}"#,
        Part::Image(medium(held("AA=="), Some("image/png"))),
    );
    check(
        r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#,
        Part::Audio(medium(held("AA"), Some("audio/wav"))),
    );
    let named = Medium { name: Some("a.pdf".into()), ..medium(held("AA"), Some("application/pdf")) };
    check(
        r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,AA","filename":"a.pdf"}}"#,
        Part::Document(named.clone()),
    );
    check(r#"{"type":"file","file":{"file_data":"AA","filename":"a.pdf"}}"#, Part::Document(named));
    check(r#"{"type":"file","file":{"file_id":"f1"}}"#, Part::Document(medium(Source::FileId("f1".into()), None)));
}

#[test]
fn parts_that_nobody_else_has_are_named() {
    let check = |part: &str, what: &str| {
        cannot_say_message(&format!(r#"{{"role":"user","content":[{{"type":"text","text":"a"}},{part}]}}"#), what);
    };
    check(r#"{"type":"video_url","video_url":{"url":"https://a"}}"#, "`messages[0].content[1]` of type `video_url`");
    check(r#"{"type":"image_url"}"#, "`messages[0].content[1]` of type `image_url` as it is");
    check(r#"{"type":"image_url","image_url":{"url":"data:image/svg+xml,<svg/>"}}"#, "as it is");
    check(r#"{"type":"file","file":{}}"#, "as it is");
    check("{}", "without a type");
    check(r#"{"type":"text","text":5}"#, "does not read as one");
    cannot_say_message(r#"{"role":"narrator","content":"a"}"#, "`messages[0]` with the role `narrator`");
    cannot_say_message(r#"{"content":"a"}"#, "without a role");
    cannot_say_message(r#"{"role":"assistant","audio":{"id":"a"}}"#, "`messages[0].audio`");
}

#[test]
fn the_assistant_thinks_then_speaks_then_calls() {
    let thought = |text: &str| Part::Thought(Thought { text: text.into(), seal: None });
    let assistant = |members: &str, expected: Vec<Part>| {
        check_turns(&format!(r#"{{"role":"assistant",{members}}}"#), &[(Role::Assistant, expected)]);
    };
    assistant(r#""content":null"#, vec![]);
    assistant(r#""content":"","refusal":null"#, vec![]);
    assistant(r#""content":"a<think>","reasoning_content":"hm""#, vec![thought("hm"), Part::text("a<think>")]);
    // A template opened it, and the client says it again as it was told.
    assistant(r#""content":"hm\n</think>\n\na""#, vec![Part::text("a")]);
    assistant(r#""content":"a","reasoning":"hm""#, vec![thought("hm"), Part::text("a")]);
    assistant(
        r#""content":"a","reasoning":"hm","reasoning_content":"","reasoning_details":{}"#,
        vec![thought("hm"), Part::text("a")],
    );
    assistant(
        r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":"m"}]},{"type":"text","text":"a"}]"#,
        vec![thought("hm"), Part::text("a")],
    );
    assistant(r#""content":[{"type":"refusal","refusal":"no"}]"#, vec![Part::Refusal("no".into())]);
    assistant(r#""content":null,"refusal":"no""#, vec![Part::Refusal("no".into())]);
    let calls = r#""content":"a","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1"}},
        {"id":"","function":{"name":"g","arguments":{"b":2}}},{"function":{"name":"h"}}]"#;
    let all = [called("c1", "f", "{\"a\": 1"), called("call_0_1", "g", "{\"b\":2}"), called("call_0_2", "h", "")];
    assistant(calls, [Part::text("a")].into_iter().chain(all.map(Part::Call)).collect());
    assistant(
        r#""tool_calls":[{"id":"c","type":"custom","custom":{"name":"f","input":"\"x\"\n"}},{"id":"d","type":"custom","custom":{"name":"f"}}]"#,
        vec![Part::Call(called("c", "f", r#"{"input":"\"x\"\n"}"#)), Part::Call(called("d", "f", r#"{"input":""}"#))],
    );
    cannot_say_message(
        r#"{"role":"assistant","tool_calls":[{"id":"c","type":"custom","function":{"name":"f"}}]}"#,
        "`messages[0].tool_calls[0]` of type `custom`",
    );
    cannot_say_message(r#"{"role":"assistant","tool_calls":[{"id":"c"}]}"#, "without a function");
}

#[test]
fn seals_come_back_with_what_they_seal() {
    for kind in KINDS {
        let seal = Seal { kind, value: "s".into() };
        let told = serde_json::to_string(&super::super::reasoning_details::Detail::of_thought("hm", &seal, 0)).unwrap();
        let message = format!(r#"{{"role":"assistant","content":"a","reasoning_content":"hm","reasoning_details":{told}}}"#);
        let thought = Part::Thought(Thought { text: "hm".into(), seal: Some(seal) });
        check_turns(&message, &[(Role::Assistant, vec![thought, Part::text("a")])]);
    }
    let seal = Some(Seal { kind: SealKind::GeminiSignature, value: "s".into() });
    let sealed = Part::Call(Call { seal, ..called("c1", "f", "{}") });
    let call = r#""id":"c1","function":{"name":"f","arguments":"{}"}"#;
    for message in [
        format!(
            r#"{{"role":"assistant","tool_calls":[{{{call}}}],"reasoning_details":[{{"type":"reasoning.encrypted","id":"c1","data":"s","format":"google-gemini-v1"}}]}}"#
        ),
        format!(r#"{{"role":"assistant","tool_calls":[{{{call},"extra_content":{{"google":{{"thought_signature":"s"}}}}}}]}}"#),
    ] {
        check_turns(&message, &[(Role::Assistant, vec![sealed.clone()])]);
    }
    let extra = r#""extra_content":{"google":{"thought_signature":"s"}}"#;
    let said = |seal: Option<Seal>, text: &str| Part::Thought(Thought { text: text.into(), seal });
    let seal = || Some(Seal { kind: SealKind::GeminiSignature, value: "s".into() });
    let check = |members: &str, thoughts: Vec<Part>| {
        let message = format!(r#"{{"role":"assistant","content":"a"{members},{extra}}}"#);
        check_turns(&message, &[(Role::Assistant, thoughts.into_iter().chain([Part::text("a")]).collect())]);
    };
    check("", vec![said(seal(), "")]);
    check(r#","reasoning_content":"hm""#, vec![said(seal(), "hm")]);
    let details = r#","reasoning_details":[{"type":"reasoning.encrypted","data":"s","format":"google-gemini-v1"}]"#;
    check(details, vec![said(seal(), "")]);
}

#[test]
fn what_tools_answered_is_one_turn_of_the_user() {
    let calls = r#"{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}},{"id":"c2","function":{"name":"g","arguments":"{}"}}]}"#;
    let said = (Role::Assistant, vec![Part::Call(called("c1", "f", "{}")), Part::Call(called("c2", "g", "{}"))]);
    let image = Part::Image(medium(Source::Url("https://a".into()), None));
    let seen = Part::Result(ToolResult { id: "c2".into(), parts: vec![Part::text("2"), image], is_error: false, cached: None });
    check_turns(
        &format!(
            r#"{calls},{{"role":"tool","tool_call_id":"c1","content":"1"}},
            {{"role":"tool","tool_call_id":"c2","content":[{{"type":"text","text":"2"}},{{"type":"image_url","image_url":{{"url":"https://a"}}}}]}},
            {{"role":"user","content":"so?"}},{{"role":"tool","tool_call_id":"c9","content":"late"}}"#
        ),
        &[
            said.clone(),
            (Role::User, vec![result("c1", "1"), seen]),
            (Role::User, vec![Part::text("so?")]),
            (Role::User, vec![result("c9", "late")]),
        ],
    );
    let unnamed = r#"{"role":"tool","content":"1"},{"role":"tool","tool_call_id":"","content":"2"}"#;
    check_turns(&format!("{calls},{unnamed}"), &[said, (Role::User, vec![result("c1", "1"), result("c2", "2")])]);
    cannot_say_message(r#"{"role":"tool","content":"1"}"#, "answers no call");
}

#[test]
fn functions_are_tools_without_ids() {
    check_turns(
        r#"{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"1"}"#,
        &[(Role::Assistant, vec![Part::Call(called("call_0_0", "f", "{}"))]), (Role::User, vec![result("call_0_0", "1")])],
    );
    cannot_say_message(r#"{"role":"function","name":"f","content":"1"}"#, "answers no call");
}

#[test]
fn tools_and_their_choice_are_read() {
    let read = beside(
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type": "object"},"strict":true}},
            {"function":{"name":"g"},"cache_control":{"type":"ephemeral","ttl":"1h"}}],"parallel_tool_calls":false"#,
    );
    let parameters = Json::parse(r#"{"type": "object"}"#.into());
    let first = Tool { name: "f".into(), description: Some("d".into()), parameters, strict: Some(true), cached: None };
    let second = Tool { name: "g".into(), description: None, parameters: None, strict: None, cached: Some(CacheLifetime::Hour) };
    assert_eq!((read.tools, read.parallel_calls), (vec![first, second], Some(false)));
    assert_eq!(beside(r#""functions":[{"name":"f"}]"#).tools[0].name, "f");
    assert!(beside(r#""tools":null,"parallel_tool_calls":null"#).tools.is_empty());
    cannot_say(r#""tools":[{"type":"custom","function":{"name":"f"}}]"#, "`tools[0]` of type `custom`");
    cannot_say(
        r#""tools":[{"type":"custom","custom":{"name":"f","format":{"type":"x"}}}]"#,
        "`tools[0].custom.format` of type `x`",
    );
    cannot_say(r#""tools":[{"function":{"name":"f"}},{"type":"web_search"}]"#, "`tools[1]` of type `web_search`");
    cannot_say(r#""tools":[{}]"#, "`tools[0]` without a type");

    let check = |choice: &str, expected: ToolChoice| assert_eq!(beside(choice).tool_choice, expected, "{choice}");
    check(r#""tool_choice":null"#, ToolChoice::Auto);
    check(r#""tool_choice":"auto""#, ToolChoice::Auto);
    check(r#""tool_choice":"none""#, ToolChoice::None);
    check(r#""tool_choice":"required","function_call":"none""#, ToolChoice::Required);
    check(r#""tool_choice":"any""#, ToolChoice::Required);
    check(r#""tool_choice":{"type":"required"}"#, ToolChoice::Required);
    check(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, ToolChoice::Named("f".into()));
    check(r#""function_call":{"name":"f"}"#, ToolChoice::Named("f".into()));
    check(r#""function_call":"none""#, ToolChoice::None);
    cannot_say(r#""tool_choice":"some""#, "`tool_choice` with the value `some`");
    cannot_say(r#""tool_choice":{"type":"allowed_tools"}"#, "`allowed_tools`");
    let two = r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}]"#;
    let allowed = r#"{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}"#;
    let few = beside(&format!(r#"{two},"tool_choice":{{"type":"allowed_tools","allowed_tools":{allowed}}}"#));
    assert_eq!((few.tools.len(), &*few.tools[0].name, few.tool_choice), (1, "g", ToolChoice::Required));
    check(r#""tool_choice":{"type":"custom","custom":{"name":"f"}}"#, ToolChoice::Named("f".into()));
    cannot_say(r#""tool_choice":{"type":"custom","function":{"name":"f"}}"#, "`custom`");
    cannot_say(r#""tool_choice":{"type":"function"}"#, "`tool_choice`");
    cannot_say(r#""function_call":{}"#, "`function_call`");
}

#[test]
fn a_custom_tool_is_a_function_of_one_text() {
    let grammar = r#"{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}"#;
    let custom = format!(
        r#"{{"type":"custom","custom":{{"name":"f","description":"d","format":{grammar}}},"cache_control":{{"type":"ephemeral"}}}}"#
    );
    let tools = format!(
        r#""tools":[{custom},{{"type":"custom","custom":{{"name":"g"}}}},{{"type":"function","function":{{"name":"h"}}}}]"#
    );
    let read = beside(&tools);
    let own = |name: &str| OwnTool { function: name.into(), name: name.into(), namespace: None, custom: true };
    assert_eq!((read.own_tools, read.unsaid), (vec![own("f"), own("g")], vec!["tools.custom.format".to_owned()]));
    let told = &read.tools[0];
    assert_eq!(told.description.as_deref(), Some("d\n\n`input` must keep to this grammar (regex):\na+"));
    assert_eq!((told.cached, told.parameters.is_some()), (Some(CacheLifetime::Minutes), true));
    let allowed =
        r#"{"mode":"auto","tools":[{"type":"custom","custom":{"name":"g"}},{"type":"function","function":{"name":"h"}}]}"#;
    let few = beside(&format!(r#"{tools},"tool_choice":{{"type":"allowed_tools","allowed_tools":{allowed}}}"#));
    assert_eq!(few.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["g", "h"]);
}

/// More than a minute, where each tool is looked for among all that are allowed, or what a tool is called among all others.
#[test]
fn very_many_tools_that_are_allowed_are_found_in_one_go() {
    const TOOLS: usize = 300_000;
    let function = |nth: usize| format!(r#"{{"type":"function","function":{{"name":"f{nth}"}}}}"#);
    let custom = |nth: usize| format!(r#"{{"type":"custom","custom":{{"name":"f{nth}"}}}}"#);
    // In turn, each custom one with the name of a function, so that it has to be called otherwise; and allowed from the last on.
    let all: Vec<String> = (0..TOOLS / 2).flat_map(|nth| [function(nth), custom(nth)]).collect();
    let allowed: Vec<&str> = all[1..].iter().rev().map(String::as_str).collect();
    let choice = format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":[{}]}}}}"#, allowed.join(","));
    let read = beside(&format!(r#""tools":[{}],"tool_choice":{choice}"#, all.join(",")));
    assert_eq!((read.tools.len(), read.tools[0].name.as_str()), (TOOLS - 1, "f0_2"));
    assert_eq!(read.own_tools.len(), TOOLS / 2);
}

#[test]
fn the_form_of_the_answer_is_read() {
    let check = |format: &str, expected: Format| assert_eq!(beside(&format!(r#""response_format":{format}"#)).format, expected);
    check("null", Format::Text);
    check(r#"{"type":"text"}"#, Format::Text);
    check(r#"{"type":"json_object"}"#, Format::JsonObject);
    let schema = |name: &str, strict| AnswerSchema {
        name: name.into(),
        description: None,
        schema: Json::parse(r#"{"type": "object"}"#.into()).unwrap(),
        strict,
    };
    let written = r#"{"type":"json_schema","json_schema":{"name":"a","schema":{"type": "object"},"strict":true}}"#;
    check(written, Format::JsonSchema(schema("a", Some(true))));
    check(r#"{"type":"json_schema","json_schema":{"schema":{"type": "object"}}}"#, Format::JsonSchema(schema("", None)));
    cannot_say(r#""response_format":{"type":"json_schema","json_schema":{"name":"a"}}"#, "without a schema");
    cannot_say(r#""response_format":{"type":"grammar"}"#, "`grammar`");
}

#[test]
fn thinking_is_read_in_the_words_of_many_servers() {
    use ReasoningWish::{Off, On, Unsaid};
    let check = |members: &str, wish, effort, budget: Option<u64>| {
        let expected = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
        assert_eq!(beside(members).thinking, expected, "{members}");
    };
    check(r#""top_k":null"#, Unsaid, None, None);
    check(r#""reasoning_effort":"none""#, Off, None, None);
    check(r#""reasoning_effort":"xhigh""#, On, Some(Effort::XHigh), None);
    check(r#""reasoning_effort":"default""#, On, None, None);
    check(r#""reasoning":{"effort":"low"}"#, On, Some(Effort::Low), None);
    check(r#""reasoning":{"max_tokens":500,"enabled":true}"#, On, None, Some(500));
    check(r#""thinking":{"type":"enabled","budget_tokens":2000}"#, On, None, Some(2000));
    check(r#""thinking":{"type":"disabled","budget_tokens":2000}"#, Off, None, None);
    check(r#""enable_thinking":true,"thinking_budget":300"#, On, None, Some(300));
    check(r#""thinking_budget":0"#, Off, None, None);
    check(r#""reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":false}"#, Off, None, None);
    check(r#""chat_template_kwargs":{"thinking":true,"x":1}"#, On, None, None);
}

#[test]
fn of_a_templates_arguments_nobody_else_takes_more_than_whether_to_think() {
    let told = |arguments: &str| beside(&format!(r#""chat_template_kwargs":{arguments}"#)).unsaid;
    for said in ["{}", r#"{"enable_thinking":false}"#, r#"{"thinking":true,"enable_thinking":true}"#] {
        assert!(told(said).is_empty(), "{said}");
    }
    for more in [r#"{"x":1}"#, r#"{"enable_thinking":false,"x":1}"#, r#"{"enable_thinking":"no"}"#] {
        assert_eq!(told(more), ["chat_template_kwargs"], "{more}");
    }
}

#[test]
fn numbers_are_kept_as_they_were_written_and_bounds_come_from_the_first_reading() {
    let read = beside(
        r#""temperature":0.70,"top_p":1e-1,"top_k":40,"seed":7,"presence_penalty":-0.5,"frequency_penalty":1,"stop":["a","","b"],
            "max_tokens":90,"max_completion_tokens":80,"stream":true,"user":"u","safety_identifier":"s","verbosity":"low","store":true"#,
    );
    let number = |text: &str| Json::parse(text.into());
    let expected = Sampling {
        temperature: number("0.70"),
        top_p: number("1e-1"),
        top_k: number("40"),
        seed: number("7"),
        presence_penalty: number("-0.5"),
        frequency_penalty: number("1"),
        stop: vec!["a".into(), "b".into()],
    };
    assert_eq!(read.sampling, expected);
    assert_eq!((read.output_bound, read.stream, read.user.as_deref()), (Some(Tokens::new(80)), true, Some("s")));
    let read = beside(r#""stop":"a","user":"u","temperature":null"#);
    assert_eq!((read.sampling.stop, read.user, read.sampling.temperature), (vec!["a".to_owned()], Some("u".into()), None));
    let mut request = super::super::parse(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":90}"#.into(),
        &http::HeaderMap::new(),
    )
    .unwrap();
    request.output_bound = Some(Tokens::new(40));
    assert_eq!(super::conversation(&request).unwrap().output_bound, Some(Tokens::new(40)));
}

#[test]
fn what_the_answer_depends_on_and_only_chat_can_say_is_named() {
    cannot_say(r#""n":2"#, "`n` above 1");
    cannot_say(r#""logprobs":true"#, "`logprobs`");
    cannot_say(r#""top_logprobs":3"#, "`logprobs`");
    cannot_say(r#""modalities":["text","audio"],"audio":{"voice":"a","format":"wav"}"#, "`modalities`");
    cannot_say(r#""prediction":{"type":"content","content":"a"}"#, "`prediction`");
    cannot_say(r#""web_search_options":{}"#, "`web_search_options`");
    cannot_say(r#""logit_bias":{"50256":-100}"#, "`logit_bias`");
    beside(
        r#""n":1,"logprobs":false,"top_logprobs":0,"modalities":["text"],"prediction":null,"web_search_options":null,"logit_bias":{}"#,
    );
}

const WORDS: &[&str] = &[
    "role",
    "content",
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "type",
    "text",
    "image_url",
    "url",
    "detail",
    "input_audio",
    "data",
    "format",
    "file",
    "file_id",
    "file_data",
    "filename",
    "refusal",
    "thinking",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "id",
    "name",
    "arguments",
    "reasoning_content",
    "reasoning_details",
    "reasoning.text",
    "reasoning.encrypted",
    "signature",
    "anthropic-claude-v1",
    "index",
    "tools",
    "functions",
    "tool_choice",
    "response_format",
    "json_schema",
    "schema",
    "stop",
    "reasoning_effort",
    "cache_control",
    "ttl",
    "auto",
    "extra_content",
    "google",
];

proptest! {
    #[test]
    fn requests_of_any_json_are_read_or_refused(body in any_request(&["system", "user", "assistant", "tool", "function"], WORDS)) {
        survives(&OpenAiChat, &body);
    }

    #[test]
    fn bytes_of_any_kind_are_refused(body in "\\PC{0,60}") {
        prop_assert!(!survives(&OpenAiChat, &body));
    }
}
