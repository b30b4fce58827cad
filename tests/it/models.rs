//! The names that can be asked for, and whether the gateway is alive and ready.

use serde_json::{Value, json};

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat};

#[tokio::test]
async fn every_name_that_can_be_asked_for_is_listed_and_answers() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let off = Provider::refusing("south");
    let sites = [Site::of(&east), Site::of(&west).model("onyx").quality(80), Site::of(&off).model("opal").without_key()];
    let gateway = Setup::of(sites).set("aliases.quick", "jade").start();

    let list = gateway.ask(&Call::get("/v1/models")).await;

    assert_eq!((list.status, list.json()["object"].clone()), (200, json!("list")));
    let listed = list.json()["data"].as_array().unwrap().clone();
    let ids: Vec<&str> = listed.iter().filter_map(|model| model["id"].as_str()).collect();
    for id in ["auto", "auto:economy", "auto:standard", "auto:premium", "quick", "jade", "onyx", "east/jade-v3"] {
        assert!(ids.contains(&id), "{id} is missing: {ids:?}");
    }
    assert!(!ids.iter().any(|id| id.contains("opal")), "nobody who serves it has a key: {ids:?}");
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "no name stands twice");
    for (id, model) in ids.iter().zip(&listed) {
        let item = gateway.ask(&Call::get(&format!("/v1/models/{id}"))).await;
        assert_eq!((item.status, &item.json()), (200, model), "{id}");
        // Some SDKs escape the slash.
        let escaped = gateway.ask(&Call::get(&format!("/v1/models/{}", id.replace('/', "%2F")))).await;
        assert_eq!((escaped.status, &escaped.json()), (200, model), "{id}");
        assert_eq!((&model["object"], model["created"].is_i64(), model["owned_by"].is_string()), (&json!("model"), true, true));
        assert_eq!(gateway.chat(&chat::ask(id)).await.status, 200, "{id}");
    }
}

/// Found by an audit: both parameters were ignored, so a client that turns pages got one without end.
#[tokio::test]
async fn clients_of_anthropic_turn_pages() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let page = async |query: &str| {
        let call = Call::get(&format!("/v1/models{query}")).header("anthropic-version", "2023-06-01");
        let answer = gateway.ask(&call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        let ids: Vec<String> = told["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(
            (told["first_id"].as_str(), told["last_id"].as_str()),
            (ids.first().map(String::as_str), ids.last().map(String::as_str))
        );
        (ids, told["has_more"].as_bool().unwrap())
    };
    let (all, more) = page("").await;
    assert!(all.len() > 4 && !more, "{all:?}");
    let count = all.len();
    assert_eq!(page("?limit=2").await, (all[..2].to_vec(), true));
    assert_eq!(page(&format!("?limit=2&after_id={}", all[1])).await, (all[2..4].to_vec(), true));
    assert_eq!(page(&format!("?limit={count}&after_id={}", all[1].replace(':', "%3A"))).await, (all[2..].to_vec(), false));
    assert_eq!(page(&format!("?limit=1&before_id={}", all[2])).await, (all[1..2].to_vec(), true));
    assert_eq!(page(&format!("?limit=9&before_id={}", all[2])).await, (all[..2].to_vec(), false));
    assert_eq!(page(&format!("?after_id={}", all[count - 1])).await, (Vec::new(), false));
    for wrong in ["limit=0", "limit=1001", "limit=x", "after_id=nobody", "before_id=nobody", "after_id=auto&before_id=auto"] {
        let call = Call::get(&format!("/v1/models?{wrong}")).header("anthropic-version", "2023-06-01");
        let answer = gateway.ask(&call).await;
        assert_eq!((answer.status, answer.error("code")), (400, json!("invalid_parameter")), "{wrong}: {}", answer.text());
    }
    // What is none of their parameters passes by, and OpenAI's list has no pages.
    assert_eq!(page("?beta=true").await.0, all);
    let of_openai = gateway.ask(&Call::get("/v1/models?limit=2")).await.json();
    assert_eq!(of_openai["data"].as_array().unwrap().len(), count);
}

#[tokio::test]
async fn a_model_that_is_not_there_is_a_404_with_near_names() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);

    let answer = gateway.ask(&Call::get("/v1/models/jadee")).await;

    assert_eq!((answer.status, answer.error("code")), (404, json!("model_not_found")));
    assert!(answer.error("message").as_str().is_some_and(|message| message.contains("`jade`")), "{}", answer.text());
}

#[tokio::test]
async fn both_listeners_say_that_they_live() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.ask(&Call::get(path)).await.status, 200);
        let mut operations = crate::harness::client::Connection::open(gateway.operations).await;
        operations.send(&Call::get(path)).await;
        assert_eq!(operations.answer().await.status, 200);
    }
    assert_ne!(gateway.ask(&Call::get("/metrics")).await.status, 200, "metrics are the operator's");
    assert_eq!(gateway.ask(&Call::get("/v1/models")).await.json()["data"][0]["owned_by"], Value::from("tokenbroker"));
}

/// Promise 4: what has no price in force is not used, however cheap it will be.
#[tokio::test]
async fn a_backend_without_a_price_in_force_is_asked_for_nothing() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let announced = Site::of(&east).price("0.1", "0.2\nfrom = 2999-01-01T00:00:00Z");
    let gateway = Gateway::of([announced, Site::of(&west).price("5", "9")]);

    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());

    let refused = gateway.chat(&chat::ask("east/jade-v3")).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (400, json!("no_adequate_backend")));
    assert!(refused.text().contains("unpriced=1"), "{}", refused.text());
    assert_eq!(east.calls().len(), 0);
}
