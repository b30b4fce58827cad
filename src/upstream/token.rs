//! Tokens that are made or fetched with a key, for providers that want no key in their header: a signed one
//! ([`Pair`]), or one that a signed assertion is exchanged for ([`ServiceAccount`]).
//!
//! A call takes the token that is there: one look at an immutable state, no lock. Whoever keeps the tokens ([`Tokens::all`],
//! [`Token::renew`]) has the next one before the last one ends; where that fails, the last one is sent until it ends. He alone
//! renews, so that no two exchanges of a token are ever under way.
//!
//! A provider that refuses a token before its end has taken it back: the next one is then had at once, but not more often than
//! once in [`EARLY`], so that a provider that refuses all of them is not met with a storm.

mod jwt;
mod pair;
mod service_account;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

pub use self::pair::Pair;
pub use self::service_account::ServiceAccount;
use super::client::{Upstream, UpstreamError};
use super::endpoint::Secret;

/// A new token is had so long before the last one ends; of one that lives shortly, at four fifths of its life.
const LEAD: Duration = Duration::from_mins(5);
/// The longest wait after a failure; the first is a second, and each further one twice the last.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The shortest time between two tokens that are had because their provider refused the last one.
const EARLY: Duration = Duration::from_mins(1);
/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a provider's key is, and so how a token is had with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// `id.secret`: the token is signed with the secret.
    Pair,
    /// The key file of a service account: the token is fetched from where it says.
    ServiceAccount,
}

/// Why a key gives no token, or gives none now. Never with a part of the key or of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the key is not of the form id.secret")]
    Pair,
    #[error("this is no key file of a service account: {0}")]
    ServiceAccount(&'static str),
    #[error("the key cannot sign")]
    Signing,
    #[error("{0}")]
    Exchange(String),
}

/// A key, read.
enum Key {
    Pair(Pair),
    ServiceAccount(Box<ServiceAccount>),
}

impl Grant {
    /// Whether a key is one; else what is wrong with it.
    pub fn check(self, key: &str) -> Result<(), TokenError> {
        self.read(key).map(|_| ())
    }

    /// What is accepted, for people.
    pub const fn accepted(self) -> &'static str {
        match self {
            Grant::Pair => "a key of two parts, id.secret (its value is not shown)",
            Grant::ServiceAccount => "the text of a service account's key file, JSON (it is not shown)",
        }
    }

    fn read(self, key: &str) -> Result<Key, TokenError> {
        match self {
            Grant::Pair => Pair::parse(key).map(Key::Pair),
            Grant::ServiceAccount => ServiceAccount::parse(key).map(|account| Key::ServiceAccount(Box::new(account))),
        }
    }
}

/// A token as it was had.
pub(super) struct Fresh {
    pub(super) text: String,
    pub(super) lifetime: Duration,
}

/// The token of one provider's key.
pub struct Token {
    /// Whose it is, for log and metrics.
    pub provider: String,
    key: Key,
    state: ArcSwap<State>,
    /// Told whenever the state became another.
    changed: Notify,
    /// When a refusal last made the next one due.
    refused: Mutex<Option<Timestamp>>,
    /// A refusal made the next one due, and it has not ended yet.
    wanted: AtomicBool,
    /// Told of that.
    wake: Arc<Notify>,
}

/// What is sent, and when the next one is due.
#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Why the last try failed.
    trouble: Option<String>,
    /// How many tries failed, one after the other.
    failures: u32,
    /// When to try (again); at once where it is not said.
    due: Option<Timestamp>,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    /// What was sent before may still come back in an answer that began then.
    secrets: [Option<Secret>; 2],
    had: Timestamp,
    ends: Timestamp,
}

impl State {
    /// A new token is there.
    fn renewed(&self, fresh: &Fresh, now: Timestamp) -> Result<Self, TokenError> {
        let header = HeaderValue::try_from(format!("Bearer {}", fresh.text));
        let mut header = header.map_err(|_| TokenError::Exchange("the token has characters that no header can carry".into()))?;
        header.set_sensitive(true);
        let before = self.held.as_ref().and_then(|held| held.secrets[0].clone());
        let held = Held { header, secrets: [Some(Secret::new(&fresh.text)), before], had: now, ends: after(now, fresh.lifetime) };
        let lead = LEAD.min(fresh.lifetime / 5);
        Ok(Self { held: Some(held), due: Some(after(now, fresh.lifetime.saturating_sub(lead))), ..Self::default() })
    }

    /// None was had. The last one stays until it ends, and then it is looked at again.
    fn failed(&self, why: &TokenError, now: Timestamp) -> Self {
        let held = self.held.clone().filter(|held| now < held.ends);
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        let due = held.iter().map(|held| held.ends).chain([after(now, pause)]).min();
        Self { held, trouble: Some(why.to_string()), failures: self.failures.saturating_add(1), due }
    }
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

impl Token {
    fn of(provider: &str, key: Key, wake: Arc<Notify>) -> Self {
        Self {
            provider: provider.to_owned(),
            key,
            state: ArcSwap::default(),
            changed: Notify::new(),
            refused: Mutex::default(),
            wanted: AtomicBool::new(false),
            wake,
        }
    }

    /// The provider refused the token that a call was sent with at an instant. Answers whether the next call has another: one
    /// was had since, one is on its way, or the next one is had for that, which a minute must lie between.
    pub(super) fn refuse(&self, sent: Timestamp, now: Timestamp) -> bool {
        let had_since = self.state.load().held.as_ref().is_some_and(|held| sent < held.had);
        if had_since || self.wanted.load(Ordering::Acquire) {
            return true;
        }
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last <= now && now < after(last, EARLY)) {
            return false;
        }
        *last = Some(now);
        self.wanted.store(true, Ordering::Release);
        self.wake.notify_one();
        true
    }

    /// The header's value. Waits for the very first token only; where there is none, says why.
    pub(super) async fn header(&self) -> Result<HeaderValue, UpstreamError> {
        loop {
            let changed = self.changed.notified();
            match self.sent() {
                Some(header) => return header,
                None => changed.await,
            }
        }
    }

    /// The header's value, or why there is none; `None` before the first try has ended.
    fn sent(&self) -> Option<Result<HeaderValue, UpstreamError>> {
        let state = self.state.load();
        match (&state.held, &state.trouble) {
            (Some(held), _) => Some(Ok(held.header.clone())),
            (None, Some(why)) => Some(Err(UpstreamError::NoToken(why.clone()))),
            (None, None) => None,
        }
    }

    /// The tokens that may stand in an answer.
    pub(super) fn secrets(&self) -> [Option<Secret>; 2] {
        self.state.load().held.as_ref().map(|held| held.secrets.clone()).unwrap_or_default()
    }

    /// When the next one is to be had; `None` for at once.
    pub fn due(&self) -> Option<Timestamp> {
        if self.wanted.load(Ordering::Acquire) { None } else { self.state.load().due }
    }

    /// When the one that is sent ends; `None` where there is none.
    pub fn ends(&self) -> Option<Timestamp> {
        self.state.load().held.as_ref().map(|held| held.ends)
    }

    /// Makes or fetches the next one. To be called by one at a time.
    ///
    /// # Errors
    /// Where none was had; the last one is sent until it ends.
    pub async fn renew(&self, upstream: &Upstream, now: Timestamp) -> Result<(), TokenError> {
        let fresh = match &self.key {
            Key::Pair(pair) => Ok(pair.token(now)),
            Key::ServiceAccount(account) => match tokio::time::timeout(PATIENCE, account.exchange(upstream, now)).await {
                Ok(fresh) => fresh,
                Err(_) => Err(TokenError::Exchange(format!("no answer within {} s", PATIENCE.as_secs()))),
            },
        };
        let before = self.state.load();
        let (state, outcome) = match fresh.and_then(|fresh| before.renewed(&fresh, now)) {
            Ok(state) => (state, Ok(())),
            Err(why) => (before.failed(&why, now), Err(why)),
        };
        self.state.store(Arc::new(state));
        self.wanted.store(false, Ordering::Release);
        self.changed.notify_waiters();
        outcome
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// A provider, how it grants tokens, and what the key hashes to.
type Name = (String, Grant, [u8; 32]);

/// The tokens of a process. One for each provider and key, however often the table is read anew; it goes when nobody sends it
/// any more.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<BTreeMap<Name, Weak<Token>>>,
    /// Told when there is one more, and when one is due before its time.
    wake: Arc<Notify>,
}

impl Tokens {
    /// The token of a provider's key.
    pub fn of(&self, provider: &str, grant: Grant, key: &str) -> Result<Arc<Token>, TokenError> {
        let name = (provider.to_owned(), grant, Sha256::digest(key.as_bytes()).into());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, token| token.strong_count() > 0);
        if let Some(token) = known.get(&name).and_then(Weak::upgrade) {
            return Ok(token);
        }
        let token = Arc::new(Token::of(provider, grant.read(key)?, Arc::clone(&self.wake)));
        known.insert(name, Arc::downgrade(&token));
        self.wake.notify_one();
        Ok(token)
    }

    /// All that are sent, in the order of their providers.
    pub fn all(&self) -> Vec<Arc<Token>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there is one that `all` did not have, or one is due before its time.
    pub async fn wanted(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn fresh(text: &str, seconds: u64) -> Fresh {
        Fresh { text: text.to_owned(), lifetime: Duration::from_secs(seconds) }
    }

    fn sent(state: &State) -> Option<&str> {
        state.held.as_ref().map(|held| held.header.to_str().unwrap())
    }

    #[test]
    fn the_next_one_is_due_before_the_last_one_ends() {
        let state = State::default().renewed(&fresh("one", 3_600), at(0)).unwrap();
        assert_eq!((sent(&state), state.due), (Some("Bearer one"), Some(at(3_300))));
        let short = State::default().renewed(&fresh("one", 100), at(0)).unwrap();
        assert_eq!(short.due, Some(at(80)));
    }

    #[test]
    fn a_failed_renewal_keeps_the_last_one_until_it_ends_and_no_longer() {
        let no = TokenError::Exchange("503".into());
        let held = State::default().renewed(&fresh("one", 400), at(0)).unwrap();
        let mut state = held.failed(&no, at(320));
        assert_eq!((sent(&state), state.due), (Some("Bearer one"), Some(at(321))));
        for (now, next) in [(321, 323), (323, 327), (327, 335), (335, 351), (351, 383), (383, 400)] {
            state = state.failed(&no, at(now));
            assert_eq!((sent(&state), state.due), (Some("Bearer one"), Some(at(next))), "{now}");
        }
        state = state.failed(&no, at(400));
        assert_eq!((sent(&state), state.trouble.as_deref(), state.due), (None, Some("503"), Some(at(460))));
        let again = state.renewed(&fresh("two", 400), at(460)).unwrap();
        assert_eq!((sent(&again), again.trouble.as_deref(), again.failures), (Some("Bearer two"), None, 0));
    }

    #[test]
    fn what_was_sent_before_is_still_a_secret() {
        let state = State::default().renewed(&fresh("token-one", 400), at(0)).unwrap();
        let state = state.renewed(&fresh("token-two", 400), at(320)).unwrap();
        let found = |text: &str| state.held.as_ref().unwrap().secrets.iter().flatten().any(|s| s.is_in(text.as_bytes()));
        assert!(found("a token-one") && found("a token-two") && !found("a token-three"));
    }

    #[tokio::test]
    async fn a_call_waits_for_the_first_token_and_never_for_a_failed_one() {
        let tokens = Tokens::default();
        let token = tokens.of("p", Grant::Pair, "id.s3cret-of-the-pair").unwrap();
        let upstream = Upstream::for_tests();
        let waiting = token.header();
        let (header, renewed) = tokio::join!(waiting, token.renew(&upstream, at(0)));
        assert!(renewed.is_ok() && header.unwrap().to_str().unwrap().starts_with("Bearer ey"));
        token.state.store(Arc::new(State::default().failed(&TokenError::Signing, at(0))));
        assert_eq!(token.header().await.unwrap_err().to_string(), "no token for the provider: the key cannot sign");
    }

    #[test]
    fn a_key_has_one_token_however_often_it_is_asked_for_and_a_new_key_another() {
        let tokens = Tokens::default();
        let of = |provider: &str, key: &str| tokens.of(provider, Grant::Pair, key).unwrap();
        let (one, same, other, elsewhere) = (of("p", "a.b"), of("p", "a.b"), of("p", "a.c"), of("q", "a.b"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &elsewhere));
        assert_eq!(tokens.all().len(), 3);
        drop((one, same, other));
        assert_eq!(tokens.all().len(), 1, "nobody sends the others any more");
        assert_eq!(tokens.of("p", Grant::Pair, "no pair").unwrap_err(), TokenError::Pair);
    }

    #[tokio::test]
    async fn a_refused_token_is_had_anew_at_once_and_not_again_within_a_minute() {
        let tokens = Tokens::default();
        let token = tokens.of("p", Grant::Pair, "id.s3cret-of-the-pair").unwrap();
        tokens.wanted().await;
        let upstream = Upstream::for_tests();
        token.renew(&upstream, at(0)).await.unwrap();
        assert_eq!(token.due(), Some(at(1_500)));
        assert!(token.refuse(at(9), at(10)) && token.due().is_none());
        tokens.wanted().await;
        assert!(token.refuse(at(9), at(11)), "one is on its way");
        token.renew(&upstream, at(12)).await.unwrap();
        assert_eq!(token.due(), Some(at(1_512)));
        assert!(token.refuse(at(11), at(69)) && token.due() == Some(at(1_512)), "it was sent with the one before");
        assert!(!token.refuse(at(68), at(69)) && token.due() == Some(at(1_512)), "no storm");
        assert!(token.refuse(at(68), at(70)) && token.due().is_none());
    }

    proptest! {
        /// Whatever happens when: what is sent has not ended when it was last looked at, and the next look is not before now.
        #[test]
        fn nothing_is_sent_beyond_its_end(steps in prop::collection::vec((any::<bool>(), 0_i64..5_000, 1_u64..5_000), 1..40)) {
            let (mut state, mut now) = (State::default(), 0);
            for (succeeds, wait, lifetime) in steps {
                // The keeper comes when it is due, or later.
                let due = state.due.map_or(now, |due| due.as_second() - at(0).as_second());
                now = now.max(due) + wait;
                state = if succeeds {
                    state.renewed(&fresh("t", lifetime), at(now)).unwrap()
                } else {
                    state.failed(&TokenError::Signing, at(now))
                };
                prop_assert!(state.held.as_ref().is_none_or(|held| at(now) < held.ends || succeeds));
                prop_assert!(state.due.is_some_and(|due| due >= at(now)));
                prop_assert!(state.held.as_ref().is_none_or(|held| state.due.unwrap() <= held.ends));
                prop_assert!(state.held.is_some() || !succeeds);
            }
        }
    }
}
