//! A site whose chat refuses tools while a model thinks, and whose Responses take them; and thinking that is told in other words, which
//! goes to where it comes back with its seals.

use serde_json::{Value, json};

use crate::harness::provider::whole;
use crate::harness::{Call, Gateway, Provider, Site, Whole, chat, messages, responses};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/other/v1/responses";
const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]"#;
const OWN_TOOLS: &str = r#""tools":[{"name":"weather","input_schema":{"type":"object"}}]"#;

/// Where a request was sent, which came back well, and what was sent.
async fn sent(gateway: &Gateway, east: &Provider, call: &Call, path: &str) -> (Whole, Value) {
    let before = east.calls().len();
    east.next(if path == RESPONSES {
        whole(&responses::answer(&[responses::message("Hello.")], &responses::usage(9, 0, 4, 0)))
    } else {
        whole(&chat::answer("Hello.", 9, 4))
    });
    let answer = gateway.ask(call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let arrived = east.call(before).await;
    assert_eq!(arrived.path, path, "{}", arrived.text());
    (answer, serde_json::from_str(arrived.text()).unwrap())
}

/// An audit: `OpenAI`'s chat refuses tools of its models from 5.4 on, and every agent that speaks Messages has tools.
#[tokio::test]
async fn tools_go_past_a_chat_that_refuses_them_from_every_client() {
    let east = Provider::start("east").await;
    let site = Site::of(&east).and_responses().thinks().row("chat_tools = false");
    let gateway = Gateway::of([site]);

    let call = Call::messages(messages::ask_with("auto", OWN_TOOLS));
    let (_, body) = sent(&gateway, &east, &call, RESPONSES).await;
    assert_eq!(body["tools"][0]["name"], "weather", "{body}");
    for members in [TOOLS.to_owned(), format!(r#"{TOOLS},"reasoning_effort":"high""#)] {
        let (answer, body) = sent(&gateway, &east, &Call::chat(chat::ask_with("auto", &members)), RESPONSES).await;
        assert_eq!(body["tools"][0]["name"], "weather", "{body}");
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello.", "{}", answer.text());
    }
    let call = responses::ask(r#""tools":[{"type":"function","name":"weather","parameters":{"type":"object"}}]"#);
    sent(&gateway, &east, &call, RESPONSES).await;

    // Without tools, or without thinking, chat takes it as it is; and where Responses cannot say it, the site is left to judge.
    let off = format!(r#"{TOOLS},"reasoning_effort":"none""#);
    let stops = format!(r#"{TOOLS},"stop":["END"]"#);
    for members in [r#""seed":7"#, &off, &stops] {
        let call = chat::ask_with("auto", members);
        let (_, body) = sent(&gateway, &east, &Call::chat(call.clone()), CHAT).await;
        let own: Value = serde_json::from_str(&call).unwrap();
        assert!(own.as_object().unwrap().iter().all(|(name, value)| name == "model" || body[name] == *value), "{body}");
    }
    let call = Call::messages(messages::ask_with("auto", &format!(r#"{OWN_TOOLS},"thinking":{{"type":"disabled"}}"#)));
    let (_, body) = sent(&gateway, &east, &call, CHAT).await;
    assert_eq!(body["reasoning_effort"], "none", "{body}");
}

#[tokio::test]
async fn tools_stay_in_a_chat_that_takes_them_or_has_nothing_beside_it() {
    let east = Provider::start("east").await;
    for site in [Site::of(&east).and_responses().thinks(), Site::of(&east).thinks().row("chat_tools = false")] {
        let gateway = Gateway::of([site]);
        sent(&gateway, &east, &Call::messages(messages::ask_with("auto", OWN_TOOLS)), CHAT).await;
        sent(&gateway, &east, &Call::chat(chat::ask_with("auto", TOOLS)), CHAT).await;
    }
}

/// An audit: what `OpenAI`'s models thought never came back to a client of Messages, who was told in chat.
#[tokio::test]
async fn a_client_of_messages_who_asks_for_thinking_is_told_in_responses_unless_it_stops_at_texts() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).and_responses().thinks().quirk("encrypted_reasoning = true")]);
    let thinking = r#""thinking":{"type":"enabled","budget_tokens":1024}"#;
    let (_, body) = sent(&gateway, &east, &Call::messages(messages::ask_with("auto", thinking)), RESPONSES).await;
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]), "{body}");
    let stops = format!(r#"{thinking},"stop_sequences":["END"]"#);
    let (_, body) = sent(&gateway, &east, &Call::messages(messages::ask_with("auto", &stops)), CHAT).await;
    assert_eq!(body["stop"], json!(["END"]), "{body}");
    sent(&gateway, &east, &Call::messages(messages::ask("auto")), CHAT).await;
    sent(&gateway, &east, &Call::chat(chat::ask_with("auto", r#""reasoning_effort":"high""#)), CHAT).await;
}
