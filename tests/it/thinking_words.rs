//! How a request of chat says how to think, at sites that have other words for it: each is told in its own, and nothing else of the
//! client's bytes changes where its words are the site's.

use serde_json::{Value, json};

use crate::harness::provider::whole;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, chat, messages, responses};

const ANN: &str = "tb-ann-0123456789";
const BEN: &str = "tb-ben-0123456789";

fn ask(members: &str) -> Call {
    Call::chat(format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"Say hello."}}],"max_tokens": 64,{members}}}"#))
}

/// What a site with a switch is sent of a request, and what the answer says was left out.
async fn sent(gateway: &Gateway, east: &Provider, members: &str) -> (Value, Whole) {
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let before = east.calls().len();
    let answer = gateway.ask(&ask(members)).await;
    assert_eq!(answer.status, 200, "{members}: {}", answer.text());
    (serde_json::from_str(east.call(before).await.text()).unwrap(), answer)
}

#[tokio::test]
async fn a_site_is_told_in_its_own_words_how_to_think() {
    let off = [
        r#""reasoning_effort":"none""#,
        r#""thinking":{"type":"disabled"}"#,
        r#""enable_thinking":false"#,
        r#""reasoning":{"effort":"none"}"#,
        r#""chat_template_kwargs":{"enable_thinking":false}"#,
        r#""chat_template_kwargs":{"thinking":false}"#,
    ];
    for (switch, expected) in [
        ("thinking", json!({"thinking": {"type": "disabled"}})),
        ("enable_thinking", json!({"enable_thinking": false})),
        ("reasoning_effort", json!({"reasoning_effort": "none"})),
        ("reasoning", json!({"reasoning": {"enabled": false}})),
        ("chat_template_kwargs", json!({"chat_template_kwargs": {"enable_thinking": false, "thinking": false}})),
    ] {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east).thinks().quirk(&format!("thinking_switch = \"{switch}\""))]);
        for members in off {
            let (body, answer) = sent(&gateway, &east, members).await;
            let told: Vec<_> = ["thinking", "enable_thinking", "reasoning_effort", "reasoning", "chat_template_kwargs"]
                .into_iter()
                .filter_map(|word| body.get(word).map(|value| (word.to_owned(), value.clone())))
                .collect();
            let same = members.starts_with(&format!("\"{switch}\":"));
            let expected: Value = if same { serde_json::from_str(&format!("{{{members}}}")).unwrap() } else { expected.clone() };
            assert_eq!(Value::Object(told.into_iter().collect()), expected, "{switch} {members}");
            assert_eq!((answer.header("x-tokenbroker-dropped"), &body["max_tokens"]), ("", &json!(64)), "{switch} {members}");
        }
    }
}

#[tokio::test]
async fn the_bytes_of_one_who_knows_the_sites_word_pass() {
    for (switch, members) in [
        ("thinking", r#""thinking" : {"type":"enabled","budget_tokens":7},"odd":1.50"#),
        ("reasoning_effort", r#""reasoning_effort": "xhigh","odd":1.50"#),
    ] {
        let east = Provider::start("east").await;
        let gateway = Gateway::of([Site::of(&east).thinks().quirk(&format!("thinking_switch = \"{switch}\""))]);
        east.next(whole(&chat::answer("Hello.", 9, 4)));
        assert_eq!(gateway.ask(&ask(members)).await.status, 200);
        let sent = east.call(0).await;
        assert!(sent.text().ends_with(&format!(r#","max_tokens": 64,{members}}}"#)), "{}", sent.text());
    }
}

#[tokio::test]
async fn all_else_that_only_the_site_knows_passes_beside_a_word_that_it_does_not() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).thinks().quirk("thinking_switch = \"reasoning\"")]);
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let own = r#""provider": {"data_collection":"deny"},"min_p":0.10"#;
    let answer = gateway.ask(&ask(&format!(r#""reasoning_effort":"low",{own}"#))).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, ""));
    let sent = east.call(0).await;
    let spliced = r#"{"model":"jade-v3","reasoning":{"effort":"low"},"messages":[{"role":"user","content":"Say hello."}],"max_tokens": 64,"#;
    assert_eq!(sent.text(), format!("{spliced}{own}}}"));
}

#[tokio::test]
async fn a_depth_that_the_site_cannot_be_told_is_named_and_refused_to_a_strict_key() {
    let east = Provider::start("east").await;
    let site = Site::of(&east).thinks().quirk("thinking_switch = \"thinking\"");
    let gateway = Setup::of([site]).key("ann", ANN).key("ben", BEN).set("keys.ben.strict", "true").start();
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let call = ask(r#""reasoning_effort":"high","odd":1"#);
    let answer = gateway.ask(&call.clone().key(ANN)).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, "reasoning_effort"), "{}", answer.text());
    let body: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!((&body["thinking"], body.get("reasoning_effort"), &body["odd"]), (&json!({"type": "enabled"}), None, &json!(1)));

    let refused = gateway.ask(&call.key(BEN)).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (400, Some("untranslatable")), "{}", refused.text());
    assert_eq!(east.calls().len(), 1);
}

#[tokio::test]
async fn a_model_that_does_not_think_is_not_told_to_stop() {
    let east = Provider::start("east").await;
    let site = Site::of(&east).quirk("thinking_switch = \"reasoning_effort\"");
    let gateway = Setup::of([site]).key("ann", ANN).set("keys.ann.strict", "true").start();
    east.next(whole(&chat::answer("Hello.", 9, 4)));

    let answer = gateway.ask(&ask(r#""reasoning_effort":"none""#).key(ANN)).await;

    assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, ""), "{}", answer.text());
    let body: Value = serde_json::from_str(east.call(0).await.text()).unwrap();
    assert_eq!((body.get("reasoning_effort"), &body["max_tokens"]), (None, &json!(64)), "{body}");
}

/// Found by a reader: arguments of a template went to every site, also to those that refuse a member they do not know.
#[tokio::test]
async fn arguments_of_a_template_reach_those_who_run_a_model_themselves() {
    let more = r#""chat_template_kwargs" : {"enable_thinking":false, "keep":1.50},"odd":1"#;
    let east = Provider::start("east").await;
    let site = || Site::of(&east).thinks();
    for knows in [site().region("local"), site().quirk("template_arguments = true"), template_site(&east)] {
        let gateway = Gateway::of([knows]);
        let before = east.calls().len();
        let (_, answer) = sent(&gateway, &east, more).await;
        assert_eq!(answer.header("x-tokenbroker-dropped"), "");
        assert!(east.call(before).await.text().ends_with(&format!(r#","max_tokens": 64,{more}}}"#)));
    }
    let site = site().quirk("thinking_switch = \"thinking\"");
    let gateway = Setup::of([site]).key("ann", ANN).key("ben", BEN).set("keys.ben.strict", "true").start();
    for (members, thinking, dropped) in [
        (more, json!({"type": "disabled"}), "chat_template_kwargs"),
        (
            r#""chat_template_kwargs":{"keep":1},"thinking":{"type":"enabled","budget_tokens":7},"odd":1"#,
            json!({"type": "enabled", "budget_tokens": 7}),
            "chat_template_kwargs",
        ),
        (r#""odd":1,"chat_template_kwargs":{}"#, Value::Null, ""),
    ] {
        let before = east.calls().len();
        east.next(whole(&chat::answer("Hello.", 9, 4)));
        let answer = gateway.ask(&ask(members).key(ANN)).await;
        let body: Value = serde_json::from_str(east.call(before).await.text()).unwrap();
        assert_eq!((&body["thinking"], body.get("chat_template_kwargs"), &body["odd"]), (&thinking, None, &json!(1)), "{body}");
        assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, dropped), "{members}");
        if !dropped.is_empty() {
            let refused = gateway.ask(&ask(members).key(BEN)).await;
            assert_eq!((refused.status, refused.error("code").as_str()), (400, Some("untranslatable")), "{members}");
        }
    }
}

/// An audit: `thinking` of a model that does not think was a 400, though the documents say that it is left out and named.
#[tokio::test]
async fn what_a_named_model_does_not_think_is_left_out_and_named_in_every_shape_and_refused_to_a_strict_key() {
    let (chats, speaks, responds) =
        (Provider::start("chats").await, Provider::start("speaks").await, Provider::start("responds").await);
    let sites = [Site::of(&chats), Site::of(&speaks).only_messages(), Site::of(&responds).only_responses()];
    let gateway = Setup::of(sites).key("ann", ANN).key("ben", BEN).set("keys.ben.strict", "true").start();
    responds.always(whole(&responses::answer(&[responses::message("Hello.")], &responses::usage(9, 0, 4, 0))));
    let words = ["thinking", "output_config", "reasoning", "reasoning_effort", "enable_thinking", "thinking_budget"];
    for provider in [&chats, &speaks, &responds] {
        let model = format!("{}/jade-v3", provider.id);
        for (call, named) in [
            (Call::chat(chat::ask_with(&model, r#""reasoning_effort":"high""#)), "reasoning_effort"),
            (Call::messages(messages::ask_with(&model, r#""thinking":{"type":"adaptive"}"#)), "thinking"),
            (Call::messages(messages::ask_with(&model, r#""thinking":{"type":"enabled","budget_tokens":1024}"#)), "thinking"),
            (
                Call::responses(format!(
                    r#"{{"model":"{model}","input":"Hi.","reasoning":{{"effort":"high"}},"include":["reasoning.encrypted_content"]}}"#
                )),
                "reasoning",
            ),
        ] {
            let before = provider.calls().len();
            let answer = gateway.ask(&call.clone().key(ANN)).await;
            assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, named), "{model}: {}", answer.text());
            let body: Value = serde_json::from_str(provider.call(before).await.text()).unwrap();
            assert!(words.iter().all(|word| body.get(word).is_none()), "{model}: {body}");
            // Found by a reader: `OpenAI`'s that do not think refuse to be asked for thoughts, too.
            assert!(!body.to_string().contains("encrypted_content"), "{model}: {body}");
            let refused = gateway.ask(&call.key(BEN)).await;
            assert_eq!((refused.status, refused.error("code").as_str()), (400, Some("untranslatable")), "{}", refused.text());
            assert_eq!(provider.calls().len(), before + 1);
        }
    }
}

fn template_site(provider: &Provider) -> Site {
    Site::of(provider).thinks().quirk("thinking_switch = \"chat_template_kwargs\"")
}

#[tokio::test]
async fn whether_to_think_joins_the_arguments_that_the_client_has_for_the_template() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([template_site(&east)]);
    let off = json!({"enable_thinking": false, "thinking": false});
    let joined = json!({"enable_thinking": false, "thinking": false, "keep": 1});
    for (members, expected) in [
        (r#""reasoning_effort":"none","chat_template_kwargs":{"keep":1}"#, joined),
        (r#""chat_template_kwargs":{ },"reasoning_effort":"none""#, off),
        (r#""enable_thinking":false,"chat_template_kwargs":{"thinking":false,"keep":1}"#, json!({"thinking": false, "keep": 1})),
    ] {
        let (body, answer) = sent(&gateway, &east, members).await;
        let others = ["reasoning_effort", "enable_thinking"].map(|word| body.get(word));
        assert_eq!((&body["chat_template_kwargs"], others), (&expected, [None; 2]), "{members}");
        assert_eq!(answer.header("x-tokenbroker-dropped"), "", "{members}");
    }
    let (body, answer) = sent(&gateway, &east, r#""reasoning_effort":"high""#).await;
    let on = json!({"enable_thinking": true, "thinking": true});
    assert_eq!((&body["chat_template_kwargs"], answer.header("x-tokenbroker-dropped")), (&on, "reasoning_effort"), "{body}");
}

/// Found by a reader: with the template's arguments, which such a site is not known to take, the effort beside them went too.
#[tokio::test]
async fn where_a_site_has_no_word_for_thinking_the_clients_effort_passes_and_arguments_of_a_template_go() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).thinks().quirk("thinking_switch = \"none\"")]);
    for template in [r#"{"enable_thinking":true}"#, r#"{"thinking":true,"keep":1}"#, r#"{"keep":1}"#] {
        let members = format!(r#""reasoning_effort": "high","chat_template_kwargs":{template},"odd":1"#);
        let (body, answer) = sent(&gateway, &east, &members).await;
        let told = (&body["reasoning_effort"], body.get("chat_template_kwargs"), &body["odd"]);
        assert_eq!(told, (&json!("high"), None, &json!(1)), "{body}");
        assert_eq!(answer.header("x-tokenbroker-dropped"), "chat_template_kwargs", "{template}");
    }
}

#[tokio::test]
async fn where_the_router_chooses_who_thinks_is_asked_first_and_who_does_not_where_nobody_else_is_left() {
    let (plain, thinks) = (Provider::start("plain").await, Provider::start("thinks").await);
    let call = ask(r#""reasoning_effort":"high""#);
    let both = Gateway::of([Site::of(&plain).price("0.1", "0.1"), Site::of(&thinks).thinks()]);
    let answer = both.ask(&call).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, ""), "{}", answer.text());
    assert_eq!((plain.calls().len(), thinks.calls().len()), (0, 1));
    let alone = Gateway::of([Site::of(&plain)]);
    let answer = alone.ask(&call).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-dropped")), (200, "reasoning_effort"), "{}", answer.text());
}
