//! Answers of Responses that are kept: a request goes on from one by its id, whoever answered it, and only for the key that asked.

use serde_json::{Value, json};

use crate::harness::messages::events as sent_events;
use crate::harness::provider::{begun, stream, then, whole};
use crate::harness::responses::events;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, Whole, chat, responses};

const ANN: &str = "tb-ann-0123456789";
const BEN: &str = "tb-ben-0123456789";

/// Two keys at a gateway that keeps answers.
async fn keeps(of: impl Fn(Site) -> Site) -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let sites = [of(Site::of(&east))];
    (east, Setup::of(sites).key("ann", ANN).key("ben", BEN).set("limits.stored_responses_mib", "1").start())
}

fn ask(body: &Value) -> Call {
    let mut body = body.clone();
    body["model"] = json!("auto");
    Call::responses(body.to_string()).key(ANN)
}

/// What a provider of chat was sent as messages.
async fn messages(east: &Provider, at: usize) -> Vec<(String, String)> {
    let body: Value = serde_json::from_str(east.call(at).await.text()).unwrap();
    let said = |message: &Value| {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        (text("role"), text("content"))
    };
    body["messages"].as_array().unwrap().iter().map(said).collect()
}

fn turns(turns: &[(&str, &str)]) -> Vec<(String, String)> {
    turns.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn unknown(answer: &Whole, id: &str) {
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (400, &json!("previous_response_not_found")), "{error}");
    assert_eq!(error["param"], "previous_response_id");
    assert!(error["message"].as_str().unwrap().contains(&format!("`{id}`")), "{error}");
}

#[tokio::test]
async fn a_conversation_goes_on_from_whole_answers_and_from_streams() {
    let (east, gateway) = keeps(|site| site).await;
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let first = gateway.ask(&ask(&json!({"input": "Say hello.", "instructions": "Be short."}))).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let first = first.json()["id"].as_str().unwrap().to_owned();

    // Instructions of one request are no part of the next.
    east.next(stream(&chat::hello()));
    let second = gateway.ask(&ask(&json!({"input": "And now?", "previous_response_id": first, "stream": true}))).await;
    let second = events(second.text()).last().unwrap()["response"]["id"].as_str().unwrap().to_owned();
    let so_far = [("user", "Say hello."), ("assistant", "Hello."), ("user", "And now?")];
    assert_eq!(messages(&east, 1).await, turns(&so_far));

    east.next(whole(&chat::answer("Well.", 9, 4)));
    let list = json!([{"role": "user", "content": [{"type": "input_text", "text": "Go on."}]}]);
    let third = gateway.ask(&ask(&json!({"input": list, "previous_response_id": second}))).await;
    assert_eq!(third.status, 200, "{}", third.text());
    let longer = [so_far.as_slice(), &[("assistant", "Hello."), ("user", "Go on.")]].concat();
    assert_eq!(messages(&east, 2).await, turns(&longer));

    // From one before, another way.
    east.next(whole(&chat::answer("Otherwise.", 9, 4)));
    let other = gateway.ask(&ask(&json!({"input": "Or else?", "previous_response_id": first}))).await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(messages(&east, 3).await, turns(&[so_far[0], so_far[1], ("user", "Or else?")]));
}

#[tokio::test]
async fn a_call_of_a_tool_is_answered_by_its_result_alone() {
    let (east, gateway) = keeps(|site| site).await;
    let calls = r#"[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{}"}}]"#;
    east.next(whole(
        &chat::answer("Hello.", 9, 4).replace(r#""content":"Hello.""#, &format!(r#""content":null,"tool_calls":{calls}"#)),
    ));
    let tools = json!([{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": false}]);
    let first = gateway.ask(&ask(&json!({"input": "Weather?", "tools": tools}))).await.json();
    assert_eq!(first["output"][0]["type"], "function_call", "{first}");

    east.next(whole(&chat::answer("4 degrees.", 9, 4)));
    let result = json!([{"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "4"}]);
    let second = gateway.ask(&ask(&json!({"input": result, "tools": tools, "previous_response_id": first["id"]}))).await;

    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(messages(&east, 1).await, turns(&[("user", "Weather?"), ("assistant", ""), ("tool", "4")]));
}

#[tokio::test]
async fn a_provider_of_responses_is_sent_the_conversation_and_stores_none() {
    let (east, gateway) = keeps(|site| site.only_responses().thinks()).await;
    let output = [responses::thought("c2VhbA=="), responses::message("Hello.")];
    east.next(whole(&responses::answer(&output, &responses::usage(9, 0, 4, 2))));
    let first = gateway.ask(&ask(&json!({"input": "Say hello."}))).await;
    assert_eq!(first.status, 200, "{}", first.text());

    east.next(stream(&responses::hello()));
    let more = json!({"input": "And now?", "previous_response_id": first.json()["id"], "stream": true});
    assert_eq!(gateway.ask(&ask(&more)).await.status, 200);

    let sent: Value = serde_json::from_str(east.call(1).await.text()).unwrap();
    let user = |text: &str| json!({"role": "user", "content": text});
    assert_eq!(sent["input"], json!([user("Say hello."), output[0], output[1], user("And now?")]), "{sent}");
    assert_eq!((&sent["store"], &sent["previous_response_id"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn an_answer_is_there_for_its_key_alone_and_can_be_had_and_deleted() {
    let (east, gateway) = keeps(|site| site).await;
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let told = gateway.ask(&ask(&json!({"input": "Say hello."}))).await.json();
    let id = told["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    let further =
        |key: &str| Call::responses(json!({"model": "auto", "input": "x", "previous_response_id": id}).to_string()).key(key);

    assert_eq!(gateway.ask(&Call::get(&path).key(ANN)).await.json(), told);
    assert_eq!(gateway.ask(&Call::get(&path)).await.status, 401);
    let foreign = gateway.ask(&Call::get(&path).key(BEN)).await;
    assert_eq!((foreign.status, &foreign.json()["error"]["code"]), (404, &json!("response_not_found")));
    unknown(&gateway.ask(&further(BEN)).await, id);
    assert_eq!(gateway.ask(&Call::delete(&path).key(BEN)).await.status, 404);

    let deleted = gateway.ask(&Call::delete(&path).key(ANN)).await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({"id": id, "object": "response", "deleted": true})));
    assert_eq!(gateway.ask(&Call::get(&path).key(ANN)).await.status, 404);
    unknown(&gateway.ask(&further(ANN)).await, id);
    assert_eq!(east.calls().len(), 1);
}

/// What each response in the events of a stream says of whether it is kept.
fn stores(answer: &Whole) -> Vec<Value> {
    let told = sent_events(answer.text()).into_iter();
    told.filter_map(|(_, event)| event.get("response").map(|response| response["store"].clone())).collect()
}

/// Known before: all of them said that they were not, as that is what a provider is told.
#[tokio::test]
async fn an_answer_says_whether_it_is_kept_whoever_gave_it() {
    for own in [false, true] {
        let (east, gateway) = keeps(|site| if own { site.only_responses() } else { site }).await;
        let stored_nowhere = |told: &str| told.replace(r#""object":"response""#, r#""object":"response","store":false"#);
        let output = [responses::message("Hello.")];
        let (answer, frames) = if own {
            (responses::answer(&output, &responses::usage(9, 0, 4, 0)), responses::hello())
        } else {
            (chat::answer("Hello.", 9, 4), chat::hello())
        };
        let frames: Vec<String> = frames.iter().map(|frame| stored_nowhere(frame)).collect();
        for (store, expected) in [(None, true), (Some(true), true), (Some(false), false)] {
            let mut body = json!({"input": "Say hello.", "store": store});
            east.next(whole(&stored_nowhere(&answer)));
            let told = gateway.ask(&ask(&body)).await.json();
            assert_eq!(told["store"], expected, "{own} {store:?} {told}");
            let path = format!("/v1/responses/{}", told["id"].as_str().unwrap());
            let again = gateway.ask(&Call::get(&path).key(ANN)).await;
            assert_eq!(again.json() == told, expected, "{}", again.text());

            body["stream"] = json!(true);
            east.next(stream(&frames));
            let told = gateway.ask(&ask(&body)).await;
            let stores = stores(&told);
            assert!(stores.len() >= 2 && stores.iter().all(|store| *store == expected), "{own} {store:?} {}", told.text());
        }
    }
}

#[tokio::test]
async fn what_is_too_long_to_be_kept_does_not_say_so() {
    let (east, gateway) = keeps(|site| site).await;
    east.next(whole(&chat::answer(&"word ".repeat(220_000), 9, 4)));
    let told = gateway.ask(&ask(&json!({"input": "Say much."}))).await.json();
    assert_eq!(told["store"], false, "{}", told["error"]);
    let id = told["id"].as_str().unwrap();
    unknown(&gateway.ask(&ask(&json!({"input": "x", "previous_response_id": id}))).await, id);
}

#[tokio::test]
async fn what_must_not_be_kept_or_did_not_end_is_not() {
    let (east, gateway) = keeps(|site| site).await;
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let told = gateway.ask(&ask(&json!({"input": "Say hello.", "store": false}))).await.json();
    let id = told["id"].as_str().unwrap();
    unknown(&gateway.ask(&ask(&json!({"input": "x", "previous_response_id": id}))).await, id);

    east.next(then(begun(&chat::hello()[..2]), [Step::Close]));
    let cut = gateway.ask(&ask(&json!({"input": "Say hello.", "stream": true}))).await;
    let last = events(cut.text()).pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["store"]), (&json!("response.failed"), &json!(false)), "{}", cut.text());
    let id = last["response"]["id"].as_str().unwrap();
    unknown(&gateway.ask(&ask(&json!({"input": "x", "previous_response_id": id}))).await, id);
}

#[tokio::test]
async fn the_oldest_make_room_and_a_conversation_has_the_bounds_of_a_request() {
    let east = Provider::start("east").await;
    let gateway =
        Setup::of([Site::of(&east)]).set("limits.stored_responses_mib", "1").set("server.max_body_bytes", "600000").start();
    let ask = |members: Value| {
        let mut body = members;
        body["model"] = json!("auto");
        Call::responses(body.to_string())
    };
    let long = "word ".repeat(80_000);
    let mut ids = Vec::new();
    for _ in 0..3 {
        east.next(whole(&chat::answer("Hello.", 9, 4)));
        let told = gateway.ask(&ask(json!({"input": long}))).await;
        assert_eq!(told.status, 200, "{}", told.text());
        ids.push(told.json()["id"].as_str().unwrap().to_owned());
    }
    unknown(&gateway.ask(&ask(json!({"input": "x", "previous_response_id": ids[0]}))).await, &ids[0]);

    let too_long = gateway.ask(&ask(json!({"input": long, "previous_response_id": ids[2]}))).await;
    let error = &too_long.json()["error"];
    assert_eq!((too_long.status, &error["param"]), (400, &json!("previous_response_id")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("server.max_body_bytes"), "{error}");

    east.next(whole(&chat::answer("Hello.", 9, 4)));
    assert_eq!(gateway.ask(&ask(json!({"input": "x", "previous_response_id": ids[2]}))).await.status, 200);
}
