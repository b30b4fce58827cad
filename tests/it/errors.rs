//! Refusals by the gateway itself: the status, the shape that SDKs read, what is wrong and where.

use serde_json::{Value, json};

use crate::harness::client::Connection;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, chat};

/// What every error has: four members at least, no hint to repeat it, our request id.
fn check(answer: &Whole, status: u16, code: &str) {
    let error = &answer.json()["error"];
    let told = || format!("expected {status} {code}: {} {}", answer.status, answer.text());
    assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{}", told());
    for member in ["message", "type", "param", "code"] {
        assert!(error.get(member).is_some(), "{member} is missing: {}", told());
    }
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{}", told());
    assert_eq!((answer.header("content-type"), answer.header("x-should-retry")), ("application/json", "false"), "{}", told());
    assert_eq!(answer.header("x-tokenbroker-request-id").len(), 36, "{}", told());
}

async fn gateway() -> (Provider, Gateway) {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    (east, gateway)
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_the_place() {
    let (east, gateway) = gateway().await;
    let deep = chat::ask_with("auto", &format!("\"metadata\":{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let user = r#"[{"role":"user","content":"Hi"}]"#;
    let cases: [(&str, String, Value, Value); 12] = [
        ("invalid_json", "{\"model\":\"auto\",\n \"messages\": [}".to_owned(), Value::Null, json!([2, 15, 31])),
        ("invalid_json", String::new(), Value::Null, json!([1, 1, 0])),
        ("invalid_json", "{\"model\":\"auto\"".to_owned(), Value::Null, json!([1, 15, 14])),
        ("nesting_too_deep", deep, Value::Null, Value::Null),
        ("missing_required_parameter", format!(r#"{{"messages":{user}}}"#), json!("model"), Value::Null),
        ("missing_required_parameter", r#"{"model":"auto"}"#.to_owned(), json!("messages"), Value::Null),
        ("invalid_type", format!(r#"{{"model":7,"messages":{user}}}"#), json!("model"), json!([1, 10, 9])),
        ("invalid_type", chat::ask_with("auto", r#""stream":"yes""#), json!("stream"), Value::Null),
        ("invalid_value", r#"{"model":"auto","messages":[]}"#.to_owned(), json!("messages"), Value::Null),
        ("duplicate_parameter", chat::ask_with("auto", r#""model":"jade""#), json!("model"), Value::Null),
        (
            "duplicate_parameter",
            chat::ask_with("auto", r#""max_tokens":1,"max_\u0074okens":2"#),
            json!("max_tokens"),
            Value::Null,
        ),
        (
            "unknown_parameter",
            chat::ask_with("auto", r#""tokenbroker":{"qualty":"x"}"#),
            json!("tokenbroker.qualty"),
            Value::Null,
        ),
    ];
    for (code, body, param, place) in cases {
        let answer = gateway.chat(&body).await;
        check(&answer, 400, code);
        if param != Value::Null {
            assert_eq!(answer.error("param"), param, "{}", answer.text());
        }
        if place != Value::Null {
            let at = answer.error("tokenbroker")["position"].clone();
            assert_eq!(json!([at["line"], at["column"], at["offset"]]), place, "{body}: {}", answer.text());
        }
    }
    let latin = gateway.ask(&Call::chat(b"{\"model\":\"\xe9\"}".as_slice())).await;
    check(&latin, 400, "invalid_json");
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn only_a_known_key_is_let_in() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).key("team", "tb-team").start();
    let calls = [
        Call::chat(chat::ask("auto")),
        Call::post("/v1/route", chat::ask("auto")),
        Call::get("/v1/models"),
        Call::get("/v1/models/auto"),
    ];
    for call in calls {
        for header in
            [None, Some("Bearer tb-other"), Some("Bearer "), Some("Basic tb-team"), Some("tb-team"), Some("Bearer tb-team2")]
        {
            let call = match header {
                Some(value) => call.clone().header("authorization", value),
                None => call.clone(),
            };
            check(&gateway.ask(&call).await, 401, "invalid_api_key");
        }
        let known = gateway.ask(&call.header("authorization", "Bearer tb-team")).await;
        assert_eq!(known.status, 200);
    }
    // Who watches over the process has no key.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(gateway.ask(&Call::get(path)).await.status, 200);
    }
    assert_eq!(east.calls().len(), 1);
}

#[tokio::test]
async fn an_unknown_model_gets_the_nearest_names() {
    let (east, gateway) = gateway().await;
    for (name, near) in [("jadw", "`jade`"), ("east/jade-v2", "`east/jade-v3`"), ("auto:premum", "`auto:premium`")] {
        let answer = gateway.chat(&chat::ask(name)).await;
        check(&answer, 404, "model_not_found");
        let message = answer.error("message");
        let message = message.as_str().unwrap();
        assert!(message.contains(near) && message.contains(name), "{message}");
        assert_eq!((answer.error("param"), answer.error("type")), (json!("model"), json!("invalid_request_error")));
    }
    let nothing_near = gateway.chat(&chat::ask("zzzzzzzzzz")).await;
    check(&nothing_near, 404, "model_not_found");
    assert!(!nothing_near.text().contains("did you mean"), "{}", nothing_near.text());
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served_are_told_apart() {
    let (_east, gateway) = gateway().await;
    for path in ["/", "/v1", "/chat/completions", "/v1/chat/completion", "/v2/chat/completions", "/metrics"] {
        check(&gateway.ask(&Call::get(path)).await, 404, "path_not_found");
    }
    for path in
        ["/v1/moderations", "/v1/fine_tuning/jobs/ft_1", "/v1/batches", "/v1/images/edits", "/v1/files", "/v1/audio/translations"]
    {
        check(&gateway.ask(&Call::post(path, "{}")).await, 501, "not_implemented");
    }
    let served = ["POST /v1/messages/count_tokens", "GET /v1/responses/{id}", "GET /v1/models"];
    for (method, path) in [("GET", "/v1/responses/resp_1/input_items"), ("POST", "/v1/responses/resp_1/cancel")] {
        let answer = gateway.ask(&Call::new(method, path, "")).await;
        check(&answer, 501, "not_implemented");
        assert!(served.iter().all(|path| answer.text().contains(path)), "{}", answer.text());
    }
    check(&gateway.ask(&Call::get("/v1/responses/resp_1/nothing")).await, 404, "path_not_found");
    let wrong = [
        ("GET", "/v1/chat/completions", "POST"),
        ("GET", "/v1/route", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/jade", "GET"),
    ];
    for (method, path, allowed) in wrong {
        let answer = gateway.ask(&Call::new(method, path, "")).await;
        check(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_announced_or_not() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_body_bytes", "1024").start();
    let body = chat::ask("auto").replace("hello", &"x".repeat(1024));

    check(&gateway.chat(&body).await, 413, "request_too_large");

    // Announced alone is enough: nothing of it needs to be sent.
    let announced = Call::chat("").header("content-length", "1000000000");
    check(&gateway.ask(&announced).await, 413, "request_too_large");

    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let unannounced = Call::chat(chunked).header("transfer-encoding", "chunked");
    check(&gateway.ask(&unannounced).await, 413, "request_too_large");

    let small = chat::ask("auto");
    let fits = Call::chat(format!("{:x}\r\n{small}\r\n0\r\n\r\n", small.len())).header("transfer-encoding", "chunked");
    assert_eq!(gateway.ask(&fits).await.status, 200);
    assert_eq!(east.call(0).await.text(), small.replace("auto", "jade-v3"));
}

/// Found by the test of openai-node: the reset of the connection overtook the refusal.
#[tokio::test]
async fn a_client_that_sends_all_of_a_refused_body_first_still_reads_the_refusal() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_body_bytes", "1024").start();
    let body = "x".repeat(32 << 20);
    let sizes = [format!("content-length: {}\r\n\r\n{body}", body.len()), {
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        format!("transfer-encoding: chunked\r\n\r\n{chunk}")
    }];
    for sized in sizes {
        let mut connection = Connection::open(gateway.api).await;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
        connection.send_all(format!("{head}{sized}").as_bytes()).await;
        check(&connection.answer().await.whole().await, 413, "request_too_large");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_own_word_is_refused() {
    let (east, gateway) = gateway().await;
    let body = chat::ask("auto");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let call = Call::new("POST", "/v1/chat/completions", body.clone()).header("content-type", kind);
        check(&gateway.ask(&call).await, 415, "unsupported_media_type");
    }
    check(&gateway.ask(&Call::new("POST", "/v1/chat/completions", body.clone())).await, 415, "unsupported_media_type");
    assert!(east.calls().is_empty());
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        let call = Call::new("POST", "/v1/chat/completions", body.clone()).header("content-type", kind);
        assert_eq!(gateway.ask(&call).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_not_waited_for() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.body_timeout_ms", "200").start();
    let half = Call::chat("{\"model\":").header("content-length", "100");

    let answer = gateway.ask(&half).await;

    assert_eq!((answer.status, answer.error("code")), (408, "body_timeout".into()));
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_is_read_on() {
    let (east, gateway) = gateway().await;
    let fits = Call::chat(chat::ask("auto")).header("x-long", &"x".repeat(30_000));
    assert_eq!(gateway.ask(&fits).await.status, 200);

    let mut connection = Connection::open(gateway.api).await;
    let long = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(300_000));
    connection.send_raw(long.as_bytes()).await;
    assert_eq!(connection.answer().await.status, 431);
    assert_eq!(east.calls().len(), 1);
}
