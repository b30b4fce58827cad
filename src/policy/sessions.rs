//! Where each conversation was answered last, so that routing can count on a prompt cache that is still warm.
//!
//! Bounded by turning generations: what was not used during a whole generation is forgotten, whatever clients invent.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::units::{BackendId, KeyName, Tokens};

/// How long a provider keeps a prefix warm without use: the shortest of the documented lifetimes (five minutes;
/// `dialects.md` section 3 and `providers.md` section 2.4, 2026-11-22).
const WARM_FOR: Duration = Duration::from_mins(5);
/// Sessions of one generation; two generations are remembered.
const GENERATION: usize = 10_000;

/// Where a session's last answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAnswer {
    pub backend: BackendId,
    /// How much input that backend has just read.
    pub input: Tokens,
}

/// A session belongs to the key that named it: two keys may use the same word.
type Name = (KeyName, String);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Name, (LastAnswer, Duration)>,
    old: HashMap<Name, (LastAnswer, Duration)>,
}

/// The sessions that may still be warm. Times are of the monotonic clock.
#[derive(Debug, Default)]
pub struct Sessions {
    generations: Mutex<Generations>,
}

impl Sessions {
    /// Where a session was answered last, if that is recent enough to matter.
    pub fn last(&self, key: &KeyName, session: &str, now: Duration) -> Option<LastAnswer> {
        let name = (key.clone(), session.to_owned());
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, at) = generations.young.get(&name).or_else(|| generations.old.get(&name))?;
        (now.saturating_sub(*at) <= WARM_FOR).then(|| answer.clone())
    }

    /// Remembers where a session was answered.
    pub fn answered(&self, key: &KeyName, session: &str, answer: LastAnswer, now: Duration) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert((key.clone(), session.to_owned()), (answer, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(model: &str) -> LastAnswer {
        LastAnswer { backend: BackendId::new("north", model), input: Tokens::new(7) }
    }

    #[test]
    fn a_session_is_warm_for_its_own_key_and_for_a_while() {
        let (sessions, web, batch) = (Sessions::default(), KeyName::new("web"), KeyName::new("batch"));
        sessions.answered(&web, "s", answer("a"), Duration::ZERO);
        assert_eq!(sessions.last(&web, "s", WARM_FOR), Some(answer("a")));
        assert_eq!(sessions.last(&web, "s", WARM_FOR + Duration::from_millis(1)), None);
        assert_eq!(sessions.last(&batch, "s", Duration::ZERO), None);
        sessions.answered(&web, "s", answer("b"), Duration::from_secs(1));
        assert_eq!(sessions.last(&web, "s", Duration::from_secs(2)), Some(answer("b")));
    }

    #[test]
    fn however_many_sessions_clients_invent_memory_is_bounded() {
        let (sessions, key) = (Sessions::default(), KeyName::new("web"));
        for n in 0..3 * GENERATION {
            sessions.answered(&key, &n.to_string(), answer("a"), Duration::ZERO);
        }
        let generations = sessions.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        drop(generations);
        assert!(sessions.last(&key, &(3 * GENERATION - 1).to_string(), Duration::ZERO).is_some());
        assert!(sessions.last(&key, "0", Duration::ZERO).is_none());
    }
}
