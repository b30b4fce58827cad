//! The count of an answer while it streams: what is billed when the provider never gets to report it.
//!
//! Every piece goes into a profile, so that a checkpoint can ask for the tokens so far at any moment in nanoseconds. The
//! text itself is kept up to [`KEPT_BYTES`], for one exact count after the end where usage is missing; a longer answer is
//! counted exactly up to there and scaled beyond, which bounds the memory of a stream whatever the provider sends.

use super::estimate;
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;

/// How much text of one answer is kept: about 60,000 tokens of English, more than nearly every model writes at once.
pub const KEPT_BYTES: usize = 256 * 1024;

/// What has been streamed so far.
#[derive(Debug, Clone, Default)]
pub struct RunningCount {
    profile: TextProfile,
    kept: String,
    full: bool,
}

impl RunningCount {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece of the answer: content, reasoning or tool arguments, in the order in which they came.
    pub fn add(&mut self, piece: &str) {
        self.profile.add(piece);
        if self.full {
            return;
        }
        let room = KEPT_BYTES - self.kept.len();
        self.kept.push_str(&piece[..piece.floor_char_boundary(room)]);
        self.full = piece.len() > room;
    }

    /// The tokens so far, estimated. Never falls as text is added, but for the fit's few negative weights.
    pub fn expected(&self, family: TokenizerFamily) -> Tokens {
        estimate::expected(&self.profile, family)
    }

    /// A bound on the tokens so far, for a checkpoint that must not fall short.
    pub fn upper(&self, family: TokenizerFamily) -> Tokens {
        estimate::upper(&self.profile, family)
    }

    /// Nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.profile.bytes() == 0
    }

    /// What all the text is made of.
    pub fn profile(&self) -> &TextProfile {
        &self.profile
    }

    /// The beginning of the text, as far as it was kept, and the profile of all of it: what an exact count takes.
    pub fn into_parts(self) -> (String, TextProfile) {
        (self.kept, self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_is_bounded_and_the_profile_is_not() {
        let mut running = RunningCount::new();
        assert!(running.is_empty());
        for _ in 0..KEPT_BYTES / 9 + 10 {
            running.add("你好吗");
        }
        running.add("a");
        assert_eq!(running.profile().letters, 1);
        assert!(running.profile().bytes() > KEPT_BYTES as u64);
        let (kept, _) = running.into_parts();
        assert!(kept.len() <= KEPT_BYTES && kept.len() > KEPT_BYTES - 3);
        assert!(kept.ends_with('你') || kept.ends_with('好') || kept.ends_with('吗'), "nothing after the cut is kept");
    }

    proptest! {
        #[test]
        fn pieces_count_as_the_whole(pieces in proptest::collection::vec("\\PC{0,20}", 0..20)) {
            let mut running = RunningCount::new();
            for piece in &pieces {
                running.add(piece);
            }
            let whole = pieces.concat();
            for (family, _) in TokenizerFamily::WORDS {
                prop_assert_eq!(running.expected(family), estimate::expected(&TextProfile::of(&whole), family));
            }
            prop_assert_eq!(running.into_parts().0, whole);
        }
    }
}
