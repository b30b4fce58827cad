//! What surrounds every path: compressed bodies in both directions, pages of other origins, and each limit with what a client
//! is told of it.

use tokenbroker::coding::Coding;

use crate::harness::client::Connection;
use crate::harness::provider::whole;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Whole, chat, within};

fn code(answer: &Whole) -> (u16, String) {
    (answer.status, answer.error("code").as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_compressed_body_is_read_as_if_it_had_come_plain() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let plain = chat::ask_with("jade-v3", &format!(r#""user":"{}""#, "x".repeat(3_000)));
    for (number, (coding, name)) in
        [(Coding::Gzip, "gzip"), (Coding::Brotli, "br"), (Coding::Gzip, "x-gzip, identity")].into_iter().enumerate()
    {
        let coded = coding.encode(plain.as_bytes()).unwrap();
        let answer = gateway.ask(&Call::chat(coded).header("content-encoding", name)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let arrived = east.call(number).await;
        assert_eq!((arrived.text(), arrived.header("content-encoding")), (plain.as_str(), ""));
    }
    let plainly = gateway.ask(&Call::chat(plain).header("content-encoding", "identity")).await;
    assert_eq!(plainly.status, 200);
}

#[tokio::test]
async fn a_body_is_bounded_by_what_it_becomes() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_body_bytes", "100000").start();
    for coding in [Coding::Gzip, Coding::Brotli] {
        let bomb = coding.encode(&vec![b' '; 50 << 20]).unwrap();
        assert!(bomb.len() < 100_000, "it fits on the wire");
        let answer = gateway.ask(&Call::chat(bomb).header("content-encoding", coding.word())).await;
        assert_eq!(code(&answer), (413, "request_too_large".to_owned()));
        assert!(answer.text().contains("server.max_body_bytes"));
    }
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_refused_with_what_can() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for name in ["zstd", "deflate", "compress", "gzip, br", "nonsense"] {
        let answer = gateway.ask(&Call::chat(chat::ask("auto")).header("content-encoding", name)).await;
        assert_eq!(code(&answer), (415, "unsupported_content_encoding".to_owned()), "{name}");
        assert_eq!(answer.header("accept-encoding"), "gzip, br");
    }
    let coded = Coding::Gzip.encode(chat::ask("auto").repeat(3).as_bytes()).unwrap();
    let cut = coded[..coded.len() - 5].to_vec();
    for (name, body) in [("gzip", chat::ask("auto").into_bytes()), ("br", coded.clone()), ("gzip", cut)] {
        let answer = gateway.ask(&Call::chat(body).header("content-encoding", name)).await;
        assert_eq!(code(&answer), (400, "invalid_content_encoding".to_owned()));
    }
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn an_answer_of_some_size_comes_in_the_coding_that_its_client_prefers() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for words in [200, 20_000] {
        let plain = chat::answer(&"all work and no play ".repeat(words), 9, 4);
        for (accepted, expected) in [
            ("gzip", "gzip"),
            ("br", "br"),
            ("gzip, deflate, br", "gzip"),
            ("br;q=1.0, gzip;q=0.5", "br"),
            ("identity", ""),
            ("zstd", ""),
            ("gzip;q=0", ""),
        ] {
            east.next(whole(&plain));
            let answer = gateway.ask(&Call::chat(chat::ask("auto")).header("accept-encoding", accepted)).await;
            assert_eq!((answer.status, answer.header("content-encoding")), (200, expected), "{accepted}");
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(answer.header("x-tokenbroker-cost-usd"), "0.000017");
            let decoded = match expected {
                "gzip" => Coding::Gzip.decode(&answer.body, 1 << 20).unwrap(),
                "br" => Coding::Brotli.decode(&answer.body, 1 << 20).unwrap(),
                _ => answer.body.clone(),
            };
            assert!(decoded == plain.as_bytes(), "{accepted}");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        }
    }
}

#[tokio::test]
async fn head_says_of_a_compressed_answer_what_get_would() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let ask = |method: &str, accepted: &str| Call::new(method, "/openapi.json", "").header("accept-encoding", accepted);
    let plain = gateway.ask(&ask("GET", "identity")).await;
    for (accepted, length) in [("identity", plain.header("content-length")), ("gzip", "")] {
        let mut connection = Connection::open(gateway.api).await;
        connection.send(&ask("HEAD", accepted).header("connection", "close")).await;
        let head = connection.answer().await;
        assert_eq!((head.status, head.header("content-length"), head.header("vary")), (200, length, "accept-encoding"));
    }
}

#[tokio::test]
async fn short_answers_and_streams_go_out_as_they_are() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    for body in [chat::ask("auto"), chat::ask_stream("auto")] {
        let answer = gateway.ask(&Call::chat(body).header("accept-encoding", "gzip, br").header("te", "trailers")).await;
        assert_eq!((answer.status, answer.header("content-encoding"), answer.header("vary")), (200, "", ""));
        assert!(answer.text().contains("Hel"), "{}", answer.text());
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_read_what_we_say() {
    let east = Provider::start("east").await;
    let gateway =
        Setup::of([Site::of(&east)]).key("page", "tb-page").set("server.cors_origins", "[\"https://app.example\"]").start();
    let preflight = |origin: &str| {
        Call::new("OPTIONS", "/v1/chat/completions", "")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };

    let allowed = gateway.ask(&preflight("https://app.example")).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, "https://app.example"));
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization,content-type");
    assert_eq!(allowed.header("access-control-allow-credentials"), "");
    let refused = gateway.ask(&preflight("https://evil.example")).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (405, ""));

    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-page").header("origin", "https://app.example")).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin"), answer.header("vary")),
        (200, "https://app.example", "origin")
    );
    assert!(answer.header("access-control-expose-headers").contains("x-tokenbroker-cost-usd"));
    let stranger = gateway.ask(&Call::chat(chat::ask("auto")).header("origin", "https://app.example")).await;
    assert_eq!(
        (stranger.status, stranger.header("access-control-allow-origin")),
        (401, "https://app.example"),
        "a page can read why"
    );

    let mut operations = Connection::open(gateway.operations).await;
    operations.send(&Call::get("/metrics").header("origin", "https://app.example")).await;
    assert_eq!(operations.answer().await.header("access-control-allow-origin"), "", "the API only");
}

#[tokio::test]
async fn without_origins_no_page_may_call() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let preflight = Call::new("OPTIONS", "/v1/models", "")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");

    let answer = gateway.ask(&preflight).await;

    assert_eq!((answer.status, answer.header("allow"), answer.header("access-control-allow-origin")), (405, "GET", ""));
}

#[tokio::test]
async fn each_limit_on_a_head_is_told_with_its_setting_as_far_as_the_head_is_read() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_header_bytes", "8192").start();
    let long = "x".repeat(9_000);
    let many = |count: usize| (0..count).fold(Call::get("/v1/models"), |call, n| call.header(&format!("x-{n}"), "1"));
    for call in [
        Call::chat(chat::ask("auto")).header("x-long", &long),
        Call::get(&format!("/v1/models?{long}")),
        Call::get(&format!("/healthz?{long}")),
    ] {
        let answer = gateway.ask(&call).await;
        assert_eq!(code(&answer), (431, "headers_too_large".to_owned()));
        assert!(answer.text().contains("server.max_header_bytes"), "{}", answer.text());
    }
    // What is not read to its end is answered without a body, and with the end of the connection.
    for call in
        [Call::get("/v1/models").header("x-long", &"x".repeat(40_000)), many(101), Call::get(&format!("/{}", "x".repeat(17_000)))]
    {
        let bare = gateway.ask(&call).await;
        assert_eq!((bare.status, bare.text()), (431, ""));
    }
    assert_eq!(gateway.ask(&many(97)).await.status, 200);
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.header_timeout_ms", "300").start();
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut slow = Connection::open(gateway.api).await;
        slow.send_raw(begun.as_bytes()).await;
        within(&format!("the connection to end after {begun:?}"), slow.ended()).await;
    }
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.max_connections", "1").start();
    let mut first = Connection::open(gateway.api).await;
    first.send_raw(b"GET /healthz HTTP/1.1\r\n").await;
    let mut second = Connection::open(gateway.api).await;
    second.send(&Call::get("/healthz")).await;
    first.send_raw(b"host: x\r\nconnection: close\r\n\r\n").await;

    assert_eq!(first.answer().await.whole().await.status, 200);
    assert_eq!(second.answer().await.whole().await.status, 200);
}
