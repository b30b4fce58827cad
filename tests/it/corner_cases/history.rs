//! What goes back: thoughts, what was folded into a text, and what a provider still has of a conversation.

use serde_json::{Value, json};

use crate::harness::provider::{status, stream, whole};
use crate::harness::talk::{Api, Talk};
use crate::harness::thinker::{Thinker, Thought};
use crate::harness::{Gateway, Provider, Site, chat, provider, responses, speaks};

#[tokio::test]
async fn corner_23_thoughts_go_back_to_whoever_thought_them() {
    const EAST: Thought = Thought { of: "east", tools: ["weather", "tide"] };
    for (thinker, text, seals) in [
        (Thinker::Chat, Some(EAST.text()), Vec::new()),
        (Thinker::Messages, Some(EAST.text()), vec![EAST.seal()]),
        (Thinker::Gemini, None, vec![EAST.seal()]),
    ] {
        for streamed in [false, true] {
            let east = Provider::start("east").await;
            let gateway = Gateway::of([thinker.site(&east)]);
            east.next(thinker.calls(streamed, &EAST)).next(thinker.says(streamed, "Go now."));
            // In chat, with what it is told of them beside its words.
            let mut talk = Talk::begin(Api::Chat, streamed, &EAST.tools, "May I sail?");
            let said = talk.ask(&gateway).await;
            talk.answer(said.calls.iter().map(|call| (call, "2 metres")));
            talk.ask(&gateway).await;

            let steps = thinker.heard(&east.calls()[1]).steps();
            assert_eq!((&steps[0].thought, &steps[0].seals), (&text, &seals), "{thinker:?}, streamed: {streamed}");
        }
    }
}

/// The same where thoughts are items that are encrypted.
#[tokio::test]
async fn corner_23_encrypted_items_go_back_through_a_client_of_chat() {
    for (streamed, drops) in [(false, false), (true, false), (false, true), (true, true)] {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east).only_responses().thinks()]);
        let (used, items) = (responses::usage(9, 0, 4, 2), [responses::thought("seal-east"), responses::call("call_1", "{}")]);
        let (called, said) = (responses::answer(&items, &used), responses::answer(&[responses::message("Go now.")], &used));
        let events = (0..).zip(&items).flat_map(|(at, item)| [responses::added(at, item), responses::done(at, item)]);
        let events = [responses::created()].into_iter().chain(events).chain([responses::completed(&items, &used)]);
        let called = if streamed { stream(&events.collect::<Vec<_>>()) } else { whole(&called) };
        east.next(called).next(if streamed { stream(&responses::hello()) } else { whole(&said) });
        let mut talk = Talk::begin(Api::Chat, streamed, &["weather"], "May I sail?");
        let said = talk.ask(&gateway).await;
        if drops {
            drop_thoughts(&mut talk);
        }
        talk.answer(said.calls.iter().map(|call| (call, "2 metres")));
        talk.ask(&gateway).await;

        let sent: Value = serde_json::from_str(east.calls()[1].text()).unwrap();
        let seals: Vec<&str> =
            sent["input"].as_array().unwrap().iter().filter_map(|item| item["encrypted_content"].as_str()).collect();
        // A call may stand there without the thought that led to it.
        assert_eq!(seals, if drops { vec![] } else { vec!["seal-east"] }, "streamed: {streamed}: {sent}");
        assert!(!sent["input"].to_string().contains("\"reasoning\"") || !drops, "{sent}");
    }
}

/// Leaves of the last answer what chat has words for in `OpenAI`'s own clients, which know no thoughts.
fn drop_thoughts(talk: &mut Talk) {
    let keep = |value: &mut Value, members: &[&str]| {
        value.as_object_mut().unwrap().retain(|name, _| members.contains(&name.as_str()));
    };
    let said = talk.history.last_mut().unwrap();
    keep(said, &["role", "content", "tool_calls"]);
    for call in said["tool_calls"].as_array_mut().unwrap() {
        keep(call, &["id", "type", "function"]);
        keep(&mut call["function"], &["name", "arguments"]);
    }
}

/// Who refuses a turn without its thoughts is not told that there were none to tell: an empty one, a word that its maker gives for
/// that, or not to think.
#[tokio::test]
async fn corner_23_where_a_client_drops_thoughts_nobody_is_shown_calls_that_it_would_refuse() {
    const EAST: Thought = Thought { of: "east", tools: ["weather", "tide"] };
    const FILLER: &str = "skip_thought_signature_validator";
    for (thinker, text, seals, thinks) in [
        (Thinker::Chat, Some(""), vec![], true),
        (Thinker::StrictChat, None, vec![], true),
        (Thinker::Messages, None, vec![], false),
        (Thinker::Gemini, None, vec![FILLER], true),
    ] {
        for streamed in [false, true] {
            let east = Provider::start("east").await;
            let gateway = Gateway::of([thinker.site(&east)]);
            east.next(thinker.calls(streamed, &EAST)).next(thinker.says(streamed, "Go now."));
            let mut talk = Talk::begin(Api::Chat, streamed, &EAST.tools, "May I sail?");
            let said = talk.ask(&gateway).await;
            drop_thoughts(&mut talk);
            talk.answer(said.calls.iter().map(|call| (call, "2 metres")));
            assert_eq!(talk.ask(&gateway).await.text, "Go now.");

            let heard = thinker.heard(&east.calls()[1]);
            let steps = heard.steps();
            let told = (steps[0].thought.as_deref(), steps[0].seals.iter().map(String::as_str).collect());
            assert_eq!(told, (text, seals.clone()), "{thinker:?}, streamed: {streamed}: {}", heard.body);
            assert_eq!(heard.body["thinking"]["type"] == "disabled", !thinks, "{thinker:?}: {}", heard.body);
        }
    }
}

#[tokio::test]
async fn corner_24_a_thought_that_was_folded_into_the_text_is_not_told_to_the_next_model() {
    let (east, gateway) = speaks().await;
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let user = json!({"role": "user", "content": "Hello?"});
    let cases = [
        ("<think>A greeting, so I greet.</think>\n\nHello.", "Hello."),
        ("\n<think>\nA greeting.\n</think>Hello.", "Hello."),
        ("Tags are written <think> and </think>.", "Tags are written <think> and </think>."),
        ("<think>It was cut", "<think>It was cut"),
    ];
    for (number, (content, expected)) in cases.into_iter().enumerate() {
        let body = json!({"model": "auto", "messages": [user, said(content), user]}).to_string();
        assert_eq!(gateway.chat(&body).await.status, 200);
        let sent: Value = serde_json::from_str(east.call(number).await.text()).unwrap();
        assert_eq!(sent["messages"][1]["content"], json!([{"type": "text", "text": expected}]), "{sent}");
    }
}

/// The same where the client's bytes pass: a thought that its own site folded goes back to that one, which may want it, and to no other that is known to be one.
#[tokio::test]
async fn corner_24_a_folded_thought_is_no_others_where_the_clients_bytes_pass() {
    let told = "<think>A greeting.</think>\n\nHello.";
    for streamed in [false, true] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        let folded = || {
            let written = told.replace('\n', "\\n");
            let (begins, goes_on) = written.split_at(9);
            let pieces = [chat::role(), chat::text(begins), chat::text(goes_on), chat::finish(), chat::DONE.to_owned()];
            if streamed { stream(&pieces) } else { whole(&chat::answer(&written, 9, 4)) }
        };
        east.next(folded()).next(folded()).always(status(503, &[], &chat::error("It is down.")));
        let mut talk = Talk::begin(Api::Chat, streamed, &[], "Hello?");
        assert_eq!(talk.ask(&gateway).await.text, told, "what a provider says passes as it says it");
        talk.say("Again?");
        talk.ask(&gateway).await;
        talk.say("And again?");
        let moved = talk.ask(&gateway).await;
        assert_eq!(moved.answer.header("x-tokenbroker-backend"), "west/jade-v3");

        let said = |provider: &Provider, nth: usize| -> Vec<String> {
            let sent: Value = serde_json::from_str(provider.calls()[nth].text()).unwrap();
            let turns = sent["messages"].as_array().unwrap().iter();
            turns.filter(|turn| turn["role"] == "assistant").map(|turn| turn["content"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(said(&east, 1), [told], "its own");
        assert_eq!(said(&west, 0), ["Hello.", "Hello."], "another's");
        // Whose it was is remembered by who was told: where a gateway begins anew, it may be the next one's own.
        let next = Gateway::of([Site::of(&west)]);
        talk.ask(&next).await;
        assert_eq!(said(&west, 1)[..2], [told, told], "nobody's that is known");
    }
}

#[tokio::test]
async fn corner_25_a_switch_costs_the_warm_prefix_and_the_choice_counts_it() {
    let beginning = "You repair the build. Follow the house rules. ".repeat(600);
    let turn = |number: usize, members: &str| {
        let user = json!({"role": "user", "content": format!("It is red, for the time {number}.")});
        let said = json!({"role": "assistant", "content": "I look."});
        let turns = (0..number).flat_map(|_| [user.clone(), said.clone()]);
        let messages: Vec<Value> =
            [json!({"role": "system", "content": beginning})].into_iter().chain(turns).chain([user.clone()]).collect();
        format!(r#"{{"model":"auto","messages":{}{members}}}"#, Value::from(messages))
    };
    let usage = r#"{"prompt_tokens":6000,"completion_tokens":40,"prompt_tokens_details":{"cached_tokens":5500}}"#;
    let answer = chat::answer_with(r#"{"role":"assistant","content":"I look."}"#, "stop", usage);
    // By list prices west is cheaper both times; a tenth of east's is what a warm prefix costs there.
    for (west_price, stays) in [(["0.95", "0.095", "1.9"], true), (["0.05", "0.005", "0.1"], false)] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let [input, read, output] = west_price;
        let gateway = Gateway::of([Site::of(&east).cached("0.1"), Site::of(&west).price(input, output).cached(read)]);
        for provider in [&east, &west] {
            provider.always(provider::whole(&answer));
        }
        gateway.chat(&turn(0, r#","tokenbroker":{"providers":["east"]}"#)).await;
        let second = gateway.chat(&turn(0, "")).await;
        let expected = if stays { "east/jade-v3" } else { "west/jade-v3" };
        assert_eq!(second.header("x-tokenbroker-backend"), expected, "{west_price:?}");
    }
}
