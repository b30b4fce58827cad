//! The checked settings and their defaults. What is accepted for each, and what operators are told about it, stands in
//! [`reference`](super::reference).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::feeds::{Admin, PriceFeed};
use super::keys::GatewayKey;
use super::means::Means;
use super::outbound::Outbound;
use super::stores::Fleet;
use crate::canonical::{Preference, QualityTier};
use crate::policy::ShareCap;
use crate::units::Usd;

/// The quality tiers with their words in the file.
pub(super) const QUALITY_WORDS: [(QualityTier, &str); 3] = [
    (QualityTier::Economy, QualityTier::Economy.word()),
    (QualityTier::Standard, QualityTier::Standard.word()),
    (QualityTier::Premium, QualityTier::Premium.word()),
];

/// The preferences with their words in the file.
pub(super) const PREFERENCE_WORDS: [(Preference, &str); 3] = [
    (Preference::Cheapest, Preference::Cheapest.word()),
    (Preference::Balanced, Preference::Balanced.word()),
    (Preference::Fastest, Preference::Fastest.word()),
];

/// What may be logged with its words in the file.
pub(super) const LEVELS: [(LevelFilter, &str); 6] = [
    (LevelFilter::OFF, "off"),
    (LevelFilter::ERROR, "error"),
    (LevelFilter::WARN, "warn"),
    (LevelFilter::INFO, "info"),
    (LevelFilter::DEBUG, "debug"),
    (LevelFilter::TRACE, "trace"),
];

/// Everything the operator decides, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub server: Server,
    pub books: Books,
    /// What it shares with other gateways.
    pub fleet: Fleet,
    pub routing: Routing,
    /// What providers call models that they know under a name of the operator's own.
    pub deployments: Deployments,
    /// Vocabularies of the operator's own.
    pub tokenizers: Tokenizers,
    /// Caps on the share that a provider, an owner or a law gets.
    pub portfolio: Vec<ShareCap>,
    pub timeouts: Timeouts,
    pub retries: Retries,
    pub limits: Limits,
    pub upstream: Outbound,
    /// Who may ask, in the order of their names.
    pub keys: Vec<GatewayKey>,
    /// What the keys of a team may spend together,
    pub teams: BTreeMap<String, Means>,
    /// those of a project,
    pub projects: BTreeMap<String, Means>,
    /// and all of them.
    pub gateway: Means,
    /// Where the price and capability table lies, relative to the working directory.
    pub providers_file: PathBuf,
    pub log: Log,
    pub reload: Reload,
    /// Lists of prices that are followed, in the order of their names.
    pub feeds: Vec<PriceFeed>,
    /// Who may change prices by hand.
    pub admins: Vec<Admin>,
}

/// By the backend's id in the table, what its provider calls the model: the name of a deployment, the id of an endpoint.
pub type Deployments = BTreeMap<String, String>;

/// By a tokenizer family, a model or a backend's id of the table, the `tokenizer.json` that its tokens are counted with.
pub type Tokenizers = BTreeMap<String, PathBuf>;

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            books: Books::default(),
            fleet: Fleet::default(),
            routing: Routing::default(),
            deployments: Deployments::new(),
            tokenizers: Tokenizers::new(),
            portfolio: Vec::new(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            limits: Limits::default(),
            upstream: Outbound::default(),
            keys: Vec::new(),
            teams: BTreeMap::new(),
            projects: BTreeMap::new(),
            gateway: Means::default(),
            providers_file: PathBuf::from("providers.toml"),
            log: Log::default(),
            reload: Reload::default(),
            feeds: Vec::new(),
            admins: Vec::new(),
        }
    }
}

impl Config {
    /// Who is answered: everybody where no key is configured, else only those who present one. Beyond loopback a key is asked for
    /// also where none is there yet, for an administrator may make one; and in a fleet, whose keys a new gateway has yet to hear of.
    pub fn access(&self) -> Access {
        let alone = self.fleet.postgres.is_none();
        let within = self.server.open || self.server.listen.ip().is_loopback() && alone;
        if self.keys.is_empty() && within { Access::Open } else { Access::Keys }
    }
}

/// Who is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who can connect. Only on loopback, or where the operator asked for it.
    Open,
    /// Those who present a key of the configuration or a virtual one.
    Keys,
}

/// The two listeners and what a connection may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The API, `/healthz` and `/readyz`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `/metrics` and the probes, without keys: keep it on loopback or inside a private network.
    pub operations_listen: SocketAddr,
    /// The largest request body.
    pub max_body_bytes: usize,
    pub max_upload_bytes: usize,
    /// The largest request head.
    pub max_header_bytes: usize,
    /// How long a client may take to send its request's head; also how long a connection may wait for its next request.
    /// Longer than the minute after which load balancers close theirs, so that none sends into a closed connection.
    pub header_timeout: Duration,
    /// How long a client may take to send its request's body.
    pub body_timeout: Duration,
    /// Connections beyond this wait to be accepted.
    pub max_connections: usize,
    /// How long open streams may go on after a request to stop.
    pub drain: Duration,
    /// Answer without keys although the API listens beyond loopback.
    pub open: bool,
    /// Show the last decisions on the operations listener: a page at `/`, the feed at `/feed`.
    pub dashboard: bool,
    /// Whose pages may call the API from a browser: origins, or `*` for all. None: nobody's.
    pub cors_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: loopback(8080),
            operations_listen: loopback(8079),
            max_body_bytes: 8 << 20,
            // A file of 25 MiB, which is what hosts take, and the fields beside it.
            max_upload_bytes: 26 << 20,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            drain: Duration::from_secs(30),
            open: false,
            dashboard: true,
            cors_origins: Vec::new(),
        }
    }
}

/// Where the books lie, how often they are forced to the disk, and how long decisions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// The data directory, relative to the working directory. One gateway at a time.
    pub directory: PathBuf,
    pub sync: BooksSync,
    /// For how many days a decision can be explained; 0 keeps nothing of it but what it cost.
    pub decision_days: u32,
    /// Of how many of a hundred requests; the last decisions of all requests are in memory anyway.
    pub decision_sample_percent: u32,
    /// How many whole answers a minute are counted although their provider reports them.
    pub counted_per_minute: u32,
    /// For how many days the rows of a request are kept; `None` keeps them for good.
    pub row_days: Option<u32>,
}

impl Default for Books {
    fn default() -> Self {
        let directory = PathBuf::from("tokenbroker-data");
        Self {
            directory,
            sync: BooksSync::Second,
            decision_days: 30,
            decision_sample_percent: 100,
            counted_per_minute: 10,
            row_days: None,
        }
    }
}

/// When the journal is forced to the disk. A killed process loses nothing either way; a power cut is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BooksSync {
    /// Once a second, beside the path of requests.
    Second,
    /// Before each answer: slower by one disk flush.
    Always,
}

impl BooksSync {
    /// Every value with its word in the file.
    pub const WORDS: [(BooksSync, &'static str); 2] = [(BooksSync::Second, "second"), (BooksSync::Always, "always")];
}

/// How a backend is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// The floor of requests that name none.
    pub default_quality: QualityTier,
    /// Upstream requests one client request may lead to.
    pub max_attempts: u32,
    /// How much the expected cost of failure weighs in the score: 100 as computed, 0 not at all.
    pub risk_weight_percent: u32,
    /// How much counts of what prices may become while a session stays: 100 as computed, 0 not at all.
    pub price_risk_weight_percent: u32,
    /// Of a thousand requests, how many may look at another backend than the best.
    pub explore_permille: u16,
    /// What such requests may be expected to cost more than the best in a day.
    pub explore_usd_per_day: Usd,
    /// Further model names for clients: alias to `auto...`, a model or `provider/model`. Aliases do not chain.
    pub aliases: BTreeMap<String, String>,
    /// What some of the aliases wish for those who use them.
    pub alias_wishes: BTreeMap<String, AliasWishes>,
    /// The backend (`provider/model`) whose price tells what the same requests would have cost there.
    pub baseline: Option<String>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            default_quality: QualityTier::Economy,
            max_attempts: 4,
            risk_weight_percent: 100,
            price_risk_weight_percent: 100,
            explore_permille: 0,
            explore_usd_per_day: Usd::from_pico(100_000_000_000),
            aliases: BTreeMap::new(),
            alias_wishes: BTreeMap::new(),
            baseline: None,
        }
    }
}

/// What an alias wishes for those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AliasWishes {
    pub prefer: Option<Preference>,
    /// What a million tokens may be expected to cost.
    pub max_price: Option<Usd>,
}

/// How long one upstream request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS.
    pub connect: Duration,
    /// From sending the request to the first meaningful byte of the answer.
    pub first_byte: Duration,
    /// The longest silence within a stream.
    pub stream_idle: Duration,
    /// The whole of one client request, all attempts and the whole stream included. An attempt with others behind it gets
    /// half of what is left, so that one that hangs leaves them some.
    pub total: Duration,
    /// For how long the rest of a stream is heard whose client has left; zero where its provider is let go at once.
    pub heard_out: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_mins(1),
            stream_idle: Duration::from_mins(1),
            total: Duration::from_mins(10),
            heard_out: Duration::ZERO,
        }
    }
}

/// How many upstream requests beyond the first ones are allowed, over all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Extra upstream requests per hundred client requests.
    pub share_percent: u32,
    /// Extra upstream requests per second that are always allowed, so that a quiet gateway can fail over.
    pub floor_per_second: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { share_percent: 20, floor_per_second: 3 }
    }
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait on one backend without a byte of an answer.
    pub max_waiting_per_backend: u32,
    /// Client requests under way; further ones get 503.
    pub max_concurrent_requests: u32,
    /// Megabytes of answers that a later request may go on from; none where it is 0.
    pub stored_responses_mib: u32,
    /// How long one is kept.
    pub stored_responses_minutes: u32,
    /// The status of a request that a budget does not bear.
    pub over_budget_status: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_waiting_per_backend: 256,
            max_concurrent_requests: 4096,
            stored_responses_mib: 0,
            stored_responses_minutes: 60,
            over_budget_status: 402,
        }
    }
}

/// Whether changed files are noticed by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Look whether configuration, table or a file with a key has changed. Without it, a signal (SIGHUP) or
    /// `POST /reload` asks for it.
    pub watch: bool,
    /// How often to look. A change counts once two looks have seen the same.
    pub interval: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true, interval: Duration::from_secs(1) }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub level: LevelFilter,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, format: LogFormat::Text }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Every value with its word in the file.
    pub const WORDS: [(LogFormat, &'static str); 2] = [(LogFormat::Text, "text"), (LogFormat::Json, "json")];
}
