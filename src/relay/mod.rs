//! The way back: an answer's bytes to the client, counted as they pass, and its page in the books ended exactly once.

pub mod counting;
pub mod desk;
pub mod media;
pub mod pump;
pub mod reports;
pub mod served;
pub mod settlement;

pub use counting::Sampler;
pub use desk::Desk;
pub use media::Media;
pub use pump::{Closing, Hear, Keep, Pump, StreamEnd};
pub use reports::Compared;
pub use served::{KeptName, ServedNames};
pub use settlement::{Account, AccountOpening, AnswerBasis, Comparison, Learn, Settlement, WholeAnswer};
