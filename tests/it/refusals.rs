//! A provider's refusal that is final, as clients of its own API are told it: in its own bytes where they are in the API's shape,
//! else in that shape.

use serde_json::{Value, json};

use crate::harness::provider::status;
use crate::harness::{Call, Site, alone, chat, chats, messages, responses};

const ODD: &str = "the seventh item is odd";

#[tokio::test]
async fn a_refusal_in_the_shape_of_openai_passes_as_it_is() {
    for body in [
        format!(r#"{{"error":{{"message":"{ODD}","type":"some_error","param":null,"code":null}}}}"#),
        format!(r#"{{ "id":"x","error":{{"code":"c", "type":"t","param":"messages[6]","message":"{ODD}","more":[1]}} }}"#),
    ] {
        let (east, gateway) = chats().await;
        east.next(status(422, &[], &body));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.text()), (422, body.as_str()));
    }
}

/// Found by an audit: SDKs read four members, and found none of them.
#[tokio::test]
async fn a_refusal_in_another_shape_is_told_in_that_of_openai() {
    for (code, body) in [
        (400, format!(r#"{{"code":"Client specified an invalid argument","error":"{ODD}"}}"#)),
        (400, format!(r#"{{"code":20015,"message":"{ODD}","data":null}}"#)),
        (400, format!(r#"{{"message":"{ODD}","id":"x"}}"#)),
        (400, format!(r#"[{{"error":{{"code":400,"message":"{ODD}","status":"INVALID_ARGUMENT"}}}}]"#)),
        (422, format!(r#"{{"detail":[{{"loc":["body","seed"],"msg":"{ODD}","type":"value_error.extra"}}]}}"#)),
        (400, format!(r#"{{"code":"InvalidParameter","message":"{ODD}","request_id":"x"}}"#)),
        (400, format!(r#"{{"error":[{{"message":"{ODD}","type":"t","param":null,"code":null}}],"message":"{ODD}"}}"#)),
        (400, format!(r#"{{"error":{{"message":["{ODD}"],"type":"t","param":null,"code":null}}}}"#)),
    ] {
        for call in [Call::chat(chat::ask("auto")), responses::ask("")] {
            let (east, gateway) = alone(Site::and_responses).await;
            east.next(status(code, &[], &body));
            let answer = gateway.ask(&call).await;
            let told = answer.json();
            let error = &told["error"];
            let members = (answer.status, &error["type"], &error["param"], &error["code"]);
            assert_eq!(members, (code, &json!("invalid_request_error"), &Value::Null, &json!("bad_request")), "{body}: {told}");
            let no_text = [r#""message":["#, r#""error":["#].iter().any(|odd| body.contains(odd));
            assert!(error["message"].as_str().is_some_and(|message| no_text || message == ODD), "{body}: {told}");
            assert_eq!(error["tokenbroker"]["attempts"][0]["cause"], "bad_request", "{told}");
        }
    }
}

#[tokio::test]
async fn an_error_that_lacks_members_gets_them_and_keeps_what_it_has() {
    for (body, expected) in [
        (
            format!(r#"{{"error":{{"code":"1301","message":"{ODD}"}},"contentFilter":[{{"level":1}}]}}"#),
            format!(
                r#"{{"error":{{"code":"1301","message":"{ODD}","type":"invalid_request_error","param":null}},"contentFilter":[{{"level":1}}]}}"#
            ),
        ),
        (
            format!(r#"{{"error":{{"message":"{ODD}","type":"BadRequest" }}}}"#),
            format!(r#"{{"error":{{"message":"{ODD}","type":"BadRequest" ,"param":null,"code":"bad_request"}}}}"#),
        ),
    ] {
        let (east, gateway) = chats().await;
        east.next(status(400, &[], &body));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.text()), (400, expected.as_str()));
    }
}

#[tokio::test]
async fn clients_of_messages_are_told_in_their_shape() {
    let own = messages::error("invalid_request_error", ODD);
    for (body, passes) in [
        (own, true),
        (format!(r#"{{"type":"error","error":"{ODD}"}}"#), false),
        (format!(r#"{{"type":"error","error":{{"code":"1210","message":"{ODD}"}}}}"#), false),
        (format!(r#"{{"type":"error","message":"{ODD}"}}"#), false),
        (format!(r#"{{"error":{{"code":"1210","message":"{ODD}"}}}}"#), false),
    ] {
        let (east, gateway) = alone(Site::only_messages).await;
        east.next(status(400, &[], &body));
        let answer = gateway.ask(&Call::messages(messages::ask("auto"))).await;
        let told = answer.json();
        assert_eq!((answer.status, answer.text() == body), (400, passes), "{told}");
        assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!("invalid_request_error")), "{told}");
        assert_eq!(told["error"]["message"], ODD, "{told}");
    }
}
