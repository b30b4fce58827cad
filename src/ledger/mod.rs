//! The books: what every request and every attempt used and cost, exact, and never behind what a client has seen.
//!
//! A record first goes into the `journal` (one write-ahead file, one thread, many records to a write); when a request
//! and all its attempts have ended, `folding` inserts it into the `store` (SQLite) in batches. After a kill `recovery`
//! reads the journal again: what was closed is inserted if it is not there, what was open is booked as lost, from its
//! last checkpoint plus a stated margin ([`lost_margin`]). Keys make the replay idempotent: nothing is booked twice.
//!
//! What a decision was made from is kept with its request as bytes that mean nothing here, for some days, and so are the
//! price tables it was made by: whoever decided can explain it again.
//!
//! A request holds a [`Tab`], each attempt an [`OpenAttempt`]; both end exactly once, dropped or not. The books know
//! nothing of routes, budgets, HTTP or prices in force: they are handed [`Terms`] and keep to them.

mod backup;
mod booked;
mod books;
mod check;
mod codec;
mod disk;
mod entry;
#[cfg(test)]
pub(crate) mod fixtures;
mod folding;
mod forgetting;
mod gate;
mod health;
mod housekeeping;
mod journal;
mod marks;
mod outbox;
mod postings;
mod pruning;
mod query;
mod reader;
mod recovery;
mod rollup;
mod rows;
mod sampling;
#[cfg(test)]
mod scenarios;
mod segment;
mod shares;
mod sqlite;
#[cfg(test)]
pub(crate) mod stepped;
mod store;
mod tab;
mod tables;
mod usage;

pub use backup::BackupError;
pub use booked::{BookedAttempt, BookedPrices, BookedRequest};
pub use books::{Gauges, Ledger, LedgerError, Observer, Settings, SyncPolicy};
pub use check::{Balance, Fault, MOST_FAULTS, Proof};
pub use disk::{Disk, FileDisk, SegmentFile};
pub use entry::{
    AttemptEnd, AttemptOpened, Baseline, ClosedAttempt, ClosedRequest, Cost, ESTIMATE_BESIDE_TOKENS, ESTIMATE_MARGIN_PERCENT,
    Ending, IN_FLIGHT_TOKENS, LEAD_TOKENS, MARGIN_TOKENS, Outcome, Purse, RequestEnd, RequestOpened, SettledAttempt, Terms,
    lost_margin,
};
pub use health::Unwritable;
pub use marks::{Mark, Marks};
pub use outbox::{Cells, Column, Kind, Lot, Outbox, Rows, Standing, Table};
pub use postings::{Account, Entry, Posting, Settled};
pub use query::{Books, Charged, Drawn, GroupSpend, KeySpend, Totals};
pub use reader::ReadError;
pub use recovery::RecoveryReport;
pub use rows::Stretch;
pub use sampling::Sampling;
pub use shares::ProviderSpend;
pub use store::{Inserted, Store, StoreError, Upkeep};
pub use tab::{OpenAttempt, OpenRequest, Pace, Tab};
pub use usage::{UsageBy, UsageLine, UsageQuery, UsageSums};
