//! Answers of Responses that are kept for a while, each for the key that asked: a later request goes on from one by its id.
//!
//! They are in this process only and bounded by bytes and age, the oldest going first. A restart forgets them, and so does whoever
//! asks another gateway of a fleet: the client is told, and can send the whole conversation.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{InboundCall, Pipeline, PipelineSettings};
use crate::canonical::Shape;
use crate::frontend::{BadRequest, Ended, Link};
use crate::relay::Keep;
use crate::units::KeyName;

/// What an answer takes beside its bytes and those of its conversation: its place in the map and in the queue.
const OVERHEAD: usize = 512;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSettings {
    /// Of all keys together; none are kept where it is 0.
    pub most_bytes: usize,
    /// How long one is kept.
    pub age: Duration,
}

/// The answers that are kept.
#[derive(Debug, Default)]
pub struct Stored {
    state: Mutex<State>,
    /// Bytes of all pieces that are alive, those of answers that have gone and whose conversation goes on included.
    held: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Name, Answer>,
    /// In the order in which they came; one that is not in the map any more, or of another number there, has gone.
    order: VecDeque<(u64, Name)>,
    next: u64,
}

type Name = (KeyName, Arc<str>);

#[derive(Debug)]
struct Answer {
    number: u64,
    at: Duration,
    /// The conversation up to its end.
    items: Vec<Piece>,
    body: Piece,
}

/// Bytes that count as long as somebody has them.
#[derive(Debug, Clone)]
struct Piece {
    bytes: Bytes,
    counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A conversation whose answer is to be kept.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    key: KeyName,
    items: Vec<Piece>,
}

impl Stored {
    /// The body of an answer.
    pub fn body(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> Option<Bytes> {
        self.bounded(settings, now).answers.get(&(key.clone(), id.into())).map(|answer| answer.body.bytes.clone())
    }

    /// Forgets an answer; whether there was one.
    pub fn forget(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> bool {
        self.bounded(settings, now).answers.remove(&(key.clone(), id.into())).is_some()
    }

    /// The conversation up to the end of an answer.
    fn items(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> Option<Vec<Piece>> {
        self.bounded(settings, now).answers.get(&(key.clone(), id.into())).map(|answer| answer.items.clone())
    }

    fn keep(&self, thread: Thread, ended: Ended, settings: StoredSettings, now: Duration) {
        let Ended { id, body, items: output } = ended;
        let Thread { key, mut items } = thread;
        let body = self.piece(body, OVERHEAD + id.len() + size_of::<Piece>() * (items.len() + 1));
        items.push(Piece { bytes: output, counted: Arc::clone(&body.counted) });
        let name: Name = (key, id.into());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.order.push_back((number, name.clone()));
        state.answers.insert(name, Answer { number, at: now, items, body });
        drop(self.bound(state, settings, now));
    }

    fn piece(&self, bytes: Bytes, beside: usize) -> Piece {
        let counted = Counted { bytes: bytes.len() + beside, held: Arc::clone(&self.held) };
        self.held.fetch_add(counted.bytes, Ordering::Relaxed);
        Piece { bytes, counted: Arc::new(counted) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounded(&self, settings: StoredSettings, now: Duration) -> MutexGuard<'_, State> {
        self.bound(self.lock(), settings, now)
    }

    /// Lets go what is too old or too much.
    fn bound<'s>(&self, mut state: MutexGuard<'s, State>, settings: StoredSettings, now: Duration) -> MutexGuard<'s, State> {
        let State { answers, order, .. } = &mut *state;
        while let Some((number, name)) = order.front() {
            let there = answers.get(name).filter(|answer| answer.number == *number);
            let stays = there.is_some_and(|answer| now.saturating_sub(answer.at) < settings.age);
            if stays && self.held.load(Ordering::Relaxed) <= settings.most_bytes {
                break;
            }
            if there.is_some() {
                answers.remove(name);
            }
            order.pop_front();
        }
        state
    }
}

impl Pipeline {
    /// The body of a request with the conversation before it, and that conversation where its answer is to be kept.
    pub(super) fn joined(
        &self,
        call: &InboundCall,
        key: &KeyName,
        settings: &PipelineSettings,
    ) -> Result<(Bytes, Option<Thread>), BadRequest> {
        let plain = || Ok((call.body.clone(), None));
        if call.frontend.shape() != Shape::OpenAiResponses || settings.stored.most_bytes == 0 {
            return plain();
        }
        let Some(link) = Link::of(&call.body) else { return plain() };
        let now = self.clock.monotonic();
        let before = match link.previous() {
            None => Vec::new(),
            Some(id) => self.stored.items(key, id, settings.stored, now).ok_or_else(|| {
                let message = format!(
                    "no answer `{id}` is kept for this key: it was never, is older than limits.stored_responses_minutes, had to \
                     make room, or another gateway gave it; send the whole conversation in `input`"
                );
                link.wrong("previous_response_not_found", message)
            })?,
        };
        let body = match link.previous() {
            None => call.body.clone(),
            Some(_) => link.joined(before.iter().map(|piece| &piece.bytes[..])),
        };
        if body.len() > settings.most_body {
            let message = format!(
                "with the conversation before it the request has {} bytes, more than {} (server.max_body_bytes); send a shorter one in `input`",
                body.len(),
                settings.most_body
            );
            return Err(link.wrong("invalid_value", message));
        }
        let thread = link.keeps.then(|| {
            let mut items = before;
            items.push(self.stored.piece(link.items(), 0));
            Thread { key: key.clone(), items }
        });
        Ok((body, thread))
    }

    /// Keeps what a conversation is answered with: the body of a whole answer, or the bytes that end its stream.
    pub(super) fn keeping(&self, thread: Option<&Thread>, settings: StoredSettings) -> Option<Keep> {
        let (thread, stored, clock) = (thread?.clone(), Arc::clone(&self.stored), Arc::clone(&self.clock));
        Some(Box::new(move |told| {
            if let Some(ended) = Ended::of(told) {
                stored.keep(thread, ended, settings, clock.monotonic());
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: StoredSettings = StoredSettings { most_bytes: 1 << 20, age: Duration::from_mins(1) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn keep(stored: &Stored, key: &str, id: &str, before: Vec<Piece>, settings: StoredSettings, now: Duration) {
        let body = Bytes::from(format!(r#"{{"id":"{id}","output":["{}"]}}"#, "x".repeat(1_000)));
        let mut items = before;
        items.push(stored.piece(Bytes::from_static(b"1"), 0));
        stored.keep(Thread { key: KeyName::new(key), items }, Ended::of(&body).unwrap(), settings, now);
    }

    fn has(stored: &Stored, key: &str, id: &str, settings: StoredSettings, now: Duration) -> bool {
        stored.items(&KeyName::new(key), id, settings, now).is_some()
    }

    #[test]
    fn an_answer_is_there_for_its_key_and_for_its_time() {
        let stored = Stored::default();
        keep(&stored, "a", "resp_1", Vec::new(), ROOMY, at(0));
        assert!(has(&stored, "a", "resp_1", ROOMY, at(59)));
        assert!(!has(&stored, "b", "resp_1", ROOMY, at(59)) && !has(&stored, "a", "resp_2", ROOMY, at(59)));
        assert!(!has(&stored, "a", "resp_1", ROOMY, at(60)));
        assert_eq!(stored.held.load(Ordering::Relaxed), 0);
        keep(&stored, "a", "resp_1", Vec::new(), ROOMY, at(60));
        let key = KeyName::new("a");
        assert!(!stored.forget(&KeyName::new("b"), "resp_1", ROOMY, at(61)) && stored.forget(&key, "resp_1", ROOMY, at(61)));
        assert!(stored.body(&key, "resp_1", ROOMY, at(61)).is_none());
        assert_eq!(stored.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_oldest_make_room_and_a_conversation_counts_as_long_as_it_goes_on() {
        let stored = Stored::default();
        let settings = StoredSettings { most_bytes: 20_000, ..ROOMY };
        let key = KeyName::new("a");
        for number in 0..200 {
            // Each goes on from the one before.
            let before =
                if number == 0 { Vec::new() } else { stored.items(&key, &format!("r{}", number - 1), settings, at(0)).unwrap() };
            // What is too long for all of the room is not kept, and nobody can go on from it.
            let held_before: usize = before.len();
            keep(&stored, "a", &format!("r{number}"), before, settings, at(0));
            assert!(stored.held.load(Ordering::Relaxed) <= settings.most_bytes, "{number}");
            if !has(&stored, "a", &format!("r{number}"), settings, at(0)) {
                assert!(held_before >= 20, "{number} {held_before}");
                return;
            }
        }
        unreachable!("two hundred kilobytes fit into twenty");
    }

    #[test]
    fn one_that_came_again_is_not_forgotten_with_the_first() {
        let stored = Stored::default();
        keep(&stored, "a", "r", Vec::new(), ROOMY, at(0));
        keep(&stored, "a", "r", Vec::new(), ROOMY, at(40));
        assert!(has(&stored, "a", "r", ROOMY, at(70)));
        assert!(!has(&stored, "a", "r", StoredSettings { most_bytes: 0, ..ROOMY }, at(70)));
        assert_eq!(stored.held.load(Ordering::Relaxed), 0);
    }
}
