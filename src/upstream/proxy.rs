//! The way out through a proxy: only where the operator names one, never from the environment.
//!
//! Every site is reached through a tunnel (`CONNECT`), one without TLS too: what the proxy then carries are the same bytes
//! as without it, and it is told a host and a port, no path and no key. Not here: proxies that are spoken to over TLS, SOCKS,
//! and any login but a name with a password.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::uri::Authority;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

/// The largest answer to `CONNECT` that is read.
const MOST_SAID: usize = 8 * 1024;

/// A proxy, and who is reached without it. The login shows in no `Debug` output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    address: Authority,
    authorization: Option<HeaderValue>,
    direct: Vec<Direct>,
}

impl Proxy {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`, with `%40` and its like in user and password.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, host) = rest.rsplit_once('@').map_or((None, rest), |(login, host)| (Some(login), host));
        let address: Authority =
            host.parse().ok().filter(|host: &Authority| host.port_u16().is_some() && !host.host().is_empty())?;
        let authorization = match login {
            Some(login) => {
                let mut value = HeaderValue::try_from(format!("Basic {}", base64(&unescaped(login)?))).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Some(Self { address, authorization, direct: Vec::new() })
    }

    /// These are reached without it.
    #[must_use]
    pub fn except(self, direct: Vec<Direct>) -> Self {
        Self { direct, ..self }
    }

    /// Whether a host is reached through it. What runs on this machine never is.
    fn leads_to(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let local = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !local && !self.direct.iter().any(|direct| direct.covers(host))
    }
}

/// Who is reached without the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    /// A domain and what is under it.
    Domain(String),
    /// Addresses that begin with these bits. Names are not resolved for it.
    Network { bits: u128, length: u32, v4: bool },
}

impl Direct {
    /// Reads `example.com`, `.example.com`, an address or a network such as `10.0.0.0/8`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        if let Ok(ip) = address.parse::<IpAddr>() {
            let whole = if ip.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Some(whole), |length| length.parse().ok()).filter(|length| *length <= whole)?;
            return Some(Direct::Network { bits: high_bits(ip), length, v4: ip.is_ipv4() });
        }
        let domain = text.strip_prefix('.').unwrap_or(text);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        (!domain.is_empty() && domain.bytes().all(fits)).then(|| Direct::Domain(domain.to_ascii_lowercase()))
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Direct::Domain(domain) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(domain.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Direct::Network { bits, length, v4 } => host.parse::<IpAddr>().is_ok_and(|ip| {
                let differs = high_bits(ip) ^ bits;
                ip.is_ipv4() == *v4 && differs.leading_zeros() >= *length
            }),
        }
    }
}

/// An address with its first bit in the first place.
fn high_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Why a tunnel could not be had.
#[derive(Debug, thiserror::Error)]
enum NoTunnel {
    #[error("the proxy {0} cannot be reached: {1}")]
    Unreachable(Authority, BoxError),
    #[error("the proxy {0} asks for a login, or refuses the one it was given (upstream.proxy)")]
    Login(Authority),
    #[error("the proxy {0} refuses to connect to {1}: status {2}")]
    Refused(Authority, String, u16),
    #[error("the proxy {0} does not answer as a proxy does")]
    NoProxy(Authority),
    #[error("the proxy {0} broke off: {1}")]
    Broke(Authority, std::io::Error),
}

/// Opens connections, directly or through the proxy.
#[derive(Debug, Clone)]
pub(super) struct WayOut {
    pub(super) tcp: HttpConnector,
    pub(super) proxy: Option<Arc<Proxy>>,
}

impl Service<Uri> for WayOut {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (mut tcp, proxy) = (self.tcp.clone(), self.proxy.clone());
        let proxy = proxy.filter(|proxy| proxy.leads_to(to.host().unwrap_or_default()));
        Box::pin(async move {
            match proxy {
                None => Ok(tcp.call(to).await?),
                Some(proxy) => Ok(tunnel(tcp, &proxy, &to).await?),
            }
        })
    }
}

async fn tunnel(mut tcp: HttpConnector, proxy: &Proxy, to: &Uri) -> Result<TokioIo<TcpStream>, NoTunnel> {
    let unreachable = |error: BoxError| NoTunnel::Unreachable(proxy.address.clone(), error);
    let broke = |error| NoTunnel::Broke(proxy.address.clone(), error);
    let address = Uri::try_from(format!("http://{}", proxy.address)).map_err(|error| unreachable(error.into()))?;
    let mut stream = tcp.call(address).await.map_err(|error| unreachable(error.into()))?.into_inner();
    let target = target(to);
    stream.write_all(&request(proxy, &target)).await.map_err(broke)?;
    let mut said = Vec::new();
    while !said.windows(4).any(|four| four == b"\r\n\r\n") {
        if said.len() > MOST_SAID || stream.read_buf(&mut said).await.map_err(broke)? == 0 {
            return Err(NoTunnel::NoProxy(proxy.address.clone()));
        }
    }
    match status(&said) {
        // The site waits for us to begin: nothing of its can have come already.
        Some(200..=299) if said.ends_with(b"\r\n\r\n") => Ok(TokioIo::new(stream)),
        Some(407) => Err(NoTunnel::Login(proxy.address.clone())),
        Some(code @ 300..=599) => Err(NoTunnel::Refused(proxy.address.clone(), target, code)),
        _ => Err(NoTunnel::NoProxy(proxy.address.clone())),
    }
}

/// Host and port of a site, the port always.
fn target(to: &Uri) -> String {
    let otherwise = if to.scheme_str() == Some("http") { 80 } else { 443 };
    format!("{}:{}", to.host().unwrap_or_default(), to.port_u16().unwrap_or(otherwise))
}

fn request(proxy: &Proxy, target: &str) -> Vec<u8> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"proxy-authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

fn status(said: &[u8]) -> Option<u16> {
    let line = said.strip_prefix(b"HTTP/1.")?.get(1..5)?;
    let digits = line.strip_prefix(b" ")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut plain) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(plain)
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([0, 0].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_with_a_port_and_its_login_stays_hidden() {
        let proxy = Proxy::parse("http://ann:p%40ss:w%2Ford@proxy.example:3128/").unwrap();
        assert_eq!(proxy.address, "proxy.example:3128");
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic YW5uOnBAc3M6dy9vcmQ=");
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("YW5u") && !shown.contains("ann"), "{shown}");
        assert!(Proxy::parse("http://[::1]:3128").is_some());
        for wrong in ["", "proxy:3128", "http://proxy", "https://proxy:3128", "http://:3128", "http://a:b%4@p:1", "http://p:1/x"]
        {
            assert!(Proxy::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn text_in_base64_is_as_the_standard_has_it() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn who_is_excepted_is_reached_directly() {
        let direct = ["example.com", ".corp", "10.0.0.0/8", "192.0.2.7", "fd00::/8"].map(|text| Direct::parse(text).unwrap());
        let proxy = Proxy::parse("http://proxy:3128").unwrap().except(direct.to_vec());
        let check = |host: &str, expected: bool| assert_eq!(proxy.leads_to(host), expected, "{host}");
        for direct in ["example.com", "API.Example.com", "x.corp", "corp", "10.200.3.4", "192.0.2.7", "[fd12::1]", "localhost"] {
            check(direct, false);
        }
        for direct in ["127.0.0.1", "[::1]", "127.8.8.8"] {
            check(direct, false);
        }
        for led in ["badexample.com", "example.com.evil.org", "11.0.0.1", "192.0.2.8", "api.openai.com", "[fe80::1]", "0.0.0.10"]
        {
            check(led, true);
        }
        for wrong in ["", "a b", "http://x", "10.0.0.0/33", "x/8", "*"] {
            assert_eq!(Direct::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_answer_of_a_proxy_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 \r\n\r\n"), Some(407));
        for wrong in ["HTTP/2 200\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", ""] {
            assert_eq!(status(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
