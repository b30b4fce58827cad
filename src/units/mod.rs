//! The words every other module speaks: money, tokens, shares and identifiers as types, so that an amount in yuan cannot be
//! added to one in dollars and a token count cannot be taken for a price. No I/O, no clocks, no vendor.

pub mod free;
pub mod glob;
pub mod ids;
pub mod image;
pub mod money;
pub mod pieces;
pub mod pricing;
pub mod share;
pub mod sheet;
pub mod tariff;
pub mod tokens;

pub use free::{Counted, Draw, Free, FreePart, FreeTokens, Grant};
pub use ids::{BackendId, KeyName, RequestId, spread};
pub use image::{ImageKind, ImageWish, Pixels, Quality, Wanted};
pub use money::{Amount, Currency, ExchangeRate, TokenPrice, Usd};
pub use pieces::{Piece, PiecePrice, Pieces};
pub use pricing::{Billed, BilledAt, Course, Pricing, Span};
pub use share::{ShareBy, ShareKind, ShareOf};
pub use sheet::{Bounds, Cell, Extent, Most, Priced, Sheet, Thinking};
pub use tariff::{Factor, Mix, Tariff};
pub use tokens::{Provenance, Tokens, Usage};
