//! The two sides of the wire together: what a frontend read, a dialect sends on with nothing changed but what must be.
//! Frontend and dialect do not see each other, so what needs both stands here.

mod compatibility;
mod direct;
#[path = "../tests/it/harness/eventstream.rs"]
pub(crate) mod eventstream;
mod fixtures;
mod messages;
mod pairs;
mod requests;
mod responses;
mod splicing;
mod usage;
