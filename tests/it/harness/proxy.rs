//! A proxy that knows `CONNECT` and nothing else. It leads every name to one address, so that a test can use names that
//! nobody else resolves, and keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokenbroker::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads everybody to `site`, where the request names this login or none is wanted; `says` answers every other.
    pub(crate) async fn start(site: SocketAddr, login: Option<&'static str>, says: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (tasks, inside) = (Tasks::on_this_runtime(), Arc::clone(&asked));
        tasks.clone().spawn("proxy", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let asked = Arc::clone(&inside);
                tasks.spawn("tunnel", async move { lead(stream, site, login, says, &asked).await });
            }
        });
        Self { address, asked }
    }

    /// The heads of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn lead(mut client: TcpStream, site: SocketAddr, login: Option<&str>, says: &str, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let let_in = login.is_none_or(|login| head.contains(&format!("proxy-authorization: Basic {login}\r\n")));
    asked.lock().unwrap().push(head);
    if !let_in || !says.is_empty() {
        let says = if let_in { says } else { "407 Proxy Authentication Required" };
        let _ = client.write_all(format!("HTTP/1.1 {says}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        return;
    }
    let mut site = TcpStream::connect(site).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut site).await;
}
