//! The shape of the request among the facts, and whether it may be told in other shapes, as one byte behind all others; facts
//! without it are of a chat request, and until the first translation none was told in another.

use super::super::ask::Ask;
use super::{Reader, Unreadable, Writer};
use crate::canonical::Shape;

/// Added where it may be told in other shapes.
const TRANSLATED: u8 = 0x80;

pub(super) fn put(out: &mut Writer, ask: &Ask) {
    let shape = match ask.shape {
        Shape::OpenAiChat => 0,
        Shape::AnthropicMessages => 1,
    };
    out.byte(if ask.translated { shape | TRANSLATED } else { shape });
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<(Shape, bool), Unreadable> {
    let byte = from.byte()?;
    let shape = match byte & !TRANSLATED {
        0 => Shape::OpenAiChat,
        1 => Shape::AnthropicMessages,
        _ => return Err(Unreadable),
    };
    Ok((shape, byte & TRANSLATED != 0))
}
