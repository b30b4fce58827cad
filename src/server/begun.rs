//! The first bytes of a connection, which tell HTTP/2 from HTTP/1, and the connection with those bytes put back.
//!
//! They are read once; after that a read costs one comparison more than without this. HTTP/2 is recognised by its preface
//! alone (prior knowledge): an `upgrade: h2c` request is answered as the HTTP/1.1 request that it is, since the standard
//! has withdrawn that way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose first bytes have been looked at.
pub(super) struct Begun {
    stream: TokioIo<TcpStream>,
    ahead: [u8; PREFACE.len()],
    /// What of `ahead` has yet to be read.
    unread: std::ops::Range<usize>,
}

impl Begun {
    /// Waits for as many bytes as it takes to tell; `None` when the client closes before.
    pub(super) async fn on(mut stream: TcpStream) -> io::Result<Option<(Self, Protocol)>> {
        let (mut ahead, mut filled) = ([0; PREFACE.len()], 0);
        let protocol = loop {
            let read = stream.read(&mut ahead[filled..]).await?;
            if read == 0 {
                return Ok(None);
            }
            filled += read;
            if ahead[..filled] != PREFACE[..filled] {
                break Protocol::Http1;
            }
            if filled == PREFACE.len() {
                break Protocol::Http2;
            }
        };
        Ok(Some((Self { stream: TokioIo::new(stream), ahead, unread: 0..filled }, protocol)))
    }
}

impl Read for Begun {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let end = self.unread.end.min(self.unread.start + into.remaining());
        into.put_slice(&self.ahead[self.unread.start..end]);
        self.unread.start = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// What a client that sends these pieces is taken for, and whether the bytes are all still there.
    async fn check(pieces: &[&[u8]], expected: Option<Protocol>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let send = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.set_nodelay(true).unwrap();
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let receive = async {
            let (stream, _) = listener.accept().await.unwrap();
            let begun = Begun::on(stream).await.unwrap();
            assert_eq!(begun.as_ref().map(|(_, protocol)| *protocol), expected, "{pieces:?}");
            if let Some((begun, _)) = begun {
                let mut all = Vec::new();
                TokioIo::new(begun).read_to_end(&mut all).await.unwrap();
                assert_eq!(all, pieces.concat());
            }
        };
        tokio::join!(send, receive);
    }

    #[tokio::test]
    async fn the_preface_tells_and_nothing_is_lost() {
        check(&[PREFACE, b"\0\0\0\x04"], Some(Protocol::Http2)).await;
        check(&[b"P", b"RI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n"], Some(Protocol::Http2)).await;
        check(&[b"GET / HTTP/1.1\r\n\r\n"], Some(Protocol::Http1)).await;
        check(&[b"P", b"OST /v1/chat/completions HTTP/1.1\r\n\r\n"], Some(Protocol::Http1)).await;
        check(&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"], Some(Protocol::Http1)).await;
        check(&[], None).await;
        check(&[b"PRI"], None).await;
    }
}
