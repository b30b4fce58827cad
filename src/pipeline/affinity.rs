//! From what is remembered of prompts to the facts of one decision, and from one answer back to what is remembered.

use std::sync::Arc;
use std::time::Duration;

use super::learning::Learning;
use crate::canonical::{Chain, Request, Shape};
use crate::catalog::{Backend, BackendIndex, Snapshot};
use crate::frontend::{self, prefix};
use crate::meter::{Answer, Class};
use crate::policy::prefixes::SUPPOSED_HIT;
use crate::policy::{Known, Read};
use crate::relay::Hear;
use crate::route::{Affinity, InputEstimate, Session, Warm};
use crate::telemetry::{AnswerEnd, Metrics};
use crate::units::{BackendId, KeyName, Provenance, Tokens, Usage};

/// One request's prompt among those that are remembered.
#[derive(Debug, Default)]
pub(super) struct Trace {
    chain: Chain,
    /// Which turn of its conversation it is.
    turn: u16,
    /// The same prompt was sent before.
    repeated: bool,
    /// The backends that may have answered its turns, and who told each seal in them ([`Known`]).
    answered: Vec<Vec<BackendIndex>>,
    made: Vec<Option<BackendIndex>>,
    /// The backends that have surely read its beginning just now, and how much of it, in millionths.
    sure: Vec<(BackendIndex, u32)>,
}

/// Where a prompt is warm and which conversation it goes on with, as facts; and the prompt's own trace.
pub(super) fn look(
    learning: &Learning,
    request: &Request,
    key: &KeyName,
    snapshot: &Snapshot,
    input: &InputEstimate,
    now: Duration,
) -> (Affinity, Trace) {
    let chain = prefix::chain(request, learning.prefixes.seed(key));
    let known = learning.prefixes.look(&chain, now);
    let repeated = known.is_repeated();
    let Known { read, last, answered, made } = known;
    let turn = last.as_ref().map_or(1, |last| last.turn.saturating_add(u16::from(!repeated)));
    let (mut warm, mut sure) = (Vec::new(), Vec::new());
    for Read { backend, share, age, .. } in &read {
        let Some(backend) = snapshot.backend_named(backend.as_str()) else { continue };
        let rules = snapshot.provider_of(backend).cache;
        let rate = learning.prefixes.hit_rate(&backend.id);
        let expected = input.at(backend.index, backend.tokenizer).expected();
        warm.extend(Warm::of(backend.index, expected, *share, *age, rules, rate));
        // A rate is learned from those alone whose cache cannot have been emptied for its age.
        if Warm::of(backend.index, expected, *share, *age, rules, 1_000_000).is_some_and(|all| all.likely == all.known) {
            sure.push((backend.index, *share));
        }
    }
    let home = last.and_then(|last| snapshot.backend_named(last.backend.as_str()));
    let index = |id: &BackendId| Some(snapshot.backend_named(id.as_str())?.index);
    let answered = answered.iter().filter_map(|makers| makers.iter().map(index).collect()).collect();
    let made = made.iter().map(|maker| index(maker.as_ref()?)).collect();
    let sealed = home.is_some() && frontend::is_sealed(request);
    let home = home.filter(|home| sealed || warm.iter().any(|warm| warm.backend == home.index));
    let session = home.map(|home| Session { sealed, ..session(learning, snapshot, home, turn) });
    (Affinity { warm, marked: chain.marked, session }, Trace { chain, turn, repeated, answered, made, sure })
}

fn session(learning: &Learning, snapshot: &Snapshot, home: &Backend, turn: u16) -> Session {
    let turn = u32::from(turn);
    let known = |(id, rate): (BackendId, u32)| Some((snapshot.backend_named(id.as_str())?.index, rate));
    let mut rates: Vec<_> = learning.prefixes.hit_rates().into_iter().filter_map(known).collect();
    rates.sort_unstable();
    Session { home: home.index, sealed: false, turn, remaining: learning.turns.remaining(turn), rates, rate: SUPPOSED_HIT.share }
}

impl Trace {
    /// The prompt was read by a backend, which has begun to answer.
    pub(super) fn remember(&self, learning: &Learning, backend: &BackendId, now: Duration) {
        learning.prefixes.remember(&self.chain, backend, self.turn, now);
        if !self.repeated {
            learning.turns.answered(self.turn.into());
        }
    }

    /// Who may have made what its turns hold, as far as that is remembered: those who told its seals, and, where seals do not tell it all
    /// (of one nobody knows, or a thought is `unsigned`), those who answered its turns.
    pub(super) fn makers(&self, unsigned: bool) -> Vec<Vec<BackendIndex>> {
        let all = !unsigned && !self.made.is_empty() && self.made.iter().all(Option::is_some);
        let turns = if all { &[][..] } else { &self.answered };
        let mut makers = turns.to_vec();
        for maker in self.made.iter().flatten() {
            if !makers.iter().any(|set| set == &[*maker]) {
                makers.push(vec![*maker]);
            }
        }
        makers
    }

    /// The seals in it by their hashes, in their order, and who told each, where that is known.
    pub(super) fn seals(&self) -> impl Iterator<Item = (u64, Option<BackendIndex>)> {
        self.chain.seals.iter().copied().zip(self.made.iter().copied().chain(std::iter::repeat(None)))
    }

    /// Remembers who told the seals of an answer, of whose words it is handed each piece as the client gets it.
    pub(super) fn hears_seals(
        learning: &Arc<Learning>,
        (shape, key): (Shape, &KeyName),
        backend: &BackendId,
        now: Duration,
    ) -> Hear {
        let (learning, seed, backend) = (Arc::clone(learning), learning.prefixes.seed(key), backend.clone());
        Box::new(move |said| {
            let told = |seal| learning.prefixes.sealed(seal, &backend, now);
            frontend::hash_seals(shape, said, seed, |seal| seal.into_iter().for_each(told));
        })
    }

    /// How much of the prompt a backend has surely read just before, in millionths.
    pub(super) fn surely_read(&self, backend: BackendIndex) -> Option<u32> {
        self.sure.iter().find(|(index, _)| *index == backend).map(|(_, share)| *share)
    }
}

/// What an answer will teach once it is whole.
pub(super) struct Lesson {
    pub(super) class: Class,
    pub(super) backend: BackendId,
    pub(super) model: String,
    pub(super) thinks: bool,
    pub(super) choices: u32,
    /// The bound on each choice that the backend was told.
    pub(super) bound: Option<Tokens>,
    /// What was expected.
    pub(super) expected: Usage,
    /// How much of the prompt the backend had surely read before, in millionths.
    pub(super) surely_read: Option<u32>,
}

impl Lesson {
    /// A whole answer has been settled.
    pub(super) fn take(&self, learning: &Learning, metrics: &Metrics, heard: &Heard) {
        let Heard { usage, provenance, cut_at_bound, at } = *heard;
        if provenance == Provenance::Estimated {
            return;
        }
        let cut_at = self.bound.filter(|_| cut_at_bound);
        let (output, reasoning) = (usage.output, usage.reasoning);
        let answer = Answer { model: &self.model, thinks: self.thinks, output, reasoning, choices: self.choices, cut_at };
        learning.answered(self.class, &answer, at);
        let end = if cut_at.is_some() { AnswerEnd::Bound } else { AnswerEnd::Whole };
        metrics.learned(&self.backend, end, &usage, &self.expected);
        if let Some(share) = self.surely_read.filter(|_| provenance == Provenance::Reported) {
            learning.prefixes.hit(&self.backend, given_back(&usage, share));
        }
    }
}

/// An answer that came whole, as it was booked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) usage: Usage,
    pub(super) provenance: Provenance,
    pub(super) cut_at_bound: bool,
    /// Seconds of wall time.
    pub(super) at: u64,
}

/// How much of the beginning that a backend had read it read from its cache, in millionths; `share` is how much of the
/// prompt that was.
fn given_back(usage: &Usage, share: u32) -> u32 {
    let known = u128::from(usage.input().get()) * u128::from(share);
    let read = u128::from(usage.cache_read.get()) * 1_000_000 * 1_000_000;
    u32::try_from(read.checked_div(known).unwrap_or(0)).unwrap_or(1_000_000).min(1_000_000)
}
