//! Which seals (signatures of thoughts, encrypted thoughts) a backend has refused and then did without, so that the further turns of
//! such a conversation go out without them at once, and are not asked twice each.
//!
//! Seals are known by a hash over each and those before it, made with the seed of the gateway key: a conversation that goes on
//! with the same seals has the hash of those that were refused among its own. Another one, or the same from before the seal that was
//! refused, has not, and is sent with what it holds. What stands behind the refused ones was not refused: how many those are is told, so that
//! what the backend thinks later comes back to it.
//!
//! Bounded in room by turning generations, whatever clients send, and in time: after an hour a backend is asked with them once more,
//! since nobody says for how long it refuses them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use crate::units::BackendId;

/// Seals of one generation; two generations are remembered, less than a megabyte when full.
const GENERATION: usize = 4_096;
/// Backends that are remembered of the same seals.
const MOST_BACKENDS: usize = 4;
/// For how long a refusal is remembered.
const LASTS: Duration = Duration::from_hours(1);

/// What is remembered of refusals. Times are of the monotonic clock.
#[derive(Debug, Default)]
pub struct RefusedSeals {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Vec<Refusal>>,
    old: HashMap<u64, Vec<Refusal>>,
}

/// That a backend has refused some of a conversation's seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedBy {
    pub backend: BackendId,
    /// How many stand behind those that it refused.
    pub behind: usize,
}

#[derive(Debug, Clone)]
struct Refusal {
    backend: BackendId,
    at: Duration,
}

impl RefusedSeals {
    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.is_empty() && generations.old.is_empty()
    }

    /// A backend has refused a request with these seals, and answered it without.
    pub fn note(&self, seals: u64, backend: &BackendId, now: Duration) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).note(seals, backend, now);
    }

    /// The backends that have refused some of the seals of a conversation, told by a hash over each and those before it.
    pub fn by(&self, seals: &[u64], now: Duration) -> Vec<RefusedBy> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by: Vec<RefusedBy> = Vec::new();
        // The last first: what stands before what was refused was refused with it.
        for (behind, seals) in seals.iter().rev().enumerate() {
            for Refusal { backend, .. } in generations.of(*seals).iter().filter(|refusal| refusal.lasts(now)) {
                if by.iter().all(|refused| refused.backend != *backend) {
                    by.push(RefusedBy { backend: backend.clone(), behind });
                }
            }
        }
        by
    }

    /// A backend is asked with another key, or elsewhere, from now on: who refused is not who is asked.
    pub fn forget(&self, backend: &BackendId) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old } = &mut *generations;
        for generation in [young, old] {
            generation.retain(|_, refusals| {
                refusals.retain(|refusal| refusal.backend != *backend);
                !refusals.is_empty()
            });
        }
    }
}

impl Refusal {
    fn lasts(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < LASTS
    }
}

impl Generations {
    fn of(&self, seals: u64) -> &[Refusal] {
        self.young.get(&seals).or_else(|| self.old.get(&seals)).map(Vec::as_slice).unwrap_or_default()
    }

    fn note(&mut self, seals: u64, backend: &BackendId, now: Duration) {
        let mut refusals = self.of(seals).to_vec();
        refusals.retain(|refusal| refusal.backend != *backend && refusal.lasts(now));
        // The oldest stand first.
        if refusals.len() >= MOST_BACKENDS {
            refusals.remove(0);
        }
        refusals.push(Refusal { backend: backend.clone(), at: now });
        if self.young.len() >= GENERATION && !self.young.contains_key(&seals) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(seals, refusals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(model: &str) -> BackendId {
        BackendId::new("north", model)
    }

    const fn minute(n: u64) -> Duration {
        Duration::from_secs(n * 60)
    }

    #[track_caller]
    fn check(refused: &RefusedSeals, seals: &[u64], now: Duration, expected: &[&str]) {
        let mut by: Vec<BackendId> = refused.by(seals, now).into_iter().map(|refused| refused.backend).collect();
        by.sort_unstable();
        assert_eq!(by, expected.iter().map(|model| backend(model)).collect::<Vec<_>>(), "{seals:?}");
    }

    #[test]
    fn what_stands_behind_the_last_that_were_refused_is_counted() {
        let refused = RefusedSeals::default();
        let behind = |seals: &[u64]| refused.by(seals, minute(1)).iter().map(|refused| refused.behind).collect::<Vec<_>>();
        refused.note(2, &backend("fog"), minute(0));
        assert_eq!((behind(&[1, 2]), behind(&[1, 2, 3]), behind(&[1, 2, 3, 4])), (vec![0], vec![1], vec![2]));
        refused.note(3, &backend("fog"), minute(0));
        assert_eq!((behind(&[1, 2, 3, 4]), behind(&[1])), (vec![1], vec![]));
    }

    #[test]
    fn what_was_refused_is_known_in_every_further_turn_and_nowhere_else() {
        let refused = RefusedSeals::default();
        assert!(refused.is_empty());
        refused.note(2, &backend("fog"), minute(0));
        refused.note(3, &backend("mist"), minute(0));
        check(&refused, &[1, 2], minute(1), &["fog"]);
        check(&refused, &[1, 2, 3], minute(1), &["fog", "mist"]);
        check(&refused, &[1], minute(1), &[]);
        check(&refused, &[7, 8], minute(1), &[]);
        check(&refused, &[], minute(1), &[]);
    }

    #[test]
    fn a_refusal_lasts_an_hour_from_when_it_was_made() {
        let refused = RefusedSeals::default();
        refused.note(1, &backend("fog"), minute(0));
        check(&refused, &[1], minute(59), &["fog"]);
        check(&refused, &[1], minute(60), &[]);
        refused.note(1, &backend("fog"), minute(61));
        check(&refused, &[1], minute(120), &["fog"]);
    }

    #[test]
    fn of_who_is_asked_with_another_key_nothing_is_kept() {
        let refused = RefusedSeals::default();
        refused.note(1, &backend("fog"), minute(0));
        refused.note(1, &backend("mist"), minute(0));
        refused.note(2, &backend("fog"), minute(0));
        refused.forget(&backend("fog"));
        check(&refused, &[1, 2], minute(1), &["mist"]);
        refused.forget(&backend("mist"));
        assert!(refused.is_empty());
    }

    #[test]
    fn the_room_is_bounded_and_the_oldest_go_first() {
        let refused = RefusedSeals::default();
        for seals in 0..3 * GENERATION as u64 {
            refused.note(seals, &backend("fog"), minute(0));
        }
        let kept = |refused: &RefusedSeals| {
            let generations = refused.generations.lock().unwrap();
            generations.young.len() + generations.old.len()
        };
        assert_eq!(kept(&refused), 2 * GENERATION);
        check(&refused, &[0], minute(1), &[]);
        check(&refused, &[3 * GENERATION as u64 - 1], minute(1), &["fog"]);
        let models = ["a", "b", "c", "d", "e"];
        for model in models {
            refused.note(1, &backend(model), minute(0));
        }
        check(&refused, &[1], minute(1), &models[1..]);
    }
}
