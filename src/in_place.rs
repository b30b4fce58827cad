//! Large values in boxes, made where they are to lie. `Box::new` makes its value on the stack and copies all of it, also what a future
//! has not begun to use: of a request's futures that were 12 KB, most of it into memory that no cache held.

use std::pin::Pin;

/// A value in a box.
#[expect(clippy::inline_always, reason = "a call would hand the value over on the stack")]
#[inline(always)]
pub fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

/// A future in a box, ready to be polled.
#[expect(clippy::inline_always, reason = "a call would hand the value over on the stack")]
#[inline(always)]
pub fn pinned<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
