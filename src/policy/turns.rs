//! How many turns a conversation is likely to have still, from how conversations went on so far.
//!
//! Nobody says when a conversation is over. What is seen is that another turn came: so for each stretch of a conversation's
//! life the share of turns that were followed by one is learned, and the turns still to come are what follows from these
//! shares. Long conversations go on longer, which a plain mean of their lengths would not know. A turn that was just
//! answered counts as not followed until its successor comes, which makes the figure a little too small.

use std::sync::{Mutex, PoisonError};

use super::ratio::{ONE, Ratio, Supposed};

/// The last turn of each stretch but the last, which has no end.
const STRETCHES: [u32; 3] = [1, 4, 9];
/// What share of turns is followed by another is taken for, in millionths: judgement, and worth sixteen observations.
const SUPPOSED: [u32; STRETCHES.len() + 1] = [400_000, 700_000, 800_000, 850_000];
const WEIGHT: u32 = 16;
/// The most that is believed: no conversation is expected to have more than 49 turns still.
const MOST: u64 = 980_000;

/// How conversations went on.
#[derive(Debug, Default)]
pub struct Turns {
    followed: Mutex<[Ratio; STRETCHES.len() + 1]>,
}

impl Turns {
    /// A conversation's turn of this number (the first is 1) was answered.
    pub fn answered(&self, turn: u32) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = turn.checked_sub(1).filter(|before| *before > 0) {
            followed[stretch(before)].happened();
        }
        followed[stretch(turn)].chance();
    }

    /// The turns to expect after this one, in millionths of a turn.
    pub fn remaining(&self, turn: u32) -> u64 {
        let shares = {
            let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            let share = |n: usize| u64::from(followed[n].share(Supposed { share: SUPPOSED[n], weight: WEIGHT })).min(MOST);
            [share(0), share(1), share(2), share(3)]
        };
        let one = u64::from(ONE);
        let last = shares[STRETCHES.len()];
        let mut remaining = last * one / (one - last);
        // From the last stretch back to this turn: each turn is followed by one and what remains after that, or by none.
        let ends = STRETCHES[STRETCHES.len() - 1];
        for earlier in (turn..=ends).rev() {
            remaining = shares[stretch(earlier)] * (one + remaining) / one;
        }
        remaining
    }

    /// What is kept.
    pub fn kept(&self) -> [Ratio; STRETCHES.len() + 1] {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts back what was kept.
    pub fn restore(&self, followed: [Ratio; STRETCHES.len() + 1]) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = followed;
    }
}

/// The stretch that a turn is in.
fn stretch(turn: u32) -> usize {
    STRETCHES.iter().filter(|last| turn > **last).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conversations of this length, one after the other.
    fn after(length: u32, conversations: u32) -> Turns {
        let turns = Turns::default();
        (0..conversations).for_each(|_| (1..=length).for_each(|turn| turns.answered(turn)));
        turns
    }

    fn check(turns: &Turns, turn: u32, expected: std::ops::Range<u64>) {
        let found = turns.remaining(turn) / 1_000;
        assert!(expected.contains(&found), "after turn {turn}: {found} thousandths");
    }

    #[test]
    fn who_has_seen_nothing_expects_a_few_and_more_of_the_longer_ones() {
        let turns = Turns::default();
        check(&turns, 1, 1_000..2_000);
        check(&turns, 10, 5_600..5_700);
        assert_eq!(turns.remaining(10), turns.remaining(1_000));
        assert!(turns.remaining(1) < turns.remaining(3) && turns.remaining(3) < turns.remaining(6));
    }

    #[test]
    fn lengths_are_learned() {
        check(&after(1, 500), 1, 0..300);
        check(&after(2, 500), 1, 900..1_900);
        check(&after(20, 100), 1, 10_000..20_000);
        check(&after(20, 100), 15, 7_000..14_000);
        check(&after(5_000, 10), 100, 20_000..49_001);
    }
}
