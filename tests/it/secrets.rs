//! Secrets stay put: whatever a provider does with our key, nobody else gets to see it.

use std::fs;

use crate::harness::provider::{Script, begun, raw, status, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, Whole, chat};

/// A key with a slash, as some vendors have them: JSON may write it in two ways.
const SLASHED: &str = "bce-v3/ALTAK-9f/7c2e5d81";

/// Everything that a whole answer shows.
fn shown(answer: &Whole) -> String {
    format!("{:?} {:?} {}", answer.headers, answer.trailers, String::from_utf8_lossy(&answer.body))
}

/// Fails when the key stands in what a client or an operator can see, or on the disk. A tail of it would be a leak too.
async fn check(gateway: &Gateway, key: &str, answers: &[Whole]) {
    let tail = &key[key.len() - 12..];
    let escaped = tail.replace('/', "\\/");
    let clean = |what: &str, text: &str| {
        let found = text.find(tail).or_else(|| text.find(&escaped));
        if let Some(at) = found {
            let (from, to) = (text.floor_char_boundary(at.saturating_sub(300)), text.ceil_char_boundary(at + 40));
            panic!("the key stands in {what}: {}", &text[from..to]);
        }
    };
    for answer in answers {
        clean("an answer", &shown(answer));
    }
    clean("metrics", &gateway.metrics().await);
    gateway.all_booked(answers.iter().filter(|answer| answer.status != 503).count()).await;
    let log = gateway.setup.log();
    assert!(log.contains("TRACE"), "the log was meant to tell everything");
    clean("the log", &log);
    // The tables that decisions were made by lie in a folder of their own.
    let folders = [gateway.setup.data(), gateway.setup.data().join("tables")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    for path in files.filter(|path| path.is_file()) {
        clean(&path.to_string_lossy(), &String::from_utf8_lossy(&fs::read(&path).unwrap()));
    }
}

/// Every way to say our key back, in a whole answer or a stream.
fn echoes(key: &str) -> Vec<Script> {
    let said = format!("Incorrect API key provided: {key}. Header was Bearer {key}");
    let error = chat::error(&said);
    let escaped = chat::error(&said.replace('/', "\\/"));
    let spelt = chat::error(&said.replace(key, &format!("\\u00{:02x}{}", key.as_bytes()[0], &key[1..])));
    let headers = [("x-echo", said.as_str()), ("www-authenticate", said.as_str()), ("x-request-id", key)];
    vec![
        status(401, &[], &error),
        status(400, &[], &error),
        status(400, &[], &escaped),
        status(400, &[], &spelt),
        status(422, &headers, &format!("{{\"detail\":\"{said}\"}}")),
        status(500, &headers, &format!("<html>{said}</html>")),
        status(429, &headers, &error),
        status(200, &headers, &error),
        whole(&said),
        raw(&format!("HTTP/1.1 {said}\r\n\r\n")),
        raw(&format!("{said}\r\n\r\n")),
        stream(&[chat::error_frame(&said)]),
        stream(&[chat::role(), chat::error_frame(&said.replace('/', "\\/"))]),
        then(begun(&[chat::text("Well,"), chat::error_frame(&said)]), [Step::Close]),
        then(begun(&[chat::text("Well,"), chat::error_frame(&said.replace('/', "\\/"))]), [Step::Close]),
        then(begun(&[chat::text("Well,"), format!("event: error\ndata: {said}\n\n")]), [Step::Close]),
    ]
}

#[tokio::test]
async fn a_key_that_a_provider_says_back_reaches_nobody() {
    for key in ["sk-east-7f3a91c05be24d68", SLASHED] {
        let scripts = echoes(key);
        // A provider for each, since some of these mean that it is to be left alone.
        let mut providers = Vec::new();
        for (id, script) in ('a'..='z').zip(&scripts) {
            let provider = Provider::start(id.to_string().leak()).await;
            provider.always(script.clone());
            providers.push(provider);
        }
        assert_eq!(providers.len(), scripts.len());
        let gateway = Gateway::of(providers.iter().map(|provider| Site::of(provider).with_key(key)));
        let mut answers = Vec::new();
        for provider in &providers {
            for ask in [chat::ask_stream, chat::ask] {
                let call = Call::chat(ask(&format!("{}/jade-v3", provider.id))).header("te", "trailers");
                answers.push(gateway.ask(&call).await);
            }
            assert_eq!(provider.call(0).await.header("authorization"), format!("Bearer {key}"));
        }
        check(&gateway, key, &answers).await;
    }
}

#[tokio::test]
async fn an_error_event_that_quotes_the_key_is_replaced_by_ours() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let frames = [chat::text("Well,"), chat::error_frame(&format!("bad key {}", east.key()))];
    east.next(then(begun(&frames), [Step::Close]));

    let answer = gateway.chat(&chat::ask_stream("auto")).await;

    let event = answer.text().strip_prefix(&frames[0]).expect("what came before it").to_owned();
    assert!(event.starts_with("data: {\"error\":{\"message\":\"the provider sent something"), "{event}");
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east)]);
    for code in [301, 302, 303, 307, 308] {
        let elsewhere = format!("http://{}/v1/chat/completions", west.address);
        east.next(status(code, &[("location", &elsewhere)], "{}"));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert!(answer.status >= 500, "{code}: {} {}", answer.status, answer.text());
        assert!(!shown(&answer).contains(&west.address.to_string()), "{code}: where it led is nobody's business");
    }
    assert!(west.calls().is_empty(), "the key was sent to another host");
}

#[tokio::test]
async fn a_gateway_key_is_kept_as_its_hash_alone() {
    const KEY: &str = "tb-4c1d7e90aa52b8f3";
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).key("team", KEY).start();
    east.next(status(400, &[], &chat::error("no")));
    let call = Call::chat(chat::ask_stream("auto")).key(KEY);

    let answers = [gateway.ask(&call).await, gateway.ask(&call).await];

    assert_eq!((answers[0].status, answers[1].status), (400, 200));
    assert!(east.calls().iter().all(|call| !format!("{:?}", call.headers).contains(KEY)));
    check(&gateway, KEY, &answers).await;
    let unknown = gateway.ask(&Call::chat(chat::ask("auto")).header("authorization", "Bearer tb-not-this-one-at-all")).await;
    assert_eq!(unknown.status, 401);
    check(&gateway, "tb-not-this-one-at-all", &[]).await;
}

#[tokio::test]
async fn what_was_said_reaches_no_log() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
        let answer = gateway.chat(&ask.replace("Say hello.", "My secret is xylophone-4471.")).await;
        assert_eq!(answer.status, 200);
        gateway.row_of(&answer).await;
    }

    let log = gateway.setup.log();

    for said in ["xylophone-4471", "Hello from east.", "Hel\\\""] {
        assert!(!log.contains(said), "{said}: {log}");
    }
}

#[tokio::test]
async fn a_word_that_a_local_server_takes_for_a_key_may_stand_in_answers() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).with_key("east")]);
    for ask in [chat::ask("auto"), chat::ask_stream("auto")] {
        east.next(if ask.contains("stream") {
            stream(&[chat::text("Go east."), chat::finish(), chat::DONE.to_owned()])
        } else {
            whole(&chat::answer("Go east.", 9, 4))
        });
        let answer = gateway.chat(&ask).await;
        assert!(answer.status == 200 && answer.text().contains("Go east."), "{}", answer.text());
    }
}
