//! Members of chat that only some sites take, and without which the answer would be another: who is known to refuse them is not asked, and
//! a refusal of what a site does not know is not the end where others are left.

use serde_json::json;

use crate::harness::provider::status;
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, messages};

const BIAS: &str = r#""logit_bias":{"5":-100}"#;

/// An audit: `logit_bias` went to the cheapest site, which refuses it, and its 400 was final.
#[tokio::test]
async fn a_site_that_is_known_to_refuse_a_member_is_gone_past_and_where_it_is_named_nothing_is_sent() {
    let (cheap, dear) = (Provider::start("cheap").await, Provider::start("dear").await);
    let site = Site::of(&cheap).price("0.1", "0.1").quirk(r#"refuses = ["logit_bias"]"#);
    let setup = Setup::of([site, Site::of(&dear)]).key("web", "tb-web").set("keys.web.strict", "true").key("loose", "tb-loose");
    let gateway = setup.start();
    for key in ["tb-loose", "tb-web"] {
        let answer = gateway.ask(&Call::chat(chat::ask_with("auto", BIAS)).key(key)).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "dear/jade-v3"), "{}", answer.text());
        let named = gateway.ask(&Call::chat(chat::ask_with("cheap/jade-v3", BIAS)).key(key)).await;
        assert_eq!((named.status, named.error("code")), (400, json!("untranslatable")), "{}", named.text());
        assert!(named.text().contains("logit_bias"), "{}", named.text());
    }
    assert_eq!((cheap.calls().len(), dear.calls().len()), (0, 2));
    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await;
    assert_eq!(answer.header("x-tokenbroker-backend"), "cheap/jade-v3");
}

#[tokio::test]
async fn what_a_site_does_not_know_is_asked_of_another_and_what_is_wrong_everywhere_is_not() {
    let (cheap, dear) = (Provider::start("cheap").await, Provider::start("dear").await);
    let gateway = Gateway::of([Site::of(&cheap).price("0.1", "0.1"), Site::of(&dear)]);
    let refusal =
        |message: &str| status(400, &[], &json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string());
    for message in
        ["property 'prediction' is unsupported", "Unknown parameter: 'prediction'.", "'tools.0.type' : value must be 'function'"]
    {
        cheap.next(refusal(message));
        let answer = gateway.ask(&Call::chat(chat::ask_with("auto", r#""prediction":{"type":"content","content":"x"}"#))).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "dear/jade-v3"), "{}", answer.text());
    }
    cheap.next(refusal("'messages' must contain the word 'json'"));
    let answer = gateway.ask(&Call::chat(chat::ask("auto"))).await;
    assert_eq!((answer.status, dear.calls().len()), (400, 3), "{}", answer.text());
    // A third is not asked: retries are everybody's.
    let far = Provider::start("far").await;
    let three = Gateway::of([Site::of(&cheap).price("0.1", "0.1"), Site::of(&dear), Site::of(&far).price("9", "9")]);
    cheap.next(refusal("Unknown parameter: 'x'."));
    dear.next(refusal("Unknown parameter: 'x'."));
    let answer = three.ask(&Call::chat(chat::ask_with("auto", r#""x":1"#))).await;
    assert_eq!((answer.status, far.calls().len()), (400, 0), "{}", answer.text());
    // Where nobody takes it, the client has the provider's own words.
    cheap.next(refusal("Unknown parameter: 'x'."));
    dear.next(refusal("Unknown parameter: 'x'."));
    let answer = gateway.ask(&Call::chat(chat::ask_with("auto", r#""x":1"#))).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("Unknown parameter: 'x'."), "{}", answer.text());
}

/// To the client it is a bad request, as any other is; what became of the attempt tells the two apart.
#[tokio::test]
async fn what_nobody_knows_is_a_bad_request_in_the_clients_own_words() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).only_messages()]);
    east.next(status(400, &[], &messages::error("invalid_request_error", "x: Extra inputs are not permitted")));
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((answer.status, answer.error("code")), (400, json!("bad_request")), "{}", answer.text());
    let attempts = answer.error("tokenbroker")["attempts"].clone();
    assert_eq!((attempts.as_array().map(Vec::len), &attempts[0]["cause"]), (Some(1), &json!("unsupported")), "{attempts}");
}
