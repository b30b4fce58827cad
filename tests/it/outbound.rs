//! The way out: through a proxy that the operator names and no other, trusting whom the operator names, and reading what comes
//! compressed though nobody asked for that.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokenbroker::coding::Coding;
use tokenbroker::tasks::Tasks;
use tokio::net::TcpListener;

use crate::harness::provider::Script;
use crate::harness::proxy::Proxy;
use crate::harness::tls::{Authority, Tls};
use crate::harness::{Gateway, Provider, Setup, Site, Step, Whole, chat};

/// `ann:p@ss` in base64.
const LOGIN: &str = "YW5uOnBAc3M=";

/// Why the only attempt failed.
fn cause(answer: &Whole) -> String {
    let attempt = &answer.error("tokenbroker")["attempts"][0];
    format!("{}: {}", attempt["cause"].as_str().unwrap_or_default(), attempt["message"].as_str().unwrap_or_default())
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_named_proxy_leads_to_the_provider_and_is_told_no_more_than_host_and_port() {
    let east = Provider::start("east").await;
    let proxy = Proxy::start(east.address, Some(LOGIN), "").await;
    let folder = tempfile::tempdir().unwrap();
    let address = file(&folder, "proxy", &format!("http://ann:p%40ss@{}\n", proxy.address));
    let gateway = Setup::of([Site::of(&east).at("http://east.internal:8123")]).set("upstream.proxy_file", &address).start();

    for body in [chat::ask("auto"), chat::ask_stream("auto")] {
        assert_eq!(gateway.chat(&body).await.status, 200);
    }

    let asked = proxy.asked();
    let expected =
        format!("CONNECT east.internal:8123 HTTP/1.1\r\nhost: east.internal:8123\r\nproxy-authorization: Basic {LOGIN}\r\n\r\n");
    assert_eq!(asked, [expected], "one tunnel for both: the connection is kept");
    assert_eq!(east.call(0).await.header("host"), "east.internal:8123");
    let (_, setup) = gateway.drain().await;
    let log = setup.log();
    assert!(log.contains("serving") && !log.contains(LOGIN) && !log.contains("p%40ss") && !log.contains("p@ss"), "{log}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_in_words() {
    let east = Provider::start("east").await;
    for (login, says, expected) in [
        (Some(LOGIN), "", "asks for a login, or refuses the one it was given (upstream.proxy)"),
        (None, "403 Forbidden", "refuses to connect to east.internal:8123: status 403"),
        (None, "\u{1}", "does not answer as a proxy does"),
    ] {
        let proxy = Proxy::start(east.address, login, says).await;
        let setup = Setup::of([Site::of(&east).at("http://east.internal:8123")]);
        let gateway = setup.set("upstream.proxy", &format!("http://{}", proxy.address)).start();

        let answer = gateway.chat(&chat::ask("auto")).await;

        assert_eq!(answer.status, 502);
        let told = cause(&answer);
        assert!(told.starts_with("connect: ") && told.contains(expected), "{told}");
    }
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let east = Provider::start("east").await;
    let proxy = Proxy::start(east.address, None, "").await;
    let setup = ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .fold(Setup::of([Site::of(&east).at("https://east.invalid")]), |setup, name| {
            setup.variable(name, &format!("http://{}", proxy.address))
        });
    let gateway = setup.start();

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!(answer.status, 502, "the name does not exist, and nobody else is asked for it");
    assert!(proxy.asked().is_empty());
}

#[tokio::test]
async fn who_is_excepted_and_what_runs_here_is_reached_directly() {
    let east = Provider::start("east").await;
    let proxy = Proxy::start(east.address, None, "").await;
    let named = |setup: Setup| setup.set("upstream.proxy", &format!("http://{}", proxy.address));

    let local = named(Setup::of([Site::of(&east)])).start();
    assert_eq!(local.chat(&chat::ask("auto")).await.status, 200);

    let excepted =
        named(Setup::of([Site::of(&east).at("https://east.invalid")])).set("upstream.no_proxy", "[\"invalid\"]").start();
    assert_eq!(excepted.chat(&chat::ask("auto")).await.status, 502);

    assert!(proxy.asked().is_empty());
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let east = Provider::start("east").await;
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let tls = Tls::start(&ours, "east.test", &["http/1.1"], east.address).await;
    let proxy = Proxy::start(tls.address, None, "").await;
    let folder = tempfile::tempdir().unwrap();
    let setup = || {
        let setup = Setup::of([Site::of(&east).at("https://east.test")]);
        setup.set("upstream.proxy", &format!("http://{}", proxy.address))
    };
    let trusting =
        |setup: Setup, authority: &Authority| setup.set("upstream.ca_file", &file(&folder, "ca.pem", &authority.pem()));

    for gateway in
        [setup().start(), trusting(setup(), &other).start(), trusting(setup(), &other).set("upstream.ca_only", "true").start()]
    {
        let told = cause(&gateway.chat(&chat::ask("auto")).await);
        assert!(told.starts_with("connect: ") && told.contains("invalid peer certificate: UnknownIssuer"), "{told}");
    }
    assert!(east.calls().is_empty(), "a key is not sent to whom nobody trusts");

    for gateway in [trusting(setup(), &ours).start(), trusting(setup(), &ours).set("upstream.ca_only", "true").start()] {
        assert_eq!(gateway.chat(&chat::ask("auto")).await.status, 200);
    }
    assert_eq!(proxy.asked()[0], "CONNECT east.test:443 HTTP/1.1\r\nhost: east.test:443\r\n\r\n");
    assert_eq!(east.call(0).await.header("authorization"), format!("Bearer {}", east.key()));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let east = Provider::start("east").await;
    let authority = Authority::new("ours");
    let tls = Tls::start(&authority, "west.test", &["http/1.1"], east.address).await;
    let proxy = Proxy::start(tls.address, None, "").await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Setup::of([Site::of(&east).at("https://east.test")])
        .set("upstream.proxy", &format!("http://{}", proxy.address))
        .set("upstream.ca_file", &file(&folder, "ca.pem", &authority.pem()))
        .start();

    let told = cause(&gateway.chat(&chat::ask("auto")).await);

    assert!(told.contains("certificate not valid for name \"east.test\""), "{told}");
}

#[tokio::test]
async fn http_2_is_spoken_with_a_provider_that_offers_it() {
    let site = http2_site().await;
    let authority = Authority::new("ours");
    let tls = Tls::start(&authority, "east.test", &["h2", "http/1.1"], site).await;
    let proxy = Proxy::start(tls.address, None, "").await;
    let east = Provider::start("east").await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Setup::of([Site::of(&east).at("https://east.test")])
        .set("upstream.proxy", &format!("http://{}", proxy.address))
        .set("upstream.ca_file", &file(&folder, "ca.pem", &authority.pem()))
        .start();

    for _ in 0..3 {
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.header("x-tokenbroker-cost-usd")), (200, "0.000017"), "{}", answer.text());
    }

    assert_eq!(tls.agreed(), ["h2"], "one connection for all");
}

/// A site that speaks HTTP/2 and always gives the same answer.
async fn http2_site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::on_this_runtime();
    tasks.clone().spawn("site", async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn("connection of a site", async move {
                let answer = |_: Request<Incoming>| async {
                    let body = Full::new(Bytes::from(chat::answer("Hello.", 9, 4)));
                    let response = Response::builder().header("content-type", "application/json").body(body).unwrap();
                    Ok::<_, Infallible>(response)
                };
                let _ =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn answers_are_asked_for_uncompressed_and_read_where_they_come_compressed() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let plain = chat::answer(&"all work and no play ".repeat(200), 9, 4);
    for coding in [Coding::Gzip, Coding::Brotli] {
        east.next(compressed(coding, "application/json", &plain));
        let answer = gateway.chat(&chat::ask("auto")).await;
        assert_eq!((answer.status, answer.text(), answer.header("content-encoding")), (200, plain.as_str(), ""));
        assert_eq!(answer.header("x-tokenbroker-cost-usd"), "0.000017");

        let frames = chat::hello().concat();
        east.next(compressed(coding, "text/event-stream", &frames));
        let answer = gateway.chat(&chat::ask_stream("auto")).await;
        let row = gateway.row_of(&answer).await;
        assert!(answer.complete && answer.text().ends_with(chat::DONE), "{}", answer.text());
        assert_eq!((row.cost.to_exact().as_str(), row.attempts[0].provenance.as_str()), ("0.000017", "reported"));
    }
    assert_eq!(east.call(0).await.header("accept-encoding"), "identity");
}

#[tokio::test]
async fn a_compressed_answer_that_cannot_be_read_is_a_failure_like_any_other() {
    let plain = chat::answer("Hello.", 9, 4);
    let whole = Coding::Gzip.encode(plain.repeat(9).as_bytes()).unwrap();
    let bomb = Coding::Brotli.encode(&vec![b' '; 80 << 20]).unwrap();
    for (name, body) in [("zstd", b"(\xb5/\xfd".to_vec()), ("gzip", whole[..whole.len() / 2].to_vec()), ("br", bomb)] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
        east.next(bytes("application/json", name, &body));

        let answer = gateway.chat(&chat::ask("auto")).await;

        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{name}");
        let failed = gateway.row_of(&answer).await.attempts.remove(0);
        let told = failed.cause.unwrap_or_default();
        assert!(told.starts_with("malformed"), "{name}: {told}");
    }
}

fn compressed(coding: Coding, kind: &str, plain: &str) -> Script {
    bytes(kind, coding.word(), &coding.encode(plain.as_bytes()).unwrap_or_else(|| panic!("too short: {plain}")))
}

fn bytes(kind: &str, coding: &str, body: &[u8]) -> Script {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n");
    // In two pieces, so that none of it may be read as if it were all.
    let (first, second) = body.split_at(length / 2);
    [head.as_bytes(), first, second].into_iter().map(|piece| Step::Send(Bytes::copy_from_slice(piece))).collect()
}
