//! Clients of every API over a provider that is asked in Gemini's `generateContent`: what they say reaches it in its words, what it
//! answers comes back in theirs, and what it counts is what is booked.

use serde_json::{Value, json};
use tokenbroker::units::Tokens;

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::talk::{Api, Talk};
use crate::harness::{Call, Gateway, Provider, Site, Step, alone, chat, gemini, messages, responses};

const APIS: [Api; 3] = [Api::Chat, Api::Messages, Api::Responses];

/// 31 tokens in, of which 11 come from a cache; 14 of the answer and 11 of thoughts beside them.
const USAGE: &str = r#"{"promptTokenCount":31,"cachedContentTokenCount":11,"candidatesTokenCount":14,"thoughtsTokenCount":11,"totalTokenCount":56}"#;

fn thinks(site: Site) -> Site {
    site.only_gemini().thinks().cached("0.1")
}

#[tokio::test]
async fn a_whole_answer_is_asked_for_told_and_booked() {
    let (east, gateway) = alone(thinks).await;
    let parts = [gemini::thought("Be brief."), gemini::text("Hello.")].join(",");
    east.next(whole(&gemini::answer(&parts, "STOP", USAGE)));
    let members = r#""max_tokens":640,"temperature":0.5,"reasoning_effort":"low","stop":"END""#;

    let answer = gateway.chat(&chat::ask_with("auto", members)).await;

    let told = answer.json();
    let choice = &told["choices"][0];
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"), "{told}");
    assert_eq!((&told["model"], &choice["finish_reason"]), (&json!("served"), &json!("stop")));
    assert_eq!((&choice["message"]["content"], &choice["message"]["reasoning_content"]), (&json!("Hello."), &json!("Be brief.")));
    assert_eq!((&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]), (&json!(31), &json!(25)));
    assert_eq!(told["usage"]["completion_tokens_details"]["reasoning_tokens"], 11);
    let sent = east.call(0).await;
    assert_eq!(sent.path, "/v1beta/models/jade-v3:generateContent");
    assert_eq!((sent.header("x-goog-api-key"), sent.header("authorization")), (east.key().as_str(), ""));
    let config = json!({"temperature": 0.5, "maxOutputTokens": 640, "stopSequences": ["END"], "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 2048}});
    let said = json!([{"role": "user", "parts": [{"text": "Say hello."}]}]);
    assert_eq!(serde_json::from_str::<Value>(sent.text()).unwrap(), json!({"contents": said, "generationConfig": config}));
    let row = gateway.row_of(&answer).await;
    let attempt = &row.attempts[0];
    assert_eq!((attempt.provenance.as_str(), attempt.served_model.as_deref()), ("reported", Some("served")));
    let usage = attempt.usage;
    assert_eq!([usage.fresh_input, usage.cache_read, usage.output, usage.reasoning].map(Tokens::get), [20, 11, 25, 11]);
    // 20 at a dollar a million, 11 at 0.1, and 25 out at 2.
    assert_eq!(row.cost.to_exact(), "0.0000711");
}

#[tokio::test]
async fn clients_of_every_api_are_answered_whole_and_in_a_stream_and_booked_as_it_counts() {
    for api in APIS {
        for streamed in [false, true] {
            let (east, gateway) = alone(thinks).await;
            let parts = [gemini::thought("Be "), gemini::thought("brief."), gemini::text("Hel"), gemini::text("lo.")];
            let script = if streamed {
                stream(&gemini::frames(&parts, USAGE))
            } else {
                whole(&gemini::answer(&parts.join(","), "STOP", USAGE))
            };
            east.next(script);

            let said = Talk::begin(api, streamed, &[], "Say hello.").ask(&gateway).await;

            assert_eq!((said.text.as_str(), said.calls.len()), ("Hello.", 0), "{api:?} {streamed}: {}", said.answer.text());
            let method = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            assert_eq!(east.call(0).await.path, format!("/v1beta/models/jade-v3:{method}"));
            let row = gateway.row_of(&said.answer).await;
            assert_eq!((row.outcome.as_str(), row.stream, row.cost.to_exact().as_str()), ("answered", streamed, "0.0000711"));
            let (usage, told) = (row.attempts[0].usage, row.attempts[0].provenance.as_str());
            let booked = [usage.fresh_input, usage.cache_read, usage.output, usage.reasoning].map(Tokens::get);
            assert_eq!((booked, told), ([20, 11, 25, 11], "reported"), "{api:?} {streamed}");
        }
    }
}

#[tokio::test]
async fn the_seal_of_a_call_is_told_to_a_client_of_chat_and_comes_back_with_the_call() {
    for streamed in [false, true] {
        let (east, gateway) = alone(thinks).await;
        let place = r#"{"place":"Oslo"}"#;
        let parts = [gemini::thought("Look."), gemini::call("weather", place, "c2ln"), gemini::call("tide", place, "")];
        east.next(if streamed {
            stream(&gemini::frames(&parts, USAGE))
        } else {
            whole(&gemini::answer(&parts.join(","), "STOP", USAGE))
        });
        let mut talk = Talk::begin(Api::Chat, streamed, &["weather", "tide"], "May I sail?");

        let called = talk.ask(&gateway).await;

        let message = &talk.history[1];
        let seal = &message["reasoning_details"][0];
        assert_eq!((&message["reasoning_content"], &seal["data"]), (&json!("Look."), &json!("c2ln")), "{message}");
        assert_eq!((&seal["type"], &seal["id"]), (&json!("reasoning.encrypted"), &message["tool_calls"][0]["id"]));
        assert_eq!((message["reasoning_details"].as_array().unwrap().len(), called.calls.len()), (1, 2), "{message}");
        assert_ne!(message["tool_calls"][0]["id"], message["tool_calls"][1]["id"]);

        talk.answer([(&called.calls[1], "2 metres"), (&called.calls[0], r#"{"degrees":4}"#)]);
        talk.ask(&gateway).await;

        let sent: Value = serde_json::from_str(east.call(1).await.text()).unwrap();
        let call = |name: &str| json!({"functionCall": {"name": name, "args": {"place": "Oslo"}}});
        let mut sealed = call("weather");
        sealed["thoughtSignature"] = json!("c2ln");
        let result = |name: &str, response: Value| json!({"functionResponse": {"name": name, "response": response}});
        let results = [result("weather", json!({"degrees": 4})), result("tide", json!({"result": "2 metres"}))];
        let expected = json!([
            {"role": "user", "parts": [{"text": "May I sail?"}]},
            {"role": "model", "parts": [sealed, call("tide")]},
            {"role": "user", "parts": results},
        ]);
        assert_eq!(sent["contents"], expected, "{streamed}");
        let declared: Vec<&Value> =
            sent["tools"][0]["functionDeclarations"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(declared, ["weather", "tide"]);
    }
}

/// A known defect: clients made for Google's endpoint for chat know `extra_content` and drop `reasoning_details`.
#[tokio::test]
async fn a_client_that_knows_googles_chat_alone_keeps_its_seals_over_turns() {
    for streamed in [false, true] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([thinks(Site::of(&east)), Site::of(&west).price("30", "60").thinks()]);
        let forget = |talk: &mut Talk| {
            for message in &mut talk.history {
                message.as_object_mut().unwrap().remove("reasoning_details");
            }
        };
        let signed = r#"{"text":"Yes.","thoughtSignature":"ZW5k"}"#.to_owned();
        let steps = [vec![gemini::call("weather", r#"{"place":"Oslo"}"#, "c2ln")], vec![signed], vec![gemini::text("Bye.")]];
        for parts in &steps {
            east.next(if streamed {
                stream(&gemini::frames(parts, USAGE))
            } else {
                whole(&gemini::answer(&parts.join(","), "STOP", USAGE))
            });
        }
        let mut talk = Talk::begin(Api::Chat, streamed, &["weather"], "May I sail?");
        let called = talk.ask(&gateway).await;
        let extra = json!({"google": {"thought_signature": "c2ln"}});
        assert_eq!(talk.history[1]["tool_calls"][0]["extra_content"], extra, "{}", called.answer.text());
        forget(&mut talk);
        talk.answer([(&called.calls[0], "calm")]);
        let said = talk.ask(&gateway).await;
        assert_eq!(talk.history[3]["extra_content"]["google"]["thought_signature"], "ZW5k", "{}", said.answer.text());
        forget(&mut talk);
        talk.say("Thanks.");
        talk.ask(&gateway).await;

        let sent = east.call(2).await.text().to_owned();
        let seals: Vec<&str> =
            ["c2ln", "ZW5k"].into_iter().filter(|seal| sent.contains(&format!(r#""thoughtSignature":"{seal}""#))).collect();
        assert_eq!(seals, ["c2ln", "ZW5k"], "{streamed}: {sent}");
        // Another provider is told the same conversation without them.
        talk.say("And tomorrow?");
        let history = Value::from(talk.history.clone());
        gateway.chat(&json!({"model": "west/jade-v3", "messages": history}).to_string()).await;
        let told = west.call(0).await.text().to_owned();
        assert!(told.contains("May I sail?") && !told.contains("c2ln") && !told.contains("ZW5k"), "{told}");
        assert!(!told.contains("extra_content"), "{told}");
    }
}

#[tokio::test]
async fn a_rate_limit_moves_on_to_another_provider_and_is_waited_out() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).only_gemini(), Site::of(&west).price("3", "6")]);
    let info = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}"#;
    east.next(status(429, &[], &gemini::error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", info)));

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
    let row = gateway.row_of(&answer).await;
    let causes: Vec<Option<&str>> = row.attempts.iter().map(|attempt| attempt.cause.as_deref()).collect();
    assert!(matches!(causes[..], [Some(cause), None] if cause.starts_with("rate_limited")), "{causes:?}");
    let next = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((next.header("x-tokenbroker-backend"), east.calls().len()), ("west/jade-v3", 1));
    let alone = gateway.chat(&chat::ask("east/jade-v3")).await;
    let wait: u64 = alone.header("retry-after").parse().unwrap();
    assert_eq!((alone.status, (20..=37).contains(&wait), east.calls().len()), (503, true, 1), "{wait}: {}", alone.text());
}

#[tokio::test]
async fn a_prompt_that_is_blocked_is_refused_in_the_clients_words() {
    let blocked = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":12,"totalTokenCount":12},"modelVersion":"served","responseId":"r-1"}"#;
    for streamed in [false, true] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east).only_gemini(), Site::of(&west).price("3", "6")]);
        east.always(if streamed { stream(&[gemini::frame(blocked)]) } else { whole(blocked) });
        let stream = if streamed { r#""stream":true"# } else { r#""stream":false"# };
        for call in [
            Call::chat(chat::ask_with("auto", stream)),
            Call::messages(messages::ask_with("auto", stream)),
            responses::ask(stream),
        ] {
            let answer = gateway.ask(&call).await;
            let error = answer.json();
            assert_eq!((answer.status, &error["error"]["code"]), (400, &json!("moderation")), "{error}");
            assert!(error["error"]["message"].as_str().unwrap().contains("PROHIBITED_CONTENT"), "{error}");
            // What it read before it refused is billed.
            let row = gateway.row_of(&answer).await;
            assert_eq!((row.outcome.as_str(), row.attempts[0].usage.fresh_input), ("failed", Tokens::new(12)), "{row:?}");
        }
        assert!(west.calls().is_empty(), "another would be asked what one refused to read");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_the_clients_error() {
    let started: Vec<String> = [r#"{"promptTokenCount":9}"#, r#"{"promptTokenCount":9,"candidatesTokenCount":6}"#]
        .map(|usage| gemini::frame(&gemini::answer(&gemini::text("Hel"), "", usage)))
        .into();
    let overloaded = gemini::frame(&gemini::error(503, "UNAVAILABLE", "The model is overloaded.", ""));
    for (code, script) in [
        ("upstream_broken", then(begun(&started), [Step::Close])),
        ("upstream_truncated", stream(&started)),
        ("upstream_unavailable", stream(&[started.concat(), overloaded])),
    ] {
        for api in APIS {
            let (east, gateway) = alone(thinks).await;
            east.next(script.clone());
            let members = r#""stream":true"#;
            let (call, ended) = match api {
                Api::Chat => (Call::chat(chat::ask_with("auto", members)), "[DONE]"),
                Api::Messages => (Call::messages(messages::ask_with("auto", members)), "message_stop"),
                Api::Responses => (responses::ask(members), "response.completed"),
            };

            let answer = gateway.ask(&call).await;

            let last = match api {
                Api::Chat => {
                    let last = answer.text().trim_end().rsplit("\n\n").next().and_then(|last| last.strip_prefix("data: "));
                    serde_json::from_str(last.unwrap()).unwrap()
                }
                Api::Messages => messages::events(answer.text()).pop().unwrap().1,
                Api::Responses => responses::events(answer.text()).pop().unwrap()["response"].clone(),
            };
            let ours = if matches!(api, Api::Responses) { &last["error"]["tokenbroker"]["code"] } else { &last["error"]["code"] };
            assert_eq!(ours, code, "{api:?}: {}", answer.text());
            assert!(answer.text().contains("Hel") && !answer.text().contains(ended), "{api:?}: {}", answer.text());
            let row = gateway.row_of(&answer).await;
            let attempt = &row.attempts[0];
            assert_eq!((row.outcome.as_str(), attempt.ending.as_str()), ("cut", "cut"), "{api:?}, {code}");
            assert_eq!(attempt.usage.fresh_input, Tokens::new(9), "{api:?}, {code}");
        }
    }
}

/// A known defect: a model's broken call was told as overload, which clients of Messages wait for and ask again, and five of them closed
/// a backend that answers.
#[tokio::test]
async fn a_call_that_the_model_broke_is_no_overload_and_closes_nobody() {
    let (east, gateway) = alone(thinks).await;
    let broken = |parts: &str| gemini::answer(parts, "MALFORMED_FUNCTION_CALL", USAGE);
    let begun = [gemini::frame(&gemini::answer(&gemini::text("Look:"), "", USAGE)), gemini::frame(&broken(&gemini::text("")))];
    for _ in 0..6 {
        east.next(stream(&begun));
        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        let (name, error) = messages::events(answer.text()).pop().unwrap();
        assert_eq!((name.as_str(), &error["error"]["type"]), ("error", &json!("api_error")), "{}", answer.text());
    }
    for _ in 0..6 {
        east.next(whole(&broken(&gemini::text(""))));
        let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["error"]["type"]), (502, &json!("api_error")), "{told}");
        assert_eq!(told["error"]["code"], "upstream_error");
    }

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, east.calls().len()), (200, 13), "{}", answer.text());
    assert_eq!(gateway.sample("attempts_total{backend=\"east/jade-v3\",result=\"model_erred\"}").await, Some(6.0));
}

/// An audit: the dry run said that it has no endpoint for Messages, and a chat that takes links was not asked.
#[tokio::test]
async fn an_image_behind_a_link_goes_to_who_takes_links_and_the_reason_is_told() {
    let (signs, chats) = (Provider::start("signs").await, Provider::start("chats").await);
    let sees = |provider| Site::of(provider).row(r#"input = ["text", "image"]"#);
    let gateway = Gateway::of([sees(&signs).price("0.1", "0.1").only_gemini(), sees(&chats)]);
    let image = r#"{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}"#;
    let asking = |model: &str, more: &str| {
        let turn = format!(r#"{{"role":"user","content":[{image}]}}"#);
        Call::messages(format!(r#"{{"model":"{model}","max_tokens":64,"messages":[{turn}]{more}}}"#))
    };
    let answer = gateway.ask(&asking("auto", "")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "chats/jade-v3"), "{}", answer.text());
    let refused = gateway.ask(&asking("signs/jade-v3", "")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("behind a link"), "{}", refused.text());
    let dry = gateway.ask(&asking("signs/jade-v3", r#","tokenbroker":{"dry_run":true}"#)).await.json();
    assert_eq!(dry["rejected"][0]["rule"], "leaves_out", "{dry}");
    let why = dry["rejected"][0]["why"].as_str().unwrap();
    assert!(why.contains("an image behind a link cannot be said in gemini-generate-content"), "{why}");
}
