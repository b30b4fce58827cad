//! Limits that hold when attempts fail: of money, of time, and of what one client can do to the others.

use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{Script, begun, status, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, Whole, chat};

const KEY: &str = "tb-limits";

fn stall() -> Script {
    vec![Step::Stall]
}

/// Sends a chat request with the key of these tests.
async fn ask_with_key(gateway: &Gateway, body: &str) -> Whole {
    gateway.ask(&Call::chat(body.to_owned()).key(KEY)).await
}

/// One that times out may be billed, so the next one must fit into the budget beside it.
#[tokio::test]
async fn a_timed_out_attempt_and_the_next_one_keep_within_the_budget_together() {
    // At most: 1,000 tokens out at 6 dollars a million, some 0.0061 with the prompt. The time-out: some 0.0008.
    for (budget, asked) in [("0.0065", 0), ("0.0080", 1)] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Setup::of([Site::of(&east), Site::of(&west).price("3", "6")])
            .set("timeouts.total_ms", "1000")
            .key("web", KEY)
            .set("keys.web.budget_usd", budget)
            .start();
        east.next(stall());

        let answer = ask_with_key(&gateway, &chat::ask_with("auto", r#""max_tokens":1000"#)).await;

        assert_eq!((answer.status, west.calls().len()), (if asked == 1 { 200 } else { 504 }, asked), "{budget}");
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.attempts.len(), row.attempts[0].ending.as_str()), (1 + asked, "timed_out"));
        assert!(row.attempts[0].cost > Usd::ZERO, "a time-out may have been billed");
    }
}

#[tokio::test]
async fn a_clients_deadline_is_no_evidence_against_a_backend() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Setup::of([Site::of(&east), Site::of(&west).price("3", "6")]).set("retries.share_percent", "100").start();
    let hurried = chat::ask_with("auto", r#""tokenbroker":{"deadline_ms":60}"#);
    for _ in 0..7 {
        east.next(stall());
        west.next(stall());
        let answer = gateway.chat(&hurried).await;
        assert_eq!((answer.status, answer.error("code")), (504, "upstream_timeout".into()));
    }

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.header("x-tokenbroker-backend"), "east/jade-v3", "its breaker is still closed");
}

#[tokio::test]
async fn the_whole_of_a_stream_is_bounded_in_time() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("timeouts.total_ms", "600").start();
    let started = [chat::role(), chat::text("The answer to everything is")];
    east.next(then(begun(&started), stall()));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    let event = answer.text().strip_prefix(started.concat().as_str()).unwrap_or_default();
    assert!(event.contains(r#""code":"timeout""#) && event.contains("total_ms"), "{}", answer.text());
    east.call(0).await.hung_up().await;
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
}

/// Some providers report within a stream: the prompt in the first frame, or a running figure in each.
#[tokio::test]
async fn a_report_from_the_beginning_of_a_cut_stream_does_not_settle_it() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for early in [0, 1] {
        let frames = [chat::role(), chat::usage(9, early), chat::text("The answer to everything is")];
        east.next(then(begun(&frames), [Step::Close]));

        let answer = gateway.chat(&chat::ask_stream("auto")).await;

        let attempt = gateway.row_of(&answer).await.attempts.remove(0);
        assert_eq!((attempt.ending.as_str(), attempt.provenance.as_str()), ("cut", "counted"));
        assert_eq!((attempt.usage.fresh_input, attempt.usage.output), (Tokens::new(9), Tokens::new(5)));
    }
}

#[tokio::test]
async fn a_whole_stream_of_which_only_the_prompt_was_reported_is_counted() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let frames = [chat::usage(9, 0), chat::text("The answer to everything is"), chat::finish(), chat::DONE.to_owned()];
    east.next(stream(&frames));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    let attempt = gateway.row_of(&answer).await.attempts.remove(0);
    assert_eq!((attempt.ending.as_str(), attempt.provenance.as_str()), ("complete", "counted"));
    assert_eq!((attempt.usage.fresh_input, attempt.usage.output), (Tokens::new(9), Tokens::new(5)));
}

#[tokio::test]
async fn an_answer_that_failed_with_a_report_is_booked_at_the_report() {
    let broke = chat::answer("half", 900, 40).replace(r#""stop""#, r#""insufficient_system_resource""#);
    let said = r#"{"error":{"message":"overloaded"},"usage":{"prompt_tokens":900,"completion_tokens":40}}"#;
    for (ask, script) in [
        (chat::ask("auto"), whole(&broke)),
        (chat::ask_stream("auto"), stream(&[chat::role(), chat::frame(said)])),
        (chat::ask_stream("auto"), stream(&[chat::role(), chat::usage(900, 40).replace("[]", "[{}]"), chat::error_frame("no")])),
    ] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(script);

        let answer = gateway.chat(&ask).await;

        assert_eq!(answer.header("x-tokenbroker-backend"), "west/jade-v3");
        let failed = gateway.row_of(&answer).await.attempts.remove(0);
        assert_eq!((failed.ending.as_str(), failed.provenance.as_str()), ("failed", "reported"));
        assert_eq!(failed.cost.to_exact(), "0.00098");
    }
}

/// Moderation may cut in after the first words: that is the request's doing, not the backend's.
#[tokio::test]
async fn answers_that_moderation_cuts_do_not_close_a_backend_to_everybody() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    let flagged = chat::frame(r#"{"error":{"message":"refused","code":"data_inspection_failed"}}"#);
    for _ in 0..7 {
        east.next(then(begun(&[chat::text("Well,"), flagged.clone()]), [Step::Close]));
        gateway.chat(&chat::ask_stream("auto")).await;
    }

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.header("x-tokenbroker-backend"), "east/jade-v3");
    assert!(west.calls().is_empty());
}

#[tokio::test]
async fn one_clients_forbidden_request_leaves_the_backend_to_the_others() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    let firewall = status(403, &[], "<html>forbidden</html>");
    for script in [None, Some(firewall), None] {
        let forbidden = script.is_some();
        if let Some(script) = script {
            east.next(script);
        }
        let answer = gateway.chat(&chat::ask("auto")).await;
        let expected = if forbidden { "west/jade-v3" } else { "east/jade-v3" };
        assert_eq!(answer.header("x-tokenbroker-backend"), expected);
    }
}

#[tokio::test]
async fn a_stranger_is_turned_away_before_its_body_is_read() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).key("web", KEY).start();
    // The announced body never comes.
    let call = Call::chat("").header("content-length", "1000");

    let answer = gateway.ask(&call).await;

    assert_eq!((answer.status, answer.error("code")), (401, "invalid_api_key".into()));
    assert_eq!(ask_with_key(&gateway, &chat::ask("auto")).await.status, 200);
}

/// A key that may have some models: `auto` chooses among them, another by name is refused with the rule, and the decision can be explained
/// afterwards.
#[tokio::test]
async fn a_key_gets_the_models_of_its_list_and_no_others() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east).model("opal"), Site::of(&west).model("jade-mini").price("3", "6")];
    let gateway = Setup::of(sites).key("web", KEY).set("keys.web.models", r#"["*-mini", "north/*", "opal"]"#).refused();
    assert!(gateway.1.contains("keys.web.models: the table knows no model \"north/*\""), "{}", gateway.1);
    let sites = [Site::of(&east).model("opal"), Site::of(&west).model("jade-mini").price("3", "6")];
    let gateway = Setup::of(sites).key("web", KEY).set("keys.web.models", r#"["*-mini"]"#).start();

    let answer = ask_with_key(&gateway, &chat::ask("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-mini-v3"), "the dearer one");
    let refused = ask_with_key(&gateway, &chat::ask("opal")).await;
    assert_eq!((refused.status, refused.error("code")), (403, "model_not_allowed".into()));
    assert!(refused.text().contains("the key `web` may not use `opal`"), "{}", refused.text());
    assert_eq!(east.calls().len(), 0);
    let path = format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path).key(KEY)).await;
    assert!(told.status == 200 && told.text().contains("model_not_allowed"), "{}", told.text());
}
