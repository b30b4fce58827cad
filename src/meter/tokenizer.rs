//! Exact counts off the reactor, for the few that need one: a missing report, a broken stream, a budget near its end.
//!
//! Where the family's vocabulary is at hand (see [`exact`](super::exact)) the count is exact; for the others `o200k` is counted
//! and the fit of [`calibrated`](super::calibrated) makes their tokens of it, and the count then says *estimated*. Some 50 ns a
//! byte, so it runs on the blocking pool, two at a time, and at most [`BUDGET_BYTES`] of one text: what is beyond is scaled by
//! the estimate, and the count then says *estimated* too.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::chat::{Chat, Framed, How};
use super::exact::Vocabularies;
use super::{calibrated, estimate};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::{BackendId, Provenance, Tokens};

/// How much of one text is counted exactly: 15 ms of one core.
pub const BUDGET_BYTES: usize = 256 * 1024;

/// How many counts run at once: they must not crowd out the blocking pool's other users or the reactor's cores.
const AT_ONCE: usize = 2;
/// How many counts that somebody may do without wait for their turn; a further one is not made.
const WAITING: usize = 64;

/// A number of tokens and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub tokens: Tokens,
    pub provenance: Provenance,
}

/// Whose tokens are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The backend (provider/model), whose model may have a vocabulary of its own.
    pub backend: BackendId,
    pub family: TokenizerFamily,
}

/// Counts exactly, off the reactor. Clones share their places.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    vocabularies: Arc<Vocabularies>,
    #[cfg(test)]
    at_once: bool,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::with(Vocabularies::default())
    }
}

impl Tokenizer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts in these vocabularies.
    pub fn with(vocabularies: impl Into<Arc<Vocabularies>>) -> Self {
        let (places, waiting) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(WAITING)));
        Self {
            places,
            waiting,
            vocabularies: vocabularies.into(),
            #[cfg(test)]
            at_once: false,
        }
    }

    /// The same on the thread that asks, so that nothing is left to chance.
    #[cfg(test)]
    pub(crate) fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    /// Whether nothing is being counted.
    pub fn is_idle(&self) -> bool {
        self.places.available_permits() == AT_ONCE
    }

    /// Counts a conversation that has yet to be read, as its model reads it. `None`: it cannot be read, or the runtime is going
    /// down.
    pub async fn count_chat(&self, make: impl FnOnce() -> Option<Chat> + Send + 'static, of: Whose) -> Option<(Tokens, How)> {
        self.on_pool(move |vocabularies| {
            let framed = Framed::of(&make()?, of.family);
            let counter = vocabularies.counter_of(of.backend.as_str(), of.family);
            let (tokens, how) = framed.count_within(vocabularies, counter.as_deref(), of.family, BUDGET_BYTES);
            Some((Tokens::new(tokens), how))
        })
        .await?
    }

    /// The same for who can do with an estimate: `None` too where too many wait already.
    pub async fn count_chat_soon(
        &self,
        make: impl FnOnce() -> Option<Chat> + Send + 'static,
        of: Whose,
    ) -> Option<(Tokens, How)> {
        let _waits = self.waiting.try_acquire().ok()?;
        self.count_chat(make, of).await
    }

    /// Works off the reactor, when there is a place. `None`: the runtime is going down.
    async fn on_pool<T: Send + 'static>(&self, work: impl FnOnce(&Vocabularies) -> T + Send + 'static) -> Option<T> {
        #[cfg(test)]
        if self.at_once {
            return Some(work(&self.vocabularies));
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let vocabularies = Arc::clone(&self.vocabularies);
        let working = tokio::task::spawn_blocking(move || {
            let _held_until_done = place;
            work(&vocabularies)
        });
        working.await.ok()
    }

    /// Counts a text that has yet to be made, which happens off the reactor too. `None`: the runtime is going down.
    pub async fn count_made(&self, make: impl FnOnce() -> String + Send + 'static, of: Whose) -> Option<Count> {
        self.on_pool(move |vocabularies| {
            let text = make();
            count_within(vocabularies, &text, &TextProfile::of(&text), &of, BUDGET_BYTES)
        })
        .await
    }

    /// Counts a text of which only the beginning is at hand, with the profile of the whole: what
    /// [`RunningCount::into_parts`](super::RunningCount::into_parts) gives.
    ///
    /// Always answers: where counting is impossible (the runtime is going down), with the estimate.
    pub async fn count_beginning(&self, text: String, whole: TextProfile, of: Whose) -> Count {
        let family = of.family;
        let counted = self.on_pool(move |vocabularies| count_within(vocabularies, &text, &whole, &of, BUDGET_BYTES)).await;
        counted.unwrap_or_else(|| Count { tokens: estimate::expected(&whole, family), provenance: Provenance::Estimated })
    }
}

/// Counts the beginning of a text, at most `budget` bytes of it, and scales to the whole.
fn count_within(vocabularies: &Vocabularies, text: &str, whole: &TextProfile, of: &Whose, budget: usize) -> Count {
    let family = of.family;
    let seen = &text[..text.floor_char_boundary(budget)];
    let counted = vocabularies.counter_of(of.backend.as_str(), family).map(|counter| counter.count(seen));
    if let Some(counted) = counted
        && seen.len() as u64 == whole.bytes()
    {
        return Count { tokens: Tokens::new(counted), provenance: Provenance::Counted };
    }
    let profile = TextProfile::of(seen);
    let counted = counted.unwrap_or_else(|| calibrated::count(vocabularies, seen, &profile, family));
    let told = |profile: &TextProfile| estimate::expected(profile, family);
    let tokens = estimate::scaled(Tokens::new(counted), told(whole), told(&profile));
    Count { tokens, provenance: Provenance::Estimated }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn whose(family: TokenizerFamily) -> Whose {
        Whose { backend: BackendId::new("north", "mist"), family }
    }

    fn counted(text: &str, family: TokenizerFamily, budget: usize) -> Count {
        count_within(&Vocabularies::default(), text, &TextProfile::of(text), &whose(family), budget)
    }

    #[test]
    fn our_own_texts_are_counted_exactly() {
        for (text, o200k, cl100k) in testing::OWN_TEXTS {
            let check = |family, tokens| {
                let exact = Count { tokens: Tokens::new(tokens), provenance: Provenance::Counted };
                assert_eq!(counted(text, family, BUDGET_BYTES), exact, "{text}");
            };
            check(TokenizerFamily::O200k, o200k);
            check(TokenizerFamily::Cl100k, cl100k);
        }
    }

    #[test]
    fn beyond_the_budget_the_count_is_scaled_and_says_so() {
        let text = "the quick brown fox jumps over the lazy dog, ".repeat(2000);
        let whole = counted(&text, TokenizerFamily::O200k, usize::MAX);
        let part = counted(&text, TokenizerFamily::O200k, text.len() / 4);
        assert_eq!((whole.provenance, part.provenance), (Provenance::Counted, Provenance::Estimated));
        assert!(whole.tokens.get().abs_diff(part.tokens.get()) * 100 < whole.tokens.get(), "{whole:?} {part:?}");
    }

    #[test]
    fn a_family_is_counted_where_its_vocabulary_is_at_hand_and_estimated_elsewhere() {
        let vocabularies = Vocabularies::default();
        let text = "今天天气很好，我们去公园散步吧。";
        for (family, word) in TokenizerFamily::WORDS {
            let count = count_within(&vocabularies, text, &TextProfile::of(text), &whose(family), BUDGET_BYTES);
            assert_eq!(count.provenance == Provenance::Counted, vocabularies.counts(family), "{word}");
            assert!(count.tokens > Tokens::ZERO, "{word}");
            assert_eq!(counted("", family, BUDGET_BYTES).tokens, Tokens::ZERO, "{word}");
        }
    }

    fn chat(text: &str) -> Chat {
        let line = serde_json::json!({"messages": [{"role": "user", "content": text}, {"role": "user", "content": text}]});
        serde_json::from_value(line).unwrap()
    }

    #[tokio::test]
    async fn a_conversation_is_counted_as_its_model_reads_it_and_scaled_beyond_the_budget() {
        let tokenizer = Tokenizer::new();
        let count = async |text: String, family| tokenizer.count_chat(move || Some(chat(&text)), whose(family)).await.unwrap();
        let (text, o200k, _) = testing::OWN_TEXTS[0];
        let frame = 3 + 2 * (3 + 1);
        let whole = count(text.to_owned(), TokenizerFamily::O200k).await;
        assert_eq!(whole, (Tokens::new(2 * o200k + frame), How::Exact));
        assert_eq!(count(text.to_owned(), TokenizerFamily::Claude47Recon).await.1, How::Calibrated);

        let words = "the quick brown fox jumps over the lazy dog, ".repeat(BUDGET_BYTES / 45 * 3 / 4);
        let truth = 2 * Vocabularies::default().counter(TokenizerFamily::O200k).unwrap().count(&words) + frame;
        let (tokens, how) = count(words, TokenizerFamily::O200k).await;
        assert_eq!(how, How::Estimate);
        assert!(tokens.get().abs_diff(truth) * 100 < truth, "{tokens} for {truth}");
        assert_eq!(tokenizer.count_chat(|| None, whose(TokenizerFamily::O200k)).await, None);
    }

    #[tokio::test]
    async fn who_can_do_with_an_estimate_does_not_wait_behind_many() {
        let tokenizer = Tokenizer::new();
        let soon = || tokenizer.count_chat_soon(|| Some(chat("hello there")), whose(TokenizerFamily::O200k));
        let all = tokenizer.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(soon().await, None);
        drop(all);
        assert_eq!(soon().await, Some((Tokens::new(2 * 2 + 11), How::Exact)));
        assert_eq!(tokenizer.waiting.available_permits(), WAITING, "the place is given back");
    }

    #[tokio::test]
    async fn counting_runs_off_the_reactor_and_answers() {
        let tokenizer = Tokenizer::new();
        let (text, o200k, cl100k) = testing::OWN_TEXTS[0];
        let counts = futures_util::future::join_all((0..8).map(|i| {
            let family = if i % 2 == 0 { TokenizerFamily::O200k } else { TokenizerFamily::Cl100k };
            tokenizer.count_beginning(text.to_owned(), TextProfile::of(text), whose(family))
        }))
        .await;
        for (i, count) in counts.iter().enumerate() {
            assert_eq!(count.tokens.get(), if i % 2 == 0 { o200k } else { cl100k });
        }
        assert_eq!(tokenizer.places.available_permits(), AT_ONCE, "every place is given back");
    }
}
