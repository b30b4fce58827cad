//! Caps on shares put in force, with what the books say was given to whom before. The books are read for the time that the
//! longest window needs and that was not counted yet: at a start, and by a reload that brings a longer window. Where they
//! cannot be read, the window begins with this process, and the log says so: a share of what is known is bounded all the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog::Snapshot;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::ledger::{Books, Ledger, ProviderSpend};
use crate::policy::{Portfolio, ShareCap};
use crate::route::caps::covers;

/// How finely the books are summed: a bucket of the portfolio.
const STRETCH_SECONDS: u32 = 300;
/// How long the books may take to be read. They are stuck if it is longer.
const READING_WAIT: Duration = Duration::from_secs(10);

/// Shares, and since when they are counted.
pub struct Shares {
    pub portfolio: Arc<Portfolio>,
    counted_since: Timestamp,
    /// The data directory.
    folder: PathBuf,
    clock: SharedClock,
}

impl Shares {
    /// Nothing is counted yet.
    pub fn new(config: &Config, clock: SharedClock) -> Self {
        let counted_since = clock.wall();
        Self { portfolio: Arc::default(), counted_since, folder: config.books.directory.clone(), clock }
    }

    /// Puts the caps of a configuration in force for the providers of a table.
    pub async fn bind(&mut self, config: &Config, snapshot: &Snapshot, ledger: &Ledger) {
        self.read_books(&config.portfolio, ledger).await;
        let inside = |cap: &ShareCap| {
            let members = snapshot.providers().iter().filter(|provider| covers(cap.by, &cap.name, provider));
            (cap.clone(), members.map(|provider| provider.id.clone()).collect())
        };
        self.portfolio.bind(config.portfolio.iter().map(inside).collect(), self.clock.wall());
    }

    async fn read_books(&mut self, caps: &[ShareCap], ledger: &Ledger) {
        let Some(longest) = caps.iter().map(|cap| cap.window_seconds + STRETCH_SECONDS).max() else { return };
        let now = self.clock.wall();
        let since = now.saturating_sub(SignedDuration::from_secs(longest.into())).unwrap_or(Timestamp::UNIX_EPOCH);
        if since >= self.counted_since {
            return;
        }
        let reading = async {
            ledger.flush().await.map_err(|error| error.to_string())?;
            given_between(&self.folder, since, self.counted_since).await
        };
        let late = |_| Err(format!("the books did not answer within {} s", READING_WAIT.as_secs()));
        match tokio::time::timeout(READING_WAIT, reading).await.unwrap_or_else(late) {
            Ok(given) => {
                for ProviderSpend { provider, from, attempts, cost } in given {
                    self.portfolio.refill(&provider, cost, attempts, from, now);
                }
                self.counted_since = since;
            }
            Err(error) => tracing::error!(
                error,
                "what providers got cannot be read: the caps on shares count from the start of this process until a reload can read it"
            ),
        }
    }
}

async fn given_between(folder: &Path, since: Timestamp, until: Timestamp) -> Result<Vec<ProviderSpend>, String> {
    let folder = folder.to_owned();
    let read = move || Books::open(&folder).and_then(|books| books.spend_by_provider(since, until, STRETCH_SECONDS));
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}
