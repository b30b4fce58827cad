//! The last decisions, for whoever looks: what was asked, what each candidate would have cost, who won, what became of it,
//! and sums since the start. The page of the operations listener, its feed and `tokenbroker top` show it.
//!
//! A request adds handles to what exists anyway (its plan, the table, the first line of its page in the books); words and
//! figures are made of them when somebody reads ([`view`]), so that a gateway nobody looks at pays next to nothing. All of
//! it is memory, and bounded: [`MOST_ENTRIES`] or [`MOST_BYTES`], whichever is reached first, of at most two tables.
//!
//! Not here: any text of a prompt or an answer, what a provider said, a key. Nor is it the books: a restart empties it.

mod entry;
mod ring;
mod view;
pub mod words;

pub use entry::{End, Entry, Planned, Refusal};
pub use ring::{Changes, Feed, MOST_BYTES, MOST_ENTRIES, Mark, Shown, Totals, Yardstick};
pub use view::{
    BackendView, CandidateView, CountView, EntryView, GatewayView, Money, Overview, PlanView, State, TotalsView, TryView,
    YardstickView,
};
