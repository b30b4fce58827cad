//! What teams, projects and the gateway let their keys ask for, and what they wish for them: the strictest counts, a default gives way to
//! what a request says.

use serde_json::json;

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider};

const ANN: &str = "tb-ann";

/// Two sites, of which the second is dearer and in the EU.
async fn sites() -> (Provider, Provider) {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    for site in [&east, &west] {
        site.always(provider::whole(&chat::answer("Hello.", 10, 20)));
    }
    (east, west)
}

fn setup((east, west): &(Provider, Provider)) -> Setup {
    let sites = [Site::of(east).model("opal"), Site::of(west).model("jade-mini").price("3", "6")];
    Setup::of(sites)
        .key("ann", ANN)
        .set("keys.ann.team", "web")
        .set("keys.ann.project", "search")
        .set("gateway.budget_usd", "100")
}

async fn backend(gateway: &Gateway, body: &str) -> String {
    let answer = gateway.ask(&Call::chat(body.to_owned()).key(ANN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tokenbroker-backend").to_owned()
}

async fn listed(gateway: &Gateway) -> Vec<String> {
    let models = gateway.ask(&Call::get("/v1/models").key(ANN)).await.json();
    models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_team_bounds_what_its_keys_may_and_they_are_told_and_shown_no_more() {
    let all = sites().await;
    let gateway = setup(&all)
        .set("aliases.best", "opal")
        .set("aliases.small", "jade-mini")
        .set("keys.ann.models", r#"["opal", "jade-*"]"#)
        .set("teams.web.models", r#"["*-mini", "east/*"]"#)
        .set("projects.search.exclude_providers", r#"["east"]"#)
        .start();
    assert_eq!(backend(&gateway, &chat::ask("auto")).await, "west/jade-mini-v3", "the dearer one");
    let refused = gateway.ask(&Call::chat(chat::ask("opal")).key(ANN)).await;
    assert_eq!(
        (refused.status, refused.error("code"), refused.error("type")),
        (403, json!("model_not_allowed"), json!("permission_error"))
    );
    assert!(refused.text().contains("its provider is excluded"), "{}", refused.text());
    assert_eq!(gateway.ask(&Call::chat(chat::ask("best")).key(ANN)).await.status, 403, "by an alias too");
    let names = listed(&gateway).await;
    assert!(names.contains(&"jade-mini".to_owned()) && names.contains(&"small".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("opal") || name == "best"), "{names:?}");
    assert_eq!(gateway.ask(&Call::get("/v1/models/opal").key(ANN)).await.status, 404);
    assert_eq!(all.0.calls().len(), 0);
}

#[tokio::test]
async fn a_default_wish_counts_where_a_request_does_not_say_and_the_narrowest_level_first() {
    let all = sites().await;
    let gateway = setup(&all)
        .set("teams.web.wishes", r#"{ providers = ["west"], max_cost_usd = 0.000001 }"#)
        .set("keys.ann.wishes", "{ max_cost_usd = 0.5 }")
        .start();
    assert_eq!(backend(&gateway, &chat::ask("auto")).await, "west/jade-mini-v3", "the team's providers, the key's maximum");
    let says = chat::ask_with("auto", r#""tokenbroker":{"providers":["east"]}"#);
    assert_eq!(backend(&gateway, &says).await, "east/opal-v3", "a wish is no bound");
    let dear = chat::ask_with("auto", r#""tokenbroker":{"max_cost_usd":0.000000001}"#);
    assert_eq!(gateway.ask(&Call::chat(dear).key(ANN)).await.status, 400);
}

#[tokio::test]
async fn levels_that_leave_a_key_nothing_are_refused_at_the_start() {
    let all = sites().await;
    let (_, said) = setup(&all).set("keys.ann.providers", r#"["east"]"#).set("teams.web.providers", r#"["west"]"#).refused();
    assert!(said.contains("keys.ann.providers: nothing is left: none of these is allowed by team web"), "{said}");
    let (_, said) = setup(&all).set("gateway.wishes", "{ session = \"x\" }").refused();
    assert!(said.contains("gateway.wishes.session: unknown name"), "{said}");
}
