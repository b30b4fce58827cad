//! Which beginnings of prompts each backend has read lately, so that a quote can count on a prompt cache that is still warm.
//!
//! A chain's links are remembered with the backends that read them, when, and at which turn of their conversation. A new
//! prompt that goes on with a known one shares its links: the longest shared one says how much may be warm there, and
//! whose next turn this is, without the client naming a session. A session that it does name is one link more.
//!
//! Conversations that begin alike share their links, so a link does not say whose turn stands behind it once two backends have answered
//! there. What stands in the turn does: each seal that an answer held is remembered with the backend that told it.
//!
//! Chains are hashed with a seed of this process and the gateway key's name, so one key is never told what another has
//! sent. Providers cache by account, so a prompt that two keys share may in truth be warm for both: that is left out,
//! since a dry run would otherwise tell anybody for nothing whether another has sent a given text. It can only make a
//! quote too dear.
//!
//! Bounded by turning generations: what was not used during a whole generation is forgotten, whatever clients invent.
//! Sixteen shards by hash, each behind its own lock for the nanoseconds of one link.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use super::ratio::{ONE, Ratio, Supposed};
use crate::canonical::prefix::{WHOLE, absorb};
use crate::canonical::{Chain, Link};
use crate::units::{BackendId, KeyName};

const SHARDS: usize = 16;
/// Links of one shard's generation; two generations are remembered: 131,072 links, some ten megabytes when full.
const GENERATION: usize = 4_096;
/// Backends that are remembered of one link; the one that read it first goes first.
const READERS: usize = 4;
/// What a backend is expected to read from its cache of what it has read before. Worth four observations.
pub const SUPPOSED_HIT: Supposed = Supposed { share: 750_000, weight: 4 };
/// Backends whose hits are remembered. A table has fewer; this bounds what a series of tables leaves behind.
const MOST_HITS: usize = 8_192;

/// A backend with the key it is asked with; another key is another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Site(u32);

/// That a backend read a prompt up to some link.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    site: Site,
    /// Seconds on the monotonic clock.
    at: u32,
    /// The turn of the conversation that this link came with.
    turn: u16,
    /// A prompt ended here: what goes on from here is its next turn, and not another prompt that begins alike.
    end: bool,
    /// It ended here for this backend, which answered it.
    answered: bool,
}

type Readers = [Option<Seen>; READERS];
type Links = std::collections::HashMap<u64, Readers, BuildHasherDefault<AsIs>>;

#[derive(Debug, Default)]
struct Generations {
    young: Links,
    old: Links,
}

/// The backends by their numbers.
#[derive(Debug, Default)]
struct Sites {
    numbers: HashMap<BackendId, Site>,
    /// `None` for one whose key is another now.
    backends: Vec<Option<BackendId>>,
}

/// What is remembered of prompts. Times are of the monotonic clock.
#[derive(Debug)]
pub struct Prefixes {
    seed: u64,
    shards: [Mutex<Generations>; SHARDS],
    sites: Mutex<Sites>,
    hits: Mutex<HashMap<BackendId, Ratio>>,
}

/// A beginning that a backend has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub backend: BackendId,
    /// How much of this prompt that is, in millionths.
    pub share: u32,
    /// How long ago.
    pub age: Duration,
    /// The turn of its conversation that it was, the first being 1.
    pub turn: u16,
}

/// What is known of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The longest beginning that each backend has read, at most one for a backend.
    pub read: Vec<Read>,
    /// The turn before this one: that of the session the client names, else the longest beginning that was a whole prompt.
    pub last: Option<Read>,
    /// Who may have made the turns that stand in it: for each prompt that this one goes on from all who answered it, as far as they are
    /// surely all. Several where conversations began alike. Each set once.
    pub answered: Vec<Vec<BackendId>>,
    /// Who told each seal that stands in it, in their order; nobody of one that several told, which is no seal of its own.
    pub made: Vec<Option<BackendId>>,
}

impl Known {
    /// The whole prompt was read before: it is asked again, and no new turn.
    pub fn is_repeated(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.share == WHOLE)
    }
}

impl Prefixes {
    /// `seed` must be hard to guess.
    pub fn new(seed: u64) -> Self {
        Self { seed, shards: Default::default(), sites: Mutex::default(), hits: Mutex::default() }
    }

    /// The seed of a gateway key's chains.
    pub fn seed(&self, key: &KeyName) -> u64 {
        absorb(self.seed, key.as_str().as_bytes())
    }

    /// What is known of a prompt.
    pub fn look(&self, chain: &Chain, now: Duration) -> Known {
        let mut found: Vec<(Seen, u32)> = Vec::new();
        let (mut last, mut answered) = (None, Vec::<Vec<Site>>::new());
        let made: Vec<Option<Site>> = chain.seals.iter().map(|seal| sole(self.readers(*seal))).collect();
        let maker = made.last().copied().flatten();
        for link in chain.links.iter().rev() {
            let readers = self.readers(link.hash);
            last = last.or_else(|| newest(readers, maker).map(|seen| (seen, link.share)));
            // Whoever read all of it answered this prompt: that answer does not stand in it. Of more readers than there is room for
            // some are forgotten.
            if link.share != WHOLE && readers.iter().any(Option::is_none) {
                let makers: Vec<Site> = readers.iter().flatten().filter(|seen| seen.answered).map(|seen| seen.site).collect();
                if !makers.is_empty() && !answered.contains(&makers) {
                    answered.push(makers);
                }
            }
            for seen in readers.into_iter().flatten() {
                if found.iter().all(|(known, _)| known.site != seen.site) {
                    found.push((seen, link.share));
                }
            }
        }
        let repeated = last.is_some_and(|(_, share): (Seen, u32)| share == WHOLE);
        let session = chain.session.filter(|_| !repeated).and_then(|session| newest(self.readers(session), None));
        if found.is_empty() && session.is_none() && made.iter().all(Option::is_none) {
            return Known::default();
        }
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |seen: Seen, share| {
            let age = now.saturating_sub(Duration::from_secs(u64::from(seen.at)));
            Some(Read { backend: sites.backend(seen.site)?, share, age, turn: seen.turn })
        };
        let read: Vec<Read> = found.into_iter().filter_map(|(seen, share)| told(seen, share)).collect();
        let last = session.map(|seen| (seen, 0)).or(last).and_then(|(seen, share)| told(seen, share));
        // One that is another now may have been any.
        let all = |makers: Vec<Site>| makers.into_iter().map(|site| sites.backend(site)).collect::<Option<Vec<_>>>();
        let answered = answered.into_iter().filter_map(all).collect();
        let made = made.into_iter().map(|site| sites.backend(site?)).collect();
        Known { read, last, answered, made }
    }

    /// A backend has read a prompt, as this turn of its conversation.
    pub fn remember(&self, chain: &Chain, backend: &BackendId, turn: u16, now: Duration) {
        let at = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let site = self.sites.lock().unwrap_or_else(PoisonError::into_inner).number(backend);
        for Link { hash, share } in &chain.links {
            let end = *share == WHOLE;
            self.shard(*hash).note(*hash, Seen { site, at, turn, end, answered: end }, false);
        }
        if let Some(session) = chain.session {
            self.shard(session).note(session, Seen { site, at, turn, end: true, answered: true }, true);
        }
        // The conversation goes on, so what its turns hold is remembered as long as its links.
        chain.seals.iter().for_each(|seal| self.shard(*seal).keep(*seal));
    }

    /// A backend has told a seal, by its hash.
    pub fn sealed(&self, seal: u64, backend: &BackendId, now: Duration) {
        let at = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let site = self.sites.lock().unwrap_or_else(PoisonError::into_inner).number(backend);
        self.shard(seal).note(seal, Seen { site, at, turn: 1, end: true, answered: true }, false);
    }

    /// A backend is asked with another key, or elsewhere, from now on: what it read before is somebody else's cache.
    pub fn forget(&self, backend: &BackendId) {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Site(number)) = sites.numbers.remove(backend) {
            sites.backends[number as usize] = None;
        }
        drop(sites);
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }

    /// How much of what a backend has read before it reads from its cache, in millionths.
    pub fn hit_rate(&self, backend: &BackendId) -> u32 {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(backend).copied().unwrap_or_default().share(SUPPOSED_HIT)
    }

    /// The rates of all backends of which one is known.
    pub fn hit_rates(&self) -> Vec<(BackendId, u32)> {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.iter().map(|(backend, ratio)| (backend.clone(), ratio.share(SUPPOSED_HIT))).collect()
    }

    /// A backend reported how much it read from its cache of what it was known to have read before, in millionths.
    pub fn hit(&self, backend: &BackendId, share: u32) {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        if hits.len() < MOST_HITS || hits.contains_key(backend) {
            hits.entry(backend.clone()).or_default().add(share.min(ONE));
        }
    }

    /// The hits that are kept, sorted.
    pub fn kept_hits(&self) -> Vec<(BackendId, Ratio)> {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: Vec<_> = hits.iter().map(|(backend, ratio)| (backend.clone(), *ratio)).collect();
        kept.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        kept
    }

    /// Puts back the hits that were kept.
    pub fn restore_hits(&self, kept: Vec<(BackendId, Ratio)>) {
        *self.hits.lock().unwrap_or_else(PoisonError::into_inner) = kept.into_iter().take(MOST_HITS).collect();
    }

    fn readers(&self, hash: u64) -> Readers {
        self.shard(hash).readers(hash).copied().unwrap_or_default()
    }

    /// By the high bits: the maps go by the low ones.
    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Generations> {
        let place = usize::try_from(hash >> 60).unwrap_or(0) % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn readers(&self, hash: u64) -> Option<&Readers> {
        self.young.get(&hash).or_else(|| self.old.get(&hash))
    }

    /// A link keeps the turn that it came with, and stays the end of a prompt; a session's goes on.
    fn note(&mut self, hash: u64, seen: Seen, goes_on: bool) {
        let mut readers = self.readers(hash).copied().unwrap_or_default();
        let known = readers.iter().flatten().map(|known| known.turn).min();
        let turn = if goes_on { seen.turn } else { known.unwrap_or(seen.turn) };
        let same = readers.iter().position(|reader| reader.is_some_and(|known| known.site == seen.site));
        let end = seen.end || readers.iter().flatten().any(|known| known.end);
        let place = same.or_else(|| readers.iter().position(Option::is_none)).unwrap_or_else(|| oldest(&readers));
        let answered = seen.answered || same.and_then(|place| readers[place]).is_some_and(|known| known.answered);
        readers[place] = Some(Seen { turn, end, answered, ..seen });
        self.insert(hash, readers);
    }

    /// What is known of it is young again.
    fn keep(&mut self, hash: u64) {
        if let Some(readers) = self.old.get(&hash).filter(|_| !self.young.contains_key(&hash)).copied() {
            self.insert(hash, readers);
        }
    }

    fn insert(&mut self, hash: u64, readers: Readers) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, readers);
    }
}

fn oldest(readers: &Readers) -> usize {
    let ages = readers.iter().enumerate().map(|(place, reader)| (reader.map_or(0, |seen| seen.at), place));
    ages.min().map_or(0, |(_, place)| place)
}

/// The last of those whose prompt ended here; before all others the one that is known to have made what follows.
fn newest(readers: Readers, maker: Option<Site>) -> Option<Seen> {
    let ended = readers.into_iter().flatten().filter(|seen| seen.end);
    ended.max_by_key(|seen| (maker == Some(seen.site), seen.turn, seen.at))
}

/// The only one there is.
fn sole(readers: Readers) -> Option<Site> {
    let mut sites = readers.into_iter().flatten().map(|seen| seen.site);
    sites.next().filter(|_| sites.next().is_none())
}

impl Sites {
    fn number(&mut self, backend: &BackendId) -> Site {
        if let Some(site) = self.numbers.get(backend) {
            return *site;
        }
        let site = Site(u32::try_from(self.backends.len()).unwrap_or(u32::MAX));
        self.backends.push(Some(backend.clone()));
        self.numbers.insert(backend.clone(), site);
        site
    }

    fn backend(&self, Site(number): Site) -> Option<BackendId> {
        self.backends.get(number as usize)?.clone()
    }
}

/// A hash is spread evenly already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = absorb(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
#[path = "prefixes/tests.rs"]
mod tests;
