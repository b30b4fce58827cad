//! A client that hides nothing: it writes the bytes it is given and shows every chunk and trailer that comes back. It speaks
//! as much HTTP/1.1 as that takes, and tells an answer that ended from one that was cut.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, "")
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self::new("DELETE", path, "")
    }

    /// A JSON body to any path.
    pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", path, body).header("content-type", "application/json")
    }

    /// A chat request.
    pub(crate) fn chat(body: impl Into<Bytes>) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    /// A request of OpenAI's Responses.
    pub(crate) fn responses(body: impl Into<Bytes>) -> Self {
        Self::post("/v1/responses", body)
    }

    /// A request for embeddings.
    pub(crate) fn embeddings(body: impl Into<Bytes>) -> Self {
        Self::post("/v1/embeddings", body)
    }

    /// A request for a text to be written on.
    pub(crate) fn completions(body: impl Into<Bytes>) -> Self {
        Self::post("/v1/completions", body)
    }

    /// A request of Anthropic's Messages.
    pub(crate) fn messages(body: impl Into<Bytes>) -> Self {
        Self::post("/v1/messages", body)
    }

    pub(crate) fn new(method: &str, path: &str, body: impl Into<Bytes>) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this gateway key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// The request's bytes; its length is announced unless the caller framed the body otherwise.
    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !self.headers.iter().any(|(name, _)| name == "transfer-encoding" || name == "content-length") {
            head.extend(["content-length: ", &self.body.len().to_string(), "\r\n"]);
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A connection to the gateway. Dropping it closes it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { address, stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, call: &Call) {
        let bytes = call.bytes(self.address);
        self.send_raw(&bytes).await;
    }

    /// Sends bytes as they are. A peer that has already answered and closed does not matter: its answer is still read.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let _ = within("the request to be taken", self.stream.write_all(bytes)).await;
    }

    /// Waits until the gateway has closed it.
    pub(crate) async fn ended(mut self) {
        while self.more().await.is_some() {}
    }

    /// The same for a client that gives up where its request is not taken to the end.
    pub(crate) async fn send_all(&mut self, bytes: &[u8]) {
        within("the whole request to be taken", self.stream.write_all(bytes)).await.expect("a connection that stays");
    }

    /// Waits for a head that comes before that of the answer, and answers its status.
    pub(crate) async fn interim(&mut self) -> u16 {
        let head = within("a word before the answer", self.head()).await.expect("a head");
        parse_head(&head).0
    }

    /// Waits for the head of the answer.
    pub(crate) async fn answer(mut self) -> Answer {
        let head = within("the head of an answer", self.head()).await.expect("an answer");
        let (status, headers) = parse_head(&head);
        let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let framing = if find("transfer-encoding") == Some("chunked") {
            Framing::Chunked
        } else {
            Framing::Length(find("content-length").map_or(0, |length| length.parse().unwrap()))
        };
        Answer { status, headers, trailers: Vec::new(), cut: false, framing, connection: self }
    }

    /// Reads up to the empty line; `None` when the connection ends before it.
    async fn head(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(self.buffer.split_to(end + 4).freeze());
            }
            self.more().await?;
        }
    }

    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Bytes> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Some(self.buffer.split_to(length).freeze())
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
    Ended,
}

/// An answer whose body is still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
    /// The connection ended before the body was complete.
    cut: bool,
    framing: Framing,
    connection: Connection,
}

impl Answer {
    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// The next chunk as it was framed; `None` at the end of the body.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        let next = within("the next chunk", self.next()).await;
        if next.is_none() && !matches!(self.framing, Framing::Ended) {
            self.cut = true;
            self.framing = Framing::Ended;
        }
        next
    }

    /// Reads until these bytes have come, and answers all that came.
    pub(crate) async fn read_past(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let Some(chunk) = self.chunk().await else { panic!("the answer ended without {wanted:?}: {seen}") };
            seen += std::str::from_utf8(&chunk).unwrap();
        }
        seen
    }

    /// Reads to the end.
    pub(crate) async fn whole(mut self) -> Whole {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            body.extend_from_slice(&chunk);
        }
        let Self { status, headers, trailers, cut, .. } = self;
        Whole { status, headers, trailers, complete: !cut, body: body.freeze() }
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.framing {
            Framing::Ended => None,
            Framing::Length(0) => {
                self.framing = Framing::Ended;
                None
            }
            Framing::Length(length) => {
                let body = self.connection.exactly(length).await?;
                self.framing = Framing::Length(0);
                Some(body)
            }
            Framing::Chunked => {
                let size = self.connection.line().await?;
                let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap(), 16).unwrap();
                if size == 0 {
                    return self.read_trailers().await;
                }
                let mut chunk = self.connection.exactly(size + 2).await?;
                chunk.truncate(size);
                Some(chunk)
            }
        }
    }

    async fn read_trailers(&mut self) -> Option<Bytes> {
        loop {
            let line = self.connection.line().await?;
            if line.is_empty() {
                self.framing = Framing::Ended;
                return None;
            }
            self.trailers.push(parse_header(&line));
        }
    }
}

/// A whole answer.
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The body was not cut.
    pub(crate) complete: bool,
    pub(crate) body: Bytes,
}

impl Whole {
    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// A trailer's value; empty where there is none.
    pub(crate) fn trailer(&self, name: &str) -> &str {
        find(&self.trailers, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// A member of the error object.
    pub(crate) fn error(&self, member: &str) -> Value {
        self.json()["error"][member].clone()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let text = std::str::from_utf8(head).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    (status.expect("a status line"), lines.map(|line| parse_header(line.as_bytes())).collect())
}

/// A header line, its name in small letters.
pub(crate) fn parse_header(line: &[u8]) -> (String, String) {
    let line = std::str::from_utf8(line).unwrap();
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
