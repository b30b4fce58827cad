//! Lets go of the body of a request that is refused before it was read.
//!
//! A connection that is closed with bytes unread is reset, and the reset may overtake the refusal: a client that sends all of
//! its body before it reads would see a broken connection, and try again, in place of the reason. So the body is read on for
//! a while beside the answer, into nothing. What is beyond the bounds is cut off all the same.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;

use crate::tasks::Tasks;

/// The most bytes that are read into nothing: what a client with a few large images would send.
const MOST: usize = 64 << 20;
/// The longest that this goes on.
const LONGEST: Duration = Duration::from_secs(5);

/// Reads the rest of a body in a task of its own, within bounds.
pub(super) fn discard(tasks: &Tasks, body: Body) {
    let stopping = tasks.stopping().clone();
    tasks.spawn("discard a refused body", async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            // How it ends makes no difference: the client has its answer.
            _ = tokio::time::timeout(LONGEST, read_on(body)) => {}
        }
    });
}

async fn read_on(mut body: Body) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, bytes::Bytes::len);
        let Some(still) = left.checked_sub(read) else { return };
        left = still;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    /// A body of that many mebibytes, and how many of them were taken.
    fn mebibytes(count: usize) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let parts = (0..count).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![0; 1 << 20]))
        });
        (Body::from_stream(stream::iter(parts)), taken)
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_to_the_bound() {
        for (sent, read) in [(3, 3), (200, 65)] {
            let (body, taken) = mebibytes(sent);
            read_on(body).await;
            assert_eq!(taken.load(Ordering::Relaxed), read);
        }
    }

    #[tokio::test]
    async fn a_drain_does_not_wait_for_a_body_that_never_ends() {
        let tasks = Tasks::on_this_runtime();
        discard(&tasks, Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>()));
        assert!(tasks.finish(LONGEST / 5).await);
    }
}
