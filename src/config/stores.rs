//! What the gateways of a fleet share: the addresses of PostgreSQL and Redis. An address holds no password, so it can be shown;
//! passwords come from the environment or a file that it names, as providers' keys do.

use std::fmt;

use super::setting::Kind;
use crate::document::Section;

/// The variable that holds the password for PostgreSQL, or with `_FILE` the path of a file with it,
pub const POSTGRES_PASSWORD: &str = "TOKENBROKER_POSTGRES_PASSWORD";
/// and the one for Redis.
pub const REDIS_PASSWORD: &str = "TOKENBROKER_REDIS_PASSWORD";

/// The stores that several gateways share, where they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    pub postgres: Option<StoreAddress>,
    pub redis: Option<StoreAddress>,
    /// No new request is taken on while more than this wait for PostgreSQL.
    pub most_waiting: u64,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { postgres: None, redis: None, most_waiting: 5_000_000 }
    }
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// As it was written.
    text: String,
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    /// The name of a database of PostgreSQL, the number of one of Redis; empty where none was named.
    pub database: String,
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which store an address is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Postgres,
    Redis,
}

impl StoreKind {
    const fn shape(self) -> &'static str {
        match self {
            Self::Postgres => {
                "postgres://USER@HOST[:PORT]/DATABASE; TLS is used but for loopback (?tls=off or ?tls=on say otherwise); the password is in TOKENBROKER_POSTGRES_PASSWORD"
            }
            Self::Redis => {
                "redis://[USER@]HOST[:PORT][/NUMBER], or rediss:// with TLS; the password is in TOKENBROKER_REDIS_PASSWORD"
            }
        }
    }

    /// What an address says; `None` where it says nothing, or a password.
    fn parse(self, text: &str) -> Option<StoreAddress> {
        let (scheme, rest) = text.split_once("://")?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = place.rsplit_once('@').map_or((None, place), |(user, place)| (Some(user), place));
        let (host, port) = host_and_port(place)?;
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if host.is_empty() || user.is_some_and(|user| user.is_empty() || !is_word(user)) || !is_word(database) {
            return None;
        }
        let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let (tls, usual) = match (self, scheme, options) {
            (Self::Postgres, "postgres" | "postgresql", "") => (!loopback, 5432),
            (Self::Postgres, "postgres" | "postgresql", "tls=on") => (true, 5432),
            (Self::Postgres, "postgres" | "postgresql", "tls=off") => (false, 5432),
            (Self::Redis, "redis", "") => (false, 6379),
            (Self::Redis, "rediss", "") => (true, 6379),
            _ => return None,
        };
        let whole = match self {
            Self::Postgres => user.is_some() && !database.is_empty(),
            Self::Redis => database.is_empty() || database.parse::<u16>().is_ok(),
        };
        let (user, host, database) = (user.map(str::to_owned), host.to_owned(), database.to_owned());
        whole.then(|| StoreAddress { text: text.to_owned(), tls, host, port: port.unwrap_or(usual), user, database })
    }
}

/// `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return Some((host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?.parse().ok()?) }));
    }
    let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    is_host.then_some((host, port))
}

/// The address of a store.
pub(super) struct Store(pub(super) StoreKind);

impl Kind for Store {
    type Value = StoreAddress;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<StoreAddress> {
        let address = self.0.parse(&section.text(name)?);
        if address.is_none() {
            // The value is not repeated: somebody may have put the password there.
            section.problem(name, "this is no such address, or it holds a password", self.accepted());
        }
        address
    }

    fn accepted(&self) -> String {
        self.0.shape().to_owned()
    }

    fn written(&self, value: &StoreAddress) -> Option<String> {
        Some(format!("{:?}", value.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: StoreKind, text: &str, expected: Option<(bool, &str, u16, Option<&str>, &str)>) {
        let told = kind.parse(text);
        let told = told.as_ref().map(|a| (a.tls, a.host.as_str(), a.port, a.user.as_deref(), a.database.as_str()));
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn an_address_says_where_and_never_holds_a_password() {
        use StoreKind::{Postgres, Redis};
        check(Postgres, "postgres://books@db.example.com/ledger", Some((true, "db.example.com", 5432, Some("books"), "ledger")));
        check(Postgres, "postgresql://b@127.0.0.1:6000/l", Some((false, "127.0.0.1", 6000, Some("b"), "l")));
        check(Postgres, "postgres://b@localhost/l?tls=on", Some((true, "localhost", 5432, Some("b"), "l")));
        check(Postgres, "postgres://b@db/l?tls=off", Some((false, "db", 5432, Some("b"), "l")));
        check(Postgres, "postgres://b@[::1]:7/l", Some((false, "::1", 7, Some("b"), "l")));
        for wrong in ["db/l", "postgres://db/l", "postgres://b@db", "postgres://b:s3cret@db/l", "postgres://b@db:0/l"] {
            check(Postgres, wrong, None);
        }
        for wrong in ["postgres://b@db/l?sslmode=off", "mysql://b@db/l", "postgres://b@/l", "postgres://b@[db]/l", ""] {
            check(Postgres, wrong, None);
        }
        check(Redis, "redis://cache", Some((false, "cache", 6379, None, "")));
        check(Redis, "rediss://me@cache:7000/3", Some((true, "cache", 7000, Some("me"), "3")));
        for wrong in ["redis://:s3cret@cache", "redis://cache/x", "http://cache", "redis://cache?tls=on"] {
            check(Redis, wrong, None);
        }
    }
}
