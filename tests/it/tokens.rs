//! Providers that want a token in the place of the key: signed here, or fetched from a token endpoint and had anew in time.

use serde_json::{Value, json};
use tokenbroker::units::{Usage, Usd};

use crate::harness::provider::{Script, status};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, chat, until};

const FILE: &str = include_str!("../fixtures/keys/service-account.json");

/// The key file of an account whose tokens come from this endpoint.
fn key_of(bank: &Provider) -> String {
    let mut file: Value = serde_json::from_str(FILE).unwrap();
    file["token_uri"] = json!(format!("http://{}/token", bank.address));
    file.to_string()
}

fn granted(token: &str, seconds: u64) -> Script {
    let body = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"});
    status(200, &[("content-type", "application/json")], &body.to_string())
}

fn refused(code: u16, error: &str) -> Script {
    status(code, &[("content-type", "application/json")], &json!({"error": error}).to_string())
}

fn account(provider: &Provider, bank: &Provider) -> Site {
    Site::of(provider).with_key(&key_of(bank)).fact("auth = \"service-account\"")
}

async fn renewals(gateway: &Gateway, result: &str) -> Option<f64> {
    gateway.sample(&format!("provider_token_renewals_total{{provider=\"east\",result=\"{result}\"}}")).await
}

/// Nothing of the account's key is anywhere that people look.
async fn check_nothing_leaked(gateway: &Gateway, tokens: &[&str]) {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let key = file["private_key"].as_str().unwrap().lines().nth(3).unwrap();
    let log = gateway.setup.log();
    for (what, text) in [("the log", log), ("metrics", gateway.metrics().await)] {
        assert!(!text.contains(key), "the private key stands in {what}");
        for token in tokens {
            assert!(!text.contains(token), "{token} stands in {what}");
        }
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_sent_with_every_call() {
    let (east, bank) = (Provider::start("east").await, Provider::start("bank").await);
    bank.always(granted("ya29.one-token-of-the-account", 3_600));
    let gateway = Gateway::of([account(&east, &bank)]);
    for ask in [chat::ask("auto"), chat::ask_stream("auto"), chat::ask("auto")] {
        let answer = gateway.chat(&ask).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for call in east.calls() {
        assert_eq!(call.header("authorization"), "Bearer ya29.one-token-of-the-account");
    }
    let asked = bank.calls();
    assert_eq!((east.calls().len(), asked.len(), asked[0].path.as_str()), (3, 1, "/token"));
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    let form = asked[0].text();
    assert!(form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ"), "{form}");
    assert_eq!(renewals(&gateway, "renewed").await, Some(1.0));
    check_nothing_leaked(&gateway, &["ya29.one-token", form.split("assertion=").nth(1).unwrap()]).await;
}

#[tokio::test]
async fn a_token_is_had_anew_before_it_ends_and_the_next_calls_send_it() {
    let (east, bank) = (Provider::start("east").await, Provider::start("bank").await);
    // Four fifths of a second of life: the second one is there long before a test gives up waiting.
    bank.next(granted("ya29.the-first-token", 1)).always(granted("ya29.the-second-token", 3_600));
    let gateway = Gateway::of([account(&east, &bank)]);
    until("the second token", async || (renewals(&gateway, "renewed").await? >= 2.0).then_some(())).await;

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, east.call(0).await.header("authorization")), (200, "Bearer ya29.the-second-token"));
    check_nothing_leaked(&gateway, &["ya29.the-first", "ya29.the-second"]).await;
}

#[tokio::test]
async fn where_no_token_is_had_another_provider_is_asked_and_it_is_tried_again() {
    let (east, west, bank) = (Provider::start("east").await, Provider::start("west").await, Provider::start("bank").await);
    bank.next(refused(400, "invalid_grant")).always(granted("ya29.at-last", 3_600));
    let gateway = Gateway::of([account(&east, &bank), Site::of(&west).price("9", "9")]);

    let answer = gateway.chat(&chat::ask("auto")).await;

    // The first try may have failed, and the second come, before the request did.
    let row = gateway.row_of(&answer).await;
    assert!(answer.status == 200 && row.attempts.len() <= 2, "{row:?}");
    until("the next try", async || (renewals(&gateway, "renewed").await? >= 1.0).then_some(())).await;
    assert_eq!(renewals(&gateway, "failed").await, Some(1.0));
    let log = gateway.setup.log();
    assert!(log.contains("the token endpoint answered 400: invalid_grant"), "{log}");
    check_nothing_leaked(&gateway, &["ya29.at-last"]).await;
}

/// Found by a reader: a token that its provider had taken back was sent until its end.
#[tokio::test]
async fn a_token_that_its_provider_refuses_is_had_anew_once_and_not_again_at_once() {
    let (east, west, bank) = (Provider::start("east").await, Provider::start("west").await, Provider::start("bank").await);
    bank.next(granted("ya29.taken-back", 3_600)).always(granted("ya29.the-next-token", 3_600));
    let gateway = Gateway::of([account(&east, &bank), Site::of(&west).price("9", "9")]);
    let no = || status(401, &[], &chat::error("token revoked"));
    east.next(no());
    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "west/jade-v3");
    until("the next token", async || (renewals(&gateway, "renewed").await? >= 2.0).then_some(())).await;

    // Nobody has to mend a key: the backend is asked again.
    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.header("x-tokenbroker-backend"), "east/jade-v3");
    assert_eq!(east.call(1).await.header("authorization"), "Bearer ya29.the-next-token");
    east.always(no());
    for _ in 0..3 {
        assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "west/jade-v3");
    }
    assert_eq!((east.calls().len(), bank.calls().len()), (5, 2), "no token for each refusal");
    check_nothing_leaked(&gateway, &["ya29.taken-back", "ya29.the-next"]).await;
}

/// Found by a reader: all tokens were waited for together.
#[tokio::test]
async fn a_token_endpoint_that_hangs_holds_up_no_other() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let (slow, bank) = (Provider::start("slow").await, Provider::start("bank").await);
    slow.always(vec![Step::Stall]);
    bank.next(granted("ya29.the-first-token", 1)).always(granted("ya29.the-second-token", 3_600));
    let gateway = Gateway::of([account(&east, &bank), account(&west, &slow).price("9", "9")]);
    slow.call(0).await;

    until("the second token", async || (renewals(&gateway, "renewed").await? >= 2.0).then_some(())).await;

    assert_eq!(gateway.chat(&chat::ask("auto")).await.header("x-tokenbroker-backend"), "east/jade-v3");
    assert_eq!(slow.calls().len(), 1, "it is still waited for");
}

/// Found by a reader: the page was marked as sent before the token was waited for, and the wait was booked as if it were billed.
#[tokio::test]
async fn waiting_for_the_first_token_is_no_connection_and_costs_nothing() {
    let (east, west, bank) = (Provider::start("east").await, Provider::start("west").await, Provider::start("bank").await);
    bank.always(vec![Step::Stall]);
    let sites = [account(&east, &bank), Site::of(&west).price("9", "9")];
    let gateway = Setup::of(sites).set("timeouts.total_ms", "600").set("timeouts.first_byte_ms", "300").start();
    for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
        let answer = gateway.chat(&ask).await;

        let row = gateway.row_of(&answer).await;
        let [waited, answered] = row.attempts.as_slice() else { panic!("{row:?}") };
        assert_eq!((waited.backend.as_str(), answered.backend.as_str()), ("east/jade-v3", "west/jade-v3"));
        let cause = waited.cause.as_deref().unwrap();
        assert!(cause.starts_with("connect: no token was had within "), "{cause}");
        assert_eq!((waited.ending.as_str(), waited.provenance.as_str()), ("failed", "counted"));
        assert_eq!((waited.usage, waited.cost), (Usage::default(), Usd::ZERO));
        assert_eq!((row.outcome.as_str(), row.cost), ("answered", answered.cost));
    }
    assert_eq!(east.calls().len(), 0);
}

/// Found by a reader: with a deadline of the client's, no attempt that got no token taught anything.
#[tokio::test]
async fn clients_with_a_deadline_learn_as_well_that_there_is_no_token() {
    let (east, west, bank) = (Provider::start("east").await, Provider::start("west").await, Provider::start("bank").await);
    bank.always(refused(500, "server_error"));
    let sites = [account(&east, &bank), Site::of(&west).price("9", "9")];
    let gateway = Setup::of(sites).set("retries.share_percent", "100").start();
    let ask = chat::ask_with("auto", r#""tokenbroker":{"deadline_ms":60000}"#);
    let mut tried = Vec::new();
    for _ in 0..20 {
        let answer = gateway.chat(&ask).await;
        tried.push(gateway.row_of(&answer).await.attempts.len());
    }
    assert_eq!((tried.first(), tried.last()), (Some(&2), Some(&1)), "its breaker opens: {tried:?}");
}

/// The same where it is the client who does not wait.
#[tokio::test]
async fn a_client_that_leaves_while_a_first_token_is_waited_for_costs_nothing() {
    let (east, bank) = (Provider::start("east").await, Provider::start("bank").await);
    bank.always(vec![Step::Stall]);
    let gateway = Gateway::of([account(&east, &bank)]);
    let client = gateway.sent(&Call::chat(chat::ask("auto"))).await;
    let open = async || (gateway.sample("open_requests").await? >= 1.0).then_some(());
    until("the request to be under way", open).await;
    drop(client);

    let row = &gateway.all_booked(1).await[0];

    let attempt = &row.attempts[0];
    assert_eq!((attempt.ending.as_str(), attempt.cause.as_deref()), ("abandoned", Some("not sent")));
    assert_eq!((attempt.usage, row.cost), (Usage::default(), Usd::ZERO));
}

#[tokio::test]
async fn a_token_that_a_provider_says_back_reaches_nobody() {
    const TOKEN: &str = "ya29.c2VjcmV0-7f3a91c05be24d68";
    let (east, bank) = (Provider::start("east").await, Provider::start("bank").await);
    bank.always(granted(TOKEN, 3_600));
    let gateway = Gateway::of([account(&east, &bank)]);
    east.next(status(400, &[("content-type", "application/json")], &chat::error(&format!("bad token {TOKEN}"))));
    east.next(status(200, &[("content-type", "application/json")], &chat::answer(TOKEN, 1, 1)));
    for _ in 0..2 {
        let answer = gateway.chat(&chat::ask("auto")).await;

        assert!(answer.status >= 400 && !answer.text().contains(TOKEN), "{}", answer.text());
    }
    check_nothing_leaked(&gateway, &[TOKEN]).await;
}

#[tokio::test]
async fn a_pair_is_never_sent_but_signs_a_token() {
    const KEY: &str = "7f3a91c05be2.4d68secretofthepair";
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).with_key(KEY).fact("auth = \"signed-jwt\"")]);

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    let call = east.call(0).await;
    let sent = call.header("authorization");
    let parts: Vec<&str> = sent.strip_prefix("Bearer ").unwrap().split('.').collect();
    assert_eq!((parts.len(), parts[0]), (3, "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04ifQ"), "{sent}");
    assert!(!format!("{:?}", call.headers).contains("4d68secret"));
    check_nothing_leaked(&gateway, &["4d68secret", sent]).await;
}

#[tokio::test]
async fn a_key_that_gives_no_token_is_told_at_the_start() {
    let east = Provider::start("east").await;
    for (auth, key, expected) in [
        ("service-account", "{\"type\":\"authorized_user\"}", "EAST_API_KEY: this is no key file of a service account"),
        ("signed-jwt", "s3cret-without-a-dot", "EAST_API_KEY: the key is not of the form id.secret"),
    ] {
        let (code, said) = Setup::of([Site::of(&east).with_key(key).fact(&format!("auth = \"{auth}\""))]).refused();
        assert!(code == Some(3) && said.contains(expected) && !said.contains("s3cret"), "{code:?} {said}");
    }
}
