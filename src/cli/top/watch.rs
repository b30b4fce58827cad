//! Asks a gateway's operations listener for its feed, and says in one sentence why that did not work.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Uri};

use crate::config::settings::Server;
use crate::feed::Overview;
use crate::sandbox::loopback::{self, LoopbackError};
use crate::tasks::Tasks;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unseen {
    #[error("{0} is no address of an operations listener; give one such as http://{usual}", usual = usual())]
    Address(String),
    #[error("no gateway answers at {url}: {reason}; `tokenbroker serve` prints its operations address, give it with --url")]
    Unreachable { url: String, reason: String },
    #[error("{url} did not answer within {} seconds", PATIENCE.as_secs())]
    Slow { url: String },
    #[error(
        "{url} answers, but has no feed: give the operations address (not the API's), and see that server.dashboard is not off"
    )]
    NoFeed { url: String },
    #[error("{url} answered {status}: {said}")]
    Refused { url: String, status: u16, said: String },
    #[error("what answers at {url} is not the operations listener of this version of tokenbroker")]
    Foreign { url: String },
}

/// An operations listener to look at.
pub(super) struct Watched {
    url: String,
    tasks: Tasks,
}

impl Watched {
    /// At an address as people type it: `http://host:port`, or without the scheme or the port.
    pub(super) fn at(typed: Option<&str>) -> Result<Self, Unseen> {
        let usual = usual();
        let nothing = usual.to_string();
        let typed = typed.unwrap_or(&nothing);
        let wrong = || Unseen::Address(typed.to_owned());
        let url = if typed.contains("://") { typed.to_owned() } else { format!("http://{typed}") };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(usual.port());
        Ok(Self { url: format!("http://{}:{port}", authority.host()), tasks: Tasks::on_this_runtime() })
    }

    /// The newest `last` entries of those that changed after `since`.
    pub(super) async fn look(&self, last: usize, since: u64) -> Result<Overview, Unseen> {
        let url = self.url.clone();
        let asked = tokio::time::timeout(PATIENCE, self.ask(&format!("{url}/feed?once&last={last}&since={since}"))).await;
        let (status, body) = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Unseen::Unreachable { url, reason: reason(&error) }),
            Err(_) => return Err(Unseen::Slow { url }),
        };
        match status {
            200 => serde_json::from_slice(&body).map_err(|_| Unseen::Foreign { url }),
            404 => Err(Unseen::NoFeed { url }),
            _ => {
                let said: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
                Err(Unseen::Refused { url, status, said: crate::feed::words::plain(&said) })
            }
        }
    }

    async fn ask(&self, url: &str) -> Result<(u16, Vec<u8>), LoopbackError> {
        let mut answer = loopback::call(&self.tasks, Method::GET, url, &[], "").await?;
        Ok((answer.status, answer.whole().await?))
    }
}

/// The operations listener that nobody moved.
fn usual() -> SocketAddr {
    Server::default().operations_listen
}

/// What went wrong at the bottom of it.
fn reason(error: &LoopbackError) -> String {
    match error {
        LoopbackError::Connect(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_may_be_typed_in_short_and_is_never_https() {
        let check = |typed: &str, url: &str| assert_eq!(Watched::at(Some(typed)).unwrap().url, url);
        check("127.0.0.1:7000", "http://127.0.0.1:7000");
        check("http://10.0.0.1", "http://10.0.0.1:8079");
        check("http://[::1]:7000/metrics", "http://[::1]:7000");
        check("localhost", "http://localhost:8079");
        assert_eq!(Watched::at(None).unwrap().url, "http://127.0.0.1:8079");
        for wrong in ["https://127.0.0.1:1", "ftp://a", "http://", "a b", ""] {
            assert!(
                Watched::at(Some(wrong)).is_err_and(|unseen| unseen.to_string().contains("http://127.0.0.1:8079")),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_one_sentence_says_what_to_do() {
        let free = tokio::net::TcpSocket::new_v4().unwrap();
        free.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let watched = Watched::at(Some(&free.local_addr().unwrap().to_string())).unwrap();
        let said = watched.look(1, 0).await.unwrap_err().to_string();
        assert!(said.contains("nobody listens there") && said.contains("--url") && !said.contains('\n'), "{said}");
    }
}
