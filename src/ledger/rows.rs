//! Every request of a stretch of time with its attempts, one after the other: for exports and for whoever compares the books with
//! a bill. One state of the store from the first to the last, in memory for one request.

use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::params;

use super::booked::{BookedRequest, REQUEST_COLUMNS, booked_request};
use super::query::{Books, SKEW, first_id_at};
use super::store::StoreError;
use crate::units::KeyName;

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Those that arrived at or after this instant,
    pub from: Timestamp,
    /// and before this one.
    pub until: Timestamp,
    /// Only of this key.
    pub key: Option<KeyName>,
}

impl Books {
    /// Hands over each request in the order of their ids, until told to stop.
    pub fn each_request(
        &self,
        stretch: &Stretch,
        each: &mut dyn FnMut(&BookedRequest) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.explained(self.walk(stretch, each))
    }

    fn walk(&self, stretch: &Stretch, each: &mut dyn FnMut(&BookedRequest) -> ControlFlow<()>) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT {REQUEST_COLUMNS}, id FROM requests WHERE id >= ?1 AND id < ?2 AND arrived_at_us >= ?3 AND arrived_at_us < ?4 \
             AND (?5 IS NULL OR key = ?5) ORDER BY id"
        );
        let (from, until) = (stretch.from.as_microsecond(), stretch.until.as_microsecond());
        let around = [from.saturating_sub(SKEW), until.saturating_add(SKEW)]
            .map(|micros| first_id_at(Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)));
        let mut requests = self.connection().prepare(&sql)?;
        // This statement is open from the first row to the last, so that its attempts are read in the same state.
        let asked = params![around[0].as_bytes(), around[1].as_bytes(), from, until, stretch.key.as_ref().map(KeyName::as_str)];
        let mut rows = requests.query(asked)?;
        while let Some(row) = rows.next()? {
            let mut request = booked_request(row)?;
            request.attempts = self.attempt_rows(request.id)?;
            if each(&request).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first instant from which on every row is there; `None` where none was ever pruned.
    pub fn rows_from(&self) -> Result<Option<Timestamp>, StoreError> {
        let day = self.explained(super::pruning::first_whole_day(self.connection()))?;
        Ok(day.checked_mul(super::query::MICROS_PER_DAY).and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }
}
