//! Who may ask, for what, and for how much: keys, what each is allowed, money held against budgets, and the share of all
//! spend that a vendor may get.

pub mod budget;
pub mod exploring;
pub mod keys;
pub mod places;
pub mod portfolio;
pub mod rolling;
pub mod sessions;

pub use budget::{Bound, Budget, BudgetReport, BudgetWindow, Hold, OverBudget, Spent};
pub use exploring::Exploring;
pub use keys::{Admission, KeyLimits, KeyRing, NotAdmitted};
pub use places::{Full, Place, Places};
pub use portfolio::{OverShare, Portfolio, ShareCap, ShareHold, ShareStanding};
pub use sessions::{LastAnswer, Sessions};
