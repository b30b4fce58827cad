//! The shape of the request among the facts, as one byte behind all others; facts without it are of a chat request.

use super::{Reader, Unreadable, Writer};
use crate::canonical::Shape;

pub(super) fn put(out: &mut Writer, shape: Shape) {
    out.byte(match shape {
        Shape::OpenAiChat => 0,
        Shape::AnthropicMessages => 1,
        Shape::GeminiGenerate => 2,
    });
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Shape, Unreadable> {
    match from.byte()? {
        0 => Ok(Shape::OpenAiChat),
        1 => Ok(Shape::AnthropicMessages),
        2 => Ok(Shape::GeminiGenerate),
        _ => Err(Unreadable),
    }
}
