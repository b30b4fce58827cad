//! Which model each backend says it serves, so that a change that nobody announced is noticed.
//!
//! Providers name models by other ids than they are asked for: with a date, with their own prefix. So the first answer says
//! what is expected, and only an answer that names another model than the one before it is a change. A row of the table that
//! asks for another model begins anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use crate::canonical::Shape;
use crate::units::BackendId;

/// Names remembered of one backend: a site that picks a model for each request names many.
const MOST_NAMES: usize = 16;
/// A longer name is cut here, as it is in the books.
const MOST_BYTES: usize = 256;

/// What every backend named last.
#[derive(Debug, Default)]
pub struct ServedNames {
    /// By backend and the shape of the endpoint: two endpoints of one provider may spell one model in two ways.
    named: Mutex<HashMap<(BackendId, Shape), Named>>,
}

#[derive(Debug)]
struct Named {
    /// The id that the model is asked for by.
    asked: String,
    /// The last one in front; never empty.
    names: Vec<String>,
}

/// A model that is served under another name than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the backend had named before.
    pub before: String,
    /// It never named the new one while that was remembered.
    pub is_new: bool,
}

impl ServedNames {
    /// Takes what an answer names, asked for `asked` at an endpoint of a shape; tells a change once.
    pub fn named(&self, backend: &BackendId, endpoint: Shape, asked: &str, name: &str) -> Option<Change> {
        let name = cut(name);
        if name.is_empty() {
            return None;
        }
        let mut all = self.lock();
        let key = (backend.clone(), endpoint);
        let Some(known) = all.get_mut(&key).filter(|known| known.asked == asked) else {
            all.insert(key, Named { asked: asked.to_owned(), names: vec![name.to_owned()] });
            return None;
        };
        if known.names[0] == name {
            return None;
        }
        let before = known.names[0].clone();
        let place = known.names.iter().position(|one| one == name);
        let again = place.map(|place| known.names.remove(place));
        let is_new = again.is_none();
        known.names.insert(0, again.unwrap_or_else(|| name.to_owned()));
        known.names.truncate(MOST_NAMES);
        Some(Change { before, is_new })
    }

    /// What is to be kept: backend, the word of the endpoint's shape, what it was asked for, what it named last. Sorted.
    pub fn kept(&self) -> Vec<KeptName> {
        let all = self.lock();
        let kept = |((backend, endpoint), named): (&(BackendId, Shape), &Named)| {
            (backend.as_str().to_owned(), endpoint.word().to_owned(), named.asked.clone(), named.names[0].clone())
        };
        let mut kept: Vec<KeptName> = all.iter().map(kept).collect();
        kept.sort();
        kept
    }

    /// Takes up what was kept, all of it; answers whether it could be believed.
    #[must_use]
    pub fn restore(&self, kept: &[KeptName]) -> bool {
        let read = |(backend, endpoint, asked, name): &KeptName| {
            let (provider, model) = backend.split_once('/')?;
            let endpoint = Shape::ALL.into_iter().find(|shape| shape.word() == endpoint)?;
            let key = (BackendId::new(provider, model), endpoint);
            let name = Some(cut(name)).filter(|name| !name.is_empty())?.to_owned();
            Some((key, Named { asked: asked.clone(), names: vec![name] }))
        };
        let read: Option<HashMap<(BackendId, Shape), Named>> = kept.iter().map(read).collect();
        let believed = read.is_some();
        if let Some(read) = read {
            *self.lock() = read;
        }
        believed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(BackendId, Shape), Named>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One backend's name as it is kept.
pub type KeptName = (String, String, String, String);

/// The beginning of a name, up to a character's border.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MOST_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Shape = Shape::OpenAiChat;

    fn mist() -> BackendId {
        BackendId::new("north", "mist")
    }

    fn change(before: &str, is_new: bool) -> Change {
        Change { before: before.to_owned(), is_new }
    }

    #[test]
    fn the_first_name_is_expected_and_each_change_is_told_once() {
        let known = ServedNames::default();
        let named = |name: &str| known.named(&mist(), CHAT, "mist", name);
        assert_eq!([named("mist-2026-05-01"), named("mist-2026-05-01"), named("")], [None, None, None]);
        assert_eq!(named("mist-2026-11-01"), Some(change("mist-2026-05-01", true)));
        assert_eq!(named("mist-2026-11-01"), None);
        assert_eq!(named("mist-2026-05-01"), Some(change("mist-2026-11-01", false)));
        assert_eq!(named("fog"), Some(change("mist-2026-05-01", true)));
    }

    #[test]
    fn another_backend_endpoint_or_row_of_the_table_has_names_of_its_own() {
        let names = ServedNames::default();
        names.named(&mist(), CHAT, "mist", "mist-1");
        assert_eq!(names.named(&BackendId::new("south", "mist"), CHAT, "mist", "MIST"), None);
        assert_eq!(names.named(&mist(), Shape::AnthropicMessages, "mist", "MIST"), None);
        assert_eq!(names.named(&mist(), CHAT, "mist", "mist-1"), None);
        assert_eq!(names.named(&mist(), CHAT, "mist-2", "mist-2"), None);
        assert_eq!(names.named(&mist(), CHAT, "mist-2", "mist-3"), Some(change("mist-2", true)));
    }

    #[test]
    fn a_site_that_names_another_model_each_time_and_long_ones_does_not_fill_memory() {
        let names = ServedNames::default();
        names.named(&mist(), CHAT, "auto", "model-0");
        for number in 1..100 {
            let changed = names.named(&mist(), CHAT, "auto", &format!("model-{number}"));
            assert_eq!(changed, Some(change(&format!("model-{}", number - 1), true)));
        }
        assert_eq!(names.lock()[&(mist(), CHAT)].names.len(), MOST_NAMES);
        let long = "é".repeat(1_000);
        assert!(names.named(&mist(), CHAT, "auto", &long).is_some());
        assert_eq!(names.named(&mist(), CHAT, "auto", &format!("{long}e")), None, "what is told apart is what is kept");
        assert_eq!(names.kept()[0].3.len(), MOST_BYTES);
    }

    #[test]
    fn what_is_kept_is_expected_in_the_next_life() {
        let (names, again) = (ServedNames::default(), ServedNames::default());
        names.named(&mist(), CHAT, "mist", "mist-1");
        assert!(again.restore(&names.kept()));
        assert_eq!(again.named(&mist(), CHAT, "mist", "mist-2"), Some(change("mist-1", true)));
        let wrong = |at: usize| {
            let mut kept = names.kept();
            match at {
                0 => kept[0].0 = "north".to_owned(),
                1 => kept[0].1 = "chat".to_owned(),
                _ => kept[0].3.clear(),
            }
            kept
        };
        for at in 0..3 {
            assert!(!again.restore(&wrong(at)));
        }
        assert_eq!(again.kept()[0].3, "mist-2", "nothing of it is used");
    }
}
