//! `tokenbroker health`: is the gateway that runs with this configuration ready for requests? For the health check of a
//! container, whose image has neither a shell nor curl.
//!
//! It asks `/readyz` of the operations listener, over the address that the configuration and the variables give, so that
//! a health check needs no argument where `serve` needs none. Only 0 and 1 are answered, the two codes that a container
//! engine knows. It has no TLS and follows no redirect: the listener is this machine's own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::Method;

use super::args::Environment;
use super::output::{Exit, Output};
use crate::config::Config;
use crate::sandbox::loopback::{self, LoopbackError};
use crate::tasks::Tasks;

/// What is read of an answer: the one line that `/readyz` says, and no more of whatever else answers there.
const MOST_BYTES: usize = 4096;

/// What `health` takes.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// What to ask [default: /readyz of the operations listener that the configuration and the variables give].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The configuration that the gateway runs with; without it, defaults and variables alone.
    #[arg(long, value_name = "FILE", env = "TOKENBROKER_CONFIG")]
    pub config: Option<PathBuf>,
    /// How long the answer may take, in milliseconds.
    #[arg(long, value_name = "NUMBER", default_value_t = 2000)]
    pub timeout_ms: u64,
}

/// Runs `tokenbroker health`: success when the gateway answers that it is ready, failure with the reason in every other case.
pub fn run(args: &HealthArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => format!("http://{}/readyz", reached_at(operations_listener(args, environment)?)),
    };
    let patience = Duration::from_millis(args.timeout_ms);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let answered = runtime.block_on(async { tokio::time::timeout(patience, ask(&url)).await });
    let wrong = match answered {
        Ok(Ok((200, said))) => {
            output.line(said)?;
            return Ok(Exit::Success);
        }
        Ok(Ok((status, said))) => format!("{url} answers {status}: {said}"),
        Ok(Err(LoopbackError::Connect(error))) if error.kind() == ErrorKind::ConnectionRefused => format!(
            "{url} does not answer: nobody listens there; `tokenbroker serve` prints its operations address, give it with --url"
        ),
        Ok(Err(error)) => format!("{url} does not answer: {:#}", anyhow::Error::from(error)),
        Err(_) => format!("{url} does not answer within {} ms", args.timeout_ms),
    };
    output.note(format!("not healthy: {wrong}"))?;
    Ok(Exit::Failure)
}

/// Where the operations listener is to listen.
fn operations_listener(args: &HealthArgs, environment: &Environment) -> anyhow::Result<SocketAddr> {
    let shown = args.config.as_ref().map(|path| path.display().to_string());
    let text = match (&args.config, &shown) {
        (Some(path), Some(shown)) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?),
        _ => None,
    };
    let file = shown.as_deref().zip(text.as_deref());
    // A problem elsewhere in the file is for `check` to tell: a gateway that was started before it came in is still well.
    let (config, _) = Config::read(file, environment);
    Ok(config.server.operations_listen)
}

/// An address to connect to: what listens on all addresses is asked on loopback.
fn reached_at(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The status, and the beginning of the body as one line of text.
async fn ask(url: &str) -> Result<(u16, String), LoopbackError> {
    let tasks = Tasks::on_this_runtime();
    let mut answer = loopback::call(&tasks, Method::GET, url, &[], "").await?;
    let mut body = Vec::new();
    while body.len() < MOST_BYTES
        && let Some(bytes) = answer.chunk().await?
    {
        body.extend_from_slice(&bytes);
    }
    body.truncate(MOST_BYTES);
    let text = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((answer.status, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;
    use crate::cli::setup::testing::environment;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    fn health(args: &HealthArgs, variables: &[(&str, &str)]) -> (Exit, String, String) {
        captured(|output| run(args, &environment(variables), output))
    }

    fn args() -> HealthArgs {
        HealthArgs { url: None, config: None, timeout_ms: 30_000 }
    }

    /// Answers one call with these bytes; gives the address, and the path that was asked for.
    fn answering(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned()
        });
        (address, asked)
    }

    #[test]
    fn a_gateway_that_is_ready_is_found_by_its_configuration() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, format!("[server]\noperations_listen = \"0.0.0.0:{}\"\n", address.port())).unwrap();
        let args = HealthArgs { config: Some(file), ..args() };
        assert_eq!(health(&args, &[]), (Exit::Success, "ready\n".into(), String::new()));
        assert_eq!(asked.join().unwrap(), "/readyz");
    }

    #[test]
    fn a_variable_wins_over_the_configuration_here_too() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n");
        let listen = address.to_string();
        assert_eq!(health(&args(), &[("TOKENBROKER__SERVER__OPERATIONS_LISTEN", &listen)]).0, Exit::Success);
        assert_eq!(asked.join().unwrap(), "/readyz");
    }

    #[test]
    fn what_is_not_ready_says_why() {
        let (address, asked) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n");
        let url = format!("http://{address}/elsewhere?deep=1");
        let (exit, out, err) = health(&HealthArgs { url: Some(url.clone()), ..args() }, &[]);
        assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
        assert_eq!(err, format!("not healthy: {url} answers 503: draining\n"));
        assert_eq!(asked.join().unwrap(), "/elsewhere?deep=1");
    }

    #[test]
    fn nobody_there_and_an_address_that_is_none_are_failures() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for url in [format!("http://{free}/readyz"), "readyz".to_owned(), "http://a b/".to_owned()] {
            let (exit, _, err) = health(&HealthArgs { url: Some(url.clone()), ..args() }, &[]);
            assert_eq!(exit, Exit::Failure);
            assert!(err.starts_with(&format!("not healthy: {url} does not answer: ")), "{err}");
            assert_eq!(err.contains("nobody listens there; "), url.ends_with("/readyz"), "{err}");
        }
        let missing = HealthArgs { config: Some("no/such.toml".into()), ..args() };
        let (exit, _, err) = health(&missing, &[]);
        assert!(exit == Exit::Failure && err.contains("cannot read no/such.toml"), "{err}");
    }

    #[test]
    fn silence_ends_with_the_time_limit() {
        // Nobody accepts: the kernel takes the connection, and no byte ever comes.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Some(format!("http://{}/readyz", listener.local_addr().unwrap()));
        let (exit, _, err) = health(&HealthArgs { url, timeout_ms: 50, ..args() }, &[]);
        assert!(exit == Exit::Failure && err.contains("does not answer within 50 ms"), "{err}");
    }

    #[test]
    fn an_answer_without_end_is_read_to_a_bound() {
        let endless = "HTTP/1.1 500 X\r\ncontent-length: 9000000\r\n\r\n".to_owned() + &"x ".repeat(4 * MOST_BYTES);
        let (address, asked) = answering(endless.leak());
        let (exit, _, err) = health(&HealthArgs { url: Some(format!("http://{address}/")), ..args() }, &[]);
        assert!(exit == Exit::Failure && err.len() < 2 * MOST_BYTES, "{}", err.len());
        asked.join().unwrap();
    }

    #[test]
    fn what_listens_everywhere_is_asked_on_loopback() {
        let check = |listens: &str, asked: &str| assert_eq!(reached_at(listens.parse().unwrap()).to_string(), asked);
        check("0.0.0.0:8079", "127.0.0.1:8079");
        check("[::]:8079", "[::1]:8079");
        check("10.1.2.3:1", "10.1.2.3:1");
    }
}
