//! Keeps the tokens that providers want in the place of a key: has each anew before it ends, and tells of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
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
        while stopping.run_until_cancelled(self.once()).await.is_some() {}
    }

    /// Renews what is due, and sleeps until something may be.
    async fn once(&self) {
        let now = self.clock.wall();
        let all = self.tokens.all();
        let due = all.iter().filter(|token| token.due().is_none_or(|due| due <= now));
        let renewals: Vec<_> = due.map(|token| self.renew(token)).collect();
        join_all(renewals).await;
        let now = self.clock.wall();
        let until_due = |token: &Arc<Token>| match token.due() {
            Some(due) => Duration::try_from(due.duration_since(now)).unwrap_or_default(),
            None => Duration::ZERO,
        };
        let sleep = all.iter().map(until_due).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        drop(all);
        let _ = tokio::time::timeout(sleep, self.tokens.added()).await;
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
