//! Streams that their provider ends with an error: what the client is told last, in its own words.

use serde_json::{Value, json};

use crate::harness::provider::{begun, stream, then};
use crate::harness::{Call, Provider, Setup, Site, Step, alone, chat, chats, messages, responses};

/// What follows these frames: one event.
fn last(told: &str, frames: &str) -> Value {
    let after = told.strip_prefix(frames).unwrap_or_else(|| panic!("{frames} does not begin {told}"));
    let event = after.strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n")).unwrap_or_else(|| panic!("{told}"));
    serde_json::from_str(event).unwrap_or_else(|_| panic!("one event: {told}"))
}

/// Found by an audit: the chunk passed, the mark did not, and nothing said that the answer was cut.
#[tokio::test]
async fn an_answer_that_its_provider_ends_with_a_word_for_failure_ends_with_an_error() {
    for (reason, code) in [("insufficient_system_resource", "upstream_unavailable"), ("network_error", "upstream_error")] {
        let (east, gateway) = chats().await;
        let frames = [chat::text("Well,"), chat::delta(r#"{"content":" no"}"#, &format!("\"{reason}\""))];
        east.next(stream(&[&frames[..], &[chat::DONE.to_owned()]].concat()));

        let answer = gateway.chat(&chat::ask_stream("auto")).await;

        let event = last(answer.text(), &frames.concat());
        assert_eq!((&event["error"]["code"], &event["error"]["type"]), (&json!(code), &json!("server_error")), "{event}");
        assert!(event["error"]["message"].as_str().unwrap().contains(reason), "{event}");
        let row = gateway.row_of(&answer).await;
        assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"));
    }
}

/// SDKs take what has no `error` for a chunk, and it has no choices.
#[tokio::test]
async fn an_error_that_no_client_of_chat_would_see_is_told_in_its_words() {
    for error in [
        r#"{"code":"InvalidParameter","message":"the seventh chunk is odd","request_id":"x"}"#,
        r#"{"object":"error","message":"the seventh chunk is odd","code":400}"#,
        r#"{"error":"the seventh chunk is odd"}"#,
        r#"[{"error":{"code":400,"message":"the seventh chunk is odd","status":"INVALID_ARGUMENT"}}]"#,
    ] {
        let (east, gateway) = chats().await;
        east.next(stream(&[chat::text("Well,"), chat::frame(error), chat::DONE.to_owned()]));

        let answer = gateway.chat(&chat::ask_stream("auto")).await;

        let event = last(answer.text(), &chat::text("Well,"));
        assert!(event["error"]["message"].as_str().is_some_and(|told| told.contains("the seventh chunk is odd")), "{event}");
        assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
    }
}

/// Found by an audit: whatever a provider told behind the first content was the provider's failure.
#[tokio::test]
async fn what_a_provider_tells_within_a_stream_has_the_class_that_it_has_before_one() {
    let told = |code: &str| chat::frame(&format!(r#"{{"error":{{"code":"{code}","message":"no more of this","type":null}}}}"#));
    for (error, kind, code, of_responses, cause) in [
        ("data_inspection_failed", "invalid_request_error", "moderation", "invalid_prompt", "moderation"),
        (
            "context_length_exceeded",
            "invalid_request_error",
            "context_length_exceeded",
            "context_length_exceeded",
            "context_too_long",
        ),
        ("rate_limit_exceeded", "rate_limit_error", "upstream_unavailable", "rate_limit_exceeded", "rate_limited"),
        ("engine_overloaded_error", "overloaded_error", "upstream_unavailable", "server_error", "overloaded"),
        ("insufficient_quota", "api_error", "upstream_error", "server_error", "billing"),
    ] {
        let (east, gateway) = chats().await;
        east.always(stream(&[chat::text("Well,"), told(error)]));

        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        let (name, event) = messages::events(answer.text()).pop().unwrap();
        assert_eq!((name.as_str(), &event["error"]["type"], &event["error"]["code"]), ("error", &json!(kind), &json!(code)));
        assert_eq!(event["error"]["tokenbroker"]["cause"], cause, "{event}");
        assert!(event["error"]["message"].as_str().unwrap().contains("no more of this"), "{event}");

        let (east, gateway) = chats().await;
        east.always(stream(&[chat::text("Well,"), told(error)]));
        let answer = gateway.ask(&responses::ask(r#""stream":true"#)).await;
        let event = responses::events(answer.text()).pop().unwrap();
        let failed = &event["response"]["error"];
        assert_eq!((&event["type"], &failed["code"]), (&json!("response.failed"), &json!(of_responses)), "{event}");
        assert_eq!((&failed["tokenbroker"]["code"], &failed["tokenbroker"]["cause"]), (&json!(code), &json!(cause)), "{event}");
    }
}

/// It is the gateway's account that is empty, and not the client's: told as the client's own (`insufficient_quota`, `billing_error`), agents
/// would give up (Codex), where another try is answered by another provider.
#[tokio::test]
async fn an_account_that_is_empty_within_a_stream_is_told_as_what_another_try_mends() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Setup::of([Site::of(&east), Site::of(&west).price("9", "9")]).start();
    let empty = chat::frame(r#"{"error":{"code":"insufficient_quota","message":"no more of this"}}"#);
    east.always(stream(&[chat::text("Well,"), empty]));

    let answer = gateway.ask(&responses::ask(r#""stream":true"#)).await;
    let event = responses::events(answer.text()).pop().unwrap();
    assert_eq!(event["response"]["error"]["code"], "server_error", "{event}");
    let again = gateway.ask(&responses::ask(r#""stream":true"#)).await;

    assert_eq!((again.status, again.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", again.text());
    assert_eq!((east.calls().len(), west.calls().len()), (1, 1));
}

#[tokio::test]
async fn moderation_within_streams_is_no_failure_of_the_backend() {
    let (east, gateway) = chats().await;
    let refused = chat::frame(r#"{"error":{"code":"data_inspection_failed","message":"no more of this"}}"#);
    east.always(stream(&[chat::text("Well,"), refused]));
    for _ in 0..15 {
        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(east.calls().len(), 15);
}

/// Found by an audit: the response that failed had another id than the one that had begun, and the number of no event.
#[tokio::test]
async fn a_response_that_breaks_off_keeps_its_id_and_its_count() {
    let numbered = |number: u64, piece: &str| {
        let members =
            json!({"sequence_number": number, "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": piece});
        responses::event("response.output_text.delta", members)
    };
    let frames = [responses::created(), numbered(1, "The "), numbered(2, "answer \\\"sequence_number\\\":7")];
    let bare =
        responses::event("error.of.a.kind", json!({"code": "1301", "message": "no more of this", "error": {"code": "1301"}}));
    for (code, ours, script) in [
        ("server_error", "upstream_broken", then(begun(&frames), [Step::Close])),
        ("server_error", "upstream_truncated", stream(&frames)),
        ("server_error", "upstream_broken", then(begun(&[frames.concat()]), [Step::Close])),
        ("invalid_prompt", "moderation", stream(&[frames.concat(), bare])),
    ] {
        let (east, gateway) = alone(Site::only_responses).await;
        east.next(script);

        let answer = gateway.ask(&responses::ask(r#""stream":true"#)).await;

        assert!(answer.text().starts_with(&frames.concat()), "{}", answer.text());
        let told = responses::events(answer.text());
        let event = told.last().unwrap();
        assert_eq!((told.len(), &event["type"], &event["sequence_number"]), (4, &json!("response.failed"), &json!(3)), "{event}");
        let response = &event["response"];
        assert_eq!((&response["id"], &response["status"]), (&json!("resp_1"), &json!("failed")), "{event}");
        assert_eq!(
            (&response["error"]["code"], &response["error"]["tokenbroker"]["code"]),
            (&json!(code), &json!(ours)),
            "{event}"
        );
        assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
    }

    // In other words too.
    let (east, gateway) = chats().await;
    east.next(then(begun(&chat::hello()[..3]), [Step::Close]));
    let answer = gateway.ask(&responses::ask(r#""stream":true"#)).await;
    let told = responses::events(answer.text());
    let numbers: Vec<u64> = told.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..told.len() as u64).collect::<Vec<_>>(), "{}", answer.text());
    assert_eq!(told[0]["response"]["id"], told[told.len() - 1]["response"]["id"]);
}

/// As lenient as with chat's mark: who says why the answer ended has ended it.
#[tokio::test]
async fn a_message_is_whole_by_its_end_or_by_the_reason_for_it() {
    let whole = messages::hello();
    for (frames, outcome) in
        [(&whole[..], "answered"), (&whole[..whole.len() - 1], "answered"), (&whole[..whole.len() - 2], "cut")]
    {
        let east = Provider::start("east").await;
        let gateway = Setup::of([Site::of(&east).only_messages()]).start();
        east.next(stream(frames));

        let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;

        let after = answer.text().strip_prefix(&frames.concat()).unwrap_or_else(|| panic!("{}", answer.text()));
        assert_eq!(after.starts_with("event: error\n") && after.contains("upstream_truncated"), outcome == "cut", "{after}");
        assert_eq!(after.is_empty(), outcome == "answered", "{after}");
        assert_eq!(gateway.row_of(&answer).await.outcome, outcome);
    }
}
