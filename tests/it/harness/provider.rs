//! A provider that follows a script: raw bytes, pauses that the test ends, and every way to break off. It keeps each
//! request's bytes, and knows when the gateway hung up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokenbroker::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::client::parse_header;
use super::{bedrock, chat, gemini, messages, within};

/// Something the test opens for a provider that waits.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everybody through from now on.
    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // The semaphore never has a permit: only closing it ends the wait.
        let _ = self.0.acquire().await;
    }
}

/// One act of a provider.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Waits until the test lets it go on.
    Wait(Gate),
    /// Does nothing until the gateway hangs up.
    Stall,
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Close,
}

/// What a provider does with one request. A script without an end of its own leaves the connection open for the next.
pub(crate) type Script = Vec<Step>;

/// Answers with a whole body.
pub(crate) fn whole(body: &str) -> Script {
    status(200, &[], body)
}

/// Answers with any status, further headers and a JSON body.
pub(crate) fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Script {
    let more: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let length = body.len();
    raw(&format!("HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"))
}

/// Answers with a stream of these pieces, each in a transfer chunk of its own.
pub(crate) fn stream<P: AsRef<[u8]>>(pieces: &[P]) -> Script {
    stream_as("text/event-stream", pieces)
}

/// The same, of any type.
pub(crate) fn stream_as<P: AsRef<[u8]>>(media_type: &str, pieces: &[P]) -> Script {
    let mut script = begun_as(media_type, pieces);
    script.push(Step::Send(Bytes::from_static(b"0\r\n\r\n")));
    script
}

/// Begins a stream that is not ended.
pub(crate) fn begun<P: AsRef<[u8]>>(pieces: &[P]) -> Script {
    begun_as("text/event-stream", pieces)
}

/// The same, of any type.
pub(crate) fn begun_as<P: AsRef<[u8]>>(media_type: &str, pieces: &[P]) -> Script {
    let mut script = raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"));
    script.extend(pieces.iter().map(|piece| Step::Send(transfer_chunk(piece.as_ref()))));
    script
}

/// Exactly these bytes.
pub(crate) fn raw(text: &str) -> Script {
    vec![Step::Send(Bytes::copy_from_slice(text.as_bytes()))]
}

/// One script after another.
pub(crate) fn then(first: Script, second: impl IntoIterator<Item = Step>) -> Script {
    first.into_iter().chain(second).collect()
}

fn transfer_chunk(piece: &[u8]) -> Bytes {
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

/// A request that arrived at a provider.
pub(crate) struct Arrived {
    /// The path, as asked for.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    gone: watch::Receiver<bool>,
}

impl Arrived {
    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Waits until the gateway has hung up.
    pub(crate) async fn hung_up(&self) {
        let mut gone = self.gone.clone();
        within("the gateway to hang up", gone.wait_for(|gone| *gone)).await.unwrap();
    }
}

/// A scripted provider.
pub(crate) struct Provider {
    pub(crate) id: &'static str,
    pub(crate) address: SocketAddr,
    stage: Arc<Stage>,
    /// Bound but not listening: keeps the port of a provider that refuses connections.
    _refusing: Option<TcpSocket>,
}

struct Stage {
    id: &'static str,
    next: Mutex<VecDeque<Script>>,
    otherwise: Mutex<Option<Script>>,
    arrived: watch::Sender<Vec<Arc<Arrived>>>,
}

impl Provider {
    /// Begins to listen. Without a script it answers well, whatever was asked.
    pub(crate) async fn start(id: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::new(Stage::new(id));
        let (tasks, inside) = (Tasks::on_this_runtime(), Arc::clone(&stage));
        tasks.clone().spawn("provider", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stage = Arc::clone(&inside);
                tasks.spawn("connection of a provider", async move { stage.serve(stream).await });
            }
        });
        Self { id, address, stage, _refusing: None }
    }

    /// Nobody listens at its address.
    pub(crate) fn refusing(id: &'static str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { id, address, stage: Arc::new(Stage::new(id)), _refusing: Some(socket) }
    }

    /// The script for the next request that has none yet.
    pub(crate) fn next(&self, script: Script) -> &Self {
        self.stage.next.lock().unwrap().push_back(script);
        self
    }

    /// The script for every request that `next` says nothing of.
    pub(crate) fn always(&self, script: Script) -> &Self {
        *self.stage.otherwise.lock().unwrap() = Some(script);
        self
    }

    /// Every request so far.
    pub(crate) fn calls(&self) -> Vec<Arc<Arrived>> {
        self.stage.arrived.borrow().clone()
    }

    /// Waits for the request with this number, from 0.
    pub(crate) async fn call(&self, number: usize) -> Arc<Arrived> {
        let mut arrived = self.stage.arrived.subscribe();
        let seen = within("a request at a provider", arrived.wait_for(|calls| calls.len() > number)).await.unwrap();
        Arc::clone(&seen[number])
    }

    /// The key that the gateway is given for it.
    pub(crate) fn key(&self) -> String {
        format!("sk-{}-7f3a91c05be24d68", self.id)
    }
}

impl Stage {
    fn new(id: &'static str) -> Self {
        Self { id, next: Mutex::default(), otherwise: Mutex::default(), arrived: watch::Sender::default() }
    }

    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut buffer = BytesMut::new();
        while let Some((arrived, gone)) = read_request(&mut stream, &mut buffer).await {
            let script = self.script_for(&arrived);
            self.arrived.send_modify(|calls| calls.push(Arc::new(arrived)));
            let open = play(script, &mut stream).await;
            if !open {
                gone.send_replace(true);
                return;
            }
        }
    }

    fn script_for(&self, arrived: &Arrived) -> Script {
        let next = self.next.lock().unwrap().pop_front();
        let otherwise = || self.otherwise.lock().unwrap().clone();
        next.or_else(otherwise).unwrap_or_else(|| {
            let (path, said) = (arrived.path.as_str(), format!("Hello from {}.", self.id));
            let streams = arrived.text().contains(r#""stream":true"#);
            match path.rsplit(['/', ':']).next() {
                Some("messages") if streams => stream(&messages::hello()),
                Some("messages") => whole(&messages::answer(&said, 9, 4)),
                Some("streamGenerateContent?alt=sse") => stream(&gemini::hello()),
                Some("generateContent") => whole(&gemini::answer(&gemini::text(&said), "STOP", &gemini::usage(9, 4))),
                Some("converse-stream") => stream_as("application/vnd.amazon.eventstream", &bedrock::hello()),
                Some("converse") => {
                    whole(&bedrock::answer(&format!(r#"{{"text":"{said}"}}"#), "end_turn", &bedrock::usage(9, 4)))
                }
                _ if streams => stream(&chat::hello()),
                _ => whole(&chat::answer(&said, 9, 4)),
            }
        })
    }
}

/// Plays a script; answers whether the connection is still open.
async fn play(script: Script, stream: &mut TcpStream) -> bool {
    for step in script {
        let open = match step {
            Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
            Step::Wait(gate) => tokio::select! {
                () = gate.passed() => true,
                () = hung_up(stream) => false,
            },
            Step::Stall => {
                hung_up(stream).await;
                false
            }
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                false
            }
            Step::Close => false,
        };
        if !open {
            return false;
        }
    }
    true
}

/// Returns once the other side has closed: it sends nothing while it waits for an answer.
async fn hung_up(stream: &mut TcpStream) {
    let mut byte = [0];
    while matches!(stream.read(&mut byte).await, Ok(1)) {}
}

async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<(Arrived, watch::Sender<bool>)> {
    let end = loop {
        match buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => read_more(stream, buffer).await?,
        }
    };
    let head = buffer.split_to(end);
    let head = std::str::from_utf8(&head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines.map(|line| parse_header(line.as_bytes())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    let body = buffer.split_to(length).freeze();
    let (sender, gone) = watch::channel(false);
    Some((Arrived { path, headers, body, gone }, sender))
}

async fn read_more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}
