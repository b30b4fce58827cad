//! Work of many requests that are ready at once, done by kinds: all of them are read before the first of them is decided.
//!
//! A request runs through more code than a core's own caches hold, so that each one that is worked on from end to end fetches it
//! anew. Done by kinds, the next one finds what the one before it has fetched (docs/ARCHITECTURE.md has the figures).

use std::future::poll_fn;
use std::task::Poll;

/// Goes to the end of the queue of tasks that can run, once.
///
/// Not `tokio::task::yield_now`, whose tasks run only after another look at the sockets: half of the gain was lost by that.
pub(super) async fn wait_for_turn() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn all_that_can_run_do_the_first_kind_before_any_does_the_second() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut requests = JoinSet::new();
        for number in 0..3 {
            let done = Arc::clone(&done);
            requests.spawn(async move {
                done.lock().unwrap().push(("read", number));
                wait_for_turn().await;
                done.lock().unwrap().push(("decided", number));
            });
        }
        requests.join_all().await;
        let kinds = |kind: &'static str| (0..3).map(move |number| (kind, number));
        assert_eq!(*done.lock().unwrap(), kinds("read").chain(kinds("decided")).collect::<Vec<_>>());
    }
}
