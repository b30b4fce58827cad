//! A connection to a store that gateways share: TCP, with TLS over it where that is asked for. Whoever speaks over it knows the
//! store's protocol; here is only whose certificates are believed, and how long to wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::UpstreamError;
use super::trust::Trust;

/// Where to, and how.
#[derive(Clone)]
pub struct Way {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// What is said in the clear before TLS begins, and what is answered then.
    opening: Option<(&'static [u8], u8)>,
}

impl Way {
    pub fn to(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, tls: None, opening: None }
    }

    /// With TLS, believing these.
    pub fn secured(self, trust: &Trust) -> Result<Self, UpstreamError> {
        Ok(Self { tls: Some(Arc::new(trust.config()?)), ..self })
    }

    /// Before TLS begins this is said, and this byte is answered by those who have it.
    #[must_use]
    pub fn after(self, said: &'static [u8], answered: u8) -> Self {
        Self { opening: Some((said, answered)), ..self }
    }

    /// Opens a connection within a time.
    pub async fn open(&self, within: Duration) -> io::Result<Socket> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", within.as_secs()));
        tokio::time::timeout(within, self.connect()).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn connect(&self) -> io::Result<Socket> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Socket::Plain(stream)) };
        if let Some((said, expected)) = self.opening {
            stream.write_all(said).await?;
            if stream.read_u8().await? != expected {
                return Err(io::Error::other("the server has no TLS"));
            }
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        Ok(Socket::Tls(Box::new(stream)))
    }
}

/// An open connection.
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Socket::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    /// Says `S` to the opening, then TLS, and echoes one byte.
    async fn serve(listener: TcpListener, answer: u8, config: Arc<ServerConfig>) -> io::Result<()> {
        let (mut stream, _) = listener.accept().await?;
        let mut asked = [0; 3];
        stream.read_exact(&mut asked).await?;
        assert_eq!(&asked, b"TLS");
        stream.write_u8(answer).await?;
        let mut stream = TlsAcceptor::from(config).accept(stream).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.shutdown().await
    }

    async fn exchange(way: &Way) -> io::Result<u8> {
        let mut socket = way.open(WITHIN).await?;
        socket.write_u8(7).await?;
        socket.flush().await?;
        socket.read_u8().await
    }

    #[tokio::test]
    async fn tls_begins_after_the_opening_and_a_stranger_is_not_believed() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        for (pem, answer, well) in [(made.cert.pem(), b'S', true), (other, b'S', false), (made.cert.pem(), b'N', false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let way = Way::to("localhost", port).secured(&Trust::Only(pem)).unwrap().after(b"TLS", b'S');
            let (_, told) = tokio::join!(serve(listener, answer, Arc::clone(&config)), exchange(&way));
            assert_eq!(told.is_ok(), well, "{told:?}");
        }
    }
}
