//! Who may ask, for what, and for how much: keys, what each is allowed, and money held against budgets.

pub mod allowances;
pub mod budget;
pub mod keys;
pub mod places;
pub mod sessions;

pub use allowances::{Allowances, Balance, BalanceReport, Claim, FreeQuota};
pub use budget::{Bound, Budget, BudgetReport, BudgetWindow, Hold, OverBudget, Spent};
pub use keys::{Admission, KeyLimits, KeyRing, NotAdmitted};
pub use places::{Full, Place, Places};
pub use sessions::{LastAnswer, Sessions};
