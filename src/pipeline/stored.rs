//! Answers of Responses that are kept for a while, each for the key that asked: a later request goes on from one by its id.
//!
//! They are in this process only and bounded by bytes and age. Room is made from the key that holds the most, its oldest first,
//! whoever wants it: more than is there is held by somebody who has more than an equal share of it, so a key with no more than that
//! loses nothing to what others ask. One that goes beyond its share where the others need theirs loses its own, the newest too.
//! A restart forgets them all, and so does whoever asks another gateway of a fleet: the client is told, and can send the whole
//! conversation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{InboundCall, Pipeline, PipelineSettings};
use crate::canonical::Shape;
use crate::clock::SharedClock;
use crate::frontend::{BadRequest, Ended, Link, said_kept};
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
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Name, Answer>,
    /// By the numbers in which they came, those that are in the map.
    order: BTreeMap<u64, Name>,
    /// Of each key that has any.
    holdings: HashMap<KeyName, Holding>,
    /// The same by their bytes: who holds the most stands last.
    by_bytes: BTreeSet<(usize, KeyName)>,
    /// Bytes of all keys.
    held: usize,
    next: u64,
}

/// What one key has.
#[derive(Debug, Default)]
struct Holding {
    bytes: usize,
    /// By the numbers in which they came.
    order: BTreeMap<u64, Arc<str>>,
}

type Name = (KeyName, Arc<str>);

#[derive(Debug)]
struct Answer {
    number: u64,
    at: Duration,
    /// The conversation up to its end. Each piece is another one.
    items: Arc<[Piece]>,
    body: Piece,
}

/// Bytes that count once for their key, as long as any answer has them: those of answers that have gone and whose conversation goes
/// on too.
#[derive(Debug, Clone)]
struct Piece {
    bytes: Bytes,
    counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted {
    bytes: usize,
    /// How many answers have them; changed by who has the lock.
    answers: AtomicUsize,
}

/// A conversation whose answer is to be kept. What it says itself counts from then on only: a request under way makes no room.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    key: KeyName,
    before: Arc<[Piece]>,
    said: Bytes,
}

impl State {
    fn insert(&mut self, (key, id): Name, at: Duration, items: Arc<[Piece]>, body: Piece) -> u64 {
        let number = self.next;
        self.next += 1;
        let first = |piece: &&Piece| piece.counted.answers.fetch_add(1, Ordering::Relaxed) == 0;
        let more: usize = items.iter().filter(first).map(|piece| piece.counted.bytes).sum();
        self.weigh(&key, |holding| {
            holding.bytes += more;
            holding.order.insert(number, Arc::clone(&id));
        });
        self.order.insert(number, (key.clone(), Arc::clone(&id)));
        self.answers.insert((key, id), Answer { number, at, items, body });
        number
    }

    fn remove(&mut self, name: &Name) -> Option<Answer> {
        let answer = self.answers.remove(name)?;
        let last = |piece: &&Piece| piece.counted.answers.fetch_sub(1, Ordering::Relaxed) == 1;
        let less: usize = answer.items.iter().filter(last).map(|piece| piece.counted.bytes).sum();
        self.order.remove(&answer.number);
        self.weigh(&name.0, |holding| {
            holding.bytes -= less;
            holding.order.remove(&answer.number);
        });
        Some(answer)
    }

    /// Changes what a key has, and sees to it that it is found by what it has then.
    fn weigh(&mut self, key: &KeyName, change: impl FnOnce(&mut Holding)) {
        let mut holding = self.holdings.remove(key).unwrap_or_default();
        self.by_bytes.remove(&(holding.bytes, key.clone()));
        self.held -= holding.bytes;
        change(&mut holding);
        self.held += holding.bytes;
        if !holding.order.is_empty() {
            self.by_bytes.insert((holding.bytes, key.clone()));
            self.holdings.insert(key.clone(), holding);
        }
    }

    /// Takes out what is too old, some of it at a time, and what is too much: all of that. Each that goes has come once, so nobody
    /// waits for longer than what came took.
    fn bound(&mut self, settings: StoredSettings, now: Duration) -> Vec<Answer> {
        let mut gone = Vec::new();
        while gone.len() < MOST_LET_GO
            && let Some((_, name)) = self.order.first_key_value()
            && self.answers.get(name).is_some_and(|answer| now.saturating_sub(answer.at) >= settings.age)
        {
            let name = name.clone();
            gone.extend(self.remove(&name));
        }
        while self.held > settings.most_bytes
            && let Some((_, key)) = self.by_bytes.last()
            && let Some((_, id)) = self.holdings.get(key).and_then(|holding| holding.order.first_key_value())
        {
            let name = (key.clone(), Arc::clone(id));
            let Some(answer) = self.remove(&name) else { break };
            gone.push(answer);
        }
        gone
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
        let gone = self.lock().bound(settings, now);
        // Freed behind the lock.
        drop(gone);
        let state = self.lock();
        let answer = state.answers.get(&(key.clone(), id.into()))?;
        (now.saturating_sub(answer.at) < settings.age).then(|| told(answer))
    }

    /// Whether it is kept.
    fn keep(&self, thread: Thread, ended: Ended, settings: StoredSettings, now: Duration) -> bool {
        let Ended { id, body, items: output } = ended;
        let Thread { key, before, said } = thread;
        let list = size_of::<Piece>() * (before.len() + 2);
        let alone = said.len() + body.len() + OVERHEAD + id.len() + list;
        // With what it goes on from, which lives as long as this does.
        let shared: usize = before.iter().map(|piece| piece.counted.bytes).sum();
        if alone + shared > settings.most_bytes {
            return false;
        }
        let said = Piece::of(said, 0);
        let body = Piece::of(body, OVERHEAD + id.len() + list);
        let output = Piece { bytes: output, counted: Arc::clone(&body.counted) };
        let items: Arc<[Piece]> = before.iter().cloned().chain([said, output]).collect();
        let name: Name = (key, id.into());
        let mut state = self.lock();
        let same = state.remove(&name);
        let number = state.insert(name, now, items, body);
        let gone = state.bound(settings, now);
        let kept = state.order.contains_key(&number);
        drop(state);
        drop((same, gone));
        kept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    fn of(bytes: Bytes, beside: usize) -> Self {
        let counted = Counted { bytes: bytes.len() + beside, answers: AtomicUsize::new(0) };
        Self { bytes, counted: Arc::new(counted) }
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

    /// Keeps what a conversation is answered with.
    pub(super) fn keeping(&self, thread: Option<&Thread>, settings: StoredSettings) -> Option<Box<dyn Keep>> {
        let (thread, stored, clock) = (thread?.clone(), Arc::clone(&self.stored), Arc::clone(&self.clock));
        Some(Box::new(Keeping { thread, stored, clock, settings, begun: false }))
    }
}

/// Keeps one answer, and has it say so. Its beginning says what is meant to be; its end says what is.
struct Keeping {
    thread: Thread,
    stored: Arc<Stored>,
    clock: SharedClock,
    settings: StoredSettings,
    /// What says how it is kept has gone out.
    begun: bool,
}

impl Keep for Keeping {
    fn passes(&mut self, told: &Bytes) -> Option<Bytes> {
        if self.begun {
            return None;
        }
        let said = said_kept(told);
        // A comment tells nothing yet, nor does a frame of which the client sees nothing.
        self.begun = said.is_none() && !told.is_empty() && !told.starts_with(b":");
        said
    }

    fn ends(self: Box<Self>, told: &Bytes) -> Option<Bytes> {
        let said = said_kept(told)?;
        let ended = Ended::of(&said)?;
        self.stored.keep(self.thread, ended, self.settings, self.clock.monotonic()).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

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
        assert_eq!(held(&stored), 0);
        keep(&stored, "a", "resp_1", Arc::default(), ROOMY, at(60));
        let key = KeyName::new("a");
        assert!(!stored.forget(&KeyName::new("b"), "resp_1", ROOMY, at(61)) && stored.forget(&key, "resp_1", ROOMY, at(61)));
        assert!(stored.body(&key, "resp_1", ROOMY, at(61)).is_none());
        assert_eq!(held(&stored), 0);
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
            assert!(held(&stored) <= settings.most_bytes, "{number}");
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

    fn held(stored: &Stored) -> usize {
        stored.lock().held
    }

    /// How many there are, by the map and by the order; those of each key are as many.
    fn counted(stored: &Stored) -> (usize, usize) {
        let state = stored.lock();
        let of_keys: usize = state.holdings.values().map(|holding| holding.order.len()).sum();
        assert_eq!((of_keys, state.by_bytes.len()), (state.order.len(), state.holdings.len()));
        (state.answers.len(), state.order.len())
    }

    /// What a key has, and how many keys have anything.
    fn has_bytes(stored: &Stored, key: &str) -> (usize, usize) {
        let state = stored.lock();
        (state.holdings.get(&KeyName::new(key)).map_or(0, |holding| holding.bytes), state.holdings.len())
    }

    /// Known before: any key could make another's answers go.
    #[test]
    fn a_key_within_its_share_loses_nothing_to_the_flood_of_another() {
        let stored = Stored::default();
        let settings = StoredSettings { most_bytes: 60_000, ..ROOMY };
        for number in 0..10 {
            keep(&stored, "quiet", &format!("q{number}"), Arc::default(), settings, at(0));
        }
        for number in 0..500 {
            keep_of(&stored, "loud", &format!("l{number}"), Arc::default(), number * 37 % 9_000, settings, at(1));
        }
        assert!((0..10).all(|number| has(&stored, "quiet", &format!("q{number}"), settings, at(2))));
        assert!(has(&stored, "loud", "l499", settings, at(2)) && !has(&stored, "loud", "l0", settings, at(2)));
        // A third one finds room at whoever has the most of it, and so on until all have the same.
        for number in 0..100 {
            keep(&stored, "late", &format!("t{number}"), Arc::default(), settings, at(3));
        }
        assert!((0..10).all(|number| has(&stored, "quiet", &format!("q{number}"), settings, at(4))));
        let [quiet, loud, late] = ["quiet", "loud", "late"].map(|key| has_bytes(&stored, key).0);
        assert!(quiet <= 20_000 && loud < 30_000 && late > 15_000, "{quiet} {loud} {late}");
        // What it asks for itself is taken from it as well.
        for number in 10..60 {
            keep(&stored, "quiet", &format!("q{number}"), Arc::default(), settings, at(5));
        }
        assert!(!has(&stored, "quiet", "q0", settings, at(5)) && has(&stored, "quiet", "q59", settings, at(5)));
    }

    #[test]
    fn a_request_under_way_whose_conversation_had_to_go_counts_nowhere_until_it_is_answered() {
        let stored = Stored::default();
        let key = KeyName::new("a");
        keep(&stored, "a", "r0", Arc::default(), ROOMY, at(0));
        let before = stored.items(&key, "r0", ROOMY, at(0)).unwrap();
        let alone = held(&stored);
        assert!(stored.forget(&key, "r0", ROOMY, at(0)));
        assert_eq!(held(&stored), 0);
        keep(&stored, "a", "r1", before, ROOMY, at(1));
        assert!(held(&stored) > 2 * alone && has(&stored, "a", "r1", ROOMY, at(1)));
        assert!(stored.forget(&key, "r1", ROOMY, at(1)));
        assert_eq!((counted(&stored), held(&stored)), ((0, 0), 0));
    }

    /// Says of itself whether it is kept.
    #[test]
    fn one_that_is_not_kept_does_not_say_so() {
        let stored = Arc::new(Stored::default());
        let settings = StoredSettings { most_bytes: 4_000, ..ROOMY };
        let thread = Thread { key: KeyName::new("a"), before: Arc::default(), said: Bytes::from_static(b"1") };
        let clock: SharedClock = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let keeping = || {
            Box::new(Keeping {
                thread: thread.clone(),
                stored: Arc::clone(&stored),
                clock: clock.clone(),
                settings,
                begun: false,
            })
        };
        let answer = |size| Bytes::from(format!(r#"{{"id":"r","store":false,"output":["{}"]}}"#, "x".repeat(size)));
        assert_eq!(keeping().ends(&answer(4_000)), None);
        let kept = keeping().ends(&answer(10)).unwrap();
        assert!(kept.starts_with(br#"{"id":"r","store":true,"output""#));
        assert_eq!(stored.body(&thread.key, "r", settings, clock.monotonic()), Some(kept));
        let mut keeping = keeping();
        let begins = Bytes::from_static(b"data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"store\":false}}\n\n");
        assert_eq!(keeping.passes(&Bytes::from_static(b": wait\n\n")), None);
        // Found by a reader: a provider's frame of which the client sees nothing was taken for the beginning.
        assert_eq!(keeping.passes(&Bytes::new()), None);
        assert!(keeping.passes(&begins).unwrap().windows(12).any(|bytes| bytes == b"\"store\":true"));
        // Nobody else's words are looked at.
        assert_eq!(keeping.passes(&Bytes::from_static(b"data: {\"type\":\"response.output_item.added\"}\n\n")), None);
        assert_eq!(keeping.passes(&begins), None);
    }

    proptest! {
        #[test]
        fn whoever_has_no_more_than_an_equal_share_keeps_it(steps in proptest::collection::vec((0_u8..5, 0_usize..6_000, 0_u8..4), 1..80)) {
            let stored = Stored::default();
            let settings = StoredSettings { most_bytes: 20_000, ..ROOMY };
            let mut last: [Option<String>; 5] = Default::default();
            for (number, (who, size, how)) in steps.into_iter().enumerate() {
                let (key, id) = (format!("k{who}"), format!("r{number}"));
                let names = |stored: &Stored, key: &str| -> Vec<Arc<str>> {
                    let state = stored.lock();
                    let holding = state.holdings.get(&KeyName::new(key));
                    holding.map_or_else(Vec::new, |holding| holding.order.values().cloned().collect())
                };
                let others: Vec<String> = (0..5).map(|other| format!("k{other}")).filter(|other| *other != key).collect();
                let (own, keys) = has_bytes(&stored, &key);
                let share = settings.most_bytes / (keys + usize::from(own == 0));
                let safe: Vec<(&String, Vec<Arc<str>>)> = others
                    .iter()
                    .filter(|other| has_bytes(&stored, other).0 <= share)
                    .map(|other| (other, names(&stored, other)))
                    .collect();
                // One in four goes on from what its key was answered last.
                let before = last[usize::from(who)].as_ref().filter(|_| how == 0);
                let before = before.and_then(|id| stored.items(&KeyName::new(&key), id, settings, at(0)));
                keep_of(&stored, &key, &id, before.unwrap_or_default(), size, settings, at(0));
                last[usize::from(who)] = Some(id);
                for (other, had) in safe {
                    prop_assert_eq!(names(&stored, other), had, "{}", other);
                }
                prop_assert!(held(&stored) <= settings.most_bytes);
                counted(&stored);
                let state = stored.lock();
                let pieces: HashMap<*const Counted, usize> =
                    state.answers.values().flat_map(|answer| answer.items.iter()).map(|piece| (Arc::as_ptr(&piece.counted), piece.counted.bytes)).collect();
                prop_assert_eq!(pieces.values().sum::<usize>(), state.held);
            }
        }
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
        assert_eq!((counted(&stored), held(&stored)), ((0, 0), 0));
    }

    #[test]
    fn one_that_came_again_is_not_forgotten_with_the_first() {
        let stored = Stored::default();
        keep(&stored, "a", "r", Arc::default(), ROOMY, at(0));
        keep(&stored, "a", "r", Arc::default(), ROOMY, at(40));
        assert!(has(&stored, "a", "r", ROOMY, at(70)));
        assert!(!has(&stored, "a", "r", StoredSettings { most_bytes: 0, ..ROOMY }, at(70)));
        assert_eq!(held(&stored), 0);
    }
}
