//! A client that speaks HTTP/2 from the first byte, on one connection.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream::pending;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokenbroker::tasks::Tasks;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::within;

/// A connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<UnsyncBoxBody<Bytes, Infallible>>,
    address: SocketAddr,
    ended: watch::Receiver<bool>,
}

impl Http2 {
    /// With a window of so many bytes for each answer.
    pub(crate) async fn open(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).max_header_list_size(1 << 20);
        let (sender, connection) = within("a connection", builder.handshake(TokioIo::new(stream))).await.unwrap();
        let (done, ended) = watch::channel(false);
        Tasks::on_this_runtime().spawn("http/2 client", async move {
            let _ = connection.await;
            done.send_replace(true);
        });
        Self { sender, address, ended }
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync()).unwrap();
        let mut sender = self.sender.clone();
        within("the head of an answer", sender.send_request(request)).await
    }

    /// Sends the head of a chat request whose body never comes.
    pub(crate) async fn stalls(&self) -> Response<Incoming> {
        let request =
            Request::post(format!("http://{}/v1/chat/completions", self.address)).header("content-type", "application/json");
        let body = StreamBody::new(pending::<Result<Frame<Bytes>, Infallible>>()).boxed_unsync();
        let mut sender = self.sender.clone();
        within("the head of an answer", sender.send_request(request.body(body).unwrap())).await.unwrap()
    }

    /// Sends a chat request.
    pub(crate) async fn chat(&self, body: &str) -> Response<Incoming> {
        self.call("POST", "/v1/chat/completions", &[("content-type", "application/json")], body).await.unwrap()
    }

    /// Waits until the gateway has closed the connection.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        within("the connection to end", ended.wait_for(|ended| *ended)).await.unwrap();
    }
}

/// A header's value; empty where there is none.
pub(crate) fn header<'r>(response: &'r Response<Incoming>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The whole body and the trailers as text.
pub(crate) async fn read(response: Response<Incoming>) -> (String, String) {
    let collected = within("the whole answer", response.into_body().collect()).await.unwrap();
    let trailers: Vec<String> =
        collected.trailers().into_iter().flatten().map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers.join(","))
}
