//! What is noticed when a provider serves another model under the same name: once in the log, in a metric, in the books and in
//! what is read from them; and what is no such change.

use serde_json::{Value, json};

use crate::harness::provider::{stream, whole};
use crate::harness::{Call, Gateway, Provider, Site, chat, messages};

const NOTICE: &str = "another model under the same name";

/// A whole answer by a model.
fn by(model: &str) -> String {
    chat::answer("Hello.", 9, 4).replace("\"served\"", &format!("{model:?}"))
}

fn notices(gateway: &Gateway) -> usize {
    gateway.setup.log().lines().filter(|line| line.contains(NOTICE)).count()
}

async fn outcome(gateway: &Gateway, id: &str) -> Value {
    gateway.operator(&Call::get(&format!("/decisions/{id}"))).await.json()["outcome"]["attempts"][0].clone()
}

#[tokio::test]
async fn a_change_is_told_once_and_stands_in_the_books() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let changes = r#"served_model_changes_total{backend="east/jade-v3"}"#;
    for model in ["jade-2026-05-01", "jade-2026-05-01"] {
        east.next(whole(&by(model)));
        assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    }
    assert_eq!((notices(&gateway), gateway.sample(changes).await), (0, None));

    let mut ids = Vec::new();
    // The change comes in a stream, whose first frame names the model.
    let named = |frames: Vec<String>, model: &str| {
        frames.into_iter().map(|frame| frame.replace("\"served\"", &format!("{model:?}"))).collect::<Vec<_>>()
    };
    for script in [stream(&named(chat::hello(), "jade-lite")), whole(&by("jade-lite"))] {
        east.next(script);
        let body = if ids.is_empty() { chat::ask_stream("auto") } else { chat::ask("auto") };
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status, 200);
        ids.push(answer.header("x-tokenbroker-request-id").to_owned());
    }

    assert_eq!((notices(&gateway), gateway.sample(changes).await), (1, Some(1.0)));
    let (first, second) = (outcome(&gateway, &ids[0]).await, outcome(&gateway, &ids[1]).await);
    assert_eq!((&first["served_model"], &first["served_before"]), (&json!("jade-lite"), &json!("jade-2026-05-01")));
    assert_eq!((&second["served_model"], second.get("served_before")), (&json!("jade-lite"), None));
    let usage = gateway.operator(&Call::get("/usage?group_by=backend")).await.json();
    assert_eq!(usage["data"][0]["served_model_changes"], 1, "{usage}");

    // What is known of it outlives the process.
    let (_, setup) = gateway.drain().await;
    let again = setup.start();
    east.next(whole(&by("jade-lite")));
    assert_eq!(again.chat(&chat::ask("auto")).await.status, 200);
    assert_eq!(again.sample(changes).await, None);
    east.next(whole(&by("jade-2026-05-01")));
    assert_eq!(again.chat(&chat::ask("auto")).await.status, 200);
    assert_eq!((notices(&again), again.sample(changes).await), (2, Some(1.0)));
}

#[tokio::test]
async fn a_stream_of_another_shape_names_its_model_too() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).only_messages()]);
    for model in ["jade-1", "jade-2"] {
        let frames: Vec<String> =
            messages::hello().into_iter().map(|frame| frame.replace("\"served\"", &format!("{model:?}"))).collect();
        east.next(stream(&frames));
        let answer = gateway.chat(&chat::ask_stream("auto")).await;
        assert_eq!(gateway.row_of(&answer).await.attempts[0].served_model.as_deref(), Some(model));
    }
    assert_eq!(notices(&gateway), 1);
}

#[tokio::test]
async fn an_answer_that_names_no_model_changes_nothing() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for body in [by("jade-1"), by(""), by("jade-1").replace(r#""model":"jade-1","#, ""), by("jade-1")] {
        east.next(whole(&body));
        assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200, "{body}");
    }
    assert_eq!(notices(&gateway), 0);
}
