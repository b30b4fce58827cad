//! Answers of Responses that are kept for a while, each for the key that asked: a later request goes on from one by its id.
//!
//! They are in this process only and bounded by bytes and age, the oldest going first. A restart forgets them, and so does whoever
//! asks another gateway of a fleet: the client is told, and can send the whole conversation.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{InboundCall, Pipeline, PipelineSettings};
use crate::canonical::Shape;
use crate::frontend::{BadRequest, Ended, Link};
use crate::relay::Keep;
use crate::units::KeyName;

/// What an answer takes beside its bytes and those of its conversation: its places in the map and in the order.
const OVERHEAD: usize = 512;
/// How many that are too old are let go at once: whoever comes by does it, and is not to be kept long.
const MOST_LET_GO: usize = 64;

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
    /// By the numbers in which they came, those that are in the map.
    order: BTreeMap<u64, Name>,
    next: u64,
}

type Name = (KeyName, Arc<str>);

#[derive(Debug)]
struct Answer {
    number: u64,
    at: Duration,
    /// The conversation up to its end.
    items: Arc<[Piece]>,
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

/// A conversation whose answer is to be kept. What it says itself counts from then on only: a request under way makes no room.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    key: KeyName,
    before: Arc<[Piece]>,
    said: Bytes,
}

impl State {
    fn remove(&mut self, name: &Name) -> Option<Answer> {
        let answer = self.answers.remove(name)?;
        self.order.remove(&answer.number);
        Some(answer)
    }
}

impl Stored {
    /// The body of an answer.
    pub fn body(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> Option<Bytes> {
        self.found(key, id, settings, now, |answer| answer.body.bytes.clone())
    }

    /// Forgets an answer; whether there was one.
    pub fn forget(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> bool {
        self.found(key, id, settings, now, |_| ()).is_some() && self.lock().remove(&(key.clone(), id.into())).is_some()
    }

    /// The conversation up to the end of an answer.
    fn items(&self, key: &KeyName, id: &str, settings: StoredSettings, now: Duration) -> Option<Arc<[Piece]>> {
        self.found(key, id, settings, now, |answer| Arc::clone(&answer.items))
    }

    fn found<T>(
        &self,
        key: &KeyName,
        id: &str,
        settings: StoredSettings,
        now: Duration,
        told: impl FnOnce(&Answer) -> T,
    ) -> Option<T> {
        let gone = self.bound(&mut self.lock(), settings, now);
        // Freed behind the lock.
        drop(gone);
        let state = self.lock();
        let answer = state.answers.get(&(key.clone(), id.into()))?;
        (now.saturating_sub(answer.at) < settings.age).then(|| told(answer))
    }

    fn keep(&self, thread: Thread, ended: Ended, settings: StoredSettings, now: Duration) {
        let Ended { id, body, items: output } = ended;
        let Thread { key, before, said } = thread;
        let list = size_of::<Piece>() * (before.len() + 2);
        let alone = said.len() + body.len() + OVERHEAD + id.len() + list;
        // With what it goes on from, which lives as long as this does.
        let shared: usize = before.iter().map(|piece| piece.counted.bytes).sum();
        if alone + shared > settings.most_bytes {
            return;
        }
        let said = self.piece(said, 0);
        let body = self.piece(body, OVERHEAD + id.len() + list);
        let output = Piece { bytes: output, counted: Arc::clone(&body.counted) };
        let items: Arc<[Piece]> = before.iter().cloned().chain([said, output]).collect();
        let name: Name = (key, id.into());
        let mut state = self.lock();
        let same = state.remove(&name);
        let number = state.next;
        state.next += 1;
        state.order.insert(number, name.clone());
        state.answers.insert(name, Answer { number, at: now, items, body });
        let gone = self.bound(&mut state, settings, now);
        drop(state);
        drop((same, gone));
    }

    fn piece(&self, bytes: Bytes, beside: usize) -> Piece {
        let counted = Counted { bytes: bytes.len() + beside, held: Arc::clone(&self.held) };
        self.held.fetch_add(counted.bytes, Ordering::Relaxed);
        Piece { bytes, counted: Arc::new(counted) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what is too old, some of it at a time, and what is too much: all of that.
    fn bound(&self, state: &mut State, settings: StoredSettings, now: Duration) -> Vec<Answer> {
        let mut gone = Vec::new();
        if settings.most_bytes == 0 {
            state.order.clear();
            gone.extend(take(&mut state.answers).into_values());
            return gone;
        }
        while let Some((_, name)) = state.order.first_key_value() {
            let name = name.clone();
            let old = state.answers.get(&name).is_none_or(|answer| now.saturating_sub(answer.at) >= settings.age);
            let too_much = self.held.load(Ordering::Relaxed) > settings.most_bytes;
            if !too_much && (!old || gone.len() >= MOST_LET_GO) {
                break;
            }
            let Some(answer) = state.remove(&name) else { break };
            // What is too much is freed at once, as that is how it is known when it is enough.
            if !too_much {
                gone.push(answer);
            }
        }
        gone
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
        let before: Arc<[Piece]> = match link.previous() {
            None => Arc::default(),
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
        let thread = link.keeps.then(|| Thread { key: key.clone(), before, said: link.items() });
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

    fn keep(stored: &Stored, key: &str, id: &str, before: Arc<[Piece]>, settings: StoredSettings, now: Duration) {
        keep_of(stored, key, id, before, 1_000, settings, now);
    }

    fn keep_of(stored: &Stored, key: &str, id: &str, before: Arc<[Piece]>, size: usize, settings: StoredSettings, now: Duration) {
        let body = Bytes::from(format!(r#"{{"id":"{id}","output":["{}"]}}"#, "x".repeat(size)));
        let thread = Thread { key: KeyName::new(key), before, said: Bytes::from_static(b"1") };
        stored.keep(thread, Ended::of(&body).unwrap(), settings, now);
    }

    fn has(stored: &Stored, key: &str, id: &str, settings: StoredSettings, now: Duration) -> bool {
        stored.items(&KeyName::new(key), id, settings, now).is_some()
    }

    #[test]
    fn an_answer_is_there_for_its_key_and_for_its_time() {
        let stored = Stored::default();
        keep(&stored, "a", "resp_1", Arc::default(), ROOMY, at(0));
        assert!(has(&stored, "a", "resp_1", ROOMY, at(59)));
        assert!(!has(&stored, "b", "resp_1", ROOMY, at(59)) && !has(&stored, "a", "resp_2", ROOMY, at(59)));
        assert!(!has(&stored, "a", "resp_1", ROOMY, at(60)));
        assert_eq!(stored.held.load(Ordering::Relaxed), 0);
        keep(&stored, "a", "resp_1", Arc::default(), ROOMY, at(60));
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
            let before = if number == 0 {
                Arc::default()
            } else {
                stored.items(&key, &format!("r{}", number - 1), settings, at(0)).unwrap()
            };
            let pieces = before.len();
            keep(&stored, "a", &format!("r{number}"), before, settings, at(0));
            assert!(stored.held.load(Ordering::Relaxed) <= settings.most_bytes, "{number}");
            // What is too long for all of the room is not kept, and the one before it stays.
            if !has(&stored, "a", &format!("r{number}"), settings, at(0)) {
                assert!(pieces >= 20, "{number} {pieces}");
                assert!(has(&stored, "a", &format!("r{}", number - 1), settings, at(0)));
                return;
            }
        }
        unreachable!("two hundred kilobytes fit into twenty");
    }

    #[test]
    fn one_that_is_too_large_makes_no_room_and_neither_does_a_request_under_way() {
        let stored = Stored::default();
        let settings = StoredSettings { most_bytes: 20_000, ..ROOMY };
        keep(&stored, "a", "r", Arc::default(), settings, at(0));
        keep_of(&stored, "b", "large", Arc::default(), 30_000, settings, at(0));
        let _under_way = Thread { key: KeyName::new("b"), before: Arc::default(), said: Bytes::from(vec![0; 90_000]) };
        assert!(has(&stored, "a", "r", settings, at(1)) && !has(&stored, "b", "large", settings, at(1)));
    }

    /// How many there are, by the map and by the order.
    fn counted(stored: &Stored) -> (usize, usize) {
        let state = stored.lock();
        (state.answers.len(), state.order.len())
    }

    #[test]
    fn nothing_is_left_of_what_has_gone() {
        let stored = Stored::default();
        let key = KeyName::new("a");
        keep(&stored, "a", "first", Arc::default(), ROOMY, at(0));
        for number in 0..100 {
            keep(&stored, "a", "same", Arc::default(), ROOMY, at(0));
            keep(&stored, "a", &format!("r{number}"), Arc::default(), ROOMY, at(0));
            assert!(stored.forget(&key, &format!("r{number}"), ROOMY, at(1)));
        }
        assert_eq!(counted(&stored), (2, 2));
        for number in 0..300 {
            keep(&stored, "a", &format!("r{number}"), Arc::default(), ROOMY, at(2));
        }
        // Some at a time, and none of them is told any more.
        assert!(!has(&stored, "a", "r299", ROOMY, at(100)));
        assert_eq!(counted(&stored).1, 302 - MOST_LET_GO);
        for _ in 0..5 {
            assert!(!has(&stored, "a", "r299", ROOMY, at(100)));
        }
        assert_eq!((counted(&stored), stored.held.load(Ordering::Relaxed)), ((0, 0), 0));
    }

    #[test]
    fn one_that_came_again_is_not_forgotten_with_the_first() {
        let stored = Stored::default();
        keep(&stored, "a", "r", Arc::default(), ROOMY, at(0));
        keep(&stored, "a", "r", Arc::default(), ROOMY, at(40));
        assert!(has(&stored, "a", "r", ROOMY, at(70)));
        assert!(!has(&stored, "a", "r", StoredSettings { most_bytes: 0, ..ROOMY }, at(70)));
        assert_eq!(stored.held.load(Ordering::Relaxed), 0);
    }
}
