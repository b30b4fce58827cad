//! Ids of calls go back to whoever is asked next, who may take none of another's: they are fitted there, and where they fit the
//! client's bytes pass.

use serde_json::{Value, json};

use crate::harness::provider::whole;
use crate::harness::{Call, Gateway, Provider, Site, messages, responses};

const ASKED: &str = "What is the weather?";

/// A conversation of chat in which a model called a tool by this id.
fn chat_with(id: &str) -> String {
    let call = json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    json!({"model": "auto", "seed": 7, "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "rain"},
    ]})
    .to_string()
}

/// The same of Messages.
fn messages_with(id: &str) -> String {
    json!({"model": "auto", "max_tokens": 9, "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "rain"}]},
    ]})
    .to_string()
}

/// Found by a reader: a site that takes short ids only refused every conversation that had called tools elsewhere.
#[tokio::test]
async fn a_chat_site_that_wants_short_ids_gets_them_also_from_clients_of_chat() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).quirk("short_call_ids = true").quirk("random_seed = true")]);
    for (id, passes) in [("aB3dE6gH9", true), ("call_7f3a91c05be24d68", false)] {
        let answer = gateway.chat(&chat_with(id)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let calls = east.calls();
        let sent = calls.last().unwrap().text().to_owned();
        let told: Value = serde_json::from_str(&sent).unwrap();
        let called = told["messages"][1]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!(told["messages"][2]["tool_call_id"], called);
        assert!(called.len() == 9 && called.bytes().all(|b| b.is_ascii_alphanumeric()), "{called}");
        assert_eq!((called == id, &told["random_seed"], told.get("seed")), (passes, &json!(7), None), "{sent}");
        // Where only the model and the seed's name differ, the client's bytes passed.
        let asked = chat_with(id).replace("\"auto\"", "\"jade-v3\"").replace("\"seed\"", "\"random_seed\"");
        assert_eq!(sent == asked, passes, "{sent}");
    }
}

/// Found by a reader: ids with a colon or a point, as some chat sites make them, were passed to a Messages site, which refuses them.
#[tokio::test]
async fn an_id_that_messages_does_not_take_is_fitted_also_from_clients_of_messages() {
    let east = Provider::start("east").await;
    east.always(whole(&messages::answer("Rain.", 9, 4)));
    let gateway = Gateway::of([Site::of(&east).only_messages()]);
    for (id, passes) in [("toolu_01A", true), ("functions.weather:0", false)] {
        let answer = gateway.ask(&Call::messages(messages_with(id))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let calls = east.calls();
        let told: Value = serde_json::from_str(calls.last().unwrap().text()).unwrap();
        let called = told["messages"][1]["content"][0]["id"].as_str().unwrap();
        assert_eq!(told["messages"][2]["content"][0]["tool_use_id"], called);
        assert!(called.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{called}");
        assert_eq!(called == id, passes, "{called}");
    }
}

/// As vLLM makes them.
const OF_VLLM: &str = "chatcmpl-tool-4f1c0de29b7a4c63a8d5e1f0b2c3d4e5";

/// A known defect: what vLLM had called, OpenAI's chat refused for ever, whichever client asked.
#[tokio::test]
async fn a_chat_site_gets_no_id_that_is_longer_than_it_takes() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).quirk("call_id_chars = 40")]);
    let other = OF_VLLM.replace("4f1c", "4f1d");
    let mut sent = Vec::new();
    for (id, passes) in [("call_7f3a91c05be24d68", true), (&OF_VLLM[..40], true), (OF_VLLM, false), (&other, false)] {
        for call in [Call::chat(chat_with(id)), Call::messages(messages_with(id))] {
            let answer = gateway.ask(&call).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let told: Value = serde_json::from_str(east.calls().last().unwrap().text()).unwrap();
            let called = told["messages"][1]["tool_calls"][0]["id"].as_str().unwrap().to_owned();
            assert_eq!(told["messages"][2]["tool_call_id"], called.as_str());
            assert!(called.len() <= 40 && (called == id) == passes, "{called}");
            sent.push(called);
        }
        // The seed of a client of chat passes in its bytes, or in words of ours.
        assert!(east.calls().iter().rev().nth(1).unwrap().text().contains("\"seed\":7"));
    }
    let [.., one, same, another, _] = &sent[..] else { panic!("{sent:?}") };
    assert!(one == same && one != another, "{sent:?}");
}

/// The same of Responses, where they may be longer.
#[tokio::test]
async fn a_responses_site_gets_no_id_that_is_longer_than_it_takes() {
    let east = Provider::start("east").await;
    east.always(whole(&responses::answer(&[responses::message("Rain.")], &responses::usage(9, 0, 4, 0))));
    let gateway = Gateway::of([Site::of(&east).only_responses()]);
    let long = format!("{OF_VLLM}-of-the-weather-in-Oslo");
    for (id, passes) in [(OF_VLLM, true), (&long, false)] {
        let input = json!([
            {"role": "user", "content": ASKED},
            {"type": "function_call", "call_id": id, "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": id, "output": "rain"},
        ]);
        let asked = json!({"model": "auto", "input": input}).to_string();
        for call in [Call::responses(asked), Call::chat(chat_with(id))] {
            let answer = gateway.ask(&call).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let told: Value = serde_json::from_str(east.calls().last().unwrap().text()).unwrap();
            let called = told["input"][1]["call_id"].as_str().unwrap();
            assert_eq!(told["input"][2]["call_id"], called);
            assert!(called.len() <= 64 && (called == id) == passes, "{called}");
        }
    }
}
