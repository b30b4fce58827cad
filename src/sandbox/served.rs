//! The sandbox's own truth: what each pretend provider was asked, what it generated, and how it ended. The gateway's
//! books are held against this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use crate::clock::SharedClock;

/// How many request bodies are kept for reading back.
const BODIES_KEPT: u64 = 256;

/// How serving a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The whole answer was handed to the transport.
    Complete,
    /// The provider refused before it generated anything.
    Refused,
    /// The client left first.
    ClientGone,
    /// The provider broke the connection, as a fault told it to.
    Broken,
}

/// One request that a pretend provider served, as `GET /served` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Counts up from 1 over all providers.
    pub id: u64,
    pub provider: String,
    /// The model as it was asked for; empty where the request could not be read.
    pub model: String,
    pub stream: bool,
    /// The HTTP status; zero until it is known.
    pub status: u16,
    pub input_tokens: u64,
    /// How many of the input tokens came from the prompt cache.
    pub cached_tokens: u64,
    /// Output tokens generated so far, reasoning included: what the provider would bill.
    pub output_tokens: u64,
    /// How many output tokens the whole answer has; a complete answer has generated all of them.
    pub planned_output_tokens: u64,
    /// The whole answer was handed over.
    pub finished: bool,
    pub client_gone: bool,
    /// `null` while it runs.
    pub ending: Option<Ending>,
    /// The scripted fault that this request met.
    pub fault: Option<&'static str>,
    /// Unix milliseconds.
    pub started_ms: i64,
    pub ended_ms: Option<i64>,
    /// The `x-request-id` that came with it.
    pub request_id: Option<String>,
    /// The trace that its `traceparent` names: 32 hexadecimal digits. A gateway passes it on, so that a test can tell
    /// whose request this was.
    pub trace: Option<String>,
    /// The `authorization` header's text after `Bearer`: pretend keys only ever come here.
    pub key: Option<String>,
}

/// What is known of a request when it arrives.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    pub(super) provider: String,
    pub(super) request_id: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) key: Option<String>,
    pub(super) body: Bytes,
}

/// All requests since the start or the last reset.
pub(super) struct ServedLog {
    clock: SharedClock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    last_id: u64,
    rows: Vec<Arc<Mutex<Served>>>,
    bodies: HashMap<u64, Bytes>,
}

impl ServedLog {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// A request begins.
    pub(super) fn open(&self, arrival: Arrival) -> Serving {
        let mut kept = lock(&self.kept);
        kept.last_id += 1;
        let id = kept.last_id;
        kept.bodies.insert(id, arrival.body);
        kept.bodies.remove(&id.saturating_sub(BODIES_KEPT));
        let row = Arc::new(Mutex::new(Served {
            id,
            provider: arrival.provider,
            model: String::new(),
            stream: false,
            status: 0,
            input_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            planned_output_tokens: 0,
            finished: false,
            client_gone: false,
            ending: None,
            fault: None,
            started_ms: self.clock.wall().as_millisecond(),
            ended_ms: None,
            request_id: arrival.request_id,
            trace: arrival.trace,
            key: arrival.key,
        }));
        kept.rows.push(Arc::clone(&row));
        Serving { id, row, clock: Arc::clone(&self.clock) }
    }

    /// Every request, oldest first, as it stands now.
    pub(super) fn rows(&self) -> Vec<Served> {
        lock(&self.kept).rows.iter().map(|row| lock(row).clone()).collect()
    }

    /// The exact body of one of the latest requests.
    pub(super) fn body(&self, id: u64) -> Option<Bytes> {
        lock(&self.kept).bodies.get(&id).cloned()
    }

    /// Forgets everything but the numbering.
    pub(super) fn reset(&self) {
        let mut kept = lock(&self.kept);
        kept.rows.clear();
        kept.bodies.clear();
    }
}

/// A request being served. Dropped without an ending: the client has gone.
pub(super) struct Serving {
    pub(super) id: u64,
    row: Arc<Mutex<Served>>,
    clock: SharedClock,
}

impl Serving {
    /// Notes what has become known.
    pub(super) fn note(&self, change: impl FnOnce(&mut Served)) {
        change(&mut lock(&self.row));
    }

    /// Adds output tokens that were generated.
    pub(super) fn bill(&self, tokens: u64) {
        self.note(|row| row.output_tokens += tokens);
    }

    pub(super) fn finish(self) {
        self.end(Ending::Complete);
    }

    pub(super) fn refused(self, status: u16) {
        self.note(|row| row.status = status);
        self.end(Ending::Refused);
    }

    pub(super) fn broken(self) {
        self.end(Ending::Broken);
    }

    fn end(&self, ending: Ending) {
        let now = self.clock.wall().as_millisecond();
        self.note(|row| {
            if row.ending.is_none() {
                row.ending = Some(ending);
                row.finished = ending == Ending::Complete;
                row.client_gone = ending == Ending::ClientGone;
                row.ended_ms = Some(now);
            }
        });
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end(Ending::ClientGone);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a few plain assignments: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_dropped_request_is_a_client_gone_and_an_ended_one_is_not() {
        let log = ServedLog::new(SystemClock::shared());
        let begin = |body: &'static str| log.open(Arrival { body: Bytes::from_static(body.as_bytes()), ..Arrival::default() });
        let (left, whole, refused) = (begin("a"), begin("b"), begin("c"));
        left.bill(3);
        drop(left);
        whole.bill(2);
        whole.finish();
        refused.refused(400);
        let endings: Vec<_> = log.rows().into_iter().map(|row| (row.ending.unwrap(), row.finished, row.output_tokens)).collect();
        assert_eq!(endings, [(Ending::ClientGone, false, 3), (Ending::Complete, true, 2), (Ending::Refused, false, 0)]);
        assert_eq!(log.body(2).unwrap(), "b");
        log.reset();
        assert!(log.rows().is_empty());
        assert_eq!(begin("d").id, 4);
    }
}
