//! Who may ask, for what, and for how much: keys, what each is allowed, and money held against budgets. And what is
//! remembered of conversations: which backend has read which beginning, what its cache gave back, how they go on.

pub mod budget;
pub mod keys;
pub mod places;
pub mod prefixes;
pub mod ratio;
pub mod turns;

pub use budget::{Bound, Budget, BudgetReport, BudgetWindow, Hold, OverBudget, Spent};
pub use keys::{Admission, KeyLimits, KeyRing, NotAdmitted};
pub use places::{Full, Place, Places};
pub use prefixes::{Known, Prefixes, Read};
pub use ratio::Ratio;
pub use turns::Turns;
