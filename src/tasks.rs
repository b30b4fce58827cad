//! Every task has an owner, a name and an end. Spawning goes through [`Tasks`], so that a drain can wait for what is
//! under way and then tell the rest to stop.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one gateway.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Tasks on the runtime that is running now.
    pub fn on_this_runtime() -> Self {
        Self { runtime: Handle::current(), tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Runs a task to its end; a drain waits for it. May be called from anywhere, a `Drop` included.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = self.stop.clone();
        self.runtime.spawn(self.tracker.track_future(async move {
            task.await;
            tracing::trace!(task = name, stopping = guard.is_cancelled(), "task ended");
        }));
    }

    /// Told when everything should stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells every task to stop and waits until all have ended or the grace period is over. Answers whether all ended.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}
