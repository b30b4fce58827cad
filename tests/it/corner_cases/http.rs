//! Around the body: headers that stop here, answers that are errors although their status is good, and what SDKs do by themselves.

use serde_json::json;

use crate::harness::client::Connection as Client;
use crate::harness::provider::{begun, raw, status, then, whole};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, chat, chats, messages};

#[tokio::test]
async fn corner_29_headers_of_one_hop_stay_there_and_every_event_leaves_at_once() {
    let (east, gateway) = chats().await;
    let body = chat::answer("Hello.", 9, 4);
    let hops =
        "connection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\n";
    let length = body.len();
    east.next(raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{hops}content-length: {length}\r\n\r\n{body}")));
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((answer.status, answer.text()), (200, body.as_str()));
    for name in ["keep-alive", "x-hop", "proxy-authenticate", "upgrade", "content-encoding"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert!(!answer.header("connection").contains("x-hop"));
    assert_eq!(east.call(0).await.header("accept-encoding"), "identity");

    let gate = Gate::shut();
    east.next(then(begun(&[chat::role(), chat::text("Hel")]), [Step::Wait(gate.clone())]));
    let mut answer = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache", "no"));
    // The provider waits for this test, so the piece was held back by nobody.
    answer.read_past("Hel").await;
    gate.open();
}

#[tokio::test]
async fn corner_30_an_error_behind_a_good_status_is_one_by_its_body() {
    let bodies = [
        (r#"{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}"#, "rate_limited"),
        (r#"{"id":"c","choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#, "billing"),
        (r#"{"error_code":336501,"error_msg":"Rate limit reached"}"#, ""),
        (r#"{"Response":{"Error":{"Code":"LimitExceeded","Message":"Too many."},"RequestId":"r"}}"#, ""),
        (r#"{"error":{"message":"The server is overloaded.","type":"server_error"}}"#, "overloaded"),
    ];
    for (body, cause) in bodies {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(whole(body));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{body}");
        let failed = &gateway.row_of(&answer).await.attempts[0];
        let told = failed.cause.as_deref().unwrap();
        assert!(failed.ending == "failed" && told.starts_with(cause), "{body}: {told}");
    }
}

#[tokio::test]
async fn corner_31_what_a_client_sends_about_itself_goes_no_further_and_no_log_has_a_body_or_a_key() {
    const KEY: &str = "tb-team-7f3a91c05be2";
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).model("opal").only_messages()];
    let gateway = Setup::of(sites).key("team", KEY).start();
    let about_itself = |call: Call| {
        call.header("openai-organization", "org-1")
            .header("openai-project", "proj-1")
            .header("x-stainless-lang", "python")
            .header("x-stainless-retry-count", "1")
            .header("cookie", "a=b")
    };
    let said = |body: String| body.replace("Say hello.", "The fjord is deep.");
    let in_chat = |model: &str| about_itself(Call::chat(said(chat::ask(model))).key(KEY));
    // Each in its own shape, and told in the other's.
    let calls = |model: &str| {
        let messages = about_itself(Call::messages(said(messages::ask(model)))).header("x-api-key", KEY);
        [in_chat(model), messages.header("anthropic-version", "2023-06-01")]
    };
    for (provider, model) in [(&east, "jade"), (&west, "opal")] {
        for call in calls(model) {
            let answer = gateway.ask(&call).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        provider.next(status(400, &[], &chat::error("no fjord")));
        assert_eq!(gateway.ask(&in_chat(model)).await.status, 400);
    }
    // One that waits for a word before it sends its body is given it, and here: it is no matter between us and the provider.
    let mut waiting = Client::open(gateway.api).await;
    let body = said(chat::ask("jade"));
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    waiting.send_raw(head.as_bytes()).await;
    assert_eq!(waiting.interim().await, 100);
    waiting.send_raw(body.as_bytes()).await;
    assert_eq!(waiting.answer().await.whole().await.status, 200);

    assert_eq!((east.calls().len(), west.calls().len()), (4, 3));
    for provider in [&east, &west] {
        for arrived in provider.calls() {
            assert_eq!(arrived.header("authorization"), format!("Bearer {}", provider.key()));
            assert!(arrived.headers.iter().all(|(_, value)| !value.contains(KEY)), "{:?}", arrived.headers);
            let about = ["openai-organization", "openai-project", "cookie", "expect"];
            let theirs = |name: &String| about.contains(&name.as_str()) || name.starts_with("x-stainless");
            assert!(!arrived.headers.iter().any(|(name, _)| theirs(name)), "{:?}", arrived.headers);
        }
    }
    let log = gateway.setup.log();
    assert!(log.contains("TRACE"), "the log was meant to tell everything");
    for secret in ["The fjord is deep.", "Hello from", KEY, &east.key(), &west.key()] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn corner_32_sdks_are_told_when_to_come_again_and_when_not() {
    // Who was refused by everybody is told when to come again, and who was not tried too: nothing was asked for the second.
    let (east, gateway) = chats().await;
    east.next(status(429, &[("retry-after", "17")], &chat::error("slow down")));
    let limited = gateway.chat(&chat::ask("auto")).await;
    let waiting = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((limited.status, limited.header("retry-after"), limited.header("x-should-retry")), (503, "17", "false"));
    let wait: u64 = waiting.header("retry-after").parse().unwrap();
    assert_eq!((waiting.status, waiting.header("x-should-retry"), east.calls().len()), (503, "true", 1));
    assert!((1..=17).contains(&wait), "{wait}");

    // All were asked already: another round at once would be a storm.
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    for provider in [&east, &west] {
        provider.always(status(500, &[], &chat::error("down")));
    }
    let failed = gateway.chat(&chat::ask("auto")).await;
    assert!(failed.status >= 500 && failed.error("type") == json!("server_error"), "{}", failed.text());
    assert_eq!((east.calls().len(), west.calls().len()), (1, 1));
    assert_eq!(failed.header("x-should-retry"), "false", "{}", failed.text());
}
