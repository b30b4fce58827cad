//! Counts a text that comes in pieces, as it comes.
//!
//! Summing the counts of the pieces would be wrong by as much as they are short: words go across their ends. So what came is
//! held until a [border](super::TokenCounter::last_border) is sure, and counted up to there. However the text was cut, the sum
//! is the count of the whole; what is held is bounded as long as the text has borders.

use std::sync::Arc;

use super::TokenCounter;

/// How much is held before it is counted: many words at once, since each count has its own overhead.
const HELD_BYTES: usize = 4 * 1024;

/// The tokens of a text so far.
pub struct Stream {
    counter: Arc<dyn TokenCounter>,
    counted: u64,
    held: String,
    /// How much of what is held was looked through for a border in vain.
    looked: usize,
}

impl Stream {
    pub fn new(counter: Arc<dyn TokenCounter>) -> Self {
        Self { counter, counted: 0, held: String::new(), looked: 0 }
    }

    /// Takes the next piece, cut anywhere between two characters.
    pub fn add(&mut self, piece: &str) {
        self.held.push_str(piece);
        if self.held.len() < self.looked + HELD_BYTES {
            return;
        }
        if let Some(border) = self.counter.last_border(&self.held, self.looked) {
            self.counted += self.counter.count(&self.held[..border]);
            self.held.drain(..border);
            self.looked = 0;
        } else {
            // The last character has not yet been seen with the one after it.
            self.looked = self.held.char_indices().next_back().map_or(0, |(at, _)| at);
        }
    }

    /// The tokens up to here, if the text ended here.
    pub fn tokens(&self) -> u64 {
        self.counted + self.counter.count(&self.held)
    }

    /// Ends the text: the next piece begins another one, whose tokens are added.
    pub fn end_text(&mut self) {
        self.counted = self.tokens();
        self.held.clear();
        self.looked = 0;
    }

    /// Adds tokens that are no text, such as the marks of a chat template. The text ends before them.
    pub fn add_tokens(&mut self, tokens: u64) {
        self.end_text();
        self.counted += tokens;
    }
}
