//! Who may ask, for what, and for how much: keys, what each is allowed, money held against budgets, and the share of all
//! spend that a vendor may get. And what is remembered of conversations: which backend has read which beginning, what its
//! cache gave back, how they go on, whose seals it refused.

pub mod allowances;
pub mod brown_out;
pub mod budget;
pub mod exploring;
pub mod keys;
pub mod places;
pub mod portfolio;
pub mod prefixes;
pub mod rates;
pub mod ratio;
pub mod refused_seals;
pub mod rolling;
pub mod turns;
pub mod window;

pub use allowances::{Allowances, Balance, BalanceReport, Claim, FreeQuota};
pub use brown_out::{BrownOut, WhenEmpty, least_left};
pub use budget::lease::up as lease_up;
pub use budget::lease::{Leased, Lender, Loan, SharedBounds, SharedBudgets, Whose};
pub use budget::{Bound, Budget, BudgetReport, Budgets, Hold, OverBudget, Payer, Spent, TopUp};
pub use exploring::Exploring;
pub use keys::{Admission, Groups, KeyLimits, KeyRing, NotAdmitted, NothingLeft};
pub use places::{Full, Place, Places};
pub use portfolio::{OverShare, Portfolio, ShareCap, ShareHold, ShareStanding};
pub use prefixes::{Known, Prefixes, Read};
pub use rates::slices::{SharedThrottles, SlicedLimit};
pub use rates::{Counted, Lane, Passage, Rates, Standing, Throttle, Throttles, TooMany};
pub use ratio::Ratio;
pub use refused_seals::{RefusedBy, RefusedSeals};
pub use turns::Turns;
pub use window::{BudgetWindow, Window};
