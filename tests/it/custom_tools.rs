//! An agent whose tool for patches is a custom one, which takes a text as it is, over providers that know functions alone: it is
//! offered as a function, called as one, and the client is told what it declared.

use serde_json::{Value, json};

use crate::harness::chat::chunks;
use crate::harness::provider::{Script, stream, whole};
use crate::harness::responses::{ask, events};
use crate::harness::thinker::Thinker;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, alone, chat, chats, gemini, messages, responses};

const DROPPED: &str = "x-tokenbroker-dropped";
const PATCH: &str = "*** Begin Patch\n*** Add File: a.txt\n+He said \"hé\\n\".\n*** End Patch";
const GRAMMAR: &str = "start: begin add end";

/// What an agent offers beside what it was asked to do: a function, the tool for patches, tools of a server in a namespace, and a
/// search of the provider's.
fn tools() -> Value {
    let command = json!({"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]});
    let read = json!({"type": "function", "name": "read", "description": "Reads a file.", "parameters": {"type": "object", "properties": {}}});
    json!([
        {"type": "function", "name": "exec_command", "description": "Runs a command.", "strict": false, "parameters": command},
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR}},
        {"type": "web_search", "external_web_access": false},
        {"type": "namespace", "name": "mcp__files", "description": "Files.", "tools": [read]},
    ])
}

/// A whole request, as Codex writes it (openai/codex, `codex-api/src/common.rs`, 2026).
fn request(input: &Value) -> Value {
    json!({
        "model": "auto", "instructions": "You edit files.", "input": input, "tools": tools(), "tool_choice": "auto",
        "parallel_tool_calls": true, "reasoning": {"effort": "medium", "summary": "auto"}, "store": false, "stream": true,
        "include": ["reasoning.encrypted_content"], "service_tier": "auto", "prompt_cache_key": "0191", "text": {"verbosity": "low"},
        "client_metadata": {"installation": "1"},
    })
}

/// The provider calls a tool, its arguments in pieces that part an escape. 9 tokens in, 4 out.
fn calls(api: Thinker, name: &str, arguments: &str) -> Script {
    let cut = arguments.find('\\').map_or(arguments.len() / 2, |at| at + 1);
    let pieces = [&arguments[..cut], &arguments[cut..]];
    match api {
        Thinker::Chat | Thinker::StrictChat => {
            let begun = json!({"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": name, "arguments": ""}}]});
            let more = pieces.map(|piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
            let deltas = [begun].into_iter().chain(more).map(|delta| chat::delta(&delta.to_string(), "null"));
            let end = [chat::delta("{}", r#""tool_calls""#), chat::usage(9, 4), chat::DONE.to_owned()];
            stream(&[chat::role()].into_iter().chain(deltas).chain(end).collect::<Vec<_>>())
        }
        Thinker::Messages => {
            let block = json!({"type": "tool_use", "id": "toolu_a", "name": name, "input": {}});
            let mut all =
                vec![messages::start(r#"{"input_tokens":9,"output_tokens":1}"#), messages::block(0, &block.to_string())];
            all.extend(
                pieces.map(|piece| messages::delta(0, &json!({"type": "input_json_delta", "partial_json": piece}).to_string())),
            );
            all.extend([messages::end(0), messages::finish("tool_use", r#"{"output_tokens":4}"#), messages::STOP.to_owned()]);
            stream(&all)
        }
        Thinker::Gemini => stream(&gemini::frames(&[gemini::call(name, arguments, "c2ln")], &gemini::usage(9, 4))),
    }
}

/// What a provider was offered: each function's name and description, and the schema of its arguments.
fn offered(api: Thinker, body: &Value) -> Vec<(String, String, Value)> {
    let list = if api == Thinker::Gemini { &body["tools"][0]["functionDeclarations"] } else { &body["tools"] };
    let tool = |tool: &Value| {
        let told = if api == Thinker::Chat { &tool["function"] } else { tool };
        let text = |member: &str| told[member].as_str().unwrap_or_default().to_owned();
        let schema = ["parameters", "input_schema", "parametersJsonSchema"].into_iter().find_map(|name| told.get(name));
        (text("name"), text("description"), schema.cloned().unwrap_or_default())
    };
    list.as_array().unwrap_or_else(|| panic!("{body}")).iter().map(tool).collect()
}

/// The calls that a provider was told, with their arguments, and what was answered to them.
fn told(api: Thinker, body: &Value) -> Vec<(String, Value, String)> {
    let turns = body[if api == Thinker::Gemini { "contents" } else { "messages" }].as_array().unwrap();
    let parts = |name: &'static str| turns.iter().flat_map(move |turn| turn[name].as_array().cloned().unwrap_or_default());
    match api {
        Thinker::Chat | Thinker::StrictChat => {
            let answers = turns.iter().filter(|turn| turn["role"] == "tool");
            let calls = parts("tool_calls").zip(answers).map(|(call, answer)| {
                assert_eq!((&call["id"], &call["type"]), (&answer["tool_call_id"], &json!("function")));
                let arguments = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
                (call["function"]["name"].clone(), arguments, answer["content"].clone())
            });
            calls.map(|(name, arguments, answer)| (text(&name), arguments, text(&answer))).collect()
        }
        Thinker::Messages => {
            let answers = parts("content").filter(|block| block["type"] == "tool_result");
            let calls = parts("content").filter(|block| block["type"] == "tool_use").zip(answers).map(|(call, answer)| {
                assert_eq!(call["id"], answer["tool_use_id"]);
                (text(&call["name"]), call["input"].clone(), said(&answer["content"]))
            });
            calls.collect()
        }
        Thinker::Gemini => {
            let answers = parts("parts").filter_map(|part| part.get("functionResponse").cloned());
            let calls = parts("parts").filter_map(|part| part.get("functionCall").cloned()).zip(answers);
            calls.map(|(call, answer)| (text(&call["name"]), call["args"].clone(), answer["response"].to_string())).collect()
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// A text, or the first of several.
fn said(content: &Value) -> String {
    content.as_str().map_or_else(|| text(&content[0]["text"]), str::to_owned)
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The item of a stream's only call.
fn called(answer: &Whole) -> Value {
    let events = events(answer.text());
    let items = events.iter().filter(|event| event["type"] == "response.output_item.done").map(|event| &event["item"]);
    let calls: Vec<&Value> = items.filter(|item| item["type"].as_str().unwrap().ends_with("_call")).collect();
    assert_eq!(calls.len(), 1, "{}", answer.text());
    calls[0].clone()
}

/// Two turns: a patch, then a file of the server in a namespace, then the end.
async fn check(api: Thinker) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([api.site(&east)]);
    let arguments = json!({ "input": PATCH }).to_string();
    east.next(calls(api, "apply_patch", &arguments));
    east.next(calls(api, "mcp__files__read", r#"{"path":"a\tb"}"#));
    east.next(api.says(true, "Done."));
    let mut input = vec![json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Add a.txt."}]})];

    let answer = gateway.ask(&Call::responses(request(&json!(input)).to_string())).await;

    assert_eq!(
        (answer.status, answer.header(DROPPED)),
        (200, "tools.format, tools.web_search, text.verbosity"),
        "{}",
        answer.text()
    );
    let events = events(answer.text());
    let of_call: Vec<&Value> =
        events.iter().filter(|event| event["type"].as_str().unwrap().contains("custom_tool_call_input")).collect();
    let pieces: String = of_call.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((pieces.as_str(), &of_call.last().unwrap()["input"]), (PATCH, &json!(PATCH)), "{api:?}");
    assert!(api == Thinker::Gemini || of_call.len() > 2, "{api:?}: it is told as it comes");
    assert!(!names(&events).iter().any(|name| name.contains("function_call")), "{api:?}: {:?}", names(&events));
    let call = called(&answer);
    assert_eq!(
        (&call["type"], &call["name"], &call["input"]),
        (&json!("custom_tool_call"), &json!("apply_patch"), &json!(PATCH))
    );
    let ended = &events.last().unwrap()["response"];
    assert_eq!((ended["status"].as_str(), ended["output"].as_array().unwrap().last()), (Some("completed"), Some(&call)));

    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    let functions = offered(api, &sent);
    let named: Vec<&str> = functions.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(named, ["exec_command", "apply_patch", "mcp__files__read"], "{api:?}");
    assert!(functions[1].1.starts_with("Edits files.") && functions[1].1.contains(GRAMMAR), "{}", functions[1].1);
    assert_eq!((&functions[1].2["required"], functions[2].1.as_str()), (&json!(["input"]), "Files.\n\nReads a file."), "{api:?}");

    // All items of an answer come back, thoughts and their seals too.
    input.extend(ended["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "Success."}));
    let answer = gateway.ask(&Call::responses(request(&json!(input)).to_string())).await;
    let call = called(&answer);
    assert_eq!(
        (&call["type"], &call["name"], &call["namespace"]),
        (&json!("function_call"), &json!("read"), &json!("mcp__files"))
    );
    input.push(call.clone());
    let output = json!([{"type": "input_text", "text": "He said."}]);
    input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": output}));
    let answer = gateway.ask(&Call::responses(request(&json!(input)).to_string())).await;
    assert!(answer.text().contains("Done."), "{}", answer.text());

    let sent: Value = serde_json::from_str(east.call(2).await.text()).unwrap();
    let told = told(api, &sent);
    assert_eq!(told.len(), 2, "{sent}");
    assert_eq!((told[0].0.as_str(), &told[0].1), ("apply_patch", &json!({ "input": PATCH })), "{api:?}");
    assert_eq!((told[1].0.as_str(), &told[1].1), ("mcp__files__read", &json!({"path": "a\tb"})), "{api:?}");
    assert!(told[0].2.contains("Success.") && told[1].2.contains("He said."), "{told:?}");
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.outcome.as_str(), row.frontend.as_str()), ("answered", "openai_responses"));
}

#[tokio::test]
async fn an_agent_with_a_custom_tool_works_over_a_provider_of_chat() {
    check(Thinker::Chat).await;
}

#[tokio::test]
async fn and_over_one_of_messages() {
    check(Thinker::Messages).await;
}

#[tokio::test]
async fn and_over_one_of_gemini() {
    check(Thinker::Gemini).await;
}

/// Reported: 400 `untranslatable` at every provider but those of Responses.
#[tokio::test]
async fn a_custom_tool_alone_is_served_whole_by_a_provider_of_chat() {
    let (east, gateway) = chats().await;
    let function = json!({"name": "apply_patch", "arguments": r#"{"input":"a\nb"}"#});
    let call =
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_a", "type": "function", "function": function}]});
    east.next(whole(&chat::answer_with(&call.to_string(), "tool_calls", &chat::usage_object(9, 4))));
    let named = r#""tools":[{"type":"custom","name":"apply_patch"}],"tool_choice":{"type":"custom","name":"apply_patch"}"#;

    let answer = gateway.ask(&ask(named)).await;

    let item = &answer.json()["output"][0];
    assert_eq!((answer.status, answer.header(DROPPED)), (200, ""), "{}", answer.text());
    assert_eq!(
        (&item["type"], &item["input"], &item["status"]),
        (&json!("custom_tool_call"), &json!("a\nb"), &json!("completed"))
    );
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!(sent["tool_choice"], json!({"type": "function", "function": {"name": "apply_patch"}}));
    let dry = gateway.ask(&ask(&format!(r#"{named},"tokenbroker":{{"dry_run":true}}"#))).await.json();
    assert_eq!(dry["chosen"]["backend"], "east/jade-v3", "{dry}");
}

#[tokio::test]
async fn a_client_of_chat_is_told_its_custom_tool_too() {
    for streamed in [false, true] {
        let (east, gateway) = alone(Site::only_messages).await;
        let arguments = json!({ "input": PATCH });
        let block = json!([{"type": "tool_use", "id": "toolu_a", "name": "apply_patch", "input": arguments}]);
        east.next(if streamed {
            calls(Thinker::Messages, "apply_patch", &arguments.to_string())
        } else {
            whole(&messages::answer_with(&block.to_string(), r#"{"input_tokens":9,"output_tokens":4}"#))
        });
        let tools = json!([{"type": "custom", "custom": {"name": "apply_patch", "format": {"type": "text"}}}]);

        let answer = gateway.chat(&chat::ask_with("auto", &format!(r#""tools":{tools},"stream":{streamed}"#))).await;

        assert_eq!((answer.status, answer.header(DROPPED)), (200, ""), "{}", answer.text());
        let (kind, input) = if streamed {
            let calls: Vec<Value> = chunks(answer.text())
                .iter()
                .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0").cloned())
                .collect();
            (calls[0]["type"].clone(), calls.iter().filter_map(|call| call["custom"]["input"].as_str()).collect())
        } else {
            let call = &answer.json()["choices"][0]["message"]["tool_calls"][0];
            (call["type"].clone(), text(&call["custom"]["input"]))
        };
        assert_eq!((kind, input.as_str()), (json!("custom"), PATCH), "streamed: {streamed}");
    }
}

#[tokio::test]
async fn who_speaks_the_clients_api_gets_its_bytes() {
    let (east, gateway) = alone(Site::only_responses).await;
    let item = json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "apply_patch", "input": PATCH, "status": "completed"});
    east.next(whole(&responses::answer(std::slice::from_ref(&item), &responses::usage(9, 0, 4, 0))));
    let answer = gateway.ask(&ask(&format!(r#""tools":{}"#, tools()))).await;
    assert_eq!((answer.status, answer.header(DROPPED), &answer.json()["output"][0]), (200, "", &item), "{}", answer.text());
    assert!(east.call(0).await.text().contains(&tools().to_string()));
}

#[tokio::test]
async fn a_strict_key_goes_to_whoever_holds_the_model_to_a_grammar_and_is_refused_elsewhere() {
    let (cheap, own) = (Provider::start("cheap").await, Provider::start("own").await);
    let sites = [Site::of(&cheap).price("0.1", "0.1"), Site::of(&own).only_responses()];
    let gateway = Setup::of(sites).key("web", "tb-web").set("keys.web.strict", "true").key("loose", "tb-loose").start();
    let grammar = json!([{"type": "custom", "name": "f", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}]);
    let text = json!([{"type": "custom", "name": "f"}]);
    let asked = |model: &str, tools: &Value, key: &str| {
        let body = json!({"model": model, "input": "hi", "tools": tools});
        Call::responses(body.to_string()).key(key)
    };
    for (key, tools, expected) in
        [("tb-web", &grammar, "own/jade-v3"), ("tb-loose", &grammar, "cheap/jade-v3"), ("tb-web", &text, "cheap/jade-v3")]
    {
        own.next(whole(&responses::answer(&[responses::message("Hi.")], &responses::usage(9, 0, 4, 0))));
        let answer = gateway.ask(&asked("auto", tools, key)).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, expected), "{key}: {}", answer.text());
    }
    let sent = cheap.calls().len();
    for (tools, named) in [(&grammar, "`tools.format`"), (&self::tools(), "`tools.web_search`")] {
        let refused = gateway.ask(&asked("cheap/jade-v3", tools, "tb-web")).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["code"]), (400, &json!("untranslatable")), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named) && message.contains("strict"), "{message}");
    }
    assert_eq!(cheap.calls().len(), sent);
}

#[tokio::test]
async fn a_search_of_the_providers_that_is_all_there_is_stays_with_whoever_has_it() {
    let (_east, gateway) = chats().await;
    for members in [r#""tools":[{"type":"web_search"}]"#.to_owned(), format!(r#""tools":{},"tool_choice":"required""#, tools())] {
        let answer = gateway.ask(&ask(&members)).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("untranslatable")), "{}", answer.text());
        assert!(answer.text().contains("web_search"), "{}", answer.text());
    }
}

/// Reported: with a budget nobody was asked, though who speaks chat is not told of the search.
#[tokio::test]
async fn a_key_with_a_budget_is_served_by_those_who_are_asked_without_the_providers_search() {
    let (own, east) = (Provider::start("own").await, Provider::start("east").await);
    let sites = [Site::of(&own).only_responses().price("0.1", "0.1"), Site::of(&east)];
    let setup = Setup::of(sites).key("free", "tb-free").key("team", "tb-team").key("strict", "tb-strict");
    let budget = |setup: Setup, key: &str| {
        setup.set(&format!("keys.{key}.budget_usd"), "5").set(&format!("keys.{key}.budget_window"), "day")
    };
    let gateway = budget(budget(setup, "team"), "strict").set("keys.strict.strict", "true").start();
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false});
    let asked = |model: &str, tools: &Value, key: &str| {
        Call::responses(json!({"model": model, "input": "hi", "tools": tools}).to_string()).key(key)
    };
    let tools = json!([function, {"type": "web_search"}]);
    east.next(whole(&chat::answer("Hi.", 9, 4)));
    let answer = gateway.ask(&asked("auto", &tools, "tb-team")).await;
    let told = (answer.status, answer.header("x-tokenbroker-backend"), answer.header(DROPPED));
    assert_eq!(told, (200, "east/jade-v3", "tools.web_search"), "{}", answer.text());
    let sent = east.call(0).await;
    assert!(sent.text().contains(r#""name":"f""#) && !sent.text().contains("web_search"), "{}", sent.text());

    // Nobody else is asked where a bound is, and everybody where there is none.
    for (model, tools, key) in
        [("own/jade-v3", &tools, "tb-team"), ("auto", &json!([{"type": "web_search"}]), "tb-team"), ("auto", &tools, "tb-strict")]
    {
        let refused = gateway.ask(&asked(model, tools, key)).await;
        let error = &refused.json()["error"];
        let told = (refused.status, error["code"].as_str(), error["param"].as_str());
        assert_eq!(told, (400, Some("unpriced_parameter"), Some("tools")), "{error}");
        assert!(error["message"].as_str().unwrap().ends_with("leave it out of `tools`"), "{error}");
    }
    assert_eq!((own.calls().len(), east.calls().len()), (0, 1));
    let says = || whole(&responses::answer(&[responses::message("Hi.")], &responses::usage(9, 0, 4, 0)));
    let namespace = json!([{"type": "namespace", "name": "n", "description": "", "tools": [function]}]);
    for (tools, key) in [(&tools, "tb-free"), (&namespace, "tb-team")] {
        own.next(says());
        let answer = gateway.ask(&asked("auto", tools, key)).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "own/jade-v3"), "{}", answer.text());
    }
    let dry = json!({"model": "auto", "input": "hi", "tools": tools, "tokenbroker": {"dry_run": true, "max_cost_usd": 1}});
    let dry = gateway.ask(&Call::responses(dry.to_string()).key("tb-free")).await.json();
    assert_eq!((&dry["chosen"]["backend"], &dry["rejected"][0]["rule"]), (&json!("east/jade-v3"), &json!("unpriced")), "{dry}");
}

/// Known before: both were told as one function, and the first of them was called.
#[tokio::test]
async fn tools_that_come_to_one_name_are_told_apart_on_the_way_back() {
    let (east, gateway) = chats().await;
    let function = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}, "strict": false});
    let namespace = |name: &str, tool: Value| json!({"type": "namespace", "name": name, "description": "", "tools": [tool]});
    let tools = json!([
        {"type": "custom", "name": "patch"}, function("patch"), namespace("a", function("b__c")), namespace("a__b", function("c")),
    ]);
    let made = ["patch_2", "patch", "a__b__c", "a__b__c_2"];
    let meant = [
        ("custom_tool_call", "patch", None),
        ("function_call", "patch", None),
        ("function_call", "b__c", Some("a")),
        ("function_call", "c", Some("a__b")),
    ];
    let mut input = vec![json!({"role": "user", "content": "Go."})];
    for (at, (made_name, (kind, name, namespace))) in made.into_iter().zip(meant).enumerate() {
        east.next(calls(Thinker::Chat, made_name, r#"{"input":"a\nb"}"#));
        let body = json!({"model": "auto", "input": input, "tools": tools, "stream": true});
        let answer = gateway.ask(&Call::responses(body.to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let call = called(&answer);
        let found = (call["type"].as_str().unwrap(), call["name"].as_str().unwrap(), call["namespace"].as_str());
        assert_eq!(found, (kind, name, namespace), "{made_name}");
        let sent: Value = serde_json::from_str(east.call(at).await.text()).unwrap();
        let offered: Vec<String> = offered(Thinker::Chat, &sent).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(offered, made);
        // What was called before goes back under the same names.
        let before: Vec<String> = told(Thinker::Chat, &sent).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(before, made[..at]);
        let id = format!("call_{at}");
        let mut item = call.clone();
        item["call_id"] = json!(id);
        input.extend([item, json!({"type": format!("{kind}_output"), "call_id": id, "output": "Done."})]);
    }
    let choice = json!({"type": "custom", "name": "patch"});
    east.next(calls(Thinker::Chat, "patch_2", "{}"));
    gateway
        .ask(&Call::responses(
            json!({"model": "auto", "input": "hi", "tools": tools, "tool_choice": choice, "stream": true}).to_string(),
        ))
        .await;
    let sent: Value = serde_json::from_str(east.call(4).await.text()).unwrap();
    assert_eq!(sent["tool_choice"]["function"]["name"], "patch_2", "{sent}");

    let alike = gateway.ask(&ask(&format!(r#""tools":{}"#, json!([function("f"), function("f")])))).await;
    assert_eq!((alike.status, &alike.json()["error"]["code"]), (400, &json!("untranslatable")), "{}", alike.text());
    assert!(alike.text().contains("`tools[1].name` is `f`, as is `tools[0].name`"), "{}", alike.text());
}

#[tokio::test]
async fn and_those_of_a_client_of_chat_too() {
    for streamed in [false, true] {
        let (east, gateway) = alone(Site::only_messages).await;
        let arguments = json!({"input": PATCH});
        let block = json!([{"type": "tool_use", "id": "toolu_a", "name": "f_2", "input": arguments}]);
        east.next(if streamed {
            calls(Thinker::Messages, "f_2", &arguments.to_string())
        } else {
            whole(&messages::answer_with(&block.to_string(), r#"{"input_tokens":9,"output_tokens":4}"#))
        });
        let tools = json!([{"type": "custom", "custom": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]);
        let answer = gateway.chat(&chat::ask_with("auto", &format!(r#""tools":{tools},"stream":{streamed}"#))).await;
        let call = if streamed {
            let all = chunks(answer.text());
            all.iter().find_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0").cloned()).unwrap()
        } else {
            answer.json()["choices"][0]["message"]["tool_calls"][0].clone()
        };
        assert_eq!((&call["type"], &call["custom"]["name"]), (&json!("custom"), &json!("f")), "{}", answer.text());
        let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
        let offered: Vec<String> = offered(Thinker::Messages, &sent).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(offered, ["f_2", "f"]);
    }
}

/// An audit: tools that only `OpenAI` has went as they were to the cheapest chat, whose 400 was final.
#[tokio::test]
async fn a_chat_that_is_not_openais_is_told_custom_tools_as_functions() {
    let east = Provider::start("east").await;
    let setup = |site| Setup::of([site]).key("web", "tb-web").set("keys.web.strict", "true").key("loose", "tb-loose").start();
    let gateway = setup(Site::of(&east));
    let tools = json!([{"type": "custom", "custom": {"name": "apply_patch", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": GRAMMAR}}}}]);
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "apply_patch", "arguments": json!({"input": PATCH}).to_string()}}]});
    east.next(whole(&chat::answer_with(&call.to_string(), "tool_calls", &chat::usage_object(9, 4))));
    let body = chat::ask_with("auto", &format!(r#""tools":{tools}"#));

    let answer = gateway.ask(&Call::chat(body.clone()).key("tb-loose")).await;

    assert_eq!((answer.status, answer.header(DROPPED)), (200, "tools.custom.format"), "{}", answer.text());
    let told = &answer.json()["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&told["type"], &told["custom"]["input"]), (&json!("custom"), &json!(PATCH)), "{told}");
    let sent: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!((&sent["tools"][0]["type"], &sent["tools"][0]["function"]["name"]), (&json!("function"), &json!("apply_patch")));

    let refused = gateway.ask(&Call::chat(body.clone()).key("tb-web")).await;
    assert_eq!((refused.status, refused.error("code")), (400, json!("untranslatable")), "{}", refused.text());
    assert_eq!(east.calls().len(), 1);

    // What is OpenAI's has its bytes, and so has a choice that only such a site knows.
    let gateway = setup(Site::of(&east).quirk("custom_tools = true"));
    let answer = gateway.ask(&Call::chat(body).key("tb-web")).await;
    assert_eq!((answer.status, answer.header(DROPPED)), (200, ""), "{}", answer.text());
    assert!(east.call(1).await.text().contains(&format!(r#""tools":{tools}"#)));
}

/// In other words there is one choice, so what would be told as functions goes to who takes it as it is, and is never sent to who does not.
#[tokio::test]
async fn several_choices_with_custom_tools_go_past_a_chat_that_does_not_take_these() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let body = chat::ask_with("auto", r#""n":2,"tools":[{"type":"custom","custom":{"name":"apply_patch"}}]"#);
    let both = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6").quirk("custom_tools = true")]);
    let answer = both.ask(&Call::chat(body.clone())).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
    assert!(west.call(0).await.text().contains(r#""n":2,"tools":[{"type":"custom""#), "{}", west.call(0).await.text());

    let alone = Gateway::of([Site::of(&east)]);
    let refused = alone.ask(&Call::chat(body)).await;
    assert_eq!((refused.status, refused.error("code")), (400, json!("untranslatable")), "{}", refused.text());
    assert!(east.calls().is_empty());
    // Functions alone pass there as they are.
    let functions = r#""n":2,"tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert_eq!(alone.ask(&Call::chat(chat::ask_with("auto", functions))).await.status, 200);
}
