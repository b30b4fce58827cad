//! What goes out to chat for a conversation of another shape.

use serde_json::{Value, json};

use super::*;
use crate::canonical::conversation::{
    CacheLifetime, Call, Hints, Medium, Part, Role, Sampling, Seal, SealKind, Source, Text, Thought, ToolResult, Turn,
};
use crate::catalog::capability::{Hint, Quirks};
use crate::catalog::{BudgetBounds, Steering};

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts }
}

fn asked() -> Conversation {
    Conversation { turns: vec![turn(Role::User, vec![Part::text("Hi.")])].into(), ..Conversation::default() }
}

fn out(quirks: Quirks) -> Outgoing<'static> {
    Outgoing { reasoning: Reasoning::Switchable, ..Outgoing::to("up", quirks) }
}

fn written(conversation: &Conversation, quirks: Quirks) -> Value {
    serde_json::from_slice(&body(conversation, &out(quirks)).unwrap()).unwrap()
}

/// What a change adds to a plain request.
#[expect(clippy::needless_pass_by_value, reason = "a literal reads better")]
fn check_with(quirks: Quirks, change: impl FnOnce(&mut Conversation), expected: Value) {
    let mut conversation = asked();
    change(&mut conversation);
    let mut told = written(&conversation, quirks);
    let plain = written(&asked(), quirks);
    told.as_object_mut().unwrap().retain(|name, value| plain.get(name) != Some(value));
    assert_eq!(told, expected);
}

fn check(change: impl FnOnce(&mut Conversation), expected: Value) {
    check_with(Quirks::default(), change, expected);
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

fn call(id: &str, arguments: &str) -> Part {
    Part::Call(Call { id: id.into(), name: "weather".into(), arguments: arguments.into(), seal: None, cached: None })
}

fn result(id: &str, parts: Vec<Part>) -> Part {
    Part::Result(ToolResult { id: id.into(), parts, is_error: false, cached: None })
}

fn medium(source: Source, media_type: Option<&str>) -> Medium {
    Medium { source, media_type: media_type.map(str::to_owned), name: None, detail: None, cached: None }
}

#[test]
fn a_plain_request_says_no_more_than_it_must() {
    let plain = json!({"model": "up", "messages": [{"role": "user", "content": "Hi."}]});
    assert_eq!(written(&asked(), Quirks::default()), plain);
}

#[test]
fn bounds_streams_and_usage_go_by_the_sites_quirks() {
    let completion = Quirks { output_bound: OutputBoundField::MaxCompletionTokens, ..Quirks::default() };
    let bounded = |c: &mut Conversation| c.output_bound = Some(Tokens::new(9));
    check(bounded, json!({"max_tokens": 9}));
    check_with(completion, bounded, json!({"max_completion_tokens": 9}));
    let both = Outgoing { output_bound: Some(Tokens::new(7)), ..out(Quirks::default()) };
    let mut conversation = asked();
    bounded(&mut conversation);
    assert_eq!(serde_json::from_slice::<Value>(&body(&conversation, &both).unwrap()).unwrap()["max_tokens"], 7);
    check(|c| c.stream = true, json!({"stream": true, "stream_options": {"include_usage": true}}));
    let unasked = Quirks { stream_usage: StreamUsage::Always, ..Quirks::default() };
    check_with(unasked, |c| c.stream = true, json!({"stream": true}));
}

#[test]
fn sampling_passes_as_it_was_written() {
    let sampling = Sampling {
        temperature: Some(json("1.50")),
        top_p: Some(json("0.9")),
        top_k: Some(json("40")),
        seed: Some(json("7")),
        presence_penalty: Some(json("-1")),
        frequency_penalty: Some(json("null")),
        stop: vec!["END".into()],
    };
    let conversation = Conversation { sampling, user: Some("u".into()), ..asked() };
    let told = String::from_utf8(body(&conversation, &out(Quirks::default())).unwrap().to_vec()).unwrap();
    let expected = r#""temperature":1.50,"top_p":0.9,"seed":7,"presence_penalty":-1,"stop":["END"],"user":"u"}"#;
    assert!(told.ends_with(expected), "{told}");
    let many = Conversation { sampling: Sampling { stop: vec!["x".into(); 5], ..Sampling::default() }, ..asked() };
    assert_eq!(
        body(&many, &out(Quirks::default())).unwrap_err().to_string(),
        "more than 4 stop sequences cannot be said in openai-chat"
    );
}

#[test]
fn tools_choices_and_formats_have_their_words() {
    let tool = |parameters: Option<&str>, strict| Tool {
        name: "weather".into(),
        description: Some("by city".into()),
        parameters: parameters.map(json),
        strict,
        cached: Some(CacheLifetime::Hour),
    };
    let declared = |parameters: Value| json!({"type": "function", "function": {"name": "weather", "description": "by city", "parameters": parameters}});
    let nothing = json!({"type": "object", "properties": {}});
    for (parameters, expected) in
        [(None, nothing.clone()), (Some("{}"), nothing), (Some(r#"{"type":"object"}"#), json!({"type": "object"}))]
    {
        check(|c| c.tools = vec![tool(parameters, None)], json!({"tools": [declared(expected)]}));
    }
    let choice = |choice: ToolChoice| {
        let conversation =
            Conversation { tools: vec![tool(None, Some(true))], tool_choice: choice, parallel_calls: Some(false), ..asked() };
        let told = written(&conversation, Quirks::default());
        assert_eq!((&told["tools"][0]["function"]["strict"], &told["parallel_tool_calls"]), (&json!(true), &json!(false)));
        told.get("tool_choice").cloned()
    };
    assert_eq!(choice(ToolChoice::Auto), None);
    assert_eq!([choice(ToolChoice::None), choice(ToolChoice::Required)], [Some(json!("none")), Some(json!("required"))]);
    assert_eq!(choice(ToolChoice::Named("weather".into())), Some(json!({"type": "function", "function": {"name": "weather"}})));
    let any = Quirks { required_is_any: true, ..Quirks::default() };
    let forced = Conversation { tools: vec![tool(None, None)], tool_choice: ToolChoice::Required, ..asked() };
    assert_eq!(written(&forced, any)["tool_choice"], json!("any"));
    check(|c| (c.tool_choice, c.parallel_calls) = (ToolChoice::Required, Some(true)), json!({}));
    check(|c| c.format = Format::JsonObject, json!({"response_format": {"type": "json_object"}}));
    let schema = AnswerSchema { name: String::new(), description: None, schema: json("{}"), strict: Some(true) };
    let expected =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}, "strict": true}}});
    check(|c| c.format = Format::JsonSchema(schema), expected);
}

#[test]
fn what_tools_answered_follows_the_calls_and_what_stands_beside_it_follows_that() {
    let image = Part::Image(medium(Source::Base64("AAAA".into()), Some("image/webp")));
    let conversation = Conversation {
        system: vec![Part::text("One."), Part::Text(Text { text: "Two.".into(), cached: Some(CacheLifetime::Hour) })],
        turns: vec![
            turn(Role::User, vec![Part::text("Weather?"), Part::text("Now.")]),
            turn(Role::Assistant, vec![Part::Thought(Thought::default())]),
            turn(Role::Assistant, vec![Part::text("Let me see."), call("a", r#"{"city":"Oslo"}"#), call("b", " ")]),
            turn(
                Role::User,
                vec![Part::text("Go on."), result("a", vec![Part::text("4"), image, Part::text("5")]), result("b", vec![])],
            ),
            turn(Role::Assistant, vec![call("c", "{}")]),
        ]
        .into(),
        ..Conversation::default()
    };
    let called = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}});
    let expected = json!([
        {"role": "system", "content": "One.\n\nTwo."},
        {"role": "user", "content": "Weather?\nNow."},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [called("a", r#"{"city":"Oslo"}"#), called("b", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "4\n5"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}, {"type": "text", "text": "Go on."}]},
        {"role": "assistant", "content": null, "tool_calls": [called("c", "{}")]},
    ]);
    assert_eq!(written(&conversation, Quirks::default())["messages"], expected);
}

#[test]
fn item_23_what_was_thought_goes_back_to_those_who_refuse_calls_without_it() {
    let seal = Some(Seal { kind: SealKind::AnthropicSignature, value: "sig".into() });
    let thought = Part::Thought(Thought { text: "hm".into(), seal });
    let turns = vec![
        turn(Role::Assistant, vec![thought.clone(), call("a", "{}")]),
        turn(Role::Assistant, vec![call("b", "{}")]),
        turn(Role::Assistant, vec![thought, Part::text("Done.")]),
    ];
    let turns = turns.into_iter().chain([turn(Role::User, vec![Part::text("Thanks.")])]).collect();
    let conversation = Conversation { turns, ..Conversation::default() };
    let told = |reasoning_returned| {
        let told = written(&conversation, Quirks { reasoning_returned, ..Quirks::default() });
        told["messages"].as_array().unwrap().iter().map(|m| m.get("reasoning_content").cloned()).collect::<Vec<_>>()
    };
    assert_eq!(told(true), [Some(json!("hm")), Some(json!("")), Some(json!("hm")), None]);
    assert_eq!(told(false), [None, None, None, None]);
}

#[test]
fn media_go_out_as_they_are_kept() {
    let mut conversation = asked();
    let pdf = Medium { name: Some("a.pdf".into()), ..medium(Source::Base64("AAAA".into()), None) };
    let link = Medium { detail: Some("low".into()), ..medium(Source::Url("https://example.com/a.png".into()), None) };
    conversation.turns[0].parts = vec![
        Part::Image(link),
        Part::Audio(medium(Source::Base64("AAAA".into()), Some("audio/mpeg"))),
        Part::Audio(medium(Source::Base64("AAAA".into()), Some("audio/x-wav"))),
        Part::Document(pdf),
        Part::Document(medium(Source::Text("Words.".into()), None)),
        // Found by an audit: sites take PDF alone as a file.
        Part::Document(Medium {
            name: Some("a.txt".into()),
            ..medium(Source::Base64("SGkh".into()), Some("text/plain; charset=utf-8"))
        }),
    ];
    let expected = json!([
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "text", "text": "Words."},
        {"type": "text", "text": "a.txt"},
        {"type": "text", "text": "Hi!"},
    ]);
    assert_eq!(written(&conversation, Quirks::default())["messages"][0]["content"], expected);
    for part in [
        Part::Image(medium(Source::FileId("f".into()), None)),
        Part::Document(medium(Source::FileId("f".into()), None)),
        Part::Document(medium(Source::Url("https://example.com/a.pdf".into()), None)),
        Part::Audio(medium(Source::Url("https://example.com/a.wav".into()), None)),
    ] {
        conversation.turns[0].parts = vec![part];
        assert!(body(&conversation, &out(Quirks::default())).is_err());
    }
}

#[test]
fn thinking_is_told_as_the_site_understands_it() {
    let wish =
        |wish, effort, budget: Option<u64>| ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
    let (off, on) = (wish(ReasoningWish::Off, Some(Effort::High), Some(9_000)), wish(ReasoningWish::On, None, None));
    let (high, budget) = (wish(ReasoningWish::Unsaid, Some(Effort::High), None), wish(ReasoningWish::On, None, Some(2_000)));
    for (switch, expected) in [
        (
            ThinkingSwitch::ReasoningEffort,
            [
                json!({"reasoning_effort": "none"}),
                json!({}),
                json!({"reasoning_effort": "high"}),
                json!({"reasoning_effort": "low"}),
            ],
        ),
        (ThinkingSwitch::Thinking, ["disabled", "enabled", "enabled", "enabled"].map(|kind| json!({"thinking": {"type": kind}}))),
        (
            ThinkingSwitch::EnableThinking,
            [
                json!({"enable_thinking": false}),
                json!({"enable_thinking": true}),
                json!({"enable_thinking": true, "thinking_budget": 16_384}),
                json!({"enable_thinking": true, "thinking_budget": 2_000}),
            ],
        ),
        (
            ThinkingSwitch::Reasoning,
            [json!({"enabled": false}), json!({"enabled": true}), json!({"effort": "high"}), json!({"max_tokens": 2_000})]
                .map(|depth| json!({"reasoning": depth})),
        ),
        (
            ThinkingSwitch::TemplateArguments,
            [false, true, true, true].map(|on| json!({"chat_template_kwargs": {"enable_thinking": on, "thinking": on}})),
        ),
        (ThinkingSwitch::None, [(); 4].map(|()| json!({}))),
    ] {
        let quirks = Quirks { thinking_switch: switch, ..Quirks::default() };
        for (thinking, expected) in [off, on, high, budget].into_iter().zip(expected) {
            check_with(quirks, |c| c.thinking = thinking, expected);
        }
        check_with(quirks, |c| c.thinking = ThinkingWish::default(), json!({}));
        let never = Outgoing { reasoning: Reasoning::Never, ..out(quirks) };
        assert_eq!(Switches::of(off, &never), Switches::default());
        let always = Outgoing { reasoning: Reasoning::Always, ..out(quirks) };
        assert_eq!(Switches::of(off, &always), Switches::default(), "it would be refused");
        assert_eq!(Switches::of(high, &always), Switches::of(high, &out(quirks)));
    }
}

/// Found by a reviewer: a budget above what the model takes was refused, as was a word that it does not know.
#[test]
fn how_deep_to_think_is_told_as_the_model_takes_it() {
    let words = |efforts: &[Effort]| Steering { efforts: efforts.iter().copied().collect(), ..Steering::UNKNOWN };
    let bounds = BudgetBounds { least: Tokens::new(128), most: Tokens::new(10_000) };
    let numbers = Steering { budget: Some(bounds), ..Steering::UNKNOWN };
    let deep = words(&[Effort::High, Effort::Max]);
    let told = |switch, steering, effort, budget: Option<u64>| {
        let quirks = Quirks { thinking_switch: switch, ..Quirks::default() };
        let wish = ReasoningWish::On;
        let thinking = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
        serde_json::to_value(Switches::of(thinking, &Outgoing { steering, ..out(quirks) })).unwrap()
    };
    let on = |budget: u64| json!({"enable_thinking": true, "thinking_budget": budget});
    assert_eq!(told(ThinkingSwitch::EnableThinking, numbers, None, Some(90_000)), on(10_000));
    assert_eq!(told(ThinkingSwitch::EnableThinking, numbers, Some(Effort::Max), None), on(10_000));
    assert_eq!(told(ThinkingSwitch::EnableThinking, numbers, None, Some(1)), on(128));
    let word = json!({"enable_thinking": true, "reasoning_effort": "high"});
    assert_eq!(told(ThinkingSwitch::EnableThinking, deep, None, Some(2_000)), word);
    let arguments = json!({"enable_thinking": true, "thinking": true});
    let beside = json!({"chat_template_kwargs": arguments, "reasoning_effort": "high"});
    assert_eq!(told(ThinkingSwitch::TemplateArguments, deep, Some(Effort::Low), None), beside);
    let alone = json!({"chat_template_kwargs": arguments});
    assert_eq!(told(ThinkingSwitch::TemplateArguments, numbers, None, Some(90_000)), alone);
    assert_eq!(told(ThinkingSwitch::ReasoningEffort, deep, Some(Effort::Low), None), json!({"reasoning_effort": "high"}));
    assert_eq!(told(ThinkingSwitch::ReasoningEffort, deep, Some(Effort::XHigh), None), json!({"reasoning_effort": "max"}));
    assert_eq!(told(ThinkingSwitch::ReasoningEffort, numbers, Some(Effort::Max), None), json!({"reasoning_effort": "high"}));
    assert_eq!(told(ThinkingSwitch::Reasoning, numbers, None, Some(90_000)), json!({"reasoning": {"max_tokens": 10_000}}));
    assert_eq!(told(ThinkingSwitch::Reasoning, deep, None, Some(90_000)), json!({"reasoning": {"effort": "max"}}));
    let quirks = Quirks { thinking_switch: ThinkingSwitch::Thinking, adaptive_thinking: true, ..Quirks::default() };
    let wish = |wish| ThinkingWish { wish, ..ThinkingWish::default() };
    check_with(quirks, |c| c.thinking = wish(ReasoningWish::On), json!({"thinking": {"type": "adaptive"}}));
    check_with(quirks, |c| c.thinking = wish(ReasoningWish::Off), json!({"thinking": {"type": "disabled"}}));
}

/// Found by an audit of the table: where the switch is `thinking` the effort was lost, and nothing said so.
#[test]
fn the_effort_is_told_beside_the_switch_or_in_its_place_where_the_site_takes_it() {
    let deep = Steering { efforts: [Effort::High, Effort::Max].into_iter().collect(), ..Steering::UNKNOWN };
    let told = |thinking_effort, steering, thinking: ThinkingWish| {
        let quirks = Quirks { thinking_switch: ThinkingSwitch::Thinking, thinking_effort, ..Quirks::default() };
        let out = Outgoing { steering, ..out(quirks) };
        (serde_json::to_value(Switches::of(thinking, &out)).unwrap(), loses_depth(thinking, &out))
    };
    let enabled = json!({"thinking": {"type": "enabled"}});
    let high = ThinkingWish { effort: Some(Effort::High), ..ThinkingWish::default() };
    let budget = ThinkingWish { wish: ReasoningWish::On, budget: Some(Tokens::new(90_000)), ..ThinkingWish::default() };
    let on = ThinkingWish { wish: ReasoningWish::On, ..ThinkingWish::default() };
    let off = ThinkingWish { wish: ReasoningWish::Off, ..ThinkingWish::default() };
    let both = |word: &str| json!({"thinking": {"type": "enabled"}, "reasoning_effort": word});
    assert_eq!(told(ThinkingEffort::Beside, deep, high), (both("high"), false));
    assert_eq!(told(ThinkingEffort::Beside, deep, budget), (both("max"), false));
    assert_eq!(told(ThinkingEffort::Instead, deep, high), (json!({"reasoning_effort": "high"}), false));
    for way in [ThinkingEffort::Never, ThinkingEffort::Beside, ThinkingEffort::Instead] {
        assert_eq!(told(way, deep, on), (enabled.clone(), false), "no depth was said");
        assert_eq!(told(way, deep, off), (json!({"thinking": {"type": "disabled"}}), false));
        // Whose words are not known is told none.
        assert_eq!(told(way, Steering::UNKNOWN, high), (enabled.clone(), true));
    }
    assert_eq!(told(ThinkingEffort::Never, deep, budget), (enabled, true));
}

#[test]
fn a_model_that_refuses_temperatures_is_told_none() {
    let number = |text: &str| Some(json(text));
    let (temperature, top_p, presence_penalty) = (number("1"), number("1"), number("1"));
    let sampling = Sampling { temperature, top_p, presence_penalty, seed: number("7"), ..Sampling::default() };
    let conversation = Conversation { sampling, ..asked() };
    let steering = Steering { sampling: false, ..Steering::UNKNOWN };
    let told = body(&conversation, &Outgoing { steering, ..out(Quirks::default()) }).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told, json!({"model": "up", "messages": [{"role": "user", "content": "Hi."}], "seed": 7}));
}

/// Found by a reviewer: a client of Messages that says nothing wants no thinking, and a model of chat that thinks unless it is told
/// otherwise was told nothing.
#[test]
fn no_thinking_by_default_is_told_to_a_model_that_thinks_by_default() {
    let thinking = ThinkingWish { off_by_default: true, ..ThinkingWish::default() };
    for (switch, expected) in [
        (ThinkingSwitch::Thinking, json!({"thinking": {"type": "disabled"}})),
        (ThinkingSwitch::EnableThinking, json!({"enable_thinking": false})),
        (ThinkingSwitch::Reasoning, json!({"reasoning": {"enabled": false}})),
        (ThinkingSwitch::TemplateArguments, json!({"chat_template_kwargs": {"enable_thinking": false, "thinking": false}})),
        (ThinkingSwitch::ReasoningEffort, json!({})),
        (ThinkingSwitch::None, json!({})),
    ] {
        let quirks = Quirks { thinking_switch: switch, ..Quirks::default() };
        check_with(quirks, |c| c.thinking = thinking, expected);
        for reasoning in [Reasoning::Never, Reasoning::Always] {
            assert_eq!(Switches::of(thinking, &Outgoing { reasoning, ..out(quirks) }), Switches::default());
        }
    }
}

/// A site that takes none but short ids refused every conversation in which another model had called a tool.
#[test]
fn ids_of_calls_are_short_where_the_site_wants_them_so() {
    let turns = vec![
        turn(Role::User, vec![Part::text("Hi.")]),
        turn(Role::Assistant, vec![call("toolu_01AbCdEf", "{}"), call("aB3dE6gH9", "{}"), call("toolu_02AbCdEf", "{}")]),
        turn(Role::User, ["toolu_01AbCdEf", "aB3dE6gH9", "toolu_02AbCdEf"].map(|id| result(id, vec![Part::text("4")])).to_vec()),
    ];
    let conversation = Conversation { turns: turns.into(), ..asked() };
    let ids = |short_call_ids| {
        let told = written(&conversation, Quirks { short_call_ids, ..Quirks::default() });
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let called: Vec<String> = (0..3).map(|nth| text(&told["messages"][1]["tool_calls"][nth]["id"])).collect();
        let answered: Vec<String> = (2..5).map(|nth| text(&told["messages"][nth]["tool_call_id"])).collect();
        assert_eq!(called, answered);
        called
    };
    assert_eq!(ids(false), ["toolu_01AbCdEf", "aB3dE6gH9", "toolu_02AbCdEf"]);
    let short = ids(true);
    assert!(short.iter().all(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())), "{short:?}");
    assert!(short[1] == "aB3dE6gH9" && short[0] != short[2], "{short:?}");
}

/// What the messages of turns are, at a site as the quirks say.
fn messages_of(turns: Vec<Turn>, out: &Outgoing<'_>) -> Value {
    let conversation = Conversation { system: vec![Part::text("One.")], turns: turns.into(), ..Conversation::default() };
    serde_json::from_slice::<Value>(&body(&conversation, out).unwrap()).unwrap()["messages"].take()
}

/// Found by a reviewer: each reminder changed the first message, so that all of the cached prompt was lost.
#[test]
fn instructions_between_the_turns_keep_their_place_behind_what_tools_answered() {
    let turns = || {
        vec![
            turn(Role::User, vec![Part::text("Hi.")]),
            turn(Role::Assistant, vec![call("a", "{}")]),
            turn(Role::System, vec![Part::text("Two."), Part::text("Three.")]),
            turn(Role::User, vec![result("a", vec![Part::text("4")])]),
        ]
    };
    let roles =
        |told: &Value| told.as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let anywhere = Quirks { instructions_anywhere: true, ..Quirks::default() };
    let in_place = messages_of(turns(), &out(anywhere));
    assert_eq!(roles(&in_place), ["system", "user", "assistant", "tool", "system"]);
    assert_eq!((&in_place[0]["content"], &in_place[4]["content"]), (&json!("One."), &json!("Two.\n\nThree.")));
    let quirks = Quirks::default();
    let hoisted = messages_of(turns(), &out(quirks));
    assert_eq!(roles(&hoisted), ["system", "user", "assistant", "tool"]);
    assert_eq!(hoisted[0]["content"], "One.\n\nTwo.\n\nThree.");
    let begun = || vec![turn(Role::Assistant, vec![Part::text("{")]), turn(Role::System, vec![Part::text("Go on.")])];
    assert_eq!(roles(&messages_of(begun(), &out(anywhere))), ["system", "assistant", "system"]);
    let conversation = Conversation { turns: begun().into(), ..Conversation::default() };
    assert!(body(&conversation, &out(quirks)).is_err(), "there the answer is begun");
}

/// Found by a reviewer: a picture that a tool showed stood between what two tools answered, which is refused.
#[test]
fn what_tools_answered_in_neighbouring_turns_stands_together() {
    let image = || Part::Image(medium(Source::Base64("AAAA".into()), None));
    let turns = vec![
        turn(Role::Assistant, vec![call("a", "{}"), call("b", "{}")]),
        turn(Role::User, vec![result("a", vec![image()])]),
        turn(Role::User, vec![result("b", vec![Part::text("5")]), Part::text("So?")]),
    ];
    let told = messages_of(turns, &out(Quirks::default()));
    let said: Vec<&str> = told.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(said, ["system", "assistant", "tool", "tool", "user", "user"]);
    assert_eq!(told[5]["content"], "So?");
}

/// Found by a reviewer: a tool that failed without a word looked like one that had nothing to say.
#[test]
fn that_a_tool_failed_is_said() {
    let failed = |parts| Part::Result(ToolResult { id: "a".into(), parts, is_error: true, cached: None });
    let told = |parts| {
        messages_of(
            vec![turn(Role::Assistant, vec![call("a", "{}")]), turn(Role::User, vec![failed(parts)])],
            &out(Quirks::default()),
        )
    };
    assert_eq!(told(vec![])[2]["content"], "Error: the tool failed.");
    assert_eq!(told(vec![Part::text("No such file.")])[2]["content"], "Error: the tool failed.\nNo such file.");
}

/// Found by a reviewer: two contracts could not be told apart.
#[test]
fn the_title_of_a_document_that_is_text_is_said() {
    let titled = |name: &str| Part::Document(Medium { name: Some(name.into()), ..medium(Source::Text("Words.".into()), None) });
    let told = messages_of(vec![turn(Role::User, vec![titled("Contract A"), titled("")])], &out(Quirks::default()));
    assert_eq!(told[1]["content"], "Contract A\nWords.\nWords.");
}

/// Found by a reviewer: the other API's same words for which cache, how soon and how long an answer were not said.
#[test]
fn hints_are_told_to_sites_and_models_that_know_them() {
    let said = |text: &str| Some(text.to_owned());
    let hints = Hints { cache_key: said("k"), tier: said("flex"), verbosity: said("low") };
    let all = Quirks { hints: Hint::WORDS.into_iter().map(|(hint, _)| hint).collect(), ..Quirks::default() };
    check_with(all, |c| c.hints = hints.clone(), json!({"prompt_cache_key": "k", "service_tier": "flex", "verbosity": "low"}));
    check(|c| c.hints = hints.clone(), json!({}));
    let conversation = Conversation { hints, ..asked() };
    let told = |reasoning| {
        let out = Outgoing { reasoning, ..out(all) };
        let told: Value = serde_json::from_slice(&body(&conversation, &out).unwrap()).unwrap();
        (told.get("service_tier").is_some(), told.get("verbosity").is_some(), told.get("prompt_cache_key").is_some())
    };
    assert_eq!((told(Reasoning::Always), told(Reasoning::Never)), ((true, true, true), (false, false, true)));
}

/// Found by a reviewer: where a client marks its prompt was lost to models that keep only what is marked.
#[test]
fn marks_of_the_cache_are_told_to_models_that_take_them() {
    let marked = |text: &str| Part::Text(Text { text: text.into(), cached: Some(CacheLifetime::Hour) });
    let answered = Part::Result(ToolResult {
        id: "a".into(),
        parts: vec![Part::text("4")],
        is_error: false,
        cached: Some(CacheLifetime::Minutes),
    });
    let turns = || {
        vec![
            turn(Role::User, vec![Part::text("Hi."), marked("There.")]),
            turn(Role::Assistant, vec![marked("So."), call("a", "{}")]),
            turn(Role::User, vec![answered.clone()]),
        ]
    };
    let steering = Steering { cache_marks: true, ..Steering::UNKNOWN };
    let told = messages_of(turns(), &Outgoing { steering, ..out(Quirks::default()) });
    let mark = json!({"mode": "explicit"});
    assert_eq!(
        told[1]["content"],
        json!([{"type": "text", "text": "Hi."}, {"type": "text", "text": "There.", "prompt_cache_breakpoint": mark}])
    );
    assert_eq!(told[2]["content"], "So.", "what the assistant said takes none");
    assert_eq!(told[3]["content"], json!([{"type": "text", "text": "4", "prompt_cache_breakpoint": mark}]));
    let unmarked = messages_of(turns(), &out(Quirks::default()));
    assert_eq!((&unmarked[1]["content"], &unmarked[3]["content"]), (&json!("Hi.\nThere."), &json!("4")));
}

/// Found by fuzzing: a request whose messages have no content went out as one without messages.
#[test]
fn a_conversation_in_which_nobody_says_anything_is_not_sent() {
    let silent = Conversation { turns: vec![turn(Role::User, Vec::new())].into(), ..asked() };
    let refused = body(&silent, &out(Quirks::default())).unwrap_err();
    assert_eq!(refused.what, SILENCE);
}
