//! What this gateway learns from its answers and uses in its next quotes: how long answers are, which prompts are warm
//! where, how much of them is given back, how conversations go on, which seals were refused, what providers report of a text. Whoever decides is handed figures of it as facts; the
//! decision itself knows nothing of histograms and hashes.
//!
//! Everything but the prompts' beginnings and the refused seals is kept between two lives, as text in one file of the data directory;
//! the text is made and read here, the file is [`server`](crate::server)'s. A prompt's beginning is worth nothing after a restart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::meter::calibration::KeptReports;
use crate::meter::learned::KeptLengths;
use crate::meter::{Answer, Calibration, Class, Lengths};
use crate::policy::{Prefixes, Ratio, RefusedSeals, Turns};
use crate::relay::{KeptName, ServedNames};
use crate::units::BackendId;

/// The form of the kept text.
const FORMAT: u64 = 1;

/// Everything that is learned.
#[derive(Debug)]
pub struct Learning {
    /// By the class's place.
    lengths: Vec<Mutex<Lengths>>,
    pub prefixes: Prefixes,
    pub refused_seals: RefusedSeals,
    pub turns: Turns,
    /// Which model each backend says it serves.
    pub served: Arc<ServedNames>,
    /// What providers report against what is estimated and counted here.
    pub reports: Arc<Calibration>,
    /// How often something was learned, so that an unchanged state is not written again.
    lessons: AtomicU64,
}

/// Why what was kept is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    #[error("it is of format {0}, which a newer gateway wrote; this one reads up to {FORMAT}")]
    Newer(u64),
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u64,
    lengths: Vec<KeptLengths>,
    /// Backend, sum and count.
    cache_hits: Vec<(String, u64, u64)>,
    /// Sum and count by stretch.
    turns_followed: Vec<(u64, u64)>,
    /// Files of before have none.
    #[serde(default)]
    served: Vec<KeptName>,
    #[serde(default)]
    reports: KeptReports,
}

impl Learning {
    /// Nothing is learned yet. `seed` must be hard to guess.
    pub fn new(seed: u64) -> Self {
        let lengths = Lengths::all().map(Mutex::new).collect();
        Self {
            lengths,
            prefixes: Prefixes::new(seed),
            refused_seals: RefusedSeals::default(),
            turns: Turns::default(),
            served: Arc::default(),
            reports: Arc::default(),
            lessons: AtomicU64::new(0),
        }
    }

    /// How long answers of a class are. Held for microseconds.
    pub fn lengths(&self, class: Class) -> MutexGuard<'_, Lengths> {
        self.lengths[class.place()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a whole answer.
    pub fn answered(&self, class: Class, answer: &Answer<'_>, at: u64) {
        self.lengths(class).learn(answer, at);
        self.noted();
    }

    /// Something is known that was not before.
    pub fn noted(&self) {
        self.lessons.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was learned since the start.
    pub fn lessons(&self) -> u64 {
        self.lessons.load(Ordering::Relaxed)
    }

    /// What is to be kept.
    pub fn kept(&self) -> String {
        let lock = |lengths: &Mutex<Lengths>| lengths.lock().unwrap_or_else(PoisonError::into_inner).kept();
        let hit = |(backend, ratio): (BackendId, Ratio)| (backend.as_str().to_owned(), ratio.parts().0, ratio.parts().1);
        let kept = Kept {
            format: FORMAT,
            lengths: self.lengths.iter().filter_map(lock).collect(),
            cache_hits: self.prefixes.kept_hits().into_iter().map(hit).collect(),
            turns_followed: self.turns.kept().iter().map(Ratio::parts).collect(),
            served: self.served.kept(),
            reports: self.reports.kept(),
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Takes up what was kept; all of it or, where any of it cannot be believed, nothing.
    pub fn restore(&self, text: &str) -> Result<(), NotRestored> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let damaged = |error: serde_json::Error| NotRestored::Damaged(error.to_string());
        let Format { format } = serde_json::from_str(text).map_err(damaged)?;
        if format > FORMAT {
            return Err(NotRestored::Newer(format));
        }
        let kept: Kept = serde_json::from_str(text).map_err(damaged)?;
        let wrong = |what: &str| NotRestored::Damaged(format!("{what} are out of range"));
        let lengths: Option<Vec<(usize, Lengths)>> =
            kept.lengths.iter().map(|one| Some((one.class, Lengths::restored(one)?))).collect();
        let lengths = lengths.ok_or_else(|| wrong("lengths of answers"))?;
        let hits: Option<Vec<(BackendId, Ratio)>> = kept.cache_hits.iter().map(hit).collect();
        let hits = hits.ok_or_else(|| wrong("hits of caches"))?;
        let turns: Option<Vec<Ratio>> = kept.turns_followed.iter().map(|(sum, count)| Ratio::from_parts(*sum, *count)).collect();
        let turns = turns.and_then(|turns| turns.try_into().ok()).ok_or_else(|| wrong("turns of conversations"))?;
        let reports = Calibration::default();
        if !reports.restore(&kept.reports) {
            return Err(wrong("ratios of reports"));
        }
        if !self.served.restore(&kept.served) {
            return Err(wrong("names of models"));
        }
        self.reports.take_up(reports);
        for (place, of_class) in lengths {
            *self.lengths[place].lock().unwrap_or_else(PoisonError::into_inner) = of_class;
        }
        self.prefixes.restore_hits(hits);
        self.turns.restore(turns);
        Ok(())
    }
}

fn hit((id, sum, count): &(String, u64, u64)) -> Option<(BackendId, Ratio)> {
    let (provider, model) = id.split_once('/')?;
    Some((BackendId::new(provider, model), Ratio::from_parts(*sum, *count)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{Request, Shape, TextProfile};
    use crate::catalog::TokenizerFamily;
    use crate::meter::calibration::{Heard, Report};
    use crate::units::Tokens;
    use proptest::prelude::*;

    fn taught() -> Learning {
        let learning = Learning::new(1);
        let answer =
            Answer { model: "mist", thinks: false, output: Tokens::new(40), reasoning: Tokens::ZERO, choices: 1, cut_at: None };
        learning.answered(Class::of(&Request::saying("hello")), &answer, 1_790_000_000);
        learning.prefixes.hit(&BackendId::new("north", "mist"), 900_000);
        learning.turns.answered(1);
        learning.served.named(&BackendId::new("north", "mist"), Shape::OpenAiChat, "mist", "mist-2026-11-01");
        let text = TextProfile::of("hello there, how are you?");
        let heard = Some(Heard { text, estimate: Tokens::new(7), reported: Tokens::new(9) });
        let backend = &BackendId::new("north", "mist");
        let report = Report { backend, family: TokenizerFamily::O200k, input: heard, output: heard, at: 1_790_000_000 };
        learning.reports.heard(&report);
        learning
    }

    fn check(text: &str, expected: &Result<(), NotRestored>) {
        let learning = Learning::new(2);
        let nothing = learning.kept();
        assert_eq!(&learning.restore(text), expected, "{text}");
        if expected.is_err() {
            assert_eq!(learning.kept(), nothing, "nothing of it is used");
        }
    }

    #[test]
    fn what_is_kept_is_learned_again() {
        let (text, again) = (taught().kept(), Learning::new(2));
        again.restore(&text).unwrap();
        assert_eq!((again.kept(), again.lessons()), (text, 0));
    }

    #[test]
    fn what_cannot_be_believed_is_not_used() {
        let text = taught().kept();
        let damaged = |what: &str| Err(NotRestored::Damaged(format!("{what} are out of range")));
        check(&text.replace("\"format\":1", "\"format\":2"), &Err(NotRestored::Newer(2)));
        check(r#"{"format":9,"other":true}"#, &Err(NotRestored::Newer(9)));
        check(&text.replace("\"class\":", "\"class\":99"), &damaged("lengths of answers"));
        check(&text.replace("900000,1000000", "900000,10"), &damaged("hits of caches"));
        check(&text.replace("\"turns_followed\":[", "\"turns_followed\":[[0,0],"), &damaged("turns of conversations"));
        check(&text.replace("\"openai-chat\"", "\"chat\""), &damaged("names of models"));
        check(&text.replace("\"family\":\"o200k\"", "\"family\":\"o300k\""), &damaged("ratios of reports"));
    }

    proptest! {
        #[test]
        fn damaged_text_never_panics(at in 0_usize..2_000, to in "[ -~]", cut in 0_usize..2_000) {
            let mut text = taught().kept();
            let at = at % text.len();
            text.replace_range(at..=at, &to);
            let learning = Learning::new(2);
            if learning.restore(&text).is_ok() {
                let _ = learning.kept();
            }
            let _ = Learning::new(2).restore(&text[..cut % text.len()]);
        }
    }
}
