//! An answer as a lazy list of steps, and the HTTP body that plays it.
//!
//! Nothing is generated ahead of the connection: a step is taken when the transport asks for it, so a provider whose
//! client has gone stops at the write that notices it, and what it bills is what it had taken until then. Faults are
//! changes to this list (see `fault`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::served::Serving;

/// One thing a pretend provider does while it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Sends bytes that carry this many billed output tokens.
    Send(Bytes, u64),
    Wait(Duration),
    /// Sends nothing more and keeps the connection open.
    Stall,
    /// Breaks the connection.
    Cut,
}

/// What is left to do.
pub(super) type Script = Box<dyn Iterator<Item = Step> + Send>;

/// The connection was broken on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was told to break this answer")]
pub(super) struct Broken;

/// Plays a script to a client and keeps count of it.
pub(super) struct ScriptBody {
    script: std::iter::Peekable<Script>,
    waiting: Option<Pin<Box<Sleep>>>,
    serving: Option<Serving>,
}

impl ScriptBody {
    /// A body that is sent at once and counted nowhere.
    pub(super) fn plain(bytes: impl Into<Bytes>) -> Self {
        let script: Script = Box::new(std::iter::once(Step::Send(bytes.into(), 0)));
        Self { script: script.peekable(), waiting: None, serving: None }
    }

    pub(super) fn new(script: Script, serving: Serving) -> Self {
        Self { script: script.peekable(), waiting: None, serving: Some(serving) }
    }

    /// The last step counts as served when it is handed over: a client may leave on reading the end, before the
    /// transport comes back to ask for more.
    fn end_if_last(&mut self) {
        if self.script.peek().is_none()
            && let Some(serving) = self.serving.take()
        {
            serving.finish();
        }
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(sleep) = &mut self.waiting {
                std::task::ready!(sleep.as_mut().poll(context));
                self.waiting = None;
            }
            match self.script.peek() {
                None => return Poll::Ready(None),
                // Left in place, so that every later look stalls again; the transport wakes itself when the client goes.
                Some(Step::Stall) => return Poll::Pending,
                Some(Step::Send(..) | Step::Wait(_) | Step::Cut) => {}
            }
            match self.script.next() {
                Some(Step::Wait(duration)) => self.waiting = Some(Box::pin(tokio::time::sleep(duration))),
                Some(Step::Send(bytes, tokens)) => {
                    if let Some(serving) = &self.serving {
                        serving.bill(tokens);
                    }
                    self.end_if_last();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Cut) => {
                    if let Some(serving) = self.serving.take() {
                        serving.broken();
                    }
                    return Poll::Ready(Some(Err(Broken)));
                }
                Some(Step::Stall) | None => return Poll::Ready(None),
            }
        }
    }
}
