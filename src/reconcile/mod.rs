//! The books against what a vendor says: its bill, or readings of the balance that it was paid in advance.
//!
//! A bill is a table of comma-separated values whose columns a small *mapping* names (`mapping`; those of known vendors are
//! shipped, others can be written). Its rows are added up by day (in the vendor's zone) and model, and so are the books' rows of
//! the vendor (`books`); `compare` puts the two side by side and says what most likely makes a difference. All of it is exact:
//! counts are whole, amounts are 10⁻¹² units, nothing here is a float.
//!
//! It reads and judges, and changes nothing: a difference is for a person.

mod balance;
mod bill;
mod books;
mod compare;
mod decimal;
mod mapping;
mod table;

pub use balance::{Interval, Reading, readings, set_against};
pub use bill::{Bill, BillError, Billed, Counts};
pub use books::{Booked, Gathered};
pub use compare::{Cause, Comparison, Line, compare};
pub use decimal::Decimal;
pub use mapping::{Mapping, shipped, vendors};
pub use table::{MOST_BYTES, TableError};
