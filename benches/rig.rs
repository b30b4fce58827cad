//! The bench rig: what `scripts/bench` measures the gateway against and with. Three parts in one binary, so that they
//! are built by the same compiler with the same settings as the gateway:
//!
//! - `upstream`: a provider that answers at once with a fixed body, or streams paced chunks, in chat or by its path in Messages;
//! - `pass-through`: a bare hyper reverse proxy that parses nothing: the yardstick;
//! - `load`: a closed-loop load generator that prints one JSON line.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a tool for measuring, not the product"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type AnyBody = BoxBody<Bytes, hyper::Error>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.filter(|a| a != "--bench").collect();
    let options: BTreeMap<String, String> = rest
        .chunks(2)
        .filter_map(|pair| Some((pair.first()?.trim_start_matches('-').to_owned(), pair.get(1)?.clone())))
        .collect();
    // One worker, as the part is pinned to one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match part.as_str() {
        "upstream" => runtime.block_on(upstream(&options)),
        "pass-through" => runtime.block_on(pass_through(&options)),
        "load" => runtime.block_on(load(&options)),
        // `cargo bench` runs every bench without arguments: there is nothing to measure by itself.
        _ => println!("usage: rig upstream|pass-through|load --name value ... (see scripts/bench)"),
    }
}

fn number(options: &BTreeMap<String, String>, name: &str, default: u64) -> u64 {
    options.get(name).map_or(default, |text| text.parse().unwrap())
}

async fn announce(options: &BTreeMap<String, String>) -> TcpListener {
    let address: SocketAddr = options.get("listen").map_or("127.0.0.1:0", String::as_str).parse().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    println!("{{\"address\": \"http://{}\"}}", listener.local_addr().unwrap());
    listener
}

// === upstream ===

/// How the pretend provider streams.
#[derive(Clone, Copy)]
struct Pace {
    chunks: u64,
    every: Duration,
}

async fn upstream(options: &BTreeMap<String, String>) {
    let pace = Pace { chunks: number(options, "chunks", 100), every: Duration::from_micros(number(options, "pace-us", 0)) };
    let listener = announce(options).await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(move |request| answer(request, pace));
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, pace: Pace) -> Result<Response<AnyBody>, Infallible> {
    let words = if request.uri().path().ends_with("/messages") { &MESSAGES } else { &CHAT };
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::default()) };
    let body = body.to_bytes();
    // A long body is not searched: that would take the time of the load generator's core.
    let head = &body[..body.len().min(4_096)];
    let streamed = memchr::memmem::find(head, b"\"stream\":true").is_some();
    let (kind, body) = if streamed { ("text/event-stream", paced(pace, words)) } else { ("application/json", whole(words)) };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// The same answer in the words of one API.
struct Words {
    whole: &'static str,
    /// What a stream begins with.
    first: &'static str,
    chunk: &'static str,
    last: &'static str,
}

macro_rules! said {
    () => {
        "The quick brown fox jumps over the lazy dog, and then it does so again, because a bench needs an answer of ordinary \
         length that is neither empty nor long."
    };
}

const CHAT: Words = Words {
    whole: concat!(
        r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"bench","choices":[{"index":0,"#,
        r#""message":{"role":"assistant","content":""#,
        said!(),
        r#""},"logprobs":null,"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":250,"completion_tokens":34,"total_tokens":284,"prompt_tokens_details":{"cached_tokens":0}}}"#
    ),
    first: "",
    chunk: concat!(
        r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench","#,
        r#""choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        "\n\n"
    ),
    last: concat!(
        r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench","#,
        r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench","choices":[],"#,
        r#""usage":{"prompt_tokens":250,"completion_tokens":100,"total_tokens":350}}"#,
        "\n\ndata: [DONE]\n\n"
    ),
};

const MESSAGES: Words = Words {
    whole: concat!(
        r#"{"id":"msg_bench","type":"message","role":"assistant","model":"bench","content":[{"type":"text","text":""#,
        said!(),
        r#""}],"stop_reason":"end_turn","stop_sequence":null,"#,
        r#""usage":{"input_tokens":250,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":34}}"#
    ),
    first: concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","model":"bench","#,
        r#""content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":250,"cache_creation_input_tokens":0,"#,
        r#""cache_read_input_tokens":0,"output_tokens":1}}}"#,
        "\n\nevent: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        "\n\n"
    ),
    chunk: concat!(
        "event: content_block_delta\n",
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}"#,
        "\n\n"
    ),
    last: concat!(
        "event: content_block_stop\n",
        r#"data: {"type":"content_block_stop","index":0}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":100}}"#,
        "\n\nevent: message_stop\n",
        r#"data: {"type":"message_stop"}"#,
        "\n\n"
    ),
};

fn whole(words: &Words) -> AnyBody {
    Full::new(Bytes::from_static(words.whole.as_bytes())).map_err(|never| match never {}).boxed()
}

fn paced(pace: Pace, words: &'static Words) -> AnyBody {
    let begins = u64::from(!words.first.is_empty());
    let frames = unfold(0, move |sent| async move {
        if sent > pace.chunks + begins {
            return None;
        }
        if !pace.every.is_zero() {
            tokio::time::sleep(pace.every).await;
        }
        let bytes = match sent {
            0 if begins > 0 => words.first,
            _ if sent == pace.chunks + begins => words.last,
            _ => words.chunk,
        };
        Some((Ok(Frame::data(Bytes::from_static(bytes.as_bytes()))), sent + 1))
    });
    BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames))))
}

/// `BoxBody` wants `Sync`; a stream is only ever polled by one task.
struct SyncStream<S>(std::pin::Pin<Box<S>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

// === pass-through ===

async fn pass_through(options: &BTreeMap<String, String>) {
    let to: Uri = options.get("to").unwrap().parse().unwrap();
    let to = Arc::new(to);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = announce(options).await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, to) = (client.clone(), Arc::clone(&to));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (client, to) = (client.clone(), Arc::clone(&to));
            async move {
                let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
                *request.uri_mut() = format!("{}{path}", to.to_string().trim_end_matches('/')).parse().unwrap();
                request.headers_mut().remove(http::header::HOST);
                client.request(request).await
            }
        });
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

// === load ===

/// What one request took.
struct Sample {
    first_byte: Duration,
    whole: Duration,
    ok: bool,
}

async fn load(options: &BTreeMap<String, String>) {
    let uri: Uri = options.get("to").unwrap().parse().unwrap();
    let body = Bytes::from(std::fs::read(options.get("body").unwrap()).unwrap());
    let connections = number(options, "connections", 1);
    let requests = number(options, "requests", 0);
    let until = Instant::now() + Duration::from_millis(number(options, "ms", 3_000));
    let per_connection = if requests == 0 { u64::MAX } else { requests.div_ceil(connections) };
    let started = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..connections {
        let (uri, body) = (uri.clone(), body.clone());
        workers.push(tokio::spawn(async move { worker(&uri, &body, per_connection, until).await }));
    }
    let mut samples = Vec::new();
    for worker in workers {
        samples.extend(worker.await.unwrap());
    }
    report(&samples, started.elapsed());
}

async fn worker(uri: &Uri, body: &Bytes, most: u64, until: Instant) -> Vec<Sample> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut samples = Vec::new();
    while (samples.len() as u64) < most && Instant::now() < until {
        samples.push(ask(&client, uri, body).await);
    }
    samples
}

async fn ask(client: &Client<HttpConnector, Full<Bytes>>, uri: &Uri, body: &Bytes) -> Sample {
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("authorization", "Bearer bench")
        .body(Full::new(body.clone()))
        .unwrap();
    let began = Instant::now();
    let failed = |began: Instant| Sample { first_byte: began.elapsed(), whole: began.elapsed(), ok: false };
    let Ok(response) = client.request(request).await else { return failed(began) };
    let ok = response.status().is_success();
    let mut body = response.into_body();
    let mut first_byte = None;
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return failed(began);
        }
        first_byte.get_or_insert_with(|| began.elapsed());
    }
    let whole = began.elapsed();
    Sample { first_byte: first_byte.unwrap_or(whole), whole, ok }
}

fn report(samples: &[Sample], took: Duration) {
    let sorted = |of: fn(&Sample) -> Duration| {
        let mut times: Vec<u128> = samples.iter().map(|s| of(s).as_micros()).collect();
        times.sort_unstable();
        times
    };
    let at = |times: &[u128], permille: usize| {
        times.get((times.len() * permille / 1000).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let (whole, first) = (sorted(|s| s.whole), sorted(|s| s.first_byte));
    let failed = samples.iter().filter(|s| !s.ok).count();
    println!(
        "{{\"requests\": {}, \"failed\": {failed}, \"seconds\": {:.3}, \"p50_us\": {}, \"p99_us\": {}, \"first_p50_us\": {}, \"first_p99_us\": {}}}",
        samples.len(),
        took.as_secs_f64(),
        at(&whole, 500),
        at(&whole, 990),
        at(&first, 500),
        at(&first, 990)
    );
}
