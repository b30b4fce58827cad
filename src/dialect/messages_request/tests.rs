//! What goes out to Messages for a conversation of another shape.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::canonical::conversation::{
    AnswerSchema, CacheLifetime, Call, Effort, Medium, Role, Sampling, Seal, SealKind, Source, Text, Thought, ToolResult, Turn,
};
use crate::catalog::capability::Quirks;
use crate::catalog::{BudgetBounds, Steering};

fn out() -> Outgoing<'static> {
    Outgoing { max_output: Tokens::new(64_000), reasoning: Reasoning::Switchable, ..Outgoing::to("up", Quirks::default()) }
}

fn written(conversation: &Conversation) -> Value {
    serde_json::from_slice(&body(conversation, &out()).unwrap()).unwrap()
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts }
}

fn asked() -> Conversation {
    Conversation { turns: vec![turn(Role::User, vec![Part::text("Hi.")])].into(), ..Conversation::default() }
}

/// The members that a change adds to a plain request.
#[expect(clippy::needless_pass_by_value, reason = "a literal reads better")]
fn check(change: impl FnOnce(&mut Conversation), expected: Value) {
    let mut conversation = asked();
    change(&mut conversation);
    let mut told = written(&conversation);
    let plain = written(&asked());
    told.as_object_mut().unwrap().retain(|name, value| plain.get(name) != Some(value));
    assert_eq!(told, expected);
}

fn json(text: &str) -> Option<Json> {
    Json::parse(text.to_owned())
}

fn call(id: &str, arguments: &str) -> Part {
    Part::Call(Call { id: id.into(), name: "weather".into(), arguments: arguments.into(), seal: None, cached: None })
}

fn result(id: &str, text: &str) -> Part {
    Part::Result(ToolResult { id: id.into(), parts: vec![Part::text(text)], is_error: false, cached: None })
}

fn thought(kind: Option<SealKind>) -> Part {
    let seal = kind.map(|kind| Seal { kind, value: "sig".into() });
    Part::Thought(Thought { text: "hm".into(), seal })
}

#[test]
fn a_plain_request_says_no_more_than_it_must() {
    let expected = json!({"model": "up", "max_tokens": 64_000, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi."}]}]});
    assert_eq!(written(&asked()), expected);
}

#[test]
fn of_two_bounds_the_lower_goes_out() {
    let bounded = |client: Option<u64>, ours: Option<u64>| {
        let conversation = Conversation { output_bound: client.map(Tokens::new), ..asked() };
        let out = Outgoing { output_bound: ours.map(Tokens::new), ..out() };
        serde_json::from_slice::<Value>(&body(&conversation, &out).unwrap()).unwrap()["max_tokens"].clone()
    };
    assert_eq!([bounded(Some(9), None), bounded(None, Some(7)), bounded(Some(9), Some(7)), bounded(Some(0), None)], [9, 7, 7, 1]);
}

#[test]
fn sampling_is_said_as_far_as_there_are_words() {
    let sampling = || Sampling {
        temperature: json("1.5"),
        top_p: json("0.9"),
        top_k: json("40"),
        seed: json("7"),
        stop: vec!["END".into(), " \n".into()],
        ..Sampling::default()
    };
    check(|c| c.sampling = sampling(), json!({"temperature": 1, "top_k": 40, "stop_sequences": ["END"]}));
    check(|c| c.sampling.temperature = json("0.25"), json!({"temperature": 0.25}));
    check(|c| c.sampling.top_p = json("0.9"), json!({"top_p": 0.9}));
    let mut thinking = asked();
    (thinking.sampling, thinking.thinking.effort) = (sampling(), Some(Effort::Low));
    let told = written(&thinking);
    assert!(["temperature", "top_p", "top_k"].iter().all(|name| told.get(*name).is_none()), "{told}");
    assert_eq!(told["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
}

#[test]
fn thinking_is_asked_for_within_the_bound_and_left_where_it_would_be_refused() {
    let thinking = |wish, budget: Option<u64>, bound: Option<u64>, change: &dyn Fn(&mut Conversation)| {
        let mut conversation = asked();
        conversation.thinking = ThinkingWish { wish, effort: None, budget: budget.map(Tokens::new), off_by_default: false };
        conversation.output_bound = bound.map(Tokens::new);
        conversation.tools = vec![tool(None)];
        change(&mut conversation);
        written(&conversation).get("thinking").cloned()
    };
    let plain = |wish, budget, bound| thinking(wish, budget, bound, &|_| {});
    let enabled = |budget: u64| Some(json!({"type": "enabled", "budget_tokens": budget}));
    let disabled = || Some(json!({"type": "disabled"}));
    assert_eq!(plain(ReasoningWish::Unsaid, None, None), None);
    assert_eq!(plain(ReasoningWish::Off, Some(5_000), None), disabled());
    assert_eq!(plain(ReasoningWish::On, None, None), enabled(8_192));
    assert_eq!(plain(ReasoningWish::Unsaid, Some(5_000), None), enabled(5_000));
    assert_eq!(plain(ReasoningWish::On, Some(100), None), enabled(1_024));
    assert_eq!(plain(ReasoningWish::On, Some(9_000), Some(4_096)), enabled(3_072));
    assert_eq!(plain(ReasoningWish::On, Some(9_000), Some(1_500)), None);
    let forced = |choice: ToolChoice| thinking(ReasoningWish::On, None, None, &|c| c.tool_choice = choice.clone());
    assert_eq!([forced(ToolChoice::Required), forced(ToolChoice::Named("weather".into()))], [disabled(), disabled()]);
    let answering = |part: Part| {
        let turns = [turn(Role::Assistant, vec![part, call("a", "{}")]), turn(Role::User, vec![result("a", "4")])];
        thinking(ReasoningWish::On, None, None, &|c| c.turns.extend(turns.clone()))
    };
    assert_eq!(answering(thought(Some(SealKind::AnthropicSignature))), enabled(8_192));
    assert_eq!(answering(thought(Some(SealKind::GeminiSignature))), disabled());
    assert_eq!(answering(thought(None)), disabled());
}

/// A known defect: a thought that its provider did not sign was left out at that provider too, and thinking was switched off.
#[test]
fn a_thought_without_a_seal_is_told_where_such_are_taken() {
    let takes = Quirks { unsigned_thoughts: true, ..Quirks::default() };
    let told = |part: Part, quirks| {
        let mut conversation = asked();
        conversation.thinking.wish = ReasoningWish::On;
        conversation.turns.push(turn(Role::Assistant, vec![part, call("a", "{}")]));
        conversation.turns.push(turn(Role::User, vec![result("a", "4")]));
        let told: Value = serde_json::from_slice(&body(&conversation, &Outgoing { quirks, ..out() }).unwrap()).unwrap();
        (told["messages"][1]["content"][0].clone(), told["thinking"]["type"].clone())
    };
    let thinking = |signature: &str| (json!({"type": "thinking", "thinking": "hm", "signature": signature}), json!("enabled"));
    assert_eq!(told(thought(None), takes), thinking(""));
    assert_eq!(told(thought(Some(SealKind::OpenAiEncrypted)), takes), thinking(""));
    assert_eq!(told(thought(Some(SealKind::AnthropicSignature)), takes), thinking("sig"));
    let (block, thinking) = told(thought(None), Quirks::default());
    assert_eq!((&block["type"], thinking), (&json!("tool_use"), json!("disabled")));
    let silent = Part::Thought(Thought { text: String::new(), seal: None });
    assert_eq!(told(silent, takes).1, json!("disabled"));
}

/// Found by a reviewer: the newest Claude models refuse a number of tokens to think, and temperatures.
#[test]
fn a_model_that_takes_words_alone_is_made_to_think_adaptively() {
    let quirks = Quirks { adaptive_thinking: true, ..Quirks::default() };
    let told = |steering, quirks, effort, budget: Option<u64>| {
        let mut conversation = asked();
        let wish = ReasoningWish::On;
        conversation.thinking = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
        let told = body(&conversation, &Outgoing { quirks, steering, ..out() }).unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        (told["thinking"].clone(), told["output_config"]["effort"].clone())
    };
    let efforts = [Effort::Low, Effort::Medium, Effort::High, Effort::Max].into_iter().collect();
    let words = Steering { efforts, ..Steering::UNKNOWN };
    let bounds = Some(BudgetBounds { least: Tokens::new(2_048), most: Tokens::new(20_000) });
    let (numbers, both) = (Steering { budget: bounds, ..Steering::UNKNOWN }, Steering { budget: bounds, ..words });
    let adaptive = || json!({"type": "adaptive"});
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    assert_eq!(told(words, quirks, None, None), (adaptive(), Value::Null));
    assert_eq!(told(words, quirks, Some(Effort::XHigh), None), (adaptive(), json!("max")));
    assert_eq!(told(words, quirks, None, Some(10_000)), (adaptive(), json!("high")));
    assert_eq!(told(Steering::UNKNOWN, quirks, Some(Effort::Low), None), (adaptive(), Value::Null));
    assert_eq!(told(numbers, quirks, Some(Effort::Minimal), None), (enabled(2_048), Value::Null));
    assert_eq!(told(numbers, quirks, None, Some(30_000)), (enabled(20_000), Value::Null));
    assert_eq!(told(both, quirks, None, Some(10_000)), (enabled(10_000), Value::Null));
    assert_eq!(told(both, quirks, Some(Effort::Low), None), (adaptive(), json!("low")));
    // Elsewhere the kind is the old one, beside a word where it is known.
    assert_eq!(told(words, Quirks::default(), Some(Effort::Low), None), (enabled(2_048), json!("low")));

    let mut cool = asked();
    (cool.sampling.temperature, cool.sampling.top_k) = (json("0.5"), json("4"));
    let told = body(&cool, &Outgoing { steering: Steering { sampling: false, ..words }, ..out() }).unwrap();
    let told = String::from_utf8(told.to_vec()).unwrap();
    assert!(!told.contains("temperature") && !told.contains("top_k") && !told.contains("effort"), "{told}");
}

fn tool(parameters: Option<&str>) -> Tool {
    let parameters = parameters.and_then(json);
    Tool { name: "weather".into(), description: Some("by city".into()), parameters, strict: None, cached: None }
}

#[test]
fn tools_have_an_object_for_a_schema_and_choices_have_their_words() {
    let schemas = |parameters: Option<&str>| {
        let conversation = Conversation { tools: vec![tool(parameters)], ..asked() };
        let told = written(&conversation);
        (told["tools"][0]["input_schema"].clone(), told.get("tool_choice").cloned())
    };
    let nothing = json!({"type": "object", "properties": {}});
    assert_eq!(schemas(None), (nothing.clone(), None));
    assert_eq!(schemas(Some("[]")).0, nothing);
    assert_eq!(schemas(Some(r#"{"properties":{"a":{}}}"#)).0, json!({"properties": {"a": {}}, "type": "object"}));
    assert_eq!(schemas(Some(r#"{"type":"object"}"#)).0, json!({"type": "object"}));
    let choice = |choice: ToolChoice, parallel| {
        let conversation = Conversation { tools: vec![tool(None)], tool_choice: choice, parallel_calls: parallel, ..asked() };
        written(&conversation).get("tool_choice").cloned().unwrap_or_default()
    };
    assert_eq!(choice(ToolChoice::Auto, Some(true)), Value::Null);
    assert_eq!(choice(ToolChoice::Auto, Some(false)), json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(choice(ToolChoice::None, None), json!({"type": "none"}));
    assert_eq!(choice(ToolChoice::Required, None), json!({"type": "any"}));
    let named = json!({"type": "tool", "name": "weather", "disable_parallel_tool_use": true});
    assert_eq!(choice(ToolChoice::Named("weather".into()), Some(false)), named);
}

#[test]
fn results_stand_first_in_one_message_and_neighbours_are_one() {
    let mut conversation = asked();
    conversation.turns = vec![
        turn(Role::User, vec![Part::text("Weather?"), Part::text("")]),
        turn(Role::User, vec![Part::text("Now.")]),
        turn(Role::Assistant, vec![Part::text(""), thought(None)]),
        turn(
            Role::Assistant,
            vec![thought(Some(SealKind::AnthropicSignature)), call("functions.f:0", ""), call("b", "not JSON")],
        ),
        turn(Role::User, vec![Part::text("Here."), result("functions.f:0", "4")]),
        turn(Role::User, vec![result("b", "")]),
    ]
    .into();
    let told = written(&conversation);
    let messages = told["messages"].as_array().unwrap();
    let kinds = |message: &Value| -> Vec<String> {
        message["content"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        messages.iter().map(kinds).collect::<Vec<_>>(),
        [vec!["text", "text"], vec!["thinking", "tool_use", "tool_use"], vec!["tool_result", "tool_result", "text"]]
    );
    let [calls, results] = [&messages[1]["content"], &messages[2]["content"]];
    assert_eq!(calls[1]["id"], results[0]["tool_use_id"]);
    assert!(calls[1]["id"].as_str().unwrap().starts_with("functions_f_0_"));
    assert_eq!((&calls[1]["input"], &calls[2]["input"]), (&json!({}), &json!({"_raw": "not JSON"})));
    assert_eq!(results[1]["content"], json!([]), "nothing is empty but what a tool answered");
    // The tools are gone, but were called.
    assert_eq!((&told["tools"][0]["name"], &told["tool_choice"]), (&json!("weather"), &json!({"type": "none"})));
}

#[test]
fn a_conversation_begins_with_the_user() {
    let conversation =
        Conversation { turns: vec![turn(Role::Assistant, vec![Part::text("Hm")])].into(), ..Conversation::default() };
    let roles: Vec<Value> = written(&conversation)["messages"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant"]);
    assert_eq!(written(&Conversation::default())["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn media_go_out_as_they_are_kept() {
    let medium = |source| Medium { source, media_type: None, name: Some("a.pdf".into()), detail: None, cached: None };
    let mut conversation = asked();
    conversation.turns[0].parts = vec![
        Part::Image(Medium { media_type: Some("image/webp".into()), ..medium(Source::Base64("AAAA".into())) }),
        Part::Image(medium(Source::Url("https://example.com/a.png".into()))),
        Part::Document(medium(Source::Base64("AAAA".into()))),
        Part::Document(medium(Source::Text("Words.".into()))),
    ];
    let expected = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Words."}, "title": "a.pdf"},
    ]);
    assert_eq!(written(&conversation)["messages"][0]["content"], expected);
    for part in [Part::Audio(medium(Source::Base64("AAAA".into()))), Part::Document(medium(Source::FileId("f".into())))] {
        conversation.turns[0].parts = vec![part];
        let refused = body(&conversation, &out()).unwrap_err();
        assert_eq!(refused.shape, "anthropic-messages", "{refused}");
    }
}

#[test]
fn the_last_marks_are_kept_and_a_marked_system_has_blocks() {
    let text = |text: &str, cached| Part::Text(Text { text: text.into(), cached });
    check(|c| c.system = vec![text("One.", None), text("", None), text("Two.", None)], json!({"system": "One.\n\nTwo."}));
    check(|c| c.format = Format::JsonObject, json!({"system": "Answer with one JSON object and nothing else."}));
    let mut conversation = asked();
    conversation.tools = vec![Tool { cached: Some(CacheLifetime::Minutes), ..tool(None) }];
    conversation.system = vec![text("One.", Some(CacheLifetime::Minutes)), text("Two.", Some(CacheLifetime::Hour))];
    conversation.turns[0].parts = vec![
        text("a", Some(CacheLifetime::Hour)),
        text("b", Some(CacheLifetime::Minutes)),
        text("c", Some(CacheLifetime::Minutes)),
    ];
    let told = written(&conversation);
    let marks = |blocks: &Value| -> Vec<Value> {
        blocks.as_array().unwrap().iter().map(|block| block["cache_control"].clone()).collect()
    };
    let (minutes, hour) = (json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(marks(&told["tools"]), [Value::Null]);
    assert_eq!(marks(&told["system"]), [Value::Null, hour.clone()]);
    assert_eq!(marks(&told["messages"][0]["content"]), [hour, minutes.clone(), minutes.clone()]);
    // Marks of blocks that are no texts count like theirs, and those within a tool's answer before its own.
    let seen = ToolResult {
        id: "t".into(),
        parts: vec![text("a", Some(CacheLifetime::Minutes)), text("b", Some(CacheLifetime::Minutes))],
        is_error: false,
        cached: Some(CacheLifetime::Minutes),
    };
    conversation.turns[0].parts = vec![Part::Result(seen), text("c", Some(CacheLifetime::Minutes))];
    let told = written(&conversation);
    assert_eq!(marks(&told["system"]), [Value::Null, Value::Null]);
    assert_eq!(marks(&told["messages"][0]["content"]), [minutes.clone(), minutes.clone()]);
    assert_eq!(marks(&told["messages"][0]["content"][0]["content"]), [minutes.clone(), minutes]);
}

#[test]
fn a_schema_and_a_user_have_members_of_their_own() {
    let schema =
        AnswerSchema { name: "x".into(), description: None, schema: json(r#"{"type":"object"}"#).unwrap(), strict: None };
    check(
        |c| (c.format, c.user, c.stream) = (Format::JsonSchema(schema), Some("u".into()), true),
        json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}, "metadata": {"user_id": "u"}, "stream": true}),
    );
}

proptest! {
    #[test]
    fn whatever_was_said_is_json_whose_sides_take_turns(
        said in prop::collection::vec((any::<bool>(), prop::collection::vec((0_u8..6, ".{0,6}"), 0..5)), 0..8), bound in 0_u64..9_000,
    ) {
        let part = |(kind, text): (u8, String)| match kind {
            0 => thought(Some(SealKind::AnthropicSignature)),
            1 => call(&text, &text),
            2 => result(&text, &text),
            3 => Part::Refusal(text),
            _ => Part::text(text),
        };
        let turns = said.into_iter().map(|(user, parts)| {
            let role = if user { Role::User } else { Role::Assistant };
            turn(role, parts.into_iter().map(part).collect())
        });
        let conversation = Conversation { turns: turns.collect(), output_bound: Some(Tokens::new(bound)), ..Conversation::default() };
        let told = written(&conversation);
        let roles: Vec<&str> = told["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
        prop_assert!(roles[0] == "user" && roles.windows(2).all(|pair| pair[0] != pair[1]), "{roles:?}");
    }
}

/// Found by a reviewer: kinds that are refused went out as they were told.
#[test]
fn media_go_out_in_kinds_that_are_taken() {
    let medium = |media_type: &str, data: &str| Medium {
        source: Source::Base64(data.into()),
        media_type: Some(media_type.into()),
        name: None,
        detail: None,
        cached: None,
    };
    let source = |part: Part| {
        let conversation = Conversation { turns: vec![turn(Role::User, vec![part])].into(), ..Conversation::default() };
        let told = body(&conversation, &out()).map_err(|refused| refused.what)?;
        Ok::<Value, String>(serde_json::from_slice::<Value>(&told).unwrap()["messages"][0]["content"][0]["source"].take())
    };
    let jpeg = json!({"type": "base64", "media_type": "image/jpeg", "data": "AAAA"});
    assert_eq!(source(Part::Image(medium("image/jpg", "AAAA"))), Ok(jpeg));
    assert_eq!(source(Part::Image(medium("image/tiff", "AAAA"))), Err("an image of type `image/tiff`".into()));
    let text = json!({"type": "text", "media_type": "text/plain", "data": "a,b"});
    assert_eq!(source(Part::Document(medium("text/csv; charset=utf-8", "YSxi"))), Ok(text));
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AAAA"});
    assert_eq!(source(Part::Document(medium("Application/PDF", "AAAA"))), Ok(pdf));
    let word = "application/msword";
    assert_eq!(source(Part::Document(medium(word, "AAAA"))), Err(format!("a document of type `{word}`")));
}

/// Found by an audit of the table: Claude from 4.6 on refuses a conversation that its own turn ends, and was sent it.
#[test]
fn an_answer_that_is_begun_is_not_told_to_a_model_that_goes_on_with_none() {
    let refused = Steering { prefill: false, ..Steering::UNKNOWN };
    let out = Outgoing { steering: refused, ..Outgoing::to("up", Quirks::default()) };
    let asked = turn(Role::User, vec![Part::text("Hi.")]);
    let said = |last: Turn| Conversation { turns: vec![asked.clone(), last].into(), ..Conversation::default() };
    let begun = said(turn(Role::Assistant, vec![Part::text("{")]));
    for shape in [Shape::AnthropicMessages, Shape::BedrockConverse] {
        let dialect = crate::dialect::of(shape);
        let why = dialect.write(&begun, &out).unwrap_err().to_string();
        assert_eq!(why, format!("an answer that is begun already cannot be said in {}", shape.word()));
        assert!(dialect.write(&begun, &Outgoing::to("up", Quirks::default())).is_ok());
        // What says nothing is no answer that is begun, and one that somebody answered is none either.
        assert!(dialect.write(&said(turn(Role::Assistant, vec![Part::text(" ")])), &out).is_ok());
        let answered = vec![asked.clone(), turn(Role::Assistant, vec![Part::text("Hi.")]), asked.clone()];
        assert!(dialect.write(&Conversation { turns: answered.into(), ..Conversation::default() }, &out).is_ok());
    }
}

/// Found by a reviewer: an answer that was begun and ended in white space was refused, and so was an error without a word.
#[test]
fn what_would_be_refused_at_the_end_is_trimmed_and_said() {
    let turns = vec![turn(Role::User, vec![Part::text("Hi. ")]), turn(Role::Assistant, vec![Part::text("{ \n")])];
    let told = written(&Conversation { turns: turns.into(), ..Conversation::default() });
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    assert_eq!((&told["messages"][0]["content"], &told["messages"][1]["content"]), (&text("Hi. "), &text("{")));
    let failed = Part::Result(ToolResult { id: "a".into(), parts: vec![], is_error: true, cached: None });
    let turns = vec![turn(Role::Assistant, vec![call("a", "{}")]), turn(Role::User, vec![failed])];
    let told = written(&Conversation { turns: turns.into(), ..Conversation::default() });
    let said = &told["messages"].as_array().unwrap().last().unwrap()["content"][0];
    assert_eq!((&said["content"], &said["is_error"]), (&text("Error: the tool failed."), &json!(true)));
}

/// Instructions between the turns stand before the first, and their marks count there.
#[test]
fn instructions_between_the_turns_stand_before_the_first() {
    let marked = Part::Text(Text { text: "b".into(), cached: Some(CacheLifetime::Minutes) });
    let turns = vec![turn(Role::User, vec![Part::text("hi")]), turn(Role::System, vec![marked])];
    let told = written(&Conversation { system: vec![Part::text("a")], turns: turns.into(), ..Conversation::default() });
    let mark = json!({"type": "ephemeral"});
    assert_eq!(told["system"], json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": mark}]));
    assert_eq!(told["messages"].as_array().unwrap().len(), 1);
}
