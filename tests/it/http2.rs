//! HTTP/2 without TLS on the API: the same answers as over HTTP/1.1, many at a time on one connection, and the same limits.

use futures_util::future::join_all;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::h2::{Http2, header, read};
use crate::harness::provider::{begun, stream, then, whole};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, chat, until, within};

const WINDOW: u32 = 65_535;

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn answers_are_the_same_and_the_cost_of_a_stream_comes_as_a_trailer_unasked() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let client = Http2::open(gateway.api, WINDOW).await;

    let whole = client.chat(&chat::ask("auto")).await;
    assert_eq!((whole.status().as_u16(), header(&whole, "x-tokenbroker-cost-usd")), (200, "0.000017"));
    assert_eq!(read(whole).await.0, gateway.chat(&chat::ask("auto")).await.text());

    let streamed = client.chat(&chat::ask_stream("auto")).await;
    assert_eq!((streamed.version(), header(&streamed, "trailer")), (http::Version::HTTP_2, "x-tokenbroker-cost-usd"));
    let (frames, cost) = read(streamed).await;
    assert_eq!((frames.as_str(), cost.as_str()), (gateway.chat(&chat::ask_stream("auto")).await.text(), "0.000017"));

    let models = client.call("GET", "/v1/models", &[("accept-encoding", "br")], "").await.unwrap();
    assert_eq!(models.status().as_u16(), 200);
    let refused = client.call("POST", "/v1/chat/completions", &[("content-type", "application/json")], "{").await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    assert_eq!(code(&read(refused).await.0), "invalid_json");
}

#[tokio::test]
async fn many_streams_share_a_connection_and_none_waits_for_another() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let client = Http2::open(gateway.api, WINDOW).await;
    let gate = Gate::shut();
    let mut slow = stream(&chat::hello());
    slow.insert(3, Step::Wait(gate.clone()));
    east.next(slow);
    let mut first = client.chat(&chat::ask_stream("auto")).await;
    within("a first frame", first.body_mut().frame()).await.unwrap().unwrap();

    let others = join_all((0..40).map(|_| async { read(client.chat(&chat::ask_stream("auto")).await).await })).await;

    assert!(others.iter().all(|(frames, cost)| frames.ends_with(chat::DONE) && cost == "0.000017"));
    gate.open();
    assert!(read(first).await.0.ends_with(chat::DONE));
    assert_eq!(gateway.all_booked(41).await.len(), 41);
}

#[tokio::test]
async fn the_limits_are_those_of_http_1() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)])
        .set("server.max_body_bytes", "2000")
        .set("server.max_header_bytes", "8192")
        .set("server.body_timeout_ms", "300")
        .start();
    let client = Http2::open(gateway.api, WINDOW).await;
    let json = ("content-type", "application/json");
    let long = "x".repeat(9_000);
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();

    for (path, headers, body, status, expected, setting) in [
        (
            "/v1/chat/completions",
            vec![json],
            chat::ask_with("auto", &format!(r#""user":"{long}""#)),
            413,
            "request_too_large",
            "server.max_body_bytes",
        ),
        (
            "/v1/chat/completions",
            vec![json, ("x-long", &long)],
            chat::ask("auto"),
            431,
            "headers_too_large",
            "server.max_header_bytes",
        ),
        (&format!("/v1/models?{long}"), vec![], String::new(), 431, "headers_too_large", "server.max_header_bytes"),
        ("/v1/models", many, String::new(), 431, "headers_too_large", "more than 100 headers"),
    ] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let answer = client.call(method, path, &headers, &body).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {expected}");
        let (body, _) = read(answer).await;
        assert_eq!(code(&body), expected);
        assert!(body.contains(setting), "{body}");
    }
    let late = client.stalls().await;
    assert_eq!(late.status().as_u16(), 408);
    let (body, _) = read(late).await;
    assert!(code(&body) == "body_timeout" && body.contains("server.body_timeout_ms"), "{body}");
    let huge = "x".repeat(20_000);
    let bare = client.call("GET", "/v1/models", &[("x-long", &huge)], "").await.unwrap();
    assert_eq!(bare.status().as_u16(), 431, "too large to be read: told without a body");
    assert_eq!(client.chat(&chat::ask("auto")).await.status().as_u16(), 200, "and the connection goes on");
}

/// A stream whose window stays shut is given up, and nothing else on its connection.
#[tokio::test]
async fn a_client_that_takes_nothing_of_one_stream_is_cut_off_from_that_stream() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("timeouts.stream_idle_ms", "400").start();
    // What it takes is what its window holds: less than the answer.
    let client = Http2::open(gateway.api, 200).await;
    let words: Vec<String> = (0..50).map(|n| chat::text(&format!("word {n} "))).collect();
    east.next(then(begun(&words), [Step::Stall]));

    let lying = client.chat(&chat::ask_stream("auto")).await;

    east.call(0).await.hung_up().await;
    let row = gateway.booked(header(&lying, "x-tokenbroker-request-id")).await;
    assert_eq!(row.attempts[0].ending.as_str(), "abandoned");
    let other = client.call("GET", "/healthz", &[], "").await.unwrap();
    assert_eq!(read(other).await.0, "ok\n");
    let told = lying.into_body().collect().await;
    assert!(told.is_err(), "it was reset, not ended as if it were whole");
}

/// A whole answer is one piece to the gateway, and would wait in memory for as long as its connection is used.
#[tokio::test]
async fn a_whole_answer_that_nobody_takes_is_let_go_of_though_its_connection_is_used() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("timeouts.stream_idle_ms", "400").start();
    let client = Http2::open(gateway.api, 200).await;
    east.next(whole(&chat::answer(&"all work and no play ".repeat(10_000), 9, 4)));
    let lying = client.chat(&chat::ask("auto")).await;
    let words: Vec<String> = (0..50).map(|n| chat::text(&format!("word {n} "))).collect();
    east.next(then(begun(&words), [Step::Stall]));

    // What begins later and is cut tells that the time of the first is over too.
    let later = client.chat(&chat::ask_stream("auto")).await;
    gateway.booked(header(&later, "x-tokenbroker-request-id")).await;

    let told = within("the end of the answer", lying.into_body().collect()).await;
    assert!(told.is_err(), "it was held back for its client all the time");
    assert_eq!(read(client.call("GET", "/healthz", &[], "").await.unwrap()).await.0, "ok\n");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_what_it_asked_for() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let client = Http2::open(gateway.api, WINDOW).await;
    east.next(then(begun(&[chat::role(), chat::text("Well,")]), [Step::Stall]));

    let mut answer = client.chat(&chat::ask_stream("auto")).await;
    within("a first frame", answer.body_mut().frame()).await.unwrap().unwrap();
    let id = header(&answer, "x-tokenbroker-request-id").to_owned();
    drop(answer);

    east.call(0).await.hung_up().await;
    assert_eq!(gateway.booked(&id).await.attempts[0].ending.as_str(), "abandoned");
    assert_eq!(client.chat(&chat::ask("auto")).await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_drain_lets_open_streams_finish_and_lets_no_new_one_begin() {
    let east = Provider::start("east").await;
    let gate = Gate::shut();
    let mut script = stream(&chat::hello());
    script.insert(3, Step::Wait(gate.clone()));
    east.next(script);
    let mut gateway = Setup::of([Site::of(&east)]).set("server.drain_seconds", "60").start();
    let client = Http2::open(gateway.api, WINDOW).await;
    let idle = Http2::open(gateway.api, WINDOW).await;
    assert_eq!(idle.call("GET", "/healthz", &[], "").await.unwrap().status().as_u16(), 200);
    let mut open = client.chat(&chat::ask_stream("auto")).await;
    within("a first frame", open.body_mut().frame()).await.unwrap().unwrap();

    gateway.terminate();
    idle.ended().await;
    until("new streams to be refused", async || client.call("GET", "/healthz", &[], "").await.err()).await;
    gate.open();
    let (rest, cost) = read(open).await;

    assert!(rest.ends_with(chat::DONE) && cost == "0.000017", "{rest}");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_is_let_go_of() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).set("server.header_timeout_ms", "300").start();
    let client = Http2::open(gateway.api, WINDOW).await;
    assert_eq!(client.chat(&chat::ask("auto")).await.status().as_u16(), 200);

    client.ended().await;
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_not_the_gateway() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let mut stream = TcpStream::connect(gateway.api).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for stream in (1..4_000_u32).step_by(2) {
        // GET / of the static table, then RST_STREAM (CANCEL) at once.
        sent.extend([0, 0, 3, 1, 5]);
        sent.extend(stream.to_be_bytes());
        sent.extend([0x82, 0x86, 0x84]);
        sent.extend([0, 0, 4, 3, 0]);
        sent.extend(stream.to_be_bytes());
        sent.extend([0, 0, 0, 8]);
    }
    // It may be closed to us before all of it is taken.
    let _ = stream.write_all(&sent).await;
    let mut said = Vec::new();
    let _ = within("the connection to end", stream.read_to_end(&mut said)).await;

    assert!(said.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == [0, 0, 0, 11]), "GOAWAY: ENHANCE_YOUR_CALM");
    assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
}

#[tokio::test]
async fn an_upgrade_to_http_2_is_answered_in_http_1() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let call = Call::get("/healthz")
        .header("connection", "upgrade, http2-settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABk");

    let answer = gateway.ask(&call).await;

    assert_eq!((answer.status, answer.text()), (200, "ok\n"));
}
