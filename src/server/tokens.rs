//! Keeps the tokens that providers want in the place of a key: has each anew before it ends, and tells of it.
//!
//! Each is had on its own, so that a token endpoint that hangs holds up nobody else's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::telemetry::{Metrics, Renewal};
use crate::upstream::{Token, Tokens, Upstream};

/// The longest sleep: the wall clock, by which tokens end, may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What keeping takes.
pub(super) struct TokenKeeper {
    pub(super) tokens: Arc<Tokens>,
    pub(super) upstream: Upstream,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
}

impl TokenKeeper {
    /// Goes on until the gateway stops.
    pub(super) async fn keep(self, stopping: CancellationToken) {
        stopping.run_until_cancelled(self.forever()).await;
    }

    /// Begins what is due, and sleeps until something may be. No token is under way twice.
    async fn forever(&self) {
        let (mut renewals, mut under_way) = (FuturesUnordered::new(), Vec::<Arc<Token>>::new());
        loop {
            let now = self.clock.wall();
            let mut sleep = LONGEST_SLEEP;
            for token in self.tokens.all() {
                if under_way.iter().any(|other| Arc::ptr_eq(other, &token)) {
                    continue;
                }
                let left = token.due().and_then(|due| Duration::try_from(due.duration_since(now)).ok());
                if let Some(left) = left.filter(|left| !left.is_zero()) {
                    sleep = sleep.min(left);
                } else {
                    under_way.push(Arc::clone(&token));
                    renewals.push(self.renewed(token));
                }
            }
            tokio::select! {
                Some(token) = renewals.next() => under_way.retain(|other| !Arc::ptr_eq(other, &token)),
                () = self.tokens.wanted() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn renewed(&self, token: Arc<Token>) -> Arc<Token> {
        self.renew(&token).await;
        token
    }

    async fn renew(&self, token: &Token) {
        let provider = token.provider.as_str();
        let outcome = token.renew(&self.upstream, self.clock.wall()).await;
        match outcome {
            Ok(()) => {
                self.metrics.token_renewed(provider, Renewal::Renewed);
                tracing::debug!(provider, "a token was had");
            }
            Err(error) => {
                self.metrics.token_renewed(provider, Renewal::Failed);
                if let Some(ends) = token.ends() {
                    tracing::warn!(provider, %error, %ends, "no new token was had; the last one is sent until it ends");
                } else {
                    tracing::warn!(provider, %error, "no token was had: the provider cannot be asked");
                }
            }
        }
    }
}
