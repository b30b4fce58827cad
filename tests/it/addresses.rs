//! Addresses with places that an operator fills, and models that a provider knows under a name of the operator's own.

use crate::harness::provider::{status, stream};
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat};

/// As Azure's deployments are addressed: a part of the address by variable, the deployment in the path, a version in the query,
/// the key in a header of its own.
fn deployments_of(provider: &Provider) -> Site {
    Site::of(provider)
        .at(&format!("http://{}/{{resource}}/openai/deployments/{{deployment}}", provider.address))
        .fact("auth = \"api-key\"")
        .fact("placeholders = { resource = \"EAST_RESOURCE\" }")
        .fact("query = { api-version = \"2024-10-21\" }")
}

#[tokio::test]
async fn a_deployment_is_asked_by_its_own_name_under_its_own_address() {
    let east = Provider::start("east").await;
    let setup = Setup::of([deployments_of(&east)]).variable("EAST_RESOURCE", "my-resource");
    let gateway = setup.variable("TOKENBROKER__DEPLOYMENTS", "{ \"east/jade-v3\" = \"my-jade\" }").start();
    for ask in [chat::ask("auto"), chat::ask_stream("jade")] {
        let answer = gateway.chat(&ask).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(gateway.row_of(&answer).await.attempts[0].backend, "east/jade-v3");
    }
    for call in east.calls() {
        assert_eq!(call.path, "/my-resource/openai/deployments/my-jade/v1/chat/completions?api-version=2024-10-21");
        assert_eq!((call.header("api-key"), call.header("authorization")), (east.key().as_str(), ""));
        assert!(call.text().contains("\"model\":\"my-jade\""), "{}", call.text());
    }
    assert_eq!(east.calls().len(), 2);
}

#[tokio::test]
async fn a_site_whose_address_lacks_a_part_is_not_in_use_and_says_so() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([deployments_of(&east), Site::of(&west).price("9", "9")]);

    let answer = gateway.chat(&chat::ask("auto")).await;
    let refused = gateway.chat(&chat::ask("east/jade-v3")).await;
    let explained = gateway.ask(&Call::post("/v1/route", chat::ask("auto"))).await;

    assert_eq!((answer.status, east.calls().len(), west.calls().len()), (200, 0, 1));
    assert_eq!(refused.error("code"), "no_adequate_backend");
    assert!(explained.text().contains("EAST_RESOURCE"), "{}", explained.text());
}

#[tokio::test]
async fn nothing_but_a_label_gets_into_an_address() {
    let east = Provider::start("east").await;
    for value in ["evil.example.com/", "a/../b", "a?x=y", "@evil"] {
        let (code, said) = Setup::of([deployments_of(&east)]).variable("EAST_RESOURCE", value).refused();
        assert!(
            code == Some(3) && said.contains("EAST_RESOURCE: this cannot be a part of a provider's address"),
            "{code:?} {said}"
        );
        assert!(!said.contains(value), "it may be a key that somebody put in the wrong place: {said}");
    }
}

/// Found by a reader: a variable of a provider that nobody uses, for want of a key, stopped the start of all.
#[tokio::test]
async fn a_bad_part_of_an_address_that_nobody_uses_is_a_warning() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let keyless = deployments_of(&east).without_key();
    let setup = Setup::of([keyless, Site::of(&west)]).variable("EAST_RESOURCE", "s3cret.example.com");
    let gateway = setup.start();

    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "west/jade-v3");
    let log = gateway.setup.log();
    assert!(log.contains("EAST_RESOURCE: this cannot be a part of a provider's address") && log.contains("has no key"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

/// What Azure says of a prompt that its filter refuses, of a deployment that is not there, and of a key it does not know
/// (providers.md 4, row `azure`, 2026-11-22).
#[tokio::test]
async fn azures_refusals_are_told_for_what_they_are() {
    let filtered = r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}"#;
    let absent = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#;
    let stranger = r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#;
    for (code, body, class) in [(400, filtered, "moderation"), (404, absent, "not_found"), (401, stranger, "auth")] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let setup = Setup::of([deployments_of(&east), Site::of(&west).price("9", "9")]).variable("EAST_RESOURCE", "r");
        let gateway = setup.start();
        east.next(status(code, &[("content-type", "application/json")], body));

        let answer = gateway.chat(&chat::ask("auto")).await;

        let row = gateway.row_of(&answer).await;
        assert_eq!(row.attempts[0].backend, "east/jade-v3");
        assert!(row.attempts[0].cause.as_deref().is_some_and(|cause| cause.starts_with(class)), "{class}: {:?}", row.attempts[0]);
    }
}

/// The first chunk of Azure has no choice and says what its filter found; the answer goes on after it.
#[tokio::test]
async fn azures_first_chunk_without_a_choice_is_no_end() {
    let first = chat::frame(
        r#"{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}"#,
    );
    let east = Provider::start("east").await;
    let gateway = Setup::of([deployments_of(&east)]).variable("EAST_RESOURCE", "r").start();
    let frames = [vec![first], chat::hello()].concat();
    east.next(stream(&frames));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    // The client asked for no usage, and is sent none.
    let wanted: String = frames.iter().filter(|frame| !frame.contains("\"usage\"")).cloned().collect();
    assert_eq!(answer.text(), wanted);
    assert_eq!(gateway.row_of(&answer).await.usage.output, tokenbroker::units::Tokens::new(4));
}
