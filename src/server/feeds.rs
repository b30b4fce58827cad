//! Following the feeds of prices: a task for each, which fetches it now and then, hands its document to the price book, and
//! asks for the table to be made anew where something came of it.
//!
//! A fetch asks with what the last one said (`ETag`, `Last-Modified`), has a bound in size and time, and follows no redirect,
//! as every request of the one client. What was fetched and could be read is kept on the disk and counts at the next start,
//! before anything is fetched; what could not be fetched or read leaves it in force. Failures are tried again sooner, in
//! growing steps. The pauses vary by a tenth, so that many gateways do not ask in the same second; the dice are seeded by
//! the feed's name, so that a test sees the same pauses.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::routes::Front;
use crate::config::{FeedOrigin, PriceFeed};
use crate::price_book::store::Fetched;
use crate::price_book::{NotTaken, Taken};
use crate::tasks::Tasks;
use crate::telemetry::FeedLook;
use crate::upstream::Upstream;

/// The first pause after a failure; it doubles with each further one, up to the feed's interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const PROGRAM: &str = concat!("tokenbroker/", env!("CARGO_PKG_VERSION"));

/// Starts to follow every feed of a configuration.
pub(super) fn follow(front: &Arc<Front>, feeds: &[PriceFeed], upstream: &Upstream, tasks: &Tasks) {
    for feed in feeds {
        let dice =
            feed.name.bytes().fold(0x9e37_79b9_7f4a_7c15, |dice, byte| (dice ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let follower =
            Follower { feed: Arc::new(feed.clone()), front: Arc::clone(front), upstream: upstream.clone(), dice, failures: 0 };
        let stopping = tasks.stopping().clone();
        tasks.spawn("price feed", async move {
            stopping.run_until_cancelled(follower.run()).await;
        });
    }
}

/// What a look at a feed found.
enum Found {
    Document(Vec<u8>, Fetched),
    /// What there is a copy of.
    Same(Fetched),
}

struct Follower {
    feed: Arc<PriceFeed>,
    front: Arc<Front>,
    upstream: Upstream,
    dice: u64,
    failures: u32,
}

impl Follower {
    async fn run(mut self) {
        self.take_the_copy().await;
        loop {
            self.look().await;
            let pause = self.pause();
            sleep(pause).await;
        }
    }

    fn origin(&self) -> String {
        match &self.feed.origin {
            FeedOrigin::Url(url) => url.clone(),
            FeedOrigin::File(path) => path.display().to_string(),
        }
    }

    /// The copy of an earlier life, judged by the table of now.
    async fn take_the_copy(&mut self) {
        if let Some((document, about)) = self.copy().await {
            match self.take(document).await {
                Ok(taken) => {
                    self.front.prices.is_good(&self.feed.name, about.at);
                    self.put_in_force(&taken).await;
                }
                Err(error) => tracing::warn!(feed = self.feed.name, %error, "the last copy of a price feed cannot be used"),
            }
        }
    }

    async fn copy(&self) -> Option<(Vec<u8>, Fetched)> {
        let (front, name, origin) = (Arc::clone(&self.front), self.feed.name.clone(), self.origin());
        spawn_blocking(move || front.prices.store().copy(&name, &origin)).await.ok().flatten()
    }

    async fn look(&mut self) {
        let before = self.copy().await;
        let about = before.as_ref().map(|(_, about)| about.clone());
        let found = match timeout(self.feed.timeout, self.fetch(about)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no whole answer within {} ms", self.feed.timeout.as_millis())),
        };
        let found = match found {
            Ok(Found::Document(document, about)) if before.as_ref().is_some_and(|(copy, _)| *copy == document) => {
                self.keep(document, about).await.map(|()| None)
            }
            Ok(Found::Document(document, about)) => match self.take(document.clone()).await {
                Ok(taken) => self.keep(document, about).await.map(|()| Some(taken)),
                Err(error) => Err(error.to_string()),
            },
            Ok(Found::Same(about)) => match before {
                Some((document, _)) => self.keep(document, about).await.map(|()| None),
                None => Err("the site says that nothing has changed, but there is no copy".to_owned()),
            },
            Err(why) => Err(why),
        };
        self.tell(found).await;
    }

    async fn fetch(&self, before: Option<Fetched>) -> Result<Found, String> {
        let at = self.front.clock.wall();
        let origin = self.origin();
        match &self.feed.origin {
            FeedOrigin::File(path) => {
                let (path, most) = (path.clone(), self.feed.max_bytes as u64);
                let read = spawn_blocking(move || read_file(&path, most)).await.map_err(|error| error.to_string())?;
                Ok(Found::Document(read?, Fetched { origin, etag: None, last_modified: None, at }))
            }
            FeedOrigin::Url(url) => {
                let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
                let headers = conditions(before.as_ref());
                let answer = self.upstream.fetch(&uri, headers).await.map_err(|error| error.to_string())?;
                let said = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                let about = Fetched { origin, etag: said(ETAG), last_modified: said(LAST_MODIFIED), at };
                match answer.status() {
                    StatusCode::OK => {
                        let body = answer.whole(self.feed.max_bytes).await.map_err(|error| error.to_string())?;
                        Ok(Found::Document(body.to_vec(), about))
                    }
                    StatusCode::NOT_MODIFIED => Ok(Found::Same(Fetched { at, ..before.unwrap_or(about) })),
                    status if status.is_redirection() => {
                        let to = said(http::header::LOCATION).unwrap_or_default();
                        Err(format!("status {}: it is elsewhere now ({to}); no redirect is followed", status.as_u16()))
                    }
                    status => Err(format!("status {}", status.as_u16())),
                }
            }
        }
    }

    async fn take(&self, document: Vec<u8>) -> Result<Taken, NotTaken> {
        let (front, feed) = (Arc::clone(&self.front), Arc::clone(&self.feed));
        let now = front.clock.wall();
        let taken = spawn_blocking(move || {
            let table = Arc::clone(&front.pipeline.in_force.load().market.snapshot);
            front.prices.take(&feed, &document, &table, now)
        });
        taken.await.unwrap_or_else(|error| Err(NotTaken::Table(error.to_string())))
    }

    async fn keep(&self, document: Vec<u8>, about: Fetched) -> Result<(), String> {
        let (front, name, at) = (Arc::clone(&self.front), self.feed.name.clone(), about.at);
        let kept = spawn_blocking(move || front.prices.store().keep_copy(&name, &document, &about)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.front.prices.is_good(&self.feed.name, at);
        Ok(())
    }

    /// `None`: the document is the one that counts already.
    async fn tell(&mut self, found: Result<Option<Taken>, String>) {
        let (name, front) = (&self.feed.name, &self.front);
        let look = match found {
            Ok(None) => FeedLook::Unchanged,
            Ok(Some(taken)) => {
                self.put_in_force(&taken).await;
                if taken.changes_prices() { FeedLook::Changed } else { FeedLook::Unchanged }
            }
            Err(why) => {
                tracing::warn!(feed = name, why, "a price feed failed: what it said before stays");
                front.prices.failed(name, front.clock.wall(), why);
                FeedLook::Failed
            }
        };
        self.failures = if look == FeedLook::Failed { self.failures.saturating_add(1) } else { 0 };
        self.front.metrics.feed_looked_at(&self.feed.name, look);
    }

    async fn put_in_force(&self, taken: &Taken) {
        let name = &self.feed.name;
        if taken.held > 0 || taken.changes_prices() {
            let (changed, ended, rates, held) = (taken.begun.len(), taken.ended, taken.rates, taken.held);
            tracing::info!(feed = name, changed, ended, rates, held, unchanged = taken.unchanged, "a price feed was read");
        }
        if taken.changes_prices() {
            // Refusals tell themselves, and every later reload takes what this one could not.
            let _ = self.front.reloads.ask().await;
        }
    }

    /// The interval give or take a tenth, or less after a failure.
    fn pause(&mut self) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let whole = match self.failures {
            0 => self.feed.interval,
            failures => (FIRST_RETRY * 2_u32.saturating_pow(failures.min(16) - 1)).min(self.feed.interval),
        };
        let permille = 900 + u32::try_from(self.dice % 201).unwrap_or(100);
        whole * permille / 1_000
    }
}

fn conditions(before: Option<&Fetched>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(PROGRAM));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/toml, text/csv, */*;q=0.5"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
    let mut ask = |name: HeaderName, value: Option<&String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    };
    ask(IF_NONE_MATCH, before.and_then(|before| before.etag.as_ref()));
    ask(IF_MODIFIED_SINCE, before.and_then(|before| before.last_modified.as_ref()));
    headers
}

fn read_file(path: &std::path::Path, most: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut document = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut document);
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if document.len() as u64 > most { Err(format!("{} is larger than {most} bytes", path.display())) } else { Ok(document) }
}
